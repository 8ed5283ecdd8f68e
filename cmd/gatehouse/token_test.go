package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json/v2"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/authn/authntest"
	"gatehouse/authn/workload"
)

func TestTokenCommandLine(t *testing.T) {
	client := []string{"token", "client", "--issuer", "https://idp.example.com", "--client-id", "ci", "-o", "/nowhere/token"}
	with := func(args []string, more ...string) []string { return append(args[:len(args):len(args)], more...) }
	secret := []string{"GATEHOUSE_TOKEN_CLIENT_SECRET=s"}
	for name, tt := range map[string]struct {
		args      []string
		env       []string
		code      int
		out, errs string
	}{
		"alone it teaches":               {args: []string{"token"}, out: "WANDB_IDENTITY_TOKEN_FILE=/run/wandb/token"},
		"client --help teaches":          {args: []string{"token", "client", "--help"}, out: "login.microsoftonline.com"},
		"device --help teaches":          {args: []string{"token", "device", "--help"}, out: "--refresh-token-file ~/.wandb-refresh"},
		"copy --help teaches":            {args: []string{"token", "copy", "--help"}, out: "serviceAccountToken"},
		"command --help teaches":         {args: []string{"token", "command", "--help"}, out: "gcloud auth print-identity-token"},
		"a source that is none":          {args: []string{"token", "clent"}, code: 2, errs: `no command "clent"; did you mean client?`},
		"nowhere to write":               {args: []string{"token", "client"}, code: 2, errs: "--out must name the file"},
		"no issuer":                      {args: []string{"token", "client", "-o", "x", "--client-id", "ci"}, env: secret, code: 2, errs: "an issuer or a token URL"},
		"no client":                      {args: []string{"token", "client", "-o", "x", "--issuer", "https://idp.example.com"}, env: secret, code: 2, errs: "a client id"},
		"no secret":                      {args: client, code: 2, errs: "a client secret or a client key"},
		"a secret twice":                 {args: with(client, "--client-secret-file", "f"), env: secret, code: 2, errs: "twice"},
		"a secret as a flag":             {args: with(client, "--client-secret", "hunter2"), code: 2, errs: "unknown flag: --client-secret"},
		"an issuer in the clear":         {args: with(client, "--issuer", "http://idp.example.com"), env: secret, code: 2, errs: "must be https"},
		"a CA file that is not there":    {args: with(client, "--ca-file", "/nowhere/ca.pem"), env: secret, code: 2, errs: "--ca-file: "},
		"a stray argument":               {args: with(client, "x"), env: secret, code: 2, errs: "takes no arguments"},
		"another token":                  {args: with(client, "--take", "refresh_token"), env: secret, code: 2, errs: "neither access_token nor id_token"},
		"every moment":                   {args: with(client, "--refresh-every", "1s"), env: secret, code: 2, errs: "at least 5s"},
		"a log that is none":             {args: with(client, "--log-format", "xml"), env: secret, code: 2, errs: `"xml" is neither json nor text`},
		"a wrong value by environment":   {args: client, env: append([]string{"GATEHOUSE_TOKEN_REFRESH_EVERY=soon"}, secret...), code: 2, errs: "GATEHOUSE_TOKEN_REFRESH_EVERY: "},
		"device without an issuer":       {args: []string{"token", "device", "-o", "x", "--client-id", "ci"}, code: 2, errs: "a token URL and a device URL"},
		"both tokens in one file":        {args: []string{"token", "device", "-o", "x", "--client-id", "ci", "--issuer", "https://idp.example.com", "--refresh-token-file", "x"}, code: 2, errs: "a file of its own"},
		"copy from nowhere":              {args: []string{"token", "copy", "-o", "x"}, code: 2, errs: "--from must name"},
		"copy to itself":                 {args: []string{"token", "copy", "-o", "x", "--from", "x"}, code: 2, errs: "another one than --out"},
		"no program":                     {args: []string{"token", "command", "-o", "x"}, code: 2, errs: "a program to run"},
		"no such program":                {args: []string{"token", "command", "--once", "-o", filepath.Join(t.TempDir(), "x"), "--", "gatehouse-no-such-program"}, code: 1, errs: "there is no program"},
		"no such file":                   {args: []string{"token", "copy", "--once", "-o", filepath.Join(t.TempDir(), "x"), "--from", "/nowhere/token"}, code: 1, errs: "no such file"},
		"a file that can't be written":   {args: []string{"token", "command", "--once", "-o", "/nowhere/token", "--", "echo", jwt(t, time.Hour)}, code: 1, errs: "write /nowhere/token: no such file or directory"},
		"an issuer that does not answer": {args: with(client, "--once", "--issuer", "http://127.0.0.1:1", "-o", filepath.Join(t.TempDir(), "x")), env: secret, code: 1, errs: "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit %d, want %d with %q and %q\nout: %s\nerr: %s", code, tt.code, tt.out, tt.errs, out, errs)
			}
			if tt.code != 0 && out != "" {
				t.Errorf("a failure wrote to standard output: %s", out)
			}
		})
	}
}

