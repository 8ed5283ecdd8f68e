package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/authn/audit"
	"gatehouse/config"
)

// TestAuditVerify: what is said of a trail that is whole, goes on from another, was
// changed, or is gone.
func TestAuditVerify(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := filepath.Join(dir, "audit.log")
	settings := put("gatehouse.yaml", `publicURL: https://wandb.example.com
upstreams: [{url: "http://127.0.0.1:9000"}]
authn: [{name: okta, oidc: {issuer: "https://example.okta.com", clientID: gate, allowedGroups: [staff]}}]
session: {keys: ["`+"q7NfB2xW9tLkC4sZ8vRhY1mJ6pGdE3aU"+`"]}
audit: {output: file, chain: true, file: "`+file+`"}
`)
	c, err := config.Load(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := openKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	w, err := audit.New(audit.Options{File: file, Secrets: keys.Secrets(auditPurpose)})
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"one", "two", "three"} {
		if err := w.Record(audit.Event{Name: "lifecycle", Outcome: "allowed", Reason: reason}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(whole), "\n")
	for name, tt := range map[string]struct {
		file, says string
		code       int
	}{
		"whole":     {file, "All 3 lines are as they were written.\n", 0},
		"rotated":   {put("rest", rest), "The first line follows one that is not here: ", 0},
		"changed":   {put("changed", strings.Replace(string(whole), "two", "2", 1)), "line 2: This line was changed", 1},
		"emptied":   {put("empty", ""), "there is no line to verify", 1},
		"not there": {filepath.Join(dir, "nowhere"), "no such file", 1},
	} {
		var out bytes.Buffer
		code := run(t.Context(), shell{args: []string{"audit", "verify", "--config", settings, tt.file}, out: &out, err: &out})
		if code != tt.code || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%s: exit %d\n%s", name, code, &out)
		}
	}
}

// TestCheckTrail: a trail that can't be opened keeps the gateway from starting, so
// check finds it, and makes no file that would be another user's.
func TestCheckTrail(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.log")
	if f := checkTrail(file); len(f) != 1 || !f[0].OK {
		t.Errorf("a file that is still to come: %+v", f)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("check has made the file")
	}
	if f := checkTrail(filepath.Join(dir, "nowhere", "audit.log")); len(f) != 1 || f[0].OK || !strings.Contains(f[0].Detail, "nowhere") {
		t.Errorf("no directory: %+v", f)
	}
	if f := checkTrail(dir); len(f) != 1 || f[0].OK {
		t.Errorf("a directory: %+v", f)
	}
}
