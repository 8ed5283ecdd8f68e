package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"gatehouse/authn"
	"gatehouse/config"
)

// teller is an Exchanger that gives numbered tokens.
type teller struct {
	mu     sync.Mutex
	tokens map[string]int // by subject
	asked  int
	err    error
}

func (e *teller) Token(_ context.Context, id authn.Identity) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	if e.err != nil {
		return "", e.err
	}
	return fmt.Sprintf("wb_at_%s_%d", id.Username, e.tokens[id.Subject]), nil
}

func (e *teller) Forget(id authn.Identity, token string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.tokens[id.Subject]; now > 0 || !strings.HasSuffix(token, fmt.Sprint("_", now)) {
		return false // the second one is believed
	}
	e.tokens[id.Subject]++
	return true
}

// newCarryRig has an upstream whose identity is exchange, at /other one of another
// application for which it is too, and at /pass one for which it is not.
func newCarryRig(t *testing.T, change func(*Options)) (*rig, *teller) {
	e := &teller{tokens: map[string]int{}}
	g := newKeyRig(t, func(o *Options) {
		o.Upstreams[0].Identity = "exchange"
		o.Upstreams[2].Identity = "exchange"
		o.Exchangers = map[string]Exchanger{"app": e, "other": e}
		if change != nil {
			change(o)
		}
	})
	return g, e
}

// TestCarry is who gets an access token of the application in place of what they sent.
func TestCarry(t *testing.T) {
	g, _ := newCarryRig(t, nil)
	const token = "Bearer wb_at_alice_0  "
	own := basic("gatehouse-" + strings.Repeat("k", 48))
	for _, row := range []struct{ name, headers, want string }{
		{"a session", aliceOnly, token},
		{"an empty Basic", aliceOnly + "Authorization: Basic Og==\r\n", token},
		{"a token for the gateway", "Authorization: Bearer alice\r\n", token},
		{"a key header that is empty", aliceOnly + "Wandb-Api-Key: \r\n", token},
		{"named in Connection", "Authorization: Bearer alice\r\nConnection: Authorization\r\n", token},
		{"beside, with nothing of the application's", "X-Gatehouse-Authorization: Bearer alice\r\n", token},
		{"beside, with an empty Basic", "X-Gatehouse-Authorization: Bearer alice\r\nAuthorization: Basic Og==\r\n", token},
		{"beside, with a key of the gateway", "X-Gatehouse-Authorization: Bearer alice\r\nAuthorization: " + own + "\r\n", token},
		{"beside, with the application's own", "X-Gatehouse-Authorization: Bearer alice\r\nAuthorization: " + basic("KEY") + "\r\n", basic("KEY") + "  "},
		{"beside, with the application's key in a header", "X-Gatehouse-Authorization: Bearer alice\r\nWandb-Api-Key: KEY\r\n", " KEY "},
		{"a key of the application, of somebody", "Authorization: " + basic(aliceKey) + "\r\n", basic(aliceKey) + "  "},
		{"a key of the application, of nobody", "Authorization: " + basic(appKey) + "\r\n", basic(appKey) + "  "},
	} {
		g.sub(row.name, func(t *testing.T, g *rig) {
			want(t, "status", g.get("/x", row.headers).StatusCode, 200)
			want(t, "credentials", onwards(g.last()), row.want)
			want(t, "Authorization lines", len(g.last().Header["Authorization"]) < 2, true)
			alice := person("alice")
			if row.name != "a key of the application, of nobody" {
				onlyOurs(t, g.last(), &alice)
			}
		})
	}
	g.sub("a public path", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/public/x", aliceOnly+"Authorization: Bearer alice\r\n").StatusCode, 200)
		want(t, "credentials", onwards(g.last()), "  ")
	})
	g.sub("another upstream", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/pass/x", aliceOnly).StatusCode, 200)
		want(t, "credentials", onwards(g.last()), "  ")
	})
	g.sub("another application's key", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/other/x", "Authorization: "+basic(aliceKey)+"\r\n").StatusCode, 200)
		want(t, "credentials", onwards(g.last()), token)
	})
	g.sub("nobody", func(_ *testing.T, g *rig) { g.denied(g.get("/x", ""), 401) })
	if strings.Contains(g.log.String(), "wb_at_") {
		t.Error("a token is in the log")
	}
}

