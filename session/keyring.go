package session

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/gorilla/securecookie"
)

const (
	// minKey is the least that a key may hold, in bytes.
	minKey = 32
	// maxSealed bounds sealed text, so that it fits into a cookie with its name.
	maxSealed = 4000
)

var (
	errNoKeys   = errors.New("session: the key ring is empty")
	errUnsealed = errors.New("session: not sealed by this gateway for this purpose")
)

// Keyring holds the secrets that cookies are sealed with, newest first. The
// newest seals, all of them open, so adding a key in front and dropping the
// last one a lifetime later logs nobody out.
type Keyring struct {
	origin string
	keys   [][]byte
}

// NewKeyring takes keys, newest first, each at least 32 bytes as they are or in
// base64 (either alphabet, padded or not). Origin is the gateway's public
// origin; what is sealed under one origin can't be opened under another.
func NewKeyring(origin string, keys []string) (Keyring, error) {
	if len(keys) == 0 {
		return Keyring{}, errNoKeys
	}
	k := Keyring{origin: origin}
	for i, text := range keys {
		key, err := parseKey(text)
		if err != nil {
			return Keyring{}, fmt.Errorf("session: key %d: %w", i+1, err)
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

// RandomKeyring makes a ring of one random key that ends with the process, for
// sessions that do so too.
func RandomKeyring(origin string) Keyring {
	key := make([]byte, minKey)
	rand.Read(key) // never fails: it ends the program instead
	return Keyring{origin: origin, keys: [][]byte{key}}
}

// parseKey prefers the base64 reading, so that a key means the same bytes
// however it is padded. Its errors don't quote the key.
func parseKey(text string) ([]byte, error) {
	plain := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	key, err := base64.RawURLEncoding.DecodeString(plain)
	if err != nil || len(key) < minKey {
		key = []byte(text)
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("shorter than %d bytes; make one with: openssl rand -base64 32", minKey)
	}
	distinct := map[byte]bool{}
	for _, b := range key {
		distinct[b] = true
	}
	// 32 random bytes never have so few different ones; "changemechangeme…" does.
	if len(distinct) < 12 {
		return nil, errors.New("not random; make one with: openssl rand -base64 32")
	}
	return key, nil
}

// Each returns a ring of its own for each key, newest first.
func (k Keyring) Each() []Keyring {
	out := make([]Keyring, len(k.keys))
	for i := range k.keys {
		out[i] = Keyring{origin: k.origin, keys: k.keys[i : i+1]}
	}
	return out
}

// Digest returns what stands for a text in the store, for one purpose: by an HMAC
// under the newest key, so that who reads the store can't try texts out. With
// another newest key every text has another digest.
func (k Keyring) Digest(purpose string) func(text string) string {
	key, err := hkdf.Key(sha256.New, k.keys[0], []byte(k.origin), "gatehouse digest "+purpose, sha256.Size)
	if err != nil { // only for a longer output or a shorter key than there can be
		panic("session: derive a key: " + err.Error())
	}
	return func(text string) string {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
}

// Secrets derives 64 bytes for one purpose from each key, newest first: for what
// all replicas must have alike and that no store need keep. From none of them can
// the ring's keys, or another purpose's secrets, be found out.
func (k Keyring) Secrets(purpose string) [][]byte {
	out := make([][]byte, len(k.keys))
	for i, key := range k.keys {
		derived, err := hkdf.Key(sha256.New, key, []byte(k.origin), "gatehouse secret "+purpose, 64)
		if err != nil { // only for a longer output or a shorter key than there can be
			panic("session: derive a key: " + err.Error())
		}
		out[i] = derived
	}
	return out
}

// Sealer makes the ring's sealer for one purpose. Sealers of different purposes
// share no key. Deriving costs microseconds: make it once and keep it.
func (k Keyring) Sealer(purpose string) Sealer {
	var s Sealer
	for _, key := range k.keys {
		derived, err := hkdf.Key(sha256.New, key, []byte(k.origin), "gatehouse cookie "+purpose, 64)
		if err != nil { // only for a longer output or a shorter key than there can be
			panic("session: derive a key: " + err.Error())
		}
		// Times are ours to check, so the library's own are off.
		s.codecs = append(s.codecs, securecookie.New(derived[:32], derived[32:]).
			MaxAge(0).MaxLength(maxSealed).SetSerializer(securecookie.NopEncoder{}))
	}
	return s
}

// Sealer encrypts and authenticates small values for cookies. It knows nothing
// of time: what must expire carries its own expiry. It is safe for use by
// several goroutines.
type Sealer struct {
	codecs []*securecookie.SecureCookie
}

// Seal turns plain, of 1 to 2,200 bytes, into text that is safe in a cookie.
// It opens under the same name only, for instance the cookie's.
func (s Sealer) Seal(name string, plain []byte) (string, error) {
	if len(s.codecs) == 0 {
		return "", errNoKeys
	}
	if len(plain) == 0 { // the library would seal it, but not open it again
		return "", fmt.Errorf("session: seal %s: nothing to seal", name)
	}
	sealed, err := s.codecs[0].Encode(name, bytes.Clone(plain)) // it encrypts in place
	if err != nil {
		return "", fmt.Errorf("session: seal %s: %w", name, err)
	}
	return sealed, nil
}

// Open returns what was sealed under name with any key of the ring. There is
// one text for one seal: a text that was changed in any bit doesn't open.
func (s Sealer) Open(name, sealed string) ([]byte, error) {
	if !canonical(sealed) {
		return nil, errUnsealed
	}
	for _, c := range s.codecs {
		var plain []byte
		if c.Decode(name, sealed, &plain) == nil {
			return plain, nil
		}
	}
	return nil, errUnsealed
}

// canonical refuses the other spellings that a base64 decoder takes for the same
// bytes: line breaks anywhere, stray bits at the end.
func canonical(sealed string) bool {
	if len(sealed) == 0 || len(sealed) > maxSealed || len(sealed)%4 != 0 || strings.ContainsAny(sealed, "\r\n") {
		return false
	}
	var last [3]byte
	_, err := base64.URLEncoding.Strict().Decode(last[:], []byte(sealed[len(sealed)-4:]))
	return err == nil
}
