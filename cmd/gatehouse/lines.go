package main

import (
	"bytes"
	"context"
	"encoding/json/jsontext"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
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
	if err := l.add(func(to []byte) []byte { return append(to, line...) }); err != nil {
		return 0, err
	}
	return len(line), nil
}

// add does the same with a line that is made where it waits.
func (l *lines) add(line func(to []byte) []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = line(l.waiting)
	switch {
	case len(l.waiting) >= linesSize:
		return l.write()
	case l.timer == nil:
		l.timer = time.AfterFunc(linesDelay, l.flush)
	}
	return nil
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
	plain bool // JSON, and nothing was added to the logger
}

// newPrompt writes what the settings ask for to l.
func newPrompt(c config.Log, l *lines) slog.Handler {
	return prompt{newLogger(c, l).Handler(), l, c.Format != "text"}
}

// Handle implements slog.Handler.
func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Message != proxy.AccessLine:
		err := p.Handler.Handle(ctx, r)
		p.lines.flush()
		return err
	case p.plain:
		return p.lines.add(func(to []byte) []byte { return appendRecord(to, r) })
	}
	return p.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.lines, false}
}

// WithGroup implements slog.Handler.
func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.lines, false}
}

// appendRecord writes a line as slog's own handler does, in half the time, but for what
// a line of a request never has: groups, values that are more than a text, a number or a
// truth, and keys that are more than a word. Control characters that slog lets stand are
// escaped.
func appendRecord(to []byte, r slog.Record) []byte {
	to = append(to, `{"time":"`...)
	to = r.Time.AppendFormat(to, time.RFC3339Nano)
	to = append(to, `","level":"`...)
	to = append(to, r.Level.String()...)
	to = append(to, `","msg":`...)
	to = appendText(to, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		to = append(to, `,"`...)
		to = append(to, a.Key...)
		to = append(to, `":`...)
		switch v := a.Value; v.Kind() {
		case slog.KindInt64:
			to = strconv.AppendInt(to, v.Int64(), 10)
		case slog.KindDuration:
			to = strconv.AppendInt(to, int64(v.Duration()), 10)
		case slog.KindBool:
			to = strconv.AppendBool(to, v.Bool())
		default:
			to = appendText(to, v.String())
		}
		return true
	})
	return append(to, "}\n"...)
}

// appendText writes a text for JSON. What is no UTF-8 in it becomes U+FFFD, and what
// some readers take for the end of a line, or a terminal for a command, is escaped.
func appendText(to []byte, text string) []byte {
	quoted, _ := jsontext.AppendQuote(to, text)
	if strings.IndexByte(text, "\u0080"[0]) >= 0 || strings.IndexByte(text, "\u2028"[0]) >= 0 { // or something near it
		return authn.AppendOneLine(to, bytes.Clone(quoted[len(to):]))
	}
	return quoted
}
