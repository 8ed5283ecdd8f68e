package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn/authntest"
)

// zeros is a body of n bytes that notes how far it has been read.
type zeros struct {
	n    int64
	read atomic.Int64
	mark func(read int64)
}

func (z *zeros) Read(p []byte) (int, error) {
	left := z.n - z.read.Load()
	if left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), left)
	clear(p[:n])
	z.read.Add(n)
	if z.mark != nil {
		z.mark(z.read.Load())
	}
	return int(n), nil
}

// client is an ordinary client that reaches the gateway under its name.
func (g *rig) client(h2 bool) *http.Client {
	t := &http.Transport{
		DisableCompression: true,
		DialContext:        (&net.Dialer{}).DialContext,
	}
	if h2 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	g.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (g *rig) request(method, target string, body io.Reader) *http.Request {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.server.URL+target, body)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Host = gwHost
	req.AddCookie(&http.Cookie{Name: cookieName, Value: "alice"})
	return req
}

func TestLargeBodies(t *testing.T) {
	const size = 64 << 20
	g := newRig(t, nil)
	var most atomic.Uint64
	mark := func(read int64) {
		if read%(16<<20) == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapInuse))
		}
	}
	g.up.then = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = io.Copy(w, &zeros{n: size, mark: mark})
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}
	for _, h2 := range []bool{false, true} {
		c := g.client(h2)
		for _, length := range []int64{size, -1} {
			t.Run(fmt.Sprintf("up, h2 %v, length %d", h2, length), func(t *testing.T) {
				var before runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				most.Store(0)
				req := g.request("PUT", "/up", &zeros{n: size, mark: mark})
				req.ContentLength = length
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, _ := io.ReadAll(res.Body)
				want(t, "taken", string(body), fmt.Sprint(size, " <nil>"))
				flat(t, before.HeapInuse, most.Load())
			})
		}
		t.Run(fmt.Sprintf("down, h2 %v", h2), func(t *testing.T) {
			var before runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			most.Store(0)
			res, err := c.Do(g.request("GET", "/down", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			n, err := io.Copy(io.Discard, res.Body)
			want(t, "bytes", n, size)
			want(t, "error", err, nil)
			flat(t, before.HeapInuse, most.Load())
		})
	}
}

// flat fails if memory has grown with the body.
func flat(t *testing.T, before, most uint64) {
	t.Helper()
	if most > before+32<<20 {
		t.Errorf("the heap went from %d MiB to %d MiB", before>>20, most>>20)
	}
}

func TestNothingIsHeldBack(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, kind := range []string{"text/event-stream", "application/json", "length", "header first"} {
			t.Run(fmt.Sprintf("%s, h2 %v", kind, h2), func(t *testing.T) {
				g := newRig(t, nil)
				next, done := make(chan string), make(chan struct{})
				defer close(done)
				g.up.then = func(w http.ResponseWriter, r *http.Request) {
					rc := http.NewResponseController(w)
					if strings.HasPrefix(kind, "length") || kind == "header first" {
						w.Header().Set("Content-Length", "8")
					} else {
						w.Header().Set("Content-Type", kind)
					}
					if kind == "header first" {
						_ = rc.Flush()
					}
					for {
						select {
						case s := <-next:
							fmt.Fprint(w, s)
							_ = rc.Flush()
						case <-r.Context().Done():
							return
						case <-done:
							return
						}
					}
				}
				send := func(s string) {
					select {
					case next <- s:
					case <-time.After(10 * time.Second):
						t.Error("the upstream does not take any more")
					}
				}
				if kind != "header first" {
					go send("one;")
				}
				res, err := g.client(h2).Do(g.request("GET", "/stream", nil))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if kind == "header first" {
					go send("one;")
				}
				for _, s := range []string{"one;", "two;"} {
					buf := make([]byte, 4)
					if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != s {
						t.Fatalf("got %q %v, want %q", buf, err, s)
					}
					if s == "one;" {
						go send("two;")
					}
				}
			})
		}
	}
}

