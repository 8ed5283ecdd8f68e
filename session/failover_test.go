package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/session"
)

// load writes and reads all the time, and notes what goes wrong.
type load struct {
	store *session.Redis
	// replicated waits until what was written before is on a replica too, and says
	// whether it is.
	replicated func(ctx context.Context) bool

	mu          sync.Mutex
	sure        []string // keys that were acknowledged and are on a replica
	lost        []string
	first, last time.Time // errors
	errors      int
	answers     int
	sample      error
	stop        context.CancelFunc
	working     sync.WaitGroup
}

func (l *load) start(ctx context.Context) {
	ctx, l.stop = context.WithCancel(ctx)
	for range 2 {
		l.working.Go(func() { l.write(ctx) })
	}
	for range 6 {
		l.working.Go(func() { l.read(ctx) })
	}
}

func (l *load) write(ctx context.Context) {
	for ctx.Err() == nil {
		key := fmt.Sprintf("k%d", rand.Int64())
		err := l.store.Set(ctx, key, []byte(key), time.Hour)
		sure := err == nil && l.replicated(ctx)
		l.note(ctx, err, func() {
			if sure {
				l.sure = append(l.sure, key)
			}
		})
		time.Sleep(time.Millisecond)
	}
}

func (l *load) read(ctx context.Context) {
	for ctx.Err() == nil {
		l.mu.Lock()
		key := ""
		if len(l.sure) > 0 {
			key = l.sure[rand.IntN(len(l.sure))]
		}
		l.mu.Unlock()
		if key != "" {
			value, found, err := l.store.Get(ctx, key)
			l.note(ctx, err, func() {
				if !found || string(value) != key {
					l.lost = append(l.lost, key)
				}
			})
		}
		time.Sleep(time.Millisecond)
	}
}

func (l *load) note(ctx context.Context, err error, answered func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.answers++
		answered()
	case ctx.Err() == nil:
		now := time.Now()
		if l.errors++; l.first.IsZero() {
			l.first, l.sample = now, err
		}
		l.last = now
	}
}

// disturbed runs the load, does something to the servers in the middle of it, and
// wants errors for at most so long, and no acknowledged key lost.
func (l *load) disturbed(t *testing.T, most time.Duration, disturb func()) {
	t.Helper()
	l.start(t.Context())
	eventually(t, "nothing is written", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.sure) > 100
	})
	disturb()
	begun := time.Now()
	eventually(t, "the errors do not end", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return time.Since(begun) > 4*time.Second && time.Since(l.last) > 1500*time.Millisecond
	})
	l.stop()
	l.working.Wait()
	window := l.last.Sub(l.first)
	t.Logf("errors for %v (%d, the first: %v), %d answers, %d keys", window.Round(time.Millisecond), l.errors, l.sample, l.answers, len(l.sure))
	if window > most || l.errors > 0 && l.first.Before(begun.Add(-time.Second)) {
		t.Errorf("errors from %v after it, for %v, want at most %v", l.first.Sub(begun), window, most)
	}
	if len(l.lost) > 0 {
		t.Errorf("RDS-12 %d answers were that an acknowledged key is not there: %.3q", len(l.lost), l.lost)
	}
	for _, key := range l.sure {
		if _, found, err := l.store.Get(t.Context(), key); !found || err != nil {
			t.Fatalf("afterwards %s: %v, %v", key, found, err)
		}
	}
}

// follows makes the function that waits for a server's replica.
func follows(s *server) func(ctx context.Context) bool {
	return func(ctx context.Context) bool {
		c := s.raw.Conn()
		defer c.Close()
		// The replica has everything in order, so also what came before this.
		if c.Do(ctx, "publish", "mark", "").Err() != nil {
			return false
		}
		n, err := c.Wait(ctx, 1, time.Second).Result()
		return err == nil && n > 0
	}
}

func TestSentinelFailover(t *testing.T) {
	for name, disturb := range map[string]func(r *replicated){
		"the primary dies": func(r *replicated) { r.primary.stop() },
		"the primary hangs, and comes back when another has its place": func(r *replicated) {
			r.primary.freeze()
			time.AfterFunc(5*time.Second, r.primary.thaw)
		},
		"somebody asks for it": func(r *replicated) {
			r.sentinels[0].raw.Do(context.Background(), "sentinel", "failover", master)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startReplicated(t, nil)
			o := r.options()
			o.Timeout = time.Second
			l := &load{store: open(t, o), replicated: follows(r.primary)}
			l.disturbed(t, 8*time.Second, func() { disturb(r) })
			ok(t, everything(t, o))
			took(t, r.replica)
		})
	}
}

func TestClusterFailover(t *testing.T) {
	for name, disturb := range map[string]func(s *server){
		"a primary dies": (*server).stop,
		"a primary hangs, and comes back when another has its place": func(s *server) {
			s.freeze()
			time.AfterFunc(5*time.Second, s.thaw)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := startCluster(t, nil, 3, 1)
			o := clusterOptions("redis", nodes)
			o.Timeout = time.Second
			l := &load{store: open(t, o), replicated: follows(nodes[0])}
			l.disturbed(t, 8*time.Second, func() { disturb(nodes[0]) })
			ok(t, everything(t, o))
			took(t, nodes[3])
		})
	}
}

// took wants a server to have become the primary.
func took(t *testing.T, s *server) {
	t.Helper()
	if role := fmt.Sprint(s.do(t, "role")); !strings.Contains(role, "master") {
		t.Errorf("nothing took place: the replica's role is %s", role)
	}
}
