package audit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// place is where the lines of a process go, one after the other, whichever settings they
// are written by.
type place struct {
	to       output
	last     string        // the code of the line before; its user's
	turn     chan struct{} // held by its user
	hangs    atomic.Bool   // its user has taken too long
	failed   atomic.Bool   // the log has been told
	refusals refusals

	mu    sync.Mutex
	users int // writers that are open
}

func newPlace(o Options) (*place, error) {
	p := &place{turn: make(chan struct{}, 1), users: 1}
	switch {
	case o.File != "":
		f := &file{name: o.File}
		if err := f.open(); err != nil && !o.Lossy {
			return nil, fmt.Errorf("%w: %w", ErrUnwritten, err)
		}
		p.to = f
	case o.Syslog != "":
		d, err := newDaemon(p, o.Syslog)
		if err != nil {
			return nil, err
		}
		p.to = d
	default:
		p.to = stream{p, o.To}
	}
	return p, nil
}

// share is the place for one writer more.
func (p *place) share() *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	return p
}

// leave closes the place after its last writer.
func (p *place) leave() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users > 0 {
		return nil
	}
	return p.use(func(p *place) error { return p.to.Close() })
}

// patience is how long anybody waits for a disk or a server.
const patience = 3 * time.Second

var errHangs = errors.New("it takes too long to write to it")

// use has f use the place alone. What takes too long is an error; it may still come to
// pass then, and until it has, everybody else gets that error too.
func (p *place) use(f func(*place) error) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case p.turn <- struct{}{}:
	default:
		if p.hangs.Load() {
			return errHangs
		}
		select {
		case p.turn <- struct{}{}:
		case <-limit.C:
			return errHangs
		}
	}
	done := make(chan error, 1)
	go func() {
		done <- f(p)
		p.hangs.Store(false)
		<-p.turn
	}()
	select {
	case err := <-done:
		return err
	case <-limit.C:
	}
	p.hangs.Store(true)
	select {
	case err := <-done: // at the last moment
		p.hangs.Store(false)
		return err
	default:
		return errHangs
	}
}

// A trail has room for so many refusals of one kind.
const (
	refusalsPerSecond = 50
	refusalsAtOnce    = 500
)

// refusals are those that the trail has been told of, by the names of the events.
type refusals struct {
	mu sync.Mutex
	of map[string]*flood
}

// flood is refusals of one kind.
type flood struct {
	told *rate.Limiter
	left int // out, since the last one that was told
}

// admit reports whether there is room for a refusal, and adds to it how many were left
// out before it.
func (r *refusals) admit(e *Event, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.of[e.Name]
	if f == nil {
		if r.of == nil {
			r.of = map[string]*flood{}
		}
		f = &flood{told: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce)}
		r.of[e.Name] = f
	}
	if !f.told.AllowN(now, 1) {
		f.left++
		return false
	}
	if f.left > 0 {
		e.Reason = fmt.Sprintf("%s (and %d refusals before it)", bounded(e.Reason, maxText), f.left)
		f.left = 0
	}
	return true
}
