package workload

import (
	"bytes"
	"encoding/base64"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"gatehouse/authn"
)

// maxToken bounds a token in bytes. Real ones with hundreds of groups are a
// tenth of it.
const maxToken = 64 << 10

// Claims are what a JWT says of itself, fit for a log line.
type Claims struct {
	Issuer, Subject, Audience string
}

// Rules say what a token must be like.
type Rules struct {
	// AllowOpaque takes tokens that are no JWTs.
	AllowOpaque bool
}

var errNoJWT = errors.New("the token is no JWT")

// read looks at a token that a source has come by.
func (r Rules) read(text string, now time.Time) (Token, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return Token{}, errors.New("the token is empty")
	case len(text) > maxToken:
		return Token{}, fmt.Errorf("the token is longer than %d bytes", maxToken)
	case strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }):
		return Token{}, errors.New("the token is not one word in ASCII")
	}
	t, err := parseJWT(text)
	if err != nil && r.AllowOpaque {
		return Token{Secret: Secret(text)}, nil
	}
	if err != nil {
		return Token{}, err
	}
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return Token{}, fmt.Errorf("the token ended at %s, and now it is %s", stamp(t.Expires), stamp(now))
	}
	return t, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseJWT reads a JWT in compact form (RFC 7515, section 7.1) without verifying
// it. Its errors quote nothing of the token.
func parseJWT(text string) (Token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return Token{}, fmt.Errorf("%w: it has not three parts", errNoJWT)
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var payload struct {
		Issuer   string         `json:"iss"`
		Subject  string         `json:"sub"`
		Audience jsontext.Value `json:"aud"`
		Issued   *float64       `json:"iat"`
		Expires  *float64       `json:"exp"`
	}
	if decodePart(parts[0], &header) != nil || header.Algorithm == "" {
		return Token{}, fmt.Errorf("%w: its header makes no sense", errNoJWT)
	}
	if decodePart(parts[1], &payload) != nil {
		return Token{}, fmt.Errorf("%w: its claims make no sense", errNoJWT)
	}
	if _, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil || parts[2] == "" {
		return Token{}, fmt.Errorf("%w: it has no signature", errNoJWT)
	}
	issued, okIssued := numericDate(payload.Issued)
	expires, okExpires := numericDate(payload.Expires)
	if !okIssued || !okExpires {
		return Token{}, fmt.Errorf("%w: it says a time that is none", errNoJWT)
	}
	return Token{Secret: Secret(text), Issued: issued, Expires: expires, Claims: Claims{
		Issuer: authn.Bounded(payload.Issuer), Subject: authn.Bounded(payload.Subject),
		Audience: authn.Bounded(strings.Trim(string(payload.Audience), `"`)),
	}}, nil
}

// decodePart decodes a JSON object in base64url.
func decodePart(part string, to any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) { // null would do too
		return errors.New("no object")
	}
	return json.Unmarshal(text, to)
}

// numericDate reads seconds since 1970 (RFC 7519, section 2), up to the year
// 9999. Nil is a zero time.
func numericDate(seconds *float64) (time.Time, bool) {
	const year9999 = 253402300799
	switch {
	case seconds == nil:
		return time.Time{}, true
	case !(*seconds >= 0 && *seconds <= year9999):
		return time.Time{}, false
	}
	whole, part := math.Modf(*seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}
