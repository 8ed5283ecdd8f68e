package proxy

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/authn"
	"gatehouse/config"
)

// Crowd is the connections that are open, of all the listeners that it is put around.
type Crowd struct {
	bounds  func() Bounds
	log     *slog.Logger
	refused *rate.Limiter // for what the log has to say of them

	mu    sync.Mutex
	total int
	from  map[netip.Addr]int
}

var (
	errCrowded = errors.New("too many connections are open (limits.connections)")
	errCrowd   = errors.New("too many connections of one address are open (limits.connectionsPerAddress); if it stands for many, such as a proxy, name it in trustedProxies")
)

// Bounds is what the settings say of connections.
type Bounds struct {
	Limits config.Limits
	// Trusted are the networks of proxies. They have no limit of their own: who comes from
	// there speaks for many.
	Trusted []netip.Prefix
}

// NewCrowd makes a crowd with nobody in it. The bounds are asked for with each connection,
// for settings change while it is open.
func NewCrowd(bounds func() Bounds, log *slog.Logger) *Crowd {
	return &Crowd{bounds: bounds, log: log, refused: rate.NewLimiter(rate.Every(10*time.Second), 10), from: map[netip.Addr]int{}}
}

// Around makes ln a listener that closes each connection above the limits unanswered. It
// may stand below [BehindBalancer]: the address then is the one that the PROXY header says.
func (c *Crowd) Around(ln net.Listener) net.Listener { return &gate{ln, c} }

// gate is a listener that counts.
type gate struct {
	net.Listener
	crowd *Crowd
}

// Accept waits for a connection that is within the limits.
func (g *gate) Accept() (net.Conn, error) {
	for {
		raw, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		m := &member{Conn: raw, crowd: g.crowd}
		if err = m.join(raw.RemoteAddr()); err == nil {
			return m, nil
		}
		g.crowd.note(raw, err)
		_ = raw.Close() // which fails where the client has been quicker
	}
}

// note tells the log of a connection that is closed.
func (c *Crowd) note(conn net.Conn, why error) {
	if c.refused.Allow() {
		c.log.Warn("connection closed", "peer", conn.RemoteAddr().String(), "err", why)
	}
}

// member is a connection that counts until it is closed.
type member struct {
	net.Conn
	crowd *Crowd
	// What follows is the crowd's, under its lock.
	in   bool
	gone bool
	as   netip.Addr // what it counts as; invalid if it has no limit of its own
}

// join counts the connection, or counts it anew as that of another address.
func (m *member) join(at net.Addr) error {
	c, bounds := m.crowd, m.crowd.bounds()
	as := bounds.counts(at)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch most, each := bounds.Limits.Connections, bounds.Limits.ConnectionsPerAddress; {
	case m.gone:
		return net.ErrClosed
	case !m.in && most > 0 && c.total >= most:
		return errCrowded
	case each > 0 && as.IsValid() && as != m.as && c.from[as] >= each:
		return errCrowd
	}
	if !m.in {
		c.total++
	}
	c.forget(m.as)
	if m.in, m.as = true, as; as.IsValid() {
		c.from[as]++
	}
	return nil
}

// Close closes the connection, which counts no more.
func (m *member) Close() error {
	c := m.crowd
	c.mu.Lock()
	if m.in && !m.gone {
		c.total--
		c.forget(m.as)
	}
	m.gone = true
	c.mu.Unlock()
	return m.Conn.Close()
}

// CloseWrite ends one direction, for WebSockets and for the server's last answer on
// a connection.
func (m *member) CloseWrite() error { return closeWrite(m.Conn) }

// forget takes one connection off what an address has. The lock is held.
func (c *Crowd) forget(as netip.Addr) {
	if !as.IsValid() {
		return
	}
	if c.from[as]--; c.from[as] == 0 {
		delete(c.from, as)
	}
}

// counts is what an address counts as.
func (b Bounds) counts(at net.Addr) netip.Addr {
	tcp, ok := at.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr()
	if contains(b.Trusted, addr) {
		return netip.Addr{}
	}
	return authn.OneClient(addr)
}
