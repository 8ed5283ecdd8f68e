package authn

import (
	"fmt"
	"net/http"
	"strings"
)

// MaxToken bounds a token that programs send, in bytes.
const MaxToken = 16 << 10

// BearerOf reads the token of an Authorization header (RFC 6750, section 2.1).
// The error is [ErrNoCredential] where there is none of this scheme. It wraps
// [ErrRejected] for what is Bearer and no token, or one of several.
func BearerOf(r *http.Request) (string, error) {
	values := r.Header["Authorization"]
	token, bearer := "", false
	for _, v := range values {
		if scheme, rest := Scheme(v); strings.EqualFold(scheme, "Bearer") {
			token, bearer = rest, true
		}
	}
	switch {
	case !bearer:
		return "", ErrNoCredential
	case len(values) > 1:
		return "", errSeveral("bearer")
	case len(token) > MaxToken:
		return "", fmt.Errorf("bearer: longer than %d bytes: %w", MaxToken, ErrRejected)
	case token == "" || !all(token, tokenByte):
		return "", fmt.Errorf("bearer: not a token: %w", ErrRejected)
	}
	return token, nil
}

// tokenByte tells what is in the syntax of a token (b64token).
func tokenByte(c byte) bool {
	return wordOrDash(c) || c == '.' || c == '~' || c == '+' || c == '/' || c == '='
}
