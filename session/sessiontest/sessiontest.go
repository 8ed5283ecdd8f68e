// Package sessiontest holds the suite that every session.Store passes. It is
// for tests only and relies on nothing but the contract's words.
package sessiontest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/session"
)

// Harness runs check on an empty store and closes the store afterwards. The t
// it passes on is the one to report to; advance lets the store's time go on, so
// that a harness can run each check in a bubble of testing/synctest.
type Harness func(t *testing.T, check func(t *testing.T, s session.Store, advance func(time.Duration)))

// Run checks that the store which in opens keeps the contract of session.Store.
func Run(t *testing.T, in Harness) {
	for _, c := range []struct {
		name  string
		check func(t *testing.T, s session.Store, advance func(time.Duration))
	}{
		{"absence is no error", absence},
		{"values come back as they were", values},
		{"values are copied", copies},
		{"values expire", expiry},
		{"touch", touch},
		{"one of many adds", add},
		{"one of many swaps", race},
		{"swap", swap},
		{"limits", limits},
		{"indexes", indexes},
		{"an index of many", manyMembers},
		{"members expire", memberExpiry},
		{"indexes are found", enumerates},
		{"news", news},
		{"a context that is over", contexts},
		{"ping and close", closing},
	} {
		t.Run(c.name, func(t *testing.T) { in(t, c.check) })
	}
}

const (
	minute = time.Minute
	second = time.Second
)

func absence(t *testing.T, s session.Store, _ func(time.Duration)) {
	ctx := t.Context()
	want(t, s, "absent", nil)
	ok(t, s.Delete(ctx, "absent"))
	ok(t, s.Touch(ctx, "absent", minute))
	want(t, s, "absent", nil)
	for _, next := range [][]byte{nil, []byte("x")} {
		for _, old := range [][]byte{nil, {}, []byte("x")} {
			if swapped, err := s.Swap(ctx, "absent", old, next, minute); swapped || err != nil {
				t.Errorf("Swap(%q, %q) of nothing = %v, %v", old, next, swapped, err)
			}
		}
	}
	want(t, s, "absent", nil)
	ok(t, s.Set(ctx, "k", []byte("v"), minute))
	ok(t, s.Delete(ctx, "k"))
	want(t, s, "k", nil)
}

func values(t *testing.T, s session.Store, _ func(time.Duration)) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, v := range map[string][]byte{
		"empty": {}, "binary": all, "lines": []byte("\r\n$-1\r\n%n%s\x00"), "big": bytes.Repeat(all, 1200), // 300 KB
		"a:b*c{d}?": []byte("odd key"), strings.Repeat("k", 200): []byte("longest key"),
	} {
		ok(t, s.Set(t.Context(), name, v, minute))
		want(t, s, name, v)
		ok(t, s.Set(t.Context(), name, []byte("other"), minute))
		want(t, s, name, []byte("other"))
		swapped, err := s.Swap(t.Context(), name, []byte("other"), v, minute)
		if !swapped || err != nil {
			t.Errorf("Swap to %s = %v, %v", name, swapped, err)
		}
		want(t, s, name, v)
	}
	want(t, s, "k", nil)
	want(t, s, "EMPTY", nil)
}

func copies(t *testing.T, s session.Store, _ func(time.Duration)) {
	v := []byte("abc")
	ok(t, s.Set(t.Context(), "k", v, minute))
	v[0] = 'X'
	want(t, s, "k", []byte("abc"))
	got, _, err := s.Get(t.Context(), "k")
	ok(t, err)
	got[1] = 'X'
	want(t, s, "k", []byte("abc"))
	if _, err := s.Swap(t.Context(), "k", []byte("abc"), v, minute); err != nil {
		t.Error(err)
	}
	v[0] = 'Y'
	want(t, s, "k", []byte("Xbc"))
}

