package exchange

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/config"
	"gatehouse/session"
)

// TestToken asks once for each person, and once more when a token is about to end.
func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		x := g.still()
		for range 3 {
			if got := g.token(x, person("alice")); got != "wb_at_alice_1" {
				t.Fatal(got)
			}
		}
		if got := g.token(x, person("bob")); got != "wb_at_bob_2" {
			t.Fatal(got)
		}
		g.asked(2)
		time.Sleep(time.Hour - margin - time.Second)
		g.token(x, person("alice"))
		g.asked(2)
		time.Sleep(time.Second)
		if got := g.token(x, person("alice")); got != "wb_at_alice_3" {
			t.Fatal(got)
		}
		if log := g.log.String(); strings.Contains(log, "wb_at_") || strings.Contains(log, "eyJ") {
			t.Errorf("a token is in the log:\n%s", log)
		}
	})
}

// TestAtOnce: a hundred requests of one person are one exchange, and it goes on when
// the first of them gives up.
func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		x := g.still()
		g.app.then = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			_, _ = w.Write([]byte(`{"access_token":"t","token_type":"bearer","expires_in":3600}`))
		}
		var wg sync.WaitGroup
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		wg.Go(func() {
			if _, err := x.Token(impatient, person("alice")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				if token, err := x.Token(t.Context(), person("alice")); token != "t" || err != nil {
					t.Error(token, err)
				}
			})
		}
		wg.Wait()
		g.asked(1)
	})
}

// TestCrowd: more exchanges than there are places are an outage, not a refusal.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		x := g.still()
		x.places = make(chan struct{}, 1)
		x.places <- struct{}{}
		_, err := x.Token(t.Context(), person("alice"))
		if !errors.Is(err, authn.ErrCrowded) || notAllowed(err) {
			t.Errorf("in a crowd: %v", err)
		}
		<-x.places
		g.token(x, person("alice"))
	})
}

func notAllowed(err error) bool {
	var not *authn.NotAllowed
	return errors.As(err, &not)
}

// TestLifetimes is for how long a token is used.
func TestLifetimes(t *testing.T) {
	for said, used := range map[string]time.Duration{
		`,"expires_in":3600`:     59 * time.Minute,
		`,"expires_in":"600"`:    9 * time.Minute,
		`,"expires_in":300`:      4 * time.Minute,
		`,"expires_in":10`:       8 * time.Second,
		`,"expires_in":2.5`:      2 * time.Second,
		`,"expires_in":1e300`:    time.Hour,
		`,"expires_in":31536000`: time.Hour,
		``:                       48 * time.Second,
		`,"expires_in":null`:     48 * time.Second,
	} {
		t.Run(said, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				x := g.still()
				g.app.then = func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write([]byte(`{"access_token":"t"` + said + `}`))
				}
				g.token(x, person("alice"))
				time.Sleep(used - time.Nanosecond)
				g.token(x, person("alice"))
				g.asked(1)
				time.Sleep(time.Nanosecond)
				g.token(x, person("alice"))
				g.asked(2)
			})
		})
	}
}

// TestSubjects is what the application knows people by, and who has none.
func TestSubjects(t *testing.T) {
	nobody := authn.Identity{Issuer: "i", Subject: "s", Route: "corp"}
	for claim, want := range map[string]string{"email": "alice@example.com", "username": "alice", "subject": "sub-alice"} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			x := g.still()
			x.claim = claim
			g.token(x, person("alice"))
			if got := g.app.subjects[0]; got != want {
				t.Errorf("%s: named %q", claim, got)
			}
			_, err := x.Token(t.Context(), nobody)
			if claim != "subject" && (!notAllowed(err) || g.app.count() != 1) {
				t.Errorf("%s: without one: %v", claim, err)
			}
		})
	}
}

