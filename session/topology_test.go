package session_test

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/session"
	"gatehouse/session/sessiontest"
)

// contract runs the suite over a store whose keys are on servers.
func contract(t *testing.T, o session.RedisOptions, servers ...*server) {
	t.Helper()
	sessiontest.Run(t, func(t *testing.T, check func(*testing.T, session.Store, func(time.Duration))) {
		for _, s := range servers {
			s.do(t, "flushall")
		}
		check(t, open(t, o), func(d time.Duration) {
			for _, s := range servers {
				s.advance(t, d)
			}
		})
		for _, s := range servers {
			for _, key := range s.keys(t) {
				if !strings.HasPrefix(key, "gatehouse:") {
					t.Errorf("the key %q is outside the prefix", key)
				}
			}
		}
	})
	for _, s := range servers {
		s.deniedNothing(t)
	}
}

// TestRedis runs the suite over each way in which Redis is run, with users that
// have the documented rights and no others.
func TestRedis(t *testing.T) {
	login := func(o session.RedisOptions) session.RedisOptions {
		o.Username, o.Password = "gatehouse", fixed("hunter2")
		return o
	}
	t.Run("one server", func(t *testing.T) {
		s := startRedis(t, user(userRule)...)
		contract(t, login(session.RedisOptions{URL: s.url() + "/0"}), s)
	})
	t.Run("another database", func(t *testing.T) {
		s := startRedis(t, user(userRule)...)
		ok(t, open(t, login(session.RedisOptions{URL: s.url() + "/3"})).Set(t.Context(), "k", nil, time.Minute))
		if keys := s.keys(t); len(keys) != 0 {
			t.Errorf("database 0 has %q", keys)
		}
	})
	t.Run("a socket", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "s")
		s := startRedis(t, append(user(userRule), "--unixsocket", socket)...)
		contract(t, login(session.RedisOptions{URL: "unix://" + socket}), s)
	})
	t.Run("TLS, both sides with certificates", func(t *testing.T) {
		m := newMutual(t)
		s := launch(t, m.client(), append(append(m.args(), "--save", ""), user(userRule)...)...)
		contract(t, login(session.RedisOptions{URL: "rediss://" + s.address, TLS: m.client()}), s)
	})
	t.Run("Sentinel", func(t *testing.T) {
		t.Parallel()
		r := startReplicated(t, nil)
		contract(t, r.options(), r.primary)
		for _, s := range r.sentinels {
			s.deniedNothing(t)
		}
	})
	t.Run("Sentinel, TLS, both sides with certificates", func(t *testing.T) {
		t.Parallel()
		m := newMutual(t)
		r := startReplicated(t, m)
		o := r.options()
		o.TLS = m.client()
		contract(t, o, r.primary)
		t.Run("RDS-15 strangers", func(t *testing.T) { strangers(t, m, o) })
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		nodes := startCluster(t, nil, 3, 0)
		contract(t, clusterOptions("redis", nodes), nodes...)
	})
	t.Run("Cluster, TLS, both sides with certificates", func(t *testing.T) {
		t.Parallel()
		m := newMutual(t)
		nodes := startCluster(t, m, 3, 0)
		o := clusterOptions("rediss", nodes)
		o.TLS = m.client()
		contract(t, o, nodes...)
		t.Run("RDS-15 strangers", func(t *testing.T) { strangers(t, m, o) })
	})
}

