package migrate

import (
	"os"
	"slices"
	"strings"
	"testing"

	"gatehouse/config"
)

// lines are those of a file of facts: what the newest oauth2-proxy has, by name.
func lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// TestEveryOption checks that each option of oauth2-proxy is accounted for, and none
// that it has not.
func TestEveryOption(t *testing.T) {
	facts := map[string]kind{"text": text, "list": list, "flag": boolean, "number": number, "duration": duration}
	seen := map[string]bool{}
	for _, line := range lines(t, "testdata/options.txt") {
		fact := strings.Fields(line) // flag, name in the file, kind
		i := slices.IndexFunc(options(), func(o option) bool { return o.flag == fact[0] })
		if i < 0 {
			t.Errorf("--%s is not accounted for", fact[0])
			continue
		}
		o := options()[i]
		seen[o.flag] = true
		if fact[1] != "-" && !slices.Contains(o.keys(), fact[1]) {
			t.Errorf("--%s is %v in the file, want %s", o.flag, o.keys(), fact[1])
		}
		if o.kind != facts[fact[2]] {
			t.Errorf("--%s is of kind %d, want %s", o.flag, o.kind, fact[2])
		}
		if o.says == "" {
			t.Errorf("nothing is said of --%s", o.flag)
		}
	}
	for _, o := range options() {
		if !seen[o.flag] {
			t.Errorf("oauth2-proxy has no --%s", o.flag)
		}
		if problem := o.kind.wrong(o.def); o.def != "" && problem != "" {
			t.Errorf("the default of --%s %s", o.flag, problem)
		}
	}
}

// TestEverySetting checks that what options are said to become is there.
func TestEverySetting(t *testing.T) {
	schema := string(config.Schema())
	for _, o := range options() {
		if o.fate != mapped || strings.Contains(o.says, " ") {
			continue
		}
		name := strings.TrimSuffix(o.says[strings.LastIndexByte(o.says, '.')+1:], "[]")
		if !strings.Contains(schema, `"`+name+`"`) {
			t.Errorf("--%s becomes %s, which is no setting", o.flag, o.says)
		}
	}
}

// TestEveryAlphaKey is the same for the alpha configuration.
func TestEveryAlphaKey(t *testing.T) {
	facts := lines(t, "testdata/alpha.txt")
	for _, k := range alphaKeys() {
		if !slices.Contains(facts, k.path) {
			t.Errorf("oauth2-proxy has no %s", k.path)
		}
		if k.flag != "" && !slices.ContainsFunc(legacyOptions(), func(o option) bool { return o.flag == k.flag }) {
			t.Errorf("%s is no option --%s", k.path, k.flag)
		}
	}
	for _, f := range facts {
		if !slices.ContainsFunc(alphaKeys(), func(k alphaKey) bool { return k.path == f }) {
			t.Errorf("%s is not accounted for", f)
		}
	}
}

func TestEveryProvider(t *testing.T) {
	facts := []string{
		"adfs", "azure", "bitbucket", "cidaas", "digitalocean", "entra-id", "facebook", "github", "gitlab", "google",
		"keycloak", "keycloak-oidc", "linkedin", "login.gov", "nextcloud", "oidc", "sourcehut",
	}
	var names []string
	for _, p := range providers() {
		names = append(names, p.name)
		if (p.impossible == "") != (p.scopes != "") {
			t.Errorf("%s has no scopes, or is impossible with some", p.name)
		}
		made, err := OAuth2Proxy(Input{Args: []string{
			"--provider=" + p.name, "--client-id=app", "--client-secret=s", "--email-domain=*", "--upstream=http://127.0.0.1:3000", "--redirect-url=https://app.example.com/oauth2/callback",
			"--oidc-issuer-url=https://login.example.com/x", "--login-url=https://login.example.com/y",
		}, Secrets: "/run/secrets"})
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		taken(t, made)
		if impossible := strings.Contains(made.Report("", ""), "not possible here"); impossible != (p.impossible != "") || impossible && len(made.Holes) == 0 {
			t.Errorf("%s: not possible %t, with lines to fill in: %v", p.name, impossible, made.Holes)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, facts) {
		t.Errorf("providers are %v, oauth2-proxy has %v", names, facts)
	}
}
