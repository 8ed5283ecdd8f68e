package proxy

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/config"
)

// ruled is a rig with teams and rules.
func ruled(t *testing.T) *rig { return newRig(t, rules) }

func rules(o *Options) {
	o.Teams = []config.Team{
		{Name: "vision", Groups: []config.TeamGroup{{Group: "alices", Role: "admin"}}},
		{Name: "all", Groups: []config.TeamGroup{{Group: "users", Role: "member"}}},
	}
	o.Policy = []config.Rule{
		{Name: "closed", Paths: []string{"/internal/", "/public/internal/"}, Access: "deny"},
		{Name: "admins", Paths: []string{"/admin/"}, Require: []config.Requirement{{Teams: []string{"vision"}, Roles: []string{"admin"}}}},
		{Name: "writes", Paths: []string{"/data/"}, Methods: []string{"POST", "PUT"}, Require: []config.Requirement{{Teams: []string{"vision"}}}},
		{Name: "programs", Paths: []string{"/api/"}, API: true},
		{Name: "open", Paths: []string{"/open/"}, Methods: []string{"GET"}, Access: "public"},
		{Name: "elsewhere", Hosts: []string{"b.test"}, Access: "deny"},
	}
	o.Upstreams[0].Hosts = []string{gwHost, "b.test"}
}

const bobOnly = "Cookie: " + cookieName + "=bob\r\n"

// decision is a request and what comes of it.
type decision struct {
	name, method, target, headers string
	status                        int
	body                          string
}

func decisions() []decision {
	return []decision{
		{"denied to somebody", "GET", "/internal/x", aliceOnly, 403, "Nobody may go there"},
		{"denied to nobody, without a way to sign in", "GET", "/internal", navigation, 403, "Nobody may go there"},
		{"a rule goes before a public path", "GET", "/public/internal/x", "", 403, "Nobody may go there"},
		{"another host", "GET", "http://b.test/x", aliceOnly, 403, "Nobody may go there"},
		{"in the team", "GET", "/admin/x", aliceOnly, 200, ""},
		{"not in the team", "GET", "/admin/x", bobOnly, 403, "You need to be admin in the team vision."},
		{"not in the team, a browser is not led away", "GET", "/admin", bobOnly + navigation, 403, "You need to be admin in the team vision."},
		{"nobody", "GET", "/admin/", "", 401, ""},
		{"nobody, in a browser", "GET", "/admin/", navigation, 302, ""},
		{"PATH-26 another method", "GET", "/data/x", bobOnly, 200, ""},
		{"PATH-26 the method", "POST", "/data/x", bobOnly + "Content-Length: 0\r\n", 403, "You need to be in the team vision."},
		{"a program's path leads nobody away", "GET", "/api/x", navigation, 401, ""},
		{"a program's path, signed in", "GET", "/api/x", bobOnly, 200, ""},
		{"public", "GET", "/open/x", "", 200, ""},
		{"PATH-26 public, HEAD", "HEAD", "/open/x", "", 200, ""},
		{"PATH-26 public, POST", "POST", "/open/x", "Content-Length: 0\r\n", 401, ""},
		{"PATH-01 the query is not the path", "GET", "/x?/open/x", "", 401, ""},
		{"PATH-04 dots", "GET", "/open/../admin/x", aliceOnly, 400, ""},
		{"PATH-05 encoded dots", "GET", "/open/%2e%2e/admin/x", aliceOnly, 400, ""},
		{"PATH-06 encoded slash, out of what is open", "GET", "/open/..%2fadmin/x", bobOnly, 400, ""},
		{"PATH-06 encoded slash, into what is closed", "GET", "/x/..%2f..%2finternal/x", aliceOnly, 400, ""},
		{"PATH-06 encoded slash before what is closed", "GET", "/%2finternal/x", aliceOnly, 400, "in more than one way"},
		{"PATH-06 encoded slash inside what is closed", "GET", "/internal/a%2fb", aliceOnly, 403, ""},
		{"PATH-06 encoded slash in a name", "GET", "/files/a%2Fb", bobOnly, 200, ""},
		{"PATH-06 an encoded slash that could be a team's", "GET", "/admin%2fx", bobOnly, 400, "in more than one way"},
		{"PATH-07 an encoded letter", "GET", "/%61dmin/x", bobOnly, 403, ""},
		{"PATH-07 an encoded letter, to what is denied", "GET", "/intern%61l", aliceOnly, 403, ""},
		{"PATH-08 twice encoded", "GET", "/%2561dmin/x", bobOnly, 400, "in more than one way"},
		{"PATH-08 twice encoded, with what is no escape", "GET", "/%2561dmin/x%25", bobOnly, 400, "in more than one way"},
		{"PATH-08 the same, before what is none", "GET", "/a%252f..%252fadmin/%25zz", bobOnly, 400, "in more than one way"},
		{"PATH-08 thrice encoded", "GET", "/%25252e%25252e/admin/x", bobOnly, 400, ""},
		{"PATH-11 empty segments", "GET", "//admin/x", bobOnly, 400, "in more than one way"},
		{"PATH-11 empty segments inside", "GET", "/admin//x", bobOnly, 403, ""},
		{"PATH-15 an encoded question mark", "GET", "/admin%3fx", bobOnly, 400, "in more than one way"},
		{"PATH-15 an encoded question mark, to what is denied", "GET", "/internal%3F", aliceOnly, 400, ""},
		{"PATH-15 an encoded question mark elsewhere", "GET", "/files/a%3fb", bobOnly, 200, ""},
		{"PATH-10 a backslash, twice encoded", "GET", "/x%255c..%255cadmin/x", bobOnly, 400, ""},
		{"PATH-15 parameters of a segment", "GET", "/admin;x/y", bobOnly, 400, "in more than one way"},
		{"PATH-15 parameters that change nothing", "GET", "/admin/y;x", bobOnly, 403, ""},
		{"PATH-15 parameters elsewhere", "GET", "/files/y;x=1", bobOnly, 200, ""},
		{"PATH-16 a boundary", "GET", "/internals", bobOnly, 200, ""},
		{"PATH-18 a slash more", "GET", "/admin/", bobOnly, 403, ""},
		{"PATH-22 no path", "GET", "*", aliceOnly, 400, ""},
		{"PATH-24 an odd method", "PROPFIND", "/admin/x", bobOnly, 403, ""},
	}
}

