package main

import (
	"bytes"
	"context"
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

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"gatehouse/config"
)

// authority is a CA of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	ca := &authority{t: t, key: newKey(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.pool.AddCert(ca.cert)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// leaf is a certificate for names, good for a while.
func (ca *authority) leaf(good time.Duration, names ...string) tls.Certificate {
	ca.t.Helper()
	key := newKey(ca.t)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		ca.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(good),
		DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}
}

// file is the CA's own certificate in a file.
func (ca *authority) file() string {
	return writeFile(ca.t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})))
}

func settingsPair(t *testing.T, c tls.Certificate) config.Certificate {
	t.Helper()
	cert, key := writePair(t, c)
	return config.Certificate{CertFile: cert, KeyFile: key}
}

// tlsHouse is a gateway that serves, with its own TLS.
type tlsHouse struct {
	public, plain, ops string
	log                *lockedBuffer
	begun              chan bool // the application has a request for /public/slow
	stop               func() int
}

func serveTLS(t *testing.T, settings string) *tlsHouse {
	t.Helper()
	h := &tlsHouse{begun: make(chan bool, 1)}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/public/slow" {
			h.begun <- true
			_, _ = io.Copy(io.Discard, r.Body)
		}
		fmt.Fprint(w, "hello")
	}))
	t.Cleanup(app.Close)
	h.public = freeAddress(t)
	h.plain, h.ops, h.log = freeAddress(t), freeAddress(t), &lockedBuffer{}
	file := writeFile(t, "gatehouse.yaml", strings.NewReplacer("$PUBLIC", h.public, "$PLAIN", h.plain, "$OPS", h.ops, "$UPSTREAM", app.URL).Replace(`
publicURL: https://example.com
operations: {address: "$OPS"}
upstreams: [{url: $UPSTREAM, public: [/public/]}]
authn: [{name: corp, oidc: {issuer: "http://127.0.0.1:1", clientID: gatehouse}}]
`+settings))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, shell{args: []string{"serve", "--config", file}, out: &bytes.Buffer{}, err: h.log})
	}()
	stopped := false
	h.stop = func() int {
		cancel()
		if stopped {
			return 0
		}
		stopped = true
		return <-done
	}
	t.Cleanup(func() {
		if code := h.stop(); code != 0 {
			t.Errorf("exit %d\n%s", code, h.log)
		}
	})
	waitFor(t, func() error { return expect(t, "http://"+h.ops+"/livez", http.StatusOK, "ok") })
	return h
}

func (h *tlsHouse) handshake(conf *tls.Config) (*tls.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second}
	return tls.DialWithDialer(d, "tcp", h.public, conf)
}

// get asks for a public path by HTTP/1.1 over a connection of its own.
func (h *tlsHouse) get(conf *tls.Config) (string, *tls.ConnectionState, error) {
	c, err := h.handshake(conf)
	if err != nil {
		return "", nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET /public/x HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"); err != nil {
		return "", nil, err
	}
	b, err := io.ReadAll(c)
	state := c.ConnectionState()
	return string(b), &state, err
}

