package issuer

import (
	"crypto/rand"
	"encoding/json/v2"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// AssertionType is the client_assertion_type of a JWT (RFC 7523, section 2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionTime is how long a client assertion is valid.
const assertionTime = time.Minute

// Assertion proves the client by a signature (RFC 7523, section 2.2).
type Assertion struct {
	clientID, audience string
	signer             jose.Signer
}

// NewAssertion reads the client's private key from a file, as [ReadPrivateKey]
// does; a certificate in it is not named. The audience is the issuer and never an
// endpoint, since an endpoint is what somebody else's metadata can lie about.
func NewAssertion(clientID, issuer, keyFile, keyID string) (*Assertion, error) {
	text, err := os.ReadFile(keyFile) //nolint:gosec // naming it is the operator's right
	if err != nil {
		return nil, err
	}
	key, err := ReadPrivateKey(text)
	if err != nil {
		return nil, err
	}
	key.ID, key.Thumbprint = keyID, ""
	return key.Assertion(clientID, issuer)
}

// Assertion proves that client to an audience with the key.
func (k PrivateKey) Assertion(clientID, audience string) (*Assertion, error) {
	head := (&jose.SignerOptions{}).WithType("JWT")
	if k.Thumbprint != "" {
		head = head.WithHeader("x5t#S256", k.Thumbprint)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.key, KeyID: k.ID}}, head)
	if err != nil {
		return nil, err
	}
	return &Assertion{clientID: clientID, audience: audience, signer: signer}, nil
}

// Sign makes an assertion for one request.
func (a *Assertion) Sign(now time.Time) (string, error) {
	payload, err := json.Marshal(map[string]any{
		"iss": a.clientID, "sub": a.clientID, "aud": a.audience, "jti": rand.Text(),
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
