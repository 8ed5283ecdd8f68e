package oidc

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
)

// TestNonce: OIDC-08, and the conformance module nonce-invalid.
func TestNonce(t *testing.T) {
	earlier := "" // the nonce of an earlier sign-in
	for _, l := range []lie{
		without("OIDC-08 nonce missing", "nonce", "nonce"),
		set("OIDC-08 nonce wrong", "nonce", "wrong", "nonce"),
		set("OIDC-08 nonce empty", "nonce", "", "nonce"),
		set("OIDC-08 nonce number", "nonce", 7, "not a string"),
		claim("OIDC-08 nonce reused", "nonce", func(c map[string]any) {
			if earlier == "" {
				earlier = c["nonce"].(string)
			}
			c["nonce"] = earlier
		}),
	} {
		t.Run(l.name, func(t *testing.T) {
			flows(t, func(t *testing.T, flow func(*setup)) {
				earlier = ""
				r := newRig(t, flow)
				r.issuer.Set(l.fault)
				b := r.browser()
				if strings.HasSuffix(l.name, "reused") {
					r.landed(b.signIn(""), "/")
					r.starts.proofs = nil
				}
				r.refused(b.signIn(""), 400)
				r.logged(l.log)
			})
		})
	}
}

// TestIDTokenGood: odd but right, so that strictness costs nobody anything.
func TestIDTokenGood(t *testing.T) {
	for _, l := range []lie{
		claim("client test", "", func(map[string]any) {}),
		set("IDT-01 aud list of one", "aud", []string{"gw"}, ""),
		claim("IDT-02 azp right", "", func(c map[string]any) { c["azp"] = "gw" }),
		set("IDT-04 exp within leeway", "exp", ago(50*time.Second), ""),
		set("IDT-06 iat within leeway", "iat", ago(-50*time.Second), ""),
		set("IDT-06 nbf within leeway", "nbf", ago(-50*time.Second), ""),
		set("exp after 2038", "exp", 32503680000, ""),
		set("exp with a fraction", "exp", float64(ago(-time.Minute))+0.5, ""),
		set("nbf null", "nbf", nil, ""),
		inHeader("no typ", "", func(h map[string]any) { delete(h, "typ") }),
		inHeader("typ jwt", "", func(h map[string]any) { h["typ"] = "jwt" }),
		{"JWT-06 kid-absent-single-jwks", func(f *authntest.Faults) { f.NoKid = true }, ""},
		inHeader("JWT-10 jku and x5u", "", func(h map[string]any) {
			h["jku"], h["x5u"] = "https://evil.test/jwks", "https://evil.test/cert"
		}),
	} {
		t.Run(l.name, func(t *testing.T) {
			flows(t, func(t *testing.T, flow func(*setup)) {
				r := newRig(t, flow)
				r.issuer.Set(l.fault)
				r.landed(r.browser().signIn(""), "/")
				if r.seen("evil.test") != 0 {
					t.Error("a URL of the token was fetched")
				}
			})
		})
	}
	t.Run("JWT-11 embedded key is not used", func(t *testing.T) {
		r := newRig(t)
		r.issuer.Set(func(f *authntest.Faults) {
			f.Signature = authntest.ForeignKey
			f.Header = func(_ authntest.Answer, h map[string]any) {
				h["jwk"] = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(make([]byte, 31)) + "BA"}
			}
		})
		r.refused(r.browser().signIn(""), 400)
	})
	for _, alg := range []string{"RS256", "PS256", "EdDSA"} {
		t.Run("idtoken-sig "+alg, func(t *testing.T) {
			flows(t, func(t *testing.T, flow func(*setup)) {
				key := rs256()
				if alg == "EdDSA" {
					key = authntest.NewKey(alg)
				}
				key.Algorithm = alg
				r := newRig(t, flow, func(s *setup) { s.issuer.Keys = []authntest.Key{key} })
				r.landed(r.browser().signIn(""), "/")
				bad := newRig(t, flow, func(s *setup) { s.issuer.Keys = []authntest.Key{key} })
				bad.issuer.Set(func(f *authntest.Faults) { f.Signature = authntest.Corrupt })
				bad.refused(bad.browser().signIn(""), 400) // invalid-sig
			})
		})
	}
	t.Run("IDT-02 extra audience", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.ExtraAudiences = []string{"api"} })
		r.issuer.Set(set("", "aud", []string{"gw", "api"}, "").fault)
		r.refused(r.browser().signIn(""), 400) // without azp
		r.issuer.Set(claim("", "", func(c map[string]any) { c["aud"], c["azp"] = []string{"gw", "api"}, "gw" }).fault)
		r.landed(r.browser().signIn(""), "/")
	})
}

// TestOtherSubject: sub must be in order even where another claim names people.
func TestOtherSubject(t *testing.T) {
	for name, sub := range map[string]string{"NUL": "1001\x00", "long": strings.Repeat("a", 300), "empty": ""} {
		t.Run("IDT-07 "+name, func(t *testing.T) {
			r := newRig(t, func(s *setup) { s.oidc.Claims.Subject = "oid" })
			r.issuer.Set(claim("", "", func(c map[string]any) { c["sub"], c["oid"] = sub, "o-1" }).fault)
			r.refused(r.browser().signIn(""), 400)
		})
	}
}
