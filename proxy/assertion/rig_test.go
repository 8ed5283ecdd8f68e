package assertion

import (
	"bytes"
	"encoding/json/v2"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

const (
	origin = "https://app.example.com"
	month  = 30 * 24 * time.Hour
)

// secret is the one of that letter.
func secret(letter byte) []byte { return bytes.Repeat([]byte{letter}, 64) }

// ring is the secrets of these letters, newest first.
func ring(letters string) (out [][]byte) {
	for i := range len(letters) {
		out = append(out, secret(letters[i]))
	}
	return out
}

// clock is a time that tests set.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// begin is where a period of a month begins.
func begin(epoch int64) time.Time { return time.Unix(epoch*int64(month/time.Second), 0) }

func newSigner(t testing.TB, o Options) *Signer {
	t.Helper()
	if o.Issuer == "" {
		o.Issuer = origin
	}
	if o.Secrets == nil {
		o.Secrets = ring("A")
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sign makes a token for somebody.
func sign(t testing.TB, s *Signer) string {
	t.Helper()
	token, _, err := s.Sign(Claims{Subject: "jo"}, "app")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// verify is a verifier as an upstream has one: golang-jwt and keyfunc, with a key
// set that was fetched some time.
func verify(t testing.TB, token string, set []byte, now time.Time) error {
	t.Helper()
	keys, err := keyfunc.NewJWKSetJSON(set)
	if err != nil {
		t.Fatal(err)
	}
	_, err = jwt.Parse(token, keys.Keyfunc,
		jwt.WithValidMethods([]string{"ES256", "EdDSA"}), jwt.WithIssuer(origin), jwt.WithAudience("app"),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(func() time.Time { return now }))
	return err
}

// open is another verifier, go-jose: what a token says, and its head.
func open(t testing.TB, token string, s *Signer) (head jose.Header, claims map[string]any) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	head = jws.Signatures[0].Protected
	set := keySetOf(t, s)
	found := set.Key(head.KeyID)
	if len(found) != 1 {
		t.Fatalf("%d keys are %q", len(found), head.KeyID)
	}
	payload, err := jws.Verify(found[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return head, claims
}

// keySetOf is what a signer publishes, as go-jose reads it.
func keySetOf(t testing.TB, s *Signer) (set jose.JSONWebKeySet) {
	t.Helper()
	for _, k := range published(t, s) {
		text, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, key)
	}
	return set
}

// published is what a signer publishes, member for member.
func published(t testing.TB, s *Signer) []map[string]string {
	t.Helper()
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(s.JWKS(), &set, json.RejectUnknownMembers(true)); err != nil {
		t.Fatal(err)
	}
	return set.Keys
}
