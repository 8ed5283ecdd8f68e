package config

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// revealing writes a configuration with its secrets, as JSON, which is YAML too.
func revealing(t *testing.T, c Config) []byte {
	t.Helper()
	b, err := json.Marshal(c, json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, s Secret) error {
		return e.WriteToken(jsontext.String(s.Reveal()))
	})))
	check(t, err)
	return b
}

// TestAgain: what was read can be written and read again.
func TestAgain(t *testing.T) {
	putFiles(t)
	c := decode(t, full)
	c.Session.KeysFile, c.Authn[1].OIDC.ClientSecretFile, c.Store.Redis.PasswordFile = "", "", ""
	if diff := cmp.Diff(c, decode(t, string(revealing(t, c)))); diff != "" {
		t.Error(diff)
	}
}

// outside are settings that make Decode read files; the fuzzer must not.
var outside = regexp.MustCompile(`(?i)file`)

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.txt")
	for _, file := range files {
		for _, c := range readCases(f, file) {
			f.Add(c.yaml, c.env)
			f.Add(c.yaml+base[0].text+base[1].text+base[2].text, c.env)
		}
	}
	f.Add(full, "OIDC_ISSUER=https://idp.example.com")
	s, schema, err := model()
	if err != nil {
		f.Fatal(err)
	}
	read := func(text []byte, env ...string) (Config, error) {
		return decodeBy(s, schema, parse("fuzz.yaml", text, s), env)
	}
	f.Fuzz(func(t *testing.T, text, env string) {
		if outside.MatchString(text) || outside.MatchString(env) {
			return
		}
		c, err := read([]byte(text), strings.Split(env, "\n")...)
		if err == nil {
			again, err := read(revealing(t, c))
			if diff := cmp.Diff(c, again); diff != "" || err != nil {
				t.Errorf("read again: %v\n%s", err, diff)
			}
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("not Faults: %v", err)
		}
		for _, f := range faults {
			if f.Source == "" || f.Problem == "" || f.Source == "fuzz.yaml" && (f.Line < 1 || f.Column < 1) {
				t.Errorf("no place: %+v", f)
			}
		}
	})
}
