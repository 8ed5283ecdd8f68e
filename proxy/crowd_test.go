package proxy

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// crowded is a rig behind a crowd, and before that a load balancer if asked for.
func crowded(t *testing.T, limits config.Limits, trusted string, balanced bool) (*rig, *Crowd) {
	t.Helper()
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	networks := []netip.Prefix{mustPrefix(trusted)}
	crowd := NewCrowd(func() Bounds { return Bounds{limits, networks} }, slog.New(slog.NewJSONHandler(g.log, nil)))
	g.wrap = func(ln net.Listener) net.Listener {
		ln = crowd.Around(ln)
		if balanced {
			ln = BehindBalancer(ln, func() Bounds { return Bounds{Trusted: networks} }, 5*time.Second, g.gw.o.Log)
		}
		return ln
	}
	g.start("http://127.0.0.1:1", func(o *Options) { o.TrustedProxies = networks })
	return g, crowd
}

func (c *Crowd) size() (total, addresses int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total, len(c.from)
}

// open opens a connection, sends what it begins with, and reports whether it is answered.
func (g *rig) open(begin string) (net.Conn, bool) {
	g.t.Helper()
	c := g.dial()
	fmt.Fprint(c, begin+"GET /.gatehouse/logo HTTP/1.1\r\nHost: gw.test\r\n\r\n")
	var b [12]byte
	_, err := io.ReadFull(c, b[:])
	return c, err == nil && string(b[:]) == "HTTP/1.1 200"
}

// TestConnections (DOS-10): connections above a limit are closed, and what is closed
// makes room.
func TestConnections(t *testing.T) {
	for _, row := range []struct {
		name, trusted, says string
		limits              config.Limits
		room                int
	}{
		{"in all", "192.0.2.1/32", "limits.connections)", config.Limits{Connections: 3}, 3},
		{"of an address", "192.0.2.1/32", "limits.connectionsPerAddress", config.Limits{Connections: 10, ConnectionsPerAddress: 2}, 2},
		{"of a proxy", "127.0.0.0/8", "limits.connections)", config.Limits{Connections: 4, ConnectionsPerAddress: 2}, 4},
		{"none", "192.0.2.1/32", "", config.Limits{}, 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			g, crowd := crowded(t, row.limits, row.trusted, false)
			var conns []net.Conn
			for range row.room {
				c, ok := g.open("")
				want(t, "room", ok, true)
				conns = append(conns, c)
			}
			if row.says != "" {
				_, ok := g.open("")
				want(t, "one more", ok, false)
				if !strings.Contains(g.log.String(), row.says) {
					t.Errorf("the log does not say why:\n%s", g.log)
				}
			}
			conns[0].Close()
			await(t, func() bool { total, _ := crowd.size(); return total == row.room-1 })
			c, ok := g.open("")
			want(t, "room again", ok, true)
			for _, c := range append(conns, c) {
				c.Close()
			}
			await(t, func() bool { total, addresses := crowd.size(); return total == 0 && addresses == 0 })
		})
	}
}

// TestBalancedConnections counts the clients that PROXY headers name.
func TestBalancedConnections(t *testing.T) {
	g, crowd := crowded(t, config.Limits{ConnectionsPerAddress: 2}, "127.0.0.0/8", true)
	header := func(from string) string { return "PROXY TCP4 " + from + " 127.0.0.1 4711 443\r\n" }
	for range 2 {
		_, ok := g.open(header("192.0.2.7"))
		want(t, "room", ok, true)
	}
	_, ok := g.open(header("192.0.2.7"))
	want(t, "one more", ok, false)
	_, ok = g.open(header("192.0.2.8"))
	want(t, "another", ok, true)
	for range 4 {
		_, ok := g.open("PROXY UNKNOWN\r\n")
		want(t, "the balancer's own", ok, true)
	}
	_, addresses := crowd.size()
	want(t, "addresses", addresses, 2)
}

// TestCrowdRaces opens and closes at once.
func TestCrowdRaces(t *testing.T) {
	crowd := NewCrowd(func() Bounds { return Bounds{Limits: config.Limits{Connections: 5, ConnectionsPerAddress: 5}} }, slog.New(slog.DiscardHandler))
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			a, b := net.Pipe()
			defer b.Close()
			m := &member{Conn: a, crowd: crowd}
			at := &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i%3)), Port: 1}
			if m.join(at) == nil {
				all.Go(func() { _ = m.join(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 1}) })
			}
			_ = m.Close()
			_ = m.Close()
			if m.join(at) == nil {
				t.Error("what is closed counts again")
			}
		})
	}
	all.Wait()
	total, addresses := crowd.size()
	want(t, "total", total, 0)
	want(t, "addresses", addresses, 0)
}
