package bearer

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/authntest"
)

// floodBytes is how much more memory may be held after a flood: 1,000 refusals,
// what a cache of that size needs, and slack for the run time. All of the tokens
// would be more.
const floodBytes = 4 << 20

// held is the memory in use after a collection.
func held() int64 {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestFlood: JWT-50, TOK-19 and TOK-27. Bad tokens, each another one, leave nothing
// behind, and who was let in before goes on without anybody being asked.
func TestFlood(t *testing.T) {
	head, body, _ := strings.Cut(good(), ".")
	body, _, _ = strings.Cut(body, ".")
	kinds := map[string]func(n int) string{
		"JWTs with wrong signatures": func(n int) string { return fmt.Sprintf("%s.%s.%085dA", head, body, n) },
		"JWTs with unknown kids": func(n int) string {
			return b64(fmt.Appendf(nil, `{"alg":"ES256","kid":"%d"}`, n)) + "." + body + ".AAAA"
		},
		"JWTs of unknown issuers": func(n int) string {
			return head + "." + b64(fmt.Appendf(nil, `{"iss":"https://%d.test"}`, n)) + ".AAAA"
		},
		"JWTs of the alg none": func(n int) string { return b64(fmt.Appendf(nil, `{"alg":"none","n":%d}`, n)) + "." + body + ".AAAA" },
		"broken JWTs":          func(n int) string { return fmt.Sprintf("eyJ%d.a.a", n) },
		"JWEs":                 func(n int) string { return fmt.Sprintf("eyJ%d.a.a.a.a", n) },
		"TOK-27 opaque tokens": func(n int) string { return fmt.Sprintf("opaque.%d", n) },
		"access tokens":        func(n int) string { return fmt.Sprintf("gh_at_%0107d", n) },
		"junk":                 func(n int) string { return fmt.Sprintf("%d", n) },
	}
	for name, bad := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, asks)
			r.asked.says(active(nil))
			access := r.issue(good())
			remembered := []string{good(), access, opaque}
			for _, token := range remembered {
				for range 20 { // asked for often
					r.accepted(token)
				}
			}
			r.asked.says(`{"active":false}`)
			reads, writes := r.store.counts()
			keyCalls, lines, before := r.keyCalls(), strings.Count(r.log.String(), "\n"), held()
			for n := range flood {
				if _, err := r.judge(bad(n)); !isRejected(err) && !outage(err) {
					t.Fatalf("%s: %v", bad(n), err)
				}
			}
			more := held() - before - int64(len(r.log.String()))
			if more > floodBytes {
				t.Errorf("%d KiB are held", more>>10)
			}
			t.Logf("%d KiB more are held", more>>10)
			if _, after := r.store.counts(); after != writes {
				t.Errorf("%d writes to the store", after-writes)
			}
			if after, _ := r.store.counts(); after != reads && !strings.Contains(name, "opaque") && name != "junk" {
				t.Errorf("%d reads of the store", after-reads)
			}
			if n := r.keyCalls() - keyCalls; n > 4 {
				t.Errorf("the keys were asked for %d times", n)
			}
			if n := strings.Count(r.log.String(), "\n") - lines; n > 2000 {
				t.Errorf("%d log lines", n)
			}
			asked := r.asked.count()
			r.store.breaks("*")
			r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Unavailable })
			for _, token := range remembered {
				r.accepted(token)
			}
			if r.asked.count() != asked {
				t.Error("somebody was asked about a remembered token")
			}
		})
	}
}

// TestExchangeFlood: TOK-19, bad requests at the token endpoint.
func TestExchangeFlood(t *testing.T) {
	head, body, _ := strings.Cut(good(), ".")
	body, _, _ = strings.Cut(body, ".")
	r := newRig(t)
	r.issue(good())
	_, writes := r.store.counts()
	lines, before := strings.Count(r.log.String(), "\n"), held()
	for n := range flood / 5 {
		if w := r.exchange(fmt.Sprintf("%s.%s.%085dA", head, body, n)); w.Code != http.StatusBadRequest {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if more := held() - before - int64(len(r.log.String())); more > floodBytes {
		t.Errorf("%d KiB are held", more>>10)
	}
	if _, after := r.store.counts(); after != writes {
		t.Errorf("%d writes to the store", after-writes)
	}
	if n := strings.Count(r.log.String(), "\n") - lines; n > 1000 {
		t.Errorf("%d log lines", n)
	}
	r.logged(`"check":"signature"`)
	r.issue(good())
}

// TestHangingIssuer: an issuer that hangs, and whoever sends tokens that need its keys,
// keep nobody from coming in by another.
func TestHangingIssuer(t *testing.T) {
	body := strings.Split(good(), ".")[1]
	forged := func(n int) string {
		return b64(fmt.Appendf(nil, `{"alg":"ES256","kid":"%d"}`, n)) + "." + body + "." + fmt.Sprintf("%085dA", n)
	}
	others := func(n any) string {
		return authntest.JWT(es256b(), nil, claims(m{"iss": otherURL, "jti": fmt.Sprint(n)}))
	}
	for name, warm := range map[string]bool{"with known keys": true, "without": false} {
		bubble(t, name, func(t *testing.T, r *rig) {
			access := r.issue(others("first"))
			if warm {
				r.accepted(good())
			}
			time.Sleep(2 * time.Minute) // nothing is remembered
			r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Delay(time.Hour) })
			var all sync.WaitGroup
			for n := range 3000 {
				all.Go(func() {
					if _, err := r.judge(forged(n)); !outage(err) {
						t.Errorf("a forged one: %v", err)
					}
				})
			}
			for n := range 600 {
				all.Go(func() {
					if w := r.exchange(forged(-n)); w.Code != http.StatusServiceUnavailable {
						t.Errorf("the exchange of a forged one: %d %s", w.Code, w.Body)
					}
				})
			}
			time.Sleep(time.Second)
			r.accepted(others("second"))
			r.accepted(access)
			r.issue(others("third"))
			all.Wait()
		})
	}
}
