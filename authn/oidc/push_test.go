package oidc

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
)

// insists is a provider that takes pushed requests alone.
func insists(s *setup) { s.issuer.RequirePushed = true }

// TestPush: RFC 9126, the browser carries but the name of a request.
func TestPush(t *testing.T) {
	for name, change := range provings(t) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, insists, change)
			b := r.browser()
			to := b.start("?rd=/deep&login_hint=ada")
			u, err := url.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			if len(q) != 2 || q.Get("client_id") != "gw" || q.Get("request_uri") == "" {
				t.Errorf("the browser carries %v", q)
			}
			form := r.issuer.Last(authntest.Push).PostForm
			for _, name := range []string{"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "login_hint"} {
				if len(form[name]) != 1 || form.Get(name) == "" {
					t.Errorf("pushed %s = %q", name, form[name])
				}
			}
			r.landed(b.deliver(b.authorize(to)), "/deep")
		})
	}
	t.Run("implicit", func(t *testing.T) {
		r := newRig(t, implicit, insists)
		r.landed(r.browser().signIn(""), "/")
	})
	for name, c := range map[string]struct {
		setting string
		pushed  int
	}{"as the provider wants": {"", 0}, "always": {"always", 1}, "never": {"never", 0}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(s *setup) { s.oidc.PushedAuthorization = c.setting })
			r.landed(r.browser().signIn(""), "/")
			if n := r.issuer.Calls(authntest.Push); n != c.pushed {
				t.Errorf("%d requests were pushed", n)
			}
		})
	}
	t.Run("an endpoint with a query of its own", func(t *testing.T) {
		r := newRig(t, insists, func(s *setup) {
			s.faults = editDiscovery(func(d map[string]any) {
				d["authorization_endpoint"] = d["authorization_endpoint"].(string) + "?p=policy"
			})
		})
		u, err := url.Parse(r.browser().start(""))
		if err != nil || len(u.Query()) != 3 || u.Query().Get("p") != "policy" || r.issuer.Last(authntest.Push).PostForm.Has("p") {
			t.Errorf("%v, %v", u, err)
		}
	})
}

// TestPushFails: without a pushed request nothing begins.
func TestPushFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault  authntest.Fault
		status int
		log    string
	}{
		"down":            {authntest.Unavailable, 503, "answered 503"},
		"gone":            {authntest.Hangup, 503, "push authorization request"},
		"busy":            {authntest.Reply(429, "application/json", `{"error":"slow_down"}`), 503, "slow_down"},
		"refused":         {authntest.Refuse("invalid_request"), 502, "invalid_request"},
		"a page":          {authntest.Reply(404, "text/html", "<html>internals"), 502, "404"},
		"HTML":            {authntest.Reply(200, "text/html", "<html>internals"), 502, "not a JSON document"},
		"no name":         {authntest.Reply(201, "application/json", `{"expires_in":60}`), 502, "no request_uri"},
		"too long a name": {authntest.Reply(201, "application/json", `{"request_uri":"`+strings.Repeat("x", 5000)+`"}`), 502, "too long"},
		"not a text":      {authntest.Reply(201, "application/json", `{"request_uri":7}`), 502, "request_uri"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, insists)
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Push] = c.fault })
			b := r.browser()
			a := b.get(gatewayURL + signInPath)
			r.refused(a, c.status)
			r.logged(c.log)
			if (a.header.Get("Retry-After") != "") != (c.status == 503) || len(b.attempts()) != 0 {
				t.Errorf("%v, and %d attempts", a.header, len(b.attempts()))
			}
			if strings.Contains(a.body+r.log.String(), "internals") {
				t.Error("the body was told")
			}
		})
	}
	t.Run("what it repeats", func(t *testing.T) {
		r := newRig(t, insists, func(s *setup) { s.oidc.ClientAuth = "post" })
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Push] = authntest.Instead(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"not ` + r.PostForm.Get("client_secret") + " for " + r.PostForm.Get("state") + `"}`))
			}))
		})
		r.refused(r.browser().get(gatewayURL+signInPath), 502)
		r.logged("not [secret] for [secret]")
	})
	t.Run("too many at once", func(t *testing.T) {
		r := newRig(t, insists)
		for range pushesAtOnce {
			r.o.pushing <- struct{}{}
		}
		r.refused(r.browser().get(gatewayURL+signInPath), 503)
		<-r.o.pushing
		r.landed(r.browser().signIn(""), "/")
	})
	t.Run("nowhere to push to", func(t *testing.T) {
		r := newRig(t, insists, func(s *setup) {
			s.faults = editDiscovery(func(d map[string]any) { delete(d, "pushed_authorization_request_endpoint") })
		})
		r.refused(r.browser().get(gatewayURL+signInPath), 503)
		r.logged("pushed_authorization_request_endpoint")
	})
}

// TestPushCheck: a check says whether the provider takes requests.
func TestPushCheck(t *testing.T) {
	for name, c := range map[string]struct {
		redirect string
		good     bool
	}{"registered": {callback, true}, "not registered": {gatewayURL + "/elsewhere", false}} {
		r := newRig(t, insists)
		k := &checker{settings: r.o.settings, here: Addresses{Redirect: c.redirect}, client: r.o.client}
		m, says, ok := k.checkDiscovery(t.Context())
		if !ok {
			t.Fatal(k.findings)
		}
		k.checkClient(t.Context(), m, says)
		i := slices.IndexFunc(k.findings, func(f authn.Finding) bool { return f.What == "pushed authorization request" })
		if i < 0 || k.findings[i].OK != c.good {
			t.Errorf("%s: %+v", name, k.findings)
		}
	}
}
