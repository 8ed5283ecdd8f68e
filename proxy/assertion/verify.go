package assertion

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// leeway is how far a verifier's clock may be off.
const leeway = 30 * time.Second

// Verified is a token that the issuer has signed for this audience.
type Verified struct {
	Claims
	Issuer, Audience string
	Expires          time.Time
}

// Verify holds a token against the key set of its issuer, as an application does: its
// signature, by one of the algorithms that a [Signer] knows, from whom and for whom it
// is, and its time.
func Verify(keySet []byte, token, issuer, audience string, now time.Time) (Verified, error) {
	var keys fetchedKeys
	if err := json.Unmarshal(keySet, &keys); err != nil {
		return Verified{}, fmt.Errorf("assertion: key set: %w", err)
	}
	var said spoken
	_, err := jwt.ParseWithClaims(token, &said, keys.find, jwt.WithValidMethods([]string{"ES256", "EdDSA"}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		return Verified{}, fmt.Errorf("assertion: %w", err)
	}
	v := Verified{Claims: said.Claims, Issuer: said.Issuer, Audience: said.Audience, Expires: time.Unix(said.Expires, 0)}
	if said.AuthTime != 0 {
		v.AuthTime = time.Unix(said.AuthTime, 0)
	}
	return v, nil
}

// fetchedKeys is a key set as it is read. Members that nobody here knows are left alone.
type fetchedKeys struct {
	Keys []jwk `json:"keys"`
}

// find returns the key that a token names, if it is one for its algorithm.
func (s fetchedKeys) find(t *jwt.Token) (any, error) {
	for _, k := range s.Keys {
		if id, _ := t.Header["kid"].(string); id != "" && k.KeyID == id && k.Algorithm == t.Method.Alg() {
			return k.public()
		}
	}
	return nil, errors.New("the token’s key is not in the set")
}

// public is the key itself.
func (p point) public() (crypto.PublicKey, error) {
	x, err := base64.RawURLEncoding.DecodeString(p.X)
	if err != nil {
		return nil, err
	}
	y, err := base64.RawURLEncoding.DecodeString(p.Y)
	switch {
	case err != nil:
		return nil, err
	case p.Type == "OKP" && p.Curve == "Ed25519" && len(x) == ed25519.PublicKeySize:
		return ed25519.PublicKey(x), nil
	case p.Type == "EC" && p.Curve == "P-256" && len(x) == 32 && len(y) == 32:
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	}
	return nil, fmt.Errorf("a key of type %q on curve %q", p.Type, p.Curve)
}

// spoken is what a token says, in the form that golang-jwt asks for.
type spoken struct {
	registered
	Claims
	AuthTime int64 `json:"auth_time"`
}

// GetExpirationTime implements jwt.Claims.
func (s *spoken) GetExpirationTime() (*jwt.NumericDate, error) { return date(s.Expires), nil }

// GetIssuedAt implements jwt.Claims.
func (s *spoken) GetIssuedAt() (*jwt.NumericDate, error) { return date(s.IssuedAt), nil }

// GetNotBefore implements jwt.Claims.
func (s *spoken) GetNotBefore() (*jwt.NumericDate, error) { return date(s.NotBefore), nil }

// GetIssuer implements jwt.Claims.
func (s *spoken) GetIssuer() (string, error) { return s.Issuer, nil }

// GetSubject implements jwt.Claims.
func (s *spoken) GetSubject() (string, error) { return s.Subject, nil }

// GetAudience implements jwt.Claims.
func (s *spoken) GetAudience() (jwt.ClaimStrings, error) { return jwt.ClaimStrings{s.Audience}, nil }

func date(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(seconds, 0))
}
