package proxy

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/authn"
)

// twoRoutes offers a second way in.
func twoRoutes(o *Options) {
	o.Routes[0].SignOutURL = func(p authn.Proof) string { return "https://idp.test/end?hint=" + string(p.Grant) }
	o.Routes = append(o.Routes, authn.Route{Name: "guests", SignInPath: "/.gatehouse/oidc/guests/sign-in", Challenge: `Negotiate`})
}

func TestOwnPaths(t *testing.T) {
	g := newRig(t, nil)
	for target, status := range map[string]int{
		"/.gatehouse/nothing": 404, "/.gatehouse/oidc/nobody/sign-in": 404, "/oidc/callback/other": 404, "/.gatehouse/sign-in/": 404,
		"/.gatehouse/style.css": 200, "/.gatehouse/logo": 200, "/oidc/callback": 200, "/.gatehouse/oidc/corp/sign-in": 200,
		"/.gatehouse/signed-out": 200, "/%2egatehouse/signed-out": 200, "/.gatehouse/userinfo": 401, "/.gatehouse": 307,
	} {
		g.sub(target, func(t *testing.T, g *rig) {
			a := g.get(target, "")
			want(t, "status", a.StatusCode, status)
			g.untouched()
			want(t, "request id", len(a.Header.Get("X-Request-Id")), 32)
			if status == 404 && !strings.Contains(a.body, `"errors"`) {
				t.Errorf("not our own 404: %s", a.body)
			}
			if l := a.Header.Get("Location"); l != "" && l != "/.gatehouse/" {
				t.Errorf("Location %s", l)
			}
		})
	}
	for target, allow := range map[string]string{"/logout": "GET, HEAD, POST", "/.gatehouse/userinfo": "GET, HEAD", "/.gatehouse/sign-in": "GET, HEAD"} {
		g.sub("405 "+target, func(t *testing.T, g *rig) {
			a := g.raw("DELETE " + target + " HTTP/1.1\r\nHost: gw.test\r\n\r\n")
			g.denied(a, 405)
			want(t, "Allow", a.Header.Get("Allow"), allow)
			want(t, "type", a.Header.Get("Content-Type"), "application/json")
		})
	}
	g.sub("DOS-05 body limits on own paths", func(t *testing.T, g *rig) {
		a := g.raw("POST /oidc/callback HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", maxOwnBody+1, strings.Repeat("x", maxOwnBody+1)))
		want(t, "status", a.StatusCode, 413)
		a = g.raw("POST /logout HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10737418240\r\nOrigin: https://evil.test\r\n\r\n")
		g.denied(a, 403)
	})
	g.sub("DOS-07 a million parameters", func(t *testing.T, g *rig) {
		a := g.get("/.gatehouse/sign-in?"+strings.Repeat("a&", 30000), "")
		want(t, "status", a.StatusCode, 302)
		want(t, "Location", a.Header.Get("Location"), "/.gatehouse/oidc/corp/sign-in?rd=%2F")
	})
	g.sub("DOS-20 ranges", func(t *testing.T, g *rig) {
		a := g.get("/.gatehouse/logo", "Range: bytes="+strings.TrimSuffix(strings.Repeat("0-1,", 9000), ",")+"\r\n")
		if a.StatusCode != 200 && a.StatusCode != 416 {
			t.Errorf("status %s with %d bytes", a.Status, len(a.body))
		}
	})
	for _, target := range []string{"//evil.test/..", "//evil.test/%2e%2e", `/\evil.test/`, "//evil.test", "//evil.test/.gatehouse/", "/.gatehouse//evil.test", "/.gatehouse/..//evil.test"} {
		g.sub("RED-20 "+target, func(t *testing.T, g *rig) {
			for _, more := range []string{navigation, aliceOnly, ""} {
				a := g.get(target, more)
				l := a.Header.Get("Location")
				want(t, "leads away to "+l, strings.HasPrefix(l, "//") || strings.Contains(l, "://") || strings.Contains(l, `\`), false)
			}
		})
	}
	g.sub("WEB-04 nothing of the request on a page", func(t *testing.T, g *rig) {
		for _, target := range []string{"/.gatehouse/sign-in", "/.gatehouse/%3Cscript%3Ealert(1)%3C/script%3E", "/.gatehouse/signed-out?x=%3Cscript%3E"} {
			a := g.get(target, navigation+"X-Forwarded-Host: evil.test\r\nUser-Agent: <script>alert(1)</script>\r\n")
			if strings.Contains(a.body, "<script") || strings.Contains(a.body, "evil.test") {
				t.Errorf("WEB-09 %s shows %s", target, a.body)
			}
		}
	})
	g.sub("WEB-20 no CORS", func(t *testing.T, g *rig) {
		for _, target := range []string{"/.gatehouse/userinfo", "/.gatehouse/", "/logout", "/.gatehouse/sign-in", "/.gatehouse/nothing"} {
			for _, origin := range []string{"https://evil.test", "null", gwURL + ".evil.test"} {
				a := g.get(target, aliceOnly+"Origin: "+origin+"\r\n")
				for name := range a.Header {
					want(t, name, strings.HasPrefix(name, "Access-Control"), false)
				}
			}
		}
	})
	g.sub("WEB-06 own pages can't be framed", func(t *testing.T, g *rig) {
		for target, who := range map[string]string{"/.gatehouse/": aliceOnly, "/.gatehouse/signed-out": "", "/.gatehouse/nothing": aliceOnly, "/logout": aliceOnly} {
			a := g.get(target, who+strings.Replace(navigation, "same-origin", "cross-site", 1))
			want(t, target, a.Header.Get("X-Frame-Options"), "DENY")
			want(t, target, a.Header.Get("Cache-Control"), "no-store")
		}
	})
}

// TestMe: the page names the route as the sign-in button does, and by its name for support.
func TestMe(t *testing.T) {
	a := newRig(t, nil).get("/.gatehouse/", aliceOnly)
	want(t, "status", a.StatusCode, 200)
	for _, text := range []string{"Signed in through</dt><dd><bdi>Corp</bdi>", "Route</dt><dd><code>corp</code>"} {
		if !strings.Contains(a.body, text) {
			t.Errorf("the page does not say %q:\n%s", text, a.body)
		}
	}
}

func TestSignIn(t *testing.T) {
	g := newRig(t, nil)
	two := newRig(t, twoRoutes)
	start := "/.gatehouse/oidc/corp/sign-in?"
	for query, location := range map[string]string{
		"":                                 start + "rd=%2F",
		"?rd=/a%3Fb=c":                     start + "rd=%2Fa%3Fb%3Dc",
		"?rd=https://b.test/x":             start + "rd=https%3A%2F%2Fb.test%2Fx",
		"?rd=https://evil.test/":           start + "rd=%2F",
		"?rd=//evil.test":                  start + "rd=%2F",
		"?rd=/ok&rd=/ok":                   start + "rd=%2F",
		"?rd=/logout":                      start + "rd=%2F",
		"?rd=/x&login_hint=jo@example.com": start + "login_hint=jo%40example.com&rd=%2Fx",
		"?login_hint=a&login_hint=b":       start + "rd=%2F",
	} {
		g.sub("RED-15 sign-in"+query, func(t *testing.T, g *rig) {
			a := g.get("/.gatehouse/sign-in"+query, navigation)
			want(t, "status", a.StatusCode, 302)
			want(t, "Location", a.Header.Get("Location"), location)
			want(t, "Cache-Control", a.Header.Get("Cache-Control"), "no-store")
		})
	}
	two.sub("a page to choose", func(t *testing.T, g *rig) {
		a := g.get("/.gatehouse/sign-in?rd=/x", navigation)
		want(t, "status", a.StatusCode, 200)
		for _, text := range []string{"Corp", "guests", "/.gatehouse/oidc/corp/sign-in?rd=%2Fx", "/.gatehouse/oidc/guests/sign-in?rd=%2Fx"} {
			want(t, text, strings.Contains(a.body, text), true)
		}
		a = g.get("/.gatehouse/sign-in?rd=/x&provider=guests", navigation)
		want(t, "deep link", a.Header.Get("Location"), "/.gatehouse/oidc/guests/sign-in?rd=%2Fx")
		want(t, "unknown", g.get("/.gatehouse/sign-in?provider=nobody", navigation).StatusCode, 200)
	})
	hub := newRig(t, func(o *Options) {
		twoRoutes(o)
		o.Routes[1].Hub = true
	})
	hub.sub("the page of a route that offers the others", func(t *testing.T, g *rig) {
		there := "/.gatehouse/oidc/guests/sign-in?rd=%2Fx"
		want(t, "sign-in", g.get("/.gatehouse/sign-in?rd=/x", navigation).Header.Get("Location"), there)
		want(t, "a page", g.get("/x", navigation).Header.Get("Location"), there)
		want(t, "deep link", g.get("/.gatehouse/sign-in?rd=/x&provider=corp", navigation).Header.Get("Location"), "/.gatehouse/oidc/corp/sign-in?rd=%2Fx")
	})
	none := newRig(t, func(o *Options) { o.Routes[0].SignInPath = "" })
	want(t, "no way in for browsers", none.get("/.gatehouse/sign-in", navigation).StatusCode, 404)
}

func TestUserinfo(t *testing.T) {
	g := newRig(t, nil)
	a := g.get("/.gatehouse/userinfo", aliceOnly)
	want(t, "status", a.StatusCode, 200)
	want(t, "WEB-17 body", a.body, `{"issuer":"https://idp.test","subject":"sub-alice","kind":"person","username":"alice","name":"Alice",`+
		`"email":"alice@example.com","groups":["users","alices"],"route":"corp","auth_time":"2023-11-14T22:13:20Z"}`+"\n")
	for name, value := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		want(t, name, a.Header.Get(name), value)
	}
	g.denied(g.get("/.gatehouse/userinfo", navigation), 401)
	g.denied(g.get("/.gatehouse/userinfo", "Cookie: "+cookieName+"=stale\r\n"), 401)
	g.denied(g.get("/.gatehouse/userinfo", "Cookie: "+cookieName+"=outage\r\n"), 503)

	g.people["odd"] = authn.Identity{Subject: "\xff", Route: "corp"}
	want(t, "odd bytes", g.get("/.gatehouse/userinfo", "Cookie: "+cookieName+"=odd\r\n").StatusCode, 200)

	teams := ruled(t)
	if body := teams.get("/.gatehouse/userinfo", aliceOnly).body; !strings.Contains(body, `"teams":[{"name":"vision","role":"admin"},{"name":"all","role":"member"}]`) {
		t.Errorf("userinfo is %s", body)
	}
	if body := teams.get("/.gatehouse/", aliceOnly+navigation).body; !strings.Contains(body, "<bdi>vision</bdi> (admin)") {
		t.Errorf("the page is %s", body)
	}

	me := g.get("/.gatehouse/", aliceOnly+navigation)
	want(t, "me", me.StatusCode, 200)
	want(t, "name", strings.Contains(me.body, "Alice"), true)
	want(t, "nobody", g.get("/.gatehouse/", navigation).StatusCode, 302)
	g.denied(g.get("/.gatehouse/", navigation+"Cookie: "+cookieName+"=outage\r\n"), 503)
}
