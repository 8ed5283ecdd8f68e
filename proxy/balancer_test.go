package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// Commands of the binary PROXY header.
const (
	local   = 0x20
	proxied = 0x21
)

// binaryHeader is a PROXY header of version 2.
func binaryHeader(command, family byte, payload string) string {
	size := binary.BigEndian.AppendUint16(nil, uint16(len(payload)))
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family}) + string(size) + payload
}

// addresses is the payload of such a header: two addresses and two ports.
func addresses(source, destination string) string {
	s, d := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	b := append(s.Addr().AsSlice(), d.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, s.Port())
	return string(binary.BigEndian.AppendUint16(b, d.Port()))
}

// newBalancedRig is a rig behind a load balancer at 127.0.0.1. 10.0.0.0/8 is
// trusted too.
func newBalancedRig(t *testing.T, timeout time.Duration) *rig {
	t.Helper()
	g := newRig(t, nil)
	g.server.Close()
	trusted := []netip.Prefix{mustPrefix("127.0.0.1/32"), mustPrefix("10.0.0.0/8")}
	g.wrap = func(ln net.Listener) net.Listener {
		return BehindBalancer(ln, func() Bounds { return Bounds{Trusted: trusted} }, timeout, g.gw.o.Log)
	}
	g.start(g.upServer.URL, func(o *Options) { o.TrustedProxies = trusted })
	return g
}

// aliceAsks is what follows a PROXY header, by alice.
func aliceAsks(lines string) string {
	return "GET /x HTTP/1.1\r\nHost: gw.test\r\n" + aliceOnly + lines + "\r\n"
}

