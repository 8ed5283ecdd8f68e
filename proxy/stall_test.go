package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestBodyLimit(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Upstreams[0].MaxBodySize = 10 })
	for body, status := range map[string]int{"": 200, "0123456789": 200, "0123456789a": 413, strings.Repeat("x", 1<<20): 413} {
		for _, length := range []int64{int64(len(body)), -1} {
			for _, h2 := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d bytes, length %d, h2 %v", len(body), length, h2), func(t *testing.T) {
					g.forget()
					req := g.request("POST", "/x", io.NopCloser(strings.NewReader(body)))
					if req.ContentLength = length; length == 0 {
						req.Body = nil
					}
					res, err := g.client(h2).Do(req)
					if err != nil {
						if status == 413 && len(body) > 1000 {
							return // cut off while it was still writing
						}
						t.Fatal(err)
					}
					defer res.Body.Close()
					want(t, "status", res.StatusCode, status)
					for _, s := range g.up.all() {
						if s.Err == nil && s.Body != body {
							t.Errorf("a cut body passed for a whole one: %q", s.Body)
						}
					}
				})
			}
		}
	}
}

func TestStalledUpload(t *testing.T) {
	const stall = 150 * time.Millisecond
	g := newRig(t, func(o *Options) { o.StallTimeout = stall })
	t.Run("DOS-02 a client that stands still", func(t *testing.T) {
		c := g.dial()
		fmt.Fprint(c, "POST /x HTTP/1.1\r\n"+head+"Content-Length: 10\r\n\r\nhalf")
		a := g.read(bufio.NewReader(c), "POST")
		want(t, "status", a.StatusCode, 408)
		await(t, func() bool { all := g.up.all(); return len(all) == 1 && all[0].Err != nil })
	})
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("one that moves is never cut, h2 %v", h2), func(t *testing.T) {
			g.forget()
			pr, pw := io.Pipe()
			go func() {
				for range 12 {
					fmt.Fprint(pw, "x")
					time.Sleep(stall / 4)
				}
				pw.Close()
			}()
			res, err := g.client(h2).Do(g.request("POST", "/x", pr))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			want(t, "status", res.StatusCode, 200)
			want(t, "body", g.last().Body, strings.Repeat("x", 12))
		})
		t.Run(fmt.Sprintf("a slow upstream is not the client's fault, h2 %v", h2), func(t *testing.T) {
			const patient = 600 * time.Millisecond
			slow := newRig(t, func(o *Options) { o.StallTimeout = patient })
			slow.up.then = func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(2 * patient)
				n, _ := io.Copy(io.Discard, r.Body)
				time.Sleep(3 * patient / 2) // and quiet before it answers
				fmt.Fprint(w, n)
			}
			const size = 8 << 20
			res, err := slow.client(h2).Do(slow.request("POST", "/x", &zeros{n: size}))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			want(t, "taken", string(body), fmt.Sprint(size))
		})
	}
	t.Run("the connection lives on after a body", func(t *testing.T) {
		c := g.dial()
		br := bufio.NewReader(c)
		for range 3 {
			fmt.Fprint(c, "POST /x HTTP/1.1\r\n"+head+"Content-Length: 2\r\n\r\nhi")
			want(t, "status", g.read(br, "POST").StatusCode, 200)
			time.Sleep(2 * stall)
		}
	})
}

