package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
	"time"
)

// conn is a connection to an upstream that can tell whether the transport waits
// for bytes on it. Between two answers that means that none are left over. It
// gives up on an upstream that takes no bytes: the transport's own limit begins
// when the request has been sent whole, and so never for a long upload.
type conn struct {
	net.Conn
	limit   time.Duration // of one Write; zero for none
	mu      sync.Mutex
	changed sync.Cond
	waiting bool // in Read
	closed  bool
}

// tracked makes every connection of dial a *conn with a limit.
func tracked(limit time.Duration, dial func(context.Context) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		raw, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, limit: limit}
		c.changed.L = &c.mu
		return c, nil
	}
}

func (c *conn) Read(p []byte) (int, error) {
	c.note(true)
	defer c.note(false)
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	if c.limit > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.limit))
	}
	return c.Conn.Write(p)
}

func (c *conn) note(waiting bool) {
	c.mu.Lock()
	c.waiting = waiting
	c.mu.Unlock()
	c.changed.Broadcast()
}

// Close closes the connection and ends settle.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.changed.Broadcast()
	return c.Conn.Close()
}

// CloseWrite ends one direction, for WebSockets.
func (c *conn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// settle is called when a connection is about to be used again. The transport
// offers it as idle before it looks whether more has come than the last answer;
// a request that is quick enough would be answered with what was left over. So
// it waits until the transport has looked: then it waits for bytes, or it has
// closed the connection.
func settle(info httptrace.GotConnInfo) {
	raw := info.Conn
	if t, ok := raw.(*tls.Conn); ok {
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			return // where answers are numbered
		}
		raw = t.NetConn()
	}
	c, ok := raw.(*conn)
	if !ok || !info.Reused {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.waiting && !c.closed {
		c.changed.Wait()
	}
}
