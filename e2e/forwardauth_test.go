package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
)

// edgeHouse is an application behind somebody else's proxy, which asks the gateway.
// The proxy's settings and the gateway's are those that docs/forward-auth.md shows.
type edgeHouse struct {
	place    // the proxy's
	t        *testing.T
	app      *app
	provider *nodeProvider
	gateway  string // its address
	running  *process
	dir      string
	page     string
}

func newEdgeHouse(t *testing.T, more string) *edgeHouse {
	t.Helper()
	page, err := os.ReadFile("../docs/forward-auth.md")
	if err != nil {
		t.Fatal(err)
	}
	h := &edgeHouse{place: plainPlace(t), t: t, app: startApp(t), dir: t.TempDir(), page: string(page), gateway: loopback(freePort(t))}
	h.provider = startNodeProvider(t, nodeOptions{as: "public", paths: h.paths()})
	ops := loopback(h.ops)
	text := strings.NewReplacer(
		"https://app.example.com", h.url, "127.0.0.1:8080", h.gateway, "app.example.com", "localhost", "https://login.example.com", h.provider.issuer(),
		"clientID: gatehouse", "clientID: public, scopes: [openid, profile, email, groups]",
	).Replace(snippet(t, h.page, "yaml")) + "operations: {address: \"" + ops + "\"}\n" + more
	h.running = h.start("gatehouse.yaml", text, func(file string) *exec.Cmd {
		program, err := shared.gatehouse()
		if err != nil {
			t.Fatal("build the gateway: ", err)
		}
		cmd := exec.Command(program, "serve", "--config", file)
		cmd.Env = []string{}
		return cmd
	}, "http://"+ops+"/livez")
	return h
}

// start runs a program with settings of its own until the test ends.
func (h *edgeHouse) start(name, text string, command func(file string) *exec.Cmd, ready string) *process {
	h.t.Helper()
	file := filepath.Join(h.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return start(h.t, command(file), answers(ready))
}

// adapt puts the addresses of this test into settings of the documentation.
func (h *edgeHouse) adapt(text string) string {
	return strings.NewReplacer("127.0.0.1:8080", h.gateway, "127.0.0.1:9000", strings.TrimPrefix(h.app.URL, "http://"),
		"listen 443 ssl;", fmt.Sprintf("listen 127.0.0.1:%d;", h.port), "server_name app.example.com;", "server_name localhost;",
		"bind :443 ssl crt /etc/haproxy/app.example.com.pem", fmt.Sprintf("bind 127.0.0.1:%d", h.port), "/etc/haproxy/", h.dir+"/",
		"Host(`app.example.com`)", "Host(`localhost`)", "app.example.com {", fmt.Sprintf("http://localhost:%d {\n	bind 127.0.0.1", h.port)).Replace(text)
}

func (h *edgeHouse) nginx() {
	h.t.Helper()
	program, err := find("nginx", "/usr/sbin/nginx")
	if err != nil {
		h.t.Fatal(err)
	}
	text := "daemon off; pid nginx.pid; worker_processes 1; error_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n" +
		"client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n" + h.adapt(snippet(h.t, h.page, "nginx")) + "}\n"
	h.start("nginx.conf", text, func(file string) *exec.Cmd {
		return exec.Command(program, "-p", h.dir, "-e", "stderr", "-c", file)
	}, h.url+"/healthz")
}

func (h *edgeHouse) caddy() {
	h.t.Helper()
	program, err := find("caddy", "/usr/bin/caddy")
	if err != nil {
		h.t.Fatal(err)
	}
	text := "{\n	admin off\n	auto_https off\n}\n" + h.adapt(snippet(h.t, h.page, "caddyfile"))
	h.start("Caddyfile", text, func(file string) *exec.Cmd {
		cmd := exec.Command(program, "run", "--adapter", "caddyfile", "--config", file)
		cmd.Env = []string{"HOME=" + h.dir}
		return cmd
	}, h.url+"/healthz")
}

func (h *edgeHouse) traefik() {
	h.t.Helper()
	program, err := authntest.Tool("traefik")
	if err != nil {
		h.t.Fatal(err)
	}
	listen := loopback(h.port)
	h.start("dynamic.yaml", h.adapt(snippet(h.t, h.page, "yml")), func(file string) *exec.Cmd {
		cmd := exec.Command(program, "--entryPoints.web.address="+listen, "--providers.file.filename="+file, "--global.checkNewVersion=false")
		cmd.Env, cmd.Dir = []string{"HOME=" + h.dir}, h.dir
		return cmd
	}, h.url+"/healthz")
}

func (h *edgeHouse) haproxy() {
	h.t.Helper()
	program, err := find("haproxy", "/usr/sbin/haproxy")
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "gatehouse.lua"), []byte(h.adapt(snippet(h.t, h.page, "lua"))), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.start("haproxy.cfg", h.adapt(snippet(h.t, h.page, "haproxy")), func(file string) *exec.Cmd {
		return exec.Command(program, "-db", "-f", file)
	}, h.url+"/healthz")
}

