package extauthz

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// dial starts a server around a handler and returns a client's connection to it.
func dial(t *testing.T, h http.HandlerFunc) *grpc.ClientConn {
	t.Helper()
	_, conn := start(t, h)
	return conn
}

func start(t *testing.T, h http.HandlerFunc) (*Server, *grpc.ClientConn) {
	t.Helper()
	s := New(Options{
		Handler: h, RemoveHeader: "X-Remove",
	})
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed { //nolint:errorlint // it is never wrapped
			t.Error(err)
		}
	})
	return s, conn
}

func question(method, host, path string, headers map[string]string) *auth.CheckRequest {
	return &auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{
		Http: &auth.AttributeContext_HttpRequest{Method: method, Host: host, Path: path, Headers: headers},
	}}}
}

// said is a list of headers as text.
func said(t *testing.T, list []*core.HeaderValueOption, action core.HeaderValueOption_HeaderAppendAction) []string {
	t.Helper()
	var out []string
	for _, o := range list {
		if o.GetAppendAction() != action {
			t.Errorf("%s has action %v", o.GetHeader().GetKey(), o.GetAppendAction())
		}
		out = append(out, o.GetHeader().GetKey()+": "+o.GetHeader().GetValue())
	}
	slices.Sort(out)
	return out
}

func TestAllowed(t *testing.T) {
	var got *http.Request
	conn := dial(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		for name, value := range map[string]string{"X-Id-User": "ada", "X-Id-Mail": "", "Cookie": "a=b", "X-Remove": "x-id-other,authorization", "Cache-Control": "no-store", "X-Request-Id": "1", "Content-Length": "0"} {
			w.Header()[name] = []string{value}
		}
		r.Header["X-Id-Late"] = []string{"the handler's own"}
		w.WriteHeader(http.StatusOK)
	})
	q := question("POST", "app.test", "/a%2Fb?c=d;e", map[string]string{
		":path": "/x", ":authority": "evil.test", "host": "evil.test", "x-id-user": "eve", "x-id-mail": "eve", "x-id-other": "eve", "accept": "*/*", "authorization": "Basic x", "cookie": "a=b; gate=1",
	})
	q.Attributes.Request.Http.HeaderMap = &core.HeaderMap{Headers: []*core.HeaderValue{{Key: "x-two", Value: "1"}, {Key: "x-two", RawValue: []byte("2")}}}
	answer, err := auth.NewAuthorizationClient(conn).Check(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != "POST" || got.Host != "app.test" || got.RequestURI != "/a%2Fb?c=d;e" || got.URL.RawPath != "/a%2Fb" || !strings.HasPrefix(got.RemoteAddr, "127.0.0.1:") {
		t.Errorf("asked %s %s %s %s", got.Method, got.Host, got.RequestURI, got.RemoteAddr)
	}
	for name := range got.Header {
		if strings.HasPrefix(name, ":") || name == "Host" {
			t.Errorf("the request has a header %s", name)
		}
	}
	if diff := cmp.Diff([]string{"1", "2"}, got.Header["X-Two"]); diff != "" {
		t.Error(diff)
	}
	if code := answer.GetStatus().GetCode(); code != int32(codes.OK) {
		t.Errorf("code %d", code)
	}
	ok := answer.GetOkResponse()
	if diff := cmp.Diff([]string{"cookie: a=b", "x-id-user: ada"}, said(t, ok.GetHeaders(), core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"authorization", "x-id-other"}, ok.GetHeadersToRemove()); diff != "" {
		t.Error("HDR-23", diff)
	}
}

