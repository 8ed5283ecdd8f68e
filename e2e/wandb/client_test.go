package wandb

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fault is what a path is answered with instead, for a number of times.
type fault struct {
	path   string
	times  int
	answer http.HandlerFunc
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// abort closes the connection in the middle of nowhere.
func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// loginPage is what many gateways send a program to.
const loginPage = `<!doctype html><title>Sign in</title>`

// scripted is a server with something broken in front of it.
type scripted struct {
	*Server
	url string

	mu     sync.Mutex
	faults []fault
	// log is each request: method, path, status if it was a fault's.
	log []string
}

func script(t *testing.T, faults ...fault) *scripted {
	t.Helper()
	s := &scripted{Server: NewServer(Options{Keys: map[string]Viewer{key: alice}}), faults: faults}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := s.next(r)
		switch {
		case answer != nil:
			answer(w, r)
		case r.URL.Path == "/login":
			status(200, loginPage, "Content-Type", "text/html")(w, r)
		default:
			s.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	s.url = front.URL
	return s
}

func (s *scripted) next(r *http.Request) http.HandlerFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, r.Method+" "+r.URL.Path)
	for i := range s.faults {
		if f := &s.faults[i]; f.times > 0 && strings.HasSuffix(r.URL.Path, f.path) {
			f.times--
			return f.answer
		}
	}
	return nil
}

func (s *scripted) count(request string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.log {
		if l == request {
			n++
		}
	}
	return n
}

// quick is a client whose waits are a thousandth.
func quick(at string) Settings { return Settings{URL: at, Key: key, Second: time.Millisecond} }

const streamPath = "/files/research/e2e/r/file_stream"

// follow logs n metrics, 20 at a time, each time waiting until the client
// believes that they have arrived or has given up.
func follow(t *testing.T, run *Run, n int) {
	t.Helper()
	for i := range n {
		run.Log(object{"value": i})
		for deadline := time.Now().Add(time.Minute); i%20 == 19 && run.Sent() <= i && run.Fatal() == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the client neither sends nor gives up")
			}
		}
	}
}

// TestFaults is what becomes of a run's metrics when something in the middle
// answers a program as it would answer a browser, or can't answer. It shows that
// the client loses what the real one loses, and nothing else.
func TestFaults(t *testing.T) {
	t.Parallel()
	const stream = "/file_stream"
	const n = 100
	for _, test := range []struct {
		name  string
		fault fault
		// lost is how many of the metrics don't arrive.
		lost int
		// fatal is what the client says when it gives up.
		fatal string
		// logins is how often, at least, it went to the page instead.
		logins int
	}{
		{name: "nothing", fault: fault{}},
		{name: "302 to a page, always", fault: fault{stream, 1 << 20, status(302, "", "Location", "/login")}, lost: n, logins: 5},
		{name: "302 to a page, once", fault: fault{stream, 1, status(302, "", "Location", "/login")}, lost: 20, logins: 1},
		{name: "303 to a page, once", fault: fault{stream, 1, status(303, "", "Location", "/login")}, lost: 20, logins: 1},
		{name: "200 with a page, once", fault: fault{stream, 1, status(200, loginPage)}, lost: 20},
		{name: "307 to itself", fault: fault{stream, 1, status(307, "", "Location", streamPath)}},
		{name: "308 to itself", fault: fault{stream, 1, status(308, "", "Location", streamPath)}},
		{name: "401 once", fault: fault{stream, 1, status(401, `{"errors":[{"message":"not signed in"}]}`)}, lost: n, fatal: "HTTP 401: not signed in"},
		{name: "403 once", fault: fault{stream, 1, status(403, `{"error":{"message":"not allowed"}}`)}, lost: n, fatal: "HTTP 403: not allowed"},
		{name: "404 once", fault: fault{stream, 1, status(404, `{"error":"gone"}`)}, lost: n, fatal: "HTTP 404: gone"},
		{name: "501 once", fault: fault{stream, 1, status(501, `no`)}, lost: n, fatal: "HTTP 501: no"},
		{name: "503", fault: fault{stream, 7, status(503, "", "Retry-After", "2")}},
		{name: "503 with a date", fault: fault{stream, 2, status(503, "", "Retry-After", time.Now().UTC().Format(http.TimeFormat))}},
		{name: "500", fault: fault{stream, 3, status(500, "")}},
		{name: "502", fault: fault{stream, 3, status(502, loginPage)}},
		{name: "429", fault: fault{stream, 3, status(429, "", "Retry-After", "0.5")}},
		{name: "408", fault: fault{stream, 3, status(408, "")}},
		{name: "no answer", fault: fault{stream, 3, abort}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, test.fault)
			run, err := NewClient(quick(s.url)).Start(t.Context(), "", "e2e", "r")
			if err != nil {
				t.Fatal(err)
			}
			follow(t, run, n)
			err = run.Finish()
			if (test.fatal == "") != (err == nil) || err != nil && err.Error() != test.fatal {
				t.Errorf("the client ends with %v, want %q", err, test.fatal)
			}
			f := s.File(run.Path, HistoryFile)
			if got := len(f.Missing(n)); got != test.lost || len(f.Doubled()) > 0 || len(f) != n-test.lost {
				t.Errorf("lost %d, want %d; twice %v", got, test.lost, f.Doubled())
			}
			for i, at := range f {
				if want := fmt.Sprintf(`{"value":%d}`, i); at[0] != want {
					t.Errorf("at %d stands %s", i, at[0])
				}
			}
			if got := s.count("GET /login"); got < test.logins || test.logins == 0 && got > 0 {
				t.Errorf("the client went to the page %d times", got)
			}
			if got := s.count("POST " + streamPath); test.fatal != "" && got != 1 {
				t.Errorf("after its end the client went on asking: %d", got)
			}
			if pages := test.lost > 0 && test.fatal == ""; pages != (len(run.Remarks()) > 0) {
				t.Errorf("the client noticed %v", run.Remarks())
			}
		})
	}
}

