package assertion

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSign(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 678, time.UTC)
	at := float64(now.Unix())
	everything := Claims{
		Subject: "00u1", Email: "jo@example.com", Username: "jo", Name: "Jo Müller 🙂", Groups: []string{"a,b", "<wandb>"},
		Teams: []string{"core", "data"}, Roles: []string{"member", "member"}, Kind: "service", Route: "okta",
		AuthTime: time.Unix(1893000000, 999),
	}
	for name, c := range map[string]struct {
		claims   Claims
		lifetime time.Duration
		want     map[string]any
	}{
		"everything": {everything, 0, map[string]any{
			"iss": origin, "aud": "app", "sub": "00u1", "iat": at, "nbf": at, "exp": at + 300,
			"email": "jo@example.com", "preferred_username": "jo", "name": "Jo Müller 🙂", "groups": []any{"a,b", "<wandb>"},
			"teams": []any{"core", "data"}, "roles": []any{"member", "member"}, "kind": "service", "route": "okta", "auth_time": 1893000000.0,
		}},
		"next to nothing": {Claims{Subject: "jo"}, time.Minute, map[string]any{
			"iss": origin, "aud": "app", "sub": "jo", "iat": at, "nbf": at, "exp": at + 60, "groups": []any{},
		}},
	} {
		for _, alg := range []string{"", "ES256", "EdDSA"} {
			t.Run(name+" "+alg, func(t *testing.T) {
				clock := &clock{now}
				s := newSigner(t, Options{Algorithm: alg, Lifetime: c.lifetime, Now: clock.now})
				token, expires, err := s.Sign(c.claims, "app")
				if err != nil {
					t.Fatal(err)
				}
				if err := verify(t, token, s.JWKS(), now); err != nil {
					t.Error(err)
				}
				head, claims := open(t, token, s)
				if id, err := base64.RawURLEncoding.DecodeString(claims["jti"].(string)); err != nil || len(id) != 16 {
					t.Errorf("jti %v", claims["jti"])
				}
				delete(claims, "jti")
				if diff := cmp.Diff(c.want, claims); diff != "" {
					t.Error(diff)
				}
				if expires.Unix() != int64(c.want["exp"].(float64)) || expires.Nanosecond() != 0 {
					t.Errorf("expires %s", expires)
				}
				if alg == "" {
					alg = "ES256"
				}
				plain := decode(t, token, 0)
				if want := `{"alg":"` + alg + `","kid":"` + head.KeyID + `","typ":"JWT"}`; plain != want {
					t.Errorf("head %s", plain)
				}
			})
		}
	}
}

// decode is a part of a token as it is written.
func decode(t *testing.T, token string, part int) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAuthTimeIsWhole: some verifiers take no fraction.
func TestAuthTimeIsWhole(t *testing.T) {
	token, _, err := newSigner(t, Options{}).Sign(Claims{Subject: "jo", AuthTime: time.Unix(1893000000, 5e8)}, "app")
	if err != nil {
		t.Fatal(err)
	}
	if text := decode(t, token, 1); !strings.Contains(text, `"auth_time":1893000000}`) {
		t.Error(text)
	}
}

// TestTokensAreNamed: no two have the same jti.
func TestTokensAreNamed(t *testing.T) {
	s := newSigner(t, Options{})
	seen := map[any]bool{}
	for range 100 {
		_, claims := open(t, sign(t, s), s)
		seen[claims["jti"]] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d names for 100 tokens", len(seen))
	}
}

func TestSignRefuses(t *testing.T) {
	s := newSigner(t, Options{})
	for name, c := range map[string]struct {
		claims   Claims
		audience string
		problem  string
	}{
		"nobody":               {Claims{}, "app", "a subject and an audience"},
		"no audience":          {Claims{Subject: "jo"}, "", "a subject and an audience"},
		"a subject in Latin-1": {Claims{Subject: "J\xf6"}, "app", "UTF-8"},
		"a group in Latin-1":   {Claims{Subject: "jo", Groups: []string{"a", "M\xfcnchen"}}, "app", "UTF-8"},
		"half a character":     {Claims{Subject: "jo", Name: "Jo \xf0\x9f\x99"}, "app", "UTF-8"},
		"a surrogate":          {Claims{Subject: "jo", Name: "\xed\xa0\x80"}, "app", "UTF-8"},
		"an audience":          {Claims{Subject: "jo"}, "\xff", "UTF-8"},
		"a role too few":       {Claims{Subject: "jo", Teams: []string{"a", "b"}, Roles: []string{"admin"}}, "app", "1 roles for 2 teams"},
		"a role without team":  {Claims{Subject: "jo", Roles: []string{"admin"}}, "app", "1 roles for 0 teams"},
	} {
		t.Run(name, func(t *testing.T) {
			token, expires, err := s.Sign(c.claims, c.audience)
			if err == nil || token != "" || !expires.IsZero() || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%q, %v", token, err)
			}
		})
	}
}

