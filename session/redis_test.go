package session_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	commands := make(chan string, 100)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					break
				}
				if bytes.Contains(b[:n], []byte("hello")) {
					c.Write([]byte("-ERR unknown command\r\n"))
					continue
				}
				commands <- string(b[:n])
				break // takes the command and hangs up
			}
			c.Close()
		}
	})
	store, err := session.NewRedis(session.RedisOptions{URL: "redis://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if added, err := store.Add(t.Context(), "k", []byte("v"), time.Minute); added || err == nil {
		t.Errorf("Add = %v, %v", added, err)
	}
	if _, err := store.Swap(t.Context(), "k", []byte("v"), nil, 0); err == nil {
		t.Error("Swap found out")
	}
	store.Close()
	l.Close()
	serving.Wait()
	if len(commands) != 2 {
		t.Errorf("%d commands were sent for 2", len(commands))
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
