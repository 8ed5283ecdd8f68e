package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/config"
)

const head = "Host: gw.test\r\n" + aliceOnly

func TestRequestFraming(t *testing.T) {
	g := newRig(t, nil)
	// Each request is followed by a second one, of nobody. However the first is
	// taken, it must not change what the second is.
	const second = "GET /second HTTP/1.1\r\nHost: gw.test\r\n\r\n"
	rows := []struct {
		id, request string
		status      []int // of the first
		body        string
	}{
		{"HTTP-01 CL.TE", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{200, 400}, ""},
		{"HTTP-02 TE.CL", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"1e\r\nPOST /admin HTTP/1.1\r\nX: y\r\n\r\n\r\n0\r\n\r\n", []int{200, 400}, "POST /admin HTTP/1.1\r\nX: y\r\n\r\n"},
		{"HTTP-03 xchunked", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 two codings", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 two lines", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 vertical tab", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 quoted", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 space before colon", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", []int{400}, ""},
		{"HTTP-04 GET with a body", "GET /x HTTP/1.1\r\n" + head + "Content-Length: 24\r\n\r\nGET /admin HTTP/1.1\r\n\r\n ", []int{200}, "GET /admin HTTP/1.1\r\n\r\n "},
		{"HTTP-05 unknown expectation", "POST /x HTTP/1.1\r\n" + head + "Expect: y\r\nContent-Length: 2\r\n\r\nhi", []int{417}, ""},
		{"HTTP-05 length behind a space", "POST /x HTTP/1.1\r\n" + head + "X: y\r\n Content-Length: 2\r\n\r\n", []int{200, 400}, ""},
		{"HTTP-06 two lengths", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a list of lengths", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4, 4\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a signed length", "POST /x HTTP/1.1\r\n" + head + "Content-Length: +4\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a hexadecimal length", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 0x4\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a negative length", "POST /x HTTP/1.1\r\n" + head + "Content-Length: -1\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 twenty digits", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 99999999999999999999\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 the same twice", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", []int{200, 400}, "abcd"},
		{"HTTP-08 chunk extensions", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0;x=y\r\n\r\n", []int{200, 400}, "hi"},
		{"HTTP-10 chunked in HTTP/1.0", "POST /x HTTP/1.0\r\nConnection: keep-alive\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{200, 400}, ""},
		{"HTTP-11 HTTP/1.2", "GET /x HTTP/1.2\r\n" + head + "\r\n", []int{200, 400, 505}, ""},
		{"HTTP-11 HTTP/2.0 over HTTP/1", "GET /x HTTP/2.0\r\n" + head + "\r\n", []int{400, 505}, ""},
		{"HTTP-11 lower case", "GET /x http/1.1\r\n" + head + "\r\n", []int{400}, ""},
		{"HTTP-11 HTTP/0.9", "GET /x\r\n" + head + "\r\n", []int{400}, ""},
		{"HTTP-12 two hosts", "GET /x HTTP/1.1\r\nHost: gw.test\r\nHost: evil.test\r\n" + aliceOnly + "\r\n", []int{400}, ""},
		{"HTTP-12 no host", "GET /x HTTP/1.1\r\n" + aliceOnly + "\r\n", []int{400}, ""},
		{"HTTP-12 user in host", "GET /x HTTP/1.1\r\nHost: gw.test@evil.test/x\r\n" + aliceOnly + "\r\n", []int{400, 421}, ""},
		{"HTTP-12 space before colon", "GET /x HTTP/1.1\r\nHost : gw.test\r\n" + aliceOnly + "\r\n", []int{400}, ""},
		{"HTTP-12 folded host", "GET /x HTTP/1.1\r\nHost: gw.test\r\n .evil.test\r\n" + aliceOnly + "\r\n", []int{400, 421}, ""},
		{"HDR-31 folded header", "GET /x HTTP/1.1\r\n" + head + "X-Foo: a\r\n X-Forwarded-User: eve\r\n\r\n", []int{200, 400}, ""},
		{"HDR-32 space before colon", "GET /x HTTP/1.1\r\n" + head + "X-Forwarded-User : eve\r\n\r\n", []int{400}, ""},
		{"HDR-32 control in a name", "GET /x HTTP/1.1\r\n" + head + "X-Forwarded-User\x0b: eve\r\n\r\n", []int{400}, ""},
		{"HDR-32 NUL in a name", "GET /x HTTP/1.1\r\n" + head + "X-Forwarded-User\x00: eve\r\n\r\n", []int{400}, ""},
		{"HDR-32 space before the first line", "GET /x HTTP/1.1\r\n X-Forwarded-User: eve\r\n" + head + "\r\n", []int{400}, ""},
		{"HTTP-36 lines that end in LF", "GET /x HTTP/1.1\nHost: gw.test\nX-A: b\nCookie: " + cookieName + "=alice\n\n", []int{200, 400}, ""},
		{"HTTP-36 bare CR in a value", "GET /x HTTP/1.1\r\n" + head + "X-A: b\rX-Forwarded-User: eve\r\n\r\n", []int{400}, ""},
	}
	for _, row := range rows {
		g.sub(row.id, func(t *testing.T, g *rig) {
			c := g.dial()
			if _, err := io.WriteString(c, row.request+second); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(c)
			method, _, _ := strings.Cut(row.request, " ")
			first := g.read(br, method)
			ok := false
			for _, s := range row.status {
				ok = ok || first.StatusCode == s
			}
			if !ok {
				t.Fatalf("status %s, want one of %v", first.Status, row.status)
			}
			all := g.up.all()
			if first.StatusCode != 200 {
				want(t, "requests at the upstream", len(all), 0)
				return
			}
			if len(all) != 1 || all[0].Target != "/x" || all[0].Body != row.body || all[0].Proto != "HTTP/1.1" {
				t.Fatalf("the upstream got %+v, want one request with body %q", all, row.body)
			}
			alice := person("alice")
			onlyOurs(t, all[0], &alice)
			_, hasLength := all[0].Header["Content-Length"]
			_, isChunked := all[0].Header["Transfer-Encoding"]
			want(t, "both framings", hasLength && isChunked, false)
			if next := g.read(br, "GET"); next.StatusCode != 401 && next.StatusCode != 400 && next.StatusCode != 0 {
				t.Errorf("the second request was answered with %s", next.Status)
			}
			want(t, "requests at the upstream after both", len(g.up.all()), 1)
		})
	}
}

func TestBrokenBodies(t *testing.T) {
	g := newRig(t, nil)
	chunked := "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n"
	for _, row := range []struct{ id, body string }{
		{"HTTP-07 bare LF after the size", "2\nhi\r\n0\r\n\r\n"},
		{"HTTP-08 endless extension", "1;" + strings.Repeat("x", 20<<10) + "\r\na\r\n0\r\n\r\n"},
		{"HTTP-08 LF in an extension", "1;a\nb\r\na\r\n0\r\n\r\n"},
		{"HTTP-08 LF after the last size", "0;x\n\r\n"},
		{"HTTP-09 negative size", "-1\r\na\r\n0\r\n\r\n"},
		{"HTTP-09 0x", "0x2\r\nhi\r\n0\r\n\r\n"},
		{"HTTP-09 too many digits", "FFFFFFFFFFFFFFFFF\r\nhi\r\n0\r\n\r\n"},
		{"HTTP-09 no CRLF after the data", "2\r\nhiX\r\n0\r\n\r\n"},
	} {
		g.sub(row.id, func(t *testing.T, g *rig) {
			a := g.raw(chunked + row.body)
			want(t, "status", a.StatusCode, 400)
			want(t, "closed", a.Close, true)
			for _, s := range g.up.all() {
				if s.Err == nil {
					t.Errorf("the upstream took %q for a whole body", s.Body)
				}
			}
		})
	}
	g.sub("a client that goes away in its body", func(t *testing.T, g *rig) {
		c := g.dial()
		fmt.Fprint(c, "POST /x HTTP/1.1\r\n"+head+"Content-Length: 10\r\n\r\nhal")
		c.Close()
		await(t, func() bool {
			all := g.up.all()
			return len(all) == 1 && all[0].Err != nil
		})
	})
}

func TestPipelining(t *testing.T) {
	g := newRig(t, nil)
	g.sub("HTTP-13 pipelining across identities", func(t *testing.T, g *rig) {
		c := g.dial()
		var all strings.Builder
		cookies := []string{"", aliceOnly, "", "Cookie: " + cookieName + "=bob\r\n", "Cookie: " + cookieName + "=stale\r\n", aliceOnly}
		for i, cookie := range cookies {
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: gw.test\r\n%s\r\n", i, cookie)
		}
		if _, err := io.WriteString(c, all.String()); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(c)
		for i, status := range []int{401, 200, 401, 200, 401, 200} {
			want(t, fmt.Sprint("answer ", i), g.read(br, "GET").StatusCode, status)
		}
		for i, who := range []string{"sub-alice", "sub-bob", "sub-alice"} {
			s := g.up.all()[i]
			want(t, s.Target, s.Header.Get("X-Forwarded-User"), who)
		}
	})
}

func TestConnect(t *testing.T) {
	g := newRig(t, nil)
	for _, row := range []struct{ id, request string }{
		{"HTTP-14 CONNECT with a body", "CONNECT gw.test:80 HTTP/1.1\r\n" + head + "Content-Length: 38\r\n\r\nGET /admin HTTP/1.1\r\nHost: gw.test\r\n\r\n"},
		{"HTTP-14 CONNECT of a path", "CONNECT /public/x HTTP/1.1\r\n" + head + "\r\nGET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"},
		{"HTTP-15 CONNECT of our own", "CONNECT /.gatehouse/userinfo HTTP/1.1\r\n" + head + "\r\nGET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"},
	} {
		g.sub(row.id, func(t *testing.T, g *rig) {
			c := g.dial()
			fmt.Fprint(c, row.request)
			br := bufio.NewReader(c)
			g.denied(g.read(br, "CONNECT"), 405)
			if rest, err := io.ReadAll(br); len(rest) != 0 && strings.Contains(string(rest), "HTTP/1.1 2") {
				t.Errorf("went on after CONNECT: %q %v", rest, err)
			}
			g.untouched()
		})
	}
}

// script is an upstream that speaks raw TCP: one function for each connection.
func script(t *testing.T, serve func(c net.Conn, br *bufio.Reader)) (url string, conns *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = new(atomic.Int32)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String(), conns
}

// skip reads one request without a body.
func skip(br *bufio.Reader) (*http.Request, error) { return http.ReadRequest(br) }

func TestAnswerSmuggling(t *testing.T) {
	rows := []struct {
		id, answer string
		status     []int
		body       string
	}{
		{"HTTP-30 CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", []int{200, 502}, "ok"},
		{"HTTP-30 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok", []int{502}, ""},
		{"HTTP-30 bad status line", "HTTP/1.1\n200 OK\r\n\r\n", []int{502}, ""},
		{"HTTP-30 no name", "HTTP/1.1 200 OK\r\n : x\r\nContent-Length: 2\r\n\r\nok", []int{502}, ""},
		{"HTTP-30 bytes after the body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", []int{200}, "ok"},
		{"HTTP-18 unasked 101", "HTTP/1.1 101 Switching Protocols\r\n\r\nevil", []int{502}, ""},
		{"HTTP-18 unasked 101 with Upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nevil", []int{502}, ""},
		{"DOS-16 endless header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20), []int{502}, ""},
		{"DOS-16 no answer at all", "", []int{502}, ""},
	}
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
				for first := true; ; first = false {
					if _, err := skip(br); err != nil {
						return
					}
					if !first {
						fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
						continue
					}
					_, _ = io.WriteString(c, row.answer)
					if row.answer == "" {
						return
					}
				}
			})
			g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
			g.start(url, nil)
			c := g.dial()
			br := bufio.NewReader(c)
			request := "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"
			fmt.Fprint(c, request)
			a := g.read(br, "GET")
			ok := false
			for _, s := range row.status {
				ok = ok || s == a.StatusCode
			}
			if !ok || a.StatusCode == 200 && a.body != row.body {
				t.Fatalf("got %s %q, want one of %v", a.Status, a.body, row.status)
			}
			if strings.Contains(a.body, "127.0.0.1") || strings.Contains(a.body, "malformed") {
				t.Errorf("WEB-26 internals in %q", a.body)
			}
			if row.answer == "" {
				return
			}
			for range 3 {
				fmt.Fprint(c, request)
				if next := g.read(br, "GET"); strings.Contains(next.body, "evil") {
					t.Fatalf("left-over bytes reached the next request: %q", next.body)
				}
			}
		})
	}
}

