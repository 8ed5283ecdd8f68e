package session_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/session"
)

// TestMostSessions: a person has so many sessions at most, tokens apart, and the one that
// was not used for the longest time makes room.
func TestMostSessions(t *testing.T) {
	three := func(o *session.Options) { o.MaxPerPerson = 3 }
	begin := func(t *testing.T, h *house, name string) *http.Cookie {
		time.Sleep(1100 * time.Millisecond) // times are noted in seconds
		return h.signIn(t, person(name))
	}
	check := func(t *testing.T, h *house, name string, ended *http.Cookie, living ...*http.Cookie) {
		t.Helper()
		for _, s := range []*session.Sessions{h.one, h.two} {
			h.rejected(t, s, ended)
			for _, c := range living {
				h.accepted(t, s, name, c)
			}
		}
	}
	inHouse(t, "the first one", func(t *testing.T, h *house) {
		h.one, _ = h.replica(t, three)
		token, err := h.tokens.Issue(t.Context(), person("alice").Identity, "", session.Client{}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var alice []*http.Cookie
		for range 3 {
			alice = append(alice, begin(t, h, "alice"))
		}
		bob := begin(t, h, "bob")
		alice = append(alice, begin(t, h, "alice"))
		check(t, h, "alice-1", alice[0], alice[1:]...)
		h.accepted(t, h.one, "bob-1", bob)
		if _, _, err := h.tokens.Find(t.Context(), token); err != nil {
			t.Errorf("her token: %v", err)
		}
		if list := h.list(t, "alice"); len(list) != 4 {
			t.Errorf("there are %d", len(list))
		}
	})
	t.Run("the one that was not used", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, session.NewMemory())
			h.one, _ = h.replica(t, three)
			var alice []*http.Cookie
			for range 3 {
				alice = append(alice, begin(t, h, "alice"))
			}
			time.Sleep(5 * time.Minute)
			for _, used := range []int{0, 2} {
				h.accepted(t, h.one, "alice-1", alice[used])
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			fourth := begin(t, h, "alice")
			check(t, h, "alice-1", alice[1], alice[0], alice[2], fourth)
		})
	})
	inHouse(t, "no limit", func(t *testing.T, h *house) {
		first := begin(t, h, "alice")
		for range 30 {
			h.signIn(t, person("alice"))
		}
		h.accepted(t, h.one, "alice-1", first)
	})
	inMemory(t, "a store that fails then is no reason against the sign-in", func(t *testing.T, r *rig) {
		first := r.signIn(t, person("alice"))
		time.Sleep(time.Second)
		r.store.fail("members", errDown)
		second := r.signIn(t, person("alice"))
		r.store.fail("members", nil)
		r.accepted(t, r.one, "alice-1", second)
		r.accepted(t, r.one, "alice-1", first)
		r.signIn(t, person("alice"))
		r.rejected(t, r.one, first)
		r.rejected(t, r.one, second)
	}, func(o *session.Options) { o.MaxPerPerson = 1 })
}
