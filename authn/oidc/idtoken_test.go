package oidc

import (
	"bytes"
	"encoding/base64"
	"encoding/json/v2"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"
)

// lie is one thing wrong with an ID token.
type lie struct {
	name  string
	fault func(*authntest.Faults)
	log   string // what the log has to say; empty for a token that is fine
}

// claim makes a lie of claims.
func claim(name, log string, edit func(map[string]any)) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Claims = func(_ authntest.Answer, c map[string]any) { edit(c) }
	}, log}
}

func set(name, claimName string, value any, log string) lie {
	return claim(name, log, func(c map[string]any) { c[claimName] = value })
}

func without(name, claimName, log string) lie {
	return claim(name, log, func(c map[string]any) { delete(c, claimName) })
}

func inHeader(name, log string, edit func(map[string]any)) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Header = func(_ authntest.Answer, h map[string]any) { edit(h) }
	}, log}
}

func signed(name string, how authntest.Signature, log string) lie {
	return lie{name, func(f *authntest.Faults) { f.Signature = how }, log}
}

func payload(name, log string, edit func([]byte) []byte) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Payload = func(_ authntest.Answer, p []byte) []byte { return edit(p) }
	}, log}
}

func compact(name, log string, edit func(string) string) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Compact = func(_ authntest.Answer, s string) string { return edit(s) }
	}, log}
}

