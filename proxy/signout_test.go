package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
)

func TestSignOut(t *testing.T) {
	g := newRig(t, twoRoutes)
	g.ender.found, g.ender.proof = true, authn.Proof{Identity: person("alice"), Grant: []byte("idtoken")}
	post := func(target, more string) answer {
		return g.raw("POST " + target + " HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 0\r\n" + aliceOnly + more + "\r\n")
	}
	calls := func(t *testing.T, n int) {
		t.Helper()
		want(t, "sessions ended", g.ender.calls, n)
		g.ender.calls = 0
	}
	const end = "https://idp.test/end?hint=idtoken"

	g.sub("LGO-01 a click on a link of this site signs out", func(t *testing.T, g *rig) {
		a := g.get("/logout", aliceOnly+navigation)
		want(t, "status", a.StatusCode, 303)
		want(t, "Location", a.Header.Get("Location"), end)
		want(t, "cookie cleared", strings.HasPrefix(a.Header.Get("Set-Cookie"), cookieName+"=;"), true)
		want(t, "Cache-Control", a.Header.Get("Cache-Control"), "no-store")
		calls(t, 1)
	})
	for name, more := range map[string]string{
		"LGO-02 cross-site link":        strings.Replace(navigation, "same-origin", "cross-site", 1),
		"LGO-02 same-site link":         strings.Replace(navigation, "same-origin", "same-site", 1),
		"LGO-02 image":                  "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nSec-Fetch-User: ?1\r\n",
		"LGO-02 frame":                  strings.Replace(navigation, "document", "iframe", 1),
		"LGO-02 script":                 strings.Replace(navigation, "Sec-Fetch-User: ?1\r\n", "", 1),
		"LGO-02 typed":                  strings.Replace(navigation, "same-origin", "none", 1),
		"LGO-02 two sites":              navigation + "Sec-Fetch-Site: cross-site\r\n",
		"LGO-24 prefetch":               navigation + "Sec-Purpose: prefetch\r\n",
		"LGO-24 prerender":              navigation + "Sec-Purpose: prefetch;prerender\r\n",
		"LGO-24 old prefetch":           navigation + "X-Moz: prefetch\r\n",
		"LGO-02 browser without fetch-": "Accept: text/html\r\n",
		"stale cookie":                  "Accept: text/html\r\nCookie: " + cookieName + "=stale\r\n",
		"outage":                        "Accept: text/html\r\nCookie: " + cookieName + "=outage\r\n",
	} {
		g.sub(name, func(t *testing.T, g *rig) {
			cookie := aliceOnly
			if strings.Contains(more, "Cookie:") {
				cookie = ""
			}
			a := g.get("/logout?rd=/bye", cookie+more)
			want(t, "status", a.StatusCode, 200)
			want(t, "asks", strings.Contains(a.body, `action="/logout?rd=%2fbye"`) || strings.Contains(a.body, `action="/logout?rd=%2Fbye"`), true)
			want(t, "cookies", len(a.Header["Set-Cookie"]), 0)
			if cookie != "" {
				want(t, "form-action", strings.Contains(a.Header.Get("Content-Security-Policy"), "https://idp.test"), true)
				want(t, "name", strings.Contains(a.body, "Alice"), true)
			}
			calls(t, 0)
		})
	}
	g.sub("HEAD asks", func(t *testing.T, g *rig) {
		want(t, "status", g.raw("HEAD /logout HTTP/1.1\r\nHost: gw.test\r\n"+aliceOnly+navigation+"\r\n").StatusCode, 200)
		calls(t, 0)
	})
	g.sub("nobody to sign out", func(t *testing.T, g *rig) {
		a := g.get("/logout", "Accept: text/html\r\n")
		want(t, "Location", a.Header.Get("Location"), "/.gatehouse/signed-out")
		calls(t, 0)
	})
	for name, more := range map[string]string{
		"the page's button": "Sec-Fetch-Site: same-origin\r\nOrigin: " + gwURL + "\r\n", "an old browser's": "Origin: " + gwURL + "\r\n", "a program": "",
	} {
		g.sub("POST from "+name, func(t *testing.T, _ *rig) {
			a := post("/logout", more)
			want(t, "status", a.StatusCode, 303)
			want(t, "Location", a.Header.Get("Location"), end)
			calls(t, 1)
		})
	}
	for name, more := range map[string]string{
		"another site": "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.test\r\n", "a sister site": "Sec-Fetch-Site: same-site\r\nOrigin: https://x.gw.test\r\n",
		"an old browser": "Origin: https://evil.test\r\n", "null": "Origin: null\r\n",
	} {
		g.sub("LGO-02 POST from "+name, func(t *testing.T, g *rig) {
			g.denied(post("/logout", more), 403)
			calls(t, 0)
		})
	}
	g.sub("LGO-03 the store is down", func(t *testing.T, g *rig) {
		g.ender.err = errors.New("redis: i/o timeout")
		defer func() { g.ender.err = nil }()
		a := g.get("/logout", aliceOnly+navigation)
		want(t, "status", a.StatusCode, 503)
		want(t, "cookie cleared", strings.HasPrefix(a.Header.Get("Set-Cookie"), cookieName+"=;"), true)
		want(t, "says so", strings.Contains(a.body, "not complete"), true)
		want(t, "tells", strings.Contains(a.body, "redis"), false)
		calls(t, 1)
	})
	g.sub("RED-18 where signing out may lead", func(t *testing.T, g *rig) {
		g.ender.proof.Identity.Route = "guests" // which has no sign-out of its own
		for rd, location := range map[string]string{
			"?rd=/bye": "/bye", "?rd=//evil.test": "/", "?rd=https://evil.test": "/", "?rd=/%09/evil.test": "/", "?rd=/a&rd=/b": "/",
			"?rd=/.gatehouse/": "/", "?post_logout_redirect_uri=https://evil.test": "/.gatehouse/signed-out", "": "/.gatehouse/signed-out",
		} {
			want(t, rd, g.get("/logout"+rd, aliceOnly+navigation).Header.Get("Location"), location)
		}
		g.ender.found = false
		want(t, "no session", g.get("/logout", aliceOnly+navigation).Header.Get("Location"), "/.gatehouse/signed-out")
	})
	t.Run("a place of one's own", func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.SignedOutURL = "https://www.example.com/bye" })
		want(t, "Location", g.get("/logout", aliceOnly+navigation).Header.Get("Location"), "https://www.example.com/bye")
	})
	t.Run("back from the provider", func(t *testing.T) {
		for _, to := range []string{"", "https://www.example.com/bye"} {
			g := newRig(t, func(o *Options) {
				o.SignedOutURL = to
				o.Routes[0].SignOutURL = func(authn.Proof) string { return "https://idp.test/end?state=right" }
			})
			g.ender.found, g.ender.proof = true, authn.Proof{Identity: person("alice")}
			left := g.get("/logout", aliceOnly+navigation)
			want(t, "Location", left.Header.Get("Location"), "https://idp.test/end?state=right")
			kept := left.Header.Values("Set-Cookie")
			state, _, _ := strings.Cut(kept[len(kept)-1], ";")
			for name, tt := range map[string]struct {
				target, cookie string
				too            bool
			}{
				"rp-init-logout":                       {"/logout?state=right", state, true},
				"rp-init-logout-other-state":           {"/logout?state=wrong", state, false},
				"rp-init-logout-no-state":              {"/logout", state, false},
				"a link that anybody can make":         {"/logout?state=right", "x=y", false},
				"two states, one of them right":        {"/logout?state=right&state=wrong", state, false},
				"a state that the page is called with": {"/.gatehouse/signed-out?state=right", state, false},
			} {
				a := g.get(tt.target, "Cookie: "+tt.cookie+"\r\n"+strings.Replace(navigation, "same-origin", "cross-site", 1))
				if to != "" && strings.HasPrefix(tt.target, "/logout") {
					want(t, name+" lands where it was told to", a.Header.Get("Location"), to)
					continue
				}
				if a.StatusCode == http.StatusSeeOther {
					a = g.get(a.Header.Get("Location"), navigation)
				}
				want(t, name+": status", a.StatusCode, http.StatusOK)
				want(t, name+": provider too", !strings.Contains(a.body, "may still be signed in"), tt.too)
			}
		}
	})
	g.sub("SES-20 nobody who is signed in is told otherwise", func(t *testing.T, g *rig) {
		for _, target := range []string{"/.gatehouse/signed-out", "/.gatehouse/signed-out?state=x"} {
			a := g.get(target, aliceOnly+navigation)
			want(t, target, a.Header.Get("Location"), "/logout")
		}
	})
}