// TestTLS serves https with the operator's certificates, chosen by name.
func TestTLS(t *testing.T) {
	ca := newAuthority(t, "one")
	first, second := settingsPair(t, ca.leaf(time.Hour, "example.com")), settingsPair(t, ca.leaf(time.Hour, "*.files.test"))
	h := serveTLS(t, fmt.Sprintf(`
listen:
  address: "$PUBLIC"
  httpAddress: "$PLAIN"
  tls: {certificates: [{certFile: %s, keyFile: %s}, {certFile: %s, keyFile: %s}]}
`, first.CertFile, first.KeyFile, second.CertFile, second.KeyFile))
	for name, want := range map[string]string{"example.com": "example.com", "a.files.test": "*.files.test", "": "example.com", "other.test": "example.com"} {
		c, err := h.handshake(&tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("%q gets the certificate of %s", name, got)
		}
		c.Close()
	}
	for _, proto := range []string{"HTTP/2.0", "HTTP/1.1"} {
		transport := &http.Transport{ForceAttemptHTTP2: proto == "HTTP/2.0", TLSClientConfig: &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS12}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.public)
		}}
		res, err := (&http.Client{Transport: transport}).Get("https://example.com/public/x")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.Proto != proto || res.StatusCode != http.StatusOK || res.Header.Get("Strict-Transport-Security") != "max-age=31536000" {
			t.Errorf("%s %d %v", res.Proto, res.StatusCode, res.Header)
		}
		transport.CloseIdleConnections()
	}
	if _, err := h.handshake(&tls.Config{ServerName: "example.com", RootCAs: ca.pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if err := expect(t, "http://"+h.ops+"/readyz", http.StatusServiceUnavailable, "certificates: the certificate for example.com ends at"); err != nil {
		t.Error(err)
	}
	t.Run("a session goes on", func(t *testing.T) {
		conf := &tls.Config{ServerName: "example.com", RootCAs: ca.pool, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for i := range 2 {
			if _, state, err := h.get(conf); err != nil || state.DidResume != (i == 1) {
				t.Errorf("%d: %+v %v", i, state, err)
			}
		}
	})
	t.Run("http where https is spoken", func(t *testing.T) {
		c, err := net.Dial("tcp", h.public)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.0 400 ") {
			t.Errorf("%q", b)
		}
	})
	t.Run("plain http", func(t *testing.T) {
		c, err := net.Dial("tcp", h.plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
		if b, _ := io.ReadAll(c); !strings.Contains(string(b), "\r\nLocation: https://example.com/a?b=c\r\n") {
			t.Errorf("%q", b)
		}
	})
}

// TestOldestTLS holds clients to the version that the settings say.
func TestOldestTLS(t *testing.T) {
	ca := newAuthority(t, "one")
	pair := settingsPair(t, ca.leaf(time.Hour, "example.com"))
	c, err := openShown(config.ListenTLS{Certificates: []config.Certificate{pair}, MinVersion: "1.3"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for version, good := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		if _, err := shake(t, c, &tls.Config{ServerName: "example.com", RootCAs: ca.pool, MinVersion: tls.VersionTLS12, MaxVersion: version}); (err == nil) != good {
			t.Errorf("%x: %v", version, err)
		}
	}
}

// shake is one handshake with the certificates as they are served now, and what is said
// after it.
func shake(t *testing.T, c *shownCertificates, conf *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	return shakeWith(t, c.config(), conf)
}

func shakeWith(t *testing.T, server, client *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		_, _ = io.WriteString(tls.Server(raw, server), "hello")
	}()
	d := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(d, "tcp", ln.Addr().String(), client)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var b [5]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return nil, err
	}
	state := conn.ConnectionState()
	return &state, nil
}

// mount is a folder of files that is replaced as Kubernetes does: a link to a link.
type mount struct {
	t     *testing.T
	dir   string
	count int
}

func (m *mount) put(files map[string]string) {
	m.t.Helper()
	m.count++
	version := fmt.Sprintf("..%d", m.count)
	check := func(err error) {
		if err != nil {
			m.t.Fatal(err)
		}
	}
	check(os.Mkdir(filepath.Join(m.dir, version), 0o700))
	for name, text := range files {
		check(os.WriteFile(filepath.Join(m.dir, version, name), []byte(text), 0o600))
		if m.count == 1 {
			check(os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)))
		}
	}
	check(os.Symlink(version, filepath.Join(m.dir, "..next")))
	check(os.Rename(filepath.Join(m.dir, "..next"), filepath.Join(m.dir, "..data")))
}

func pairText(t *testing.T, c tls.Certificate) map[string]string {
	t.Helper()
	cert, key := writePair(t, c)
	out := map[string]string{}
	for name, file := range map[string]string{"tls.crt": cert, "tls.key": key} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(b)
	}
	return out
}

