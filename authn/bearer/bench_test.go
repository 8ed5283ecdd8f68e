package bearer

import (
	"fmt"
	"net/http"
	"testing"

	"gatehouse/authn/authntest"
)

// distinct are n tokens by one key, each another one.
func distinct(key authntest.Key, n int) []*http.Request {
	list := make([]*http.Request, n)
	for i := range list {
		list[i] = request("Bearer " + authntest.JWT(key, nil, claims(m{"jti": fmt.Sprint(i)})))
	}
	return list
}

func (r *rig) prove(b *testing.B, req *http.Request) {
	if _, err := r.route.Authenticator.Authenticate(req); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRemembered(b *testing.B) {
	r := newRig(b, asks)
	r.asked.says(active(nil))
	for name, token := range map[string]string{"JWT": good(), "issued": r.issue(good()), "opaque": opaque} {
		b.Run(name, func(b *testing.B) {
			req := request("Bearer " + token)
			r.prove(b, req)
			b.ReportAllocs()
			for b.Loop() {
				r.prove(b, req)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, key := range []authntest.Key{rs256(), es256(), eddsa()} {
		b.Run(key.Algorithm, func(b *testing.B) {
			r := newRig(b, everyKey, func(s *setup) { s.settings.Cache.Lifetime = 0 })
			list := distinct(key, 256)
			r.prove(b, list[0])
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.prove(b, list[i%len(list)])
			}
		})
	}
}

func BenchmarkExchange(b *testing.B) {
	r := newRig(b)
	tokens := make([]string, 256) // of as many subjects, each of which has a pace
	for i := range tokens {
		tokens[i] = with(m{"sub": fmt.Sprint(i)})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if w := r.exchange(tokens[i%len(tokens)]); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