func TestPolicy(t *testing.T) {
	g := ruled(t)
	for _, row := range decisions() {
		g.sub(row.name, func(t *testing.T, g *rig) {
			host := gwHost
			if strings.HasPrefix(row.target, "http://b.test") {
				host = "b.test"
			}
			a := g.raw(row.method + " " + row.target + " HTTP/1.1\r\nHost: " + host + "\r\n" + row.headers + "\r\n")
			if a.StatusCode != row.status || !strings.Contains(a.body, row.body) {
				t.Fatalf("%s %q", a.Status, a.body)
			}
			if row.status == 200 {
				g.last()
				return
			}
			g.denied(a, row.status)
		})
	}
}

// TestPolicyWebSocket: WS-01, a handshake falls under the rules like any request.
func TestPolicyWebSocket(t *testing.T) {
	g := ruled(t)
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin: https://gw.test\r\n"
	for target, status := range map[string]int{"/admin/ws": 403, "/internal/ws": 403, "/%2561dmin/ws": 400} {
		g.sub(target, func(_ *testing.T, g *rig) { g.denied(g.get(target, bobOnly+upgrade), status) })
	}
}

// TestPolicyOfTheApplication: who is known to the application alone comes in where
// nobody asks who they are.
func TestPolicyOfTheApplication(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Policy = []config.Rule{{Paths: []string{"/admin/"}, Require: []config.Requirement{{Kinds: []string{"person"}}}}}
		o.Routes[0].Upstreams = []string{"app"}
		o.Chain = authn.Chain{passing{}}
	})
	key := "Authorization: Basic YXBpOmtleQ==\r\n"
	want(t, "elsewhere", g.get("/x", key).StatusCode, 200)
	g.forget()
	g.denied(g.get("/admin/x", key), 401)
}

// TestStandings: what is kept of somebody is never another's, nor of another time.
func TestStandings(t *testing.T) {
	g := ruled(t)
	teams := func(who string) string {
		g.forget()
		want(t, who, g.get("/x", "Authorization: Bearer "+who+"\r\n").StatusCode, 200)
		return g.last().Header.Get("X-Gatehouse-Teams") + " " + g.last().Header.Get("X-Gatehouse-Roles")
	}
	for range 3 {
		want(t, "alice", teams("alice"), "vision,all admin,member")
		want(t, "bob", teams("bob"), "all member")
	}
	alice := g.people["alice"]
	change := func(f func(*authn.Identity)) {
		id := alice
		f(&id)
		g.people["alice"] = id
	}
	change(func(id *authn.Identity) { id.Groups = []string{"users", "others"} })
	want(t, "without her group", teams("alice"), "all member")
	change(func(id *authn.Identity) { id.Groups = nil })
	want(t, "without any", teams("alice"), " ")
	change(func(id *authn.Identity) { id.Teams = []string{"named"} })
	want(t, "with a team of her token", teams("alice"), "vision,all,named admin,member,member")
	change(func(id *authn.Identity) { id.Issuer = "https://other.test" })
	want(t, "of another issuer", teams("alice"), "vision,all admin,member")
	for name, f := range map[string]func(*authn.Identity){
		"name": func(id *authn.Identity) { id.Name = "x" }, "email": func(id *authn.Identity) { id.Email = "x@y.test" }, "username": func(id *authn.Identity) { id.Username = "x" },
		"kind": func(id *authn.Identity) { id.Kind = authn.Service }, "route": func(id *authn.Identity) { id.Route = "x" }, "claims": func(id *authn.Identity) { id.Claims = map[string][]string{"a": {"b"}} },
		"account": func(id *authn.Identity) { id.Account = authn.Account{Name: "x"} }, "time": func(id *authn.Identity) { id.AuthTime = id.AuthTime.Add(1) },
		"groups":  func(id *authn.Identity) { id.Groups = []string{"users", "alicex"} },
		"subject": func(id *authn.Identity) { id.Subject = "x" }, "onward": func(id *authn.Identity) { id.Onward = true },
	} {
		other := alice
		f(&other)
		want(t, name, same(alice, other) || same(other, alice), false)
	}
	again := alice
	again.Groups = append([]string(nil), alice.Groups...)
	again.Expires = alice.AuthTime // which nothing is made of
	want(t, "the same", same(alice, again), true)
}

// passing knows every credential as the application's own.
type passing struct{}

func (passing) Authenticate(r *http.Request) (authn.Identity, error) {
	if len(r.Header["Authorization"]) == 0 {
		return authn.Identity{}, authn.ErrNoCredential
	}
	return authn.Identity{}, authn.ErrApplication
}
