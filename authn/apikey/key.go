package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"gatehouse/authn"
)

// A key of the gateway is the prefix, an id that may be shown, and a secret. Old
// W&B clients want exactly 40 characters after the first "-", new ones at least 40.
const (
	prefix       = authn.KeyPrefix
	idLength     = 8
	secretLength = 32
	alphabet     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Generate returns a key that nobody has, of 190 random bits behind its id.
func Generate() string {
	const fair = 256 - 256%len(alphabet) // above it the first letters would be likelier
	key := make([]byte, 0, len(prefix)+idLength+secretLength)
	key = append(key, prefix...)
	var random [64]byte
	for len(key) < cap(key) {
		rand.Read(random[:]) // never fails: it ends the program instead
		for _, r := range random {
			if int(r) < fair && len(key) < cap(key) {
				key = append(key, alphabet[int(r)%len(alphabet)])
			}
		}
	}
	return string(key)
}

// Hash is what stands for a key in the settings (keyHashes).
func Hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ID returns the part of a key of the gateway that may be shown. It is false for
// what is no such key.
func ID(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok || len(rest) != idLength+secretLength || !base62(rest) {
		return "", false
	}
	return rest[:idLength], true
}

// isID says whether s may be the id of a key.
func isID(s string) bool { return len(s) == idLength && base62(s) }

func base62(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(alphabet, r) })
}

// own says whether a key is meant to be the gateway's, be it not whole: such a
// one is shown to nobody else.
func own(key string) bool {
	return len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix)
}
