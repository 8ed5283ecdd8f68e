package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

func (k *checks) ldap(at string, l LDAP) {
	k.servers(at, l)
	k.bind(at, l)
	k.people(at, l)
	k.groupSearch(at, l)
	k.admission(at, l.AllowedEmailDomains, l.AllowedGroups)
	k.groupNames(at, l)
	k.ldapTimes(at, l)
	for i, h := range l.ReferralHosts {
		if s, problem := ParseServer("ldap://" + h); problem != "" || strings.ContainsAny(h, "/@") || s.Host != strings.ToLower(s.Host) {
			k.fault(indexed(at+".referralHosts", i), quoted(h)+" is not a host name in lower case", "write the name, with a port if it is not the usual one")
		}
	}
}

// servers refuses passwords on a network that others can listen to (LDAP-15).
func (k *checks) servers(at string, l LDAP) {
	encrypted, begins := false, false
	unknown := len(l.Address) == 0 // then it is not known what has an effect
	for i, text := range l.Address {
		path := indexed(at+".address", i)
		s, problem := ParseServer(text)
		if problem != "" {
			k.fault(path, problem, "write it like ldaps://ldap.example.com")
			unknown = true
			continue
		}
		plain := s.Network == "tcp" && !s.TLS
		encrypted, begins = encrypted || s.TLS || plain && l.StartTLS, begins || plain
		switch {
		case plain && strings.HasSuffix(s.Address, ":636"):
			k.fault(path, "636 is the port of ldaps, but the address says ldap", "write ldaps://"+s.Host)
		case plain && !l.StartTLS && !l.InsecurePlainLDAP && !thisMachine(s.Host):
			k.fault(path, "would send passwords over the network as they are", "write ldaps://"+s.Host+", or set "+k.named(at, "startTLS")+"; for tests behind closed doors there is "+k.named(at, "insecurePlainLDAP"))
		}
	}
	if l.StartTLS && !begins && !unknown {
		k.fault(at+".startTLS", "has no effect, for no address begins with ldap://", "remove it: ldaps is TLS already, and a socket needs none")
	}
	k.clientTLS(at+".tls", l.TLS, encrypted || unknown)
}

// named is a setting of the directory at a path, for a fix. Who has the
// environment alone has never seen that name, so the variable's stands beside it.
func (k *checks) named(at, key string) string {
	if k.name != environment {
		return key
	}
	return key + " (" + k.variable(at, key) + ")"
}

// variable is what a setting of the directory at a path is called in the
// environment: by the short name, if it is the first directory.
func (k *checks) variable(at, key string) string {
	first := slices.IndexFunc(k.c.Authn, func(r Route) bool { return r.LDAP != nil })
	if short := directoryVariable(key); short != "" && at == indexed("authn", first)+".ldap" {
		return short
	}
	return variableOf(at + "." + key)
}

// thisMachine is stricter than loopback: what is below localhost may be looked up
// elsewhere.
func thisMachine(host string) bool {
	return host == "localhost" || loopback(host) && !strings.HasSuffix(host, "localhost")
}

// bind refuses a name without a password, which a directory may take for
// nobody and let pass (RFC 4513, section 5.1.2; LDAP-16).
func (k *checks) bind(at string, l LDAP) {
	k.dn(at+".baseDN", l.BaseDN)
	k.bindName(at, l)
	secret := l.BindPassword != "" || l.BindPasswordFile != ""
	switch {
	case l.BindDN != "" && !secret:
		// Where the name stands, for the password stands nowhere.
		k.add(k.valueAt(at+".bindDN"), at+".bindPassword", "is missing, and a name without a password proves nothing", k.password(at))
	case l.BindDN == "" && secret:
		k.fault(at+".bindPassword", "has no effect without bindDN", "set "+k.named(at, "bindDN")+" too, or remove it")
	}
}

// password says how to set the password of bindDN, in the way in which that is set.
func (k *checks) password(at string) string {
	short := k.valueAt(at + ".bindDN").source
	if pw, ok := strings.CutSuffix(short, "BIND_DN"); ok && !strings.HasPrefix(short, prefix) {
		return "set bindPassword (" + pw + "BIND_PW), or bindPasswordFile, or unset bindDN (" + short + ") to search without a name"
	}
	return "set " + k.named(at, "bindPasswordFile") + " or " + k.named(at, "bindPassword") + ", or remove bindDN to search without a name"
}