// TestRefused: a refusal counts for a moment, and for that person alone.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		x := g.still()
		g.app.then = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"no such user"}`))
		}
		for range 3 {
			_, err := x.Token(t.Context(), person("alice"))
			if !notAllowed(err) || !strings.Contains(err.Error(), `400 "invalid_grant" "no such user"`) {
				t.Fatal(err)
			}
		}
		g.asked(1)
		g.app.then = nil
		g.token(x, person("bob"))
		time.Sleep(refusedTime)
		g.token(x, person("alice"))
		g.asked(3)
	})
}

// TestReplicas share tokens, and what was refused they don't believe again.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		one, two := g.still(), g.still()
		first := g.token(one, person("alice"))
		time.Sleep(30 * time.Minute)
		if got := g.token(two, person("alice")); got != first {
			t.Errorf("the other replica has %s", got)
		}
		g.asked(1)
		if !two.Forget(person("alice"), first) {
			t.Error("a dropped token is not dropped")
		}
		second := g.token(two, person("alice"))
		if second == first {
			t.Error("a refused token came back from the store")
		}
		g.asked(2)
		if !one.Forget(person("alice"), first) || g.token(one, person("alice")) != second {
			t.Error("a replica does not take what another has got anew")
		}
		g.asked(2)
		time.Sleep(29 * time.Minute) // the end of the first one, which the store was told
		g.token(one, person("alice"))
		g.asked(2)
	})
}

// TestSharedEnd: what came from the store ends when it would have ended where it was got.
func TestSharedEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		one, two := g.still(), g.still()
		g.token(one, person("alice"))
		time.Sleep(58 * time.Minute)
		g.token(two, person("alice"))
		g.asked(1)
		time.Sleep(time.Minute)
		g.token(two, person("alice"))
		g.asked(2)
	})
}

// TestApart: tokens for one audience, subject or endpoint are none for another.
func TestApart(t *testing.T) {
	for name, change := range map[string]func(*config.Upstream, *Deps){
		"audience": func(u *config.Upstream, _ *Deps) { u.Exchange.Audience = "acme" },
		"subject":  func(u *config.Upstream, _ *Deps) { u.Exchange.Subject = "username" },
		"url":      func(u *config.Upstream, _ *Deps) { u.URL = "http://other:8080" },
		"socket":   func(u *config.Upstream, _ *Deps) { u.URL = "unix:///run/other.sock" },
		"endpoint": func(u *config.Upstream, _ *Deps) { u.Exchange.TokenURL = "http://other/oidc/token" },
		"issuer":   func(_ *config.Upstream, d *Deps) { d.PublicURL = d.PublicURL.JoinPath("x") },
		"keys":     func(_ *config.Upstream, d *Deps) { d.Keys = session.RandomKeyring(public) },
	} {
		g := newRig(t)
		mine := g.still()
		g.token(mine, person("alice"))
		const subject = "alice@example.com" // also where it is a username
		if token, ok := g.exchanger(change).shared(t.Context(), subject); ok {
			t.Errorf("%s: %s is shared", name, token)
		}
		if _, ok := g.exchanger(nil).shared(t.Context(), subject); !ok {
			t.Errorf("%s: nothing is shared at all", name)
		}
	}
}

// TestStoreDown: without the store the application is asked, and the memory serves.
func TestStoreDown(t *testing.T) {
	for name, store := range map[string]session.Store{"refuses": brokenStore{}, "hangs": brokenStore{hangs: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				g.store = store
				x := g.still()
				begin := time.Now()
				first := g.token(x, person("alice"))
				if took := time.Since(begin); took > 2*storeTime {
					t.Errorf("it took %s", took)
				}
				if g.token(x, person("alice")) != first {
					t.Error("the memory does not serve")
				}
				g.asked(1)
			})
		})
	}
}

// TestForget is what a 401 from the application says.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		x, alice := g.still(), person("alice")
		first := g.token(x, alice)
		for range 10 { // as many requests as were under way
			if !x.Forget(alice, first) {
				t.Fatal("a request with a token that was good until now is not worth repeating")
			}
		}
		second := g.token(x, alice)
		if second == first {
			t.Fatal("the token is not dropped")
		}
		if !x.Forget(alice, first) || g.token(x, alice) != second {
			t.Error("a late 401 drops the new token, or is taken for final")
		}
		for range 10 {
			if x.Forget(alice, second) {
				t.Error("a fresh token that is refused too is worth another try")
			}
		}
		if g.token(x, alice) != second {
			t.Error("a fresh token is dropped again at once")
		}
		g.asked(2)
		time.Sleep(pause)
		if !x.Forget(alice, second) || g.token(x, alice) == second {
			t.Error("a token is never dropped again")
		}
		if x.Forget(authn.Identity{}, first) {
			t.Error("nobody has a token")
		}
	})
}

// TestForgetMeanwhile: a token that is refused while the store is being read is not
// taken over from there.
func TestForgetMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		alice := person("alice")
		first := g.token(g.still(), alice)
		var x *Exchanger
		g.store = hookedStore{g.store, func() {
			if !x.Forget(alice, first) {
				t.Error("not dropped")
			}
		}}
		x = g.still()
		if got := g.token(x, alice); got == first {
			t.Error("a refused token came back from the store")
		}
		g.asked(2)
	})
}

// slowStore takes its time to write.
type slowStore struct{ session.Store }

func (s slowStore) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	time.Sleep(storeTime / 2)
	return s.Store.Set(ctx, key, value, ttl)
}

// TestForgetWhileShared: who comes after a token was refused does not get it, though it is
// still on its way to the store.
func TestForgetWhileShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.store = slowStore{g.store}
		x, alice := g.still(), person("alice")
		var all sync.WaitGroup
		all.Go(func() { g.token(x, alice) })
		synctest.Wait()
		first := g.token(x, alice)
		if !x.Forget(alice, first) {
			t.Error("not dropped")
		}
		if g.token(x, alice) == first {
			t.Error("a refused token came back")
		}
		all.Wait()
		g.asked(2)
	})
}

// TestSameAgain: an application that gives the token which it refuses is believed.
func TestSameAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		x, alice := g.still(), person("alice")
		g.app.then = func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"access_token":"t","expires_in":3600}`))
		}
		g.token(x, alice)
		if !x.Forget(alice, "t") {
			t.Error("not dropped")
		}
		g.token(x, alice)
		if x.Forget(alice, "t") {
			t.Error("the same token is worth another try")
		}
		g.asked(2)
	})
}

// TestPanic: what goes wrong on the flight's goroutine ends one exchange alone.
func TestPanic(t *testing.T) {
	g := newRig(t)
	x := g.exchanger(nil)
	x.endpoint.client = issuer.Guarded(nil)
	if _, err := x.Token(t.Context(), person("alice")); err == nil || notAllowed(err) {
		t.Errorf("got %v", err)
	}
}

func TestNoSigner(t *testing.T) {
	if _, err := New(upstream(), Deps{}); err == nil {
		t.Error("there are exchanges without a signature")
	}
}