func TestProxyProtocol(t *testing.T) {
	g := newBalancedRig(t, 5*time.Second)
	const spoof = "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\n"
	textual := "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n"
	for _, row := range []struct{ name, header, lines, remote, via string }{
		{"v1, IPv4", textual, "", "192.0.2.7", "192.0.2.7"},
		{"v1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "", "2001:db8::7", "2001:db8::7"},
		{"v2, IPv4", binaryHeader(proxied, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443")), "", "192.0.2.7", "192.0.2.7"},
		{"v2, IPv6", binaryHeader(proxied, 0x21, addresses("[2001:db8::7]:4711", "[2001:db8::1]:443")), "", "2001:db8::7", "2001:db8::7"},
		{"v2, IPv4 in IPv6", binaryHeader(proxied, 0x21, addresses("[::ffff:192.0.2.7]:4711", "[::1]:443")), "", "192.0.2.7", "192.0.2.7"},
		{"v2, more after the addresses", binaryHeader(proxied, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443")+"\xea\x00\x03abc"), "", "192.0.2.7", "192.0.2.7"},
		{"FWD-10 the client's own word", textual, spoof, "192.0.2.7", "192.0.2.7"},
		{"a trusted proxy before the balancer", "PROXY TCP4 10.0.0.9 127.0.0.1 4711 443\r\n", "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", "192.0.2.7", "192.0.2.7, 10.0.0.9"},
		{"v1, UNKNOWN", "PROXY UNKNOWN\r\n", spoof, "127.0.0.1", "127.0.0.1"},
		{"v1, UNKNOWN with addresses", "PROXY UNKNOWN 6.6.6.6 6.6.6.6 1 2\r\n", spoof, "127.0.0.1", "127.0.0.1"},
		{"v2, LOCAL", binaryHeader(local, 0x00, ""), spoof, "127.0.0.1", "127.0.0.1"},
		{"v2, LOCAL with addresses", binaryHeader(local, 0x11, addresses("6.6.6.6:4711", "127.0.0.1:443")), spoof, "127.0.0.1", "127.0.0.1"},
	} {
		g.sub("FWD-26 "+row.name, func(t *testing.T, g *rig) {
			c := g.dial()
			fmt.Fprint(c, row.header+aliceAsks(row.lines))
			br := bufio.NewReader(c)
			a := g.read(br, "GET")
			want(t, "status", a.StatusCode, 200)
			h := g.last().Header
			want(t, "X-Forwarded-For", strings.Join(h["X-Forwarded-For"], "|"), row.via)
			want(t, "access line", g.lineOf(a).Remote, row.remote)
			if id := h.Get("X-Request-Id"); len(id) != 32 {
				t.Errorf("request id %q", id)
			}
			g.forget()
			fmt.Fprint(c, aliceAsks(row.lines))
			want(t, "second request", g.read(br, "GET").StatusCode, 200)
			want(t, "X-Forwarded-For of the second", g.last().Header.Get("X-Forwarded-For"), row.via)
		})
	}
	g.sub("own handlers see the client", func(t *testing.T, g *rig) {
		want(t, "body", g.raw(textual+"GET /oidc/callback HTTP/1.1\r\nHost: gw.test\r\n\r\n").body, "callback from 192.0.2.7:4711")
	})
	g.sub("FWD-26 a second header is no request", func(_ *testing.T, g *rig) {
		g.denied(g.raw(textual+textual+aliceAsks("")), 400)
	})
	g.sub("header and request apart", func(t *testing.T, g *rig) {
		c := g.dial()
		fmt.Fprint(c, textual)
		time.Sleep(20 * time.Millisecond)
		fmt.Fprint(c, aliceAsks(""))
		want(t, "status", g.read(bufio.NewReader(c), "GET").StatusCode, 200)
		want(t, "X-Forwarded-For", g.last().Header.Get("X-Forwarded-For"), "192.0.2.7")
	})
}

// closed fails if the gateway answers anything on c, or leaves it open.
func (g *rig) closed(c net.Conn) {
	g.t.Helper()
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.t.Error("the connection is still open")
	}
	if len(b) != 0 {
		g.t.Errorf("answered %q", b)
	}
	g.untouched()
}

func TestProxyProtocolRefuses(t *testing.T) {
	g := newBalancedRig(t, 5*time.Second)
	for name, header := range map[string]string{
		"no header":              "",
		"v1, another family":     "PROXY TCP5 192.0.2.7 127.0.0.1 4711 443\r\n",
		"v1, v6 in TCP4":         "PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
		"v1, a name":             "PROXY TCP4 client.test 127.0.0.1 4711 443\r\n",
		"v1, a zone":             "PROXY TCP6 fe80::1%eth0 fe80::2 4711 443\r\n",
		"v1, a port too high":    "PROXY TCP4 192.0.2.7 127.0.0.1 65536 443\r\n",
		"v1, a field too many":   "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443 6.6.6.6\r\n",
		"v1, two spaces":         "PROXY  TCP4 192.0.2.7 127.0.0.1 4711 443\r\n",
		"v1, lower case":         "proxy tcp4 192.0.2.7 127.0.0.1 4711 443\r\n",
		"v1, LF alone":           "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\n",
		"v1, too long":           "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n",
		"v1, nobody's address":   "PROXY TCP4 0.0.0.0 127.0.0.1 4711 443\r\n",
		"v2, nobody's address":   binaryHeader(proxied, 0x21, addresses("[::]:4711", "[::1]:443")),
		"v2, no address":         binaryHeader(proxied, 0x00, ""),
		"v2, UDP":                binaryHeader(proxied, 0x12, addresses("192.0.2.7:4711", "127.0.0.1:443")),
		"v2, a unix socket":      binaryHeader(proxied, 0x31, "/10.0.0.1:80"+strings.Repeat("\x00", 204)),
		"v2, another command":    binaryHeader(0x22, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443")),
		"v2, another version":    binaryHeader(0x31, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443")),
		"v2, an unknown family":  binaryHeader(proxied, 0x13, addresses("192.0.2.7:4711", "127.0.0.1:443")),
		"v2, too short":          binaryHeader(proxied, 0x21, addresses("192.0.2.7:4711", "127.0.0.1:443")),
		"v2, far too much of it": binaryHeader(proxied, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443")+strings.Repeat("x", 60000)),
	} {
		g.sub("FWD-26 "+name, func(_ *testing.T, g *rig) {
			c := g.dial()
			_, _ = io.WriteString(c, header+aliceAsks("")) // which it need not have taken
			g.closed(c)
		})
	}
	for name, part := range map[string]string{
		"nothing":        "",
		"v1, cut off":    "PROXY TCP4 192.0.2.7 127.",
		"v1, barely":     "PRO",
		"v2, signature":  "\r\n\r\n\x00\r\nQU",
		"v2, cut off":    binaryHeader(proxied, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443"))[:20],
		"v2, no payload": binaryHeader(proxied, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443"))[:16],
	} {
		g.sub("FWD-26 truncated: "+name, func(t *testing.T, g *rig) {
			c := g.dial()
			fmt.Fprint(c, part)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			g.closed(c)
		})
	}
	for name, header := range map[string]string{
		"with v1":        "PROXY TCP4 127.0.0.1 127.0.0.1 4711 443\r\n",
		"with v2":        binaryHeader(proxied, 0x11, addresses("10.0.0.1:4711", "127.0.0.1:443")),
		"without header": "",
	} {
		g.sub("FWD-26 from anyone, "+name, func(t *testing.T, g *rig) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			c, err := d.Dial("tcp", g.addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(c, header+aliceAsks(""))
			g.closed(c)
		})
	}
	want(t, "the log says so", strings.Contains(g.log.String(), `"connection closed, see listen.proxyProtocol"`), true)
	if n := strings.Count(g.log.String(), "connection closed"); n > 15 {
		t.Errorf("the log has %d lines of them", n)
	}
	want(t, "and goes on", g.raw("PROXY UNKNOWN\r\n"+aliceAsks("")).StatusCode, 200)
}

func TestProxyProtocolSilence(t *testing.T) {
	const timeout = 200 * time.Millisecond
	g := newBalancedRig(t, timeout)
	for name, part := range map[string]string{"a silent client": "", "half a header": "PROXY TC"} {
		g.sub("DOS-01 "+name, func(t *testing.T, g *rig) {
			c := g.dial()
			fmt.Fprint(c, part)
			begun := time.Now()
			g.closed(c)
			if took := time.Since(begun); part == "" && took < timeout/2 {
				t.Errorf("closed after %s already", took)
			}
		})
	}
	g.sub("DOS-01 a header that drips", func(_ *testing.T, g *rig) {
		c := g.dial()
		go func() {
			for b := range strings.SplitSeq(binaryHeader(proxied, 0x11, addresses("192.0.2.7:4711", "127.0.0.1:443")+strings.Repeat("x", 4000)), "") {
				if _, err := io.WriteString(c, b); err != nil {
					return
				}
				time.Sleep(timeout / 20)
			}
		}()
		g.closed(c)
	})
	g.sub("the limit is the header's alone", func(t *testing.T, g *rig) {
		c := g.dial()
		br := bufio.NewReader(c)
		fmt.Fprint(c, "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n"+aliceAsks(""))
		want(t, "status", g.read(br, "GET").StatusCode, 200)
		time.Sleep(2 * timeout)
		fmt.Fprint(c, aliceAsks(""))
		want(t, "status after a while", g.read(br, "GET").StatusCode, 200)
	})
}

// TestProxyProtocolHalfClosed: a WebSocket that the upstream has ended in its
// direction goes on in the other.
func TestProxyProtocolHalfClosed(t *testing.T) {
	got := make(chan string, 1)
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := skip(br); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nall of it")
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(br)
		got <- string(b)
	})
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	g.wrap = func(ln net.Listener) net.Listener {
		return BehindBalancer(ln, func() Bounds { return Bounds{Trusted: []netip.Prefix{mustPrefix("127.0.0.1/32")}} }, 5*time.Second, g.gw.o.Log)
	}
	g.start(url, nil)
	c := g.dial()
	fmt.Fprint(c, "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\nGET /public/ws HTTP/1.1\r\nHost: gw.test\r\n"+handshake+"\r\nearly, ")
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	b, err := io.ReadAll(br)
	want(t, "down", fmt.Sprint(string(b), err), "all of it<nil>")
	fmt.Fprint(c, "late")
	c.Close()
	want(t, "up", <-got, "early, late")
}

func TestProxyProtocolTLS(t *testing.T) {
	ca := newAuthority(t)
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	up := httptest.NewServer(g.up)
	defer up.Close()
	trusted := []netip.Prefix{mustPrefix("127.0.0.1/32"), mustPrefix("10.0.0.0/8")}
	o := g.options(up.URL)
	o.TrustedProxies = trusted
	gw, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := Server(config.Listen{MaxHeaderSize: 64 << 10}, gw, o.Log)
	defer srv.Close()
	go srv.Serve(tls.NewListener(BehindBalancer(ln, func() Bounds { return Bounds{Trusted: trusted} }, 5*time.Second, o.Log),
		&tls.Config{Certificates: []tls.Certificate{ca.leaf(gwHost)}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}))
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	for _, row := range []struct{ name, header, via string }{
		{"v1", "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n", "192.0.2.7"},
		{"v2", binaryHeader(proxied, 0x21, addresses("[2001:db8::7]:4711", "[2001:db8::1]:443")), "2001:db8::7"},
		{"LOCAL", binaryHeader(local, 0x00, ""), "127.0.0.1"},
		{"a trusted proxy before it", "PROXY TCP4 10.0.0.9 127.0.0.1 4711 443\r\n", "6.6.6.6, 10.0.0.9"},
		{"no header", "", ""},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("FWD-26 %s, h2 %v", row.name, h2), func(t *testing.T) {
				g.forget()
				client := &http.Transport{
					TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: gwHost, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: h2,
					DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
						c, err := new(net.Dialer).DialContext(ctx, network, addr)
						if err == nil {
							_, err = io.WriteString(c, row.header)
						}
						return c, err
					},
				}
				defer client.CloseIdleConnections()
				req, err := http.NewRequest(http.MethodGet, "https://"+ln.Addr().String()+"/public/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = gwHost
				req.Header.Set("X-Forwarded-For", "6.6.6.6")
				res, err := client.RoundTrip(req)
				if row.header == "" {
					if err == nil {
						res.Body.Close()
						t.Error("served without a header")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				want(t, "status", res.StatusCode, 200)
				want(t, "HTTP/2", res.ProtoMajor == 2, h2)
				all := g.up.all()
				want(t, "X-Forwarded-For", all[len(all)-1].Header.Get("X-Forwarded-For"), row.via)
			})
		}
	}
}

// TestProxyProtocolSlowNeighbour: who is silent keeps nobody else waiting.
func TestProxyProtocolSlowNeighbour(t *testing.T) {
	g := newBalancedRig(t, time.Minute)
	for range 50 {
		g.dial()
	}
	want(t, "status", g.raw("PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n"+aliceAsks("")).StatusCode, 200)
}
