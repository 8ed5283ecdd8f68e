package e2e

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/e2e/wandb"
)

// statuses is how the client of a run gets to the gateway; it counts answers.
type statuses struct {
	mu     sync.Mutex
	counts map[string]map[int]int
	// hasty counts those that ask to come again and don't say when.
	hasty int
}

// RoundTrip counts an attempt that has no answer as status 0.
func (s *statuses) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):]
	if s.counts[path] == nil {
		s.counts[path] = map[int]int{}
	}
	if err != nil {
		s.counts[path][0]++
		return nil, err
	}
	s.counts[path][res.StatusCode]++
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
		s.hasty++
	}
	return res, nil
}

// count is how often the last part of a path was answered with a status.
func (s *statuses) count(path string, status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[path][status]
}

// training is a run that goes on while things happen around it.
type training struct {
	t      *testing.T
	run    *wandb.Run
	seen   *statuses
	clock  atomic.Int64
	logged chan int
	stop   chan struct{}
}

// startTraining begins a run with a JWT from a file and logs a metric every few
// milliseconds. A second of the client's is a fiftieth of one, so that it sends
// more than three times a second and waits a second at most before it tries again.
func startTraining(t *testing.T, at, tokenFile string) *training {
	t.Helper()
	tr := &training{t: t, seen: &statuses{counts: map[string]map[int]int{}}, logged: make(chan int), stop: make(chan struct{})}
	c := wandb.NewClient(wandb.Settings{
		URL: at, Second: 20 * time.Millisecond, Transport: tr.seen, Federation: wandb.Federation{TokenFile: tokenFile},
		Now: func() time.Time { return time.Now().Add(time.Duration(tr.clock.Load())) },
	})
	run, err := c.Start(t.Context(), "", "e2e", "long")
	if err != nil {
		t.Fatal(err)
	}
	tr.run = run
	go func() {
		n := 0
		defer func() { tr.logged <- n }()
		for ; ; n++ {
			select {
			case <-tr.stop:
				return
			case <-time.After(3 * time.Millisecond):
				run.Log(map[string]int{"value": n})
			}
		}
	}()
	return tr
}

// ages lets time go by for the client, so that it needs another token.
func (tr *training) ages(by time.Duration) { tr.clock.Add(int64(by)) }

// until waits for something to happen to the run. It fails if the client gives up.
func (tr *training) until(what string, happened func() bool) {
	tr.t.Helper()
	for deadline := time.Now().Add(programPatience); !happened(); time.Sleep(10 * time.Millisecond) {
		if err := tr.run.Fatal(); err != nil {
			tr.t.Fatalf("%s: the client gave up: %v", what, err)
		}
		if time.Now().After(deadline) {
			tr.t.Fatalf("%s does not happen", what)
		}
	}
}

// moves waits until more metrics than now have arrived, as far as the client knows.
func (tr *training) moves(when string) {
	tr.t.Helper()
	before := tr.run.Sent()
	tr.until("progress "+when, func() bool { return tr.run.Sent() > before })
}

// fails waits until a request for a path is answered so once more.
func (tr *training) fails(when, path string, status int) {
	tr.t.Helper()
	before := tr.seen.count(path, status)
	tr.until(when, func() bool { return tr.seen.count(path, status) > before })
}

// TestNoMetricLost takes away everything that a run depends on while it goes on,
// one after the other, and brings it back: each metric arrives once, in order,
// and the program notices nothing.
func TestNoMetricLost(t *testing.T) {
	t.Parallel()
	const stream, token = "/file_stream", "/token"
	h, p := tokenHouse(t, false)
	tr := startTraining(t, h.url, tokenFile(t, p.programToken(audience)))
	tr.moves("at first")

	h.redis.stop()
	tr.fails("a request without Redis", stream, http.StatusServiceUnavailable)
	h.redis.start(t)
	tr.moves("with Redis again")

	p.stop()
	tr.moves("without the issuer")
	tr.ages(56 * time.Minute)
	exchanges := tr.seen.count(token, http.StatusOK)
	tr.until("an exchange without the issuer, whose keys are known", func() bool { return tr.seen.count(token, http.StatusOK) > exchanges })
	tr.moves("with another token")

	h.gateway.stop()
	tr.fails("a request without a gateway", stream, 0)
	h.gateway.restart()
	tr.moves("after a restart, without the issuer")
	tr.ages(time.Hour)
	tr.fails("an exchange whose keys nobody knows", token, http.StatusServiceUnavailable)
	p.restart()
	tr.moves("with the issuer again")

	address := h.serving.Listener.Addr().String()
	h.serving.Close()
	tr.fails("a request without the application", stream, http.StatusBadGateway)
	h.serve(address)
	tr.moves("with the application again")

	h.gateway.stop()
	h.redis.stop()
	h.redis.start(t)
	h.gateway.restart()
	tr.moves("after a restart of all")

	close(tr.stop)
	n := <-tr.logged
	if err := tr.run.Finish(); err != nil {
		t.Errorf("the client gave up: %v", err)
	}
	if remarks := tr.run.Remarks(); len(remarks) > 0 {
		t.Errorf("the client was answered with something else: %v", remarks)
	}
	for _, status := range []int{301, 302, 303, 307, 308, 401, 403} {
		if seen := tr.seen.count(stream, status) + tr.seen.count(token, status); seen > 0 {
			t.Errorf("%d was answered %d times", status, seen)
		}
	}
	if tr.seen.hasty > 0 {
		t.Errorf("503 came %d times without Retry-After", tr.seen.hasty)
	}
	if n < 100 {
		t.Errorf("only %d metrics were logged", n)
	}
	h.trained("research", n)
}
