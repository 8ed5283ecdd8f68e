package ldap

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	peer "gatehouse/e2e/directory"
)

func benchRig(b *testing.B, change ...func(*setup)) (*rig, *peer.Slapd) {
	b.Helper()
	s := peer.NewSlapd(b, peer.SlapdOptions{})
	c := settingsFor(s)
	c.Groups.From = "memberOf"
	return newRig(b, c, change...), s
}

func benchRequest(username, password string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://gatehouse.test/graphql", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	r.SetBasicAuth(username, password)
	return r
}

// BenchmarkRemembered is what a remembered password costs a request.
func BenchmarkRemembered(b *testing.B) {
	r, _ := benchRig(b)
	req := benchRequest("alice", "alice-pw")
	if _, err := r.l.authenticate(req); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.l.authenticate(req); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkCold is a password that is not remembered, at a real slapd. It
// reports what one costs the directory.
func BenchmarkCold(b *testing.B) {
	r, s := benchRig(b)
	c := credentials{login: "alice", password: "alice-pw", remote: "192.0.2.1:1234", log: r.l.Log}
	if _, err := r.l.prove(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	binds, searches := s.Operations(b)
	n := 0
	for b.Loop() {
		if _, err := r.l.prove(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.StopTimer()
	after, more := s.Operations(b)
	b.ReportMetric(float64(after-binds)/float64(n), "binds/op")
	b.ReportMetric(float64(more-searches)/float64(n), "searches/op")
}

// BenchmarkFifty is 50 sign-ins at once, of seven people, with a pool of 8. It
// fails if one of them does, or if more connections are open than the pool allows.
func BenchmarkFifty(b *testing.B) {
	r, s := benchRig(b)
	people := []string{"alice", "bob", "carol", "dave", "alice", "bob", "carol"}
	for b.Loop() {
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				who := people[i%len(people)]
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				c := credentials{login: who, password: who + "-pw", remote: fmt.Sprintf("192.0.2.%d:1", i), log: r.l.Log}
				if _, err := r.l.prove(ctx, c); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	peak := s.Connections(b) // those that search are kept; TestPool counts the others
	if peak > 8 {
		b.Errorf("%d connections", peak)
	}
	b.ReportMetric(float64(peak), "connections")
}
