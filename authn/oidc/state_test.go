package oidc

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
	"gatehouse/session"
)

// TestAttacksOnState: answers that were not asked for, or not by this browser.
func TestAttacksOnState(t *testing.T) {
	t.Run("OIDC-01 state missing", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) { q.Del("state") })
		r.refused(b.deliver(d), 400)
		r.refused(b.get(callback+"?code=good"), 400)
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
	})
	t.Run("OIDC-02 state unknown", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) { q.Set("state", random()) })
		r.refused(b.deliver(d), 400)
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
	})
	t.Run("OIDC-03 state replay", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		held := b.start("?rd=/x")
		attempts := b.attempts()
		d := b.authorize(held)
		r.landed(b.deliver(d), "/x")
		if a := b.deliver(d); a.status != 400 || a.location() != "" {
			t.Errorf("replay without its cookie: %d %s", a.status, a.location())
		}
		u, _ := url.Parse(gatewayURL)
		b.client.Jar.SetCookies(u, attempts) // a browser that kept its cookie
		a := b.deliver(d)
		if a.status != 400 || !strings.Contains(a.body, `href="/x"`) || a.location() != "" {
			t.Errorf("replay with its cookie: %d %s", a.status, a.body)
		}
		if n := r.starts.count(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		if n := r.issuer.Calls(authntest.Token); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("OIDC-04 state of another browser", func(t *testing.T) {
		r := newRig(t)
		attacker, victim := r.browser(), r.browser()
		d := attacker.authorize(attacker.start(""))
		r.refused(victim.deliver(d), 400)
		victim.start("") // with an attempt of its own
		r.refused(victim.deliver(d), 400)
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
	})
	t.Run("OIDC-05 callback out of nowhere", func(t *testing.T) {
		r := newRig(t)
		for _, q := range []string{"", "?", "?state=", "?code=", "?error=x", "?state=%00&code=%ff", "?%zz", "?state=" + strings.Repeat("a", 9000)} {
			r.refused(r.browser().get(callback+q), 400)
		}
		i := newRig(t, implicit)
		i.refused(i.browser().post(callback, nil), 400)
		i.refused(i.browser().post(callback, url.Values{"state": {""}, "id_token": {""}}), 400)
	})
	t.Run("OIDC-16 somebody else's sign-in", func(t *testing.T) {
		r := newRig(t)
		attacker, victim := r.browser(), r.browser()
		target := attacker.start("")
		d := victim.authorize(target) // the victim follows the attacker's link
		r.refused(victim.deliver(d), 400)
	})
	t.Run("OIDC-48 no step can be skipped", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		r.refused(b.get(callback), 400)
		r.refused(b.post(callback, nil), 405)
		r.refused(b.post(gatewayURL+signInPath, nil), 405)
		if len(b.attempts()) != 0 {
			t.Error("an attempt was begun")
		}
	})
	t.Run("SES-04 another cookie as attempt", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		other := r.deps.Keys.Sealer("session")
		c := b.attempts()[0]
		plain, err := r.o.sealer.Open(c.Name, c.Value)
		if err != nil {
			t.Fatal(err)
		}
		for name, seal := range map[string]func() (string, error){
			"purpose": func() (string, error) { return other.Seal(c.Name, plain) },
			"name":    func() (string, error) { return r.o.sealer.Seal(c.Name+"0", plain) },
			"key": func() (string, error) {
				return session.RandomKeyring(gatewayURL).Sealer("oidc attempt").Seal(c.Name, plain)
			},
			"empty": func() (string, error) { return r.o.sealer.Seal(c.Name, []byte("{}")) },
			"null":  func() (string, error) { return r.o.sealer.Seal(c.Name, []byte("null")) },
			"text":  func() (string, error) { return "x", nil },
		} {
			value, err := seal()
			if err != nil {
				t.Fatal(name, err)
			}
			u, _ := url.Parse(gatewayURL)
			b.client.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: value, Path: "/", Secure: true}})
			r.refused(b.deliver(d), 400)
		}
	})
	t.Run("SES-11 planted cookie of the same name", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		c := b.attempts()[0]
		req := httptest.NewRequest(http.MethodGet, d.url, nil)
		req.Header.Set("Cookie", c.Name+"=planted; "+c.Name+"="+c.Value)
		rec := httptest.NewRecorder()
		r.mux.ServeHTTP(rec, req)
		if rec.Code != http.StatusSeeOther {
			t.Errorf("status %d", rec.Code)
		}
	})
}
