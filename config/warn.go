package config

import (
	"maps"
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

// openFiles names the files with a secret in them that every user of this machine can
// read: by the names of the settings, so that a new one is among them by itself.
func (c Config) openFiles() []string {
	secrets := []string{"keyFile", "KeyFile", "keysFile", "SecretFile", "asswordFile", "tokenFile", "cacheDir"}
	settings := c.flat(false)
	var out []string
	for _, path := range slices.Sorted(maps.Keys(settings)) {
		secret := slices.ContainsFunc(secrets, func(end string) bool { return strings.HasSuffix(path, end) })
		public := strings.Contains(path, ".issuers[") && strings.HasSuffix(path, "].keyFile") // an issuer's, to verify with
		if !secret || public {
			continue
		}
		if info, err := os.Stat(settings[path]); err == nil && info.Mode().Perm()&0o004 != 0 {
			out = append(out, path+": every user of this machine can read "+settings[path])
		}
	}
	return out
}
