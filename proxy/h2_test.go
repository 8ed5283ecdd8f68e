package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"gatehouse/authn/authntest"
)

// h2 is a raw HTTP/2 connection to the gateway, with prior knowledge.
type h2 struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	enc    *hpack.Encoder
}

func (g *rig) h2() *h2 {
	g.t.Helper()
	c := &h2{t: g.t, conn: g.dial()}
	c.framer = http2.NewFramer(c.conn, c.conn)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.block)
	if _, err := io.WriteString(c.conn, http2.ClientPreface); err != nil {
		g.t.Fatal(err)
	}
	if err := c.framer.WriteSettings(); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// headers sends a header block made of name, value, name, value …
func (c *h2) headers(stream uint32, end bool, pairs ...string) {
	c.t.Helper()
	c.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		if err := c.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: true})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *h2) data(stream uint32, end bool, text string) {
	c.t.Helper()
	if err := c.framer.WriteData(stream, end, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// outcome is the status of the answer, or the name of the error that took its place.
func (c *h2) outcome(stream uint32) string {
	c.t.Helper()
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				return f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return f.ErrCode.String()
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.framer.WriteSettingsAck(); err != nil {
					c.t.Fatal(err)
				}
			}
		}
	}
}

// pseudo are the pseudo-headers of an ordinary request, some of them replaced.
func pseudo(replace ...string) []string {
	out := []string{":method", "GET", ":scheme", "http", ":authority", "gw.test", ":path", "/x"}
	for i := 0; i < len(replace); i += 2 {
		for j := 0; j < len(out); j += 2 {
			if out[j] == replace[i] {
				out[j+1] = replace[i+1]
			}
		}
	}
	return out
}

func with(base []string, more ...string) []string { return append(base, more...) }

const aliceCookie = cookieName + "=alice"

