package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// audience is whom the provider makes JWTs for.
const audience = "https://wandb.test"

// tokenKeeper starts gatehouse token and returns it and its file.
func tokenKeeper(t *testing.T, secret string, args ...string) (p *process, file string) {
	t.Helper()
	cmd, file := tokenProgram(t, secret, args...)
	return start(t, cmd, func(p *process) bool { return p.out.String() != "" }), file
}

func tokenProgram(t *testing.T, secret string, args ...string) (cmd *exec.Cmd, file string) {
	t.Helper()
	program, err := shared.gatehouse()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "token")
	cmd = exec.Command(program, append([]string{"token"}, args...)...)
	cmd.Env = append(os.Environ(), "WANDB_IDENTITY_TOKEN_FILE="+file, "GATEHOUSE_TOKEN_CLIENT_SECRET="+secret, "GATEHOUSE_TOKEN_RESOURCE="+audience)
	return cmd, file
}

// claims reads what a JWT in a file says.
func claims(file string) (map[string]any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%s is no JWT", text)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var said map[string]any
	return said, json.Unmarshal(payload, &said)
}

// awaitToken waits for a token of somebody with another jti than last.
func awaitToken(t *testing.T, p *process, file, subject string, last any) map[string]any {
	t.Helper()
	var said map[string]any
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if said, err = claims(file); err == nil && said["jti"] != last {
			if said["sub"] != subject || said["aud"] != audience || said["exp"] == nil {
				t.Fatalf("the token says %v", said)
			}
			return said
		}
	}
	t.Fatalf("there is no new token: %v\n%s", err, p.out.tail(20))
	return nil
}

// TestTokenOfAMachine keeps a machine's token fresh at a provider that others wrote.
func TestTokenOfAMachine(t *testing.T) {
	t.Parallel()
	n := startNodeProvider(t, nodeOptions{as: "machine", paths: plainPlace(t).paths()})
	p, file := tokenKeeper(t, nodeSecret, "client", "--issuer", n.issuer(), "--client-id", "machine", "--refresh-every", "5s")
	first := awaitToken(t, p, file, "machine", nil)
	if first["iss"] != n.issuer() || first["client_id"] != "machine" {
		t.Errorf("the token says %v", first)
	}
	awaitToken(t, p, file, "machine", first["jti"])
	if n.grants("client_credentials") < 2 {
		t.Error("the provider knows nothing of it")
	}
	if text, err := os.ReadFile(file); err != nil || strings.Contains(p.out.String(), string(text)) || strings.Contains(p.out.String(), nodeSecret) {
		t.Errorf("the log holds a secret, or %v", err)
	}

	n.stop()
	for deadline := time.Now().Add(patience); p.out.count(`"no token"`) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("an outage is not logged:\n%s", p.out.tail(20))
		}
	}
	kept, err := claims(file)
	if err != nil {
		t.Fatalf("in the outage: %v", err)
	}
	n.restart()
	awaitToken(t, p, file, "machine", kept["jti"])
	p.stop()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("told to end: exit %d", code)
	}
}

// TestTokenOfAMachineRefused ends with a word and a code.
func TestTokenOfAMachineRefused(t *testing.T) {
	t.Parallel()
	n := startNodeProvider(t, nodeOptions{as: "machine", paths: plainPlace(t).paths()})
	cmd, file := tokenProgram(t, "wrong", "client", "--once", "--issuer", n.issuer(), "--client-id", "machine")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "invalid_client") || strings.Contains(string(out), "wrong") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file, or %v", err)
	}
}

// TestTokenOfAPerson has somebody sign in elsewhere, and then goes on without
// them: in the same process and after a restart.
func TestTokenOfAPerson(t *testing.T) {
	t.Parallel()
	n := startNodeProvider(t, nodeOptions{as: "device", paths: plainPlace(t).paths()})
	refresh := filepath.Join(t.TempDir(), "refresh")
	args := []string{"device", "--issuer", n.issuer(), "--client-id", "device", "--refresh-every", "5s", "--refresh-token-file", refresh}
	p, file := tokenKeeper(t, "", args...)
	link := regexp.MustCompile(`http://\S+user_code=\S+`)
	for deadline := time.Now().Add(patience); !link.MatchString(p.out.String()); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nobody is asked:\n%s", p.out.tail(20))
		}
	}
	signInElsewhere(t, link.FindString(p.out.String()), "alice")
	first := awaitToken(t, p, file, "alice", nil)
	awaitToken(t, p, file, "alice", first["jti"])
	p.stop()

	again, file := tokenKeeper(t, "", args...)
	second := awaitToken(t, again, file, "alice", nil)
	awaitToken(t, again, file, "alice", second["jti"])
	if link.MatchString(again.out.String()) || n.out.count("refused invalid_grant") != 0 {
		t.Errorf("somebody was asked again, or a refresh token was used twice:\n%s", again.out.tail(20))
	}
	if n.grants("refresh_token") < 3 {
		t.Errorf("%d refreshes", n.grants("refresh_token"))
	}
}

// signInElsewhere follows the link of a device code as a browser does.
func signInElsewhere(t *testing.T, link, login string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: patience}
	field := regexp.MustCompile(`<input[^>]*name="(\w+)"[^>]*value="([^"]*)"`)
	page := func(res *http.Response, err error) (string, *url.URL) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d, %v\n%s", res.Request.URL, res.StatusCode, err, text)
		}
		return string(text), res.Request.URL
	}
	text, at := page(browser.Get(link))
	for range 5 { // the code, its confirmation, the name, the consent that nobody is asked for
		if strings.Contains(text, "Sign-in Success") {
			return
		}
		form := url.Values{}
		for _, m := range field.FindAllStringSubmatch(text, -1) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
		if strings.Contains(at.Path, "/interaction/") {
			form = url.Values{"login": {login}}
		} else {
			form.Set("confirm", "yes")
		}
		text, at = page(browser.PostForm(at.String(), form))
	}
	t.Fatalf("signed in nowhere: %s\n%s", at, text)
}
