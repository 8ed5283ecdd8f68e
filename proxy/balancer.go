package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/time/rate"
)

// balanced is a listener that only load balancers may connect to. Each connection
// begins with a PROXY header, and comes from whom that names.
type balanced struct {
	net.Listener
	bounds  func() Bounds
	timeout time.Duration
	log     *slog.Logger
	refused *rate.Limiter // for what the log has to say of them
}

// BehindBalancer makes ln a listener for the PROXY protocol, version 1 and 2. A
// connection that is not from one of the trusted networks, or has sent no whole
// and sound header within timeout, is closed unanswered: were it served, who gets
// around the balancer would be believed, or a balancer that is set up wrongly taken for
// all of its clients. A connection of the balancer's own (LOCAL) and one of which it does
// not know the client (UNKNOWN) come from the balancer.
func BehindBalancer(ln net.Listener, bounds func() Bounds, timeout time.Duration, log *slog.Logger) net.Listener {
	return &balanced{Listener: ln, bounds: bounds, timeout: timeout, log: log, refused: rate.NewLimiter(rate.Every(10*time.Second), 10)}
}

// Accept waits for a connection from a trusted network. It does not wait for the header,
// which is read by whoever first reads the connection or asks where it comes from.
func (b *balanced) Accept() (net.Conn, error) {
	for {
		raw, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer, ok := raw.RemoteAddr().(*net.TCPAddr); ok && contains(b.bounds().Trusted, peer.AddrPort().Addr()) {
			return &hop{b: b, Conn: proxyproto.NewConn(raw, proxyproto.WithPolicy(proxyproto.REQUIRE),
				proxyproto.SetReadHeaderTimeout(b.timeout), proxyproto.ValidateHeader(checkSource))}, nil
		}
		_ = raw.Close() // which fails where the client has been quicker
		b.note(raw, errors.New("not from one of trustedProxies"))
	}
}

// note tells the log of a connection that is closed.
func (b *balanced) note(raw net.Conn, why error) {
	if b.refused.Allow() {
		b.log.Warn("connection closed, see listen.proxyProtocol", "peer", raw.RemoteAddr().String(), "err", why)
	}
}

// checkSource refuses a header that names something other than an address.
func checkSource(h *proxyproto.Header) error {
	if h.Command.IsLocal() {
		return nil
	}
	if source, ok := h.SourceAddr.(*net.TCPAddr); !ok || source.IP.IsUnspecified() {
		return errors.New("the PROXY header names no address of a TCP client")
	}
	return nil
}

// hop is a connection from a load balancer.
type hop struct {
	*proxyproto.Conn
	b      *balanced
	looked sync.Once
}

// RemoteAddr is the address of the client. It waits for the header.
func (c *hop) RemoteAddr() net.Addr {
	c.looked.Do(func() {
		if c.ProxyHeader() == nil {
			_, err := c.Read(nil)
			c.b.note(c.Raw(), err)
			return
		}
		m, ok := c.Raw().(*member)
		if !ok {
			return
		}
		if err := m.join(c.Conn.RemoteAddr()); err != nil {
			m.crowd.note(c.Conn, err)
			_ = c.Close() // what is read of it next is its end
		}
	})
	return c.Conn.RemoteAddr()
}

// CloseWrite ends one direction, for WebSockets and for the server's last answer on
// a connection.
func (c *hop) CloseWrite() error { return closeWrite(c.Raw()) }

// hopKey is the context key of a connection's *hop.
type hopKey struct{}

// rememberHop lets requests find the connection from a load balancer that they
// came on. It reads nothing from it, since no other connection is accepted meanwhile.
func rememberHop(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if c, ok := c.(*hop); ok {
		return context.WithValue(ctx, hopKey{}, c)
	}
	return ctx
}

// unnamed reports whether a request came through a load balancer that did not
// say from whom. Its peer is the balancer then, which is trusted, but no header is the
// balancer's: it passes on what the client writes.
func unnamed(r *http.Request) bool {
	c, ok := r.Context().Value(hopKey{}).(*hop)
	if !ok {
		return false
	}
	header := c.ProxyHeader()
	return header == nil || header.Command.IsLocal()
}