func ago(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

// lies are ID tokens that no sign-in may accept, in either flow.
func lies() []lie {
	const cid = "gw"
	all := []lie{
		set("IDT-01 aud another", "aud", "other", "audience is"),
		without("IDT-01 aud absent", "aud", `"aud\" is missing`),
		set("IDT-01 aud empty list", "aud", []string{}, `"aud\" is missing`),
		set("IDT-01 aud list of another", "aud", []string{"other"}, "audience is"),
		set("IDT-01 aud null", "aud", nil, `"aud\" is missing`),
		set("IDT-01 aud object", "aud", map[string]any{"0": cid}, "not a list of strings"),
		set("IDT-01 aud of numbers", "aud", []any{cid, 7}, "not a list of strings"),
		set("IDT-01 aud longer", "aud", cid+"x", "audience is"),
		set("IDT-01 aud empty", "aud", "", "audience is"),
		set("IDT-02 aud with another", "aud", []string{cid, "evil"}, "extraAudiences"),
		set("IDT-02 azp another", "azp", "evil", "authorized party"),
		set("IDT-02 azp empty", "azp", "", "authorized party"),
		set("IDT-02 azp number", "azp", 7, "not a string"),
		claim("IDT-02 azp with untrusted extra", "extraAudiences", func(c map[string]any) { c["aud"], c["azp"] = []string{cid, "evil"}, cid }),
		without("IDT-03 iss absent", "iss", "issuer is"),
		set("IDT-03 iss list", "iss", []string{issuerURL}, "not a string"),
		without("IDT-04 exp absent", "exp", `"exp\" is missing`),
		set("IDT-04 exp past", "exp", ago(61*time.Second), "expired"),
		set("IDT-04 exp text", "exp", "2999999999", "not a time"),
		set("IDT-04 exp negative", "exp", -1, "not a time"),
		set("IDT-04 exp zero", "exp", 0, "not a time"),
		set("IDT-04 exp beyond time", "exp", 1e300, "not a time"),
		set("IDT-04 exp null", "exp", nil, "missing"),
		set("IDT-06 nbf ahead", "nbf", ago(-10*time.Minute), "not valid before"),
		set("IDT-06 nbf text", "nbf", "now", "not a time"),
		set("IDT-06 iat ahead", "iat", ago(-10*time.Minute), "in the future"),
		set("IDT-06 iat a year old", "iat", ago(365*24*time.Hour), "long ago"),
		without("IDT-06 iat absent", "iat", `"iat\" is missing`),
		without("IDT-07 sub absent", "sub", `"sub\" is missing`),
		set("IDT-07 sub empty", "sub", "", `"sub\" is missing`),
		set("IDT-07 sub too long", "sub", strings.Repeat("a", 300), "can't name anybody"),
		set("IDT-07 sub number", "sub", 42, "not a string"),
		set("IDT-07 sub list", "sub", []string{"1001"}, "not a string"),
		set("IDT-07 sub with NUL", "sub", "1001\x00", "can't name anybody"),
		set("IDT-07 sub with newline", "sub", "1001\n", "can't name anybody"),
		set("IDT-07 sub with leading space", "sub", " 1001", "can't name anybody"),
		set("IDT-16 sub with no-break space", "sub", "1001\u00a0", "can't name anybody"),
		set("IDT-16 sub with zero-width space", "sub", "10\u200b01", "can't name anybody"),
		signed("IDT-27 idtoken-sig-none", authntest.Unsigned, "not base64url"),
		signed("IDT-28 HS256 with the secret", authntest.HMACSecret, `algorithm \"HS256\"`),
		signed("IDT-28 HS256 with the public key", authntest.HMACPublicKey, `algorithm \"HS256\"`),
		signed("IDT-28 HS256 with nothing", authntest.HMACEmpty, `algorithm \"HS256\"`),
		signed("invalid-sig-es256", authntest.Corrupt, "signature is not the issuer's"),
		signed("JWT-32 another issuer's key", authntest.ForeignKey, "signature is not the issuer's"),
		payload("IDT-30 deep", "nests deeper", func([]byte) []byte {
			return []byte(`{"a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`)
		}),
		set("IDT-30 large claim", "x", strings.Repeat("a", 5<<18), "larger than"),
		set("IDT-30 100 000 groups", "groups", strings.Split(strings.Repeat("group,", 100_000), ","), "larger than"),
		payload("duplicate sub", "duplicate", func(p []byte) []byte { return append(p[:len(p)-1], `,"sub":"1002"}`...) }),
		payload("duplicate nested", "duplicate", func(p []byte) []byte { return append(p[:len(p)-1], `,"x":{"a":1,"a":2}}`...) }),
		payload("bad UTF-8", "UTF-8", func(p []byte) []byte { return bytes.Replace(p, []byte("Ada"), []byte("\xff\xfe"), 1) }),
		payload("not an object", "not a JSON object", func([]byte) []byte { return []byte(`["a"]`) }),
		payload("null", "not a JSON object", func([]byte) []byte { return []byte(`null`) }),
		payload("JWT-23 a JWT in a JWT", "not a JSON", func([]byte) []byte { return []byte(`eyJhbGciOiJub25lIn0.e30.`) }),
		payload("trailing text", "not exactly one", func(p []byte) []byte { return append(p, `{}`...) }),
		payload("another case", "missing", func(p []byte) []byte { return bytes.Replace(p, []byte(`"exp"`), []byte(`"EXP"`), 1) }),
		compact("JWT-21 two parts", "compact form", func(s string) string { return s[:strings.LastIndex(s, ".")] }),
		compact("JWT-21 four parts", "compact form", func(s string) string { return s + ".a" }),
		compact("JWT-24 five parts", "compact form", func(s string) string { return s + ".a.b" }),
		compact("JWT-21 dots", "larger than", func(string) string { return strings.Repeat(".", 1<<19) }),
		compact("JWT-28 JSON serialization", "compact form", func(s string) string {
			p := strings.Split(s, ".")
			return fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, p[1], p[0], p[2])
		}),
		compact("JWT-29 detached", "not base64url", func(s string) string { p := strings.Split(s, "."); return p[0] + ".." + p[2] }),
		compact("JWT-30 padding", "not base64url", func(s string) string { return s + "=" }),
		compact("JWT-30 newline", "not base64url", func(s string) string { return s[:20] + "\n" + s[20:] }),
		compact("JWT-30 leading space", "not base64url", func(s string) string { return " " + s }),
		compact("JWT-30 unused bits", "not base64url", func(s string) string { return s[:len(s)-1] + string(s[len(s)-1]+1) }),
	}
	for name, iss := range map[string]string{
		"slash": issuerURL + "/", "upper case": "https://IDP.test", "http": "http://idp.test",
		"trailing space": issuerURL + " ", "prefix": issuerURL + ".evil", "empty": "", "no scheme": "idp.test",
	} {
		all = append(all, set("IDT-03 iss "+name, "iss", iss, "issuer is"))
	}
	for _, typ := range []string{"logout+jwt", "at+jwt", "application/at+jwt", "secevent+jwt", "dpop+jwt", "JWE"} {
		all = append(all, inHeader("IDT-29 typ "+typ, "type", func(h map[string]any) { h["typ"] = typ }))
	}
	all = append(all, set("IDT-29 events", "events", map[string]any{}, "security event"))
	for name, alg := range map[string]any{
		"none": "none", "None": "None", "NONE": "NONE", "empty": "", "absent": nil, "list": []string{"ES256"}, "case": "es256", "other": "RS256", "number": 7,
	} {
		log := "algorithm"
		if name == "list" || name == "number" {
			log = "not a string"
		}
		all = append(all, inHeader("JWT-04 alg "+name, log, func(h map[string]any) { h["alg"] = alg }))
	}
	for name, kid := range map[string]any{
		"path": "../../../dev/null", "SQL": "' OR 1=1", "URL": "http://evil.test/", "NUL": "\x00", "long": strings.Repeat("k", 1000),
	} {
		all = append(all, inHeader("JWT-05 kid "+name, "signature", func(h map[string]any) { h["kid"] = kid }))
	}
	all = append(all,
		inHeader("JWT-05 kid number", "not a string", func(h map[string]any) { h["kid"] = 7 }),
		inHeader("JWT-12 crit", "not supported", func(h map[string]any) { h["crit"] = []string{"exp"} }),
		inHeader("JWT-12 crit b64", "not supported", func(h map[string]any) { h["crit"], h["b64"] = []string{"b64"}, false }),
		inHeader("JWT-12 b64", "not supported", func(h map[string]any) { h["b64"] = false }),
		inHeader("JWT-12 crit empty", "not supported", func(h map[string]any) { h["crit"] = []string{} }),
	)
	return all
}

