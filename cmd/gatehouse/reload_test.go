package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/proxy"
	"gatehouse/session"
)

// reloading is a gateway whose settings are in a file.
type reloading struct {
	*reloader
	t       *testing.T
	logged  *authntest.Log
	app     string
	issuer  string
	secrets string
}

// newReloading starts a gateway, beside an application whose paths below /slow answer
// when the test says so.
func newReloading(t *testing.T, slow <-chan struct{}) *reloading {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/slow") {
			<-slow
		}
		_, _ = io.WriteString(w, "hello from "+r.URL.Path)
	}))
	t.Cleanup(app.Close)
	dir := t.TempDir()
	r := &reloading{t: t, logged: &authntest.Log{}, app: app.URL, secrets: filepath.Join(dir, "secret")}
	r.reloader = &reloader{
		file: filepath.Join(dir, "gatehouse.yaml"), wait: time.Second, rest: 2 * time.Second, observe: onlyMetrics(),
		log: func(c config.Log) *slog.Logger { return newLogger(c, r.logged) },
	}
	r.read = func() (config.Config, error) { return config.Load(r.file, nil) }
	r.issuer = newIssuer(t, "127.0.0.1:0")
	r.keep("first")
	r.write(r.text())
	c, err := r.reloader.settings(config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := build(c, r.log(c.Log), r.observe)
	if err != nil {
		t.Fatal(err)
	}
	g.news.Start()
	r.live = newLive(newGeneration(c, g, r.log(c.Log)))
	t.Cleanup(func() {
		if err := r.live.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// newIssuer starts a provider at an address.
func newIssuer(t *testing.T, address string) string {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + ln.Addr().String()
	s := &http.Server{Handler: authntest.NewIssuer(authntest.IssuerOptions{URL: url}), ReadHeaderTimeout: time.Second}
	go func() { _ = s.Serve(ln) }() // it ends with the test
	t.Cleanup(func() { s.Close() })
	return url
}

func (r *reloading) text(more ...string) string {
	return fmt.Sprintf(`publicURL: http://localhost:8080
upstreams: [{url: %q, public: [/slow/, /open/]}]
authn: [{name: sso, oidc: {issuer: %q, clientID: gatehouse, clientSecretFile: %q}}]
reload: {interval: 1s}
%s
`, r.app, r.issuer, r.secrets, strings.Join(more, "\n"))
}

func (r *reloading) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reloading) keep(secret string) {
	r.t.Helper()
	if err := os.WriteFile(r.secrets, []byte(secret), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// counted is a number of the metrics.
func (r *reloading) counted(name string) float64 {
	w := &world{t: r.t, metrics: r.observe.metrics, log: &lockedBuffer{}}
	return value(w.scrape(), name, nil)
}

func (r *reloading) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.live.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost:8080"+path, nil))
	return w
}

// within fails unless something is so before long.
func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it is not so: ", what)
}

const denied = "policy: [{name: closed, paths: [/open/], access: deny}]"

// TestReloadRefused: what can't be loaded, or would not be ready, changes nothing; it is
// in the log once, and in /readyz until it is mended.
func TestReloadRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		text func(r *reloading) string
		says string
	}{
		"not YAML":             {func(*reloading) string { return "publicURL: [" }, "gatehouse.yaml:1"},
		"an unknown setting":   {func(r *reloading) string { return r.text("polcy: []") }, "polcy"},
		"nothing":              {func(*reloading) string { return "" }, "publicURL"},
		"a secret's file":      {func(r *reloading) string { return strings.ReplaceAll(r.text(), r.secrets, r.secrets+"s") }, "clientSecretFile"},
		"a provider not there": {func(r *reloading) string { return strings.ReplaceAll(r.text(), r.issuer, "http://127.0.0.1:1") }, "route sso"},
		"a store not there": {func(r *reloading) string {
			return r.text("store: {redis: {url: redis://127.0.0.1:1}}", "session: {keys: [bm90IGEgc2VjcmV0LCBqdXN0IGZvciB0aGUgdGVzdHMgaGVyZQ]}")
		}, "store"},
		"a logo that is no file": {func(r *reloading) string { return r.text("pages: {logoFile: /nowhere/logo.svg}") }, "logoFile"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReloading(t, nil)
			former := r.live.now.Load()
			r.write(tt.text(r))
			r.reload(t.Context())
			r.reload(t.Context())
			if r.live.now.Load() != former {
				t.Fatal("they answer now")
			}
			s := r.look(t.Context())
			if !s.Ready || !strings.Contains(s.String(), "settings: not reloaded") {
				t.Errorf("/readyz: %v\n%s", s.Ready, s)
			}
			if n := r.counted("gatehouse_config_last_reload_success"); n != 0 {
				t.Errorf("the metrics say %v of a refused reload", n)
			}
			if n := strings.Count(r.logged.String(), "not reloaded"); n != 1 || !strings.Contains(r.logged.String(), tt.says) {
				t.Errorf("%d lines, want one about %s\n%s", n, tt.says, r.logged)
			}
			if got := r.get("/open/x"); got.Code != 200 {
				t.Errorf("the former settings answer %d", got.Code)
			}
			r.write(r.text(denied))
			r.reload(t.Context())
			if n := r.counted("gatehouse_config_last_reload_success"); n != 1 {
				t.Errorf("the metrics say %v of a reload that went well", n)
			}
			within(t, "the metrics follow who answers now", func() bool { return r.counted("gatehouse_session_news_listening") == 1 })
			if n := r.counted("gatehouse_config_reload_failures_total"); n != 2 {
				t.Errorf("the metrics count %v refused reloads", n)
			}
			if text := r.look(t.Context()).String(); strings.Contains(text, "not reloaded") {
				t.Errorf("/readyz goes on saying\n%s", text)
			}
			if got := r.get("/open/x"); got.Code != 403 {
				t.Errorf("the new settings answer %d", got.Code)
			}
		})
	}
}

