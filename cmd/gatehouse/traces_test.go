package main

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"gatehouse/cmd/gatehouse/traces"
)

// receiver is a collector of traces, by both of OTLP's ways.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	t  *testing.T
	mu sync.Mutex
	// spans are by name, and raw is all that was sent.
	spans   []*otlp.Span
	service string
	raw     []byte
}

// ServeHTTP is OTLP/HTTP.
func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("%s with %s: %v", r.URL.Path, r.Header.Get("Content-Type"), err)
	}
	in := &collector.ExportTraceServiceRequest{}
	if err := proto.Unmarshal(body, in); err != nil {
		c.t.Error(err)
	}
	c.take(in)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Export is OTLP/gRPC.
func (c *receiver) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.take(in)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *receiver) take(in *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, err := proto.Marshal(in)
	if err != nil {
		c.t.Error(err)
	}
	c.raw = append(c.raw, text...)
	for _, of := range in.GetResourceSpans() {
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				c.service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
}

// named are the spans of that name.
func (c *receiver) named(name string) []*otlp.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*otlp.Span
	for _, s := range c.spans {
		if s.GetName() == name {
			out = append(out, s)
		}
	}
	return out
}

// attributes are those of a span, as text.
func attributes(s *otlp.Span) map[string]string {
	out := map[string]string{}
	for _, a := range s.GetAttributes() {
		out[a.GetKey()] = a.GetValue().GetStringValue()
		if n := a.GetValue().GetIntValue(); n != 0 {
			out[a.GetKey()] = http.StatusText(int(n))
		}
	}
	return out
}

// traced starts a receiver and the traces that go there; the environment may say more.
func traced(t *testing.T, log *lockedBuffer, env ...string) (*receiver, *traces.Traces) {
	t.Helper()
	c := &receiver{t: t}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	for _, v := range append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + server.URL}, env...) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	tr, err := traces.New(t.Context(), os.Environ(), "v1", newLogger(configLog(), log))
	if err != nil || tr == nil {
		t.Fatalf("traces: %v, %v", tr, err)
	}
	return c, tr
}

const (
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	clientSpan  = "b7ad6b7169203331"
)

