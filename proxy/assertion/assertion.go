// Package assertion signs what upstreams may believe: short-lived JWTs (RFC 7519)
// that say whom a request comes from, and the keys that they are verified with
// (RFC 7517).
//
// The keys are derived and kept nowhere. From each secret comes one key for each
// period of time, so all replicas have the same ones, without a store that could be
// raced for or be gone. Two rules keep every token verifiable for who has fetched
// the keys before it was made:
//
//   - The oldest secret signs. A new one, put in front, is published by all
//     replicas long before the last one is dropped and its turn comes.
//   - The keys of the period before and of the one to come are published too. So a
//     token outlives its period, and clocks may differ.
//
// Who learns a secret can make tokens until it is dropped; that periods end does not
// help then. They end so that no key signs for ever.
package assertion

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// MaxLifetime is how long a token may be valid, and is unless another time is
	// set. Nothing can take a token back, so it is short.
	MaxLifetime = 5 * time.Minute
	// MaxAge is how long the key set may be cached. What is in it is good for longer:
	// it is short for the day on which a secret must be dropped at once.
	MaxAge = 5 * time.Minute

	minLifetime     = 10 * time.Second
	defaultRotation = 30 * 24 * time.Hour
	// minRotation is longer than any verifier is known to keep a key set, whatever
	// Cache-Control says.
	minRotation = 24 * time.Hour
	// minSecret is the least that a secret may hold, in bytes.
	minSecret = 32
)

// Options are what a [Signer] is made of.
type Options struct {
	// Issuer is the gateway's public URL, without a slash at its end.
	Issuer string
	// Algorithm is ES256 (RFC 7518, section 3.4), the default, or EdDSA, which is
	// Ed25519 (RFC 8037).
	Algorithm string
	// Secrets are what the keys are derived from, newest first; each is random and
	// has at least 32 bytes.
	Secrets [][]byte
	// Lifetime is how long a token is valid: 10 seconds to 5 minutes, the default.
	Lifetime time.Duration
	// Rotation is how long one key signs: a day at least, in whole seconds; 30 days
	// unless set.
	Rotation time.Duration
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Claims are what a token says of whom a request comes from. A text that is empty,
// a list of teams that is, and a time that is zero are left out.
type Claims struct {
	// Subject is who it is, for ever. It can't be empty.
	Subject string `json:"sub"`
	// Email is an address that somebody vouches for.
	Email string `json:"email,omitempty"`
	// Username is what people type.
	Username string `json:"preferred_username,omitempty"`
	// Name is for people to read.
	Name string `json:"name,omitempty"`
	// Groups are always there, if only as an empty list: who reads it need not tell
	// "none" from "not said".
	Groups []string `json:"groups"`
	// Teams are those of a service account, its own first.
	Teams []string `json:"teams,omitempty"`
	// Roles are what it is in each of its teams, in their order; as many.
	Roles []string `json:"roles,omitempty"`
	// Kind is person or service.
	Kind string `json:"kind,omitempty"`
	// Route is the name of the way in.
	Route string `json:"route,omitempty"`
	// AuthTime is when they last proved themselves, in whole seconds.
	AuthTime time.Time `json:"-"`
}

// registered are the claims that every token has (RFC 7519, section 4.1), but for
// the subject. Times are in seconds since 1970.
type registered struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	ID        string `json:"jti"`
}

// Signer signs, and publishes what its signatures are verified with. It is safe for
// use by several goroutines.
type Signer struct {
	issuer             string
	alg                algorithm
	secrets            [][]byte
	lifetime, rotation time.Duration
	now                func() time.Time

	mu      sync.Mutex // held while a period's keys are derived
	current atomic.Pointer[period]
}