// TestReloadFollowsFiles: what changes in the files counts without being told, once
// nobody is writing any more; so does what was refused when it becomes right.
func TestReloadFollowsFiles(t *testing.T) {
	r := newReloading(t, nil)
	end := r.start(t.Context())
	defer end()
	now := func() *generation { return r.live.now.Load() }

	first := now()
	time.Sleep(2500 * time.Millisecond)
	if now() != first {
		t.Fatal("nothing has changed, and was loaded")
	}
	r.write(r.text(denied))
	within(t, "the file's change counts", func() bool { return r.get("/open/x").Code == 403 })

	second := now()
	r.keep("second")
	within(t, "a secret's change counts", func() bool { return now() != second })
	if got := now().settings.Authn[0].OIDC.ClientSecret.Reveal(); got != "second" {
		t.Errorf("the secret is %q", got)
	}
	within(t, "the log names the change", func() bool { return strings.Contains(r.logged.String(), "oidc.clientSecret\"") })
	if log := r.logged.String(); strings.Contains(log, `"second"`) {
		t.Errorf("the log gives the secret away:\n%s", log)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	third := now()
	r.issuer = "http://" + address
	r.write(r.text())
	within(t, "a provider that is not there is refused", func() bool { return r.condition().Reason != "" })
	if now() != third {
		t.Fatal("it answers")
	}
	newIssuer(t, address)
	within(t, "it counts once the provider is there", func() bool { return now() != third && r.get("/open/x").Code == 200 })
}

// TestReloadListeners: what stands below TLS and the requests judges by the settings of
// the moment too.
func TestReloadListeners(t *testing.T) {
	r := newReloading(t, nil)
	log := slog.New(slog.DiscardHandler)
	crowd := proxy.NewCrowd(r.live.bounds, log)
	ln, err := listen(t.Context(), config.Listen{ProxyProtocol: true, HeaderTimeout: config.Duration(10 * time.Second)}, "127.0.0.1:0", crowd, r.live, log)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(ln) }() // it ends with the test
	defer s.Close()
	open := func() net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		return conn
	}
	answered := func() bool {
		n, _ := open().Read(make([]byte, 1)) // the connection stays open
		return n == 1
	}
	for _, step := range []struct {
		name, settings string
		want           bool
	}{
		{"a balancer that is not trusted", "", false},
		{"one that is trusted now", "trustedProxies: [127.0.0.1]", true},
		{"its client's limit of one, which is used up", "trustedProxies: [127.0.0.1]\nlimits: {connectionsPerAddress: 1}", false},
		{"its client's limit of two", "trustedProxies: [127.0.0.1]\nlimits: {connectionsPerAddress: 2}", true},
		{"a limit of them all", "trustedProxies: [127.0.0.1]\nlimits: {connections: 1}", false},
		{"a balancer that is trusted no more", "trustedProxies: [127.0.0.2]", false},
	} {
		r.write(r.text(step.settings))
		r.reload(t.Context())
		if got := answered(); got != step.want {
			t.Errorf("%s: answered is %v", step.name, got)
		}
	}
}

