package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// newDirect is a transport to a scripted upstream.
func newDirect(t testing.TB, address string, limit time.Duration) *direct {
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	d := &direct{limit: limit, rest: &http.Transport{}, lent: &buffers{}, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	}}
	t.Cleanup(d.CloseIdleConnections)
	return d
}

// ask sends a request and reads its answer whole.
func ask(d http.RoundTripper, r *http.Request) (res *http.Response, body string, err error) {
	if res, err = d.RoundTrip(r); err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

func newRequest(t testing.TB, method, address, body string) *http.Request {
	var from io.Reader
	if body != "" {
		from = struct{ io.Reader }{strings.NewReader(body)} // of no length that anybody knows
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address+"/x", from)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// replying serves each connection: it reads a request with its body and gives the
// answers in turn, the last of them for ever.
func replying(t *testing.T, answers ...string) (address string, conns *atomic.Int32) {
	var turn atomic.Int32
	return script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			i := min(int(turn.Add(1))-1, len(answers)-1)
			text, closes := strings.CutSuffix(answers[i], "[close]")
			now, later, more := strings.Cut(text, "[later]")
			_, _ = io.WriteString(c, now)
			if more {
				time.Sleep(20 * time.Millisecond)
				_, _ = io.WriteString(c, later)
			}
			if closes {
				return
			}
		}
	})
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"

