package authn_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
)

func newMemory(t *testing.T, o authn.MemoryOptions) *authn.Memory {
	t.Helper()
	m, err := authn.NewMemory(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checks counts how often it is asked, and answers what it is told.
type checks struct {
	asked atomic.Int32
	id    authn.Identity
	err   error
}

func (c *checks) check(context.Context) (authn.Identity, error) {
	c.asked.Add(1)
	return c.id, c.err
}

func TestMemoryRemembers(t *testing.T) {
	alice := authn.Identity{Issuer: "i", Subject: "alice"}
	rejected := fmt.Errorf("wrong: %w", authn.ErrRejected)
	for name, c := range map[string]struct {
		id    authn.Identity
		err   error
		waits []time.Duration // before each further question
		asked int32
	}{
		"a proof":               {alice, nil, []time.Duration{0, 30 * time.Second, 29 * time.Second}, 1},
		"a proof, later":        {alice, nil, []time.Duration{time.Minute}, 2},
		"a refusal":             {authn.Identity{}, rejected, []time.Duration{0, 9 * time.Second}, 1},
		"a refusal, later":      {authn.Identity{}, rejected, []time.Duration{10 * time.Second}, 2},
		"an outage":             {authn.Identity{}, errors.New("down"), []time.Duration{0}, 2},
		"a ban":                 {authn.Identity{}, &authn.Throttled{After: time.Hour}, []time.Duration{0}, 2},
		"a proof with an error": {alice, errors.New("down"), []time.Duration{0}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, authn.MemoryOptions{Lifetime: time.Minute, RejectedLifetime: 10 * time.Second})
				probe := &checks{id: c.id, err: c.err}
				for i := range len(c.waits) + 1 {
					if i > 0 {
						time.Sleep(c.waits[i-1])
					}
					id, err := m.Verify(t.Context(), probe.check, "x", "y")
					if !errors.Is(err, c.err) || err != nil && id.Subject != "" || err == nil && id.Subject != "alice" {
						t.Errorf("question %d: %+v %v", i, id, err)
					}
				}
				if got := probe.asked.Load(); got != c.asked {
					t.Errorf("asked %d times, want %d", got, c.asked)
				}
			})
		})
	}
}

// TestMemoryEnds: a proof counts no longer than it says itself.
func TestMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, authn.MemoryOptions{Lifetime: time.Hour})
		c := &checks{id: authn.Identity{Subject: "alice", Expires: time.Now().Add(time.Minute)}}
		for range 2 {
			if _, err := m.Verify(t.Context(), c.check, "x"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		c.err = authn.ErrRejected
		if _, err := m.Verify(t.Context(), c.check, "x"); !errors.Is(err, authn.ErrRejected) || c.asked.Load() != 2 {
			t.Errorf("%v after %d questions", err, c.asked.Load())
		}
	})
}

