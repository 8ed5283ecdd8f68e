package config

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (k *checks) bearer(at string, b Bearer) {
	seen, opaque := map[string]string{}, map[string]string{}
	for i, issuer := range b.Issuers {
		here := indexed(at+".issuers", i)
		if first, ok := seen[issuer.Issuer]; ok {
			k.fault(here+".issuer", "is the same as that of "+first, "make one of the two")
		}
		seen[issuer.Issuer] = here
		k.tokenIssuer(here, issuer.WithPreset(k.c.Teams))
		if in := issuer.Introspection; in != nil {
			k.introspection(here+".introspection", *in)
			for prefix, first := range opaque {
				if strings.HasPrefix(prefix, in.TokenPrefix) && strings.HasPrefix(in.TokenPrefix, prefix) {
					k.fault(here+".introspection.tokenPrefix", "is the same as that of "+first+", so that a token would be shown to both", "say what each one's tokens begin with")
				}
			}
			opaque[in.TokenPrefix] = here
		}
	}
	switch l := b.Exchange.Lifetime.Std(); {
	case b.Exchange.Disabled:
	case l <= 5*time.Minute:
		k.fault(at+".exchange.lifetime", b.Exchange.Lifetime.String()+" is too short: the W&B SDK asks for another token five minutes before the end, so it would with every request", "use 15m or more")
	case l > 7*24*time.Hour:
		k.fault(at+".exchange.lifetime", "is longer than a week", "use at most 168h")
	}
	k.tokenCache(at+".cache", b.Cache)
}

func (k *checks) tokenCache(at string, c TokenCache) {
	if c.Lifetime > Duration(15*time.Minute) {
		k.fault(at+".lifetime", "is longer than a quarter of an hour, for which what was taken back would be good", "use 15m or less")
	}
	if c.RejectedLifetime > Duration(time.Minute) {
		k.fault(at+".rejectedLifetime", "is longer than a minute, for which what is good again would be refused", "use 1m or less")
	}
}

func (k *checks) tokenIssuer(at string, i Issuer) {
	u := k.issuerURL(at+".issuer", i.Issuer)
	if i.JWKSURL != "" {
		switch keys, problem := webURL(i.JWKSURL, "https", "http"); {
		case i.KeyFile != "":
			k.fault(at+".jwksURL", "set together with keyFile", "keep one of the two")
		case problem != "":
			k.fault(at+".jwksURL", problem, "write it like https://idp.example.com/keys")
		case keys.Scheme == "http" && !loopback(keys.Hostname()):
			k.fault(at+".jwksURL", "must be https, for anyone on the network could give out keys of their own", "write https://"+keys.Host+keys.Path)
		}
	}
	if i.KeyFile != "" {
		text, err := readFile(i.KeyFile, maxPEM)
		switch {
		case err != nil:
			k.fault(at+".keyFile", "can't be read: "+reason(err), readable)
		case !strings.HasPrefix(strings.TrimSpace(string(text)), "{") && !strings.Contains(string(text), "-----BEGIN "):
			k.fault(at+".keyFile", "holds no keys", "put a JWK set into it, or public keys or certificates in PEM")
		}
		if i.TokenFile != "" {
			k.fault(at+".tokenFile", "has no effect beside keyFile", "remove one of the two")
		}
	}
	if i.TokenFile != "" {
		if _, err := readFile(i.TokenFile, maxSecretFile); err != nil {
			k.fault(at+".tokenFile", "can't be read: "+reason(err), readable)
		}
	}
	k.audiences(at, i)
	for n, t := range i.Types {
		if strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }) {
			k.fault(indexed(at+".types", n), quoted(t)+" is not a type", "write it like at+jwt, or none")
		}
	}
	k.admission(at, i.AllowedEmailDomains, i.AllowedGroups)
	if i.ClockSkew > Duration(5*time.Minute) {
		k.fault(at+".clockSkew", i.ClockSkew.String()+" would accept tokens long expired", "use at most 5m, and set the clocks right")
	}
	if i.KeysInterval > Duration(10*time.Minute) {
		k.fault(at+".keysInterval", "is longer than ten minutes, for which tokens by a new key would get 503", "use 10m or less")
	}
	if i.KeysInterval < Duration(time.Second) {
		k.fault(at+".keysInterval", i.KeysInterval.String()+" would let anybody make the gateway flood the issuer", "use 1s or more")
	}
	k.clientTLS(at+".tls", i.TLS, u != "http" || i.JWKSURL != "")
}

// audiences refuses an issuer whose tokens would be good whoever they were made
// for (JWT-35).
func (k *checks) audiences(at string, i Issuer) {
	path := at + ".audiences"
	switch {
	case len(i.Audiences) == 0 && !i.SkipAudienceValidation:
		k.fault(path, "is missing: a token that was made for another place would be good here", "name whom tokens are made for, as their aud claim does; if they may be for anybody, set skipAudienceValidation")
	case len(i.Audiences) > 0 && i.SkipAudienceValidation:
		k.fault(path, "set together with skipAudienceValidation", "keep one of the two")
	}
	for n, a := range i.Audiences {
		if strings.TrimSpace(a) != a || a == "*" {
			k.fault(indexed(path, n), quoted(a)+" is nobody's audience", "write it exactly as the aud claim does")
		}
	}
}

