package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

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