// ask sends a program's request, which follows no redirect.
func (h *edgeHouse) ask(t *testing.T, method, path string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res
}

// unheard says that the application has never been told that by any header.
func (h *edgeHouse) unheard(t *testing.T, what, value string) {
	t.Helper()
	h.app.mu.Lock()
	defer h.app.mu.Unlock()
	for _, r := range h.app.seen {
		for name, values := range r.Header {
			if slices.Contains(values, value) {
				t.Errorf("HDR-01 %s: the application heard %s: %s", what, name, value)
			}
		}
	}
}

// upload sends a body of unknown length, more than any proxy has room for.
func (h *edgeHouse) upload(t *testing.T, cookie string) {
	t.Helper()
	const size = 20 << 20
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.url+uploadPath, io.LimitReader(rand.Reader, size))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", cookie)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := h.app.last(t, uploadPath).Header.Get("X-Forwarded-User"); res.StatusCode != http.StatusOK || got != "bob" {
		t.Errorf("an upload: %s, from %q", res.Status, got)
	}
}

func (h *edgeHouse) wants(t *testing.T, what string, res *http.Response, status int) {
	t.Helper()
	if res.StatusCode != status {
		t.Errorf("%s: %s, want %d", what, res.Status, status)
	}
}

// TestForwardAuth: an application behind nginx, Caddy, Traefik, HAProxy and a stand-in for
// Envoy each, by the settings of the documentation.
func TestForwardAuth(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(*edgeHouse){
		"nginx": (*edgeHouse).nginx, "caddy": (*edgeHouse).caddy, "traefik": (*edgeHouse).traefik, "haproxy": (*edgeHouse).haproxy, "envoy": (*edgeHouse).envoy,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newEdgeHouse(t, "")
			run(h)
			testForwardAuth(t, h)
		})
	}
}

var browserHeaders = []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

