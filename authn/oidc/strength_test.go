package oidc

import (
	"encoding/base64"
	"encoding/json/v2"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
)

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
			c, err := issuer.ParseClaims(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkTimes(c, now, time.Minute); (err == nil) != good {
				t.Errorf("%s: %v", age, err)
			}
		}
	})
}
