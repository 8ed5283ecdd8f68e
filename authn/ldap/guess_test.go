package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/session"
)

// TestGuessesCount: a guess counts once the directory may have looked at it,
// whatever becomes of the answer, and not before.
func TestGuessesCount(t *testing.T) {
	guesses := func(s *scripted, n int, password string) {
		for range n {
			_, _ = s.prove("alice", password)
		}
	}
	binds := func(s *scripted) int {
		n := 0
		for _, o := range s.d.Log() {
			if o.Kind == authntest.OpBind && strings.HasPrefix(o.DN, "uid=alice") {
				n++
			}
		}
		return n
	}
	banned := func(s *scripted) bool {
		s.d.SetFaults(authntest.DirectoryFaults{})
		_, err := s.prove("alice", "right")
		var wait *authn.Throttled
		return errors.As(err, &wait)
	}
	t.Run("LDAP-22 an answer that comes too late", func(t *testing.T) {
		t.Parallel()
		s := newScripted(t, func(s *setup) { s.ldap.Timeout = config.Duration(200 * time.Millisecond) })
		s.d.SetFaults(authntest.DirectoryFaults{Before: func(o authntest.Operation) {
			if o.Kind == authntest.OpBind && strings.HasPrefix(o.DN, "uid=") && !o.HasPassword("right") {
				time.Sleep(300 * time.Millisecond)
			}
		}})
		guesses(s, 10, "wrong")
		if n := binds(s); n != 3 || !banned(s) {
			t.Errorf("%d guesses reached the directory", n)
		}
	})
	t.Run("LDAP-22 a reset instead of an answer", func(t *testing.T) {
		t.Parallel()
		s := newScripted(t)
		s.in("bob", "right")
		s.d.SetFaults(authntest.DirectoryFaults{Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpBind: {Bytes: 3, Then: authntest.EndReset}}})
		guesses(s, 10, "wrong")
		if n := binds(s); n > 4 || !banned(s) {
			t.Errorf("%d guesses reached the directory", n)
		}
	})
	t.Run("busy is nobody's fault", func(t *testing.T) {
		t.Parallel()
		s := newScripted(t)
		for _, code := range []int{51, 52, 80} {
			s.d.SetFaults(authntest.DirectoryFaults{Bind: &authntest.Result{Code: code}})
			guesses(s, 10, "right")
		}
		if banned(s) {
			t.Error("a ban for a directory that was busy")
		}
	})
	t.Run("a directory that is down is nobody's fault", func(t *testing.T) {
		t.Parallel()
		s := newScripted(t)
		s.l.directory.dialer.servers[0].Address = "127.0.0.1:1"
		guesses(s, 10, "right")
		s.l.directory.dialer.servers[0].Address = strings.TrimPrefix(s.url, "ldap://")
		if banned(s) {
			t.Error("a ban for a directory that was down")
		}
	})
}

// TestNoOracle: LDAP-22. What a program has proved tells nobody beside it at the same
// address whether a guess is right: neither in a ban of the person, nor in one
// of the address, nor in a burst before any of them.
func TestNoOracle(t *testing.T) {
	ask := func(s *scripted, password string) error {
		_, err := s.route.Authenticator.Authenticate(basic(t, "alice", password))
		return err
	}
	program := func(t *testing.T, change ...func(*setup)) *scripted {
		s := newScripted(t, append(change, func(s *setup) { s.ldap.BasicCache.Lifetime = config.Duration(time.Hour) })...)
		if err := ask(s, "right"); err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("the person is banned", func(t *testing.T) {
		s := program(t)
		for i := range 10 {
			_ = ask(s, fmt.Sprint("guess ", i))
		}
		if err := ask(s, "right"); err == nil {
			t.Error("the right one is told")
		}
	})
	t.Run("the address is banned", func(t *testing.T) {
		s := program(t, func(s *setup) { s.regulation.MaxAddressRetries = 5 })
		for i := range 6 {
			_, _ = s.prove(fmt.Sprint("name", i), "guess")
		}
		for i := range 10 {
			_ = ask(s, fmt.Sprint("guess ", i))
		}
		if err := ask(s, "right"); err == nil {
			t.Error("the right one is told")
		}
	})
	t.Run("a burst", func(t *testing.T) {
		s := program(t)
		var in atomic.Int32
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() {
				if ask(s, fmt.Sprint("guess ", i)) == nil {
					in.Add(1)
				}
			})
		}
		all.Wait()
		if err := ask(s, "right"); err == nil || in.Load() > 0 {
			t.Errorf("%v, %d guesses were right", err, in.Load())
		}
	})
}

