// Package extauthz answers Envoy, and what speaks its protocol, over gRPC
// (envoy.service.auth.v3.Authorization): the Gateway API's ExternalAuth filter,
// Envoy Gateway, Istio. It is a translator and decides nothing: a question becomes
// the request that Envoy would ask over HTTP, and the answer becomes Envoy's.
//
// Over gRPC the gateway can do what it can't over HTTP: it takes headers off the
// request that goes on.
package extauthz

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoy "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

const (
	// maxQuestion bounds a question, in bytes: the headers of a request, and no body.
	maxQuestion = 1 << 20
	// maxHeaders bounds what comes beside it, in bytes, and maxStreams how many may ask
	// at once over one connection. gRPC's own bounds are 16 MiB and none.
	maxHeaders = 16 << 10
	maxStreams = 1000
	// patience is how long a question may be on its way.
	patience = 20 * time.Second
	// timeout bounds an answer.
	timeout = 15 * time.Second
)

// Options is what a [Server] is made of.
type Options struct {
	// Handler answers for each request whether it may go on: with 200 and headers for
	// the application, or with what its client is told.
	Handler http.Handler
	// RemoveHeader is the header of an answer that names those which a request loses.
	RemoveHeader string
}

// Server answers questions over gRPC. It is an http.Server's like: Serve, Shutdown.
type Server struct {
	auth.UnimplementedAuthorizationServer
	o      Options
	grpc   *grpc.Server
	health *checkup
}

// checkup answers health checks. Who watches the health is told of the end, and would
// otherwise be waited for.
type checkup struct {
	*health.Server
	over context.Context //nolint:containedctx // of the server, not of a call
	end  context.CancelFunc
}

func newCheckup() *checkup {
	c := &checkup{Server: health.NewServer()}
	c.over, c.end = context.WithCancel(context.Background())
	c.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	return c
}

// Watch implements grpc_health_v1.HealthServer.
func (c *checkup) Watch(q *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(c.over, cancel)()
	err := c.Server.Watch(q, watcher{stream, ctx})
	if c.over.Err() != nil {
		return stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING})
	}
	return err
}

// watcher is a stream that ends with a context of its own.
type watcher struct {
	grpc_health_v1.Health_WatchServer
	ctx context.Context //nolint:containedctx // as a stream has it
}

// Context implements grpc.ServerStream.
func (w watcher) Context() context.Context { return w.ctx }

// New makes a server.
func New(o Options) *Server {
	s := &Server{o: o, health: newCheckup(), grpc: grpc.NewServer(
		grpc.MaxRecvMsgSize(maxQuestion),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.InTapHandle(hurry),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 5 * time.Minute, Time: time.Minute}),
	)}
	auth.RegisterAuthorizationServer(s.grpc, s)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	return s
}

// hurry bounds how long a question is waited for. Who watches the health may do so.
func hurry(ctx context.Context, i *tap.Info) (context.Context, error) {
	if i.FullMethodName != auth.Authorization_Check_FullMethodName {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	context.AfterFunc(ctx, cancel)
	return ctx, nil
}

// Serve answers on ln until Shutdown or Close. It then returns http.ErrServerClosed.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.grpc.Serve(ln); err != nil {
		return err
	}
	return http.ErrServerClosed
}

