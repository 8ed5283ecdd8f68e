package oidc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

func editDiscovery(f func(map[string]any)) func(*authntest.Faults) {
	return func(faults *authntest.Faults) { faults.At[authntest.Discovery] = authntest.EditJSON(f) }
}

// at makes the discovery document say something.
func at(name string, value any) func(*authntest.Faults) {
	return editDiscovery(func(d map[string]any) { d[name] = value })
}

func discovery(f authntest.Fault) func(*authntest.Faults) {
	return func(faults *authntest.Faults) { faults.At[authntest.Discovery] = f }
}

// TestDiscoveryLies: metadata that no sign-in may begin with.
func TestDiscoveryLies(t *testing.T) {
	for name, fault := range map[string]func(*authntest.Faults){
		"OIDC-29 discovery-issuer-mismatch":     at("issuer", "https://other.test"),
		"OIDC-29 issuer with a slash":           at("issuer", issuerURL+"/"),
		"OIDC-29 issuer in upper case":          at("issuer", "https://IDP.test"),
		"OIDC-29 issuer by http":                at("issuer", "http://idp.test"),
		"OIDC-29 issuer missing":                at("issuer", nil),
		"OIDC-29 issuer in another case":        editDiscovery(func(d map[string]any) { d["Issuer"] = d["issuer"]; delete(d, "issuer") }),
		"SSRF-02 redirect":                      discovery(authntest.SendTo(302, "https://evil.test/.well-known/openid-configuration")),
		"SSRF-02 redirect to itself":            discovery(authntest.SendTo(302, issuerURL+"/.well-known/openid-configuration")),
		"SSRF-02 permanent redirect":            discovery(authntest.SendTo(308, "http://127.0.0.1/")),
		"SSRF-03 jwks_uri file":                 at("jwks_uri", "file:///etc/passwd"),
		"SSRF-03 jwks_uri gopher":               at("jwks_uri", "gopher://evil.test"),
		"SSRF-03 jwks_uri http":                 at("jwks_uri", "http://idp.test/jwks"),
		"SSRF-03 jwks_uri issuer.Loopback http": at("jwks_uri", "http://127.0.0.1:6379/"),
		"SSRF-03 jwks_uri with a user":          at("jwks_uri", "https://user:pw@idp.test/jwks"),
		"SSRF-03 jwks_uri missing":              at("jwks_uri", nil),
		"SSRF-03 jwks_uri relative":             at("jwks_uri", "/jwks"),
		"SSRF-03 jwks_uri opaque":               at("jwks_uri", "https:jwks"),
		"SSRF-06 jwks_uri loopback":             at("jwks_uri", "https://127.0.0.1/jwks"),
		"SSRF-06 jwks_uri metadata service":     at("jwks_uri", "https://169.254.169.254/jwks"),
		"SSRF-06 jwks_uri mapped":               at("jwks_uri", "https://[::ffff:169.254.169.254]/jwks"),
		"SSRF-06 jwks_uri unspecified":          at("jwks_uri", "https://0.0.0.0/jwks"),
		"SSRF-06 jwks_uri link-local":           at("jwks_uri", "https://[fe80::1]/jwks"),
		"SSRF-09 userinfo_endpoint http":        at("userinfo_endpoint", "http://evil.test/"),
		"SSRF-09 token_endpoint http":           at("token_endpoint", "http://idp.test/token"),
		"SSRF-09 token_endpoint missing":        at("token_endpoint", nil),
		"SSRF-09 authorization_endpoint":        at("authorization_endpoint", "javascript:alert(1)"),
		"SSRF-09 authorization_endpoint none":   at("authorization_endpoint", ""),
		"SSRF-09 end_session_endpoint":          at("end_session_endpoint", "javascript:alert(1)"),
		"SSRF-09 revocation_endpoint":           at("revocation_endpoint", "http://evil.test/revoke"),
		"fragment":                              at("authorization_endpoint", issuerURL+"/authorize#x"),
		"wrong type":                            at("token_endpoint", []string{"https://idp.test"}),
		"no issuer.Algorithms algorithm":        at("id_token_signing_alg_values_supported", []string{"none", "HS256"}),
		"duplicate names":                       discovery(authntest.Duplicate),
		"SSRF-07 large":                         discovery(authntest.Pad(2 << 20)),
		"truncated":                             discovery(authntest.Truncate),
		"HTML":                                  discovery(authntest.Reply(200, "text/html", "<html>")),
		"list":                                  discovery(authntest.Reply(200, "application/json", "[]")),
		"404":                                   discovery(authntest.Reply(404, "text/html", "<html>"+strings.Repeat("secret ", 1000))),
		"503":                                   discovery(authntest.Unavailable),
		"hangs up":                              discovery(authntest.Hangup),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.issuer.Set(fault)
			a := r.browser().get(gatewayURL + signInPath + "?rd=/x&login_hint=ada")
			r.refused(a, 503)
			if a.header.Get("Retry-After") == "" || !strings.Contains(a.header.Get("Refresh"), "login_hint=ada&rd=%2Fx") || len(a.header.Values("Set-Cookie")) != 0 {
				t.Errorf("%v", a.header)
			}
			r.logged("provider metadata")
			if r.seen("evil.test") != 0 || r.issuer.Calls(authntest.Discovery) != 1 || len(r.log.String()) > 3000 {
				t.Errorf("%d requests elsewhere, log %s", r.seen("evil.test"), r.log)
			}
			if err := r.route.Ready(t.Context()); err == nil {
				t.Error("ready")
			}
		})
	}
	t.Run("implicit needs no token endpoint", func(t *testing.T) {
		r := newRig(t, implicit)
		r.issuer.Set(editDiscovery(func(d map[string]any) { delete(d, "token_endpoint"); delete(d, "userinfo_endpoint") }))
		r.landed(r.browser().signIn(""), "/")
	})
	t.Run("what is advertised is asked for", func(t *testing.T) {
		m := &metadata{SigningAlgorithms: []string{"HS256", "ES256", "none", "RS256"}}
		if got := m.algorithms(config.OIDC{}); !slices.Equal(got, []string{"ES256", "RS256"}) {
			t.Errorf("%q", got)
		}
		if got := m.algorithms(config.OIDC{SigningAlgorithms: []string{"PS256"}}); !slices.Equal(got, []string{"PS256"}) {
			t.Errorf("%q", got)
		}
		if got := (&metadata{}).algorithms(config.OIDC{}); !slices.Equal(got, []string{"RS256"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("JWT-03 only the settings' algorithm", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.SigningAlgorithms = []string{"RS256"} })
		r.refused(r.browser().signIn(""), 400)
		r.logged("is not one of RS256")
	})
}

