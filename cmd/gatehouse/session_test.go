package main

import (
	"encoding/json/v2"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/session"
)

// present is the store of settings with some people who are signed in.
type present struct {
	t        *testing.T
	file     string
	sessions *session.Sessions
	tokens   session.Tokens
	register *session.Register
}

func newPresent(t *testing.T) *present {
	t.Helper()
	file, _ := keyFile(t, "")
	c, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := openStore(c.Store)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := openKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	register := session.NewRegister(store, keys, nil, c.Session.IdleTimeout.Std())
	p := &present{t: t, file: file, register: register, tokens: session.NewTokens(store, keys, register), sessions: session.New(session.Options{
		Store: store, Register: register, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), Lifetime: time.Hour, IdleTimeout: time.Hour,
	})}
	t.Cleanup(func() { p.sessions.Close(); store.Close() })
	return p
}

// someone is a person of an issuer.
func someone(issuer, subject, username string) authn.Identity {
	return authn.Identity{Issuer: issuer, Subject: subject, Kind: authn.Person, Username: username, Email: username + "@example.com", Route: "people"}
}

func (p *present) signIn(id authn.Identity, agent string) *http.Request {
	p.t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "https://example.com/", nil)
	r.Header.Set("User-Agent", agent)
	if err := p.sessions.Start(w, r, authn.Proof{Identity: id}); err != nil {
		p.t.Fatal(err)
	}
	r.AddCookie(w.Result().Cookies()[0])
	return r
}

func (p *present) in(r *http.Request) bool {
	_, err := p.sessions.Authenticate(r)
	return err == nil
}

// run runs "gatehouse session" with these arguments.
func (p *present) run(args ...string) (code int, out, errs string) {
	p.t.Helper()
	return command(p.t, nil, append([]string{"session", args[0], "-c", p.file}, args[1:]...)...)
}

// list is what the command lists, as JSON has it.
func (p *present) list(args ...string) []session.Access {
	p.t.Helper()
	code, out, errs := p.run(append([]string{"list", "--json"}, args...)...)
	var list []session.Access
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		p.t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
	}
	return list
}

const (
	hereIDP = "https://idp.example.com"
	farIDP  = "https://other.example.com"
)

