package proxy

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/config"
	"gatehouse/session"
)

// frail is a store that can be down for whoever looks into an index, or deletes.
type frail struct {
	session.Store
	down atomic.Bool
}

var errStoreDown = errors.New("dial tcp 10.9.8.7:6379: connection refused")

func (f *frail) Members(ctx context.Context, index string) (map[string][]byte, error) {
	if f.down.Load() {
		return nil, errStoreDown
	}
	return f.Store.Members(ctx, index)
}

// apiRig is a gateway whose sessions are real. Bearer tokens stay as scripted: alice and
// root, who administers, and barred, who would if the route let them in.
type apiRig struct {
	*rig
	store    *frail
	sessions *session.Sessions
	register *session.Register
	document map[string]any
	schemas  *jsonschema.Compiler
}

func newAPI(t *testing.T) *apiRig {
	t.Helper()
	a := &apiRig{store: &frail{Store: session.NewMemory()}}
	keys := session.RandomKeyring(gwURL)
	a.register = session.NewRegister(a.store, keys, nil, time.Hour)
	a.sessions = session.New(session.Options{
		Store: a.store, Register: a.register, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), Lifetime: 24 * time.Hour, IdleTimeout: time.Hour,
	})
	a.rig = newRig(t, func(o *Options) {
		o.Chain = authn.Chain{o.Chain[0], a.sessions}
		o.Sessions, o.Register = a.sessions, a.register
		o.Administrators = []config.Requirement{{Groups: []string{"admins"}}}
		o.Routes[0].Allow = func(id authn.Identity) error {
			if id.Username == "barred" {
				return &authn.NotAllowed{Missing: "You need to be somebody else."}
			}
			return nil
		}
	})
	t.Cleanup(a.sessions.Close)
	for _, name := range []string{"root", "barred"} {
		id := person(name)
		id.Groups = append(id.Groups, "admins")
		a.people[name] = id
	}
	body := a.get("/.gatehouse/api/openapi.json", "").body
	if err := json.Unmarshal([]byte(body), &a.document); err != nil {
		t.Fatal(err)
	}
	a.schemas = jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err == nil {
		err = a.schemas.AddResource("openapi.json", doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// with is the same rig for a subtest.
func (a *apiRig) with(t *testing.T) *apiRig {
	mine, inner := *a, *a.rig
	inner.t = t
	mine.rig = &inner
	return &mine
}

// signIn returns what the browser of a new session sends, and what the session is called.
func (a *apiRig) signIn(id authn.Identity, agent string) (cookie, access string) {
	a.t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", gwURL, nil)
	r.Header.Set("User-Agent", agent)
	if err := a.sessions.Start(w, r, authn.Proof{Identity: id}); err != nil {
		a.t.Fatal(err)
	}
	c := w.Result().Cookies()[0]
	r.AddCookie(c)
	who, err := a.sessions.Authenticate(r)
	if err != nil {
		a.t.Fatal(err)
	}
	return "Cookie: " + c.Name + "=" + c.Value + "\r\n", who.Access
}

// ask asks the API, and holds the answer against the document.
func (a *apiRig) ask(call, headers string) answer {
	a.t.Helper()
	method, target, _ := strings.Cut(call, " ")
	got := a.raw(method + " /.gatehouse/api" + target + " HTTP/1.1\r\nHost: " + gwHost + "\r\n" + headers + "\r\n")
	path, _, _ := strings.Cut(target, "?")
	if before, _, ok := strings.Cut(path, "/sessions/"); ok {
		path = before + "/sessions/{id}"
	}
	operation, _ := dig(a.document, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(got.StatusCode)).(map[string]any)
	ref, _ := operation["$ref"].(string)
	if ref == "" {
		a.t.Fatalf("%s: the document says nothing of %d: %s", call, got.StatusCode, got.body)
	}
	schema, err := a.schemas.Compile("openapi.json" + ref + "/content/application~1json/schema")
	if err != nil {
		a.t.Fatal(err)
	}
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
	if err == nil {
		err = schema.Validate(body)
	}
	if err != nil {
		a.t.Errorf("%s: %d is not as the document says: %v\n%s", call, got.StatusCode, err, got.body)
	}
	want(a.t, call+": type", got.Header.Get("Content-Type"), "application/json")
	want(a.t, call+": Cache-Control", got.Header.Get("Cache-Control"), "no-store")
	want(a.t, call+": sniffing", got.Header.Get("X-Content-Type-Options"), "nosniff")
	if got.StatusCode == 503 && got.Header.Get("Retry-After") == "" {
		a.t.Errorf("%s: 503 without Retry-After", call)
	}
	a.untouched()
	return got
}

func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// sessionsOf are what the API lists.
func (a *apiRig) sessionsOf(call, headers string) []map[string]any {
	a.t.Helper()
	got := a.ask(call, headers)
	var list struct {
		Sessions []map[string]any `json:"sessions"`
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.StatusCode != 200 {
		a.t.Fatalf("%s: %d %v: %s", call, got.StatusCode, err, got.body)
	}
	return list.Sessions
}

// in says whether a cookie still is somebody.
func (a *apiRig) in(cookie string) bool {
	a.t.Helper()
	return a.get("/.gatehouse/userinfo", cookie).StatusCode == 200
}

func TestAPIWhoMayWhat(t *testing.T) {
	a := newAPI(t)
	_, aliceID := a.signIn(person("alice"), "Firefox")
	bob, _ := a.signIn(person("bob"), "Safari")
	as := func(name string) string { return "Authorization: Bearer " + name + "\r\n" }
	const (
		own  = "GET /me/sessions,DELETE /me/sessions,DELETE /me/sessions?except=current"
		list = "GET /sessions?person=alice,GET /sessions?person=nobody,GET /sessions?person=alice&issuer=https://idp.test,GET /sessions"
		ends = "DELETE /sessions?person=alice,DELETE /sessions?person=nobody,DELETE /sessions/$ID?person=alice,DELETE /sessions/x?person=alice,DELETE /sessions"
	)
	for name, tt := range map[string]struct {
		who, calls string
		status     int
	}{
		"nobody":                         {"", own + "," + list + "," + ends, 401},
		"a wrong credential":             {as("stale"), own + "," + list + "," + ends, 401},
		"what can't be found out":        {as("outage"), own + "," + list + "," + ends, 503},
		"a person, their own":            {as("carol"), own, 200},
		"a person, what others have":     {as("bob"), list + "," + ends, 403},
		"in a browser":                   {bob, list + "," + ends, 403},
		"one whom the route refuses":     {as("barred"), list + "," + ends, 403},
		"one whom it refuses, their own": {as("barred"), own, 200},
	} {
		t.Run(name, func(t *testing.T) {
			a := a.with(t)
			a.people["carol"] = person("carol")
			bodies := map[string]bool{}
			for call := range strings.SplitSeq(tt.calls, ",") {
				got := a.ask(strings.Replace(call, "$ID", aliceID, 1), tt.who)
				want(t, call, got.StatusCode, tt.status)
				bodies[strings.Split(got.body, `"request_id"`)[0]] = true
			}
			if tt.status >= 400 && len(bodies) != 1 {
				t.Errorf("answers differ by what there is: %v", slices.Collect(maps.Keys(bodies)))
			}
		})
	}
	if left, err := a.register.Of(t.Context(), session.PersonOf(person("alice"))); err != nil || len(left) != 1 {
		t.Errorf("alice has %v, %v", left, err)
	}
}

func TestAPIOwn(t *testing.T) {
	a := newAPI(t)
	here, hereID := a.signIn(person("alice"), "Firefox")
	there, thereID := a.signIn(person("alice"), "curl")
	bob, bobID := a.signIn(person("bob"), "Safari")

	list := a.sessionsOf("GET /me/sessions", here)
	want(t, "sessions", len(list), 2)
	for _, one := range list {
		want(t, fmt.Sprint("current of ", one["id"]), one["current"] == true, one["id"] == hereID)
		want(t, "subject", one["sub"], any("sub-alice"))
	}
	if text := fmt.Sprint(list); !strings.Contains(text, "userAgent:curl") || !strings.Contains(text, "address:192.0.2.1 ") || strings.Contains(text, "bob") {
		t.Errorf("the list is %s", text)
	}
	t.Run("what is another's is as what there is not", func(t *testing.T) {
		a := a.with(t)
		bodies := map[string]bool{}
		for _, id := range []string{bobID, "s" + strings.Repeat("A", 43), thereID[1:], bobID + "%20", "x"} {
			got := a.ask("DELETE /me/sessions/"+id, here)
			want(t, id, got.StatusCode, 404)
			bodies[strings.Split(got.body, `"request_id"`)[0]] = true
		}
		want(t, "different answers", len(bodies), 1)
		want(t, "bob is in", a.in(bob), true)
	})
	t.Run("headers make nobody another, and no GET a DELETE", func(t *testing.T) {
		a := a.with(t)
		const spoofed = "X-Forwarded-User: sub-root\r\nX-Gatehouse-Subject: sub-root\r\nX-Forwarded-Groups: admins\r\nRemote-Groups: admins\r\nX-HTTP-Method-Override: DELETE\r\n"
		want(t, "administers", a.ask("GET /sessions?person=bob", here+spoofed).StatusCode, 403)
		want(t, "own", len(a.sessionsOf("GET /me/sessions", here+spoofed)), 2)
		want(t, "two of them", a.ask("GET /me/sessions", here+bob).StatusCode, 401)
	})
	t.Run("one", func(t *testing.T) {
		a := a.with(t)
		got := a.ask("DELETE /me/sessions/"+thereID, here)
		want(t, "answer", got.body, `{"ended":1,"iss":"https://idp.test","sub":"sub-alice"}`+"\n")
		want(t, "there", a.in(there), false)
		want(t, "here", a.in(here), true)
		want(t, "again", a.ask("DELETE /me/sessions/"+thereID, here).StatusCode, 404)
	})
	t.Run("all but this one, then this one too", func(t *testing.T) {
		a := a.with(t)
		third, _ := a.signIn(person("alice"), "Edge")
		want(t, "others", a.ask("DELETE /me/sessions?except=current", here).body, `{"ended":1,"iss":"https://idp.test","sub":"sub-alice"}`+"\n")
		want(t, "third", a.in(third), false)
		want(t, "here", a.in(here), true)
		want(t, "all", a.ask("DELETE /me/sessions", here).body, `{"ended":1,"iss":"https://idp.test","sub":"sub-alice"}`+"\n")
		want(t, "here", a.in(here), false)
		want(t, "after that", a.ask("GET /me/sessions", here).StatusCode, 401)
		want(t, "bob is in", a.in(bob), true)
	})
	t.Run("a credential that is no session ends all", func(t *testing.T) {
		a := a.with(t)
		cookie, _ := a.signIn(person("alice"), "Firefox")
		want(t, "all", a.ask("DELETE /me/sessions?except=current", "Authorization: Bearer alice\r\n").body, `{"ended":1,"iss":"https://idp.test","sub":"sub-alice"}`+"\n")
		want(t, "in", a.in(cookie), false)
	})
}

func TestAPIAdministers(t *testing.T) {
	a := newAPI(t)
	const root = "Authorization: Bearer root\r\n"
	first, _ := a.signIn(person("alice"), "Firefox")
	second, secondID := a.signIn(person("alice"), "curl")
	bob, bobID := a.signIn(person("bob"), "Safari")
	elsewhere := person("alice")
	elsewhere.Issuer, elsewhere.Subject = "https://other.test", "77"
	want(t, "sessions", len(a.sessionsOf("GET /sessions?person=ALICE@example.com", root)), 2)
	want(t, "one of another's", a.ask("DELETE /sessions/"+bobID+"?person=alice", root).StatusCode, 404)
	want(t, "one", a.ask("DELETE /sessions/"+secondID+"?person=alice", root).body, `{"ended":1,"iss":"https://idp.test","sub":"sub-alice"}`+"\n")
	want(t, "the second", a.in(second), false)
	want(t, "nobody", a.ask("DELETE /sessions?person=carol", root).StatusCode, 404)

	if _, id := a.signIn(elsewhere, "Opera"); id == "" {
		t.Fatal("no session")
	}
	for _, call := range []string{"GET /sessions?person=alice", "DELETE /sessions?person=alice", "DELETE /sessions/" + secondID + "?person=alice"} {
		got := a.ask(call, root)
		want(t, call, got.StatusCode, 409)
		if !strings.Contains(got.body, "sub-alice of https://idp.test, 77 of https://other.test") {
			t.Errorf("%s: %s", call, got.body)
		}
	}
	want(t, "at the other issuer", len(a.sessionsOf("GET /sessions?person=alice&issuer=https://other.test", root)), 1)
	want(t, "at neither", len(a.sessionsOf("GET /sessions?person=alice&issuer=https://third.test", root)), 0)
	want(t, "all", a.ask("DELETE /sessions?person=alice&issuer=https://idp.test", root).body, `{"ended":1,"iss":"https://idp.test","sub":"sub-alice"}`+"\n")
	want(t, "the first", a.in(first), false)
	want(t, "bob is in", a.in(bob), true)
	want(t, "at the other issuer still", len(a.sessionsOf("GET /sessions?person=77", root)), 1)

	lines := 0
	for line := range strings.SplitSeq(a.log.String(), "\n") {
		if strings.Contains(line, `"access ended"`) {
			lines++
			for _, part := range []string{`"level":"INFO"`, `"by_subject":"sub-root"`, `"by_issuer":"https://idp.test"`, `"by_route":"corp"`, `"subject":"sub-alice"`, `"issuer":"https://idp.test"`, `"access":"s`} {
				if !strings.Contains(line, part) {
					t.Errorf("the log says nothing of %s: %s", part, line)
				}
			}
		}
	}
	want(t, "lines in the log", lines, 2)
}

// TestAPIQueries: what is not understood ends nothing.
func TestAPIQueries(t *testing.T) {
	a := newAPI(t)
	alice, aliceID := a.signIn(person("alice"), "Firefox")
	const root = "Authorization: Bearer root\r\n"
	for call, who := range map[string]string{
		"DELETE /me/sessions?except=curent":                     alice,
		"DELETE /me/sessions?exept=current":                     alice,
		"DELETE /me/sessions?except=":                           alice,
		"DELETE /me/sessions?except=current&except=current":     alice,
		"DELETE /me/sessions?except=current;x":                  alice,
		"DELETE /me/sessions?person=bob":                        alice,
		"DELETE /me/sessions/" + aliceID + "?except=current":    alice,
		"GET /me/sessions?person=bob":                           alice,
		"GET /sessions":                                         root,
		"DELETE /sessions?issuer=https://idp.test":              root,
		"DELETE /sessions?person=alice&issuer=":                 root,
		"DELETE /sessions?person=alice&person=bob":              root,
		"DELETE /sessions?person=alice&except=current":          root,
		"DELETE /sessions/" + aliceID + "?person=alice&ids=all": root,
	} {
		want(t, call, a.ask(call, who).StatusCode, 400)
	}
	want(t, "alice is in", a.in(alice), true)
}

func TestAPICrossSite(t *testing.T) {
	a := newAPI(t)
	for name, tt := range map[string]struct {
		headers string
		status  int
	}{
		"another site":               {"Sec-Fetch-Site: cross-site\r\n", 403},
		"a neighbour":                {"Sec-Fetch-Site: same-site\r\n", 403},
		"another site in a frame":    {"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nOrigin: null\r\n", 403},
		"another origin":             {"Origin: https://evil.test\r\n", 403},
		"no origin":                  {"Origin: null\r\n", 403},
		"a neighbour's origin":       {"Origin: https://app." + gwHost + "\r\n", 403},
		"an origin like ours":        {"Origin: " + gwURL + ".evil.test\r\n", 403},
		"this site":                  {"Sec-Fetch-Site: same-origin\r\nOrigin: " + gwURL + "\r\n", 200},
		"what a person types":        {"Sec-Fetch-Site: none\r\n", 200},
		"an old browser, this site":  {"Origin: " + gwURL + "\r\n", 200},
		"a program with the cookie":  {"", 200},
		"a site that says two sites": {"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Site: same-origin\r\n", 403},
	} {
		t.Run(name, func(t *testing.T) {
			a := a.with(t)
			for _, call := range []string{"DELETE /me/sessions", "DELETE /me/sessions/$ID"} {
				alice, id := a.signIn(person("alice"), "Firefox")
				got := a.ask(strings.Replace(call, "$ID", id, 1), alice+tt.headers)
				want(t, "status", got.StatusCode, tt.status)
				want(t, "still in", a.in(alice), tt.status != 200)
				for name := range got.Header {
					want(t, name, strings.HasPrefix(name, "Access-Control"), false)
				}
			}
		})
	}
	got := a.raw("OPTIONS /.gatehouse/api/me/sessions HTTP/1.1\r\nHost: " + gwHost + "\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: DELETE\r\n\r\n")
	want(t, "preflight", got.StatusCode, 405)
}

func TestAPIStoreDown(t *testing.T) {
	a := newAPI(t)
	alice, id := a.signIn(person("alice"), "Firefox")
	a.store.down.Store(true)
	const root = "Authorization: Bearer root\r\n"
	for call, who := range map[string]string{
		"GET /me/sessions": alice, "DELETE /me/sessions": alice, "DELETE /me/sessions?except=current": alice, "DELETE /me/sessions/" + id: alice, "DELETE /me/sessions/x": alice,
		"GET /sessions?person=alice": root, "DELETE /sessions?person=nobody": root, "DELETE /sessions/" + id + "?person=alice": root,
	} {
		got := a.ask(call, who)
		want(t, call, got.StatusCode, 503)
		want(t, "internals", strings.Contains(got.body, "6379"), false)
	}
	a.store.down.Store(false)
	want(t, "alice is in", a.in(alice), true)
}

// TestAPIDocument: the document has what there is, and nothing else.
func TestAPIDocument(t *testing.T) {
	a := newAPI(t)
	var documented []string
	for path, item := range dig(a.document, "paths").(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	want(t, "paths", strings.Join(slices.Sorted(slices.Values(documented)), ", "), strings.Join(slices.Sorted(maps.Keys(a.gw.api())), ", "))
	for pattern := range a.gw.api() {
		method, path, _ := strings.Cut(pattern, " ")
		got := a.raw(method + " /.gatehouse/api" + path + " HTTP/1.1\r\nHost: " + gwHost + "\r\n\r\n")
		if got.StatusCode == 404 || got.StatusCode == 405 {
			t.Errorf("%s is not there: %d", pattern, got.StatusCode)
		}
		for _, other := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if slices.Contains(documented, other+" "+path) {
				continue
			}
			got := a.raw(other + " /.gatehouse/api" + path + " HTTP/1.1\r\nHost: " + gwHost + "\r\nContent-Length: 0\r\n\r\n")
			want(t, other+" "+path, got.StatusCode, 405)
		}
	}
	want(t, "the cookie's name", dig(a.document, "components", "securitySchemes", "cookie", "name"), any(cookieName))
	checkRefs(t, a.document, a.document)
	got := a.get("/.gatehouse/api/openapi.json", "")
	want(t, "type", got.Header.Get("Content-Type"), "application/json")
	want(t, "placeholders", bytes.Contains([]byte(got.body), []byte("$COOKIE")), false)
	want(t, "without a register", newRig(t, nil).get("/.gatehouse/api/openapi.json", "").StatusCode, 404)
}

// checkRefs sees that every reference leads somewhere.
func checkRefs(t *testing.T, root, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok && dig(root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
		for _, each := range v {
			checkRefs(t, root, each)
		}
	case []any:
		for _, each := range v {
			checkRefs(t, root, each)
		}
	}
}

// toldTrail keeps what it is told, or can't.
type toldTrail struct {
	mu     sync.Mutex
	events []audit.Event
	full   bool
}

func (tr *toldTrail) Record(e audit.Event) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.full {
		return audit.ErrUnwritten
	}
	tr.events = append(tr.events, e)
	return nil
}

// TestAPITellsTrail: who looks at what others have stands in the audit trail, or is told
// nothing.
func TestAPITellsTrail(t *testing.T) {
	a := newAPI(t)
	trail := &toldTrail{}
	a.gw.trail = trail
	_, id := a.signIn(person("alice"), "Firefox")
	const root = "Authorization: Bearer root\r\n"
	want(t, "sessions", len(a.sessionsOf("GET /sessions?person=alice", root)), 1)
	if len(trail.events) != 1 {
		t.Fatalf("events: %v", trail.events)
	}
	e := trail.events[0]
	want(t, "event", e.Name+" "+e.Outcome, "administrator allowed")
	want(t, "who", e.Subject+" of "+e.Issuer+" by "+e.Route, "sub-root of https://idp.test by corp")
	want(t, "of whom", e.OfSubject+" of "+e.OfIssuer, "sub-alice of https://idp.test")
	want(t, "method", e.Method, "GET")
	if e.Address == "" || e.Request == "" {
		t.Errorf("from where: %+v", e)
	}
	trail.full = true
	got := a.ask("GET /sessions?person=alice", root)
	if got.StatusCode != 503 || strings.Contains(got.body, id) {
		t.Errorf("unwritten: %d %s", got.StatusCode, got.body)
	}
	want(t, "what is ended is ended", a.ask("DELETE /sessions?person=alice", root).StatusCode, 200)
}
