package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// issuer is a certificate authority of one test.
type issuer struct {
	t    *testing.T
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *issuer {
	t.Helper()
	a := &issuer{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var der []byte
	a.key, der = a.sign(template, template, nil)
	a.cert, _ = x509.ParseCertificate(der)
	a.write(a.file, "CERTIFICATE", der)
	return a
}

func (a *issuer) sign(template, parent *x509.Certificate, with *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if with == nil {
		with = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, with)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, der
}

func (a *issuer) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// leaf is a certificate for a server of that name, and for a client.
func (a *issuer) leaf(name string) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	key, der := a.sign(template, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes a leaf to two files.
func (a *issuer) files(name string) (cert, key string) {
	a.t.Helper()
	leaf := a.leaf(name)
	der, err := x509.MarshalECPrivateKey(leaf.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	a.write(cert, "CERTIFICATE", leaf.Certificate[0])
	a.write(key, "EC PRIVATE KEY", der)
	return cert, key
}

// secureApp is an https upstream that wants a client certificate.
func secureApp(t *testing.T, ca *issuer, up http.Handler) *httptest.Server {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	s := httptest.NewUnstartedServer(up)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.leaf("app.internal")}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestSecureUpstream(t *testing.T) {
	ca := newAuthority(t)
	up := &echo{}
	app := secureApp(t, ca, up)
	cert, key := ca.files("gateway")
	good := config.ClientTLS{CAFile: ca.file, ServerName: "app.internal", CertFile: cert, KeyFile: key}
	g := &rig{t: t, up: up, log: &authntest.Log{}, ender: &ender{}}
	g.start(app.URL, func(o *Options) { o.Upstreams[0].TLS = good })
	g.sub("HTTP/2 to an https upstream", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/public/x", "").StatusCode, 200)
		want(t, "protocol", g.last().Proto, "HTTP/2.0")
		want(t, "Host", g.last().Host, gwHost)
	})
	g.sub("trailers to and from it", func(t *testing.T, g *rig) {
		got := make(chan http.Header, 1)
		up.then = func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			got <- r.Trailer
			fmt.Fprint(w, "x")
			_ = http.NewResponseController(w).Flush() // else it has a length, and no trailers in HTTP/1
			w.Header().Set(http.TrailerPrefix+"X-Late", "1")
			w.Header().Set(http.TrailerPrefix+"X-Forwarded-User", "root")
		}
		defer func() { up.then = nil }()
		a := g.raw("POST /public/x HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Ok\r\n\r\n0\r\nX-Ok: 1\r\nX-Forwarded-User: eve\r\n\r\n")
		want(t, "status", a.StatusCode, 200)
		want(t, "up", fmt.Sprint(<-got), "map[X-Ok:[1]]")
		want(t, "down", fmt.Sprint(a.Trailer), "map[X-Late:[1]]")
	})
	g.sub("a WebSocket to it", func(t *testing.T, g *rig) {
		up.sockets(t)
		defer func() { up.then = nil }()
		d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return net.Dial("tcp", g.addr()) }}
		c, _, err := d.Dial("ws://gw.test/public/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.WriteMessage(websocket.TextMessage, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, p, err := c.ReadMessage(); err != nil || string(p) != "hi" {
			t.Errorf("%q %v", p, err)
		}
	})
	for name, bad := range map[string]config.ClientTLS{
		"nobody's CA":           {ServerName: "app.internal", CertFile: cert, KeyFile: key},
		"another name":          {CAFile: ca.file, CertFile: cert, KeyFile: key},
		"no client certificate": {CAFile: ca.file, ServerName: "app.internal"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &rig{t: t, up: up, log: &authntest.Log{}, ender: &ender{}}
			g.start(app.URL, func(o *Options) { o.Upstreams[0].TLS = bad })
			g.forget()
			a := g.get("/public/x", "")
			g.denied(a, 502)
			want(t, "WEB-26 tells", strings.Contains(a.body, "certificate"), false)
		})
	}
	t.Run("check", func(t *testing.T) {
		u := config.Upstream{URL: app.URL, TLS: good}
		for _, f := range Check(t.Context(), u) {
			want(t, f.What+": "+f.Detail, f.OK, true)
		}
		u.TLS.ServerName = "other"
		wrong(t, u, "tls")
		u.TLS.CAFile = "/nowhere"
		wrong(t, u, "tls")
		wrong(t, config.Upstream{URL: "http://a/b"}, "url")
		wrong(t, config.Upstream{URL: "http://127.0.0.1:1"}, "connect")
		wrong(t, config.Upstream{URL: "unix:///nowhere/app.sock"}, "connect")
		plain := httptest.NewServer(up)
		defer plain.Close()
		want(t, "plain", Check(t.Context(), config.Upstream{URL: plain.URL})[0].OK, true)
		wrong(t, config.Upstream{URL: strings.Replace(plain.URL, "http", "https", 1)}, "tls")
	})
}

