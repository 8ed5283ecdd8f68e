package oidc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/session"
)

// TestAttacksOnState: answers that were not asked for, or not by this browser.
func TestAttacksOnState(t *testing.T) {
	t.Run("OIDC-01 state missing", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) { q.Del("state") })
		r.refused(b.deliver(d), 400)
		r.refused(b.get(callback+"?code=good"), 400)
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
	})
	t.Run("OIDC-02 state unknown", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("")).set(func(q url.Values) { q.Set("state", random()) })
		r.refused(b.deliver(d), 400)
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
	})
	t.Run("OIDC-03 state replay", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		held := b.start("?rd=/x")
		attempts := b.attempts()
		d := b.authorize(held)
		r.landed(b.deliver(d), "/x")
		if a := b.deliver(d); a.status != 400 || a.location() != "" {
			t.Errorf("replay without its cookie: %d %s", a.status, a.location())
		}
		u, _ := url.Parse(gatewayURL)
		b.client.Jar.SetCookies(u, attempts) // a browser that kept its cookie
		a := b.deliver(d)
		if a.status != 400 || !strings.Contains(a.body, `href="/x"`) || a.location() != "" {
			t.Errorf("replay with its cookie: %d %s", a.status, a.body)
		}
		if n := r.starts.count(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		if n := r.issuer.Calls(authntest.Token); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("OIDC-04 state of another browser", func(t *testing.T) {
		r := newRig(t)
		attacker, victim := r.browser(), r.browser()
		d := attacker.authorize(attacker.start(""))
		r.refused(victim.deliver(d), 400)
		victim.start("") // with an attempt of its own
		r.refused(victim.deliver(d), 400)
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
	})
	t.Run("OIDC-05 callback out of nowhere", func(t *testing.T) {
		r := newRig(t)
		for _, q := range []string{"", "?", "?state=", "?code=", "?error=x", "?state=%00&code=%ff", "?%zz", "?state=" + strings.Repeat("a", 9000)} {
			r.refused(r.browser().get(callback+q), 400)
		}
		i := newRig(t, implicit)
		i.refused(i.browser().post(callback, nil), 400)
		i.refused(i.browser().post(callback, url.Values{"state": {""}, "id_token": {""}}), 400)
	})
	t.Run("OIDC-16 somebody else's sign-in", func(t *testing.T) {
		r := newRig(t)
		attacker, victim := r.browser(), r.browser()
		target := attacker.start("")
		d := victim.authorize(target) // the victim follows the attacker's link
		r.refused(victim.deliver(d), 400)
	})
	t.Run("OIDC-48 no step can be skipped", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		r.refused(b.get(callback), 400)
		r.refused(b.post(callback, nil), 405)
		r.refused(b.post(gatewayURL+signInPath, nil), 405)
		if len(b.attempts()) != 0 {
			t.Error("an attempt was begun")
		}
	})
	t.Run("SES-04 another cookie as attempt", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		other := r.deps.Keys.Sealer("session")
		c := b.attempts()[0]
		plain, err := r.o.sealer.Open(c.Name, c.Value)
		if err != nil {
			t.Fatal(err)
		}
		for name, seal := range map[string]func() (string, error){
			"purpose": func() (string, error) { return other.Seal(c.Name, plain) },
			"name":    func() (string, error) { return r.o.sealer.Seal(c.Name+"0", plain) },
			"key": func() (string, error) {
				return session.RandomKeyring(gatewayURL).Sealer("oidc attempt").Seal(c.Name, plain)
			},
			"empty": func() (string, error) { return r.o.sealer.Seal(c.Name, []byte("{}")) },
			"null":  func() (string, error) { return r.o.sealer.Seal(c.Name, []byte("null")) },
			"text":  func() (string, error) { return "x", nil },
		} {
			value, err := seal()
			if err != nil {
				t.Fatal(name, err)
			}
			u, _ := url.Parse(gatewayURL)
			b.client.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: value, Path: "/", Secure: true}})
			r.refused(b.deliver(d), 400)
		}
	})
	t.Run("SES-11 planted cookie of the same name", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		c := b.attempts()[0]
		req := httptest.NewRequest(http.MethodGet, d.url, nil)
		req.Header.Set("Cookie", c.Name+"=planted; "+c.Name+"="+c.Value)
		rec := httptest.NewRecorder()
		r.mux.ServeHTTP(rec, req)
		if rec.Code != http.StatusSeeOther {
			t.Errorf("status %d", rec.Code)
		}
	})
}

