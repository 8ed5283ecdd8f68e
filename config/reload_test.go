package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/config"

	"github.com/google/go-cmp/cmp"
)

const sessionKey = "h8xOFXRGuPqNoUfHVpr+4UOJJmm/yBUygU0CZCoFeDk="

// reloading is settings with a few changes by name.
func reloading(t *testing.T, replace ...string) config.Config {
	t.Helper()
	text := `publicURL: https://wandb.example.com
listen: {address: ":8443"}
upstreams: [{url: "http://127.0.0.1:9000"}]
authn:
  - name: okta
    oidc: {issuer: https://example.okta.com, clientID: abc, clientSecret: first-secret, allowedGroups: [a, b]}
session: {keys: ["` + sessionKey + `"]}
`
	text = strings.NewReplacer(replace...).Replace(text)
	c, err := config.Decode("gatehouse.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// decodeMore decodes settings with one section more.
func decodeMore(t *testing.T, more string) error {
	t.Helper()
	text := "publicURL: https://wandb.example.com\nupstreams: [{url: \"http://127.0.0.1:9000\"}]\n" +
		"authn: [{name: okta, oidc: {issuer: https://example.okta.com, clientID: abc}}]\n" +
		"session: {keys: [\"" + sessionKey + "\"]}\n" + more + "\n"
	_, err := config.Decode("gatehouse.yaml", []byte(text), nil)
	return err
}

func TestChanges(t *testing.T) {
	before := reloading(t)
	after := reloading(t, ":8443", ":9443", "[a, b]", "[a, c, d]", "first-secret", "second-secret", "authn:", "pages: {name: Lab}\nauthn:")
	want := []string{
		"authn[0].oidc.allowedGroups[1]: b -> c",
		"authn[0].oidc.allowedGroups[2]: not set -> d",
		"authn[0].oidc.clientSecret: [secret] -> [secret]",
		"listen.address: :8443 -> :9443 (after a restart)",
		"pages.name: Gatehouse -> Lab",
	}
	said := func(changes []config.Change) (out []string) {
		for _, c := range changes {
			out = append(out, c.String())
		}
		return out
	}
	if d := cmp.Diff(want, said(config.Changes(before, after))); d != "" {
		t.Error(d)
	}
	if same := config.Changes(before, reloading(t)); len(same) > 0 {
		t.Errorf("no change is %v", same)
	}
	masked := before.Masked()
	if strings.Contains(string(masked), "first-secret") {
		t.Errorf("a secret is in %s", masked)
	}
	from, err := config.ChangesFrom(masked, after)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(append(want[:2:2], want[3:]...), said(from)); d != "" {
		t.Error("from masked settings", d)
	}
	if _, err := config.ChangesFrom([]byte("<html>"), after); err == nil {
		t.Error("settings that are none are no error")
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := reloading(t, "clientSecret: first-secret", fmt.Sprintf("clientSecretFile: %q", secret))
	if d := cmp.Diff([]string{secret}, c.Files()); d != "" {
		t.Error(d)
	}
	if files := reloading(t).Files(); len(files) > 0 {
		t.Errorf("files without any: %v", files)
	}
}

func TestReloadInterval(t *testing.T) {
	_, err := config.Decode("gatehouse.yaml", []byte("reload: {interval: 10ms}\npublicURL: https://a.example\nupstreams: [{url: http://b}]\nauthn: [{name: a, oidc: {issuer: https://c.example, clientID: d}}]\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "reload.interval") {
		t.Errorf("an interval of 10 ms: %v", err)
	}
}
