package e2e

import (
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mostExposed is what systemd-analyze security may say of the unit, in tenths of its
// points: 0 is nothing, 100 all that a service may do.
const mostExposed = "17"

// TestUnit lets systemd judge the unit that the documentation gives, alone and with what
// it gives beside it for port 443.
func TestUnit(t *testing.T) {
	t.Parallel()
	analyze, err := find("systemd-analyze")
	if err != nil {
		t.Fatal(err)
	}
	program, err := shared.gatehouse()
	if err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]string{"alone": "", "with port 443": "../docs/deploy/gatehouse-https.conf"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			unit := filepath.Join(dir, "gatehouse.service")
			write(t, unit, strings.ReplaceAll(read(t, "../docs/deploy/gatehouse.service"), "/usr/local/bin/gatehouse", program))
			if more != "" {
				if err := os.Mkdir(unit+".d", 0o755); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(unit+".d", "https.conf"), read(t, more))
			}
			// It says what is wrong and does not fail for it.
			if said, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(said) > 0 {
				t.Errorf("verify: %v\n%s", err, said)
			}
			if said, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", "--threshold="+mostExposed, unit).CombinedOutput(); err != nil {
				t.Errorf("security: %v\n%s", err, said)
			}
		})
	}
}

// TestUnitFilter: the unit's filter lets the program make every system call that it makes,
// from its start over requests and refusals to its end, and it maps no memory that the
// unit forbids.
func TestUnitFilter(t *testing.T) {
	t.Parallel()
	strace, err := find("strace")
	if err != nil {
		t.Fatal(err)
	}
	program, err := shared.gatehouse()
	if err != nil {
		t.Fatal(err)
	}
	p, app := plainPlace(t), startApp(t)
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), strace, "--follow-forks", "--quiet=all", "--output="+trace, program, "serve")
	cmd.Env = []string{
		"GATEHOUSE_PUBLIC_URL=" + p.url, "GATEHOUSE_UPSTREAM=" + app.URL, "OIDC_ISSUER=http://127.0.0.1:1", "OIDC_CLIENT_ID=it",
		"GATEHOUSE_LISTEN_ADDRESS=" + loopback(p.port), "GATEHOUSE_OPERATIONS_ADDRESS=" + loopback(p.ops), "GATEHOUSE_UPSTREAMS_0_PUBLIC=/open",
		"GATEHOUSE_STORE_REDIS_URL=" + startRedis(t).url(), "GATEHOUSE_SESSION_KEYS=" + sessionKey,
	}
	serving := start(t, cmd, answers("http://"+loopback(p.ops)+"/livez"))
	for _, path := range []string{"/open", "/closed", "/.gatehouse/sign-in"} {
		res, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	serving.stop()

	allowed := callsOf(t, "@system-service")
	for _, set := range []string{"@privileged", "@resources"} { // as the unit takes them off
		for call := range callsOf(t, set) {
			delete(allowed, call)
		}
	}
	made := map[string]bool{}
	for _, call := range regexp.MustCompile(`(?m)^\d+ +([a-z0-9_]+)\(`).FindAllStringSubmatch(read(t, trace), -1) {
		if !made[call[1]] && !allowed[call[1]] {
			t.Errorf("the program calls %s, which the unit forbids", call[1])
		}
		made[call[1]] = true
	}
	if !made["accept4"] || !made["connect"] || len(made) < 20 {
		t.Errorf("only %v was seen", made)
	}
	if strings.Contains(read(t, trace), "PROT_EXEC") {
		t.Error("the program maps memory to run code from, which the unit forbids")
	}
}

// callsOf are the system calls of one of systemd's sets, and of the sets in it.
func callsOf(t *testing.T, set string) map[string]bool {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "systemd-analyze", "syscall-filter", "--no-pager", set).Output()
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]bool{}
	for _, line := range strings.Split(string(said), "\n")[1:] {
		switch name := strings.TrimSpace(line); {
		case strings.HasPrefix(name, "@"):
			maps.Copy(calls, callsOf(t, name))
		case name != "" && name[0] != '#':
			calls[name] = true
		}
	}
	return calls
}

// TestDeploySettings: the settings that stand beside the unit and the compose file are
// sound, and every secret that they name is one that the gateway is given there.
func TestDeploySettings(t *testing.T) {
	t.Parallel()
	program, err := shared.gatehouse()
	if err != nil {
		t.Fatal(err)
	}
	unit := read(t, "../docs/deploy/gatehouse.service")
	https := read(t, "../docs/deploy/gatehouse-https.conf")
	compose := read(t, "../docs/deploy/compose/compose.yaml")
	certificate := read(t, writeCertificate(t, "wandb.example.com"))
	for name, tt := range map[string]struct {
		file  string
		given func(secret string) bool
		env   []string
		says  string
	}{
		"unit": {says: "All is well.\n", file: "../docs/deploy/gatehouse.yaml", given: func(s string) bool { return strings.Contains(unit, "\nLoadCredential="+s+":/etc/gatehouse/") }},
		"unit with port 443": {
			says: "All is well.\n", file: "../docs/deploy/gatehouse.yaml",
			given: func(s string) bool { return strings.Contains(unit+https, "\nLoadCredential="+s+":/etc/gatehouse/") }, env: environment(https),
		},
		// Its Redis is in a network of their own.
		"compose": {says: "All is well, with 1 warning(s).", file: "../docs/deploy/compose/gatehouse.yaml", given: func(s string) bool { return strings.Contains(compose, "\n  "+s+": {file: ./secrets/") }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			secret := regexp.MustCompile(`/run/(?:secrets|credentials/gatehouse\.service)/([a-z0-9-]+)`)
			all := read(t, tt.file) + "\n" + strings.Join(tt.env, "\n")
			for _, s := range secret.FindAllStringSubmatch(all, -1) {
				if !tt.given(s[1]) {
					t.Errorf("nobody gives the gateway the secret %s", s[1])
				}
				content := sessionKey
				if strings.HasPrefix(s[1], "tls-") {
					content = certificate
				}
				write(t, filepath.Join(dir, s[1]), content)
			}
			settings := filepath.Join(dir, "gatehouse.yaml")
			write(t, settings, secret.ReplaceAllString(read(t, tt.file), dir+"/$1"))
			cmd := exec.CommandContext(t.Context(), program, "check", "--offline", "--config", settings)
			for _, e := range tt.env {
				cmd.Env = append(cmd.Env, secret.ReplaceAllString(e, dir+"/$1"))
			}
			if said, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(said), tt.says) {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}

// environment is what a unit sets.
func environment(unit string) (out []string) {
	for _, line := range strings.Split(unit, "\n") {
		if value, ok := strings.CutPrefix(line, "Environment="); ok {
			out = append(out, value)
		}
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
