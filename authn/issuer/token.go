package issuer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Header is what a JWS says of itself before anybody has verified it.
type Header struct {
	Algorithm string // alg
	KeyID     string // kid; empty if there is none
	Type      string // typ, as it is spelled; empty if there is none
}

// Open reads the outside of a token and its payload, which nobody has vouched
// for yet: the compact form with three parts in the one spelling that base64url
// has for them (RFC 7515, section 7.1), and a header that asks for nothing
// special. A nested or encrypted JWT is an error.
func Open(token string) (head Header, payload []byte, err error) {
	if strings.Count(token, ".") != 2 {
		return Header{}, nil, errors.New("not a signed JWT in compact form")
	}
	var text [3][]byte
	for i, part := range strings.Split(token, ".") {
		plain, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || part == "" || strings.ContainsAny(part, "\r\n") {
			return Header{}, nil, errors.New("not base64url")
		}
		text[i] = plain
	}
	c, err := ParseClaims(text[0])
	if err != nil {
		return Header{}, nil, fmt.Errorf("header: %w", err)
	}
	for _, name := range []string{"crit", "b64"} {
		if _, ok := c[name]; ok {
			return Header{}, nil, fmt.Errorf("header: %q is not supported", name)
		}
	}
	for name, to := range map[string]*string{"alg": &head.Algorithm, "kid": &head.KeyID, "typ": &head.Type} {
		if *to, err = c.Text(name); err != nil {
			return Header{}, nil, fmt.Errorf("header: %w", err)
		}
	}
	return head, text[1], nil
}
