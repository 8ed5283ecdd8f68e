package session_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/session"
)

// elsewhere is an address of nobody (RFC 5737).
const elsewhere = "192.0.2.1:6379"

// TestRedisForeign is RDS-14: a Sentinel or a node sends us to somebody else.
func TestRedisForeign(t *testing.T) {
	for name, mode := range modes() {
		if name == "one server" {
			continue
		}
		t.Run("RDS-14 in clear, "+name, func(t *testing.T) {
			f := startFake(t, func(string) string { return "$-1\r\n" })
			f.named = elsewhere
			o := mode(f)
			o.Password = fixed("hunter2")
			refused(t, o)
		})
	}
	t.Run("RDS-14 in clear, moved", func(t *testing.T) {
		f := startFake(t, func(string) string { return "-MOVED 1 " + elsewhere + "\r\n" })
		o := modes()["Cluster"](f)
		o.Password = fixed("hunter2")
		refused(t, o)
	})
	t.Run("RDS-14 in clear, the password is the Sentinels'", func(t *testing.T) {
		o := session.RedisOptions{Sentinel: &session.RedisSentinel{Master: master, Addresses: []string{"redis://" + elsewhere}, Password: fixed("hunter3")}}
		refused(t, o)
	})
	t.Run("RDS-15 in clear, one server", func(t *testing.T) {
		refused(t, session.RedisOptions{URL: "redis://" + elsewhere, Password: fixed("hunter2")})
		refused(t, session.RedisOptions{URL: "redis://:hunter2@" + elsewhere})
	})
	t.Run("RDS-15 in clear, as the settings ask for", func(t *testing.T) {
		store := open(t, session.RedisOptions{URL: "redis://" + elsewhere, Password: fixed("hunter2"), InsecurePlain: true, Timeout: 200 * time.Millisecond})
		if err := store.Ping(t.Context()); err == nil || strings.Contains(err.Error(), "another machine") {
			t.Error(err)
		}
	})
	t.Run("RDS-14 with TLS", func(t *testing.T) {
		m := newMutual(t)
		r := startReplicated(t, m)
		var read atomic.Int64
		evil := startEvil(t, &read)
		for _, s := range r.sentinels {
			s.do(t, "sentinel remove "+master)
			s.do(t, "sentinel monitor "+master+" "+strings.Replace(evil, ":", " ", 1)+" 2")
		}
		o := r.options()
		o.TLS = m.client()
		store := open(t, o)
		if _, found, err := store.Get(t.Context(), "k"); found || err == nil || !strings.Contains(err.Error(), "x509") {
			t.Errorf("%v, %v", found, err)
		}
		if n := read.Load(); n > 0 {
			t.Errorf("the stranger was sent %d bytes", n)
		}
	})
}

// startEvil listens with a certificate of its own and counts what it is sent.
func startEvil(t *testing.T, read *atomic.Int64) string {
	t.Helper()
	own := newCertificate(t, "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(own.certFile, own.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				n, _ := c.Read(make([]byte, 1<<10))
				read.Add(int64(n))
			}()
		}
	}()
	return l.Addr().String()
}

