package directory

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a server that a test started. It writes to a file and not to a
// pipe, so that what it wrote before an answer can be read after the answer.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// command makes a process that runs until it is stopped: the test's cleanup may
// still need it, so the test's context doesn't end it.
func command(t testing.TB, name, log, program string, args ...string) *process {
	return &process{
		name: name,
		cmd:  exec.CommandContext(context.WithoutCancel(t.Context()), program, args...),
		log:  log,
		done: make(chan struct{}),
	}
}

func (p *process) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		close(p.done)
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // a server that ends by itself is noticed by what it no longer answers
	}()
}

// ready waits until the server answers. It returns the last error if the server
// has ended or takes too long.
func (p *process) ready(answers func() error) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := answers()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-p.done:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop asks the server to end and kills it if it doesn't. A second call does
// nothing.
func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// said is the end of what the server wrote.
func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return p.name + " said:\n" + strings.Join(lines[max(0, len(lines)-60):], "\n")
}
