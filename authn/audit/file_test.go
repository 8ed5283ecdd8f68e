package audit_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatehouse/authn/audit"
)

// chained opens a chained trail into a file.
func chained(t *testing.T, file string) *audit.Writer {
	t.Helper()
	return open(t, audit.Options{File: file, Secrets: [][]byte{secret}})
}

// TestCutOff: what is cut off while the gateway writes is found once it has written again.
func TestCutOff(t *testing.T) {
	for name, others := range map[string]bool{"alone": false, "with others": true} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "audit.log")
			w := chained(t, file)
			record(t, w, 0, 2)
			lines := strings.SplitAfter(read(t, file), "\n")
			record(t, w, 2, 4)
			if err := os.WriteFile(file, []byte(lines[0]+lines[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			if others { // and it is as long again as it was
				record(t, chained(t, file), 20, 23)
			}
			record(t, w, 4, 5)
			if _, flaws := verify(t, read(t, file), secret); !strings.Contains(flaws, "Before this line some are missing") {
				t.Errorf("flaws: %q\n%s", flaws, read(t, file))
			}
		})
	}
}

// TestCopied: a file that is copied and emptied goes on with the chain.
func TestCopied(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	w := chained(t, file)
	record(t, w, 0, 2)
	first := read(t, file)
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	record(t, w, 2, 4)
	if n, flaws := verify(t, first+read(t, file), secret); n != 4 || flaws != "" {
		t.Errorf("%d lines, %s", n, flaws)
	}
}

// TestRotationTogether: whoever is the first to write after a file was renamed goes on
// from its last line, whoever wrote that.
func TestRotationTogether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	a, b, silent := chained(t, file), chained(t, file), chained(t, file)
	record(t, b, 0, 1)
	record(t, a, 1, 3)
	if err := os.Rename(file, file+".2"); err != nil {
		t.Fatal(err)
	}
	record(t, b, 3, 4)
	record(t, a, 4, 5)
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	// It has written nothing yet, and has the oldest of the files open.
	record(t, b, 5, 6)
	record(t, silent, 6, 7)
	if n, flaws := verify(t, read(t, file+".2", file+".1", file), secret); n != 7 || flaws != "" {
		t.Errorf("%d lines, %s", n, flaws)
	}
	fresh := filepath.Join(t.TempDir(), "audit.log")
	record(t, chained(t, fresh), 0, 2)
	silent = chained(t, fresh)
	if err := os.Rename(fresh, fresh+".1"); err != nil {
		t.Fatal(err)
	}
	record(t, silent, 2, 3)
	if n, flaws := verify(t, read(t, fresh+".1", fresh), secret); n != 3 || flaws != "" {
		t.Errorf("one that had written nothing: %d lines, %s", n, flaws)
	}
}

// TestTorn: a line that a crash has torn does not spoil the next one.
func TestTorn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	record(t, chained(t, file), 0, 1)
	torn := read(t, file) + `{"time":"2026-`
	if err := os.WriteFile(file, []byte(torn), 0o600); err != nil {
		t.Fatal(err)
	}
	record(t, chained(t, file), 1, 2)
	if text := read(t, file); !strings.HasPrefix(text, torn+"\n{") {
		t.Errorf("it goes on in the torn line: %s", text)
	}
}

// TestLongLines: whatever a client or an administrator does, the trail can be verified.
func TestLongLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	w := chained(t, file)
	long, ids := strings.Repeat("\x01", 1<<20), make([]string, 5000)
	for i := range ids {
		ids[i] = "s" + strings.Repeat("x", 43)
	}
	ids[4999] = "the last one"
	if err := w.Record(audit.Event{Name: audit.Access, Method: long, Path: long, Reason: long, Claimed: long, Request: long, Object: []string{long}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Record(audit.Event{Name: audit.SessionEnd, Object: ids}); err != nil {
		t.Fatal(err)
	}
	record(t, chained(t, file), 0, 1)
	if _, flaws := verify(t, read(t, file), secret); flaws != "" {
		t.Error(flaws)
	}
	if !strings.Contains(read(t, file), "the last one") {
		t.Error("not all that was ended is named")
	}
}

// TestOwner: a file that a command of root's begins is the gateway's, whose directory it
// is in: the gateway could not write to it otherwise, and nobody could sign in.
func TestOwner(t *testing.T) {
	dir := t.TempDir()
	want := os.Geteuid()
	if want == 0 {
		want = 65532
		if err := os.Chown(dir, want, want); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "audit.log")
	record(t, chained(t, file), 0, 1)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); int(s.Uid) != want || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is of user %d, with mode %o, want user %d", s.Uid, info.Mode().Perm(), want)
	}
}
