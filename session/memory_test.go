package session

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		m.limit = 10 * (entryOverhead + 100)
		ctx := t.Context()
		value := bytes.Repeat([]byte{1}, 90)
		var full error
		n := 0
		for ; full == nil; n++ {
			full = m.Set(ctx, fmt.Sprintf("k%d", n), value, time.Minute)
		}
		if !errors.Is(full, errFull) || n-1 != 10 {
			t.Fatalf("RDS-11 full after %d: %v", n-1, full)
		}
		if added, err := m.Add(ctx, "new", value, time.Minute); added || !errors.Is(err, errFull) {
			t.Errorf("Add to a full store = %v, %v", added, err)
		}
		if swapped, err := m.Swap(ctx, "k0", value, make([]byte, 1000), time.Minute); swapped || !errors.Is(err, errFull) {
			t.Errorf("growing Swap in a full store = %v, %v", swapped, err)
		}
		for i := range 10 {
			if _, found, _ := m.Get(ctx, fmt.Sprintf("k%d", i)); !found {
				t.Errorf("RDS-10 k%d was evicted", i)
			}
		}
		if err := m.Set(ctx, "k3", value, time.Hour); err != nil {
			t.Error("replacing in a full store: ", err)
		}
		time.Sleep(time.Minute)
		if err := m.Set(ctx, "new", value, time.Minute); err != nil {
			t.Error("expired entries still take room: ", err)
		}
		if len(m.entries) != 2 || len(m.queue) != 2 || m.size != m.entries["k3"].size()+m.entries["new"].size() {
			t.Errorf("%d entries, %d in the queue, %d bytes", len(m.entries), len(m.queue), m.size)
		}
		m.Delete(ctx, "k3")
		m.Delete(ctx, "new")
		if m.size != 0 || len(m.queue) != 0 {
			t.Errorf("empty, but %d bytes and %d in the queue", m.size, len(m.queue))
		}
	})
}

// TestMemoryGuesses: what strangers can write leaves room for all else, and is let go.
func TestMemoryGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		m.limit = 40 * (entryOverhead + 100)
		ctx := t.Context()
		guess := func(n int) error {
			return m.Set(ctx, fmt.Sprintf("%s%03d", Guesses, n), bytes.Repeat([]byte{1}, 88), time.Minute)
		}
		for range 2 {
			n := 0
			for guess(n) == nil {
				n++
			}
			if n != 10 {
				t.Errorf("%d guesses fit", n)
			}
			if err := guess(3); err != nil {
				t.Errorf("the same again: %v", err)
			}
			if err := m.Set(ctx, "session:a", make([]byte, 500), time.Hour); err != nil {
				t.Errorf("a session: %v", err)
			}
			time.Sleep(time.Minute)
		}
		m.Delete(ctx, "session:a")
		if m.size != 0 || m.guesses != 0 {
			t.Errorf("empty, but %d bytes, %d of guesses", m.size, m.guesses)
		}
	})
}

func TestMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks(time.Minute)
		now := time.Now()
		for i := range 3 * maxMarks {
			m.set(fmt.Sprint(i), now)
		}
		if n := len(m.young) + len(m.old); n > 2*maxMarks {
			t.Errorf("SES-34 %d marks are kept", n)
		}
		m.set("x", now)
		for range 2 { // kept as long as promised, whichever generation it is in
			time.Sleep(time.Minute / 2)
			m.set("other", now)
			if until, found := m.get("x"); !found || !until.Equal(now) {
				t.Errorf("get = %v, %v", until, found)
			}
		}
		for range 4 {
			time.Sleep(time.Minute + 1)
			m.set("other", now)
		}
		if _, found := m.get("x"); found || len(m.young)+len(m.old) > 2 {
			t.Errorf("%d marks are left", len(m.young)+len(m.old))
		}
	})
}
