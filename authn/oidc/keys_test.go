package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json/v2"
	"math/big"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
)

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

// TestSlowKeys: JWT-20, a provider that hangs when asked for its keys holds up
// nobody whose token the known keys fit.
func TestSlowKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.landed(r.browser().signIn(""), "/")
		time.Sleep(keysAge + time.Minute)
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Delay(5 * time.Second) })
		began := time.Now()
		r.landed(r.browser().signIn(""), "/")
		if took := time.Since(began); took > keysWait {
			t.Errorf("a sign-in took %s", took)
		}
		time.Sleep(5 * time.Second) // the answer is used when it comes
		began = time.Now()
		r.landed(r.browser().signIn(""), "/")
		if took, n := time.Since(began), r.issuer.Calls(authntest.JWKS); took != 0 || n != 2 {
			t.Errorf("the next one took %s, and keys were fetched %d times", took, n)
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
			go func() { _, err := k.verify(t.Context(), token, asymmetric()); done <- err }()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if _, err := k.verify(t.Context(), "a.b.c", asymmetric()); err == nil {
			t.Error("accepted")
		}
	})
}
