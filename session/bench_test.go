package session_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// many is among how many sessions a benchmark begins and looks one up.
var many = flag.Int("many", 20_000, "among how many `sessions` one is begun and looked up")

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
	const seen = 20_000
	cookies := make([]*http.Cookie, seen)
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
	taken := float64(inUse()-before) / seen
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
	begin := func(b *testing.B, n int) *http.Cookie {
		w := httptest.NewRecorder()
		if err := s.Start(w, request(), worker(n)); err != nil {
			b.Fatal(err)
		}
		return w.Result().Cookies()[0]
	}
	n := 1000 // whatever b.Loop adds is few beside that
	for _, among := range []int{1000, *many} {
		before, from := redis.memory(b), n
		crowd(among-n, func(i int) { begin(b, from+i) })
		n = max(n, among)
		b.Run(fmt.Sprint("begin/among ", among), func(b *testing.B) {
			for b.Loop() {
				n++
				begin(b, n)
			}
			if among > from {
				b.ReportMetric(float64(redis.memory(b)-before)/float64(n-from), "B-of-Redis/session")
			}
		})
		b.Run(fmt.Sprint("look up/among ", among), func(b *testing.B) {
			r := request(begin(b, n))
			for b.Loop() {
				if _, err := s.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// crowd calls f n times, several at a time.
func crowd(n int, f func(int)) {
	var all sync.WaitGroup
	var next atomic.Int64
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				f(i)
			}
		})
	}
	all.Wait()
}

// BenchmarkEnd measures how long three replicas that remember a session still let it in
// after it was ended at one of them.
func BenchmarkEnd(b *testing.B) {
	redis := startRedis(b)
	keys := keyring(b, origin, key)
	var replicas []*session.Sessions
	for range 3 {
		store := redis.open(b)
		news := session.NewNews(store, nil)
		s := session.New(session.Options{
			Store: store, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), Register: session.NewRegister(store, keys, news, 0), Remember: time.Hour,
		})
		news.Start()
		defer func() { s.Close(); news.Close() }()
		for !news.Holds(news.Edition()) {
			time.Sleep(time.Millisecond)
		}
		replicas = append(replicas, s)
	}
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		w := httptest.NewRecorder()
		if err := replicas[0].Start(w, request(), worker(n)); err != nil {
			b.Fatal(err)
		}
		r := request(w.Result().Cookies()[0])
		for _, s := range replicas {
			if _, err := s.Authenticate(r); err != nil {
				b.Fatal(err)
			}
		}
		begun := time.Now()
		if _, _, err := replicas[0].End(httptest.NewRecorder(), r); err != nil {
			b.Fatal(err)
		}
		for _, s := range replicas {
			for {
				if _, err := s.Authenticate(r); err != nil {
					break
				}
			}
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[(len(took)-1)*p/100].Microseconds()), fmt.Sprintf("µs-p%d", p))
	}
}
