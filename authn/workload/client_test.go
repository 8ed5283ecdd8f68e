package workload

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/issuer"
)

// network starts an issuer that answers at /token as h does, and returns
// credentials for it.
func network(t *testing.T, h http.HandlerFunc) Credentials {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	client, err := NewClient("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return Credentials{Issuer: Issuer{TokenURL: s.URL + tokenPath, Client: client}, Party: Party{ID: "ci", Secret: "the secret"}}
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	token := lasting(t, "ci", time.Hour)
	good := `{"access_token":"` + token + `","token_type":"Bearer"}`
	tests := map[string]struct {
		answer http.HandlerFunc
		err    string
		final  bool
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != tokenPath {
				t.Errorf("the redirect was followed to %s", r.URL)
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "307 (a redirect, which is not followed)", true},
		"a page for people":        {says(200, "text/html", "<!doctype html><title>Sign in</title>"), "a page for people", false},
		"a page with an error":     {says(502, "text/html", "<h1>Bad gateway</h1>"), "the issuer answered 502", false},
		"nothing":                  {says(200, "application/json", ""), ": answer is not a JSON document", false},
		"null":                     {says(200, "application/json", "null"), "not the JSON", false},
		"two values":               {says(200, "application/json", good+good), "not exactly one value", false},
		"half of one":              {says(200, "application/json", good[:len(good)/2]), "not a JSON document", false},
		"a name twice":             {says(200, "application/json", `{"access_token":"a","access_token":"`+token+`"}`), "a duplicate name", false},
		"a name that is a secret":  {says(200, "application/json", `{"the secret":1,"the secret":2}`), "a duplicate name", false},
		"a token that is a number": {says(200, "application/json", `{"access_token":1234567}`), "not the JSON", false},
		"another success":          {says(201, "application/json", good), "the issuer answered 201", true},
		"too much": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Repeat(" ", 1<<20)+good)
		}, "larger than 1048576 bytes", false},
		"too much, compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			z.Write(make([]byte, 64<<20))
		}, "larger than 1048576 bytes", false},
		"too many headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Much", strings.Repeat("x", 80<<10))
		}, "ask 127.0.0.1:", false},
		"a closed connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "ask 127.0.0.1:", false},
		"an OAuth error":      {says(401, "application/json", `{"error":"invalid_client","error_description":"unknown\u001b[2J client"}`), `401 "invalid_client": unknown·[2J client`, true},
		"no scope":            {says(400, "application/json", `{"error":"invalid_scope"}`), "invalid_scope", true},
		"not now":             {says(400, "application/json", `{"error":"temporarily_unavailable"}`), "temporarily_unavailable", false},
		"too often":           {says(429, "application/json", `{}`), "429", false},
		"its fault":           {says(500, "application/json", `{"error":"server_error"}`), "server_error", false},
		"no token":            {says(200, "application/json", `{"token_type":"Bearer"}`), "no access_token", true},
		"a token of DPoP":     {says(200, "application/json", `{"access_token":"`+token+`","token_type":"DPoP"}`), `"DPoP" and not Bearer`, true},
		"an opaque token":     {says(200, "application/json", `{"access_token":"opaque","token_type":"bearer"}`), "allow opaque tokens", true},
		"an ended token":      {says(200, "application/json", `{"access_token":"`+jwt(`{"exp":1}`)+`","token_type":"bearer"}`), "ended at 1970-01-01", false},
		"its secret again":    {says(400, "application/json", `{"error":"invalid_request","error_description":"wrong secret: the secret"}`), "wrong secret: [secret]", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := network(t, tt.answer).Fetch(t.Context())
			assertError(t, err, tt.err, "the secret", token, "Bad gateway", "1234567")
			if Final(err) != tt.final || got.Secret != "" {
				t.Errorf("final %v, want %v", Final(err), tt.final)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-7": 0, "1000000000000": time.Hour, "100000": time.Hour, "soon": 0} {
		_, err := network(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusServiceUnavailable)
		}).Fetch(t.Context())
		var no *Refusal
		if !errors.As(err, &no) || no.After != want {
			t.Errorf("%q: %v", header, err)
		}
	}
}

// TestAnIssuerThatHangs has a whole answer take ten seconds at most.
func TestAnIssuerThatHangs(t *testing.T) {
	for name, hang := range map[string]http.RoundTripper{
		"before the answer": roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}),
		"within it": roundTrip(func(r *http.Request) (*http.Response, error) {
			body, w := io.Pipe()
			go func() {
				for r.Context().Err() == nil {
					w.Write([]byte(" "))
					time.Sleep(time.Second)
				}
				w.CloseWithError(r.Context().Err())
			}()
			return &http.Response{StatusCode: http.StatusOK, Body: body, Request: r}, nil
		}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := issuer.Guarded(hang)
				began := time.Now()
				_, err := Credentials{Issuer: Issuer{TokenURL: peerURL + tokenPath, Client: client}, Party: Party{ID: "ci", Secret: "the secret"}}.Fetch(t.Context())
				if took := time.Since(began); err == nil || Final(err) || took > 11*time.Second {
					t.Errorf("%v after %s", err, took)
				}
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTLS(t *testing.T) {
	token := lasting(t, "ci", time.Hour)
	s := httptest.NewUnstartedServer(says(200, "application/json", `{"access_token":"`+token+`","token_type":"Bearer"}`))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	defer s.Close()
	old := httptest.NewUnstartedServer(s.Config.Handler)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}}
	old.Config.ErrorLog = s.Config.ErrorLog
	old.StartTLS()
	defer old.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ url, caFile, err string }{
		"an unknown authority":       {s.URL, "", "certificate"},
		"a known one":                {s.URL, authority, ""},
		"an old version of protocol": {old.URL, authority, "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := NewClient(tt.caFile)
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			got, err := Credentials{Issuer: Issuer{TokenURL: tt.url + tokenPath, Client: client}, Party: Party{ID: "ci", Secret: "the secret"}}.Fetch(t.Context())
			if tt.err != "" {
				assertError(t, err, tt.err)
			} else if err != nil || string(got.Secret) != token {
				t.Error(err)
			}
		})
	}
	_, err := NewClient(filepath.Join(t.TempDir(), "nothing"))
	assertError(t, err, "no such file")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = NewClient(empty)
	assertError(t, err, "no certificate in")
}

func TestErrorsNameTheHostAlone(t *testing.T) {
	client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })}
	err := get(t.Context(), client, "https://idp.example.com/a/path?key=1234", &struct{}{})
	assertError(t, err, "ask idp.example.com: no route to host", "1234")
	var u *url.Error
	if errors.As(err, &u) {
		t.Error("the error still holds the URL")
	}
}
