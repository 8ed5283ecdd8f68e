package authn

import "strings"

// What credentials begin with that are known by it.
const (
	// TokenPrefix begins every access token of the gateway.
	TokenPrefix = "gh_at_"
	// KeyPrefix begins every API key of the gateway.
	KeyPrefix = "gatehouse-"
	// ApplicationTokenPrefix begins the access tokens that a W&B server gives out itself.
	ApplicationTokenPrefix = "wb_at_"
)

// Scheme takes a credential apart (RFC 9110, section 11.4): its scheme, in any case,
// and what follows.
func Scheme(value string) (scheme, rest string) {
	value = strings.Trim(value, " \t")
	i := strings.IndexAny(value, " \t")
	if i < 0 {
		return value, ""
	}
	return value[:i], strings.TrimLeft(value[i:], " \t")
}

// The shapes are told byte by byte, without expressions: they are looked at with
// each request.

// APIKey says whether s is surely an API key, whatever it comes with: what keys
// have looked like so far, and what no person would choose. That is the gateway's
// own; and those of a W&B server, 40 hex digits or a versioned name, behind a
// prefix of word characters if there is one.
func APIKey(s string) bool {
	if key, ok := strings.CutPrefix(s, KeyPrefix); ok && len(key) == 40 && all(key, alphanumeric) {
		return true
	}
	if !all(s, wordOrDash) {
		return false
	}
	for {
		if len(s) == 40 && all(s, hexDigit) || versioned(s) {
			return true
		}
		var more bool
		if _, s, more = strings.Cut(s, "-"); !more {
			return false
		}
	}
}

// versioned says whether s is wandb_v, a number, "_" and 32 word characters or more.
func versioned(s string) bool {
	s, ok := strings.CutPrefix(s, "wandb_v")
	version, secret, cut := strings.Cut(s, "_")
	return ok && cut && version != "" && all(version, digit) && len(secret) >= 32
}

// keyShape says whether s is what W&B clients take for an API key: at least 40
// word characters, behind a prefix if there is one.
func keyShape(s string) bool {
	if len(s) >= 40 && all(s, wordOrDash) {
		return true
	}
	_, s, ok := strings.Cut(s, "-")
	return ok && len(s) >= 40 && all(s, wordOrDash)
}

// JWT says whether s looks like a JWT, signed or encrypted: three parts of
// base64url (RFC 7515, section 7.1) or five (RFC 7516, section 7.1).
func JWT(s string) bool {
	dots := 0
	for i := range len(s) {
		if s[i] == '.' {
			dots++
		} else if !wordOrDash(s[i]) {
			return false
		}
	}
	return dots == 2 || dots == 4
}

// Own says whether s holds what is meant for this gateway alone, be it not whole
// and with something before or behind it: an API key or an access token that it has
// given out. Nobody else may be shown it. What follows the prefix is longer than in
// the password of anybody who likes the name.
func Own(s string) bool {
	const enough = 20
	return len(s) > len(TokenPrefix) && strings.EqualFold(s[:len(TokenPrefix)], TokenPrefix) ||
		holds(s, KeyPrefix, enough, alphanumeric) || holds(s, TokenPrefix, enough, wordOrDash)
}

// holds says whether s holds prefix, in any case, and then n bytes of a kind. The
// prefix ends with no letter, and that end is looked for first: it is rare.
func holds(s, prefix string, n int, of func(byte) bool) bool {
	end := prefix[len(prefix)-1]
	for after := 0; ; {
		i := strings.IndexByte(s[after:], end)
		if i < 0 {
			return false
		}
		after += i + 1
		if after >= len(prefix) && len(s)-after >= n && strings.EqualFold(s[after-len(prefix):after], prefix) && all(s[after:after+n], of) {
			return true
		}
	}
}

// ApplicationToken says whether s is an access token that a W&B server gave out
// itself, for a JWT. It wants such a one as Bearer and nowhere else.
func ApplicationToken(s string) bool {
	return strings.HasPrefix(s, ApplicationTokenPrefix) && len(s) > len(ApplicationTokenPrefix)
}

func all(s string, of func(byte) bool) bool {
	for i := range len(s) {
		if !of(s[i]) {
			return false
		}
	}
	return true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digit(c)
}

func hexDigit(c byte) bool {
	return 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' || digit(c)
}

func wordOrDash(c byte) bool { return alphanumeric(c) || c == '_' || c == '-' }