// TestTraces follows requests from the client's trace through chain, directory, provider
// and store to the application.
func TestTraces(t *testing.T) {
	addr := startRedis(t)
	log := &lockedBuffer{}
	c, tr := traced(t, log, "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test")
	w := newObservedWorld(t, everyKind+"store: {redis: {url: \"redis://"+addr+"/0\"}}\nsession: {keys: [bm90IGEgc2VjcmV0LCBqdXN0IGZvciB0aGUgZW5kLXRvLWVuZCB0ZXN0cw==]}\n", observers{traces: tr})
	token := w.jwt(w.issuer.Keys()[0], nil)
	ask := func(set func(*http.Request)) answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+publicHost+"/x/y?token=query-secret", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Traceparent", "00-"+clientTrace+"-"+clientSpan+"-00")
		req.Header.Set("Tracestate", "vendor=1")
		set(req)
		return w.do(w.program(), req)
	}
	if got := ask(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }); got.status != http.StatusOK {
		t.Fatalf("with a token: %d %s", got.status, got.body)
	}
	seen := w.app.last(t).Header
	if got := ask(func(r *http.Request) { r.SetBasicAuth(demoPeople()[0].Username, demoPassword) }); got.status != http.StatusOK {
		t.Fatalf("with a password: %d", got.status)
	}
	if got := ask(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token[:len(token)-6]+"AAAAAA") }); got.status != http.StatusUnauthorized {
		t.Fatalf("with a bad token: %d", got.status)
	}
	browser := w.signIn(demoPeople()[0].Username)
	w.get(browser, "/", nil)
	w.app.answers(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) })
	w.get(browser, "/", nil)
	session := sessionCookie(t, browser)
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	if c.service != "gatehouse" {
		t.Errorf("the service is %q", c.service)
	}
	byID := map[string]*otlp.Span{}
	for _, s := range c.spans {
		byID[hex.EncodeToString(s.GetSpanId())] = s
	}
	var first *otlp.Span
	for _, s := range c.named("GET") {
		if s.GetKind() == otlp.Span_SPAN_KIND_SERVER && hex.EncodeToString(s.GetParentSpanId()) == clientSpan && first == nil {
			first = s
		}
	}
	if first == nil || hex.EncodeToString(first.GetTraceId()) != clientTrace {
		t.Fatalf("the client's trace does not go on: %v", first)
	}
	got := attributes(first)
	for name, want := range map[string]string{
		"http.request.method": "GET", "url.path": "/x/y", "server.address": publicHost, "http.response.status_code": "OK",
		"gatehouse.route": "ci", "gatehouse.upstream": "app", "gatehouse.decision": "allowed", "client.address": "127.0.0.1", "network.protocol.version": "1.1",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	parent := regexp.MustCompile(`^00-` + clientTrace + `-([0-9a-f]{16})-01$`).FindStringSubmatch(seen.Get("Traceparent"))
	if parent == nil || seen.Get("Tracestate") != "vendor=1" {
		t.Fatalf("the application was told %q, %q", seen.Get("Traceparent"), seen.Get("Tracestate"))
	}
	upstream := byID[parent[1]]
	if upstream.GetKind() != otlp.Span_SPAN_KIND_CLIENT || !slices.Equal(upstream.GetParentSpanId(), first.GetSpanId()) || attributes(upstream)["gatehouse.upstream"] != "app" ||
		upstream.GetStartTimeUnixNano() < first.GetStartTimeUnixNano() || upstream.GetEndTimeUnixNano() > first.GetEndTimeUnixNano() {
		t.Errorf("the application's span is %v in %v", upstream, first)
	}
	// Every question is within the span of finding out who it is, or of a request.
	for _, name := range []string{"ci discovery", "ci keys", "people connect", "people bind", "people search", "corp token", "redis set"} {
		spans := c.named(name)
		if len(spans) == 0 {
			t.Errorf("there is no span %q", name)
			continue
		}
		if above := byID[hex.EncodeToString(spans[0].GetParentSpanId())]; above == nil || spans[0].GetKind() != otlp.Span_SPAN_KIND_CLIENT {
			t.Errorf("%q is in no other span, or of kind %v", name, spans[0].GetKind())
		}
	}
	rejected := false
	for _, s := range c.named("authenticate") {
		a := attributes(s)
		rejected = rejected || a["gatehouse.result"] == "rejected" && a["gatehouse.reason"] == "signature"
	}
	if !rejected {
		t.Error("no span tells of the refused token")
	}
	if !slices.ContainsFunc(c.spans, func(s *otlp.Span) bool {
		return s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR && attributes(s)["error.type"] == "500"
	}) {
		t.Error("an application's 500 is no error")
	}
	_, sealed, _ := strings.Cut(session, "=")
	for _, secret := range []string{"query-secret", token[len(token)-20:], token[:40], demoPassword, sealed} {
		if strings.Contains(string(c.raw), secret) {
			t.Errorf("OPS-09: the traces hold %q", secret)
		}
	}
}

