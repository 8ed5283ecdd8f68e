package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json/v2"
	"encoding/pem"
	"errors"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// AssertionType is the client_assertion_type of a JWT (RFC 7523, section 2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionTime is how long a client assertion is valid.
const assertionTime = time.Minute

// Assertion proves the client by a signature (RFC 7523, section 2.2). Its
// audience is the issuer and never an endpoint, since an endpoint is what
// somebody else's metadata can lie about.
type Assertion struct {
	clientID, issuer string
	signer           jose.Signer
}

// NewAssertion reads the client's private key from a file in PEM: RSA of at
// least 2048 bits, P-256 or Ed25519.
func NewAssertion(clientID, issuer, keyFile, keyID string) (*Assertion, error) {
	text, err := os.ReadFile(keyFile) //nolint:gosec // naming it is the operator's right
	if err != nil {
		return nil, err
	}
	key, alg, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: keyID}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return nil, err
	}
	return &Assertion{clientID: clientID, issuer: issuer, signer: signer}, nil
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

// Sign makes an assertion for one request.
func (a *Assertion) Sign(now time.Time) (string, error) {
	payload, err := json.Marshal(map[string]any{
		"iss": a.clientID, "sub": a.clientID, "aud": a.issuer, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionTime).Unix(),
	}, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	jws, err := a.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
