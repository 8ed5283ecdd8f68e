package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/meter"
	"gatehouse/proxy"
)

// scrape returns what a scrape says of the gateway, line by line.
func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler(slog.New(slog.NewTextHandler(t.Output(), nil))).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("scrape: %d\n%s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func wants(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the scrape lacks %q", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestRequests(t *testing.T) {
	m := New("v1", "abc")
	w := m.Requests([]string{"corp"}, []string{"app"})
	now := time.Now()
	for _, r := range []proxy.Record{
		{Route: "corp", Status: 200, Took: 3 * time.Millisecond, Gateway: 200 * time.Microsecond, Upstream: "app", Waited: 2 * time.Millisecond, Decision: proxy.DecidedAllowed},
		{Route: "corp", Status: 204, Took: time.Hour, Upstream: "app", Waited: time.Minute, Decision: proxy.DecidedAllowed},
		{Status: 401, Took: time.Microsecond, Gateway: time.Microsecond, Decision: proxy.DecidedNobody},
		{Route: "corp", Status: 502, Upstream: "app", Failure: proxy.Unreachable, Decision: proxy.DecidedAllowed},
		{Route: "gone", Status: 999, Upstream: "who", Failure: proxy.TimedOut},
		{Route: "corp", Status: -4},
		{Route: "corp"},
	} {
		r.Begun = now
		w.Begin(now)
		w.End(r)
	}
	w.Begin(now)
	w.Open(proxy.WebSocket)
	wants(t, scrape(t, m),
		`gatehouse_build_info{goversion="`+runtime.Version()+`",revision="abc",version="v1"} 1`,
		`gatehouse_requests_total{code="200",route="corp"} 1`,
		`gatehouse_requests_total{code="401",route="none"} 1`,
		`gatehouse_requests_total{code="other",route="other"} 1`,
		`gatehouse_requests_total{code="other",route="corp"} 1`,
		`gatehouse_requests_total{code="aborted",route="corp"} 1`,
		`gatehouse_requests_in_flight 1`,
		`gatehouse_request_duration_seconds_bucket{route="corp",le="0.0025"} 3`,
		`gatehouse_request_duration_seconds_bucket{route="corp",le="0.005"} 4`,
		`gatehouse_request_duration_seconds_bucket{route="corp",le="60"} 4`,
		`gatehouse_request_duration_seconds_bucket{route="corp",le="+Inf"} 5`,
		`gatehouse_request_duration_seconds_sum{route="corp"} 3600.003`,
		`gatehouse_gateway_duration_seconds_bucket{route="corp",le="0.00025"} 5`,
		`gatehouse_upstream_duration_seconds_count{upstream="app"} 2`,
		`gatehouse_upstream_failures_total{reason="unreachable",upstream="app"} 1`,
		`gatehouse_upstream_failures_total{reason="timeout",upstream="other"} 1`,
		`gatehouse_authz_total{result="allowed"} 3`,
		`gatehouse_authz_total{result="unauthenticated"} 1`,
		`gatehouse_streams_open{kind="websocket"} 1`,
		`gatehouse_authn_total{reason="",result="success",route="corp"} 5`,
	)
	w.End(proxy.Record{Begun: now, Stream: proxy.WebSocket, Status: 101, Took: time.Hour, Route: "corp"})
	wants(t, scrape(t, m),
		`gatehouse_streams_open{kind="websocket"} 0`, `gatehouse_streams_total{kind="websocket"} 1`, `gatehouse_requests_in_flight 0`,
		`gatehouse_request_duration_seconds_count{route="corp"} 5`)
}

// TestGenerations: settings that are read again lose no count.
func TestGenerations(t *testing.T) {
	m := New("", "")
	for _, routes := range [][]string{{"a", "b"}, {"b", "c"}} {
		w := m.Requests(routes, nil)
		w.End(proxy.Record{Begun: time.Now(), Route: "b", Status: 200})
		w.End(proxy.Record{Begun: time.Now(), Route: "a", Status: 200})
	}
	wants(t, scrape(t, m), `gatehouse_requests_total{code="200",route="b"} 2`,
		`gatehouse_requests_total{code="200",route="a"} 1`, `gatehouse_requests_total{code="200",route="other"} 1`)
}

type reasoned struct{ text string }

func (r reasoned) Error() string        { return "no" }
func (r reasoned) Reason() string       { return r.text }
func (r reasoned) Is(target error) bool { return target == authn.ErrRejected }

func TestProofs(t *testing.T) {
	m := New("", "")
	var say error
	a := m.Authenticator("ci", authn.AuthenticatorFunc(func(*http.Request) (authn.Identity, error) { return authn.Identity{Subject: "x"}, say }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, say = range []error{
		nil, authn.ErrNoCredential, reasoned{"bad signature"}, &authn.Throttled{After: time.Second}, errors.New("secret in an outage"), authn.ErrApplication,
		&authn.NotAllowed{Missing: "x"},
	} {
		if _, err := a.Authenticate(r); !errors.Is(err, say) {
			t.Errorf("%v became %v", say, err)
		}
	}
	m.Signed("corp")(authn.OutcomeCancelled)
	text := scrape(t, m)
	wants(t, text,
		`gatehouse_authn_total{reason="bad_signature",result="rejected",route="ci"} 1`,
		`gatehouse_authn_total{reason="",result="throttled",route="ci"} 1`,
		`gatehouse_authn_total{reason="",result="unavailable",route="ci"} 1`,
		`gatehouse_authn_total{reason="",result="application",route="ci"} 1`,
		`gatehouse_authn_total{reason="",result="not_allowed",route="ci"} 1`,
		`gatehouse_sign_ins_total{outcome="success",route="corp"} 0`,
		`gatehouse_sign_ins_total{outcome="cancelled",route="corp"} 1`)
	if strings.Contains(text, "secret") {
		t.Error("an error's text became a label")
	}
	for i := range 3 * maxReasons {
		say = reasoned{strings.Repeat("x", i)}
		a.Authenticate(r)
	}
	if n := strings.Count(scrape(t, m), "\ngatehouse_authn_total{"); n > maxReasons+5 {
		t.Errorf("there are %d reasons", n)
	}
}

func TestCalls(t *testing.T) {
	m := New("", "")
	calls := m.Calls(Provider, "corp")
	for _, err := range []error{nil, errors.New("x"), context.DeadlineExceeded, context.Canceled, meter.Refused{Err: errors.New("no")}} {
		_, end := calls.Begin(t.Context(), "keys")
		end(err)
	}
	text := scrape(t, m)
	for _, result := range []string{"ok", "error", "timeout", "canceled", "refused"} {
		wants(t, text, `gatehouse_calls_total{call="keys",name="corp",peer="provider",result="`+result+`"} 1`)
	}
	wants(t, text, `gatehouse_call_duration_seconds_count{call="keys",name="corp",peer="provider"} 5`)
}

func TestReloadAndCertificates(t *testing.T) {
	m := New("", "")
	at := time.Unix(1_800_000_000, 0)
	m.Reload.Loaded(at, nil)
	m.Reload.Loaded(at.Add(time.Hour), errors.New("bad"))
	m.Certificates(map[string]func() (time.Time, error){"former": func() (time.Time, error) { return at, nil }})
	m.Certificates(map[string]func() (time.Time, error){
		"listen":  func() (time.Time, error) { return at, nil },
		"missing": func() (time.Time, error) { return at, errors.New("no such file") },
	})
	text := scrape(t, m)
	wants(t, text, "gatehouse_config_last_reload_success 0", "gatehouse_config_last_reload_success_timestamp_seconds 1.8e+09",
		"gatehouse_config_reload_failures_total 1", `gatehouse_certificate_expiry_timestamp_seconds{certificate="listen"} 1.8e+09`)
	if strings.Contains(text, "missing") || strings.Contains(text, "former") {
		t.Error("a certificate that can't be read, or is not of the settings any more, has an expiry")
	}
}

// TestUnderLoad scrapes while requests come and go: nothing is lost, nothing negative.
func TestUnderLoad(t *testing.T) {
	m := New("", "")
	w := m.Requests([]string{"corp"}, []string{"app"})
	const each, clients = 2000, 8
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range each {
				now := time.Now()
				w.Begin(now)
				w.End(proxy.Record{Begun: now, Route: "corp", Status: 200, Upstream: "app", Waited: time.Millisecond, Decision: proxy.DecidedAllowed})
			}
		})
	}
	for range 20 {
		if text := scrape(t, m); strings.Contains(text, "requests_in_flight -") || strings.Contains(text, "requests_in_flight 1.8") {
			t.Error("there are fewer requests than none")
		}
	}
	all.Wait()
	wants(t, scrape(t, m), `gatehouse_requests_total{code="200",route="corp"} 16000`, `gatehouse_requests_in_flight 0`,
		`gatehouse_upstream_duration_seconds_count{upstream="app"} 16000`, `gatehouse_authz_total{result="allowed"} 16000`)
}