// wrong wants the last finding to be a fault with a fix.
func wrong(t *testing.T, u config.Upstream, what string) {
	t.Helper()
	all := Check(t.Context(), u)
	last := all[len(all)-1]
	if last.OK || last.What != what || last.Detail == "" || last.Fix == "" {
		t.Errorf("%s: got %+v, want a fault of %s", u.URL, last, what)
	}
}

func TestAuthority(t *testing.T) {
	for raw, addr := range map[string]string{
		"http://a": "a:http", "https://a": "a:https", "http://a:81": "a:81", "http://[::1]:5": "[::1]:5", "https://[::1]": "[::1]:https",
	} {
		target, _, err := parseTarget(raw)
		if err != nil {
			t.Fatal(err)
		}
		want(t, raw, authority(target), addr)
	}
}

func TestServerLimits(t *testing.T) {
	l := config.Listen{HeaderTimeout: config.Duration(100 * time.Millisecond), IdleTimeout: config.Duration(150 * time.Millisecond), MaxHeaderSize: 4096}
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }), slog.New(slog.DiscardHandler))
	s.Start()
	t.Cleanup(s.Close)
	open := func() net.Conn {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	t.Run("DOS-01 a header that drips", func(t *testing.T) {
		c := open()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nX: ")
		if b, err := io.ReadAll(c); err != nil || strings.Contains(string(b), " 200 ") {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("DOS-10 an idle connection", func(t *testing.T) {
		c := open()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), " 200 ") {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("a header that is too large", func(t *testing.T) {
		c := open()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 9000)+"\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "status", res.StatusCode, 431)
	})
	t.Run("no HTTP/2 without TLS unless asked for", func(t *testing.T) {
		c := open()
		fmt.Fprint(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		b, _ := io.ReadAll(c)
		want(t, "refused", strings.HasPrefix(string(b), "HTTP/1.1 "), true)
	})
	want(t, "TLS", Server(l, nil, slog.Default()).TLSConfig.MinVersion, tls.VersionTLS12)
}

func TestSecureListener(t *testing.T) {
	ca := newAuthority(t)
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	up := httptest.NewServer(g.up)
	defer up.Close()
	gw, err := New(g.options(up.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := Server(config.Listen{MaxHeaderSize: 64 << 10}, gw, gw.o.Log)
	defer srv.Close()
	// A listener that has been made elsewhere, as one with certificates has.
	go srv.Serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{ca.leaf(gwHost)}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}))
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	for _, h2 := range []bool{false, true} {
		client := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: gwHost, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: h2}
		defer client.CloseIdleConnections()
		req, err := http.NewRequest(http.MethodGet, "https://"+ln.Addr().String()+"/public/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = gwHost
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		want(t, "status", res.StatusCode, 200)
		want(t, "HTTP/2", res.ProtoMajor == 2, h2)
		req.Host = "other.test"
		if res, err = client.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		want(t, "HTTP-39 another host than the certificate's", res.StatusCode, 421)
	}
}
