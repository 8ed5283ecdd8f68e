package config

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// exchange checks how an upstream gets access tokens of its own.
func (k *checks) exchange(at string, u Upstream) {
	e := u.Exchange
	if !u.Exchanges() {
		if e.TokenURL != "" || e.TLS != (ClientTLS{}) || e.Audience != "wandb" || e.Subject != "email" {
			k.fault(at+".exchange", "has no effect, for identity is "+quoted(u.Identity), "set identity: exchange, or leave it out")
		}
		return
	}
	if k.c.Assertion.Disabled {
		k.fault(at+".identity", "is exchange, but assertion.disabled takes away the keys that the gateway signs with, and what the application verifies by", "leave assertion.disabled out, or use identity: headers")
	}
	for i, other := range k.c.Upstreams {
		if other.URL != u.URL && !k.c.Assertion.Disabled && cmp.Or(other.Audience, other.Name) == e.Audience {
			k.fault(at+".exchange.audience", quoted(e.Audience)+" is whom the signed header for "+indexed("upstreams", i)+" is for too, which could be exchanged by whoever gets it there", "set "+indexed("upstreams", i)+".audience to another one")
		}
	}
	k.exchangeAudience(at, u)
	if e.TokenURL == "" {
		k.clientTLS(at+".exchange.tls", e.TLS, false)
		if u, problem := webURL(u.URL, "https", "http"); problem == "" && k.own(&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/oidc/token"}) {
			k.fault(at+".url", "leads back to this gateway, whose own /oidc/token would be asked for the application's tokens", loopFix)
		}
		return
	}
	token, problem := webURL(e.TokenURL, "https", "http")
	switch {
	case problem != "":
		k.fault(at+".exchange.tokenURL", problem, "write it like https://wandb.internal/oidc/token")
	case k.own(token):
		k.fault(at+".exchange.tokenURL", "leads back to this gateway, whose own path "+token.Path+" is", loopFix)
	default:
		k.clientTLS(at+".exchange.tls", e.TLS, token.Scheme == "https")
	}
}

// exchangeAudience checks that what is signed for one place can't be exchanged at another.
func (k *checks) exchangeAudience(at string, u Upstream) {
	at += ".exchange.audience"
	endpoint := func(u Upstream) string { return cmp.Or(u.Exchange.TokenURL, u.URL) }
	for i, other := range k.c.Upstreams {
		if other.Name == u.Name {
			break // each pair is told once
		}
		if other.Exchanges() && other.Exchange.Audience == u.Exchange.Audience && endpoint(other) != endpoint(u) {
			k.fault(at, quoted(u.Exchange.Audience)+" is that of "+indexed("upstreams", i)+" too: whoever runs one of the two could exchange there what was signed for the other", "set one of them to something else that the application accepts: at a W&B server its organization's name")
		}
	}
	f := k.c.ForwardAuth
	if f == nil || k.c.Assertion.Disabled {
		return
	}
	theirs := []string{f.Audience}
	if f.Audience == "" { // then it is the host
		theirs = append(slices.Clone(f.Hosts), k.c.Origin().Hostname())
	}
	if slices.ContainsFunc(theirs, func(a string) bool {
		name, _, _ := strings.Cut(a, ":")
		return a == u.Exchange.Audience || strings.EqualFold(name, u.Exchange.Audience)
	}) {
		k.fault(at, quoted(u.Exchange.Audience)+" is whom the signed header for an application behind another proxy is for too, which could exchange it", "set forwardAuth.audience to another one")
	}
}

const loopFix = "name the address at which the application itself listens"

// own says whether a URL is one that the gateway answers itself.
func (k *checks) own(u *url.URL) bool {
	public := k.c.Origin()
	if u.Scheme != public.Scheme || !k.c.Paths.Owns(u.Path) {
		return false
	}
	host := strings.ToLower(u.Host)
	if defaultPort(u.Scheme, u.Port()) {
		host = strings.TrimSuffix(host, ":"+u.Port())
	}
	return slices.Contains(k.c.Hosts(), host)
}
