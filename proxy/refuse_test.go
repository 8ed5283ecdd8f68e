package proxy

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
)

func TestRefusals(t *testing.T) {
	g := newRig(t, nil)
	two := newRig(t, twoRoutes)
	none := newRig(t, func(o *Options) { o.Routes[0].SignInPath = "" })
	stale, outage := "Cookie: "+cookieName+"=stale\r\n", "Cookie: "+cookieName+"=outage\r\n"
	post := "POST /graphql HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 2\r\n"

	for name, more := range map[string]string{
		"program":        "",
		"OIDC-44 fetch":  "Accept: application/json\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
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
				want(t, "may switch", strings.Contains(a.body, "/.gatehouse/sign-in?switch=1&amp;rd=%2fx") || strings.Contains(a.body, "/.gatehouse/sign-in?switch=1&amp;rd=%2Fx"), true)
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

// TestProgramsAreNotLedAway: who sends a credential gets 401, whatever else says
// that it is a browser. Only a cookie that is no longer good leads to sign-in.
func TestProgramsAreNotLedAway(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Chain = append(authn.Chain{authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
			if _, err := authn.BearerOf(r); err != nil {
				return authn.Identity{}, err
			}
			return authn.Identity{}, authn.ErrNoCredential
		}), authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
			_, err := authn.BasicOf(r)
			if err == nil {
				err = authn.ErrRejected
			}
			return authn.Identity{}, err
		})}, o.Chain...)
	})
	stale := "Cookie: " + cookieName + "=stale\r\n"
	for _, browser := range []string{navigation, "Accept: text/html\r\n", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"} {
		for _, cookie := range []string{"", stale, aliceOnly} {
			for _, credential := range []string{
				"Authorization: Bearer nobody\r\n", "Authorization: Bearer\r\n", "Authorization: Bearer a b\r\n", "Authorization: Basic YTpi\r\n",
				"Authorization: Basic %%%\r\n", "Authorization: Basic Og==\r\nAuthorization: Basic Og==\r\n",
				"X-Gatehouse-Authorization: Bearer nobody\r\n", "X-Gatehouse-Authorization:\r\n", "Proxy-Authorization: Basic Og==\r\n",
			} {
				g.sub("AUTH "+credential+cookie+browser, func(t *testing.T, g *rig) {
					a := g.get("/x", browser+cookie+credential)
					g.denied(a, 401)
					want(t, "Location", a.Header.Get("Location"), "")
					g.denied(g.get("/.gatehouse/", browser+cookie+credential), 401)
				})
			}
		}
		for _, nothing := range []string{"", stale, "Authorization: Basic Og==\r\n", stale + "Authorization: Basic Og==\r\n"} {
			g.sub("a browser, "+nothing+browser, func(_ *testing.T, g *rig) { g.denied(g.get("/x", browser+nothing), 302) })
		}
		for _, key := range []string{"Wandb-Api-Key: k\r\n", "X-Wandb-Api-Key: k\r\n", "Wandb-Api-Key:\r\n" + stale} {
			g.sub("a key, "+key+browser, func(_ *testing.T, g *rig) { g.denied(g.get("/x", browser+key), 401) })
		}
	}
}

// TestBearerChallenge: JWT-41, a token that was refused is named (RFC 6750,
// section 3), and two routes that ask for the same ask once.
func TestBearerChallenge(t *testing.T) {
	const realm, cookie = `Bearer realm="https://gw.test"`, `Cookie realm="https://gw.test", form-action="https://gw.test/.gatehouse/sign-in"`
	routes := func(challenges ...string) func(*Options) {
		return func(o *Options) {
			for i, c := range challenges {
				o.Routes = append(o.Routes, authn.Route{Name: fmt.Sprint("r", i), Challenge: c})
			}
		}
	}
	g := newRig(t, routes(realm, `Basic realm="x"`, realm, `Basic realm="x"`, "Bearer"))
	told := realm + `, error="invalid_token"|Basic realm="x"|Bearer error="invalid_token"|` + cookie
	untold := realm + `|Basic realm="x"|Bearer|` + cookie
	for _, row := range []struct{ id, lines, want string }{
		{"no credential", "", untold},
		{"refused", "Authorization: Bearer nobody\r\n", told},
		{"refused, any case", "Authorization: bEARER nobody\r\nAuthorization: Bearer nobody\r\n", told},
		{"refused, beside", "X-Gatehouse-Authorization: Bearer nobody\r\n", told},
		{"refused, for the proxy", "Proxy-Authorization: bearer nobody\r\n", told},
		{"nobody's, beside", "X-Gatehouse-Authorization: Bearer\r\n", told},
		{"another scheme", "X-Gatehouse-Authorization: Basic YTpi\r\n", untold},
		{"another scheme beside a token", "X-Gatehouse-Authorization: Basic YTpi\r\nAuthorization: Bearer alice\r\n", untold},
		{"a cookie", "Cookie: " + cookieName + "=stale\r\n", untold},
		{"a name that only begins so", "X-Gatehouse-Authorization: BearerX nobody\r\n", untold},
		{"a browser's script", "Sec-Fetch-Mode: cors\r\n", cookie},
		{"a browser's script with a token", "Sec-Fetch-Mode: cors\r\nAuthorization: Bearer nobody\r\n", told},
		{"a browser's script with a token beside", "Sec-Fetch-Mode: cors\r\nX-Gatehouse-Authorization: Bearer nobody\r\n", told},
	} {
		g.sub("JWT-41 "+row.id, func(t *testing.T, g *rig) {
			for _, path := range []string{"/x", "/.gatehouse/userinfo"} {
				a := g.get(path, row.lines)
				g.denied(a, 401)
				want(t, path, strings.Join(a.Header["Www-Authenticate"], "|"), row.want)
			}
		})
	}
	g = newRig(t, func(o *Options) {
		routes(realm, `Basic realm="x"`)(o)
		o.Routes[0].Allow = func(authn.Identity) error { return &authn.NotAllowed{Missing: "You need the group staff."} }
	})
	g.sub("JWT-41 not allowed", func(t *testing.T, g *rig) {
		for lines, challenge := range map[string]string{
			"Authorization: Bearer alice\r\n": realm + `, error="insufficient_scope"`, aliceOnly: "",
		} {
			a := g.get("/x", lines)
			g.denied(a, 403)
			want(t, lines, strings.Join(a.Header["Www-Authenticate"], "|"), challenge)
		}
	})
	g = newRig(t, routes(realm, `Basic realm="x"`, realm, `Basic realm="x"`, "Bearer"))
	g.sub("JWT-41 nothing is kept from one to the next", func(t *testing.T, g *rig) {
		want(t, "challenges", strings.Join(g.get("/x", "").Header["Www-Authenticate"], "|"), untold)
	})
}

