package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/page"
	"gatehouse/config"
)

const (
	gwHost     = "gw.test"
	gwURL      = "https://" + gwHost
	cookieName = "__Host-gatehouse"
	maxStreams = 250
	aliceOnly  = "Cookie: " + cookieName + "=alice\r\n"
)

// seen is one request as the upstream got it.
type seen struct {
	Method, Target, Host, Proto string
	Header                      http.Header
	Trailer                     http.Header
	Body                        string
	Err                         error // of reading the body
}

// echo is an upstream that remembers what it was asked.
type echo struct {
	mu   sync.Mutex
	got  []seen
	then http.HandlerFunc // answers, if set
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := seen{Method: r.Method, Target: r.RequestURI, Host: r.Host, Proto: r.Proto, Header: r.Header.Clone()}
	if e.then == nil {
		body, err := io.ReadAll(r.Body)
		s.Body, s.Err, s.Trailer = string(body), err, r.Trailer
	}
	e.mu.Lock()
	e.got = append(e.got, s)
	e.mu.Unlock()
	if e.then != nil {
		e.then(w, r)
		return
	}
	fmt.Fprint(w, "hello from upstream")
}

func (e *echo) all() []seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]seen(nil), e.got...)
}

// rig is a gateway between raw clients and an upstream.
type rig struct {
	t        *testing.T
	up       *echo
	upServer *httptest.Server
	gw       *Handler
	server   *httptest.Server
	log      *authntest.Log
	ender    *ender
	people   map[string]authn.Identity
	wrap     func(net.Listener) net.Listener // around the gateway's own; may be nil
}

func person(name string) authn.Identity {
	return authn.Identity{
		Issuer: "https://idp.test", Subject: "sub-" + name, Kind: authn.Person, Username: name, Name: strings.ToUpper(name[:1]) + name[1:],
		Email: name + "@example.com", Groups: []string{"users", name + "s"}, Route: "corp", AuthTime: time.Unix(1700000000, 0).UTC(),
	}
}

// ender is the sessions' end, scripted.
type ender struct {
	proof authn.Proof
	found bool
	err   error
	calls int
}

func (e *ender) End(w http.ResponseWriter, _ *http.Request) (authn.Proof, bool, error) {
	e.calls++
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true})
	return e.proof, e.found, e.err
}

// options are what every rig starts from. The chain knows people by the value
// of the session cookie or, first, of a bearer token; "stale" is rejected,
// "outage" can't be found out.
func (g *rig) options(upstream string) Options {
	public, err := url.Parse(gwURL)
	if err != nil {
		g.t.Fatal(err)
	}
	paths := config.Paths{Callback: "/oidc/callback", SignOut: "/logout", Prefix: "/.gatehouse"}
	pages, err := page.New(page.Brand{Name: "Test"}, paths.Prefix)
	if err != nil {
		g.t.Fatal(err)
	}
	who := func(name string) (authn.Identity, error) {
		switch id, ok := g.people[name]; {
		case ok:
			return id, nil
		case name == "outage":
			return authn.Identity{}, errors.New("dial tcp 10.9.8.7:6379: connection refused")
		}
		return authn.Identity{}, fmt.Errorf("no such session: %w", authn.ErrRejected)
	}
	bearer := authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
		for _, v := range r.Header["Authorization"] {
			if token, ok := strings.CutPrefix(v, "Bearer "); ok {
				return who(token)
			}
		}
		return authn.Identity{}, authn.ErrNoCredential
	})
	cookie := authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
		c, err := r.Cookie(cookieName)
		if err != nil {
			return authn.Identity{}, authn.ErrNoCredential
		}
		return who(c.Value)
	})
	return Options{
		PublicURL:    public,
		Upstreams:    []config.Upstream{{Name: "app", URL: upstream, Public: []string{"/public/", "/health", "/public/ws"}}},
		Paths:        paths,
		StallTimeout: 20 * time.Second,
		Routes: []authn.Route{{
			Name: "corp", Label: "Corp", SignInPath: "/.gatehouse/oidc/corp/sign-in",
			Mount: func(mux *http.ServeMux) {
				mux.HandleFunc("/.gatehouse/oidc/corp/sign-in", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "sign in here") })
				mux.HandleFunc("/oidc/callback", func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadAll(r.Body); err != nil {
						http.Error(w, "too large", http.StatusRequestEntityTooLarge)
						return
					}
					fmt.Fprint(w, "callback from ", r.RemoteAddr)
				})
			},
		}},
		Chain:    authn.Chain{bearer, cookie},
		Sessions: g.ender,
		Cookie:   cookieName,
		Landings: authn.NewLandings(public, []string{gwHost, "b.test"}, paths.Owns),
		Pages:    pages,
		Log:      slog.New(slog.NewJSONHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Access:   true,
	}
}

