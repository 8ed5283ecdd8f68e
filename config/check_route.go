package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func (k *checks) routes() {
	names, only, clients := map[string]string{}, map[string]string{}, map[[2]string]string{}
	for i, r := range k.c.Authn {
		at := indexed("authn", i)
		if first, ok := names[r.Name]; ok {
			k.fault(at+".name", fmt.Sprintf("%q is the name of %s too", r.Name, first), "give each its own")
		} else {
			names[r.Name] = at
		}
		kinds := r.kinds()
		if first, ok := only[strings.Join(kinds, "")]; ok && (r.Bearer != nil || r.APIKey != nil) {
			k.fault(at, "is a second route of the kind "+kinds[0]+", beside "+first, "make one of the two")
			continue
		}
		only[strings.Join(kinds, "")] = at
		switch {
		case len(kinds) > 1:
			k.fault(at, "is several kinds of route at once: "+strings.Join(kinds, ", "), "make a route of each, with a name")
		case r.LDAP != nil:
			k.ldap(at+".ldap", *r.LDAP)
		case r.Bearer != nil:
			k.bearer(at+".bearer", *r.Bearer)
		case r.APIKey != nil:
			k.apiKey(at+".apiKey", *r.APIKey)
		case r.OIDC != nil:
			at += ".oidc"
			client := [2]string{r.OIDC.Issuer, r.OIDC.ClientID}
			if first, ok := clients[client]; ok {
				k.fault(at+".clientID", "is the same client of the same issuer as "+first, "remove one of the two routes")
			} else {
				clients[client] = at
			}
			k.oidc(at, *r.OIDC)
		default:
			k.fault(at, "says nothing about how people sign in, or what programs send", "add oidc with issuer and clientID, ldap with address and baseDN, bearer with issuers, or apiKey with application")
		}
	}
	k.together()
}

func (k *checks) oidc(at string, o OIDC) {
	k.issuer(at, o)
	k.clientAuth(at, o)
	k.asking(at, o)
	k.admission(at, o.AllowedEmailDomains, o.AllowedGroups)
	if o.ClockSkew > Duration(5*time.Minute) {
		k.fault(at+".clockSkew", o.ClockSkew.String()+" would accept tokens long expired", "use at most 5m, and set the clocks right")
	}
}

// issuer checks an OpenID provider's, and how to speak to it.
func (k *checks) issuer(at string, o OIDC) {
	if scheme := k.issuerURL(at+".issuer", o.Issuer); scheme != "" {
		k.clientTLS(at+".tls", o.TLS, scheme == "https")
	}
}

// issuerURL refuses what discovery would read otherwise than people do
// (SSRF-12). It returns the scheme, or "" after a fault.
func (k *checks) issuerURL(path, issuer string) string {
	const fix = "write it exactly as the provider's discovery document does, for instance https://idp.example.com"
	u, problem := webURL(issuer, "https", "http")
	switch {
	case problem != "":
	case u.Scheme == "http" && !loopback(u.Hostname()):
		problem = "must be https"
	case strings.HasSuffix(u.Hostname(), "."):
		problem = "has a dot at the end of its host"
	case !hostname(strings.ToLower(u.Hostname())):
		problem = "its host is not a host name"
	case dotted(u.Path):
		problem = `has an empty, "." or ".." part in its path`
	}
	if problem != "" {
		k.fault(path, problem, fix)
		return ""
	}
	return u.Scheme
}

