package apikey

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/session"
)

const day = 24 * time.Hour

func newLedger(t *testing.T) (Ledger, *session.Memory) {
	t.Helper()
	store := session.NewMemory()
	return NewLedger(store, ring(t, firstKey)), store
}

// shownKey makes a key and returns what is shown.
func shownKey(ctx context.Context, l Ledger, account, note string, lifetime time.Duration) (key string, k Key, err error) {
	k, err = l.New(ctx, account, note, lifetime, func(shown string) error { key = shown; return nil })
	return key, k, err
}

// rotated is shownKey in the place of another.
func rotated(ctx context.Context, l Ledger, id string, grace, lifetime time.Duration) (key string, made, old Key, err error) {
	made, old, err = l.Rotate(ctx, id, grace, lifetime, func(shown string) error { key = shown; return nil })
	return key, made, old, err
}

func ids(keys []Key) (out []string) {
	for _, k := range keys {
		out = append(out, k.ID)
	}
	return out
}

func TestLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newLedger(t)
		began := time.Now().UTC().Truncate(time.Second)
		key, k, err := shownKey(t.Context(), l, "ci", "runner 7", 90*day)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := ID(key)
		want := Key{ID: id, Account: "ci", Note: "runner 7", Created: began, Expires: began.Add(90 * day)}
		if k != want {
			t.Errorf("%+v, want %+v", k, want)
		}
		time.Sleep(time.Minute)
		_, second, err := shownKey(t.Context(), l, "ci", "", day)
		if err != nil {
			t.Fatal(err)
		}
		_, other, err := shownKey(t.Context(), l, "nightly", "", day)
		if err != nil {
			t.Fatal(err)
		}
		list := func(account string, want ...string) {
			t.Helper()
			if got, err := l.List(t.Context(), account); err != nil || !slices.Equal(ids(got), want) {
				t.Errorf("%s has %v (%v), want %v", account, ids(got), err, want)
			}
		}
		list("ci", id, second.ID)
		list("nightly", other.ID)
		list("nobody")
		if got, err := l.Revoke(t.Context(), second.ID); err != nil || got != second {
			t.Errorf("revoked %+v %v", got, err)
		}
		list("ci", id)
		for _, unknown := range []string{second.ID, "abcdEFGH", "", "../../../", mine} {
			if _, err := l.Revoke(t.Context(), unknown); !errors.Is(err, ErrUnknown) {
				t.Errorf("%q: %v", unknown, err)
			}
		}
		time.Sleep(2 * day)
		list("nightly") // it has ended
		time.Sleep(100 * day)
		list("ci")
	})
}

