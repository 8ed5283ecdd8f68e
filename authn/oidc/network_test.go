package oidc

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// TestNetwork: over real sockets, what no in-memory transport can show.
func TestNetwork(t *testing.T) {
	quietLog := slog.New(slog.DiscardHandler)
	tlsIssuer := func(t *testing.T, min, max uint16) (*httptest.Server, string) {
		var issuer *authntest.Issuer
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { issuer.ServeHTTP(w, r) }))
		s.TLS = &tls.Config{MinVersion: min, MaxVersion: max}
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.StartTLS()
		t.Cleanup(s.Close)
		issuer = authntest.NewIssuer(authntest.IssuerOptions{URL: s.URL, Keys: []authntest.Key{es256()}})
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return s, ca
	}
	ready := func(t *testing.T, from string, c config.ClientTLS) error {
		trust, err := c.Load()
		if err != nil {
			t.Fatal(err)
		}
		return newProvider(withDefaults(config.OIDC{Issuer: from, ClientID: "gw", TLS: c}), issuer.NewClient(trust, nil), quietLog).ready(t.Context())
	}
	t.Run("SSRF-10 own authority", func(t *testing.T) {
		s, ca := tlsIssuer(t, tls.VersionTLS12, tls.VersionTLS13)
		if err := ready(t, s.URL, config.ClientTLS{CAFile: ca}); err != nil {
			t.Error(err)
		}
		if err := ready(t, s.URL, config.ClientTLS{}); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("without it: %v", err)
		}
		if err := ready(t, s.URL, config.ClientTLS{CAFile: ca, ServerName: "other.test"}); err == nil {
			t.Error("another name was accepted")
		}
	})
	t.Run("SSRF-10 TLS 1.1", func(t *testing.T) {
		s, ca := tlsIssuer(t, tls.VersionTLS10, tls.VersionTLS11)
		if err := ready(t, s.URL, config.ClientTLS{CAFile: ca}); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("SSRF-07 gzip bomb", func(t *testing.T) {
		peer, stop, err := authntest.Start(authntest.IssuerOptions{Keys: []authntest.Key{es256()}})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		peer.Set(discovery(authntest.Instead(gzipped(64 << 20))))
		if err := ready(t, peer.URL(), config.ClientTLS{}); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("%v", err)
		}
	})
	t.Run("loopback http", func(t *testing.T) {
		peer, stop, err := authntest.Start(authntest.IssuerOptions{Keys: []authntest.Key{es256()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := ready(t, peer.URL(), config.ClientTLS{}); err != nil {
			t.Error(err)
		}
		peer.Set(at("token_endpoint", "http://idp.test/token"))
		if err := ready(t, peer.URL(), config.ClientTLS{}); err == nil {
			t.Error("a loopback issuer may send codes over the network in the clear")
		}
		stop()
		if err := ready(t, peer.URL(), config.ClientTLS{}); err == nil {
			t.Error("ready without a provider")
		}
	})
	t.Run("SSRF-08 redirect of the token endpoint", func(t *testing.T) {
		evil := 0
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil++ }))
		defer s.Close()
		peer, stop, err := authntest.Start(authntest.IssuerOptions{Keys: []authntest.Key{es256()}})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		peer.Set(func(f *authntest.Faults) { f.At[authntest.Token] = authntest.SendTo(307, s.URL) })
		client := issuer.NewClient(nil, nil)
		c := withDefaults(config.OIDC{Issuer: peer.URL(), ClientID: "gw", ClientSecret: "s"})
		o := &relying{settings: c, client: client}
		m, err := newProvider(c, client, quietLog).metadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var no refusal
		if _, err := o.exchange(t.Context(), m, "code", random()); !errors.As(err, &no) || no.status != 307 || evil != 0 {
			t.Errorf("%v, %d requests elsewhere", err, evil)
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		dir := t.TempDir()
		empty := filepath.Join(dir, "empty")
		if err := os.WriteFile(empty, []byte("no PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []config.ClientTLS{
			{CAFile: empty}, {CAFile: filepath.Join(dir, "none")}, {CertFile: filepath.Join(dir, "none"), KeyFile: filepath.Join(dir, "none")},
		} {
			if _, err := New("main", "", config.OIDC{Issuer: issuerURL, ClientID: "gw", TLS: c}, newRig(t).deps); err == nil {
				t.Error("accepted")
			}
		}
	})
}
