package assertion

import (
	"bytes"
	"encoding/json/v2"
)

// jwk is a public key as it is published (RFC 7517, section 4). It has no room for a
// private part.
type jwk struct {
	KeyID     string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	point
}

// keySet is a JWK Set (RFC 7517, section 5).
type keySet struct {
	Keys []jwk `json:"keys"`
}

// JWKS is the set of keys that tokens are verified with (RFC 7517, section 5): of
// each secret the key of this period, of the next and of the last one.
func (s *Signer) JWKS() []byte { return bytes.Clone(s.at(s.now()).set) }

// Discovery is the document by which verifiers find the keys, as much of OpenID
// Connect Discovery (section 3) and RFC 8414 (section 2) as there is to say: nobody
// signs in here.
func (s *Signer) Discovery(jwksURI string) []byte {
	text, err := json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{s.issuer, jwksURI, []string{}, []string{"public"}, []string{s.alg.name}})
	if err != nil { // only for a URL that is not UTF-8
		panic("assertion: discovery: " + err.Error())
	}
	return text
}