func TestBothWaysAtOnce(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2 %v", h2), func(t *testing.T) {
			g := newRig(t, nil)
			g.up.then = func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				if err := rc.EnableFullDuplex(); err != nil {
					t.Error(err)
				}
				br := bufio.NewReader(r.Body)
				for {
					line, err := br.ReadString('\n')
					if err != nil {
						return
					}
					fmt.Fprint(w, "got ", line)
					_ = rc.Flush()
				}
			}
			pr, pw := io.Pipe()
			go fmt.Fprintln(pw, "first")
			res, err := g.client(h2).Do(g.request("POST", "/mcp", pr))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			br := bufio.NewReader(res.Body)
			for _, s := range []string{"first", "second", "third"} {
				if s != "first" {
					fmt.Fprintln(pw, s)
				}
				if line, err := br.ReadString('\n'); err != nil || line != "got "+s+"\n" {
					t.Fatalf("%q %v", line, err)
				}
			}
			pw.Close()
			if rest, err := io.ReadAll(br); err != nil || len(rest) != 0 {
				t.Errorf("%q %v", rest, err)
			}
		})
	}
}

func TestTrailers(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HDR-12 h2 %v", h2), func(t *testing.T) {
			g := newRig(t, nil)
			got := make(chan http.Header, 1)
			g.up.then = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Trailer", "X-Sum, X-Forwarded-User, X_Gatehouse_Route")
				_, _ = io.Copy(io.Discard, r.Body)
				got <- r.Trailer
				fmt.Fprint(w, "body")
				w.Header().Set("X-Sum", "42")
				w.Header().Set("X-Forwarded-User", "root")
				w.Header().Set(http.TrailerPrefix+"X-Late", "1")
				w.Header().Set(http.TrailerPrefix+"X-Gatehouse-Subject", "root")
				w.Header().Set(http.TrailerPrefix+"Set-Cookie", cookieName+"=x")
			}
			req := g.request("POST", "/x", io.NopCloser(strings.NewReader("hello")))
			req.ContentLength = -1
			req.Trailer = http.Header{
				"X-Checksum": {"abc"}, "X-Forwarded-User": {"eve"}, "X_forwarded_groups": {"admin"}, "X-Gatehouse-Subject": {"eve"},
				"Authorization": {"Bearer eve"}, "Cookie": {"a=b"}, "X-Empty": nil,
			}
			if h2 {
				delete(req.Trailer, "Authorization") // the server refuses it by itself
			}
			res, err := g.client(h2).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
			up := <-got
			want(t, "X-Checksum", up.Get("X-Checksum"), "abc")
			for name := range up {
				if name != "X-Checksum" && name != "X-Empty" {
					t.Errorf("the upstream got the trailer %s: %q", name, up[name])
				}
			}
			want(t, "X-Sum", res.Trailer.Get("X-Sum"), "42")
			want(t, "X-Late", res.Trailer.Get("X-Late"), "1")
			for name := range res.Trailer {
				if name != "X-Sum" && name != "X-Late" {
					t.Errorf("the client got the trailer %s: %q", name, res.Trailer[name])
				}
			}
		})
	}
	g := newRig(t, nil)
	chunked := "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n"
	g.sub("HDR-12 unannounced trailers", func(t *testing.T, g *rig) {
		a := g.raw(chunked + "Trailer: X-Ok\r\n\r\n2\r\nhi\r\n0\r\nX-Ok: 1\r\nX-Forwarded-User: eve\r\nX-Other: 2\r\nCookie: x=y\r\n\r\n")
		want(t, "status", a.StatusCode, 200)
		want(t, "trailers", fmt.Sprint(g.last().Trailer), "map[X-Ok:[1]]")
	})
	g.sub("HDR-12 announcement without a trailer", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/x", aliceOnly+"Trailer: X-Forwarded-User\r\n").StatusCode, 200)
		if v, ok := g.last().Header["Trailer"]; ok {
			t.Errorf("the upstream got Trailer: %q", v)
		}
	})
	g.sub("HTTP-27 trailers without measure", func(t *testing.T, g *rig) {
		want(t, "announced", g.raw(chunked+"Trailer: "+strings.Repeat("X,", 60<<10)+"\r\n\r\n0\r\n\r\n").StatusCode, 431)
		a := g.raw(chunked + "\r\n0\r\n" + strings.Repeat("X-A: b\r\n", 20000) + "\r\n")
		if a.StatusCode == 200 {
			t.Error("140 KB of trailers were taken")
		}
	})
}