// TestFrontChannel: the sign-out path is a provider's front-channel address too.
func TestFrontChannel(t *testing.T) {
	route := func(name, issuer string) authn.Route {
		return authn.Route{Name: name, Issuer: issuer, FrontChannel: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, name, " ", r.Method, " ", r.URL.Query().Get("sid"))
		}}
	}
	const frame = "Accept: text/html\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n"
	one := []authn.Route{route("a", "https://a.test"), {Name: "other"}}
	two := append(one[:1:1], route("b", "https://b.test"))
	clients := append(one[:1:1], route("a2", "https://a.test"))
	for name, c := range map[string]struct {
		routes []authn.Route
		query  string
		header string
		want   string // empty: the page that asks
	}{
		"LGO-19 iss and sid":                   {two, "?iss=https%3A%2F%2Fb.test&sid=s1", frame, "b GET s1"},
		"LGO-19 the first route's":             {two, "?iss=https%3A%2F%2Fa.test&sid=s1", frame, "a GET s1"},
		"LGO-19 signed in here":                {one, "?iss=https%3A%2F%2Fa.test&sid=s1", frame + aliceOnly, "a GET s1"},
		"LGO-19 a browser that says nothing":   {one, "?iss=https%3A%2F%2Fa.test&sid=s1", "", "a GET s1"},
		"LGO-19 Entra ID, the only provider":   {one, "?sid=s1", frame, "a GET s1"},
		"LGO-19 two clients of one provider":   {clients, "?sid=s1", frame, "a2 GET s1"},
		"LGO-19 Entra ID, one of two":          {two, "?sid=s1", frame, ""},
		"LGO-19 wrong iss":                     {one, "?iss=https://c.test&sid=s1", frame, ""},
		"LGO-19 empty iss":                     {one, "?iss=&sid=s1", frame, ""},
		"LGO-19 no params":                     {one, "", frame, ""},
		"LGO-19 iss alone":                     {one, "?iss=https://a.test", frame, ""},
		"LGO-19 a page that people are led to": {one, "?iss=https%3A%2F%2Fa.test&sid=s1", strings.Replace(frame, "iframe", "document", 1), ""},
		"LGO-19 no such route":                 {nil, "?sid=s1", frame, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Routes = append(o.Routes, c.routes...) })
			if !strings.Contains(c.header, "Cookie") {
				c.header += aliceOnly
			}
			a := g.get("/logout"+c.query, c.header)
			want(t, "status", a.StatusCode, 200)
			want(t, "sessions ended by cookie", g.ender.calls, 0)
			if c.want != "" {
				want(t, "body", a.body, c.want)
				return
			}
			want(t, "asks", strings.Contains(a.body, `action="/logout"`), true)
			want(t, "LGO-20 framed", strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'"), true)
		})
	}
}

