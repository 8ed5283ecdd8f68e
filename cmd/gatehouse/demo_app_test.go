package main

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"gatehouse/proxy/assertion"
)

// askDemo puts one request to the demo application.
func askDemo(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	newDemoApp(verifyNothing).ServeHTTP(w, r)
	return w
}

func withDemoIdentity(r *http.Request) *http.Request {
	for name, value := range map[string]string{
		"X-Forwarded-User":               "1001",
		"X-Forwarded-Preferred-Username": "Ren%C3%A9e",
		"X-Forwarded-Email":              "renee@example.com",
		"X-Forwarded-Groups":             "admins,r%26d%2C%20east",
		"X-Gatehouse-Subject":            "1001",
		"X-Gatehouse-Issuer":             "https://id.example.com",
		"X-Gatehouse-Route":              "okta",
		"X-Gatehouse-Teams":              "research,vision",
		"X-Gatehouse-Roles":              "admin,member",
		"Accept-Language":                "en",
	} {
		r.Header.Set(name, value)
	}
	return r
}

func TestDemoWhoami(t *testing.T) {
	for _, path := range []string{"/whoami", "/health"} {
		w := askDemo(t, withDemoIdentity(httptest.NewRequest("GET", path+"?a=b", nil)))
		var got demoRequest
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		want := demoRequest{
			Method: "GET", Target: path + "?a=b", Host: "example.com", Protocol: "HTTP/1.1",
			Identity: &demoIdentity{Subject: "1001", Username: "Renée", Email: "renee@example.com",
				Groups: []string{"admins", "r&d, east"}, Teams: []string{"research", "vision"}, Roles: []string{"admin", "member"}, Issuer: "https://id.example.com", Route: "okta"},
			Headers: withDemoIdentity(httptest.NewRequest("GET", "/", nil)).Header,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestDemoWhoamiKnowsNobody(t *testing.T) {
	r := httptest.NewRequest("GET", "/whoami", nil)
	r.Header.Set("X-Forwarded-Groups", "admins")
	if w := askDemo(t, r); !strings.Contains(w.Body.String(), `"identity": null`) {
		t.Errorf("groups alone make somebody: %s", w.Body)
	}
}

func TestDemoPage(t *testing.T) {
	r := withDemoIdentity(httptest.NewRequest("DELETE", "/any/%2e/path?x=%3Cb%3E", nil))
	r.Header.Set("X-Evil", `<script>alert(1)</script>`)
	w := askDemo(t, r)
	page := w.Body.String()
	for _, want := range []string{
		"<h1 id=\"hello\">Hello, <bdi>Renée</bdi></h1>", "<b>DELETE</b> /any/%2e/path?x=%3Cb%3E", "<code>example.com</code>",
		`<bdi>r&amp;d, east</bdi>`, `<code>admins,r%26d%2C%20east</code>`, `that is</span> <bdi>admins</bdi> <bdi>r&amp;d, east</bdi></span>`,
		"&lt;script&gt;alert(1)", `href="/logout"`, `href="/.gatehouse/"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<script>") {
		t.Error("a header got into the page as markup")
	}
	if !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("policy: %q", w.Header().Get("Content-Security-Policy"))
	}
	names := regexp.MustCompile(`<th scope="row">([^ <]+)`).FindAllStringSubmatch(page, -1)
	var order []string
	for _, n := range names {
		order = append(order, n[1])
	}
	want := []string{"X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-User",
		"X-Gatehouse-Issuer", "X-Gatehouse-Roles", "X-Gatehouse-Route", "X-Gatehouse-Subject", "X-Gatehouse-Teams", "Accept-Language", "X-Evil"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order of headers (-want +got):\n%s", diff)
	}
}

func TestDemoPageKnowsNobody(t *testing.T) {
	page := askDemo(t, httptest.NewRequest("GET", "/", nil)).Body.String()
	if !strings.Contains(page, "Hello, whoever you are") || !strings.Contains(page, "No identity came") {
		t.Error("the page does not say that nobody came")
	}
}

// Everything that the page loads is the application's own and there.
func TestDemoFiles(t *testing.T) {
	page := askDemo(t, httptest.NewRequest("GET", "/", nil)).Body.String()
	for _, link := range regexp.MustCompile(`(?:src|href)="(/demo/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		if w := askDemo(t, httptest.NewRequest("GET", link[1], nil)); w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: %d", link[1], w.Code)
		}
	}
	for _, path := range []string{"/demo/page.html", "/demo/nothing"} {
		if w := askDemo(t, httptest.NewRequest("GET", path, nil)); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestDemoUpload(t *testing.T) {
	w := askDemo(t, httptest.NewRequest("PUT", "/upload", io.LimitReader(endless{}, 3<<20)))
	var got struct{ Bytes int64 }
	if err := json.Unmarshal(w.Body.Bytes(), &got, json.MatchCaseInsensitiveNames(true)); err != nil || got.Bytes != 3<<20 {
		t.Errorf("%v, %d bytes: %s", err, got.Bytes, w.Body)
	}
	broken := httptest.NewRequest("PUT", "/upload", io.MultiReader(bytes.NewReader([]byte("a")), brokenBody{}))
	if w := askDemo(t, broken); w.Code != http.StatusBadRequest {
		t.Errorf("a body that breaks off: %d", w.Code)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestDemoSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := askDemo(t, httptest.NewRequest("GET", "/slow?for=90s", nil))
		if took := time.Since(start); took != 90*time.Second || !strings.Contains(w.Body.String(), `"waited": "1m30s"`) {
			t.Errorf("after %v: %s", took, w.Body)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		w := askDemo(t, httptest.NewRequestWithContext(ctx, "GET", "/slow", nil))
		if took := time.Since(start); took != time.Second || w.Body.Len() > 0 {
			t.Errorf("a client that leaves keeps it for %v: %s", took, w.Body)
		}
	})
	for _, bad := range []string{"x", "-1s", "1h"} {
		if w := askDemo(t, httptest.NewRequest("GET", "/slow?for="+bad, nil)); w.Code != http.StatusBadRequest {
			t.Errorf("for=%s: %d", bad, w.Code)
		}
	}
}

func TestDemoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		now := time.Now().UTC()
		w := askDemo(t, httptest.NewRequestWithContext(ctx, "GET", "/events", nil))
		var want strings.Builder
		for n := range 3 {
			want.WriteString("event: tick\ndata: " + now.Add(time.Duration(n)*time.Second).Format(time.RFC3339) + "\n\n")
		}
		if diff := cmp.Diff(want.String(), w.Body.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if kind := w.Header().Get("Content-Type"); kind != "text/event-stream" || !w.Flushed {
			t.Errorf("type %q, flushed %v", kind, w.Flushed)
		}
	})
}

func TestDemoEcho(t *testing.T) {
	server := httptest.NewServer(newDemoApp(verifyNothing))
	t.Cleanup(server.Close)
	at := strings.Replace(server.URL, "http", "ws", 1) + "/echo"
	conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), at, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer conn.Close()
	for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
		if err := conn.WriteMessage(kind, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		gotKind, got, err := conn.ReadMessage()
		if err != nil || gotKind != kind || string(got) != "hello" {
			t.Errorf("echo: %d %q %v", gotKind, got, err)
		}
	}
	if err := conn.WriteMessage(websocket.BinaryMessage, make([]byte, maxEcho+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a message that is too big: %v", err)
	}
	elsewhere := http.Header{"Origin": {"https://evil.example"}}
	_, response, err = websocket.DefaultDialer.DialContext(t.Context(), at, elsewhere)
	if err == nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page may connect: %v", err)
	}
}