func expiry(t *testing.T, s session.Store, advance func(time.Duration)) {
	ctx := t.Context()
	ok(t, s.Set(ctx, "renewed", []byte("v"), minute/2))
	ok(t, s.Set(ctx, "short", []byte("v"), minute))
	ok(t, s.Set(ctx, "long", []byte("v"), time.Hour))
	ok(t, s.Set(ctx, "renewed", []byte("v2"), time.Hour))
	ok(t, s.Set(ctx, "swapped", []byte("v"), minute))
	if swapped, err := s.Swap(ctx, "swapped", []byte("v"), []byte("v"), time.Hour); !swapped || err != nil {
		t.Errorf("prolonging Swap = %v, %v", swapped, err)
	}
	mustAdd(t, s, "added", true)
	advance(minute - 5*second)
	want(t, s, "short", []byte("v"))
	mustAdd(t, s, "added", false)
	advance(6 * second)
	want(t, s, "short", nil)
	want(t, s, "long", []byte("v"))
	want(t, s, "renewed", []byte("v2"))
	want(t, s, "swapped", []byte("v"))
	if swapped, err := s.Swap(ctx, "short", []byte("v"), []byte("w"), minute); swapped || err != nil {
		t.Errorf("Swap of what expired = %v, %v", swapped, err)
	}
	mustAdd(t, s, "added", true) // a refused add does not prolong
}

func touch(t *testing.T, s session.Store, advance func(time.Duration)) {
	ctx := t.Context()
	ok(t, s.Set(ctx, "longer", []byte("v"), minute))
	ok(t, s.Set(ctx, "shorter", []byte("v"), time.Hour))
	ok(t, s.Touch(ctx, "longer", time.Hour))
	ok(t, s.Touch(ctx, "shorter", minute))
	advance(minute + second)
	want(t, s, "longer", []byte("v"))
	want(t, s, "shorter", nil)
	ok(t, s.Touch(ctx, "shorter", time.Hour)) // doesn't bring back
	want(t, s, "shorter", nil)
}

func add(t *testing.T, s session.Store, _ func(time.Duration)) {
	var won atomic.Int32
	var running sync.WaitGroup
	for i := range 40 {
		running.Go(func() {
			added, err := s.Add(t.Context(), "k", []byte{byte(i)}, minute)
			if err != nil {
				t.Error(err)
			}
			if added {
				won.Add(1)
			}
		})
	}
	running.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 40 adds were told true", won.Load())
	}
	ok(t, s.Delete(t.Context(), "k"))
	mustAdd(t, s, "k", true)
	mustAdd(t, s, "k", false)
}

func race(t *testing.T, s session.Store, _ func(time.Duration)) {
	ok(t, s.Set(t.Context(), "k", []byte("old"), minute))
	var won atomic.Int32
	var running sync.WaitGroup
	for i := range 40 {
		running.Go(func() {
			swapped, err := s.Swap(t.Context(), "k", []byte("old"), []byte{byte(i)}, minute)
			if err != nil {
				t.Error(err)
			}
			if swapped {
				won.Add(1)
			}
		})
	}
	running.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 40 swaps were told true", won.Load())
	}
}

func swap(t *testing.T, s session.Store, _ func(time.Duration)) {
	ctx := t.Context()
	ok(t, s.Set(ctx, "k", []byte("a"), minute))
	for _, c := range []struct {
		old, next []byte
		want      bool
		after     []byte
	}{
		{[]byte("b"), []byte("x"), false, []byte("a")},
		{[]byte(""), []byte("x"), false, []byte("a")},
		{[]byte("b"), nil, false, []byte("a")},
		{[]byte("a\x00"), []byte("x"), false, []byte("a")},
		{[]byte("a"), []byte("b"), true, []byte("b")},
		{[]byte("b"), []byte{}, true, []byte{}},
		{[]byte{}, []byte("c"), true, []byte("c")},
		{[]byte("c"), nil, true, nil},
		{[]byte("c"), nil, false, nil},
	} {
		swapped, err := s.Swap(ctx, "k", c.old, c.next, minute)
		if swapped != c.want || err != nil {
			t.Errorf("Swap(%q, %q) = %v, %v", c.old, c.next, swapped, err)
		}
		want(t, s, "k", c.after)
	}
}

