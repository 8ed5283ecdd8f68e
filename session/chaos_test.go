package session_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// TestBadWire: whatever is wrong between the gateway and Redis, it is an outage and no
// logout, nobody waits for long, who was seen goes on, and it is over by itself.
func TestBadWire(t *testing.T) {
	for name, m := range map[string]mode{"RDS-03 silent": silent, "RDS-03 slow": slow, "RDS-01 cut": cut, "RDS-07 garbled": garbled} {
		t.Run(name, func(t *testing.T) {
			w, store := startRedis(t).connectBy(t)
			h := newHouse(t, store)
			seen, unseen := h.signIn(t, person("alice")), h.signIn(t, person("bob"))
			h.accepted(t, h.one, "alice-1", seen)
			w.set(m)
			goroutines := func() int { return runtime.NumGoroutine() - w.ends() }
			before := goroutines()
			begun := time.Now()
			var all sync.WaitGroup
			for range 300 {
				all.Go(func() { h.outage(t, h.one, unseen) })
				all.Go(func() { h.accepted(t, h.one, "alice-1", seen) })
			}
			all.Wait()
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("300 requests waited %v for a store that does not answer", took)
			}
			begun = time.Now()
			for range 300 {
				h.accepted(t, h.one, "alice-1", seen)
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("300 requests of a session that was seen took %v", took)
			}
			soon(t, "what waited is gone", func() bool { return goroutines() <= before+10 })
			w.set(sound)
			soon(t, "back to normal", func() bool { return h.in(h.one, unseen) })
			h.accepted(t, h.one, "alice-1", seen)
		})
	}
}

// TestChaos: RDS-20, over a wire that is different every moment nobody is ever taken for
// somebody else, signed out who is not, or let in after the bound who is.
func TestChaos(t *testing.T) {
	w, store := startRedis(t).connectBy(t)
	h := newHouse(t, store)
	const people, bound = 10, 2 * time.Second
	h.one, _ = h.replica(t, func(o *session.Options) { o.Remember = bound })
	h.two, _ = h.replica(t, func(o *session.Options) { o.Remember = bound })
	type guest struct {
		cookie *http.Cookie
		name   string
		mu     sync.Mutex
		out    time.Time // when it was certain that the session had ended
		maybe  bool      // it may have ended
	}
	var guests []*guest
	for i := range people {
		name := string(rune('a' + i))
		guests = append(guests, &guest{name: name, cookie: h.signIn(t, person(name))})
	}
	over := time.Now().Add(8 * time.Second)
	var all sync.WaitGroup
	all.Go(func() {
		for time.Now().Before(over) {
			w.set([]mode{sound, sound, silent, slow, cut, garbled}[rand.N(6)])
			time.Sleep(time.Duration(rand.N(300)) * time.Millisecond)
		}
		w.set(sound)
	})
	replicas := []*session.Sessions{h.one, h.two}
	for _, g := range guests {
		for range 3 {
			all.Go(func() {
				for time.Now().Before(over) {
					g.mu.Lock()
					maybe, out := g.maybe, g.out
					g.mu.Unlock()
					begun := time.Now()
					id, err := replicas[rand.N(2)].Authenticate(request(g.cookie))
					switch {
					case err == nil && id.Subject != g.name+"-1":
						t.Errorf("%s is taken for %s", g.name, id.Subject)
					case err == nil && !out.IsZero() && begun.Sub(out) > bound:
						t.Errorf("%s is let in %v after the end", g.name, begun.Sub(out))
					case errors.Is(err, authn.ErrRejected) && !maybe:
						g.mu.Lock()
						maybe = g.maybe
						g.mu.Unlock()
						if !maybe {
							t.Errorf("%s is signed out: %v", g.name, err)
						}
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
	for _, g := range guests[:people/2] {
		all.Go(func() {
			time.Sleep(time.Duration(rand.N(4000)) * time.Millisecond)
			for time.Now().Before(over) {
				g.mu.Lock()
				g.maybe = true
				g.mu.Unlock()
				if _, _, err := h.one.End(httptest.NewRecorder(), request(g.cookie)); err == nil {
					g.mu.Lock()
					g.out = time.Now()
					g.mu.Unlock()
					return
				}
			}
		})
	}
	all.Wait()
	for _, g := range guests[people/2:] {
		soon(t, g.name+" is in", func() bool { return h.in(h.two, g.cookie) })
	}
}
