package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/config"
	"gatehouse/proxy"
)

// TestLines: lines of requests wait a moment for others, all else for nothing, and
// none loses its place.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &lockedBuffer{}
		l := &lines{to: out}
		log := slog.New(newPrompt(config.Log{Format: "text"}, l)).With("a", 1).WithGroup("g")
		log.Info(proxy.AccessLine, "n", 1)
		if out.String() != "" {
			t.Errorf("written at once: %s", out)
		}
		log.Warn("trouble")
		if s := out.String(); strings.Index(s, "msg=request a=1 g.n=1") > strings.Index(s, "msg=trouble") || !strings.Contains(s, "trouble") {
			t.Errorf("out of order: %s", s)
		}
		log.Info(proxy.AccessLine, "n", 2)
		time.Sleep(linesDelay - 1)
		if strings.Contains(out.String(), "g.n=2") {
			t.Error("written before its time")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !strings.Contains(out.String(), "g.n=2") {
			t.Error("not written in time")
		}
		log.Info(proxy.AccessLine, "n", 3)
		l.flush()
		if !strings.Contains(out.String(), "g.n=3") {
			t.Error("lost at the end")
		}
		l.flush()
	})
}

// full is a disk without room.
type full struct{ tried int }

func (f *full) Write([]byte) (int, error) { f.tried++; return 0, errors.New("no space left") }

func TestLinesAreBounded(t *testing.T) {
	f := &full{}
	l := &lines{to: f}
	line := []byte(strings.Repeat("x", 1000))
	for range 1000 {
		_, _ = l.Write(line)
	}
	l.flush() // and the timer is stopped
	if f.tried < 20 || cap(l.waiting) > 4*linesSize {
		t.Errorf("tried %d times, %d bytes are held", f.tried, cap(l.waiting))
	}
}

// TestRecord: the line of a request reads as slog's own handler writes it.
func TestRecord(t *testing.T) {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, proxy.AccessLine, 0)
	r.AddAttrs(
		slog.String("plain", "/a"), slog.String("odd", "a\"b\\c\x00\n\t\u2028<é\u2029&\u0085>\x7f\xff"), slog.String("none", ""), slog.Int("status", 404),
		slog.Int64("bytes", 1<<40), slog.Duration("duration", 1500*time.Microsecond), slog.Bool("yes", true), slog.Bool("no", false))
	var theirs bytes.Buffer
	if err := slog.NewJSONHandler(&theirs, nil).Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(theirs.String(), "\u0085", `\u0085`)
	if ours := string(appendRecord(nil, r)); ours != want {
		t.Errorf("%s, and slog writes %s", ours, theirs.Bytes())
	}
}

// BenchmarkRecord compares the two.
func BenchmarkRecord(b *testing.B) {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, proxy.AccessLine, 0)
	for range 10 {
		r.AddAttrs(slog.String("text", "some text"))
	}
	r.AddAttrs(slog.Int("n", 12345), slog.Duration("d", time.Millisecond), slog.Bool("t", true), slog.Bool("f", false))
	var out bytes.Buffer
	theirs := slog.NewJSONHandler(&out, nil)
	b.Run("slog", func(b *testing.B) {
		for b.Loop() {
			out.Reset()
			_ = theirs.Handle(b.Context(), r)
		}
	})
	b.Run("ours", func(b *testing.B) {
		var to []byte
		for b.Loop() {
			to = appendRecord(to[:0], r)
		}
	})
}
