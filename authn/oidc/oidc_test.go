package oidc

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// TestNew: settings that no sign-in could be safe with.
func TestNew(t *testing.T) {
	deps := newRig(t).deps
	good := config.OIDC{Issuer: issuerURL, ClientID: "gw"}
	for name, edit := range map[string]func(*config.OIDC){
		"SSRF-12 dots":         func(c *config.OIDC) { c.Issuer = "https://idp.test/../evil" },
		"SSRF-12 query":        func(c *config.OIDC) { c.Issuer = "https://idp.test/?x=" },
		"SSRF-12 bare query":   func(c *config.OIDC) { c.Issuer = "https://idp.test/?" },
		"SSRF-12 fragment":     func(c *config.OIDC) { c.Issuer = "https://idp.test/#" },
		"SSRF-12 user":         func(c *config.OIDC) { c.Issuer = "https://user:pw@idp.test" },
		"SSRF-12 trailing dot": func(c *config.OIDC) { c.Issuer = "https://idp.test." },
		"http":                 func(c *config.OIDC) { c.Issuer = "http://idp.test" },
		"no URL":               func(c *config.OIDC) { c.Issuer = "idp.test" },
		"bad URL":              func(c *config.OIDC) { c.Issuer = "https://%zz" },
		"no issuer":            func(c *config.OIDC) { c.Issuer = "" },
		"no client":            func(c *config.OIDC) { c.ClientID = "" },
		"no openid":            func(c *config.OIDC) { c.Scopes = []string{"email"} },
		"no secret":            func(c *config.OIDC) { c.ClientAuth = "post" },
		"HS256":                func(c *config.OIDC) { c.SigningAlgorithms = []string{"HS256"} },
		"none":                 func(c *config.OIDC) { c.SigningAlgorithms = []string{"none"} },
		"no key":               func(c *config.OIDC) { c.ClientAuth, c.ClientKeyFile = "privateKeyJWT", "/nowhere" },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			edit(&c)
			if _, err := New("main", "", c, deps); err == nil || !strings.HasPrefix(err.Error(), "oidc: route main: ") {
				t.Errorf("%v", err)
			}
		})
	}
	for _, issuer := range []string{
		issuerURL, issuerURL + "/", issuerURL + "/realms/a", "http://127.0.0.1:9000", "http://localhost:9000/x", "http://[::1]:9000",
		"https://login.microsoftonline.com/8a7b/v2.0",
	} {
		c := good
		c.Issuer = issuer
		route, err := New("main", "Corp", c, deps)
		if err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
		if route.Name != "main" || route.Label != "Corp" || route.SignInPath != signInPath || route.Authenticator != nil || route.Challenge != "" {
			t.Errorf("%+v", route)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	long := authn.Foreign{Err: errors.New("a\x1b[31m\u2028" + strings.Repeat("x", 1000))}
	if s := long.Error(); len(s) > 310 || strings.ContainsAny(s, "\x1b\u2028") {
		t.Errorf("%q", s)
	}
	if got := fmt.Sprint(refusal{status: 400, code: "x\n", text: "y"}); got != `provider answered 400 "x·" "y"` {
		t.Errorf("%s", got)
	}
}

// TestLogFlood: no log line is as long as a provider likes.
func TestLogFlood(t *testing.T) {
	long := strings.Repeat("A", 400<<10)
	twice := authntest.Reply(200, "application/json", `{"`+long+`":1,"`+long+`":2}`)
	faultAt := func(e authntest.Endpoint, f authntest.Fault) func(*authntest.Faults) {
		return func(faults *authntest.Faults) { faults.At[e] = f }
	}
	for name, fault := range map[string]func(*authntest.Faults){
		"discovery":     faultAt(authntest.Discovery, twice),
		"token":         faultAt(authntest.Token, twice),
		"keys":          faultAt(authntest.JWKS, twice),
		"userinfo":      faultAt(authntest.Userinfo, twice),
		"refusal":       faultAt(authntest.Token, authntest.Reply(400, "application/json", `{"error":"`+long+`","error_description":"`+long+`"}`)),
		"issuer":        at("issuer", "https://"+long),
		"endpoint":      at("jwks_uri", "https://"+long),
		"endpoint path": at("jwks_uri", issuerURL+"/"+long),
		"algorithms":    at("id_token_signing_alg_values_supported", []string{long}),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(s *setup) { s.issuer.ThinIDTokens = true })
			r.issuer.Set(fault)
			b := r.browser()
			if a := b.get(gatewayURL + signInPath); a.status == http.StatusSeeOther {
				b.deliver(b.authorize(a.location()))
			}
			if n := len(r.log.String()); n == 0 || n > 4000 || r.starts.count() != 0 {
				t.Errorf("%d bytes of log: %.500s", n, r.log)
			}
		})
	}
}
