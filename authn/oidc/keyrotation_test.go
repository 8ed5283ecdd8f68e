package oidc

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
)

// TestKeyRotation: the signing-key-rotation modules.
func TestKeyRotation(t *testing.T) {
	for name, when := range map[string]func(r *rig, next authntest.Key) answer{
		"JWT-19 signing-key-rotation": func(r *rig, next authntest.Key) answer {
			r.issuer.SetKeys(next, es256())
			return r.browser().signIn("")
		},
		"JWT-19 signing-key-rotation-just-before-signing": func(r *rig, next authntest.Key) answer {
			b := r.browser()
			d := b.authorize(b.start(""))
			r.issuer.SetKeys(next)
			return b.deliver(d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.landed(r.browser().signIn(""), "/")
			r.landed(r.browser().signIn(""), "/")
			if n := r.issuer.Calls(authntest.JWKS); n != 1 {
				t.Errorf("keys were fetched %d times", n)
			}
			r.landed(when(r, authntest.NewKey("ES256")), "/")
			if n := r.issuer.Calls(authntest.JWKS); n != 2 {
				t.Errorf("keys were fetched %d times", n)
			}
			if r.starts.count() != 3 {
				t.Error("not signed in")
			}
		})
	}
	t.Run("JWT-06 kid-absent-multiple-jwks", func(t *testing.T) {
		r := newRig(t)
		r.issuer.SetKeys(es256(), authntest.NewKey("ES256"), authntest.NewKey("EdDSA"))
		r.issuer.Set(func(f *authntest.Faults) { f.NoKid = true })
		r.landed(r.browser().signIn(""), "/")
	})
	t.Run("JWT-18 removed key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.landed(r.browser().signIn(""), "/")
			compromised, next := es256(), authntest.NewKey("ES256")
			r.issuer.SetKeys(next)
			r.issuer.Set(func(f *authntest.Faults) { // whoever stole the key goes on signing with it
				f.Compact = func(_ authntest.Answer, token string) string {
					r.issuer.SetKeys(compromised)
					defer r.issuer.SetKeys(next)
					return resign(t, token, compromised)
				}
			})
			time.Sleep(issuer.KeysAge + time.Minute)
			r.starts.proofs = nil
			r.refused(r.browser().signIn(""), 400)
			r.logged("signature is not the issuer's")
		})
	})
	t.Run("JWT-09 unknown kid flood", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.landed(r.browser().signIn(""), "/")
			before := r.issuer.Calls(authntest.JWKS)
			r.issuer.Set(inHeader("", "", func(h map[string]any) { h["kid"] = random() }).fault)
			for range 100 {
				if a := r.browser().signIn(""); a.status != 400 && a.status != 503 {
					t.Fatalf("status %d", a.status)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if n := r.issuer.Calls(authntest.JWKS) - before; n > 6 {
				t.Errorf("keys were fetched %d times in 10 s", n)
			}
			r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
			r.landed(r.browser().signIn(""), "/") // known keys need no fetch
			if r.starts.count() != 2 {
				t.Errorf("%d sessions", r.starts.count())
			}
		})
	})
	t.Run("JWT-20 keys not to be had", func(t *testing.T) {
		r := newRig(t)
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable })
		r.refused(r.browser().signIn(""), 503)
		r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		r.landed(r.browser().signIn(""), "/")
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable })
		r.landed(r.browser().signIn(""), "/") // known keys go on
	})
}

// resign signs the token's claims anew under key.
func resign(t *testing.T, token string, key authntest.Key) string {
	t.Helper()
	part := strings.Split(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, key, map[string]any{"alg": key.Algorithm, "kid": key.ID}, text)
}