// TestAttacksOnBinding: codes and tokens that belong to another attempt.
func TestAttacksOnBinding(t *testing.T) {
	t.Run("OIDC-07 cross-tab substitution", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		one, two := b.authorize(b.start("?rd=/1")), b.authorize(b.start("?rd=/2"))
		code := one.params().Get("code")
		r.refused(b.deliver(two.set(func(q url.Values) { q.Set("code", code) })), 400)
	})
	t.Run("several tabs at once", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		one, two, three := b.authorize(b.start("?rd=/1")), b.authorize(b.start("?rd=/2")), b.authorize(b.start("?rd=/3"))
		r.landed(b.deliver(two), "/2")
		r.landed(b.deliver(three), "/3")
		r.landed(b.deliver(one), "/1")
	})
	t.Run("OIDC-09 PKCE S256 always", func(t *testing.T) {
		r := newRig(t)
		seen := map[string]bool{}
		for range 100 {
			u, _ := url.Parse(r.browser().start(""))
			q := u.Query()
			challenge := q.Get("code_challenge")
			if q.Get("code_challenge_method") != "S256" || len(challenge) != 43 || seen[challenge] ||
				len(q.Get("state")) != 43 || len(q.Get("nonce")) != 43 || q.Has("code_verifier") {
				t.Fatalf("authorization request %v", q)
			}
			seen[challenge] = true
		}
		b := r.browser()
		r.landed(b.signIn(""), "/")
		verifier := r.issuer.Last(authntest.Token).PostForm.Get("code_verifier")
		if len(verifier) != 43 || strings.Contains(r.log.String(), verifier) {
			t.Errorf("verifier %q", verifier)
		}
	})
	t.Run("OIDC-10 PKCE downgrade", func(t *testing.T) {
		for _, methods := range []any{nil, []string{"plain"}, []string{}} {
			r := newRig(t)
			r.issuer.Set(func(f *authntest.Faults) {
				f.At[authntest.Discovery] = authntest.EditJSON(func(doc map[string]any) {
					doc["code_challenge_methods_supported"] = methods
				})
			})
			u, _ := url.Parse(r.browser().start("?code_challenge_method=plain&code_challenge=x"))
			q := u.Query()
			if !slices.Equal(q["code_challenge_method"], []string{"S256"}) || len(q["code_challenge"]) != 1 || q.Get("code_challenge") == "x" {
				t.Errorf("%v: %v", methods, q)
			}
		}
	})
	t.Run("OIDC-11 code injection", func(t *testing.T) {
		r := newRig(t)
		attacker, victim := r.browser(), r.browser()
		code := attacker.authorize(attacker.start("")).params().Get("code")
		d := victim.authorize(victim.start("")).set(func(q url.Values) { q.Set("code", code) })
		r.refused(victim.deliver(d), 400)
		r.logged("invalid_grant")
	})
	t.Run("OIDC-12 code replay at once", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start(""))
		c := b.attempts()[0]
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for range 20 {
			wg.Go(func() {
				req := httptest.NewRequest(http.MethodGet, d.url, nil)
				req.AddCookie(c)
				rec := httptest.NewRecorder()
				r.mux.ServeHTTP(rec, req)
				mu.Lock()
				defer mu.Unlock()
				codes[rec.Code]++
			})
		}
		wg.Wait()
		if codes[303] != 1 || codes[400] != 19 || r.starts.count() != 1 || r.issuer.Calls(authntest.Token) != 1 {
			t.Errorf("answers %v, %d sessions, %d token requests", codes, r.starts.count(), r.issuer.Calls(authntest.Token))
		}
	})
	t.Run("OIDC-25 ID token of another sign-in", func(t *testing.T) {
		r := newRig(t, implicit)
		attacker, victim := r.browser(), r.browser()
		stolen := victim.authorize(victim.start("")).params().Get("id_token")
		d := attacker.authorize(attacker.start("")).set(func(q url.Values) { q.Set("id_token", stolen) })
		r.refused(attacker.deliver(d), 400)
		r.logged("nonce is not the attempt's")
	})
}

