package workload

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json/v2"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
)

func writeText(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func block(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return block(t, "PRIVATE KEY", der, err)
}

func TestPartyCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		party Party
		auth  ClientAuth
		err   string
	}{
		"a secret":                 {Party{ID: "ci", Secret: "s"}, Basic, ""},
		"a secret in a file":       {Party{ID: "ci", SecretFile: "f"}, Basic, ""},
		"a key":                    {Party{ID: "ci", KeyFile: "f"}, PrivateKeyJWT, ""},
		"nothing":                  {Party{ID: "ci"}, None, ""},
		"post":                     {Party{ID: "ci", Secret: "s", Auth: Post}, Post, ""},
		"no id":                    {Party{Secret: "s"}, "", "a client id"},
		"two secrets":              {Party{ID: "ci", Secret: "s", SecretFile: "f"}, "", "twice"},
		"a secret and a key":       {Party{ID: "ci", Secret: "s", KeyFile: "f"}, "", "not both"},
		"a key that is missing":    {Party{ID: "ci", Auth: PrivateKeyJWT}, "", "needs a client key"},
		"a secret that is missing": {Party{ID: "ci", Auth: Post}, "", "post needs a client secret"},
		"a key for basic":          {Party{ID: "ci", Auth: Basic, KeyFile: "f"}, "", "basic needs a client secret"},
		"a key for none":           {Party{ID: "ci", Auth: None, KeyFile: "f"}, "", "no use for none"},
		"a secret for none":        {Party{ID: "ci", Auth: None, Secret: "s"}, "", "no use for none"},
		"a way that is none":       {Party{ID: "ci", Auth: "tls"}, "", "none of basic"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.party.Check()
			if tt.err != "" {
				assertError(t, err, tt.err)
			} else if auth := tt.party.auth(endpoints{}); err != nil || auth != tt.auth {
				t.Errorf("%s, %v", auth, err)
			}
		})
	}
	posting := endpoints{AuthMethods: []string{"client_secret_post", "private_key_jwt"}}
	if auth := (Party{ID: "ci", Secret: "s"}).auth(posting); auth != Post {
		t.Errorf("where post alone is taken it is %s", auth)
	}
	if auth := (Party{ID: "ci", Secret: "s", Auth: Basic}).auth(posting); auth != Basic {
		t.Errorf("told to be basic it is %s", auth)
	}
}

// TestCredentials asks a provider that checks each proof itself.
func TestCredentials(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ecKey)
	const secret = "s&cret: of=100% ASCII/+"
	for name, tt := range map[string]struct {
		party  Party
		public crypto.PublicKey
	}{
		"basic":           {Party{ID: "c:i", Secret: secret}, nil},
		"post":            {Party{ID: "c:i", Secret: secret, Auth: Post}, nil},
		"a secret's file": {Party{ID: "c:i", SecretFile: writeText(t, secret+"\n")}, nil},
		"RSA, PKCS 8":     {Party{ID: "c:i", KeyFile: writeText(t, pkcs8(t, rsaKey))}, rsaKey.Public()},
		"RSA, PKCS 1":     {Party{ID: "c:i", KeyFile: writeText(t, block(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil))}, rsaKey.Public()},
		"P-256":           {Party{ID: "c:i", KeyFile: writeText(t, pkcs8(t, ecKey))}, ecKey.Public()},
		"P-256, SEC 1":    {Party{ID: "c:i", KeyFile: writeText(t, block(t, "EC PRIVATE KEY", ecDER, err)), KeyID: "k1"}, ecKey.Public()},
		"Ed25519":         {Party{ID: "c:i", KeyFile: writeText(t, pkcs8(t, edKey))}, edKey.Public()},
	} {
		t.Run(name, func(t *testing.T) {
			client := authntest.Client{ID: "c:i", Secret: secret, Audience: "https://wandb.example.com"}
			if tt.public != nil {
				client.Secret, client.Key = "", tt.public
			}
			issuer, stop, err := authntest.Start(authntest.IssuerOptions{Clients: []authntest.Client{client}, Keys: []authntest.Key{authntest.NewKey("ES256")}})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			h, err := NewClient("")
			if err != nil {
				t.Fatal(err)
			}
			defer h.CloseIdleConnections()
			c := Credentials{Issuer{URL: issuer.URL(), Client: h}, tt.party, Request{Scope: "a b", Resources: []string{client.Audience}}}
			if err := c.Check(); err != nil {
				t.Fatal(err)
			}
			token, err := c.Fetch(t.Context())
			if err != nil || token.Claims != (Claims{issuer.URL(), "c:i", client.Audience}) || time.Until(token.Expires) < 50*time.Minute {
				t.Errorf("%+v, %v", token, err)
			}
			if again, err := c.Fetch(t.Context()); err != nil || again.Secret == token.Secret { // a new assertion each time
				t.Errorf("the second time: %v", err)
			}
			seen := issuer.Last(authntest.Token)
			if seen.PostForm.Get("scope") != "a b" || seen.PostForm.Get("grant_type") != "client_credentials" || seen.URL.RawQuery != "" {
				t.Errorf("it was asked %v", seen.PostForm)
			}
			c.Request.Resources = []string{"https://elsewhere.example.com"}
			_, err = c.Fetch(t.Context())
			assertError(t, err, "invalid_target", secret)
			c.Party.ID = "other"
			_, err = c.Fetch(t.Context())
			assertError(t, err, `client credentials: the issuer answered 401 "invalid_client"`, secret)
			if !Final(err) {
				t.Error("that would pass")
			}
		})
	}
}

