package authntest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// caller is a connection. Its operations are done one after the other.
type caller struct {
	d      *Directory
	number int
	raw    net.Conn // what conn is below TLS

	writing   sync.Mutex // Disconnect writes too
	conn      net.Conn   // changes with StartTLS, under writing
	encrypted bool

	operations int
	mute       bool
	bound      string // a DN, empty for anonymous
	starting   bool   // TLS comes next
	pages      map[string]page
	turned     int
}

func (c *caller) run() {
	defer func() {
		var panicked error
		if v := recover(); v != nil {
			panicked = fmt.Errorf("authntest: serving a connection: %v\n%s", v, debug.Stack())
		}
		_ = c.conn.Close()
		c.d.leave(c, panicked)
	}()
	if c.d.wrong().Silent {
		c.drain()
		return
	}
	if t, ok := c.conn.(*tls.Conn); ok && t.HandshakeContext(context.Background()) != nil {
		return
	}
	for c.next() {
		continue
	}
}

// drain reads until the other side leaves.
func (c *caller) drain() { _, _ = io.Copy(io.Discard, c.raw) }

// next does one operation and says whether there may be another.
func (c *caller) next() bool {
	whole, err := readMessage(c.conn)
	var r request
	if err == nil {
		r, err = parseRequest(whole)
	}
	var wrong protocolError
	if errors.As(err, &wrong) {
		_ = c.write(noticeOf(Result{Code: ldap.LDAPResultProtocolError, Message: wrong.Error()}), 0)
	}
	if err != nil {
		return false
	}
	r.Connection, r.TLS = c.number, c.encrypted
	if r.Kind == OpBind && r.Mechanism == "" {
		r.hasPassword = c.d.comparer(r.password)
	}
	c.operations++
	c.d.record(r.Operation)
	f := c.d.wrong()
	switch {
	case r.Kind == OpUnbind:
		return false
	case r.Kind == OpAbandon, c.mute, f.SilentFrom > 0 && c.operations >= f.SilentFrom:
		return true
	}
	if f.Before != nil {
		f.Before(r.Operation)
		f = c.d.wrong()
	}
	return c.d.pause(f.Delay) && c.reply(r, f)
}

// reply sends an answer, or what the faults make of it.
func (c *caller) reply(r request, f DirectoryFaults) bool {
	if raw, ok := by(f.Raw, r.Kind); ok {
		return c.send(r, f, [][]byte{raw(r.Operation)})
	}
	answer := f.disturb(c.answer(r, f))
	if !c.send(r, f, answer) {
		return false
	}
	if c.starting && !c.mute {
		c.starting = false
		return c.upgrade(f)
	}
	return true
}

// send writes an answer, whole or cut.
func (c *caller) send(r request, f DirectoryFaults, answer [][]byte) bool {
	cut, isCut := by(f.Cut, r.Kind)
	if isCut {
		answer = cut.cut(answer)
	}
	for _, b := range answer {
		if c.write(b, f.Drip) != nil {
			return false
		}
	}
	switch {
	case !isCut:
		return true
	case cut.Then == EndSilent:
		c.mute = true
		return true
	case cut.Then == EndReset:
		c.reset()
	}
	return false
}

// reset makes the kernel send an RST instead of a FIN.
func (c *caller) reset() {
	if t, ok := c.raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.raw.Close()
}

func (c *caller) write(b []byte, drip time.Duration) error {
	if drip == 0 {
		return c.writeOnce(b)
	}
	for i := range b {
		if err := c.writeOnce(b[i : i+1]); err != nil {
			return err
		}
		if !c.d.pause(drip) {
			return net.ErrClosed
		}
	}
	return nil
}

func (c *caller) writeOnce(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.conn.Write(b)
	return err
}