func TestSignSubject(t *testing.T) {
	now := time.Unix(1893000000, 0)
	s := newSigner(t, Options{Lifetime: time.Minute, Now: (&clock{now}).now})
	for name, c := range map[string]struct{ asked, got time.Duration }{
		"the signer's": {0, time.Minute},
		"shorter":      {20 * time.Second, 20 * time.Second},
		"longer":       {2 * time.Minute, 2 * time.Minute},
		"the longest":  {MaxLifetime, MaxLifetime},
		"too long":     {24 * time.Hour, MaxLifetime},
	} {
		t.Run(name, func(t *testing.T) {
			token, expires, err := s.SignSubject("jo", "app", c.asked)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(t, token, s.JWKS(), now); err != nil {
				t.Error(err)
			}
			_, claims := open(t, token, s)
			delete(claims, "jti")
			at := float64(now.Unix())
			if diff := cmp.Diff(map[string]any{
				"iss": origin, "aud": "app", "sub": "jo", "iat": at, "nbf": at, "exp": at + c.got.Seconds(),
			}, claims); diff != "" || !expires.Equal(now.Add(c.got)) {
				t.Errorf("expires %s%s", expires, diff)
			}
		})
	}
	for name, lifetime := range map[string]time.Duration{"negative": -time.Minute, "nearly nothing": time.Millisecond} {
		if token, _, err := s.SignSubject("jo", "app", lifetime); err == nil || token != "" {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
	for name, token := range map[string][2]string{"nobody": {"", "app"}, "no audience": {"jo", ""}, "Latin-1": {"J\xf6", "app"}} {
		if text, _, err := s.SignSubject(token[0], token[1], 0); err == nil || text != "" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Options)
		problem string
	}{
		"no issuer":            {func(o *Options) { o.Issuer = "" }, "is not a URL"},
		"a host for an issuer": {func(o *Options) { o.Issuer = "app.example.com" }, "is not a URL"},
		"ftp":                  {func(o *Options) { o.Issuer = "ftp://app.example.com" }, "is not a URL"},
		"no UTF-8":             {func(o *Options) { o.Issuer = origin + "/\xff" }, "is not a URL"},
		"a slash":              {func(o *Options) { o.Issuer = origin + "/" }, "slash"},
		"a query":              {func(o *Options) { o.Issuer = origin + "?a" }, "query"},
		"a fragment":           {func(o *Options) { o.Issuer = origin + "#" }, "fragment"},
		"a user":               {func(o *Options) { o.Issuer = "https://jo@app.example.com" }, "user"},
		"another algorithm":    {func(o *Options) { o.Algorithm = "HS256" }, "neither ES256 nor EdDSA"},
		"no algorithm":         {func(o *Options) { o.Algorithm = "none" }, "neither ES256 nor EdDSA"},
		"no secret":            {func(o *Options) { o.Secrets = nil }, "no secret"},
		"a short secret":       {func(o *Options) { o.Secrets = [][]byte{secret('A'), make([]byte, 31)} }, "secret 2 is shorter than 32"},
		"too long":             {func(o *Options) { o.Lifetime = MaxLifetime + 1 }, "lifetime 5m0.000000001s is not between 10s and 5m0s"},
		"too short":            {func(o *Options) { o.Lifetime = time.Second }, "lifetime"},
		"no time":              {func(o *Options) { o.Lifetime = -1 }, "lifetime"},
		"an hour's keys":       {func(o *Options) { o.Rotation = time.Hour }, "rotation 1h0m0s is not 24h0m0s or more"},
		"half a second":        {func(o *Options) { o.Rotation = month + time.Second/2 }, "whole seconds"},
		"backwards":            {func(o *Options) { o.Rotation = -month }, "rotation"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Issuer: origin, Secrets: ring("A")}
			c.change(&o)
			s, err := New(o)
			if err == nil || s != nil || !strings.Contains(err.Error(), c.problem) {
				t.Error(err)
			}
			if err != nil && strings.Contains(err.Error(), string(secret('A'))) {
				t.Error("the error holds a secret")
			}
		})
	}
}

// TestSecretsAreCopied: what was handed in may be wiped.
func TestSecretsAreCopied(t *testing.T) {
	secrets := ring("BA")
	s := newSigner(t, Options{Secrets: secrets})
	clear(secrets[0])
	clear(secrets[1])
	if !slices.Equal(s.JWKS(), newSigner(t, Options{Secrets: ring("BA")}).JWKS()) {
		t.Error("the keys have changed with the caller's secrets")
	}
}

func BenchmarkSign(b *testing.B) {
	claims := Claims{
		Subject: "00u1a2b3c4", Email: "jo@example.com", Username: "jo", Name: "Jo Example", Kind: "person", Route: "okta",
		Groups: []string{"wandb-users", "research"}, AuthTime: time.Unix(1893000000, 0),
	}
	for _, alg := range []string{"ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			s := newSigner(b, Options{Algorithm: alg, Secrets: ring("BA")})
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.Sign(claims, "app"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
