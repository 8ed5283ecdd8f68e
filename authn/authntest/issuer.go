// Package authntest is what the ways in are tested against, and what the demo
// signs in with: a scripted OpenID provider that keeps to the letter of the
// specifications until it is told not to, and the contract test of an
// authenticator.
//
// An [Issuer] is an http.Handler and does not listen by itself; [Start] serves
// one on a free loopback port. People sign in by picking themselves from a
// list: there are no passwords, so it must never stand in front of anything
// real. Everything it knows is in memory and stays there.
//
// What it does wrong is said in one place, [Faults], set by [Issuer.Set]:
//
//	issuer.Set(func(f *authntest.Faults) {
//		f.At[authntest.Token] = authntest.Unavailable
//		f.Claims = func(_ authntest.Answer, claims map[string]any) { delete(claims, "sub") }
//	})
//
// The package shares no code with the relying party under test, so that the
// two can disagree.
package authntest

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Endpoint names a part of the provider.
type Endpoint string

// The endpoints, in the order in which a sign-in meets them.
const (
	Discovery  Endpoint = "discovery"   // /.well-known/openid-configuration
	Push       Endpoint = "push"        // /push (RFC 9126)
	Authorize  Endpoint = "authorize"   // /authorize
	SignIn     Endpoint = "sign_in"     // /sign-in, where the page's buttons go
	Token      Endpoint = "token"       // /token
	JWKS       Endpoint = "jwks"        // /jwks
	Userinfo   Endpoint = "userinfo"    // /userinfo
	EndSession Endpoint = "end_session" // /end-session
	Revocation Endpoint = "revocation"  // /revoke
	Home       Endpoint = "home"        // / and the stylesheet
	// Everything stands, in [Faults].At alone, for each endpoint that is not in it.
	Everything Endpoint = "*"
)

// maxForm bounds what the provider reads of a request, in bytes.
const maxForm = 1 << 20

// IssuerOptions says what a provider is like when it is honest.
type IssuerOptions struct {
	// URL is the issuer identifier: scheme, host and perhaps a path, without a
	// trailing slash. The endpoints are below it.
	URL string
	// Name is what its pages call it. Without it, "Demo provider".
	Name    string
	People  []Person
	Clients []Client
	// Keys are published; the first one signs. Without any, one new RS256 key.
	Keys []Key
	// Lifetime is how long ID tokens and access tokens last. Without it, an hour.
	Lifetime time.Duration
	// KeepRefreshTokens turns rotation off: a refresh token stays as it is.
	KeepRefreshTokens bool
	// OfflineOnly gives a refresh token only to who asks for offline_access.
	OfflineOnly bool
	// ThinIDTokens puts what is said about a person at the userinfo endpoint
	// only (OpenID Connect Core, section 5.4), unless no access token goes with
	// the ID token.
	ThinIDTokens bool
	// SignedUserinfo makes the userinfo answer a JWT (Core, section 5.3.2).
	SignedUserinfo bool
	// RequirePushed takes authorization requests from the clients themselves alone (RFC
	// 9126); without it, from browsers too.
	RequirePushed bool
	// NoIssParameter leaves iss out of authorization responses (RFC 9207).
	NoIssParameter bool
	// HintSignsIn makes a login_hint that means somebody sign them in without a
	// page, so that a shell can sign in.
	HintSignsIn bool
	// Now is the provider's clock. Without it, time.Now.
	Now func() time.Time
}

// Request is what the provider remembers of one request.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header
	// Form holds the query and the body, PostForm the body alone.
	Form, PostForm url.Values
}

// Issuer is an OpenID provider. It is safe for concurrent use.
type Issuer struct {
	options IssuerOptions
	base    *url.URL
	pages   *pages
	routes  map[string]route

	mu        sync.Mutex
	faults    Faults
	people    []Person
	clients   map[string]Client
	keys      []Key
	foreign   Key
	autoLogin string
	sessions  map[string]login
	codes     map[string]*code
	refreshes map[string]*refresh
	accesses  map[string]access
	pushes    map[string]pushed
	replayed  map[string]bool
	calls     map[Endpoint]int
	last      map[Endpoint]Request
}

// route is an endpoint's handler and the methods that it answers to.
type route struct {
	endpoint Endpoint
	methods  string
	handle   http.HandlerFunc
}