func refused(t *testing.T, o session.RedisOptions) {
	t.Helper()
	begun := time.Now()
	_, found, err := open(t, o).Get(t.Context(), "k")
	if found || err == nil || !strings.Contains(err.Error(), "192.0.2.1:6379 is another machine") || strings.Contains(err.Error(), "hunter") {
		t.Errorf("%v, %v", found, err)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// TestSentinels: what Sentinels say that is of no use.
func TestSentinels(t *testing.T) {
	r := startReplicated(t, nil)
	t.Run("of an unknown master", func(t *testing.T) {
		o := r.options()
		o.Sentinel.Master = "nobody"
		store := open(t, o)
		_, found, get := store.Get(t.Context(), "k")
		added, add := store.Add(t.Context(), "k", nil, time.Minute)
		for _, err := range []error{get, add} {
			if err == nil || !strings.Contains(err.Error(), `know no master that is called "nobody"`) {
				t.Error(err)
			}
		}
		if found || added {
			t.Errorf("found %v, added %v", found, added)
		}
	})
	t.Run("that a replica is the primary", func(t *testing.T) {
		f := startFake(t, func(string) string { return "$-1\r\n" })
		f.named, f.role = r.replica.address, "sentinel"
		o := modes()["Sentinel"](f)
		o.Username, o.Password = "gatehouse", fixed("hunter2")
		if _, found, err := open(t, o).Get(t.Context(), "k"); found || err == nil || !strings.Contains(err.Error(), "not the primary") {
			t.Errorf("%v, %v", found, err)
		}
	})
	t.Run("to who has no name but a password", func(t *testing.T) {
		r.sentinels[2].do(t, "acl setuser default resetpass >hunter4")
		defer r.sentinels[2].do(t, "acl setuser default nopass")
		o := r.options()
		o.Sentinel = &session.RedisSentinel{Master: master, Addresses: o.Sentinel.Addresses[2:], Password: fixed("hunter4")}
		ok(t, everything(t, o))
		o.Sentinel.Password = fixed("wrong-secret")
		if err := open(t, o).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "sign in at the Sentinel "+r.sentinels[2].address+": WRONGPASS") || strings.Contains(err.Error(), "wrong-secret") {
			t.Error(err)
		}
	})
	t.Run("nothing, all of them", func(t *testing.T) {
		for _, s := range r.sentinels {
			s.freeze()
			defer s.thaw()
		}
		o := r.options()
		o.Timeout = 300 * time.Millisecond
		if _, found, err := open(t, o).Get(t.Context(), "k"); found || err == nil {
			t.Errorf("%v, %v", found, err)
		}
	})
	t.Run("nothing, the one that was asked before", func(t *testing.T) {
		o := r.options()
		o.Timeout = 500 * time.Millisecond
		o.Sentinel.Addresses = o.Sentinel.Addresses[:2]
		r.sentinels[1].freeze()
		store := open(t, o)
		eventually(t, "one Sentinel of two does not suffice", func() bool { return store.Ping(t.Context()) == nil })
		r.sentinels[1].thaw()
		r.sentinels[0].freeze()
		defer r.sentinels[0].thaw()
		begun := time.Now()
		r.primary.hangUp(t)
		eventually(t, "the other Sentinel is not asked", func() bool { return store.Ping(t.Context()) == nil })
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("took %v with a timeout of 500 ms", took)
		}
	})
}

// TestClusterRedirects: a node that refuses a command because another one has the
// key is no error, and that other one is asked.
func TestClusterRedirects(t *testing.T) {
	nodes := startCluster(t, nil, 3, 0)
	store := open(t, clusterOptions("redis", nodes))
	ok(t, store.Set(t.Context(), "k", []byte("1"), time.Minute))
	slot := fmt.Sprint(nodes[0].do(t, "cluster keyslot gatehouse:k"))
	from, to := nodes[0], nodes[1]
	if len(from.keys(t)) == 0 {
		from, to = nodes[1], nodes[2]
	}
	if len(from.keys(t)) == 0 {
		from, to = nodes[2], nodes[0]
	}
	fromID, toID := fmt.Sprint(from.do(t, "cluster myid")), fmt.Sprint(to.do(t, "cluster myid"))
	to.do(t, "cluster setslot "+slot+" importing "+fromID)
	from.do(t, "cluster setslot "+slot+" migrating "+toID)
	ok(t, store.Delete(t.Context(), "k"))
	found := func(when, want string) {
		t.Helper()
		if got, _, err := store.Get(t.Context(), "k"); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", when, got, err)
		}
	}
	added, err := store.Add(t.Context(), "k", []byte("2"), time.Minute)
	if !added || err != nil || len(to.keys(t)) != 1 {
		t.Errorf("while it moves, Add = %v, %v", added, err)
	}
	found("while it moves", "2")
	if swapped, err := store.Swap(t.Context(), "k", []byte("2"), []byte("3"), time.Minute); !swapped || err != nil {
		t.Errorf("while it moves, Swap = %v, %v", swapped, err)
	}
	for _, s := range nodes {
		s.do(t, "acl setuser gatehouse -asking")
	}
	if _, _, err := store.Get(t.Context(), "k"); err == nil {
		t.Error("asking is not needed")
	}
	for _, s := range nodes {
		s.do(t, "cluster setslot "+slot+" node "+toID)
	}
	found("after it moved", "3")
}