// TestStartFaults is what people see when a run can't begin.
func TestStartFaults(t *testing.T) {
	t.Parallel()
	const graphql = "/graphql"
	for _, test := range []struct {
		name   string
		faults []fault
		want   string
		asked  int
	}{
		{"302 to a page", []fault{{graphql, 1, status(302, "", "Location", "/login")}}, "invalid character '<' looking for beginning of value", 1},
		{"401", []fault{{graphql, 1, status(401, `{"errors":[{"message":"not signed in"}]}`)}}, "HTTP 401: not signed in", 1},
		{"401 with a page", []fault{{graphql, 1, status(401, loginPage)}}, "HTTP 401: " + loginPage, 1},
		{"409 of a question", []fault{{graphql, 1, status(409, `{"error":"conflict"}`)}}, "HTTP 409: conflict", 1},
		{"200 with errors", []fault{{graphql, 1, status(200, `{"errors":[{"message":"no"}]}`)}}, "HTTP 200: no", 1},
		{"503", []fault{{graphql, 5, status(503, "")}}, "", 8},
		{"503 for ever", []fault{{graphql, 1 << 20, status(503, `{"error":"later"}`)}}, "giving up after 21 attempts: HTTP 503: later", 21},
		{"no answer for ever", []fault{{graphql, 1 << 20, abort}}, "giving up after 21 attempts", 21},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, test.faults...)
			run, err := NewClient(quick(s.url)).Start(t.Context(), "", "e2e", "r")
			if test.want == "" && err == nil {
				err = run.Finish()
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("the client says %v, want %q", err, test.want)
			}
			if got := s.count("POST /graphql"); got != test.asked {
				t.Errorf("asked %d times, want %d", got, test.asked)
			}
		})
	}
}

// TestUpsertConflict is the one operation that is repeated after a conflict.
func TestUpsertConflict(t *testing.T) {
	t.Parallel()
	s := NewServer(Options{Keys: map[string]Viewer{key: alice}})
	conflicts := 2
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if strings.Contains(string(b), "upsertBucket") && conflicts > 0 {
			conflicts--
			w.WriteHeader(http.StatusConflict)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		s.ServeHTTP(w, r)
	}))
	defer front.Close()
	run, err := NewClient(quick(front.URL)).Start(t.Context(), "ops", "p", "r")
	if err != nil {
		t.Fatal(err)
	}
	if run.Path != "ops/p/r" || run.Finish() != nil {
		t.Errorf("the run is %s: %v", run.Path, run.Fatal())
	}
}

// TestCanceled ends a client that waits for a server.
func TestCanceled(t *testing.T) {
	t.Parallel()
	s := script(t, fault{"/file_stream", 1 << 20, status(503, "", "Retry-After", "1000000")})
	ctx, cancel := context.WithCancel(t.Context())
	run, err := NewClient(quick(s.url)).Start(ctx, "", "e2e", "r")
	if err != nil {
		t.Fatal(err)
	}
	run.Log(object{"value": 1})
	for s.count("POST "+streamPath) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := run.Finish(); !errors.Is(err, context.Canceled) {
		t.Errorf("the client ends with %v", err)
	}
}

// TestHeaders is what goes out beside a request: what the real client was seen
// to send, where it was seen to send it.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := script(t)
	o := quick(s.url)
	o.Header = http.Header{"X-Own": {"yes"}, "Authorization": {"Bearer of the environment"}}
	o.Email = "alice@example.com"
	c := NewClient(o)
	run, err := c.Start(t.Context(), "", "e2e", "r")
	if err != nil {
		t.Fatal(err)
	}
	run.Log(object{"value": 1})
	if err := run.Finish(); err != nil {
		t.Fatal(err)
	}
	// The environment's credential goes to storage, and makes it refuse.
	var refused *BackendError
	if err := c.Upload(t.Context(), run, "a.txt", []byte("a")); !errors.As(err, &refused) || refused.Status != 400 {
		t.Errorf("storage took a credential: %v", err)
	}
	c.settings.Header.Del("Authorization")
	if err := c.Upload(t.Context(), run, "a.txt", []byte("a")); err != nil {
		t.Error(err)
	}
	own := "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+key))
	for _, r := range s.Requests("/") {
		storage := strings.HasPrefix(r.Path, "/storage/")
		if got := r.Header.Get("Authorization"); !storage && got != own {
			t.Errorf("%s has the credential %q", r.Path, got)
		}
		if r.Header.Get("X-Own") != "yes" || r.Header.Get("User-Agent") != "wandb-core" {
			t.Errorf("%s has %v", r.Path, r.Header)
		}
		name, sent := r.Header["X-Wandb-Username"]
		if graphql := r.Path == "/graphql"; graphql != sent || graphql && !slices.Equal(name, []string{""}) {
			t.Errorf("%s has the username %q", r.Path, name)
		}
		if got := r.Header.Get("X-Wandb-User-Email"); (r.Path == "/graphql") != (got == "alice@example.com") {
			t.Errorf("%s has the address %q", r.Path, got)
		}
	}
}
