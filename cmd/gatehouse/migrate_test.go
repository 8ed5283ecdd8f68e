package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/config"
)

func TestMigrateCommand(t *testing.T) {
	whole := []string{"--provider=oidc", "--oidc-issuer-url=https://login.example.com", "--client-id=app", "--email-domain=example.com",
		"--redirect-url=https://app.example.com/oauth2/callback", "--upstream=http://127.0.0.1:3000"}
	file := writeFile(t, "oauth2-proxy.cfg", "client_id = \"from-file\"\nprovider = \"oidc\"\n")
	alpha := writeFile(t, "alpha.yaml", "providers: [{provider: oidc, clientID: from-alpha}]\n")
	env := writeFile(t, "proxy.env", "# a comment\nexport OAUTH2_PROXY_CLIENT_ID='from-env-file'\nOAUTH2_PROXY_PROVIDER=oidc\n")
	with := func(args ...string) []string { return append([]string{"migrate", "oauth2-proxy"}, args...) }
	tests := map[string]struct {
		args, env []string
		code      int
		out, errs string // parts of what is printed
	}{
		"help teaches":             {args: with("--help"), out: "--write /etc/gatehouse"},
		"migrate alone teaches":    {args: []string{"migrate"}, out: "oauth2-proxy"},
		"another gateway":          {args: []string{"migrate", "outh2-proxy"}, code: 2, errs: "did you mean oauth2-proxy?"},
		"complete":                 {args: with(append([]string{"--"}, whole...)...), out: "publicURL: https://app.example.com\n", errs: "in the memory of this one process"},
		"with the program's name":  {args: with(append([]string{"--", "/bin/oauth2-proxy"}, whole...)...), out: "clientID: app\n"},
		"a line to fill in":        {args: with(append([]string{"--"}, whole[:5]...)...), code: 1, out: "FILL IN", errs: "line 5: trustedProxies: the addresses"},
		"an issuer that is no URL": {args: with(append([]string{"--"}, append(whole, "--oidc-issuer-url=http://login.example.com")...)...), code: 1, out: "clientID: app\n", errs: "authn[0].oidc.issuer: must be https"},
		"the file":                 {args: with("--config", file), code: 1, out: "clientID: from-file\n"},
		"the file, and a flag":     {args: with("--config", file, "--", "oauth2-proxy", "--client-id=from-flag"), code: 1, out: "clientID: from-flag\n"},
		"the alpha configuration":  {args: with("--alpha-config", alpha), code: 1, out: "clientID: from-alpha\n"},
		"the environment":          {args: with(), env: []string{"OAUTH2_PROXY_PROVIDER=oidc", "OAUTH2_PROXY_CLIENT_ID=from-env"}, code: 1, out: "clientID: from-env\n"},
		"a file of variables":      {args: with("--env-file", env), env: []string{"OAUTH2_PROXY_CLIENT_ID=from-env"}, code: 1, out: "clientID: from-env-file\n"},
		"no such file":             {args: with("--env-file", "/nowhere/x"), code: 2, errs: "--env-file"},
		"an unknown option":        {args: with("--", "--emial-domain=x"), code: 2, errs: "did you mean --email-domain?"},
		"without --":               {args: with("--provider=oidc"), code: 2, errs: "stand behind --"},
		"a stray word":             {args: with("oauth2-proxy.cfg"), code: 2, errs: "stand behind --"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit %d, want %d with %q and %q\nout: %s\nerr: %s", code, tt.code, tt.out, tt.errs, out, errs)
			}
			if tt.code == 2 && out != "" {
				t.Errorf("a refusal wrote to standard output: %s", out)
			}
		})
	}
}

