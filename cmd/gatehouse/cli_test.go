package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/authn/authntest"
)

// command runs one command line.
func command(t *testing.T, env []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), shell{args: args, env: env, out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	good := writeFile(t, "good.yaml", strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$ISSUER", "https://idp.example.com").Replace(smallest))
	bad := writeFile(t, "bad.yaml", "publicURL: http://example.com\nupstream: []\n")
	tests := map[string]struct {
		args      []string
		env       []string
		code      int
		out, errs string // parts of what is printed
	}{
		"no command teaches":           {args: nil, out: "gatehouse demo"},
		"--help teaches":               {args: []string{"--help"}, out: "OIDC_ISSUER"},
		"serve --help":                 {args: []string{"serve", "--help"}, out: "/readyz"},
		"--version":                    {args: []string{"--version"}, out: "gatehouse"},
		"version":                      {args: []string{"version"}, out: "gatehouse "},
		"completion":                   {args: []string{"completion", "bash"}, out: "complete"},
		"schema":                       {args: []string{"schema"}, out: `"$schema"`},
		"help about a command":         {args: []string{"help", "audit", "verify"}, out: "chained trail"},
		"help about none":              {args: []string{"help", "audit", "verfy"}, code: 2, errs: `no command "verfy"; did you mean verify?` + "\nTry: gatehouse --help"},
		"an unknown command":           {args: []string{"sevre"}, code: 2, errs: `no command "sevre"; did you mean serve?`},
		"a port that is none":          {args: []string{"demo", "--port", "99999999"}, code: 2, errs: "is not a port"},
		"an unknown flag":              {args: []string{"serve", "--conf", "x"}, code: 2, errs: "unknown flag: --conf"},
		"a stray argument":             {args: []string{"check", "x.yaml"}, code: 2, errs: "takes no arguments"},
		"check --offline, good":        {args: []string{"check", "--offline", "-c", good}, out: "All is well, with 1 warning(s)."},
		"check --offline, a warning":   {args: []string{"check", "--offline", "-c", good}, out: "  WARN   settings               authn[0].oidc: lets in everybody"},
		"check --offline, no warning":  {args: []string{"check", "--offline", "-c", good}, env: []string{"GATEHOUSE_AUTHN_0_OIDC_ALLOWED_EMAIL_DOMAINS=example.com"}, out: "All is well.\n"},
		"check --offline, every fault": {args: []string{"check", "--offline", "-c", bad}, code: 2, errs: "publicURL"},
		"check, a typo is understood":  {args: []string{"check", "--offline", "-c", bad}, code: 2, errs: "upstreams"},
		"check, no such file":          {args: []string{"check", "-c", "/nowhere/x.yaml"}, code: 2, errs: "/nowhere/x.yaml"},
		"check by env, implicit":       {args: []string{"check", "--offline"}, env: append(operatorEnv("http://127.0.0.1:9", "https://idp.example.com")[:4], "OIDC_AUTH_METHOD=implicit"), out: "All is well, with 1 warning(s)."},
		"check by env":                 {args: []string{"check", "--offline"}, env: operatorEnv("http://127.0.0.1:9", "https://idp.example.com"), out: "from the environment"},
		"serve with wrong settings":    {args: []string{"serve", "-c", bad}, code: 2, errs: "publicURL"},
		"serve, no settings":           {args: []string{"serve"}, code: 2, errs: "publicURL"},
		"serve, no such method":        {args: []string{"serve"}, env: append(operatorEnv("http://127.0.0.1:9", "https://idp.example.com"), "OIDC_AUTH_METHOD=password"), code: 2, errs: "OIDC_AUTH_METHOD"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit %d, want %d with %q and %q\nout: %s\nerr: %s", code, tt.code, tt.out, tt.errs, out, errs)
			}
			if tt.code == 2 && out != "" {
				t.Errorf("a refusal wrote to standard output: %s", out)
			}
		})
	}
}

// operatorEnv is what a W&B operator has, and where the application is.
func operatorEnv(upstream, issuer string) []string {
	return []string{"GATEHOUSE_PUBLIC_URL=https://example.com", "GATEHOUSE_UPSTREAM=" + upstream,
		"OIDC_ISSUER=" + issuer, "OIDC_CLIENT_ID=gatehouse", "OIDC_AUTH_METHOD=pkce"}
}

