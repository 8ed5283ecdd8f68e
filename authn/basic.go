package authn

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
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

// Scheme takes a credential apart (RFC 9110, section 11.4): its scheme, in any case,
// and what follows.
func Scheme(value string) (scheme, rest string) {
	value = strings.Trim(value, " \t")
	i := strings.IndexAny(value+" ", " \t")
	return value[:i], strings.TrimLeft(value[i:], " \t")
}

// Text says whether s is UTF-8 without control characters, as names and
// passwords must be (RFC 7617, section 2).
func Text(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

var (
	// jwtShape is three parts of base64url, or the five of an encrypted JWT.
	jwtShape = regexp.MustCompile(`^[\w-]*\.[\w-]*\.[\w-]*(?:\.[\w-]*\.[\w-]*)?$`)
	// keyShape is what W&B clients take for an API key: at least 40 word
	// characters, behind a prefix if there is one.
	keyShape = regexp.MustCompile(`^(?:[^-]*-)?[\w-]{40,}$`)
	// apiKeyShape is what API keys have looked like so far, and what no person would
	// choose: the gateway's own; and those of a W&B server, 40 hex digits or a
	// versioned name, behind a prefix if there is one.
	apiKeyShape = regexp.MustCompile(`^(?:gatehouse-[0-9A-Za-z]{40}|(?:[\w-]*-)?(?:[0-9a-fA-F]{40}|wandb_v\d+_[\w-]{32,}))$`)
	// ownShape is what the gateway has given out, or most of it: longer than the
	// password of anybody who likes the name.
	ownShape = regexp.MustCompile(`^(?i:gatehouse-[\w-]{30,}|gh_at_.+)$`)
)

// APIKey says whether s is surely an API key, whatever it comes with.
func APIKey(s string) bool { return apiKeyShape.MatchString(s) }

// JWT says whether s looks like a JWT, signed or encrypted (RFC 7515, section 7.1;
// RFC 7516, section 7.1).
func JWT(s string) bool { return jwtShape.MatchString(s) }

// Own says whether s is meant for this gateway alone, be it not whole: an API key
// or an access token that it has given out. Nobody else may be shown such a one.
func Own(s string) bool { return ownShape.MatchString(s) }

// ApplicationToken says whether s is an access token that a W&B server gave out
// itself, for a JWT. It wants such a one as Bearer and nowhere else.
func ApplicationToken(s string) bool { return strings.HasPrefix(s, "wb_at_") && len(s) > len("wb_at_") }

// Key says whether this is an API key or a token in a password's place, which
// is for the routes that know those, and not a person's password. W&B clients
// send theirs under the names api, user, the person's or none.
func (b Basic) Key() bool {
	switch b.Username {
	case "", "api", "user":
		return keyShape.MatchString(b.Password) || JWT(b.Password) || Own(b.Password) || ApplicationToken(b.Password)
	}
	return APIKey(b.Password) || Own(b.Password) || ApplicationToken(b.Password) || strings.HasPrefix(b.Password, "eyJ") && JWT(b.Password)
}