func TestDenied(t *testing.T) {
	for code, want := range map[int]codes.Code{
		302: codes.Unauthenticated, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 400: codes.PermissionDenied, 503: codes.Unavailable, 202: codes.PermissionDenied, 204: codes.PermissionDenied,
	} {
		conn := dial(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Www-Authenticate"] = []string{"Bearer", "Basic"}
			w.WriteHeader(code)
			_, _ = w.Write([]byte("no"))
			_ = http.NewResponseController(w).Flush()
		})
		answer, err := auth.NewAuthorizationClient(conn).Check(t.Context(), question("GET", "app.test", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		no := answer.GetDeniedResponse()
		if answer.GetStatus().GetCode() != int32(want) || int(no.GetStatus().GetCode()) != code || no.GetBody() != "no" {
			t.Errorf("%d: %v", code, answer)
		}
		if diff := cmp.Diff([]string{"www-authenticate: Basic", "www-authenticate: Bearer"}, said(t, no.GetHeaders(), core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestBadQuestions: what is no question is refused in so many words: an error would let
// it pass where Envoy is told to let everybody pass while there is none to ask.
func TestBadQuestions(t *testing.T) {
	asked := false
	conn := dial(t, func(http.ResponseWriter, *http.Request) { asked = true })
	for name, q := range map[string]*auth.CheckRequest{
		"nothing": {}, "no HTTP": {Attributes: &auth.AttributeContext{}}, "no path": question("GET", "a", "", nil), "no slash": question("GET", "a", "x", nil),
		"another host in the path": question("GET", "a", "http://evil.test/", nil), "a bad escape": question("GET", "a", "/%zz", nil), "a control byte": question("GET", "a", "/\x00", nil),
	} {
		a, err := auth.NewAuthorizationClient(conn).Check(t.Context(), q)
		if err != nil || a.GetDeniedResponse().GetStatus().GetCode() != 400 || a.GetStatus().GetCode() != int32(codes.PermissionDenied) || asked {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
	if _, err := auth.NewAuthorizationClient(conn).Check(t.Context(), question("GET", "a", "/"+strings.Repeat("a", maxQuestion), nil)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a huge one: %v", err)
	}
}

// TestRawValues: a cookie need not be UTF-8.
func TestRawValues(t *testing.T) {
	conn := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Cookie"] = []string{"a=\xff"}
		w.WriteHeader(http.StatusOK)
	})
	a, err := auth.NewAuthorizationClient(conn).Check(t.Context(), question("GET", "a", "/", nil))
	if err != nil || len(a.GetOkResponse().GetHeaders()) != 1 || string(a.GetOkResponse().GetHeaders()[0].GetHeader().GetRawValue()) != "a=\xff" {
		t.Errorf("%v, %v", a, err)
	}
}

// TestBounds: DOS, what comes beside a question has little room, and who watches the
// health is told of the end instead of keeping it off.
func TestBounds(t *testing.T) {
	s, conn := start(t, http.NotFound)
	huge := metadata.AppendToOutgoingContext(t.Context(), "a-bin", strings.Repeat("a", maxHeaders))
	if _, err := auth.NewAuthorizationClient(conn).Check(huge, question("GET", "a", "/", nil)); err == nil {
		t.Error("a header of 16 KiB is taken")
	}
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watch.Recv(); err != nil || m.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatal(m, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(ctx) }()
	if m, err := watch.Recv(); err != nil || m.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Error(m, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("who watches keeps the end off: %v", err)
	}
}

// TestHurry: a question that never comes is given up, and a watch is none.
func TestHurry(t *testing.T) {
	for method, want := range map[string]bool{auth.Authorization_Check_FullMethodName: true, grpc_health_v1.Health_Watch_FullMethodName: false} {
		ctx, err := hurry(t.Context(), &tap.Info{FullMethodName: method})
		if err != nil {
			t.Fatal(err)
		}
		if end, has := ctx.Deadline(); has != want || has && time.Until(end) > patience {
			t.Errorf("%s ends at %v: %t", method, end, has)
		}
	}
}

func TestPanics(t *testing.T) {
	conn := dial(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := auth.NewAuthorizationClient(conn).Check(t.Context(), question("GET", "a", "/", nil)); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}

func TestHealth(t *testing.T) {
	conn := dial(t, func(http.ResponseWriter, *http.Request) {})
	res, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Error(res, err)
	}
}
