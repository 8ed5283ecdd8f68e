package session

import (
	"net/http"
	"sync"
	"time"
)

// uses notes when sessions are used, beside the requests, and each session seldom.
type uses struct {
	pause time.Duration
	marks *marks // until when a session's use need not be noted again
	write func(use)

	mu      sync.Mutex
	closed  bool
	last    time.Time // to begin to write one down, once it is closed
	writers int       // that take from waiting until it is empty
	waiting []use
	busy    sync.WaitGroup
}

// use is one use of a session.
type use struct {
	hash   string
	record record
	client Client
	at     time.Time
}

const (
	// usesWaiting is how many uses may wait to be written down. What is beyond that is
	// noted with a later use.
	usesWaiting = 4096
	usesAtOnce  = 4
	// usesLast is how long, at the end, those that wait are written down. What is left
	// then ends its session a little early.
	usesLast = 5 * time.Second
)

// newUses writes uses with write. Call close when done.
func newUses(pause time.Duration, write func(use)) *uses {
	return &uses{pause: pause, marks: newMarks(pause), write: write}
}

// set says that a use is written down already.
func (u *uses) set(hash string, now time.Time) { u.marks.set(hash, now.Add(u.pause)) }

// due reports whether it is time to note a use of a session.
func (u *uses) due(hash string, now time.Time) bool {
	until, _ := u.marks.get(hash)
	return !now.Before(until)
}

// note has a use written down, unless one was a moment ago.
func (u *uses) note(hash string, rec record, r *http.Request, now time.Time) {
	if !u.due(hash, now) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || len(u.waiting) >= usesWaiting {
		return
	}
	rec.raw = nil
	u.waiting = append(u.waiting, use{hash, rec, ClientOf(r), now})
	u.set(hash, now)
	if u.writers < usesAtOnce {
		u.writers++
		u.busy.Go(u.writeDown)
	}
}

func (u *uses) writeDown() {
	for {
		next, ok := u.next()
		if !ok {
			return
		}
		u.write(next)
	}
}

func (u *uses) next() (use, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) == 0 || u.closed && time.Now().After(u.last) {
		u.writers--
		u.waiting = nil
		return use{}, false
	}
	first := u.waiting[0]
	u.waiting = u.waiting[1:]
	return first, true
}

// close writes down what is waiting, as far as there is time, and ends.
func (u *uses) close() {
	u.mu.Lock()
	u.closed, u.last = true, time.Now().Add(usesLast)
	u.mu.Unlock()
	u.busy.Wait()
}
