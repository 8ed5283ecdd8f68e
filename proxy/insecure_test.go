package proxy

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

// TestInsecure: a browser is sent on to https, a program never (FWD: a redirect would
// pass for an answer), and nothing of what came in the clear counts.
func TestInsecure(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Limits.RequestsPerSecond = 20
		o.HSTS.MaxAge = config.Duration(1e15)
		o.Upstreams = append(o.Upstreams, config.Upstream{Name: "files", URL: "http://127.0.0.1:1", Hosts: []string{"files.test"}})
	})
	plain := httptest.NewUnstartedServer(nil)
	plain.Config = Server(config.Listen{MaxHeaderSize: 64 << 10}, g.gw.Insecure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "proof for "+r.Host) })), slog.New(slog.DiscardHandler))
	plain.Start()
	defer plain.Close()
	ask := func(request string) answer {
		c, err := net.Dial("tcp", plain.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, request)
		method, _, _ := strings.Cut(request, " ")
		return g.read(bufio.NewReader(c), method)
	}
	for name, row := range map[string]struct {
		request  string
		status   int
		location string
	}{
		"a page":                {"GET /a/b?c=d HTTP/1.1\r\nHost: gw.test\r\n" + navigation, 308, "https://gw.test/a/b?c=d"},
		"its head":              {"HEAD / HTTP/1.1\r\nHost: gw.test:80\r\n" + navigation, 308, "https://gw.test/"},
		"another host":          {"GET / HTTP/1.1\r\nHost: FILES.test\r\n" + navigation, 308, "https://files.test/"},
		"its spelling":          {"GET /a%2fb%20c?x=%zz HTTP/1.1\r\nHost: gw.test\r\n" + navigation, 308, "https://gw.test/a%2fb%20c?x=%zz"},
		"its own sign-in":       {"GET /.gatehouse/sign-in?rd=/x HTTP/1.1\r\nHost: gw.test\r\n" + navigation, 308, "https://gw.test/.gatehouse/sign-in?rd=/x"},
		"RED-01 somebody's":     {"GET //evil.test/ HTTP/1.1\r\nHost: gw.test\r\n" + navigation, 308, "https://gw.test//evil.test/"},
		"RED-01 absolute":       {"GET http://evil.test/ HTTP/1.1\r\nHost: gw.test\r\n" + navigation, 421, ""},
		"a stranger's host":     {"GET / HTTP/1.1\r\nHost: evil.test\r\n" + navigation, 421, ""},
		"a program":             {"GET /public/x HTTP/1.1\r\nHost: gw.test\r\n", 400, ""},
		"the SDK":               {"POST /graphql HTTP/1.1\r\nHost: gw.test\r\nAuthorization: Basic YXBpOmtleQ==\r\nContent-Length: 2\r\n\r\n{}", 400, ""},
		"a form":                {"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 0\r\n" + navigation, 400, ""},
		"a fetch":               {"GET / HTTP/1.1\r\nHost: gw.test\r\nAccept: text/html\r\nSec-Fetch-Mode: cors\r\n", 400, ""},
		"a question":            {"GET /.gatehouse/auth/caddy HTTP/1.1\r\nHost: gw.test\r\n", 400, ""},
		"who is signed in":      {"GET /x HTTP/1.1\r\nHost: gw.test\r\n" + aliceOnly, 400, ""},
		"HTTP-14 a tunnel":      {"CONNECT gw.test:443 HTTP/1.1\r\nHost: gw.test:443\r\n", 405, ""},
		"PATH-01 in a riddle":   {"GET /../x HTTP/1.1\r\nHost: gw.test\r\n" + navigation, 400, ""},
		"a WebSocket":           {"GET /public/ws HTTP/1.1\r\nHost: gw.test\r\n" + handshake, 400, ""},
		"HTTP/1.0 without host": {"GET / HTTP/1.0\r\n" + navigation, 421, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request := row.request
			if !strings.Contains(request, "\r\n\r\n") {
				request += "\r\n"
			}
			a := ask(request)
			want(t, "status", a.StatusCode, row.status)
			want(t, "location", a.Header.Get("Location"), row.location)
			want(t, "Strict-Transport-Security over http", a.Header.Get("Strict-Transport-Security"), "")
			if row.status == 400 && !strings.Contains(name, "riddle") && !strings.Contains(a.body, "https://gw.test") {
				t.Errorf("it does not say what to do: %s", a.body)
			}
		})
	}
	a := ask("GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n")
	want(t, "a CA", a.body, "proof for elsewhere.test")
	g.untouched()
	for range 200 {
		if ask("GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n").StatusCode == 429 {
			return
		}
	}
	t.Error("nobody is held to a rate")
}