func testForwardAuth(t *testing.T, h *edgeHouse) {
	h.wants(t, "FWD-01 a program with nothing", h.ask(t, "GET", "/x", "X-Original-Url", h.url+"/healthz", "X-Forwarded-Uri", "/healthz"), 401)
	h.wants(t, "a program that posts", h.ask(t, "POST", "/x"), 401)
	if res := h.ask(t, "GET", "/x?y=1", browserHeaders...); res.StatusCode != 302 || !strings.Contains(res.Header.Get("Location"), "/.gatehouse/sign-in/sso?rd=%2Fx%3Fy%3D1") {
		t.Errorf("a browser: %s to %q", res.Status, res.Header.Get("Location"))
	}
	h.wants(t, "public", h.ask(t, "GET", "/healthz"), 200)
	heard := h.app.count("/healthz")
	h.wants(t, "HDR-01 on a public path", h.ask(t, "GET", "/healthz", "X-Forwarded-User", "eve"), 403)
	h.wants(t, "HDR-01 on a public path", h.ask(t, "GET", "/healthz", "x_gatehouse-subject", "eve", "X-Gatehouse-Subject", "eve"), 403)
	if n := h.app.count("/healthz"); n != heard {
		t.Errorf("HDR-01: the application heard %d forged requests", n-heard)
	}
	for _, name := range []string{"X-Gatehouse_subject", "x-gatehouse.subject", "x.gatehouse.subject", "x_gatehouse_subject", "X-Forwarded_User", "x-forwarded_groups"} {
		h.ask(t, "GET", "/healthz", name, "eve")
		h.unheard(t, name, "eve")
	}
	h.wants(t, "IDT a credential for the gateway alone", h.ask(t, "GET", "/healthz", "X-Gatehouse-Authorization", "Basic s3cret", "Proxy-Authorization", "Basic s3cret"), 200)
	h.unheard(t, "a credential for the gateway alone", "Basic s3cret")
	if res := h.ask(t, "GET", "/healthz?two", "Host", fmt.Sprintf("localhost:%d,other.test", h.port)); res.StatusCode < 400 {
		if r := h.app.last(t, "/healthz"); r.URL.RawQuery != "two" || strings.Contains(r.Host, "other") { // nginx takes the first
			t.Errorf("FWD two hosts in one: %s, and the application heard %s", res.Status, r.Host)
		}
	}
	for _, question := range []string{"/.gatehouse/auth/nginx", "/.gatehouse/auth/caddy", "/.gatehouse/auth/traefik", "/.gatehouse/auth/haproxy", "/.gatehouse/auth/envoy/x"} {
		if res := h.ask(t, "GET", question, "X-Original-Url", h.url+"/healthz", "X-Original-Method", "GET"); res.StatusCode != 404 && res.StatusCode != 403 {
			t.Errorf("%s from outside: %s", question, res.Status)
		}
	}

	b := newProfile(t)
	b.open(h.url + deepLink)
	h.provider.signIn(b, "alice")
	b.await(h.url + deepLink)
	path, _, _ := strings.Cut(deepLink, "?")
	if r := h.app.last(t, path); r.Header.Get("X-Forwarded-User") != "alice" || r.Header.Get("X-Forwarded-Groups") != "admins,data science" || r.Header.Get("X-Forwarded-Email") != "alice@example.com" ||
		strings.Count(r.Header.Get("X-Gatehouse-Jwt-Assertion"), ".") != 2 {
		t.Errorf("the application was told %v", identity(r))
	}
	alice := "gatehouse=" + b.cookies()["gatehouse"].Value
	h.wants(t, "HDR-02 alice, who forges", h.ask(t, "GET", "/y", "Cookie", alice, "X-Gatehouse-Subject", "eve", "x-forwarded-user", "eve"), 403)
	h.wants(t, "alice, by her cookie", h.ask(t, "GET", "/y", "Cookie", alice), 200)
	if r := h.app.last(t, "/y"); r.Header.Get("X-Gatehouse-Subject") != "alice" || len(r.Header["X-Forwarded-User"]) != 1 || r.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("alice's headers: %v", r.Header)
	}
	h.wants(t, "alice, who is an admin", h.ask(t, "GET", "/admin/x", "Cookie", alice), 200)

	other := newProfile(t)
	other.open(h.url + "/z")
	h.provider.signIn(other, "bob")
	other.await(h.url + "/z")
	bob := "gatehouse=" + other.cookies()["gatehouse"].Value
	for _, target := range []string{"/admin/x", "/admin", "//admin/x", "/x/../admin/x", "/%61dmin/x", "/admin%2fx"} {
		if res := h.ask(t, "GET", target, "Cookie", bob); res.StatusCode != 403 && res.StatusCode != 400 {
			t.Errorf("PATH bob at %s: %s", target, res.Status)
		}
	}
	if n := h.app.count("/admin/x"); n != 1 {
		t.Errorf("the application was asked for /admin/x %d times, want alice's once", n)
	}
	h.wants(t, "bob elsewhere", h.ask(t, "DELETE", "/x", "Cookie", bob), 200)
	h.upload(t, bob)
	h.wants(t, "bob's HEAD", h.ask(t, "HEAD", "/x", "Cookie", bob), 200)
	h.wants(t, "nobody's HEAD", h.ask(t, "HEAD", "/x"), 401)

	b.open(h.url + "/logout")
	b.press("button")
	b.awaitThat("alice is signed out", func() bool {
		return h.ask(t, "GET", "/y", "Cookie", alice).StatusCode == 401
	})

	heard = h.app.count("/x")
	h.running.stop()
	if res := h.ask(t, "GET", "/x", "Cookie", bob); res.StatusCode < 500 || h.app.count("/x") != heard {
		t.Errorf("bob, without a gateway: %s, and the application heard %d requests", res.Status, h.app.count("/x")-heard)
	}
}

