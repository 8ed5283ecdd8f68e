package authn_test

import (
	"testing"
	"time"

	"gatehouse/authn"
)

// TestThrottledSays: whoever waits as long as they are told need not wait again.
func TestThrottledSays(t *testing.T) {
	for after, want := range map[time.Duration]struct {
		seconds  int
		sentence string
	}{
		-time.Second:       {1, "Too many attempts. Try again in a second."},
		0:                  {1, "Too many attempts. Try again in a second."},
		time.Second + 1:    {2, "Too many attempts. Try again in 2 seconds."},
		99 * time.Second:   {99, "Too many attempts. Try again in 99 seconds."},
		99*time.Second + 1: {100, "Too many attempts. Try again in 2 minutes."},
		15*time.Minute - 1: {900, "Too many attempts. Try again in 15 minutes."},
		15*time.Minute + 1: {901, "Too many attempts. Try again in 16 minutes."},
	} {
		e := &authn.Throttled{After: after}
		if e.Seconds() != want.seconds || e.Sentence() != want.sentence {
			t.Errorf("%s: %d, %q", after, e.Seconds(), e.Sentence())
		}
	}
}
