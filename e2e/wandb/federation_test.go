package wandb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// issuer is a token endpoint and a server that takes its tokens.
type issuer struct {
	t   *testing.T
	url string

	mu sync.Mutex
	// answers are those of the token endpoint; the last one stays.
	answers []http.HandlerFunc
	// asked are the bodies that the token endpoint got, and headers their headers.
	asked   []string
	headers []http.Header
	// tokens are those that came to any other path.
	tokens []string
}

func newIssuer(t *testing.T, answers ...http.HandlerFunc) *issuer {
	t.Helper()
	i := &issuer{t: t, answers: answers}
	s := httptest.NewServer(i)
	t.Cleanup(s.Close)
	i.url = s.URL
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.URL.Path != "/oidc/token" {
		i.tokens = append(i.tokens, r.Header.Get("Authorization"))
		reply(w, 200, object{"data": object{}})
		return
	}
	b, _ := io.ReadAll(r.Body)
	i.asked, i.headers = append(i.asked, string(b)), append(i.headers, r.Header.Clone())
	i.answers[0](w, r)
	if len(i.answers) > 1 {
		i.answers = i.answers[1:]
	}
}

// gives is an answer with a token.
func gives(token string, expiresIn string) http.HandlerFunc {
	return status(200, fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%s}`, token, expiresIn))
}

func federated(t *testing.T, at string, g Generation) Settings {
	t.Helper()
	s := Settings{URL: at, Second: time.Millisecond}
	s.Federation = Federation{TokenFile: filepath.Join(t.TempDir(), "jwt"), Generation: g}
	writeToken(t, s, "aaa.b-b.c_c\n")
	return s
}

func writeToken(t *testing.T, s Settings, text string) {
	t.Helper()
	if err := os.WriteFile(s.Federation.TokenFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// someQuery is a request that needs a token.
func someQuery(ctx context.Context, c *Client) error {
	return c.Query(ctx, "query Viewer { viewer { id } }", object{}, nil)
}

// TestForm is what the token endpoint gets, byte for byte.
func TestForm(t *testing.T) {
	t.Parallel()
	const plain = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=aaa.b-b.c_c"
	for _, test := range []struct {
		name          string
		g             Generation
		body, agent   string
		authorization string
	}{
		{"core", Core, plain, "wandb-core", ""},
		{"old core", OldCore, plain + "\n", "wandb-core", ""},
		{"Python", Python, "assertion=aaa.b-b.c_c&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer", "python-requests/", "Basic dXNlcjpuZXRyYw=="},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t, gives("t1", "3600"))
			o := federated(t, i.url, test.g)
			o.Federation.NetrcKey = "netrc"
			c := NewClient(o)
			for range 3 {
				if err := someQuery(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(i.asked, []string{test.body}) {
				t.Fatalf("the endpoint was asked %q", i.asked)
			}
			if form, err := url.ParseQuery(strings.TrimSpace(i.asked[0])); err != nil || form.Get("grant_type") != jwtBearer {
				t.Errorf("not a form: %v", err)
			}
			h := i.headers[0]
			if !strings.HasPrefix(h.Get("User-Agent"), test.agent) || h.Get("Authorization") != test.authorization ||
				h.Get("Content-Type") != "application/x-www-form-urlencoded" || h.Values("X-Wandb-Username") != nil {
				t.Errorf("the header is %v", h)
			}
			if want := []string{"Bearer t1", "Bearer t1", "Bearer t1"}; !slices.Equal(i.tokens, want) {
				t.Errorf("sent %q", i.tokens)
			}
		})
	}
}

// TestExchange is what the client makes of what a token endpoint answers.
func TestExchange(t *testing.T) {
	t.Parallel()
	refused := status(400, `{"error":"invalid_grant"}`)
	for _, test := range []struct {
		name    string
		g       Generation
		answers []http.HandlerFunc
		// want is the error of the first request; exchanges how many three requests make.
		want      string
		exchanges int
	}{
		{"an hour", Core, []http.HandlerFunc{gives("t", "3600")}, "", 1},
		{"five minutes", Core, []http.HandlerFunc{gives("t", "300")}, "", 3},
		{"a second more", Core, []http.HandlerFunc{gives("t", "330")}, "", 1},
		{"text", Core, []http.HandlerFunc{gives("t", `"3600"`)}, "cannot unmarshal", 63},
		{"fraction", Core, []http.HandlerFunc{gives("t", "3600.5")}, "cannot unmarshal", 63},
		{"fraction, Python", Python, []http.HandlerFunc{gives("t", "3600.5")}, "", 1},
		{"five minutes, Python", Python, []http.HandlerFunc{gives("t", "300")}, "", 1},
		{"no life, Python", Python, []http.HandlerFunc{status(200, `{"access_token":"t"}`)}, "no expires_in", 63},
		{"201", Core, []http.HandlerFunc{status(201, `{"access_token":"t","expires_in":3600}`)}, "failed to retrieve access token: HTTP 201", 3},
		{"refused", Core, []http.HandlerFunc{refused}, `failed to retrieve access token: HTTP 400: {"error":"invalid_grant"}`, 3},
		{"503 twice", Core, []http.HandlerFunc{status(503, ""), status(503, ""), gives("t", "3600")}, "", 3},
		{"429 once", Core, []http.HandlerFunc{status(429, "", "Retry-After", "1"), gives("t", "3600")}, "", 2},
		{"503 five times", Core, []http.HandlerFunc{status(503, ""), status(503, ""), status(503, ""), status(503, ""), status(503, ""), gives("t", "3600")}, "", 6},
		{"refused, then given, old", OldCore, []http.HandlerFunc{refused, refused, status(200, loginPage), gives("t", "3600")}, "", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t, test.answers...)
			c := NewClient(federated(t, i.url, test.g))
			for range 3 {
				if err := someQuery(t.Context(), c); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Fatalf("the request: %v, want %q", err, test.want)
				}
			}
			if len(i.asked) != test.exchanges {
				t.Errorf("%d exchanges, want %d", len(i.asked), test.exchanges)
			}
		})
	}
}

// TestStubborn is the old program, which repeats a refused exchange until the
// request is given up.
func TestStubborn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 12 {
			cancel()
		}
		status(400, `{"error":"invalid_grant"}`)(w, r)
	})
	if err := someQuery(ctx, NewClient(federated(t, i.url, OldCore))); !errors.Is(err, context.Canceled) {
		t.Errorf("the request: %v", err)
	}
	if len(i.asked) < 12 {
		t.Errorf("%d exchanges", len(i.asked))
	}
}

// TestRefresh moves the clock.
func TestRefresh(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		g     Generation
		after time.Duration
		want  string
	}{
		{"core before", Core, 54 * time.Minute, "Bearer t1"},
		{"core near the end", Core, 56 * time.Minute, "Bearer t2"},
		{"Python near the end", Python, 59 * time.Minute, "Bearer t1"},
		{"Python after", Python, 61 * time.Minute, "Bearer t2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t, gives("t1", "3600"), gives("t2", "3600"))
			o := federated(t, i.url, test.g)
			now := time.Now()
			o.Now = func() time.Time { return now }
			c := NewClient(o)
			for range 2 {
				if err := someQuery(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				now = now.Add(test.after)
			}
			if got := i.tokens[1]; got != test.want {
				t.Errorf("sent %q", got)
			}
		})
	}
}

// TestRefusedToken: a 401 makes no client ask for another token.
func TestRefusedToken(t *testing.T) {
	t.Parallel()
	exchanges := 0
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oidc/token" {
			exchanges++
			gives("t", "3600")(w, r)
			return
		}
		status(401, `{"errors":[{"message":"expired"}]}`)(w, r)
	}))
	defer at.Close()
	c := NewClient(federated(t, at.URL, Core))
	for range 2 {
		if err := someQuery(t.Context(), c); err == nil || err.Error() != "HTTP 401: expired" {
			t.Errorf("the request: %v", err)
		}
	}
	if exchanges != 1 {
		t.Errorf("%d exchanges", exchanges)
	}
}

// TestTokenFile changes the file between two exchanges.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		g    Generation
		want string
	}{{Core, "new.new.new"}, {OldCore, "aaa.b-b.c_c\n"}} {
		i := newIssuer(t, gives("t", "300"))
		o := federated(t, i.url, test.g)
		c := NewClient(o)
		for range 2 {
			if err := someQuery(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			writeToken(t, o, "new.new.new\n")
		}
		if _, got, _ := strings.Cut(i.asked[1], "assertion="); got != test.want {
			t.Errorf("generation %d sent %q", test.g, got)
		}
	}
	o := federated(t, "http://127.0.0.1:1", Core)
	o.Federation.TokenFile += ".missing"
	if _, err := NewClient(o).accessToken(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}

// TestCredentials keeps a token for the next program.
func TestCredentials(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, gives("t1", "3600"), gives("t2", "3600"))
	o := federated(t, i.url, Core)
	now := time.Date(2026, 11, 22, 1, 21, 15, 0, time.UTC)
	o.Now = func() time.Time { return now }
	o.Federation.CredentialsFile = filepath.Join(t.TempDir(), "credentials.json")
	for range 2 {
		if err := someQuery(t.Context(), NewClient(o)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(o.Federation.CredentialsFile)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]map[string]string
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if kept := got["credentials"][i.url]; kept["access_token"] != "t1" || kept["expires_at"] != "2026-11-22 02:21:15" {
		t.Errorf("kept %s", b)
	}
	if info, err := os.Stat(o.Federation.CredentialsFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	now = now.Add(56 * time.Minute)
	if err := someQuery(t.Context(), NewClient(o)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Bearer t1", "Bearer t1", "Bearer t2"}; !slices.Equal(i.tokens, want) || len(i.asked) != 2 {
		t.Errorf("sent %q with %d exchanges", i.tokens, len(i.asked))
	}
	if err := os.WriteFile(o.Federation.CredentialsFile, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(o).accessToken(t.Context()); err == nil {
		t.Error("a broken file is taken for an empty one")
	}
}
