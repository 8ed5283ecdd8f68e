package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// base is what a case says nothing about; it stands below the case's own lines.
var base = []struct{ key, text string }{
	{"publicURL", "publicURL: https://wandb.example.com\n"},
	{"upstreams", "upstreams: [{url: \"http://app:8080\"}]\n"},
	{"authn", "authn: [{name: okta, oidc: {issuer: \"https://idp.example.com\", clientID: gate}}]\n"},
}

// aCase is one configuration of testdata/bad and what is said about it.
type aCase struct{ name, env, kind, yaml, faults string }

func (c aCase) String() string {
	s := "=== " + c.name + "\n"
	if c.env != "" {
		s += "--- env\n" + c.env
	}
	return s + "--- " + c.kind + "\n" + c.yaml + "--- faults\n" + c.faults
}

func (c aCase) run() (Config, error) {
	name, text := "gatehouse.yaml", c.yaml
	switch c.kind {
	case "no file":
		name = environment
	case "yaml":
		for _, b := range base {
			if !strings.HasPrefix(text, b.key+":") && !strings.Contains(text, "\n"+b.key+":") {
				text += b.text
			}
		}
	}
	return Decode(name, []byte(text), strings.Split(strings.TrimSuffix(c.env, "\n"), "\n"))
}

func readCases(t testing.TB, file string) []aCase {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []aCase
	for _, chunk := range strings.Split("\n"+string(b), "\n=== ")[1:] {
		chunk += "\n"
		name, rest, _ := strings.Cut(chunk, "\n")
		c := aCase{name: name}
		c.env, rest = section(rest, "env\n")
		for _, kind := range []string{"yaml", "yaml raw", "no file"} {
			if strings.HasPrefix(rest, "--- "+kind+"\n") {
				c.kind = kind
				c.yaml, rest = section(rest, kind+"\n")
			}
		}
		var found bool
		if c.faults, found = strings.CutPrefix(rest, "--- faults\n"); !found || c.kind == "" {
			t.Fatalf("%s: case %q is not well formed:\n%s", file, name, chunk)
		}
		c.faults = strings.TrimRight(c.faults, "\n") + "\n"
		out = append(out, c)
	}
	return out
}

// section cuts off what stands below "--- title".
func section(text, title string) (string, string) {
	rest, ok := strings.CutPrefix(text, "--- "+title)
	if !ok {
		return "", text
	}
	i := strings.Index("\n"+rest, "\n--- ")
	return rest[:i], rest[i:]
}

// TestBad holds the faults of every bad configuration against testdata/bad,
// word by word: what people read is the interface.
func TestBad(t *testing.T) {
	folder, err := filepath.Abs("testdata/bad")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(folder, "*.txt"))
	putFiles(t)
	total := 0
	for _, file := range files {
		var rewritten strings.Builder
		for _, c := range readCases(t, file) {
			total++
			t.Run(c.name, func(t *testing.T) {
				got := judge(t, c)
				if got != c.faults && !*update {
					t.Errorf("%s\ngot:\n%s\nwant:\n%s", c.yaml, got, c.faults)
				}
				c.faults = got
			})
			rewritten.WriteString(c.String())
		}
		if *update {
			golden(t, file, []byte(rewritten.String()))
		}
	}
	if total < 150 {
		t.Errorf("only %d cases were read", total)
	}
}

var secretValue = regexp.MustCompile(`hunter|4711|q83vEj|x7Gk2p|my very`)

// judge decodes a bad configuration and checks what holds for every fault.
func judge(t *testing.T, c aCase) string {
	t.Helper()
	got, err := c.run()
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("%s\naccepted, or no Faults: %v", c.yaml, err)
	}
	if got.PublicURL != "" {
		t.Error("a configuration came with the faults")
	}
	for _, f := range faults {
		checkFault(t, f)
	}
	text := err.Error() + "\n"
	if secretValue.MatchString(text) {
		t.Errorf("a secret is printed:\n%s", text)
	}
	return text
}

func checkFault(t *testing.T, f Fault) {
	t.Helper()
	if f.Source == "" || f.Problem == "" || f.Fix == "" {
		t.Errorf("no source, no problem or no fix: %+v", f)
	}
	if f.Source == "gatehouse.yaml" && (f.Line < 1 || f.Column < 1) {
		t.Errorf("no place: %+v", f)
	}
}

// putFiles makes the files that cases name, in a working directory of their own.
func putFiles(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	for name, text := range map[string]string{
		"cert.pem":    pemText("CERTIFICATE", der),
		"key.pem":     keyText(t, key),
		"other.pem":   keyText(t, other),
		"p384.pem":    keyText(t, p384),
		"rsa1024.pem": keyText(t, short),
		"keys.txt":    "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ9x0bTfOLWmE=\n",
		"secret.txt":  "hunter2\n",
		"weak.txt":    "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ9x0bTfOLWmE=\nchangeme\n",
		"empty.txt":   "\n",
		"blank.txt":   "\ufeff \r\n",
		"large.png":   "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 256<<10),
		"logo.svg":    "<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
	} {
		check(t, os.WriteFile(name, []byte(text), 0o600))
	}
}

func keyText(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	return pemText("PRIVATE KEY", der)
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
