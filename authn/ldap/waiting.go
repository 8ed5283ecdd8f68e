package ldap

import (
	"context"
	"errors"
	"sync"
	"time"

	"gatehouse/authn"
)

const (
	// recheck is how long a ban is believed without asking the store, and so how
	// long one that was lifted goes on in this process.
	recheck = 5 * time.Second
	// maxWaiting bounds each of two generations of bans that are remembered.
	maxWaiting = 1 << 14
)

// waiting remembers who has to wait, by name and address, in this process. It is
// looked at before anything else: a ban costs the directory nothing, and what
// Basic remembers tells nobody who is banned whether a guess was right.
type waiting struct {
	mu         sync.Mutex
	young, old map[string]wait
}

// wait is a ban as it was last seen.
type wait struct {
	person string // whose tally says so
	until  time.Time
	seen   time.Time
}

func waitingKey(login, remote string) string {
	at, _ := network(remote)
	return at + " " + foldName(login)
}

func (w *waiting) get(key string) (wait, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one, ok := w.young[key]
	if !ok {
		one, ok = w.old[key]
	}
	return one, ok && time.Now().Before(one.until)
}

func (w *waiting) set(key string, one wait) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.young == nil || len(w.young) >= maxWaiting {
		w.old, w.young = w.young, map[string]wait{}
	}
	w.young[key] = one
}

func (w *waiting) drop(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.young, key)
	delete(w.old, key)
}

// mayTry says whether a name may be tried from an address, as far as this process
// knows of a ban. The error is *authn.Throttled or that it can't be found out.
func (l *route) mayTry(ctx context.Context, login, remote string) error {
	key := waitingKey(login, remote)
	one, ok := l.waiting.get(key)
	if !ok {
		return nil
	}
	now := time.Now()
	if now.Sub(one.seen) < recheck {
		return &authn.Throttled{After: one.until.Sub(now)}
	}
	err := l.regulation.waits(ctx, one.person, remote)
	if err == nil {
		l.waiting.drop(key)
		return nil
	}
	l.remember(key, one.person, err)
	return err
}

// remember notes a ban.
func (l *route) remember(key, person string, err error) {
	var throttled *authn.Throttled
	if errors.As(err, &throttled) {
		now := time.Now()
		l.waiting.set(key, wait{person: person, until: now.Add(throttled.After), seen: now})
	}
}