func TestBodiesAreNotTouched(t *testing.T) {
	g := newRig(t, nil)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	fmt.Fprint(zw, strings.Repeat("hello ", 1000))
	zw.Close()
	g.up.then = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Encoding", r.Header.Get("Content-Encoding"))
		w.Header().Set("X-Accept-Encoding", r.Header.Get("Accept-Encoding"))
		_, _ = w.Write(body)
	}
	req := g.request("POST", "/x", bytes.NewReader(zipped.Bytes()))
	req.Header.Set("Content-Encoding", "gzip")
	res, err := g.client(false).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	want(t, "same bytes", bytes.Equal(body, zipped.Bytes()), true)
	want(t, "encoding", res.Header.Get("Content-Encoding"), "gzip")
	want(t, "no encoding asked for that the client did not", res.Header.Get("X-Accept-Encoding"), "")
}

// TestPresignedUpload is an object put to a storage path of the same host by a
// URL that is signed over Host and the Content-* headers.
func TestPresignedUpload(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Upstreams[0].Public = []string{"/local-files/"} })
	sum := md5.Sum([]byte("content"))
	digest := base64.StdEncoding.EncodeToString(sum[:])
	const target = "/local-files/team/proj/run/a%20b+c.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host%3Bcontent-md5&X-User=jo&X-Amz-Signature=0a"
	a := g.raw("PUT " + target + " HTTP/1.1\r\nHost: gw.test:8080\r\nAuthorization: Basic dXNlcjpLRVk=\r\n" + aliceOnly +
		"Content-MD5: " + digest + "\r\nContent-Type: application/x-wandb\r\nContent-Length: 7\r\nX-Amz-Date: 20260101T000000Z\r\n\r\ncontent")
	want(t, "status", a.StatusCode, 200)
	s := g.last()
	want(t, "target", s.Target, target)
	want(t, "Host", s.Host, "gw.test:8080")
	want(t, "body", s.Body, "content")
	for name, value := range map[string]string{"Content-Md5": digest, "Content-Type": "application/x-wandb", "Content-Length": "7",
		"X-Amz-Date": "20260101T000000Z", "Authorization": "", "Cookie": ""} {
		want(t, name, s.Header.Get(name), value)
	}
	onlyOurs(t, s, nil)
}

func TestUpstreamKinds(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Upstreams[0].HostHeader = "upstream" })
	g.get("/x", aliceOnly)
	want(t, "Host rewritten", g.last().Host, strings.TrimPrefix(g.upServer.URL, "http://"))
	want(t, "X-Forwarded-Host", g.last().Header.Get("X-Forwarded-Host"), gwHost)

	t.Run("unix socket", func(t *testing.T) {
		path := t.TempDir() + "/app.sock"
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		up := &echo{}
		srv := &http.Server{Handler: up}
		go srv.Serve(ln)
		defer srv.Close()
		for _, host := range []string{"", "upstream"} {
			g := &rig{t: t, up: up, log: &authntest.Log{}, ender: &ender{}}
			g.start("unix://"+path, func(o *Options) { o.Upstreams[0].HostHeader = host })
			want(t, "status", g.get("/public/x", "").StatusCode, 200)
		}
		want(t, "Host kept", up.all()[0].Host, gwHost)
		want(t, "Host rewritten", up.all()[1].Host, "localhost")
	})
}