func TestEarlyAnswer(t *testing.T) {
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Method == http.MethodPost {
				fmt.Fprint(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
		}
	})
	g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
	g.start(url, nil)
	t.Run("HTTP-31 early answer to an unread body", func(t *testing.T) {
		c := g.dial()
		fmt.Fprint(c, "POST /public/x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10485760\r\n\r\n"+strings.Repeat("a", 1000))
		br := bufio.NewReader(c)
		a := g.read(br, "POST")
		if a.StatusCode != 401 || a.body != "no" {
			t.Fatalf("got %s %q", a.Status, a.body)
		}
		// The rest of the body can't be told from a next request: there must be none.
		go fmt.Fprint(c, strings.Repeat("a", 1<<20)+"\r\nGET /public/y HTTP/1.1\r\nHost: gw.test\r\n\r\n")
		if next := g.read(br, "GET"); next.StatusCode == 200 {
			t.Error("the connection went on in the middle of a body")
		}
		want(t, "others", g.get("/public/z", "").body, "fine")
	})
}

func TestContinue(t *testing.T) {
	var conns *atomic.Int32
	answers := map[string]string{
		"/public/yes": "HTTP/1.1 100 Continue\r\n\r\n",
		"/public/no":  "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
		"/public/ok":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	}
	url, conns := script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Header.Get("Expect") == "" {
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
				continue
			}
			fmt.Fprint(c, answers[req.URL.Path])
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			if req.URL.Path == "/public/yes" {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		}
	})
	g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
	g.start(url, nil)
	ask := func(t *testing.T, path string) (io.Writer, *bufio.Reader) {
		c := g.dial()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", path)
		return c, bufio.NewReader(c)
	}
	t.Run("Expect goes end to end", func(t *testing.T) {
		w, br := ask(t, "/public/yes")
		first, err := br.ReadString('\n')
		if err != nil || !strings.HasPrefix(first, "HTTP/1.1 100") {
			t.Fatalf("got %q %v before the body", first, err)
		}
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, "hello")
		a := g.read(br, "POST")
		want(t, "status", a.StatusCode, 200)
		want(t, "body", a.body, "hello")
	})
	for path, status := range map[string]int{"/public/no": 403, "/public/ok": 200} {
		t.Run("HTTP-32 answer without 100, "+path, func(t *testing.T) {
			w, br := ask(t, path)
			a := g.read(br, "POST")
			if a.StatusCode == 100 { // net/http wants the body all the same, to keep the connection
				fmt.Fprint(w, "hello")
				a = g.read(br, "POST")
			}
			want(t, "status", a.StatusCode, status)
			for range 3 {
				want(t, "next", g.get("/public/next", "").body, "plain")
			}
		})
	}
	g.sub("FWD-24 refused without its body", func(t *testing.T, g *rig) {
		before := conns.Load()
		c := g.dial()
		fmt.Fprint(c, "POST /x HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-continue\r\nContent-Length: 10485760\r\n\r\n")
		a := g.read(bufio.NewReader(c), "POST")
		want(t, "status", a.StatusCode, 401)
		want(t, "closed", a.Close, true)
		want(t, "connections", conns.Load(), before)
	})
}

