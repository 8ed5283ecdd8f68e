package oidc

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatehouse/authn/authntest"
)

// TestAttacksOnResponses: authorization responses in the wrong place or shape.
func TestAttacksOnResponses(t *testing.T) {
	t.Run("OIDC-18 form_post", func(t *testing.T) {
		r := newRig(t, implicit)
		b := r.browser()
		a := b.get(gatewayURL + signInPath)
		set := a.header.Get("Set-Cookie")
		for _, attribute := range []string{"SameSite=None", "Secure", "HttpOnly", "Path=/", "Max-Age=3600"} {
			if !strings.Contains(set, attribute) {
				t.Errorf("attempt cookie lacks %s: %s", attribute, set)
			}
		}
		if !strings.HasPrefix(set, "__Host-gatehouse_attempt_") || strings.Contains(set, "Domain") {
			t.Errorf("attempt cookie %s", set)
		}
		d := b.authorize(a.location())
		r.refused(r.browser().deliver(d), 400) // another browser
		r.landed(b.deliver(d), "/")
	})
	t.Run("SES-10 attempt cookie of the code flow", func(t *testing.T) {
		r := newRig(t)
		set := r.browser().get(gatewayURL + signInPath).header.Get("Set-Cookie")
		for _, attribute := range []string{"SameSite=Lax", "Secure", "HttpOnly", "Path=/", "Max-Age=3600"} {
			if !strings.Contains(set, attribute) {
				t.Errorf("attempt cookie lacks %s: %s", attribute, set)
			}
		}
	})
	t.Run("OIDC-19 response mode, code flow", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		r.refused(b.post(callback, d.params()), 405)
		for _, extra := range []string{"id_token", "access_token"} {
			r.refused(b.deliver(d.set(func(q url.Values) { q.Set(extra, "x") })), 400)
		}
		r.landed(b.deliver(d), "/")
	})
	t.Run("OIDC-19 response mode, implicit", func(t *testing.T) {
		r := newRig(t, implicit)
		b := r.browser()
		d := b.authorize(b.start(""))
		r.refused(b.get(callback+"?"+d.form.Encode()), 405)
		r.refused(b.post(callback+"?state="+d.form.Get("state"), d.form), 400)
		r.refused(b.deliver(d.set(func(q url.Values) { q.Set("code", "x") })), 400)
		d.form.Del("code")
		for _, media := range []string{"application/json", "multipart/form-data; boundary=x", "text/plain", "", "x-www-form-urlencoded"} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, callback, strings.NewReader(d.form.Encode()))
			req.Header.Set("Content-Type", media)
			r.refused(b.do(req), 415)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, callback, strings.NewReader(d.form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Content-Encoding", "gzip")
		r.refused(b.do(req), 415) // DOS-15
		req, _ = http.NewRequestWithContext(t.Context(), http.MethodPut, callback, strings.NewReader(d.form.Encode()))
		r.refused(b.do(req), 405)
		r.landed(b.deliver(d), "/")
	})
	t.Run("OIDC-20 duplicate parameters", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		for _, name := range []string{"state", "code", "iss"} {
			r.refused(b.deliver(d.set(func(q url.Values) { q.Add(name, "other") })), 400)
			r.refused(b.deliver(d.set(func(q url.Values) { q[name] = append([]string{"other"}, q[name]...) })), 400)
		}
		r.landed(b.deliver(d), "/")
		i := newRig(t, implicit)
		b = i.browser()
		d = b.authorize(b.start(""))
		for _, name := range []string{"state", "id_token", "iss"} {
			form := url.Values{}
			for k, v := range d.form {
				form[k] = slices.Clone(v)
			}
			form.Add(name, "other")
			i.refused(b.post(callback, form), 400)
		}
		i.landed(b.deliver(d), "/")
	})
	t.Run("OIDC-21 error and code together", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) { q.Set("error", "access_denied"); q.Set("unknown", "x") })
		a := b.deliver(d)
		r.refused(a, 400)
		if r.issuer.Calls(authntest.Token) != 0 || len(b.attempts()) != 0 {
			t.Error("the code was redeemed, or the attempt lives on")
		}
	})
	t.Run("OIDC-22 error text", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) {
			q.Set("error", "<script>alert(1)</script>")
			q.Set("error_description", "\"><img onerror=x>\r\n{\"level\":\"ERROR\"}\x1b[31m\u2028"+strings.Repeat("A", 5000))
			q.Set("error_uri", "javascript:alert(1)")
		})
		a := b.deliver(d)
		r.refused(a, 400)
		for _, bad := range []string{"<script>alert", "onerror", "javascript:", "AAAA"} {
			if strings.Contains(a.body, bad) {
				t.Errorf("page holds %q", bad)
			}
		}
		if a.header.Get("Content-Security-Policy") == "" {
			t.Error("no content security policy")
		}
		line := r.log.String()
		if strings.ContainsAny(line, "\x1b\r") || strings.Contains(line, "\u2028") || len(line) > 3000 || !strings.Contains(line, "onerror") {
			t.Errorf("OPS-10: log %q", line)
		}
	})
	t.Run("OIDC-23 access token only", func(t *testing.T) {
		r := newRig(t, implicit)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) { q.Del("id_token"); q.Set("access_token", "x") })
		r.refused(b.deliver(d), 400)
		r.logged("no ID token")
	})
	t.Run("OIDC-34 prompt none fails", func(t *testing.T) {
		for _, code := range []string{"login_required", "interaction_required", "consent_required", "account_selection_required"} {
			r := newRig(t, func(s *setup) { s.oidc.Prompt = "none" })
			b := r.browser()
			target := b.start("?rd=/x")
			if !strings.Contains(target, "prompt=none") {
				t.Fatal(target)
			}
			d := b.authorize(target).set(func(q url.Values) { q.Del("code"); q.Set("error", code) })
			a := b.deliver(d)
			r.refused(a, 400)
			if a.location() != "" || a.header.Get("Refresh") != "" || !strings.Contains(a.body, "/.gatehouse/sign-in/main?rd=%2Fx&amp;switch=1") {
				t.Errorf("%s: %s", code, a.body)
			}
			if again := b.start("?rd=/x&switch=1"); !strings.Contains(again, "prompt=select_account") {
				t.Errorf("the link does not ask: %s", again)
			}
		}
	})
	t.Run("error that passes", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("?rd=/x")).set(func(q url.Values) { q.Set("error", "temporarily_unavailable") })
		a := b.deliver(d)
		r.refused(a, 503)
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
	t.Run("form-post-error", func(t *testing.T) {
		r := newRig(t, implicit)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) { q.Del("id_token"); q.Set("error", "access_denied") })
		r.refused(b.deliver(d), 400)
		r.logged("access_denied")
	})
	t.Run("DOS-05 large form", func(t *testing.T) {
		r := newRig(t, implicit)
		b := r.browser()
		r.refused(b.post(callback, url.Values{"id_token": {strings.Repeat("a", maxForm)}}), 413)
	})
	t.Run("DOS-02 slow form", func(t *testing.T) {
		r := newRig(t, implicit)
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequest(http.MethodPost, "/oidc/callback", iotest.ErrReader(os.ErrDeadlineExceeded))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.mux.ServeHTTP(w, req)
		if w.Code != 408 || len(w.set) != 1 || time.Until(w.set[0]) > formTime {
			t.Errorf("status %d, read deadlines %v", w.Code, w.set)
		}
		w = &deadlined{ResponseRecorder: httptest.NewRecorder()}
		req = httptest.NewRequest(http.MethodPost, "/oidc/callback", strings.NewReader("state=x"))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.mux.ServeHTTP(w, req)
		if len(w.set) != 2 || !w.set[1].IsZero() {
			t.Errorf("read deadlines %v", w.set)
		}
	})
	t.Run("DOS-07 many parameters", func(t *testing.T) {
		r := newRig(t, implicit)
		b := r.browser()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, callback, strings.NewReader(strings.Repeat("a&", 100_000)))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.refused(b.do(req), 400)
	})
}

// deadlined notes the read deadlines that a handler sets.
type deadlined struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}
