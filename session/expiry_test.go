package session_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

func TestExpiry(t *testing.T) {
	inMemory(t, "SES-19 idle", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		for range 10 { // used each time just before it would end
			time.Sleep(idle - 61*time.Second)
			r.accepted(t, r.one, "alice-1", alice)
		}
		time.Sleep(idle + time.Second)
		r.rejected(t, r.one, alice)
	})
	inMemory(t, "SES-19 lifetime, although in use", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		for left := lifetime - time.Second; left > 0; left -= 30 * time.Minute {
			time.Sleep(min(left, 30*time.Minute))
			r.accepted(t, r.one, "alice-1", alice)
		}
		time.Sleep(time.Second)
		r.rejected(t, r.one, alice)
	})
	inMemory(t, "SES-19 lifetime, whatever the store keeps", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		at := r.store.record(t)
		r.store.Store.Touch(t.Context(), at, 10*lifetime)
		time.Sleep(lifetime)
		r.rejected(t, r.one, alice)
		if _, found, _ := r.store.Store.Get(t.Context(), at); found {
			t.Error("the record is still there")
		}
	})
	inMemory(t, "SES-19 the store keeps nothing beyond the end", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		at := r.store.record(t)
		for left := lifetime - time.Minute; left > 0; left -= 30 * time.Minute {
			time.Sleep(min(left, 30*time.Minute))
			r.accepted(t, r.one, "alice-1", alice)
		}
		time.Sleep(time.Minute)
		if _, found, _ := r.store.Store.Get(t.Context(), at); found {
			t.Error("the record outlives the session")
		}
	})
	inMemory(t, "SES-19 deleted by hand", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		r.store.Store.Delete(t.Context(), r.store.record(t))
		r.rejected(t, r.one, alice)
	})
	inMemory(t, "SES-19 no idle limit", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		time.Sleep(lifetime - time.Second)
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(time.Second)
		r.rejected(t, r.one, alice)
	}, func(o *session.Options) { o.IdleTimeout = 0 })
	inMemory(t, "RDS-17 one command a request", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		at := r.store.record(t)
		r.store.since()
		for range 1000 {
			r.accepted(t, r.one, "alice-1", alice)
		}
		if c := r.store.since(); len(c) != 1000 || c[0] != "get "+at {
			t.Errorf("1000 requests cost %d commands", len(c))
		}
		time.Sleep(time.Minute)
		for range 1000 {
			r.accepted(t, r.one, "alice-1", alice)
		}
		synctest.Wait() // a use is noted beside the request
		if c := r.store.since(); len(c) != 1001 || !slices.Contains(c, "touch "+at) {
			t.Errorf("1000 requests a minute later cost %d commands", len(c))
		}
	})
	inMemory(t, "a proof that can't be renewed ends with itself", func(t *testing.T, r *rig) {
		p := person("alice")
		p.Identity.Expires = time.Now().Add(10 * time.Minute)
		alice := r.signIn(t, p)
		time.Sleep(10*time.Minute - time.Second)
		r.accepted(t, r.one, "alice-1", alice)
		time.Sleep(time.Second)
		r.rejected(t, r.one, alice)
		if _, found, _ := r.store.Store.Get(t.Context(), r.store.record(t)); found {
			t.Error("the record is still there")
		}
	})
	inMemory(t, "many sessions are remembered in bounded room", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		time.Sleep(5 * time.Minute)
		r.store.since()
		for i := range 20 {
			time.Sleep(15 * time.Second)
			r.accepted(t, r.one, "alice-1", alice)
			for range 10 {
				r.signIn(t, person(fmt.Sprint("p", i)))
			}
		}
		synctest.Wait()
		touches := 0
		for _, c := range r.store.since() {
			if strings.HasPrefix(c, "touch ") {
				touches++
			}
		}
		if touches != 5 {
			t.Errorf("%d touches in five minutes", touches)
		}
	})
}

// TestZeroOptions: a week, no idle limit, no log, no renewal.
func TestZeroOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := session.New(session.Options{
			Store: session.NewMemory(), Keys: session.RandomKeyring(origin), Cookie: session.NewCookie("gatehouse", "", true),
		})
		defer s.Close()
		w := httptest.NewRecorder()
		if err := s.Start(w, request(), dueIn(time.Hour)); err != nil { // nobody to renew it
			t.Fatal(err)
		}
		alice := w.Result().Cookies()[0]
		if alice.MaxAge != 7*24*3600 {
			t.Errorf("Max-Age=%d", alice.MaxAge)
		}
		time.Sleep(59 * time.Minute)
		if _, err := s.Authenticate(request(alice)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if _, err := s.Authenticate(request(alice)); !errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
	})
}
