package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/e2e/wandb"
)

// tokenHouse is a gateway that trusts the tokens of a provider.
func tokenHouse(t *testing.T, opaque bool) (*programHouse, *nodeProvider) {
	t.Helper()
	at := plainPlace(t)
	p := startNodeProvider(t, nodeOptions{paths: at.paths(), as: "confidential", keepKey: true})
	return newProgramHouse(t, at, wandb.Options{Trust: true}, programSettings{Application: "refuse", Issuer: p.issuer(), Opaque: opaque}), p
}

// tokenFile holds a JWT as a workload finds it, with a newline at its end.
func tokenFile(t *testing.T, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// train logs n metrics with a client and waits until it believes that they arrived.
func train(t *testing.T, c *wandb.Client, name string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience) // an old client never gives up
	defer cancel()
	run, err := c.Start(ctx, "", "e2e", name)
	if err != nil {
		t.Fatalf("the run can't begin: %v", err)
	}
	for i := range n {
		run.Log(map[string]int{"value": i})
	}
	if err := run.Finish(); err != nil {
		t.Errorf("the client gave up: %v", err)
	}
}

// TestExchange lets each generation of the SDK exchange a JWT of a real provider,
// and use what it gets.
func TestExchange(t *testing.T) {
	t.Parallel()
	h, p := tokenHouse(t, false)
	jwt := p.programToken(audience)
	for generation, name := range map[wandb.Generation]string{wandb.Core: "core", wandb.OldCore: "old core", wandb.Python: "Python"} {
		t.Run(name, func(t *testing.T) {
			credentials := filepath.Join(t.TempDir(), "credentials.json")
			o := wandb.Settings{URL: h.url, Second: time.Millisecond, Federation: wandb.Federation{
				TokenFile: tokenFile(t, jwt), CredentialsFile: credentials, Generation: generation, NetrcKey: applicationKey,
			}}
			train(t, wandb.NewClient(o), "first-"+name, 50)
			o.Federation.TokenFile = "/nonexistent" // the token is kept, and is used again
			train(t, wandb.NewClient(o), "second-"+name, 50)
			for _, run := range []string{"first-" + name, "second-" + name} {
				checkWhole(t, h.wandb.File("research/e2e/"+run, wandb.HistoryFile), 50)
			}
			if text, err := os.ReadFile(credentials); err != nil || !bytes.Contains(text, []byte(`"gh_at_`)) {
				t.Errorf("the credentials are %s (%v)", text, err)
			}
		})
	}
	checkAccounts(t, "tokens", h.wandb.Requests("/"))
	if n := len(h.wandb.Requests("/oidc/token")); n > 0 {
		t.Errorf("the application was asked for a token %d times", n)
	}
	if strings.Contains(h.out.String(), jwt) || strings.Contains(h.out.String(), "gh_at_") {
		t.Error("a token is in the log")
	}
}

// TestRefusedExchange shows a person why their JWT is no good, at once.
func TestRefusedExchange(t *testing.T) {
	t.Parallel()
	h, p := tokenHouse(t, false)
	for _, test := range []struct{ name, token, says string }{
		{"expired", p.sign(map[string]any{"exp": time.Now().Add(-time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix()}), "expired"},
		{"made for another place", p.sign(map[string]any{"aud": "https://elsewhere.example.com"}), "audience"},
		{"of another issuer", p.sign(map[string]any{"iss": "https://elsewhere.example.com"}), "issuer"},
		{"no JWT", "abc", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := wandb.NewClient(wandb.Settings{URL: h.url, Second: time.Second, Federation: wandb.Federation{TokenFile: tokenFile(t, test.token)}})
			begin := time.Now()
			_, err := c.Start(t.Context(), "", "e2e", "run")
			if err == nil || !strings.Contains(err.Error(), "failed to retrieve access token: HTTP 400") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the client says %v", err)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	if n := len(h.wandb.Requests("/")); n > 0 {
		t.Errorf("the application was asked %d times", n)
	}
}

// TestDirectToken sends tokens as they are, without an exchange: JWTs, in either
// place that programs have for them.
func TestDirectToken(t *testing.T) {
	t.Parallel()
	h, p := tokenHouse(t, false)
	jwt := p.programToken(audience)
	for name, header := range map[string]string{
		"bearer":  "Bearer " + jwt,
		"API key": "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+jwt)),
	} {
		if status, _ := h.viewer(t, nil, header); status != http.StatusOK {
			t.Errorf("%s: %d", name, status)
		}
	}
	checkAccounts(t, "tokens", h.wandb.Requests("/"))
	h.redis.stop()
	if status, body := h.viewer(t, nil, "Bearer "+p.programToken(audience)); status != http.StatusOK {
		t.Errorf("a JWT, which needs no store, while there is none: %d %s", status, body)
	}
}

// viewer asks the application who one is. Without a client it is the default one.
func (h *programHouse) viewer(t *testing.T, c *http.Client, authorization string) (int, string) {
	t.Helper()
	if c == nil {
		c = &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/graphql", strings.NewReader(`{"query":"query Viewer { viewer { id } }"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body.String()
}
