package session_test

import (
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/session"
)

func TestSeveralCookies(t *testing.T) {
	junk := &http.Cookie{Name: cookieName, Value: "junk"}
	inMemory(t, "SES-11 two live sessions", func(t *testing.T, r *rig) {
		alice, mallory := r.signIn(t, person("alice")), r.signIn(t, person("mallory"))
		for _, jar := range [][]*http.Cookie{{alice, mallory}, {mallory, alice}, {junk, alice, mallory}, {alice, mallory, junk}} {
			r.rejected(t, r.one, jar...)
		}
		q := request(alice)
		q.Header.Add("Cookie", mallory.String())
		if _, err := r.one.Authenticate(q); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("in two header lines: %v", err)
		}
		r.accepted(t, r.one, "alice-1", alice) // neither was ended by it
		r.accepted(t, r.one, "mallory-1", mallory)
	})
	inMemory(t, "SES-11 one live session beside what proves nothing", func(t *testing.T, r *rig) {
		alice, ended := r.signIn(t, person("alice")), r.signIn(t, person("mallory"))
		expired := r.signIn(t, dueIn(0), ended)
		r.two.End(httptest.NewRecorder(), request(expired))
		for _, jar := range [][]*http.Cookie{{alice, junk}, {junk, alice}, {alice, alice}, {ended, alice}, {alice, ended, expired, junk}} {
			r.accepted(t, r.one, "alice-1", jar...)
		}
		r.rejected(t, r.one, ended, expired)
		r.rejected(t, r.one, junk, junk)
		r.rejected(t, r.one, junk, ended)
	})
	inMemory(t, "SES-11 a proof that has expired is no live session", func(t *testing.T, r *rig) {
		p := dueIn(0)
		p.Identity.Subject = "mallory-1"
		expired, alice := r.signIn(t, p), r.signIn(t, person("alice"))
		r.accepted(t, r.one, "alice-1", expired, alice)
	}, func(o *session.Options) { o.Renew = nil })
	inMemory(t, "RDS-06 one of them can't be looked up", func(t *testing.T, r *rig) {
		ended := r.signIn(t, person("mallory"))
		at := r.store.record(t)
		alice := r.signIn(t, person("alice"), ended)
		r.store.fail("get "+at, errDown)
		r.outage(t, r.one, ended, alice)
		r.outage(t, r.one, alice, ended)
	})
	inMemory(t, "SES-15 more than are looked up", func(t *testing.T, r *rig) {
		jar := []*http.Cookie{r.signIn(t, person("alice"))}
		for range 4 {
			ended := r.signIn(t, person("mallory"))
			r.two.End(httptest.NewRecorder(), request(ended))
			jar = append(jar, ended)
		}
		r.accepted(t, r.one, "alice-1", jar[:4]...)
		r.store.since()
		r.rejected(t, r.one, jar...)
		if c := r.store.since(); len(c) != 0 {
			t.Errorf("cost %v", c)
		}
	})
	inMemory(t, "OIDC-38 signing in or out ends all of them", func(t *testing.T, r *rig) {
		one, two := r.signIn(t, person("alice")), r.signIn(t, person("mallory"))
		bob := r.signIn(t, person("bob"), one, junk, two)
		r.accepted(t, r.one, "bob-1", two, one, bob) // the browser may go on sending them
		carol := r.signIn(t, person("carol"))
		if _, found, err := r.one.End(httptest.NewRecorder(), request(two, bob, carol)); !found || err != nil {
			t.Error(found, err)
		}
		r.rejected(t, r.one, bob, carol)
	})
	t.Run("SES-11 the cookie's domain was changed", func(t *testing.T) {
		keys, _ := session.NewKeyring(origin, []string{key})
		store, site := session.NewMemory(), &url.URL{Scheme: "https", Host: "wandb.example.com", Path: "/"}
		jar, _ := cookiejar.New(nil)
		for _, domain := range []string{"wandb.example.com", "example.com", "example.com", "wandb.example.com"} {
			s := session.New(session.Options{Store: store, Keys: keys, Cookie: session.NewCookie("gatehouse", domain, true)})
			w := httptest.NewRecorder()
			if err := s.Start(w, request(jar.Cookies(site)...), person("alice")); err != nil {
				t.Fatal(err)
			}
			jar.SetCookies(site, w.Result().Cookies())
			if id, err := s.Authenticate(request(jar.Cookies(site)...)); err != nil || id.Subject != "alice-1" {
				t.Errorf("with domain %s: %v, %v", domain, id.Subject, err)
			}
		}
		if n := strings.Count(request(jar.Cookies(site)...).Header.Get("Cookie"), "gatehouse="); n != 2 {
			t.Errorf("the browser sends %d cookies, and two make the case", n)
		}
	})
}
