package proxy

import (
	"encoding/json/v2"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestForwardingHeaders(t *testing.T) {
	for _, header := range []string{"x-forwarded-for", "forwarded"} {
		t.Run(header, func(t *testing.T) {
			testForwardingHeaders(t, newRig(t, func(o *Options) { o.ForwardedHeader = header }))
		})
	}
}

// testForwardingHeaders are the attacks on a gateway that trusts no proxy.
func testForwardingHeaders(t *testing.T, g *rig) {
	t.Helper()
	rows := []struct{ id, lines string }{
		{"FWD-01 X-Forwarded-Uri", "X-Forwarded-Uri: /public/x\r\n"},
		{"FWD-02 nobody is trusted by default", "X-Forwarded-For: 10.1.2.3\r\nX-Request-Id: mine\r\n"},
		{"FWD-04 X-Forwarded-Host", "X-Forwarded-Host: evil.test\r\n"},
		{"FWD-05 X-Forwarded-Proto", "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https, javascript\r\n"},
		{"FWD-07 X-Forwarded-Prefix", "X-Forwarded-Prefix: //evil.test\r\n"},
		{"FWD-08 X-Forwarded-Port", "X-Forwarded-Port: 1@evil.test\r\n"},
		{"FWD-09 X-Original-URL and friends", "X-Original-URI: /oidc/callback\r\nX-Original-URL: /public/x\r\nX-Rewrite-URL: /admin\r\n"},
		{"FWD-10 X-Forwarded-For", "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-For: 10.0.0.1, 1.2.3.4\r\n"},
		{"FWD-10 Forwarded", "Forwarded: for=127.0.0.1\r\nForwarded: for=10.0.0.1;proto=http;host=evil.test, for=\"[::1]:80\"\r\n"},
		{"FWD-13 other client addresses", "X-Real-IP: 1.1.1.1\r\nTrue-Client-IP: 1.1.1.1\r\nCF-Connecting-IP: 1.1.1.1\r\nClient-IP: 1.1.1.1\r\n" +
			"X-Client-IP: 1.1.1.1\r\nFastly-Client-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1;host=evil.test\r\n"},
		{"FWD-15 health checkers", "User-Agent: GoogleHC/1.0\r\n"},
		{"FWD-15 kubelet", "User-Agent: kube-probe/1.30\r\n"},
		{"HDR-10 hop-by-hop", "Connection: X-Forwarded-Proto, X-Forwarded-For, X-Forwarded-Host, X-Real-Ip\r\nX-Real-Ip: 1.1.1.1\r\n"},
	}
	for _, row := range rows {
		g.sub(row.id, func(t *testing.T, g *rig) {
			g.denied(g.get("/admin", row.lines), 401)
			a := g.get("/admin", row.lines+navigation)
			g.denied(a, 302)
			want(t, "Location", a.Header.Get("Location"), "/.gatehouse/oidc/corp/sign-in?rd=%2Fadmin")
			want(t, "with a session", g.get("/admin", row.lines+aliceOnly).StatusCode, 200)
			h := g.last().Header
			want(t, "X-Forwarded-For", strings.Join(h["X-Forwarded-For"], "|"), "127.0.0.1")
			want(t, "X-Forwarded-Host", strings.Join(h["X-Forwarded-Host"], "|"), "gw.test")
			want(t, "X-Forwarded-Proto", strings.Join(h["X-Forwarded-Proto"], "|"), "https")
			for name, values := range h {
				if s := strings.Join(values, ","); strings.Contains(s, "evil") || strings.Contains(s, "1.1.1.1") || s == "/public/x" {
					t.Errorf("the upstream got %s: %s", name, s)
				}
			}
			if id := h.Get("X-Request-Id"); len(id) != 32 {
				t.Errorf("request id %q", id)
			}
		})
	}
	g.sub("FWD-12 very long X-Forwarded-For", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/public/x", "X-Forwarded-For: "+strings.Repeat("1.1.1.1,", 20000)+"\r\n").StatusCode, 431)
	})
	g.sub("FWD-12 very long Forwarded", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/public/x", "Forwarded: "+strings.Repeat("for=1.1.1.1,", 20000)+"\r\n").StatusCode, 431)
	})
	g.sub("FWD-26 PROXY protocol from anyone", func(_ *testing.T, g *rig) {
		g.denied(g.raw("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"), 400)
		g.denied(g.raw(binaryHeader(proxied, 0x11, "\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x01\x00\x02")+"GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"), 400)
	})
}