// TestWhatClientsShow: W&B clients show their user the first of "errors" in a
// JSON answer, whatever its status.
func TestWhatClientsShow(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Chain = append(authn.Chain{authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
			if b, err := authn.BasicOf(r); err == nil && b.Password == "often" {
				return authn.Identity{}, &authn.Throttled{After: time.Minute}
			}
			return authn.Identity{}, authn.ErrNoCredential
		})}, o.Chain...)
		o.Routes[0].Allow = func(id authn.Identity) error {
			if id.Username == "bob" {
				return &authn.NotAllowed{Missing: "You need the group staff."}
			}
			return nil
		}
	})
	for _, row := range []struct {
		credential string
		status     int
		retry      string
		sentence   string
	}{
		{"", 401, "", "You are not signed in."},
		{"Authorization: Bearer nobody\r\n", 401, "", "Your credential is wrong, or it is no longer valid."},
		{"X-Gatehouse-Authorization: Bearer nobody\r\n", 401, "", "Your credential is wrong, or it is no longer valid."},
		{"Authorization: Bearer bob\r\n", 403, "", "You are signed in as Bob (bob@example.com), but you don't have access. You need the group staff."},
		{"Authorization: " + basic("often") + "\r\n", 429, "60", "Too many attempts. Try again in 60 seconds."},
		{"Authorization: Bearer outage\r\n", 503, "5", "It can’t be checked right now whether you are signed in. Please try again in 5 seconds."},
	} {
		for _, path := range []string{"/graphql", "/files/e/p/r/file_stream", "/x"} {
			for client, accept := range map[string]string{"wandb-core": "", "python-requests/2.32": "Accept: */*\r\n"} {
				g.sub(fmt.Sprint(row.status, path, client, row.credential), func(t *testing.T, g *rig) {
					a := g.raw("POST " + path + " HTTP/1.1\r\nHost: gw.test\r\nContent-Type: application/json\r\nContent-Length: 2\r\nUser-Agent: " + client + "\r\n" +
						accept + row.credential + "\r\n{}")
					g.denied(a, row.status)
					want(t, "Content-Type", a.Header.Get("Content-Type"), "application/json")
					want(t, "Retry-After", a.Header.Get("Retry-After"), row.retry)
					var body struct {
						Errors []struct {
							Message string `json:"message"`
						} `json:"errors"`
					}
					if err := json.Unmarshal([]byte(a.body), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Message != row.sentence {
						t.Errorf("%v in %s, want %q", err, a.body, row.sentence)
					}
				})
			}
		}
	}
}

// TestThrottled: who has tried too often is told how long to wait, as a program
// is and as a browser is, and nothing is looked at.
func TestThrottled(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Chain = append(authn.Chain{authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
			if r.Header.Get("Authorization") == "" {
				return authn.Identity{}, authn.ErrNoCredential
			}
			return authn.Identity{}, fmt.Errorf("ldap: %w", &authn.Throttled{After: 89500 * time.Millisecond})
		})}, o.Chain...)
	})
	a := g.get("/x", "Authorization: Basic eDp5\r\n"+aliceOnly)
	g.denied(a, 429)
	want(t, "Retry-After", a.Header.Get("Retry-After"), "90")
	want(t, "challenge", a.Header.Get("Www-Authenticate"), "")
	g.denied(g.get("/x", navigation+"Authorization: Basic eDp5\r\n"), 429)
	g.denied(g.get("/.gatehouse/userinfo", "Authorization: Basic eDp5\r\n"), 429)
}

// TestBasicChallenge: a program is told that it may send a password; a browser
// is not, or it would open a box of its own for it.
func TestBasicChallenge(t *testing.T) {
	const basic = `Basic realm="https://gw.test", charset="UTF-8"`
	g := newRig(t, func(o *Options) { o.Routes[0].Challenge = basic })
	for name, c := range map[string]struct {
		header string
		basic  bool
	}{
		"program":                   {"", true},
		"browser's script":          {"Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n", false},
		"browser's frame":           {strings.Replace(navigation, "document", "iframe", 1), false},
		"browser that has sent one": {"Sec-Fetch-Mode: cors\r\nAuthorization: Basic YXBpOktFWQ==\r\n", true},
	} {
		a := g.get("/x", c.header)
		g.denied(a, 401)
		list := a.Header["Www-Authenticate"]
		want(t, name, slices.Contains(list, basic), c.basic)
		want(t, name+": cookie", len(list) > 0 && strings.HasPrefix(list[len(list)-1], "Cookie "), true)
	}
}
