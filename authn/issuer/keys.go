package issuer

import (
	"context"
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
	"gatehouse/authn/meter"
)

const (
	// KeysAge is when keys are asked for again although they still fit, so that
	// a key that the provider took back is not trusted much longer.
	KeysAge = time.Hour
	// KeysMaxAge is how long known keys serve while the provider does not answer.
	KeysMaxAge = 24 * time.Hour
	// KeysWait is how long somebody waits for newer keys when the known ones still
	// serve. A taken-back key is noticed at once by a provider that answers; one
	// that hangs holds nobody up.
	KeysWait = time.Second
	// quiet is how long after keys have grown old nobody may have asked for them
	// before somebody has to wait.
	quiet = time.Minute
	// MaxKeys bounds the keys of one set, and maxTries the keys that one token
	// without a key id is tried with.
	MaxKeys, maxTries = 100, 8
	// MaxWaiting is how many may wait for one issuer's keys at once. Whoever sends tokens
	// of an issuer that hangs is to take nobody else's place.
	MaxWaiting = 128
)

// errSignature: no key of the issuer made this signature.
var errSignature = errors.New("signature is not the issuer's")

// Key is one public key of an issuer, its id and what it is meant for.
type Key = jose.JSONWebKey

// Snapshot is an issuer's keys as they were at one time. Nothing in it changes.
type Snapshot struct {
	Keys []Key
	// Asked is when they were asked for, and At when they came. A key that the issuer has
	// made in between may not be among them.
	Asked, At time.Time
}

// KeySet is the issuer's keys. It is safe for concurrent use. Unknown key ids
// make it ask again, but never more often than its limiter lets it: five times
// in a row and then once in ten seconds, whoever sends tokens.
type KeySet struct {
	load   func(context.Context) ([]Key, error)
	age    time.Duration
	limit  *rate.Limiter
	newer  *rate.Limiter // for what a token asks for
	flight singleflight.Group
	places chan struct{} // one for each who waits

	mu       sync.Mutex
	known    Snapshot
	answered time.Time // when somebody last asked and it was over, well or not
}

// NewKeySet is the keys at a URL.
func NewKeySet(url string, client *http.Client) *KeySet {
	load := func(ctx context.Context) ([]Key, error) { return FetchKeys(ctx, url, "", client) }
	return NewKeys(load, KeysAge, 0)
}

// NewKeys is the keys that load returns. They are asked for again when they are
// of that age, and for a key that is not among them at most once in interval;
// zero means as often as for anything else.
func NewKeys(load func(context.Context) ([]Key, error), age, interval time.Duration) *KeySet {
	return &KeySet{
		load: load, age: age, limit: rate.NewLimiter(rate.Every(10*time.Second), 5), newer: rate.NewLimiter(rate.Every(interval), 1),
		places: make(chan struct{}, MaxWaiting),
	}
}

// Current returns the keys that are known. Old ones are asked for again beside
// the work: whom they fit waits for nobody. Only after a time in which nobody
// asked is the answer waited for, for KeysWait at most, since one of the keys may
// have been taken back long ago. The error wraps [ErrUnavailable] if there are no
// keys, or only some of yesterday.
func (k *KeySet) Current(ctx context.Context) (Snapshot, error) {
	s, answered := k.state()
	age := time.Since(s.At)
	switch {
	case age < k.age:
		return s, nil
	case age >= KeysMaxAge:
		return k.fetch(ctx)
	}
	answer := k.ask(ctx)
	if time.Since(answered) < k.age+quiet {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, KeysWait)
	defer cancel()
	if fresh, err := k.wait(ctx, answer); err == nil {
		return fresh, nil
	}
	return s, nil
}

// Newer asks for keys because a token needs one that is not among those of a
// snapshot. Without an answer, or too soon after another such question, the error
// wraps [ErrUnavailable]: it is not known whether there is such a key.
func (k *KeySet) Newer(ctx context.Context, than Snapshot) (Snapshot, error) {
	// Who knows newer keys does not share the answer to who knows only older ones.
	answer := k.flight.DoChan("newer than "+than.At.String(), func() (any, error) {
		if s := k.snapshot(); s.At.After(than.At) { // somebody else's question was answered just now
			return s, nil
		}
		if !k.newer.Allow() {
			return nil, errLimited
		}
		a := <-k.ask(ctx)
		return a.Val, a.Err
	})
	return k.wait(ctx, answer)
}

