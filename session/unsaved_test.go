package session_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
)

// spoil makes the commands that begin with prefix fail as soon as the provider has
// rotated the token, for the given time.
func (r *rig) spoil(prefix string, d time.Duration) {
	r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
		r.store.fail(prefix, errDown)
		time.AfterFunc(d, func() { r.store.fail("", nil) })
		r.provider.set(nil)
		return r.provider.rotate(p)
	})
}

// TestUnsaved is of stores that fail for long just when a grant was rotated.
func TestUnsaved(t *testing.T) {
	for _, d := range []time.Duration{25 * time.Second, 2 * time.Minute, 10 * time.Minute} {
		inMemory(t, "RDS-06 nothing can be written for "+d.String(), func(t *testing.T, r *rig) {
			alice := r.signIn(t, dueIn(time.Hour))
			r.spoil("swap "+r.store.record(t), d)
			for begun := time.Now(); time.Since(begun) < d+time.Minute; time.Sleep(time.Second) {
				r.accepted(t, r.one, "alice-1", alice)
				r.accepted(t, r.two, "alice-1", alice)
			}
			p, _, _ := r.one.End(httptest.NewRecorder(), request(alice))
			if n := r.provider.asked(); n != 1 || string(p.Grant) != "rt-1" {
				t.Errorf("asked %d times, and the grant is %q", n, p.Grant)
			}
		})
		inMemory(t, "RDS-06 the store is gone for "+d.String(), func(t *testing.T, r *rig) {
			alice := r.signIn(t, dueIn(time.Hour))
			r.spoil("", d)
			r.accepted(t, r.one, "alice-1", alice)
			synctest.Wait()
			r.outage(t, r.one, alice)
			time.Sleep(d + 3*time.Second)
			r.accepted(t, r.two, "alice-1", alice)
			time.Sleep(time.Minute)
			r.accepted(t, r.one, "alice-1", alice)
			p, _, _ := r.one.End(httptest.NewRecorder(), request(alice))
			if n := r.provider.asked(); n != 1 || string(p.Grant) != "rt-1" {
				t.Errorf("asked %d times, and the grant is %q", n, p.Grant)
			}
		})
	}
	inMemory(t, "LGO-17 sign-out meanwhile", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		r.spoil("swap "+r.store.record(t), time.Minute)
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(30 * time.Second)
		if _, found, err := r.two.End(httptest.NewRecorder(), request(alice)); !found || err != nil {
			t.Fatal(found, err)
		}
		time.Sleep(time.Minute)
		r.rejected(t, r.one, alice)
	})
	inMemory(t, "Close does not wait for long", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(time.Hour))
		r.spoil("swap", time.Hour)
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(time.Minute)
		begun := time.Now()
		r.one.Close()
		if took := time.Since(begun); took != 20*time.Second {
			t.Errorf("waited %v", took)
		}
	})
	inMemory(t, "at most a thousand are kept", func(t *testing.T, r *rig) {
		var people []*http.Cookie
		for range 1100 {
			people = append(people, r.signIn(t, dueIn(time.Hour)))
		}
		r.store.fail("swap session:", errDown)
		r.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			p.Identity.Expires, p.RenewAt = time.Now().Add(time.Hour), time.Now().Add(50*time.Minute)
			return p, nil
		})
		for _, c := range people {
			r.accepted(t, r.one, "alice-1", c)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		log := r.log.String()
		if n := strings.Count(log, "not written down yet"); n != 1000 {
			t.Errorf("%d are kept", n)
		}
		if n := strings.Count(log, "session not renewed"); n < 100 {
			t.Errorf("%d are given up", n)
		}
	})
}
