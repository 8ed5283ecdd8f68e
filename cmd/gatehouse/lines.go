package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"gatehouse/proxy"
)

const (
	// linesDelay is how long the line of a request may wait for others.
	linesDelay = 100 * time.Millisecond
	// linesSize is how many bytes of them may wait.
	linesSize = 32 << 10
)

// lines writes several lines at once: one write for each request is a good part of
// what a small request costs. It is safe for use by several goroutines.
type lines struct {
	mu      sync.Mutex
	to      io.Writer
	waiting []byte
	timer   *time.Timer
}

// Write keeps a line for a moment, behind those that came before it.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, line...)
	switch {
	case len(l.waiting) >= linesSize:
		if err := l.write(); err != nil {
			return 0, err
		}
	case l.timer == nil:
		l.timer = time.AfterFunc(linesDelay, l.flush)
	}
	return len(line), nil
}

// flush writes what waits. What can't be written is lost, as it would have been.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.write()
}

func (l *lines) write() error {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(l.waiting) == 0 {
		return nil
	}
	_, err := l.to.Write(l.waiting)
	l.waiting = l.waiting[:0]
	return err
}

// prompt writes every line at once but those of requests.
type prompt struct {
	slog.Handler
	lines *lines
}

// Handle implements slog.Handler.
func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	err := p.Handler.Handle(ctx, r)
	if r.Message != proxy.AccessLine {
		p.lines.flush()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.lines}
}

// WithGroup implements slog.Handler.
func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.lines}
}