func limits(t *testing.T, s session.Store, _ func(time.Duration)) {
	for _, key := range []string{"", strings.Repeat("k", 201), "a b", "a\r\nb", "nul\x00", "é"} {
		for name, err := range everything(t.Context(), s, key, minute) {
			if err == nil {
				t.Errorf("%s takes the key %q", name, key)
			}
		}
	}
	for _, ttl := range []time.Duration{0, -second} {
		for name, err := range everything(t.Context(), s, "k", ttl) {
			if timeless := []string{"Get", "Delete", "Retire", "Leave", "Members"}; err == nil && !slices.Contains(timeless, name) {
				t.Errorf("%s takes a time to live of %v", name, ttl)
			}
		}
	}
	if s.Set(t.Context(), "k", make([]byte, 2<<20), minute) == nil {
		t.Error("Set takes 2 MiB")
	}
	want(t, s, "k", nil)
	ok(t, s.Set(t.Context(), "k", []byte("v"), 1)) // a nanosecond is above zero
}

func contexts(t *testing.T, s session.Store, _ func(time.Duration)) {
	ok(t, s.Set(t.Context(), "k", []byte("v"), minute))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-second))
	defer cancel()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{canceled, context.Canceled}, {late, context.DeadlineExceeded}} {
		for name, err := range everything(c.ctx, s, "k", minute) {
			if !errors.Is(err, c.want) {
				t.Errorf("%s with a context that is over: %v, want %v", name, err, c.want)
			}
		}
		if err := s.Ping(c.ctx); !errors.Is(err, c.want) {
			t.Errorf("Ping with a context that is over: %v, want %v", err, c.want)
		}
	}
	want(t, s, "k", []byte("v"))
}

func closing(t *testing.T, s session.Store, _ func(time.Duration)) {
	ok(t, s.Ping(t.Context()))
	ok(t, s.Close())
	for name, err := range everything(t.Context(), s, "k", minute) {
		if err == nil {
			t.Errorf("%s works after Close", name)
		}
	}
	if s.Ping(t.Context()) == nil {
		t.Error("Ping works after Close")
	}
}

// everything calls each method that takes a key and returns their errors.
func everything(ctx context.Context, s session.Store, key string, ttl time.Duration) map[string]error {
	_, _, get := s.Get(ctx, key)
	_, add := s.Add(ctx, key, []byte("x"), ttl)
	_, swap := s.Swap(ctx, key, []byte("x"), []byte("y"), ttl)
	_, update := s.Update(ctx, key, "m", []byte("x"), ttl)
	_, members := s.Members(ctx, key)
	return map[string]error{
		"Get": get, "Add": add, "Swap": swap,
		"Set":    s.Set(ctx, key, []byte("x"), ttl),
		"Touch":  s.Touch(ctx, key, ttl),
		"Delete": s.Delete(ctx, "other", key),
		"Enter":  s.Enter(ctx, key, "m", []byte("x"), ttl), "Update": update,
		"Retire": s.Retire(ctx, key, "m"), "Leave": s.Leave(ctx, key, "m"), "Members": members,
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// want checks the value of key; nil stands for none.
func want(t *testing.T, s session.Store, key string, v []byte) {
	t.Helper()
	got, found, err := s.Get(t.Context(), key)
	if err != nil || found != (v != nil) || !bytes.Equal(got, v) {
		t.Errorf("Get(%.20q) = %.40q, %v, %v, want %.40q", key, got, found, err, v)
	}
}

func mustAdd(t *testing.T, s session.Store, key string, want bool) {
	t.Helper()
	if added, err := s.Add(t.Context(), key, []byte("v"), minute); added != want || err != nil {
		t.Errorf("Add(%q) = %v, %v, want %v", key, added, err, want)
	}
}
