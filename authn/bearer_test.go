package authn_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/authn"
)

func TestBearerOf(t *testing.T) {
	none, rejected := authn.ErrNoCredential, authn.ErrRejected
	for name, c := range map[string]struct {
		header []string
		want   string
		err    error
	}{
		"nothing":                     {nil, "", none},
		"another scheme":              {[]string{"Basic Og=="}, "", none},
		"two of other schemes":        {[]string{"Basic Og==", "Digest x"}, "", none},
		"a longer scheme":             {[]string{"BearerX abc"}, "", none},
		"empty header":                {[]string{""}, "", none},
		"plain":                       {[]string{"Bearer abc.DEF-_~+/=="}, "abc.DEF-_~+/==", nil},
		"scheme in another case":      {[]string{"bEaReR abc"}, "abc", nil},
		"spaces around it":            {[]string{" \tBearer   abc \t"}, "abc", nil},
		"as long as may be":           {[]string{"Bearer " + strings.Repeat("a", 16<<10)}, strings.Repeat("a", 16<<10), nil},
		"JWT-22 too long":             {[]string{"Bearer " + strings.Repeat("a", 16<<10+1)}, "", rejected},
		"JWT-21 a megabyte of dots":   {[]string{"Bearer " + strings.Repeat(".", 1<<20)}, "", rejected},
		"JWT-41 no token":             {[]string{"Bearer"}, "", rejected},
		"no token but space":          {[]string{"Bearer  "}, "", rejected},
		"two words":                   {[]string{"Bearer abc def"}, "", rejected},
		"two in one line":             {[]string{"Bearer abc, Bearer def"}, "", rejected},
		"two headers":                 {[]string{"Bearer abc", "Bearer abc"}, "", rejected},
		"beside Basic":                {[]string{"Basic Og==", "Bearer abc"}, "", rejected},
		"beside an empty one":         {[]string{"", "Bearer abc"}, "", rejected},
		"JWT-30 a line break":         {[]string{"Bearer ab\nc"}, "", rejected},
		"NUL":                         {[]string{"Bearer ab\x00c"}, "", rejected},
		"quoted":                      {[]string{`Bearer "abc"`}, "", rejected},
		"percent-encoded":             {[]string{"Bearer a%2Eb"}, "", rejected},
		"not ASCII":                   {[]string{"Bearer äbc"}, "", rejected},
		"a letter that folds to one":  {[]string{"Bearer \u212aey"}, "", rejected},
		"a scheme that folds to ours": {[]string{"Be\u0430rer abc"}, "", none},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := authn.BearerOf(with(c.header...))
			if got != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
			if err != nil && (errors.Is(err, none) && errors.Is(err, rejected) || strings.Contains(err.Error(), "abc")) {
				t.Errorf("%v", err)
			}
		})
	}
}
