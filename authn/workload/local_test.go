package workload

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// swap puts a token where the kubelet does: in a new directory that a link is
// moved to in one step.
func swap(t *testing.T, dir, name, token string) {
	t.Helper()
	data := filepath.Join(dir, "..data")
	fresh := filepath.Join(dir, name)
	for _, err := range []error{
		os.Mkdir(fresh, 0o700), os.WriteFile(filepath.Join(fresh, "token"), []byte(token), 0o600),
		os.Symlink(name, data+"_tmp"), os.Rename(data+"_tmp", data),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestProjected(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("..data/token", filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	f := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		ctx, stop := context.WithCancel(t.Context())
		k := &Keeper{Source: Projected{From: filepath.Join(dir, "token")}, File: f, Poll: ProjectedPoll, Log: l.logger()}
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		synctest.Wait()
		if l.count("no token", "no such file") != 1 {
			t.Errorf("before there is any:\n%s", l)
		}
		first, second := lasting(t, "first", time.Hour), lasting(t, "second", 2*time.Hour)
		for _, step := range []struct{ name, puts, holds string }{
			{"1", first + "\n", first},
			{"2", second, second},
			{"3", "half of a tok", second},
			{"4", jwt(`{"exp":1}`), second},
			{"5", "", second},
			{"6", first, first},
		} {
			swap(t, dir, step.name, step.puts)
			time.Sleep(ProjectedPoll)
			synctest.Wait()
			assertHolds(t, f, step.holds)
		}
		if l.count("token written") != 3 || strings.Contains(l.String(), "half of a tok") {
			t.Errorf("the log is\n%s", l)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	info, err := os.Lstat(string(f))
	if err != nil || !info.Mode().IsRegular() {
		t.Errorf("the copy is %v, %v", info, err)
	}
}

func TestCommand(t *testing.T) {
	token := lasting(t, "ci", time.Hour)
	for name, tt := range map[string]struct {
		script, err string
		final       bool
	}{
		"a token":                       {`printf %s "$TOKEN"`, "", false},
		"with a line end":               {`echo "$TOKEN"`, "", false},
		"beside what it says":           {`echo careful >&2; echo "$TOKEN"`, "", false},
		"nothing":                       {`true`, "what sh printed: the token is empty", false},
		"something else":                {`echo please sign in with hunter2`, "what sh printed: the token is not one word", false},
		"a failure":                     {`echo "$TOKEN"; exit 7`, "sh: exit status 7", false},
		"too much":                      {`yes "$TOKEN"`, "sh printed more than 65536 bytes", false},
		"too much, and no end":          {`head -c 70000 /dev/zero; sleep 600`, "sh printed more than 65536 bytes", false},
		"a little too much for a token": {`head -c 65537 /dev/zero`, "sh printed more than 65536 bytes", false},
	} {
		t.Run(name, func(t *testing.T) {
			said, began := &log{}, time.Now()
			c := Command{Args: []string{"sh", "-c", tt.script}, Env: append(os.Environ(), "TOKEN="+token), Stderr: said}
			got, err := c.Fetch(t.Context())
			if tt.err != "" {
				assertError(t, err, tt.err, token, "hunter2")
			} else if err != nil || string(got.Secret) != token {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); took > commandTime/2 {
				t.Errorf("it took %s", took)
			}
			if want := strings.Contains(tt.script, "careful"); (said.String() == "careful\n") != want || strings.Contains(said.String(), token) {
				t.Errorf("it said %q", said)
			}
		})
	}
	_, err := Command{Args: []string{"gatehouse-no-such-program"}}.Fetch(t.Context())
	assertError(t, err, `there is no program "gatehouse-no-such-program"`)
	if !Final(err) {
		t.Error("that would pass")
	}
}

// No shell comes between: an argument is an argument.
func TestCommandWithoutAShell(t *testing.T) {
	token := lasting(t, "ci", time.Hour)
	got, err := Command{Args: []string{"printf", "%s", token}}.Fetch(t.Context())
	if err != nil || string(got.Secret) != token {
		t.Error(err)
	}
	got, err = Command{Args: []string{"echo", "$(id);`id`"}, Rules: Rules{AllowOpaque: true}}.Fetch(t.Context())
	if err != nil || string(got.Secret) != "$(id);`id`" {
		t.Errorf("%q, %v", string(got.Secret), err)
	}
}

// TestCommandThatHangs ends it with whatever it has started.
func TestCommandThatHangs(t *testing.T) {
	for name, script := range map[string]string{
		"itself":            `sleep 600`,
		"and its child":     `sleep 600 & wait`,
		"deaf to a request": `trap "" TERM INT; sleep 600 & wait; sleep 600`,
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer stop()
			_, err = Command{Args: []string{"sh", "-c", script}, Stderr: w}.Fetch(ctx)
			assertError(t, err, "sh did not end within 1m0s")
			w.Close()
			// Each of them would hold the pipe open for ten minutes.
			if text, err := io.ReadAll(r); err != nil || len(text) != 0 {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}
