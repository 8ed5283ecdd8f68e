package oidc

import (
	"context"
	"encoding/json/v2"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/session"
)

// signedIn is a rig with a proof that can be renewed.
func signedIn(t *testing.T, changes ...func(*setup)) (*rig, authn.Proof) {
	t.Helper()
	r := newRig(t, append([]func(*setup){offline}, changes...)...)
	r.landed(r.browser().signIn(""), "/")
	return r, r.starts.last(t)
}

func readGrant(t *testing.T, p authn.Proof) grant {
	t.Helper()
	var g grant
	if err := json.Unmarshal(p.Grant, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// noIDToken is a provider that sends no ID token on renewal.
func noIDToken(f *authntest.Faults) {
	f.At[authntest.Token] = authntest.OnRefresh(authntest.EditJSON(func(d map[string]any) { delete(d, "id_token") }))
}

func TestRenew(t *testing.T) {
	t.Run("refresh-token", func(t *testing.T) {
		r, p := signedIn(t)
		next, err := r.route.Renew(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		old, fresh := readGrant(t, p), readGrant(t, next)
		if fresh.Refresh == old.Refresh || fresh.IDToken == old.IDToken || fresh.Nonce != old.Nonce || fresh.Sub != old.Sub {
			t.Errorf("grant %+v", fresh)
		}
		if next.Identity.Subject != "1001" || !next.Identity.AuthTime.Equal(p.Identity.AuthTime) || next.RenewAt.Before(p.RenewAt) {
			t.Errorf("%+v", next)
		}
		if _, err := r.route.Renew(t.Context(), next); err != nil {
			t.Error(err)
		}
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("an old refresh token: %v", err)
		}
	})
	t.Run("refresh token that stays", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) { s.issuer.KeepRefreshTokens = true })
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Token] = authntest.EditJSON(func(d map[string]any) { delete(d, "refresh_token") })
		})
		for range 3 {
			next, err := r.route.Renew(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if readGrant(t, next).Refresh != readGrant(t, p).Refresh {
				t.Error("the refresh token was lost")
			}
			p = next
		}
	})
	t.Run("IDT-24 groups shrink", func(t *testing.T) {
		r, p := signedIn(t)
		changed := ada()
		changed.Groups, changed.Email = []string{"research"}, "ada@new.test"
		r.issuer.SetPerson(changed)
		next, err := r.route.Renew(t.Context(), p)
		if err != nil || !slices.Equal(next.Identity.Groups, []string{"research"}) || next.Identity.Email != "ada@new.test" {
			t.Errorf("%+v, %v", next.Identity, err)
		}
	})
	for name, change := range map[string]func(p *authntest.Person){
		"SES-29 group":          func(p *authntest.Person) { p.Groups = []string{"guests"} },
		"SES-29 domain":         func(p *authntest.Person) { p.Email = "ada@evil.test" },
		"SES-29 email_verified": func(p *authntest.Person) { p.EmailVerified = false },
	} {
		t.Run(name, func(t *testing.T) {
			r, p := signedIn(t, func(s *setup) {
				s.oidc.AllowedGroups, s.oidc.AllowedEmailDomains = []string{"admins"}, []string{"example.com"}
			})
			changed := ada()
			change(&changed)
			r.issuer.SetPerson(changed)
			if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("IDT-23 disabled at the provider", func(t *testing.T) {
		r, p := signedIn(t)
		r.issuer.RemovePerson("1001")
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("%v", err)
		}
	})
	onRefresh := func(f func(map[string]any)) func(*authntest.Faults) {
		return func(faults *authntest.Faults) {
			faults.Claims = func(a authntest.Answer, c map[string]any) {
				if a == authntest.FromRefresh {
					f(c)
				}
			}
		}
	}
	for name, fault := range map[string]func(*authntest.Faults){
		"refresh-token-invalid-sub":    onRefresh(func(c map[string]any) { c["sub"] = "1002" }),
		"refresh-token-invalid-issuer": onRefresh(func(c map[string]any) { c["iss"] = "https://other.test" }),
		"aud":                          onRefresh(func(c map[string]any) { c["aud"] = "other" }),
		"iat old":                      onRefresh(func(c map[string]any) { c["iat"] = ago(2 * time.Hour) }),
		"nonce":                        onRefresh(func(c map[string]any) { c["nonce"] = "other" }),
		"auth_time":                    onRefresh(func(c map[string]any) { c["auth_time"] = c["auth_time"].(int64) - 100 }),
		"sub missing":                  onRefresh(func(c map[string]any) { delete(c, "sub") }),
		"groups of a wrong type":       onRefresh(func(c map[string]any) { c["groups"] = "admins" }),
		"signature":                    func(f *authntest.Faults) { f.Signature = authntest.Corrupt },
		"unsigned":                     func(f *authntest.Faults) { f.Signature = authntest.Unsigned },
	} {
		t.Run("OIDC-40 "+name, func(t *testing.T) {
			r, p := signedIn(t)
			r.issuer.Set(fault)
			if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("OIDC-40 subject claim", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) {
			s.oidc.Claims.Subject = "oid"
			s.issuer.People[0].Claims = map[string]any{"oid": "o-1"}
		})
		changed := ada()
		changed.Claims = map[string]any{"oid": "o-2"}
		r.issuer.SetPerson(changed)
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("%v", err)
		}
	})
	t.Run("nonce that comes back", func(t *testing.T) {
		r, p := signedIn(t)
		nonce := readGrant(t, p).Nonce
		r.issuer.Set(onRefresh(func(c map[string]any) { c["nonce"] = nonce }))
		if _, err := r.route.Renew(t.Context(), p); err != nil {
			t.Error(err)
		}
	})
	t.Run("max_age and acr are not asked again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, p := signedIn(t, func(s *setup) { s.oidc.MaxAge, s.oidc.ACRValues = 60e9, []string{"gold"} })
			r.issuer.Set(onRefresh(func(c map[string]any) { delete(c, "acr") }))
			time.Sleep(30 * time.Minute)
			if _, err := r.route.Renew(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	})
	for name, c := range map[string]struct {
		fault    authntest.Fault
		rejected bool
		log      string
	}{
		"SES-28 invalid_grant":   {authntest.Refuse("invalid_grant"), true, ""},
		"access_denied":          {authntest.Refuse("access_denied"), true, ""},
		"interaction_required":   {authntest.Refuse("interaction_required"), true, ""},
		"SES-28 503":             {authntest.Unavailable, false, ""},
		"SES-28 429":             {authntest.Reply(429, "text/plain", ""), false, ""},
		"SES-28 hangs up":        {authntest.Hangup, false, ""},
		"HTML":                   {authntest.Reply(200, "text/html", "<html>"), false, ""},
		"error page":             {authntest.Reply(400, "text/html", "<html>"), false, ""},
		"invalid_client":         {authntest.Refuse("invalid_client"), false, "see the client settings"},
		"503 with invalid_grant": {authntest.Reply(503, "application/json", `{"error":"invalid_grant"}`), false, ""},
		"token type":             {authntest.EditJSON(func(d map[string]any) { d["token_type"] = "MAC" }), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := signedIn(t)
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Token] = authntest.OnRefresh(c.fault) })
			_, err := r.route.Renew(t.Context(), p)
			if err == nil || errors.Is(err, authn.ErrRejected) != c.rejected {
				t.Errorf("%v", err)
			}
			r.logged(c.log)
		})
	}
	t.Run("keys not to be had", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) { s.issuer.KeepRefreshTokens = true })
		r.issuer.SetKeys(authntest.NewKey("ES256"))
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Unavailable })
		if _, err := r.route.Renew(t.Context(), p); err == nil || errors.Is(err, authn.ErrRejected) {
			t.Errorf("%v", err)
		}
	})
	t.Run("provider unknown", func(t *testing.T) { // after a restart
		r, p := signedIn(t)
		o := r.add("main", r.o.settings, r.deps)
		r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Discovery] = authntest.Unavailable })
		if _, err := o.renew(t.Context(), p); err == nil || errors.Is(err, authn.ErrRejected) {
			t.Errorf("%v", err)
		}
	})
	t.Run("nothing to renew with", func(t *testing.T) {
		r, p := signedIn(t)
		for _, text := range []string{"", "{}", "null", "[]", `{"r":"x"}`} {
			p.Grant = []byte(text)
			if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func TestRenewWithoutIDToken(t *testing.T) {
	t.Run("nothing came from userinfo", func(t *testing.T) {
		r, p := signedIn(t)
		r.issuer.Set(noIDToken)
		next, err := r.route.Renew(t.Context(), p)
		if err != nil || next.Identity.Subject != "1001" || r.issuer.Calls(authntest.Userinfo) != 0 {
			t.Errorf("%+v, %v", next.Identity, err)
		}
		if readGrant(t, next).IDToken != readGrant(t, p).IDToken || !next.Identity.Expires.After(time.Now()) {
			t.Errorf("%+v", next)
		}
	})
	thin := func(s *setup) { s.issuer.ThinIDTokens, s.issuer.KeepRefreshTokens = true, true }
	t.Run("IDT-24 userinfo is asked again", func(t *testing.T) {
		r, p := signedIn(t, thin)
		r.issuer.Set(noIDToken)
		changed := ada()
		changed.Groups, changed.Name, changed.Username = nil, "Ada King", "king"
		r.issuer.SetPerson(changed)
		next, err := r.route.Renew(t.Context(), p)
		if err != nil || next.Identity.Groups != nil || next.Identity.Name != "Ada King" || next.Identity.Username != "king" || next.Identity.Email == "" {
			t.Errorf("%+v, %v", next.Identity, err)
		}
		if next.Identity.Subject != p.Identity.Subject {
			t.Error("the subject changed")
		}
	})
	for name, c := range map[string]struct {
		fault    authntest.Fault
		rejected bool
	}{
		"IDT-23 401":      {authntest.Reply(401, "text/plain", ""), true},
		"another sub":     {authntest.EditJSON(func(d map[string]any) { d["sub"] = "1002" }), true},
		"a wrong type":    {authntest.EditJSON(func(d map[string]any) { d["groups"] = "admins" }), true},
		"groups overage":  {authntest.EditJSON(func(d map[string]any) { delete(d, "groups"); d["hasgroups"] = true }), true},
		"403":             {authntest.Reply(403, "text/plain", ""), false},
		"503":             {authntest.Unavailable, false},
		"HTML":            {authntest.Reply(200, "text/html", "<html>"), false},
		"nothing":         {authntest.Hangup, false},
		"somewhere else":  {authntest.SendTo(302, "https://evil.test"), false},
		"duplicate names": {authntest.Duplicate, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := signedIn(t, thin)
			r.issuer.Set(func(f *authntest.Faults) { noIDToken(f); f.At[authntest.Userinfo] = c.fault })
			if _, err := r.route.Renew(t.Context(), p); err == nil || errors.Is(err, authn.ErrRejected) != c.rejected {
				t.Errorf("%v", err)
			}
		})
	}
}

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

func TestSignOutURL(t *testing.T) {
	r, p := signedIn(t)
	u, err := url.Parse(r.route.SignOutURL(p))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Scheme+"://"+u.Host+u.Path != issuerURL+"/end-session" || q.Get("id_token_hint") != readGrant(t, p).IDToken || q.Get("client_id") != "gw" ||
		q.Get("post_logout_redirect_uri") != gatewayURL+"/.gatehouse/signed-out" || len(q.Get("state")) != 43 || len(q) != 4 {
		t.Errorf("sign-out %s", u)
	}
	set := func(v any) {
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["end_session_endpoint"] = v })
		})
		if _, err := r.o.provider.discover(); err != nil {
			t.Fatal(err)
		}
	}
	set(issuerURL + "/bye?realm=x")
	if got := r.route.SignOutURL(authn.Proof{}); !strings.HasPrefix(got, issuerURL+"/bye?client_id=gw&post_logout") || !strings.Contains(got, "realm=x") {
		t.Errorf("sign-out %s", got)
	}
	set(nil)
	if got := r.route.SignOutURL(p); got != "" {
		t.Errorf("sign-out %s", got)
	}
	r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Discovery] = authntest.Unavailable })
	if got := r.add("main", r.o.settings, r.deps).signOutURL(p); got != "" {
		t.Errorf("sign-out %s", got)
	}
}

