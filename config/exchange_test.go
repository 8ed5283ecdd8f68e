package config

import (
	"strings"
	"testing"
)

// exchanging is one upstream that gets access tokens of its own, and one that gets none.
const exchanging = `
publicURL: https://wandb.example.com
upstreams:
  - {name: wandb, url: "unix:///run/wandb.sock", identity: exchange, exchange: {subject: username, audience: acme}}
  - {name: docs, url: "http://docs:8080", paths: [/docs]}
authn:
  - {name: okta, oidc: {issuer: "https://idp.example.com", clientID: gate, allowedGroups: [x]}}
`

const withKeys = exchanging + "session: {keys: [" + goodKey + "]}\n"

// TestIssuerPaths: the documents at the root are the gateway's own only if it is an
// issuer to somebody.
func TestIssuerPaths(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		own  bool
	}{
		"exchange":    {exchanging, true},
		"headers":     {strings.Replace(exchanging, "identity: exchange, exchange: {subject: username, audience: acme}", "identity: headers", 1), false},
		"passthrough": {strings.Replace(exchanging, "identity: exchange, exchange: {subject: username, audience: acme}", "identity: passthrough", 1), false},
	} {
		got := decode(t, c.text)
		for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oidc-configuration"} {
			if got.Paths.Owns(path) != c.own {
				t.Errorf("%s: %s is the gateway's own: %t", name, path, !c.own)
			}
		}
		for _, path := range []string{"/.well-known/openid-configuration/x", "/.well-known", "/oidc/token"} {
			if got.Paths.Owns(path) {
				t.Errorf("%s: %s is the gateway's own", name, path)
			}
		}
	}
}

// TestExchangeWarnings: a username is nobody's alone where there are several ways in, and
// keys that end with the process are new to the application each time.
func TestExchangeWarnings(t *testing.T) {
	if w := decode(t, exchanging).Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "upstreams[0].identity: ") {
		t.Errorf("without keys: %q", w)
	}
	if w := decode(t, withKeys).Warnings(); len(w) != 0 {
		t.Errorf("one route: %q", w)
	}
	two := strings.Replace(withKeys, "session:", `  - {name: lab, oidc: {issuer: "https://lab.example.com", clientID: gate, subjectPrefix: "lab:", allowedGroups: [x]}}
sharedEmails: true
session:`, 1)
	if w := decode(t, two).Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "upstreams[0].exchange.subject: ") {
		t.Errorf("two routes: %q", w)
	}
	if w := decode(t, strings.Replace(two, "subject: username", "subject: email", 1)).Warnings(); len(w) != 0 {
		t.Errorf("by e-mail: %q", w)
	}
}
