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
	"testing/synctest"
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

func TestRenewalLock(t *testing.T) {
	// died leaves the lock of a replica that is no more.
	died := func(t *testing.T, r *rig) {
		held := append(make([]byte, 9), "token of the dead"[:16]...)
		if added, err := r.store.Store.Add(t.Context(), lockOf(r.store.record(t)), held, 30*time.Second); !added || err != nil {
			t.Fatal(added, err)
		}
	}
	inMemory(t, "SES-27 the holder is dead, the proof valid", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		died(t, r)
		for range 29 {
			r.accepted(t, r.one, "alice-1", alice)
			time.Sleep(time.Second)
		}
		if n := r.provider.asked(); n != 0 {
			t.Errorf("asked %d times under another's lock", n)
		}
		time.Sleep(2 * time.Second)
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(2 * time.Second)
		if n := r.provider.asked(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
	inMemory(t, "SES-27 the holder is dead, the proof expired", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(-time.Second))
		died(t, r)
		begun := time.Now()
		r.outage(t, r.one, alice)
		if took := time.Since(begun); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("waited %v", took)
		}
		time.Sleep(25 * time.Second)
		r.accepted(t, r.one, "alice-1", alice)
	})
	inMemory(t, "SES-27 a late writer", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		answer := make(chan struct{})
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			<-answer
			p.Identity.Groups, p.Identity.Expires = []string{"late"}, time.Now().Add(time.Hour)
			return p, nil
		})
		r.accepted(t, r.one, "alice-1", alice)
		synctest.Wait()
		r.store.Store.Delete(t.Context(), lockOf(r.store.record(t))) // as if its lease had run out
		r.provider.set(nil)
		r.accepted(t, r.two, "alice-1", alice)
		synctest.Wait()
		close(answer)
		r.one.Close()
		r.two.Close()
		if id := r.accepted(t, r.one, "alice-1", alice); len(id.Groups) != 2 {
			t.Errorf("the late answer was written: %v", id.Groups)
		}
		p, _, _ := r.one.End(httptest.NewRecorder(), request(alice))
		if string(p.Grant) != "rt-1" {
			t.Errorf("the grant is %q", p.Grant)
		}
	})
	inMemory(t, "SES-27 a slow holder keeps the lock", func(t *testing.T, r *rig) {
		r.provider.latency = 19 * time.Second
		alice := r.signIn(t, dueIn(time.Hour))
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(11 * time.Second)
		prolonged := false
		for _, c := range r.store.since() {
			prolonged = prolonged || strings.HasPrefix(c, "swap renew:")
		}
		if !prolonged {
			t.Error("the lease was not prolonged")
		}
		r.accepted(t, r.two, "alice-1", alice)
		time.Sleep(15 * time.Second)
		r.accepted(t, r.two, "alice-1", alice)
		r.two.Close()
		if n := r.provider.asked(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
	inMemory(t, "RDS-16 a lock that is lost withdraws the question, and is not taken from its next owner", func(t *testing.T, r *rig) {
		r.provider.latency = time.Hour
		alice := r.signIn(t, dueIn(time.Hour))
		at := lockOf(r.store.record(t))
		r.accepted(t, r.one, "alice-1", alice)
		synctest.Wait()
		r.store.Store.Set(t.Context(), at, []byte("another's, of 25 bytes..."), time.Minute)
		begun := time.Now()
		r.one.Close()
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if v, _, _ := r.store.Store.Get(t.Context(), at); string(v) != "another's, of 25 bytes..." {
			t.Errorf("the lock is now %q", v)
		}
	})
	inMemory(t, "RDS-07 a lock that is garbage", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(-time.Second))
		r.store.Store.Set(t.Context(), lockOf(r.store.record(t)), []byte("null"), 5*time.Second)
		r.accepted(t, r.one, "alice-1", alice) // waits until it has gone
	})
	inMemory(t, "RDS-06 the store fails once the provider has answered", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(-time.Second))
		at := r.store.record(t)
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			r.store.fail("swap "+at, errDown)
			return r.provider.rotate(p)
		})
		time.AfterFunc(3*time.Second, func() { r.store.fail("", nil) })
		r.accepted(t, r.one, "alice-1", alice) // waits; the new token is not lost
		p, _, _ := r.one.End(httptest.NewRecorder(), request(alice))
		if string(p.Grant) != "rt-1" {
			t.Errorf("the grant is %q", p.Grant)
		}
	})
	inMemory(t, "RDS-06 the store does not come back", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Minute))
		at := r.store.record(t)
		r.store.fail("swap", errDown)
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(30 * time.Second)
		r.accepted(t, r.one, "alice-1", alice)
		r.store.fail("add", errDown)
		time.Sleep(45 * time.Second)
		r.outage(t, r.one, alice)
		if !strings.Contains(r.log.String(), "session not renewed") || !strings.Contains(r.log.String(), "lock not given back") {
			t.Errorf("nobody is told: %s", r.log)
		}
		if _, found, _ := r.store.Store.Get(t.Context(), at); !found {
			t.Error("logged out")
		}
	})
	inMemory(t, "RDS-06 an answer of the store gets lost", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(-time.Second))
		lossy := &lossy{Store: r.store, at: r.store.record(t)}
		keys, _ := session.NewKeyring(origin, []string{key})
		s := session.New(session.Options{
			Store: lossy, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), Renew: r.provider.renew, IdleTimeout: idle, Lifetime: lifetime,
		})
		r.accepted(t, s, "alice-1", alice)
		if p, _, _ := s.End(httptest.NewRecorder(), request(alice)); string(p.Grant) != "rt-1" || !lossy.lost {
			t.Errorf("the grant is %q", p.Grant)
		}
	})
	inMemory(t, "SES-19 the session ends while it is renewed", func(t *testing.T, r *rig) {
		p := dueIn(2 * lifetime)
		p.RenewAt = time.Now().Add(lifetime - time.Minute)
		alice := r.signIn(t, p)
		time.Sleep(lifetime - time.Second)
		r.provider.latency = 5 * time.Second
		r.accepted(t, r.one, "alice-1", alice)
		r.one.Close()
		r.rejected(t, r.one, alice)
		if strings.Contains(r.log.String(), "refused at renewal") {
			t.Errorf("the provider is blamed: %s", r.log)
		}
	}, func(o *session.Options) { o.IdleTimeout = 0 })
	inMemory(t, "RDS-07 a grant that is garbage", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(-time.Second))
		at := r.store.record(t)
		raw, _, _ := r.store.Store.Get(t.Context(), at)
		raw[len(raw)-1] ^= 1
		r.store.Store.Set(t.Context(), at, raw, time.Hour)
		if _, found, err := r.two.End(httptest.NewRecorder(), request(alice)); found || err != nil {
			t.Errorf("End = %v, %v", found, err)
		}
		r.store.Store.Set(t.Context(), at, raw, time.Hour)
		r.rejected(t, r.one, alice)
		if n := r.provider.asked(); n != 0 {
			t.Errorf("asked %d times", n)
		}
	})
}

// lossy does one Swap of the record and loses the answer.
type lossy struct {
	session.Store
	at   string
	lost bool
}

func (l *lossy) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (bool, error) {
	swapped, err := l.Store.Swap(ctx, key, old, next, ttl)
	if key == l.at && !l.lost {
		l.lost = true
		return false, errDown
	}
	return swapped, err
}
