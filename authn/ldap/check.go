package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
	"gatehouse/config"
)

// Check connects to the directory, binds and searches as a sign-in would, and
// tells what it found: how many people and groups, what they lack, and what of
// the settings does not fit. It changes nothing and checks nobody's password.
func Check(ctx context.Context, c config.LDAP, r config.Regulation) []authn.Finding {
	d, err := newDirectory(c)
	if err != nil {
		return []authn.Finding{{What: "settings", Detail: err.Error(), Fix: "see docs/settings.md"}}
	}
	defer d.close()
	k := &checker{directory: d, regulation: r}
	for _, s := range d.dialer.servers {
		k.server(ctx, s)
	}
	if k.reached == 0 {
		return k.findings
	}
	if k.bind(ctx) {
		k.root(ctx)
		k.people(ctx)
		k.groups(ctx)
		k.lockout(ctx)
	}
	return k.findings
}

// checker collects findings.
type checker struct {
	*directory
	regulation config.Regulation
	findings   []authn.Finding
	reached    int // servers
	// sample is the people that were found; none if they could not be read.
	sample []*ldap.Entry
}

// Settings that fixes speak of, with the names that who has the environment
// alone knows them by.
const (
	bindName   = "bindDN (LOCAL_LDAP_BIND_DN)"
	setBase    = "baseDN (LOCAL_LDAP_BASE_DN)"
	setUsers   = "users.baseDN (LOCAL_LDAP_USER_BASE_DN)"
	setGroups  = "groups.baseDN (LOCAL_LDAP_GROUP_BASE_DN)"
	setFrom    = "groups.from (group= in LOCAL_LDAP_ATTRIBUTES)"
	setAddress = "the address (LOCAL_LDAP_ADDRESS)"
	setTLS     = "startTLS (LOCAL_LDAP_TLS_ENABLE=true)"
)

func (k *checker) ok(what, format string, args ...any) {
	k.findings = append(k.findings, authn.Finding{OK: true, What: what, Detail: fmt.Sprintf(format, args...)})
}

func (k *checker) bad(what, detail, fix string) {
	k.findings = append(k.findings, authn.Finding{What: what, Detail: authn.Bounded(detail), Fix: fix})
}

// server looks at one address.
func (k *checker) server(ctx context.Context, s config.Server) {
	c, err := k.at(s).dial(ctx)
	if err != nil {
		k.bad(s.Address, err.Error(), serverFix(err, s))
		return
	}
	defer c.part()
	k.reached++
	how := "in the clear"
	if t, ok := c.raw.(*tls.Conn); ok {
		state := t.ConnectionState()
		how = tls.VersionName(state.Version)
		if certs := state.PeerCertificates; len(certs) > 0 {
			how += ", certificate until " + certs[0].NotAfter.Format(time.DateOnly)
		}
	} else if s.Network == "unix" {
		how = "by a socket"
	}
	k.ok(s.Address, "connected %s", how)
}

// serverFix says what to do about a server that can't be used.
func serverFix(err error, s config.Server) string {
	var record tls.RecordHeaderError
	text := err.Error()
	// The library hands on the text alone of what ended a connection.
	strange := notLDAP(err) || strings.HasSuffix(text, ": EOF") || strings.Contains(text, errFrame.Error())
	switch {
	case strings.Contains(text, "certificate"):
		return certificateFix(err)
	case errors.As(err, &record) || strange && strings.Contains(text, ": TLS: "):
		return "it does not speak TLS there: use its ldaps port, or ldap:// with " + setTLS
	case strings.Contains(text, "begin TLS"):
		return "it does not begin TLS: use ldaps://, or have StartTLS enabled there"
	case strange && plain(s):
		return "something else than LDAP is listening there: see the port; or it is a TLS port: write ldaps://"
	case strange:
		return "something else than LDAP is listening there: see the port"
	}
	return "check " + setAddress + ", and that the server is up and can be reached from here"
}

// plain says whether a server is talked to in the clear at a port where TLS may be meant.
func plain(s config.Server) bool {
	_, port, _ := net.SplitHostPort(s.Address)
	return s.Network == "tcp" && !s.TLS && port != "389"
}

