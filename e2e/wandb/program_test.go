package wandb

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// key is long enough for every client.
const key = "0123456789012345678901234567890123456789"

var alice = Viewer{Username: "alice", Email: "alice@example.com", Entity: "research", Teams: []string{"research", "ops"}}

// program runs one of the programs that npm has the libraries for, to its end,
// with a home of its own. It returns what the program said.
func program(t *testing.T, name string, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	file, err := filepath.Abs(filepath.Join("../oidc-provider", name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", file)
	cmd.Dir = t.TempDir() // Weave writes what goes wrong into a file
	cmd.Env = append(os.Environ(), append([]string{"NODE_NO_WARNINGS=1", "HOME=" + cmd.Dir, "WANDB_API_KEY=" + key}, env...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestSDK lets the library @wandb/sdk take the server for a real one.
func TestSDK(t *testing.T) {
	t.Parallel()
	s := NewServer(Options{Keys: map[string]Viewer{key: alice}})
	at := httptest.NewServer(s)
	defer at.Close()
	out, err := program(t, "run.mjs", "WANDB_BASE_URL="+at.URL, "METRICS=50", "EVERY_MS=2")
	if err != nil || !strings.Contains(out, "\ndone\n") {
		t.Fatalf("the program failed: %v\n%s", err, out)
	}
	runs := s.Runs()
	if len(runs) != 1 || !strings.HasPrefix(runs[0], "research/e2e/") || !s.Complete(runs[0]) {
		t.Fatalf("the runs are %q; complete: %t", runs, len(runs) > 0 && s.Complete(runs[0]))
	}
	if f := s.File(runs[0], HistoryFile); len(f) != 50 || len(f.Missing(50))+len(f.Doubled()) > 0 {
		t.Errorf("of 50 metrics %d came, without %v, twice %v", len(f), f.Missing(50), f.Doubled())
	}
	for _, r := range s.Requests("/") {
		if got := r.Header.Get("User-Agent"); !strings.HasPrefix(got, "W&B Internal JS Client ") || r.Status != http.StatusOK {
			t.Errorf("%s by %q: %d", r.Path, got, r.Status)
		}
	}
}

// TestSDKUnknown is a key that the server didn't give out.
func TestSDKUnknown(t *testing.T) {
	t.Parallel()
	s := NewServer(Options{})
	at := httptest.NewServer(s)
	defer at.Close()
	out, err := program(t, "run.mjs", "WANDB_BASE_URL="+at.URL, "METRICS=1", "EVERY_MS=1")
	if err == nil || !strings.Contains(out, "permission denied") {
		t.Errorf("the program ended with %v and said\n%s", err, out)
	}
	if runs := s.Runs(); len(runs) > 0 {
		t.Errorf("there are runs: %q", runs)
	}
}

// TestWeave lets the library weave trace a function.
func TestWeave(t *testing.T) {
	t.Parallel()
	s := NewServer(Options{Keys: map[string]Viewer{key: alice}})
	at := httptest.NewTLSServer(s)
	defer at.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: at.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := program(t, "weave.mjs", "WANDB_BASE_URL="+at.URL, "NODE_EXTRA_CA_CERTS="+ca, "PROJECT=e2e")
	if err != nil || !strings.Contains(out, "done") || !strings.Contains(out, "research/e2e") {
		t.Fatalf("the program failed: %v\n%s", err, out)
	}
	calls := s.Calls()
	if len(calls) != 1 {
		t.Fatalf("there are %d calls", len(calls))
	}
	c := calls[0]
	if !strings.Contains(c.Op, "research/e2e/op/double:") || c.Output != `{"doubled":42}` || c.Inputs != `{"arg0":21}` || c.Started != 1 || c.Ended != 1 {
		t.Errorf("the call is %+v", c)
	}
	var asked []string
	for _, r := range s.Requests("/traces/") {
		asked = append(asked, r.Path)
	}
	slices.Sort(asked)
	want := []string{"/traces/call/upsert_batch", "/traces/file/create", "/traces/obj/create"}
	if got := slices.Compact(asked); !slices.Equal(got, want) {
		t.Errorf("the trace server was asked for %q, want %q", got, want)
	}
}
