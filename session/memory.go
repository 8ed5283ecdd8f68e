package session

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// memoryLimit is the most that a Memory holds, in bytes: some 100,000 sessions.
	memoryLimit = 256 << 20
	// entryOverhead is about what an entry costs beside its key and value, in bytes.
	entryOverhead = 200
)

// Guesses begins the keys of what is counted of wrong passwords. Anybody can have such
// keys made, so a [Memory] gives them no more than a quarter of its room: who guesses
// without end keeps nobody from staying signed in.
const Guesses = "failures:"

var (
	errFull   = errors.New("session: the memory store is full")
	errClosed = errors.New("session: the memory store is closed")
)

// Memory is a [Store] in the memory of this process; it ends with it. It holds
// at most 256 MiB. When that is full, new keys are refused: evicting would log
// people out and forget replay marks.
type Memory struct {
	mu      sync.Mutex
	entries map[string]*entry
	indexes map[string]map[string]*entry // the members of each, by their names
	queue   expiryQueue                  // the entries, those that expire first in front
	size    int
	guesses int // of the size
	limit   int
	closed  bool

	listeners map[*listener]bool
}

type entry struct {
	key     string
	index   string // that it is a member of, if it is one
	value   []byte // never changed, only replaced
	expires time.Time
	place   int // in the queue
}

func (e *entry) size() int { return len(e.key) + len(e.index) + len(e.value) + entryOverhead }

func (e *entry) guess() bool { return strings.HasPrefix(e.key, Guesses) }

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{entries: map[string]*entry{}, indexes: map[string]map[string]*entry{}, limit: memoryLimit, listeners: map[*listener]bool{}}
}

// Get returns the value, and whether there is one.
func (m *Memory) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = m.do(ctx, key, func(e *entry) error {
		if e != nil {
			value, found = bytes.Clone(e.value), true
		}
		return nil
	})
	return value, found, err
}

// Set writes the value, whether or not there was one before.
func (m *Memory) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := checkWrite(value, ttl); err != nil {
		return err
	}
	return m.do(ctx, key, func(e *entry) error { return m.put(e, key, value, ttl) })
}

// Add writes the value only if there is none and says whether it did.
func (m *Memory) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (added bool, err error) {
	if err := checkWrite(value, ttl); err != nil {
		return false, err
	}
	err = m.do(ctx, key, func(e *entry) error {
		if e != nil {
			return nil
		}
		err := m.put(nil, key, value, ttl)
		added = err == nil
		return err
	})
	return added, err
}

// Swap writes next only if the value is old and says whether it did. A nil next deletes.
func (m *Memory) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (swapped bool, err error) {
	if next != nil {
		if err := checkWrite(next, ttl); err != nil {
			return false, err
		}
	}
	err = m.do(ctx, key, func(e *entry) error {
		if e == nil || !bytes.Equal(e.value, old) {
			return nil
		}
		swapped = true
		if next == nil {
			m.remove(e)
			return nil
		}
		err := m.put(e, key, next, ttl)
		swapped = err == nil
		return err
	})
	return swapped, err
}

// Touch sets the time to live of an existing value.
func (m *Memory) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if err := checkWrite(nil, ttl); err != nil {
		return err
	}
	return m.do(ctx, key, func(e *entry) error {
		if e != nil {
			e.expires = time.Now().Add(ttl)
			heap.Fix(&m.queue, e.place)
		}
		return nil
	})
}

// Delete removes the values.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		err := m.do(ctx, key, func(e *entry) error {
			if e != nil {
				m.remove(e)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Ping reports whether the store is open.
func (m *Memory) Ping(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready(ctx)
}

// Close forgets everything. What is asked afterwards is answered with an error.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries, m.indexes, m.queue, m.size, m.closed = nil, nil, nil, 0, true
	for l := range m.listeners {
		l.lose(errClosed)
	}
	return nil
}

// do runs f with the live entry of key, nil if there is none.
func (m *Memory) do(ctx context.Context, key string, f func(*entry) error) error {
	if err := checkKey(key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	m.sweep(time.Now())
	return f(m.entries[key])
}

func (m *Memory) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("session: memory store: %w", err)
	}
	if m.closed {
		return errClosed
	}
	return nil
}

// sweep drops what has expired. Each entry is dropped once, so the cost is that
// of having written it, and no goroutine is needed.
func (m *Memory) sweep(now time.Time) {
	for len(m.queue) > 0 && !now.Before(m.queue[0].expires) {
		m.remove(m.queue[0])
	}
}

func (m *Memory) put(e *entry, key string, value []byte, ttl time.Duration) error {
	return m.putIn("", e, key, value, ttl)
}

// putIn writes a value into an index, or beside all of them.
func (m *Memory) putIn(index string, e *entry, key string, value []byte, ttl time.Duration) error {
	next := entry{key: key, index: index, value: append([]byte{}, value...), expires: time.Now().Add(ttl)}
	more := next.size()
	if e != nil {
		more -= e.size()
	}
	if m.size+more > m.limit || next.guess() && m.guesses+more > m.limit/4 {
		return errFull
	}
	m.grow(&next, more)
	if e == nil {
		m.settle(&next)
		heap.Push(&m.queue, &next)
		return nil
	}
	e.value, e.expires = next.value, next.expires
	heap.Fix(&m.queue, e.place)
	return nil
}

// grow counts more bytes, or fewer, for an entry.
func (m *Memory) grow(e *entry, more int) {
	m.size += more
	if e.guess() {
		m.guesses += more
	}
}

// settle gives a new entry its place.
func (m *Memory) settle(e *entry) {
	if e.index == "" {
		m.entries[e.key] = e
		return
	}
	if m.indexes[e.index] == nil {
		m.indexes[e.index] = map[string]*entry{}
	}
	m.indexes[e.index][e.key] = e
}

func (m *Memory) remove(e *entry) {
	heap.Remove(&m.queue, e.place)
	m.grow(e, -e.size())
	if e.index == "" {
		delete(m.entries, e.key)
		return
	}
	if members := m.indexes[e.index]; len(members) > 1 {
		delete(members, e.key)
	} else {
		delete(m.indexes, e.index)
	}
}

// expiryQueue is a [heap.Interface] by expiry.
type expiryQueue []*entry

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].expires.Before(q[j].expires) }
func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *expiryQueue) Push(x any) {
	e := x.(*entry)
	e.place = len(*q)
	*q = append(*q, e)
}

func (q *expiryQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
