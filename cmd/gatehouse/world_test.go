package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/authn/audit"
	"gatehouse/authn/authntest"
	"gatehouse/cmd/gatehouse/metrics"
	"gatehouse/config"
	"gatehouse/proxy"
)

// publicHost is a name that the test server's certificate is good for.
const publicHost = "example.com"

// world is a gateway with everything around it: a provider, an application
// that records what reaches it, and a log.
type world struct {
	t        *testing.T
	gw       *gateway
	server   *httptest.Server
	issuer   *authntest.Issuer
	provider *httptest.Server
	app      *recorder
	log      *lockedBuffer
	trail    lockedBuffer // of the audit
	settings string
	metrics  *metrics.Metrics
	observe  observers
}

// newWorld starts a world from settings, in which $ISSUER, $UPSTREAM and $DIRECTORY
// stand for the URL of the provider, of the application and of a directory that
// knows the same people. Empty settings are the smallest that work.
func newWorld(t *testing.T, settings string) *world {
	t.Helper()
	return newObservedWorld(t, settings, observers{})
}

// newObservedWorld is a world whose gateway tells these.
func newObservedWorld(t *testing.T, settings string, o observers) *world {
	t.Helper()
	w := &world{t: t, app: &recorder{}, log: &lockedBuffer{}, observe: o}
	upstream := httptest.NewServer(w.app)
	t.Cleanup(upstream.Close)
	w.startProvider()

	if settings == "" {
		settings = smallest
	}
	settings = strings.NewReplacer("$ISSUER", w.provider.URL, "$UPSTREAM", upstream.URL).Replace(settings)
	if strings.Contains(settings, "$DIRECTORY") {
		settings = strings.ReplaceAll(settings, "$DIRECTORY", w.startDirectory())
	}
	w.serve(settings)
	return w
}

