package authn

import (
	"regexp"
	"strings"
)

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
	i := strings.IndexAny(value+" ", " \t")
	return value[:i], strings.TrimLeft(value[i:], " \t")
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
	apiKeyShape = regexp.MustCompile(`^(?:` + KeyPrefix + `[0-9A-Za-z]{40}|(?:[\w-]*-)?(?:[0-9a-fA-F]{40}|wandb_v\d+_[\w-]{32,}))$`)
	// ownShape is what the gateway has given out, or most of it, be something before
	// or behind it: longer than the password of anybody who likes the name.
	ownShape = regexp.MustCompile(`(?i:` + KeyPrefix + `[0-9a-z]{20,}|` + TokenPrefix + `[\w-]{20,}|^` + TokenPrefix + `.+)`)
)

// APIKey says whether s is surely an API key, whatever it comes with.
func APIKey(s string) bool { return apiKeyShape.MatchString(s) }

// JWT says whether s looks like a JWT, signed or encrypted (RFC 7515, section 7.1;
// RFC 7516, section 7.1).
func JWT(s string) bool { return jwtShape.MatchString(s) }

// Own says whether s holds what is meant for this gateway alone, be it not whole: an
// API key or an access token that it has given out. Nobody else may be shown it.
func Own(s string) bool { return ownShape.MatchString(s) }

// ApplicationToken says whether s is an access token that a W&B server gave out
// itself, for a JWT. It wants such a one as Bearer and nowhere else.
func ApplicationToken(s string) bool {
	return strings.HasPrefix(s, ApplicationTokenPrefix) && len(s) > len(ApplicationTokenPrefix)
}