// TestTracesOff: without a word of the environment there is nothing, and a client's
// header is a header.
func TestTracesOff(t *testing.T) {
	for _, env := range [][]string{
		nil, {"OTEL_SERVICE_NAME=x"}, {"OTEL_EXPORTER_OTLP_ENDPOINT="}, {"OTEL_EXPORTER_OTLP_ENDPOINT=http://x", "OTEL_SDK_DISABLED=true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x", "OTEL_TRACES_EXPORTER=none"},
	} {
		if tr, err := traces.New(t.Context(), env, "", newLogger(configLog(), &lockedBuffer{})); tr != nil || err != nil {
			t.Errorf("%v makes traces: %v", env, err)
		}
	}
	for env, says := range map[string]string{
		"OTEL_TRACES_EXPORTER=zipkin":                "OTEL_TRACES_EXPORTER",
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/json":      "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_TRACES_SAMPLER=jaeger_remote":          "OTEL_TRACES_SAMPLER",
		"OTEL_TRACES_SAMPLER=traceidratio ARG=2":     "OTEL_TRACES_SAMPLER_ARG",
		"OTEL_TRACES_SAMPLER=traceidratio ARG=often": "OTEL_TRACES_SAMPLER_ARG",
	} {
		all := append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, strings.Split(strings.Replace(env, " ARG=", " OTEL_TRACES_SAMPLER_ARG=", 1), " ")...)
		if _, err := traces.New(t.Context(), all, "", newLogger(configLog(), &lockedBuffer{})); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", all, err)
		}
	}
	w := newWorld(t, "")
	h := http.Header{"Traceparent": {"00-" + clientTrace + "-" + clientSpan + "-01"}}
	w.get(w.signIn(demoPeople()[0].Username), "/", h)
	if got := w.app.last(t).Header.Get("Traceparent"); got != h.Get("Traceparent") {
		t.Errorf("the application was told %q", got)
	}
}

// TestTracesSampling: a client's flag decides nothing, a trusted proxy's does.
func TestTracesSampling(t *testing.T) {
	for _, step := range []struct {
		name, sampler string
		trusted       bool
		flag          string
		recorded      bool
	}{
		{"a client can't have itself recorded", "parentbased_always_off", false, "01", false},
		{"nor keep itself out", "parentbased_always_on", false, "00", true},
		{"a proxy can", "parentbased_always_off", true, "01", true},
		{"and keep out", "parentbased_always_on", true, "00", false},
		{"unless it is not asked", "always_on", true, "00", true},
		{"a share of none", "traceidratio:0", false, "01", false},
		{"a share of all", "parentbased_traceidratio:1", false, "00", true},
	} {
		t.Run(step.name, func(t *testing.T) {
			name, arg, _ := strings.Cut(step.sampler, ":")
			c, tr := traced(t, &lockedBuffer{}, "OTEL_TRACES_SAMPLER="+name, "OTEL_TRACES_SAMPLER_ARG="+arg)
			settings := smallest
			if step.trusted {
				settings += "trustedProxies: [127.0.0.1]\n"
			}
			w := newObservedWorld(t, settings, observers{traces: tr})
			w.get(w.program(), "/nobody", http.Header{"Traceparent": {"00-" + clientTrace + "-" + clientSpan + "-" + step.flag}})
			if err := tr.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(c.named("GET")) > 0; got != step.recorded {
				t.Errorf("recorded: %v, want %v", got, step.recorded)
			}
		})
	}
}

// TestTracesByGRPC sends them the other way.
func TestTracesByGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, server := &receiver{t: t}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(server.Stop)
	_, tr := traced(t, &lockedBuffer{}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+ln.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	w := newObservedWorld(t, "", observers{traces: tr})
	w.get(w.program(), "/nobody", nil)
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.named("GET")) != 1 || len(c.named("authenticate")) != 1 {
		t.Errorf("%d spans came", len(c.spans))
	}
}

// TestTracesWithoutCollector: requests don't wait for a collector that is not there, and
// the end of the program not long.
func TestTracesWithoutCollector(t *testing.T) {
	log := &lockedBuffer{}
	_, tr := traced(t, log, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY=10")
	w := newObservedWorld(t, "", observers{traces: tr})
	for range 20 {
		if got := w.get(w.program(), "/nobody", nil); got.status != http.StatusUnauthorized {
			t.Fatalf("%d", got.status)
		}
	}
	begun := time.Now()
	lastSpans(t.Context(), tr, newLogger(configLog(), log))
	if took := time.Since(begun); took > lastSpansTime+2*time.Second {
		t.Errorf("the end took %v", took)
	}
	if !strings.Contains(log.String(), "traces are lost") {
		t.Errorf("the log says nothing:\n%s", log)
	}
}