// TestTokenFilesAreTwo spells the place of the token in other ways.
func TestTokenFilesAreTwo(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, err := range []error{
		os.WriteFile("there", []byte("x"), 0o600), os.Link("there", "hard"), os.Symlink("there", "soft"), os.Symlink(".", "way"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		out, other string
		same       bool
	}{
		"a dot before it":           {"t", "./t", true},
		"a way round":               {"t", "x/../t", true},
		"from the root":             {"t", filepath.Join(dir, "t"), true},
		"through a link":            {"t", "way/t", true},
		"by a link":                 {"there", "soft", true},
		"by another name":           {"there", "hard", true},
		"another one":               {"t", "there", false},
		"the same name, not beside": {"t", filepath.Join(t.TempDir(), "t"), false},
	} {
		t.Run(name, func(t *testing.T) {
			for fault, args := range map[string][]string{
				"needs a file of its own": {"device", "--refresh-token-file", tt.other, "--token-url", "http://127.0.0.1:1", "--device-url", "http://127.0.0.1:1", "--client-id", "ci"},
				"another one than --out":  {"copy", "--from", tt.other},
			} {
				code, _, errs := command(t, nil, append([]string{"token"}, append(args, "--once", "--out", tt.out)...)...)
				if same := code == 2 && strings.Contains(errs, fault); same != tt.same || code == 0 {
					t.Errorf("exit %d, %s", code, errs)
				}
			}
		})
	}
}

// jwt is a token that lasts so long, signed by nobody.
func jwt(t *testing.T, life time.Duration) string {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"sub": "ci", "iat": now.Unix(), "exp": now.Add(life).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(claims) + "." + encode([]byte("a signature that nobody verifies"))
}

// TestTokenFlags keeps the promise that each flag is explained, has a name in the
// environment, and holds no secret.
func TestTokenFlags(t *testing.T) {
	for _, cmd := range tokenCommand(shell{}).Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			env := "($GATEHOUSE_TOKEN_" + strings.ReplaceAll(strings.ToUpper(f.Name), "-", "_") + ")"
			kind, usage := pflag.UnquoteUsage(f)
			if !strings.Contains(usage, env) || len(usage) < len(env)+15 || kind == "string" || kind == "stringArray" {
				t.Errorf("%s --%s %s: %q", cmd.Name(), f.Name, kind, usage)
			}
			if strings.HasSuffix(f.Name, "secret") || strings.HasSuffix(f.Name, "refresh-token") {
				t.Errorf("%s --%s would show a secret to other users", cmd.Name(), f.Name)
			}
		})
		if cmd.Example == "" || cmd.Long == "" {
			t.Errorf("%s teaches nothing", cmd.Name())
		}
	}
}

// TestTokenByEnvironment fills in every flag of every command.
func TestTokenByEnvironment(t *testing.T) {
	values := map[string]string{"bool": "true", "duration": "7m0s", "string": "value", "stringArray": "urn:a urn:b"}
	for _, cmd := range tokenCommand(shell{}).Commands() {
		f := &tokenFlags{cmd: &cobra.Command{}, flags: cmd.Flags(), out: "x", logFormat: "json", secret: new(workload.Secret)}
		f.sh.env = []string{"GATEHOUSE_TOKEN_CLIENT_SECRET=hunter2", "GATEHOUSE_TOKEN_LOG_FORMAT="}
		f.flags.VisitAll(func(flag *pflag.Flag) {
			f.sh.env = append(f.sh.env, tokenEnv(flag.Name)+"="+values[flag.Value.Type()])
		})
		if err := f.flags.Set("out", "by-flag"); err != nil {
			t.Fatal(err)
		}
		if err := f.fromEnv(); err != nil {
			t.Errorf("%s: %v", cmd.Name(), err)
		}
		f.flags.VisitAll(func(flag *pflag.Flag) {
			want := values[flag.Value.Type()]
			switch {
			case flag.Name == "out":
				want = "by-flag"
			case flag.Value.Type() == "stringArray":
				want = "[urn:a,urn:b]"
			}
			if got := flag.Value.String(); got != want {
				t.Errorf("%s --%s is %q, want %q", cmd.Name(), flag.Name, got, want)
			}
		})
		if *f.secret != "hunter2" {
			t.Errorf("%s: the secret is %q", cmd.Name(), string(*f.secret))
		}
	}
}