func TestStalledDownload(t *testing.T) {
	const stall = 150 * time.Millisecond
	g := newRig(t, func(o *Options) { o.StallTimeout = stall })
	ended := make(chan error, 8)
	g.up.then = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quiet" {
			rc := http.NewResponseController(w)
			for range 3 {
				fmt.Fprint(w, "x")
				_ = rc.Flush()
				time.Sleep(3 * stall)
			}
			return
		}
		_, err := io.Copy(w, &zeros{n: 1 << 30})
		ended <- err
	}
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("DOS-03 a client that takes nothing, h2 %v", h2), func(t *testing.T) {
			res, err := g.client(h2).Do(g.request("GET", "/endless", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("a gigabyte went nowhere")
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the transfer was not given up")
			}
			if n, err := io.Copy(io.Discard, res.Body); err == nil {
				t.Errorf("a cut answer passed for a whole one of %d bytes", n)
			}
		})
		t.Run(fmt.Sprintf("a quiet upstream is never cut, h2 %v", h2), func(t *testing.T) {
			res, err := g.client(h2).Do(g.request("GET", "/quiet", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			want(t, "body", string(body), "xxx")
			want(t, "error", err, nil)
		})
		t.Run(fmt.Sprintf("a slow client is never cut, h2 %v", h2), func(t *testing.T) {
			const patient = 800 * time.Millisecond
			slow := newRig(t, func(o *Options) { o.StallTimeout = patient })
			slow.up.then = g.up.then
			res, err := slow.client(h2).Do(slow.request("GET", "/endless", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for end := time.Now().Add(3 * patient); time.Now().Before(end); time.Sleep(patient / 100) {
				if _, err := io.CopyN(io.Discard, res.Body, 512<<10); err != nil {
					t.Fatalf("cut off: %v", err)
				}
			}
			res.Body.Close()
			<-ended
		})
	}
	t.Run("DOS-03 small answers that nobody reads", func(t *testing.T) {
		quick := newRig(t, func(o *Options) { o.StallTimeout = stall; o.Access = false })
		quick.up.then = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 3000)) }
		c := quick.dial()
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(4096)
		}
		request := []byte("GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n")
		for {
			if _, err := c.Write(request); err != nil {
				if errors.Is(err, net.ErrClosed) {
					t.Fatal(err)
				}
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					t.Fatal("the gateway waits for ever")
				}
				return
			}
		}
	})
}

func TestRefusedBody(t *testing.T) {
	g := newRig(t, nil)
	t.Run("WEB-24 a small body is read, and the connection goes on", func(t *testing.T) {
		c := g.dial()
		br := bufio.NewReader(c)
		for range 2 {
			fmt.Fprint(c, "POST /graphql HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 9000\r\n\r\n"+strings.Repeat("x", 9000))
			want(t, "status", g.read(br, "POST").StatusCode, 401)
		}
		g.untouched()
	})
	for _, request := range []string{
		"POST /x HTTP/1.1\r\nHost: gw.test\r\n", "POST /x HTTP/1.1\r\nHost: evil.test\r\n", "POST /.gatehouse/nothing HTTP/1.1\r\nHost: gw.test\r\n",
		"POST /x HTTP/1.1\r\nHost: gw.test\r\nCookie: " + cookieName + "=outage\r\n",
	} {
		t.Run("DOS-02 a small body that never comes "+request, func(t *testing.T) {
			g := newRig(t, nil)
			g.gw.drainTimeout = 100 * time.Millisecond
			a := g.raw(request + "Content-Length: 1000\r\n\r\nhalf")
			if a.StatusCode < 400 || !a.Close {
				t.Errorf("got %s, closed %v", a.Status, a.Close)
			}
		})
	}
	t.Run("FWD-24 a body that never comes", func(t *testing.T) {
		c := g.dial()
		fmt.Fprint(c, "POST /x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10485760\r\n\r\n")
		a := g.read(bufio.NewReader(c), "POST")
		want(t, "status", a.StatusCode, 401)
		want(t, "closed", a.Close, true)
	})
}

func TestNothingIsLeftBehind(t *testing.T) {
	g := newRig(t, nil)
	g.up.sockets(t)
	sockets := g.up.then
	g.up.then = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/live":
			sockets(w, r)
		case "/slow":
			<-r.Context().Done()
		default:
			_, _ = io.Copy(w, r.Body)
			_, _ = io.Copy(w, &zeros{n: 4 << 20})
		}
	}
	abandon := []string{
		"GET /x HT", // in the header
		"POST /x HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf",
		"POST /x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 100\r\n\r\nhalf", // refused
		"GET /slow HTTP/1.1\r\n" + head + "\r\n",
		"GET /large HTTP/1.1\r\n" + head + "\r\n",
		"GET /live HTTP/1.1\r\n" + head + handshake + "Origin: " + gwURL + "\r\n\r\n",
	}
	once := func() {
		for i, request := range abandon {
			c := g.dial()
			fmt.Fprint(c, request)
			if i >= 4 {
				_, _ = c.Read(make([]byte, 16))
			}
			c.Close()
		}
	}
	once()
	g.get("/.gatehouse/signed-out", "")
	t.Run("DOS-11 aborted requests", func(t *testing.T) {
		await(t, func() bool { return len(g.up.all()) >= 2 })
		g.gw.Close()
		before := runtime.NumGoroutine()
		for range 40 {
			once()
		}
		await(t, func() bool {
			g.gw.Close()
			return runtime.NumGoroutine() <= before+5
		})
	})
}
