package wandb

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Viewer is somebody whom the server knows.
type Viewer struct {
	Username, Email string
	// Entity is the team or the person that runs belong to when none is named.
	Entity string
	// Teams are the names of all teams.
	Teams []string
}

// Options is what a server knows.
type Options struct {
	// Keys are the API keys that it gave out, and whose they are.
	Keys map[string]Viewer
	// Federation is whose JWTs are exchanged for access tokens; nobody's if it has no
	// issuer.
	Federation Trusted
	// Trust takes whoever comes with an identity header of the gateway for who
	// the gateway says, without a key.
	Trust bool
}

// Request is one that the server got.
type Request struct {
	Method, Path, Query string
	// Host is what the client asked for.
	Host string
	// Op is the operation's name, for /graphql.
	Op string
	// Header is all of the request's header.
	Header http.Header
	// Status is what it was answered with.
	Status int
}

// Server is a stand-in for a self-hosted W&B server. It answers:
//
//	POST /oidc/token                           a JWT for an access token
//	POST /graphql                              the operations of a run
//	POST /files/{entity}/{project}/{run}/file_stream
//	PUT  /storage/…                            signed for a host; refuses every credential
//	POST /traces/…                             what the Weave SDK sends for a call
//	GET  /healthz
//
// Everything else is 404, as JSON.
type Server struct {
	options Options
	secret  []byte
	mux     *http.ServeMux

	mu    sync.Mutex
	seen  []Request
	runs  map[string]*run
	blobs map[string][]byte
	calls map[string]Call

	issuer *oidc.Provider
	tokens map[string]given
}

// NewServer makes a server that has no runs yet.
func NewServer(o Options) *Server {
	s := &Server{
		options: o, secret: []byte(rand.Text()), mux: http.NewServeMux(),
		runs: map[string]*run{}, blobs: map[string][]byte{}, calls: map[string]Call{},
		tokens: map[string]given{},
	}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, object{"status": "ok"}) })
	s.mux.HandleFunc("POST /oidc/token", s.exchange)
	s.mux.HandleFunc("POST /graphql", s.known(s.graphql))
	s.mux.HandleFunc("POST /files/{entity}/{project}/{run}/file_stream", s.known(s.fileStream))
	s.mux.HandleFunc("PUT /storage/{file...}", s.store)
	s.mux.HandleFunc("POST /traces/{what...}", s.known(s.trace))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusNotFound, object{"error": "no such path"})
	})
	return s
}

// ServeHTTP answers and remembers.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := content(r)
	if err != nil {
		reply(w, http.StatusBadRequest, object{"error": err.Error()})
		return // the client went away, or sent less than it said
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	got := Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host,
		Header: r.Header.Clone(), Op: operation(r.URL.Path, body),
	}
	out := &recorder{ResponseWriter: w, status: http.StatusOK}
	s.mux.ServeHTTP(out, r)
	got.Status = out.status
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, got)
}

// Requests are those that the server has answered, whose path begins with
// prefix, in the order of the answers.
func (s *Server) Requests(prefix string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Request
	for _, r := range s.seen {
		if strings.HasPrefix(r.Path, prefix) {
			r.Header = r.Header.Clone()
			out = append(out, r)
		}
	}
	return out
}

// viewer is who sent a request.
func (s *Server) viewer(r *http.Request) (Viewer, bool) {
	if _, key, ok := r.BasicAuth(); ok {
		v, known := s.options.Keys[key]
		return v, known
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.holder(token)
	}
	subject := r.Header.Get("X-Gatehouse-Subject")
	if !s.options.Trust || subject == "" {
		return Viewer{}, false
	}
	v := Viewer{Username: cmp.Or(r.Header.Get("X-Forwarded-Preferred-Username"), subject), Email: r.Header.Get("X-Forwarded-Email")}
	if teams := r.Header.Get("X-Gatehouse-Teams"); teams != "" {
		v.Teams = strings.Split(teams, ",")
	}
	v.Entity = v.Username
	if len(v.Teams) > 0 {
		v.Entity = v.Teams[0]
	}
	return v, true
}

// known answers whom it does not know as a W&B server does.
func (s *Server) known(next func(http.ResponseWriter, *http.Request, Viewer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := s.viewer(r)
		if !ok {
			reply(w, http.StatusUnauthorized, object{
				"errors": []object{{"message": "permission denied", "extensions": object{"code": "PERMISSION_ERROR"}}}, "data": nil,
			})
			return
		}
		next(w, r, v)
	}
}

// content is a request's body, unpacked.
func content(r *http.Request) ([]byte, error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		plain, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		body = plain
	}
	return io.ReadAll(body)
}

// object is one of JSON.
type object = map[string]any

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer can't be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that went away doesn't want it
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Identity is everything in a request's header that looks as if it said who
// somebody is, or comes from a gateway, by name.
func (r Request) Identity() map[string]string {
	hints := []string{"Authorization", "Cookie", "Gatehouse", "Forwarded-User", "Forwarded-Email", "Forwarded-Preferred", "Forwarded-Groups", "Wandb-Api-Key"}
	out := map[string]string{}
	for name, values := range r.Header {
		if slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(name, h) }) {
			out[name] = strings.Join(values, "\n")
		}
	}
	return out
}
