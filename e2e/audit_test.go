package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// line is what a test looks at of a line of the audit trail.
type line struct {
	Event, Outcome, Reason, Route, Subject, Username, Address, Path string
	Object                                                          []string
	OfSubject                                                       string `json:"of_subject"`
}

// TestAudit: the trail tells who came in and out, who was refused and what was changed,
// and holds no secret; it finds out what is done to it; and where it can't be written,
// nobody signs in.
func TestAudit(t *testing.T) {
	t.Parallel()
	at := plainPlace(t)
	p := startNodeProvider(t, nodeOptions{as: "public", paths: at.paths()})
	h := &house{t: t, provider: p, app: startApp(t)}
	dir := filepath.Join(t.TempDir(), "audit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "trail.log")
	rules := "\npolicy: [{name: few, paths: [/few/], require: [{groups: [nobody]}]}]"
	s := settings{place: at, Upstream: h.app.URL, Routes: []route{routeTo(p)}, Redis: startRedis(t).url()}
	s.More = "reload: {interval: 1s}\naudit: {output: file, chain: true, file: " + file + "}"
	h.gateway = startGateway(t, s)
	b := h.signIn(t, "/work", "alice")
	cookie := b.cookies()[h.cookie()].Value
	h.gateway.write(rules)
	b.awaitThat("be kept out by the new rule", func() bool { return b.open(h.url+"/few/x") == http.StatusForbidden })
	program(t, h.url+"/x", "Bearer nonsense-"+strings.Repeat("x", 40))
	if said := h.gateway.said("session", "list", "--json"); !strings.Contains(said, "alice") {
		t.Errorf("gatehouse session list: %s", said)
	}
	b.open(h.url + "/.gatehouse/")
	b.press("button[value^=s]")
	p.signOut(b)
	b.await(h.url + "/logout")

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]line{}
	for in := bufio.NewScanner(strings.NewReader(string(text))); in.Scan(); {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		told[l.Event+" "+l.Outcome] = l
	}
	if l := told["sign-in allowed"]; !strings.Contains(l.Subject, "alice") || l.Route != "main" || l.Address != "127.0.0.1" || l.Path != "/oidc/callback" || len(l.Object) != 1 {
		t.Errorf("the sign-in: %+v", l)
	}
	if l := told["session-end allowed"]; !strings.Contains(l.OfSubject, "alice") || len(l.Object) != 1 || l.Object[0] != told["sign-in allowed"].Object[0] {
		t.Errorf("the sign-out: %+v", l)
	}
	if l := told["access refused"]; !strings.Contains(l.Subject, "alice") || !strings.Contains(l.Reason, "few") || l.Path != "/few/x" {
		t.Errorf("the refusal: %+v", l)
	}
	if l := told["settings allowed"]; len(l.Object) == 0 || !strings.HasPrefix(l.Object[0], "policy[0]") {
		t.Errorf("the change of settings: %+v", l)
	}
	if l := told["lifecycle allowed"]; !strings.HasPrefix(l.Reason, "started") {
		t.Errorf("the start: %+v", l)
	}
	for _, secret := range []string{cookie, sessionKey, "nonsense-", nodeSecret} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the trail holds the secret %q", secret)
		}
	}
	if said := h.gateway.said("audit", "verify"); !strings.HasSuffix(said, "lines are as they were written.") {
		t.Errorf("gatehouse audit verify: %s", said)
	}

	// Where nothing can be written down, nobody comes in; who is in stays.
	c := h.signIn(t, "/stays", "alice")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	d := newProfile(t)
	d.open(h.url + "/work")
	p.signIn(d, "alice")
	d.awaitText("Back in a moment")
	c.open(h.url + "/stays")
	c.await(h.url + "/stays")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.signIn(t, "/again", "alice")
}

// program sends one request as programs do.
func program(t *testing.T, url, authorization string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}