// TestAddressInUse: what listens is named, and what to do.
func TestAddressInUse(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, setting := range []string{"LISTEN_ADDRESS", "OPERATIONS_ADDRESS"} {
		env := append(operatorEnv("http://127.0.0.1:9", "https://idp.test"),
			"GATEHOUSE_LISTEN_ADDRESS=127.0.0.1:0", "GATEHOUSE_OPERATIONS_ADDRESS=127.0.0.1:0", "GATEHOUSE_"+setting+"="+other.Addr().String())
		code, _, errs := command(t, env, "serve")
		path := strings.ReplaceAll(strings.ToLower(setting), "_", ".")
		if code != 1 || !strings.Contains(errs, path+": ") || !strings.Contains(errs, "another program listens there: end it, or set another address") {
			t.Errorf("%s: exit %d\n%s", setting, code, errs)
		}
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCheckLooksAtEverything(t *testing.T) {
	w := newWorld(t, "")
	upstream := w.gw.handlerUpstream(t)
	env := operatorEnv(upstream, w.provider.URL)

	code, out, errs := command(t, env, "check")
	if code != 0 || strings.Contains(out, "FAULT") || !strings.Contains(out, "All is well, with 1 warning(s).") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	for _, part := range []string{"settings", "route oidc", "/.gatehouse/backchannel-logout/oidc", "store (memory)", "upstream"} {
		if !strings.Contains(out, part) {
			t.Errorf("the report says nothing of %q:\n%s", part, out)
		}
	}

	t.Run("a provider whose clock is wrong", func(t *testing.T) {
		w.issuer.Set(func(f *authntest.Faults) { f.ClockShift = 10 * time.Minute })
		defer w.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		assertFault(t, env, "clock")
	})
	t.Run("a provider with another issuer", func(t *testing.T) {
		w.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["issuer"] = w.provider.URL + "/" })
		})
		defer w.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		assertFault(t, env, "issuer")
	})
	t.Run("nothing is there", func(t *testing.T) {
		assertFault(t, append(operatorEnv("http://127.0.0.1:1", "http://127.0.0.1:1"),
			"GATEHOUSE_STORE_REDIS_URL=redis://127.0.0.1:1", "GATEHOUSE_SESSION_KEYS=rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw="), "3 fault(s)")
	})
}

func assertFault(t *testing.T, env []string, part string) {
	t.Helper()
	code, out, errs := command(t, env, "check")
	if code != 1 || !strings.Contains(out, "FAULT") || !strings.Contains(out, "to do:") || !strings.Contains(out, part) {
		t.Errorf("exit %d, want 1 with a fault that names %q and says what to do\n%s%s", code, part, out, errs)
	}
}

// handlerUpstream is a fresh application's address.
func (g *gateway) handlerUpstream(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: &recorder{}}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return "http://" + ln.Addr().String()
}

// TestServe runs the program as an operator does: by the environment alone.
func TestServe(t *testing.T) {
	w := newWorld(t, "")
	public, ops := freeAddress(t), freeAddress(t)
	env := append(operatorEnv(w.gw.handlerUpstream(t), w.provider.URL), "GATEHOUSE_LISTEN_ADDRESS="+public, "GATEHOUSE_OPERATIONS_ADDRESS="+ops)
	ctx, stop := context.WithCancel(t.Context())
	var out bytes.Buffer
	log := &lockedBuffer{}
	done := make(chan int, 1)
	go func() { done <- run(ctx, shell{args: []string{"serve"}, env: env, out: &out, err: log}) }()

	waitFor(t, func() error { return expect(t, "http://"+ops+"/readyz", http.StatusOK, "ok        route oidc") })
	if err := expect(t, "http://"+public+"/", http.StatusMisdirectedRequest, ""); err != nil {
		t.Error(err)
	}

	t.Run("a second one can't have the same address", func(t *testing.T) {
		code, _, errs := command(t, env, "serve")
		if code != 1 || !strings.Contains(errs, "listen.address") {
			t.Errorf("exit %d: %s", code, errs)
		}
	})
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit %d\n%s", code, log)
	}
	for line := range strings.Lines(log.String()) {
		if err := json.Unmarshal([]byte(line), &map[string]any{}); err != nil {
			t.Errorf("a log line is no JSON: %s", line)
		}
	}
}

