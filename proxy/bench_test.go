package proxy

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// canned is an upstream that costs next to nothing: one write for each read.
func canned(b *testing.B) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\n\r\n{\"ok\":true}")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 8<<10)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// nowhere takes log lines that have been written in full.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func benchGateway(b *testing.B, upstream string, access bool) *Handler {
	g := &rig{t: &testing.T{}, log: &authntest.Log{}, ender: &ender{}}
	g.people = map[string]authn.Identity{"alice": person("alice")}
	o := g.options(upstream)
	o.Log, o.Access = slog.New(slog.NewJSONHandler(nowhere{}, nil)), access
	o.Limits, o.MaxURLSize, o.HSTS = config.Limits{RequestsPerSecond: 1e9, SignInsPerMinute: 600}, 16<<10, config.HSTS{MaxAge: config.Duration(time.Hour)}
	h, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(h.Close)
	return h
}

// lent are the bare proxy's buffers, of httputil's usual size.
type lent struct{ sync.Pool }

func (l *lent) Get() []byte {
	if b, ok := l.Pool.Get().(*[32 << 10]byte); ok {
		return b[:]
	}
	return make([]byte, 32<<10)
}

func (l *lent) Put(b []byte) { l.Pool.Put((*[32 << 10]byte)(b)) }

// bare is a tuned reverse proxy that asks nobody anything.
func bare(b *testing.B, upstream string) http.Handler {
	target, err := url.Parse(upstream)
	if err != nil {
		b.Fatal(err)
	}
	t := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
	b.Cleanup(t.CloseIdleConnections)
	return &httputil.ReverseProxy{Transport: t, BufferPool: &lent{}, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.SetXForwarded()
		p.Out.Host = p.In.Host
		p.Out.Header.Set("X-Forwarded-User", "sub-alice")
	}}
}

const browserHeaders = "Host: gw.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: application/json\r\nAccept-Language: en\r\nAccept-Encoding: gzip, deflate, br\r\nReferer: https://gw.test/\r\n" +
	"Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nCache-Control: no-cache\r\n"

// load runs keep-alive clients that cost next to nothing against h.
func load(b *testing.B, h http.Handler, cookie string, status string) {
	loadAt(b, h, "/api/x?y=z", cookie, status)
}

func loadAt(b *testing.B, h http.Handler, target, cookie, status string) {
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(config.Listen{MaxHeaderSize: 64 << 10}, h, slog.New(slog.DiscardHandler))
	s.Start()
	defer s.Close()
	request := []byte("GET " + target + " HTTP/1.1\r\n" + browserHeaders + cookie + "\r\n")
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		br := bufio.NewReader(c)
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			res, err := http.ReadResponse(br, nil)
			if err != nil || fmt.Sprint(res.StatusCode) != status {
				b.Errorf("%v %v", res, err)
				return
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkProxy compares a request with a session, its access line on and off,
// with a bare httputil.ReverseProxy.
func BenchmarkProxy(b *testing.B) {
	upstream := canned(b)
	b.Run("bare", func(b *testing.B) { load(b, bare(b, upstream), aliceOnly, "200") })
	b.Run("session", func(b *testing.B) { load(b, benchGateway(b, upstream, false), aliceOnly, "200") })
	b.Run("session+access", func(b *testing.B) { load(b, benchGateway(b, upstream, true), aliceOnly, "200") })
	b.Run("public", func(b *testing.B) { load(b, publicAll{benchGateway(b, upstream, true)}, aliceOnly, "200") })
}

// publicAll sends every request to a public path.
type publicAll struct{ h http.Handler }

func (p publicAll) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.URL.Path, r.RequestURI = "/public/x", "/public/x"
	p.h.ServeHTTP(w, r)
}

// BenchmarkUnauthenticated is what a request of nobody costs.
func BenchmarkUnauthenticated(b *testing.B) {
	upstream := canned(b)
	b.Run("bare", func(b *testing.B) { load(b, bare(b, upstream), "", "200") })
	b.Run("401", func(b *testing.B) { load(b, benchGateway(b, upstream, true), "", "401") })
	b.Run("401 page", func(b *testing.B) { load(b, benchGateway(b, upstream, true), "Accept: text/html\r\n", "401") })
}

// BenchmarkForwardAuth is what an answer to another proxy costs.
func BenchmarkForwardAuth(b *testing.B) {
	upstream := canned(b)
	b.Run("bare", func(b *testing.B) { load(b, bare(b, upstream), "", "200") })
	g := &rig{t: &testing.T{}, log: &authntest.Log{}, ender: &ender{}}
	g.people = map[string]authn.Identity{"alice": person("alice")}
	o := g.options(upstream)
	o.Log, o.Access, o.Upstreams = slog.New(slog.NewJSONHandler(nowhere{}, nil)), true, nil
	o.TrustedProxies, o.ForwardAuth, o.Assertions = append(o.TrustedProxies, mustPrefix("127.0.0.0/8")), &config.ForwardAuth{Hosts: []string{gwHost}}, signer(b)
	h, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("session", func(b *testing.B) {
		loadAt(b, h, "/.gatehouse/auth/traefik", aliceOnly+"X-Forwarded-Method: GET\r\nX-Forwarded-Host: "+gwHost+"\r\nX-Forwarded-Uri: /api/x\r\n", "200")
	})
}

// BenchmarkScrub is what a look through a browser's headers costs.
// BenchmarkPace is what the limit of an address costs each request, for one address that
// all ask from and for many.
func BenchmarkPace(b *testing.B) {
	for _, many := range []uint32{1, 10_000} {
		b.Run(strconv.Itoa(int(many)), func(b *testing.B) {
			p := mustPace(b, 1e9, 1e9)
			var next atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := next.Add(1) % many
					if p.wait(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), time.Now()) != 0 {
						b.Error("it has to wait")
					}
				}
			})
		})
	}
}

func BenchmarkScrub(b *testing.B) {
	n := guarded(nil)
	h := http.Header{}
	for _, name := range []string{
		"User-Agent", "Accept", "Accept-Language", "Accept-Encoding", "Referer", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
		"Cache-Control", "Cookie", "Connection", "X-Requested-With", "X-Wandb-Username", "Content-Type",
	} {
		h[name] = []string{"x"}
	}
	b.ReportAllocs()
	for b.Loop() {
		n.scrub(h)
	}
}
