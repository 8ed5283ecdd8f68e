package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
)

func TestKeysOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		r.landed(b.signIn(""), "/")
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable })
		time.Sleep(issuer.KeysMaxAge - time.Hour)
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
		time.Sleep(issuer.KeysAge + time.Minute)
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Delay(5 * time.Second) })
		began := time.Now()
		r.landed(r.browser().signIn(""), "/")
		if took := time.Since(began); took > issuer.KeysWait {
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

// TestKeysServed: JWT-03, JWT-08 and JWT-16, what a provider may serve for keys.
func TestKeysServed(t *testing.T) {
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
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
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
		"too many": slices.Repeat([]any{mine}, issuer.MaxKeys+1),
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
		k := issuer.NewKeySet(issuerURL+"/jwks", issuer.Guarded(r.world))
		token := sign(t, es256(), map[string]any{"kid": es256().ID}, []byte("{}"))
		done := make(chan error)
		for range 20 {
			go func() { _, err := k.Verify(t.Context(), token, issuer.Algorithms()); done <- err }()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if _, err := k.Verify(t.Context(), "a.b.c", issuer.Algorithms()); err == nil {
			t.Error("accepted")
		}
	})
}
