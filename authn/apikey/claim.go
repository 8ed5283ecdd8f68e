package apikey

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/authn"
)

const (
	// maxKey bounds a key, in bytes. The longest that are known have some 90.
	maxKey = 512
)

// claim returns the one key that the request carries, judged by its place and
// shape alone. The error is [authn.ErrNoCredential] where there is none. It wraps
// [authn.ErrRejected] for a key beside another credential, and for what stands in
// a place for keys and is none.
func claim(r *http.Request) (string, error) {
	keys := authn.KeysOf(r.Header)
	key, another, err := authorization(r)
	switch {
	case err != nil:
		return "", err
	case another && len(keys) > 0:
		return "", errSeveral
	case key != "":
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return "", authn.ErrNoCredential
	}
	for _, k := range keys {
		switch {
		case k != keys[0]:
			return "", errSeveral
		case authn.Own(k) && !own(k):
			return "", reject("holds a credential of the gateway, and is none")
		case authn.ApplicationToken(k):
			if k != key { // it came as Bearer, or the application would not take it
				return "", reject("a token stands where keys do")
			}
		case len(k) > maxKey || !words(k) || strings.HasPrefix(k, authn.TokenPrefix):
			return "", reject("not a key")
		}
	}
	return keys[0], nil
}

var errSeveral = fmt.Errorf("apikey: one of several credentials: %w", authn.ErrRejected)

// authorization returns the key in the Authorization header, or whether another
// credential is there.
func authorization(r *http.Request) (key string, another bool, err error) {
	b, err := authn.BasicOf(r)
	switch {
	case err == nil && authn.Own(b.Username):
		return "", false, tell("The API key is in the place of the user name. Send it as the password, for instance api:KEY.", "a key for a user name")
	case err == nil && b.Key() && words(b.Password) && !authn.ApplicationToken(b.Password) && !strings.HasPrefix(b.Password, authn.TokenPrefix):
		return b.Password, false, nil
	case err == nil && b.Key() && !authn.JWT(b.Password) && !strings.HasPrefix(b.Password, authn.TokenPrefix):
		return "", false, reject("what stands for a key is none")
	case err == nil:
		return "", true, nil
	case !errors.Is(err, authn.ErrNoCredential):
		return "", false, err
	}
	values := r.Header["Authorization"]
	token, err := authn.BearerOf(r)
	switch {
	case err == nil && (authn.APIKey(token) || authn.ApplicationToken(token) || authn.Own(token)) && !strings.HasPrefix(token, authn.TokenPrefix):
		return token, false, nil
	case errors.Is(err, authn.ErrRejected) && len(values) > 1:
		return "", false, err
	}
	return "", foreign(values), nil
}

// foreign says whether there is a credential other than Basic, of which all that is
// left by now is the empty one that means none.
func foreign(values []string) bool {
	for _, v := range values {
		if scheme, _ := authn.Scheme(v); scheme != "" && !strings.EqualFold(scheme, "Basic") {
			return true
		}
	}
	return false
}

// words says whether s is what all keys are made of, which no JWT is: letters,
// digits, "_" and "-".
func words(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
	})
}
