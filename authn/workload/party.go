package workload

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/authn/issuer"
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
			"client_assertion_type": issuer.AssertionType,
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
	text, err := readFile(c.KeyFile, maxPEM)
	if err != nil {
		return "", err
	}
	key, err := issuer.ReadPrivateKey([]byte(text))
	if err != nil {
		return "", final{fmt.Errorf("%s: %w", c.KeyFile, err)}
	}
	key.ID = c.KeyID
	a, err := key.Assertion(c.ID, cmp.Or(c.Audience, e.Issuer, e.Token))
	if err != nil {
		return "", err
	}
	return a.Sign(now)
}
