package oidc

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
)

// TestTokenEndpoint: a token endpoint that answers nonsense, or nothing.
func TestTokenEndpoint(t *testing.T) {
	token := func(edit func(map[string]any)) authntest.Fault { return authntest.EditJSON(edit) }
	for name, c := range map[string]struct {
		fault  authntest.Fault
		status int
		log    string
	}{
		"error with 200":   {authntest.Reply(200, "application/json", `{"error":"invalid_grant"}`), 400, "invalid_grant"},
		"HTML":             {authntest.Reply(200, "text/html", "<html>hello</html>"), 400, "not a JSON document"},
		"form":             {authntest.Reply(200, "application/x-www-form-urlencoded", "access_token=a&token_type=bearer"), 400, "not a JSON document"},
		"empty":            {authntest.Reply(200, "application/json", ""), 400, "not a JSON document"},
		"two documents":    {authntest.Reply(200, "application/json", `{"access_token":"a"}{}`), 400, "not exactly one value"},
		"no ID token":      {token(func(d map[string]any) { delete(d, "id_token") }), 400, "no ID token"},
		"ID token number":  {token(func(d map[string]any) { d["id_token"] = 7 }), 400, "not a string"},
		"no access token":  {token(func(d map[string]any) { delete(d, "access_token") }), 400, "access_token"},
		"token type MAC":   {token(func(d map[string]any) { d["token_type"] = "MAC" }), 400, "token type"},
		"no token type":    {token(func(d map[string]any) { delete(d, "token_type") }), 400, "token type"},
		"10 MB":            {authntest.Pad(10 << 20), 400, "larger than"},
		"truncated":        {authntest.Truncate, 400, "not a JSON document"},
		"duplicate names":  {authntest.Duplicate, 400, "duplicate"},
		"deep":             {authntest.Reply(200, "application/json", `{"a":`+strings.Repeat("[", 10000)+strings.Repeat("]", 10000)+"}"), 400, "nests deeper"},
		"refused":          {authntest.Refuse("invalid_grant"), 400, "invalid_grant"},
		"refused oddly":    {authntest.Reply(400, "text/html", "<h1>secret internals</h1>"), 400, "answered 400"},
		"not our client":   {authntest.Refuse("invalid_client"), 502, "see the client settings"},
		"401":              {authntest.Reply(401, "text/plain", "no"), 502, "see the client settings"},
		"503":              {authntest.Unavailable, 503, "answered 503"},
		"429":              {authntest.Reply(429, "text/plain", "slow down"), 503, "answered 429"},
		"server_error":     {authntest.Refuse("server_error"), 503, "server_error"},
		"hangs up":         {authntest.Hangup, 503, "could not find out"},
		"307":              {authntest.SendTo(307, "https://evil.test/token"), 400, "answered 307"},
		"302":              {authntest.SendTo(302, "https://evil.test/token"), 400, "answered 302"},
		"ID token garbage": {token(func(d map[string]any) { d["id_token"] = "a.b" }), 400, "compact form"},
	} {
		id := "OIDC-26 "
		if strings.HasPrefix(name, "30") {
			id = "OIDC-27 "
		}
		t.Run(id+name, func(t *testing.T) {
			r := newRig(t)
			evil := 0
			r.hosts["evil.test"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil++ })
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Token] = c.fault })
			b := r.browser()
			a := b.signIn("?rd=/x")
			r.refused(a, c.status)
			r.logged(c.log)
			if evil != 0 || r.issuer.Calls(authntest.Token) != 1 || len(b.attempts()) != 0 {
				t.Errorf("%d requests elsewhere, %d here, %d attempts left", evil, r.issuer.Calls(authntest.Token), len(b.attempts()))
			}
			if strings.Contains(a.body, "internals") || strings.Contains(r.log.String(), "internals") {
				t.Error("SSRF-15: the body was told")
			}
			if c.status == 503 && a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	for name, fault := range map[string]authntest.Fault{
		"silent": authntest.Delay(time.Hour), "drips": authntest.Drip(time.Minute),
	} {
		t.Run("OIDC-26 "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Token] = fault })
				began := time.Now()
				r.refused(r.browser().signIn(""), 503)
				if took := time.Since(began); took > issuer.CallTime+time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
	t.Run("OIDC-28 client secret encoding", func(t *testing.T) {
		const secret = "a:b%+ ü"
		r := newRig(t, func(s *setup) {
			s.oidc.ClientSecret = secret
			s.issuer.Clients[0].Secret = secret
		})
		r.landed(r.browser().signIn(""), "/")
		plain, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.issuer.Last(authntest.Token).Header.Get("Authorization"), "Basic "))
		if err != nil || string(plain) != "gw:a%3Ab%25%2B+%C3%BC" {
			t.Errorf("%s %v", plain, err)
		}
	})
}

// TestRepeatedSecrets: LOG-01, a provider that repeats what it refuses does not bring it
// into the log.
func TestRepeatedSecrets(t *testing.T) {
	var sent []string
	repeat := authntest.Instead(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		var now []string
		for _, name := range []string{"code", "code_verifier", "refresh_token", "client_secret", "client_assertion"} {
			if s := r.PostForm.Get(name); s != "" {
				now = append(now, s)
			}
		}
		if _, s, ok := r.BasicAuth(); ok {
			now = append(now, s)
		}
		sent = append(sent, now...)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_scope","error_description":"Invalid: ` + strings.Join(now, " ") + `"}`))
	}))
	for name, change := range map[string]func(*setup){
		"basic": func(*setup) {}, "post": func(s *setup) { s.oidc.ClientAuth = "post" }, "none": public,
	} {
		t.Run(name, func(t *testing.T) {
			sent = nil
			r, p := signedIn(t, change)
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Token] = repeat })
			_, err := r.route.Renew(t.Context(), p)
			r.browser().signIn("")
			all := r.log.String() + fmt.Sprint(err)
			if len(sent) < 3 || !strings.Contains(all, "Invalid: [secret]") {
				t.Errorf("sent %d secrets; %s", len(sent), all)
			}
			for _, s := range sent {
				if strings.Contains(all, s) {
					t.Errorf("%q is told", s)
				}
			}
		})
	}
}
