package oidc

import (
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
)

// writePEM writes one block to a file of its own.
func writePEM(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// writeKeyPair writes a self-signed certificate and its key.
func writeKeyPair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	cert = writePEM(t, "CERTIFICATE", der, err)
	der, err = x509.MarshalECPrivateKey(k)
	return cert, writePEM(t, "EC PRIVATE KEY", der, err)
}

// gzipped answers with n zeros, compressed.
func gzipped(n int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		_, _ = io.CopyN(z, zeros{}, n)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestClientAuthentication(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		r := newRig(t, public)
		r.landed(r.browser().signIn(""), "/")
		last := r.issuer.Last(authntest.Token)
		if last.PostForm.Get("client_id") != "gw" || last.PostForm.Has("client_secret") || last.Header.Get("Authorization") != "" {
			t.Errorf("%v", last.PostForm)
		}
	})
	t.Run("client-secret-basic", func(t *testing.T) {
		r := newRig(t)
		r.landed(r.browser().signIn(""), "/")
		last := r.issuer.Last(authntest.Token)
		if !strings.HasPrefix(last.Header.Get("Authorization"), "Basic ") || last.PostForm.Has("client_secret") {
			t.Errorf("%v", last.PostForm)
		}
	})
	t.Run("post", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.ClientAuth = "post" })
		r.landed(r.browser().signIn(""), "/")
		last := r.issuer.Last(authntest.Token)
		if last.PostForm.Get("client_secret") != "s3cret" || last.Header.Get("Authorization") != "" || last.URL.RawQuery != "" {
			t.Errorf("%v", last.PostForm)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.ClientSecret = "wrong-one" })
		r.refused(r.browser().signIn(""), 502)
		if strings.Contains(r.log.String(), "wrong-one") {
			t.Error("OPS-09: the secret is in the log")
		}
	})

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return writePEM(t, "PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	for name, c := range map[string]struct {
		file   string
		public crypto.PublicKey
		alg    string
	}{
		"RSA":        {pkcs8(rsaKey), rsaKey.Public(), "RS256"},
		"RSA PKCS 1": {writePEM(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), rsaKey.Public(), "RS256"},
		"P-256":      {pkcs8(ecKey), ecKey.Public(), "ES256"},
		"P-256 SEC1": {writePEM(t, "EC PRIVATE KEY", sec1, err), ecKey.Public(), "ES256"},
		"Ed25519":    {pkcs8(edKey), edPublic, "EdDSA"},
	} {
		t.Run("OIDC-46 private_key_jwt "+name, func(t *testing.T) {
			r := newRig(t, offline, func(s *setup) {
				s.oidc.ClientSecret, s.oidc.ClientKeyFile, s.oidc.ClientKeyID = "", c.file, "my-key"
				s.issuer.Clients = []authntest.Client{{ID: "gw", Key: c.public, RedirectURIs: []string{callback}}}
			})
			r.landed(r.browser().signIn(""), "/")
			first := r.issuer.Last(authntest.Token).PostForm
			head, claims := decode(t, first.Get("client_assertion"))
			if head["alg"] != c.alg || head["kid"] != "my-key" {
				t.Errorf("header %v", head)
			}
			life := claims["exp"].(float64) - claims["iat"].(float64)
			if claims["aud"] != issuerURL || claims["iss"] != "gw" || claims["sub"] != "gw" || life != 60 || first.Has("client_secret") {
				t.Errorf("assertion %v", claims)
			}
			if _, err := r.route.Renew(t.Context(), r.starts.last(t)); err != nil {
				t.Fatal(err)
			}
			second := r.issuer.Last(authntest.Token).PostForm
			_, again := decode(t, second.Get("client_assertion"))
			if second.Get("grant_type") != "refresh_token" || again["jti"] == claims["jti"] || again["aud"] != issuerURL {
				t.Errorf("renewal %v", again)
			}
		})
	}
	t.Run("OIDC-46 audience is not the metadata's", func(t *testing.T) {
		r := newRig(t, func(s *setup) {
			s.oidc.ClientSecret, s.oidc.ClientKeyFile = "", pkcs8(ecKey)
			s.issuer.Clients = []authntest.Client{{ID: "gw", Key: ecKey.Public(), RedirectURIs: []string{callback}}}
		})
		r.issuer.Set(at("token_endpoint", "https://honest.test/token"))
		var got string
		r.hosts["honest.test"] = http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			got = req.FormValue("client_assertion")
		})
		b := r.browser()
		r.refused(b.signIn(""), 400)
		if _, claims := decode(t, got); claims["aud"] != issuerURL {
			t.Errorf("audience %v", claims["aud"])
		}
	})

	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"RSA of 1024 bits": pkcs8(weak), "P-384": pkcs8(p384), "certificate": func() string { c, _ := writeKeyPair(t); return c }(),
		"garbage": writePEM(t, "RSA PRIVATE KEY", []byte("x"), nil), "none": "/nowhere",
	} {
		t.Run("key "+name, func(t *testing.T) {
			c := newRig(t).o.settings
			c.ClientSecret, c.ClientAuth, c.ClientKeyFile = "", "privateKeyJWT", file
			if _, err := newAssertion(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}