// TestRevocation: LGO-22. The provider takes back what it granted, and if it does
// not, the sign-out goes on.
func TestRevocation(t *testing.T) {
	for name, revoke := range map[string]func(context.Context, authn.Proof) error{
		"revoked":        func(context.Context, authn.Proof) error { return nil },
		"LGO-22 refused": func(context.Context, authn.Proof) error { return errors.New("answered 500") },
		"LGO-22 slow":    func(ctx context.Context, _ authn.Proof) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []authn.Proof
			g := newRig(t, func(o *Options) {
				twoRoutes(o)
				o.Routes[0].Revoke = func(ctx context.Context, p authn.Proof) error {
					asked = append(asked, p)
					return revoke(ctx, p)
				}
			})
			g.ender.found, g.ender.proof = true, authn.Proof{Identity: person("alice"), Grant: []byte("grant")}
			began := time.Now()
			a := g.get("/logout", aliceOnly+navigation)
			want(t, "status", a.StatusCode, 303)
			want(t, "Location", a.Header.Get("Location"), "https://idp.test/end?hint=grant")
			want(t, "bounded", time.Since(began) < 2*revokeTime, true)
			want(t, "asked", len(asked), 1)
			want(t, "with", string(asked[0].Grant), "grant")
			want(t, "logged", strings.Contains(g.log.String(), "not revoked at the provider"), name != "revoked")

			g.ender.err = errors.New("redis: i/o timeout")
			want(t, "LGO-03 the store is down", g.get("/logout", aliceOnly+navigation).StatusCode, 503)
			want(t, "asked all the same", len(asked), 2)
			g.ender.err, g.ender.proof.Identity.Issuer = nil, "https://former.test"
			g.gw.routes["corp"] = authn.Route{Name: "corp", Issuer: "https://idp.test", Revoke: g.gw.routes["corp"].Revoke}
			want(t, "another provider's proof", g.get("/logout", aliceOnly+navigation).StatusCode, 303)
			want(t, "not asked", len(asked), 2)
		})
	}
}