// flows runs a test with both flows.
func flows(t *testing.T, f func(t *testing.T, flow func(*setup))) {
	for name, flow := range map[string]func(*setup){"code": func(*setup) {}, "implicit": implicit} {
		t.Run(name, func(t *testing.T) { f(t, flow) })
	}
}

func TestIDTokenLies(t *testing.T) {
	for _, l := range lies() {
		t.Run(l.name, func(t *testing.T) {
			flows(t, func(t *testing.T, flow func(*setup)) {
				r := newRig(t, flow)
				r.issuer.Set(l.fault)
				b := r.browser()
				d := b.authorize(b.start("?rd=/x"))
				if size := len(d.params().Encode()); size > maxForm {
					r.refused(b.deliver(d), 413)
					return
				}
				a := b.deliver(d)
				r.refused(a, 400)
				if !strings.Contains(a.body, "rd=%2Fx") {
					t.Error("the page has no way to start again")
				}
				r.logged(l.log)
				if strings.Contains(a.body, "claim") || strings.Contains(a.body, "ID token") {
					t.Error("the page tells what only the log may know")
				}
			})
		})
	}
}

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

// TestAccessHash: OIDC-24, invalid-athash and missing-athash.
func TestAccessHash(t *testing.T) {
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		key := map[string]func() authntest.Key{"ES256": es256, "RS256": rs256, "EdDSA": func() authntest.Key { return authntest.NewKey("EdDSA") }}[alg]()
		// front is a provider that sends an access token along, unasked.
		front := func(t *testing.T, edit func(map[string]any)) (*rig, answer) {
			r := newRig(t, implicit, func(s *setup) { s.issuer.Keys = []authntest.Key{key} })
			r.issuer.Set(func(f *authntest.Faults) {
				f.Claims = func(_ authntest.Answer, c map[string]any) {
					c["at_hash"] = accessHash(alg, "the-access-token")
					edit(c)
				}
				f.Redirect = func(_ authntest.Endpoint, q url.Values) {
					q.Set("access_token", "the-access-token")
					q.Set("token_type", "Bearer")
				}
			})
			return r, r.browser().signIn("")
		}
		t.Run("OIDC-24 at_hash right "+alg, func(t *testing.T) {
			r, a := front(t, func(map[string]any) {})
			r.landed(a, "/")
		})
		for name, edit := range map[string]func(map[string]any){
			"missing": func(c map[string]any) { delete(c, "at_hash") },
			"wrong":   func(c map[string]any) { c["at_hash"] = accessHash(alg, "another") },
			"empty":   func(c map[string]any) { c["at_hash"] = "" },
			"number":  func(c map[string]any) { c["at_hash"] = 7 },
		} {
			t.Run("OIDC-24 at_hash "+name+" "+alg, func(t *testing.T) {
				r, a := front(t, edit)
				r.refused(a, 400)
			})
		}
	}
	t.Run("at_hash wrong at the token endpoint", func(t *testing.T) {
		r := newRig(t)
		r.issuer.Set(set("", "at_hash", "AAAA", "").fault)
		r.refused(r.browser().signIn(""), 400)
		r.logged("bound to")
	})
	t.Run("at_hash missing at the token endpoint", func(t *testing.T) {
		r := newRig(t)
		r.issuer.Set(without("", "at_hash", "").fault)
		r.landed(r.browser().signIn(""), "/")
	})
	t.Run("hash by algorithm", func(t *testing.T) {
		for alg, size := range map[string]int{"RS256": 16, "ES384": 24, "PS512": 32, "EdDSA": 32} {
			if got := base64.RawURLEncoding.DecodedLen(len(accessHash(alg, "x"))); got != size {
				t.Errorf("%s: %d bytes", alg, got)
			}
		}
	})
}

