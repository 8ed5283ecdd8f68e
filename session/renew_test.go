package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// crowd sends n requests at once over both replicas and returns their errors.
func (r *rig) crowd(n int, alice *http.Cookie) []error {
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		s := r.one
		if i%2 == 1 {
			s = r.two
		}
		running.Go(func() { _, errs[i] = s.Authenticate(request(alice)) })
	}
	running.Wait()
	return errs
}

func TestRenewal(t *testing.T) {
	srv := startRedis(t)
	for name, left := range map[string]time.Duration{"while valid": time.Hour, "when expired": -time.Minute} {
		overBoth(t, srv, "SES-25 a crowd at two replicas "+name, func(t *testing.T, r *rig) {
			r.provider.latency = 50 * time.Millisecond
			alice := r.signIn(t, dueIn(left))
			for range 2 {
				if err := errors.Join(r.crowd(100, alice)...); err != nil {
					t.Error(err)
				}
			}
			r.one.Close()
			r.two.Close()
			if err := errors.Join(r.crowd(100, alice)...); err != nil {
				t.Error("afterwards: ", err)
			}
			if n := r.provider.asked(); n != 1 {
				t.Errorf("the provider was asked %d times", n)
			}
			at := r.store.record(t)
			if _, found, _ := r.store.Store.Get(t.Context(), lockOf(at)); found {
				t.Error("RDS-16 the lock was not given back")
			}
		})
	}
	overBoth(t, srv, "SES-29 IDT-24 what the provider says now counts", func(t *testing.T, r *rig) {
		r.provider.groups = []string{"everyone"}
		alice := r.signIn(t, dueIn(-time.Second))
		if id := r.accepted(t, r.one, "alice-1", alice); len(id.Groups) != 1 {
			t.Errorf("still in %v", id.Groups)
		}
		if id := r.accepted(t, r.two, "alice-1", alice); len(id.Groups) != 1 {
			t.Errorf("still in %v on the other replica", id.Groups)
		}
		p, found, err := r.two.End(httptest.NewRecorder(), request(alice))
		if !found || err != nil || string(p.Grant) != "rt-1" {
			t.Errorf("the new grant: %q, %v, %v", p.Grant, found, err)
		}
	})
	overBoth(t, srv, "LGO-17 sign-out while it is renewed", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		asked, answer := make(chan struct{}), make(chan struct{})
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			close(asked)
			<-answer
			return r.provider.rotate(p)
		})
		r.accepted(t, r.one, "alice-1", alice)
		<-asked
		if _, found, err := r.two.End(httptest.NewRecorder(), request(alice)); !found || err != nil {
			t.Fatal(found, err)
		}
		close(answer)
		r.one.Close()
		r.rejected(t, r.one, alice)
		if _, found, _ := r.store.Store.Get(t.Context(), r.store.record(t)); found {
			t.Error("the session is back")
		}
	})
	overBoth(t, srv, "OIDC-40 renewed as somebody else", func(t *testing.T, r *rig) {
		for name, change := range map[string]func(*authn.Identity){
			"subject": func(id *authn.Identity) { id.Subject = "bob-1" },
			"issuer":  func(id *authn.Identity) { id.Issuer = "https://evil.example.com" },
			"route":   func(id *authn.Identity) { id.Route = "other" },
			"nobody":  func(id *authn.Identity) { *id = authn.Identity{} },
		} {
			alice := r.signIn(t, dueIn(-time.Second))
			r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
				change(&p.Identity)
				return p, nil
			})
			r.rejected(t, r.one, alice)
			if _, found, _ := r.store.Store.Get(t.Context(), r.store.record(t)); found {
				t.Errorf("%s: the session lives on", name)
			}
		}
	})
	overBoth(t, srv, "IDT-23 SES-28 the provider refuses", func(t *testing.T, r *rig) {
		for _, left := range []time.Duration{time.Hour, -time.Second} {
			alice := r.signIn(t, dueIn(left))
			r.provider.set(func(context.Context, authn.Proof) (authn.Proof, error) {
				return authn.Proof{}, fmt.Errorf("oidc: invalid_grant: %w", authn.ErrRejected)
			})
			for range 100 { // at once, or as soon as the background has heard
				if _, err := r.one.Authenticate(request(alice)); err != nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			r.rejected(t, r.one, alice)
			r.rejected(t, r.two, alice)
		}
		if !strings.Contains(r.log.String(), `msg="session ended" reason="refused at renewal" route=okta subject=alice-1`) {
			t.Errorf("no line about it: %s", r.log)
		}
	})
}