// strangers tries what must not work where both sides show certificates.
func strangers(t *testing.T, m *mutual, o session.RedisOptions) {
	t.Helper()
	anonymous, elsewhere, system := m.client(), m.client(), m.client()
	anonymous.Certificates = nil
	elsewhere.ServerName = "redis.example.com"
	system.RootCAs = nil
	for name, change := range map[string]func(*session.RedisOptions){
		"a client without a certificate": func(o *session.RedisOptions) { o.TLS = anonymous },
		"servers of another name":        func(o *session.RedisOptions) { o.TLS = elsewhere },
		"servers nobody vouches for":     func(o *session.RedisOptions) { o.TLS = system },
		"a wrong password":               func(o *session.RedisOptions) { o.Password = fixed("wrong-secret") },
	} {
		p := o
		p.Timeout = time.Second
		change(&p)
		if err := open(t, p).Set(t.Context(), "k", nil, time.Minute); err == nil || strings.Contains(err.Error(), "wrong-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRedisRights: none of the documented rights can be done without. But for
// hello: a server that refuses it is asked in the old way.
func TestRedisRights(t *testing.T) {
	login := session.RedisOptions{Username: "gatehouse", Password: fixed("hunter2"), Timeout: 2 * time.Second}
	t.Run("one server", func(t *testing.T) {
		s := startRedis(t, user(userRule)...)
		o := login
		o.URL = s.url() + "/3"
		ok(t, everything(t, o))
		needed(t, o, "getrange get set del pexpire eval evalsha ping select", s)
		o.KeyPrefix = "other:"
		if err := open(t, o).Set(t.Context(), "k", nil, time.Minute); err == nil {
			t.Error("may write outside its prefix")
		}
	})
	t.Run("Sentinel", func(t *testing.T) {
		t.Parallel()
		r := startReplicated(t, nil)
		o := r.options()
		needed(t, o, "role", r.primary)
		needed(t, o, "sentinel|get-master-addr-by-name role", r.sentinels...)
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		nodes := startCluster(t, nil, 3, 0)
		needed(t, clusterOptions("redis", nodes), "cluster|slots", nodes...)
	})
}

// TestDocumentedRights: what the tests run with is what people are told.
func TestDocumentedRights(t *testing.T) {
	text, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	table := strings.ReplaceAll(string(text), "\\|", "|")
	for _, rule := range []string{userRule, underSentinelRule, inClusterRule, watcherRule} {
		words := strings.TrimPrefix(strings.TrimPrefix(rule, "on >hunter2 "), "on >hunter3 ")
		if !strings.Contains(table, "`"+words+"`") {
			t.Errorf("docs/redis.md does not say %s", words)
		}
	}
}

// needed takes each right away for a while.
func needed(t *testing.T, o session.RedisOptions, rights string, servers ...*server) {
	t.Helper()
	for right := range strings.FieldsSeq(rights) {
		for _, s := range servers {
			s.do(t, "acl setuser gatehouse -"+right)
			s.raw.ScriptFlush(t.Context()) // a Sentinel has no scripts
		}
		if everything(t, o) == nil {
			t.Errorf("%s is not needed", right)
		}
		for _, s := range servers {
			s.do(t, "acl setuser gatehouse +"+right)
		}
	}
	ok(t, everything(t, o))
}

// everything does what a store can do, each with an answer that says yes.
func everything(t *testing.T, o session.RedisOptions) error {
	t.Helper()
	store, ctx := open(t, o), t.Context()
	_, _, get := store.Get(ctx, "absent")
	_, add := store.Add(ctx, "k", []byte("a"), time.Minute)
	_, swap := store.Swap(ctx, "k", []byte("a"), []byte("b"), time.Minute)
	_, again := store.Swap(ctx, "k", []byte("b"), nil, 0) // by the script's hash
	return errors.Join(get, add, swap, again, store.Set(ctx, "k", nil, time.Minute),
		store.Touch(ctx, "k", time.Minute), store.Delete(ctx, "k"), store.Ping(ctx))
}

func TestRedisTLS(t *testing.T) {
	m := newMutual(t)
	s := launch(t, m.client(), append(append(m.args(), "--save", ""), user(userRule)...)...)
	o := session.RedisOptions{URL: "rediss://" + s.address, TLS: m.client(), Username: "gatehouse", Password: fixed("hunter2")}
	ok(t, open(t, o).Ping(t.Context()))
	strangers(t, m, o)
	o.URL, o.Timeout = "redis://"+s.address, time.Second
	if err := open(t, o).Ping(t.Context()); err == nil {
		t.Error("plain text at the TLS port works")
	}
}

// TestRedisPassword: a password that changes needs no restart, and one that can't
// be read ends no connection.
func TestRedisPassword(t *testing.T) {
	r := startReplicated(t, nil)
	servers := append([]*server{r.primary}, r.sentinels...)
	var mu sync.Mutex
	var now string // instead of the passwords that stand at the beginning
	var problem error
	current := func(first string) func() (string, error) {
		return func() (string, error) {
			mu.Lock()
			defer mu.Unlock()
			return cmp.Or(now, first), problem
		}
	}
	become := func(password string, err error) {
		mu.Lock()
		defer mu.Unlock()
		now, problem = password, err
	}
	o := r.options()
	o.Password, o.Sentinel.Password = current("hunter2"), current("hunter3")
	store := open(t, o)
	ok(t, store.Ping(t.Context()))

	become("", errors.New("passwordFile: no such file"))
	ok(t, store.Ping(t.Context()))
	for _, s := range servers {
		s.hangUp(t)
	}
	if err := store.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "passwordFile: no such file") {
		t.Errorf("without a password: %v", err)
	}

	become("next", nil)
	for _, s := range servers {
		s.do(t, "acl setuser gatehouse resetpass >next")
		s.hangUp(t)
	}
	eventually(t, "the next password is not used", func() bool { return store.Ping(t.Context()) == nil })
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
