package bearer

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/pem"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/authn/authntest"
)

// silent keeps failed handshakes out of the tests' output.
func silent() *log.Logger { return slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo) }

// endless writes a document of n bytes until the reader has had enough.
func endless(n int64, compressed bool, sent *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		block := []byte(strings.Repeat(" ", 64<<10))
		write := w.Write
		if compressed {
			w.Header().Set("Content-Encoding", "gzip")
			z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
			if err != nil {
				panic(err)
			}
			defer z.Close()
			write = z.Write
		}
		for sent.Load() < n {
			if _, err := write(block); err != nil {
				return
			}
			sent.Add(int64(len(block)))
		}
	}
}

// realRig is a rig whose first issuer is a server on this machine, which is asked
// with the client that the gateway has.
func realRig(t *testing.T, h http.Handler, secure bool, changes ...func(*setup)) (*rig, *route, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = silent()
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	r := newRig(t, append([]func(*setup){func(s *setup) {
		s.first().Issuer = server.URL
		if server.Certificate() != nil {
			s.first().TLS.CAFile = filepath.Join(t.TempDir(), "ca.pem")
			write(t, s.first().TLS.CAFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
		}
	}}, changes...)...)
	b, err := newRoute("robots", r.setup.settings, r.setup.deps)
	if err != nil {
		t.Fatal(err)
	}
	return r, b, server.URL
}

// TestLargeAnswers: SSRF-07, over a network and through the real client.
func TestLargeAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		path       string
		compressed bool
	}{
		"discovery of 2 GiB": {"/.well-known/openid-configuration", false},
		"keys of 2 GiB":      {"/jwks", false},
		"a gzip bomb":        {"/jwks", true},
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			mux := http.NewServeMux()
			size := int64(2 << 30)
			if c.compressed {
				size = 256 << 20
			}
			mux.HandleFunc(c.path, endless(size, c.compressed, &sent))
			_, b, url := realRig(t, mux, false, func(s *setup) {
				if c.path == "/jwks" {
					s.first().JWKSURL = s.first().Issuer + c.path
				}
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := judge(b, request("Bearer "+with(m{"iss": url})))
			runtime.ReadMemStats(&after)
			if !outage(err) || !strings.Contains(err.Error(), "larger than") {
				t.Errorf("%v", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("%d MiB were used for it", used>>20)
			}
			if n := sent.Load(); !c.compressed && n >= size/2 {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}

// TestTLS: SSRF-10.
func TestTLS(t *testing.T) {
	var h http.Handler
	forward := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { h.ServeHTTP(w, req) })
	start := func(changes ...func(*setup)) (*route, string) {
		_, b, url := realRig(t, forward, true, changes...)
		h = authntest.NewIssuer(authntest.IssuerOptions{URL: url, Keys: []authntest.Key{es256()}})
		return b, url
	}
	t.Run("an authority of its own", func(t *testing.T) {
		b, url := start()
		if id, err := judge(b, request("Bearer "+with(m{"iss": url}))); err != nil || id.Issuer != url {
			t.Errorf("%+v, %v", id, err)
		}
	})
	t.Run("self-signed", func(t *testing.T) {
		b, url := start(func(s *setup) { s.first().TLS.CAFile = "" })
		if _, err := judge(b, request("Bearer "+with(m{"iss": url}))); !outage(err) {
			t.Errorf("%v", err)
		}
	})
	t.Run("TLS 1.1", func(t *testing.T) {
		server := httptest.NewUnstartedServer(forward)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		server.Config.ErrorLog = silent()
		server.StartTLS()
		defer server.Close()
		b, _ := start(func(s *setup) { s.first().JWKSURL = server.URL + "/jwks" })
		if _, err := judge(b, request("Bearer "+with(m{"iss": b.issuers[0].settings.Issuer}))); !outage(err) || server.Certificate() == nil {
			t.Errorf("%v", err)
		}
	})
}
