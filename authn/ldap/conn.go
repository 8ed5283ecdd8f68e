package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn/meter"
	"gatehouse/config"
)

// conn is one connection to a directory. One goroutine uses it at a time.
type conn struct {
	raw    net.Conn
	ldap   *ldap.Conn
	server config.Server
	idle   *time.Timer // running while nobody uses it
	calls  meter.Calls
}

func newConn(raw net.Conn, server config.Server, calls meter.Calls) *conn {
	c := &conn{raw: raw, ldap: ldap.NewConn(newFramed(raw), true), server: server, calls: calls}
	c.ldap.Start()
	return c
}

// errBroken marks a connection that can't be used any more.
var errBroken = errors.New("the connection to the directory broke")

// do asks one question within ctx. When ctx ends first, the connection ends
// with it: the library knows no context, and an answer that comes late must
// not be taken for that of the next question.
func (c *conn) do(ctx context.Context, what string, ask func(*ldap.Conn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, end := c.calls.Begin(ctx, what)
	defer func() { end(answered(err)) }()
	var over atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		over.Store(true)
		_ = c.raw.Close()
	})
	err = contained(c.ldap, ask)
	if !stop() || over.Load() {
		return fmt.Errorf("%w: %s did not answer in time: %w", errBroken, c.server.Address, context.Cause(ctx))
	}
	if broken(err) {
		return fmt.Errorf("%w: %s: %w", errBroken, c.server.Address, c.reason(err))
	}
	return err
}

// answered tells, for counts, a no of the directory's from a failure.
func answered(err error) error {
	var result *ldap.Error
	if err != nil && !errors.Is(err, errBroken) && errors.As(err, &result) {
		return meter.Refused{Err: err}
	}
	return err
}

// reason prefers what the reader saw to the library's "response channel closed".
func (c *conn) reason(err error) error {
	if last := c.ldap.GetLastError(); last != nil {
		return errors.Join(err, last)
	}
	return err
}

// contained turns a panic of the library over a message into an error.
func contained(l *ldap.Conn, ask func(*ldap.Conn) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a message that can't be read: %v", v)
		}
	}()
	return ask(l)
}

// broken tells errors after which a connection is not to be used again: all
// but a result that the directory itself gave (RFC 4511, appendix A).
func broken(err error) bool {
	if err == nil {
		return false
	}
	var result *ldap.Error
	if !errors.As(err, &result) {
		return true
	}
	switch result.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable:
		return true
	}
	return result.ResultCode >= ldap.ErrorNetwork
}

// unanswered says whether a question broke off without the directory's word. A
// server that says it is busy has done nothing.
func unanswered(err error) bool {
	var result *ldap.Error
	return errors.Is(err, errBroken) && !(errors.As(err, &result) && result.ResultCode < ldap.ErrorNetwork)
}

// close ends the connection without waiting for the server.
func (c *conn) close() {
	if c.idle != nil {
		c.idle.Stop()
	}
	_ = c.raw.Close()
	_ = c.ldap.Close()
}

// part says goodbye (RFC 4511, section 4.3), for a connection in good order.
func (c *conn) part() {
	const goodbye = time.Second
	_ = c.raw.SetWriteDeadline(time.Now().Add(goodbye))
	_ = contained(c.ldap, (*ldap.Conn).Unbind)
	c.close()
}