// TestDirectReuse: HTTP-30, when a connection serves another request.
func TestDirectReuse(t *testing.T) {
	rows := map[string]struct {
		method, body, answer string
		read                 string // of the answer's body
		again                bool   // on the same connection
	}{
		"a length":                      {"GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true},
		"no body":                       {"GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true},
		"chunks":                        {"GET", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", "ok", true},
		"HEAD":                          {"HEAD", "", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", "", true},
		"204":                           {"DELETE", "", "HTTP/1.1 204 No Content\r\n\r\n", "", true},
		"304 with a length":             {"GET", "", "HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n", "", true},
		"100 and 103 before":            {"GET", "", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true},
		"HTTP/1.0 that stays":           {"GET", "", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "ok", true},
		"a body up":                     {"POST", "hello", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true},
		"a long body up":                {"PUT", strings.Repeat("hello", 1<<18), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true},
		"close":                         {"GET", "", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok[close]", "ok", false},
		"close, though it stays":        {"GET", "", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", false},
		"HTTP/1.0":                      {"GET", "", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false},
		"no length":                     {"GET", "", "HTTP/1.1 200 OK\r\n\r\nok[close]", "ok", false},
		"more at once":                  {"GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "ok", false},
		"more later":                    {"GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok[later]HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "ok", false},
		"a body to HEAD":                {"HEAD", "", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "", false},
		"a body with 204":               {"GET", "", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "", false},
		"a body with 304":               {"GET", "", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", "", false},
		"bytes behind the last chunk":   {"GET", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "ok", false},
		"closed while it was idle":      {"GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok[close]", "ok", false},
		"an interim answer in the idle": {"GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok[later]HTTP/1.1 100 Continue\r\n\r\n", "ok", false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			address, conns := replying(t, row.answer, fine)
			d := newDirect(t, address, time.Minute)
			_, body, err := ask(d, newRequest(t, row.method, address, row.body))
			if err != nil || body != row.read {
				t.Fatalf("got %q, %v", body, err)
			}
			time.Sleep(50 * time.Millisecond) // for what comes later
			if _, body, err = ask(d, newRequest(t, "GET", address, "")); err != nil || body != "fine" {
				t.Errorf("next: %q, %v", body, err)
			}
			want(t, "the same connection", conns.Load() == 1, row.again)
		})
	}
}

// TestDirectUnread: an answer that nobody has read to its end ends its connection.
func TestDirectUnread(t *testing.T) {
	address, conns := replying(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi", fine)
	d := newDirect(t, address, time.Minute)
	res, err := d.RoundTrip(newRequest(t, "GET", address, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if _, body, err := ask(d, newRequest(t, "GET", address, "")); err != nil || body != "fine" {
		t.Errorf("next: %q, %v", body, err)
	}
	want(t, "connections", conns.Load(), 2)
}

// TestDirectRepeats: a request on a connection that ends with it is sent again only
// if it may be.
func TestDirectRepeats(t *testing.T) {
	for method, body := range map[string]string{"GET": "", "HEAD": "", "OPTIONS": "", "DELETE": "", "POST": "", "PUT": "x", "PATCH": "x"} {
		t.Run(method, func(t *testing.T) {
			may := method == "GET" || method == "HEAD" || method == "OPTIONS"
			length := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
			address, conns := replying(t, length, "[close]", length)
			d := newDirect(t, address, time.Minute)
			if _, _, err := ask(d, newRequest(t, "GET", address, "")); err != nil {
				t.Fatal(err)
			}
			_, _, err := ask(d, newRequest(t, method, address, body))
			if may != (err == nil) {
				t.Errorf("err %v", err)
			}
			if !may && !errors.Is(err, errNoAnswer) {
				t.Errorf("err %v", err)
			}
			want(t, "another connection", conns.Load() == 2, may)
		})
	}
	t.Run("not on a fresh one", func(t *testing.T) {
		address, conns := replying(t, "[close]")
		if _, _, err := ask(newDirect(t, address, time.Minute), newRequest(t, "GET", address, "")); !errors.Is(err, errNoAnswer) {
			t.Errorf("err %v", err)
		}
		want(t, "connections", conns.Load(), 1)
	})
	t.Run("not after a part of an answer", func(t *testing.T) {
		address, conns := replying(t, fine, "HTTP/1.1 2[close]")
		d := newDirect(t, address, time.Minute)
		if _, _, err := ask(d, newRequest(t, "GET", address, "")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ask(d, newRequest(t, "GET", address, "")); err == nil {
			t.Error("no error")
		}
		want(t, "connections", conns.Load(), 1)
	})
}

// TestDirectLimits: nothing is waited for without end, nor longer than its request.
func TestDirectLimits(t *testing.T) {
	timedOut := func(err error) bool {
		var n net.Error
		return errors.As(err, &n) && n.Timeout()
	}
	t.Run("no answer", func(t *testing.T) {
		address, conns := replying(t, fine, "")
		d := newDirect(t, address, 50*time.Millisecond)
		for i, ok := range []bool{true, false} {
			if _, _, err := ask(d, newRequest(t, "GET", address, "")); ok != (err == nil) || !ok && !timedOut(err) {
				t.Errorf("%d: %v", i, err)
			}
		}
		want(t, "connections", conns.Load(), 1)
	})
	t.Run("half a header", func(t *testing.T) {
		address, _ := replying(t, "HTTP/1.1 200 OK\r\nX: ")
		if _, _, err := ask(newDirect(t, address, 50*time.Millisecond), newRequest(t, "POST", address, "x")); !timedOut(err) {
			t.Errorf("err %v", err)
		}
	})
	t.Run("a slow body is waited for", func(t *testing.T) {
		address, _ := replying(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl[later]ow")
		if _, body, err := ask(newDirect(t, address, 10*time.Millisecond), newRequest(t, "POST", address, "x")); err != nil || body != "slow" {
			t.Errorf("%q, %v", body, err)
		}
	})
	t.Run("too large a header", func(t *testing.T) {
		for _, before := range []string{"", "HTTP/1.1 103 Early Hints\r\n\r\n"} {
			address, _ := replying(t, before+"HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxAnswerHeader)+"\r\n\r\n[close]")
			if _, _, err := ask(newDirect(t, address, time.Minute), newRequest(t, "GET", address, "")); !errors.Is(err, errAnswerHeader) {
				t.Errorf("err %v", err)
			}
		}
	})
	t.Run("the request ends", func(t *testing.T) {
		for name, answer := range map[string]string{"before the answer": "", "in it": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"} {
			address, _ := replying(t, answer)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			_, _, err := ask(newDirect(t, address, time.Minute), newRequest(t, "GET", address, "").WithContext(ctx))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestDirectBodies: whose fault a body is that can't be sent.
func TestDirectBodies(t *testing.T) {
	broken := errors.New("broken")
	t.Run("can't be read", func(t *testing.T) {
		address, conns := replying(t, fine)
		d := newDirect(t, address, time.Minute)
		if _, _, err := ask(d, newRequest(t, "GET", address, "")); err != nil {
			t.Fatal(err)
		}
		r := newRequest(t, "POST", address, "")
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{broken})), -1
		if _, _, err := ask(d, r); !errors.Is(err, broken) {
			t.Errorf("err %v", err)
		}
		want(t, "connections", conns.Load(), 1)
		if _, body, err := ask(d, newRequest(t, "GET", address, "")); err != nil || body != "fine" {
			t.Errorf("next: %q, %v", body, err)
		}
		want(t, "connections", conns.Load(), 2)
	})
	t.Run("isn't wanted", func(t *testing.T) {
		address, _ := script(t, func(c net.Conn, br *bufio.Reader) {
			if _, err := http.ReadRequest(br); err == nil {
				fmt.Fprint(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
			}
		})
		r := newRequest(t, "POST", address, "")
		r.Body, r.ContentLength = io.NopCloser(&zeros{n: 1 << 40}), 1<<40
		res, body, err := ask(newDirect(t, address, time.Minute), r)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || body != "no" {
			t.Errorf("%v %q, %v", res, body, err)
		}
	})
	t.Run("nobody to send it to", func(t *testing.T) {
		d := newDirect(t, "http://127.0.0.1:1", time.Minute)
		r := newRequest(t, "POST", "http://127.0.0.1:1", "x")
		closed := false
		r.Body = closing{r.Body, &closed}
		if _, _, err := ask(d, r); err == nil || !closed {
			t.Errorf("err %v, closed %v", err, closed)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type closing struct {
	io.ReadCloser
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return c.ReadCloser.Close() }

// TestDirectSweep: what is idle and gone is let go without another request.
func TestDirectSweep(t *testing.T) {
	stay := make(chan struct{})
	address, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			fmt.Fprint(c, fine)
			<-stay
		}
	})
	d := newDirect(t, address, time.Minute)
	if _, _, err := ask(d, newRequest(t, "GET", address, "")); err != nil {
		t.Fatal(err)
	}
	idle := func() int { d.mu.Lock(); defer d.mu.Unlock(); return len(d.idle) }
	d.sweep()
	want(t, "idle", idle(), 1)
	d.mu.Lock()
	want(t, "swept again", d.sweeping != nil, true)
	d.mu.Unlock()
	close(stay)
	await(t, func() bool { d.sweep(); return idle() == 0 })
	d.mu.Lock()
	want(t, "swept again", d.sweeping != nil, false)
	d.mu.Unlock()
}

// TestDirectElsewhere: what goes to the standard transport.
func TestDirectElsewhere(t *testing.T) {
	for name, change := range map[string]func(r *http.Request){
		"an upgrade":    func(r *http.Request) { r.Header["Upgrade"] = []string{"websocket"} },
		"Expect":        func(r *http.Request) { r.Header["Expect"] = []string{"100-continue"} },
		"a bad name":    func(r *http.Request) { r.Header["a b"] = []string{"x"} },
		"a bad value":   func(r *http.Request) { r.Header["A"] = []string{"x\ny"} },
		"a bad method":  func(r *http.Request) { r.Method = "GE T" },
		"a bad host":    func(r *http.Request) { r.Host = "a b" },
		"no host":       func(r *http.Request) { r.URL.Host = "" },
		"to be closed":  func(r *http.Request) { r.Close = true },
		"odd encodings": func(r *http.Request) { r.TransferEncoding = []string{"gzip"} },
	} {
		r := newRequest(t, "GET", "http://a.test", "")
		want(t, name+": as it was", plain(r), true)
		change(r)
		want(t, name, plain(r), false)
	}
}

// FuzzDirect holds the answers that it takes against http.Transport's, and lets no
// byte of one answer be another's.
func FuzzDirect(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil", "HTTP/1.1 204 No Content\r\n\r\nevil",
		"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
		"HTTP/1.1 101 Switching\r\n\r\nevil", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nokevil", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "next") {
			return
		}
		first := func(d interface {
			http.RoundTripper
			CloseIdleConnections()
		}, address string) string {
			defer d.CloseIdleConnections()
			interim := ""
			trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				interim += fmt.Sprint(code, h, "\n")
				return nil
			}}
			r := newRequest(t, "GET", address, "")
			res, body, err := ask(d, r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
			if res == nil || res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode < 100 { // the last is an error with us
				return "error"
			}
			for range 2 {
				if _, next, err := ask(d, newRequest(t, "GET", address, "")); err == nil && next != "next" {
					t.Errorf("the next answer is %q", next)
				}
			}
			return fmt.Sprint(interim, res.Status, res.Header, res.Trailer, body, err != nil)
		}
		// Each connection: the answer, and then the next one if somebody dares to ask.
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		var turn atomic.Int32
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for br := bufio.NewReader(c); ; {
						if _, err := http.ReadRequest(br); err != nil {
							return
						}
						if turn.Add(1) > 1 {
							fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
							continue
						}
						_, _ = io.WriteString(c, text)
						_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // and then it closes
					}
				}()
			}
		}()
		address := "http://" + ln.Addr().String()
		ours := first(newDirect(t, address, time.Second), address)
		turn.Store(0)
		theirs := first(&http.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHeader}, address)
		if ours != theirs {
			t.Errorf("%q\nours:   %q\ntheirs: %q", text, ours, theirs)
		}
	})
}

// TestDirectKeepsNothingOnceClosed: what is under way when the gateway closes is not
// kept for anybody.
func TestDirectKeepsNothingOnceClosed(t *testing.T) {
	address, _ := replying(t, fine)
	d := newDirect(t, address, time.Minute)
	res, err := d.RoundTrip(newRequest(t, "GET", address, ""))
	if err != nil {
		t.Fatal(err)
	}
	d.CloseIdleConnections()
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	want(t, "idle", len(d.idle), 0)
	want(t, "swept", d.sweeping == nil, true)
}

// TestDirectUnsendable: a request that can't be written is nobody's fault but its
// own, and waits for nothing.
func TestDirectUnsendable(t *testing.T) {
	address, _ := replying(t, fine)
	d := newDirect(t, address, time.Minute)
	r := newRequest(t, "POST", address, "abc")
	r.ContentLength = 5
	start := time.Now()
	if _, _, err := ask(d, r); err == nil || !strings.Contains(err.Error(), "ContentLength") {
		t.Errorf("err %v", err)
	}
	if took := time.Since(start); took > lastWords {
		t.Errorf("took %s", took)
	}
}

// sizes notes how much is read, or written, at once.
type sizes struct {
	net.Conn
	answers []int // of Read
	asked   []int
	written []int
	limits  int
}

func (s *sizes) Read(p []byte) (int, error) {
	s.asked = append(s.asked, len(p))
	if len(s.answers) == 0 {
		return 0, io.EOF
	}
	n := s.answers[0]
	s.answers = s.answers[1:]
	return n, nil
}

func (s *sizes) Write(p []byte) (int, error) {
	s.written = append(s.written, len(p))
	return len(p), nil
}

func (s *sizes) SetWriteDeadline(time.Time) error { s.limits++; return nil }

// TestDirectBuffers: a slow upload holds a small buffer, and whoever takes some
// bytes has time for the next.
func TestDirectBuffers(t *testing.T) {
	from, to := &sizes{answers: []int{2, smallBuffer, largeBuffer, smallBuffer, 7}}, &sizes{}
	l := &link{Conn: to, limit: time.Minute, lent: &buffers{}}
	n, err := l.ReadFrom(from)
	if err != nil || n != 2+2*smallBuffer+largeBuffer+7 {
		t.Fatal(n, err)
	}
	want(t, "asked for", fmt.Sprint(from.asked), fmt.Sprint([]int{smallBuffer, smallBuffer, largeBuffer, largeBuffer, largeBuffer, smallBuffer}))
	for _, w := range to.written {
		if w > mostAtOnce {
			t.Errorf("%d bytes at once", w)
		}
	}
	want(t, "limits", to.limits, len(to.written))
}

// TestDirectPoison: a request that makes the upstream close its connection is not sent
// over every other one.
func TestDirectPoison(t *testing.T) {
	var poison atomic.Int32
	meet := make(chan struct{})
	address, conns := script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if r.URL.Path == "/poison" {
				poison.Add(1)
				return
			}
			<-meet
			fmt.Fprint(c, fine)
		}
	})
	g := newRig(t, func(o *Options) { o.Upstreams[0].URL = address })
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { g.get("/x", aliceOnly) })
	}
	await(t, func() bool { return conns.Load() == 20 })
	close(meet)
	all.Wait()
	want(t, "status", g.get("/poison", aliceOnly).StatusCode, 502)
	want(t, "sent", poison.Load(), 2)
}