// answer does an operation. Of a search there are many messages, of anything
// else one.
func (c *caller) answer(r request, f DirectoryFaults) [][]byte {
	var result Result
	switch {
	case r.critical != "":
		result = Result{Code: ldap.LDAPResultUnavailableCriticalExtension, Message: "unknown critical control " + r.critical}
	case r.Kind == OpSearch:
		return c.answerSearch(r, f)
	case r.Kind == OpStartTLS:
		return [][]byte{c.answerStartTLS(r, f)}
	case r.Kind == OpWhoAmI:
		return [][]byte{c.answerWhoAmI(r)}
	case r.Kind == OpBind:
		result = c.bind(r, f)
		if result.Policy != nil && !r.wantsPolicy && !result.Policy.Unasked {
			result.Policy = nil
		}
	case r.Kind == OpExtended:
		result = Result{Code: ldap.LDAPResultProtocolError, Message: "unknown extended operation"}
	default:
		result = Result{Code: ldap.LDAPResultUnwillingToPerform, Message: "nothing can be changed here"}
	}
	return [][]byte{result.Encode(r.Kind, r.MessageID)}
}

// answerWhoAmI says who is bound (RFC 4532).
func (c *caller) answerWhoAmI(r request) []byte {
	id := ""
	if c.bound != "" {
		id = "dn:" + c.bound
	}
	op := Result{}.packet(ldap.ApplicationExtendedResponse)
	op.AppendChild(tagged(11, id))
	return message(r.MessageID, op)
}

// bind checks a name and a password. Whatever comes of it, who was bound before
// is not any more (RFC 4513, section 4).
func (c *caller) bind(r request, f DirectoryFaults) Result {
	c.bound = ""
	switch {
	case f.Bind != nil:
		if f.Bind.Code == 0 {
			c.bound = r.DN
		}
		return *f.Bind
	case r.version != 3:
		return Result{Code: ldap.LDAPResultProtocolError, Message: "only version 3 is spoken here"}
	case r.Mechanism != "":
		return Result{Code: ldap.LDAPResultAuthMethodNotSupported, Message: "only simple binds are done here"}
	case r.EmptyPassword && r.DN != "" && c.d.options.RefuseUnauthenticated:
		return Result{Code: ldap.LDAPResultUnwillingToPerform, Message: "unauthenticated bind (DN with no password) disallowed"}
	case r.EmptyPassword:
		return Result{}
	}
	t := c.d.snapshot()
	l := t.byName[prepare(r.DN)]
	if l == nil {
		key, err := parseKey(r.DN)
		if err != nil {
			return Result{Code: ldap.LDAPResultInvalidDNSyntax, Message: "invalid DN"}
		}
		l = t.byKey[key.String()]
	}
	result := Result{Code: ldap.LDAPResultInvalidCredentials}
	switch {
	case l == nil:
	case l.Password != "" && l.Password == r.password:
		result = Result{}
		if l.Bind != nil {
			result = *l.Bind
		}
	case l.WrongPassword != nil:
		result = *l.WrongPassword
	}
	if result.Code == 0 {
		c.bound = l.DN
	}
	return result
}

func (c *caller) startsTLS(f DirectoryFaults) Result {
	switch {
	case c.encrypted:
		return Result{Code: ldap.LDAPResultOperationsError, Message: "TLS already started"}
	case f.StartTLS != nil:
		return *f.StartTLS
	case c.d.options.TLS == nil && f.NoHandshake == nil:
		return Result{Code: ldap.LDAPResultProtocolError, Message: "unknown extended operation"}
	default:
		return Result{}
	}
}

func (c *caller) answerStartTLS(r request, f DirectoryFaults) []byte {
	result := c.startsTLS(f)
	op := result.packet(ldap.ApplicationExtendedResponse)
	op.AppendChild(tagged(10, oidStartTLS))
	answer := message(r.MessageID, op)
	if c.starting = result.Code == 0; c.starting {
		answer = append(answer, f.Inject...)
	}
	return answer
}

// upgrade goes on with TLS, or with what there is instead.
func (c *caller) upgrade(f DirectoryFaults) bool {
	if f.NoHandshake != nil || c.d.options.TLS == nil {
		// The ClientHello has to come first. Before it, a client may still be
		// reading as it does without TLS.
		if _, err := c.raw.Read(make([]byte, 1<<14)); err == nil && c.write(f.NoHandshake, f.Drip) == nil {
			c.drain()
		}
		return false
	}
	t := tls.Server(c.raw, c.d.options.TLS)
	c.writing.Lock()
	c.conn, c.encrypted = t, true
	c.writing.Unlock()
	return t.HandshakeContext(context.Background()) == nil
}