func (k *checks) introspection(at string, in Introspection) {
	if in.URL != "" {
		switch u, problem := webURL(in.URL, "https", "http"); {
		case problem != "":
			k.fault(at+".url", problem, "write it like https://idp.example.com/introspect")
		case u.Scheme == "http" && !loopback(u.Hostname()):
			k.fault(at+".url", "must be https, for tokens and the client's secret go there", "write https://"+u.Host+u.Path)
		}
	}
	for prefix, whose := range map[string]string{"gh_at_": "the gateway's own tokens", "gatehouse-": "the gateway's API keys", "wb_at_": "the application's own tokens", "wandb_v": "the application's own keys", "eyJ": "JWTs"} {
		if in.TokenPrefix != "" && (strings.HasPrefix(prefix, in.TokenPrefix) || strings.HasPrefix(in.TokenPrefix, prefix)) {
			k.fault(at+".tokenPrefix", "is what "+whose+" begin with", "name the beginning of this issuer's opaque tokens, or leave it out")
		}
	}
	k.clientAuth(at, OIDC{
		ClientID: in.ClientID, ClientSecret: in.ClientSecret, ClientSecretFile: in.ClientSecretFile,
		ClientAuth: in.ClientAuth, ClientKeyFile: in.ClientKeyFile, ClientKeyID: in.ClientKeyID,
	})
	if in.ClientSecret == "" && in.ClientSecretFile == "" && in.ClientKeyFile == "" {
		k.fault(at, "says nothing to prove the gateway with", "set clientSecretFile or clientKeyFile")
	}
}

func (k *checks) apiKey(at string, a APIKey) {
	k.admission(at, a.AllowedEmailDomains, a.AllowedGroups)
	k.tokenCache(at+".cache", a.Cache)
	for _, only := range []struct {
		name string
		set  bool
	}{{"allowedEmailDomains", a.AllowedEmailDomains != nil}, {"allowedGroups", a.AllowedGroups != nil}} {
		if only.set && a.Application != "verify" {
			k.fault(at+"."+only.name, "has no effect unless application is verify: nobody knows whose a key is", "set application: verify, or remove it")
		}
	}
	switch {
	case a.Application == "refuse":
		if a.Upstreams != nil {
			k.fault(at+".upstreams", "has no effect with application refuse", "remove it")
		}
	case a.Upstreams == nil && len(k.c.KeyUpstreams(a)) != 1:
		k.fault(at+".upstreams", "is missing, and there are several upstreams: keys of one would be shown to all", "name those that know these keys")
	case a.Application == "verify" && a.SubjectPrefix == "":
		k.fault(at+".subjectPrefix", "is empty, but the application's people must not be taken for others", "leave it out")
	}
	for i, name := range a.Upstreams {
		if !slices.ContainsFunc(k.c.Upstreams, func(u Upstream) bool { return u.Name == name }) {
			k.fault(indexed(at+".upstreams", i), quoted(name)+" is the name of no upstream", "name one of upstreams")
		}
	}
}

// accounts checks service accounts, and that an account can prove itself.
func (k *checks) accounts() {
	teams := map[string]bool{}
	for _, t := range k.c.Teams {
		teams[t.Name] = true
	}
	if teams["*"] {
		clear(teams) // any name may be one
	}
	names, subjects, hashes := map[string]bool{}, map[[2]string]bool{}, map[string]bool{}
	keys := slices.ContainsFunc(k.c.Authn, func(r Route) bool { return r.APIKey != nil })
	for i, a := range k.c.ServiceAccounts {
		at := indexed("serviceAccounts", i)
		if names[a.Name] {
			k.fault(at+".name", quoted(a.Name)+" is there twice", "give each its own")
		}
		names[a.Name] = true
		if len(a.Teams) > 0 && a.Scope != "organization" {
			k.fault(at+".teams", "has no effect with scope team", "set scope: organization, or remove it")
		}
		for n, t := range append([]string{a.Team}, a.Teams...) {
			if path := at + ".team"; len(teams) > 0 && !teams[t] {
				if n > 0 {
					path = indexed(at+".teams", n-1)
				}
				k.fault(path, quoted(t)+" is none of teams", "add it there, or correct it")
			}
		}
		for n, h := range a.KeyHashes {
			path := indexed(at+".keyHashes", n)
			if raw, err := hex.DecodeString(strings.TrimPrefix(h, "sha256:")); err != nil || len(raw) != 32 || !strings.HasPrefix(h, "sha256:") || h != strings.ToLower(h) {
				k.fault(path, "is not the hash of a key", `write what "gatehouse key new --print" shows: sha256: and 64 digits`)
			} else if hashes[h] {
				k.fault(path, "is the hash of another account's key", "make a key for each")
			}
			hashes[h] = true
		}
		external := k.external(at, a)
		if external != [2]string{} && subjects[external] {
			k.fault(at+".subject", "is the subject of another account too", "give each its own")
		}
		subjects[external] = true
		if !keys && a.Subject == "" {
			k.fault(at, "can't prove itself: there is no subject, and no route for API keys", "set subject, or add a route with apiKey: {application: refuse}")
		}
	}
}

// external returns the issuer and the subject of an external account.
func (k *checks) external(at string, a ServiceAccount) [2]string {
	b := k.c.bearer()
	switch {
	case a.Subject == "":
		if a.Issuer != "" {
			k.fault(at+".issuer", "has no effect without subject", "set subject, or remove it")
		}
		return [2]string{}
	case b == nil:
		k.fault(at+".subject", "has no effect: no route trusts JWTs", "add a route with bearer")
		return [2]string{}
	case a.Issuer == "" && len(b.Issuers) > 1:
		k.fault(at+".issuer", "is missing, and there are several issuers", "name the one whose JWTs have this subject")
	case a.Issuer != "" && !slices.ContainsFunc(b.Issuers, func(i Issuer) bool { return i.Issuer == a.Issuer }):
		k.fault(at+".issuer", fmt.Sprintf("%q is none of the issuers of the bearer route", a.Issuer), "write it exactly as there")
	case a.Issuer == "" && len(b.Issuers) == 1:
		a.Issuer = b.Issuers[0].Issuer
	}
	return [2]string{a.Issuer, a.Subject}
}
