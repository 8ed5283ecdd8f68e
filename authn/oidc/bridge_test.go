package oidc

import (
	"context"
	"encoding/json/v2"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
)

// TestBridge: a refresh token that rotates is spent once, so a renewal that gets
// stuck behind it must not lose the new one.
func TestBridge(t *testing.T) {
	for name, fault := range map[string]func(*rig){
		"keys": func(r *rig) {
			r.issuer.SetKeys(authntest.NewKey("ES256"))
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable })
		},
		"userinfo": func(r *rig) {
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = authntest.Unavailable })
		},
		"userinfo for the whole time": func(r *rig) {
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = authntest.Delay(time.Hour) })
		},
	} {
		t.Run("SES-25 "+name+" out", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := signedIn(t, func(s *setup) { s.issuer.ThinIDTokens, s.issuer.Lifetime = true, 5*time.Minute })
				time.Sleep(4 * time.Minute)
				fault(r)
				began := time.Now()
				for time.Since(began) < bridgeTime-time.Minute {
					ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
					next, err := r.route.Renew(ctx, p)
					cancel()
					if err != nil {
						t.Fatalf("after %s: %v", time.Since(began), err)
					}
					if readGrant(t, next).Refresh == readGrant(t, p).Refresh || next.Identity.Subject != "1001" || next.Identity.Email == "" {
						t.Fatalf("%+v", next)
					}
					if left := time.Until(next.Identity.Expires); left > bridgeStep || !next.RenewAt.Before(next.Identity.Expires) {
						t.Fatalf("believed for %s", left)
					}
					p = next
					time.Sleep(time.Until(p.RenewAt))
				}
				r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
				time.Sleep(time.Minute)
				next, err := r.route.Renew(t.Context(), p)
				if err != nil || readGrant(t, next).Bridged != 0 || time.Until(next.Identity.Expires) <= bridgeStep {
					t.Errorf("%+v, %v", next, err)
				}
			})
		})
	}
	t.Run("not for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, p := signedIn(t, func(s *setup) { s.issuer.ThinIDTokens = true })
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = authntest.Unavailable })
			next, err := r.route.Renew(t.Context(), p)
			if err != nil || !next.Identity.Expires.Equal(p.Identity.Expires) { // it had longer to go
				t.Fatalf("%+v, %v", next, err)
			}
			time.Sleep(bridgeTime + time.Second)
			if _, err := r.route.Renew(t.Context(), next); err == nil || errors.Is(err, authn.ErrRejected) {
				t.Errorf("%v", err)
			}
		})
	})
	t.Run("not against a no", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) { s.issuer.ThinIDTokens = true })
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = authntest.Reply(401, "text/plain", "") })
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("%v", err)
		}
	})
}

func TestSchedule(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	exp := func(d time.Duration) claims {
		text, _ := json.Marshal(now.Add(d).Unix())
		return claims{"exp": text}
	}
	for name, c := range map[string]struct {
		expiry time.Time
		id     claims
		life   time.Duration
		early  time.Duration
	}{
		"an hour":           {now.Add(time.Hour), nil, time.Hour, 12 * time.Minute},
		"two minutes":       {now.Add(2 * time.Minute), nil, 2 * time.Minute, 30 * time.Second},
		"a second":          {now.Add(time.Second), nil, time.Minute, 30 * time.Second},
		"in the past":       {now.Add(-time.Hour), nil, time.Minute, 30 * time.Second},
		"a year":            {now.Add(365 * 24 * time.Hour), nil, 24 * time.Hour, 288 * time.Minute},
		"by the ID token":   {time.Time{}, exp(10 * time.Minute), 10 * time.Minute, 2 * time.Minute},
		"nobody says":       {time.Time{}, nil, time.Minute, 30 * time.Second},
		"ID token too long": {time.Time{}, exp(1000 * time.Hour), 24 * time.Hour, 288 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			expires, renew := schedule(now, c.expiry, c.id)
			if expires.Sub(now) != c.life || expires.Sub(renew) != c.early {
				t.Errorf("expires in %s, renewed %s early", expires.Sub(now), expires.Sub(renew))
			}
		})
	}
	t.Run("no refresh token", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.issuer.OfflineOnly = true })
		r.landed(r.browser().signIn(""), "/")
		if p := r.starts.last(t); !p.RenewAt.IsZero() || !p.Identity.Expires.IsZero() {
			t.Errorf("%+v", p)
		}
	})
	t.Run("large ID token is not kept", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) {
			s.issuer.People[0].Groups = strings.Split(strings.Repeat("some-group-name,", 1000)+"x", ",")
		})
		if g := readGrant(t, p); g.IDToken != "" || g.Refresh == "" {
			t.Errorf("%d bytes are kept", len(g.IDToken))
		}
		if u := r.route.SignOutURL(p); strings.Contains(u, "id_token_hint") || !strings.Contains(u, "client_id=gw") {
			t.Errorf("sign-out %s", u)
		}
	})
}