// TestProviderDownAndUp: the gateway starts without its provider and recovers.
func TestProviderDownAndUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.issuer.Set(discovery(authntest.Unavailable))
		b := r.browser()
		r.refused(b.get(gatewayURL+signInPath), 503)
		if err := r.route.Ready(t.Context()); err == nil {
			t.Error("ready")
		}
		for range 50 {
			r.refused(b.get(gatewayURL+signInPath), 503)
		}
		if n := r.issuer.Calls(authntest.Discovery); n != 1 {
			t.Errorf("asked %d times at once", n)
		}
		for range 300 {
			b.get(gatewayURL + signInPath)
			time.Sleep(time.Second)
		}
		if n := r.issuer.Calls(authntest.Discovery); n < 10 || n > 20 { // 1, 2, 4, 8, 16 s, then every 30 s
			t.Errorf("asked %d times in 5 min", n)
		}
		r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		time.Sleep(maxBackoff)
		r.landed(b.signIn(""), "/")
		if err := r.route.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // known metadata outlives an outage
		r := newRig(t)
		b := r.browser()
		r.landed(b.signIn(""), "/")
		r.issuer.Set(discovery(authntest.Unavailable))
		if err := r.route.Ready(t.Context()); err != nil {
			t.Errorf("a fresh answer is asked for again: %v", err)
		}
		time.Sleep(probeAge + time.Second)
		if err := r.route.Ready(t.Context()); err == nil {
			t.Error("ready")
		}
		time.Sleep(2 * metadataAge)
		r.landed(b.signIn(""), "/")
		synctest.Wait()
		r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		time.Sleep(maxBackoff)
		if err := r.route.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // metadata is renewed beside the work
		r := newRig(t)
		b := r.browser()
		r.landed(b.signIn(""), "/")
		r.issuer.Set(at("end_session_endpoint", issuerURL+"/bye"))
		time.Sleep(metadataAge + time.Second)
		b.start("")
		synctest.Wait()
		if n := r.issuer.Calls(authntest.Discovery); n != 2 {
			t.Errorf("asked %d times", n)
		}
		if u := r.route.SignOutURL(authn.Proof{}); !strings.HasPrefix(u, issuerURL+"/bye") {
			t.Errorf("sign-out %s", u)
		}
	})
	synctest.Test(t, func(t *testing.T) { // who asks may go away
		r := newRig(t)
		r.issuer.Set(discovery(authntest.Delay(5 * time.Second)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.o.provider.metadata(ctx); !errors.Is(err, issuer.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if err := r.route.Ready(ctx); err == nil {
			t.Error("ready")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if _, err := r.o.provider.metadata(t.Context()); err != nil || r.issuer.Calls(authntest.Discovery) != 1 {
			t.Errorf("%v, asked %d times", err, r.issuer.Calls(authntest.Discovery))
		}
	})
	synctest.Test(t, func(t *testing.T) { // SSRF-07: silent or dripping
		for _, fault := range []authntest.Fault{authntest.Delay(time.Hour), authntest.Drip(time.Second)} {
			r := newRig(t)
			r.issuer.Set(discovery(fault))
			began := time.Now()
			r.refused(r.browser().get(gatewayURL+signInPath), 503)
			if took := time.Since(began); took > issuer.CallTime+time.Second {
				t.Errorf("took %s", took)
			}
		}
	})
}
