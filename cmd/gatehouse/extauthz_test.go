package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"gatehouse/authn/authntest"
)

// TestEnvoyAsksOverGRPC runs the program and asks it as Envoy does.
func TestEnvoyAsksOverGRPC(t *testing.T) {
	key := authntest.NewKey("ES256")
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile, file := filepath.Join(dir, "key.pem"), filepath.Join(dir, "gatehouse.yaml")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	public, ops, questions := freeAddress(t), freeAddress(t), freeAddress(t)
	settings := fmt.Sprintf(`publicURL: https://app.example.com
listen: {address: "%s"}
operations: {address: "%s"}
trustedProxies: [127.0.0.1]
forwardAuth: {hosts: [app.example.com], grpcAddress: "%s", public: [/open/]}
policy:
  - {paths: [/admin/], require: [{groups: [admins]}]}
authn:
  - {name: tokens, bearer: {issuers: [{issuer: "https://idp.example.com", keyFile: "%s", audiences: [app]}]}}
`, public, ops, questions, keyFile)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, shell{args: []string{"serve", "--config", file}, out: &bytes.Buffer{}, err: &lockedBuffer{}})
	}()
	waitFor(t, func() error { return expect(t, "http://"+ops+"/livez", http.StatusOK, "ok") })

	conn, err := grpc.NewClient(questions, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(path string, headers map[string]string) *auth.CheckResponse {
		t.Helper()
		answer, err := auth.NewAuthorizationClient(conn).Check(t.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{
			Http: &auth.AttributeContext_HttpRequest{Method: "GET", Host: "app.example.com", Path: path, Headers: headers},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	now := time.Now()
	token := authntest.JWT(key, nil, map[string]any{"iss": "https://idp.example.com", "aud": "app", "sub": "1001", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "groups": []string{"research"}})
	forged := map[string]string{"authorization": "Bearer " + token, "remote-user": "eve", "x_auth_request_user": "eve", "x-wandb-username": "eve", "x-rewrite-url": "/y", "x-http-method-override": "DELETE", "wandb-api-key": "", "x-forwarded-for": "192.0.2.1", "accept": "*/*", "cookie": "theirs=1; __Host-gatehouse=x"}

	ok := ask("/x", forged).GetOkResponse()
	got := map[string]string{}
	for _, h := range ok.GetHeaders() {
		got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	for name, value := range map[string]string{"x-gatehouse-subject": "1001", "x-forwarded-groups": "research", "cookie": "theirs=1"} {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	if got["x-gatehouse-jwt-assertion"] == "" {
		t.Error("there is no signed header")
	}
	if want := []string{"authorization", "remote-user", "wandb-api-key", "x-rewrite-url", "x-wandb-username", "x_auth_request_user"}; !slices.Equal(ok.GetHeadersToRemove(), want) {
		t.Errorf("removed are %v, want %v", ok.GetHeadersToRemove(), want)
	}
	for path, status := range map[string]int32{"/admin/x": 403, "/x/..%2fadmin/x": 400, "/%2561dmin/x": 400, "/.gatehouse/auth/envoy/x": 403} {
		if no := ask(path, forged).GetDeniedResponse(); int32(no.GetStatus().GetCode()) != status {
			t.Errorf("%s: %v, want %d", path, no, status)
		}
	}
	if no := ask("/x", nil).GetDeniedResponse(); no.GetStatus().GetCode() != 401 {
		t.Errorf("nobody: %v", no)
	}
	if open := ask("/open/x", map[string]string{"remote-user": "eve", "x_method_override": "PUT"}).GetOkResponse(); !slices.Equal(open.GetHeadersToRemove(), []string{"remote-user", "x_method_override"}) || len(open.GetHeaders()) > 0 {
		t.Errorf("public: %v", open)
	}
	for _, name := range []string{"x-gatehouse-subject", "x_forwarded_groups", "x-forwarded-email"} {
		if no := ask("/open/x", map[string]string{name: "eve"}).GetDeniedResponse(); no.GetStatus().GetCode() != 403 {
			t.Errorf("HDR-23 %s: %v", name, no)
		}
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("it ended with %d", code)
	}
}
