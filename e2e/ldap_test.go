package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"gatehouse/e2e/directory"
)

// dirHouse is a gateway in front of a directory, set up by nothing but the
// environment that a W&B server's operator has.
type dirHouse struct {
	*process
	place
	t         *testing.T
	directory *directory.Slapd
	redis     *redisServer
	app       *app
	env       []string
}

func newDirHouse(t *testing.T, at place, more ...string) *dirHouse {
	t.Helper()
	h := &dirHouse{place: at, t: t, directory: directory.NewSlapd(t, directory.SlapdOptions{}), redis: startRedis(t), app: startApp(t)}
	cert := writeCertificate(t, "gatehouse.test")
	h.env = append([]string{
		"GATEHOUSE_PUBLIC_URL=" + at.url, "GATEHOUSE_LISTEN_ADDRESS=" + loopback(at.port), "GATEHOUSE_OPERATIONS_ADDRESS=" + loopback(at.ops),
		"GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_CERT_FILE=" + cert, "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_KEY_FILE=" + cert,
		"GATEHOUSE_UPSTREAM=" + h.app.URL, "GATEHOUSE_STORE_REDIS_URL=" + h.redis.url(), "GATEHOUSE_SESSION_KEYS=" + sessionKey,
		"LOCAL_LDAP_ADDRESS=" + h.directory.TLSURL, "LOCAL_LDAP_BASE_DN=" + h.directory.BaseDN,
		"LOCAL_LDAP_BIND_DN=" + h.directory.ServiceDN, "LOCAL_LDAP_BIND_PW=" + h.directory.ServicePassword,
		"LOCAL_LDAP_ATTRIBUTES=email=mail,group=memberOf", "GATEHOUSE_AUTHN_0_LDAP_TLS_CA_FILE=" + h.directory.CAFile,
		"LDAP_GROUP_BASE_DN=ou=groups," + h.directory.BaseDN, "LDAP_USER_BASE_DN=ou=people," + h.directory.BaseDN,
	}, more...)
	return h
}

// run starts the gateway.
func (h *dirHouse) run() *dirHouse {
	h.t.Helper()
	h.process = start(h.t, h.command(h.t.Context(), "serve"), answers("http://"+loopback(h.ops)+"/livez"))
	return h
}

// tested waits until the gateway has looked at the directory, as it does when it starts.
func (h *dirHouse) tested() {
	h.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(h.out.String(), `"directory tested"`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("the directory is not looked at\n%s", h.out.tail(20))
		}
	}
}

