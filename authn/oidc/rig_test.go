package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/authn/page"
	"gatehouse/config"
	"gatehouse/session"
)

const (
	gatewayURL = "https://gw.test"
	issuerURL  = "https://idp.test"
	callback   = gatewayURL + "/oidc/callback"
	signInPath = "/.gatehouse/sign-in/main"
)

// es256 is a signing key for providers of which many are made; rsaKeys are slow to make.
var (
	es256 = sync.OnceValue(func() authntest.Key { return authntest.NewKey("ES256") })
	rs256 = sync.OnceValue(func() authntest.Key { return authntest.NewKey("RS256") })
)

func ada() authntest.Person {
	return authntest.Person{Subject: "1001", Username: "ada", Name: "Ada Lovelace", Email: "ada@example.com",
		EmailVerified: true, Groups: []string{"admins", "research"}}
}

func ben() authntest.Person {
	return authntest.Person{Subject: "1002", Username: "ben", Name: "Ben", Email: "ben@example.com",
		EmailVerified: true, Groups: []string{"guests"}}
}

// world is hosts that reach each other without a network: the gateway, its
// providers, and whoever a test adds.
type world struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
	calls map[string]int
}

// RoundTrip lets the host's handler answer.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h := w.hosts[r.URL.Host]
	w.calls[r.URL.Host]++
	w.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("dial %s: no such host", r.URL.Host)
	}
	return authntest.Serve(h, r)
}

func (w *world) seen(host string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[host]
}

// setup is what a test may change before a rig is built.
type setup struct {
	issuer authntest.IssuerOptions
	oidc   config.OIDC
	deps   Deps
	faults func(*authntest.Faults) // from the beginning; nil for none
}

// rig is a gateway with one route, its provider, and browsers.
type rig struct {
	t *testing.T
	*world
	issuer *authntest.Issuer
	o      *relying
	route  authn.Route
	mux    *http.ServeMux
	deps   Deps
	log    *authntest.Log
	starts *starter
	ends   *ender
}

func newRig(t *testing.T, changes ...func(*setup)) *rig {
	t.Helper()
	w := &world{hosts: map[string]http.Handler{}, calls: map[string]int{}}
	r := &rig{t: t, world: w, mux: http.NewServeMux(), log: &authntest.Log{}, starts: &starter{}, ends: &ender{}}
	public, err := url.Parse(gatewayURL)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := page.New(page.Brand{Name: "Test"}, "/.gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{
		issuer: authntest.IssuerOptions{
			URL: issuerURL, People: []authntest.Person{ada(), ben()}, Keys: []authntest.Key{es256()},
			Clients: []authntest.Client{{ID: "gw", Secret: "s3cret", RedirectURIs: []string{callback}}},
		},
		oidc: config.OIDC{Issuer: issuerURL, ClientID: "gw", ClientSecret: "s3cret"},
		deps: Deps{
			PublicURL: public, Prefix: "/.gatehouse", CallbackPath: "/oidc/callback", SignOutPath: "/logout",
			Cookie: session.NewCookie("gatehouse", "", true), Keys: session.RandomKeyring(gatewayURL),
			Store: session.NewMemory(), Sessions: r.starts, Ender: r.ends, Pages: pages,
			Landings: authn.NewLandings(public, nil, func(p string) bool {
				return p == "/logout" || strings.HasPrefix(p, "/oidc/") || strings.HasPrefix(p, "/.gatehouse/")
			}),
			Log: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		},
	}
	for _, change := range changes {
		change(s)
	}
	r.issuer, r.deps = authntest.NewIssuer(s.issuer), s.deps
	r.issuer.AutoLogin("1001")
	if s.faults != nil {
		r.issuer.Set(s.faults)
	}
	w.hosts["idp.test"], w.hosts["gw.test"] = r.issuer, r.mux
	r.o = r.add("main", s.oidc, s.deps)
	r.route = r.o.route("")
	r.route.Mount(r.mux)
	return r
}

// add makes one more route of the same gateway.
func (r *rig) add(name string, c config.OIDC, d Deps) *relying {
	r.t.Helper()
	o, err := newRelying(name, c, d, issuer.Guarded(r.world))
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// implicit asks for the ID token by form_post.
func implicit(s *setup) { s.oidc.AuthMethod = "implicit" }

// public is a client without a secret.
func public(s *setup) {
	s.oidc.ClientSecret = ""
	s.issuer.Clients = []authntest.Client{{ID: "gw", RedirectURIs: []string{callback}}}
}

// offline asks for refresh tokens.
func offline(s *setup) { s.oidc.Scopes = []string{"openid", "profile", "email", "offline_access"} }

// starter stands for the sessions: it records proofs.
type starter struct {
	mu     sync.Mutex
	proofs []authn.Proof
	err    error
}

func (s *starter) Start(w http.ResponseWriter, _ *http.Request, p authn.Proof, _ ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.proofs = append(s.proofs, p)
	http.SetCookie(w, &http.Cookie{Name: "__Host-gatehouse", Value: fmt.Sprint("session", len(s.proofs)), Path: "/", Secure: true})
	return nil
}

// ender stands for the sessions: it records logouts.
type ender struct {
	mu      sync.Mutex
	logouts []authn.Logout
	err     error
}

func (e *ender) EndSessions(ctx context.Context, l authn.Logout) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if e.err != nil {
		return 0, e.err
	}
	e.logouts = append(e.logouts, l)
	return 1, nil
}

// fails makes it fail with err from now on.
func (e *ender) fails(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

// took returns the logouts since it was last asked.
func (e *ender) took() []authn.Logout {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.logouts
	e.logouts = nil
	return all
}

func (s *starter) Former(*http.Request) []string { return nil }

func (s *starter) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.proofs)
}

// last returns the latest proof.
func (s *starter) last(t *testing.T) authn.Proof {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.proofs) == 0 {
		t.Fatal("nobody signed in")
	}
	return s.proofs[len(s.proofs)-1]
}

// refused asserts that a browser was told no, with this status, and that nobody
// signed in.
func (r *rig) refused(a answer, status int) {
	r.t.Helper()
	if a.status != status {
		r.t.Errorf("status %d, want %d: %s", a.status, status, a.location())
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Referrer-Policy") != "no-referrer" {
		r.t.Errorf("the answer may be kept or told: %v", a.header)
	}
	if n := r.starts.count(); n != 0 {
		r.t.Errorf("%d sessions were started", n)
	}
	for _, c := range a.header.Values("Set-Cookie") {
		if strings.HasPrefix(c, "__Host-gatehouse=") {
			r.t.Errorf("a session cookie was set: %s", c)
		}
	}
}

// logged asserts that the log has this text.
func (r *rig) logged(text string) {
	r.t.Helper()
	if !strings.Contains(r.log.String(), text) {
		r.t.Errorf("log lacks %q:\n%s", text, r.log)
	}
}

// landed asserts that a browser signed in and goes to target.
func (r *rig) landed(a answer, target string) {
	r.t.Helper()
	if a.status != http.StatusSeeOther || a.location() != target {
		r.t.Fatalf("status %d to %q, want 303 to %q\n%s\n%s", a.status, a.location(), target, a.body, r.log)
	}
	if r.starts.count() == 0 {
		r.t.Fatal("no session was started")
	}
}