// TestMigrateWrites checks that --write makes a whole that the gateway takes, for this user
// alone, prints no secret, and overwrites nothing.
func TestMigrateWrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	env := []string{"OAUTH2_PROXY_CLIENT_SECRET=hidden-client", "OAUTH2_PROXY_REDIS_PASSWORD=hidden-redis"}
	args := []string{"migrate", "oauth2-proxy", "--write", dir, "--", "--provider=oidc", "--oidc-issuer-url=https://login.example.com", "--client-id=app",
		"--email-domain=example.com", "--redirect-url=https://app.example.com/oauth2/callback", "--upstream=http://127.0.0.1:3000",
		"--session-store-type=redis", "--redis-connection-url=rediss://redis.example.com", "--cookie-secret=hidden-cookie"}
	code, out, errs := command(t, env, args...)
	if code != 0 || strings.Contains(out+errs, "hidden-") {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	made := map[string][]byte{}
	for line := range strings.Lines(out) {
		file := strings.TrimSpace(line)
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v; want a file of mode 0600", file, info, err)
		}
		if made[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if len(made) != 4 || string(made["client-secret"]) != "hidden-client\n" || bytes.Contains(made["gatehouse.yaml"], []byte("hidden-")) {
		t.Errorf("made %q", made)
	}
	c, err := config.Load(filepath.Join(dir, "gatehouse.yaml"), nil)
	if err != nil {
		t.Fatalf("the gateway refuses it:\n%v", err)
	}
	if c.Store.Redis.Password.Reveal() != "hidden-redis" || len(c.Session.Keys) != 1 || c.Authn[0].OIDC.ClientSecret.Reveal() != "hidden-client" {
		t.Error("the secrets are not those of oauth2-proxy, or there is no key")
	}
	if code, out, errs := command(t, nil, "check", "--offline", "-c", filepath.Join(dir, "gatehouse.yaml")); code != 0 {
		t.Errorf("check: exit %d\n%s%s", code, out, errs)
	}

	if err := os.Remove(filepath.Join(dir, "gatehouse.yaml")); err != nil {
		t.Fatal(err)
	}
	code, out, errs = command(t, env, args...)
	if _, err := os.Stat(filepath.Join(dir, "gatehouse.yaml")); code != 1 || out != "" || !strings.Contains(errs, "is there already: nothing was written") || !os.IsNotExist(err) {
		t.Errorf("beside what is there: exit %d, %v\n%s%s", code, err, out, errs)
	}
	if now, err := os.ReadFile(filepath.Join(dir, "session-keys")); err != nil || !bytes.Equal(now, made["session-keys"]) {
		t.Errorf("the keys were overwritten (%v)", err)
	}

	elsewhere := filepath.Join(t.TempDir(), "made")
	args[3] = elsewhere
	if code, _, errs := command(t, env, append([]string{"migrate", "oauth2-proxy", "--secrets", "/run/secrets"}, args[2:]...)...); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	if text, err := os.ReadFile(filepath.Join(elsewhere, "gatehouse.yaml")); err != nil || !bytes.Contains(text, []byte("clientSecretFile: /run/secrets/client-secret\n")) {
		t.Errorf("the settings do not look where they were told to (%v):\n%s", err, text)
	}
}

// TestMigrateDocument runs the first command of docs/migrate-from-oauth2-proxy.md, which
// prints the settings below it. With -update it writes those again.
func TestMigrateDocument(t *testing.T) {
	const doc = "../../docs/migrate-from-oauth2-proxy.md"
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	all := blocks(string(text))
	for i, b := range all {
		if b[0] != "sh" || !strings.Contains(b[1], " -- ") {
			continue
		}
		line := strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(b[1]), "\\\n", " "), "'", "")
		code, out, errs := command(t, nil, arguments(line)[1:]...)
		if code != 0 {
			t.Fatalf("exit %d\n%s", code, errs)
		}
		if shown := all[i+1][1]; out != shown && *update {
			if err := os.WriteFile(doc, []byte(strings.Replace(string(text), shown, out, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if out != shown {
			t.Errorf("it prints\n%s\nthe document shows\n%s", out, shown)
		}
		return
	}
	t.Error("no such command was found")
}

// TestMigratedSettingsServe runs a gateway with settings that were made, in front of an
// application, beside a provider.
func TestMigratedSettingsServe(t *testing.T) {
	w := &world{t: t, app: &recorder{}, log: &lockedBuffer{}}
	upstream := httptest.NewServer(w.app)
	t.Cleanup(upstream.Close)
	w.startProvider()
	emails := writeFile(t, "emails.txt", demoPeople()[0].Email+"\n")
	_, settings, errs := command(t, nil, "migrate", "oauth2-proxy", "--", "--provider=oidc", "--oidc-issuer-url="+w.provider.URL, "--client-id=gatehouse",
		"--authenticated-emails-file="+emails, "--redirect-url=https://"+publicHost+"/oidc/callback", "--upstream="+upstream.URL,
		"--skip-auth-route=GET=^/healthz$", "--skip-auth-route=^/static/")
	w.serve(settings)

	for path, want := range map[string]int{"/healthz": 200, "/static/a.css": 200, "/static": 401, "/healthz/x": 401, "/": 401} {
		if a := w.get(w.program(), path, nil); a.status != want {
			t.Errorf("%s without a session: %d, want %d\n%s", path, a.status, want, errs)
		}
	}
	for i, want := range []int{http.StatusOK, http.StatusForbidden} {
		someone := demoPeople()[i]
		b := w.browser()
		a := w.get(b, "/.gatehouse/sign-in?provider=sso&rd=/page&login_hint="+someone.Username, navigation)
		if a.status != want {
			t.Fatalf("%s: %d at %s, want %d\n%s", someone.Username, a.status, a.url, want, a.body)
		}
		if want != http.StatusOK {
			continue
		}
		h := w.app.last(t).Header
		if h.Get("X-Forwarded-Email") != someone.Email || h.Get("X-Auth-Request-Email") != someone.Email || h.Get("X-Forwarded-User") == "" {
			t.Errorf("the application was told %v", h)
		}
		if a := w.get(b, "/oauth2/sign_out", navigation); a.status != http.StatusOK || a.url.Path != "/oauth2/sign_out" {
			t.Errorf("signing out: %d at %s", a.status, a.url)
		}
	}
}
