package workload

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

// maxToken bounds a token in bytes. It may be for another server than the gateway,
// which takes [authn.MaxToken] at most. Real ones with hundreds of groups are a tenth
// of it.
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

// parseJWT reads a JWT in compact form without verifying it. Its errors quote
// nothing of the token.
func parseJWT(text string) (Token, error) {
	j, err := issuer.Open(text)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", errNoJWT, err)
	}
	if j.Algorithm == "" {
		return Token{}, fmt.Errorf("%w: its header names no algorithm", errNoJWT)
	}
	said, err := issuer.ParseClaims(j.Payload)
	if err != nil {
		return Token{}, fmt.Errorf("%w: claims: %w", errNoJWT, err)
	}
	t := Token{Secret: Secret(text)}
	var errs [4]error
	t.Issued, errs[0] = said.Instant("iat")
	t.Expires, errs[1] = said.Instant("exp")
	t.Claims.Issuer, errs[2] = said.Text("iss")
	t.Claims.Subject, errs[3] = said.Text("sub")
	if err := cmp.Or(errs[:]...); err != nil {
		return Token{}, fmt.Errorf("%w: %w", errNoJWT, err)
	}
	t.Claims.Issuer, t.Claims.Subject = authn.Bounded(t.Claims.Issuer), authn.Bounded(t.Claims.Subject)
	t.Claims.Audience = authn.Bounded(strings.Trim(string(said["aud"]), `"`))
	return t, nil
}