// certificateFix says what to do about a certificate that is not trusted.
func certificateFix(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "put the certificate of your own authority into a file and set tls.caFile to it"
	case errors.As(err, new(x509.HostnameError)) && !strings.Contains(err.Error(), "legacy Common Name"):
		return "set tls.serverName to the name in the certificate, or use that name in " + setAddress
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		return "it is not valid yet: see the clocks of this machine and of whoever signed it"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "have it renewed"
	}
	return "have its certificate signed by an authority that tls.caFile names, for the host of the address or tls.serverName"
}

// bind opens a connection that searches.
func (k *checker) bind(ctx context.Context) bool {
	as := k.settings.BindDN
	if as == "" {
		as = "nobody (anonymous)"
	}
	c, err := k.openSearch(ctx)
	if err != nil {
		fix := "check bindDN and bindPassword (LOCAL_LDAP_BIND_DN and LOCAL_LDAP_BIND_PW): they are what the gateway searches as"
		if !errors.As(err, new(refusedService)) { // it did not come to that
			fix = serverFix(err, k.brokenAt(err))
		}
		k.bad("bind", err.Error(), fix)
		return false
	}
	c.part()
	k.ok("bind", "as %s", as)
	if _, err := k.search(ctx, query{base: k.settings.BaseDN, scope: ldap.ScopeBaseObject, filter: "(objectClass=*)", attrs: []string{"1.1"}, most: 1}); err != nil {
		fix := "check " + setBase
		switch {
		case errors.Is(err, errBroken): // without a name this is the first question
			fix = serverFix(err, k.brokenAt(err))
		case k.settings.BindDN == "":
			fix += "; if the directory lets nobody search without a name, set " + bindName
		}
		k.bad("baseDN", err.Error(), fix)
		return false
	}
	return true
}

// brokenAt is the server that an error tells of.
func (k *checker) brokenAt(err error) config.Server {
	for _, s := range k.dialer.servers {
		if strings.Contains(err.Error(), s.Address) && !k.dialer.startTLS {
			return s
		}
	}
	return config.Server{}
}

// readable says how to come to see what the directory may hide.
func (k *checker) readable(what string) string {
	if k.settings.BindDN == "" {
		return "set " + bindName + ": who searches without a name may not be shown " + what
	}
	return "check that " + bindName + " may read " + what
}

// root tells what kind of directory it is (RFC 4512, section 5.1).
func (k *checker) root(ctx context.Context) {
	all, err := k.search(ctx, query{scope: ldap.ScopeBaseObject, filter: "(objectClass=*)", most: 1,
		attrs: []string{"vendorName", "objectClass", "supportedCapabilities", "supportedExtension"}})
	if err != nil || len(all) != 1 {
		return // many hide it
	}
	e := all[0]
	is := ""
	switch {
	case slices.Contains(values(e, "supportedCapabilities"), "1.2.840.113556.1.4.800"):
		is = "activeDirectory"
	case slices.Contains(values(e, "objectClass"), "OpenLDAProotDSE"):
		is = "openLDAP"
	case slices.ContainsFunc(values(e, "vendorName"), func(v string) bool { return strings.Contains(v, "LLDAP") }):
		is = "lldap"
	}
	switch {
	case is == "":
	case is != k.settings.Preset && (is == "activeDirectory") != (k.settings.Preset == "activeDirectory"):
		k.bad("preset", "the directory is of the kind "+is+", the settings say "+k.settings.Preset, "set preset to "+is+" (GATEHOUSE_AUTHN_0_LDAP_PRESET="+is+", where 0 is the route's place)")
	default:
		k.ok("preset", "%s", k.settings.Preset)
	}
}

// maxSample bounds how many people or groups a check reads.
const maxSample = 20_000

// people counts who could sign in, and what their entries lack.
func (k *checker) people(ctx context.Context) {
	all, err := k.search(ctx, query{
		base: k.settings.Users.BaseDN, scope: scope(k.settings.Users.Scope), most: maxSample,
		filter: strings.ReplaceAll(k.settings.Users.Filter, "{input}", "*"), attrs: k.personAttributes(),
	})
	switch {
	case errors.Is(err, errTooMany):
		k.ok("people", "more than can be read at once, so what they have is not looked at")
		return
	case err != nil:
		k.bad("people", err.Error(), "check "+setUsers+" and users.filter")
		return
	case len(all) == 0:
		k.bad("people", "nobody is found below "+k.settings.Users.BaseDN+" by "+k.settings.Users.Filter,
			"check "+setUsers+" and users.filter; "+k.readable("people"))
		return
	}
	k.sample = all
	out := 0
	for _, e := range all {
		if outOfUse(e, time.Now()) != "" {
			out++
		}
	}
	k.ok("people", "%d found, %d of them disabled or expired", len(all), out)
	a := k.settings.Attributes
	k.attribute(a.Subject, "subject", true)
	k.attribute(a.Username, "username", true)
	k.attribute(a.Email, "email", false)
	k.attribute(a.Name, "name", false)
	if k.settings.Groups.From == "gidNumber" {
		k.attribute("gidNumber", "", false)
	}
}