func TestReadiness(t *testing.T) {
	var store, provider error
	down := errors.New("it does not answer")
	r := &readiness{seen: map[string]bool{}, dependencies: []dependency{
		{name: "store", check: func(context.Context) error { return store }, needed: true},
		{name: "route corp", check: func(context.Context) error { return provider }},
		{name: "upstream app", check: func(context.Context) error { return down }, optional: true},
	}}
	for _, step := range []struct {
		name            string
		store, provider error
		ready           bool
		says            string
	}{
		{"a provider that was never there", nil, down, false, "missing   route corp: it does not answer"},
		{"all is there", nil, nil, true, "ok        route corp"},
		{"a provider's outage takes nobody out of service", nil, down, true, "degraded  route corp: it does not answer"},
		{"without the store nothing goes", down, nil, false, "missing   store: it does not answer"},
		{"and it comes back", nil, nil, true, "ok        store"},
		{"an application's outage is its own", nil, nil, true, "degraded  upstream app: it does not answer"},
	} {
		store, provider = step.store, step.provider
		s := r.look(t.Context())
		if s.Ready != step.ready || !strings.Contains(s.String(), step.says) {
			t.Errorf("%s: ready %v, want %v with %q\n%s", step.name, s.Ready, step.ready, step.says, s)
		}
	}
}

// TestReadinessInJSON is for programs.
func TestReadinessInJSON(t *testing.T) {
	l := newLive(&generation{ready: &readiness{seen: map[string]bool{}, dependencies: []dependency{
		{name: "store", check: func(context.Context) error { return errors.New("down") }, needed: true},
		{name: "news", check: func(context.Context) error { return nil }, optional: true},
	}}})
	ask := func() (int, string) {
		req, rec := httptest.NewRequest(http.MethodGet, "/readyz", nil), httptest.NewRecorder()
		req.Header.Set("Accept", "application/json")
		l.look(t.Context()).answer(rec, req)
		return rec.Code, rec.Body.String()
	}
	want := `{"ready":false,"conditions":[{"name":"store","state":"missing","reason":"down"},{"name":"news","state":"ok"}]}`
	if code, got := ask(); code != http.StatusServiceUnavailable || got != want {
		t.Errorf("%d %s", code, got)
	}
	l.stopping.Store(true)
	if code, got := ask(); code != http.StatusServiceUnavailable || got != `{"ready":false,"stopping":true}` {
		t.Errorf("%d %s", code, got)
	}
}

