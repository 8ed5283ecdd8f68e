package page_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"gatehouse/authn/page"
)

func TestAssets(t *testing.T) {
	svg := []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
	for name, b := range map[string]page.Brand{
		"own":   brand(),
		"given": {Logo: svg, LogoType: "image/svg+xml"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPages(t, b)
			mux := http.NewServeMux()
			p.Mount(mux)
			body := get(p, samples(same, same)[0].write).Body.String()
			found := regexp.MustCompile(`<(?:link|img)[^>]*(?:href|src)="([^"]+)"`).FindAllStringSubmatch(body, -1)
			if len(found) != 3 {
				t.Fatalf("addresses: %q", found)
			}
			for _, m := range found {
				checkAsset(t, mux, m[1])
			}
			if b.Logo != nil {
				if got := ask(mux, "GET", "/.gatehouse/logo").Body.Bytes(); !bytes.Equal(got, svg) {
					t.Errorf("logo %q", got)
				}
			}
		})
	}
}

func checkAsset(t *testing.T, mux http.Handler, path string) {
	t.Helper()
	w := ask(mux, "GET", path)
	h := w.Header()
	for name, want := range map[string]string{
		"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := h.Get(name); w.Code != 200 || got != want {
			t.Errorf("%s: %d, %s %q, want %q", path, w.Code, name, got, want)
		}
	}
	csp, kind := h.Get("Content-Security-Policy"), h.Get("Content-Type")
	switch {
	case strings.Contains(path, "logo") && (!strings.Contains(csp, "sandbox") || !strings.Contains(csp, "default-src 'none'") || kind != "image/svg+xml"):
		t.Errorf("logo: %q %q", csp, kind)
	case strings.Contains(path, "style") && kind != "text/css; charset=utf-8":
		t.Errorf("style: %q", kind)
	}
	plain, _, _ := strings.Cut(path, "?")
	if got := ask(mux, "GET", plain).Header().Get("Cache-Control"); got != "no-cache" {
		t.Errorf("%s: Cache-Control %q", plain, got)
	}
	if got := ask(mux, "GET", plain, "If-None-Match", h.Get("ETag")).Code; got != 304 {
		t.Errorf("%s: %d for a copy that is current", plain, got)
	}
	if got := ask(mux, "POST", plain).Code; got != 405 {
		t.Errorf("%s: %d for a POST", plain, got)
	}
}

func ask(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestStylesheetIsSmall(t *testing.T) {
	mux := http.NewServeMux()
	newPages(t, brand()).Mount(mux)
	if n := ask(mux, "GET", "/.gatehouse/style.css").Body.Len(); n >= 8<<10 {
		t.Errorf("stylesheet: %d bytes", n)
	}
}