// TestCertificatesAreReadAgain (OPS-24) replaces files beneath a gateway.
func TestCertificatesAreReadAgain(t *testing.T) {
	ca := newAuthority(t, "one")
	m := &mount{t: t, dir: t.TempDir()}
	first, second := ca.leaf(30*24*time.Hour, "example.com"), ca.leaf(40*24*time.Hour, "example.com")
	m.put(pairText(t, first))
	log := &lockedBuffer{}
	c, err := openShown(config.ListenTLS{Certificates: []config.Certificate{{CertFile: filepath.Join(m.dir, "tls.crt"), KeyFile: filepath.Join(m.dir, "tls.key")}}}, nil,
		slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{ServerName: "example.com", RootCAs: ca.pool, MinVersion: tls.VersionTLS12}
	shows := func(want tls.Certificate) {
		t.Helper()
		state, err := shake(t, c, client)
		if err != nil {
			t.Fatal(err)
		}
		if !state.PeerCertificates[0].Equal(want.Leaf) {
			t.Error("another certificate is shown")
		}
	}
	said := func(text string, count int) {
		t.Helper()
		if got := strings.Count(log.String(), text); got != count {
			t.Errorf("%q is in the log %d times, want %d:\n%s", text, got, count, log)
		}
	}
	fine := func(want bool) {
		t.Helper()
		if err := c.check(); (err == nil) != want {
			t.Errorf("check says: %v", err)
		}
	}
	shows(first)
	c.look()
	said("read again", 0)

	m.put(pairText(t, second))
	shows(first)
	c.look()
	shows(second)
	said("read again", 1)
	fine(true)

	mixed := pairText(t, second)
	mixed["tls.crt"] = pairText(t, first)["tls.crt"]
	m.put(mixed)
	c.look() // it might be half written
	fine(true)
	said("can't be used", 0)
	for range 3 {
		c.look()
	}
	shows(second)
	said("can't be used", 1)
	fine(false)

	m.put(pairText(t, second)) // what is served
	c.look()
	fine(true)
	m.put(mixed)
	c.look()
	c.look()
	fine(false)
	said("can't be used", 1)

	if err := os.Remove(filepath.Join(m.dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	c.look()
	c.look()
	said("no such file", 1)
	shows(second)
	if err := os.Symlink("..data/tls.key", filepath.Join(m.dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	m.put(pairText(t, first))
	c.look()
	shows(first)
	fine(true)

	m.put(pairText(t, ca.leaf(3*24*time.Hour, "example.com")))
	c.look()
	fine(false) // it ends soon
}

// TestClientCertificates (HTTP-41): who shows none, or one of another CA, does not get
// in, nor does a session of who could once.
func TestClientCertificates(t *testing.T) {
	ca, clients, others := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "others")
	pair := settingsPair(t, ca.leaf(time.Hour, "example.com"))
	file := clients.file()
	c, err := openShown(config.ListenTLS{Certificates: []config.Certificate{pair}, ClientCAFile: file}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	served := c.config()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, tt := range map[string]struct {
			show []tls.Certificate
			good bool
		}{
			"none":    {nil, false},
			"another": {[]tls.Certificate{others.leaf(time.Hour, "client")}, false},
			"ended":   {[]tls.Certificate{clients.leaf(-time.Minute, "client")}, false},
			"good":    {[]tls.Certificate{clients.leaf(time.Hour, "client")}, true},
		} {
			conf := &tls.Config{ServerName: "example.com", RootCAs: ca.pool, MinVersion: tls.VersionTLS12, MaxVersion: version, Certificates: tt.show}
			if _, err := shakeWith(t, served, conf); (err == nil) != tt.good {
				t.Errorf("%x %s: %v", version, name, err)
			}
		}
		client := &tls.Config{
			ServerName: "example.com", RootCAs: ca.pool, MinVersion: tls.VersionTLS12, MaxVersion: version,
			Certificates: []tls.Certificate{clients.leaf(time.Hour, "client")}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		for i := range 2 {
			if state, err := shakeWith(t, served, client); err != nil || state.DidResume != (i == 1) {
				t.Fatalf("%x: %v %v", version, state, err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		replace := func(b []byte) {
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			c.look()
		}
		other, err := os.ReadFile(others.file())
		if err != nil {
			t.Fatal(err)
		}
		replace(other)
		if _, err := shakeWith(t, served, client); err == nil {
			t.Errorf("%x: a session goes on without its CA", version)
		}
		replace(text)
	}
}

// TestDrainHTTP2 tells HTTP/2 connections that the gateway goes away, and lets what is
// open on them end.
func TestDrainHTTP2(t *testing.T) {
	ca := newAuthority(t, "one")
	pair := settingsPair(t, ca.leaf(time.Hour, "example.com"))
	h := serveTLS(t, fmt.Sprintf(`
listen: {address: "$PUBLIC", drainTimeout: 10s, tls: {certificates: [{certFile: %s, keyFile: %s}]}}
`, pair.CertFile, pair.KeyFile))
	conn, err := h.handshake(&tls.Config{ServerName: "example.com", RootCAs: ca.pool, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(f.WriteSettings())
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "example.com"}, {":path", "/public/slow"}} {
		check(enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	check(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))
	<-h.begun // the application has it, and waits for its body
	stopped := make(chan int, 1)
	go func() { stopped <- h.stop() }()
	var away, connect, answered bool
	for !answered {
		frame, err := f.ReadFrame()
		check(err)
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if v, ok := frame.Value(http2.SettingEnableConnectProtocol); ok && v != 0 {
				connect = true
			}
		case *http2.GoAwayFrame:
			if frame.ErrCode == http2.ErrCodeNo && frame.LastStreamID >= 1 && !away {
				away = true
				check(f.WriteData(1, true, []byte("the rest")))
			}
		case *http2.DataFrame:
			answered = string(frame.Data()) == "hello" || answered
		}
	}
	if !away {
		t.Error("there is no GOAWAY")
	}
	if connect {
		t.Error("the gateway offers WebSockets over HTTP/2 (RFC 8441), which it does not know")
	}
	if code := <-stopped; code != 0 {
		t.Errorf("exit %d", code)
	}
}
