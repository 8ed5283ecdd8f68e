package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// TestAnswerBeforeTheBodyIsRead: an upstream that answers before it has read the body leaves
// the transport reading in it when the handler is done. To set a deadline then
// was to crash the whole process (HTTP-31).
func TestAnswerBeforeTheBodyIsRead(t *testing.T) {
	g := newRig(t, nil)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "no")
		_ = http.NewResponseController(w).Flush()
	}))
	defer up.Close()
	g.start(up.URL, nil)
	client := g.client(true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 60 {
				res, err := client.Do(g.request("POST", "/public/x", &zeros{n: 400 << 10}))
				if err != nil {
					continue // cut off; that is the upstream's doing
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	wg.Wait()
	if a := g.get("/public/y", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("afterwards: %d", a.StatusCode)
	}
}

// TestTunnelReset: a client that resets its WebSocket while the upstream sends
// is counted without a race.
func TestTunnelReset(t *testing.T) {
	up := answering(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			if _, err := c.Write(make([]byte, 100)); err != nil {
				return
			}
		}
	})
	g := newRig(t, nil)
	g.start(up, nil)
	for range 20 {
		c := g.dial()
		fmt.Fprintf(c, "GET /public/ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", gwHost)
		for range 5 {
			_, _ = c.Read(make([]byte, 1000))
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// TestInterimForOldClients: HTTP/1.0 knows no 1xx (RFC 9110, section 15.2); such
// a client would take it for the answer.
func TestInterimForOldClients(t *testing.T) {
	up := answering(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	g := newRig(t, nil)
	g.start(up, nil)
	c := g.dial()
	fmt.Fprintf(c, "GET /public/x HTTP/1.0\r\nHost: %s\r\n\r\n", gwHost)
	if b, _ := io.ReadAll(c); strings.Contains(string(b), "103 Early") || !strings.HasPrefix(string(b), "HTTP/1.0 200 OK") {
		t.Errorf("an HTTP/1.0 client gets %q", b)
	}
}

// TestUpstreamStopsReading: an upstream that takes no more of an upload is given
// up after its time, though the client has gone without a word.
func TestUpstreamStopsReading(t *testing.T) {
	release := make(chan struct{})
	up := answering(t, func(net.Conn) { <-release })
	g := newRig(t, nil)
	g.start(up, func(o *Options) { o.Upstreams[0].ResponseTimeout = config.Duration(300 * time.Millisecond) })
	c := g.dial()
	fmt.Fprintf(c, "POST /public/x HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", gwHost, 1<<30)
	sent := make(chan struct{})
	go func() { _, _ = io.Copy(c, &zeros{n: 1 << 30}); close(sent) }()
	b, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(b), "HTTP/1.1 504 ") && !strings.HasPrefix(string(b), "HTTP/1.1 502 ") {
		t.Errorf("the client gets %q, want 504", b)
	}
	_ = c.Close()
	<-sent
	close(release)
}

// answering is an upstream of raw TCP that takes one request's header and goes on by itself.
func answering(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			serve(c)
		}
	})
	return url
}

// TestInterimForHTTP2: an upstream's 1xx answers stay away from HTTP/2 clients,
// whose server may still be reading the last one's headers.
func TestInterimForHTTP2(t *testing.T) {
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", 3)+"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	g.start(url, nil)
	seen := 0
	r := g.request("GET", "/public/x", nil)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { seen++; return nil }}))
	res, err := g.client(true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || string(body) != "ok" || seen != 0 || len(res.Header["Link"]) > 0 {
		t.Errorf("%q %v, %d early, %v", body, err, seen, res.Header)
	}
}

// TestNobodyToUpload: who stands still in an upload hears at once that there is
// nobody to send it to, and no goroutine waits for the rest.
func TestNobodyToUpload(t *testing.T) {
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	g.start("http://127.0.0.1:1", nil) // and StallTimeout is 20s
	c := g.dial()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /public/x HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\na", gwHost)
	want(t, "status", g.read(bufio.NewReader(c), "POST").StatusCode, 502)
}

// TestEarlyEmptyAnswer: an answer without a body does not wait for the end of the
// client's.
func TestEarlyEmptyAnswer(t *testing.T) {
	for answer, status := range map[string]int{
		"HTTP/1.1 204 No Content\r\n\r\n": 204, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n": 413,
	} {
		url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
			if _, err := http.ReadRequest(br); err == nil {
				_, _ = io.WriteString(c, answer)
				_, _ = io.Copy(io.Discard, br)
			}
		})
		g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
		g.start(url, nil)
		c := g.dial()
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /public/x HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\na", gwHost)
		want(t, "status", g.read(bufio.NewReader(c), "POST").StatusCode, status)
		c.Close()
	}
}

// TestUploadsKeepConnections: uploads don't cost a connection each, whatever they
// come over and however they say how long they are.
func TestUploadsKeepConnections(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, length := range []int64{-1, 5} {
			t.Run(fmt.Sprintf("http2 %v, length %d", http2, length), func(t *testing.T) {
				url, conns := replying(t, "HTTP/1.1 204 No Content\r\n\r\n")
				g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
				g.start(url, nil)
				client := g.client(http2)
				for range 300 {
					r := g.request("POST", "/public/x", struct{ io.Reader }{strings.NewReader("hello")})
					r.ContentLength = length
					res, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
				}
				if n := conns.Load(); n > 3 {
					t.Errorf("%d connections", n)
				}
				d := g.gw.upstreams[0].transport.(*direct)
				d.mu.Lock()
				defer d.mu.Unlock()
				if len(d.idle) == 0 {
					t.Error("they went elsewhere")
				}
			})
		}
	}
}