func TestInterimFlood(t *testing.T) {
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := skip(br); err != nil {
			return
		}
		for range 500 {
			fmt.Fprint(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Forwarded-User: root\r\nSet-Cookie: "+cookieName+"=x\r\n\r\n")
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
	g.start(url, nil)
	t.Run("HTTP-33 flood of 1xx answers", func(t *testing.T) {
		c := g.dial()
		fmt.Fprint(c, "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n")
		br := bufio.NewReader(c)
		hints := 0
		a := g.read(br, "GET")
		for ; a.StatusCode == 103; a = g.read(br, "GET") {
			hints++
			want(t, "Link", a.Header.Get("Link"), "</x>")
			if a.Header.Get("X-Forwarded-User") != "" || a.Header.Get("Set-Cookie") != "" {
				t.Fatalf("HDR-30 in a 1xx answer: %v", a.Header)
			}
		}
		want(t, "hints", hints, maxInterim)
		want(t, "status", a.StatusCode, 200)
		want(t, "request id after 1xx", len(a.Header.Get("X-Request-Id")), 32)
	})
}

func TestReplay(t *testing.T) {
	var posts atomic.Int32
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Method == http.MethodPost {
				_, _ = io.Copy(io.Discard, req.Body)
				posts.Add(1)
				if tcp, ok := c.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
				}
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
	g.start(url, nil)
	t.Run("HTTP-35 a POST is delivered at most once", func(t *testing.T) {
		for i := range 5 {
			want(t, "warm up", g.get("/public/x", "").StatusCode, 200)
			for _, more := range []string{"", "Idempotency-Key: 1\r\n"} {
				before := posts.Load()
				a := g.raw("POST /public/x HTTP/1.1\r\nHost: gw.test\r\n" + more + "Content-Length: 2\r\n\r\nhi")
				want(t, fmt.Sprint("status ", i), a.StatusCode, 502)
				want(t, "deliveries", posts.Load()-before, 1)
			}
		}
	})
}

func TestUpstreamTrouble(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
		g.start("http://"+ln.Addr().String(), nil)
		for _, more := range []string{"", navigation} {
			a := g.get("/public/x", more)
			want(t, "status", a.StatusCode, 502)
			for _, inner := range []string{"127.0.0.1", "refused", "dial"} {
				if strings.Contains(a.body, inner) {
					t.Errorf("WEB-26 the answer tells %q: %s", inner, a.body)
				}
			}
			if !strings.Contains(a.body, a.Header.Get("X-Request-Id")) {
				t.Errorf("no request id in %s", a.body)
			}
		}
		if !strings.Contains(g.log.String(), "connection refused") {
			t.Errorf("the log does not tell the cause:\n%s", g.log)
		}
	})
	t.Run("DOS-16 the upstream never answers", func(t *testing.T) {
		done := make(chan struct{})
		defer close(done)
		url, _ := script(t, func(_ net.Conn, br *bufio.Reader) {
			_, _ = skip(br)
			<-done
		})
		g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
		g.start(url, func(o *Options) { o.Upstreams[0].ResponseTimeout = config.Duration(50 * time.Millisecond) })
		want(t, "status", g.get("/public/x", "").StatusCode, 504)
	})
	t.Run("the client goes away while it waits", func(t *testing.T) {
		gone := make(chan struct{})
		g := newRig(t, nil)
		g.up.then = func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(gone)
		}
		c := g.dial()
		fmt.Fprint(c, "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n")
		await(t, func() bool { return len(g.up.all()) == 1 })
		c.Close()
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Fatal("the upstream was not told")
		}
		l := g.lines(1)[0]
		want(t, "aborted", l.Aborted, true)
		want(t, "status", l.Status, 0)
	})
	t.Run("the upstream breaks off", func(t *testing.T) {
		url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
			_, _ = skip(br)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		})
		g := &rig{t: t, up: &echo{}, log: &logs{}, ender: &ender{}}
		g.start(url, nil)
		a := g.get("/public/x", "")
		if !strings.Contains(a.body, "cut off") {
			t.Errorf("a broken answer passed for a whole one: %q", a.body)
		}
		want(t, "aborted", g.lines(1)[0].Aborted, true)
	})
}

