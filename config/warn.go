package config

import (
	"os"
	"slices"
	"strings"
	"time"
)

// Warnings names what is not wrong but deserves a look, each with its path:
// doors that stand open, and files of secrets that every user of the machine
// can read.
func (c Config) Warnings() []string {
	return slices.Concat(c.openDoors(), c.openFiles(), c.Listen.TLS.warnings(time.Now()))
}

func (c Config) openDoors() []string {
	var out []string
	if c.InsecurePublicHTTP {
		out = append(out, "insecurePublicHTTP: anyone on the network can take over sessions")
	}
	out = append(out, c.namesakes()...)
	if c.Store.Redis != nil {
		out = append(out, c.Store.Redis.warnings()...)
	}
	for i, u := range c.Upstreams {
		if u.Exchanges() {
			out = append(out, c.openExchange(indexed("upstreams", i), u)...)
		}
	}
	for i, r := range c.Authn {
		if r.OIDC != nil && len(r.OIDC.AllowedGroups) == 0 && len(r.OIDC.AllowedEmailDomains) == 0 {
			out = append(out, indexed("authn", i)+".oidc: lets in everybody whom the provider knows; see allowedGroups and allowedEmailDomains")
		}
		if r.APIKey != nil && r.APIKey.Application == "pass" {
			out = append(out, indexed("authn", i)+".apiKey.application: lets through, to the application, whatever looks like one of its keys; the application must refuse it")
		}
		if r.Bearer != nil && !r.Bearer.Exchange.Disabled && c.Store.Redis == nil {
			out = append(out, indexed("authn", i)+".bearer.exchange: access tokens are in the memory of this process; a restart ends them, and with them the uploads of running programs; set store.redis")
		}
		if r.Bearer != nil {
			for n, issuer := range r.Bearer.Issuers {
				at := indexed(indexed("authn", i)+".bearer.issuers", n)
				if issuer.SkipAudienceValidation {
					out = append(out, at+".skipAudienceValidation: a token that was made for any other place is good here too")
				}
				if len(issuer.AllowedGroups) == 0 && len(issuer.AllowedEmailDomains) == 0 {
					out = append(out, at+": lets in everybody for whom the issuer makes such tokens; see allowedGroups and allowedEmailDomains")
				}
			}
		}
		if r.LDAP != nil {
			out = append(out, openDirectory(indexed("authn", i)+".ldap", *r.LDAP)...)
		}
	}
	return out
}

// namesakes warns of headers by which two people of one username can't be told apart.
// A subject is one person's, whichever route they come by, and so is an address.
func (c Config) namesakes() []string {
	at, says := "headers.identity", func(source string) bool {
		return slices.ContainsFunc(c.Headers.Identity, func(h Header) bool { return h.From == source || strings.Contains(h.Template, "{"+source+"}") })
	}
	alone := says("username") && !slices.ContainsFunc([]string{"subject", "issuer", "route"}, says)
	if len(c.Headers.Identity) == 0 {
		at, alone = "headers.preset", c.Headers.Preset == "authelia"
	}
	if !alone || len(c.Authn)+len(c.ServiceAccounts) < 2 {
		return nil
	}
	return []string{at + ": says the username, and nothing of the subject or the route: whoever has a username by one route is, to the application, whoever has it by another, or the service account of that name; let the application verify the signed header, or send it the subject (headers.identity)"}
}

func (c Config) openExchange(at string, u Upstream) []string {
	var out []string
	if u.Exchange.Subject == "username" && len(c.Authn)+len(c.ServiceAccounts) > 1 {
		out = append(out, at+".exchange.subject: whoever has a username by one route is, to the application, whoever has it by another, or the service account of that name; email and subject are one person's")
	}
	if len(c.Session.Keys) == 0 {
		out = append(out, at+".identity: each restart, and each replica, signs with keys that the application has not seen yet; set session.keys")
	}
	return out
}

func openDirectory(at string, l LDAP) []string {
	var out []string
	switch {
	case l.TestOnly:
		out = append(out, at+".testOnly: nobody can sign in by this route (LOCAL_LDAP_LOGIN=false with the environment alone)")
	case len(l.AllowedGroups) == 0 && len(l.AllowedEmailDomains) == 0:
		out = append(out, at+": lets in everybody whom the directory knows; see allowedGroups (LOCAL_LDAP_GROUP_ALLOW_LIST) and allowedEmailDomains")
	}
	if l.InsecurePlainLDAP {
		out = append(out, at+".insecurePlainLDAP: anyone on the network can read passwords")
	}
	return out
}

func (c Config) openFiles() []string {
	files := [][2]string{
		{"session.keysFile", c.Session.KeysFile},
	}
	for i, pair := range c.Listen.TLS.Certificates {
		files = append(files, [2]string{indexed("listen.tls.certificates", i) + ".keyFile", pair.KeyFile})
	}
	if a := c.Listen.TLS.ACME; a != nil {
		files = append(files, [2]string{"listen.tls.acme.cacheDir", a.CacheDir}, [2]string{"listen.tls.acme.accountKeyFile", a.AccountKeyFile})
	}
	for i, r := range c.Authn {
		if r.OIDC != nil {
			at := indexed("authn", i) + ".oidc."
			files = append(files, [2]string{at + "clientSecretFile", r.OIDC.ClientSecretFile}, [2]string{at + "clientKeyFile", r.OIDC.ClientKeyFile})
		}
	}
	for i, r := range c.Authn {
		if r.LDAP != nil {
			at := indexed("authn", i) + ".ldap."
			files = append(files, [2]string{at + "bindPasswordFile", r.LDAP.BindPasswordFile}, [2]string{at + "tls.keyFile", r.LDAP.TLS.KeyFile})
		}
	}
	for i, r := range c.Authn {
		if r.Bearer == nil {
			continue
		}
		for n, issuer := range r.Bearer.Issuers {
			at := indexed(indexed("authn", i)+".bearer.issuers", n) + "."
			files = append(files, [2]string{at + "tokenFile", issuer.TokenFile}, [2]string{at + "tls.keyFile", issuer.TLS.KeyFile})
			if in := issuer.Introspection; in != nil {
				files = append(files, [2]string{at + "introspection.clientSecretFile", in.ClientSecretFile}, [2]string{at + "introspection.clientKeyFile", in.ClientKeyFile})
			}
		}
	}
	if r := c.Store.Redis; r != nil {
		files = append(files, [2]string{"store.redis.passwordFile", r.PasswordFile}, [2]string{"store.redis.tls.keyFile", r.TLS.KeyFile})
		if r.Sentinel != nil {
			files = append(files, [2]string{"store.redis.sentinel.passwordFile", r.Sentinel.PasswordFile})
		}
	}
	var out []string
	for _, f := range files {
		if info, err := os.Stat(f[1]); err == nil && info.Mode().Perm()&0o004 != 0 {
			out = append(out, f[0]+": every user of this machine can read "+f[1])
		}
	}
	return out
}
