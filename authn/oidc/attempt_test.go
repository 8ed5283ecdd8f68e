package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/session"
)

// TestAttempts: how many there may be, and for how long.
func TestAttempts(t *testing.T) {
	t.Run("OIDC-35 flood", func(t *testing.T) {
		store := &countingStore{Store: session.NewMemory()}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		for range 1000 {
			r.browser().start("")
		}
		if store.adds != 0 {
			t.Errorf("%d keys were stored", store.adds)
		}
		r.landed(r.browser().signIn(""), "/")
	})
	t.Run("OIDC-36 pile-up", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		long := "?rd=/" + strings.Repeat("x", 1900)
		for i := range 200 {
			query := ""
			if i%3 == 0 {
				query = long
			}
			b.start(query)
			size, cookies := 0, b.attempts()
			for _, c := range cookies {
				size += len(c.Name) + len(c.Value) + 3
			}
			if len(cookies) > maxAttempts || size > 8<<10 || len(cookies) == 0 {
				t.Fatalf("%d attempts in %d bytes after %d starts", len(cookies), size, i+1)
			}
		}
		r.landed(b.signIn(long), long[4:])
	})
	t.Run("the oldest go first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			b := r.browser()
			var ds []delivery
			for i := range 6 {
				ds = append(ds, b.authorize(b.start(fmt.Sprintf("?rd=/%d", i))))
				time.Sleep(2 * time.Second)
			}
			r.refused(b.deliver(ds[0]), 400)
			for i, d := range ds[1:] {
				r.landed(b.deliver(d), fmt.Sprintf("/%d", i+1))
			}
		})
	})
	t.Run("unreadable ones go", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		u, _ := url.Parse(gatewayURL)
		for i := range 30 {
			b.client.Jar.SetCookies(u, []*http.Cookie{{Name: fmt.Sprintf("__Host-gatehouse_attempt_%d", i), Value: "old", Path: "/", Secure: true}})
		}
		a := b.get(gatewayURL + signInPath)
		if n := len(a.header.Values("Set-Cookie")); n != maxExpired+1 {
			t.Errorf("%d cookies were set", n)
		}
		b.start("")
		if n := len(b.attempts()); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("late answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			b := r.browser()
			d := b.authorize(b.start("?rd=/far/away"))
			time.Sleep(attemptTime + time.Second)
			a := b.deliver(d)
			r.refused(a, 400)
			if a.location() != "" || a.header.Get("Refresh") != "" || !strings.Contains(a.body, "/.gatehouse/sign-in/main?rd=%2Ffar%2Faway") {
				t.Errorf("page: %s", a.body)
			}
			if len(b.attempts()) != 0 || r.issuer.Calls(authntest.Token) != 0 {
				t.Error("the attempt lives on, or was redeemed")
			}
		})
	})
	t.Run("in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			b := r.browser()
			target := b.start("")
			time.Sleep(attemptTime - time.Second)
			r.landed(b.deliver(b.authorize(target)), "/")
		})
	})
	t.Run("attempt from the future", func(t *testing.T) {
		if (attempt{Made: time.Now().Unix()}).late() || !(attempt{Made: time.Now().Add(time.Hour).Unix()}).late() {
			t.Error("late")
		}
	})
	t.Run("store down", func(t *testing.T) {
		store := &countingStore{Store: session.NewMemory(), err: errors.New("redis is gone")}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		b := r.browser()
		d := b.authorize(b.start("?rd=/x"))
		a := b.deliver(d)
		r.refused(a, 503)
		if strings.Contains(a.body, "redis") || a.header.Get("Retry-After") == "" || r.issuer.Calls(authntest.Token) != 0 {
			t.Errorf("page: %s", a.body)
		}
		r.logged("redis is gone")
		store.err = nil
		r.landed(b.deliver(d), "/x") // the attempt was not spent
	})
	t.Run("OIDC-35 errors leave no mark", func(t *testing.T) {
		store := &countingStore{Store: session.NewMemory()}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		b := r.browser()
		u, _ := url.Parse(b.start(""))
		r.refused(b.get(callback+"?error=access_denied&iss="+url.QueryEscape(issuerURL)+"&state="+u.Query().Get("state")), 400)
		if store.adds != 0 || len(b.attempts()) != 0 {
			t.Errorf("%d marks, and the browser keeps %v", store.adds, b.attempts())
		}
		r.landed(b.signIn(""), "/")
		if store.adds != 1 {
			t.Errorf("%d marks of a sign-in", store.adds)
		}
	})
	t.Run("a landing that is too long for a cookie", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.deps.Sessions = formerly{&starter{}} })
		for landing, want := range map[string]string{
			"/w?q=" + strings.Repeat("a", 1000): "/w?q=" + strings.Repeat("a", 1000),
			"/w?q=" + strings.Repeat("a", 1985): "/",
			"/w?q=" + strings.Repeat(`"`, 1000): "/",
		} {
			a := r.browser().signIn("?rd=" + url.QueryEscape(landing))
			if a.status != http.StatusSeeOther || a.location() != want {
				t.Errorf("%d bytes: %d to %.20q", len(landing), a.status, a.location())
			}
		}
	})
	t.Run("sessions down", func(t *testing.T) {
		r := newRig(t)
		r.starts.err = errors.New("redis is gone")
		a := r.browser().signIn("")
		r.refused(a, 503)
		r.logged("redis is gone")
	})
	t.Run("cookie with a domain", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.deps.Cookie = session.NewCookie("gatehouse", "gw.test", true) })
		b := r.browser()
		if set := b.get(gatewayURL + signInPath).header.Get("Set-Cookie"); !strings.HasPrefix(set, "__Secure-") || !strings.Contains(set, "Domain=gw.test") {
			t.Errorf("attempt cookie %s", set)
		}
		r.landed(b.signIn(""), "/")
	})
}

// formerly is sessions of a browser that came with several.
type formerly struct{ r *starter }

func (f formerly) Former(*http.Request) []string {
	return []string{random(), random(), random(), random()}
}

func (f formerly) Start(w http.ResponseWriter, r *http.Request, p authn.Proof, former ...string) error {
	if len(former) != maxFormer {
		return fmt.Errorf("%d former sessions", len(former))
	}
	return f.r.Start(w, r, p)
}

// countingStore counts marks, or fails.
type countingStore struct {
	session.Store
	adds int
	err  error
}

func (c *countingStore) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	c.adds++
	if c.err != nil {
		return false, c.err
	}
	if ttl != 12*time.Minute || !strings.HasPrefix(key, "attempt:") || len(key) > 200 {
		return false, fmt.Errorf("Add(%q, %s)", key, ttl)
	}
	return c.Store.Add(ctx, key, value, ttl)
}
