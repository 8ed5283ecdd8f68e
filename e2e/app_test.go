package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/e2e/wandb"
)

// app is the application behind the gateway. It knows nothing of the gateway:
// it remembers what it was asked and shows whom it takes a person for.
type app struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

// uploadPath is where it reads a body to its end.
const uploadPath = "/upload"

func startApp(t *testing.T) *app {
	t.Helper()
	a := &app{}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP remembers the request and shows whom it comes from.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r.Clone(r.Context()))
	a.mu.Unlock()
	if r.URL.Path == uploadPath {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,"><h1>%s</h1><p>%s</p><p>%s</p><a href="/logout">Sign out</a></html>`,
		r.URL.Path, r.Header.Get("X-Forwarded-User"), r.Header.Get("X-Forwarded-Groups"))
}

// last is the latest request for a path.
func (a *app) last(t *testing.T, path string) *http.Request {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range slices.Backward(a.seen) {
		if r.URL.Path == path {
			return r
		}
	}
	t.Fatalf("the application was never asked for %s", path)
	return nil
}

// count is how often it was asked for a path.
func (a *app) count(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, r := range a.seen {
		if r.URL.Path == path {
			n++
		}
	}
	return n
}

// identity is everything in a request's header that looks as if it said who somebody
// is. The signed header says the same as the others, or there is one more thing here.
func identity(r *http.Request) map[string]string {
	out := map[string]string{}
	for name, values := range r.Header {
		for _, hint := range []string{"User", "Email", "Groups", "Gatehouse", "Subject", "Auth"} {
			if strings.Contains(name, hint) && name != "User-Agent" && name != "Sec-Fetch-User" {
				out[name] = strings.Join(values, "\n")
			}
		}
	}
	return withoutSigned(out)
}

// told is what a W&B server is told, likewise.
func told(r wandb.Request) map[string]string { return withoutSigned(r.Identity()) }

func withoutSigned(headers map[string]string) map[string]string {
	const signed = "X-Gatehouse-Jwt-Assertion"
	if headers[signed] != "" && signedSubject(headers[signed]) == headers["X-Gatehouse-Subject"] {
		delete(headers, signed)
	}
	return headers
}

// signedSubject is whom a JWT is about; nobody has verified it.
func signedSubject(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var said struct {
		Subject string `json:"sub"`
	}
	if err != nil || json.Unmarshal(text, &said) != nil {
		return ""
	}
	return said.Subject
}

// checkIdentity compares what the application got with what p's provider says.
func checkIdentity(t *testing.T, r *http.Request, p provider, who person) {
	t.Helper()
	got := identity(r)
	groups := strings.Split(got["X-Forwarded-Groups"], ",")
	slices.Sort(groups)
	got["X-Forwarded-Groups"] = strings.Join(groups, ",")
	want := map[string]string{
		"X-Forwarded-User":               who.Login,
		"X-Forwarded-Email":              who.Email,
		"X-Forwarded-Preferred-Username": who.Login,
		"X-Forwarded-Groups":             strings.Join(who.Groups, ","),
		"X-Gatehouse-Subject":            who.Login,
		"X-Gatehouse-Issuer":             p.issuer(),
		"X-Gatehouse-Route":              "main",
	}
	if !maps.Equal(got, want) {
		t.Errorf("the application was told %v, want %v", got, want)
	}
	for _, c := range r.Cookies() {
		if strings.Contains(c.Name, "gatehouse") {
			t.Errorf("the application got the gateway's cookie %s", c.Name)
		}
	}
}
