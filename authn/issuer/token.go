package issuer

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// JWS is a signed token, taken apart.
type JWS struct {
	Header
	Payload   []byte
	Signed    string // what the signature is of
	Signature []byte
}

// Header is what a JWS says of itself before anybody has verified it.
type Header struct {
	Algorithm string // alg
	KeyID     string // kid; empty if there is none
	Type      string // typ, as it is spelled; empty if there is none
}

// Open takes a token apart that nobody has vouched for yet: the compact form with three parts in the one spelling that base64url
// has for them (RFC 7515, section 7.1), and a header that asks for nothing
// special. A nested or encrypted JWT is an error.
func Open(token string) (j JWS, err error) {
	if strings.Count(token, ".") != 2 {
		return JWS{}, errors.New("not a signed JWT in compact form")
	}
	var text [3][]byte
	for i, part := range strings.Split(token, ".") {
		plain, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || part == "" || strings.ContainsAny(part, "\r\n") {
			return JWS{}, errors.New("not base64url")
		}
		text[i] = plain
	}
	j = JWS{Payload: text[1], Signed: token[:strings.LastIndexByte(token, '.')], Signature: text[2]}
	j.Header, err = readHeader(text[0])
	return j, err
}

func readHeader(text []byte) (head Header, err error) {
	c, err := ParseClaims(text)
	if err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	for _, name := range []string{"crit", "b64"} {
		if _, ok := c[name]; ok {
			return Header{}, fmt.Errorf("header: %q is not supported", name)
		}
	}
	var errs [3]error
	head.Algorithm, errs[0] = c.Text("alg")
	head.KeyID, errs[1] = c.Text("kid")
	head.Type, errs[2] = c.Text("typ")
	if err := cmp.Or(errs[:]...); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	return head, nil
}
