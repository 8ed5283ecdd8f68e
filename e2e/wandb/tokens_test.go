package wandb

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"gatehouse/proxy/assertion"
)

// publish is an issuer, and what signs as it.
func publish(t *testing.T, secret byte) (url string, s *assertion.Signer) {
	t.Helper()
	mux := http.NewServeMux()
	at := httptest.NewServer(mux)
	t.Cleanup(at.Close)
	s = signer(t, at.URL, secret, 0)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(s.Discovery(at.URL + "/keys"))
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(s.JWKS()) })
	return at.URL, s
}

func signer(t *testing.T, issuer string, secret byte, wrong time.Duration) *assertion.Signer {
	t.Helper()
	secrets := [][]byte{make([]byte, 64)}
	secrets[0][0] = secret
	s, err := assertion.New(assertion.Options{Issuer: issuer, Secrets: secrets, Now: func() time.Time { return time.Now().Add(wrong) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t *testing.T, s *assertion.Signer, subject, audience string) string {
	t.Helper()
	token, _, err := s.SignSubject(subject, audience, 0)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// trade exchanges a JWT at the server.
func trade(s *Server, grant, assertion string) (status int, token string) {
	w := ask(s, "POST", "/oidc/token", url.Values{"grant_type": {grant}, "assertion": {assertion}}.Encode(),
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
	var got struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &got)
	return w.Code, got.AccessToken
}

// TestTokens: a JWT of the trusted issuer alone is worth a token, and a token one
// person's name.
func TestTokens(t *testing.T) {
	at, by := publish(t, 'A')
	s := NewServer(Options{Trust: true, Federation: Trusted{Issuer: at, Members: map[string]Viewer{alice.Email: alice}}})
	for name, c := range map[string]struct {
		grant, assertion string
		status           int
	}{
		"good":             {jwtBearer, signed(t, by, alice.Email, "wandb"), 200},
		"with a newline":   {jwtBearer, signed(t, by, alice.Email, "wandb") + "\n", 200},
		"somebody else":    {jwtBearer, signed(t, by, "bob@example.com", "wandb"), 400},
		"another audience": {jwtBearer, signed(t, by, alice.Email, "acme"), 400},
		"other keys":       {jwtBearer, signed(t, signer(t, at, 'B', 0), alice.Email, "wandb"), 400},
		"another issuer":   {jwtBearer, signed(t, signer(t, at+"/x", 'A', 0), alice.Email, "wandb"), 400},
		"expired":          {jwtBearer, signed(t, signer(t, at, 'A', -time.Hour), alice.Email, "wandb"), 400},
		"no JWT":           {jwtBearer, "x", 400},
		"nothing":          {jwtBearer, "", 400},
		"another grant":    {"password", signed(t, by, alice.Email, "wandb"), 400},
	} {
		status, token := trade(s, c.grant, c.assertion)
		if status != c.status || (token != "") != (status == 200) {
			t.Errorf("%s: %d %q", name, status, token)
		}
		if status != http.StatusOK {
			continue
		}
		viewer := func() int {
			return ask(s, "POST", "/graphql", `{"query":"query Viewer { viewer { id } }"}`,
				map[string]string{"Authorization": "Bearer " + token, "X-Gatehouse-Subject": "bob"}).Code
		}
		if got := viewer(); got != http.StatusOK {
			t.Errorf("%s: a token gets %d", name, got)
		}
		s.Revoke()
		if got := viewer(); got != http.StatusUnauthorized {
			t.Errorf("%s: a revoked token gets %d", name, got)
		}
	}
	if status, _ := trade(NewServer(Options{}), jwtBearer, signed(t, by, alice.Email, "wandb")); status != http.StatusNotFound {
		t.Errorf("without federation: %d", status)
	}
}
