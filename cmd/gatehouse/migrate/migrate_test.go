package migrate

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"gatehouse/config"
)

var update = flag.Bool("update", false, "write the wanted results anew")

// TestCases translates whole configurations. What comes out is what stands there; the
// gateway takes it but for the lines to fill in; and no secret is in it.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d cases: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			where, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			made := translated(t, archive)
			taken(t, made)
			if bytes.Contains(made.Settings, []byte("secret-value")) || strings.Contains(made.Report("", ""), "secret-value") {
				t.Error("a secret is printed")
			}
			wanted(t, where, archive, made)
		})
	}
}

func translated(t *testing.T, archive *txtar.Archive) Result {
	t.Helper()
	t.Chdir(t.TempDir())
	in := Input{Secrets: "/run/secrets"}
	for _, f := range archive.Files {
		lines := strings.Split(strings.TrimRight(string(f.Data), "\n"), "\n")
		switch f.Name {
		case "args":
			in.Args = lines
		case "env":
			in.Env = lines
		default:
			if err := os.WriteFile(filepath.Base(f.Name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	made, err := OAuth2Proxy(in)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// taken checks that the gateway refuses the lines to fill in, and nothing else but files
// that are not on this machine.
func taken(t *testing.T, made Result) {
	t.Helper()
	dir := t.TempDir()
	text := string(made.Settings)
	for _, name := range []string{"client-secret", "oidc", "session-keys", "redis-password", "redis-sentinel-password"} {
		text = strings.ReplaceAll(text, "/run/secrets/"+name+"\n", dir+"/"+name+"\n")
		if err := os.WriteFile(filepath.Join(dir, name), []byte("bWFkZSBmb3IgdGhpcyB0ZXN0IGFuZCBub3RoaW5nIGVsc2U="), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var faults config.Faults
	if _, err := config.Decode(Name, []byte(text), nil); err != nil && !errors.As(err, &faults) {
		t.Fatal(err)
	}
	for _, f := range faults {
		here := func(h Hole) bool {
			return h.Path == f.Path || strings.HasPrefix(f.Path, h.Path+"[") || h.Path == "publicURL" && f.Path == "session.cookie.domain" // which follows
		}
		missing := strings.Contains(f.Problem, "no such file") && (strings.HasSuffix(f.Path, "File"))
		if !missing && !slices.ContainsFunc(made.Holes, here) && !slices.ContainsFunc(made.Faults, func(g config.Fault) bool { return g.Path == f.Path }) {
			t.Errorf("not said: %v", f)
		}
	}
	for _, h := range made.Holes {
		if !slices.ContainsFunc(faults, func(f config.Fault) bool { return strings.HasPrefix(f.Path, h.Path) }) {
			t.Errorf("the gateway would start with a line to fill in: %v", h)
		}
		if line := strings.Split(text, "\n")[h.Line-1]; !strings.Contains(line, "FILL IN: "+h.What) {
			t.Errorf("line %d is %q, not what is to be filled in", h.Line, line)
		}
	}
}

func wanted(t *testing.T, file string, archive *txtar.Archive, made Result) {
	t.Helper()
	got := []txtar.File{{Name: "want/gatehouse.yaml", Data: made.Settings}, {Name: "want/report", Data: []byte(made.Report("/run/secrets", ""))}}
	in := slices.DeleteFunc(slices.Clone(archive.Files), func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want/") })
	if *update {
		all := &txtar.Archive{Comment: archive.Comment, Files: append(in, got...)}
		if err := os.WriteFile(file, txtar.Format(all), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, g := range got {
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == g.Name })
		if i < 0 || !bytes.Equal(archive.Files[i].Data, g.Data) {
			t.Errorf("%s is\n%s", g.Name, g.Data)
		}
	}
}