func TestLedgerBounds(t *testing.T) {
	l, store := newLedger(t)
	for name, c := range map[string]struct {
		note     string
		lifetime time.Duration
	}{
		"no time": {"", 0}, "less than none": {"", -day}, "more than five years": {"", MaxLifetime + 1}, "a long note": {strings.Repeat("x", MaxNote+1), day},
		"a note that draws": {"\x1b[2J", day}, "two lines": {"a\nb", day},
	} {
		if _, _, err := shownKey(t.Context(), l, "ci", c.note, c.lifetime); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, _, err := shownKey(t.Context(), l, strings.Repeat("a", 300), strings.Repeat("x", MaxNote), MaxLifetime); err != nil {
		t.Errorf("the longest: %v", err)
	}
	var last Key
	for range maxKeys {
		_, k, err := shownKey(t.Context(), l, "ci", "", day)
		if err != nil {
			t.Fatal(err)
		}
		last = k
	}
	key, _, err := shownKey(t.Context(), l, "ci", "", day)
	if !errors.Is(err, ErrFull) || key != "" {
		t.Errorf("one too many: %v", err)
	}
	if _, _, _, err := rotated(t.Context(), l, last.ID, time.Hour, day); !errors.Is(err, ErrFull) {
		t.Errorf("rotated with one too many: %v", err)
	}
	if _, err := l.Revoke(t.Context(), last.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := shownKey(t.Context(), l, "ci", "", day); err != nil {
		t.Errorf("with one less: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := shownKey(t.Context(), l, "ci", "", day); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("without a store: %v", err)
	}
	if _, err := l.List(t.Context(), "ci"); err == nil {
		t.Error("a list without a store")
	}
}

// TestLedgerAtOnce: no key is lost when several are made at once.
func TestLedgerAtOnce(t *testing.T) {
	l, _ := newLedger(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var made []string
	for range 8 {
		all.Go(func() {
			_, k, err := shownKey(context.Background(), l, "ci", "", day)
			if err == nil {
				mu.Lock()
				made = append(made, k.ID)
				mu.Unlock()
			} else if !errors.Is(err, errChanging) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	listed, err := l.List(t.Context(), "ci")
	got := ids(listed)
	slices.Sort(got)
	slices.Sort(made)
	if err != nil || len(made) == 0 || !slices.Equal(got, made) {
		t.Errorf("%v %v, made %v", got, err, made)
	}
}

func TestLedgerRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newLedger(t)
		_, first, err := shownKey(t.Context(), l, "ci", "runner", 90*day)
		if err != nil {
			t.Fatal(err)
		}
		key, made, old, err := rotated(t.Context(), l, first.ID, day, 30*day)
		if err != nil || key == "" {
			t.Fatal(err)
		}
		now := time.Now().UTC()
		if made.Account != "ci" || made.Note != "runner" || !made.Expires.Equal(now.Add(30*day)) || made.ID == first.ID {
			t.Errorf("the new one is %+v", made)
		}
		if old.ID != first.ID || !old.Expires.Equal(now.Add(day)) {
			t.Errorf("the old one is %+v", old)
		}
		time.Sleep(day + time.Second)
		if _, err := l.Find(t.Context(), first.ID); !errors.Is(err, ErrUnknown) {
			t.Errorf("after the grace: %v", err)
		}
		_, third, old, err := rotated(t.Context(), l, made.ID, 90*day, day)
		if err != nil || !old.Expires.Equal(made.Expires) {
			t.Errorf("a long grace makes the old one live until %v, %v", old.Expires, err)
		}
		if _, _, _, err = rotated(t.Context(), l, third.ID, 0, day); err != nil {
			t.Error(err)
		}
		if _, err := l.Find(t.Context(), third.ID); !errors.Is(err, ErrUnknown) {
			t.Errorf("without grace: %v", err)
		}
		if _, _, _, err = rotated(t.Context(), l, third.ID, 0, day); !errors.Is(err, ErrUnknown) {
			t.Errorf("one that is no more: %v", err)
		}
		if listed, err := l.List(t.Context(), "ci"); err != nil || len(listed) != 2 {
			t.Errorf("%v %v", ids(listed), err)
		}
	})
}

// TestNotShown: a key that could not be shown is nobody's and ends, and so does no
// other for its sake; not even if the caller has given up meanwhile.
func TestNotShown(t *testing.T) {
	l, store := newLedger(t)
	_, first, err := shownKey(t.Context(), l, "ci", "", day)
	if err != nil {
		t.Fatal(err)
	}
	errFull := errors.New("no space left")
	for name, f := range map[string]func(ctx context.Context, show func(string) error) (Key, error){
		"new": func(ctx context.Context, show func(string) error) (Key, error) {
			return l.New(ctx, "ci", "", day, show)
		},
		"rotate": func(ctx context.Context, show func(string) error) (Key, error) {
			made, _, err := l.Rotate(ctx, first.ID, 0, day, show)
			return made, err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var lost string
		made, err := f(ctx, func(key string) error { lost = key; cancel(); return errFull })
		id, ok := ID(lost)
		if !ok || !errors.Is(err, errFull) || made != (Key{}) || strings.Contains(err.Error(), lost) {
			t.Errorf("%s: %+v %v", name, made, err)
		}
		if _, err := l.Find(t.Context(), id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: the one that nobody has: %v", name, err)
		}
		if got, err := l.Find(t.Context(), first.ID); err != nil || got != first {
			t.Errorf("%s: the old one is %+v %v", name, got, err)
		}
	}
	made, err := l.New(t.Context(), "ci", "", day, func(string) error { return errors.Join(errFull, store.Close()) })
	if !errors.Is(err, errFull) || made != (Key{}) || !strings.Contains(err.Error(), "is still in the store") {
		t.Errorf("one that could not be removed: %+v %v", made, err)
	}
}

// TestRotateHalf: when the old key can't be ended, the new one, which somebody has
// by now, goes on.
func TestRotateHalf(t *testing.T) {
	store := &watched{Store: session.NewMemory()}
	l := NewLedger(store, ring(t, firstKey))
	_, first, err := shownKey(t.Context(), l, "ci", "", day)
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := l.Rotate(t.Context(), first.ID, 0, day, func(string) error { store.down.Store(true); return nil })
	if !errors.Is(err, errDown) || made.ID == "" {
		t.Errorf("%+v %v", made, err)
	}
	store.down.Store(false)
	for _, id := range []string{first.ID, made.ID} {
		if _, err := l.Find(t.Context(), id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestLedgerIsSealed: neither who reads nor who writes the store can make a key
// of it (RDS-08).
func TestLedgerIsSealed(t *testing.T) {
	l, store := newLedger(t)
	key, k, err := shownKey(t.Context(), l, "ci", "a private note", day)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := shownKey(t.Context(), l, "nightly", "", day)
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := store.Get(t.Context(), place(k.ID))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{key, key[len(prefix)+idLength:], Hash(key)[7:], "private", `"ci"`} {
		if strings.Contains(string(raw), s) {
			t.Errorf("the store shows %q", s)
		}
	}
	if err := store.Set(t.Context(), place(other.ID), raw, day); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Find(t.Context(), other.ID); !errors.Is(err, ErrSealed) {
		t.Errorf("RDS-08 a record in another's place: %v", err)
	}
	listed, err := l.List(t.Context(), "nightly")
	if err != nil || len(listed) != 1 || listed[0] != (Key{ID: other.ID, Account: "nightly", Lost: true}) {
		t.Errorf("%+v %v", listed, err)
	}
	if got, err := l.Revoke(t.Context(), other.ID); err != nil || !got.Lost || got.ID != other.ID {
		t.Errorf("revoked %+v %v", got, err)
	}
	if err := store.Set(t.Context(), indexPlace("nightly"), []byte(k.ID+" \x1b[31m ../x "+mine), day); err != nil {
		t.Fatal(err)
	}
	if listed, err := l.List(t.Context(), "nightly"); err != nil || len(listed) != 0 {
		t.Errorf("an index that somebody wrote lists %+v %v", listed, err)
	}
}

// TestReseal: keys that nobody uses outlive a rotation of the session keys too.
func TestReseal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, store := newLedger(t)
		_, k, err := shownKey(t.Context(), before, "ci", "runner", 30*day)
		if err != nil {
			t.Fatal(err)
		}
		if _, gone, err := shownKey(t.Context(), before, "ci", "", day); err != nil {
			t.Fatal(err)
		} else if _, err := before.Revoke(t.Context(), gone.ID); err != nil {
			t.Fatal(err)
		}
		during, after := NewLedger(store, ring(t, secondKey, firstKey)), NewLedger(store, ring(t, secondKey))
		if n, err := after.Reseal(t.Context(), "ci"); n != 0 || !errors.Is(err, ErrSealed) {
			t.Errorf("too late: %d %v", n, err)
		}
		_, broken, err := shownKey(t.Context(), before, "ci", "", day)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Set(t.Context(), place(broken.ID), []byte("x"), day); err != nil {
			t.Fatal(err)
		}
		if n, err := during.Reseal(t.Context(), "ci"); n != 1 || !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), broken.ID) {
			t.Errorf("%d %v", n, err)
		}
		if got, err := after.Find(t.Context(), k.ID); err != nil || got != k {
			t.Errorf("%+v %v", got, err)
		}
		time.Sleep(30 * day) // and live no longer for it
		if _, err := after.Find(t.Context(), k.ID); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	})
}
