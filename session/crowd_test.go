package session_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// TestCrowd is of many sessions that are due at once, as after an outage.
func TestCrowd(t *testing.T) {
	sessions := func(t *testing.T, r *rig, n int, left time.Duration) (out []*http.Cookie) {
		for range n {
			out = append(out, r.signIn(t, dueIn(left)))
		}
		return out
	}
	// slow takes a second and counts how many questions there are at once.
	slow := func(r *rig) (most func() int64) {
		var now, high atomic.Int64
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := high.Load(); n > m && !high.CompareAndSwap(m, n); m = high.Load() {
			}
			time.Sleep(time.Second)
			p.Identity.Expires, p.RenewAt = time.Now().Add(time.Hour), time.Now().Add(50*time.Minute)
			return p, nil
		})
		return high.Load
	}
	inMemory(t, "SES-25 in the background", func(t *testing.T, r *rig) {
		all, most := sessions(t, r, 2000, time.Hour), slow(r)
		begun := time.Now()
		for _, c := range all {
			r.accepted(t, r.one, "alice-1", c)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("requests waited %v", took)
		}
		time.Sleep(40 * time.Second)
		if n := r.provider.asked(); n != 2000 || most() != 64 {
			t.Errorf("asked %d times, up to %d at once", n, most())
		}
	})
	inMemory(t, "SES-25 while people wait", func(t *testing.T, r *rig) {
		all, most := sessions(t, r, 2000, -time.Second), slow(r)
		var waiting sync.WaitGroup
		var in atomic.Int64
		for _, c := range all {
			waiting.Go(func() {
				_, err := r.one.Authenticate(request(c))
				if err == nil {
					in.Add(1)
				} else if errors.Is(err, authn.ErrRejected) {
					t.Error(err)
				}
			})
		}
		waiting.Wait()
		if n := in.Load(); n < 500 || most() != 64 { // in the ten seconds that each waits
			t.Errorf("%d got in; up to %d questions at once", n, most())
		}
		time.Sleep(30 * time.Second)
		for _, c := range all {
			r.accepted(t, r.one, "alice-1", c)
		}
	})
	inMemory(t, "a place is given back whatever happens", func(t *testing.T, r *rig) {
		for name, answer := range map[string]func(context.Context, authn.Proof) (authn.Proof, error){
			"outage": down,
			"panic":  func(context.Context, authn.Proof) (authn.Proof, error) { panic("boom") },
			"no":     func(context.Context, authn.Proof) (authn.Proof, error) { return authn.Proof{}, authn.ErrRejected },
		} {
			r.provider.set(answer)
			for _, c := range sessions(t, r, 100, -time.Second) {
				if _, err := r.one.Authenticate(request(c)); err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		r.store.fail("add", errDown)
		for _, c := range sessions(t, r, 100, -time.Second) {
			r.outage(t, r.one, c)
		}
		r.store.fail("get", nil)
		r.provider.set(nil)
		begun := time.Now()
		r.accepted(t, r.one, "alice-1", r.signIn(t, dueIn(-time.Second)))
		if took := time.Since(begun); took != 0 {
			t.Errorf("waited %v", took)
		}
	})
	inMemory(t, "Close does not wait for those that queue", func(t *testing.T, r *rig) {
		all := sessions(t, r, 300, time.Hour)
		slow(r)
		for _, c := range all {
			r.accepted(t, r.one, "alice-1", c)
		}
		synctest.Wait()
		begun := time.Now()
		r.one.Close()
		if took := time.Since(begun); took != time.Second || r.provider.asked() != 64 {
			t.Errorf("waited %v, asked %d times", took, r.provider.asked())
		}
	})
	inMemory(t, "Close takes 70 seconds where all is as slow as it may be", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		slow := &sluggish{Store: r.store.Store}
		keys, _ := session.NewKeyring(origin, []string{key})
		s := session.New(session.Options{
			Store: slow, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), Lifetime: lifetime, IdleTimeout: idle,
			Renew: func(_ context.Context, p authn.Proof) (authn.Proof, error) {
				time.Sleep(20*time.Second - time.Millisecond)
				slow.broken.Store(true)
				p.Identity.Expires = time.Now().Add(time.Hour)
				return p, nil
			},
		})
		if _, err := s.Authenticate(request(alice)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begun := time.Now()
		s.Close()
		if took := time.Since(begun); took > 70*time.Second || took < 60*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// sluggish takes nearly ten seconds for what a renewal asks of it, and once broken
// answers no writing.
type sluggish struct {
	session.Store
	broken atomic.Bool
}

func (s *sluggish) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	time.Sleep(10*time.Second - time.Millisecond)
	return s.Store.Add(ctx, key, value, ttl)
}

func (s *sluggish) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if _, bounded := ctx.Deadline(); bounded {
		time.Sleep(10*time.Second - time.Millisecond)
	}
	return s.Store.Get(ctx, key)
}

func (s *sluggish) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (bool, error) {
	if s.broken.Load() {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return s.Store.Swap(ctx, key, old, next, ttl)
}