// TestForwardAuthLegacy: a configuration of nginx as people have it for oauth2-proxy
// goes on working with nothing but the address changed.
func TestForwardAuthLegacy(t *testing.T) {
	t.Parallel()
	h := newEdgeHouse(t, "paths: {oauth2Proxy: true}\n")
	program, err := find("nginx", "/usr/sbin/nginx")
	if err != nil {
		t.Fatal(err)
	}
	h.start("nginx.conf", fmt.Sprintf(`daemon off; pid nginx.pid; worker_processes 1; error_log stderr warn;
events {}
http {
	access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
	server {
		listen 127.0.0.1:%d;
		location ~ ^/(oauth2/|\.gatehouse/|oidc/callback$) {
			proxy_pass http://%s;
			proxy_set_header Host $http_host;
			proxy_set_header X-Auth-Request-Redirect $request_uri;
		}
		location = /oauth2/auth {
			internal;
			proxy_pass http://%s;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-Uri $request_uri;
			proxy_set_header Content-Length "";
			proxy_pass_request_body off;
		}
		location / {
			auth_request /oauth2/auth;
			error_page 401 = @sign_in;
			auth_request_set $user $upstream_http_x_auth_request_user;
			auth_request_set $groups $upstream_http_x_auth_request_groups;
			proxy_set_header X-Forwarded-User $user;
			proxy_set_header X-Forwarded-Groups $groups;
			proxy_pass %s;
		}
		location = /healthz { return 200; }
		location @sign_in { return 302 /oauth2/sign_in?rd=$scheme://$http_host$request_uri; }
	}
}
`, h.port, h.gateway, h.gateway, h.app.URL), func(file string) *exec.Cmd {
		return exec.Command(program, "-p", h.dir, "-e", "stderr", "-c", file)
	}, h.url+"/healthz")
	const link = "/runs/42/overview?tab=charts" // nginx escapes no "&" in a redirect
	b := newProfile(t)
	b.open(h.url + link)
	h.provider.signIn(b, "alice")
	b.await(h.url + link)
	path, _, _ := strings.Cut(link, "?")
	if r := h.app.last(t, path); r.Header.Get("X-Forwarded-User") != "alice" || r.Header.Get("X-Forwarded-Groups") != "admins,data science" {
		t.Errorf("the application was told %v", identity(r))
	}
	h.wants(t, "userinfo", h.ask(t, "GET", "/oauth2/userinfo", "Cookie", "gatehouse="+b.cookies()["gatehouse"].Value), 200)
	h.wants(t, "PATH-05 into what is closed", h.ask(t, "GET", "/x/%2e%2e/admin/", "Cookie", "gatehouse="+b.cookies()["gatehouse"].Value), 403)
	b.open(h.url + "/oauth2/sign_out")
	b.press("button")
	b.awaitThat("alice is signed out", func() bool {
		return h.ask(t, "GET", "/y").StatusCode == 302
	})
}
