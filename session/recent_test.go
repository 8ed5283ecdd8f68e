package session

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// FuzzOnlyCookie: the short way to a cookie's value never finds what is not the one cookie
// of that name.
func FuzzOnlyCookie(f *testing.F) {
	const name = "__Host-gatehouse"
	for _, line := range []string{
		"NAME=VALUE", "a=b; NAME=VALUE", "a=b;NAME=VALUE; c=d", "a=b NAME=VALUE", "a NAME=VALUE", "a=b;  NAME=VALUE", "NAME=VALUE; NAME=VALUE",
		"NAME=VALUEx", "xNAME=VALUE", `a="; NAME=VALUE"`, "NAME =VALUE", "NAME= VALUE", "NAME=VALUE ", "NAMEx=VALUE", "a=b;\tNAME=VALUE", "=NAME=VALUE",
		"=; NAME=VALUE", "a=b,NAME=VALUE", ";NAME=VALUE", "; NAME=VALUE;",
	} {
		f.Add(strings.NewReplacer("NAME", name, "VALUE", storedCookie).Replace(line))
	}
	f.Fuzz(func(t *testing.T, line string) {
		value, ok := onlyCookie([]string{line}, name)
		if _, err := base64.RawURLEncoding.DecodeString(value); !ok || err != nil {
			return // no value that a sealer makes, so nothing is remembered of it
		}
		all := (&http.Request{Header: http.Header{"Cookie": {line}}}).CookiesNamed(name)
		if len(all) != 1 || all[0].Value != value || all[0].Quoted {
			t.Errorf("%q is found in %q, where there are %v", value, line, all)
		}
	})
}

// TestOnlyCookie: what browsers send goes the short way.
func TestOnlyCookie(t *testing.T) {
	const name = "__Host-gatehouse"
	for _, line := range []string{"NAME=VALUE", "a=b; NAME=VALUE", "NAME=VALUE; a=b", "a=b; NAME=VALUE; c=d", "a=b;NAME=VALUE"} {
		line = strings.NewReplacer("NAME", name, "VALUE", storedCookie).Replace(line)
		if value, ok := onlyCookie([]string{line}, name); !ok || value != storedCookie {
			t.Errorf("%q: %q %v", line, value, ok)
		}
	}
}