// dotted says whether a decoded path has parts that may lead elsewhere. One
// "/" at its end may stay: some issuers have it.
func dotted(path string) bool {
	if path == "" {
		return false
	}
	parts := strings.Split(path[1:], "/")
	if parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return slices.ContainsFunc(parts, func(p string) bool {
		return p == "" || p == "." || p == ".." || strings.Contains(p, `\`)
	})
}

// clientAuth checks that there is just what the gateway proves itself with.
func (k *checks) clientAuth(at string, o OIDC) {
	secret, key := o.ClientSecret != "" || o.ClientSecretFile != "", o.ClientKeyFile != ""
	here := at + ".clientAuth"
	if o.AuthMethod == "implicit" {
		// A secret may be there: the application beside us often has one in the
		// same environment. It stays unused.
		if key || (o.ClientAuth != "" && o.ClientAuth != "none") {
			k.fault(here, "implicit never asks the token endpoint, so nothing is proved to it", "leave clientAuth and clientKeyFile out, or use authMethod pkce")
		}
		return
	}
	switch o.ClientAuth {
	case "":
		if secret && key {
			k.fault(here, "there is a secret and a key", "say which is meant: basic, post or privateKeyJWT")
		}
	case "none":
		if secret || key {
			k.fault(here, "is none, but there is a secret or a key", "leave clientAuth out, or the secret")
		}
	case "privateKeyJWT":
		if secret || !key {
			k.fault(here, "privateKeyJWT needs clientKeyFile and no secret", "set clientKeyFile, and remove clientSecret and clientSecretFile")
		}
	default:
		if !secret || key {
			k.fault(here, o.ClientAuth+" needs a client secret and no key", "set clientSecretFile or clientSecret")
		}
	}
	if key {
		if err := checkKey(o.ClientKeyFile); err != nil {
			k.fault(at+".clientKeyFile", "the key can't be used: "+reason(err), "name a file with one private key in PEM: RSA of 2048 bits or more, P-256 or Ed25519")
		}
	} else if o.ClientKeyID != "" {
		k.fault(at+".clientKeyID", "has no effect without clientKeyFile", "set clientKeyFile too, or remove it")
	}
}

// ownParams are the parameters of an authorization request that the gateway
// sets itself; a value says which setting is for it.
func ownParams() map[string]string {
	return map[string]string{
		"client_id": "clientID", "client_secret": "clientSecret", "redirect_uri": "paths.callback",
		"response_type": "authMethod", "response_mode": "authMethod", "scope": "scopes",
		"prompt": "prompt", "max_age": "maxAge", "login_hint": "loginHint", "acr_values": "acrValues",
		"state": "", "nonce": "", "code_challenge": "", "code_challenge_method": "", "request": "", "request_uri": "",
		"code": "", "id_token_hint": "", "client_assertion": "", "client_assertion_type": "", "dpop_jkt": "",
	}
}

// ownSignOutParams are those of a sign-out request (OpenID Connect RP-Initiated
// Logout, section 2).
func ownSignOutParams() map[string]string {
	return map[string]string{"client_id": "clientID", "id_token_hint": "", "post_logout_redirect_uri": "", "state": ""}
}

// asking checks what goes into the requests that a browser takes to the provider.
func (k *checks) asking(at string, o OIDC) {
	if !slices.Contains(o.Scopes, "openid") {
		k.fault(at+".scopes", "must hold openid, or the provider sends no ID token", "add openid")
	}
	k.words(at+".scopes", o.Scopes)
	k.words(at+".acrValues", o.ACRValues)
	known := []string{"none", "login", "consent", "select_account"}
	prompts := strings.Split(o.Prompt, " ")
	for _, p := range prompts {
		if o.Prompt != "" && !slices.Contains(known, p) {
			k.fault(at+".prompt", quoted(p)+" is not a prompt", "use "+strings.Join(known, ", ")+", or several with one space between")
		}
	}
	if len(prompts) > 1 && slices.Contains(prompts, "none") {
		k.fault(at+".prompt", "none can't go with others", "write none alone, or remove it")
	}
	if o.MaxAge.Std()%time.Second != 0 {
		k.fault(at+".maxAge", "must be whole seconds", "write it like 90s or 1h")
	}
	k.params(at+".authParams", o.AuthParams, ownParams())
	k.params(at+".signOutParams", o.SignOutParams, ownSignOutParams())
}

// params refuses further parameters that are the gateway's own.
func (k *checks) params(at string, params, own map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(params)) {
		setting, ours := own[strings.ToLower(key)]
		switch {
		case ours && setting != "":
			k.fault(at+"."+key, "is the gateway's own parameter", "there is a setting for it: "+setting)
		case ours || key == "":
			k.fault(at+"."+key, "is the gateway's own parameter", "remove it")
		}
	}
}

// words refuses list items that are several words in one (RFC 6749, section 3.3).
func (k *checks) words(path string, items []string) {
	for i, item := range items {
		if strings.ContainsFunc(item, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			k.fault(indexed(path, i), quoted(item)+" is not one word", "write one a list item")
		}
	}
}

// admission checks who is let in (OPS-05): nothing here may mean everybody.
func (k *checks) admission(at string, domains, groups []string) {
	for i, domain := range domains {
		path := indexed(at+".allowedEmailDomains", i)
		base, wild := strings.CutPrefix(domain, "*.")
		switch {
		case domain == "*":
			k.fault(path, "would let everybody in", "leave allowedEmailDomains out if that is meant")
		case strings.Contains(domain, "@"):
			k.fault(path, quoted(domain)+" is not a domain", "write what stands after the @, "+domain[strings.LastIndexByte(domain, '@')+1:])
		case !domainName(base):
			k.fault(path, quoted(domain)+" is not a domain in lower case", "write it like example.com or *.example.com")
		case wild && publicSuffix(base):
			k.fault(path, quoted(domain)+" stands for domains that anybody may own", "name the domains")
		}
	}
	for i, g := range groups {
		if strings.TrimSpace(g) == "" {
			k.fault(indexed(at+".allowedGroups", i), "is blank", "name a group or remove it")
		}
	}
}

// vouching is what a route, or one of its issuers, may say of whom.
type vouching struct {
	at, prefix, issuer string
	subject            string // the claim that names people
	tokens             bool   // it takes that issuer's tokens from programs
	domains            []string
}

// vouchings lists what each route may say of whom.
func (c *Config) vouchings() []vouching {
	var out []vouching
	for i, r := range c.Authn {
		at := indexed("authn", i)
		switch {
		case r.OIDC != nil:
			out = append(out, vouching{at + ".oidc", r.OIDC.SubjectPrefix, r.OIDC.Issuer, r.OIDC.Claims.Subject, false, r.OIDC.AllowedEmailDomains})
		case r.LDAP != nil:
			out = append(out, vouching{at + ".ldap", r.LDAP.SubjectPrefix, "", "", false, r.LDAP.AllowedEmailDomains})
		case r.Bearer != nil:
			for n, issuer := range r.Bearer.Issuers {
				out = append(out, vouching{indexed(at+".bearer.issuers", n), issuer.SubjectPrefix, issuer.Issuer, issuer.Claims.Subject, true, issuer.AllowedEmailDomains})
			}
		case r.APIKey != nil && r.APIKey.Application == "verify":
			out = append(out, vouching{at + ".apiKey", r.APIKey.SubjectPrefix, "", "", false, r.APIKey.AllowedEmailDomains})
		}
	}
	return out
}

// together checks that no two routes can name the same person. One issuer names
// the same people in a browser and in programs' tokens.
func (k *checks) together() {
	all := k.c.vouchings()
	several := false
	for i := range all {
		for j := range i {
			if all[i].issuer == all[j].issuer && all[i].tokens != all[j].tokens {
				if all[i].subject != all[j].subject {
					k.fault(all[i].at+".claims.subject", "is not that of "+all[j].at+", which has the same issuer, so that one person would have two names", "give both the same")
				}
				if all[i].prefix != all[j].prefix {
					k.fault(all[i].at+".subjectPrefix", "is not that of "+all[j].at+", which has the same issuer, so that one person would have two names", "give both the same")
				}
				continue
			}
			several = true
			k.prefixes(all[j].at, all[i].at, all[j].prefix, all[i].prefix)
			if !k.c.SharedEmails {
				k.overlap(all[j].at, all[i].at, all[j].domains, all[i].domains)
			}
		}
	}
	for _, v := range all {
		if v.prefix != "" && (strings.HasPrefix(v.prefix, AccountPrefix) || strings.HasPrefix(AccountPrefix, v.prefix)) {
			k.fault(v.at+".subjectPrefix", quoted(v.prefix)+" is what service accounts' subjects begin with", "use another")
		}
		if several && !k.c.SharedEmails && v.domains == nil {
			k.fault(v.at+".allowedEmailDomains", "is missing: with several routes each could vouch for the other's addresses",
				"name the domains that it may vouch for, or set sharedEmails if an address is the same person everywhere")
		}
	}
}

func (k *checks) prefixes(first, second, a, b string) {
	switch {
	case a == b:
		k.fault(second+".subjectPrefix", "is the same as that of "+first+", so that two providers could name one person", "give each route its own, for instance its name and a colon")
	case a != "" && b != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)):
		k.fault(second+".subjectPrefix", fmt.Sprintf("one of %q and %q (%s) begins with the other", b, a, first), "end each in a colon")
	}
}

func (k *checks) overlap(first, second string, a, b []string) {
	for i, d := range b {
		for _, e := range a {
			if d == e || within(d, e) || within(e, d) {
				k.fault(indexed(second+".allowedEmailDomains", i), fmt.Sprintf("%q overlaps with %q of %s", d, e, first), "keep it in one, or set sharedEmails if an address is the same person everywhere")
			}
		}
	}
}

// within says whether domain d, or every domain that it stands for, is one that e stands for.
func within(d, e string) bool {
	base, wild := strings.CutPrefix(e, "*.")
	return wild && strings.HasSuffix(d, "."+base)
}
