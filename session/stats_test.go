package session_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gatehouse/authn/authntest"
	"gatehouse/authn/meter"
	"gatehouse/session"
)

// TestStats: what happens to sessions is counted where it happens.
func TestStats(t *testing.T) {
	h := newHouse(t, session.NewMemory())
	c := h.signIn(t, person("alice"))
	for range 3 {
		h.accepted(t, h.one, "alice-1", c)
	}
	before := h.one.Stats()
	if before.Started != 1 || before.Recall.Hits+before.Recall.Misses < 3 || before.Recall.Misses < 1 || before.Recall.Hits < 1 || before.Recall.Proofs != 1 {
		t.Errorf("after a sign-in: %+v", before)
	}
	if _, _, err := h.one.End(httptest.NewRecorder(), request(c)); err != nil {
		t.Fatal(err)
	}
	if s := h.one.Stats(); s.SignedOut != 1 || s.Expired != 0 || s.ByProvider != 0 {
		t.Errorf("after signing out: %+v", s)
	}
}

// TestRedisStats: a server that does not answer is told once, by the log and the counts,
// and so is its coming back; each command is told.
func TestRedisStats(t *testing.T) {
	var mu sync.Mutex
	told := map[string]int{}
	log := &authntest.Log{}
	server := startRedis(t)
	store, err := session.NewRedis(session.RedisOptions{
		URL: "redis://" + server.address, Log: slog.New(slog.NewTextHandler(log, nil)),
		Calls: meter.Calls(func(ctx context.Context, what string) (context.Context, func(error)) {
			return ctx, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				told[what+" "+meter.Result(err)]++
			}
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	get := func() error { _, _, err := store.Get(t.Context(), "session:nothing"); return err }
	if err := get(); err != nil {
		t.Fatal(err)
	}
	if s := store.Stats(); s.Shunned || s.Outages != 0 || s.Connections == 0 {
		t.Errorf("at first: %+v", s)
	}
	server.stop()
	for range 50 {
		if err := get(); err == nil {
			t.Fatal("a server that is stopped answers")
		}
	}
	if s := store.Stats(); !s.Shunned || s.Outages != 1 {
		t.Errorf("in an outage: %+v", s)
	}
	server.start(t)
	soon(t, "the server is asked again", func() bool { return get() == nil })
	if s := store.Stats(); s.Shunned || s.Outages != 1 {
		t.Errorf("afterwards: %+v", s)
	}
	text := log.String()
	if a, b := strings.Count(text, "the store does not answer"), strings.Count(text, "the store answers again"); a != 1 || b != 1 {
		t.Errorf("the log tells %d and %d times\n%s", a, b, text)
	}
	mu.Lock()
	defer mu.Unlock()
	if told["getrange ok"]+told["get ok"] < 2 || told["getrange error"]+told["get error"] < 50 {
		t.Errorf("told were %v", told)
	}
}
