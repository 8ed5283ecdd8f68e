package e2e

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
)

// TestPathsThatNginxRoutes sends thousands of odd targets through the gateway to a
// real nginx, which merges slashes, resolves dots and decodes. None may end where the
// policy keeps their sender from, however it is spelled.
func TestPathsThatNginxRoutes(t *testing.T) {
	t.Parallel()
	h := newPathHouse(t)
	pieces := []string{
		"/", "//", "/.", "/..", "/./", "/../", "admin", "%61dmin", "ADMIN", "admin/", "x", "x/", "%2f", "%2F", "%2e", "%2E%2e", ".", "..", ";", ";a=b", "%3b", "%25", "%2561", "%252f", "\\", "%5c", "?", "#", "%00", "%", "%zz", "é", "%c3%a9", " ", "%20", "+", "*", "~", "@", ":",
	}
	dice := rand.New(rand.NewPCG(1, 2))
	served := map[string]int{}
	for range 4000 {
		target := "/"
		for range 1 + dice.IntN(7) {
			target += pieces[dice.IntN(len(pieces))]
		}
		answer := h.get(target)
		served[answer]++
		if answer == "200 admin" {
			t.Errorf("%q was served from /admin/", target)
		}
	}
	if served["200 other"] < 100 || served["403"] < 20 || served["400"] < 100 {
		t.Errorf("the targets are too tame: %v", served)
	}
	for target, want := range map[string]string{"/x": "200 other", "/admin/x": "403", "/admin": "403", "//admin/x": "400", "/x/../admin/x": "400", "/files/a%2Fb": "200 other"} {
		if got := h.get(target); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// pathHouse is a gateway in front of nginx.
type pathHouse struct {
	t              *testing.T
	gateway, token string
	conn           net.Conn
	br             *bufio.Reader
}

func newPathHouse(t *testing.T) *pathHouse {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	app := loopback(freePort(t))
	nginx, err := find("nginx", "/usr/sbin/nginx")
	if err != nil {
		t.Fatal(err)
	}
	conf := write("nginx.conf", fmt.Sprintf(`daemon off; pid nginx.pid; worker_processes 1; error_log stderr crit;
events {}
http {
	access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
	server {
		listen %s;
		location = /admin { return 200 "admin"; }
		location /admin/ { return 200 "admin"; }
		location / { return 200 "other"; }
	}
}
`, app))
	start(t, exec.Command(nginx, "-p", dir, "-e", "stderr", "-c", conf), answers("http://"+app+"/"))

	key := authntest.NewKey("ES256")
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	keyFile := write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	h := &pathHouse{t: t, gateway: loopback(freePort(t))}
	ops := loopback(freePort(t))
	file := write("gatehouse.yaml", fmt.Sprintf(`publicURL: https://app.example.com
listen: {address: "%s"}
operations: {address: "%s"}
upstreams: [{url: "http://%s"}]
policy:
  - {paths: [/admin/], require: [{groups: [admins]}]}
authn:
  - {name: tokens, bearer: {issuers: [{issuer: "https://idp.example.com", keyFile: "%s", audiences: [app]}]}}
`, h.gateway, ops, app, keyFile))
	program, err := shared.gatehouse()
	if err != nil {
		t.Fatal("build the gateway: ", err)
	}
	cmd := exec.Command(program, "serve", "--config", file)
	cmd.Env = []string{}
	start(t, cmd, answers("http://"+ops+"/livez"))
	now := time.Now()
	h.token = authntest.JWT(key, nil, map[string]any{"iss": "https://idp.example.com", "aud": "app", "sub": "1001", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	t.Cleanup(func() {
		if h.conn != nil {
			h.conn.Close()
		}
	})
	return h
}

// get sends a target as it is, and returns the status and what nginx said.
func (h *pathHouse) get(target string) string {
	h.t.Helper()
	if h.conn == nil {
		conn, err := new(net.Dialer).DialContext(h.t.Context(), "tcp", h.gateway)
		if err != nil {
			h.t.Fatal(err)
		}
		h.conn, h.br = conn, bufio.NewReader(conn)
	}
	_ = h.conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(h.conn, "GET %s HTTP/1.1\r\nHost: app.example.com\r\nAuthorization: Bearer %s\r\n\r\n", target, h.token); err != nil {
		h.t.Fatal(err)
	}
	res, err := http.ReadResponse(h.br, nil)
	if err != nil {
		h.t.Fatalf("%q: %v", target, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.Close {
		h.conn.Close()
		h.conn = nil
	}
	if res.StatusCode == http.StatusOK {
		return "200 " + strings.TrimSpace(string(body))
	}
	return fmt.Sprint(res.StatusCode)
}