func record(now time.Time) proxy.Record {
	return proxy.Record{
		Begun: now, Took: 3 * time.Millisecond, Gateway: 90 * time.Microsecond, Upstream: "app", Waited: 2 * time.Millisecond,
		Route: "corp", Status: 200, Decision: proxy.DecidedAllowed,
	}
}

func TestNoAllocations(t *testing.T) {
	m := New("", "")
	w := m.Requests([]string{"corp"}, []string{"app"})
	a := m.Authenticator("corp", authn.AuthenticatorFunc(func(*http.Request) (authn.Identity, error) { return authn.Identity{}, authn.ErrNoCredential }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if n := testing.AllocsPerRun(1000, func() {
		now := time.Now()
		w.Begin(now)
		a.Authenticate(r)
		w.End(record(now))
	}); n != 0 {
		t.Errorf("a request costs %v allocations", n)
	}
}

// BenchmarkRequest is what counting one request costs, by all processors at once.
func BenchmarkRequest(b *testing.B) {
	m := New("", "")
	w := m.Requests([]string{"corp", "ci", "keys"}, []string{"app"})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Now()
			w.Begin(now)
			w.End(record(now))
		}
	})
}

// BenchmarkScrape is what one scrape costs.
func BenchmarkScrape(b *testing.B) {
	m := New("", "")
	m.Requests([]string{"corp", "ci", "keys"}, []string{"app"}).End(record(time.Now()))
	b.ReportAllocs()
	for b.Loop() {
		scrape(b, m)
	}
}
