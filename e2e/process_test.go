package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const hint = `run "make setup"`

// process is a program that a test started, with all that it starts itself.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

// start runs a program in a process group of its own, which is gone when the
// test ends, and waits until ready says so. The test fails if that takes long
// or the program ends before.
func start(t *testing.T, cmd *exec.Cmd, ready func(*process) bool) *process {
	t.Helper()
	p := &process{name: filepath.Base(cmd.Path), cmd: cmd, out: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v; %s", p.name, err, hint)
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is for the test to judge, by its output
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.out.tail(60))
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for !ready(p) {
		select {
		case <-p.done:
			t.Fatalf("%s ended before it was ready (if it lacks something: %s)\n%s", p.name, hint, p.out.tail(30))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready after 30 s\n%s", p.name, p.out.tail(30))
		}
	}
	return p
}

// stop asks the whole process group to end and kills what has not ended after
// five seconds. A second call does nothing.
func (p *process) stop() {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-p.done
}

// output keeps what a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// count says how often text was written so far.
func (o *output) count(text string) int { return strings.Count(o.String(), text) }

func (o *output) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(o.String()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Ports are taken from below those that the kernel gives to outgoing
// connections, where one could be gone by the time a program listens on it.
const firstPort, portCount = 12000, 20000

// freePort returns a TCP port of 127.0.0.1 that nobody listens on, and that it
// gives to nobody else.
func freePort(t *testing.T) int {
	t.Helper()
	for range portCount {
		port := firstPort + int(shared.port.Add(1)%portCount)
		if ln, err := net.Listen("tcp", loopback(port)); err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// answers tells whether url answers 200.
func answers(url string) func(*process) bool {
	client := &http.Client{Timeout: 5 * time.Second}
	return func(*process) bool {
		res, err := client.Get(url)
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
}

// find returns the first of several names of a program that is installed.
func find(names ...string) (string, error) {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, exec.ErrNotFound) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s is not installed; %s", strings.Join(names, " or "), hint)
}