func TestSessionList(t *testing.T) {
	p := newPresent(t)
	if code, out, errs := p.run("list"); code != 0 || out != "" || errs != "There are no sessions, tokens or API keys.\n" {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if list := p.list(); list == nil || len(list) != 0 {
		t.Errorf("an empty list is %v", list)
	}
	p.signIn(someone(hereIDP, "1001", "ada"), "Mozilla/5.0 \x1b[31m(X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0")
	p.signIn(someone(hereIDP, "1002", "ben"), "curl/8")
	if _, err := p.tokens.Issue(t.Context(), someone(hereIDP, "1001", "ada"), "", session.Client{Address: "192.0.2.8", Agent: "wandb-core"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	key, keyID, _ := keyNew(t, p.file, "ci")

	code, out, errs := p.run("list")
	if code != 0 || errs != "" || strings.Count(out, "\n") != 5 || strings.Contains(out, "\x1b") || strings.Contains(out, key[20:]) {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	for _, part := range []string{"ID ", "KIND", "PERSON", "ROUTE", "SINCE", "LAST SEEN", "ENDS", "ADDRESS", "USER AGENT", "session", "token", "api key", "people", "programs",
		"ada", "ben", "192.0.2.8", "192.0.2.1 ", "wandb-core", "Linux x86_64; rv…", keyID} {
		if !strings.Contains(out, part) {
			t.Errorf("the list says nothing of %q:\n%s", part, out)
		}
	}
	for name, n := range map[string]int{"ada": 2, "ADA@example.com": 2, "1002": 1, "ci": 1, "account:ci": 1, "nightly": 0} {
		if list := p.list(name); len(list) != n {
			t.Errorf("%s has %v", name, list)
		}
	}
	if list := p.list("--issuer", hereIDP); len(list) != 3 {
		t.Errorf("of one issuer: %v", list)
	}
	if code, out, errs := p.run("list", "--limit", "2"); code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(errs, "more than these 2") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if code, out, errs := p.run("list", "--limit", "4"); code != 0 || strings.Count(out, "\n") != 5 || errs != "" {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestSessionEnd(t *testing.T) {
	p := newPresent(t)
	ada := someone(hereIDP, "1001", "ada")
	one, two, ben := p.signIn(ada, "Firefox"), p.signIn(ada, "Safari"), p.signIn(someone(hereIDP, "1002", "ben"), "curl")
	agents := map[string]string{}
	for _, a := range p.list("ada") {
		agents[a.Agent] = a.ID
	}
	benID := p.list("ben")[0].ID

	for name, tt := range map[string]struct {
		args []string
		errs string
	}{
		"another's":           {[]string{"ada", agents["Firefox"][:12], benID[:12]}, `ada has no session or token "` + benID[:12] + `": see gatehouse session list ada`},
		"one that is none":    {[]string{"ada", "x"}, "has no session or token"},
		"an empty one":        {[]string{"ada", ""}, "has no session or token"},
		"one that may be two": {[]string{"ada", "s"}, `several of ada begin with "s"`},
	} {
		t.Run(name, func(t *testing.T) {
			if code, out, errs := p.run(append([]string{"end"}, tt.args...)...); code != 1 || out != "" || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
	if !p.in(one) || !p.in(two) || !p.in(ben) {
		t.Fatal("a refusal has ended something")
	}
	id := agents["Firefox"][:8]
	code, out, errs := p.run("end", "ada", id, agents["Firefox"])
	if code != 0 || !strings.HasPrefix(out, "Ended session "+id+" of ada (https://idp.example.com), since 20") || !strings.HasSuffix(out, ", 192.0.2.1, Firefox.\n") ||
		strings.Count(out, "\n") != 1 || !strings.Contains(errs, "at most 30s (session.cache.lifetime)") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if p.in(one) || !p.in(two) {
		t.Errorf("one %t, two %t", p.in(one), p.in(two))
	}
	token, err := p.tokens.Issue(t.Context(), ada, "", session.Client{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := p.run("end", "ada@example.com", "--all"); code != 0 || strings.Count(out, "Ended ") != 2 {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if _, _, err := p.tokens.Find(t.Context(), token); p.in(two) || err == nil || !p.in(ben) {
		t.Errorf("two %t, the token %v, ben %t", p.in(two), err, p.in(ben))
	}
	if code, out, errs := p.run("end", "ada", "--all"); code != 0 || !strings.Contains(out, "There was no session or token of ada; what was remembered of their password is forgotten.") {
		t.Errorf("again: exit %d\n%s%s", code, out, errs)
	}
}

// TestSessionSeveral: nobody is taken for another of the same name.
func TestSessionSeveral(t *testing.T) {
	p := newPresent(t)
	here, far := p.signIn(someone(hereIDP, "1001", "ada"), "a"), p.signIn(someone(farIDP, "77", "ada"), "b")
	for _, args := range [][]string{{"list", "ada"}, {"end", "ada", "--all"}, {"end", "ada", "s"}} {
		code, out, errs := p.run(args...)
		if code != 1 || out != "" || !strings.Contains(errs, `several go by "ada"`) || !strings.Contains(errs, "\n  1001 --issuer "+hereIDP+"\n  77 --issuer "+farIDP+"\n") {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, errs)
		}
	}
	if code, _, errs := p.run("end", "ada", "--issuer", farIDP, "--all"); code != 0 || p.in(far) || !p.in(here) {
		t.Errorf("exit %d, here %t, far %t\n%s", code, p.in(here), p.in(far), errs)
	}

	t.Run("a person who is called like a service account", func(t *testing.T) {
		_, keyID, _ := keyNew(t, p.file, "ci")
		ci := p.signIn(someone(hereIDP, "1003", "ci"), "c")
		code, out, errs := p.run("end", "ci", "--all")
		if code != 1 || out != "" || !strings.Contains(errs, "1003 --issuer "+hereIDP) || !strings.Contains(errs, "account:ci --issuer https://example.com") || !p.in(ci) {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
		if list := p.list("account:ci", "--issuer", "https://example.com"); len(list) != 1 || list[0].ID != keyID {
			t.Errorf("the account has %v", list)
		}
		if code, _, errs := p.run("end", "1003", "--all"); code != 0 || p.in(ci) {
			t.Errorf("exit %d\n%s", code, errs)
		}
	})
}

// TestSessionKeys: of a service account's keys it is said how they are ended.
func TestSessionKeys(t *testing.T) {
	p := newPresent(t)
	_, id, _ := keyNew(t, p.file, "ci")
	account := authn.Identity{Issuer: hereIDP, Subject: "account:ci", Kind: authn.Service, Username: "ci", Route: "programs"}
	token, err := p.tokens.Issue(t.Context(), account, "", session.Client{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if list := p.list("ci"); len(list) != 2 {
		t.Errorf("ci has %v", list)
	}
	if code, out, errs := p.run("end", "ci", id); code != 1 || out != "" || !strings.Contains(errs, "end it with gatehouse key revoke "+id) {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	code, out, errs := p.run("end", "ci", "--all")
	if code != 1 || !strings.HasPrefix(out, "Ended token t") || !strings.Contains(errs, "API keys go on; to end them:\n  gatehouse key revoke "+id+"\n") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if _, _, err := p.tokens.Find(t.Context(), token); err == nil {
		t.Error("the token goes on")
	}
	if list := p.list("ci"); len(list) != 1 || list[0].Kind != "api key" || list[0].Route != "programs" || !list[0].Seen.IsZero() {
		t.Errorf("ci has %+v", list)
	}
	if code, out, errs := p.run("end", "nightly", "--all"); code != 0 || out != "There was no session or token of nightly.\n" {
		t.Errorf("without anything: exit %d\n%s%s", code, out, errs)
	}
}

func TestSessionErrors(t *testing.T) {
	p := newPresent(t)
	plain := strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$DIRECTORY", "ldap://127.0.0.1:9")
	memory := writeFile(t, "memory.yaml", plain.Replace(keySettings))
	down := writeFile(t, "down.yaml", plain.Replace(keySettings)+sharedKey+"store: {redis: {url: \"redis://127.0.0.1:1\"}}\n")
	for name, tt := range map[string]struct {
		args []string
		code int
		errs string
	}{
		"end, nobody":           {[]string{"end", "-c", p.file}, 2, "gatehouse session list shows who is signed in"},
		"end, nothing":          {[]string{"end", "-c", p.file, "ada"}, 2, "--all for everything of ada, or IDs, which gatehouse session list ada shows"},
		"end, all and one":      {[]string{"end", "-c", p.file, "ada", "s1", "--all"}, 2, "leave it out, or the IDs"},
		"end, unknown":          {[]string{"end", "-c", p.file, "carol", "--all"}, 1, `nobody who goes by "carol" is signed in: see gatehouse session list`},
		"list, unknown":         {[]string{"list", "-c", p.file, "carol"}, 1, `nobody who goes by "carol"`},
		"list, two":             {[]string{"list", "-c", p.file, "ada", "ben"}, 2, "takes one person"},
		"list, no limit":        {[]string{"list", "-c", p.file, "--limit", "0"}, 2, "--limit is at least 1"},
		"memory":                {[]string{"list", "-c", memory}, 1, "have no store.redis"},
		"memory, end":           {[]string{"end", "-c", memory, "ada", "--all"}, 1, "have no store.redis"},
		"a store that is down":  {[]string{"list", "-c", down}, 1, "check store.redis.url"},
		"down, end":             {[]string{"end", "-c", down, "ada", "--all"}, 1, "check store.redis.url"},
		"a command that is not": {[]string{"stop"}, 2, `there is no command "stop"`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, nil, append([]string{"session"}, tt.args...)...)
			if code != tt.code || out != "" || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit %d, want %d with %q\nout: %s\nerr: %s", code, tt.code, tt.errs, out, errs)
			}
		})
	}
}

func TestShortIDs(t *testing.T) {
	list := []session.Access{{ID: "sAAAAAAAAAAAA1"}, {ID: "sBBBBBBBBBBBBB"}, {ID: "sAAAAAAAAAAAA2"}, {ID: "key"}}
	if got := fmt.Sprint(shortIDs(list)); got != "[sAAAAAAAAAAAA1 sBBBBBBB sAAAAAAAAAAAA2 key]" {
		t.Error(got)
	}
}

// ended asks the API to end something, and says what it answers.
func (w *world) ended(c *http.Client, target string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodDelete, "https://"+publicHost+"/.gatehouse/api"+target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return w.do(c, req)
}

// TestReplicasHearOfAnEnd: what is ended through one gateway, or from outside, is over on
// the other, which has just let it in and remembers that.
func TestReplicasHearOfAnEnd(t *testing.T) {
	addr := startRedis(t)
	one := newWorld(t, offlineSettings+"api: {administrators: [{groups: [admins]}]}\n"+fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr))
	two := one.replica()
	file := writeFile(t, "gatehouse.yaml", one.settings)
	in := func(c *http.Client) bool {
		return two.get(two.at(c), "/.gatehouse/userinfo", nil).status == http.StatusOK
	}
	over := func(t *testing.T, c *http.Client) {
		t.Helper()
		waitFor(t, func() error {
			if in(c) {
				return io.ErrNoProgress
			}
			return nil
		})
	}
	for name, end := range map[string]func(t *testing.T, cleo *http.Client){
		"by themselves": func(t *testing.T, cleo *http.Client) {
			if got := one.ended(cleo, "/me/sessions"); got.status != http.StatusOK || !strings.HasPrefix(got.body, `{"ended":1,`) {
				t.Fatalf("%d %s", got.status, got.body)
			}
		},
		"by an administrator": func(t *testing.T, _ *http.Client) {
			if got := one.ended(one.signIn("ben"), "/sessions?person=cleo"); got.status != http.StatusForbidden {
				t.Errorf("ben administers: %d %s", got.status, got.body)
			}
			if got := one.ended(one.signIn("ada"), "/sessions?person=cleo"); got.status != http.StatusOK || !strings.HasPrefix(got.body, `{"ended":1,`) {
				t.Fatalf("%d %s", got.status, got.body)
			}
		},
		"by an operator": func(t *testing.T, _ *http.Client) {
			if code, out, errs := command(t, nil, "session", "end", "-c", file, "cleo", "--all"); code != 0 || strings.Count(out, "Ended session") != 1 {
				t.Fatalf("exit %d\n%s%s", code, out, errs)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cleo, ben := one.signIn("cleo"), one.signIn("ben")
			if !in(cleo) || !in(ben) {
				t.Fatal("not signed in at the other replica")
			}
			end(t, cleo)
			began := time.Now()
			over(t, cleo)
			if took := time.Since(began); took > 10*time.Second { // remembered sessions last for 30
				t.Errorf("the other replica took %s", took)
			}
			if !in(ben) {
				t.Error("another person is out")
			}
		})
	}
}

// TestSessionPassword: of who sends a password with each request, and is in no list, it is
// forgotten that it was right.
func TestSessionPassword(t *testing.T) {
	d, url, err := authntest.StartDirectory(authntest.DirectoryOptions{
		BaseDN: demoBase, AnonymousRead: true, Entries: authntest.DirectoryOf(demoPeople(), demoBase, demoPassword),
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := startRedis(t)
	w := newWorld(t, strings.Replace(keySettings, "$DIRECTORY", url, 1)+sharedKey+fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr))
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth("ada", demoPassword)
	ask := func() answer { return w.get(w.program(), "/.gatehouse/userinfo", r.Header) }
	var ada struct{ Issuer, Subject string }
	got := ask()
	if err := json.Unmarshal([]byte(got.body), &ada, json.MatchCaseInsensitiveNames(true)); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %v %s", got.status, err, got.body)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got.status != http.StatusOK {
		t.Fatalf("the password is not remembered: %d", got.status)
	}
	file := writeFile(t, "gatehouse.yaml", w.settings)
	code, out, errs := command(t, nil, "session", "end", "-c", file, ada.Subject, "--issuer", ada.Issuer, "--all")
	if code != 0 || !strings.Contains(out, "what was remembered of their password is forgotten") {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	waitFor(t, func() error {
		if got := ask(); got.status != http.StatusServiceUnavailable {
			return fmt.Errorf("it counts without the directory: %d", got.status)
		}
		return nil
	})
}
