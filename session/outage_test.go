package session_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/session"
)

// replies are what a Redis server in trouble says.
var replies = []string{
	"LOADING Redis is loading the dataset in memory", "READONLY You can't write against a read only replica.",
	"MOVED 1 10.0.0.1:6379", "OOM command not allowed when used memory > 'maxmemory'.", "NOAUTH Authentication required.",
	"WRONGTYPE Operation against a key holding the wrong kind of value", "BUSY Redis is busy running a script.",
	"MASTERDOWN Link with MASTER is down", "i/o timeout",
}

func TestStoreFailing(t *testing.T) {
	inMemory(t, "RDS-01 RDS-06 reading", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		for _, reply := range replies {
			r.store.fail("get", errors.New(reply))
			r.outage(t, r.one, alice)
		}
		r.store.fail("get", nil)
		r.accepted(t, r.one, "alice-1", alice)
	})
	inMemory(t, "RDS-06 signing in", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		for _, reply := range replies {
			for _, verb := range []string{"set", "delete"} {
				r.store.fail(verb, errors.New(reply))
				w := httptest.NewRecorder()
				if err := r.one.Start(w, request(alice), person("bob")); !outage(err) || len(w.Header()) != 0 {
					t.Errorf("%s: %v, %v", verb, err, w.Header())
				}
			}
		}
		r.store.fail("", nil)
		r.accepted(t, r.one, "alice-1", alice)
	})
	inMemory(t, "LGO-03 signing out", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		for _, reply := range replies {
			r.store.fail("delete", errors.New(reply))
			w := httptest.NewRecorder()
			_, _, err := r.one.End(w, request(alice))
			if c := w.Result().Cookies(); !outage(err) || len(c) != 1 || c[0].MaxAge >= 0 {
				t.Errorf("%v, %v", err, c)
			}
		}
		r.store.fail("get", errDown) // ends even if it can't be read
		if _, found, err := r.one.End(httptest.NewRecorder(), request(alice)); found || err != nil {
			t.Errorf("End = %v, %v", found, err)
		}
		r.store.fail("", nil)
		r.rejected(t, r.one, alice)
	})
	inMemory(t, "RDS-06 noting the use", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		time.Sleep(2 * time.Minute)
		r.store.fail("touch", errDown)
		r.accepted(t, r.one, "alice-1", alice)
		synctest.Wait()
		if !strings.Contains(r.log.String(), "session use not noted") {
			t.Error("nobody is told")
		}
	})
	inMemory(t, "RDS-06 clearing away", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		r.store.Store.Set(t.Context(), r.store.record(t), []byte("null"), time.Minute)
		r.store.fail("swap", errDown)
		r.rejected(t, r.one, alice)
		if !strings.Contains(r.log.String(), "session record not deleted") {
			t.Error("nobody is told")
		}
	})
	t.Run("RDS-01 a Redis that dies and comes back", func(t *testing.T) {
		s := startRedis(t)
		r := newRig(t, s.open(t))
		defer r.close()
		alice := r.signIn(t, person("alice"))
		r.accepted(t, r.one, "alice-1", alice)
		s.stop()
		begun := time.Now()
		r.outage(t, r.one, alice)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("RDS-03 the outage took %v to see", took)
		}
	})
	t.Run("a browser that hangs up", func(t *testing.T) {
		r := newRig(t, session.NewMemory())
		defer r.close()
		alice := r.signIn(t, person("alice"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.one.Authenticate(request(alice).WithContext(ctx)); !outage(err) {
			t.Error(err)
		}
	})
}
