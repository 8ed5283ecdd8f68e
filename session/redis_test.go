package session_test

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"gatehouse/session"
)

func TestRedisURL(t *testing.T) {
	for _, url := range []string{
		"", "localhost:6379", "http://localhost", "redis://localhost/x", "redis://u:hunter2@local host",
		"redis://u:hun/ter2@localhost", "redis://localhost?skip_verify=true", "redis://localhost:6379/0?hunter2", "\x00hunter2",
	} {
		_, err := session.NewRedis(session.RedisOptions{URL: url})
		if err == nil {
			t.Errorf("%q is taken", url)
		} else if strings.Contains(err.Error(), "ter2") {
			t.Errorf("the error quotes the password: %v", err)
		}
	}
}

func TestRedisDown(t *testing.T) {
	t.Run("RDS-02 starts without a server and recovers alone", func(t *testing.T) {
		s := startRedis(t)
		s.stop()
		store := s.open(t)
		if err := store.Ping(t.Context()); err == nil {
			t.Fatal("Ping of nobody works")
		}
		if _, found, err := store.Get(t.Context(), "k"); err == nil || found {
			t.Errorf("Get from nobody = %v, %v", found, err)
		}
		if err := store.Set(t.Context(), "k", []byte("hunter2"), time.Minute); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Set at nobody: %v", err)
		}
		s.start(t)
		deadline := time.Now().Add(10 * time.Second)
		for store.Ping(t.Context()) != nil && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		if err := store.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Error("does not recover: ", err)
		}
	})
	t.Run("RDS-03 a server that says nothing", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the backlog, never answers
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		store, err := session.NewRedis(session.RedisOptions{URL: "redis://" + l.Addr().String(), Timeout: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		begun := time.Now()
		if _, _, err = store.Get(t.Context(), "k"); err == nil {
			t.Error("an answer from nobody")
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("took %v with a timeout of 100 ms", took)
		}
	})
}

// TestRedisRepeatsNothing: an Add whose answer got lost and that is sent again
// would be told that somebody else was faster.
func TestRedisRepeatsNothing(t *testing.T) {
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, func(string) string { return "" })
			store := open(t, mode(f))
			if added, err := store.Add(t.Context(), "k", []byte("v"), time.Minute); added || err == nil {
				t.Errorf("Add = %v, %v", added, err)
			}
			if _, err := store.Swap(t.Context(), "k", []byte("v"), nil, 0); err == nil {
				t.Error("Swap found out")
			}
			if n := f.commands.Load(); n != 2 {
				t.Errorf("%d commands were sent for 2", n)
			}
		})
	}
}

// TestRedisRefusals: what a server in trouble says is an error, and never that
// there is no such key.
func TestRedisRefusals(t *testing.T) {
	for name, mode := range modes() {
		for _, reply := range append(replies, "CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys request during rehashing of slot",
			"ASK 1 10.0.0.1:6379", "NOREPLICAS Not enough good replicas to write.", "NOPERM this user has no permissions", "ERR max number of clients reached") {
			word, _, _ := strings.Cut(reply, " ")
			t.Run("RDS-06 "+name+" "+word, func(t *testing.T) {
				f := startFake(t, func(string) string { return "-" + reply + "\r\n" })
				o := mode(f)
				o.Timeout = time.Second
				store, ctx := open(t, o), t.Context()
				_, found, get := store.Get(ctx, "k")
				added, add := store.Add(ctx, "k", nil, time.Minute)
				swapped, swap := store.Swap(ctx, "k", nil, nil, 0)
				if found || added || swapped {
					t.Errorf("found %v, added %v, swapped %v", found, added, swapped)
				}
				for verb, err := range map[string]error{"get": get, "add": add, "swap": swap, "set": store.Set(ctx, "k", nil, time.Minute),
					"touch": store.Touch(ctx, "k", time.Minute), "delete": store.Delete(ctx, "k")} {
					if err == nil {
						t.Errorf("%s is no error", verb)
					}
				}
				// Where the answer names a node that is not there, the breaker spares the last.
				if n := f.commands.Load(); n > 6 || n < 5 {
					t.Errorf("%d commands were sent for 6", n)
				}
			})
		}
	}
}

func TestRedisErrors(t *testing.T) {
	s := startRedis(t)
	store := s.open(t)
	s.raw.LPush(t.Context(), "gatehouse:list", "x")
	if _, found, err := store.Get(t.Context(), "list"); err == nil || found {
		t.Errorf("RDS-06 WRONGTYPE: %v, %v", found, err)
	}
	if swapped, err := store.Swap(t.Context(), "list", []byte("x"), nil, 0); err == nil || swapped {
		t.Errorf("RDS-06 WRONGTYPE at Swap: %v, %v", swapped, err)
	}
	s.raw.Set(t.Context(), "gatehouse:huge", bytes.Repeat([]byte{'x'}, 50<<20), time.Minute)
	if v, found, err := store.Get(t.Context(), "huge"); len(v) > 2<<20 || !found || err != nil {
		t.Errorf("RDS-07 50 MB: %d bytes, %v, %v", len(v), found, err)
	}
	s.raw.Del(t.Context(), "gatehouse:huge")
	s.raw.ConfigSet(t.Context(), "maxmemory", "1") // -OOM from now on
	if err := store.Set(t.Context(), "k", []byte("v"), time.Minute); err == nil {
		t.Error("RDS-06 OOM at Set is no error")
	}
	if added, err := store.Add(t.Context(), "k", []byte("v"), time.Minute); err == nil || added {
		t.Errorf("RDS-06 OOM at Add: %v, %v", added, err)
	}
}
