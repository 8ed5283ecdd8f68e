package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/authn/authntest"
)

const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// sockets makes the echo answer WebSockets, and tell what it got in the first frame.
func (e *echo) sockets(t *testing.T) {
	e.then = func(w http.ResponseWriter, r *http.Request) {
		if !websocket.IsWebSocketUpgrade(r) {
			fmt.Fprint(w, "no socket")
			return
		}
		up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		c, err := up.Upgrade(w, r, http.Header{
			"Set-Cookie": {cookieName + "=evil", "app=1"}, "X-Forwarded-User": {"root"}, "X-Request-Id": {"mine"}, "Keep-Alive": {"5"},
		})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for {
			kind, p, err := c.ReadMessage()
			if err != nil {
				return
			}
			if err := c.WriteMessage(kind, p); err != nil {
				return
			}
		}
	}
}

func TestWebSocket(t *testing.T) {
	g := newRig(t, func(o *Options) { o.StallTimeout = 200 * time.Millisecond })
	g.up.sockets(t)
	dial := func(header http.Header) (*websocket.Conn, *http.Response, error) {
		d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return net.Dial("tcp", g.addr()) }}
		return d.Dial("ws://gw.test/live", header)
	}
	g.sub("messages both ways", func(t *testing.T, g *rig) {
		c, res, err := dial(http.Header{"Cookie": {cookieName + "=alice; theme=dark"}, "Origin": {gwURL}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		alice := person("alice")
		onlyOurs(t, g.last(), &alice)
		want(t, "Cookie", g.last().Header.Get("Cookie"), "theme=dark")
		want(t, "WS-15 cookies in a 101", strings.Join(res.Header["Set-Cookie"], "|"), "app=1")
		want(t, "WS-15 identity in a 101", res.Header.Get("X-Forwarded-User"), "")
		want(t, "WS-15 hop-by-hop in a 101", res.Header.Get("Keep-Alive"), "")
		want(t, "request id", res.Header.Get("X-Request-Id"), g.last().Header.Get("X-Request-Id"))
		for i := range 3 {
			text := strings.Repeat("message ", 1<<i*1000)
			if i == 2 {
				time.Sleep(2 * g.gw.o.StallTimeout) // the deadlines of transfers are none of its business
			}
			if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, p, err := c.ReadMessage(); err != nil || string(p) != text {
				t.Fatalf("message %d: %d bytes, %v", i, len(p), err)
			}
		}
		c.Close()
		l := g.lines(1)[0]
		want(t, "status", l.Status, 101)
		if l.Bytes < 7000 || l.Aborted {
			t.Errorf("line %+v", l)
		}
	})
	g.sub("WS-01 nobody", func(_ *testing.T, g *rig) {
		for _, cookie := range []string{"", "stale", "x"} {
			more := ""
			if cookie != "" {
				more = "Cookie: " + cookieName + "=" + cookie + "\r\n"
			}
			g.denied(g.get("/live", handshake+"Origin: "+gwURL+"\r\n"+more), 401)
			g.denied(g.get("/live", handshake+navigation+"Origin: "+gwURL+"\r\n"+more), 401)
		}
	})
	g.sub("an outage", func(_ *testing.T, g *rig) {
		g.denied(g.get("/live", handshake+"Origin: "+gwURL+"\r\nCookie: "+cookieName+"=outage\r\n"), 503)
	})
	for _, origin := range []string{
		"https://evil.test", "null", "https://gw.test.evil.test", "http://gw.test", "https://gw.test:444", "https://GW.test", "https://gw.test/", "",
		"https://gw.test\r\nOrigin: https://gw.test",
	} {
		g.sub(fmt.Sprintf("WS-02 from %q", origin), func(_ *testing.T, g *rig) {
			g.denied(g.get("/live", handshake+aliceOnly+"Origin: "+origin+"\r\n"), 403)
			g.denied(g.get("/live", handshake+aliceOnly+"Authorization: Bearer alice\r\nOrigin: "+origin+"\r\n"), 403)
		})
	}
	g.sub("WS-02 no Origin", func(t *testing.T, g *rig) {
		g.denied(g.get("/live", handshake+aliceOnly), 403)
		g.denied(g.get("/live", handshake+aliceOnly+"Authorization: Basic Og==\r\n"), 403)
		c, _, err := dial(http.Header{"Authorization": {"Bearer alice"}})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
	g.sub("WS-07 a public WebSocket", func(t *testing.T, g *rig) {
		c := g.dial()
		fmt.Fprint(c, "GET /public/ws HTTP/1.1\r\nHost: gw.test\r\n"+handshake+"Origin: https://evil.test\r\n"+aliceOnly+"\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 101 {
			t.Fatal(res, err)
		}
		onlyOurs(t, g.last(), nil)
	})
	for _, row := range []struct{ id, lines, body string }{
		{"WS-08 with a body", handshake + "Content-Length: 5\r\n", "hello"},
		{"WS-08 chunked", handshake + "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"},
		{"WS-09 no key", strings.Replace(handshake, "Sec-WebSocket-Key", "X-Key", 1), ""},
		{"WS-09 two keys", handshake + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""},
		{"WS-09 no version", strings.Replace(handshake, "Sec-WebSocket-Version", "X-V", 1), ""},
	} {
		g.sub(row.id, func(_ *testing.T, g *rig) {
			g.denied(g.raw("GET /live HTTP/1.1\r\nHost: gw.test\r\nOrigin: "+gwURL+"\r\n"+aliceOnly+row.lines+"\r\n"+row.body), 400)
		})
	}
}

func TestOtherUpgrades(t *testing.T) {
	g := newRig(t, nil)
	g.up.sockets(t)
	get := "GET /live HTTP/1.1\r\n"
	for _, row := range []struct{ id, line, lines string }{
		{"HTTP-16 h2c", get, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"},
		{"HTTP-16 H2C", get, "Connection: Upgrade\r\nUpgrade: H2C\r\n"},
		{"HTTP-16 alias of its settings", get, "HTTP2_Settings: AAMAAABkAAQAAP__\r\n"},
		{"HTTP-17 foo", get, "Connection: Upgrade\r\nUpgrade: foo\r\n"},
		{"HTTP-17 TLS", get, "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"},
		{"HTTP-17 a list", get, "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"},
		{"HTTP-17 two lines", get, "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"},
		{"HTTP-17 a version", get, "Connection: Upgrade\r\nUpgrade: websocket/13\r\n"},
		{"HTTP-17 an empty one", get, "Connection: Upgrade\r\nUpgrade:\r\n"},
		{"WS-09 Connection does not say so", get, strings.Replace(handshake, "Connection: Upgrade", "Connection: keep-alive", 1)},
		{"WS-09 POST", "POST /live HTTP/1.1\r\nContent-Length: 0\r\n", handshake},
		{"WS-09 HTTP/1.0", "GET /live HTTP/1.0\r\n", handshake},
	} {
		for _, session := range []string{aliceOnly, "public"} {
			g.sub(row.id+" "+session, func(t *testing.T, g *rig) {
				line, cookie := row.line, session
				if session == "public" {
					line, cookie = strings.Replace(row.line, "/live", "/public/ws", 1), ""
				}
				a := g.raw(line + "Host: gw.test\r\nOrigin: " + gwURL + "\r\n" + cookie + row.lines + "\r\n")
				want(t, "status", a.StatusCode, 200)
				for _, name := range []string{"Upgrade", "Connection", "Http2-Settings", "Http2_settings"} {
					if v, ok := g.last().Header[name]; ok {
						t.Errorf("the upstream got %s: %q", name, v)
					}
				}
			})
		}
	}
}

func TestEarlyBytes(t *testing.T) {
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := skip(br); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade, x-hop\r\nX-Hop: 1\r\nUpgrade: WebSocket\r\n\r\nfirst from upstream;")
		_, _ = io.Copy(c, br)
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	})
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	g.start(url, nil)
	t.Run("WS-14 early bytes after the handshake", func(t *testing.T) {
		c := g.dial()
		early := strings.Repeat("early frame;", 200)
		fmt.Fprint(c, "GET /public/ws HTTP/1.1\r\nHost: gw.test\r\n"+handshake+"\r\n"+early)
		br := bufio.NewReader(c)
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 101 {
			t.Fatal(res, err)
		}
		want(t, "WS-15 hop-by-hop in a 101", res.Header.Get("X-Hop"), "")
		want(t, "Connection", res.Header.Get("Connection"), "Upgrade")
		fmt.Fprint(c, "late frame")
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		rest, err := io.ReadAll(br)
		if err != nil || string(rest) != "first from upstream;"+early+"late frame" {
			t.Errorf("got %d bytes, %v: %.60q", len(rest), err, rest)
		}
	})
}
