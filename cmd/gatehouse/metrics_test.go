package main

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"gatehouse/config"
)

// scrape reads what the gateway's metrics say.
func (w *world) scrape() map[string]*dto.MetricFamily {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.metrics.Handler(newLogger(config.Log{}, w.log)).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(rec.Body)
	if err != nil || rec.Code != http.StatusOK {
		w.t.Fatalf("scrape: %d, %v", rec.Code, err)
	}
	return families
}

// value is a number of a scrape; zero if it is not there.
func value(families map[string]*dto.MetricFamily, name string, labels map[string]string) float64 {
	for _, m := range families[name].GetMetric() {
		got := map[string]string{}
		for _, l := range m.GetLabel() {
			got[l.GetName()] = l.GetValue()
		}
		if maps.Equal(got, labels) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return 0
}

// documented are the metrics that docs/observability.md names in its tables, and the labels of
// each.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(gatehouse_[a-z_]+)` \\| [a-z]+((?:, `[a-z]+`)*) \\|").FindAllStringSubmatch(string(text), -1) {
		out[row[1]] = nil
		for _, label := range regexp.MustCompile("`[a-z]+`").FindAllString(row[2], -1) {
			out[row[1]] = append(out[row[1]], strings.Trim(label, "`"))
		}
		slices.Sort(out[row[1]])
	}
	return out
}

// checkMetrics holds, after whatever a test has done, that no label is of a client's
// choice: all are documented, and each value is a name of the settings or a word of the
// program's own.
func (w *world) checkMetrics(c config.Config) {
	w.t.Helper()
	routes, upstreams := names(c)
	known := slices.Concat(routes, upstreams)
	for _, family := range []string{ // every word that there is
		"none other session redis aborted",
		"allowed public application unauthenticated rejected throttled denied unavailable undecided",
		"success not_allowed cancelled stale misconfigured",
		"wrong locked expired must_change disabled account_expired not_now unfit unknown forged several",
		"active alg aud claims cnf exp format iat iss jti nbf signature sub token_type token_use typ",
		"signed_out renewal_refused provider renewed refused failed websocket events unreachable timeout error ok canceled",
		"session token password key application_key hit refusal miss proof used idle",
		"directory store discovery keys userinfo introspection revocation push connect bind search viewer listen",
	} {
		known = append(known, strings.Fields(family)...)
	}
	docs, series := documented(w.t), 0
	for name, family := range w.scrape() {
		if !strings.HasPrefix(name, "gatehouse_") || name == "gatehouse_build_info" {
			continue
		}
		want, there := docs[name]
		if !there {
			w.t.Errorf("%s is not in docs/observability.md", name)
		}
		for _, m := range family.GetMetric() {
			series++
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName())
				code := l.GetName() == "code" && regexp.MustCompile(`^[1-5]\d\d$`).MatchString(l.GetValue())
				command := l.GetName() == "call" && regexp.MustCompile(`^[a-z]+$`).MatchString(l.GetValue())
				if l.GetValue() != "" && !code && !command && !slices.Contains(known, l.GetValue()) {
					w.t.Errorf("%s: the label %s is %q, which is not of the program or of the settings", name, l.GetName(), l.GetValue())
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				w.t.Errorf("%s has the labels %v, and docs/observability.md says %v", name, got, want)
			}
		}
	}
	if series > 1000 {
		w.t.Errorf("there are %d series", series)
	}
}

const everyKind = `
publicURL: https://example.com
sharedEmails: true
upstreams:
  - name: app
    url: $UPSTREAM
    public: [/open/]
authn:
  - name: corp
    oidc: {issuer: $ISSUER, clientID: gatehouse}
  - name: people
    ldap: {address: ["$DIRECTORY"], baseDN: "dc=example,dc=com", subjectPrefix: "people:"}
  - name: ci
    bearer:
      issuers: [{issuer: $ISSUER, audiences: [https://example.com]}]
`

