package oidc

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"

	upstream "github.com/coreos/go-oidc/v3/oidc"
)

// faults returns the findings that are not fine, by what was looked at.
func faults(findings []authn.Finding) map[string]authn.Finding {
	out := map[string]authn.Finding{}
	for _, f := range findings {
		if !f.OK {
			out[f.What] = f
		}
	}
	return out
}

func TestCheck(t *testing.T) {
	start := func(t *testing.T) (*authntest.Issuer, config.OIDC) {
		issuer, stop, err := authntest.Start(authntest.IssuerOptions{
			Keys: []authntest.Key{es256()}, Clients: []authntest.Client{{ID: "gw", Secret: "s3cret", RedirectURIs: []string{callback}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return issuer, config.OIDC{Issuer: issuer.URL(), ClientID: "gw", ClientSecret: "s3cret"}
	}
	t.Run("all is well", func(t *testing.T) {
		_, c := start(t)
		got := Check(t.Context(), c, Addresses{callback, gatewayURL + "/logout", gatewayURL + "/back", gatewayURL + "/front"})
		if bad := faults(got); len(bad) != 0 {
			t.Errorf("%+v", bad)
		}
		text := fmt.Sprint(got)
		for _, what := range []string{
			"redirect URI", "discovery", "clock", "signing keys", "signature algorithms", "PKCE", "flow", "scopes", "sends people back to " + gatewayURL + "/logout (register it as post-logout redirect URI); has the refresh token revoked", gatewayURL + "/back", "client_secret_basic is accepted",
		} {
			if !strings.Contains(text, what) {
				t.Errorf("nothing about %s", what)
			}
		}
		if strings.Contains(text, "s3cret") {
			t.Error("the secret is told")
		}
	})
	edit := func(f func(map[string]any)) func(*authntest.Faults) { return editDiscovery(f) }
	for name, c := range map[string]struct {
		fault  func(*authntest.Faults)
		change func(*config.OIDC)
		what   string // empty: still fine
		fix    string // or, if fine, the detail
	}{
		"wrong secret": {nil, func(c *config.OIDC) { c.ClientSecret = "x" }, "client authentication", "compare clientID"},
		"wrong method": {edit(func(d map[string]any) { d["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"} }),
			func(c *config.OIDC) { c.ClientSecret = "x" }, "client authentication", "private_key_jwt"},
		"issuer with slash": {nil, func(c *config.OIDC) { c.Issuer += "/" }, "discovery", "trailing slash"},
		"issuer mismatch":   {at("issuer", "https://other.test"), nil, "discovery", "set issuer to it"},
		"issuer in case":    {edit(func(d map[string]any) { d["issuer"] = strings.ToUpper(d["issuer"].(string)) }), nil, "discovery", "case count"},
		"Entra common":      {at("issuer", "https://login.microsoftonline.com/{tenantid}/v2.0"), nil, "discovery", "in place of common"},
		"Entra v1":          {at("issuer", "https://sts.windows.net/8a7b/"), nil, "discovery", "two kinds of issuer"},
		"well-known":        {nil, func(c *config.OIDC) { c.Issuer += "/.well-known/openid-configuration" }, "discovery", "leave /.well-known"},
		"not found":         {nil, func(c *config.OIDC) { c.Issuer += "/realm" }, "discovery", "can be opened"},
		"bad endpoint":      {at("jwks_uri", "http://idp.test/jwks"), nil, "discovery", "corrected"},
		"bad type":          {at("jwks_uri", 7), nil, "discovery", "can be opened"},
		"odd metadata":      {at("scopes_supported", "openid"), nil, "discovery", "corrected"},
		"no keys":           {func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable }, nil, "signing keys", "can be opened"},
		"clock":             {func(f *authntest.Faults) { f.ClockShift = 5 * 60e9 }, nil, "clock", "NTP"},
		"algorithm":         {nil, func(c *config.OIDC) { c.SigningAlgorithms = []string{"PS256"} }, "signature algorithms", "ES256"},
		"response type": {at("response_types_supported", []string{"code"}), func(c *config.OIDC) { c.AuthMethod = "implicit" },
			"flow", "the other authMethod"},
		"response mode": {at("response_modes_supported", nil), func(c *config.OIDC) { c.AuthMethod = "implicit" }, "flow", "pkce"},
		"plain PKCE":    {at("code_challenge_methods_supported", []string{"plain"}), nil, "PKCE", "S256 turned on"},
		"token endpoint": {func(f *authntest.Faults) { f.At[authntest.Token] = authntest.Hangup }, nil,
			"client authentication", "can be reached"},
		"no client":    {nil, func(c *config.OIDC) { c.ClientID = "" }, "settings", "correct this"},
		"no CA file":   {nil, func(c *config.OIDC) { c.TLS.CAFile = "/nowhere" }, "TLS settings", "can be read"},
		"no key file":  {nil, func(c *config.OIDC) { c.ClientAuth, c.ClientKeyFile = "privateKeyJWT", "/nowhere" }, "client authentication", "private key in PEM"},
		"PKCE unknown": {at("code_challenge_methods_supported", nil), nil, "", "sent all the same"},
		"odd scope":    {nil, func(c *config.OIDC) { c.Scopes = []string{"openid", "api"} }, "", "does not list api"},
		"no sign-out":  {at("end_session_endpoint", nil), nil, "", "no sign-out of its own"},
		"by frames":    {at("frontchannel_logout_supported", true), nil, "", gatewayURL + "/front"},
		"not by sub":   {nil, func(c *config.OIDC) { c.Claims.Subject = "oid" }, "", "have it send sid"},
		"tells nobody": {at("backchannel_logout_supported", false), nil, "", "at the next renewal"},
		"groups claim": {at("claims_supported", []string{"sub"}), func(c *config.OIDC) { c.AllowedGroups = []string{"a"} }, "", "allowedGroups needs it"},
		"implicit":     {nil, func(c *config.OIDC) { c.AuthMethod = "implicit" }, "", "not needed"},
		"odd refusal":  {func(f *authntest.Faults) { f.At[authntest.Token] = authntest.Refuse("invalid_request") }, nil, "", "can't tell"},
		"post":         {nil, func(c *config.OIDC) { c.ClientAuth = "post" }, "", "client_secret_post is accepted"},
		"no date": {func(f *authntest.Faults) {
			f.At[authntest.Discovery] = dateless
		}, nil, "", "does not tell its time"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer, settings := start(t)
			if c.fault != nil {
				issuer.Set(c.fault)
			}
			if c.change != nil {
				c.change(&settings)
			}
			findings := Check(t.Context(), settings, Addresses{callback, gatewayURL + "/logout", gatewayURL + "/back", gatewayURL + "/front"})
			bad := faults(findings)
			if c.what == "" {
				if len(bad) != 0 || !strings.Contains(fmt.Sprint(findings), c.fix) {
					t.Errorf("%+v", findings)
				}
				return
			}
			got, ok := bad[c.what]
			if !ok || len(bad) != 1 || !strings.Contains(got.Fix, c.fix) || got.Detail == "" {
				t.Errorf("%+v", bad)
			}
		})
	}
	for redirect, good := range map[string]bool{
		callback: true, "http://127.0.0.1:8080/oidc/callback": true, "http://gw.test/oidc/callback": false,
		"https://gw.test": false, "https://gw.test/": false, "gw.test/x": false, "https://gw.test/x?a=b": false,
	} {
		k := &checker{here: Addresses{Redirect: redirect}}
		k.checkRedirect()
		if k.findings[0].OK != good {
			t.Errorf("%s: %+v", redirect, k.findings)
		}
	}
	t.Run("advice", func(t *testing.T) {
		if got := adviceOnDiscovery("https://corp.auth.eu-west-1.amazoncognito.com", issuer.StatusError(404)); !strings.Contains(got, "cognito-idp") {
			t.Error(got)
		}
		if got := adviceOnDiscovery(issuerURL, &upstream.IssuerMismatchError{Provided: issuerURL, Discovered: issuerURL + "/"}); !strings.Contains(got, "slash") {
			t.Error(got)
		}
		for auth, want := range map[string]string{"none": "none", "basic": "client_secret_basic", "post": "client_secret_post", "privateKeyJWT": "private_key_jwt"} {
			if got := authName(auth); got != want {
				t.Error(got)
			}
		}
	})
}

// dateless answers without a Date.
func dateless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		next.ServeHTTP(w, r)
	})
}