// bindName refuses a name to bind as that is no DN. Only Active Directory takes
// name@domain and DOMAIN\name.
func (k *checks) bindName(at string, l LDAP) {
	_, err := ldap.ParseDN(l.BindDN)
	windows := strings.ContainsAny(l.BindDN, `@\`) && (err != nil || !strings.Contains(l.BindDN, "="))
	switch {
	case l.BindDN == "" || windows && l.Preset == "activeDirectory":
	case windows:
		k.fault(at+".bindDN", quoted(l.BindDN)+" is not a DN", "for Active Directory set preset to activeDirectory ("+variableOf(at+".preset")+
			"=activeDirectory with the environment alone); else write it like cn=gatehouse,ou=services,dc=example,dc=org")
	default:
		k.dn(at+".bindDN", l.BindDN)
	}
}

func (k *checks) dn(path, text string) {
	if text == "" {
		return
	}
	if dn, err := ldap.ParseDN(text); err != nil || len(dn.RDNs) == 0 {
		k.fault(path, quoted(text)+" is not a DN", "write it like ou=people,dc=example,dc=org, with \\ before a comma or plus that is part of a name")
	}
}

// Placeholders of filters and of the DN template, and what stands in for them
// while they are checked.
func userPlaceholders() map[string]string {
	return map[string]string{"{input}": "x", "{username_attribute}": "uid", "{mail_attribute}": "mail"}
}

func groupPlaceholders() map[string]string {
	return map[string]string{"{dn}": "x", "{username}": "x", "{gidNumber}": "1"}
}

func (k *checks) people(at string, l LDAP) {
	k.dn(at+".users.baseDN", l.Users.BaseDN)
	if f := l.Users.Filter; f != "" {
		k.filter(at+".users.filter", f, userPlaceholders(), []string{"{input}"})
		if l.Users.ObjectClass != "" {
			k.fault(at+".users.objectClass", "has no effect, for users.filter says it all", "put it into the filter, or remove one of the two")
		}
	}
	if t := l.Users.DNTemplate; t != "" {
		path := at + ".users.dnTemplate"
		if strings.Count(t, "{input}") != 1 {
			k.fault(path, "must hold {input} once, for the name that people type", "write it like uid={input},ou=people,dc=example,dc=org")
			return
		}
		dn, err := ldap.ParseDN(strings.ReplaceAll(t, "{input}", "x"))
		base, _ := ldap.ParseDN(l.BaseDN)
		switch {
		case err != nil || len(dn.RDNs) == 0 || !strings.Contains(t[:strings.IndexByte(t+",", ',')], "={input}"):
			k.fault(path, quoted(t)+" is not a DN that begins with the name", "write it like uid={input},ou=people,dc=example,dc=org")
		case base != nil && !base.AncestorOfFold(dn):
			k.fault(path, "leads out of baseDN", "end it in "+l.BaseDN)
		}
	}
}

var placeholder = regexp.MustCompile(`\{[A-Za-z_]*\}`)

// filter compiles a filter with something in the placeholders' places.
func (k *checks) filter(path, text string, known map[string]string, needed []string) {
	raw, all := text, strings.Join(slices.Sorted(maps.Keys(known)), ", ")
	for _, p := range placeholder.FindAllString(text, -1) {
		if known[p] == "" {
			k.fault(path, quoted(p)+" stands for nothing here", "use "+all)
			return
		}
		text = strings.ReplaceAll(text, p, known[p])
	}
	if _, err := ldap.CompileFilter(text); err != nil {
		k.fault(path, "is not a filter: "+withoutPrefix(err), "write it like (&(objectClass=person)(uid={input})), see RFC 4515")
		return
	}
	if !slices.ContainsFunc(needed, func(p string) bool { return strings.Contains(raw, p) }) {
		k.fault(path, "finds the same for everybody", "use "+strings.Join(needed, " or ")+" in it")
	}
}

// withoutPrefix is what the library says, without its name and number.
func withoutPrefix(err error) string {
	_, text, ok := strings.Cut(err.Error(), "ldap: ")
	if !ok {
		return "it can't be read"
	}
	return printable(text)
}

func (k *checks) groupSearch(at string, l LDAP) {
	g := l.Groups
	k.dn(at+".groups.baseDN", g.BaseDN)
	if g.Filter != "" {
		k.filter(at+".groups.filter", g.Filter, groupPlaceholders(), slices.Sorted(maps.Keys(groupPlaceholders())))
		switch {
		case g.ObjectClass != "":
			k.fault(at+".groups.objectClass", "has no effect, for groups.filter says it all", "put it into the filter, or remove one of the two")
		case g.From != "" && g.From != "search" && !g.Nested:
			k.fault(at+".groups.filter", "has no effect with groups.from "+g.From, "set groups.from to search, or remove it")
		case g.Nested && !strings.Contains(g.Filter, "{dn}"):
			k.fault(at+".groups.filter", "can't find groups within groups", "use {dn} in it, or leave nested out")
		}
	}
	if g.Nested && (g.From == "none" || g.From == "gidNumber") {
		k.fault(at+".groups.nested", "has no effect with groups.from "+g.From, "set groups.from to memberOf or search, or remove it")
	}
	if g.As == "gidNumber" && g.From == "memberOf" {
		k.fault(at+".groups.as", "memberOf holds no numbers", "set groups.from to search or gidNumber, or as to name or dn")
	}
}

// groupNames refuses groups to let in that are spelled in another way than
// groups are known by: nobody would ever be in them (LDAP-34).
func (k *checks) groupNames(at string, l LDAP) {
	for i, g := range l.AllowedGroups {
		path := indexed(at+".allowedGroups", i)
		dn, err := ldap.ParseDN(g)
		isDN := err == nil && strings.Contains(g, "=") && len(dn.RDNs) > 0
		switch {
		case l.Groups.From == "none":
			k.fault(path, "nobody is in it, for groups.from is none", "set "+k.named(at, "groups.from")+", or remove "+k.named(at, "allowedGroups"))
			return
		case l.Groups.As == "dn" && !isDN:
			k.fault(path, quoted(g)+" is not a DN, but groups are known by theirs", "write the whole DN, or set groups.as to name")
		case l.Groups.As == "name" && isDN && len(dn.RDNs) > 1:
			k.fault(path, quoted(g)+" is a DN, but groups are known by their names", "write the name alone, or set groups.as to dn")
		case l.Groups.As == "gidNumber" && !digits.MatchString(g):
			k.fault(path, quoted(g)+" is not a number, but groups are known by theirs", "write the gidNumber, or set groups.as to name")
		}
	}
}

func (k *checks) ldapTimes(at string, l LDAP) {
	within := func(key string, d Duration, least, most time.Duration) {
		if d.Std() < least || d.Std() > most {
			k.fault(at+"."+key, "is "+d.String(), fmt.Sprintf("use %s to %s", Duration(least), Duration(most)))
		}
	}
	within("refreshInterval", l.RefreshInterval, time.Minute, 24*time.Hour)
	within("basicCache.lifetime", l.BasicCache.Lifetime, 0, time.Hour)
	within("basicCache.rejectedLifetime", l.BasicCache.RejectedLifetime, 0, 10*time.Minute)
	within("pool.idleTimeout", l.Pool.IdleTimeout, time.Second, time.Hour)
	within("connectTimeout", l.ConnectTimeout, 100*time.Millisecond, 30*time.Second)
	within("timeout", l.Timeout, 100*time.Millisecond, 30*time.Second)
	if l.ConnectTimeout > l.Timeout {
		k.fault(at+".connectTimeout", l.ConnectTimeout.String()+" is longer than timeout, "+l.Timeout.String(), "make it shorter, or timeout longer")
	}
}

// regulation refuses numbers that would let more guesses through than they say.
func (k *checks) regulation() {
	r := k.c.Regulation
	if r.FindTime.Std() < time.Second || r.FindTime.Std() > 24*time.Hour {
		k.fault("regulation.findTime", "is "+r.FindTime.String(), "use 1s to 24h")
	}
	switch {
	case r.BanTime.Std() > 24*time.Hour:
		k.fault("regulation.banTime", "is longer than a day", "use at most 24h: anybody can get anybody else banned for that long")
	case r.BanTime < r.FindTime:
		k.fault("regulation.banTime", r.BanTime.String()+" is shorter than findTime, "+r.FindTime.String(), "make it at least as long")
	}
	if r.MaxUserRetries < r.MaxRetries {
		k.fault("regulation.maxUserRetries", fmt.Sprintf("is less than maxRetries, %d", r.MaxRetries), "make it at least as many: it counts the same and more")
	}
	if r.MaxAddressRetries < r.MaxRetries {
		k.fault("regulation.maxAddressRetries", fmt.Sprintf("is less than maxRetries, %d", r.MaxRetries), "make it at least as many: it counts the same and more")
	}
}
