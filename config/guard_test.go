package config

import (
	"encoding/json/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// secretPaths calls f with the path of each secret below s; "-" stands for an item.
func (s *setting) secretPaths(path []string, f func(path []string)) {
	if s == nil {
		return
	}
	if s.Title == titleSecret {
		f(path)
	}
	for name, child := range s.Properties {
		child.secretPaths(append(path[:len(path):len(path)], name), f)
	}
	s.Items.secretPaths(append(path[:len(path):len(path)], "-"), f)
}

// TestSecretsInBrokenFiles: LOG-02, whatever is wrong with the YAML on a secret's line, the
// fault does not show it.
func TestSecretsInBrokenFiles(t *testing.T) {
	const secret = "S3cr3tValueXYZ0123456789"
	root, _, err := model()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	root.secretPaths(nil, func(path []string) {
		seen++
		for _, broken := range []string{`"` + secret, secret + ": x", "{a: " + secret, "[" + secret, "'" + secret + "' x", "\t" + secret, "&a *b " + secret} {
			var text strings.Builder
			indent := ""
			for i, name := range path {
				last := i == len(path)-1
				switch {
				case name == "-" && last:
					text.WriteString(indent + "- " + broken + "\n")
				case name == "-":
					text.WriteString(indent + "-\n")
				case last:
					text.WriteString(indent + name + ": " + broken + "\n")
				default:
					text.WriteString(indent + name + ":\n")
				}
				indent += "  "
			}
			flow := "x: {" + path[len(path)-1] + ": " + secret + "\n"
			for _, text := range []string{text.String(), flow} {
				if _, err := Decode("f.yaml", []byte(text), nil); err == nil || strings.Contains(err.Error(), secret) {
					t.Errorf("%s: %v", text, err)
				}
			}
		}
	})
	if seen < 5 {
		t.Errorf("the schema has %d secrets", seen)
	}
}

// files calls f with a Config for each setting below s that is a file, in which that
// setting alone is set.
func (s *setting) files(value any, wrap func(any) any, path string, f func(path string, c any)) {
	if s == nil {
		return
	}
	for name, child := range s.Properties {
		in := func(v any) any { return wrap(map[string]any{name: v}) }
		at := strings.TrimPrefix(path+"."+name, ".")
		if strings.HasSuffix(name, "File") || strings.HasSuffix(name, "Dir") {
			f(at, in(value))
		}
		child.files(value, in, at, f)
	}
	s.Items.files(value, func(v any) any { return wrap([]any{v}) }, path+"[0]", f)
}

// TestOpenFiles: OPS-23, there is a warning of every file that should be a secret, and of
// no other.
func TestOpenFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	root, _, err := model()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	root.files(file, func(v any) any { return v }, "", func(path string, doc any) {
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var c Config
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		seen++
		name := path[strings.LastIndexByte(path, '.')+1:]
		public := slices.Contains([]string{"certFile", "caFile", "clientCAFile", "logoFile"}, name) || path == "authn[0].bearer.issuers[0].keyFile"
		if warned := c.openFiles(); public != (len(warned) == 0) {
			t.Errorf("%s: warned of %q", path, warned)
		}
	})
	if seen < 30 {
		t.Errorf("%d files", seen)
	}
}

// TestSecretsInURLs: the same for what a URL may carry, in the file and the environment.
func TestSecretsInURLs(t *testing.T) {
	const secret = "S3cr3tValueXYZ0123456789"
	for _, url := range []string{
		"redis://u:" + secret + "@h:6379", "redis://u:" + secret + "/@h:6379", "redis://u:a/" + secret + "@h", "redis://h:6379?password=" + secret,
		"redis://h/0?a=b&client_secret=" + secret, "redis://:a@" + secret + "@h",
	} {
		for _, text := range []string{
			"store: {redis: {url: \"" + url + "\n", "store:\n  redis:\n    url: " + url + "\n", "store: {redis: {url: \"" + url + "\", nonsense: 1}}\n",
			"publicURL: " + url + "\n", "forwardAuth: {hosts: [\"" + url + "\"]}\n", "upstreams: [{url: \"" + url + "\"}]\n", "trustedProxies: [\"" + url + "\"]\n",
		} {
			if _, err := Decode("f.yaml", []byte(text), nil); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", text, err)
			}
		}
		for _, name := range []string{"GATEHOUSE_STORE_REDIS_URL", "GATEHOUSE_PUBLIC_URL", "GATEHOUSE_UPSTREAMS_0_URL", "OIDC_ISSUER", "LOCAL_LDAP_ADDRESS", "GATEHOUSE_LISTEN_ADDRESS"} {
			if _, err := Decode("f.yaml", nil, []string{name + "=" + url}); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
