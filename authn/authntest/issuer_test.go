package authntest_test

import (
	"html"
	"testing"

	"gatehouse/authn/authntest"
)

func unescape(s string) string { return html.UnescapeString(s) }

func TestCodeFlow(t *testing.T) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			p := newParty(t, authntest.IssuerOptions{Keys: []authntest.Key{authntest.NewKey(algorithm)}})
			p.issuer.AutoLogin("1001")
			token := p.signIn()
			id, err := p.verify(rawIDToken(token))
			if err != nil {
				t.Fatal(err)
			}
			if id.Subject != "1001" || id.Nonce != "the-nonce" {
				t.Errorf("sub %q, nonce %q", id.Subject, id.Nonce)
			}
			if err := id.VerifyAccessToken(token.AccessToken); err != nil {
				t.Errorf("at_hash: %v", err)
			}
		})
	}
}