// newRig starts a gateway in front of an echo. Change may be nil.
func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}, people: map[string]authn.Identity{
		"alice": person("alice"), "bob": person("bob"),
	}}
	g.upServer = httptest.NewServer(g.up)
	t.Cleanup(g.upServer.Close)
	g.start(g.upServer.URL, change)
	return g
}

func (g *rig) start(upstream string, change func(*Options)) {
	g.t.Helper()
	o := g.options(upstream)
	if change != nil {
		change(&o)
	}
	gw, err := New(o)
	if err != nil {
		g.t.Fatal(err)
	}
	g.gw = gw
	g.server = httptest.NewUnstartedServer(nil)
	g.server.Config = Server(config.Listen{
		H2C: true, HeaderTimeout: config.Duration(5 * time.Second), IdleTimeout: config.Duration(30 * time.Second),
		StallTimeout: config.Duration(o.StallTimeout), MaxHeaderSize: 64 << 10, MaxStreams: maxStreams,
	}, gw, o.Log)
	if g.wrap != nil {
		g.server.Listener = g.wrap(g.server.Listener)
	}
	g.server.Start()
	g.t.Cleanup(func() {
		g.server.Close()
		gw.Close()
		if strings.Contains(g.log.String(), `"msg":"panic"`) {
			g.t.Errorf("a handler has panicked:\n%s", g.log)
		}
	})
}

func (g *rig) addr() string { return g.server.Listener.Addr().String() }

// dial opens a raw connection to the gateway.
func (g *rig) dial() net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// answer is what came back for a raw request.
type answer struct {
	*http.Response
	body string
}

// raw sends bytes on a new connection and reads one answer.
func (g *rig) raw(request string) answer {
	g.t.Helper()
	c := g.dial()
	if _, err := io.WriteString(c, request); err != nil {
		g.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	return g.read(bufio.NewReader(c), method)
}

// read reads one answer; none at all has status 0.
func (g *rig) read(br *bufio.Reader, method string) answer {
	g.t.Helper()
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return answer{&http.Response{Header: http.Header{}, Status: err.Error()}, ""}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		body = append(body, "\n[cut off: "+err.Error()+"]"...)
	}
	res.Body.Close()
	return answer{res, string(body)}
}

// get sends a GET with headers, each with its line end.
func (g *rig) get(target, headers string) answer {
	g.t.Helper()
	return g.raw("GET " + target + " HTTP/1.1\r\nHost: " + gwHost + "\r\n" + headers + "\r\n")
}

// last is the only request that the upstream must have got since forget.
func (g *rig) last() seen {
	g.t.Helper()
	all := g.up.all()
	if len(all) != 1 {
		g.t.Fatalf("the upstream got %d requests, want 1: %+v", len(all), all)
	}
	return all[0]
}

func (g *rig) forget() {
	g.up.mu.Lock()
	defer g.up.mu.Unlock()
	g.up.got = nil
}

// untouched fails if anything has reached the upstream.
func (g *rig) untouched() {
	g.t.Helper()
	if all := g.up.all(); len(all) != 0 {
		g.t.Errorf("reached the upstream: %+v", all)
	}
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// denied checks the rules for every refusal.
func (g *rig) denied(a answer, statuses ...int) {
	g.t.Helper()
	ok := false
	for _, s := range statuses {
		ok = ok || a.StatusCode == s
	}
	if !ok {
		g.t.Errorf("status %s, want one of %v; body %q", a.Status, statuses, a.body)
	}
	g.untouched()
	for name := range a.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Gatehouse-") {
			g.t.Errorf("a refusal tells %s: %s", name, a.Header.Get(name))
		}
	}
	if s := a.StatusCode; (s == 401 || s == 403 || s == 302) && a.Header.Get("Cache-Control") != "no-store" {
		g.t.Errorf("Cache-Control %q, want no-store", a.Header.Get("Cache-Control"))
	}
}

// sub runs a row with a fresh memory of the upstream.
func (g *rig) sub(name string, f func(t *testing.T, g *rig)) {
	g.t.Run(name, func(t *testing.T) {
		g.forget()
		mine := *g
		mine.t = t
		f(t, &mine)
	})
}

const navigation = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\n"

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// await waits until ok holds; what it waits for happens in another goroutine.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for ten seconds")
		}
	}
}