// TestTokenDocumentation keeps the page from naming a flag or a variable that
// there is not.
func TestTokenDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/workload-tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"--": true, "--audiences": true, "--help": true, "GATEHOUSE_TOKEN_CLIENT_SECRET": true, "GATEHOUSE_TOKEN_": true}
	for _, cmd := range tokenCommand(shell{}).Commands() {
		if !strings.Contains(string(text), "gatehouse token "+cmd.Name()) {
			t.Errorf("the page says nothing of %s", cmd.Name())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known["--"+f.Name], known[tokenEnv(f.Name)] = true, true })
	}
	named := regexp.MustCompile(`--[a-z-]*|GATEHOUSE_TOKEN_[A-Z_]*`).FindAllString(regexp.MustCompile(`(?m)^\|[-|]+\|$|---`).ReplaceAllString(string(text), ""), -1)
	for _, name := range named {
		if !known[name] {
			t.Errorf("the page names %s", name)
		}
	}
	if len(named) < 50 {
		t.Errorf("the page names only %d flags and variables", len(named))
	}
}

// machines starts a provider that knows the client "ci".
func machines(t *testing.T) (issuer *authntest.Issuer, env []string) {
	t.Helper()
	issuer, stop, err := authntest.Start(authntest.IssuerOptions{
		Keys:    []authntest.Key{authntest.NewKey("ES256")},
		Clients: []authntest.Client{{ID: "ci", Secret: "hunter2-hunter2", Audience: "https://wandb.example.com"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return issuer, []string{
		"GATEHOUSE_TOKEN_ISSUER=" + issuer.URL(), "GATEHOUSE_TOKEN_CLIENT_ID=ci", "GATEHOUSE_TOKEN_CLIENT_SECRET=hunter2-hunter2",
		"WANDB_IDENTITY_TOKEN_FILE=" + filepath.Join(t.TempDir(), "token"),
	}
}

func TestTokenClientOnce(t *testing.T) {
	issuer, env := machines(t)
	_, file, _ := strings.Cut(env[3], "=")
	code, out, errs := command(t, env, "token", "client", "--once", "--audience", "https://wandb.example.com")
	token, err := os.ReadFile(file)
	if code != 0 || out != "" || err != nil || strings.Count(string(token), ".") != 2 || strings.ContainsAny(string(token), "\n ") {
		t.Fatalf("exit %d, the file holds %q, %v\n%s%s", code, token, err, out, errs)
	}
	if !strings.Contains(errs, `"sub":"ci"`) || !strings.Contains(errs, `"aud":"https://wandb.example.com"`) {
		t.Errorf("the log is %s", errs)
	}

	t.Run("a refusal keeps the old one", func(t *testing.T) {
		code, _, refused := command(t, append(env, "GATEHOUSE_TOKEN_CLIENT_SECRET=wrong-wrong"), "token", "client", "--once")
		now, err := os.ReadFile(file)
		if code != 1 || !strings.Contains(refused, "invalid_client") || err != nil || !bytes.Equal(now, token) {
			t.Errorf("exit %d, %v\n%s", code, err, refused)
		}
		errs += refused
	})
	t.Run("a page keeps the old one", func(t *testing.T) {
		issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Token] = authntest.Reply(http.StatusOK, "text/html", "<title>Sign in</title>")
		})
		code, _, refused := command(t, env, "token", "client", "--once")
		now, err := os.ReadFile(file)
		if code != 1 || !strings.Contains(refused, "a page for people") || err != nil || !bytes.Equal(now, token) {
			t.Errorf("exit %d, %v\n%s", code, err, refused)
		}
		errs += refused
	})
	for _, secret := range []string{string(token), "hunter2-hunter2", "wrong-wrong"} {
		if strings.Contains(errs, secret) {
			t.Errorf("what it said holds a secret:\n%s", errs)
		}
	}
}

// beside runs a command until the test has seen enough, and wants it to end well.
func beside(t *testing.T, env []string, args ...string) (errs *lockedBuffer, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	errs = &lockedBuffer{}
	done := make(chan int, 1)
	go func() { done <- run(ctx, shell{args: args, env: env, out: &lockedBuffer{}, err: errs}) }()
	return errs, func() {
		t.Helper()
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("told to end: exit %d\n%s", code, errs)
		}
	}
}

