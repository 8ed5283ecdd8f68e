package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

var (
	errBusy   = errors.New("all connections to the directory are in use")
	errClosed = errors.New("the directory route is closed")
)

// places bounds how many connections there are.
type places chan struct{}

// take waits for a place. Whoever gets one gives it back.
func (p places) take(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
	}
}

func (p places) giveBack() { <-p }

// pool keeps connections that search, to be used by one goroutine at a time.
// People are never bound on them: a server may keep what a bind has left behind.
type pool struct {
	places
	open func(context.Context) (*conn, error)
	fail func(s config.Server, began time.Time, err error)
	keep time.Duration // an idle connection

	mu     sync.Mutex
	idle   []*conn // the one used last is the last
	closed bool
}

func newPool(c config.LDAPPool, d *dialer, open func(context.Context) (*conn, error)) *pool {
	return &pool{open: open, fail: d.broke, keep: c.IdleTimeout.Std(), places: make(places, max(1, c.Size))}
}

// do asks by one connection. If that breaks, which it does for every one that
// was open when a server restarted, the question is asked once more by a new
// one: a search changes nothing. The first try leaves half of the time to the
// second, be it spent on waiting for a connection that somebody else opens.
func (p *pool) do(ctx context.Context, ask func(context.Context, *conn) error) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.giveBack()
	first, cancel := half(ctx)
	defer cancel()
	c, err := p.idleOne()
	if err == nil {
		err = p.once(first, c, ask)
	}
	if err != nil && (errors.Is(err, errBroken) || over(first)) && !over(ctx) {
		err = p.once(ctx, nil, ask)
	}
	return err
}

// half is ctx with half of its time.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// over says whether the time of ctx is up. Its own word may come a little later
// than that of a connection with the same deadline.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// once asks by c, or by a new connection if c is nil.
func (p *pool) once(ctx context.Context, c *conn, ask func(context.Context, *conn) error) (err error) {
	opened := c == nil
	if opened {
		if c, err = p.open(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	if err = ask(ctx, c); !errors.Is(err, errBroken) {
		p.put(c)
		return err
	}
	c.close()
	if opened { // not one that had become old
		p.fail(c.server, began, err)
	}
	return authn.Foreign{Err: err}
}

// idleOne returns an idle connection, nil if there is none in good order.
func (p *pool) idleOne() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		c.idle.Stop()
		if !c.ldap.IsClosing() {
			return c, nil
		}
		c.close()
	}
	return nil, nil
}

// put keeps a connection for the next question.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.ldap.IsClosing() {
		c.close()
		return
	}
	c.idle = time.AfterFunc(p.keep, func() { p.expire(c) })
	p.idle = append(p.idle, c)
}

// expire ends a connection that nobody has used, if that is still so.
func (p *pool) expire(c *conn) {
	p.mu.Lock()
	i := slices.Index(p.idle, c)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		c.part()
	}
}

// close ends all idle connections; those in use end when they are given back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.part()
	}
}
