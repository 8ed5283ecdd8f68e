package oidc

import (
	"encoding/base64"
	"encoding/json/v2"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
)

// sign makes a compact JWS of anything.
func sign(t *testing.T, key authntest.Key, head map[string]any, text []byte) string {
	t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for name, v := range head {
		if name != "alg" {
			options.ExtraHeaders[jose.HeaderKey(name)] = v
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key.Private}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// onlyUserinfo makes signed userinfo wrong and leaves ID tokens alone.
func onlyUserinfo(t *testing.T, wrong authntest.Faults) func(authntest.Answer, string) string {
	return func(a authntest.Answer, token string) string {
		if a != authntest.FromUserinfo {
			return token
		}
		head, claims := decode(t, token)
		key := es256()
		if wrong.Claims != nil {
			wrong.Claims(a, claims)
		}
		if wrong.Header != nil {
			wrong.Header(a, head)
		}
		text, err := json.Marshal(claims)
		if err != nil {
			t.Error(err)
		}
		if wrong.Payload != nil {
			text = wrong.Payload(a, text)
		}
		out := sign(t, key, head, text)
		switch wrong.Signature {
		case authntest.Unsigned:
			return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(text) + "."
		case authntest.Corrupt:
			b := []byte(out)
			b[len(b)-20] ^= 1
			return string(b)
		}
		return out
	}
}

// decode takes a compact JWS apart.
func decode(t *testing.T, token string) (head, claims map[string]any) {
	t.Helper()
	part := [3]string{}
	n := 0
	for _, c := range token {
		if c == '.' {
			n++
			continue
		}
		part[n] += string(c)
	}
	for i, into := range []*map[string]any{&head, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(part[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	return head, claims
}
