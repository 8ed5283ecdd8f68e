package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/session"
)

func indexes(t *testing.T, s session.Store, _ func(time.Duration)) {
	ctx := t.Context()
	members(t, s, "i", map[string]string{})
	ok(t, s.Enter(ctx, "i", "a", []byte("1"), minute))
	ok(t, s.Enter(ctx, "i", "b", []byte("2\x00\r\n"), minute))
	ok(t, s.Enter(ctx, "other", "a", []byte("9"), minute))
	ok(t, s.Enter(ctx, "i", "a", []byte("3"), minute))
	members(t, s, "i", map[string]string{"a": "3", "b": "2\x00\r\n"})
	updates(t, s, "a", "4", true)
	updates(t, s, "c", "4", false)
	members(t, s, "i", map[string]string{"a": "4", "b": "2\x00\r\n"})
	ok(t, s.Retire(ctx, "i", "a", "nobody"))
	updates(t, s, "a", "5", false)
	members(t, s, "i", map[string]string{"a": "", "b": "2\x00\r\n"})
	ok(t, s.Leave(ctx, "i", "a", "nobody"))
	ok(t, s.Leave(ctx, "nothing", "a"))
	updates(t, s, "a", "6", false)
	members(t, s, "i", map[string]string{"b": "2\x00\r\n"})
	members(t, s, "other", map[string]string{"a": "9"})
	for name, err := range map[string]error{
		"empty": s.Enter(ctx, "i", "e", nil, minute), "eternal": s.Enter(ctx, "i", "e", []byte("1"), 0),
		"big": s.Enter(ctx, "i", "e", make([]byte, 10<<10), minute), "name": s.Enter(ctx, "i", "a b", []byte("1"), minute),
		"leave": s.Leave(ctx, "i", "a b"), "retire": s.Retire(ctx, "i", ""), "index": s.Enter(ctx, "", "a", []byte("1"), minute),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	members(t, s, "i", map[string]string{"b": "2\x00\r\n"})
}

// manyMembers: an index with more members than go into one command.
func manyMembers(t *testing.T, s session.Store, _ func(time.Duration)) {
	all := make([]string, 2500)
	for i := range all {
		all[i] = fmt.Sprint("m", i)
		ok(t, s.Enter(t.Context(), "i", all[i], []byte("x"), minute))
	}
	ok(t, s.Retire(t.Context(), "i", all...))
	got, err := s.Members(t.Context(), "i")
	ok(t, err)
	for _, m := range all {
		if v, found := got[m]; !found || len(v) > 0 {
			t.Fatalf("%s was not retired: %q, %v", m, v, found)
		}
	}
	ok(t, s.Leave(t.Context(), "i", all[1:]...))
	members(t, s, "i", map[string]string{"m0": ""})
}

// memberExpiry: members end one by one, and none is kept for ever by those that come.
func memberExpiry(t *testing.T, s session.Store, advance func(time.Duration)) {
	ctx := t.Context()
	ok(t, s.Enter(ctx, "i", "short", []byte("1"), second))
	ok(t, s.Enter(ctx, "i", "long", []byte("2"), 10*minute))
	ok(t, s.Enter(ctx, "i", "prolonged", []byte("3"), second))
	if updated, err := s.Update(ctx, "i", "prolonged", []byte("4"), 10*minute); !updated || err != nil {
		t.Error(updated, err)
	}
	advance(2 * second)
	for range 20 {
		ok(t, s.Enter(ctx, "i", "new", []byte("5"), minute))
	}
	members(t, s, "i", map[string]string{"long": "2", "prolonged": "4", "new": "5"})
	ok(t, s.Enter(ctx, "j", "short", []byte("1"), second))
	advance(2 * second)
	members(t, s, "j", map[string]string{})
}

func enumerates(t *testing.T, s session.Store, _ func(time.Duration)) {
	ctx := t.Context()
	for _, index := range []string{"p:1", "p:2", "p:[3]*", "q:1", "p"} {
		ok(t, s.Enter(ctx, index, "m", []byte("1"), minute))
	}
	for prefix, want := range map[string][]string{"p:": {"p:1", "p:2", "p:[3]*"}, "p:[": {"p:[3]*"}, "p:*": nil, "q": {"q:1"}} {
		got := map[string]bool{}
		ok(t, s.Indexes(ctx, prefix, func(index string) bool {
			got[index] = true
			return true
		}))
		if list := slices.Sorted(maps.Keys(got)); !slices.Equal(list, want) {
			t.Errorf("Indexes(%q) = %q, want %q", prefix, list, want)
		}
	}
	n := 0
	ok(t, s.Indexes(ctx, "p", func(string) bool { n++; return false }))
	if n != 1 {
		t.Errorf("f was called %d times after it had said that this was enough", n)
	}
}

func news(t *testing.T, s session.Store, _ func(time.Duration)) {
	ctx, cancel := context.WithCancel(t.Context())
	ready, heard, over := make(chan bool), make(chan string, 10), make(chan error, 1)
	ok(t, s.Publish(ctx, []byte("before")))
	go func() {
		over <- s.Listen(ctx, func() { close(ready) }, func(m []byte) { heard <- string(m) })
	}()
	<-ready
	big := strings.Repeat("\x00", 32<<10)
	for _, m := range []string{"one", "", "\r\n$-1\r\n", big} {
		ok(t, s.Publish(ctx, []byte(m)))
		got := <-heard
		if got == "before" { // between the nodes of a Cluster messages take a moment
			got = <-heard
		}
		if got != m {
			t.Errorf("heard %.20q, want %.20q", got, m)
		}
	}
	if s.Publish(ctx, []byte(big+"x")) == nil {
		t.Error("a message over the limit is taken")
	}
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("Listen: %v", err)
	}
	ok(t, s.Publish(t.Context(), []byte("after")))
}

func updates(t *testing.T, s session.Store, member, value string, want bool) {
	t.Helper()
	if updated, err := s.Update(t.Context(), "i", member, []byte(value), minute); updated != want || err != nil {
		t.Errorf("Update(%s) = %v, %v, want %v", member, updated, err, want)
	}
}

func members(t *testing.T, s session.Store, index string, want map[string]string) {
	t.Helper()
	got, err := s.Members(t.Context(), index)
	ok(t, err)
	text := map[string]string{}
	for name, value := range got {
		text[name] = string(value)
	}
	if !maps.Equal(text, want) {
		t.Errorf("Members(%s) = %q, want %q", index, text, want)
	}
}
