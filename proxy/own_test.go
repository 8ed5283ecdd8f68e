package proxy

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn"
)

// twoRoutes offers a second way in.
func twoRoutes(o *Options) {
	o.Routes[0].SignOutURL = func(p authn.Proof) string { return "https://idp.test/end?hint=" + string(p.Grant) }
	o.Routes = append(o.Routes, authn.Route{Name: "guests", SignInPath: "/.gatehouse/oidc/guests/sign-in", Challenge: `Negotiate`})
}

func TestRefusals(t *testing.T) {
	g := newRig(t, nil)
	two := newRig(t, twoRoutes)
	none := newRig(t, func(o *Options) { o.Routes[0].SignInPath = "" })
	stale, outage := "Cookie: "+cookieName+"=stale\r\n", "Cookie: "+cookieName+"=outage\r\n"
	post := "POST /graphql HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 2\r\n"

	for name, more := range map[string]string{
		"program":        "",
		"fetch":          "Accept: application/json\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
		"frame":          strings.Replace(navigation, "document", "iframe", 1),
		"prefetch":       navigation + "Sec-Purpose: prefetch;prerender\r\n",
		"bearer":         navigation + "Authorization: Bearer x\r\n",
		"API key":        navigation + "Authorization: Basic YXBpOktFWQ==\r\n",
		"XMLHttpRequest": "Accept: text/html\r\nX-Requested-With: XMLHttpRequest\r\n",
	} {
		g.sub("a program is never redirected, "+name, func(t *testing.T, g *rig) {
			a := g.get("/x?y", more)
			g.denied(a, 401)
			want(t, "challenges", strings.Join(a.Header["Www-Authenticate"], "|"),
				`Cookie realm="https://gw.test", form-action="https://gw.test/.gatehouse/sign-in"`)
			want(t, "Location", a.Header.Get("Location"), "")
		})
	}
	g.sub("JSON that the SDK shows", func(t *testing.T, g *rig) {
		a := g.raw(post + "\r\nhi")
		g.denied(a, 401)
		var body struct {
			Errors []struct {
				Message string `json:"message"`
			} `json:"errors"`
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(a.body), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Message == "" {
			t.Errorf("%v in %s", err, a.body)
		}
		want(t, "request id", body.RequestID, a.Header.Get("X-Request-Id"))
	})
	g.sub("a navigation goes to sign-in and comes back", func(t *testing.T, g *rig) {
		for cookie, target := range map[string]string{"": "/a/b?c=d&e=%2F", stale: "/x", "Authorization: Basic Og==\r\n": "/y"} {
			a := g.get(target, navigation+cookie)
			g.denied(a, 302)
			want(t, "Location", a.Header.Get("Location"), "/.gatehouse/oidc/corp/sign-in?rd="+url.QueryEscape(target))
			want(t, "cookies", len(a.Header["Set-Cookie"]), 0)
		}
		a := two.get("/x", navigation)
		two.denied(a, 302)
		want(t, "several routes", a.Header.Get("Location"), "/.gatehouse/sign-in?rd=%2Fx")
	})
	g.sub("a navigation that posts does not", func(_ *testing.T, g *rig) {
		g.denied(g.raw(post+navigation+"\r\nhi"), 401)
	})
	g.sub("every route's challenge", func(t *testing.T, _ *rig) {
		a := two.get("/x", "")
		want(t, "challenges", len(a.Header["Www-Authenticate"]), 2)
		want(t, "first", a.Header["Www-Authenticate"][0], "Negotiate")
		a = none.get("/x", navigation)
		none.denied(a, 401)
		want(t, "without sign-in", a.Header.Get("Www-Authenticate"), `Cookie realm="https://gw.test"`)
	})
	g.sub("rejected", func(t *testing.T, g *rig) {
		a := g.get("/x", stale)
		g.denied(a, 401)
		want(t, "says why", strings.Contains(a.body, "no longer valid"), true)
		g.denied(g.get("/x", navigation+"Authorization: Bearer stale\r\n"), 401)
	})
	g.sub("an outage lets nobody in and throws nobody out", func(t *testing.T, g *rig) {
		for _, more := range []string{"", navigation} {
			a := g.get("/x?y=z", outage+more)
			g.denied(a, 503)
			want(t, "cookies", len(a.Header["Set-Cookie"]), 0)
			want(t, "Retry-After", a.Header.Get("Retry-After"), "5")
			for _, inner := range []string{"10.9.8.7", "refused", "redis"} {
				want(t, "tells "+inner, strings.Contains(a.body, inner), false)
			}
			if more != "" {
				want(t, "Refresh", a.Header.Get("Refresh"), "5; url=/x?y=z")
			}
		}
		want(t, "logged", strings.Contains(g.log.String(), "10.9.8.7:6379: connection refused"), true)
		a := g.raw("POST /x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 0\r\n" + outage + "\r\n")
		g.denied(a, 503)
	})
	g.sub("RED-20 an outage does not lead away", func(t *testing.T, g *rig) {
		a := g.get("//evil.test/x", outage+navigation)
		g.denied(a, 503)
		want(t, "Refresh", a.Header.Get("Refresh"), "5; url=/")
	})
	g.sub("a route that is gone", func(_ *testing.T, g *rig) {
		id := person("alice")
		id.Route = "gone"
		g.people["ghost"] = id
		g.denied(g.get("/x", "Cookie: "+cookieName+"=ghost\r\n"), 401)
		g.denied(g.get("/x", navigation+"Cookie: "+cookieName+"=ghost\r\n"), 302)
		g.denied(g.get("/.gatehouse/userinfo", "Cookie: "+cookieName+"=ghost\r\n"), 401)
	})
}

func TestNotAllowed(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Routes[0].Allow = func(id authn.Identity) error {
			switch id.Username {
			case "alice":
				return fmt.Errorf("policy: %w", &authn.NotAllowed{Missing: "You need the group staff."})
			case "carol":
				return errors.New("the policy is broken: secret detail")
			}
			return nil
		}
	})
	g.people["carol"] = person("carol")
	for _, more := range []string{"", navigation} {
		g.sub("FWD-21 known and not allowed", func(t *testing.T, g *rig) {
			a := g.get("/x", aliceOnly+more)
			g.denied(a, 403)
			for _, text := range []string{"You need the group staff.", "Alice"} {
				want(t, text, strings.Contains(a.body, text), true)
			}
			want(t, "Location", a.Header.Get("Location"), "")
			if more != "" {
				want(t, "may switch", strings.Contains(a.body, "/.gatehouse/sign-in?rd=%2fx") || strings.Contains(a.body, "/.gatehouse/sign-in?rd=%2Fx"), true)
				want(t, "may sign out", strings.Contains(a.body, `/logout`), true)
			}
		})
	}
	g.sub("a policy that fails lets nobody in", func(t *testing.T, g *rig) {
		a := g.get("/x", "Cookie: "+cookieName+"=carol\r\n")
		g.denied(a, 503)
		want(t, "tells", strings.Contains(a.body, "secret detail"), false)
	})
	g.sub("others are let in", func(t *testing.T, g *rig) {
		want(t, "bob", g.get("/x", "Cookie: "+cookieName+"=bob\r\n").StatusCode, 200)
		want(t, "public path", g.get("/public/x", aliceOnly).StatusCode, 200)
	})
	g.sub("who may not come in still sees who they are and signs out", func(t *testing.T, g *rig) {
		want(t, "userinfo", g.get("/.gatehouse/userinfo", aliceOnly).StatusCode, 200)
		want(t, "me", g.get("/.gatehouse/", aliceOnly+navigation).StatusCode, 200)
		want(t, "sign out", g.get("/logout", aliceOnly+navigation).StatusCode, 303)
		g.untouched()
	})
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
		for _, target := range []string{"/.gatehouse/", "/.gatehouse/signed-out", "/.gatehouse/nothing"} {
			a := g.get(target, aliceOnly+navigation)
			want(t, target, a.Header.Get("X-Frame-Options"), "DENY")
			want(t, target, a.Header.Get("Cache-Control"), "no-store")
		}
	})
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
	none := newRig(t, func(o *Options) { o.Routes[0].SignInPath = "" })
	want(t, "no way in for browsers", none.get("/.gatehouse/sign-in", navigation).StatusCode, 404)
}

