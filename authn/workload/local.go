package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// ProjectedPoll is how often to look at a file that somebody else keeps. It is
// read whole each time: the kubelet swaps a symbolic link two directories above
// it, of which a watch on the file would hear nothing.
const ProjectedPoll = leastWait

// Projected copies a token from a file that somebody else keeps fresh, such as a
// service account token that Kubernetes projects into a container.
type Projected struct {
	From  string
	Rules Rules
}

// Fetch reads the file.
func (p Projected) Fetch(context.Context) (Token, error) {
	text, err := readFile(p.From, maxToken)
	if err != nil {
		return Token{}, err
	}
	t, err := p.Rules.read(text, time.Now())
	if err != nil {
		return Token{}, fmt.Errorf("%s: %w", p.From, err)
	}
	return t, nil
}

// commandTime bounds a command, and what it has left behind a little more.
const commandTime = time.Minute

// Command runs a program whose standard output is the token. There is no shell in
// between.
type Command struct {
	// Args are the program and its arguments.
	Args []string
	// Env is its environment.
	Env []string
	// Stderr gets what it has to say.
	Stderr io.Writer
	Rules  Rules
}

// Fetch runs the program, for a minute at most. Its output is in no error.
func (c Command) Fetch(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	out := &bounded{limit: maxToken, full: cancel}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...) //nolint:gosec // the operator's own
	alone(cmd)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, out, c.Stderr
	cmd.WaitDelay = leastWait
	err := cmd.Run()
	switch {
	case out.over:
		return Token{}, fmt.Errorf("%s printed more than %d bytes", c.Args[0], maxToken)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Token{}, fmt.Errorf("%s did not end within %s", c.Args[0], commandTime)
	case errors.Is(err, exec.ErrNotFound):
		return Token{}, final{fmt.Errorf("there is no program %q", c.Args[0])}
	case err != nil:
		return Token{}, fmt.Errorf("%s: %w", c.Args[0], err)
	}
	t, err := c.Rules.read(out.String(), time.Now())
	if err != nil {
		return Token{}, fmt.Errorf("what %s printed: %w", c.Args[0], err)
	}
	return t, nil
}

// bounded is a buffer that calls full when it is.
type bounded struct {
	buf   bytes.Buffer
	limit int
	full  func()
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > b.limit {
		b.over = true
		b.full()
		return 0, errors.New("too much")
	}
	return b.buf.Write(p)
}

func (b *bounded) String() string { return b.buf.String() }
