package session_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/session"
)

// cutBefore is a context that ends when the store gets a command that begins so: the
// client has gone away.
func cutBefore(t *testing.T, s *spy, prefix string) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait = func(command string) {
		if strings.HasPrefix(command, prefix) {
			cancel()
		}
	}
	return ctx
}

// TestHalfway: what has begun to end ends, though the client does not wait for it.
func TestHalfway(t *testing.T) {
	inHouse(t, "a tab that is closed on signing out", func(t *testing.T, h *house) {
		alice := h.signIn(t, person("alice"))
		h.accepted(t, h.one, "alice-1", alice)
		ctx := cutBefore(t, h.store, "delete session:")
		if _, found, err := h.one.End(httptest.NewRecorder(), request(alice).WithContext(ctx)); !found || err != nil {
			t.Errorf("End = %v, %v", found, err)
		}
		h.rejected(t, h.two, alice)
		if list := h.list(t, "alice"); len(list) != 0 {
			t.Errorf("listed: %+v", list)
		}
	})
	inHouse(t, "a tab that is closed on signing in anew", func(t *testing.T, h *house) {
		alice := h.signIn(t, person("alice"))
		ctx := cutBefore(t, h.store, "delete session:")
		if err := h.one.Start(httptest.NewRecorder(), request(alice).WithContext(ctx), person("alice")); err != nil {
			t.Error(err)
		}
		h.rejected(t, h.two, alice)
		if list := h.list(t, "alice"); len(list) != 1 {
			t.Errorf("listed: %+v", list)
		}
	})
	inHouse(t, "an index that can't be written", func(t *testing.T, h *house) {
		h.store.fail("enter name:", errDown)
		if err := h.one.Start(httptest.NewRecorder(), request(), person("alice")); !outage(err) {
			t.Errorf("Start = %v", err)
		}
		if _, err := h.tokens.Issue(t.Context(), person("alice").Identity, "", session.Client{}, time.Hour); !outage(err) {
			t.Errorf("Issue = %v", err)
		}
		if list := h.list(t, "alice"); len(list) != 0 {
			t.Errorf("listed: %+v", list)
		}
	})
	inHouse(t, "a tab that is closed as a session begins", func(t *testing.T, h *house) {
		ctx := cutBefore(t, h.store, "set session:")
		err := h.one.Start(httptest.NewRecorder(), request().WithContext(ctx), person("alice"))
		if list := h.list(t, "alice"); (err == nil) != (len(list) == 1) {
			t.Errorf("Start = %v, and listed are %+v", err, list)
		}
	})
}
