package assertion

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVerify(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA"} {
		c := &clock{begin(700).Add(time.Hour)}
		s := newSigner(t, Options{Algorithm: alg, Now: c.now})
		said := Claims{
			Subject: "1001", Email: "jo@example.com", Username: "jo", Name: "Jo", Groups: []string{"a,b"}, Teams: []string{"x"}, Roles: []string{"admin"},
			Kind: "person", Route: "sso", AuthTime: time.Unix(1700000000, 0),
		}
		token, expires, err := s.Sign(said, "app")
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(s.JWKS(), token, origin, "app", c.now())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Verified{said, origin, "app", expires}, got); diff != "" {
			t.Error(diff)
		}
		other := newSigner(t, Options{Algorithm: alg, Now: c.now, Secrets: ring("B")})
		forged := strings.Split(token, ".")
		forged[2] = strings.Split(sign(t, other), ".")[2]
		for name, bad := range map[string]struct {
			keys                    []byte
			token, issuer, audience string
			now                     time.Time
		}{
			"another issuer":      {s.JWKS(), token, origin + "x", "app", c.now()},
			"another audience":    {s.JWKS(), token, origin, "other", c.now()},
			"ended":               {s.JWKS(), token, origin, "app", expires.Add(leeway + time.Second)},
			"not begun":           {s.JWKS(), token, origin, "app", c.Add(-leeway - time.Second)},
			"another's keys":      {other.JWKS(), token, origin, "app", c.now()},
			"another's signature": {s.JWKS(), strings.Join(forged, "."), origin, "app", c.now()},
			"no keys":             {[]byte(`{"keys":[]}`), token, origin, "app", c.now()},
			"no key set":          {[]byte(`<html>`), token, origin, "app", c.now()},
			"no token":            {s.JWKS(), "a.b.c", origin, "app", c.now()},
			"alg none":            {s.JWKS(), "eyJhbGciOiJub25lIn0." + strings.Split(token, ".")[1] + ".", origin, "app", c.now()},
		} {
			if _, err := Verify(bad.keys, bad.token, bad.issuer, bad.audience, bad.now); err == nil {
				t.Errorf("%s: %s was taken", alg, name)
			}
		}
	}
}