// TestHangIsNoBanForAll: whoever shares an address with people whose passwords a
// hanging directory never answered need not wait for that.
func TestHangIsNoBanForAll(t *testing.T) {
	s := newScripted(t, func(s *setup) {
		s.ldap.Timeout, s.regulation.MaxAddressRetries = config.Duration(150*time.Millisecond), 5
	})
	for i := range 8 {
		s.d.Set(authntest.Entry{DN: fmt.Sprintf("uid=p%d,ou=people,%s", i, scriptedBase), Password: "right",
			Attributes: map[string][]string{"objectClass": {"person"}, "uid": {fmt.Sprint("p", i)}, "cn": {"P"}}})
	}
	s.in("bob", "right") // the connection that searches is there
	s.d.SetFaults(authntest.DirectoryFaults{Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpBind: {Then: authntest.EndSilent}}})
	for i := range 8 {
		_, _ = s.prove(fmt.Sprint("p", i), "right")
	}
	s.d.SetFaults(authntest.DirectoryFaults{})
	s.in("alice", "right")
}

// TestManyAtOnce: a hundred machines that begin with one account at the same
// time, at a directory that is slow, all get in.
func TestManyAtOnce(t *testing.T) {
	s := newScripted(t, func(s *setup) { s.ldap.Timeout, s.ldap.Pool.Size = config.Duration(8*time.Second), 8 })
	s.d.SetFaults(authntest.DirectoryFaults{Before: func(o authntest.Operation) {
		if o.Kind == authntest.OpBind && strings.HasPrefix(o.DN, "uid=") {
			time.Sleep(30 * time.Millisecond)
		}
	}})
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if _, err := s.proveFrom("alice", "right", fmt.Sprintf("192.0.2.%d:1", i+1)); err != nil {
				t.Errorf("machine %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// newTestRegulation is regulation over a store of its own.
func newTestRegulation(store session.Store) *regulation {
	return newRegulation(usualRegulation(), "dir", store, testKeys(), slog.New(slog.DiscardHandler))
}

// TestBanLasts: a ban is over when it was said to be, however long before the last
// of the wrong passwords the first was.
func TestBanLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestRegulation(session.NewMemory())
		who := account{key: "id:alice"}
		try := func() error {
			a, err := g.begin(t.Context(), who, "192.0.2.1:1")
			if err != nil {
				return errors.Join(err, a.undone(t.Context()))
			}
			return a.failed(t.Context())
		}
		for _, pause := range []time.Duration{0, 8 * time.Minute, 7 * time.Minute} {
			time.Sleep(pause)
			if err := try(); err != nil {
				t.Fatal(err)
			}
		}
		var wait *authn.Throttled
		if err := try(); !errors.As(err, &wait) || wait.After != 15*time.Minute {
			t.Fatalf("%v", err)
		}
		time.Sleep(15*time.Minute - time.Millisecond)
		if err := try(); !errors.As(err, &wait) {
			t.Errorf("the ban is over early: %v", err)
		}
		time.Sleep(time.Millisecond)
		if err := try(); err != nil {
			t.Errorf("the ban goes on: %v", err)
		}
	})
}

// lossy is a store whose answers get lost after it has done what it was asked.
type lossy struct {
	session.Store
	lose atomic.Bool
}

func (l *lossy) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	added, err := l.Store.Add(ctx, key, value, ttl)
	return added, l.lost(err)
}

func (l *lossy) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (bool, error) {
	swapped, err := l.Store.Swap(ctx, key, old, next, ttl)
	return swapped, l.lost(err)
}

func (l *lossy) lost(err error) error {
	if l.lose.CompareAndSwap(true, false) {
		return errors.New("the answer got lost")
	}
	return err
}

// TestAttemptsDontStick: an attempt that never came to be asked leaves nothing
// behind, though the store's answer got lost or its sender has gone.
func TestAttemptsDontStick(t *testing.T) {
	store := &lossy{Store: session.NewMemory()}
	s := newScripted(t, func(s *setup) { s.store = store })
	for range 20 {
		store.lose.Store(true)
		s.unsure("alice", "right")
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		_, _ = s.l.prove(gone, credentials{login: "alice", password: "right", remote: "192.0.2.1:1", log: s.l.Log})
	}
	s.in("alice", "right")
	for _, key := range []string{"192.0.2.1"} {
		if _, found, _ := store.Get(t.Context(), s.l.regulation.addressKey(key)); found {
			t.Error("attempts are left with the address")
		}
	}
}
