package ldap

import (
	"errors"
	"sync"
	"time"

	"gatehouse/authn"
)

const (
	// believed is how long a ban is believed without asking the store, and so how
	// long one that was lifted goes on in this process.
	believed = 5 * time.Second
	// maxWaiting bounds each of two generations of bans that are remembered.
	maxWaiting = 1 << 14
)

// waiting remembers for a moment who has to wait, so that a flood of attempts in
// a ban costs neither the store nor the directory anything.
type waiting struct {
	mu         sync.Mutex
	young, old map[string]wait
}

// wait is a ban as it was last seen.
type wait struct{ end, seen time.Time }

// check returns *authn.Throttled for who is known to have to wait.
func (w *waiting) check(key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	one, ok := w.young[key]
	if !ok {
		one, ok = w.old[key]
	}
	now := time.Now()
	if !ok || !now.Before(one.end) || now.Sub(one.seen) > believed {
		return nil
	}
	return &authn.Throttled{After: one.end.Sub(now)}
}

// note remembers err if it is a ban.
func (w *waiting) note(key string, err error) {
	var throttled *authn.Throttled
	if !errors.As(err, &throttled) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.young == nil || len(w.young) >= maxWaiting {
		w.old, w.young = w.young, map[string]wait{}
	}
	now := time.Now()
	w.young[key] = wait{now.Add(throttled.After), now}
}

// waitingKeys are an address, and a name from there. They are digests: a name
// takes up to ten times its room when it is folded.
func (l *route) waitingKeys(c credentials) (address, name string) {
	at, _ := network(c.remote)
	return l.regulation.digest(at), l.regulation.digest(at + " " + foldName(c.login))
}