// The demo's story needs two who get in and one who does not.
func TestDemoPeople(t *testing.T) {
	groups := map[string][]string{}
	for _, p := range demoPeople() {
		groups[p.Username] = p.Groups
		if !p.EmailVerified || !strings.HasSuffix(p.Email, "@example.com") {
			t.Errorf("%s: address %q", p.Username, p.Email)
		}
	}
	want := map[string][]string{"ada": {"admins", "research"}, "ben": {"research"}, "cleo": {"guests"}}
	if diff := cmp.Diff(want, groups); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// verifyNothing is for pages that say nothing of the signed header.
func verifyNothing(context.Context, string) (assertion.Verified, error) {
	return assertion.Verified{}, errors.New("nobody verifies here")
}

// TestDemoSigned: the demo's page says what the signed header says, once it is verified.
func TestDemoSigned(t *testing.T) {
	said := assertion.Verified{Claims: assertion.Claims{Subject: "1001", Teams: []string{"research"}, Roles: []string{"admin"}}, Audience: "demo-app", Expires: time.Unix(1700000000, 0)}
	for name, tt := range map[string]struct {
		token string
		err   error
		shows string
	}{
		"verified": {"good", nil, "<li class=\"group\">team <bdi>research</bdi>, admin</li>"}, "wrong": {"good", errors.New("its <time> is over"), "It can’t be believed: its &lt;time&gt; is over"}, "none": {"", nil, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if tt.token != "" {
			r.Header.Set("X-Gatehouse-Jwt-Assertion", tt.token)
		}
		w := httptest.NewRecorder()
		newDemoApp(func(_ context.Context, token string) (assertion.Verified, error) {
			if token != tt.token {
				t.Errorf("%s: verified %q", name, token)
			}
			return said, tt.err
		}).ServeHTTP(w, r)
		if page := w.Body.String(); !strings.Contains(page, tt.shows) || tt.shows == "" && strings.Contains(page, "The signed header") {
			t.Errorf("%s: %s", name, page)
		}
	}
}
