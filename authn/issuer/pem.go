package issuer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// ReadKeys reads the text of a file of public keys: a JWK set (RFC 7517), or
// public keys and certificates in PEM, which have no key ids. A file of PEM is for
// a person to get right, so whatever in it is of no use is an error.
func ReadKeys(text []byte) ([]Key, error) {
	if text = bytes.TrimSpace(text); bytes.HasPrefix(text, []byte("{")) {
		return parseKeys(text)
	}
	var keys []Key
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		public, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		key := Key{Key: public}
		if !strong(key) {
			return nil, fmt.Errorf("key %d: must be RSA of 2048 to 8192 bits, ECDSA or Ed25519", len(keys)+1)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys) > MaxKeys {
		return nil, errors.New("neither a JWK set nor public keys in PEM")
	}
	return keys, nil
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	return nil, fmt.Errorf("a %s is no public key", block.Type)
}

// strong says whether a key is neither weak nor absurdly large.
func strong(key Key) bool {
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return bits >= 2048 && bits <= 8192 && k.N.Bit(0) == 1 && k.E >= 3 && k.E%2 == 1 && k.E <= 1<<31-1
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}
