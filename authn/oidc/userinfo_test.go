package oidc

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
)

// TestUserinfo: when it is asked, and what it may not say.
func TestUserinfo(t *testing.T) {
	thin := func(s *setup) { s.issuer.ThinIDTokens = true }
	t.Run("asked for what is missing", func(t *testing.T) {
		r := newRig(t, thin)
		r.landed(r.browser().signIn(""), "/")
		got := r.starts.last(t).Identity
		if got.Username != "ada" || got.Email != "ada@example.com" || len(got.Groups) != 2 {
			t.Errorf("%+v", got)
		}
		last := r.issuer.Last(authntest.Userinfo)
		if last.Method != http.MethodGet || !strings.HasPrefix(last.Header.Get("Authorization"), "Bearer ") || last.URL.RawQuery != "" {
			t.Errorf("userinfo-bearer-header: %s %v", last.Method, last.URL)
		}
	})
	t.Run("not asked when nothing is missing", func(t *testing.T) {
		r := newRig(t)
		r.landed(r.browser().signIn(""), "/")
		if n := r.issuer.Calls(authntest.Userinfo); n != 0 {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("always", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.oidc.Userinfo = "always" })
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Userinfo] = authntest.EditJSON(func(d map[string]any) { d["groups"] = []string{"fresh"} })
		})
		r.landed(r.browser().signIn(""), "/")
		if got := r.starts.last(t).Identity.Groups; len(got) != 1 || got[0] != "fresh" {
			t.Errorf("groups %q", got)
		}
	})
	t.Run("always without an access token", func(t *testing.T) {
		r := newRig(t, implicit, func(s *setup) { s.oidc.Userinfo = "always" })
		r.refused(r.browser().signIn(""), 400)
		r.logged("no access token to ask with")
	})
	t.Run("never", func(t *testing.T) {
		r := newRig(t, thin, func(s *setup) { s.oidc.Userinfo = "never" })
		r.landed(r.browser().signIn(""), "/")
		if n := r.issuer.Calls(authntest.Userinfo); n != 0 || r.starts.last(t).Identity.Username != "" {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("userinfo-signed", func(t *testing.T) {
		r := newRig(t, thin, func(s *setup) { s.issuer.SignedUserinfo = true })
		r.landed(r.browser().signIn(""), "/")
		if got := r.starts.last(t).Identity.Username; got != "ada" {
			t.Errorf("username %q", got)
		}
	})
	for name, fault := range map[string]func(*authntest.Faults){
		"corrupt":  func(f *authntest.Faults) { f.Signature = authntest.Corrupt },
		"unsigned": func(f *authntest.Faults) { f.Signature = authntest.Unsigned },
		"other typ": func(f *authntest.Faults) {
			f.Header = func(_ authntest.Answer, h map[string]any) { h["typ"] = "at+jwt" }
		},
		"other aud": func(f *authntest.Faults) { f.Claims = func(_ authntest.Answer, c map[string]any) { c["aud"] = "evil" } },
		"not JSON":  func(f *authntest.Faults) { f.Payload = func(authntest.Answer, []byte) []byte { return []byte("x") } },
	} {
		t.Run("OIDC-39 signed userinfo "+name, func(t *testing.T) {
			r := newRig(t, thin, func(s *setup) { s.issuer.SignedUserinfo = true })
			r.issuer.Set(func(f *authntest.Faults) {
				var wrong authntest.Faults
				fault(&wrong)
				// Only userinfo lies: the ID token would be refused first.
				*f = authntest.Faults{Compact: onlyUserinfo(t, wrong)}
				f.At = map[authntest.Endpoint]authntest.Fault{}
			})
			r.refused(r.browser().signIn(""), 400)
			r.logged("userinfo: ")
		})
	}
	edit := func(f func(map[string]any)) authntest.Fault { return authntest.EditJSON(f) }
	for name, c := range map[string]struct {
		fault  authntest.Fault
		status int
	}{
		"userinfo-invalid-sub": {edit(func(d map[string]any) { d["sub"] = "1002" }), 400},
		"sub missing":          {edit(func(d map[string]any) { delete(d, "sub") }), 400},
		"sub number":           {edit(func(d map[string]any) { d["sub"] = 1001 }), 400},
		"sub null":             {edit(func(d map[string]any) { d["sub"] = nil }), 400},
		"array":                {authntest.Reply(200, "application/json", `[{"sub":"1001"}]`), 400},
		"HTML":                 {authntest.Reply(200, "text/html", "<html></html>"), 400},
		"duplicate names":      {authntest.Duplicate, 400},
		"unsigned JWT":         {authntest.Reply(200, "application/jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMDAxIn0."), 400},
		"JWT of nothing":       {authntest.Reply(200, "application/jwt", "hello"), 400},
		"401":                  {authntest.Reply(401, "text/plain", ""), 400},
		"404":                  {authntest.Reply(404, "text/plain", ""), 400},
		"redirect":             {authntest.SendTo(302, "https://evil.test"), 400},
		"503":                  {authntest.Unavailable, 503},
		"hangs up":             {authntest.Hangup, 503},
		"10 MB":                {authntest.Pad(10 << 20), 400},
	} {
		t.Run("OIDC-39 userinfo "+name, func(t *testing.T) {
			r := newRig(t, thin)
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Userinfo] = c.fault })
			r.refused(r.browser().signIn(""), c.status)
			r.logged("userinfo: ")
			if r.seen("evil.test") != 0 {
				t.Error("SSRF-08: a redirect was followed")
			}
		})
	}
	t.Run("OIDC-45 aggregated and distributed claims", func(t *testing.T) {
		r := newRig(t)
		fetched := 0
		r.hosts["internal.test"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched++ })
		extra := map[string]any{
			"_claim_names": map[string]any{"email": "src1", "preferred_username": "src2"},
			"_claim_sources": map[string]any{
				"src1": map[string]any{"endpoint": "https://internal.test/claims", "access_token": "t"},
				"src2": map[string]any{"JWT": "eyJhbGciOiJub25lIn0.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJyb290In0."},
			},
		}
		r.issuer.Set(claim("", "", func(c map[string]any) {
			maps.Copy(c, extra)
			delete(c, "email")
			delete(c, "preferred_username")
		}).fault)
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Userinfo] = edit(func(d map[string]any) {
				maps.Copy(d, extra)
				delete(d, "email")
				delete(d, "preferred_username")
			})
		})
		r.landed(r.browser().signIn(""), "/")
		if got := r.starts.last(t).Identity; fetched != 0 || got.Email != "" || got.Username != "" {
			t.Errorf("fetched %d times: %+v", fetched, got)
		}
	})
}
