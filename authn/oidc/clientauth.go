package oidc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json/v2"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/config"
)

// assertionTime is how long a client assertion is valid.
const assertionTime = time.Minute

// assertion proves the client by a signature (RFC 7523, section 2.2). Its
// audience is the issuer and never an endpoint, since an endpoint is what
// somebody else's metadata can lie about.
type assertion struct {
	clientID, issuer string
	signer           jose.Signer
}

// newAssertion reads the client's key. It returns nil for other ways to authenticate.
func newAssertion(c config.OIDC) (*assertion, error) {
	if c.ClientAuth != "privateKeyJWT" {
		return nil, nil
	}
	text, err := os.ReadFile(c.ClientKeyFile)
	if err != nil {
		return nil, fmt.Errorf("clientKeyFile: %w", err)
	}
	key, alg, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("clientKeyFile: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: c.ClientKeyID}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return nil, fmt.Errorf("clientKeyFile: %w", err)
	}
	return &assertion{clientID: c.ClientID, issuer: c.Issuer, signer: signer}, nil
}

// parseKey reads a private key in PEM and names the algorithm that goes with it.
func parseKey(text []byte) (crypto.PrivateKey, jose.SignatureAlgorithm, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "", errors.New("no PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, "", err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			return k, jose.RS256, nil
		}
	case *ecdsa.PrivateKey:
		if k.Curve.Params().BitSize == 256 {
			return k, jose.ES256, nil
		}
	case ed25519.PrivateKey:
		return k, jose.EdDSA, nil
	}
	return nil, "", errors.New("must be RSA of at least 2048 bits, P-256 or Ed25519")
}

// sign makes an assertion for one request.
func (a *assertion) sign(now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{
		"iss": a.clientID, "sub": a.clientID, "aud": a.issuer, "jti": random(),
		"iat": now.Unix(), "exp": now.Add(assertionTime).Unix(),
	}, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	jws, err := a.signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// proving adds a fresh client assertion to every token request, so that code
// exchange and refresh are proved alike.
type proving struct {
	next http.RoundTripper
	*assertion
}

// RoundTrip sends a copy of r with the assertion in its form.
func (p proving) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	signed, err := p.sign(time.Now())
	if err != nil {
		return nil, fmt.Errorf("sign client assertion: %w", err)
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", signed)
	text := []byte(form.Encode())
	out := r.Clone(r.Context())
	out.Body = io.NopCloser(bytes.NewReader(text))
	out.GetBody = nil
	out.ContentLength = int64(len(text))
	return p.next.RoundTrip(out)
}

// tokenClient is the client for the token endpoint.
func (o *relying) tokenClient() *http.Client {
	if o.assertion == nil {
		return o.client
	}
	c := *o.client
	c.Transport = proving{o.client.Transport, o.assertion}
	return &c
}
