package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/session"
	"gatehouse/session/sessiontest"
)

// server is a redis-server of our own and a way around the store under test.
type server struct {
	address string
	raw     *redis.Client
	process *exec.Cmd
}

func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing; install it with: apt-get install redis-server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := &server{address: address, raw: redis.NewClient(&redis.Options{Addr: address, Protocol: 2, DisableIdentity: true})}
	s.start(t, binary, args)
	t.Cleanup(func() {
		s.raw.Close()
		s.stop()
	})
	return s
}

func (s *server) start(t testing.TB, binary string, args []string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.address)
	s.process = exec.Command(binary, append([]string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
	}, args...)...)
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not come up: ", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *server) stop() {
	s.process.Process.Kill()
	s.process.Wait()
}

func (s *server) url() string { return "redis://" + s.address }

func (s *server) open(t testing.TB) *session.Redis {
	t.Helper()
	store, err := session.NewRedis(session.RedisOptions{URL: s.url(), KeyPrefix: "gatehouse:", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// advance takes d off every key's time to live, and off the ends that members of an
// index have in front.
func (s *server) advance(t testing.TB, d time.Duration) {
	t.Helper()
	for _, key := range s.keys(t) {
		left := s.raw.PTTL(t.Context(), key).Val()
		if left < 0 {
			t.Errorf("RDS-17 the key %s has no time to live", key)
		}
		if s.raw.Type(t.Context(), key).Val() == "hash" {
			for member, value := range s.raw.HGetAll(t.Context(), key).Val() {
				end, err := strconv.ParseInt(value[:13], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				s.raw.HSet(t.Context(), key, member, fmt.Sprintf("%013d", end-d.Milliseconds())+value[13:])
			}
		}
		if err := s.raw.PExpire(t.Context(), key, left-d).Err(); err != nil { // deletes when below zero
			t.Fatal(err)
		}
	}
}

func (s *server) keys(t testing.TB) []string {
	t.Helper()
	keys, err := s.raw.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// keysLike are the keys that begin so.
func (s *server) keysLike(t testing.TB, prefix string) []string {
	t.Helper()
	return slices.DeleteFunc(s.keys(t), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

func TestRedis(t *testing.T) {
	s := startRedis(t)
	sessiontest.Run(t, func(t *testing.T, check func(*testing.T, session.Store, func(time.Duration))) {
		s.raw.FlushAll(t.Context())
		check(t, s.open(t), func(d time.Duration) { s.advance(t, d) })
		for _, key := range s.keys(t) {
			if !strings.HasPrefix(key, "gatehouse:") {
				t.Errorf("the key %q is outside the prefix", key)
			}
		}
	})
}

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
		binary, _ := exec.LookPath("redis-server")
		s.start(t, binary, nil)
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

func TestRedisRights(t *testing.T) {
	s := startRedis(t)
	// The rule of Redis' comment.
	rule := "on >hunter2 ~gatehouse:* resetchannels -@all +getrange +get +set +del +pexpire +eval +evalsha +ping +hello +select"
	args := []any{"acl", "setuser", "gatehouse"}
	for _, word := range strings.Fields(rule) {
		args = append(args, word)
	}
	if err := s.raw.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	open := func(user, password, prefix string) *session.Redis {
		store, err := session.NewRedis(session.RedisOptions{URL: s.url() + "/0", Username: user, Password: password, KeyPrefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		return store
	}
	store := open("gatehouse", "hunter2", "gatehouse:")
	ctx := t.Context()
	_, _, get := store.Get(ctx, "absent")
	_, add := store.Add(ctx, "k", []byte("a"), time.Minute)
	_, swap := store.Swap(ctx, "k", []byte("a"), []byte("b"), time.Minute)
	_, drop := store.Swap(ctx, "k", []byte("b"), nil, 0)
	if err := errors.Join(get, add, swap, drop, store.Set(ctx, "k", nil, time.Minute),
		store.Touch(ctx, "k", time.Minute), store.Delete(ctx, "k"), store.Ping(ctx)); err != nil {
		t.Error("the documented rights do not suffice: ", err)
	}
	if err := open("gatehouse", "hunter2", "other:").Set(ctx, "k", nil, time.Minute); err == nil {
		t.Error("may write outside its prefix")
	}
	if err := open("gatehouse", "wrong-secret", "gatehouse:").Ping(ctx); err == nil || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("RDS-15 a wrong password: %v", err)
	}
}

func TestRedisTLS(t *testing.T) {
	pair := newCertificate(t, "127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strings.TrimPrefix(l.Addr().String(), "127.0.0.1:")
	l.Close()
	startRedis(t, "--tls-port", port, "--tls-cert-file", pair.certFile, "--tls-key-file", pair.keyFile,
		"--tls-ca-cert-file", pair.certFile, "--tls-auth-clients", "no")
	ping := func(o session.RedisOptions) error {
		store, err := session.NewRedis(o)
		if err != nil {
			return err
		}
		defer store.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return store.Ping(ctx)
	}
	url := "rediss://127.0.0.1:" + port
	if err := ping(session.RedisOptions{URL: url, TLS: pair.trust()}); err != nil {
		t.Error("a trusted certificate: ", err)
	}
	if err := ping(session.RedisOptions{URL: url}); err == nil {
		t.Error("RDS-15 an unknown certificate is trusted")
	}
	wrong := pair.trust()
	wrong.ServerName = "redis.example.com"
	if err := ping(session.RedisOptions{URL: url, TLS: wrong}); err == nil {
		t.Error("RDS-15 another server's certificate is trusted")
	}
	if err := ping(session.RedisOptions{URL: "redis://127.0.0.1:" + port, TLS: pair.trust(), Timeout: time.Second}); err == nil {
		t.Error("plain text at the TLS port works")
	}
}

// memory is what the server uses for data, in bytes.
func (s *server) memory(t testing.TB) int64 {
	t.Helper()
	_, after, _ := strings.Cut(s.raw.Info(t.Context(), "memory").Val(), "used_memory_dataset:")
	line, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
