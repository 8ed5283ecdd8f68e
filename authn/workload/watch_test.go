package workload

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// offClock is the clock of a machine that is suspended now and then: it goes on,
// while timers and what goes by them stand still.
type offClock struct{ ahead atomic.Int64 }

func (c *offClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())).Round(0) }

// suspend has the clock jump; back, if d is negative.
func (c *offClock) suspend(d time.Duration) { c.ahead.Add(int64(d)) }

func TestRunAfterASuspension(t *testing.T) {
	clock, s := &offClock{}, plan(gives(t, "first", time.Hour))
	run(t, 5*time.Minute, &Keeper{wall: clock.now}, s, func(f File, l *log) {
		clock.suspend(2 * time.Hour)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := subject(t, f); got != "" {
			t.Errorf("the ended token of %q is still there", got)
		}
		if len(s.asked()) < 2 || l.count("has ended and is removed") != 1 || l.count("old_token_until") != 0 {
			t.Errorf("asked at %v\n%s", s.asked(), l)
		}
	})
}

func TestRunAfterASuspensionWithinTheTokensLife(t *testing.T) {
	clock, s := &offClock{}, plan(gives(t, "first", time.Hour), gives(t, "second", 2*time.Hour))
	run(t, 5*time.Minute, &Keeper{wall: clock.now}, s, func(f File, _ *log) {
		clock.suspend(50 * time.Minute)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := subject(t, f); got != "second" {
			t.Errorf("the file holds the token of %q", got)
		}
	})
}

// A person may take their time, and the laptop sleep meanwhile.
func TestRunAfterASuspensionBesideASlowSource(t *testing.T) {
	clock, s := &offClock{}, plan(gives(t, "first", time.Hour), func() (Token, error) {
		time.Sleep(15 * time.Minute)
		return Token{}, errors.New("nobody came")
	})
	run(t, 41*time.Minute, &Keeper{wall: clock.now}, s, func(f File, _ *log) {
		clock.suspend(time.Hour)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := subject(t, f); got != "" {
			t.Errorf("the ended token of %q is still there", got)
		}
	})
}

func TestRunWithAClockThatIsSetBack(t *testing.T) {
	clock, s := &offClock{}, plan(gives(t, "first", time.Hour), gives(t, "second", time.Hour))
	run(t, 5*time.Minute, &Keeper{wall: clock.now}, s, func(_ File, _ *log) {
		clock.suspend(-24 * time.Hour)
		time.Sleep(36 * time.Minute)
		if want := []time.Duration{0, 40 * time.Minute}; !slices.Equal(s.asked(), want) {
			t.Errorf("asked at %v, want %v", s.asked(), want)
		}
	})
}

// A token of an earlier run ends while there is no other.
func TestRunRemovesAFormerTokenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l := tempFile(t), &log{}
		if err := f.Write(Secret(lasting(t, "former", 47*time.Minute))); err != nil {
			t.Fatal(err)
		}
		k := &Keeper{Source: plan(), File: f, Log: l.logger()}
		go k.Run(t.Context())
		time.Sleep(47*time.Minute - 1)
		if got := subject(t, f); got != "former" {
			t.Errorf("before its end the file holds the token of %q", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := subject(t, f); got != "" {
			t.Errorf("the ended token of %q is still there", got)
		}
	})
}

// A token that ends before the next step does so on time.
func TestRunRemovesAShortTokenOnTime(t *testing.T) {
	s := plan(gives(t, "first", time.Hour), gives(t, "short", 12*time.Second))
	run(t, 40*time.Minute+12*time.Second-1, &Keeper{}, s, func(f File, _ *log) {
		if got := subject(t, f); got != "short" {
			t.Errorf("before its end the file holds the token of %q", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := subject(t, f); got != "" {
			t.Errorf("the ended token of %q is still there", got)
		}
	})
}

func TestRunSaysOnceWhatItCanNotLookAt(t *testing.T) {
	f := File(t.TempDir())
	run(t, 10*time.Minute, &Keeper{File: f}, plan(), func(_ File, l *log) {
		if l.count("can't be looked at", "is not a plain file") != 1 {
			t.Errorf("the log is\n%s", l)
		}
	})
}

// A token that is no JWT ends when the issuer has said, which it may put off.
func TestRunRemovesAnOpaqueToken(t *testing.T) {
	opaque := func() (Token, error) {
		return Token{Secret: "opaque", Issued: time.Now(), Expires: time.Now().Add(time.Hour)}, nil
	}
	run(t, 100*time.Minute-1, &Keeper{}, plan(opaque, opaque), func(f File, l *log) { // asked at 0 and 40 minutes
		assertHolds(t, f, "opaque")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assertHolds(t, f, "")
		if l.count("token written") != 1 || l.count("has ended and is removed") != 1 {
			t.Errorf("the log is\n%s", l)
		}
	})
}
