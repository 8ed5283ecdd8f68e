package oidc

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
)

// TestAttacksOnRequests: what a link, a header or a guessing browser can do.
func TestAttacksOnRequests(t *testing.T) {
	t.Run("OIDC-17 redirect URI not from Host", func(t *testing.T) {
		r := newRig(t)
		req := httptest.NewRequest(http.MethodGet, signInPath, nil)
		req.Host = "evil.test"
		req.Header.Set("X-Forwarded-Host", "evil.test")
		req.Header.Set("X-Forwarded-Proto", "http")
		rec := httptest.NewRecorder()
		r.mux.ServeHTTP(rec, req)
		u, _ := url.Parse(rec.Header().Get("Location"))
		if got := u.Query().Get("redirect_uri"); got != callback || strings.Contains(u.String(), "evil") {
			t.Errorf("redirect URI %q", got)
		}
	})
	t.Run("OIDC-31 parameter injection", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.AuthParams = map[string]string{"hd": "example.com"} })
		plain, _ := url.Parse(r.browser().start(""))
		u, _ := url.Parse(r.browser().start("?client_id=evil&redirect_uri=https://evil.test&scope=offline&prompt=none&response_mode=query" +
			"&state=s&nonce=n&response_type=token&acr_values=0&max_age=0&hd=evil&request=x&request_uri=x&id_token_hint=x&login_hint=ada%40example.com"))
		q, want := u.Query(), plain.Query()
		for name, values := range q {
			if len(values) != 1 {
				t.Errorf("%s: %q", name, values)
			}
			if !slices.Contains([]string{"state", "nonce", "code_challenge", "login_hint"}, name) && values[0] != want.Get(name) {
				t.Errorf("%s = %q", name, values[0])
			}
		}
		if q.Get("login_hint") != "ada@example.com" || q.Get("hd") != "example.com" || len(q) != len(want)+1 {
			t.Errorf("%v", q)
		}
	})
	t.Run("login_hint", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.LoginHint = "house" })
		for query, want := range map[string]string{
			"": "house", "?login_hint=ada": "ada", "?login_hint=": "house", "?login_hint=a&login_hint=b": "house",
			"?login_hint=a%0ab": "house", "?login_hint=%ff": "house", "?login_hint=" + strings.Repeat("a", 257): "house",
			"?login_hint=J%C3%BCrgen": "Jürgen", "?login_hint=ada&switch=1": "",
		} {
			u, _ := url.Parse(r.browser().start(query))
			if got := u.Query().Get("login_hint"); got != want {
				t.Errorf("%s: %q, want %q", query, got, want)
			}
		}
	})
	t.Run("OIDC-32 third-party start", func(t *testing.T) {
		r := newRig(t)
		for _, q := range []string{"?iss=https://evil.test", "?iss=http://127.0.0.1", "?iss=" + issuerURL + "/", "?iss=", "?iss=" + issuerURL + "&iss=x"} {
			r.refused(r.browser().get(gatewayURL+signInPath+q), 400)
		}
		b := r.browser()
		target := b.start("?iss=" + url.QueryEscape(issuerURL) + "&target_link_uri=https://evil.test/x&scope=offline_access")
		r.landed(b.deliver(b.authorize(target)), "/") // RED-19
		if strings.Contains(target, "offline_access") {
			t.Error("scope was taken from the link")
		}
	})
	t.Run("OIDC-42 other methods", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		for _, method := range []string{"HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "POST", "get"} {
			for _, target := range []string{d.url, gatewayURL + signInPath} {
				req, _ := http.NewRequestWithContext(t.Context(), method, target, nil)
				a := b.do(req)
				r.refused(a, 405)
				if a.header.Get("Allow") != "GET" {
					t.Errorf("Allow: %q", a.header.Get("Allow"))
				}
			}
		}
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("the code was redeemed")
		}
		r.landed(b.deliver(d), "/")
	})
	t.Run("OIDC-43 prefetch", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		held := len(b.attempts())
		for _, h := range [][2]string{
			{"Sec-Purpose", "prefetch"}, {"Sec-Purpose", "prefetch;prerender"}, {"Purpose", "prefetch"}, {"X-Moz", "prefetch"}, {"X-Purpose", "preview"},
		} {
			for _, target := range []string{gatewayURL + signInPath, d.url} {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
				req.Header.Set(h[0], h[1])
				r.refused(b.do(req), 204)
			}
		}
		if len(b.attempts()) != held {
			t.Error("an attempt was begun or spent")
		}
		r.landed(b.deliver(d), "/")
	})
	t.Run("RED-15 landing", func(t *testing.T) {
		r := newRig(t)
		for query, want := range map[string]string{
			"?rd=/ok&rd=//evil.test": "/", "?rd=//evil.test": "/", "?rd=https://evil.test": "/", "?rd=/%5Cevil.test": "/",
			"?rd=/a%0d%0aSet-Cookie:x": "/", "?rd=/ok?x=1%26y=2": "/ok?x=1&y=2", "?rd=/logout": "/", "?rd=" + callback: "/",
			"?rd=" + gatewayURL + "/in": "/in", "?rd=/%zz": "/", "?rd=/a//b": "/", "?rd=/a/../b": "/",
		} {
			b := r.browser()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, gatewayURL+signInPath+query, nil)
			req.Header.Set("X-Auth-Request-Redirect", "//evil.test")
			req.Header.Set("Referer", "https://evil.test")
			a := b.do(req)
			r.landed(b.deliver(b.authorize(a.location())), want)
		}
	})
	t.Run("RED-17 landing is cleaned when kept and when used", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("?rd=//evil.test"))
		kept, ok := r.o.openAttempt(b.attempts()[0])
		if !ok || kept.Landing != "/" {
			t.Errorf("kept %+v", kept)
		}
		kept.Landing = "//evil.test" // as from a gateway with other settings
		rec := httptest.NewRecorder()
		if err := r.o.keepAttempt(rec, httptest.NewRequest(http.MethodGet, "/", nil), kept); err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(gatewayURL)
		b.client.Jar.SetCookies(u, rec.Result().Cookies())
		r.landed(b.deliver(d), "/")
	})
	t.Run("RED-17 landing is what was kept", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("?rd=/kept")).set(func(q url.Values) { q.Set("rd", "/other") })
		r.landed(b.deliver(d), "/kept")
	})
}
