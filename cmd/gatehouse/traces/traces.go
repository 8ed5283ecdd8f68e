// Package traces is what a request's way looks like, for OpenTelemetry: a span for the
// request, one for finding out whom it comes from, one for each question to the store, a
// provider or a directory, and one for the application. The OTEL_ environment says where
// they go; without it nothing is made and nothing costs anything.
//
// A client's trace context (W3C Trace Context) is continued and passed on. It says
// nothing else: whether a trace is recorded is decided here, unless a trusted proxy has.
// No span holds a query, a header or a credential.
//
// It hides the OpenTelemetry libraries.
package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"gatehouse/authn"
	"gatehouse/authn/meter"
	"gatehouse/proxy"
)

// Traces makes spans and sends them. Nil makes none.
type Traces struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	context  propagation.TraceContext
}

// On reports whether the environment asks for traces: it says where to send them, or
// names the exporter.
func On(env []string) bool {
	v := environment(env)
	if strings.EqualFold(v["OTEL_SDK_DISABLED"], "true") || v["OTEL_TRACES_EXPORTER"] == "none" {
		return false
	}
	return v["OTEL_EXPORTER_OTLP_ENDPOINT"] != "" || v["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] != "" || v["OTEL_TRACES_EXPORTER"] != ""
}

// New makes the traces that the environment of this process asks for, of a program of
// that version; nil for none. It waits for nobody: a collector that is down loses spans,
// and the log says so now and then.
func New(ctx context.Context, env []string, version string, log *slog.Logger) (*Traces, error) {
	if !On(env) {
		return nil, nil //nolint:nilnil // no traces are no fault
	}
	v := environment(env)
	sampler, err := newSampler(v["OTEL_TRACES_SAMPLER"], v["OTEL_TRACES_SAMPLER_ARG"])
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	exporter, err := newExporter(ctx, v)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("gatehouse"), semconv.ServiceVersion(version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	// The library reports some of its own trouble nowhere else.
	now := rate.NewLimiter(rate.Every(time.Minute), 3)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if now.Allow() {
			log.Warn("traces are lost", "err", err)
		}
	}))
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about), sdk.WithSampler(sampler))
	return &Traces{provider: p, tracer: p.Tracer("gatehouse", trace.WithInstrumentationVersion(version))}, nil
}

// newExporter sends to where OTEL_EXPORTER_OTLP_… says.
func newExporter(ctx context.Context, env map[string]string) (sdk.SpanExporter, error) {
	if e := env["OTEL_TRACES_EXPORTER"]; e != "" && e != "otlp" {
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is none of otlp, none", authn.Bounded(e))
	}
	protocol := env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
	if protocol == "" {
		protocol = env["OTEL_EXPORTER_OTLP_PROTOCOL"]
	}
	switch protocol {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is none of http/protobuf, grpc", authn.Bounded(protocol))
}

// environment is an environment by name; the last of several counts.
func environment(env []string) map[string]string {
	out := map[string]string{}
	for _, v := range env {
		if name, value, ok := strings.Cut(v, "="); ok {
			out[name] = value
		}
	}
	return out
}

// Close sends what waits, and ends.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Begin implements [proxy.Tracer].
func (t *Traces) Begin(r *http.Request, at time.Time, trusted bool) *http.Request {
	ctx := t.context.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if !trusted {
		ctx = context.WithValue(ctx, stranger{}, true)
	}
	method := method(r.Method)
	ctx, _ = t.tracer.Start(ctx, method.Value.AsString(), trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		method, semconv.URLPath(authn.Bounded(r.URL.Path)), semconv.ServerAddress(authn.Bounded(r.Host)),
		semconv.NetworkProtocolVersion(strings.TrimPrefix(r.Proto, "HTTP/")),
	))
	return r.WithContext(ctx)
}

// Send implements [proxy.Tracer].
func (t *Traces) Send(r *http.Request, upstream string) context.Context {
	method := method(r.Method)
	ctx, _ := t.tracer.Start(r.Context(), method.Value.AsString(), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(method, attribute.String("gatehouse.upstream", upstream)))
	return ctx
}

