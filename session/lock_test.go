package session_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

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
	inMemory(t, "SES-27 a holder who lost the store keeps the lock until it gives up", func(t *testing.T, r *rig) {
		cut := newRig(t, r.store.Store) // a replica with a way to the store of its own
		defer cut.one.Close()
		alice := r.signIn(t, dueIn(time.Hour))
		cut.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			cut.store.fail("swap", errDown)
			time.Sleep(19 * time.Second)
			return r.provider.rotate(p)
		})
		cut.accepted(t, cut.one, "alice-1", alice)
		for range 38 { // 19 until the answer, and nearly 20 of trying to write it
			time.Sleep(time.Second)
			r.accepted(t, r.one, "alice-1", alice)
		}
		cut.store.fail("", nil)
		time.Sleep(5 * time.Second)
		p, _, _ := r.one.End(httptest.NewRecorder(), request(alice))
		if n := r.provider.asked(); n != 0 || string(p.Grant) != "rt-1" {
			t.Errorf("the other replica asked %d times; the grant is %q", n, p.Grant)
		}
	})
	inMemory(t, "SES-27 the lock is kept while the answer is written", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		at := r.store.record(t)
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			r.store.fail("swap "+at, errDown)
			return r.provider.rotate(p)
		})
		r.accepted(t, r.one, "alice-1", alice)
		synctest.Wait()
		r.store.since()
		time.Sleep(15 * time.Second)
		prolonged := false
		for _, c := range r.store.since() {
			prolonged = prolonged || c == "swap "+lockOf(at)
		}
		if r.store.fail("", nil); !prolonged {
			t.Error("the lease was not prolonged")
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
		time.Sleep(45 * time.Second)
		begun := time.Now()
		r.outage(t, r.one, alice)
		if took := time.Since(begun); took != 0 {
			t.Errorf("waited %v for a renewal that is known to hang", took)
		}
		time.Sleep(15 * time.Minute)
		synctest.Wait()
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