// TestWithSessions: with the sessions of the house in place of the recorder.
func TestWithSessions(t *testing.T) {
	build := func(t *testing.T) (*rig, *session.Sessions) {
		var sessions *session.Sessions
		r := newRig(t, offline, func(s *setup) {
			sessions = session.New(session.Options{Store: s.deps.Store, Keys: s.deps.Keys, Cookie: s.deps.Cookie, Log: s.deps.Log})
			s.deps.Sessions = sessions
		})
		t.Cleanup(sessions.Close)
		return r, sessions
	}
	who := func(s *session.Sessions, c *http.Cookie) (authn.Identity, error) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, gatewayURL, nil)
		req.AddCookie(c)
		return s.Authenticate(req)
	}
	held := func(b *browser) *http.Cookie {
		u, _ := url.Parse(gatewayURL)
		for _, c := range b.client.Jar.Cookies(u) {
			if c.Name == "__Host-gatehouse" {
				return c
			}
		}
		t.Fatal("no session cookie")
		return nil
	}
	t.Run("OIDC-37 session fixation", func(t *testing.T) {
		r, s := build(t)
		attacker, victim := r.browser(), r.browser()
		attacker.signIn("")
		planted := held(attacker)
		u, _ := url.Parse(gatewayURL)
		victim.client.Jar.SetCookies(u, []*http.Cookie{{Name: planted.Name, Value: planted.Value, Path: "/", Secure: true}})
		victim.signIn("")
		if held(victim).Value == planted.Value {
			t.Error("the planted session goes on")
		}
		if id, err := who(s, planted); err == nil {
			t.Errorf("the planted session is %s", id.Subject)
		}
		if id, err := who(s, held(victim)); err != nil || id.Subject != "1001" {
			t.Errorf("the new session is %q, %v", id.Subject, err)
		}
	})
	t.Run("OIDC-38 over another person's session", func(t *testing.T) {
		r, s := build(t)
		b := r.browser()
		b.signIn("")
		alices := held(b)
		r.issuer.AutoLogin("1002")
		if a := b.signIn(""); a.location() != "/" {
			t.Fatalf("%d %s\n%s", a.status, a.body, r.log)
		}
		if id, err := who(s, alices); err == nil {
			t.Errorf("the first session goes on as %s", id.Subject)
		}
		id, err := who(s, held(b))
		if err != nil || id.Subject != "1002" || !slices.Equal(id.Groups, []string{"guests"}) || id.Email != "ben@example.com" {
			t.Errorf("%+v, %v\n%s", id, err, r.log)
		}
	})
}
