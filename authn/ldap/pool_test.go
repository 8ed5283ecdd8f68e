package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

func names() []string { return []string{"alice", "bob", "carol", "dave", "josé", "mallory"} }

func TestPool(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{AnonymousRead: true})
	sized := func(t *testing.T, size int) *rig {
		settings := settingsFor(s)
		settings.Pool.Size = size
		return newRig(t, settings, lax)
	}
	for _, c := range []struct{ id, template string }{{"search", ""}, {"check passwords", "uid={input}," + peopleBase}} {
		t.Run("50 at once, no more connections than the size to "+c.id, func(t *testing.T) {
			const size, signIns = 4, 50
			var hold sync.Mutex // while it is held, slapd is as slow as can be
			f := newFront(t, listen(t), func(in net.Conn) (net.Conn, error) {
				out, err := to(s.URL)(in)
				return slow{out, &hold}, err
			})
			settings := settingsFor(s)
			settings.Pool.Size, settings.Address, settings.Users.DNTemplate = size, []string{f.url("ldap")}, c.template
			if c.template == "" {
				settings.BindDN, settings.BindPassword = "", "" // binds as the service go one by one
			}
			r := newRig(t, settings, lax)
			hold.Lock()
			release := sync.OnceFunc(hold.Unlock)
			defer release()
			var all sync.WaitGroup
			for i := range signIns {
				all.Go(func() {
					login := []string{"alice", "bob", "carol", "dave", "josé"}[i%5]
					if _, err := r.prove(login, login+"-pw"); err != nil {
						t.Error(err)
					}
				})
			}
			eventually(t, "all connections are in use", func() bool { return s.Connections(t) == size })
			time.Sleep(50 * time.Millisecond)
			if n := s.Connections(t); n != size {
				t.Errorf("%d connections", n)
			}
			release()
			all.Wait()
			if n := s.Connections(t); n < 1 || n > 2*size {
				t.Errorf("%d connections are left", n)
			}
		})
	}
	t.Run("connections are used again", func(t *testing.T) {
		r := sized(t, 4)
		for range 10 {
			r.in("alice", "alice-pw")
			r.refused("alice", "bad-pw")
			r.refused("nobody", "bad-pw")
		}
		eventually(t, "one is left, that searches", func() bool { return s.Connections(t) == 1 })
	})
	t.Run("searches never go by a connection that people are bound on", func(t *testing.T) {
		// slapd lets people read only themselves: as alice, bob would not be found.
		r := sized(t, 1)
		for range 3 {
			for _, login := range names() {
				r.in(login, login+"-pw")
			}
		}
	})
	t.Run("a restart costs nothing", func(t *testing.T) {
		r := sized(t, 8)
		fill := func() {
			var all sync.WaitGroup
			for range 3 {
				for _, login := range names() {
					all.Go(func() {
						if _, err := r.prove(login, login+"-pw"); err != nil {
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
		}
		fill()
		for range 3 {
			s.Restart(t)
			fill()
			if got := r.refused("alice", "bad-pw"); got != wrong {
				t.Error(got)
			}
		}
		if down := r.l.directory.dialer.down; len(down) != 0 {
			t.Errorf("the server counts as down: %v", down)
		}
	})
	t.Run("connections that died unnoticed cost nothing", func(t *testing.T) {
		var died atomic.Int64 // how many of the first
		var opened atomic.Int64
		f := newFront(t, listen(t), func(in net.Conn) (net.Conn, error) {
			out, err := to(s.URL)(in)
			return mortal{out, opened.Add(1), &died}, err
		})
		settings := settingsFor(s)
		settings.Address = []string{f.url("ldap")}
		r := newRig(t, settings)
		r.in("alice", "alice-pw")
		for range 3 {
			died.Store(opened.Load())
			expectAsked(t, s, 2, 2, func() { r.in("alice", "alice-pw") }) // the service's and hers
		}
		if down := r.l.directory.dialer.down; len(down) != 0 {
			t.Errorf("the server counts as down: %v", down)
		}
	})
	t.Run("idle connections end", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Pool.IdleTimeout = config.Duration(50 * time.Millisecond)
		r := newRig(t, settings)
		r.in("alice", "alice-pw")
		eventually(t, "they end", func() bool { return s.Connections(t) == 0 })
		r.in("alice", "alice-pw")
	})
	t.Run("closed while in use", func(t *testing.T) {
		eventually(t, "those of the other cases end", func() bool { return s.Connections(t) == 0 })
		r := sized(t, 2)
		p := r.l.directory.searches
		if err := p.do(t.Context(), func(context.Context, *conn) error { p.close(); return nil }); err != nil {
			t.Error(err)
		}
		eventually(t, "they end", func() bool { return s.Connections(t) == 0 })
	})
	t.Run("closed", func(t *testing.T) {
		r := sized(t, 2)
		r.in("alice", "alice-pw")
		if err := r.route.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "they end", func() bool { return s.Connections(t) == 0 })
		if err := r.unsure("alice", "alice-pw"); !errors.Is(err, errClosed) {
			t.Error(err)
		}
		if n := s.Connections(t); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// mortal is a connection that ends when something is sent by it, once it has died.
type mortal struct {
	net.Conn
	number int64
	died   *atomic.Int64
}

func (m mortal) Write(b []byte) (int, error) {
	if m.number <= m.died.Load() {
		return 0, net.ErrClosed
	}
	return m.Conn.Write(b)
}

func TestContextEnds(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	const most = 3 * time.Second // an answer at once, on a slow machine
	settings := settingsFor(s)
	settings.Pool.Size, settings.Timeout, settings.ConnectTimeout = 1, config.Duration(time.Minute), config.Duration(time.Minute)
	credentials := func(r *rig) credentials {
		return credentials{login: "alice", password: "alice-pw", remote: "192.0.2.1:1", log: r.l.Log}
	}
	for _, c := range []struct {
		name string
		set  func(t *testing.T, c *config.LDAP)
		hold func(r *rig) func()
	}{
		{"while all connections are in use", func(*testing.T, *config.LDAP) {}, func(r *rig) func() {
			if err := r.l.directory.searches.take(r.Context()); err != nil {
				r.Fatal(err)
			}
			return r.l.directory.searches.giveBack
		}},
		{"while another attempt is under way", func(*testing.T, *config.LDAP) {}, func(r *rig) func() {
			var all []func()
			key := "id:" + r.in("alice", "alice-pw").Subject
			for range r.l.turns.atOnce {
				done, err := r.l.turns.take(r.Context(), key)
				if err != nil {
					r.Fatal(err)
				}
				all = append(all, done)
			}
			return func() {
				for _, done := range all {
					done()
				}
			}
		}},
		{"while the directory is silent", func(t *testing.T, c *config.LDAP) {
			c.Address = []string{newFront(t, listen(t), func(net.Conn) (net.Conn, error) { in, _ := net.Pipe(); return in, nil }).url("ldap")}
		}, func(*rig) func() { return func() {} }},
		{"while the directory does not begin TLS", func(t *testing.T, c *config.LDAP) {
			c.Address = []string{newFront(t, listen(t), func(net.Conn) (net.Conn, error) { in, _ := net.Pipe(); return in, nil }).url("ldaps")}
		}, func(*rig) func() { return func() {} }},
		{"while the directory does not answer StartTLS", func(t *testing.T, c *config.LDAP) {
			c.StartTLS = true
			c.Address = []string{newFront(t, listen(t), func(net.Conn) (net.Conn, error) { in, _ := net.Pipe(); return in, nil }).url("ldap")}
		}, func(*rig) func() { return func() {} }},
	} {
		t.Run("LDAP-36 "+c.name, func(t *testing.T) {
			settings := settings
			c.set(t, &settings)
			r := newRig(t, settings)
			defer c.hold(r)()
			ctx, cancel := context.WithCancel(t.Context())
			answer := make(chan error, 1)
			go func() { _, err := r.l.prove(ctx, credentials(r)); answer <- err }()
			select {
			case err := <-answer:
				t.Fatalf("it did not wait: %v", err)
			case <-time.After(30 * time.Millisecond):
			}
			cancel()
			select {
			case err := <-answer:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(most):
				t.Fatal("it waits on")
			}
		})
	}
	t.Run("LDAP-36 the time is up", func(t *testing.T) {
		settings := settings
		settings.Timeout = config.Duration(100 * time.Millisecond)
		settings.Address = []string{newFront(t, listen(t), func(net.Conn) (net.Conn, error) { in, _ := net.Pipe(); return in, nil }).url("ldap")}
		r, began := newRig(t, settings), time.Now()
		if err := r.unsure("alice", "alice-pw"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(began); took > most {
			t.Errorf("took %s", took)
		}
	})
	t.Run("a turn is given back", func(t *testing.T) {
		var turns turns
		done, err := turns.take(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := turns.take(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		other, err := turns.take(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		done()
		other()
		if len(turns.keys) != 0 {
			t.Errorf("%d are left", len(turns.keys))
		}
	})
}

// Nothing is left of many sign-ins, good and bad.
func TestLeavesNothing(t *testing.T) {
	const many, workers = 10_000, 6
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	settings := settingsFor(s)
	settings.Address, settings.Groups.From = []string{s.URL}, "none"
	before := runtime.NumGoroutine()
	r := newRig(t, settings, lax)
	var all sync.WaitGroup
	var done atomic.Int64
	for i := range workers {
		all.Go(func() {
			login := names()[i]
			for done.Add(1) <= many {
				if _, err := r.prove(login, login+"-pw"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if binds, _ := s.Operations(t); binds < many {
		t.Errorf("only %d binds", binds)
	}
	if n := s.Connections(t); n > 2*settings.Pool.Size {
		t.Errorf("%d connections before the end", n)
	}
	if n := len(r.l.turns.keys); n != 0 {
		t.Errorf("%d turns are left", n)
	}
	if err := r.route.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "no connection is left", func() bool { return s.Connections(t) == 0 })
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// TestBroke: a server is blamed for what it did, and not for whose time was up.
func TestBroke(t *testing.T) {
	one, two := config.Server{Address: "one"}, config.Server{Address: "two"}
	for name, c := range map[string]struct {
		err    error
		ago    time.Duration
		blamed bool
	}{
		"it hung":            {fmt.Errorf("%w: %w", errBroken, context.DeadlineExceeded), time.Second, true},
		"it had no time":     {fmt.Errorf("%w: %w", errBroken, context.DeadlineExceeded), time.Millisecond, false},
		"who asked has gone": {fmt.Errorf("%w: %w", errBroken, context.Canceled), time.Second, false},
		"it broke off":       {errBroken, 0, true},
	} {
		d := &dialer{servers: []config.Server{one, two}}
		d.broke(one, time.Now().Add(-c.ago), c.err)
		if blamed := d.order()[0] == two; blamed != c.blamed {
			t.Errorf("%s: blamed is %v", name, blamed)
		}
	}
}
