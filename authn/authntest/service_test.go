package authntest_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"gatehouse/authn/authntest"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// A client that may have tokens of its own gets a JWT that the published keys
// verify; others get none.
func TestClientCredentials(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	key := authntest.NewKey("ES256")
	p := newParty(t, authntest.IssuerOptions{
		Now: func() time.Time { return now }, Keys: []authntest.Key{key}, Lifetime: 10 * time.Minute,
		Clients: []authntest.Client{
			{ID: "ci", Secret: "s", Audience: "https://wandb.example.com"},
			{ID: "rp", Secret: "s"},
			{ID: "public", Audience: "https://wandb.example.com"},
		}})
	ask := func(client string, extra url.Values) (int, map[string]any) {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {"s"}}
		if client == "public" {
			form.Del("client_secret")
		}
		for name, values := range extra {
			form[name] = values
		}
		response, body := p.post(p.issuer.URL()+"/token", form)
		return response.StatusCode, decode[map[string]any](t, body)
	}
	status, answer := ask("ci", url.Values{"scope": {"a"}, "resource": {"https://wandb.example.com"}})
	token, err := jwt.ParseSigned(answer["access_token"].(string), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || status != http.StatusOK || answer["token_type"] != "Bearer" || answer["expires_in"] != 600.0 {
		t.Fatalf("%d %v, %v", status, answer, err)
	}
	var claims jwt.Claims
	var scope struct {
		Scope string `json:"scope"`
	}
	if err := token.Claims(key.Private.Public(), &claims, &scope); err != nil {
		t.Fatal(err)
	}
	want := jwt.Expected{Issuer: p.issuer.URL(), Subject: "ci", AnyAudience: jwt.Audience{"https://wandb.example.com"}, Time: now}
	if err := claims.Validate(want); err != nil || scope.Scope != "a" || !claims.Expiry.Time().Equal(now.Add(10*time.Minute)) {
		t.Errorf("%+v, %v", claims, err)
	}
	for name, tt := range map[string]struct {
		client string
		extra  url.Values
		code   string
	}{
		"a client without an audience": {"rp", nil, "unauthorized_client"},
		"a public client":              {"public", nil, "unauthorized_client"},
		"another audience":             {"ci", url.Values{"audience": {"https://elsewhere"}}, "invalid_target"},
		"another resource":             {"ci", url.Values{"resource": {"https://elsewhere"}}, "invalid_target"},
		"a wrong secret":               {"ci", url.Values{"client_secret": {"no"}}, "invalid_client"},
	} {
		if _, answer := ask(tt.client, tt.extra); answer["error"] != tt.code || answer["access_token"] != nil {
			t.Errorf("%s: %v, want %s", name, answer, tt.code)
		}
	}
}