// TestMemoryTellsApart: nothing but the very same parts meets what is remembered.
func TestMemoryTellsApart(t *testing.T) {
	m := newMemory(t, authn.MemoryOptions{Lifetime: time.Hour, RejectedLifetime: time.Hour})
	seen := map[string]bool{}
	for _, parts := range [][]string{{"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}, {"AB", "c"}, {"ab", "c "}, {}, {""}, {"\x00\x00\x00\x00\x00\x00\x00\x02ab", "c"}} {
		c := &checks{id: authn.Identity{Subject: fmt.Sprint(len(seen))}}
		id, err := m.Verify(t.Context(), c.check, "secret", parts...)
		if err != nil || seen[id.Subject] || c.asked.Load() != 1 {
			t.Errorf("%q: %+v %v", parts, id, err)
		}
		seen[id.Subject] = true
	}
}

// TestMemoryEndsAtAnotherSecret: whoever tries another secret under a name ends what
// is remembered of it, so no number of tries finds the right one there.
func TestMemoryEndsAtAnotherSecret(t *testing.T) {
	m := newMemory(t, authn.MemoryOptions{Lifetime: time.Hour, RejectedLifetime: time.Hour})
	right := &checks{id: authn.Identity{Subject: "alice"}}
	verify := func(c *checks, secret string, name ...string) error {
		_, err := m.Verify(t.Context(), c.check, secret, name...)
		return err
	}
	for range 2 {
		if err := verify(right, "right", "here", "alice"); err != nil || right.asked.Load() != 1 {
			t.Fatalf("not remembered: %v", err)
		}
	}
	ban := &checks{err: &authn.Throttled{After: time.Hour}}
	for i := range 100 {
		if err := verify(ban, fmt.Sprint(i), "here", "alice"); !errors.Is(err, authn.ErrRejected) {
			t.Fatal(err)
		}
	}
	if err := verify(ban, "right", "here", "alice"); err == nil {
		t.Error("the right secret was found in the memory")
	}
	if verify(right, "right", "there", "alice") != nil || verify(ban, "wrong", "here", "alice") == nil || verify(right, "right", "there", "alice") != nil || right.asked.Load() != 2 {
		t.Error("another name's proof was ended")
	}
	// What is known to be wrong ends nothing again: a program with an old password
	// beside one with the new.
	wrong := &checks{err: authn.ErrRejected}
	if verify(wrong, "old", "there", "alice") == nil || verify(right, "right", "there", "alice") != nil || verify(wrong, "old", "there", "alice") == nil {
		t.Fatal("odd answers")
	}
	asked := right.asked.Load()
	if verify(right, "right", "there", "alice") != nil || right.asked.Load() != asked || wrong.asked.Load() != 1 {
		t.Errorf("asked again: %d, %d", right.asked.Load(), wrong.asked.Load())
	}
}

// TestMemoryAnew: a session is not made of what was proved before, but a refusal
// holds, and those who ask at once share a check.
func TestMemoryAnew(t *testing.T) {
	m := newMemory(t, authn.MemoryOptions{Lifetime: time.Hour, RejectedLifetime: time.Hour})
	c := &checks{id: authn.Identity{Subject: "alice"}}
	for range 3 {
		if _, err := m.Verify(t.Context(), c.check, "right", "alice"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if id, err := m.VerifyAnew(t.Context(), c.check, "right", "alice"); err != nil || id.Subject != "alice" {
			t.Fatal(err)
		}
	}
	if c.asked.Load() != 3 {
		t.Errorf("asked %d times", c.asked.Load())
	}
	bad := &checks{err: authn.ErrRejected}
	for range 3 {
		if _, err := m.VerifyAnew(t.Context(), bad.check, "wrong", "alice"); !errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
	}
	if _, err := m.Verify(t.Context(), bad.check, "right", "alice"); err == nil || bad.asked.Load() != 2 {
		t.Errorf("%v, asked %d times: another secret ends the proof by this way too", err, bad.asked.Load())
	}
}

// TestMemoryAtOnce: all who ask at once share one check, which goes on when one
// of them gives up.
func TestMemoryAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, authn.MemoryOptions{Lifetime: time.Minute})
		var asked atomic.Int32
		check := func(ctx context.Context) (authn.Identity, error) {
			asked.Add(1)
			select {
			case <-time.After(5 * time.Second):
				return authn.Identity{Subject: "alice"}, nil
			case <-ctx.Done():
				return authn.Identity{}, ctx.Err()
			}
		}
		hasty, hangUp := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := m.Verify(hasty, check, "x"); !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up: %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			all.Go(func() {
				if id, err := m.Verify(t.Context(), check, "x"); err != nil || id.Subject != "alice" {
					t.Errorf("%+v %v", id, err)
				}
			})
		}
		synctest.Wait()
		hangUp()
		all.Wait()
		if asked.Load() != 1 {
			t.Errorf("%d checks", asked.Load())
		}
	})
}

func TestMemoryLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, authn.MemoryOptions{Lifetime: time.Minute, Limit: 3 * time.Second})
		began := time.Now()
		_, err := m.Verify(t.Context(), func(ctx context.Context) (authn.Identity, error) {
			<-ctx.Done()
			return authn.Identity{}, ctx.Err()
		}, "slow")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		_, err = m.Verify(t.Context(), func(context.Context) (authn.Identity, error) { panic("boom") }, "x")
		if err == nil || errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) {
			t.Errorf("a panic became %v", err)
		}
		if id, err := m.Verify(t.Context(), (&checks{id: authn.Identity{Subject: "alice"}}).check, "x"); err != nil || id.Subject != "alice" {
			t.Errorf("after the panic: %+v %v", id, err)
		}
	})
}

