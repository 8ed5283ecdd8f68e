package ldap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

var (
	errBusy   = errors.New("all connections to the directory are in use")
	errClosed = errors.New("the directory route is closed")
)

// pool keeps a bounded number of connections to be used by one goroutine at a
// time. There are two of them: what searches is never bound as a person, and
// what people are bound on never searches.
type pool struct {
	open  func(context.Context) (*conn, error)
	fail  func(config.Server)
	keep  time.Duration // an idle connection
	slots chan struct{} // one for each connection, idle or not in use
	// once is for what must not be asked twice: each look at a password counts
	// at the directory too.
	once bool

	mu     sync.Mutex
	idle   []*conn // the one used last is the last
	closed bool
}

func newPool(c config.LDAPPool, d *dialer, open func(context.Context) (*conn, error)) *pool {
	return &pool{open: open, fail: d.fail, keep: c.IdleTimeout.Std(), slots: make(chan struct{}, max(1, c.Size))}
}

// do asks by one connection. If that breaks, which it does for every one that
// was open when a server restarted, the question is asked once more by a new
// one. The first try of a search leaves half of the time to the second.
func (p *pool) do(ctx context.Context, ask func(context.Context, *conn) error) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
	}
	defer func() { <-p.slots }()
	if p.over() {
		return errClosed
	}
	c := p.take()
	if p.once {
		err := p.last(ctx, c, ask)
		if c != nil && gone(err) && ctx.Err() == nil { // it had died before
			err = p.last(ctx, nil, ask)
		}
		return err
	}
	err := p.first(ctx, c, ask)
	if errors.Is(err, errBroken) && ctx.Err() == nil {
		err = p.last(ctx, nil, ask)
	}
	return err
}

// first asks within half of the time.
func (p *pool) first(ctx context.Context, c *conn, ask func(context.Context, *conn) error) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return p.last(ctx, c, ask)
}

// gone says whether a connection ended without an answer and without a wait.
func gone(err error) bool { return errors.Is(err, errBroken) && errors.Is(err, errGone) }

// last asks by c, or by a new connection if c is nil.
func (p *pool) last(ctx context.Context, c *conn, ask func(context.Context, *conn) error) (err error) {
	opened := c == nil
	if opened {
		if c, err = p.open(ctx); err != nil {
			return err
		}
	}
	if err = ask(ctx, c); !errors.Is(err, errBroken) {
		p.put(c)
		return err
	}
	c.close()
	if opened && !errors.Is(err, context.Canceled) { // not one that had become old
		p.fail(c.server)
	}
	return authn.Foreign{Err: err}
}

// take returns an idle connection, nil if there is none in good order.
func (p *pool) take() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		c.idle.Stop()
		if !c.ldap.IsClosing() {
			return c
		}
		c.close()
	}
	return nil
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
	found := false
	for i := range p.idle {
		if p.idle[i] == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			found = true
			break
		}
	}
	p.mu.Unlock()
	if found {
		c.part()
	}
}

func (p *pool) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
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
