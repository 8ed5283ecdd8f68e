package bearer

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"gatehouse/session"
)

// introspector is the introspection endpoint of the first issuer.
type introspector struct {
	mu    sync.Mutex
	calls int
	form  url.Values
	head  http.Header
	reply http.HandlerFunc
}

// says makes it answer with a document.
func (i *introspector) says(doc string) {
	i.does(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(doc))
	})
}

func (i *introspector) does(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reply = h
}

func (i *introspector) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls
}

// last returns the latest question.
func (i *introspector) last() (http.Header, url.Values) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.head, i.form
}

func (i *introspector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	i.mu.Lock()
	i.calls++
	i.form, i.head = r.PostForm, r.Header.Clone()
	reply := i.reply
	i.mu.Unlock()
	if reply == nil {
		http.NotFound(w, r)
		return
	}
	reply(w, r)
}

// spyStore is a store that counts what is done to it, shows what is in it, and
// fails on demand.
type spyStore struct {
	session.Store
	mu     sync.Mutex
	writes int
	reads  int
	fail   string // the verb that fails, or "*"
	data   map[string][]byte
}

var errDown = errors.New("store: connection refused")

func (s *spyStore) note(verb, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if verb == "get" {
		s.reads++
	} else {
		s.writes++
	}
	if s.fail == verb || s.fail == "*" {
		return errDown
	}
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	switch verb {
	case "set", "add":
		s.data[key] = bytes.Clone(value)
	case "delete":
		delete(s.data, key)
	}
	return nil
}

// breaks makes a verb fail from now on; empty mends it.
func (s *spyStore) breaks(verb string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = verb
}

// counts returns the reads and the writes so far.
func (s *spyStore) counts() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.writes
}

// keys returns the keys that begin so.
func (s *spyStore) keys(prefix string) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.data {
		if strings.HasPrefix(key, prefix) {
			list = append(list, key)
		}
	}
	return list
}

// dump is everything in the store.
func (s *spyStore) dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all strings.Builder
	for key, value := range s.data {
		all.WriteString(key + "\n" + string(value) + "\n")
	}
	return all.String()
}

func (s *spyStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.note("get", key, nil); err != nil {
		return nil, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s *spyStore) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.note("set", key, value); err != nil {
		return err
	}
	return s.Store.Set(ctx, key, value, ttl)
}

func (s *spyStore) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if err := s.note("add", key, value); err != nil {
		return false, err
	}
	return s.Store.Add(ctx, key, value, ttl)
}

func (s *spyStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := s.note("delete", key, nil); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, keys...)
}
