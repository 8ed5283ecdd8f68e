package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestBehindBalancer runs the program behind a load balancer that sends PROXY
// headers, and a proxy before that which writes Forwarded.
func TestBehindBalancer(t *testing.T) {
	w := newWorld(t, "")
	cert, key := writePair(t, w.server.TLS.Certificates[0])
	app := httptest.NewServer(w.app)
	defer app.Close()
	public, ops := freeAddress(t), freeAddress(t)
	env := append(operatorEnv(app.URL, w.provider.URL),
		"GATEHOUSE_LISTEN_ADDRESS="+public, "GATEHOUSE_OPERATIONS_ADDRESS="+ops, "GATEHOUSE_UPSTREAMS_0_PUBLIC=/public/",
		"GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_CERT_FILE="+cert, "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_KEY_FILE="+key, "GATEHOUSE_LISTEN_HEADER_TIMEOUT=300ms",
		"GATEHOUSE_LISTEN_PROXY_PROTOCOL=true", "GATEHOUSE_TRUSTED_PROXIES=127.0.0.1,10.0.0.0/8", "GATEHOUSE_FORWARDED_HEADER=forwarded")
	ctx, stop := context.WithCancel(t.Context())
	log := &lockedBuffer{}
	done := make(chan int, 1)
	go func() { done <- run(ctx, shell{args: []string{"serve"}, env: env, out: &bytes.Buffer{}, err: log}) }()
	// The operations listener knows nothing of it.
	waitFor(t, func() error { return expect(t, "http://"+ops+"/livez", http.StatusOK, "ok") })

	roots := x509.NewCertPool()
	roots.AddCert(w.server.Certificate())
	for name, tt := range map[string]struct{ header, remote, via string }{
		"the client":            {"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n", "192.0.2.7", "192.0.2.7"},
		"a proxy before it":     {"PROXY TCP6 ::ffff:10.0.0.9 ::1 4711 443\r\n", "2001:db8::7", "2001:db8::7, 10.0.0.9"},
		"FWD-26 without header": {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := net.Dial("tcp", public)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(raw, tt.header)
			c := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: publicHost, MinVersion: tls.VersionTLS12})
			_, err = io.WriteString(c, "GET /public/x HTTP/1.1\r\nHost: "+publicHost+"\r\nForwarded: for=6.6.6.6, for=\"[2001:db8::7]:4711\"\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n")
			if tt.header == "" {
				if err == nil {
					t.Error("there is TLS without a header")
				}
				return
			}
			b, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
				t.Fatalf("%v\n%s", err, b)
			}
			if got := w.app.last(t).Header.Values("X-Forwarded-For"); len(got) != 1 || got[0] != tt.via {
				t.Errorf("X-Forwarded-For is %q, want %q", got, tt.via)
			}
			waitFor(t, func() error {
				if strings.Contains(log.String(), `"remote":"`+tt.remote+`"`) {
					return nil
				}
				return errors.New("the access line does not have the client's address")
			})
		})
	}
	t.Run("DOS-01 a silent client", func(t *testing.T) {
		raw, err := net.Dial("tcp", public)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		if b, err := io.ReadAll(raw); err != nil || len(b) != 0 {
			t.Errorf("%q %v", b, err)
		}
	})
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit %d\n%s", code, log)
	}
	if strings.Contains(log.String(), "6.6.6.6") {
		t.Errorf("the log believes the client:\n%s", log)
	}
}
