package oidc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
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
func (w *world) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	w.mu.Lock()
	h := w.hosts[r.URL.Host]
	w.calls[r.URL.Host]++
	w.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("dial %s: no such host", r.URL.Host)
	}
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), body)
	in.Header, in.Host, in.ContentLength = r.Header.Clone(), r.URL.Host, r.ContentLength
	if r.Host != "" {
		in.Host = r.Host
	}
	rec := httptest.NewRecorder()
	defer func() {
		if e := recover(); e != nil {
			if !errors.Is(e.(error), http.ErrAbortHandler) {
				panic(e)
			}
			err = io.ErrUnexpectedEOF
		}
	}()
	h.ServeHTTP(rec, in)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	resp = rec.Result()
	resp.Request = r
	return resp, nil
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
	log    *logbook
	starts *starter
}

func newRig(t *testing.T, changes ...func(*setup)) *rig {
	t.Helper()
	w := &world{hosts: map[string]http.Handler{}, calls: map[string]int{}}
	r := &rig{t: t, world: w, mux: http.NewServeMux(), log: &logbook{}, starts: &starter{}}
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
			PublicURL: public, Prefix: "/.gatehouse", CallbackPath: "/oidc/callback",
			Cookie: session.NewCookie("gatehouse", "", true), Keys: session.RandomKeyring(gatewayURL),
			Store: session.NewMemory(), Sessions: r.starts, Pages: pages,
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
	w.hosts["idp.test"], w.hosts["gw.test"] = r.issuer, r.mux
	r.o = r.add("main", s.oidc, s.deps)
	r.route = r.o.route("")
	r.route.Mount(r.mux)
	return r
}

// add makes one more route of the same gateway.
func (r *rig) add(name string, c config.OIDC, d Deps) *relying {
	r.t.Helper()
	o, err := newRelying(name, c, d, guarded(r.world))
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

func (s *starter) Start(w http.ResponseWriter, _ *http.Request, p authn.Proof) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.proofs = append(s.proofs, p)
	http.SetCookie(w, &http.Cookie{Name: "__Host-gatehouse", Value: fmt.Sprint("session", len(s.proofs)), Path: "/", Secure: true})
	return nil
}

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

// logbook keeps what was logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// browser keeps cookies and follows nothing by itself.
type browser struct {
	r      *rig
	client *http.Client
}

func (r *rig) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &browser{r, &http.Client{
		Jar: jar, Transport: r.world,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) location() string { return a.header.Get("Location") }

func (b *browser) do(req *http.Request) answer {
	b.r.t.Helper()
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	resp, err := b.client.Do(req)
	if err != nil {
		b.r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(target string) answer {
	b.r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return b.do(req)
}

func (b *browser) post(target string, form url.Values) answer {
	b.r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(req)
}

// start begins to sign in and returns the authorization URL.
func (b *browser) start(query string) string {
	b.r.t.Helper()
	a := b.get(gatewayURL + signInPath + query)
	if a.status != http.StatusSeeOther {
		b.r.t.Fatalf("start: %d %s", a.status, a.body)
	}
	return a.location()
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// delivery is an authorization response on its way to the gateway.
type delivery struct {
	url  string
	form url.Values // nil for a GET
}

// params returns what it says, to be changed in place with set.
func (d delivery) params() url.Values {
	if d.form != nil {
		return d.form
	}
	u, err := url.Parse(d.url)
	if err != nil {
		panic(err)
	}
	return u.Query()
}

func (d delivery) set(change func(url.Values)) delivery {
	q := d.params()
	change(q)
	if d.form != nil {
		return delivery{d.url, q}
	}
	base, _, _ := strings.Cut(d.url, "?")
	return delivery{base + "?" + q.Encode(), nil}
}

// authorize asks the provider and returns its response, not yet delivered.
func (b *browser) authorize(target string) delivery {
	b.r.t.Helper()
	a := b.get(target)
	if a.status == http.StatusSeeOther {
		return delivery{url: a.location()}
	}
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(a.body, -1) {
		form.Add(m[1], html.UnescapeString(m[2]))
	}
	if len(form) == 0 {
		b.r.t.Fatalf("authorize: %d %s", a.status, a.body)
	}
	return delivery{callback, form}
}

func (b *browser) deliver(d delivery) answer {
	b.r.t.Helper()
	if d.form != nil {
		return b.post(d.url, d.form)
	}
	return b.get(d.url)
}

// signIn goes all the way.
func (b *browser) signIn(query string) answer {
	b.r.t.Helper()
	return b.deliver(b.authorize(b.start(query)))
}

// cookies are the attempts that the browser holds for the gateway.
func (b *browser) attempts() []*http.Cookie {
	u, _ := url.Parse(gatewayURL)
	var out []*http.Cookie
	for _, c := range b.client.Jar.Cookies(u) {
		if strings.Contains(c.Name, "_attempt_") {
			out = append(out, c)
		}
	}
	return out
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