func TestOtherHosts(t *testing.T) {
	g := newRig(t, func(o *Options) {
		b := o.Upstreams[0]
		b.Name, b.Hosts = "b", []string{"b.test"}
		o.Upstreams = append(o.Upstreams, b)
	})
	on := func(host, target, more string) answer {
		return g.raw("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + more + "\r\n")
	}
	for host, landing := range map[string]string{"b.test": "https://b.test/a?b=c", "B.TEST": "https://b.test/a?b=c", "b.test:99": "/", "gw.test:8443": "/"} {
		g.sub("sign-in is on the public origin, from "+host, func(t *testing.T, g *rig) {
			a := on(host, "/a?b=c", navigation)
			g.denied(a, 302)
			want(t, "Location", a.Header.Get("Location"), gwURL+"/.gatehouse/oidc/corp/sign-in?rd="+url.QueryEscape(landing))
			a = on(host, "/.gatehouse/sign-in?rd=/a%3Fb=c", navigation)
			want(t, "own page", a.Header.Get("Location"), gwURL+"/.gatehouse/oidc/corp/sign-in?rd="+url.QueryEscape(landing))
		})
	}
	g.sub("RED-02 rd on another host", func(t *testing.T, _ *rig) {
		for _, rd := range []string{"//evil.test", "/\\evil.test", "https://evil.test", "/.gatehouse/x"} {
			a := on("b.test", "/.gatehouse/sign-in?rd="+url.QueryEscape(rd), navigation)
			want(t, rd, a.Header.Get("Location"), gwURL+"/.gatehouse/oidc/corp/sign-in?rd=%2F")
		}
	})
	g.sub("WS-02 one own host opens a socket at another", func(t *testing.T, g *rig) {
		g.up.sockets(t)
		defer func() { g.up.then = nil }()
		c := g.dial()
		fmt.Fprint(c, "GET /live HTTP/1.1\r\nHost: b.test\r\n"+handshake+aliceOnly+"Origin: "+gwURL+"\r\n\r\n")
		line := make([]byte, 12)
		if _, err := c.Read(line); err != nil || string(line) != "HTTP/1.1 101" {
			t.Errorf("%q %v", line, err)
		}
		g.forget()
		g.denied(on("b.test", "/live", handshake+aliceOnly+"Origin: http://b.test\r\n"), 403)
	})
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

	me := g.get("/.gatehouse/", aliceOnly+navigation)
	want(t, "me", me.StatusCode, 200)
	want(t, "name", strings.Contains(me.body, "Alice"), true)
	want(t, "nobody", g.get("/.gatehouse/", navigation).StatusCode, 302)
	g.denied(g.get("/.gatehouse/", navigation+"Cookie: "+cookieName+"=outage\r\n"), 503)
}

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
	g.sub("signed out, here or at the provider too", func(t *testing.T, g *rig) {
		here, there := g.get("/.gatehouse/signed-out", navigation), g.get("/.gatehouse/signed-out?state=x", navigation)
		want(t, "status", here.StatusCode, http.StatusOK)
		want(t, "the same page", here.body == there.body, false)
	})
}
