package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// PrivateKey is what a client proves itself with.
type PrivateKey struct {
	// ID is what the issuer knows the key by (kid); empty names none.
	ID string
	// Thumbprint is that of its certificate (x5t#S256; RFC 7515, section 4.1.8);
	// empty names none.
	Thumbprint string

	key crypto.Signer
	alg jose.SignatureAlgorithm // the one that goes with key
}

// ReadPrivateKey reads the text of a file in PEM: a private key, RSA of at least
// 2048 bits, P-256 or Ed25519, and the certificate beside it, if there is one. Of
// several the first counts.
func ReadPrivateKey(text []byte) (PrivateKey, error) {
	var k PrivateKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE" && k.Thumbprint == "":
			sum := sha256.Sum256(block.Bytes)
			k.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
		case strings.HasSuffix(block.Type, "PRIVATE KEY") && k.key == nil:
			var err error
			if k.key, k.alg, err = privateKey(block); err != nil {
				return PrivateKey{}, err
			}
		}
	}
	if k.key == nil {
		return PrivateKey{}, errors.New("there is no private key in PEM")
	}
	return k, nil
}

func privateKey(block *pem.Block) (crypto.Signer, jose.SignatureAlgorithm, error) {
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
