package session_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// worker is somebody as they are at a company.
func worker(n int) authn.Proof {
	p := person(fmt.Sprint("person", n))
	p.Identity.Name, p.Identity.Email = fmt.Sprint("Person ", n), fmt.Sprintf("person%d@example.com", n)
	p.Identity.Groups = []string{"everyone", "research", "vision", "on-call", "building-7"}
	p.Grant = make([]byte, 1500) // tokens of the provider
	return p
}

// BenchmarkRemember measures a request whose session is remembered, and the memory that
// remembering takes.
func BenchmarkRemember(b *testing.B) {
	keys := keyring(b, origin, key)
	store := session.NewMemory()
	news := session.NewNews(store, nil)
	s := session.New(session.Options{
		Store: store, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), Register: session.NewRegister(store, keys, news, 0), Remember: time.Hour,
	})
	news.Start()
	defer func() { s.Close(); news.Close(); store.Close() }()
	for !news.Holds(news.Edition()) {
		time.Sleep(time.Millisecond)
	}
	const many = 20_000
	cookies := make([]*http.Cookie, many)
	for i := range cookies {
		w := httptest.NewRecorder()
		if err := s.Start(w, request(), worker(i)); err != nil {
			b.Fatal(err)
		}
		cookies[i] = w.Result().Cookies()[0]
	}
	before := inUse()
	for _, c := range cookies {
		if _, err := s.Authenticate(request(c)); err != nil {
			b.Fatal(err)
		}
	}
	taken := float64(inUse()-before) / many
	r := request(cookies[0])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(taken, "B/session")
}

func inUse() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkRegister measures what a person's 1,000 sessions cost to list, and what
// sessions cost in Redis: to begin, to look up, and in memory.
func BenchmarkRegister(b *testing.B) {
	redis := startRedis(b)
	store := redis.open(b)
	keys := keyring(b, origin, key)
	register := session.NewRegister(store, keys, nil, 0)
	s := session.New(session.Options{Store: store, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), Register: register})
	defer s.Close()
	b.Run("list 1,000", func(b *testing.B) {
		p := worker(0)
		for range 1000 {
			if err := s.Start(httptest.NewRecorder(), request(), p); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			if list, err := register.Of(b.Context(), session.PersonOf(p.Identity)); err != nil || len(list) != 1000 {
				b.Fatal(len(list), err)
			}
		}
	})
	var last *http.Cookie
	b.Run("begin", func(b *testing.B) {
		before, n := redis.memory(b), 0
		for b.Loop() {
			n++
			w := httptest.NewRecorder()
			if err := s.Start(w, request(), worker(n)); err != nil {
				b.Fatal(err)
			}
			last = w.Result().Cookies()[0]
		}
		b.ReportMetric(float64(redis.memory(b)-before)/float64(n), "B-of-Redis/session")
	})
	b.Run("look up", func(b *testing.B) {
		r := request(last)
		for b.Loop() {
			if _, err := s.Authenticate(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