func (h *dirHouse) command(ctx context.Context, args ...string) *exec.Cmd {
	h.t.Helper()
	program, err := shared.gatehouse()
	if err != nil {
		h.t.Fatal("build the gateway: ", err)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = h.env
	return cmd
}

// said runs a command of the program to its end.
func (h *dirHouse) said(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	out, err := h.command(ctx, args...).CombinedOutput()
	return string(out), err
}

// fillForm types a name and a password into the gateway's own form, sends it and
// waits for another page.
func (b *tab) fillForm(username, password string) {
	b.t.Helper()
	b.do(chromedp.Clear(chromedp.CSS("#username"), chromedp.NodeVisible))
	b.fill("#username", username)
	b.fill("#password", password)
	ask(b, chromedp.Evaluate[bool](`document.body.dataset.old = "yes", true`))
	b.press("form button")
	b.awaitThat("leave the form", func() bool {
		old, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body?.dataset.old ?? ""`))
		return err == nil && old == "" && b.loaded()
	})
}

// TestDirectory is the way of a person whose password is in a directory.
func TestDirectory(t *testing.T) {
	t.Parallel()
	h := newDirHouse(t, securePlace(t), "LOCAL_LDAP_GROUP_ALLOW_LIST=research, ops").run()
	b := newProfile(t)
	const sentence = "The user name or the password is wrong."
	for _, step := range []struct {
		name string
		run  func(b *tab)
	}{
		{"wrong password", func(b *tab) {
			b.open(h.url + deepLink)
			b.await(h.url + "/.gatehouse/sign-in/ldap")
			b.fillForm("alice", "not it")
			b.awaitText(sentence)
			if left := ask(b, chromedp.Evaluate[string](`username.value + "|" + password.value + "|" + document.activeElement.id`)); left != "alice||password" {
				b.t.Errorf("the form is left as %q", left)
			}
		}},
		{"unknown name", func(b *tab) {
			b.fillForm("nobody-here", "not it")
			b.awaitText(sentence)
		}},
		{"right password", func(b *tab) {
			b.fillForm("ALICE ", "alice-pw") // as a phone's keyboard writes it
			b.await(h.url + deepLink)
			h.knows(h.app.last(b.t, "/runs/42/overview"), "alice", "alice@example.org", "admins,research")
		}},
		{"restart", func(b *tab) {
			h.stop()
			h.run()
			b.open(h.url + "/after")
			h.knows(h.app.last(b.t, "/after"), "alice", "alice@example.org", "admins,research")
		}},
		{"directory down", func(b *tab) {
			h.directory.Stop()
			if got := b.open(h.url + "/without"); got != http.StatusOK {
				b.t.Errorf("a session of a directory that is down gets %d", got)
			}
			c := newProfile(b.t)
			c.open(h.url + "/x")
			c.fillForm("bob", "bob-pw")
			c.awaitText("can’t be checked right now")
			h.directory.Restart(b.t)
			c.open(h.url + "/x")
			c.fillForm("bob", "bob-pw")
			c.await(h.url + "/x")
		}},
		{"not allowed", func(b *tab) {
			c := newProfile(b.t)
			c.open(h.url + "/x")
			c.fillForm("dave", "dave-pw")
			c.awaitText("You need to be in the group research or ops.")
		}},
		{"sign out", func(b *tab) {
			b.open(h.url + "/logout")
			b.press("main button")
			b.awaitText("You are signed out")
			b.open(h.url + deepLink)
			b.await(h.url + "/.gatehouse/sign-in/ldap")
		}},
		{"by keyboard", func(b *tab) {
			b.open(h.url + "/keys")
			b.await(h.url + "/.gatehouse/sign-in/ldap")
			b.do(chromedp.KeyEvent("alice"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("alice-pw"), chromedp.KeyEvent(kb.Enter))
			b.await(h.url + "/keys")
		}},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(b.in(t)) }) {
			break
		}
	}
	h.keepsSecrets(t, "alice-pw", "bob-pw", "not it", h.directory.ServicePassword)
}

// knows checks what the application was told.
func (h *dirHouse) knows(r *http.Request, username, email, groups string) {
	h.t.Helper()
	got := identity(r)
	if got["X-Forwarded-Preferred-Username"] != username || got["X-Forwarded-Email"] != email || got["X-Forwarded-Groups"] != groups ||
		got["X-Gatehouse-Route"] != "ldap" || got["X-Gatehouse-Issuer"] != "ldap:///"+h.directory.BaseDN || got["X-Forwarded-User"] == username {
		h.t.Errorf("the application was told %v", got)
	}
	if a := r.Header.Get("Authorization"); a != "" {
		h.t.Error("LDAP HDR-28: the application was handed the password")
	}
}

func (h *dirHouse) keepsSecrets(t *testing.T, secrets ...string) {
	t.Helper()
	log := h.out.String()
	for _, s := range secrets {
		if strings.Contains(log, s) {
			t.Errorf("LDAP-42: the log holds %q", s)
		}
	}
}

// TestDirectoryBasic is the way of a program with a directory's password, and
// of one whose credential is not a directory's at all.
func TestDirectoryBasic(t *testing.T) {
	t.Parallel()
	h := newDirHouse(t, plainPlace(t), "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_CERT_FILE=", "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_KEY_FILE=")
	h.env = without(h.env, "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_CERT_FILE", "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_KEY_FILE")
	h.run()
	ask := func(username, password string) (int, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/graphql", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if username != "" || password != "" {
			req.SetBasicAuth(username, password)
		}
		client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode, res.Header
	}
	if status, _ := ask("alice", "alice-pw"); status != http.StatusOK {
		t.Fatalf("the right password gets %d\n%s", status, h.out.tail(20))
	}
	h.knows(h.app.last(t, "/graphql"), "alice", "alice@example.org", "admins,research")
	h.tested()
	binds, searches := h.directory.Operations(t)
	for range 100 {
		if status, _ := ask("alice", "alice-pw"); status != http.StatusOK {
			t.Fatalf("a remembered password gets %d", status)
		}
	}
	if b, s := h.directory.Operations(t); b != binds || s != searches {
		t.Errorf("100 requests cost %d binds and %d searches", b-binds, s-searches)
	}
	status, header := ask("", "")
	if list := strings.Join(header.Values("WWW-Authenticate"), "\n"); status != http.StatusUnauthorized || !strings.Contains(list, "Basic realm=") {
		t.Errorf("nobody gets %d and %s", status, list)
	}
	for _, key := range []string{strings.Repeat("0", 40), "local-" + strings.Repeat("a", 40)} {
		if status, _ := ask("api", key); status != http.StatusUnauthorized {
			t.Errorf("an API key gets %d", status)
		}
	}
	if b, s := h.directory.Operations(t); b != binds || s != searches {
		t.Error("an API key was sent to the directory")
	}

	// Wrong passwords: banned, by Basic and form alike, until somebody lifts it.
	for i := range 5 {
		status, header = ask("bob", fmt.Sprintf("guess %d", i))
	}
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("the fifth guess gets %d %v", status, header)
	}
	if status, _ := ask("bob", "bob-pw"); status != http.StatusTooManyRequests {
		t.Errorf("LDAP-22: the right password gets %d during the ban", status)
	}
	if status, _ := ask("alice", "alice-pw"); status != http.StatusOK {
		t.Errorf("LDAP-26: somebody else gets %d", status)
	}
	if out, err := h.said("unban", "BOB"); err != nil || !strings.Contains(out, "BOB by route ldap: wrong passwords forgotten") {
		t.Errorf("unban: %v %s", err, out)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) { // the gateway believes a ban for 5 s
		if status, _ = ask("bob", "bob-pw"); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the ban was lifted: %d", status)
		}
	}
	if out, err := h.said("unban", "--address", "127.0.0.1"); err != nil || !strings.Contains(out, "address 127.0.0.1: wrong passwords forgotten") { // the three of bob
		t.Errorf("unban: %v %s", err, out)
	}
	h.keepsSecrets(t, "alice-pw", "bob-pw", "guess", h.directory.ServicePassword)
}

// without drops variables from an environment.
func without(env []string, names ...string) []string {
	var out []string
next:
	for _, e := range env {
		for _, n := range names {
			if strings.HasPrefix(e, n+"=") {
				continue next
			}
		}
		out = append(out, e)
	}
	return out
}

// TestDirectoryTestOnly: LOGIN=false lets nobody in, and says what it found,
// both in check and in the log of a gateway that starts.
func TestDirectoryTestOnly(t *testing.T) {
	t.Parallel()
	h := newDirHouse(t, securePlace(t), "LOCAL_LDAP_LOGIN=False")
	out, err := h.said("check")
	for _, want := range []string{"connected TLS 1.3", "as cn=", "people ", "attribute mail", "groups ", "authn[0].ldap.testOnly: nobody can sign in by this route", "All is well, with 1 warning(s)."} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q", want)
		}
	}
	if err != nil || t.Failed() {
		t.Errorf("check: %v\n%s", err, out)
	}
	h.run()
	deadline := time.Now().Add(patience)
	for !strings.Contains(h.out.String(), `"what":"groups"`) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not tell of the directory\n%s", h.out.tail(40))
		}
		time.Sleep(20 * time.Millisecond)
	}
	b := newProfile(t)
	if got := b.open(h.url + "/x"); got != http.StatusUnauthorized {
		t.Errorf("a browser gets %d", got)
	}
	if got := b.open(h.url + "/.gatehouse/sign-in"); got != http.StatusNotFound {
		t.Errorf("the sign-in page is %d", got)
	}
	h.env = append(h.env, "LOCAL_LDAP_BIND_PW=wrong")
	if out, err := h.said("check"); err == nil || !strings.Contains(out, "FAULT  bind") || !strings.Contains(out, "check bindDN and bindPassword") {
		t.Errorf("check of a wrong password: %v\n%s", err, out)
	}
}

// TestDirectoryBesideProvider: one page offers both ways, and axe-core finds no
// barrier on it.
func TestDirectoryBesideProvider(t *testing.T) {
	t.Parallel()
	at := securePlace(t)
	p := startNodeProvider(t, nodeOptions{paths: at.paths(), as: "public"})
	h := newDirHouse(t, at, "OIDC_ISSUER="+p.issuer(), "OIDC_CLIENT_ID="+p.client().id, "OIDC_AUTH_METHOD=pkce",
		"GATEHOUSE_SHARED_EMAILS=true", "GATEHOUSE_AUTHN_0_LABEL=Example provider", "GATEHOUSE_AUTHN_0_OIDC_SCOPES=openid,profile,email,groups",
		"GATEHOUSE_AUTHN_1_LABEL=Lab directory", "GATEHOUSE_AUTHN_1_LDAP_SUBJECT_PREFIX=dir:")
	h.env = append(without(h.env, "GATEHOUSE_AUTHN_0_LDAP_TLS_CA_FILE"), "GATEHOUSE_AUTHN_1_LDAP_TLS_CA_FILE="+h.directory.CAFile)
	h.run()
	axe, err := os.ReadFile("oidc-provider/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v; %s", err, hint)
	}
	b := newProfile(t)
	b.open(h.url + "/x?y=z")
	b.await(h.url + "/.gatehouse/sign-in/ldap?rd=%2Fx%3Fy%3Dz")
	inspectPage(b, "sign-in-form", string(axe))
	b.press("a.choice")
	p.signIn(b, "alice")
	b.await(h.url + "/x?y=z")
	if got := identity(h.app.last(t, "/x")); got["X-Gatehouse-Route"] != "oidc" {
		t.Errorf("by the provider: %v", got)
	}

	c := newProfile(t)
	c.open(h.url + "/x?y=z")
	c.fillForm("alice", "wrong")
	c.awaitText("The user name or the password is wrong.")
	inspectPage(c, "sign-in-problem", string(axe))
	c.fillForm("alice", "alice-pw")
	c.await(h.url + "/x?y=z")
	if got := identity(h.app.last(t, "/x")); got["X-Gatehouse-Route"] != "ldap" || !strings.HasPrefix(got["X-Forwarded-User"], "dir:") {
		t.Errorf("by the directory: %v", got)
	}
}
