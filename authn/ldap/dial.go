package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
	"gatehouse/authn/meter"
	"gatehouse/config"
)

const (
	// downTime is how long a server that failed is asked last.
	downTime = 30 * time.Second
	// fairTime is what a server has to answer a question before it may be said to hang.
	fairTime = 500 * time.Millisecond
)

// dialer opens connections to the servers of one directory.
type dialer struct {
	servers  []config.Server
	startTLS bool
	tls      *tls.Config
	timeout  time.Duration // for one server
	calls    meter.Calls

	mu   sync.Mutex
	down map[string]time.Time // until when, by address
}

// dial connects to the first server that lets it, those that failed lately
// last. What comes back is encrypted if the settings say so.
func (d *dialer) dial(ctx context.Context) (*conn, error) {
	var errs []error
	for _, s := range d.order() {
		c, err := d.connect(ctx, s)
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("connect to %s: %w", s.Address, authn.Foreign{Err: err}))
		if over(ctx) {
			break
		}
		d.fail(s)
	}
	return nil, errors.Join(errs...)
}

// order is the servers in the order of the settings, but for those that failed lately.
func (d *dialer) order() []config.Server {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	var up, down []config.Server
	for _, s := range d.servers {
		if now.Before(d.down[s.Address]) {
			down = append(down, s)
		} else {
			up = append(up, s)
		}
	}
	return slices.Concat(up, down)
}

// broke says that a question to a server was broken off, and when it began. The server
// has failed unless that was ours: whoever asked has gone, or their time was up before
// the server could answer.
func (d *dialer) broke(s config.Server, began time.Time, err error) {
	early := errors.Is(err, context.DeadlineExceeded) && time.Since(began) < fairTime
	if !early && !errors.Is(err, context.Canceled) {
		d.fail(s)
	}
}

// fail has the server asked last for a while.
func (d *dialer) fail(s config.Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down == nil {
		d.down = map[string]time.Time{}
	}
	d.down[s.Address] = time.Now().Add(downTime)
}

func (d *dialer) connect(ctx context.Context, s config.Server) (c *conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	ctx, end := d.calls.Begin(ctx, "connect")
	defer func() { end(err) }()
	raw, err := new(net.Dialer).DialContext(ctx, s.Network, s.Address)
	if err != nil {
		return nil, err
	}
	secured, err := d.secure(ctx, raw, s)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return newConn(secured, s, d.calls), nil
}

// secure begins TLS where the settings say so.
func (d *dialer) secure(ctx context.Context, raw net.Conn, s config.Server) (net.Conn, error) {
	begins := d.startTLS && s.Network == "tcp" && !s.TLS
	if !s.TLS && !begins {
		return raw, nil
	}
	if begins {
		stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
		err := startTLS(raw)
		if !stop() {
			return nil, fmt.Errorf("begin TLS: %w", context.Cause(ctx))
		}
		if err != nil {
			return nil, fmt.Errorf("begin TLS: %w", err)
		}
	}
	c := d.tls.Clone()
	if c.ServerName == "" {
		c.ServerName = s.Host
	}
	t := tls.Client(raw, c)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return t, nil
}

const oidStartTLS = "1.3.6.1.4.1.1466.20037"

// startTLS asks the server to begin TLS on a new connection (RFC 4511, section
// 4.14). The library's own reads on after the answer, so that what somebody
// put behind it in the clear could count as said under TLS.
func startTLS(raw net.Conn) error {
	request := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, ""))
	extended := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationExtendedRequest, nil, "")
	extended.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, oidStartTLS, ""))
	request.AppendChild(extended)
	in := newFramed(raw)
	if _, err := in.Write(request.Bytes()); err != nil {
		return err
	}
	message, err := in.next()
	if err != nil {
		return err
	}
	if err := startTLSAnswer(message); err != nil {
		return err
	}
	if in.in.Buffered() > 0 {
		return errors.New("the server said more before TLS than it was asked")
	}
	return nil
}

// startTLSAnswer reads the answer; only success is one.
func startTLSAnswer(message []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errMalformed
		}
	}()
	packet, err := ber.DecodePacketErr(message)
	if err != nil {
		return errMalformed
	}
	if id, ok := packet.Children[0].Value.(int64); !ok || id != 1 {
		return errFrame
	}
	return ldap.GetLDAPError(packet)
}

// notLDAP says whether the other side seems to speak something else.
func notLDAP(err error) bool {
	return errors.Is(err, errFrame) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
