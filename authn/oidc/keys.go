package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"gatehouse/authn"
)

const (
	// keysAge is when keys are asked for again although they still fit, so that
	// a key that the provider took back is not trusted much longer.
	keysAge = time.Hour
	// keysMaxAge is how long known keys serve while the provider does not answer.
	keysMaxAge = 24 * time.Hour
	// keysWait is how long somebody waits for newer keys when the known ones still
	// serve. A taken-back key is noticed at once by a provider that answers; one
	// that hangs holds nobody up.
	keysWait = time.Second
	// maxKeys bounds the keys of one set, and maxTries the keys that one token
	// without a key id is tried with.
	maxKeys, maxTries = 100, 8
)

// errSignature: no key of the issuer made this signature.
var errSignature = errors.New("signature is not the issuer's")

// keySet is the issuer's keys. It is safe for concurrent use. Unknown key ids
// make it ask again, but never more often than its limiter lets it: five times
// in a row and then once in ten seconds, whoever sends tokens.
type keySet struct {
	url    string
	client *http.Client
	limit  *rate.Limiter
	flight singleflight.Group

	mu   sync.Mutex
	keys []jose.JSONWebKey
	at   time.Time
}

func newKeySet(url string, client *http.Client) *keySet {
	return &keySet{url: url, client: client, limit: rate.NewLimiter(rate.Every(10*time.Second), 5)}
}

// verify returns the payload of a compact JWS that one of the issuer's keys
// signed with one of algs. Its error wraps errUnavailable if keys could not be had.
func (k *keySet) verify(ctx context.Context, token string, algs []string) ([]byte, error) {
	var allowed []jose.SignatureAlgorithm
	for _, a := range algs {
		allowed = append(allowed, jose.SignatureAlgorithm(a))
	}
	jws, err := jose.ParseSignedCompact(token, allowed)
	if err != nil {
		return nil, authn.Foreign{Err: err}
	}
	keys, age := k.known()
	if age >= keysAge {
		fresh, err := k.renew(ctx, age)
		if err != nil && age >= keysMaxAge {
			return nil, err
		}
		if err == nil {
			keys = fresh
		}
	}
	payload, tried := try(jws, keys)
	if payload != nil {
		return payload, nil
	}
	// A new key may be in use before anybody was told (OpenID Connect Core, section 10.1.1).
	if keys, err = k.fetch(ctx); err != nil {
		if tried && errors.Is(err, errLimited) {
			return nil, errSignature
		}
		return nil, err
	}
	if payload, _ = try(jws, keys); payload == nil {
		return nil, errSignature
	}
	return payload, nil
}

// renew asks for newer keys, but waits no longer than the known ones deserve.
// An answer that comes later is for the next one to use.
func (k *keySet) renew(ctx context.Context, age time.Duration) ([]jose.JSONWebKey, error) {
	if age < keysMaxAge {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, keysWait)
		defer cancel()
	}
	return k.fetch(ctx)
}

// try verifies jws with each key that it can mean and says whether there was one.
func try(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) (payload []byte, tried bool) {
	head := jws.Signatures[0].Header
	tries := 0
	for _, key := range keys {
		if head.KeyID != "" && head.KeyID != key.KeyID {
			continue
		}
		if key.Algorithm != "" && key.Algorithm != head.Algorithm {
			continue
		}
		if tries++; tries > maxTries {
			break
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, tries > 0
}

// ready reports whether there are keys to verify with.
func (k *keySet) ready(ctx context.Context) error {
	if _, age := k.known(); age < keysMaxAge {
		return nil
	}
	if _, err := k.fetch(ctx); err != nil {
		return fmt.Errorf("oidc: %w", err)
	}
	return nil
}

func (k *keySet) known() ([]jose.JSONWebKey, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys, time.Since(k.at)
}

// errLimited: the keys were asked for too often.
var errLimited = fmt.Errorf("%w: issuer's keys: asked for too often", errUnavailable)

// fetch asks for the keys, once at a time. What is known stays if that fails.
func (k *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	answer := k.flight.DoChan("", func() (any, error) {
		if !k.limit.Allow() {
			return nil, errLimited
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		defer cancel()
		keys, err := fetchKeys(ctx, k.url, k.client)
		if err != nil {
			return nil, fmt.Errorf("%w: issuer's keys: %w", errUnavailable, err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.keys, k.at = keys, time.Now()
		return keys, nil
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: issuer's keys: %w", errUnavailable, ctx.Err())
	case a := <-answer:
		keys, _ := a.Val.([]jose.JSONWebKey)
		return keys, a.Err
	}
}

func fetchKeys(ctx context.Context, url string, client *http.Client) ([]jose.JSONWebKey, error) {
	text, err := get(ctx, url, "", client)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, authn.Foreign{Err: err}
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys are too many", len(set.Keys))
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		if key, ok := usableKey(raw); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of %d keys can verify a signature", len(set.Keys))
	}
	return keys, nil
}

// usableKey reads one key and says whether it may verify a signature: public,
// asymmetric, meant for it (RFC 7517, sections 4.2 to 4.4) and neither weak nor
// absurdly large.
func usableKey(raw jsontext.Value) (jose.JSONWebKey, bool) {
	var meant struct {
		Use string   `json:"use"`
		Ops []string `json:"key_ops"`
		Alg string   `json:"alg"`
	}
	var key jose.JSONWebKey
	switch {
	case json.Unmarshal(raw, &meant) != nil,
		meant.Use != "" && meant.Use != "sig",
		meant.Ops != nil && !slices.Contains(meant.Ops, "verify"),
		meant.Alg != "" && !slices.Contains(asymmetric(), meant.Alg),
		key.UnmarshalJSON(raw) != nil:
		return key, false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return key, bits >= 2048 && bits <= 8192 && k.N.Bit(0) == 1 && k.E >= 3 && k.E%2 == 1 && k.E <= 1<<31-1
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return key, true
	}
	return key, false
}

// get reads a document of the provider, with an access token if there is one.
func get(ctx context.Context, url, token string, client *http.Client) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token) // RFC 6750, section 2.1
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, callError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp.StatusCode)
	}
	return io.ReadAll(resp.Body)
}

// statusError is an answer other than the one that was asked for.
type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("answered %d %s", int(s), http.StatusText(int(s)))
}

// Is makes a status that may pass away errUnavailable.
func (s statusError) Is(target error) bool { return target == errUnavailable && transient(int(s)) }
