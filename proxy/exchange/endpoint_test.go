package exchange

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const good = `{"access_token":"t","expires_in":3600}`

// TestAnswers is what becomes of a request for each answer of the endpoint: it goes
// on, the person is refused, or it can't be found out. Only refusals are kept.
func TestAnswers(t *testing.T) {
	const (
		fine    = "goes on"
		refused = "refused"
		unknown = "can't find out"
	)
	for name, c := range map[string]struct {
		then http.HandlerFunc
		want string
		log  string
	}{
		"good":                       {says(200, good), fine, ""},
		"Bearer":                     {says(200, `{"access_token":"t","token_type":"BEARER","expires_in":3600,"scope":"x"}`), fine, ""},
		"another type":               {says(200, `{"access_token":"t","token_type":"mac","expires_in":3600}`), unknown, `"mac"`},
		"201":                        {says(201, good), unknown, "201"},
		"204":                        {says(204, ""), unknown, ""},
		"no token":                   {says(200, `{"expires_in":3600}`), unknown, "no access_token"},
		"null":                       {says(200, `null`), unknown, "no access_token"},
		"a list":                     {says(200, `[]`), unknown, "not the JSON"},
		"a number for a token":       {says(200, `{"access_token":5,"expires_in":3600}`), unknown, "not the JSON"},
		"an end at once":             {says(200, `{"access_token":"t","expires_in":0}`), unknown, "expires_in is 0"},
		"an end in the past":         {says(200, `{"access_token":"t","expires_in":-5}`), unknown, "expires_in is -5"},
		"an end that is none":        {says(200, `{"access_token":"t","expires_in":"soon"}`), unknown, "soon"},
		"an end that is not said":    {says(200, `{"access_token":"t"}`), fine, ""},
		"a token with a line break":  {says(200, `{"access_token":"t\r\nX-Evil: 1","expires_in":3600}`), unknown, "header can hold"},
		"a token with a space":       {says(200, `{"access_token":"t t","expires_in":3600}`), unknown, "header can hold"},
		"a token beyond all bounds":  {says(200, `{"access_token":"`+strings.Repeat("t", maxToken+1)+`","expires_in":3600}`), unknown, "header can hold"},
		"two tokens":                 {says(200, `{"access_token":"t","access_token":"u","expires_in":3600}`), unknown, "duplicate"},
		"a page":                     {says(200, "<!doctype html><title>Sign in</title>", "Content-Type", "text/html"), unknown, "page for people"},
		"half":                       {says(200, good[:20]), unknown, ""},
		"huge":                       {says(200, `{"access_token":"`+strings.Repeat("t", 2<<20)+`"}`), unknown, "larger"},
		"a JWT":                      {says(200, "a.b.c", "Content-Type", "application/jwt"), unknown, "not the JSON"},
		"a redirect":                 {says(302, "", "Location", "/login"), unknown, "redirect"},
		"a redirect that keeps all":  {says(307, "", "Location", "https://evil.test/oidc/token"), unknown, "redirect"},
		"400":                        {says(400, `{"error":"invalid_grant"}`), refused, "invalid_grant"},
		"400 without a body":         {says(400, ""), refused, "400"},
		"400 in words":               {says(400, "unknown user"), refused, "400"},
		"401":                        {says(401, `{"error":"access_denied"}`), refused, "401"},
		"403":                        {says(403, `{"message":"no"}`), refused, "403"},
		"403 of something before it": {says(403, "\n<html>Forbidden</html>"), unknown, "page for people"},
		"another grant is wanted":    {says(400, `{"error":"unsupported_grant_type"}`), unknown, "unsupported_grant_type"},
		"400 for now":                {says(400, `{"error":"temporarily_unavailable"}`), unknown, "temporarily_unavailable"},
		"404":                        {says(404, `{"error":"no such path"}`), unknown, "404"},
		"405":                        {says(405, ""), unknown, "405"},
		"408":                        {says(408, ""), unknown, "408"},
		"429":                        {says(429, `{"error":"slow_down"}`), unknown, "429"},
		"500":                        {says(500, ""), unknown, "500"},
		"503":                        {says(503, "", "Retry-After", "3600"), unknown, "503"},
		"nothing":                    {func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }, unknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				x := g.still()
				g.app.then = c.then
				begin := time.Now()
				token, err := x.Token(t.Context(), person("alice"))
				if took := time.Since(begin); took > flightTime {
					t.Errorf("it took %s", took)
				}
				got := fine
				switch {
				case notAllowed(err):
					got = refused
				case err != nil:
					got = unknown
				}
				if got != c.want || (err == nil) != (token == "t") || err != nil && !strings.Contains(err.Error(), c.log) {
					t.Errorf("%s, want %s; token %q: %v", got, c.want, token, err)
				}
				if err != nil && len(err.Error()) > 800 {
					t.Errorf("an error of %d bytes", len(err.Error()))
				}
				before := g.app.count()
				_, _ = x.Token(t.Context(), person("alice"))
				if again := g.app.count() > before; again != (c.want == unknown) {
					t.Errorf("asked again: %t", again)
				}
				time.Sleep(2 * time.Hour) // for who hangs
			})
		})
	}
}