func TestRenewalInTime(t *testing.T) {
	inMemory(t, "a session goes through many renewals and still ends", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		for begun := time.Now(); time.Since(begun) < lifetime-time.Minute; time.Sleep(30 * time.Second) {
			r.accepted(t, r.one, "alice-1", alice)
			r.accepted(t, r.two, "alice-1", alice)
		}
		if n := r.provider.asked(); n < 24 || n > 30 {
			t.Errorf("asked %d times in a day of tokens of 50 minutes", n)
		}
		time.Sleep(time.Minute)
		r.rejected(t, r.one, alice) // renewal never moves the end
	})
	inMemory(t, "while the proof is valid nobody waits", func(t *testing.T, r *rig) {
		r.provider.latency = 15 * time.Second
		alice := r.signIn(t, dueIn(time.Hour))
		begun := time.Now()
		for range 10 {
			r.accepted(t, r.one, "alice-1", alice)
			r.accepted(t, r.two, "alice-1", alice)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("waited %v", took)
		}
		time.Sleep(16 * time.Second)
		r.accepted(t, r.two, "alice-1", alice)
		if n := r.provider.asked(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
	inMemory(t, "SES-28 an outage, from the first failure to the last", func(t *testing.T, r *rig) {
		p := dueIn(10 * time.Minute)
		alice := r.signIn(t, p)
		r.provider.set(down)
		begun := time.Now()
		for until := p.Identity.Expires.Add(5 * time.Minute); time.Now().Before(until); time.Sleep(time.Second) {
			r.accepted(t, r.one, "alice-1", alice)
			r.accepted(t, r.two, "alice-1", alice)
		}
		// 10, 20 and 40 seconds apart, then a minute, on both replicas together.
		if n := r.provider.asked(); n < 15 || n > 20 {
			t.Errorf("asked %d times in %v", n, time.Since(begun))
		}
		for range 3 * 60 {
			r.outage(t, r.one, alice) // never a logout
			r.outage(t, r.two, alice)
			time.Sleep(time.Second)
		}
		r.provider.set(nil)
		time.Sleep(time.Minute)
		r.accepted(t, r.one, "alice-1", alice)
		r.accepted(t, r.two, "alice-1", alice)
		if strings.Contains(r.log.String(), "session ended") {
			t.Errorf("ended: %s", r.log)
		}
	}, func(o *session.Options) { o.OutageGrace = 5 * time.Minute })
	inMemory(t, "SES-28 a provider that hangs", func(t *testing.T, r *rig) {
		r.provider.latency = time.Hour
		alice := r.signIn(t, dueIn(-time.Second))
		begun := time.Now()
		r.accepted(t, r.one, "alice-1", alice)
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("the first request waited %v", took)
		}
		time.Sleep(20 * time.Second)
		begun = time.Now()
		for range 30 { // it is known now; later questions are asked in the background
			r.accepted(t, r.one, "alice-1", alice)
			time.Sleep(time.Second)
		}
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("later requests waited %v", took-30*time.Second)
		}
	}, func(o *session.Options) { o.OutageGrace = time.Hour })
	inMemory(t, "SES-28 once the outage is over, what has expired is waited for again", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(-time.Second))
		r.provider.set(down)
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(10 * time.Second)
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			p.RenewAt, p.Identity.Expires = time.Now().Add(time.Minute), time.Now().Add(time.Minute)
			p.Identity.Groups = append(p.Identity.Groups, "fresh")
			return p, nil
		})
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(time.Minute)
		if id := r.accepted(t, r.one, "alice-1", alice); len(id.Groups) != 4 {
			t.Errorf("goes on with %v", id.Groups)
		}
	}, func(o *session.Options) { o.OutageGrace = time.Hour })
	inMemory(t, "SES-28 a grant that is renewed without news of the person", func(t *testing.T, r *rig) {
		p := dueIn(time.Minute)
		alice := r.signIn(t, p)
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			next, err := r.provider.rotate(p)
			next.Identity.Expires, next.RenewAt = p.Identity.Expires, time.Now().Add(time.Minute)
			return next, err
		})
		for until := p.Identity.Expires.Add(5 * time.Minute); time.Now().Before(until); time.Sleep(time.Second) {
			r.accepted(t, r.one, "alice-1", alice)
			r.accepted(t, r.two, "alice-1", alice)
		}
		if n := r.provider.asked(); n < 5 || n > 10 {
			t.Errorf("asked %d times in six minutes", n)
		}
		for range 3 * 60 { // the grace is over, and still nobody is signed out
			r.outage(t, r.one, alice)
			r.outage(t, r.two, alice)
			time.Sleep(time.Second)
		}
		r.provider.set(nil)
		time.Sleep(time.Minute)
		r.accepted(t, r.one, "alice-1", alice) // by the grant of the last renewal
		if r.provider.revoked || strings.Contains(r.log.String(), "session ended") {
			t.Errorf("a grant was lost: %s", r.log)
		}
	}, func(o *session.Options) { o.OutageGrace = 5 * time.Minute })
	inMemory(t, "SES-28 a hanging provider and no grace", func(t *testing.T, r *rig) {
		r.provider.latency = time.Hour
		alice := r.signIn(t, dueIn(-time.Second))
		r.outage(t, r.one, alice) // it is the one that asks
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := r.one.Authenticate(request(alice).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("waited %v with a deadline of a second", took)
		}
		for _, err := range r.crowd(20, alice) {
			if !outage(err) {
				t.Error(err)
			}
		}
	})
	inMemory(t, "a request that hangs up ends no renewal", func(t *testing.T, r *rig) {
		r.provider.latency = 5 * time.Second
		alice := r.signIn(t, dueIn(-time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r.one.Authenticate(request(alice).WithContext(ctx))
		begun := time.Now()
		r.accepted(t, r.one, "alice-1", alice)
		if took := time.Since(begun); took != 4*time.Second || r.provider.asked() != 1 {
			t.Errorf("waited %v, asked %d times", took, r.provider.asked())
		}
	})
	inMemory(t, "Close waits", func(t *testing.T, r *rig) {
		r.provider.latency = 5 * time.Second
		alice := r.signIn(t, dueIn(time.Minute))
		r.accepted(t, r.one, "alice-1", alice)
		begun := time.Now()
		r.one.Close()
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("waited %v", took)
		}
		p, _, _ := r.one.End(httptest.NewRecorder(), request(alice))
		if string(p.Grant) != "rt-1" {
			t.Error("the new grant was lost")
		}
		bob := r.signIn(t, dueIn(-time.Second))
		r.outage(t, r.one, bob) // no new one begins
	})
	inMemory(t, "a provider that always says: ask again", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			p.RenewAt = time.Now().Add(-time.Hour)
			return p, nil
		})
		for range 100 {
			r.accepted(t, r.one, "alice-1", alice)
			time.Sleep(100 * time.Millisecond)
		}
		if n := r.provider.asked(); n > 11 {
			t.Errorf("asked %d times in ten seconds", n)
		}
	})
	for name, answer := range map[string]func(context.Context, authn.Proof) (authn.Proof, error){
		"panics": func(context.Context, authn.Proof) (authn.Proof, error) { panic("boom") },
		"hands out an expired proof": func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			p.Identity.Expires = time.Now()
			return p, nil
		},
		"hands out too much": func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			p.Identity.Expires, p.Grant = time.Now().Add(time.Hour), make([]byte, 300<<10)
			return p, nil
		},
	} {
		inMemory(t, "a route that "+name, func(t *testing.T, r *rig) {
			r.provider.set(answer)
			alice := r.signIn(t, dueIn(-time.Second))
			r.outage(t, r.one, alice)
			r.outage(t, r.two, alice)
			if n := r.provider.asked(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
