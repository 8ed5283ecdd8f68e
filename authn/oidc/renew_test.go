package oidc

import (
	"encoding/json/v2"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
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
		if next.Identity.Subject != "1001" || !next.Identity.AuthTime.Equal(p.Identity.AuthTime) || !next.RenewAt.After(time.Now()) {
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
	for name, fault := range map[string]func(*authntest.Faults){
		"provider is ahead":  func(f *authntest.Faults) { f.ClockShift = 3 * time.Minute },
		"provider is behind": func(f *authntest.Faults) { f.ClockShift = -3 * time.Hour },
		"exp":                onRefresh(func(c map[string]any) { c["exp"] = ago(time.Hour) }),
		"iat":                onRefresh(func(c map[string]any) { c["iat"] = ago(2 * time.Hour) }),
		"nbf":                onRefresh(func(c map[string]any) { c["nbf"] = ago(-time.Hour) }),
	} {
		t.Run("SES-28 a clock that is off: "+name, func(t *testing.T) {
			r, p := signedIn(t, func(s *setup) { s.issuer.KeepRefreshTokens = true })
			r.issuer.Set(fault)
			if _, err := r.route.Renew(t.Context(), p); err == nil || errors.Is(err, authn.ErrRejected) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("SES-28 a clock that was off at sign-in", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, p := signedIn(t)
			r.issuer.Set(onRefresh(func(c map[string]any) { c["auth_time"] = ago(-2 * time.Minute) }))
			g := readGrant(t, p)
			g.AuthTime = ago(-2 * time.Minute)
			p.Grant, _ = json.Marshal(g)
			if _, err := r.route.Renew(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	})
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
	t.Run("OIDC-40 sub where another claim names people", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) {
			s.oidc.Claims.Subject = "oid"
			s.issuer.People[0].Claims = map[string]any{"oid": "o-1"}
		})
		r.issuer.Set(onRefresh(func(c map[string]any) { c["sub"] = "1002" }))
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("%v", err)
		}
	})
	for name, c := range map[string]struct {
		claim  string
		change func(*authntest.Person)
		good   bool
	}{
		"address":            {"email", func(p *authntest.Person) { p.Email = "eve@example.com" }, false},
		"unverified address": {"email", func(p *authntest.Person) { p.EmailVerified = false }, false},
		"same address":       {"email", func(p *authntest.Person) { p.Name = "Countess" }, true},
		"object id":          {"oid", func(p *authntest.Person) { p.Claims = map[string]any{"oid": "o-2"} }, false},
		"same object id":     {"oid", func(*authntest.Person) {}, true},
		"no object id":       {"oid", func(p *authntest.Person) { p.Claims = nil }, true},
	} {
		t.Run("OIDC-40 by userinfo alone, "+name, func(t *testing.T) {
			r, p := signedIn(t, func(s *setup) {
				s.oidc.Claims.Subject = c.claim
				s.issuer.People[0].Claims = map[string]any{"oid": "o-1"}
			})
			r.issuer.Set(noIDToken)
			changed := ada()
			changed.Claims = map[string]any{"oid": "o-1"}
			c.change(&changed)
			r.issuer.SetPerson(changed)
			next, err := r.route.Renew(t.Context(), p)
			if c.good && (err != nil || next.Identity.Subject != p.Identity.Subject) || !c.good && !errors.Is(err, authn.ErrRejected) {
				t.Errorf("%+v, %v", next.Identity, err)
			}
		})
	}
	t.Run("auth_time stays the sign-in's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, p := signedIn(t)
			r.issuer.Set(onRefresh(func(c map[string]any) { delete(c, "auth_time") }))
			time.Sleep(30 * time.Minute)
			next, err := r.route.Renew(t.Context(), p)
			if err != nil || !next.Identity.AuthTime.Equal(p.Identity.AuthTime) {
				t.Errorf("%s, %v", next.Identity.AuthTime, err)
			}
		})
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
	for name, change := range map[string]func(*rig){
		"no userinfo endpoint": func(r *rig) {
			r.issuer.Set(func(f *authntest.Faults) {
				f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { delete(d, "userinfo_endpoint") })
			})
		},
		"userinfo is never asked": func(r *rig) { r.o.settings.Userinfo = "never" },
	} {
		t.Run(name, func(t *testing.T) {
			r, p := signedIn(t)
			change(r)
			o := r.add("main", r.o.settings, r.deps)
			r.issuer.Set(noIDToken)
			next, err := o.renew(t.Context(), p)
			if err != nil || next.Identity.Subject != "1001" || len(next.Identity.Groups) != 2 || r.issuer.Calls(authntest.Userinfo) != 0 {
				t.Errorf("%+v, %v", next.Identity, err)
			}
			if readGrant(t, next).IDToken != readGrant(t, p).IDToken || !next.Identity.Expires.After(time.Now()) {
				t.Errorf("%+v", next)
			}
		})
	}
	t.Run("IDT-24 what came from the ID token is asked of userinfo", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) { s.oidc.AllowedGroups = []string{"admins"} })
		r.issuer.Set(noIDToken)
		p, err := r.route.Renew(t.Context(), p)
		if err != nil || len(p.Identity.Groups) != 2 || p.Identity.Email != "ada@example.com" {
			t.Fatalf("%+v, %v", p.Identity, err)
		}
		changed := ada()
		changed.EmailVerified = false
		r.issuer.SetPerson(changed)
		if p, err = r.route.Renew(t.Context(), p); err != nil || p.Identity.Email != "" {
			t.Fatalf("an address that nobody vouches for any more: %+v, %v", p.Identity, err)
		}
		changed.Groups = nil
		r.issuer.SetPerson(changed)
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("out of all groups: %v", err)
		}
	})
	t.Run("what userinfo never knew stays", func(t *testing.T) {
		r, p := signedIn(t)
		r.issuer.Set(noIDToken)
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Userinfo] = authntest.EditJSON(func(d map[string]any) { delete(d, "groups") })
		})
		next, err := r.route.Renew(t.Context(), p)
		if err != nil || !slices.Equal(next.Identity.Groups, p.Identity.Groups) {
			t.Errorf("%+v, %v", next.Identity, err)
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