// serve starts the gateway of settings in which nothing stands for anything else.
func (w *world) serve(settings string) {
	t := w.t
	t.Helper()
	w.settings = settings
	c, err := config.Decode("gatehouse.yaml", []byte(settings), nil)
	if err != nil {
		t.Fatalf("settings:\n%v", err)
	}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if w.observe.metrics == nil {
		w.observe.metrics = onlyMetrics().metrics
	}
	w.metrics = w.observe.metrics
	c.Audit.Output, w.observe.out = "stdout", &w.trail
	w.gw, err = build(c, log, w.observe)
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	w.observe.follow(c, w.gw)
	w.gw.news.Start()
	w.server = httptest.NewUnstartedServer(nil)
	w.server.Config = proxy.Server(c.Listen, w.gw.handler, log)
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	t.Cleanup(func() {
		w.server.Close()
		w.checkMetrics(c)
		w.checkTrail()
		if err := w.gw.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// checkTrail looks at each line of the audit trail.
func (w *world) checkTrail() {
	w.t.Helper()
	names := []string{audit.SignIn, audit.SessionEnd, audit.TokenIssue, audit.Access}
	for line := range strings.Lines(w.trail.String()) {
		var e audit.Event
		switch err := json.Unmarshal([]byte(line), &e); {
		case err != nil:
			w.t.Errorf("a line of the trail is no JSON: %v\n%s", err, line)
		case !slices.Contains(names, e.Name), e.Time.IsZero(), e.Outcome != audit.Allowed && e.Outcome != audit.Refused && e.Outcome != audit.Failed:
			w.t.Errorf("a line of the trail is of no kind that there is: %s", line)
		case e.Outcome == audit.Allowed && e.Name != audit.SessionEnd && (e.Issuer == "" || e.Subject == "" || e.Route == ""):
			w.t.Errorf("a line of the trail does not say who came in: %s", line)
		}
	}
}

// replica is a second gateway of the same settings, with the same around it.
func (w *world) replica() *world {
	w.t.Helper()
	two := &world{t: w.t, issuer: w.issuer, provider: w.provider, app: w.app, log: w.log}
	two.serve(w.settings)
	return two
}

// at is a browser with what it holds, at another replica.
func (w *world) at(b *http.Client) *http.Client {
	return &http.Client{Transport: w.transport(), Jar: b.Jar, CheckRedirect: b.CheckRedirect}
}

// smallest is the least that one has to say.
const smallest = `
publicURL: https://example.com
upstreams:
  - url: $UPSTREAM
authn:
  - name: corp
    oidc:
      issuer: $ISSUER
      clientID: gatehouse
`

// startDirectory returns the URL of a directory whose people have the password
// of the demo's.
func (w *world) startDirectory() string {
	d, url, err := authntest.StartDirectory(authntest.DirectoryOptions{
		BaseDN: demoBase, AnonymousRead: true, Entries: authntest.DirectoryOf(demoPeople(), demoBase, demoPassword),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return url
}

func (w *world) startProvider() {
	var h http.Handler
	w.provider = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { h.ServeHTTP(rw, r) }))
	w.t.Cleanup(w.provider.Close)
	w.issuer = authntest.NewIssuer(authntest.IssuerOptions{
		URL:    w.provider.URL,
		People: demoPeople(), HintSignsIn: true,
		Clients: []authntest.Client{{
			ID:             "gatehouse",
			RedirectURIs:   []string{"https://" + publicHost + "/oidc/callback"},
			PostLogoutURIs: []string{"https://" + publicHost + "/logout"},
		}},
	})
	h = w.issuer
}

// transport reaches the gateway under every host name, and the provider as it
// is. It speaks HTTP/1.1, which lets a test say anything.
func (w *world) transport() *http.Transport {
	t := w.server.Client().Transport.(*http.Transport).Clone()
	gateway := w.server.Listener.Addr().String()
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !strings.HasPrefix(addr, "127.0.0.1:") {
			addr = gateway
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	t.TLSClientConfig.ServerName = publicHost
	t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	t.ForceAttemptHTTP2, t.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	w.t.Cleanup(t.CloseIdleConnections)
	return t
}

// browser is a client with a cookie jar that follows redirects.
func (w *world) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &http.Client{Transport: w.transport(), Jar: jar}
}

// program is a client without a jar that follows nothing.
func (w *world) program() *http.Client {
	return &http.Client{Transport: w.transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// signIn returns a browser in which username has signed in.
func (w *world) signIn(username string) *http.Client {
	w.t.Helper()
	b := w.browser()
	res := w.get(b, "/.gatehouse/sign-in?provider=corp&login_hint="+username, navigation)
	if res.status != http.StatusOK || res.url.Host != publicHost {
		w.t.Fatalf("sign in as %s: %d at %s\n%s\nlog:\n%s", username, res.status, res.url, res.body, w.log)
	}
	return b
}

// navigation is what a browser sends when a person follows a link.
var navigation = http.Header{
	"Accept":         {"text/html,application/xhtml+xml,*/*;q=0.8"},
	"Sec-Fetch-Mode": {"navigate"},
	"Sec-Fetch-Dest": {"document"},
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	url    *url.URL
}

func (w *world) get(c *http.Client, path string, h http.Header) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://"+publicHost+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = h.Clone()
	return w.do(c, req)
}

func (w *world) do(c *http.Client, req *http.Request) answer {
	w.t.Helper()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	res, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b), res.Request.URL}
}

// recorder is an application that keeps what reaches it.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
	// answer, if set, answers instead of a plain 200.
	answer http.HandlerFunc
}

func (a *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r.Clone(context.WithoutCancel(r.Context())))
	answer := a.answer
	a.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	fmt.Fprintf(w, "app: %s %s\n", r.Method, r.URL)
}

func (a *recorder) answers(h http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = h
}

func (a *recorder) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

// last is the newest request, and fails the test if there is none.
func (a *recorder) last(t *testing.T) *http.Request {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) == 0 {
		t.Fatal("nothing reached the application")
	}
	return a.seen[len(a.seen)-1]
}

// lockedBuffer is a buffer for many writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func configLog() config.Log { return config.Log{Format: "text", Level: "debug"} }

// writePair writes a certificate and its key in PEM.
func writePair(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))),
		writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}
