package session_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"gatehouse/session"
)

// wire is a network between a gateway and Redis that can be as bad as one likes.
type wire struct {
	net.Listener
	target string

	mu    sync.Mutex
	mode  mode
	conns map[net.Conn]bool
}

type mode int

const (
	sound   mode = iota
	silent       // what is sent does not arrive
	slow         // answers come after a second
	cut          // connections break, and none is made
	garbled      // answers are something else
)

// connectBy opens a store over a wire to the server.
func (s *server) connectBy(t testing.TB) (*wire, *session.Redis) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: ln, target: s.address, conns: map[net.Conn]bool{}}
	go w.serve()
	store, err := session.NewRedis(session.RedisOptions{URL: "redis://" + ln.Addr().String(), KeyPrefix: "gatehouse:", Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ln.Close()
		w.set(cut)
		store.Close()
	})
	return w, store
}

// set changes what the wire is like. To cut it breaks what there is.
func (w *wire) set(m mode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode = m
	if m == cut {
		for c := range w.conns {
			c.Close()
		}
	}
}

func (w *wire) is() mode {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mode
}

// ends counts the ends of its connections. The wire has a goroutine for each, for as long
// as the store keeps the connection.
func (w *wire) ends() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

func (w *wire) serve() {
	for {
		near, err := w.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil || w.is() == cut {
			near.Close()
			continue
		}
		w.mu.Lock()
		w.conns[near], w.conns[far] = true, true
		w.mu.Unlock()
		go w.carry(far, near, false)
		go w.carry(near, far, true)
	}
}

func (w *wire) carry(to, from net.Conn, answers bool) {
	defer func() {
		to.Close()
		from.Close()
		w.mu.Lock()
		delete(w.conns, to)
		delete(w.conns, from)
		w.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		switch m := w.is(); {
		case m == silent:
			continue
		case m == slow && answers:
			time.Sleep(time.Second)
		case m == garbled && answers:
			for i := range n {
				buffer[i] = byte(rand.N(256))
			}
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