// TestSilence: an endpoint that sends the JWT back does not get it into an error.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		x := g.still()
		g.app.then = func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			b, err := r.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			form, _ := io.ReadAll(b)
			_, signed, _ := strings.Cut(string(form), "assertion=")
			text, err := json.Marshal(map[string]string{"error": "invalid_grant", "error_description": "bad JWT " + signed[:strings.LastIndexByte(signed, '.')]})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(text)
		}
		if _, err := x.Token(t.Context(), person("alice")); err == nil || strings.Contains(err.Error(), "eyJ") || !strings.Contains(err.Error(), "[secret]") {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestNetwork is the same over a network: unreachable, cut off, slow, too large.
func TestNetwork(t *testing.T) {
	for name, then := range map[string]http.HandlerFunc{
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for line := strings.Repeat(" ", 1<<16); ; {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		},
	} {
		g := newRig(t)
		g.app.then = then
		server := httptest.NewServer(g.app)
		x := g.exchanger(func(u *config.Upstream, _ *Deps) { u.URL = server.URL })
		if _, err := x.Token(t.Context(), person("alice")); err == nil || notAllowed(err) {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
		if _, err := x.Token(t.Context(), person("bob")); err == nil || notAllowed(err) {
			t.Errorf("nobody there: %v", err)
		}
	}
}

// TestWhere is which server is asked, and under which name.
func TestWhere(t *testing.T) {
	g := newRig(t)
	plain := httptest.NewServer(g.app)
	defer plain.Close()
	secure := httptest.NewTLSServer(g.app)
	defer secure.Close()
	socket := filepath.Join(t.TempDir(), "app.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	local := &httptest.Server{Listener: ln, Config: &http.Server{Handler: g.app}}
	local.Start()
	defer local.Close()
	ca := authority(t, secure)
	address := strings.TrimPrefix(plain.URL, "http://")
	for name, c := range map[string]struct {
		change func(*config.Upstream)
		host   string
		said   string // X-Forwarded-Host
	}{
		"as in public":  {func(u *config.Upstream) { u.URL = plain.URL }, "gatehouse.test", "gatehouse.test"},
		"a host":        {func(u *config.Upstream) { u.URL, u.Hosts = plain.URL, []string{"wandb.test"} }, "wandb.test", "wandb.test"},
		"its own name":  {func(u *config.Upstream) { u.URL, u.HostHeader = plain.URL, "upstream" }, address, "gatehouse.test"},
		"a socket":      {func(u *config.Upstream) { u.URL = "unix://" + socket }, "gatehouse.test", "gatehouse.test"},
		"TLS":           {func(u *config.Upstream) { u.URL, u.TLS.CAFile = secure.URL, ca }, "gatehouse.test", "gatehouse.test"},
		"somewhere":     {func(u *config.Upstream) { u.Exchange.TokenURL = plain.URL + "/oidc/token" }, address, ""},
		"somewhere TLS": {func(u *config.Upstream) { u.Exchange.TokenURL, u.Exchange.TLS.CAFile = secure.URL+"/oidc/token", ca }, strings.TrimPrefix(secure.URL, "https://"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := g.exchanger(func(u *config.Upstream, d *Deps) {
				d.PublicURL = &url.URL{Scheme: "https", Host: "gatehouse.test"}
				c.change(u)
			})
			before := g.app.count()
			g.token(x, person(fmt.Sprintf("p%d", before)))
			r := g.app.asked[before]
			if r.Host != c.host || r.Header.Get("X-Forwarded-Host") != c.said || r.Header.Get("Idempotency-Key") != "" {
				t.Errorf("asked %s with %v", r.Host, r.Header)
			}
		})
	}
	x := g.exchanger(func(u *config.Upstream, _ *Deps) { u.URL = secure.URL })
	var refused *authn.NotAllowed
	if _, err := x.Token(t.Context(), person("alice")); err == nil || errors.As(err, &refused) {
		t.Errorf("a certificate of nobody: %v", err)
	}
	u := upstream()
	u.Exchange.TokenURL, u.Exchange.TLS.CAFile = secure.URL, "/nonexistent"
	if _, err := newEndpoint(u, nil, nil); err == nil {
		t.Error("a missing file is no fault")
	}
}
