package oidc

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/session"
)

func TestSignOutURL(t *testing.T) {
	r, p := signedIn(t)
	u, err := url.Parse(r.route.SignOutURL(p))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Scheme+"://"+u.Host+u.Path != issuerURL+"/end-session" || q.Get("id_token_hint") != readGrant(t, p).IDToken || q.Get("client_id") != "gw" ||
		q.Get("post_logout_redirect_uri") != gatewayURL+"/logout" || len(q.Get("state")) != 43 || len(q) != 4 {
		t.Errorf("sign-out %s", u)
	}
	set := func(v any) {
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["end_session_endpoint"] = v })
		})
		if _, err := r.o.provider.discover(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	set(issuerURL + "/bye?realm=x")
	if got := r.route.SignOutURL(authn.Proof{}); !strings.HasPrefix(got, issuerURL+"/bye?client_id=gw&post_logout") || !strings.Contains(got, "realm=x") {
		t.Errorf("sign-out %s", got)
	}
	r.o.settings.SignOutParams = map[string]string{"logout_uri": gatewayURL + "/logout", "client_id": "other"}
	u, _ = url.Parse(r.o.signOutURL(p))
	if q := u.Query(); q.Get("logout_uri") != gatewayURL+"/logout" || !slices.Equal(q["client_id"], []string{"gw"}) {
		t.Errorf("sign-out %s", u)
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
	build := func(t *testing.T, changes ...func(*setup)) (*rig, *session.Sessions) {
		var sessions *session.Sessions
		r := newRig(t, append(changes, offline, func(s *setup) {
			sessions = session.New(session.Options{Store: s.deps.Store, Keys: s.deps.Keys, Cookie: s.deps.Cookie, Log: s.deps.Log})
			s.deps.Sessions = sessions
		})...)
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
	t.Run("OIDC-38 over another person's session, without its cookie", func(t *testing.T) {
		r, s := build(t, implicit)
		b := r.browser()
		b.signIn("")
		alices := held(b)
		r.issuer.AutoLogin("1002")
		d := b.authorize(b.start(""))
		post := httptest.NewRequestWithContext(t.Context(), http.MethodPost, callback, strings.NewReader(d.form.Encode()))
		post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range b.attempts() { // a cross-site POST brings no others
			post.AddCookie(c)
		}
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, post)
		if w.Code != http.StatusSeeOther {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if id, err := who(s, alices); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("the first session goes on as %s, %v", id.Subject, err)
		}
	})
	t.Run("more groups than a session holds", func(t *testing.T) {
		r, _ := build(t, func(s *setup) {
			s.issuer.ThinIDTokens = true
			s.issuer.People[0].Groups = strings.Split(strings.Repeat(strings.Repeat("g", 60)+",", 4999)+"x", ",")
		})
		a := r.browser().signIn("")
		r.refused(a, http.StatusForbidden)
		if !strings.Contains(a.body, "too many groups") || a.header.Get("Refresh") != "" || a.header.Get("Retry-After") != "" {
			t.Errorf("%v %s", a.header, a.body)
		}
		r.logged(`"groups":5000`)
	})
}