func TestClientAddress(t *testing.T) {
	h := &Handler{o: Options{TrustedProxies: []netip.Prefix{mustPrefix("10.0.0.0/8"), mustPrefix("fd00::/8"), mustPrefix("::1/128")}}}
	rows := []struct {
		name, peer string
		lines      []string
		remote     string
		via        string
	}{
		{"direct", "192.0.2.1:5", []string{"1.1.1.1"}, "192.0.2.1", "192.0.2.1"},
		{"direct v6", "[2001:db8::1]:5", nil, "2001:db8::1", "2001:db8::1"},
		{"one proxy", "10.0.0.1:5", []string{"1.1.1.1"}, "1.1.1.1", "1.1.1.1, 10.0.0.1"},
		{"proxy says nothing", "10.0.0.1:5", nil, "10.0.0.1", "10.0.0.1"},
		{"right-most untrusted", "10.0.0.1:5", []string{"127.0.0.1, 6.6.6.6", "7.7.7.7 ,10.2.2.2"}, "7.7.7.7", "7.7.7.7, 10.2.2.2, 10.0.0.1"},
		{"all trusted", "10.0.0.1:5", []string{"10.9.9.9, 10.2.2.2"}, "10.9.9.9", "10.9.9.9, 10.2.2.2, 10.0.0.1"},
		{"rubbish ends it", "10.0.0.1:5", []string{"1.1.1.1, unknown, 10.2.2.2"}, "10.2.2.2", "10.2.2.2, 10.0.0.1"},
		{"mapped v4", "10.0.0.1:5", []string{"::ffff:1.2.3.4"}, "1.2.3.4", "1.2.3.4, 10.0.0.1"},
		{"mapped peer", "[::ffff:10.0.0.1]:5", []string{"1.2.3.4"}, "1.2.3.4", "1.2.3.4, ::ffff:10.0.0.1"},
		{"unix socket", "@", []string{"1.2.3.4"}, "", ""},
		{"bounded", "10.0.0.1:5", []string{strings.Repeat("10.0.0.2,", 5000) + "10.0.0.3"}, "10.0.0.2", "*"},
	}
	for _, row := range rows {
		t.Run("FWD-10 "+row.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: row.peer, Header: http.Header{"X-Forwarded-For": row.lines}}
			s := h.sender(r)
			want(t, "remote", s.remote, row.remote)
			if row.via == "*" {
				want(t, "hops", strings.Count(s.via, ","), maxHops)
				return
			}
			want(t, "via", s.via, row.via)
		})
	}
}

func TestTrustedProxy(t *testing.T) {
	g := newRig(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{mustPrefix("127.0.0.0/8")} })
	a := g.get("/x", aliceOnly+"X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Request-Id: edge-1.a_B\r\nX-Forwarded-Host: evil.test\r\n")
	h := g.last().Header
	want(t, "X-Forwarded-For", h.Get("X-Forwarded-For"), "192.0.2.7, 127.0.0.1")
	want(t, "X-Forwarded-Host", h.Get("X-Forwarded-Host"), "gw.test")
	want(t, "request id upstream", h.Get("X-Request-Id"), "edge-1.a_B")
	want(t, "request id back", a.Header.Get("X-Request-Id"), "edge-1.a_B")
	want(t, "own handlers see the client", g.get("/oidc/callback", "X-Forwarded-For: 192.0.2.7\r\n").body, "callback from 192.0.2.7:0")
	for _, id := range []string{"a b", strings.Repeat("a", 65), "a\tb", "<script>", ""} {
		g.forget()
		g.get("/x", aliceOnly+"X-Request-Id: "+id+"\r\n")
		if got := g.last().Header.Get("X-Request-Id"); len(got) != 32 {
			t.Errorf("%q was kept as %q", id, got)
		}
	}
	g.forget()
	g.get("/x", aliceOnly+"X-Request-Id: one\r\nX-Request-Id: two\r\n")
	if got := g.last().Header.Get("X-Request-Id"); len(got) != 32 {
		t.Errorf("one of two ids was kept: %q", got)
	}
}

// line is an access line.
type line struct {
	Msg       string `json:"msg"`
	RequestID string `json:"request_id"`
	Remote    string `json:"remote"`
	Method    string `json:"method"`
	Host      string `json:"host"`
	Path      string `json:"path"`
	Status    int    `json:"status"`
	Bytes     int64  `json:"bytes"`
	Duration  int64  `json:"duration"`
	Upstream  string `json:"upstream"`
	Route     string `json:"route"`
	Subject   string `json:"subject"`
	App       bool   `json:"application"`
	Aborted   bool   `json:"aborted"`
}

// lines are the access lines so far, once there are n.
func (g *rig) lines(n int) []line {
	g.t.Helper()
	var out []line
	await(g.t, func() bool {
		out = nil
		for text := range strings.Lines(g.log.String()) {
			var l line
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				g.t.Fatalf("%v in %s", err, text)
			}
			if l.Msg == "request" {
				out = append(out, l)
			}
		}
		return len(out) >= n
	})
	return out
}

// lineOf is the access line of the request that a answers.
func (g *rig) lineOf(a answer) (found line) {
	g.t.Helper()
	await(g.t, func() bool {
		for _, l := range g.lines(0) {
			if l.RequestID == a.Header.Get("X-Request-Id") {
				found = l
			}
		}
		return found.RequestID != ""
	})
	return found
}

func TestAccessLine(t *testing.T) {
	g := newRig(t, nil)
	g.get("/x/y?token=s3cret", aliceOnly+"Authorization: Basic s3cret\r\nX-Key: s3cret\r\n")
	l := g.lines(1)[0]
	if l.Duration <= 0 || len(l.RequestID) != 32 {
		t.Errorf("%+v", l)
	}
	l.Duration, l.RequestID = 0, ""
	want(t, "line", l, line{Msg: "request", Remote: "127.0.0.1", Method: "GET", Host: "gw.test", Path: "/x/y", Status: 200,
		Bytes: int64(len("hello from upstream")), Upstream: "app", Route: "corp", Subject: "sub-alice"})
	g.get("/public/x", "")
	l = g.lines(2)[1]
	want(t, "subject of a public path", l.Subject, "")
	g.get("/x", "")
	l = g.lines(3)[2]
	want(t, "status", l.Status, 401)
	for _, secret := range []string{"s3cret", cookieName + "="} {
		if strings.Contains(g.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}

	quiet := newRig(t, func(o *Options) { o.Access = false })
	quiet.get("/x", aliceOnly)
	if s := quiet.log.String(); strings.Contains(s, `"msg":"request"`) {
		t.Errorf("an access line in spite of Access = false: %s", s)
	}
}
