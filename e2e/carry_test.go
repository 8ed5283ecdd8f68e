package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"gatehouse/e2e/wandb"
)

// TestCarry puts a gateway in front of a W&B server that believes no header. The server
// trusts it as an issuer, finds its keys by the documents that it publishes, and knows
// each person by an access token of their own.
func TestCarry(t *testing.T) {
	t.Parallel()
	at := plainPlace(t)
	h := newDirHouse(t, at)
	server := wandb.NewServer(wandb.Options{Federation: wandb.Trusted{Issuer: at.url, Members: map[string]wandb.Viewer{
		"alice@example.org": {Username: "alice-at-wandb", Email: "alice@example.org", Entity: "research"},
	}}})
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	h.env = append(without(h.env, "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_CERT_FILE", "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_KEY_FILE", "GATEHOUSE_UPSTREAM"),
		"GATEHOUSE_UPSTREAM="+front.URL, "GATEHOUSE_UPSTREAMS_0_IDENTITY=exchange", "GATEHOUSE_UPSTREAMS_0_PRESET=wandb")
	h.run()

	exchanges := func(want int) {
		t.Helper()
		if got := len(server.Requests("/oidc/token")); got != want {
			t.Errorf("%d exchanges, want %d", got, want)
		}
	}
	client := &http.Client{Timeout: patience}
	viewer := func(username, password string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/graphql", strings.NewReader(viewerQuery))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(username, password)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body), res.Header
	}

	// A program with a directory's password.
	for range 20 {
		if status, body, _ := viewer("alice", "alice-pw"); status != http.StatusOK || !strings.Contains(body, `"email":"alice@example.org"`) {
			t.Fatalf("the server takes alice for %d %s\n%s", status, body, h.out.tail(20))
		}
	}
	exchanges(1)

	// A browser, after a restart: the token is in the store.
	h.stop()
	h.run()
	b := newProfile(t)
	b.open(h.url + "/home")
	b.await(h.url + "/.gatehouse/sign-in/ldap")
	b.fillForm("alice", "alice-pw")
	b.await(h.url + "/home")
	asked := fmt.Sprintf(`fetch("/graphql", {method: "POST", credentials: "include", headers: {"Content-Type": "application/json", "Authorization": "Basic Og=="}, body: %q}).then(r => r.text())`, viewerQuery)
	if got := ask(b, chromedp.Evaluate[string](asked, chromedp.EvalAwaitPromise)); !strings.Contains(got, `"username":"alice-at-wandb"`) {
		t.Errorf("the server takes a browser for %s", got)
	}
	exchanges(1)

	// Whom the server does not know, and whom the gateway can't name.
	if status, body, _ := viewer("bob", "bob-pw"); status != http.StatusForbidden || !strings.Contains(body, "does not know you") {
		t.Errorf("bob gets %d %s", status, body)
	}
	if status, body, _ := viewer("carol", "carol-pw"); status != http.StatusForbidden || !strings.Contains(body, "e-mail address") {
		t.Errorf("carol, without an address, gets %d %s", status, body)
	}
	exchanges(2)

	// The server forgets its tokens: once an outage, then as before.
	server.Revoke()
	status, _, header := viewer("alice", "alice-pw")
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" {
		t.Errorf("a revoked token gets %d %v", status, header)
	}
	if status, body, _ := viewer("alice", "alice-pw"); status != http.StatusOK || !strings.Contains(body, `"email":"alice@example.org"`) {
		t.Errorf("after that the server takes alice for %d %s", status, body)
	}
	exchanges(3)

	// Without the server there is nobody to ask.
	front.Close()
	if status, _, _ := viewer("alice", "alice-pw"); status != http.StatusBadGateway {
		t.Errorf("without the server, with a token: %d", status)
	}
	for _, r := range server.Requests("/graphql") {
		if got := r.Header.Values("Authorization"); len(got) != 1 || !strings.HasPrefix(got[0], "Bearer wb_at_") {
			t.Errorf("the server was shown %d credentials that are not its own", len(got))
		}
	}
	h.keepsSecrets(t, "alice-pw", "wb_at_", "eyJ")
}

const viewerQuery = `{"query":"query Viewer { viewer { id email } }"}`
