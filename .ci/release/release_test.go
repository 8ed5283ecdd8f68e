package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const testVersion = "v9.8.7"

// testTarget is this machine, for which everything is built already.
func testTarget() target { return target{"linux", runtime.GOARCH} }

// release makes a release for this machine alone.
func release(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dist")
	at := time.Unix(1767225600, 0)
	if err := run(t.Context(), []string{"archives", "-version", testVersion, "-time", strconv.FormatInt(at.Unix(), 10), "-only", testTarget().String(), "-out", out}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestArchives(t *testing.T) {
	out := release(t)
	name := "gatehouse-" + testVersion + "-linux-" + runtime.GOARCH
	t.Run("contents", func(t *testing.T) { assertContents(t, filepath.Join(out, name+".tar.gz"), name) })
	t.Run("bill of materials", func(t *testing.T) { assertBill(t, filepath.Join(out, name+".cdx.json")) })
	t.Run("checksums", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", sumsFile)
		cmd.Dir = out
		said, err := cmd.CombinedOutput()
		if err != nil || bytes.Count(said, []byte(": OK\n")) != 2 {
			t.Errorf("%v\n%s", err, said)
		}
	})
	t.Run("the same twice", func(t *testing.T) {
		again := release(t)
		files, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 3 {
			t.Errorf("there are %v", files)
		}
		for _, f := range files {
			if a, b := contentOf(t, filepath.Join(out, f.Name())), contentOf(t, filepath.Join(again, f.Name())); !bytes.Equal(a, b) {
				t.Errorf("%s differs from one time to the next", f.Name())
			}
		}
	})
}

func contentOf(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// assertContents looks into an archive and runs the program that is in it.
func assertContents(t *testing.T, file, name string) {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(contentOf(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	program := filepath.Join(t.TempDir(), "gatehouse")
	for archive := tar.NewReader(zipped); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		inside := strings.TrimPrefix(h.Name, name+"/")
		names = append(names, fmt.Sprintf("%o %s", h.Mode, inside))
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(1767225600, 0)) {
			t.Errorf("%s says who made it, or when: %+v", h.Name, h)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if inside == "gatehouse" {
			if err := os.WriteFile(program, content, 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"755 ", "644 CHANGELOG.md", "644 LICENSE", "644 README.md", "644 THIRD-PARTY-LICENSES", "755 gatehouse", "644 gatehouse-https.conf", "644 gatehouse.service", "644 gatehouse.yaml"}
	if !slices.Equal(names, want) {
		t.Errorf("the archive has %q, want %q", names, want)
	}
	said, err := exec.CommandContext(t.Context(), program, "version").Output()
	if err != nil || !strings.HasPrefix(string(said), "gatehouse "+testVersion+" (go") {
		t.Errorf("it says that it is %q (%v)", said, err)
	}
}

func assertBill(t *testing.T, file string) {
	t.Helper()
	var bill struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct {
			Name, Version string
			Licenses      []struct {
				License struct{ ID string }
			}
		}
	}
	if err := json.Unmarshal(contentOf(t, file), &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BOMFormat != "CycloneDX" || bill.Metadata.Component.Name != "gatehouse" || bill.Metadata.Component.Version != testVersion {
		t.Errorf("it is a bill of %+v, a %q", bill.Metadata, bill.BOMFormat)
	}
	known := map[string]bool{}
	for _, c := range bill.Components {
		known[c.Name] = true
		if c.Version == "" || len(c.Licenses) == 0 || c.Licenses[0].License.ID == "" {
			t.Errorf("%s has no version or no licence: %+v", c.Name, c)
		}
	}
	for _, name := range []string{"std", "github.com/coreos/go-oidc/v3", "github.com/go-ldap/ldap/v3"} {
		if !known[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ args, says string }{
		"no command":              {"", "usage"},
		"an unknown one":          {"publish", `no command "publish"`},
		"a version with a quote":  {"program -version v1'2 -o x", "not like v1.2.3"},
		"no file":                 {"program -version v1.2.3", "-o is missing"},
		"no time":                 {"archives -version v1.2.3 -out " + t.TempDir(), "-time is missing"},
		"something is there":      {"archives -version v1.2.3 -time 1 -out " + full, "not an empty directory"},
		"a system that is not it": {"archives -version v1.2.3 -time 1 -only plan9/mips -out " + t.TempDir(), "is none of"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), strings.Fields(tt.args)); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// TestLicences holds the dependencies to the licences that they may have, and the file
// that lists them to the program.
func TestLicences(t *testing.T) {
	var out bytes.Buffer
	if err := checkLicences(t.Context(), false, &out); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"program     Apache-2.0                   github.com/coreos/go-oidc/v3 ", "tests only  MIT                          github.com/chromedp/chromedp "} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not said:\n%s", part, &out)
		}
	}
	list := string(contentOf(t, listFile))
	for _, part := range []string{"the Go standard library\n", "github.com/go-ldap/ldap/v3 (LICENSE)\n", "Redistributions in binary form", "Apache License"} {
		if !strings.Contains(list, part) {
			t.Errorf("THIRD-PARTY-LICENSES lacks %q", part)
		}
	}
	if strings.Contains(list, "chromedp") {
		t.Error("THIRD-PARTY-LICENSES has what only tests use")
	}
}

func TestJudge(t *testing.T) {
	mit := contentOf(t, filepath.Join(moduleDir(t, "github.com/CycloneDX/cyclonedx-gomod"), "LICENSE"))
	mozilla := []byte("This Source Code Form is subject to the terms of the Mozilla Public\nLicense, v. 2.0. If a copy of the MPL was not distributed with this\nfile, You can obtain one at http://mozilla.org/MPL/2.0/.\n")
	for name, tt := range map[string]struct {
		texts map[string][]byte
		says  string // empty for one that is allowed
	}{
		"allowed":                 {texts: map[string][]byte{"LICENSE": mit, "NOTICE": []byte("Thanks to all.")}},
		"another one":             {texts: map[string][]byte{"LICENSE": mozilla}, says: "is MPL-2.0"},
		"another one in a folder": {texts: map[string][]byte{"LICENSE": mit, "internal/x/LICENSE": mozilla}, says: "internal/x/LICENSE is MPL-2.0"},
		"none":                    {says: "has no licence"},
		"a notice alone":          {texts: map[string][]byte{"NOTICE": mit}, says: "has no licence"},
		"words that nobody knows": {texts: map[string][]byte{"LICENSE": []byte("Do what we say.")}, says: "no licence that is known"},
		"more than what is known": {texts: map[string][]byte{"LICENSE": append(bytes.Clone(mit), bytes.Repeat([]byte("And pay us a fee for each of your users. "), 100)...)}, says: "no licence that is known"},
	} {
		t.Run(name, func(t *testing.T) {
			d := dependency{path: "example.com/x", version: "v1.0.0", texts: tt.texts}
			err := d.judge()
			if tt.says == "" && (err != nil || !slices.Equal(d.licences, []string{"Apache-2.0"})) {
				t.Errorf("%v, %v", d.licences, err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestVulncheck runs govulncheck against databases that are made here: an empty one, one
// that knows of a hole in a function that the program calls, and none.
func TestVulncheck(t *testing.T) {
	hole := `{"schema_version":"1.3.1","id":"GO-2099-0001","modified":"2099-01-01T00:00:00Z","published":"2099-01-01T00:00:00Z",` +
		`"summary":"made for this test","affected":[{"package":{"name":"github.com/spf13/cobra","ecosystem":"Go"},` +
		`"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],` +
		`"ecosystem_specific":{"imports":[{"path":"github.com/spf13/cobra","symbols":["Command.ExecuteContextC"]}]}}],` +
		`"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2099-0001"}}`
	for name, tt := range map[string]struct {
		database string
		strict   string
		fails    bool
		says     string
	}{
		"nothing is known":             {database: database(t, ""), says: "No vulnerabilities found"},
		"a hole":                       {database: database(t, hole), fails: true, says: "there are holes"},
		"nobody to ask":                {database: "http://127.0.0.1:1", says: "NOTHING WAS CHECKED"},
		"nobody to ask, for a release": {database: "http://127.0.0.1:1", strict: "1", fails: true, says: "NOTHING WAS CHECKED"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "../vulncheck", tt.database)
			cmd.Env = append(os.Environ(), "STRICT="+tt.strict)
			said, err := cmd.CombinedOutput()
			if (err != nil) != tt.fails || !strings.Contains(string(said), tt.says) {
				t.Errorf("%v, want %q\n%s", err, tt.says, said)
			}
		})
	}
}

// database writes a vulnerability database with at most one entry, about cobra, and
// returns its URL.
func database(t *testing.T, entry string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"index/db.json": `{"modified":"2099-01-01T00:00:00Z"}`, "index/modules.json": "[]", "index/vulns.json": "[]"}
	if entry != "" {
		files["index/modules.json"] = `[{"path":"github.com/spf13/cobra","vulns":[{"id":"GO-2099-0001","modified":"2099-01-01T00:00:00Z"}]}]`
		files["index/vulns.json"] = `[{"id":"GO-2099-0001","modified":"2099-01-01T00:00:00Z"}]`
		files["ID/GO-2099-0001.json"] = entry
	}
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "file://" + dir
}