func TestPanics(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Routes[0].Allow = nil
		mount := o.Routes[0].Mount
		o.Routes[0].Mount = func(mux *http.ServeMux) {
			mount(mux)
			mux.HandleFunc("/.gatehouse/boom", func(http.ResponseWriter, *http.Request) { panic("boom") })
			mux.HandleFunc("/.gatehouse/late", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, "half")
				panic(errors.New("late boom"))
			})
			mux.HandleFunc("/.gatehouse/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}
	})
	defer func() { g.log.mu.Lock(); g.log.b.Reset(); g.log.mu.Unlock() }() // the rig fails on panics it does not expect
	t.Run("DOS-17 panic containment", func(t *testing.T) {
		a := g.get("/.gatehouse/boom", "")
		want(t, "status", a.StatusCode, 500)
		if strings.Contains(a.body, "boom") {
			t.Errorf("the answer tells the cause: %s", a.body)
		}
		want(t, "logged", strings.Contains(g.log.String(), "boom"), true)
		late := g.get("/.gatehouse/late", "")
		if !strings.Contains(late.body+late.Status, "EOF") {
			t.Errorf("an answer that broke off looks whole: %s %q", late.Status, late.body)
		}
		want(t, "abort", g.get("/.gatehouse/abort", "").StatusCode, 0)
		want(t, "the gateway goes on", g.get("/public/x", "").StatusCode, 200)
		want(t, "upstream", len(g.up.all()), 1)
	})
}