// TestMetrics: what requests do is in the metrics.
func TestMetrics(t *testing.T) {
	w := newWorld(t, everyKind)
	token := w.jwt(w.issuer.Keys()[0], nil)
	program := w.program()
	as := func(path, kind, credential string, status int) {
		t.Helper()
		h := http.Header{}
		if kind != "" {
			h.Set("Authorization", kind+" "+credential)
		}
		if got := w.get(program, path, h); got.status != status {
			t.Fatalf("%s with %s: %d, want %d: %s", path, kind, got.status, status, got.body)
		}
	}
	as("/", "", "", http.StatusUnauthorized)
	as("/open/x", "", "", http.StatusOK)
	as("/", "Bearer", token, http.StatusOK)
	as("/", "Bearer", token, http.StatusOK)
	as("/", "Bearer", token[:len(token)-6]+"AAAAAA", http.StatusUnauthorized)
	person := demoPeople()[0].Username
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+publicHost+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(person, demoPassword)
	if got := w.do(program, req); got.status != http.StatusOK {
		t.Fatalf("with a password: %d: %s", got.status, got.body)
	}
	req.SetBasicAuth(person, "wrong")
	if got := w.do(program, req); got.status != http.StatusUnauthorized {
		t.Fatalf("with a wrong password: %d", got.status)
	}
	browser := w.signIn(person)
	w.get(browser, "/", nil)
	got := w.scrape()
	for _, want := range []struct {
		name   string
		labels string
		least  float64
	}{
		{"gatehouse_requests_total", "route=none code=401", 3},
		{"gatehouse_requests_total", "route=ci code=200", 2},
		{"gatehouse_requests_total", "route=people code=200", 1},
		{"gatehouse_requests_total", "route=corp code=200", 1},
		{"gatehouse_authn_total", "route=ci result=success reason=", 2},
		{"gatehouse_authn_total", "route=ci result=rejected reason=signature", 1},
		{"gatehouse_authn_total", "route=people result=rejected reason=wrong", 1},
		{"gatehouse_authz_total", "result=public", 1},
		{"gatehouse_authz_total", "result=unauthenticated", 1},
		{"gatehouse_authz_total", "result=rejected", 2},
		{"gatehouse_authz_total", "result=allowed", 4},
		{"gatehouse_sign_ins_total", "route=corp outcome=success", 1},
		{"gatehouse_sessions_started_total", "", 1},
		{"gatehouse_session_news_listening", "", 1},
		{"gatehouse_cache_lookups_total", "cache=token route=ci result=hit", 1},
		{"gatehouse_cache_lookups_total", "cache=token route=ci result=miss", 2},
		{"gatehouse_cache_lookups_total", "cache=session route= result=hit", 1},
		{"gatehouse_cache_entries", "cache=session route= kind=proof", 1},
		{"gatehouse_calls_total", "peer=provider name=ci call=keys result=ok", 1},
		{"gatehouse_calls_total", "peer=provider name=ci call=discovery result=ok", 1},
		{"gatehouse_calls_total", "peer=provider name=corp call=token result=ok", 1},
		{"gatehouse_calls_total", "peer=directory name=people call=bind result=ok", 1},
		{"gatehouse_calls_total", "peer=directory name=people call=bind result=refused", 1},
		{"gatehouse_calls_total", "peer=directory name=people call=search result=ok", 1},
		{"gatehouse_upstream_duration_seconds", "upstream=app", 5},
		{"gatehouse_gateway_duration_seconds", "route=ci", 2},
		{"gatehouse_request_duration_seconds", "route=ci", 2},
	} {
		labels := map[string]string{}
		for _, l := range strings.Fields(want.labels) {
			name, v, _ := strings.Cut(l, "=")
			labels[name] = v
		}
		if v := value(got, want.name, labels); v < want.least {
			t.Errorf("%s{%s} is %v, want at least %v", want.name, want.labels, v, want.least)
		}
	}
}

// TestMetricsOfStreams: an open stream counts while it is open, and not as slow.
func TestMetricsOfStreams(t *testing.T) {
	w := newWorld(t, "")
	b := w.signIn(demoPeople()[0].Username)
	before := value(w.scrape(), "gatehouse_request_duration_seconds", map[string]string{"route": "corp"})
	begun, over := make(chan struct{}), make(chan struct{})
	w.app.answers(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(rw).Flush()
		close(begun)
		<-over
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+publicHost+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-begun
	events := map[string]string{"kind": "events"}
	if got := w.scrape(); value(got, "gatehouse_streams_open", events) != 1 || value(got, "gatehouse_requests_in_flight", nil) != 1 {
		t.Error("an open stream does not count")
	}
	close(over)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	for value(w.scrape(), "gatehouse_streams_open", events) != 0 {
		if ctx.Err() != nil {
			t.Fatal("a closed stream counts as open")
		}
		time.Sleep(time.Millisecond)
	}
	got := w.scrape()
	if value(got, "gatehouse_streams_total", events) != 1 || value(got, "gatehouse_request_duration_seconds", map[string]string{"route": "corp"}) != before {
		t.Error("a stream counts as a slow request")
	}
}

// TestMetricsNames: OPS-01: nothing of this is on the public listener.
func TestMetricsNames(t *testing.T) {
	w := newWorld(t, "")
	for _, path := range []string{"/metrics", "/readyz", "/livez", "/debug/pprof/", "/.gatehouse/metrics"} {
		if got := w.get(w.program(), path, nil); got.status != http.StatusUnauthorized && got.status != http.StatusNotFound {
			t.Errorf("%s answers %d in public", path, got.status)
		}
	}
	if n := len(documented(t)); n < 30 {
		t.Errorf("docs/observability.md has %d metrics", n)
	}
}