// Verify returns the payload of a compact JWS that one of the issuer's keys
// signed with one of algs. Its error wraps ErrUnavailable if keys could not be had.
func (k *KeySet) Verify(ctx context.Context, token string, algs []string) ([]byte, error) {
	var allowed []jose.SignatureAlgorithm
	for _, a := range algs {
		allowed = append(allowed, jose.SignatureAlgorithm(a))
	}
	jws, err := jose.ParseSignedCompact(token, allowed)
	if err != nil {
		return nil, authn.Foreign{Err: err}
	}
	known := k.snapshot()
	if age := time.Since(known.At); age >= k.age {
		fresh, err := k.renew(ctx, age)
		if err != nil && age >= KeysMaxAge {
			return nil, err
		}
		if err == nil {
			known = fresh
		}
	}
	// A new key may be in use before anybody was told (OpenID Connect Core, section 10.1.1),
	// so "no" is an answer that was asked for after the token came.
	came := time.Now()
	for tries := 0; ; tries++ {
		if payload := try(jws, known.Keys); payload != nil {
			return payload, nil
		}
		if tries > 0 && !known.Asked.Before(came) {
			return nil, errSignature
		}
		if known, err = k.fetch(ctx); err != nil {
			return nil, err
		}
	}
}

// renew asks for newer keys, but waits no longer than the known ones deserve.
// An answer that comes later is for the next one to use.
func (k *KeySet) renew(ctx context.Context, age time.Duration) (Snapshot, error) {
	if age < KeysMaxAge {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, KeysWait)
		defer cancel()
	}
	return k.fetch(ctx)
}

// try verifies jws with each key that it can mean; nil if none of them fits.
func try(jws *jose.JSONWebSignature, keys []Key) []byte {
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
			return payload
		}
	}
	return nil
}

// Ready reports whether there are keys to verify with.
func (k *KeySet) Ready(ctx context.Context) error {
	if time.Since(k.snapshot().At) < KeysMaxAge {
		return nil
	}
	_, err := k.fetch(ctx)
	return err
}

// state is what is known and when an answer last came, both of one moment: an
// answer that comes in between must not make older keys look fresh.
func (k *KeySet) state() (known Snapshot, answered time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known, k.answered
}

func (k *KeySet) snapshot() Snapshot {
	s, _ := k.state()
	return s
}

// errCrowded: too many wait for the keys.
var errCrowded = fmt.Errorf("%w: issuer's keys: too many wait for them", ErrUnavailable)

// errLimited: the keys were asked for too often.
var errLimited = fmt.Errorf("%w: issuer's keys: asked for too often", ErrUnavailable)

// fetch asks for the keys, once at a time. What is known stays if that fails.
func (k *KeySet) fetch(ctx context.Context) (Snapshot, error) { return k.wait(ctx, k.ask(ctx)) }

func (k *KeySet) wait(ctx context.Context, answer <-chan singleflight.Result) (Snapshot, error) {
	select {
	case k.places <- struct{}{}:
		defer func() { <-k.places }()
	default:
		return Snapshot{}, errCrowded
	}
	select {
	case <-ctx.Done():
		return Snapshot{}, fmt.Errorf("%w: issuer's keys: %w", ErrUnavailable, ctx.Err())
	case a := <-answer:
		s, _ := a.Val.(Snapshot)
		return s, a.Err
	}
}

// ask begins to fetch, or joins who does. It goes on though who asked first goes away.
func (k *KeySet) ask(ctx context.Context) <-chan singleflight.Result {
	return k.flight.DoChan("", func() (any, error) {
		if !k.limit.Allow() {
			return nil, errLimited
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CallTime)
		defer cancel()
		asked := time.Now()
		keys, err := k.load(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.answered = time.Now()
		if err != nil {
			return nil, fmt.Errorf("%w: issuer's keys: %w", ErrUnavailable, err)
		}
		k.known = Snapshot{Keys: keys, Asked: asked, At: time.Now()}
		return k.known, nil
	})
}

// FetchKeys reads a JWK set at a URL, with an access token if there is one.
func FetchKeys(ctx context.Context, url, token string, client *http.Client) ([]Key, error) {
	text, err := Get(meter.Asking(ctx, "keys"), url, token, client)
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// parseKeys reads a JWK set (RFC 7517, section 5). Keys that can't verify a
// signature are left out; a set without any other is an error.
func parseKeys(text []byte) ([]Key, error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, authn.Foreign{Err: err}
	}
	if len(set.Keys) > MaxKeys {
		return nil, fmt.Errorf("%d keys are too many", len(set.Keys))
	}
	var keys []Key
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
// Algorithms, meant for it (RFC 7517, sections 4.2 to 4.4) and neither weak nor
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
		meant.Alg != "" && !slices.Contains(Algorithms(), meant.Alg),
		key.UnmarshalJSON(raw) != nil:
		return key, false
	}
	return key, strong(key)
}

// Get reads a document of the provider, with an access token if there is one.
func Get(ctx context.Context, url, token string, client *http.Client) ([]byte, error) {
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
		return nil, CallError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, StatusError(resp.StatusCode)
	}
	return io.ReadAll(resp.Body)
}

// StatusError is an answer other than the one that was asked for.
type StatusError int

func (s StatusError) Error() string {
	return fmt.Sprintf("answered %d %s", int(s), http.StatusText(int(s)))
}

// Is makes a status that may pass away ErrUnavailable.
func (s StatusError) Is(target error) bool { return target == ErrUnavailable && Transient(int(s)) }