// TestReloadSeesEveryChange: whenever a file changes while the settings are being loaded,
// either that is what is loaded, or it is seen as a change.
func TestReloadSeesEveryChange(t *testing.T) {
	for name, kept := range map[string]bool{"files that are known": true, "files that are new": false} {
		for at := range 4 { // before and after the first loading, and the second one, if there is one
			r := newReloading(t, nil)
			former := r.live.now.Load().settings
			if !kept {
				former.Authn = nil
			}
			moment := 0
			change := func() {
				if moment == at {
					r.keep("second")
				}
				moment++
			}
			load := r.read
			r.read = func() (config.Config, error) {
				change()
				defer change()
				return load()
			}
			c, err := r.settings(former)
			if err != nil {
				t.Fatal(err)
			}
			if at < moment && c.Authn[0].OIDC.ClientSecret != "second" && r.digest(c) == r.tried {
				t.Errorf("%s, moment %d: what was loaded is from before the change, and counts as loaded", name, at)
			}
		}
	}
}

// TestReloadOnce: what changes while the gateway is starting is loaded, and once, though it
// names a file that the settings before did not.
func TestReloadOnce(t *testing.T) {
	r := newReloading(t, nil)
	key := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(key, []byte(rand.Text()+rand.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write(r.text(fmt.Sprintf("session: {keysFile: %q}", key)))
	end := r.start(t.Context())
	defer end()
	reloaded := func() int { return strings.Count(r.logged.String(), `"settings reloaded"`) }
	within(t, "they are loaded", func() bool { return reloaded() == 1 })
	time.Sleep(4 * time.Second)
	if n := reloaded(); n != 1 {
		t.Errorf("they are loaded %d times", n)
	}
	if err := os.WriteFile(key, []byte(rand.Text()+rand.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, "the file is followed", func() bool { return reloaded() == 2 })
}

// TestReloadKeepsMemory: sessions and keys that only this process has live on, through
// any number of changes.
func TestReloadKeepsMemory(t *testing.T) {
	r := newReloading(t, nil)
	if err := r.live.now.Load().store.Set(t.Context(), "k", []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	keys := r.live.now.Load().own.keys
	for i := range 3 {
		r.write(r.text(fmt.Sprintf("pages: {name: Lab %d}", i)))
		former := r.live.now.Load()
		r.reload(t.Context())
		within(t, "the former gateway is closed", func() bool { r.live.mu.Lock(); defer r.live.mu.Unlock(); return !r.live.former[former] })
		if v, found, err := r.live.now.Load().store.Get(t.Context(), "k"); string(v) != "v" || !found || err != nil {
			t.Fatalf("after change %d: %q, %v, %v", i, v, found, err)
		}
		if r.live.now.Load().own.keys != keys {
			t.Fatal("the keys have changed")
		}
	}
	r.write("nonsense")
	r.reload(t.Context())
	if _, found, err := r.live.now.Load().store.Get(t.Context(), "k"); !found || err != nil {
		t.Errorf("after a refusal: %v, %v", found, err)
	}
}

// TestReloadRotatesKeys: a key that is added before the others seals what is new, the
// former ones still open what they sealed, and one that is taken out does no more.
func TestReloadRotatesKeys(t *testing.T) {
	r := newReloading(t, nil)
	keys := filepath.Join(t.TempDir(), "keys")
	rotate := func(list ...string) {
		t.Helper()
		if err := os.WriteFile(keys, []byte(strings.Join(list, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.write(r.text(fmt.Sprintf("session: {keysFile: %q}", keys)))
		r.reload(t.Context())
		if problem := r.condition(); problem.Reason != "" {
			t.Fatal(problem)
		}
	}
	begin := func() *http.Cookie {
		t.Helper()
		w := httptest.NewRecorder()
		id := authn.Identity{Issuer: r.issuer, Subject: "alice", Username: "alice", Route: "sso", Kind: authn.Person}
		if err := r.live.now.Load().sessions.Start(w, httptest.NewRequest("GET", "http://localhost:8080/", nil), authn.Proof{Identity: id}); err != nil {
			t.Fatal(err)
		}
		return w.Result().Cookies()[0]
	}
	status := func(c *http.Cookie) int {
		w, q := httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost:8080/x", nil)
		q.AddCookie(c)
		r.live.ServeHTTP(w, q)
		return w.Code
	}
	first, second := rand.Text()+rand.Text(), rand.Text()+rand.Text()
	rotate(first)
	old := begin()
	rotate(second, first)
	young := begin()
	for name, c := range map[string]*http.Cookie{"by the old key": old, "by the new key": young} {
		if got := status(c); got != 200 {
			t.Errorf("with both keys a session %s is %d", name, got)
		}
	}
	rotate(second)
	if a, b := status(old), status(young); a != 401 || b != 200 {
		t.Errorf("without the old key the old session is %d, the new one %d", a, b)
	}
}

// TestReloadLetsRequestsFinish: a request that is on its way ends as it began, and only
// then what answers it.
func TestReloadLetsRequestsFinish(t *testing.T) {
	slow := make(chan struct{})
	r := newReloading(t, slow)
	former := r.live.now.Load()
	answered := make(chan *httptest.ResponseRecorder)
	go func() { answered <- r.get("/slow/1") }()
	within(t, "the request is on its way", func() bool { return former.requests.Load() == 1 })
	r.write(r.text(denied))
	r.reload(t.Context())
	if got := r.get("/open/x"); got.Code != 403 {
		t.Errorf("the next request is %d", got.Code)
	}
	select {
	case <-former.idle:
		t.Error("the former gateway is thought to be idle")
	case got := <-answered:
		t.Errorf("the request was cut off: %d", got.Code)
	case <-time.After(300 * time.Millisecond):
	}
	close(slow)
	if got := <-answered; got.Code != 200 || got.Body.String() != "hello from /slow/1" {
		t.Errorf("%d %q", got.Code, got.Body)
	}
	within(t, "the former gateway is closed", func() bool { r.live.mu.Lock(); defer r.live.mu.Unlock(); return len(r.live.former) == 0 })
}

// TestReloadAtTheEnd: a reload that is under way does not keep the gateway from stopping.
func TestReloadAtTheEnd(t *testing.T) {
	r := newReloading(t, nil)
	r.wait = time.Minute
	r.write(strings.ReplaceAll(r.text(), r.issuer, "http://127.0.0.1:1"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	r.reload(ctx)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestReloadKeepsChain: the audit trail on standard output is one chain, whichever settings
// its lines were written by.
func TestReloadKeepsChain(t *testing.T) {
	r := newReloading(t, nil)
	var out lockedBuffer
	r.observe.out = &out
	key := rand.Text() + rand.Text()
	for i := range 3 {
		former := r.live.now.Load()
		r.write(r.text(fmt.Sprintf("pages: {name: Lab %d}\naudit: {output: stdout, chain: true}\nsession: {keys: [%s]}", i, key)))
		r.reload(t.Context())
		record(former, audit.Event{Name: audit.Access, Outcome: audit.Refused, Reason: "of a request that goes on"})
	}
	within(t, "the former gateways are closed", func() bool { r.live.mu.Lock(); defer r.live.mu.Unlock(); return len(r.live.former) == 0 })
	record(r.live.now.Load(), audit.Event{Name: audit.Lifecycle, Outcome: audit.Allowed})
	keys, err := session.NewKeyring("http://localhost:8080", []string{key})
	if err != nil {
		t.Fatal(err)
	}
	v, err := audit.Verify([]audit.Part{{Reader: strings.NewReader(out.String())}}, keys.Secrets(auditPurpose))
	if v.Lines != 6 || len(v.Flaws) > 0 || err != nil {
		t.Errorf("%+v, %v\n%s", v, err, out.String())
	}
}

// TestAwaitReady: what is told to be missing is what was, not what there was no time left
// to look at.
func TestAwaitReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(300 * time.Millisecond):
				return nil
			}
		}
		r := &readiness{seen: map[string]bool{}, dependencies: []dependency{
			{name: "store", check: slow, needed: true},
			{name: "route sso", check: func(context.Context) error { return errors.New("nobody answers") }},
		}}
		err := awaitReady(t.Context(), r, 700*time.Millisecond)
		if err == nil || strings.Contains(err.Error(), "store") || !strings.Contains(err.Error(), "route sso: nobody answers") {
			t.Error(err)
		}
	})
}

// TestReloadForgets: nothing holds on to a gateway that has ended, nor to what it has
// remembered, however often settings change.
func TestReloadForgets(t *testing.T) {
	r := newReloading(t, nil)
	var gateways []weak.Pointer[gateway]
	var handlers []weak.Pointer[proxy.Handler]
	for i := range 3 {
		g := r.live.now.Load().gateway
		gateways, handlers = append(gateways, weak.Make(g)), append(handlers, weak.Make(g.handler))
		r.write(r.text(fmt.Sprintf("pages: {name: Lab %d}\naudit: {output: stdout}", i)))
		r.get("/open/x")
		r.reload(t.Context())
	}
	r.get("/open/x")
	for i := range gateways {
		within(t, "the former gateways are forgotten", func() bool {
			runtime.GC()
			return gateways[i].Value() == nil && handlers[i].Value() == nil
		})
	}
}