// Shutdown takes no further questions and waits for the answers to open ones. Who
// watches the health is told, and then not waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.health.end()
	done := make(chan struct{})
	go func() { s.grpc.GracefulStop(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends everything.
func (s *Server) Close() error {
	s.grpc.Stop()
	return nil
}

// Check answers one question.
func (s *Server) Check(ctx context.Context, q *auth.CheckRequest) (*auth.CheckResponse, error) {
	r, err := s.request(ctx, q)
	if err != nil { // an error would be up to failure_mode_allow
		a := &answer{header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, status: http.StatusBadRequest}
		a.body.WriteString(err.Error() + "\n")
		return denied(a), nil
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a := &answer{header: http.Header{}}
	if err := contained(func() { s.o.Handler.ServeHTTP(a, r.WithContext(limited)) }); err != nil {
		return nil, err
	}
	if a.status == http.StatusOK {
		return s.allowed(a.header), nil
	}
	return denied(a), nil
}

// contained is what a handler panics with when it has nobody to answer any more.
func contained(f func()) (err error) {
	defer func() {
		if recover() != nil {
			err = status.Error(codes.Unavailable, "the question was given up")
		}
	}()
	f()
	return nil
}

// request is the question as Envoy would ask it over HTTP.
func (s *Server) request(ctx context.Context, q *auth.CheckRequest) (*http.Request, error) {
	about := q.GetAttributes().GetRequest().GetHttp()
	if about == nil {
		return nil, errors.New("the question is about no HTTP request")
	}
	target := about.GetPath()
	if !strings.HasPrefix(target, "/") {
		return nil, errors.New("the request's path does not begin with a slash")
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, errors.New("the request's path can't be understood")
	}
	r := (&http.Request{
		Method: about.GetMethod(), URL: u, RequestURI: target, Host: about.GetHost(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header(about), Body: http.NoBody,
	}).WithContext(ctx)
	if p, ok := peer.FromContext(ctx); ok {
		r.RemoteAddr = p.Addr.String()
	}
	return r, nil
}

// header is what the client sent. Envoy joins lines of one name, or, told to, sends
// each as it came.
func header(about *auth.AttributeContext_HttpRequest) http.Header {
	h := http.Header{}
	add := func(name, value string) {
		if !strings.HasPrefix(name, ":") {
			h[http.CanonicalHeaderKey(name)] = append(h[http.CanonicalHeaderKey(name)], value)
		}
	}
	for name, value := range about.GetHeaders() {
		add(name, value)
	}
	for _, line := range about.GetHeaderMap().GetHeaders() {
		value := line.GetValue()
		if value == "" {
			value = string(line.GetRawValue())
		}
		add(line.GetKey(), value)
	}
	delete(h, "Host")
	return h
}

// hidden are headers of an answer that say nothing about the request.
func hidden() []string {
	return []string{"Cache-Control", "Content-Length", "Content-Type", "Date", "X-Request-Id", "X-Content-Type-Options"}
}

// allowed lets a request go on: with the headers of the answer in place of the
// client's, and without those that the answer names.
func (s *Server) allowed(answer http.Header) *auth.CheckResponse {
	ok := &auth.OkHttpResponse{}
	put := func(name, value string) {
		ok.Headers = append(ok.Headers, &core.HeaderValueOption{
			Header: line(name, value), AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	for name, values := range answer {
		switch value := values[0]; {
		case value == "" || slices.Contains(hidden(), name):
		case name == s.o.RemoveHeader:
			ok.HeadersToRemove = strings.Split(value, ",")
		default:
			put(name, value)
		}
	}
	slices.Sort(ok.HeadersToRemove)
	return &auth.CheckResponse{Status: &rpc.Status{Code: int32(codes.OK)}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: ok}}
}

// line is a header of an answer. What is no UTF-8, as a cookie may be, has a field of
// its own.
func line(name, value string) *core.HeaderValue {
	if !utf8.ValidString(value) {
		return &core.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(value)}
	}
	return &core.HeaderValue{Key: strings.ToLower(name), Value: value}
}

// denied passes an answer on to the client.
func denied(a *answer) *auth.CheckResponse {
	no := &auth.DeniedHttpResponse{Status: &envoy.HttpStatus{Code: envoy.StatusCode(a.status)}, Body: a.body.String()} //nolint:gosec // a status has three digits
	for name, values := range a.header {
		if name == "Content-Length" || name == "Date" {
			continue
		}
		for _, value := range values {
			no.Headers = append(no.Headers, &core.HeaderValueOption{
				Header: line(name, value), AppendAction: core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
			})
		}
	}
	code := codes.PermissionDenied
	switch {
	case a.status == http.StatusUnauthorized, a.status == http.StatusFound:
		code = codes.Unauthenticated
	case a.status >= http.StatusInternalServerError:
		code = codes.Unavailable
	}
	return &auth.CheckResponse{Status: &rpc.Status{Code: int32(code)}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: no}}
}

// answer keeps what a handler answers. There is no connection, so nothing to wait for.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush is for http.ResponseController, as are the deadlines.
func (*answer) Flush() {}

// SetReadDeadline does nothing.
func (*answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (*answer) SetWriteDeadline(time.Time) error { return nil }
