package meter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

func TestCounter(t *testing.T) {
	var c Counter
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				c.Add(time.Now())
			}
		})
	}
	all.Wait()
	if n := c.Load(); n != 8000 {
		t.Errorf("8000 are %d", n)
	}
	if n := testing.AllocsPerRun(100, func() { c.Add(time.Now()) }); n != 0 {
		t.Errorf("a count costs %v allocations", n)
	}
}

// TestStripe: every time has a place, and those close together have several.
func TestStripe(t *testing.T) {
	places := map[int]bool{}
	for i := range 1000 {
		at := Stripe(time.Unix(0, int64(i)*64))
		if at < 0 || at >= Stripes {
			t.Fatalf("place %d", at)
		}
		places[at] = true
	}
	if len(places) != Stripes {
		t.Errorf("%d of %d places are used", len(places), Stripes)
	}
}

func TestResult(t *testing.T) {
	for want, err := range map[string]error{
		OK: nil, No: fmt.Errorf("asked: %w", Refused{errors.New("no")}), Withdrew: fmt.Errorf("x: %w", context.Canceled),
		Late: fmt.Errorf("x: %w", os.ErrDeadlineExceeded), Failed: errors.New("x"),
	} {
		if got := Result(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
	if got := Result(context.DeadlineExceeded); got != Late {
		t.Errorf("a deadline is %q", got)
	}
}

// TestTransport: each request is told, by the name that its context has for it.
func TestTransport(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
	}))
	defer server.Close()
	var told []string
	calls := Calls(func(ctx context.Context, what string) (context.Context, func(error)) {
		return ctx, func(err error) { told = append(told, what+" "+Result(err)) }
	})
	client := &http.Client{Transport: Transport(calls, http.DefaultTransport)}
	defer client.CloseIdleConnections()
	ask := func(ctx context.Context, url string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
		}
	}
	keys := Asking(t.Context(), "keys")
	ask(keys, server.URL+"/200")
	ask(keys, server.URL+"/404")
	ask(keys, server.URL+"/503")
	ask(t.Context(), "http://127.0.0.1:1/")
	if got, want := fmt.Sprint(told), "[keys ok keys refused keys error other error]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	if Transport(nil, http.DefaultTransport) != http.DefaultTransport {
		t.Error("nobody is told, at a cost")
	}
	ctx, end := Calls(nil).Begin(keys, "x")
	if end(nil); ctx != keys {
		t.Error("nobody is told, and the context is another")
	}
}
