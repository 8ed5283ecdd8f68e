package oidc

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

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

	t.Run("OIDC-13 the ID token says who", func(t *testing.T) {
		r := newRig(t, implicit)
		b := r.browser()
		d := b.authorize(b.start(""))
		r.refused(b.deliver(d.set(func(q url.Values) { q.Set("iss", "https://other.test") })), 400)
		r.landed(b.deliver(d.set(func(q url.Values) { q.Del("iss") })), "/")
		i := newRig(t, implicit)
		b = i.browser()
		d = b.authorize(b.start("")).set(func(q url.Values) { q.Del("iss"); q.Del("id_token"); q.Set("error", "access_denied") })
		i.refused(b.deliver(d), 400)
		i.logged("does not say who")
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
		if _, err := r.o.provider.discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.refused(b.deliver(d), 400)
		if evil != 0 {
			t.Error("the code went elsewhere")
		}
		r.logged("moved")
	})
}
