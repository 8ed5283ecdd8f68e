package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
)

// TestKeyChoice: JWT-14 to JWT-17, keys that may not verify anything.
func TestKeyChoice(t *testing.T) {
	good := authntest.NewKey("ES256").Private.Public().(*ecdsa.PublicKey)
	jwk := func(key any, edit func(map[string]any)) map[string]any {
		text, err := (&jose.JSONWebKey{Key: key, KeyID: "k"}).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]any{}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		edit(m)
		return m
	}
	as := func(name string, v any) func(map[string]any) { return func(m map[string]any) { m[name] = v } }
	same := func(map[string]any) {}
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	odd := func(bits int) string {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return number(n.Add(n, big.NewInt(1)))
	}
	strong := authntest.NewKey("RS256").Private.Public().(*rsa.PublicKey)
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key    any
		usable bool
	}{
		"EC":                        {jwk(good, same), true},
		"EC P-521":                  {jwk(&p521.PublicKey, same), true},
		"RSA":                       {jwk(strong, same), true},
		"EdDSA":                     {jwk(edPublic, same), true},
		"meant for signatures":      {jwk(good, func(m map[string]any) { m["use"], m["key_ops"], m["alg"] = "sig", []string{"verify"}, "ES256" }), true},
		"JWT-17 use enc":            {jwk(strong, as("use", "enc")), false},
		"JWT-17 alg RSA-OAEP":       {jwk(strong, as("alg", "RSA-OAEP")), false},
		"JWT-16 key_ops encrypt":    {jwk(strong, as("key_ops", []string{"encrypt"})), false},
		"JWT-16 key_ops text":       {jwk(strong, as("key_ops", "verify")), false},
		"JWT-16 oct":                {map[string]any{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"}, false},
		"JWT-16 alg HS256":          {jwk(strong, as("alg", "HS256")), false},
		"JWT-16 private":            {jwk(edPrivate, same), false},
		"JWT-16 unknown kty":        {map[string]any{"kty": "XX"}, false},
		"JWT-16 no kty":             {map[string]any{}, false},
		"JWT-16 missing n":          {map[string]any{"kty": "RSA", "e": "AQAB"}, false},
		"JWT-16 not an object":      {"key", false},
		"JWT-16 null":               {nil, false},
		"JWT-14 off the curve":      {jwk(good, as("x", jwk(&p521.PublicKey, same)["x"].(string)[:43])), false},
		"JWT-14 wrong curve":        {jwk(good, as("crv", "P-384")), false},
		"JWT-15 512 bits":           {jwk(strong, as("n", odd(512))), false},
		"JWT-15 1024 bits":          {jwk(strong, as("n", odd(1024))), false},
		"JWT-15 65536 bits":         {jwk(strong, as("n", odd(65536))), false},
		"JWT-15 even n":             {jwk(strong, as("n", number(new(big.Int).Lsh(big.NewInt(1), 2047)))), false},
		"JWT-15 e is 1":             {jwk(strong, as("e", "AQ")), false},
		"JWT-15 e even":             {jwk(strong, as("e", "BA")), false},
		"JWT-15 e huge":             {jwk(strong, as("e", odd(256))), false},
		"JWT-15 e beyond 31 bits":   {jwk(strong, as("e", odd(40))), false},
		"JWT-16 kid number":         {jwk(good, as("kid", 7)), false},
		"JWT-11 x5c that is no DER": {jwk(good, as("x5c", []string{"AAAA"})), false},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(c.key)
			if err != nil {
				t.Fatal(err)
			}
			if _, usable := usableKey(text); usable != c.usable {
				t.Errorf("usable: %v", usable)
			}
		})
	}
}

// TestQuietNights: JWT-18, whoever comes first after a quiet night gets the keys of
// the morning, however fast the issuer answers.
func TestQuietNights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKeys(func(context.Context) ([]Key, error) { return nil, nil }, time.Minute, 0)
		for range 20_000 { // an answer overtakes the question in one of some thousands
			time.Sleep(KeysMaxAge / 2)
			s, err := k.Current(t.Context())
			if err != nil || !s.At.Equal(time.Now()) {
				t.Fatalf("keys of %v at %v, %v", s.At, time.Now(), err)
			}
			synctest.Wait()
		}
	})
}

// rotating is an issuer that changes its keys, and whose answers are on their way for a
// while.
type rotating struct {
	mu   sync.Mutex
	keys []Key
	late time.Duration
}

func (r *rotating) set(late time.Duration, keys ...authntest.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.late = nil, late
	for _, k := range keys {
		r.keys = append(r.keys, Key{Key: k.Private.Public(), KeyID: k.ID})
	}
}

func (r *rotating) load(context.Context) ([]Key, error) {
	r.mu.Lock()
	keys, late := r.keys, r.late
	r.mu.Unlock()
	time.Sleep(late)
	return keys, nil
}

// TestVerify: "no" is said only by keys that were asked for after the token came.
func TestVerify(t *testing.T) {
	old, next, foreign := authntest.NewKey("ES256"), authntest.NewKey("ES256"), authntest.NewKey("ES256")
	verify := func(k *KeySet, key authntest.Key) error {
		_, err := k.Verify(context.Background(), authntest.JWT(key, nil, map[string]any{}), []string{"ES256"})
		return err
	}
	bubble := func(name string, f func(t *testing.T, r *rotating, k *KeySet)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &rotating{}
				r.set(0, old)
				k := NewKeys(r.load, KeysAge, 0)
				if err := verify(k, old); err != nil {
					t.Fatal(err)
				}
				f(t, r, k)
			})
		})
	}
	bubble("a new key while the old ones are on their way", func(t *testing.T, r *rotating, k *KeySet) {
		r.set(5*time.Second, old)
		var asking sync.WaitGroup
		asking.Go(func() {
			if err := verify(k, foreign); !errors.Is(err, errSignature) {
				t.Errorf("a forged one: %v", err)
			}
		})
		time.Sleep(time.Second)
		r.set(5*time.Second, next, old)
		if err := verify(k, next); err != nil {
			t.Errorf("the new key: %v", err)
		}
		asking.Wait()
	})
	bubble("a new key after a flood", func(t *testing.T, r *rotating, k *KeySet) {
		for range 10 {
			time.Sleep(time.Millisecond)
			if err := verify(k, foreign); !errors.Is(err, errSignature) && !errors.Is(err, ErrUnavailable) {
				t.Errorf("a forged one: %v", err)
			}
		}
		r.set(0, next)
		if err := verify(k, next); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the new key, so soon: %v", err)
		}
		time.Sleep(11 * time.Second)
		if err := verify(k, next); err != nil {
			t.Errorf("the new key: %v", err)
		}
	})
}
