package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/config"
	"gatehouse/proxy/assertion"
)

// explained is a rig with everything that decides about a request.
func explained(t *testing.T) *rig {
	return newRig(t, func(o *Options) {
		signer, err := assertion.New(assertion.Options{Issuer: gwURL, Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}})
		if err != nil {
			t.Fatal(err)
		}
		o.Assertions = signer
		o.Teams = []config.Team{
			{Name: "vision", Groups: []config.TeamGroup{{Group: "alices", Role: "admin"}}},
			{Name: "all", Groups: []config.TeamGroup{{Group: "users", Role: "member"}}},
		}
		o.Policy = []config.Rule{
			{Name: "closed", Paths: []string{"/internal/", "/public/internal/"}, Access: "deny"},
			{Name: "admins", Paths: []string{"/admin/"}, Require: []config.Requirement{{Teams: []string{"vision"}, Roles: []string{"admin"}}}},
			{Name: "writes", Paths: []string{"/data/"}, Methods: []string{"POST"}, Require: []config.Requirement{{Teams: []string{"vision"}}}},
			{Name: "programs", Paths: []string{"/api/"}, API: true},
			{Name: "open", Paths: []string{"/open/"}, Methods: []string{"GET"}, Access: "public"},
		}
		o.Upstreams[0].MaxBodySize = 4
		o.Upstreams[0].Hosts = []string{gwHost, "b.test"}
		o.Upstreams[0].Paths = []string{"/"}
		o.Upstreams = append(o.Upstreams, config.Upstream{
			Name: "files", URL: o.Upstreams[0].URL, Hosts: []string{"files.test"}, Paths: []string{"/f/"}, Identity: "passthrough", HostHeader: "upstream",
		})
		o.Routes[0].Upstreams = []string{"app"}
		o.Routes[0].Challenge = "Bearer"
		o.Routes[0].Allow = func(id authn.Identity) error {
			if id.Username == "eve" {
				return &authn.NotAllowed{Missing: "You need to be somebody else."}
			}
			return nil
		}
		o.Chain = append(authn.Chain{authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
			switch r.Header.Get("Authorization") {
			case "Bearer application":
				return authn.Identity{}, authn.ErrApplication
			case "Bearer many":
				return authn.Identity{}, &authn.Throttled{After: 1}
			}
			return authn.Identity{}, authn.ErrNoCredential
		})}, o.Chain...)
	})
}

// statusOf is the status that a client sees.
func (e Explanation) statusOf() int {
	if e.Header != nil {
		return http.StatusOK // as the echo answers
	}
	return e.Status
}

// assertSame holds an explanation against what a request really gets.
func assertSame(t *testing.T, g *rig, raw string) Explanation {
	t.Helper()
	a := g.raw(raw)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr, r.Body = "127.0.0.1:1", http.NoBody
	e := g.gw.Explain(r, nil)
	if e.statusOf() != a.StatusCode || e.Location != a.Header.Get("Location") {
		t.Errorf("explained as %s, %d %q %q, but is %s %q", e.Decision, e.Status, e.Sentence, e.Location, a.Status, a.body)
	}
	if e.Status != 0 && e.Decision != SignIn && (e.Sentence == "" || e.Decision != strconv.Itoa(e.Status)) {
		t.Errorf("decision %q, sentence %q", e.Decision, e.Sentence)
	}
	if e.Header == nil {
		g.untouched()
		return e
	}
	got := g.last()
	steady := func(h http.Header) http.Header {
		h = h.Clone()
		delete(h, "X-Request-Id")
		delete(h, "Content-Length")
		if h.Get(e.Assertion) != "" {
			h[e.Assertion] = []string{"signed"}
		}
		return h
	}
	if diff := cmp.Diff(steady(got.Header), steady(e.Header)); diff != "" || e.Host != got.Host {
		t.Errorf("the upstream got host %s, explained as %s, and headers (-got +explained)\n%s", got.Host, e.Host, diff)
	}
	return e
}

// TestExplain: what is explained is what a request gets, its status and, of what
// goes on, every header.
func TestExplain(t *testing.T) {
	g := explained(t)
	g.people["eve"] = person("eve")
	g.people["onward"] = person("onward")
	onward := g.people["onward"]
	onward.Onward = true
	g.people["onward"] = onward
	headers := map[string]string{
		"nobody": "", "a browser": navigation, "alice": aliceOnly, "bob": bobOnly, "bob in a browser": bobOnly + navigation,
		"rejected": "Authorization: Bearer stale\r\n", "outage": "Authorization: Bearer outage\r\n", "throttled": "Authorization: Bearer many\r\n",
		"a route's no":             "Authorization: Bearer eve\r\n",
		"the application's":        "Authorization: Bearer application\r\nX-Wandb-Username: anybody\r\n",
		"known to the application": "Authorization: Bearer onward\r\n",
		"beside":                   "Authorization: Basic YXBpOmtleQ==\r\nX-Gatehouse-Authorization: Bearer alice\r\n",
		"two beside":               "X-Gatehouse-Authorization: Bearer alice\r\nProxy-Authorization: Bearer alice\r\n",
		"several":                  "Authorization: Bearer alice\r\nWandb-Api-Key: 123\r\n",
		"forged":                   aliceOnly + "X-Forwarded-User: root\r\nX_Gatehouse_Teams: all\r\nForwarded: for=1.2.3.4\r\nX-Request-Id: mine\r\n",
		"all kinds": "Cookie: other=1; " + cookieName + "=alice; more=2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nUser-Agent: curl\r\nX-Wandb-Username: alice\r\n" +
			"X-Wandb-User-Email: bob@example.com\r\nX-Http-Method-Override: DELETE\r\nAccept-Encoding: gzip\r\nTe: trailers\r\n",
		"h2c": aliceOnly + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
	}
	targets := []string{
		"GET /", "GET /x?a=%zz;b", "HEAD /open/x", "POST /open/x", "GET /open/x", "GET /public/x", "GET /public/internal/", "GET /internal/x", "GET /admin/x",
		"GET /%2561dmin/x", "GET /admin//x", "GET /a%2fb", "GET /open/a%2fb", "GET /api/x", "POST /data/x", "get /x", "TRACE /", "GET /a/../b",
		"GET http://b.test/x", "GET http://files.test/f/x", "GET http://files.test/x", "GET http://elsewhere.test/",
	}
	for who, lines := range headers {
		for _, target := range targets {
			g.sub(who+" "+target, func(t *testing.T, g *rig) {
				host := gwHost
				if _, rest, ok := strings.Cut(target, "http://"); ok {
					host, _, _ = strings.Cut(rest, "/")
				}
				lines := lines
				if strings.HasPrefix(target, "POST") {
					lines += "Content-Length: 0\r\n"
				}
				assertSame(t, g, target+" HTTP/1.1\r\nHost: "+host+"\r\n"+lines+"\r\n")
			})
		}
	}
}

