package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
)

func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func TestReadPrivateKey(t *testing.T) {
	ec, rs, ed := authntest.NewKey("ES256"), authntest.NewKey("RS256"), authntest.NewKey("EdDSA")
	sec1, err := x509.MarshalECPrivateKey(ec.Private.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	cert := certificate(t, ec)
	sum := sha256.Sum256(cert)
	thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
	pair := pkcs8(t, ec.Private) + block("CERTIFICATE", cert)
	for name, c := range map[string]struct {
		text       string
		of         authntest.Key
		alg        jose.SignatureAlgorithm
		thumbprint string
	}{
		"RSA, PKCS 8":             {pkcs8(t, rs.Private), rs, jose.RS256, ""},
		"RSA, PKCS 1":             {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs.Private.(*rsa.PrivateKey))), rs, jose.RS256, ""},
		"P-256, PKCS 8":           {pkcs8(t, ec.Private), ec, jose.ES256, ""},
		"P-256, SEC 1":            {block("EC PARAMETERS", []byte{6, 0}) + block("EC PRIVATE KEY", sec1), ec, jose.ES256, ""},
		"Ed25519":                 {pkcs8(t, ed.Private), ed, jose.EdDSA, ""},
		"a certificate behind it": {pair, ec, jose.ES256, thumbprint},
		"its authority's too":     {pair + block("CERTIFICATE", certificate(t, rs)), ec, jose.ES256, thumbprint},
		"a certificate before it": {block("CERTIFICATE", cert) + pkcs8(t, ec.Private), ec, jose.ES256, thumbprint},
		"two keys":                {pkcs8(t, ed.Private) + pkcs8(t, rs.Private), ed, jose.EdDSA, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := ReadPrivateKey([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			same, ok := k.key.Public().(interface{ Equal(x crypto.PublicKey) bool })
			if !ok || !same.Equal(c.of.Private.Public()) || k.alg != c.alg || k.Thumbprint != c.thumbprint || k.ID != "" {
				t.Errorf("%s, thumbprint %q", k.alg, k.Thumbprint)
			}
		})
	}
}

func TestReadPrivateKeyRefuses(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := authntest.NewKey("ES256")
	for name, c := range map[string]struct{ text, problem string }{
		"nothing":              {"", "no private key in PEM"},
		"no PEM":               {"hello", "no private key in PEM"},
		"a public key":         {block("PUBLIC KEY", pkix(t, ec.Private.Public())), "no private key in PEM"},
		"a certificate":        {block("CERTIFICATE", certificate(t, ec)), "no private key in PEM"},
		"an encrypted key":     {block("ENCRYPTED PRIVATE KEY", []byte{1}), "is it encrypted?"},
		"a key of OpenSSH":     {block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1")), "can't be read"},
		"a small RSA key":      {pkcs8(t, small), "at least 2048 bits"},
		"another curve":        {pkcs8(t, p384), "P-256"},
		"a bad one and a good": {pkcs8(t, p384) + pkcs8(t, ec.Private), "P-256"},
	} {
		t.Run(name, func(t *testing.T) {
			if k, err := ReadPrivateKey([]byte(c.text)); err == nil || k != (PrivateKey{}) || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%v", err)
			}
		})
	}
}

// signed is what an assertion says, once its signature is verified.
func signed(t *testing.T, a *Assertion, by authntest.Key, now time.Time) (jose.Header, Claims) {
	t.Helper()
	text, err := a.Sign(now)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(by.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseClaims(payload)
	if err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Protected, c
}

func TestAssertion(t *testing.T) {
	key := authntest.NewKey("ES256")
	pair := pkcs8(t, key.Private) + block("CERTIFICATE", certificate(t, key))
	now := time.Unix(1_800_000_000, 0)

	t.Run("for any audience", func(t *testing.T) {
		k, err := ReadPrivateKey([]byte(pair))
		if err != nil {
			t.Fatal(err)
		}
		k.ID = "k1"
		a, err := k.Assertion("ci", "https://idp.test/token")
		if err != nil {
			t.Fatal(err)
		}
		head, c := signed(t, a, key, now)
		if head.KeyID != "k1" || head.ExtraHeaders["typ"] != "JWT" || head.ExtraHeaders["x5t#S256"] != k.Thumbprint {
			t.Errorf("the header is %+v", head)
		}
		for name, want := range map[string]string{"iss": `"ci"`, "sub": `"ci"`, "aud": `"https://idp.test/token"`, "iat": "1800000000", "exp": "1800000060"} {
			if string(c[name]) != want {
				t.Errorf("%s is %s", name, c[name])
			}
		}
		if _, again := signed(t, a, key, now); len(c["jti"]) < 20 || string(again["jti"]) == string(c["jti"]) {
			t.Errorf("two assertions with the id %s", c["jti"])
		}
	})
	t.Run("from a file, for the issuer", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(pair), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := NewAssertion("gw", "https://idp.test", file, "")
		if err != nil {
			t.Fatal(err)
		}
		head, c := signed(t, a, key, now)
		if _, named := head.ExtraHeaders["x5t#S256"]; named || head.KeyID != "" || string(c["aud"]) != `"https://idp.test"` {
			t.Errorf("%+v, %s", head, c["aud"])
		}
	})
	t.Run("from a file that holds none", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "key")
		if _, err := NewAssertion("gw", "https://idp.test", file, ""); !os.IsNotExist(err) {
			t.Errorf("%v", err)
		}
		if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewAssertion("gw", "https://idp.test", file, ""); err == nil || !strings.Contains(err.Error(), "in PEM") {
			t.Errorf("%v", err)
		}
	})
}
