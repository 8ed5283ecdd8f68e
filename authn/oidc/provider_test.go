package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json/v2"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	upstream "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
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
		"OIDC-29 discovery-issuer-mismatch":   at("issuer", "https://other.test"),
		"OIDC-29 issuer with a slash":         at("issuer", issuerURL+"/"),
		"OIDC-29 issuer in upper case":        at("issuer", "https://IDP.test"),
		"OIDC-29 issuer by http":              at("issuer", "http://idp.test"),
		"OIDC-29 issuer missing":              at("issuer", nil),
		"OIDC-29 issuer in another case":      editDiscovery(func(d map[string]any) { d["Issuer"] = d["issuer"]; delete(d, "issuer") }),
		"SSRF-02 redirect":                    discovery(authntest.SendTo(302, "https://evil.test/.well-known/openid-configuration")),
		"SSRF-02 redirect to itself":          discovery(authntest.SendTo(302, issuerURL+"/.well-known/openid-configuration")),
		"SSRF-02 permanent redirect":          discovery(authntest.SendTo(308, "http://127.0.0.1/")),
		"SSRF-03 jwks_uri file":               at("jwks_uri", "file:///etc/passwd"),
		"SSRF-03 jwks_uri gopher":             at("jwks_uri", "gopher://evil.test"),
		"SSRF-03 jwks_uri http":               at("jwks_uri", "http://idp.test/jwks"),
		"SSRF-03 jwks_uri loopback http":      at("jwks_uri", "http://127.0.0.1:6379/"),
		"SSRF-03 jwks_uri with a user":        at("jwks_uri", "https://user:pw@idp.test/jwks"),
		"SSRF-03 jwks_uri missing":            at("jwks_uri", nil),
		"SSRF-03 jwks_uri relative":           at("jwks_uri", "/jwks"),
		"SSRF-03 jwks_uri opaque":             at("jwks_uri", "https:jwks"),
		"SSRF-06 jwks_uri loopback":           at("jwks_uri", "https://127.0.0.1/jwks"),
		"SSRF-06 jwks_uri metadata service":   at("jwks_uri", "https://169.254.169.254/jwks"),
		"SSRF-06 jwks_uri mapped":             at("jwks_uri", "https://[::ffff:169.254.169.254]/jwks"),
		"SSRF-06 jwks_uri unspecified":        at("jwks_uri", "https://0.0.0.0/jwks"),
		"SSRF-06 jwks_uri link-local":         at("jwks_uri", "https://[fe80::1]/jwks"),
		"SSRF-09 userinfo_endpoint http":      at("userinfo_endpoint", "http://evil.test/"),
		"SSRF-09 token_endpoint http":         at("token_endpoint", "http://idp.test/token"),
		"SSRF-09 token_endpoint missing":      at("token_endpoint", nil),
		"SSRF-09 authorization_endpoint":      at("authorization_endpoint", "javascript:alert(1)"),
		"SSRF-09 authorization_endpoint none": at("authorization_endpoint", ""),
		"SSRF-09 end_session_endpoint":        at("end_session_endpoint", "javascript:alert(1)"),
		"fragment":                            at("authorization_endpoint", issuerURL+"/authorize#x"),
		"wrong type":                          at("token_endpoint", []string{"https://idp.test"}),
		"no asymmetric algorithm":             at("id_token_signing_alg_values_supported", []string{"none", "HS256"}),
		"duplicate names":                     discovery(authntest.Duplicate),
		"SSRF-07 large":                       discovery(authntest.Pad(2 << 20)),
		"truncated":                           discovery(authntest.Truncate),
		"HTML":                                discovery(authntest.Reply(200, "text/html", "<html>")),
		"list":                                discovery(authntest.Reply(200, "application/json", "[]")),
		"404":                                 discovery(authntest.Reply(404, "text/html", "<html>"+strings.Repeat("secret ", 1000))),
		"503":                                 discovery(authntest.Unavailable),
		"hangs up":                            discovery(authntest.Hangup),
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
		if _, err := r.o.provider.metadata(ctx); !errors.Is(err, errUnavailable) {
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
			if took := time.Since(began); took > callTime+time.Second {
				t.Errorf("took %s", took)
			}
		}
	})
}

func TestKeysOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		r.landed(b.signIn(""), "/")
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable })
		time.Sleep(keysMaxAge - time.Hour)
		r.landed(b.signIn(""), "/") // JWT-20: known keys go on
		if err := r.route.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		n := r.starts.count()
		if a := b.signIn(""); a.status != 503 || r.starts.count() != n {
			t.Errorf("JWT-16: status %d with keys of yesterday", a.status)
		}
		if err := r.route.Ready(t.Context()); err == nil {
			t.Error("ready")
		}
		r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		time.Sleep(time.Minute)
		r.landed(b.signIn(""), "/")
		if r.starts.count() != n+1 {
			t.Error("not signed in")
		}
	})
	synctest.Test(t, func(t *testing.T) { // a slow answer does not hold its asker
		r := newRig(t)
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Delay(5 * time.Second) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.route.Ready(ctx); err == nil {
			t.Error("ready")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if err := r.route.Ready(t.Context()); err != nil || r.issuer.Calls(authntest.JWKS) != 1 {
			t.Errorf("%v, fetched %d times", err, r.issuer.Calls(authntest.JWKS))
		}
	})
}

// TestKeyChoice: JWT-14 to JWT-17, keys that may not verify anything.
func TestKeyChoice(t *testing.T) {
	good := es256().Private.Public().(*ecdsa.PublicKey)
	jwk := func(key any, edit func(map[string]any)) map[string]any {
		text, err := (&jose.JSONWebKey{Key: key, KeyID: "k"}).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]any{}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		edit(m)
		return m
	}
	as := func(name string, v any) func(map[string]any) { return func(m map[string]any) { m[name] = v } }
	same := func(map[string]any) {}
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	odd := func(bits int) string {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return number(n.Add(n, big.NewInt(1)))
	}
	strong := rs256().Private.Public().(*rsa.PublicKey)
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key    any
		usable bool
	}{
		"EC":                        {jwk(good, same), true},
		"EC P-521":                  {jwk(&p521.PublicKey, same), true},
		"RSA":                       {jwk(strong, same), true},
		"EdDSA":                     {jwk(edPublic, same), true},
		"meant for signatures":      {jwk(good, func(m map[string]any) { m["use"], m["key_ops"], m["alg"] = "sig", []string{"verify"}, "ES256" }), true},
		"JWT-17 use enc":            {jwk(strong, as("use", "enc")), false},
		"JWT-17 alg RSA-OAEP":       {jwk(strong, as("alg", "RSA-OAEP")), false},
		"JWT-16 key_ops encrypt":    {jwk(strong, as("key_ops", []string{"encrypt"})), false},
		"JWT-16 key_ops text":       {jwk(strong, as("key_ops", "verify")), false},
		"JWT-16 oct":                {map[string]any{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"}, false},
		"JWT-16 alg HS256":          {jwk(strong, as("alg", "HS256")), false},
		"JWT-16 private":            {jwk(edPrivate, same), false},
		"JWT-16 unknown kty":        {map[string]any{"kty": "XX"}, false},
		"JWT-16 no kty":             {map[string]any{}, false},
		"JWT-16 missing n":          {map[string]any{"kty": "RSA", "e": "AQAB"}, false},
		"JWT-16 not an object":      {"key", false},
		"JWT-16 null":               {nil, false},
		"JWT-14 off the curve":      {jwk(good, as("x", jwk(&p521.PublicKey, same)["x"].(string)[:43])), false},
		"JWT-14 wrong curve":        {jwk(good, as("crv", "P-384")), false},
		"JWT-15 512 bits":           {jwk(strong, as("n", odd(512))), false},
		"JWT-15 1024 bits":          {jwk(strong, as("n", odd(1024))), false},
		"JWT-15 65536 bits":         {jwk(strong, as("n", odd(65536))), false},
		"JWT-15 even n":             {jwk(strong, as("n", number(new(big.Int).Lsh(big.NewInt(1), 2047)))), false},
		"JWT-15 e is 1":             {jwk(strong, as("e", "AQ")), false},
		"JWT-15 e even":             {jwk(strong, as("e", "BA")), false},
		"JWT-15 e huge":             {jwk(strong, as("e", odd(256))), false},
		"JWT-15 e beyond 31 bits":   {jwk(strong, as("e", odd(40))), false},
		"JWT-16 kid number":         {jwk(good, as("kid", 7)), false},
		"JWT-11 x5c that is no DER": {jwk(good, as("x5c", []string{"AAAA"})), false},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(c.key)
			if err != nil {
				t.Fatal(err)
			}
			if _, usable := usableKey(text); usable != c.usable {
				t.Errorf("usable: %v", usable)
			}
		})
	}

	// served signs in with these keys at the provider.
	served := func(t *testing.T, keys any) (*rig, answer) {
		r := newRig(t)
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.JWKS] = authntest.EditJSON(func(d map[string]any) { d["keys"] = keys })
		})
		return r, r.browser().signIn("")
	}
	mine := jwk(good, as("kid", es256().ID))
	t.Run("JWT-16 usable keys are kept", func(t *testing.T) {
		r, a := served(t, []any{map[string]any{"kty": "XX"}, nil, "x", mine, map[string]any{"kty": "oct", "k": "AAAA"}})
		r.landed(a, "/")
	})
	t.Run("JWT-16 duplicate kid", func(t *testing.T) {
		r, a := served(t, []any{jwk(&p521.PublicKey, as("kid", es256().ID)), mine})
		r.landed(a, "/")
	})
	t.Run("JWT-08 unknown kid is no other key", func(t *testing.T) {
		r, a := served(t, []any{jwk(good, as("kid", "other"))})
		r.refused(a, 400)
	})
	t.Run("JWT-03 a key's own algorithm", func(t *testing.T) {
		r, a := served(t, []any{jwk(good, func(m map[string]any) { m["kid"], m["alg"] = es256().ID, "ES512" })})
		r.refused(a, 400)
	})
	for name, keys := range map[string]any{
		"null": nil, "empty": []any{}, "object": map[string]any{}, "none usable": []any{map[string]any{"kty": "oct", "k": "AAAA"}},
		"too many": slices.Repeat([]any{mine}, maxKeys+1),
	} {
		t.Run("JWT-16 keys "+name, func(t *testing.T) {
			r, a := served(t, keys)
			r.refused(a, 503)
			if err := r.route.Ready(t.Context()); err == nil {
				t.Error("ready")
			}
		})
	}
	for name, f := range map[string]authntest.Fault{
		"HTML": authntest.Reply(200, "text/html", "<html>"), "list": authntest.Reply(200, "application/json", "[]"),
		"500": authntest.Reply(500, "text/plain", ""), "304": authntest.Reply(304, "", ""), "duplicate": authntest.Duplicate,
		"10 MB": authntest.Pad(10 << 20), "redirect": authntest.SendTo(302, "https://evil.test"),
	} {
		t.Run("JWT-16 set "+name, func(t *testing.T) {
			r := newRig(t)
			r.issuer.Set(func(faults *authntest.Faults) { faults.At[authntest.JWKS] = f })
			r.refused(r.browser().signIn(""), 503)
			if r.seen("evil.test") != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
	t.Run("keys are shared by who asks at once", func(t *testing.T) {
		r := newRig(t)
		k := newKeySet(issuerURL+"/jwks", guarded(r.world))
		token := sign(t, es256(), map[string]any{"kid": es256().ID}, []byte("{}"))
		done := make(chan error)
		for range 20 {
			go func() { _, err := k.verify(t.Context(), token, asymmetric); done <- err }()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if _, err := k.verify(t.Context(), "a.b.c", asymmetric); err == nil {
			t.Error("accepted")
		}
	})
}

// TestNetwork: over real sockets, what no in-memory transport can show.
func TestNetwork(t *testing.T) {
	quietLog := slog.New(slog.DiscardHandler)
	tlsIssuer := func(t *testing.T, min, max uint16) (*httptest.Server, string) {
		var issuer *authntest.Issuer
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { issuer.ServeHTTP(w, r) }))
		s.TLS = &tls.Config{MinVersion: min, MaxVersion: max}
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.StartTLS()
		t.Cleanup(s.Close)
		issuer = authntest.NewIssuer(authntest.IssuerOptions{URL: s.URL, Keys: []authntest.Key{es256()}})
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return s, ca
	}
	ready := func(t *testing.T, issuer string, c config.ClientTLS) error {
		client, err := newClient(c)
		if err != nil {
			t.Fatal(err)
		}
		return newProvider(withDefaults(config.OIDC{Issuer: issuer, ClientID: "gw", TLS: c}), client, quietLog).ready(t.Context())
	}
	t.Run("SSRF-10 own authority", func(t *testing.T) {
		s, ca := tlsIssuer(t, tls.VersionTLS12, tls.VersionTLS13)
		if err := ready(t, s.URL, config.ClientTLS{CAFile: ca}); err != nil {
			t.Error(err)
		}
		if err := ready(t, s.URL, config.ClientTLS{}); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("without it: %v", err)
		}
		if err := ready(t, s.URL, config.ClientTLS{CAFile: ca, ServerName: "other.test"}); err == nil {
			t.Error("another name was accepted")
		}
	})
	t.Run("SSRF-10 TLS 1.1", func(t *testing.T) {
		s, ca := tlsIssuer(t, tls.VersionTLS10, tls.VersionTLS11)
		if err := ready(t, s.URL, config.ClientTLS{CAFile: ca}); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("SSRF-07 gzip bomb", func(t *testing.T) {
		issuer, stop, err := authntest.Start(authntest.IssuerOptions{Keys: []authntest.Key{es256()}})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		issuer.Set(discovery(authntest.Instead(gzipped(64 << 20))))
		if err := ready(t, issuer.URL(), config.ClientTLS{}); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("%v", err)
		}
	})
	t.Run("loopback http", func(t *testing.T) {
		issuer, stop, err := authntest.Start(authntest.IssuerOptions{Keys: []authntest.Key{es256()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := ready(t, issuer.URL(), config.ClientTLS{}); err != nil {
			t.Error(err)
		}
		issuer.Set(at("token_endpoint", "http://idp.test/token"))
		if err := ready(t, issuer.URL(), config.ClientTLS{}); err == nil {
			t.Error("a loopback issuer may send codes over the network in the clear")
		}
		stop()
		if err := ready(t, issuer.URL(), config.ClientTLS{}); err == nil {
			t.Error("ready without a provider")
		}
	})
	t.Run("SSRF-08 redirect of the token endpoint", func(t *testing.T) {
		evil := 0
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil++ }))
		defer s.Close()
		issuer, stop, err := authntest.Start(authntest.IssuerOptions{Keys: []authntest.Key{es256()}})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		issuer.Set(func(f *authntest.Faults) { f.At[authntest.Token] = authntest.SendTo(307, s.URL) })
		client, err := newClient(config.ClientTLS{})
		if err != nil {
			t.Fatal(err)
		}
		c := withDefaults(config.OIDC{Issuer: issuer.URL(), ClientID: "gw", ClientSecret: "s"})
		o := &relying{settings: c, client: client}
		m, err := newProvider(c, client, quietLog).metadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var no refusal
		if _, err := o.exchange(t.Context(), m, "code", random()); !errors.As(err, &no) || no.status != 307 || evil != 0 {
			t.Errorf("%v, %d requests elsewhere", err, evil)
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		dir := t.TempDir()
		for _, c := range []config.ClientTLS{
			{CAFile: filepath.Join(dir, "none")}, {CertFile: filepath.Join(dir, "none"), KeyFile: filepath.Join(dir, "none")},
		} {
			if _, err := New("main", "", config.OIDC{Issuer: issuerURL, ClientID: "gw", TLS: c}, newRig(t).deps); err == nil {
				t.Error("accepted")
			}
		}
		empty := filepath.Join(dir, "empty")
		if err := os.WriteFile(empty, []byte("no PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := newClient(config.ClientTLS{CAFile: empty}); err == nil {
			t.Error("accepted")
		}
		cert, key := writeKeyPair(t)
		if c, err := newTLS(config.ClientTLS{CertFile: cert, KeyFile: key}); err != nil || len(c.Certificates) != 1 {
			t.Errorf("%v", err)
		}
	})
}

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
		"own state":            func(c *config.OIDC) { c.AuthParams = map[string]string{"state": "x"} },
		"own redirect":         func(c *config.OIDC) { c.AuthParams = map[string]string{"redirect_uri": "x"} },
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

func TestCheckDocument(t *testing.T) {
	for text, good := range map[string]bool{
		`{}`: true, ` {"a":[1,{"b":null}]} ` + "\n": true, `"x"`: true, `1`: true, `[]`: true,
		``: false, ` `: false, `{`: false, `{}{}`: false, `{} x`: false, `{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false,
		"\"\xff\"": false, `"\ud800"`: false, `nul`: false, `{"a":}`: false,
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth):     true,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1): false,
		strings.Repeat("[", 1<<20):                                        false,
	} {
		if err := checkDocument([]byte(text)); (err == nil) != good {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	long := short{errors.New("a\x1b[31m\u2028" + strings.Repeat("x", 1000))}
	if s := long.Error(); len(s) > maxForeign+10 || strings.ContainsAny(s, "\x1b\u2028") {
		t.Errorf("%q", s)
	}
	if !errors.Is(statusError(503), errUnavailable) || errors.Is(statusError(404), errUnavailable) || statusError(404).Error() != "answered 404 Not Found" {
		t.Error("statusError")
	}
	mismatch := &upstream.IssuerMismatchError{Provided: "a", Discovered: "b"}
	if plainError(mismatch) != error(mismatch) {
		t.Error("plainError")
	}
	if got := callError(&url.Error{Op: "Get", URL: "x", Err: badAnswer{errTooBig}}); errors.Is(got, errUnavailable) || !errors.Is(got, errTooBig) {
		t.Errorf("%v", got)
	}
	if got := fmt.Sprint(refusal{status: 400, code: "x\n", text: "y"}); got != `provider answered 400 "x·" "y"` {
		t.Errorf("%s", got)
	}
}

// FuzzAttempt: no cookie that we did not seal is an attempt, and every attempt
// comes back as it was.
func FuzzAttempt(f *testing.F) {
	f.Add("state", "nonce", "/landing", "x.y")
	f.Add(strings.Repeat("s", 43), "", "/?a=1", "")
	f.Add("\x00", "\xff", "//evil.test", "AAAA")
	f.Fuzz(func(t *testing.T, state, nonce, landing, forged string) {
		r := newRig(t)
		name := r.o.attemptCookie(state)
		if strings.ContainsAny(name, " ;=,\r\n\t") || len(name) > 100 {
			t.Fatalf("cookie name %q", name)
		}
		if a, ok := r.o.openAttempt(&http.Cookie{Name: name, Value: forged}); ok {
			t.Fatalf("a forged cookie is %+v", a)
		}
		in := attempt{State: state, Nonce: nonce, Route: "main", Landing: landing, Made: time.Now().Unix()}
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, signInPath, nil)
		req.Header.Set("Cookie", name+"="+strings.Map(func(c rune) rune {
			if c <= ' ' || c >= 0x7f || strings.ContainsRune(`";,\`, c) {
				return 'x'
			}
			return c
		}, forged))
		if err := r.o.keepAttempt(rec, req, in); err != nil {
			return // not valid UTF-8: never made by us
		}
		back := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, c := range rec.Result().Cookies() {
			if c.MaxAge >= 0 {
				back.AddCookie(c)
			}
		}
		out, ok := r.o.findAttempt(back, state)
		if want := len(state) == 43 && nonce != ""; ok != want || ok && out != in {
			t.Errorf("found %v: %+v, want %+v", ok, out, in)
		}
	})
}