// Carry implements [proxy.Tracer].
func (t *Traces) Carry(ctx context.Context, to http.Header) {
	t.context.Inject(ctx, propagation.HeaderCarrier(to))
}

// End implements [proxy.Tracer].
func (t *Traces) End(request, sent context.Context, id, remote string, r proxy.Record) {
	if sent != nil {
		span := trace.SpanFromContext(sent)
		at := r.Begun.Add(r.Took)
		if r.Waited > 0 {
			at = r.Begun.Add(r.Gateway + r.Waited)
			status(span, r.Status, http.StatusBadRequest) // it is the application's
		}
		if r.Failure != proxy.NoFailure {
			failed(span, r.Failure.String())
		}
		span.End(trace.WithTimestamp(at))
	}
	span := trace.SpanFromContext(request)
	span.SetAttributes(attribute.String("gatehouse.request_id", id), attribute.String("gatehouse.decision", r.Decision.String()), semconv.ClientAddress(remote))
	for name, value := range map[string]string{"gatehouse.route": r.Route, "gatehouse.upstream": r.Upstream, "gatehouse.stream": r.Stream.String()} {
		if value != "" {
			span.SetAttributes(attribute.String(name, value))
		}
	}
	status(span, r.Status, http.StatusInternalServerError)
	span.End(trace.WithTimestamp(r.Begun.Add(r.Took)))
}

// status sets the status of an answer; from that one on it is an error.
func status(span trace.Span, code, bad int) {
	if code == 0 {
		failed(span, "aborted")
		return
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(code))
	if code >= bad {
		failed(span, strconv.Itoa(code))
	}
}

// failed marks a span. What went wrong is a word: an error's text may hold more.
func failed(span trace.Span, kind string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	span.SetStatus(codes.Error, "")
}

// method is the attribute for a method; one that is none of HTTP's own is the client's
// invention.
func method(name string) attribute.KeyValue {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return semconv.HTTPRequestMethodKey.String(name)
	}
	return semconv.HTTPRequestMethodOther
}

// Calls makes a span of each question to a peer, within the request that asks it, beside
// what next is told. What is asked beside the requests makes none.
func (t *Traces) Calls(peer, name string, next meter.Calls) meter.Calls {
	if t == nil {
		return next
	}
	return func(ctx context.Context, what string) (context.Context, func(error)) {
		ctx, end := next.Begin(ctx, what)
		if !trace.SpanContextFromContext(ctx).IsValid() {
			return ctx, end
		}
		about := []attribute.KeyValue{attribute.String("gatehouse.peer", peer), attribute.String("gatehouse.peer.name", name), attribute.String("gatehouse.call", what)}
		if peer == "store" {
			about = append(about, semconv.DBSystemNameRedis, semconv.DBOperationName(what))
		}
		ctx, span := t.tracer.Start(ctx, name+" "+what, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(about...))
		return ctx, func(err error) {
			if err != nil {
				failed(span, meter.Result(err))
			}
			span.End()
			end(err)
		}
	}
}

// Chain makes a span of finding out whom a request comes from.
func (t *Traces) Chain(c authn.Chain) authn.Chain {
	if t == nil {
		return c
	}
	return authn.Chain{authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
		ctx, span := t.tracer.Start(r.Context(), "authenticate")
		defer span.End()
		id, err := c.Authenticate(r.WithContext(ctx))
		switch {
		case err == nil:
			span.SetAttributes(attribute.String("gatehouse.route", id.Route), attribute.String("gatehouse.result", string(authn.OutcomeSuccess)))
		case errors.Is(err, authn.ErrNoCredential):
			span.SetAttributes(attribute.String("gatehouse.result", "none"))
		default:
			outcome := authn.OutcomeOf(err)
			span.SetAttributes(attribute.String("gatehouse.result", string(outcome)), attribute.String("gatehouse.reason", authn.ReasonOf(err)))
			if outcome == authn.OutcomeUnavailable {
				failed(span, string(outcome))
			}
		}
		return id, err
	})}
}
