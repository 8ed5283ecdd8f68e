package authn

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Basic is a name and a password that came with a request (RFC 7617).
type Basic struct{ Username, Password string }

// maxBasic bounds what comes after the scheme, in bytes.
const maxBasic = 8 << 10

// BasicOf reads the Authorization header. The error is [ErrNoCredential] where
// there is none of this scheme, which an empty name with an empty password is
// too: browsers' applications send that and mean their cookie. It wraps
// [ErrRejected] for what is Basic and can't be read in one way only.
func BasicOf(r *http.Request) (Basic, error) {
	values := r.Header["Authorization"]
	payload, basic := "", false
	for _, v := range values {
		if p, ok := basicPayload(v); ok {
			payload, basic = p, true
		}
	}
	switch {
	case !basic, payload == "" && len(values) == 1:
		return Basic{}, ErrNoCredential
	case len(values) > 1:
		return Basic{}, errSeveral("basic")
	case len(payload) > maxBasic:
		return Basic{}, fmt.Errorf("basic: too long: %w", ErrRejected)
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(payload)
	if err != nil || strings.ContainsAny(payload, "\r\n") {
		return Basic{}, fmt.Errorf("basic: not base64: %w", ErrRejected)
	}
	username, password, ok := strings.Cut(string(plain), ":")
	switch {
	case !ok:
		return Basic{}, fmt.Errorf("basic: no colon: %w", ErrRejected)
	case !Text(string(plain)):
		return Basic{}, fmt.Errorf("basic: not text in UTF-8: %w", ErrRejected)
	case username == "" && password == "":
		return Basic{}, ErrNoCredential
	}
	return Basic{username, password}, nil
}

// basicPayload returns what comes after the scheme, if that is Basic.
func basicPayload(value string) (string, bool) {
	scheme, payload := Scheme(value)
	return payload, strings.EqualFold(scheme, "Basic")
}

func errSeveral(of string) error {
	return &Rejected{Sentence: "The request has several credentials. Send one.", Err: fmt.Errorf("%s: one of several credentials", of)}
}

// Text says whether s is UTF-8 without control characters, as names and
// passwords must be (RFC 7617, section 2).
func Text(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

// Key says whether this is an API key or a token in a password's place, which
// is for the routes that know those, and not a person's password. W&B clients
// send theirs under the names api, user, the person's or none.
func (b Basic) Key() bool {
	if Own(b.Username) { // as curl -u KEY: has it
		return true
	}
	switch b.Username {
	case "", "api", "user":
		return keyShape(b.Password) || JWT(b.Password) || Own(b.Password) || ApplicationToken(b.Password)
	}
	return APIKey(b.Password) || Own(b.Password) || ApplicationToken(b.Password) || strings.HasPrefix(b.Password, "eyJ") && JWT(b.Password)
}
