package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// programToken gets a token for a resource, as the client "machine".
func (n *nodeProvider) programToken(resource string) string {
	n.t.Helper()
	var got struct {
		AccessToken string `json:"access_token"`
	}
	n.post("/token", url.Values{"grant_type": {"client_credentials"}, "resource": {resource}}, &got)
	if got.AccessToken == "" {
		n.t.Fatal("the provider gave no token")
	}
	return got.AccessToken
}

// revoke takes a token back (RFC 7009).
func (n *nodeProvider) revoke(token string) {
	n.t.Helper()
	n.post("/token/revocation", url.Values{"token": {token}}, nil)
}

func (n *nodeProvider) post(path string, form url.Values, out any) {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodPost, n.issuer()+path, strings.NewReader(form.Encode()))
	if err != nil {
		n.t.Fatal(err)
	}
	r.SetBasicAuth("machine", url.QueryEscape(nodeSecret))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		n.t.Fatalf("the provider answers %s with %d", path, res.StatusCode)
	}
	if out != nil {
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			n.t.Fatal(err)
		}
	}
}

// sign makes a token with the provider's own key that it would not make: claims
// over those of a good one.
func (n *nodeProvider) sign(claims map[string]any) string {
	n.t.Helper()
	text, err := os.ReadFile(n.keyFile())
	if err != nil {
		n.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		n.t.Fatal(err)
	}
	now := time.Now().Unix()
	all := map[string]any{"iss": n.issuer(), "sub": "machine", "aud": audience, "iat": now, "exp": now + 600}
	for name, value := range claims {
		all[name] = value
	}
	body, err := json.Marshal(all)
	if err != nil {
		n.t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","typ":"JWT","kid":"kept"}`)) + "." + encode(body)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	if err != nil {
		n.t.Fatal(err)
	}
	return signed + "." + encode(signature)
}