// NewIssuer returns a provider. It panics if the URL can't be one.
func NewIssuer(o IssuerOptions) *Issuer {
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || strings.HasSuffix(o.URL, "/") {
		panic("authntest: not an issuer URL: " + o.URL)
	}
	if o.Name == "" {
		o.Name = "Demo provider"
	}
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Keys) == 0 {
		o.Keys = []Key{NewKey("RS256")}
	}
	i := &Issuer{
		options: o, base: base, pages: newPages(o.Name, base.Path),
		people: o.People, keys: o.Keys, clients: map[string]Client{},
		sessions: map[string]login{}, codes: map[string]*code{}, refreshes: map[string]*refresh{},
		accesses: map[string]access{}, pushes: map[string]pushed{}, replayed: map[string]bool{},
		calls: map[Endpoint]int{}, last: map[Endpoint]Request{},
	}
	for _, c := range o.Clients {
		i.clients[c.ID] = c
	}
	i.routes = i.table()
	return i
}

// Start serves a provider on a free port of 127.0.0.1 until stop is called. Its
// URL is made up from the port; a path in o.URL is kept, the rest is ignored.
func Start(o IssuerOptions) (issuer *Issuer, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	path := ""
	if u, err := url.Parse(o.URL); err == nil {
		path = u.Path
	}
	o.URL = "http://" + listener.Addr().String() + path
	issuer = NewIssuer(o)
	server := &http.Server{Handler: issuer, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	return issuer, func() { _ = server.Close(); <-done }, nil
}

// table lists what is where, below the issuer's path.
func (i *Issuer) table() map[string]route {
	return map[string]route{
		"/.well-known/openid-configuration": {Discovery, "GET", i.serveDiscovery},
		"/jwks":                             {JWKS, "GET", i.serveJWKS},
		"/push":                             {Push, "POST", i.servePush},
		"/authorize":                        {Authorize, "GET POST", i.serveAuthorize},
		"/sign-in":                          {SignIn, "POST", i.serveSignIn},
		"/token":                            {Token, "POST", i.serveToken},
		"/userinfo":                         {Userinfo, "GET POST", i.serveUserinfo},
		"/end-session":                      {EndSession, "GET POST", i.serveEndSession},
		"/revoke":                           {Revocation, "POST", i.serveRevoke},
		"/":                                 {Home, "GET", i.serveHome},
		"/style.css":                        {Home, "GET", i.pages.serveAsset},
		"/submit.js":                        {Home, "GET", i.pages.serveAsset},
	}
}

// ServeHTTP counts and remembers the request, then answers it as the faults say.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, i.base.Path)
	if ok && path == "" {
		path = "/"
	}
	route, found := i.routes[path]
	if !ok || !found {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	formErr := r.ParseForm()
	fault := i.record(route.endpoint, r)

	h := w.Header()
	h.Set("Date", i.now().UTC().Format(http.TimeFormat))
	h.Set("Cache-Control", "no-store")
	var handler http.Handler = route.handle
	switch {
	case formErr != nil:
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "unreadable form", http.StatusBadRequest)
		})
	case !allows(route.methods, r.Method):
		handler = notAllowed(route.methods)
	}
	if fault != nil {
		handler = fault(handler)
	}
	handler.ServeHTTP(w, r)
}

func allows(methods, method string) bool {
	for m := range strings.FieldsSeq(methods) {
		if m == method || (m == http.MethodGet && method == http.MethodHead) {
			return true
		}
	}
	return false
}

func notAllowed(methods string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", strings.ReplaceAll(methods, " ", ", "))
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	})
}

// record counts and remembers r, whatever the answer will be, and returns the
// endpoint's fault.
func (i *Issuer) record(e Endpoint, r *http.Request) Fault {
	seen := Request{
		Method: r.Method, URL: r.URL, Header: r.Header.Clone(),
		Form: cloneValues(r.Form), PostForm: cloneValues(r.PostForm),
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls[e]++
	i.last[e] = seen
	if f, own := i.faults.At[e]; own {
		return f
	}
	return i.faults.At[Everything]
}

func cloneValues(v url.Values) url.Values { return url.Values(http.Header(v).Clone()) }

// URL returns the issuer identifier.
func (i *Issuer) URL() string { return i.options.URL }

// Calls returns how many requests an endpoint has had, faulty answers included.
func (i *Issuer) Calls(e Endpoint) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls[e]
}

// Last returns an endpoint's latest request; zero if there was none.
func (i *Issuer) Last(e Endpoint) Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last[e]
}

// Set changes what the provider does wrong, from the next request on. f.At is
// never nil. To be honest again: *f = Faults{}.
func (i *Issuer) Set(change func(f *Faults)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := i.faults
	f.At = maps.Clone(f.At)
	if f.At == nil {
		f.At = map[Endpoint]Fault{}
	}
	change(&f)
	f.At = maps.Clone(f.At)
	i.faults = f
}

// wrong returns the faults as they are now. They are called without the lock, so
// that they may ask the provider things.
func (i *Issuer) wrong() Faults {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.faults
}

// now is the time by the provider's clock.
func (i *Issuer) now() time.Time { return i.options.Now().Add(i.wrong().ClockShift) }

// wait blocks for d unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
