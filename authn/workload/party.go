package workload

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json/v2"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ClientAuth is how a client proves itself (OpenID Connect Core, section 9).
type ClientAuth string

// The ways. Auto is PrivateKeyJWT with a key, None without a key and a secret,
// and with a secret Basic, unless discovery says that the issuer takes Post only.
const (
	Auto          ClientAuth = ""
	Basic         ClientAuth = "basic"
	Post          ClientAuth = "post"
	PrivateKeyJWT ClientAuth = "private-key-jwt"
	None          ClientAuth = "none"
)

// assertionTime is how long a client assertion is valid.
const assertionTime = time.Minute

// Party is a client that an issuer knows. What it proves itself with is read
// again each time, so that it can be changed under a running program.
type Party struct {
	ID   string
	Auth ClientAuth
	// Secret, or the file that holds it.
	Secret     Secret
	SecretFile string
	// KeyFile holds a private key in PEM: RSA, P-256 or Ed25519. A certificate
	// beside it is named in the assertion by its thumbprint, as Entra ID wants it.
	KeyFile string
	// KeyID is what the issuer knows the key by.
	KeyID string
	// Audience is whom the assertion is for. Without it, the issuer, or the token
	// endpoint where no issuer is known.
	Audience string
}

// proof is what is sent along to prove a client.
type proof struct {
	user, password string // for Basic
	form           map[string]string
}

// Check says what is wrong with the settings.
func (c Party) Check() error {
	hasSecret := c.Secret != "" || c.SecretFile != ""
	auth := c.auth(endpoints{})
	switch {
	case c.ID == "":
		return errors.New("there must be a client id")
	case c.Secret != "" && c.SecretFile != "":
		return errors.New("the client secret is there twice: itself and in a file")
	case hasSecret && c.KeyFile != "":
		return errors.New("there must be a client secret or a client key, not both")
	case auth == PrivateKeyJWT && c.KeyFile == "":
		return errors.New("private-key-jwt needs a client key")
	case (auth == Basic || auth == Post) && !hasSecret:
		return fmt.Errorf("%s needs a client secret", auth)
	case auth != PrivateKeyJWT && c.KeyFile != "":
		return fmt.Errorf("a client key is no use for %s", auth)
	case auth == None && hasSecret:
		return errors.New("a client secret is no use for none")
	case auth != Basic && auth != Post && auth != PrivateKeyJWT && auth != None:
		return fmt.Errorf("%q is none of basic, post, private-key-jwt and none", string(auth))
	}
	return nil
}

func (c Party) auth(e endpoints) ClientAuth {
	switch {
	case c.Auth != Auto:
		return c.Auth
	case c.KeyFile != "":
		return PrivateKeyJWT
	case c.Secret == "" && c.SecretFile == "":
		return None
	case e.onlyPost():
		return Post
	}
	return Basic
}

// prove makes what one request needs.
func (c Party) prove(e endpoints, now time.Time) (proof, error) {
	switch auth := c.auth(e); auth {
	case PrivateKeyJWT:
		signed, err := c.sign(e, now)
		if err != nil {
			return proof{}, fmt.Errorf("client key: %w", err)
		}
		return proof{form: map[string]string{
			"client_id":             c.ID,
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
			"client_assertion":      signed,
		}}, nil
	case None:
		return proof{form: map[string]string{"client_id": c.ID}}, nil
	default:
		secret, err := c.secret()
		if err != nil {
			return proof{}, fmt.Errorf("client secret: %w", err)
		}
		if auth == Post {
			return proof{form: map[string]string{"client_id": c.ID, "client_secret": secret}}, nil
		}
		return proof{user: c.ID, password: secret}, nil
	}
}

func (c Party) secret() (string, error) {
	if c.SecretFile == "" {
		return string(c.Secret), nil
	}
	text, err := readFile(c.SecretFile, maxToken)
	if err != nil {
		return "", err
	}
	if text = strings.TrimRight(text, "\r\n"); text == "" {
		return "", fmt.Errorf("%s is empty", c.SecretFile)
	}
	return text, nil
}

// sign makes an assertion for one request (RFC 7523, sections 2.2 and 3).
func (c Party) sign(e endpoints, now time.Time) (string, error) {
	text, err := readFile(c.KeyFile, maxAnswer)
	if err != nil {
		return "", err
	}
	key, alg, thumbprint, err := parseKey([]byte(text))
	if err != nil {
		return "", final{fmt.Errorf("%s: %w", c.KeyFile, err)}
	}
	o := (&jose.SignerOptions{}).WithType("JWT")
	if thumbprint != "" {
		o = o.WithHeader("x5t#S256", thumbprint)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: c.KeyID}}, o)
	if err != nil {
		return "", err
	}
	audience := c.Audience
	if audience == "" {
		audience = e.Issuer
	}
	if audience == "" {
		audience = e.Token
	}
	claims, err := json.Marshal(map[string]any{
		"iss": c.ID, "sub": c.ID, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionTime).Unix(),
	}, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// parseKey reads a private key in PEM and names the algorithm that goes with it,
// and the thumbprint of the first certificate, if there is one (RFC 7515, section
// 4.1.8).
func parseKey(text []byte) (key crypto.Signer, alg jose.SignatureAlgorithm, thumbprint string, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE" && thumbprint == "":
			sum := sha256.Sum256(block.Bytes)
			thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
		case strings.HasSuffix(block.Type, "PRIVATE KEY") && key == nil:
			if key, alg, err = parseBlock(block); err != nil {
				return nil, "", "", err
			}
		}
	}
	if key == nil {
		return nil, "", "", errors.New("there is no private key in PEM")
	}
	return key, alg, thumbprint, nil
}

func parseBlock(block *pem.Block) (crypto.Signer, jose.SignatureAlgorithm, error) {
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
		return nil, "", errors.New("the private key can't be read; is it encrypted?")
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
	return nil, "", errors.New("the private key must be RSA of at least 2048 bits, P-256 or Ed25519")
}
