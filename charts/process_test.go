package charts

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// startTime is how long a program may take to start.
const startTime = 30 * time.Second

// gatehouse builds the program.
func gatehouse(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gatehouse")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", file, "gatehouse/cmd/gatehouse").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// freePort is a port of loopback that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// listens says whether somebody listens at a port of loopback.
func listens(port string) bool {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// output is what a program says. It can be read while that goes on.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a program until the test ends, and waits until it is ready.
func start(t *testing.T, cmd *exec.Cmd, ready func() bool) {
	t.Helper()
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: run \"make setup\"", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended, what it said tells
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-done
		if t.Failed() {
			text := said.String()
			t.Logf("%s said last:\n%s", filepath.Base(cmd.Path), text[max(0, len(text)-4000):])
		}
	})
	for deadline := time.Now().Add(startTime); !ready(); {
		select {
		case <-done:
			t.Fatalf("%s ended:\n%s", cmd.Path, said)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready after %s:\n%s", cmd.Path, startTime, said)
		}
	}
}
