package oidc

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
)

// frame asks for a front-channel address as a frame of a provider's page does.
func (r *rig) frame(h http.Handler, method, query, purpose string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, "/.gatehouse/frontchannel-logout/main?"+query, nil)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	req.Header.Set("Sec-Fetch-Dest", "iframe")
	if purpose != "" {
		req.Header.Set("Sec-Purpose", purpose)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if got := w.Header().Get("Content-Security-Policy"); got != "default-src 'none'; frame-ancestors https://idp.test" {
		r.t.Errorf("LGO-20 policy %q", got)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Frame-Options") != "" || len(w.Header()["Set-Cookie"]) != 0 {
		r.t.Errorf("%v", w.Header())
	}
	if body := w.Body.String(); strings.Contains(body, "href") || strings.Contains(body, "<form") || len(body) > 40 {
		r.t.Errorf("LGO-20 there is something to see: %s", body)
	}
	return w
}

func TestFrontChannelLogout(t *testing.T) {
	both := url.Values{"iss": {issuerURL}, "sid": {"s1"}}.Encode()
	for name, query := range map[string]string{
		"LGO-19 iss and sid": both, "LGO-19 sid alone, as Entra ID has it": "sid=s1", "LGO-19 and more": both + "&x=y",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, h := range []http.Handler{r.mux, r.route.FrontChannel} {
				w := r.frame(h, http.MethodGet, query, "")
				ended := r.ends.took()
				if w.Code != http.StatusOK || len(ended) != 1 {
					t.Fatalf("%d: %+v", w.Code, ended)
				}
				got := ended[0]
				if off := time.Since(got.At); off < 0 || off > time.Minute {
					t.Errorf("at %s", got.At)
				}
				got.At = time.Time{}
				if got != (authn.Logout{Issuer: issuerURL, SID: "s1", Unsigned: true}) {
					t.Errorf("%+v", got)
				}
			}
			if r.seen("idp.test") != 0 {
				t.Error("the provider was asked")
			}
		})
	}
	r := newRig(t)
	for name, c := range map[string]struct {
		method, query, purpose string
		status                 int
	}{
		"LGO-19 nothing":          {"GET", "", "", 400},
		"LGO-19 iss alone":        {"GET", url.Values{"iss": {issuerURL}}.Encode(), "", 400},
		"LGO-19 wrong iss":        {"GET", "iss=https://other.test&sid=s1", "", 400},
		"LGO-19 iss with a slash": {"GET", url.Values{"iss": {issuerURL + "/"}, "sid": {"s1"}}.Encode(), "", 400},
		"LGO-19 empty iss":        {"GET", "iss=&sid=s1", "", 400},
		"LGO-19 iss twice":        {"GET", both + "&" + both, "", 400},
		"LGO-19 sid twice":        {"GET", both + "&sid=s2", "", 400},
		"LGO-19 empty sid":        {"GET", "sid=", "", 400},
		"LGO-19 long sid":         {"GET", "sid=" + strings.Repeat("s", 256), "", 400},
		"LGO-19 sid with a NUL":   {"GET", "sid=s%001", "", 400},
		"LGO-19 sub":              {"GET", "sub=1001", "", 400},
		"LGO-19 half a query":     {"GET", both + ";%", "", 400},
		"LGO-24 prefetch":         {"GET", both, "prefetch", 204},
		"LGO-24 prerender":        {"GET", both, "prefetch;prerender", 204},
		"LGO-19 HEAD":             {"HEAD", both, "", 405},
		"LGO-19 POST":             {"POST", both, "", 405},
	} {
		t.Run(name, func(t *testing.T) {
			w := r.frame(r.mux, c.method, c.query, c.purpose)
			if ended := r.ends.took(); w.Code != c.status || len(ended) != 0 {
				t.Errorf("%d: %+v", w.Code, ended)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the page with the frame may be gone before the answer
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/.gatehouse/frontchannel-logout/main?"+both, nil))
	if ended := r.ends.took(); w.Code != http.StatusOK || len(ended) != 1 {
		t.Errorf("a page that is gone: %d, %+v", w.Code, ended)
	}
	r.ends.fails(errors.New("redis: i/o timeout"))
	if w := r.frame(r.mux, http.MethodGet, both, ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("store down: %d", w.Code)
	}
}
