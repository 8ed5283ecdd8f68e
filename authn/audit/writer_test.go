package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/audit"
)

// TestFollowed: the trail of new settings goes on with the chain where it goes to the
// same place, whoever of both writes, and whoever is closed first.
func TestFollowed(t *testing.T) {
	var out bytes.Buffer
	first := open(t, audit.Options{To: &out, Secrets: [][]byte{former}})
	record(t, first, 0, 2)
	second := open(t, audit.Options{To: &out, Secrets: [][]byte{secret, former}, After: first})
	record(t, second, 2, 3)
	record(t, first, 3, 4)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(t, audit.Options{To: &out, Secrets: [][]byte{secret, former}, After: second})
	record(t, third, 4, 5)
	if n, flaws := verify(t, out.String(), secret, former); n != 5 || flaws != "" {
		t.Errorf("%d lines, %s\n%s", n, flaws, out.String())
	}

	file := filepath.Join(t.TempDir(), "audit.log")
	elsewhere := open(t, audit.Options{File: file, Secrets: [][]byte{secret}, After: third})
	record(t, elsewhere, 0, 1)
	if n, flaws := verify(t, read(t, file), secret); n != 1 || flaws != "" {
		t.Errorf("another place: %d lines, %s", n, flaws)
	}
}

// stuck is where nothing can be written until it is let go.
type stuck struct {
	free chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// TestStuck: who is to be recorded does not wait for ever for a disk or a server that hangs.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &stuck{free: make(chan struct{})}
		w := open(t, audit.Options{To: to, Secrets: [][]byte{secret}})
		begun := time.Now()
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				if err := w.Record(event(n)); !errors.Is(err, audit.ErrUnwritten) {
					t.Errorf("it hangs: %v", err)
				}
			})
		}
		all.Wait()
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		begun = time.Now()
		if err := w.Record(event(20)); !errors.Is(err, audit.ErrUnwritten) || time.Since(begun) > 0 {
			t.Errorf("while it is known to hang: %v after %v", err, time.Since(begun))
		}
		if err := w.Close(); err == nil {
			t.Error("closed while it hangs")
		}
		close(to.free)
		synctest.Wait()
		record(t, w, 30, 31)
		if n, flaws := verify(t, to.text.String(), secret); n != 2 || flaws != "" {
			t.Errorf("%d lines, %s: of those that were refused only the one that hung is written late", n, flaws)
		}
	})
}

// TestFlood: whoever is refused again and again fills no disk, and hides no other event.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := open(t, audit.Options{To: &out})
		say := func(e audit.Event) {
			if err := w.Record(e); err != nil {
				t.Fatal(err)
			}
		}
		for range 10000 {
			say(audit.Event{Name: audit.SignIn, Outcome: audit.Refused})
		}
		say(audit.Event{Name: audit.Access, Outcome: audit.Refused})
		say(audit.Event{Name: audit.SignIn, Outcome: audit.Allowed})
		time.Sleep(time.Minute)
		say(audit.Event{Name: audit.SignIn, Outcome: audit.Refused, Reason: "the last"})
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) > 600 || len(lines) < 100 {
			t.Fatalf("%d lines", len(lines))
		}
		var last audit.Event
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
			t.Fatal(err)
		}
		if last.Reason != "the last (and 9500 refusals before it)" {
			t.Errorf("the last line says: %s", last.Reason)
		}
		if !strings.Contains(lines[len(lines)-2], `"allowed"`) || !strings.Contains(lines[len(lines)-3], `"access"`) {
			t.Errorf("other events are missing: %s", lines[len(lines)-3:])
		}
	})
}