// assertion is what a party signs for an issuer.
func assertion(t *testing.T, p Party, e endpoints) (header, claims map[string]any) {
	t.Helper()
	got, err := p.prove(e, time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(got.form["client_assertion"], ".")
	for i, to := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func TestAssertion(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	sum := sha256.Sum256(der)
	pair := block(t, "CERTIFICATE", der, err) + pkcs8(t, key)
	known := endpoints{Issuer: peerURL, Token: peerURL + tokenPath}

	header, claims := assertion(t, Party{ID: "ci", KeyFile: writeText(t, pair), KeyID: "k1"}, known)
	if header["alg"] != "ES256" || header["kid"] != "k1" || header["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("the header is %v", header)
	}
	if claims["iss"] != "ci" || claims["sub"] != "ci" || claims["aud"] != peerURL || claims["jti"] == "" || claims["exp"].(float64)-claims["iat"].(float64) != 60 {
		t.Errorf("the claims are %v", claims)
	}
	header, claims = assertion(t, Party{ID: "ci", KeyFile: writeText(t, pkcs8(t, key))}, endpoints{Token: peerURL + tokenPath})
	if _, there := header["x5t#S256"]; there || claims["aud"] != peerURL+tokenPath {
		t.Errorf("without a certificate and an issuer: %v %v", header, claims)
	}
	if _, claims = assertion(t, Party{ID: "ci", KeyFile: writeText(t, pkcs8(t, key)), Audience: "https://else"}, known); claims["aud"] != "https://else" {
		t.Errorf("told whom it is for: %v", claims)
	}
}

func TestProofsThatCanNotBeMade(t *testing.T) {
	for name, tt := range map[string]struct {
		party Party
		err   string
	}{
		"no such file":      {Party{ID: "ci", SecretFile: "/nowhere/secret"}, "client secret: "},
		"an empty file":     {Party{ID: "ci", SecretFile: writeText(t, "\n")}, "is empty"},
		"no such key":       {Party{ID: "ci", KeyFile: "/nowhere/key"}, "client key: "},
		"no PEM":            {Party{ID: "ci", KeyFile: writeText(t, "key")}, "no private key in PEM"},
		"an encrypted key":  {Party{ID: "ci", KeyFile: writeText(t, block(t, "ENCRYPTED PRIVATE KEY", []byte{1}, nil))}, "is it encrypted?"},
		"a file that hangs": {Party{ID: "ci", SecretFile: "/dev/zero"}, "is not a plain file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.party.prove(endpoints{}, time.Now())
			assertError(t, err, tt.err)
			// A file may yet come; a key does not turn into another by itself.
			if mend := strings.Contains(name, "key") && name != "no such key" || name == "no PEM"; Final(err) != mend {
				t.Errorf("final %v, want %v", Final(err), mend)
			}
		})
	}
}