// TestServeBeforeAnythingElse starts with provider, store and application down.
func TestServeBeforeAnythingElse(t *testing.T) {
	public, ops := freeAddress(t), freeAddress(t)
	env := append(operatorEnv("http://127.0.0.1:1", "http://127.0.0.1:1"), "GATEHOUSE_LISTEN_ADDRESS="+public, "GATEHOUSE_OPERATIONS_ADDRESS="+ops,
		"GATEHOUSE_STORE_REDIS_URL=redis://127.0.0.1:1", "GATEHOUSE_SESSION_KEYS=rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw=")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, shell{args: []string{"serve"}, env: env, out: &bytes.Buffer{}, err: &lockedBuffer{}})
	}()
	waitFor(t, func() error { return expect(t, "http://"+ops+"/livez", http.StatusOK, "ok") })
	for _, part := range []string{"missing   store", "missing   route oidc"} {
		if err := expect(t, "http://"+ops+"/readyz", http.StatusServiceUnavailable, part); err != nil {
			t.Error("OPS-18: ", err)
		}
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func expect(t *testing.T, url string, status int, part string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	b.ReadFrom(res.Body)
	if res.StatusCode != status || !strings.Contains(b.String(), part) {
		return fmt.Errorf("%s: %d %s; want %d with %q", url, res.StatusCode, b.String(), status, part)
	}
	return nil
}

// waitFor tries until it works, and fails the test after a while.
func waitFor(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestDemo signs in at the demo as its own printed lines say.
func TestDemo(t *testing.T) {
	d, err := newDemo(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.run(ctx, newLogger(configLog(), &lockedBuffer{})) }()

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	var page answer
	waitFor(t, func() (err error) {
		page, err = fetch(t, browser, d.publicURL()+"/.gatehouse/sign-in?provider=demo&login_hint=ada")
		return err
	})
	if page.status != http.StatusOK || !strings.Contains(page.body, "Ada Lovelace") && !strings.Contains(page.body, "ada@example.com") {
		t.Errorf("%d at %s:\n%s", page.status, page.url, page.body)
	}
	cleo, _ := cookiejar.New(nil)
	if page, err = fetch(t, &http.Client{Jar: cleo}, d.publicURL()+"/.gatehouse/sign-in?provider=demo&login_hint=cleo"); err != nil || page.status != http.StatusForbidden {
		t.Errorf("Cleo, who is not let in, gets %d (%v)", page.status, err)
	}
	forged := http.Header{"X-Forwarded-User": {"root"}, "X_Forwarded_Groups": {"admins"}}
	who := ask(t, browser, d.publicURL()+"/whoami", forged)
	if !strings.Contains(who, `"subject": "1001"`) || strings.Contains(who, "root") || strings.Contains(who, "X_Forwarded") {
		t.Errorf("the printed line with forged headers shows %s", who)
	}
	basic := http.Header{"Authorization": {"Basic YWRhOmRlbW8="}, "X-Forwarded-User": {"root"}} // ada:demo
	if who := ask(t, http.DefaultClient, d.publicURL()+"/whoami", basic); !strings.Contains(who, `"route": "directory"`) || strings.Contains(who, "root") || strings.Contains(who, "YWRhOmRlbW8=") {
		t.Errorf("the printed line with a password shows %s", who)
	}
	assertPrograms(t, d)
	if event := ask(t, browser, d.publicURL()+"/events", nil); !strings.Contains(event, "data:") {
		t.Errorf("the stream of events begins with %q", event)
	}
	assertEcho(t, browser, d.publicURL())
	for _, part := range []string{d.publicURL(), "ada@example.com", "cleo", "curl -i"} {
		if !strings.Contains(d.welcome(), part) {
			t.Errorf("the welcome lacks %q", part)
		}
	}
	browser.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// assertPrograms does what the welcome prints for programs: a JWT of the provider,
// the exchange of it, and an API key.
func assertPrograms(t *testing.T, d *demo) {
	t.Helper()
	post := func(url, user, form string) (token string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if user != "" {
			req.SetBasicAuth(user, demoSecret)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var body struct {
			Token string `json:"access_token"`
		}
		if err := json.UnmarshalRead(res.Body, &body); err != nil || body.Token == "" {
			t.Fatalf("%s answers %s, %v", url, res.Status, err)
		}
		return body.Token
	}
	jwt := post(d.issuer()+"/token", demoProgram, "grant_type=client_credentials")
	access := post(d.publicURL()+"/oidc/token", "", "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion="+jwt)
	key := base64.StdEncoding.EncodeToString([]byte("api:" + d.key))
	for route, credential := range map[string]string{"tokens": "Bearer " + jwt, "tokens ": "Bearer " + access, "keys": "Basic " + key} {
		who := ask(t, http.DefaultClient, d.publicURL()+"/whoami", http.Header{"Authorization": {credential}})
		if !strings.Contains(who, `"subject": "account:nightly-train"`) || !strings.Contains(who, `"route": "`+strings.TrimSpace(route)+`"`) {
			t.Errorf("%s: the application saw %s", route, who)
		}
	}
	for _, part := range []string{demoProgram + ":" + demoSecret, d.issuer() + "/token", "/oidc/token", "api:" + d.key} {
		if !strings.Contains(d.welcome(), part) {
			t.Errorf("the welcome lacks %q", part)
		}
	}
}

// ask sends one request and returns what comes first of the answer.
func ask(t *testing.T, c *http.Client, url string, h http.Header) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, h)
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := make([]byte, 4096)
	n, err := io.ReadAtLeast(res.Body, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("Content-Type") == "application/json" {
		rest, _ := io.ReadAll(res.Body)
		return string(b[:n]) + string(rest)
	}
	return string(b[:n])
}

// assertEcho opens a WebSocket through the gateway with the browser's session.
func assertEcho(t *testing.T, c *http.Client, base string) {
	t.Helper()
	dialer := websocket.Dialer{Jar: c.Jar}
	conn, res, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(base, "http")+"/echo", http.Header{"Origin": {base}})
	if err != nil {
		t.Fatalf("%v %v", err, res)
	}
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, said, err := conn.ReadMessage(); err != nil || string(said) != "hello" {
		t.Errorf("the echo is %q (%v)", said, err)
	}
}

func fetch(t *testing.T, c *http.Client, url string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header = navigation.Clone()
	res, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	b.ReadFrom(res.Body)
	return answer{res.StatusCode, res.Header, b.String(), res.Request.URL}, nil
}
