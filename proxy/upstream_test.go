package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

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

// always is an answer with another one behind it.
const always = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!"

func TestAnswerSmuggling(t *testing.T) {
	rows := []struct {
		id, answer string
		status     []int
		body       string
	}{
		{"HTTP-30 CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", []int{200, 502}, "ok"},
		{"HTTP-30 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok", []int{502}, ""},
		{"HTTP-30 bad status line", "HTTP/1.1\n200 OK\r\n\r\n", []int{502}, ""},
		{"HTTP-30 a status that is none", "HTTP/1.1 000 Nothing\r\nContent-Length: 2\r\n\r\nok", []int{502}, ""},
		{"HTTP-30 no name", "HTTP/1.1 200 OK\r\n : x\r\nContent-Length: 2\r\n\r\nok", []int{502}, ""},
		{"HTTP-30 bytes after the body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", []int{200}, "ok"},
		{"HTTP-30 bytes after every body", always, []int{200}, "ok"},
		{"HTTP-18 unasked 101", "HTTP/1.1 101 Switching Protocols\r\n\r\nevil", []int{502}, ""},
		{"HTTP-18 unasked 101 with Upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nevil", []int{502}, ""},
		{"DOS-16 endless header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20), []int{502}, ""},
		{"DOS-16 no answer at all", "", []int{502}, ""},
	}
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			var open atomic.Int32
			url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
				open.Add(1)
				defer open.Add(-1)
				for first := true; ; first = row.answer == always {
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
			g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
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
			if a.StatusCode == 502 {
				await(t, func() bool { return open.Load() == 0 })
			}
			for range 10 {
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
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
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
		"/public/yes":  "HTTP/1.1 100 Continue\r\n\r\n",
		"/public/no":   "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
		"/public/ok":   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"/public/head": "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n|no",
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
			head, rest, _ := strings.Cut(answers[req.URL.Path], "|")
			fmt.Fprint(c, head)
			if rest != "" {
				time.Sleep(50 * time.Millisecond) // the gateway has the head, and begins to read the client's body
				fmt.Fprint(c, rest)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			if req.URL.Path == "/public/yes" {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		}
	})
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
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
	for path, status := range map[string]int{"/public/no": 403, "/public/ok": 200, "/public/head": 403} {
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
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
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

func TestEndlessInterim(t *testing.T) {
	for name, link := range map[string]string{"small": "</x>", "large": strings.Repeat("x", 900<<10), "too large": strings.Repeat("x", 2<<20)} {
		t.Run("HTTP-33 endless 1xx answers, "+name, func(t *testing.T) {
			cut := make(chan struct{})
			url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
				if _, err := skip(br); err != nil {
					return
				}
				defer close(cut)
				for err := error(nil); err == nil; {
					_, err = fmt.Fprint(c, "HTTP/1.1 103 Early Hints\r\nLink: "+link+"\r\n\r\n")
				}
			})
			g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
			g.start(url, nil)
			c := g.dial()
			fmt.Fprint(c, "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n")
			br := bufio.NewReader(c)
			a := g.read(br, "GET")
			for a.StatusCode == 103 {
				a = g.read(br, "GET")
			}
			want(t, "status", a.StatusCode, 502)
			<-cut
		})
	}
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
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
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
		g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
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
		g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
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
		g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
		g.start(url, nil)
		a := g.get("/public/x", "")
		if !strings.Contains(a.body, "cut off") {
			t.Errorf("a broken answer passed for a whole one: %q", a.body)
		}
		want(t, "aborted", g.lines(1)[0].Aborted, true)
	})
}