// attribute counts who lacks an attribute, or has a needed one that can't be used.
func (k *checker) attribute(attr, key string, needed bool) {
	without, unfit := 0, 0
	for _, e := range k.sample {
		if len(values(e, attr)) == 0 {
			without++
		} else if _, err := single(e, attr); needed && err != nil {
			unfit++
		}
	}
	set := k.readable("it")
	if key != "" {
		short := key
		if key == "subject" {
			short = "id"
		}
		set = "set attributes." + key + " (" + short + "= in LOCAL_LDAP_ATTRIBUTES) to one that they have, or " + set
	}
	total := len(k.sample)
	switch {
	case without == total:
		k.bad("attribute "+attr, "nobody has it", set)
	case needed && without+unfit > 0:
		k.ok("attribute "+attr, "%d of %d have it; %d lack it and %d have a value that can't name anybody: they can't sign in", total-without-unfit, total, without, unfit)
	default:
		k.ok("attribute "+attr, "%d of %d have it", total-without, total)
	}
}

// lockout holds regulation against the directory's own, so that guesses that
// come through the gateway lock nobody out there.
func (k *checker) lockout(ctx context.Context) {
	least, window := k.policy(ctx)
	r, also := k.regulation, ""
	if r.MaxRetries >= least { // it may not be more than maxUserRetries
		also = " and maxRetries"
	}
	switch {
	case least == 0:
	case window == 0 && r.MaxUserRetries < least:
		k.ok("regulation", "the directory locks people out after %d wrong passwords and never forgets one: guesses over days may lock people out there", least)
	case r.MaxUserRetries >= least:
		k.bad("regulation", fmt.Sprintf("the directory locks people out after %d wrong passwords, the gateway lets %d through", least, r.MaxUserRetries),
			"set regulation.maxUserRetries"+also+" below "+strconv.Itoa(least))
	case window > r.FindTime.Std():
		k.bad("regulation", fmt.Sprintf("the directory counts wrong passwords for %s, the gateway for %s", config.Duration(window), r.FindTime),
			"set regulation.findTime and banTime to "+config.Duration(window).String())
	default:
		k.ok("regulation", "%d wrong passwords reach the directory, which locks out after %d", r.MaxUserRetries, least)
	}
}

// policy returns after how many wrong passwords the directory locks people out
// and for how long it counts them; zero if it can't be seen.
func (k *checker) policy(ctx context.Context) (least int, window time.Duration) {
	q := query{base: k.settings.BaseDN, scope: ldap.ScopeWholeSubtree, filter: "(objectClass=pwdPolicy)",
		attrs: []string{"pwdMaxFailure", "pwdFailureCountInterval", "pwdLockout"}, most: 100}
	if k.settings.Preset == "activeDirectory" {
		q = query{base: k.settings.BaseDN, scope: ldap.ScopeBaseObject, filter: "(objectClass=*)", attrs: []string{"lockoutThreshold", "lockOutObservationWindow"}, most: 1}
	}
	all, err := k.search(ctx, q)
	if err != nil {
		return 0, 0
	}
	number := func(e *ldap.Entry, attr string) int {
		n := 0
		if v := values(e, attr); len(v) == 1 {
			n, _ = strconv.Atoi(v[0])
		}
		return n
	}
	for _, e := range all {
		n, w := number(e, "pwdMaxFailure"), time.Duration(number(e, "pwdFailureCountInterval"))*time.Second
		if !slices.Contains(values(e, "pwdLockout"), "TRUE") {
			n = 0
		}
		if k.settings.Preset == "activeDirectory" {
			n, w = number(e, "lockoutThreshold"), time.Duration(-number(e, "lockOutObservationWindow"))*100 // in 100 ns, negative
		}
		if n > 0 && (least == 0 || n < least) {
			least, window = n, w
		}
	}
	return least, window
}