// TestCarrySocket: a WebSocket is opened with the token too, and never again with one
// that is refused.
func TestCarrySocket(t *testing.T) {
	g, _ := newCarryRig(t, nil)
	g.up.sockets(t)
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return net.Dial("tcp", g.addr()) }}
	c, _, err := d.Dial("ws://gw.test/live", http.Header{"Authorization": {"Bearer alice"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want(t, "credentials", onwards(g.last()), "Bearer wb_at_alice_0  ")
	g.forget()
	g.up.then = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	a := g.get("/live", "Authorization: Bearer alice\r\n"+handshake)
	want(t, "a refused one", a.StatusCode, 503)
	a = g.get("/live", "Authorization: Bearer alice\r\n"+handshake)
	want(t, "a refused one, anew", a.StatusCode, 401)
}

// TestCarryRefused is what people and programs see if there is no token.
func TestCarryRefused(t *testing.T) {
	g, e := newCarryRig(t, nil)
	g.sub("not known", func(t *testing.T, g *rig) {
		e.err = fmt.Errorf("the token endpoint answers 400: %w", &authn.NotAllowed{Missing: "Nobody knows you."})
		a := g.get("/x", aliceOnly+navigation)
		g.denied(a, 403)
		want(t, "says why", strings.Contains(a.body, "Nobody knows you."), true)
		want(t, "the cause is for the log", strings.Contains(a.body, "400"), false)
		want(t, "the log has it", strings.Contains(g.log.String(), "the token endpoint answers 400"), true)
		want(t, "offers a way back", strings.Contains(a.body, "/sign-in?switch=1"), true)
		g.denied(g.get("/x", "Authorization: Bearer alice\r\n"), 403)
	})
	g.sub("can't find out", func(t *testing.T, g *rig) {
		e.err = errors.New("dial tcp 10.1.2.3:8080: connection refused")
		a := g.get("/x", aliceOnly)
		g.denied(a, 503)
		want(t, "Retry-After", a.Header.Get("Retry-After"), "5")
		want(t, "says what", strings.Contains(a.body, "can’t be asked right now"), true)
		want(t, "no internals", strings.Contains(a.body, "10.1.2.3"), false)
	})
	g.sub("nobody is asked for who may not come in", func(t *testing.T, g *rig) {
		e.asked, e.err = 0, nil
		g.get("/public/x", aliceOnly)
		g.get("/x", "Cookie: "+cookieName+"=stale\r\n")
		g.get("/live", aliceOnly+handshake+"Origin: https://evil.test\r\n")
		want(t, "asked", e.asked, 0)
	})
}

// TestCarryStale: a token that was kept and is refused is dropped. Whoever sent the
// request is told to come again, and nothing is sent twice.
func TestCarryStale(t *testing.T) {
	g, _ := newCarryRig(t, nil)
	post := "POST /x HTTP/1.1\r\nHost: gw.test\r\nAuthorization: Bearer alice\r\nContent-Length: 5\r\n\r\nhello"
	g.up.then = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer wb_at_alice_1" {
			w.Header().Set("Www-Authenticate", `Basic realm="app"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, "go away")
			return
		}
		fmt.Fprint(w, "welcome")
	}
	a := g.raw(post)
	want(t, "the first", a.StatusCode, 503)
	want(t, "Retry-After", a.Header.Get("Retry-After"), "1")
	want(t, "the application's challenge", a.Header.Get("Www-Authenticate"), "")
	want(t, "the application's words", strings.Contains(a.body, "go away"), false)
	want(t, "sent", len(g.up.all()), 1)
	a = g.raw(post)
	want(t, "the second", a.body, "welcome")
	g.forget()
	g.up.then = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "not for you")
	}
	a = g.raw(post)
	want(t, "401 to a new token", a.StatusCode, 401)
	want(t, "the application's words", a.body, "not for you")
	g.people["alice"], g.people["bob"] = person("bob"), person("alice") // no token of alice's is at stake
	want(t, "401 to the application's own credential", g.get("/x", "Authorization: "+basic(appKey)+"\r\n").StatusCode, 401)
}

// TestIssuerAtRoot: an application looks for its issuer's documents at the root.
func TestIssuerAtRoot(t *testing.T) {
	g, _ := newCarryRig(t, func(o *Options) { o.Paths.Issuer, o.Assertions = true, signer(t) })
	for _, path := range config.IssuerDocuments() {
		a := g.get(path, "")
		want(t, path, a.StatusCode, 200)
		want(t, "the same document", a.body, g.get("/.gatehouse/.well-known/openid-configuration", "").body)
		want(t, "the keys", strings.Contains(a.body, `"jwks_uri":"`+gwURL+`/.gatehouse/jwks.json"`), true)
		want(t, "POST", g.raw("POST "+path+" HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 0\r\n\r\n").StatusCode, 405)
	}
	g.untouched()
	other := newRig(t, func(o *Options) { o.Assertions = signer(t) })
	want(t, "without an upstream that wants it", other.get("/.well-known/openid-configuration", aliceOnly).body, "hello from upstream")
}

// TestCarryByNobody: there is no quiet way to have no exchanger.
func TestCarryByNobody(t *testing.T) {
	g := &rig{t: t}
	o := g.options("http://app")
	o.Upstreams[0].Identity = "exchange"
	if _, err := New(o); err == nil {
		t.Error("an upstream without an exchanger")
	}
}