func fileHolds(file, want string) func() error {
	return func() error {
		text, err := os.ReadFile(file)
		if err == nil && string(text) != want {
			err = fmt.Errorf("the file holds %q", text)
		}
		return err
	}
}

// TestTokenSidecar runs beside a program, whatever state the world is in.
func TestTokenSidecar(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	errs, stop := beside(t, nil, "token", "copy", "--from", from, "--out", to)
	waitFor(t, func() error {
		if !strings.Contains(errs.String(), "no such file") {
			return fmt.Errorf("the log is %q", errs)
		}
		return nil
	})
	token := jwt(t, time.Hour)
	if err := os.WriteFile(from, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, fileHolds(to, token))
	stop()
	if err := fileHolds(to, token)(); err != nil {
		t.Errorf("after its end: %v", err)
	}
	for line := range strings.Lines(errs.String()) {
		if err := json.Unmarshal([]byte(line), &map[string]any{}); err != nil || strings.Contains(line, token) {
			t.Errorf("a log line is no JSON, or holds the token: %s", line)
		}
	}
}

func TestTokenCommandAfterDashes(t *testing.T) {
	file, token := filepath.Join(t.TempDir(), "token"), jwt(t, time.Hour)
	code, out, errs := command(t, []string{"PATH=" + os.Getenv("PATH"), "TOKEN=" + token},
		"token", "command", "--once", "--out", file, "--", "sh", "-c", `echo careful >&2; echo "$TOKEN"`, "--out", "x")
	if err := fileHolds(file, token)(); code != 0 || err != nil || out != "" {
		t.Errorf("exit %d, %v\n%s", code, err, errs)
	}
	if !strings.HasPrefix(errs, "careful\n") || strings.Contains(errs, token) {
		t.Errorf("it said %s", errs)
	}
	code, _, errs = command(t, nil, "token", "command", "--once", "--out", file, "--allow-opaque", "echo", "--once", "opaque")
	if code != 1 || !strings.Contains(errs, "not one word") {
		t.Errorf("what is after the program is the program's: exit %d\n%s", code, errs)
	}
}

func TestTokenDevice(t *testing.T) {
	token := jwt(t, time.Hour)
	var host string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/device":
			fmt.Fprintf(w, `{"device_code":"the-device-code","user_code":"WDJB-MJHT","verification_uri":"%s/activate","verification_uri_complete":"%[1]s/activate?c=1","expires_in":60,"interval":1}`, host)
		case "/token":
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","refresh_token":"the-refresh-token"}`, token)
		}
	}))
	defer s.Close()
	host = s.URL
	dir := t.TempDir()
	file, refresh := filepath.Join(dir, "token"), filepath.Join(dir, "refresh")
	args := []string{"token", "device", "--once", "--token-url", host + "/token", "--device-url", host + "/device", "--client-id", "laptop",
		"--out", file, "--refresh-token-file", refresh}
	code, out, errs := command(t, nil, args...)
	if err := fileHolds(file, token)(); code != 0 || err != nil || out != "" {
		t.Errorf("exit %d, %v\n%s", code, err, errs)
	}
	for _, part := range []string{"open\n\n    " + host + "/activate\n", "    WDJB-MJHT\n", "/activate?c=1\n", "good for 1m0s"} {
		if !strings.Contains(errs, part) {
			t.Errorf("nobody is told %q:\n%s", part, errs)
		}
	}
	code, _, again := command(t, nil, args...)
	if code != 0 || strings.Contains(again, "WDJB-MJHT") {
		t.Errorf("the second time: exit %d\n%s", code, again)
	}
	for _, secret := range []string{token, "the-device-code", "the-refresh-token"} {
		if strings.Contains(errs+again, secret) {
			t.Errorf("what it said holds a secret:\n%s", errs+again)
		}
	}
	if info, err := os.Stat(refresh); err != nil || info.Mode() != 0o600 {
		t.Errorf("the refresh token's file: %v, %v", info, err)
	}
}
