package ldap

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/audit"
)

// toldTrail is an audit trail that a test reads.
type toldTrail struct {
	mu    sync.Mutex
	lines []string
}

func (tr *toldTrail) Record(e audit.Event) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf("%s %s %s: %s", e.Name, e.Outcome, e.Claimed, e.Reason))
	return nil
}

func (tr *toldTrail) all() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]string{}, tr.lines...)
}

// TestTrailOfBans: who is kept waiting for what they tried stands in the audit trail; who
// only waits for another attempt to be over does not.
func TestTrailOfBans(t *testing.T) {
	trail := &toldTrail{}
	change := func(s *setup) { s.deps.Audit, s.regulation.MaxAddressRetries = trail, 5 }
	t.Run("an address", func(t *testing.T) {
		s := newScripted(t, change)
		for i := range 6 {
			_, _ = s.prove(fmt.Sprint("name", i), "guess-pw")
		}
		lines := trail.all()
		if want := "sign-in refused unknown: not looked at, after others that were wrong"; len(lines) != 6 || lines[5] != want {
			t.Errorf("the trail: %q", lines)
		}
	})
	t.Run("another attempt", func(t *testing.T) {
		trail.lines = nil
		s := newScripted(t, change)
		a, err := s.l.account(t.Context(), credentials{login: "alice", log: s.l.Log})
		if err != nil {
			t.Fatal(err)
		}
		var pending []attempt
		for range usualRegulation().MaxRetries {
			one, err := s.l.regulation.begin(t.Context(), a, "192.0.2.1:1234")
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, one)
		}
		var done sync.WaitGroup
		done.Go(func() {
			time.Sleep(3 * pendingPause)
			for _, one := range pending {
				if err := one.undone(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		if _, err := s.prove("alice", "right"); err != nil {
			t.Error(err)
		}
		done.Wait()
		if lines := trail.all(); len(lines) > 0 {
			t.Errorf("the trail: %q", lines)
		}
	})
}