// TestAttacksByMixUp: answers of another provider, or meant for another route.
func TestAttacksByMixUp(t *testing.T) {
	for name, change := range map[string]func(url.Values){
		"another":        func(q url.Values) { q.Set("iss", "https://other.test") },
		"none":           func(q url.Values) { q.Del("iss") },
		"empty":          func(q url.Values) { q.Set("iss", "") },
		"trailing slash": func(q url.Values) { q.Set("iss", issuerURL+"/") },
		"upper case":     func(q url.Values) { q.Set("iss", "https://IDP.test") },
		"two":            func(q url.Values) { q.Add("iss", issuerURL) },
	} {
		t.Run("OIDC-13 iss "+name, func(t *testing.T) {
			r := newRig(t)
			b := r.browser()
			good := b.authorize(b.start("?rd=/x"))
			r.refused(b.deliver(good.set(change)), 400)
			if r.issuer.Calls(authntest.Token) != 0 {
				t.Error("a code was redeemed")
			}
			r.landed(b.deliver(good), "/x") // nobody else can use up the attempt
		})
	}
	t.Run("OIDC-13 no iss where none is promised", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.issuer.NoIssParameter = true })
		r.landed(r.browser().signIn(""), "/")
		b := r.browser()
		a := b.deliver(b.authorize(b.start("")).set(func(q url.Values) { q.Set("iss", "https://other.test") }))
		if a.status != 400 {
			t.Errorf("status %d", a.status)
		}
	})

	// two makes a second route and provider at the same gateway.
	two := func(t *testing.T) (*rig, *authntest.Issuer) {
		r := newRig(t, func(s *setup) { s.issuer.NoIssParameter = true })
		other := authntest.NewIssuer(authntest.IssuerOptions{
			URL: "https://other.test", People: []authntest.Person{ada()}, NoIssParameter: true, Keys: []authntest.Key{es256()},
			Clients: []authntest.Client{{ID: "gw", RedirectURIs: []string{callback + "/other", callback}}},
		})
		other.AutoLogin("1001")
		r.hosts["other.test"] = other
		d := r.deps
		d.CallbackPath = "/oidc/callback/other"
		o := r.add("other", config.OIDC{Issuer: "https://other.test", ClientID: "gw", SubjectPrefix: "other:"}, d)
		o.route("").Mount(r.mux)
		return r, other
	}
	t.Run("OIDC-14 the code goes to its own issuer", func(t *testing.T) {
		r, other := two(t)
		b := r.browser()
		a := b.get(gatewayURL + "/.gatehouse/sign-in/other?rd=/o")
		d := b.authorize(a.location())
		if !strings.HasPrefix(d.url, callback+"/other?") {
			t.Fatalf("delivered to %s", d.url)
		}
		r.landed(b.deliver(d), "/o")
		if r.issuer.Calls(authntest.Token) != 0 || other.Calls(authntest.Token) != 1 {
			t.Error("the code went elsewhere")
		}
		if got := r.starts.last(t).Identity; got.Subject != "other:1001" || got.Issuer != "https://other.test" || got.Route != "other" {
			t.Errorf("IDT-08: %+v", got)
		}
	})
	t.Run("OIDC-15 an answer for another route", func(t *testing.T) {
		r, other := two(t)
		b := r.browser()
		mine := b.authorize(b.start(""))
		theirs := b.authorize(b.get(gatewayURL + "/.gatehouse/sign-in/other").location())
		_, query, _ := strings.Cut(theirs.url, "?")
		r.refused(b.get(callback+"?"+query), 400)
		_, query, _ = strings.Cut(mine.url, "?")
		r.refused(b.get(callback+"/other?"+query), 400)
		if r.issuer.Calls(authntest.Token)+other.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
	})
	t.Run("OIDC-15 two routes at one provider", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.issuer.NoIssParameter = true })
		r.issuer.SetClient(authntest.Client{ID: "gw2", RedirectURIs: []string{callback + "/two"}})
		d := r.deps
		d.CallbackPath = "/oidc/callback/two"
		r.add("two", config.OIDC{Issuer: issuerURL, ClientID: "gw2", SubjectPrefix: "two:"}, d).route("").Mount(r.mux)
		b := r.browser()
		_, query, _ := strings.Cut(b.authorize(b.start("")).url, "?")
		r.refused(b.get(callback+"/two?"+query), 400)
		if r.issuer.Calls(authntest.Token) != 0 {
			t.Error("a code was redeemed")
		}
		r.landed(b.get(callback+"?"+query), "/")
	})
	t.Run("OIDC-30 metadata swapped under way", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		d := b.authorize(b.start("?rd=/x"))
		evil := 0
		r.hosts["evil.test"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil++ })
		r.issuer.Set(func(f *authntest.Faults) {
			f.At[authntest.Discovery] = authntest.EditJSON(func(doc map[string]any) { doc["token_endpoint"] = "https://evil.test/token" })
		})
		if _, err := r.o.provider.discover(); err != nil {
			t.Fatal(err)
		}
		r.refused(b.deliver(d), 400)
		if evil != 0 {
			t.Error("the code went elsewhere")
		}
		r.logged("moved")
	})
}

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
		if w.Code != 400 || len(w.set) != 2 || time.Until(w.set[0]) > formTime || !w.set[1].IsZero() {
			t.Errorf("status %d, read deadlines %v", w.Code, w.set)
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

// TestAttempts: how many there may be, and for how long.
func TestAttempts(t *testing.T) {
	t.Run("OIDC-35 flood", func(t *testing.T) {
		store := &countingStore{Store: session.NewMemory()}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		for range 1000 {
			r.browser().start("")
		}
		if store.adds != 0 {
			t.Errorf("%d keys were stored", store.adds)
		}
		r.landed(r.browser().signIn(""), "/")
	})
	t.Run("OIDC-36 pile-up", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		long := "?rd=/" + strings.Repeat("x", 1900)
		for i := range 200 {
			query := ""
			if i%3 == 0 {
				query = long
			}
			b.start(query)
			size, cookies := 0, b.attempts()
			for _, c := range cookies {
				size += len(c.Name) + len(c.Value) + 3
			}
			if len(cookies) > maxAttempts || size > 8<<10 || len(cookies) == 0 {
				t.Fatalf("%d attempts in %d bytes after %d starts", len(cookies), size, i+1)
			}
		}
		r.landed(b.signIn(long), long[4:])
	})
	t.Run("the oldest go first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			b := r.browser()
			var ds []delivery
			for i := range 6 {
				ds = append(ds, b.authorize(b.start(fmt.Sprintf("?rd=/%d", i))))
				time.Sleep(2 * time.Second)
			}
			r.refused(b.deliver(ds[0]), 400)
			for i, d := range ds[1:] {
				r.landed(b.deliver(d), fmt.Sprintf("/%d", i+1))
			}
		})
	})
	t.Run("unreadable ones go", func(t *testing.T) {
		r := newRig(t)
		b := r.browser()
		u, _ := url.Parse(gatewayURL)
		for i := range 30 {
			b.client.Jar.SetCookies(u, []*http.Cookie{{Name: fmt.Sprintf("__Host-gatehouse_attempt_%d", i), Value: "old", Path: "/", Secure: true}})
		}
		a := b.get(gatewayURL + signInPath)
		if n := len(a.header.Values("Set-Cookie")); n != maxExpired+1 {
			t.Errorf("%d cookies were set", n)
		}
		b.start("")
		if n := len(b.attempts()); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("late answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			b := r.browser()
			d := b.authorize(b.start("?rd=/far/away"))
			time.Sleep(attemptTime + time.Second)
			a := b.deliver(d)
			r.refused(a, 400)
			if a.location() != "" || a.header.Get("Refresh") != "" || !strings.Contains(a.body, "/.gatehouse/sign-in/main?rd=%2Ffar%2Faway") {
				t.Errorf("page: %s", a.body)
			}
			if len(b.attempts()) != 0 || r.issuer.Calls(authntest.Token) != 0 {
				t.Error("the attempt lives on, or was redeemed")
			}
		})
	})
	t.Run("in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			b := r.browser()
			target := b.start("")
			time.Sleep(attemptTime - time.Second)
			r.landed(b.deliver(b.authorize(target)), "/")
		})
	})
	t.Run("attempt from the future", func(t *testing.T) {
		if (attempt{Made: time.Now().Unix()}).late() || !(attempt{Made: time.Now().Add(time.Hour).Unix()}).late() {
			t.Error("late")
		}
	})
	t.Run("store down", func(t *testing.T) {
		store := &countingStore{Store: session.NewMemory(), err: errors.New("redis is gone")}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		b := r.browser()
		d := b.authorize(b.start("?rd=/x"))
		a := b.deliver(d)
		r.refused(a, 503)
		if strings.Contains(a.body, "redis") || a.header.Get("Retry-After") == "" || r.issuer.Calls(authntest.Token) != 0 {
			t.Errorf("page: %s", a.body)
		}
		r.logged("redis is gone")
		store.err = nil
		r.landed(b.deliver(d), "/x") // the attempt was not spent
	})
	t.Run("sessions down", func(t *testing.T) {
		r := newRig(t)
		r.starts.err = errors.New("redis is gone")
		a := r.browser().signIn("")
		r.refused(a, 503)
		r.logged("redis is gone")
	})
	t.Run("cookie with a domain", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.deps.Cookie = session.NewCookie("gatehouse", "gw.test", true) })
		b := r.browser()
		if set := b.get(gatewayURL + signInPath).header.Get("Set-Cookie"); !strings.HasPrefix(set, "__Secure-") || !strings.Contains(set, "Domain=gw.test") {
			t.Errorf("attempt cookie %s", set)
		}
		r.landed(b.signIn(""), "/")
	})
}

// countingStore counts marks, or fails.
type countingStore struct {
	session.Store
	adds int
	err  error
}

func (c *countingStore) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	c.adds++
	if c.err != nil {
		return false, c.err
	}
	if ttl != attemptKept || !strings.HasPrefix(key, "attempt:") || len(key) > 200 {
		return false, fmt.Errorf("Add(%q, %s)", key, ttl)
	}
	return c.Store.Add(ctx, key, value, ttl)
}

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
				if took := time.Since(began); took > callTime+time.Second {
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
