package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// FuzzDecidedPath: what reaches an upstream is, however the upstream reads it (as
// Go's mux, as a CGI program with the path decoded, with dots resolved, slashes
// merged or parameters cut off), not below what the policy keeps its sender from.
// Asked about by another proxy, the same target gets no better answer.
func FuzzDecidedPath(f *testing.F) {
	for _, s := range []string{
		"/admin/x", "/x/../admin/", "/%61dmin/x", "/admin%2fx", "/x%2f..%2fadmin%2fy", "//admin/x", "/%2561dmin/x", "/%2561dmin/%25", "/admin;a=b/c", "/;/admin/x", "/x/..;/admin/x",
		"/%2e%2e/admin/x", "/admin", "/admin/", "/ok?/admin/", "/open/..%2f..%2fadmin/x", "/%2fadmin%2fx", "/a%3b/../admin/x", "/admin%3bx/y", "/%252fadmin%252fx",
	} {
		f.Add(s)
	}
	var sent atomic.Pointer[string]
	var routed atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/admin/", func(http.ResponseWriter, *http.Request) { routed.Store(true) })
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := r.RequestURI
		sent.Store(&target)
		mux.ServeHTTP(w, r)
	}))
	f.Cleanup(up.Close)
	base := &rig{t: &testing.T{}, log: &authntest.Log{}, ender: &ender{}, people: map[string]authn.Identity{"bob": person("bob")}}
	handler := func(change func(*Options)) *Handler {
		o := base.options(up.URL)
		rules(&o)
		o.Upstreams[0].Public = nil
		change(&o)
		o.Access = false
		h, err := New(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(h.Close)
		return h
	}
	gateway := handler(func(*Options) {})
	answerer := handler(func(o *Options) {
		o.Upstreams, o.ForwardAuth = nil, &config.ForwardAuth{Hosts: []string{gwHost}}
		o.TrustedProxies = append(o.TrustedProxies, mustPrefix("192.0.2.1/32"))
	})
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gwHost+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := r.URL.Parse(target)
		if err != nil || !strings.HasPrefix(target, "/") || u.Host != gwHost {
			return // which the server does not read, or reads as another's
		}
		if u, err = u.Parse(target); err != nil {
			return
		}
		u.Scheme, u.Host = "", ""
		r.URL, r.RequestURI, r.RemoteAddr = u, target, "192.0.2.1:4711"
		r.Header.Set("Authorization", "Bearer bob")
		sent.Store(nil)
		routed.Store(false)
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, r)
		reached := sent.Load()
		if reached != nil {
			if routed.Load() {
				t.Errorf("%q was routed to /admin/", target)
			}
			path, _, _ := strings.Cut(*reached, "?")
			for _, read := range careless(path) {
				if read == "/admin" || strings.HasPrefix(read, "/admin/") || read == "/internal" || strings.HasPrefix(read, "/internal/") {
					t.Errorf("%q arrived as %q and may read as %q", target, *reached, read)
				}
			}
		}
		q := httptest.NewRequest(http.MethodGet, "/.gatehouse/auth/traefik", nil)
		q.RemoteAddr, q.Header = "192.0.2.1:4711", http.Header{
			"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {gwHost}, "X-Forwarded-Uri": {target}, "Authorization": {"Bearer bob"},
		}
		asked := httptest.NewRecorder()
		answerer.ServeHTTP(asked, q)
		if asked.Code == http.StatusOK && reached == nil && w.Code >= 400 && !strings.HasPrefix(u.Path, "/.gatehouse") {
			t.Errorf("FWD-18 %q may pass, but was refused with %s", target, fmt.Sprint(w.Code))
		}
	})
}
