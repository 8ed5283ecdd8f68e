package wandb

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// ask sends a request to the server without a network.
func ask(s *Server, method, target, body string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func query(op, variables string) string {
	return `{"query":"mutation ` + op + `($a: String) { x }","variables":` + variables + `}`
}

func TestViewer(t *testing.T) {
	known := map[string]Viewer{key: alice}
	gateway := map[string]string{
		"X-Gatehouse-Subject": "account:trainer", "X-Forwarded-Preferred-Username": "trainer", "X-Gatehouse-Teams": "ops,research",
	}
	for _, test := range []struct {
		name    string
		options Options
		header  map[string]string
		status  int
		want    string
	}{
		{"key", Options{Keys: known}, map[string]string{"Authorization": "Basic YXBpOjAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODk="}, 200, "alice research"},
		{"other key", Options{Keys: known}, map[string]string{"Authorization": "Basic YXBpOng="}, 401, ""},
		{"key before gateway", Options{Trust: true}, map[string]string{"Authorization": "Basic YXBpOng=", "X-Gatehouse-Subject": "x"}, 401, ""},
		{"bearer", Options{Keys: known}, map[string]string{"Authorization": "Bearer " + key}, 401, ""},
		{"nothing", Options{Keys: known, Trust: true}, nil, 401, ""},
		{"gateway", Options{Trust: true}, gateway, 200, "trainer ops"},
		{"gateway, not trusted", Options{Keys: known}, gateway, 401, ""},
		{"gateway, subject alone", Options{Trust: true}, map[string]string{"X-Gatehouse-Subject": "bob"}, 200, "bob bob"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := NewServer(test.options)
			w := ask(s, "POST", "/graphql", `{"query":"query Viewer { viewer { id } }"}`, test.header)
			var got struct {
				Errors []struct{ Message string }
				Data   *struct {
					Viewer struct{ Username, Entity string }
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != test.status {
				t.Fatalf("%d %s (%v)", w.Code, w.Body, err)
			}
			if test.status == 200 && got.Data.Viewer.Username+" "+got.Data.Viewer.Entity != test.want {
				t.Errorf("got %s", w.Body)
			}
			if test.status == 401 && (got.Data != nil || len(got.Errors) != 1 || got.Errors[0].Message != "permission denied") {
				t.Errorf("got %s", w.Body)
			}
			if seen := s.Requests("/graphql"); len(seen) != 1 || seen[0].Op != "Viewer" || seen[0].Status != test.status {
				t.Errorf("remembered %+v", seen)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	s := NewServer(Options{Trust: true})
	as := map[string]string{"X-Gatehouse-Subject": "bob"}
	for _, test := range []struct {
		name, target, body string
		status             int
	}{
		{"path", "/login", "", 404},
		{"trace", "/traces/call/delete", "{}", 404},
		{"run", "/files/a/b/c/file_stream", "{}", 404},
		{"operation", "/graphql", query("DeleteAll", "{}"), 400},
		{"no operation", "/graphql", `{"query":"{ viewer }"}`, 400},
		{"no JSON", "/graphql", `<html>`, 400},
		{"no JSON in stream", "/files/a/b/c/file_stream", `<html>`, 400},
		{"no JSON in trace", "/traces/obj/create", `<html>`, 422},
		{"no JSON in calls", "/traces/call/upsert_batch", `<html>`, 422},
		{"no file", "/traces/file/create", `{}`, 422},
	} {
		if w := ask(s, "POST", test.target, test.body, as); w.Code != test.status {
			t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
		}
	}
}

// TestStream writes lines at offsets: the server must tell which are missing,
// came twice, or changed.
func TestStream(t *testing.T) {
	s := NewServer(Options{Trust: true})
	as := map[string]string{"X-Gatehouse-Subject": "bob"}
	begin := query("UpsertBucket", `{"entity":"team","project":"p","name":"r"}`)
	for i, want := range []string{`"inserted":true`, `"inserted":false`} {
		if w := ask(s, "POST", "/graphql", begin, as); !strings.Contains(w.Body.String(), want) {
			t.Fatalf("%d: %s", i, w.Body)
		}
	}
	const stream = "/files/team/p/r/file_stream"
	send := func(body string) {
		t.Helper()
		if w := ask(s, "POST", stream, body, as); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	send(`{"files":{"f":{"offset":0,"content":["a","b"]}}}`)
	send(`{"files":{"f":{"offset":1,"content":["B"]},"g":{"offset":0,"content":["x"]}}}`)
	if s.Complete("team/p/r") {
		t.Error("complete before its end")
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(`{"files":{"f":{"offset":4,"content":["e"]}},"complete":true,"exitcode":0}`))
	_ = z.Close()
	if w := ask(s, "POST", stream, packed.String(), map[string]string{"X-Gatehouse-Subject": "bob", "Content-Encoding": "gzip"}); w.Code != 200 {
		t.Fatalf("packed: %d %s", w.Code, w.Body)
	}
	f := s.File("team/p/r", "f")
	if got := f.Lines(); !slices.Equal(got, []string{"a", "B", "e"}) {
		t.Errorf("lines %q", got)
	}
	if got := f.Missing(6); !slices.Equal(got, []int{2, 3, 5}) {
		t.Errorf("missing %v", got)
	}
	if got := f.Doubled(); !slices.Equal(got, []int{1}) {
		t.Errorf("doubled %v", got)
	}
	if !s.Complete("team/p/r") || len(s.File("team/p/other", "f")) != 0 {
		t.Error("not complete, or a file of no run")
	}
	if w := ask(s, "POST", stream, "not packed", map[string]string{"X-Gatehouse-Subject": "bob", "Content-Encoding": "gzip"}); w.Code != 400 {
		t.Errorf("what is not packed: %d", w.Code)
	}
}

func TestStorage(t *testing.T) {
	s := NewServer(Options{Trust: true})
	w := ask(s, "POST", "https://wandb.test/graphql", query("CreateRunFiles", `{"entity":"team","project":"p","run":"r","files":["a b.txt"]}`),
		map[string]string{"X-Gatehouse-Subject": "bob", "X-Forwarded-Proto": "https"})
	var got struct {
		Data struct {
			CreateRunFiles struct {
				Files []struct{ Name, UploadURL string }
			}
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Data.CreateRunFiles.Files) != 1 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	target := got.Data.CreateRunFiles.Files[0].UploadURL
	if !strings.HasPrefix(target, "https://wandb.test/storage/team/p/r/a%20b.txt?") {
		t.Fatalf("the URL is %s", target)
	}
	for _, test := range []struct {
		name, target string
		header       map[string]string
		status       int
	}{
		{"other host", strings.Replace(target, "wandb.test", "wandb:8080", 1), nil, 403},
		{"other file", strings.Replace(target, "/r/", "/s/", 1), nil, 403},
		{"key", target, map[string]string{"Authorization": "Basic YXBpOng="}, 400},
		{"gateway", target, map[string]string{"X-Gatehouse-Subject": "bob"}, 400},
		{"identity", target, map[string]string{"X-Forwarded-User": "bob"}, 400},
		{"good", target, map[string]string{"X-Forwarded-For": "192.0.2.1"}, 200},
	} {
		if w := ask(s, "PUT", test.target, "content", test.header); w.Code != test.status {
			t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
		}
		if _, stored := s.Blob("team/p/r/a b.txt"); stored != (test.status == http.StatusOK) {
			t.Errorf("%s: stored: %t", test.name, stored)
		}
	}
	if b, _ := s.Blob("team/p/r/a b.txt"); string(b) != "content" {
		t.Errorf("stored %q", b)
	}
}