// TestStrength: OIDC-33.
func TestStrength(t *testing.T) {
	strong := func(s *setup) {
		s.oidc.MaxAge, s.oidc.ACRValues = 60e9, []string{"silver", "gold"}
	}
	t.Run("asked for", func(t *testing.T) {
		r := newRig(t, strong)
		u, _ := url.Parse(r.browser().start(""))
		if q := u.Query(); q.Get("max_age") != "60" || q.Get("acr_values") != "silver gold" {
			t.Errorf("%v", q)
		}
		r.landed(r.browser().signIn(""), "/")
	})
	for _, l := range []lie{
		without("OIDC-33 auth_time absent", "auth_time", "auth_time"),
		set("OIDC-33 auth_time old", "auth_time", ago(3*time.Minute), "long ago"),
		set("OIDC-33 auth_time ahead", "auth_time", ago(-3*time.Minute), "in the future"),
		set("OIDC-33 auth_time text", "auth_time", "now", "not a time"),
		set("OIDC-33 acr another", "acr", "bronze", "by"),
		without("OIDC-33 acr absent", "acr", "by"),
		set("OIDC-33 acr list", "acr", []string{"gold"}, "not a string"),
	} {
		t.Run(l.name, func(t *testing.T) {
			r := newRig(t, strong)
			r.issuer.Set(l.fault)
			r.refused(r.browser().signIn(""), 400)
			r.logged(l.log)
		})
	}
}

