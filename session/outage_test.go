package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
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
	inMemory(t, "RDS-03 noting many uses, slowly, at the end", func(t *testing.T, r *rig) {
		var all []*http.Cookie
		for range 500 {
			all = append(all, r.signIn(t, person("alice")))
		}
		time.Sleep(2 * time.Minute)
		r.store.slow("touch", 2*time.Second)
		for _, c := range all {
			r.accepted(t, r.one, "alice-1", c)
		}
		begun := time.Now()
		r.one.Close()
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("to close took %v", took)
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
	for what, trouble := range map[string]struct {
		begin, end []any
		ends       bool // what is to be ended, though it says that it failed
	}{
		"is full":      {[]any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}, true},
		"is read-only": {[]any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}, false},
	} {
		t.Run("RDS-06 a Redis that "+what, func(t *testing.T) {
			s := startRedis(t)
			h := newHouse(t, s.open(t))
			alice, bob, dave := h.signIn(t, person("alice")), h.signIn(t, person("bob")), h.signIn(t, person("dave"))
			token, err := h.tokens.Issue(t.Context(), person("alice").Identity, "", session.Client{}, time.Hour)
			if err == nil {
				err = s.raw.Do(t.Context(), trouble.begin...).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			if err := h.one.Start(w, request(), person("carol")); !outage(err) || len(w.Header()) != 0 {
				t.Errorf("signing in: %v, %v", err, w.Header())
			}
			if _, err := h.tokens.Issue(t.Context(), person("carol").Identity, "", session.Client{}, time.Hour); !outage(err) {
				t.Errorf("a token: %v", err)
			}
			h.accepted(t, h.one, "alice-1", alice)
			h.accepted(t, h.two, "bob-1", bob)
			if _, _, err := h.one.End(httptest.NewRecorder(), request(alice)); !outage(err) {
				t.Errorf("signing out: %v", err)
			}
			if err := h.tokens.End(t.Context(), token); !outage(err) {
				t.Errorf("ending a token: %v", err)
			}
			if _, err := endAll(t.Context(), h.register, session.PersonOf(person("alice").Identity)); !outage(err) {
				t.Errorf("ending all: %v", err)
			}
			if _, err := h.one.EndSessions(t.Context(), authn.Logout{Issuer: person("dave").Identity.Issuer, Subject: "dave-1", At: time.Now()}); !outage(err) {
				t.Errorf("signed out by the provider: %v", err)
			}
			soon(t, "ended, or not", func() bool { return h.in(h.two, alice) != trouble.ends && h.in(h.two, dave) != trouble.ends })
			if err := s.raw.Do(t.Context(), trouble.end...).Err(); err != nil {
				t.Fatal(err)
			}
			h.accepted(t, h.two, "bob-1", bob)
			if n, err := endAll(t.Context(), h.register, session.PersonOf(person("alice").Identity)); n != 2 || err != nil {
				t.Errorf("ended %d afterwards, %v", n, err)
			}
			soon(t, "alice is out", func() bool { return !h.in(h.one, alice) && !h.in(h.two, alice) })
			if _, _, err := h.tokens.Find(t.Context(), token); !errors.Is(err, authn.ErrRejected) {
				t.Errorf("the token: %v", err)
			}
			h.accepted(t, h.one, "bob-1", bob)
			h.accepted(t, h.one, "carol-1", h.signIn(t, person("carol")))
		})
	}
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
