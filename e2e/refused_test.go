package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestNoRedirect drives what programs ask for with every credential that is no
// good: each time the answer is 401 in the terms of the W&B clients, and the
// application hears nothing of it.
func TestNoRedirect(t *testing.T) {
	t.Parallel()
	h, p := tokenHouse(t, false)
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+password))
	}
	good := h.newKey()
	past := p.sign(map[string]any{"exp": time.Now().Add(-time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix()})
	for name, credential := range map[string]string{
		"none":                  "",
		"empty":                 "Basic Og==",
		"no base64":             "Basic !",
		"unknown scheme":        "Digest username=alice",
		"key of nobody":         basic(strings.Repeat("0", 40)),
		"short key":             basic("0"),
		"key of the gateway":    basic(good[:len(good)-1] + other(good[len(good)-1])),
		"JWT in a key's place":  basic(past),
		"expired JWT":           "Bearer " + past,
		"JWT for another place": "Bearer " + p.sign(map[string]any{"aud": "https://elsewhere.example.com"}),
		"JWT that was changed":  "Bearer " + strings.Replace(p.sign(nil), ".", ".a", 1),
		"token of the gateway":  "Bearer gh_at_" + strings.Repeat("a", 80),
		"opaque token":          "Bearer abc",
		"no token":              "Bearer",
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/graphql", "/files/research/e2e/run/file_stream", "/traces/call/upsert_batch", "/artifacts/research/abc"} {
				for _, accept := range []string{"*/*", ""} {
					refused(t, h.url+path, credential, accept)
				}
			}
		})
	}
	if n := len(h.wandb.Requests("/")); n > 0 {
		t.Errorf("the application was asked %d times", n)
	}
}

// other is another letter.
func other(c byte) string {
	if c == 'a' {
		return "b"
	}
	return "a"
}

// refused sends a program's request and checks how it is refused.
func refused(t *testing.T, target, credential, accept string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	if credential != "" {
		r.Header.Set("Authorization", credential)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var said struct {
		Errors []struct{ Message string }
	}
	err = json.NewDecoder(res.Body).Decode(&said)
	seen := fmt.Sprintf("%s: %d %s %+v", target, res.StatusCode, res.Header.Get("Content-Type"), said)
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Location") != "" || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		t.Error(seen)
	}
	if err != nil || len(said.Errors) == 0 || said.Errors[0].Message == "" {
		t.Errorf("%s: says nothing (%v)", seen, err)
	}
	if len(res.Cookies()) > 0 || res.Header.Get("Www-Authenticate") == "" {
		t.Errorf("%s: cookies %v, challenges %q", seen, res.Cookies(), res.Header.Values("Www-Authenticate"))
	}
}
