package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gatehouse/authn/authntest"
)

// tokenIssuer makes the programs' tokens. Nobody asks it anything: its keys are in a file.
const tokenIssuer = "https://issuer.bench.test" //nolint:gosec // a name, not a secret

// signer makes tokens.
type signer struct {
	key  authntest.Key
	file string // of the public key
}

func newSigner(dir string) (signer, error) {
	s := signer{key: authntest.NewKey("RS256"), file: filepath.Join(dir, "issuer.pem")}
	der, err := x509.MarshalPKIXPublicKey(s.key.Private.Public())
	if err != nil {
		return s, err
	}
	return s, os.WriteFile(s.file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}

// good returns n tokens of as many people, which are as long as a provider's.
func (s signer) good(n int) func(int) string {
	now := time.Now()
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = authntest.JWT(s.key, nil, map[string]any{
			"iss": tokenIssuer, "aud": []string{"bench", "other"}, "sub": strconv.Itoa(1001 + i), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			"jti": strconv.Itoa(i), "email": "ada@example.com", "email_verified": true, "name": "Ada Lovelace",
			"preferred_username": person, "groups": []string{"admins", "research", "vision", "on-call"}, "azp": "bench", "scope": "openid profile email groups",
		})
	}
	return func(i int) string { return tokens[i%n] }
}

// bad returns tokens of which no two are the same, and none is signed by the issuer.
func (s signer) bad() func(int) string {
	start := s.good(1)(0)
	return func(i int) string {
		// Another signature for the same claims: as dear to refuse as can be.
		n := []byte(strconv.Itoa(1e6 + i))
		token := []byte(start)
		copy(token[len(token)-len(n)-10:], n)
		return string(token)
	}
}