// New makes a signer. What is not set has its default; what is set wrongly is an
// error.
func New(o Options) (*Signer, error) {
	s := &Signer{issuer: o.Issuer, lifetime: o.Lifetime, rotation: o.Rotation, now: o.Now}
	if s.lifetime == 0 {
		s.lifetime = MaxLifetime
	}
	if s.rotation == 0 {
		s.rotation = defaultRotation
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := checkIssuer(s.issuer); err != nil {
		return nil, err
	}
	alg, known := algorithmOf(o.Algorithm)
	switch {
	case !known:
		return nil, fmt.Errorf("assertion: algorithm %q is neither ES256 nor EdDSA", o.Algorithm)
	case s.lifetime < minLifetime || s.lifetime > MaxLifetime:
		return nil, fmt.Errorf("assertion: lifetime %s is not between %s and %s", s.lifetime, minLifetime, MaxLifetime)
	case s.rotation < minRotation || s.rotation%time.Second != 0:
		return nil, fmt.Errorf("assertion: rotation %s is not %s or more in whole seconds", s.rotation, minRotation)
	case len(o.Secrets) == 0:
		return nil, errors.New("assertion: there is no secret to derive keys from")
	}
	for i, secret := range o.Secrets {
		if len(secret) < minSecret {
			return nil, fmt.Errorf("assertion: secret %d is shorter than %d bytes", i+1, minSecret)
		}
		s.secrets = append(s.secrets, bytes.Clone(secret))
	}
	s.alg = alg
	return s, nil
}

// checkIssuer accepts what verifiers can compare letter by letter and find the
// discovery document behind (OpenID Connect Discovery, section 4.1).
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || !utf8.ValidString(issuer) || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("assertion: issuer %q is not a URL", issuer)
	case u.User != nil || strings.ContainsAny(issuer, "?#"):
		return errors.New("assertion: the issuer must have no user, query or fragment")
	case strings.HasSuffix(issuer, "/"):
		return fmt.Errorf("assertion: issuer %q must not end with a slash", issuer)
	}
	return nil
}

// Sign says whom a request comes from, to one audience. Text that is not UTF-8 is
// refused and not mended: mended, two subjects could become the same one.
func (s *Signer) Sign(c Claims, audience string) (token string, expires time.Time, err error) {
	if len(c.Roles) != len(c.Teams) {
		return "", time.Time{}, fmt.Errorf("assertion: %d roles for %d teams", len(c.Roles), len(c.Teams))
	}
	said := struct {
		registered
		Claims
		AuthTime int64 `json:"auth_time,omitzero"`
	}{Claims: c}
	if !c.AuthTime.IsZero() {
		said.AuthTime = c.AuthTime.Unix()
	}
	return s.sign(&said, &said.registered, c.Subject, audience, s.lifetime)
}

// SignSubject names a subject to one audience and says nothing else: what a token
// endpoint takes for one of its own tokens. A lifetime of zero is that of the
// signer, a longer one than [MaxLifetime] is cut to it.
func (s *Signer) SignSubject(subject, audience string, lifetime time.Duration) (token string, expires time.Time, err error) {
	switch {
	case lifetime == 0:
		lifetime = s.lifetime
	case lifetime < time.Second:
		return "", time.Time{}, fmt.Errorf("assertion: lifetime %s is shorter than a second", lifetime)
	}
	said := struct {
		registered
		Subject string `json:"sub"`
	}{Subject: subject}
	return s.sign(&said, &said.registered, subject, audience, min(lifetime, MaxLifetime))
}

// sign fills in the registered claims, which are part of what is said, and signs all
// of it.
func (s *Signer) sign(said any, r *registered, subject, audience string, lifetime time.Duration) (string, time.Time, error) {
	if subject == "" || audience == "" {
		return "", time.Time{}, errors.New("assertion: a token needs a subject and an audience")
	}
	now := s.now()
	expires := time.Unix(now.Add(lifetime).Unix(), 0)
	*r = registered{
		Issuer: s.issuer, Audience: audience, ID: newID(),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: expires.Unix(),
	}
	payload, err := json.Marshal(said)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("assertion: claims: %w", err)
	}
	p := s.at(now)
	text := p.head + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := s.alg.method.Sign(text, p.key)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("assertion: sign: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), expires, nil
}

// newID is a token's own name (jti), of 16 random bytes.
func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(id[:])
}
