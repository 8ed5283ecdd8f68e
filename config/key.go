package config

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"regexp"
)

// checkKey reads a private key for privateKeyJWT.
func checkKey(file string) error {
	b, err := readFile(file, maxPEM)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return errors.New("it holds nothing in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			key, err = x509.ParseECPrivateKey(block.Bytes)
		}
	}
	if err != nil {
		return errors.New("it holds no private key, or one with a passphrase")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < 2048 {
			return errors.New("RSA of fewer than 2048 bits")
		}
		return nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return nil
		}
	case ed25519.PrivateKey:
		return nil
	}
	return errors.New("a kind of key that is not supported")
}

// guessable are words that no random key of base64 has in it.
var guessable = regexp.MustCompile(`(?i)changeme|secret|change-me|change_me|password|insecure|replace|example|gatehouse|session|0123456789|abcdefgh`)

// minKey is the least that a key may hold, in bytes, and minVariety how many
// of them must differ, as the key ring asks too.
const (
	minKey     = 32
	minVariety = 12
)

// weakness returns why a key can be guessed, or "".
func weakness(key string) string {
	raw := []byte(key)
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(key); err == nil && len(b) >= minKey {
			raw = b
			break
		}
	}
	switch {
	case len(raw) < minKey:
		return "is shorter than 32 bytes"
	case variety(raw) < minVariety, repeats(raw):
		return "repeats itself, or has too few different characters"
	case guessable.MatchString(key):
		return "can be guessed"
	}
	return ""
}

func variety(b []byte) int {
	seen := map[byte]bool{}
	for _, c := range b {
		seen[c] = true
	}
	return len(seen)
}

// repeats says whether b is one piece again and again, or counts up or down.
func repeats(b []byte) bool {
	for period := 1; period <= len(b)/2; period++ {
		if string(b[period:]) == string(b[:len(b)-period]) {
			return true
		}
	}
	for i := 2; i < len(b); i++ {
		if b[i]-b[i-1] != b[1]-b[0] {
			return false
		}
	}
	return true
}
