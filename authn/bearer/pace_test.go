package bearer

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
)

// TestPace: TOK-19, one subject fills neither the store nor anybody's time.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		one, two := authn.Identity{Issuer: "a", Subject: "1"}, authn.Identity{Issuer: "b", Subject: "1"}
		for n := range inARow {
			if !p.allow(one) {
				t.Fatalf("only %d in a row", n)
			}
		}
		if p.allow(one) {
			t.Error("more in a row")
		}
		if !p.allow(two) || !p.allow(authn.Identity{Issuer: "a", Subject: "2"}) {
			t.Error("others have to wait too")
		}
		time.Sleep(time.Second)
		for n := range perSecond + 1 {
			if p.allow(one) != (n < perSecond) {
				t.Errorf("%d after a second", n)
			}
		}
		for n := range 2 * maxPaced {
			if !p.allow(authn.Identity{Issuer: "a", Subject: fmt.Sprint("s", n)}) {
				t.Fatal("a new one has to wait")
			}
		}
		if len(p.subjects) > maxPaced {
			t.Errorf("%d are watched", len(p.subjects))
		}
	})
}

func TestPacedExchange(t *testing.T) {
	bubble(t, "TOK-19 one JWT, a thousand times", func(t *testing.T, r *rig) {
		token := good()
		for range inARow {
			r.issue(token)
		}
		w := r.exchange(token)
		if doc := answerOf(t, w); w.Code != http.StatusTooManyRequests || doc["error"] != "slow_down" || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
		}
		r.issue(with(m{"sub": "1002"}))
		time.Sleep(time.Second)
		r.issue(token)
	})
}