func TestHTTP2Requests(t *testing.T) {
	g := newRig(t, nil)
	session := []string{"cookie", aliceCookie}
	rows := []struct {
		id     string
		fields []string
		want   []string
	}{
		{"an ordinary request", with(pseudo(), session...), []string{"200"}},
		{"cookie crumbs (SES-17)", with(pseudo(), "cookie", "a=1", "cookie", aliceCookie, "cookie", "b=2"), []string{"200"}},
		{"HDR-33 upper case", with(pseudo(), with(session, "X-Forwarded-User", "eve")...), []string{"PROTOCOL_ERROR", "400"}},
		{"HDR-33 CR LF in a value", with(pseudo(), with(session, "x-a", "b\r\nx-forwarded-user: eve")...), []string{"PROTOCOL_ERROR", "400"}},
		{"HDR-33 NUL in a value", with(pseudo(), with(session, "x-a", "b\x00")...), []string{"PROTOCOL_ERROR", "400"}},
		{"HDR-33 connection", with(pseudo(), with(session, "connection", "x-forwarded-user")...), []string{"PROTOCOL_ERROR", "400"}},
		{"HDR-33 transfer-encoding", with(pseudo(), with(session, "transfer-encoding", "chunked")...), []string{"PROTOCOL_ERROR", "400"}},
		{"HDR-33 upgrade", with(pseudo(), with(session, "upgrade", "websocket")...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-33 no slash", with(pseudo(":path", "admin"), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-33 asterisk", with(pseudo(":path", "*"), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-33 absolute form", with(pseudo(":path", "http://evil/admin"), session...), []string{"PROTOCOL_ERROR", "400", "421"}},
		{"PATH-33 empty", with(pseudo(":path", ""), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-04 dots", with(pseudo(":path", "/public/../x"), session...), []string{"400"}},
		{"PATH-34 another host", with(pseudo(), with(session, "host", "evil.test")...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-34 another authority", with(pseudo(":authority", "evil.test"), with(session, "host", "gw.test")...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-34 two hosts", with(pseudo(), with(session, "host", "gw.test", "host", "evil.test")...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-34 two paths", with([]string{":path", "/public/x"}, with(pseudo(), session...)...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-34 bad scheme", with(pseudo(":scheme", "https,javascript"), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"PATH-34 pseudo after regular", with(session, pseudo()...), []string{"PROTOCOL_ERROR", "400"}},
		{"HTTP-20 line in the path", with(pseudo(":path", "/ HTTP/1.1\r\nX-Forwarded-User: eve"), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"HTTP-20 version in the path", with(pseudo(":path", "/x HTTP/1.1"), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"HTTP-20 version in the query", with(pseudo(":path", "/?x HTTP/1.1"), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"HTTP-20 line in the method", with(pseudo(":method", "GET /admin HTTP/1.1"), session...), []string{"PROTOCOL_ERROR", "400"}},
		{"HTTP-20 line in the authority", with(pseudo(":authority", "gw.test\r\nX: y"), session...), []string{"PROTOCOL_ERROR", "400", "421"}},
		{"HTTP-14 CONNECT", []string{":method", "CONNECT", ":authority", "gw.test:80"}, []string{"405", "PROTOCOL_ERROR", "400"}},
		{"WS-11 extended CONNECT", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "gw.test", ":path", "/live",
			"cookie", aliceCookie}, []string{"PROTOCOL_ERROR", "400", "405"}},
		{"nobody", pseudo(), []string{"401"}},
	}
	for _, row := range rows {
		g.sub(row.id, func(t *testing.T, g *rig) {
			c := g.h2()
			c.headers(1, true, row.fields...)
			got := c.outcome(1)
			ok := false
			for _, w := range row.want {
				ok = ok || w == got
			}
			if !ok {
				t.Fatalf("got %s, want one of %v", got, row.want)
			}
			if got != "200" {
				g.untouched()
				return
			}
			alice := person("alice")
			onlyOurs(t, g.last(), &alice)
			if strings.Contains(row.id, "crumbs") {
				want(t, "cookies", g.last().Header.Get("Cookie"), "a=1; b=2")
			}
		})
	}
}

func TestHTTP2Bodies(t *testing.T) {
	// Each row has a gateway of its own: a request may still be under way when its
	// stream has been reset.
	row := func(name string, f func(t *testing.T, g *rig)) {
		t.Run(name, func(t *testing.T) { f(t, newRig(t, nil)) })
	}
	fields := func(more ...string) []string {
		return with(pseudo(":method", "POST"), with(more, "cookie", aliceCookie)...)
	}
	// whole fails if the upstream took something for a whole body that is none.
	whole := func(t *testing.T, g *rig, body string) {
		t.Helper()
		for _, s := range g.up.all() {
			if s.Err == nil && s.Body != body {
				t.Errorf("the upstream took %q for a whole body", s.Body)
			}
		}
	}
	row("HDR-13 identity in trailers", func(t *testing.T, g *rig) {
		c := g.h2()
		c.headers(1, false, fields("trailer", "x-forwarded-user, x-sum")...)
		c.data(1, false, "hello")
		c.headers(1, true, "x-forwarded-user", "eve", "x-gatehouse-subject", "eve", "x-sum", "1", "x-unannounced", "2")
		want(t, "outcome", c.outcome(1), "200")
		want(t, "body", g.last().Body, "hello")
		want(t, "trailers", fmt.Sprint(g.last().Trailer), "map[X-Sum:[1]]")
	})
	row("HDR-12 trailers announced and no body", func(t *testing.T, g *rig) {
		c := g.h2()
		c.headers(1, true, with(pseudo(), "cookie", aliceCookie, "trailer", "x-forwarded-user")...)
		want(t, "outcome", c.outcome(1), "200")
		want(t, "trailers", fmt.Sprint(g.last().Trailer, g.last().Header["Trailer"]), "map[] []")
	})
	row("HTTP-19 length zero and data", func(t *testing.T, g *rig) {
		c := g.h2()
		c.headers(1, false, fields("content-length", "0")...)
		c.data(1, true, "GET /admin HTTP/1.1\r\n\r\n")
		if got := c.outcome(1); got == "200" {
			if s := g.last(); s.Body != "" {
				t.Errorf("the upstream got %q", s.Body)
			}
		}
		whole(t, g, "")
	})
	row("HTTP-19 length too small", func(t *testing.T, g *rig) {
		c := g.h2()
		c.headers(1, false, fields("content-length", "3")...)
		c.data(1, true, "hello")
		if got := c.outcome(1); got == "200" {
			t.Errorf("got %s", got)
		}
		whole(t, g, "-")
	})
	row("HTTP-19 length too big", func(t *testing.T, g *rig) {
		c := g.h2()
		c.headers(1, false, fields("content-length", "30")...)
		c.data(1, true, "hello")
		if got := c.outcome(1); got == "200" {
			t.Errorf("got %s", got)
		}
		whole(t, g, "-")
	})
	row("one bad body ends no connection", func(t *testing.T, g *rig) {
		g.gw.upstreams[0].maxBody = 3
		c := g.h2()
		c.headers(1, false, fields()...)
		c.data(1, true, "hello")
		want(t, "outcome", c.outcome(1), "413")
		c.headers(3, true, with(pseudo(), "cookie", aliceCookie)...)
		want(t, "the next request", c.outcome(3), "200")
	})
	row("HTTP-19 two lengths", func(_ *testing.T, g *rig) {
		c := g.h2()
		c.headers(1, false, fields("content-length", "5", "content-length", "6")...)
		want(t, "outcome", c.outcome(1), "PROTOCOL_ERROR")
		g.untouched()
	})
}

func TestUpstreamHTTP2(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	secure := tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{ca.leaf("app.internal")}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	t.Cleanup(func() { secure.Close() })
	go func() {
		for {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			go badFraming(c)
		}
	}()
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	g.start("https://"+ln.Addr().String(), func(o *Options) {
		o.Upstreams[0].TLS.CAFile, o.Upstreams[0].TLS.ServerName = ca.file, "app.internal"
	})
	for _, path := range []string{"/public/lengths", "/public/te", "/public/connection"} {
		t.Run("HTTP-29 framing headers from an HTTP/2 upstream "+path, func(t *testing.T) {
			a := g.get(path, "")
			if a.StatusCode != 200 && a.StatusCode != 502 {
				t.Fatalf("got %s", a.Status)
			}
			if a.StatusCode == 200 {
				want(t, "body", a.body, "hello")
				if v := a.Header["Content-Length"]; len(v) > 1 || len(v) == 1 && v[0] != "5" {
					t.Errorf("Content-Length: %q", v)
				}
				te := fmt.Sprint(a.TransferEncoding, a.Header["Transfer-Encoding"])
				if a.ContentLength < 0 && te != "[chunked] []" || a.ContentLength >= 0 && te != "[] []" {
					t.Errorf("Transfer-Encoding: %s, length %d", te, a.ContentLength)
				}
				want(t, "Connection", a.Header.Get("Connection"), "")
			}
		})
	}
}

// badFraming answers each request on an HTTP/2 connection with headers that
// HTTP/2 does not allow.
func badFraming(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	f.AllowIllegalWrites = true
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for {
		frame, err := f.ReadFrame()
		var stream http2.StreamError
		if errors.As(err, &stream) {
			continue
		}
		if err != nil {
			return
		}
		h, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		block.Reset()
		fields := []hpack.HeaderField{{Name: ":status", Value: "200"}}
		switch h.PseudoValue("path") {
		case "/public/lengths":
			fields = append(fields, hpack.HeaderField{Name: "content-length", Value: "5, 6"})
		case "/public/te":
			fields = append(fields, hpack.HeaderField{Name: "transfer-encoding", Value: "chunked"})
		case "/public/connection":
			fields = append(fields, hpack.HeaderField{Name: "connection", Value: "x-hop"}, hpack.HeaderField{Name: "x-hop", Value: "1"})
		}
		for _, field := range fields {
			_ = enc.WriteField(field)
		}
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
		_ = f.WriteData(h.StreamID, true, []byte("hello"))
	}
}
