package oidc

import (
	"context"
	"encoding/json/v2"
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/session"
)

// TestRenewWithoutNews: a refresh token that rotates is spent once, so a renewal
// that gets stuck behind it must not lose the new one, and must not make anybody
// believed for longer either.
func TestRenewWithoutNews(t *testing.T) {
	for name, fault := range map[string]func(*rig){
		"keys": func(r *rig) {
			r.issuer.SetKeys(authntest.NewKey("ES256"))
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable })
		},
		"userinfo": func(r *rig) {
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = authntest.Unavailable })
		},
		"userinfo hanging": func(r *rig) {
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = authntest.Delay(time.Hour) })
		},
	} {
		t.Run("SES-25 SES-28 "+name+" for three hours", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := signedIn(t, func(s *setup) { s.issuer.ThinIDTokens, s.issuer.Lifetime = true, 5*time.Minute })
				time.Sleep(4 * time.Minute)
				fault(r)
				for began := time.Now(); time.Since(began) < 3*time.Hour; time.Sleep(time.Until(p.RenewAt)) {
					ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
					next, err := r.route.Renew(ctx, p)
					cancel()
					if err != nil {
						t.Fatalf("after %s: %v", time.Since(began), err)
					}
					if readGrant(t, next).Refresh == readGrant(t, p).Refresh {
						t.Fatal("the new grant was lost")
					}
					if diff := cmp.Diff(p.Identity, next.Identity); diff != "" {
						t.Fatalf("believed otherwise than before: %s", diff)
					}
					if wait := time.Until(next.RenewAt); wait < time.Second || wait > nextTry {
						t.Fatalf("next try in %s", wait)
					}
					p = next
				}
				r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
				time.Sleep(time.Minute)
				next, err := r.route.Renew(t.Context(), p)
				if err != nil || !next.Identity.Expires.After(time.Now()) || len(next.Identity.Groups) != 2 {
					t.Errorf("%+v, %v", next, err)
				}
			})
		})
	}
	t.Run("SES-28 session and provider together", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var sessions *session.Sessions
			var renew func(context.Context, authn.Proof) (authn.Proof, error)
			r := newRig(t, offline, func(s *setup) {
				s.issuer.ThinIDTokens, s.issuer.Lifetime = true, 5*time.Minute
				sessions = session.New(session.Options{Store: s.deps.Store, Keys: s.deps.Keys, Cookie: s.deps.Cookie, OutageGrace: time.Hour,
					Renew: func(ctx context.Context, p authn.Proof) (authn.Proof, error) { return renew(ctx, p) }})
				s.deps.Sessions = sessions
			})
			defer sessions.Close()
			renew = r.route.Renew
			b := r.browser()
			b.signIn("")
			expired := time.Now().Add(5 * time.Minute)
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = authntest.Unavailable })
			ask := func() error {
				q := httptest.NewRequest("GET", gatewayURL, nil)
				gw, _ := url.Parse(gatewayURL)
				for _, c := range b.client.Jar.Cookies(gw) {
					q.AddCookie(c)
				}
				_, err := sessions.Authenticate(q)
				return err
			}
			for time.Since(expired) < 2*time.Hour {
				time.Sleep(10 * time.Second)
				err := ask()
				if errors.Is(err, authn.ErrRejected) || (err == nil) != (time.Since(expired) < time.Hour) {
					t.Fatalf("%s after the end of the proof: %v", time.Since(expired), err)
				}
			}
			r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
			time.Sleep(time.Minute)
			if err := ask(); err != nil {
				t.Errorf("the provider is well again: %v", err)
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
	exp := func(d time.Duration) issuer.Claims {
		text, _ := json.Marshal(now.Add(d).Unix())
		return issuer.Claims{"exp": text}
	}
	for name, c := range map[string]struct {
		expiry time.Time
		id     issuer.Claims
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
			latest, seen := now.Add(c.life-c.early), map[time.Time]bool{}
			for range 20 {
				expires, renew := schedule(now, c.expiry, c.id)
				if expires.Sub(now) != c.life || renew.After(latest) || renew.Before(now.Add((c.life-c.early)*9/10)) {
					t.Errorf("expires in %s, renewed %s early", expires.Sub(now), expires.Sub(renew))
				}
				seen[renew] = true
			}
			if len(seen) < 10 {
				t.Errorf("all are renewed together, at %v", seen)
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