// TestMemoryIsBounded: a flood of wrong passwords drives out no right one that
// is in use, and takes no more room than was said.
func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(t, authn.MemoryOptions{Lifetime: time.Hour, RejectedLifetime: time.Hour, Size: 100})
	good := &checks{id: authn.Identity{Subject: "alice"}}
	bad := &checks{err: authn.ErrRejected}
	for range 50 {
		if _, err := m.Verify(t.Context(), good.check, "right", "alice"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5000 {
		if _, err := m.Verify(t.Context(), bad.check, fmt.Sprint(i), "flood"); !errors.Is(err, authn.ErrRejected) {
			t.Fatal(err)
		}
		if i%50 == 0 {
			if _, err := m.Verify(t.Context(), good.check, "right", "alice"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := good.asked.Load(); n > 5 {
		t.Errorf("the right password was asked for %d times", n)
	}
	before := bad.asked.Load()
	for i := range 5000 {
		_, _ = m.Verify(t.Context(), bad.check, fmt.Sprint(i), "flood")
	}
	if kept := 5000 - (bad.asked.Load() - before); kept > 500 {
		t.Errorf("%d answers were kept of 100", kept)
	}
}

func TestThrottled(t *testing.T) {
	err := fmt.Errorf("x: %w", &authn.Throttled{After: 90 * time.Second})
	if !errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) || err.Error() != "x: too many attempts; wait 1m30s" {
		t.Error(err)
	}
}

// TestMemoryIsNotFlooded: who sends ever other credentials and hangs up leaves
// no more behind than was said.
func TestMemoryIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, authn.MemoryOptions{AtOnce: 3, Limit: time.Second})
		slow := func(ctx context.Context) (authn.Identity, error) {
			<-ctx.Done()
			return authn.Identity{}, ctx.Err()
		}
		var crowded atomic.Int32
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if _, err := m.Verify(t.Context(), slow, fmt.Sprint(i)); errors.Is(err, authn.ErrCrowded) {
					crowded.Add(1)
				}
			})
		}
		all.Wait()
		if crowded.Load() != 7 || errors.Is(authn.ErrCrowded, authn.ErrRejected) {
			t.Errorf("%d of 10 found no place", crowded.Load())
		}
	})
}

// news is told of what has ended.
type news struct {
	mu      sync.Mutex
	edition uint64
	ended   map[string]uint64
}

func (n *news) end(ref string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.edition++
	n.ended = map[string]uint64{ref: n.edition}
}

func (n *news) Edition() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.edition
}

func (n *news) Quiet(edition uint64, refs ...string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended[refs[0]] <= edition
}

func (n *news) Holds(edition uint64, refs ...string) bool { return n.Quiet(edition, refs...) }

// TestMemoryEndedMeanwhile: who comes after the end of an access is not let in by a check
// that began before it.
func TestMemoryEndedMeanwhile(t *testing.T) {
	for name, ended := range map[string]string{"it": "t1", "another": "t2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &news{}
				m := newMemory(t, authn.MemoryOptions{Lifetime: time.Minute, News: n, Ref: func(id authn.Identity) string { return id.Access }})
				var asked, over atomic.Int32
				check := func(context.Context) (authn.Identity, error) {
					asked.Add(1)
					found := over.Load() == 0
					time.Sleep(2 * time.Second) // the answer of a slow store
					if !found {
						return authn.Identity{}, authn.ErrRejected
					}
					return authn.Identity{Subject: "alice", Access: "t1"}, nil
				}
				var all sync.WaitGroup
				all.Go(func() { _, _ = m.VerifyToken(t.Context(), "secret", check) })
				time.Sleep(time.Second)
				n.end(ended)
				if ended == "t1" {
					over.Store(1)
				}
				for range 3 {
					all.Go(func() {
						id, err := m.VerifyToken(t.Context(), "secret", check)
						if errors.Is(err, authn.ErrRejected) != (ended == "t1") {
							t.Errorf("%q, %v", id.Subject, err)
						}
					})
				}
				all.Wait()
				if want := map[string]int32{"t1": 2, "t2": 1}[ended]; asked.Load() != want {
					t.Errorf("asked %d times", asked.Load())
				}
			})
		})
	}
}
