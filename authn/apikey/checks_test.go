package apikey

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// flooded asks about keys that nobody has until well after all places are taken,
// and returns what waits for their end.
func (r *rig) flooded(wrong func(int) string) (wait func()) {
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			if id, err := r.ask(wrong(i)); err == nil || id.Subject != "" {
				r.Errorf("%+v", id)
			}
		})
	}
	synctest.Wait()
	return all.Wait
}

// TestKnownKeysInAFlood: a key that was good a moment ago is checked again while
// unknown ones take all the places there are for them; one that is unknown, or was
// refused since, is not (TOK-27).
func TestKnownKeysInAFlood(t *testing.T) {
	foreign := func(i int) string { return hexKey(1000 + i) }
	for name, c := range map[string]struct {
		good, other func(*rig) string
		wrong       func(int) string
	}{
		"the application's": {func(*rig) string { return hexKey(1) }, func(*rig) string { return hexKey(2) }, foreign},
		"the gateway's": {
			func(r *rig) string { k, _ := r.made("ci"); return k }, func(r *rig) string { k, _ := r.made("ci"); return k },
			func(int) string { return Generate() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, verifying, func(s *setup) { s.deps.Store = &slow{Store: session.NewMemory()} })
				defer r.end()
				r.app.answer = func(w http.ResponseWriter, q *http.Request) {
					time.Sleep(time.Second)
					if _, key, _ := q.BasicAuth(); key == hexKey(1) || key == hexKey(2) {
						says(200, "application/json", ada)(w, q)
					} else {
						says(401, "application/json", "{}")(w, q)
					}
				}
				good, other := c.good(r), c.other(r)
				r.accepted(good)
				time.Sleep(61 * time.Second) // what was found out is forgotten
				wait := r.flooded(c.wrong)
				if _, err := r.ask(other); !errors.Is(err, authn.ErrCrowded) {
					t.Errorf("one that is not known yet: %v", err)
				}
				r.accepted(good)
				wait()
				r.accepted(other)
				time.Sleep(knownFor + time.Minute)
				wait = r.flooded(func(i int) string { return c.wrong(1000 + i) })
				if _, err := r.ask(good); !errors.Is(err, authn.ErrCrowded) {
					t.Errorf("one that was good long ago: %v", err)
				}
				wait()
			})
		})
	}
}

// TestKnown: only a proof makes a key known, a refusal ends that, an outage does
// not; the places of known keys have a bound too.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := newChecks(authn.MemoryOptions{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		var said error
		check := func(key string) error {
			_, err := c.verify(t.Context(), key, func(context.Context) (authn.Identity, error) { return authn.Identity{Subject: key}, said })
			return err
		}
		full := func(key string) bool {
			c.all <- struct{}{}
			defer func() { <-c.all }()
			err := check(key)
			return errors.Is(err, authn.ErrCrowded)
		}
		if err := check("ada"); err != nil || full("ada") {
			t.Errorf("a good key is not known: %v", err)
		}
		if said = errDown; !errors.Is(check("ada"), errDown) || full("ada") {
			t.Error("an outage makes it unknown")
		}
		if !full("grace") || check("grace") == nil || !full("grace") {
			t.Error("an outage makes a key known")
		}
		if said = reject("no"); check("ada") == nil || !full("ada") {
			t.Error("one that was refused is known")
		}
		said = nil
		if err := check("grace"); err != nil {
			t.Fatal(err)
		}
		for range knownAtOnce {
			c.known <- struct{}{}
		}
		if !full("grace") {
			t.Error("there are more places than there are")
		}
		for i := range maxKnown + 5 {
			if err := check(hexKey(i)); err != nil || len(c.good) > maxKnown {
				t.Fatalf("%d are known: %v", len(c.good), err)
			}
		}
	})
}