// TestExplainTells: what an explanation says beside what it decides.
func TestExplainTells(t *testing.T) {
	g := explained(t)
	read := func(text string) *http.Request {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr, r.Body = "192.0.2.1:0", http.NoBody
		return r
	}
	as := func(id authn.Identity) authn.Authenticator {
		return authn.AuthenticatorFunc(func(*http.Request) (authn.Identity, error) { return id, nil })
	}
	alice := person("alice")

	e := g.gw.Explain(read("GET /admin/x HTTP/1.1\nHost: gw.test\nX-Forwarded-User: root\nX-Gatehouse-Authorization: Bearer x\nAccept: */*"), as(alice))
	want(t, "decision", e.Decision, Allow)
	want(t, "rule", e.Rule.Name+" "+e.Rule.Place+" "+e.Rule.Access(), "admins policy[1] authenticated")
	want(t, "what it needs", strings.Join(e.Rule.Needs(), "|"), "team vision, role admin")
	want(t, "by", e.Subject.Memberships[0].By, `teams[0].groups[0]: group "alices"`)
	want(t, "sent", fmt.Sprint(e.Sent), "[Accept]")
	want(t, "dropped", fmt.Sprint(e.Dropped), "[{X-Forwarded-User the gateway says it itself} {X-Gatehouse-Authorization for the gateway alone}]")
	if c := string(e.Claims()); !strings.Contains(c, `"sub":"sub-alice"`) || strings.Contains(e.Header.Get("X-Forwarded-User"), "root") {
		t.Errorf("claims %s, headers %v", c, e.Header)
	}

	e = g.gw.Explain(read("GET /%2561dmin/x HTTP/1.1\nHost: gw.test"), as(alice))
	rules := map[string]string{}
	for _, one := range e.Readings {
		rules[one.Path] = one.Rule.Name
	}
	want(t, "decision", e.Decision, "400")
	if !maps.Equal(rules, map[string]string{"/%61dmin/x": "", "/admin/x": "admins"}) || e.Asked {
		t.Errorf("readings %v", e.Readings)
	}

	e = g.gw.Explain(read("GET /open/x HTTP/1.1\nHost: gw.test\nAuthorization: Bearer x"), as(alice))
	if e.Decision != Public || e.Asked || e.Known || e.Claims() != nil {
		t.Errorf("%+v", e)
	}
	e = g.gw.Explain(read("GET /.gatehouse/userinfo HTTP/1.1\nHost: gw.test"), as(alice))
	if e.Decision != Own || e.Asked || e.Status != 0 {
		t.Errorf("%+v", e)
	}
	broken := errors.New("no store")
	e = g.gw.Explain(read("GET / HTTP/1.1\nHost: gw.test"), authn.AuthenticatorFunc(func(*http.Request) (authn.Identity, error) { return authn.Identity{}, broken }))
	if e.Decision != "503" || !errors.Is(e.Cause, broken) {
		t.Errorf("%+v", e)
	}
	g.untouched()
	if log := g.log.String(); strings.Contains(log, `"msg":"request"`) {
		t.Errorf("an explanation has an access line:\n%s", log)
	}
}

// TestExplainQuestion: what an explanation says of a request to an application behind
// another proxy is what that proxy would be answered.
func TestExplainQuestion(t *testing.T) {
	g := asking(t, func(o *Options) {
		o.Policy = append([]config.Rule{{Name: "kept", Methods: []string{"DELETE"}, Paths: []string{"/kept/"}, Access: "deny"}}, o.Policy...)
	})
	for _, target := range []string{"/x", "/public/x", "/kept/x", "/internal/x", "/%2561dmin/x", "/.gatehouse/me"} {
		for _, more := range []string{
			"", "X-Gatehouse-Subject: eve\r\n", "x_forwarded_user: eve\r\n", "X-HTTP-Method-Override: DELETE\r\n",
			"X-Gatehouse-Authorization: Bearer alice\r\n", "Authorization: Bearer outage\r\n", "Authorization: Bearer nobody\r\n",
		} {
			answer := g.raw(questions()["traefik"]("POST", "app.test", target, more))
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST " + target + " HTTP/1.1\r\nHost: app.test\r\n" + more + "\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			r.RemoteAddr, r.Body = "127.0.0.1:0", http.NoBody
			e := g.gw.Explain(r, nil)
			if e.Status == 0 { // the application answers
				e.Status = 200
			}
			want(t, target+" "+more, e.Status, answer.StatusCode)
		}
	}
}
