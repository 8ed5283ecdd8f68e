package session_test

import (
	"encoding/binary"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// ahead runs f on a replica whose clock is ahead of the real one by so much since the
// bubble began, over a Redis that has a clock of its own. Time stands still for f.
func ahead(t *testing.T, s *server, by time.Duration, f func(t *testing.T, r *rig, register *session.Register, tokens session.Tokens)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(by)
		r := newRig(t, s.open(t), func(o *session.Options) { o.IdleTimeout = 5 * time.Minute })
		defer r.close()
		register := session.NewRegister(r.store, keyring(t, origin, key), nil, 5*time.Minute)
		f(t, r, register, session.NewTokens(r.store, keyring(t, origin, key), register))
	})
}

// TestSkew: replicas whose clocks are ten minutes apart.
func TestSkew(t *testing.T) {
	const skew = 10 * time.Minute
	alice := session.PersonOf(person("alice").Identity)
	for what, clocks := range map[string]struct{ first, second time.Duration }{"behind": {skew, 0}, "ahead": {0, skew}} {
		t.Run(what, func(t *testing.T) {
			s := startRedis(t)
			var cookie *http.Cookie
			var token string
			ahead(t, s, clocks.first, func(t *testing.T, r *rig, _ *session.Register, tokens session.Tokens) {
				cookie = r.signIn(t, person("alice"))
				var err error
				if token, err = tokens.Issue(t.Context(), person("alice").Identity, "", session.Client{}, time.Hour); err != nil {
					t.Fatal(err)
				}
			})
			ahead(t, s, clocks.second, func(t *testing.T, r *rig, register *session.Register, tokens session.Tokens) {
				r.accepted(t, r.one, "alice-1", cookie)
				if _, _, err := tokens.Find(t.Context(), token); err != nil {
					t.Error(err)
				}
				if _, err := register.Of(t.Context(), alice); err != nil {
					t.Error(err)
				}
			})
			ahead(t, s, clocks.first, func(t *testing.T, r *rig, register *session.Register, tokens session.Tokens) {
				if n, err := endAll(t.Context(), register, alice); n != 2 || err != nil {
					t.Errorf("ended %d, %v", n, err)
				}
				r.rejected(t, r.two, cookie)
				if _, _, err := tokens.Find(t.Context(), token); !errors.Is(err, authn.ErrRejected) {
					t.Errorf("the token: %v", err)
				}
			})
		})
	}
	t.Run("it ends by the clock of who is asked, whatever the store keeps", func(t *testing.T) {
		s := startRedis(t)
		var cookie *http.Cookie
		ahead(t, s, 0, func(t *testing.T, r *rig, _ *session.Register, _ session.Tokens) {
			cookie = r.signIn(t, person("alice"))
		})
		ahead(t, s, lifetime-time.Second, func(t *testing.T, r *rig, _ *session.Register, _ session.Tokens) {
			r.accepted(t, r.one, "alice-1", cookie)
		})
		ahead(t, s, lifetime, func(t *testing.T, r *rig, _ *session.Register, _ session.Tokens) { r.rejected(t, r.one, cookie) })
	})
	inMemory(t, "a failure that a fast clock has noted", func(t *testing.T, r *rig) {
		alice := r.signIn(t, dueIn(-time.Second))
		mark := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(skew+time.Minute).UnixMilli()))
		if err := r.store.Store.Set(t.Context(), lockOf(r.store.record(t)), append(mark, 1), 5*time.Minute); err != nil {
			t.Fatal(err)
		}
		r.accepted(t, r.one, "alice-1", alice)
	})
}