// TestClocks: IDT-32.
func TestClocks(t *testing.T) {
	for shift, good := range map[time.Duration]bool{
		5 * time.Minute: false, 61 * time.Second: false, 55 * time.Second: true, -55 * time.Second: true,
		-50 * time.Minute: true, -62 * time.Minute: false, // an hour-long token: expired
	} {
		t.Run(fmt.Sprintf("IDT-32 clock off by %s", shift), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.issuer.Set(func(f *authntest.Faults) { f.ClockShift = shift })
				a := r.browser().signIn("")
				if good {
					r.landed(a, "/")
				} else {
					r.refused(a, 400)
				}
			})
		})
	}
	t.Run("IDT-06 iat older than an hour", func(t *testing.T) {
		now := time.Now()
		for age, good := range map[time.Duration]bool{time.Hour: true, time.Hour + 2*time.Minute: false} {
			text, _ := json.Marshal(map[string]int64{"exp": now.Add(time.Hour).Unix(), "iat": now.Add(-age).Unix()})
			c, err := parseClaims(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkTimes(c, now, time.Minute); (err == nil) != good {
				t.Errorf("%s: %v", age, err)
			}
		}
	})
}

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
			time.Sleep(keysAge + time.Minute)
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

// TestUserinfo: when it is asked, and what it may not say.
func TestUserinfo(t *testing.T) {
	thin := func(s *setup) { s.issuer.ThinIDTokens = true }
	t.Run("asked for what is missing", func(t *testing.T) {
		r := newRig(t, thin)
		r.landed(r.browser().signIn(""), "/")
		got := r.starts.last(t).Identity
		if got.Username != "ada" || got.Email != "ada@example.com" || len(got.Groups) != 2 {
			t.Errorf("%+v", got)
		}
		last := r.issuer.Last(authntest.Userinfo)
		if last.Method != http.MethodGet || !strings.HasPrefix(last.Header.Get("Authorization"), "Bearer ") || last.URL.RawQuery != "" {
			t.Errorf("userinfo-bearer-header: %s %v", last.Method, last.URL)
		}
	})
	t.Run("not asked when nothing is missing", func(t *testing.T) {
		r := newRig(t)
		r.landed(r.browser().signIn(""), "/")
		if n := r.issuer.Calls(authntest.Userinfo); n != 0 {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("always", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.Userinfo = "always" })
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Userinfo] = authntest.EditJSON(func(d map[string]any) { d["groups"] = []string{"fresh"} })
		})
		r.landed(r.browser().signIn(""), "/")
		if got := r.starts.last(t).Identity.Groups; len(got) != 1 || got[0] != "fresh" {
			t.Errorf("groups %q", got)
		}
	})
	t.Run("always without an access token", func(t *testing.T) {
		r := newRig(t, implicit, func(s *setup) { s.oidc.Userinfo = "always" })
		r.refused(r.browser().signIn(""), 400)
		r.logged("no access token to ask with")
	})
	t.Run("never", func(t *testing.T) {
		r := newRig(t, thin, func(s *setup) { s.oidc.Userinfo = "never" })
		r.landed(r.browser().signIn(""), "/")
		if n := r.issuer.Calls(authntest.Userinfo); n != 0 || r.starts.last(t).Identity.Username != "" {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("userinfo-signed", func(t *testing.T) {
		r := newRig(t, thin, func(s *setup) { s.issuer.SignedUserinfo = true })
		r.landed(r.browser().signIn(""), "/")
		if got := r.starts.last(t).Identity.Username; got != "ada" {
			t.Errorf("username %q", got)
		}
	})
	for name, fault := range map[string]func(*authntest.Faults){
		"corrupt":  func(f *authntest.Faults) { f.Signature = authntest.Corrupt },
		"unsigned": func(f *authntest.Faults) { f.Signature = authntest.Unsigned },
		"other typ": func(f *authntest.Faults) {
			f.Header = func(_ authntest.Answer, h map[string]any) { h["typ"] = "at+jwt" }
		},
		"other aud": func(f *authntest.Faults) { f.Claims = func(_ authntest.Answer, c map[string]any) { c["aud"] = "evil" } },
		"not JSON":  func(f *authntest.Faults) { f.Payload = func(authntest.Answer, []byte) []byte { return []byte("x") } },
	} {
		t.Run("OIDC-39 signed userinfo "+name, func(t *testing.T) {
			r := newRig(t, thin, func(s *setup) { s.issuer.SignedUserinfo = true })
			r.issuer.Set(func(f *authntest.Faults) {
				var wrong authntest.Faults
				fault(&wrong)
				// Only userinfo lies: the ID token would be refused first.
				*f = authntest.Faults{Compact: onlyUserinfo(t, wrong)}
				f.At = map[authntest.Endpoint]authntest.Fault{}
			})
			r.refused(r.browser().signIn(""), 400)
			r.logged("userinfo: ")
		})
	}
	edit := func(f func(map[string]any)) authntest.Fault { return authntest.EditJSON(f) }
	for name, c := range map[string]struct {
		fault  authntest.Fault
		status int
	}{
		"userinfo-invalid-sub": {edit(func(d map[string]any) { d["sub"] = "1002" }), 400},
		"sub missing":          {edit(func(d map[string]any) { delete(d, "sub") }), 400},
		"sub number":           {edit(func(d map[string]any) { d["sub"] = 1001 }), 400},
		"sub null":             {edit(func(d map[string]any) { d["sub"] = nil }), 400},
		"array":                {authntest.Reply(200, "application/json", `[{"sub":"1001"}]`), 400},
		"HTML":                 {authntest.Reply(200, "text/html", "<html></html>"), 400},
		"duplicate names":      {authntest.Duplicate, 400},
		"unsigned JWT":         {authntest.Reply(200, "application/jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMDAxIn0."), 400},
		"JWT of nothing":       {authntest.Reply(200, "application/jwt", "hello"), 400},
		"401":                  {authntest.Reply(401, "text/plain", ""), 400},
		"404":                  {authntest.Reply(404, "text/plain", ""), 400},
		"redirect":             {authntest.SendTo(302, "https://evil.test"), 400},
		"503":                  {authntest.Unavailable, 503},
		"hangs up":             {authntest.Hangup, 503},
		"10 MB":                {authntest.Pad(10 << 20), 400},
	} {
		t.Run("OIDC-39 userinfo "+name, func(t *testing.T) {
			r := newRig(t, thin)
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = c.fault })
			r.refused(r.browser().signIn(""), c.status)
			r.logged("userinfo: ")
			if r.seen("evil.test") != 0 {
				t.Error("SSRF-08: a redirect was followed")
			}
		})
	}
	t.Run("OIDC-45 aggregated and distributed claims", func(t *testing.T) {
		r := newRig(t)
		fetched := 0
		r.hosts["internal.test"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched++ })
		extra := map[string]any{
			"_claim_names": map[string]any{"email": "src1", "preferred_username": "src2"},
			"_claim_sources": map[string]any{
				"src1": map[string]any{"endpoint": "https://internal.test/claims", "access_token": "t"},
				"src2": map[string]any{"JWT": "eyJhbGciOiJub25lIn0.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJyb290In0."},
			},
		}
		r.issuer.Set(claim("", "", func(c map[string]any) {
			maps.Copy(c, extra)
			delete(c, "email")
			delete(c, "preferred_username")
		}).fault)
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Userinfo] = edit(func(d map[string]any) {
				maps.Copy(d, extra)
				delete(d, "email")
				delete(d, "preferred_username")
			})
		})
		r.landed(r.browser().signIn(""), "/")
		if got := r.starts.last(t).Identity; fetched != 0 || got.Email != "" || got.Username != "" {
			t.Errorf("fetched %d times: %+v", fetched, got)
		}
	})
}
