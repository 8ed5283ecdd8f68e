package proxy

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
)

const (
	// ours is alice's credential for the gateway, appKey one of the application,
	// and aliceKey one that the gateway knows too.
	ours     = "s3cret-of-alice"
	appKey   = "app-key-of-nobody"
	aliceKey = "app-key-of-alice"
)

// keys is an authenticator of the application's keys.
func keys(r *http.Request) (authn.Identity, error) {
	sent := append(r.Header["Wandb-Api-Key"], r.Header["X-Wandb-Api-Key"]...)
	if b, err := authn.BasicOf(r); err == nil {
		sent = append(sent, b.Password)
	}
	for _, key := range sent {
		switch key {
		case aliceKey:
			id := person("alice")
			id.Onward = true
			return id, nil
		case appKey:
			return authn.Identity{}, fmt.Errorf("apikey: %w", authn.ErrApplication)
		}
	}
	return authn.Identity{}, authn.ErrNoCredential
}

// newKeyRig has an upstream that is passed Authorization, at /pass, and one that is not.
func newKeyRig(t *testing.T, change func(*Options)) *rig {
	g := newRig(t, func(o *Options) {
		o.Chain = append(authn.Chain{authn.AuthenticatorFunc(keys)}, o.Chain...)
		pass := o.Upstreams[0]
		pass.Name, pass.Paths, pass.Identity, pass.Public = "pass", []string{"/pass"}, "passthrough", []string{"/pass/public"}
		other := o.Upstreams[0]
		other.Name, other.Paths, other.Public = "other", []string{"/other"}, nil
		other.Identity = "passthrough"
		o.Upstreams = append(o.Upstreams, pass, other)
		o.Routes[0].Upstreams = []string{"app", "pass"} // the other knows no such keys
		if change != nil {
			change(o)
		}
	})
	g.people[ours] = person("alice")
	return g
}

// secret fails if the upstream or the log got the credential for the gateway.
func (g *rig) secret() {
	g.t.Helper()
	for _, s := range g.up.all() {
		if all := fmt.Sprint(s.Header, s.Trailer, s.Target); strings.Contains(all, ours) {
			g.t.Errorf("the upstream got the gateway's credential: %s", all)
		}
		for name := range s.Header {
			if strings.Contains(fold(name), "gatehouse-authorization") || strings.Contains(fold(name), "proxy-authorization") {
				g.t.Errorf("the upstream got %s", name)
			}
		}
	}
	if strings.Contains(g.log.String(), ours) {
		g.t.Errorf("the log holds a credential: %s", g.log)
	}
}

// apps are the application's own credentials, and what the upstream got of them.
const apps = "Authorization: Basic \tYXBpOktFWQ==  x\r\nWandb-Api-Key: k1\r\nX-WANDB-API-KEY: k2\r\n"

func onwards(s seen) string {
	return strings.Join(s.Header["Authorization"], "|") + " " + s.Header.Get("Wandb-Api-Key") + " " + s.Header.Get("X-Wandb-Api-Key")
}

const allApps = "Basic \tYXBpOktFWQ==  x k1 k2"

func TestCredentialBeside(t *testing.T) {
	g := newKeyRig(t, nil)
	alice := person("alice")
	good := []struct{ name, lines string }{
		{"X-Gatehouse-Authorization", "X-Gatehouse-Authorization: Bearer " + ours + "\r\n"},
		{"any case", "x-GATEHOUSE-authorization: Bearer " + ours + "\r\n"},
		{"Proxy-Authorization", "Proxy-Authorization: Bearer " + ours + "\r\n"},
		{"any case of that", "PROXY-authorization: Bearer " + ours + "\r\n"},
		{"HDR-11 Connection names it", "X-Gatehouse-Authorization: Bearer " + ours + "\r\nConnection: X-Gatehouse-Authorization\r\n"},
		{"beside another session", "X-Gatehouse-Authorization: Bearer " + ours + "\r\nCookie: " + cookieName + "=bob\r\n"},
		{"an odd spelling beside it", "X-Gatehouse-Authorization: Bearer " + ours + "\r\nX_Gatehouse_Authorization: Bearer bob\r\n"},
	}
	for _, row := range good {
		for _, path := range []string{"/x", "/pass/x"} {
			g.sub("HDR-26 "+row.name+" "+path, func(t *testing.T, g *rig) {
				want(t, "status", g.get(path, row.lines+apps).StatusCode, 200)
				onlyOurs(t, g.last(), &alice)
				want(t, "the application's own", onwards(g.last()), allApps)
				g.secret()
			})
		}
		g.sub("HDR-01 "+row.name+", public", func(t *testing.T, g *rig) {
			want(t, "status", g.get("/public/x", row.lines+apps).StatusCode, 200)
			onlyOurs(t, g.last(), nil)
			want(t, "credentials", onwards(g.last()), "  ")
			g.secret()
		})
	}
	g.sub("who the gateway says it is", func(t *testing.T, g *rig) {
		a := g.get("/.gatehouse/userinfo", good[0].lines+"Authorization: Bearer bob\r\n")
		want(t, "status", a.StatusCode, 200)
		want(t, "alice", strings.Contains(a.body, `"sub-alice"`), true)
		g.secret()
	})
	g.sub("the chain sees no other credential", func(t *testing.T, g *rig) {
		// The key would be the application's to judge, the cookie would be bob's.
		more := "Wandb-Api-Key: " + appKey + "\r\nX-Wandb-Api-Key: " + appKey + "\r\nCookie: " + cookieName + "=bob; a=1\r\n"
		want(t, "status", g.get("/x", good[0].lines+more).StatusCode, 200)
		onlyOurs(t, g.last(), &alice)
		want(t, "credentials", onwards(g.last()), " "+appKey+" "+appKey)
		want(t, "Cookie", g.last().Header.Get("Cookie"), "a=1")
	})
	g.sub("a key that the gateway knows, beside another", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/x", "X-Gatehouse-Authorization: "+basic(aliceKey)+"\r\nAuthorization: "+basic("other")+"\r\n").StatusCode, 200)
		onlyOurs(t, g.last(), &alice)
		want(t, "credentials", onwards(g.last()), basic("other")+"  ")
	})
}

// basic is an API key as W&B clients send it.
func basic(key string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth("api", key)
	return r.Header.Get("Authorization")
}

// TestTakeBeside: nothing behind it, the gateway's own paths too, sees it.
func TestTakeBeside(t *testing.T) {
	h := http.Header{"X-Gatehouse-Authorization": {"a", "b"}, "Proxy-Authorization": {""}, "Authorization": {"c"}}
	want(t, "taken", fmt.Sprintf("%q", takeBeside(h)), `["a" "b" ""]`)
	want(t, "left", fmt.Sprint(h), "map[Authorization:[c]]")
	want(t, "none", takeBeside(h) == nil, true)
}

func TestCredentialBesideRefused(t *testing.T) {
	g := newKeyRig(t, nil)
	one := "X-Gatehouse-Authorization: Bearer " + ours + "\r\n"
	// Whatever else would do is there too.
	others := map[string]string{
		"alone": "", "a session": aliceOnly, "Authorization": "Authorization: Bearer alice\r\n", "a key": "Authorization: " + basic(appKey) + "\r\n",
		"a navigation": navigation + aliceOnly, "curl": "Accept: text/html\r\n",
	}
	for name, lines := range map[string]string{
		"wrong":                             "X-Gatehouse-Authorization: Bearer nobody\r\n",
		"wrong, for the proxy":              "Proxy-Authorization: Bearer nobody\r\n",
		"twice":                             one + one,
		"twice, other case":                 one + strings.ToUpper(one[:25]) + one[25:],
		"one of each":                       one + "Proxy-Authorization: Bearer " + ours + "\r\n",
		"one of each, one empty":            one + "Proxy-Authorization:\r\n",
		"twice, one wrong":                  one + "X-Gatehouse-Authorization: Bearer nobody\r\n",
		"empty":                             "X-Gatehouse-Authorization:\r\n",
		"empty, for the proxy":              "Proxy-Authorization: \r\n",
		"of no known scheme":                "X-Gatehouse-Authorization: Digest x\r\n",
		"no scheme":                         "X-Gatehouse-Authorization: " + ours + "\r\n",
		"empty name and password":           "X-Gatehouse-Authorization: Basic Og==\r\n",
		"the application's":                 "X-Gatehouse-Authorization: " + basic(appKey) + "\r\n",
		"wrong, and Connection mentions it": "X-Gatehouse-Authorization: Bearer nobody\r\nConnection: X-Gatehouse-Authorization\r\n",
	} {
		for beside, more := range others {
			g.sub("HDR-26 "+name+", beside "+beside, func(t *testing.T, g *rig) {
				a := g.get("/x", lines+more)
				g.denied(a, 401)
				want(t, "challenged", len(a.Header["Www-Authenticate"]) > 0, true)
				want(t, "challenged for a proxy", a.Header.Get("Proxy-Authenticate"), "")
				g.denied(g.get("/.gatehouse/userinfo", lines+more), 401)
				g.secret()
			})
		}
		g.sub("not looked at on a public path, "+name, func(t *testing.T, g *rig) {
			want(t, "status", g.get("/public/x", lines+aliceOnly).StatusCode, 200)
			onlyOurs(t, g.last(), nil)
			g.secret()
		})
	}
	g.sub("can't be found out", func(_ *testing.T, g *rig) {
		g.denied(g.get("/x", "X-Gatehouse-Authorization: Bearer outage\r\n"+aliceOnly), 503)
	})
}

// TestOddCredentials: HDR-04, what only looks like a credential is none, and goes.
func TestOddCredentials(t *testing.T) {
	g := newKeyRig(t, nil)
	alice := person("alice")
	for _, name := range []string{
		"X_Gatehouse_Authorization", "X-Gatehouse_Authorization", "X.Gatehouse.Authorization", "x_gatehouse-authorization", "X-Gatehouse-Authorization2",
		"Proxy_Authorization", "Proxy.Authorization", "X-Gatehouse-Proxy-Authorization",
	} {
		g.sub("HDR-04 "+name, func(t *testing.T, g *rig) {
			line := name + ": Bearer " + ours + "\r\n"
			g.denied(g.get("/x", line), 401)
			want(t, "with a session", g.get("/x", line+aliceOnly).StatusCode, 200)
			onlyOurs(t, g.last(), &alice)
			want(t, "public", g.get("/public/x", line).StatusCode, 200)
			g.secret()
		})
	}
	for _, name := range []string{"Wandb_Api_Key", "WANDB.API.KEY", "X_Wandb_Api_Key", "X-Wandb_Api-Key"} {
		g.sub("HDR-04 "+name, func(t *testing.T, g *rig) {
			for _, path := range []string{"/x", "/pass/x", "/public/x"} {
				g.forget()
				g.get(path, name+": k\r\nX-Gatehouse-Authorization: Bearer "+ours+"\r\n")
				for got := range g.last().Header {
					if strings.HasSuffix(fold(got), "wandb-api-key") {
						t.Errorf("%s: the upstream got %s", path, got)
					}
				}
			}
		})
	}
}

func TestCredentialBesideHTTP2(t *testing.T) {
	g := newKeyRig(t, nil)
	alice := person("alice")
	for _, row := range []struct {
		id   string
		more []string
		want string
	}{
		{"accepted", []string{"x-gatehouse-authorization", "Bearer " + ours}, "200"},
		{"for the proxy", []string{"proxy-authorization", "Bearer " + ours}, "200"},
		{"twice", []string{"x-gatehouse-authorization", "Bearer " + ours, "x-gatehouse-authorization", "Bearer " + ours}, "401"},
		{"both", []string{"x-gatehouse-authorization", "Bearer " + ours, "proxy-authorization", "Bearer " + ours}, "401"},
		{"wrong", []string{"x-gatehouse-authorization", "Bearer nobody", "cookie", aliceCookie}, "401"},
		{"empty", []string{"x-gatehouse-authorization", "", "cookie", aliceCookie}, "401"},
		{"HDR-04 odd", []string{"x_gatehouse_authorization", "Bearer " + ours}, "401"},
	} {
		g.sub("HDR-26 "+row.id, func(t *testing.T, g *rig) {
			c := g.h2()
			c.headers(1, true, with(pseudo(), with(row.more, "authorization", "Basic QUJD", "wandb-api-key", "k1")...)...)
			want(t, "outcome", c.outcome(1), row.want)
			if row.want == "200" {
				onlyOurs(t, g.last(), &alice)
				want(t, "credentials", onwards(g.last()), "Basic QUJD k1 ")
			}
			g.secret()
		})
	}
	g.sub("HDR-12 in HTTP/1.1's trailers", func(t *testing.T, g *rig) {
		g.raw("POST /x HTTP/1.1\r\nHost: gw.test\r\n" + aliceOnly + "Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-Wandb-Api-Key, X-Gatehouse-Authorization\r\n\r\n" +
			"1\r\na\r\n0\r\nX-Sum: 1\r\nX-Wandb-Api-Key: " + ours + "\r\nX-Gatehouse-Authorization: Bearer " + ours + "\r\n\r\n")
		want(t, "trailers", fmt.Sprint(g.last().Trailer), "map[X-Sum:[1]]")
		g.secret()
	})
}

func TestCredentialInTrailers(t *testing.T) {
	names := []string{"x-gatehouse-authorization", "wandb-api-key", "x-wandb-api-key", "x_wandb_api_key", "x-wandb-username"}
	for id, names := range map[string][]string{"HDR-12": names, "HDR-12 HDR-13 and what HTTP/2 forbids": with(names, "proxy-authorization", "upgrade")} {
		t.Run(id, func(t *testing.T) {
			g := newKeyRig(t, nil) // its own: what is cut off may reach the upstream after its client has been told
			c := g.h2()
			c.headers(1, false, with(pseudo(":method", "POST"), "cookie", aliceCookie, "trailer", strings.Join(names, ", ")+", x-sum")...)
			c.data(1, false, "hello")
			fields := []string{"x-sum", "1"}
			for _, name := range names {
				fields = append(fields, name, "Bearer "+ours)
			}
			c.headers(1, true, fields...)
			got := c.outcome(1)
			if id == "HDR-12" {
				want(t, "outcome", got, "200")
			}
			if got == "200" {
				want(t, "trailers", fmt.Sprint(g.last().Trailer), "map[X-Sum:[1]]")
			}
			g.secret()
		})
	}
}

func TestCredentialBesideWebSocket(t *testing.T) {
	g := newKeyRig(t, nil)
	g.up.sockets(t)
	alice := person("alice")
	open := func(g *rig, path, more string) int {
		c := g.dial()
		fmt.Fprint(c, "GET "+path+" HTTP/1.1\r\nHost: gw.test\r\n"+handshake+more+"\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			g.t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	beside := "X-Gatehouse-Authorization: Bearer " + ours + "\r\n"
	g.sub("WS-01 accepted", func(t *testing.T, g *rig) {
		want(t, "status", open(g, "/live", beside+apps), 101)
		onlyOurs(t, g.last(), &alice)
		want(t, "credentials", onwards(g.last()), allApps)
		g.secret()
	})
	g.sub("WS-07 public", func(t *testing.T, g *rig) {
		want(t, "status", open(g, "/public/ws", beside+apps), 101)
		onlyOurs(t, g.last(), nil)
		want(t, "credentials", onwards(g.last()), "  ")
		g.secret()
	})
	g.sub("WS-01 refused", func(t *testing.T, g *rig) {
		want(t, "wrong", open(g, "/live", "Proxy-Authorization: Bearer nobody\r\n"+aliceOnly+"Origin: "+gwURL+"\r\n"), 401)
		g.untouched()
	})
	g.sub("WS-02 the application's credential", func(t *testing.T, g *rig) {
		key := "Authorization: " + basic(appKey) + "\r\n"
		want(t, "another site", open(g, "/live", key+"Origin: https://evil.test\r\n"), 403)
		want(t, "no Origin and a cookie", open(g, "/live", key+aliceOnly), 403)
		g.untouched()
		want(t, "a program", open(g, "/live", key), 101)
		onlyOurs(t, g.last(), nil)
		want(t, "credentials", onwards(g.last()), basic(appKey)+"  ")
	})
}

func TestCredentialOfTheApplication(t *testing.T) {
	g := newKeyRig(t, nil)
	for name, lines := range map[string]string{
		"Basic":           "Authorization: " + basic(appKey) + "\r\n",
		"wandb-api-key":   "wandb-api-key: " + appKey + "\r\n",
		"x-wandb-api-key": "X-WANDB-API-KEY: " + appKey + "\r\n",
		"a session, too":  "wandb-api-key: " + appKey + "\r\n" + aliceOnly,
	} {
		g.sub("HDR-26 goes on with "+name, func(t *testing.T, g *rig) {
			g.up.then = func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "public, max-age=60") }
			defer func() { g.up.then = nil }()
			a := g.get("/x", lines+"X-Forwarded-User: eve\r\nX-Gatehouse-Teams: admins\r\n")
			want(t, "status", a.StatusCode, 200)
			want(t, "Cache-Control", a.Header.Get("Cache-Control"), "max-age=60, private")
			onlyOurs(t, g.last(), nil)
			want(t, "the key", strings.Contains(fmt.Sprint(g.last().Header), appKey) || onwards(g.last()) == basic(appKey)+"  ", true)
			want(t, "our cookie", g.last().Header.Get("Cookie"), "")
			l := g.lineOf(a)
			want(t, "line", fmt.Sprint(l.App, l.Route+l.Subject), "true")
		})
		g.sub("HDR-28 not on a public path, "+name, func(t *testing.T, g *rig) {
			g.get("/public/x", lines)
			want(t, "credentials", onwards(g.last()), "  ")
		})
	}
	g.sub("HDR-26 is nobody to the gateway itself", func(t *testing.T, g *rig) {
		key := "Authorization: " + basic(appKey) + "\r\n"
		g.denied(g.get("/.gatehouse/userinfo", key), 401)
		g.denied(g.get("/.gatehouse/", key+navigation), 401)
		g.denied(g.get("/.gatehouse/", "wandb-api-key: "+appKey+"\r\n"+navigation), 401)
		want(t, "signed out", g.get("/.gatehouse/signed-out", key).StatusCode, 200)
	})
	g.sub("HDR-26 identity and credential", func(t *testing.T, g *rig) {
		alice := person("alice")
		for _, lines := range []string{
			"Authorization: " + basic(aliceKey) + "\r\n", "Wandb-Api-Key: " + aliceKey + "\r\n",
			"Authorization: " + basic(aliceKey) + "\r\nX-Wandb-Api-Key: " + aliceKey + "\r\n", // an OTLP exporter with a netrc
			"Authorization: Basic Og==\r\nX-Wandb-Api-Key: " + aliceKey + "\r\n",
		} {
			g.forget()
			a := g.get("/x", lines)
			want(t, "status", a.StatusCode, 200)
			onlyOurs(t, g.last(), &alice)
			for line := range strings.Lines(lines) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				want(t, name, g.last().Header.Get(name), value)
			}
			l := g.lineOf(a)
			want(t, "line", fmt.Sprint(l.App, l.Route+l.Subject), "falsecorpsub-alice")
		}
	})
	g.sub("HDR-26 identity by one of two keys", func(_ *testing.T, g *rig) {
		for _, lines := range []string{
			"Authorization: " + basic("bobs") + "\r\nX-Wandb-Api-Key: " + aliceKey + "\r\n",
			"Authorization: " + basic(aliceKey) + "\r\nWandb-Api-Key: bobs\r\n",
			"Authorization: Bearer wb_at_bobs\r\nWandb-Api-Key: " + aliceKey + "\r\n",
			"Authorization: Token bobs\r\nWandb-Api-Key: " + aliceKey + "\r\n",
			"X-Wandb-Api-Key: bobs\r\nWandb-Api-Key: " + aliceKey + "\r\n",
			"Wandb-Api-Key: bobs\r\nWandb-Api-Key: " + aliceKey + "\r\n",
			"Authorization: Basic Og==\r\nAuthorization: Token bobs\r\nWandb-Api-Key: " + aliceKey + "\r\n",
		} {
			g.denied(g.get("/x", lines), 401)
			g.denied(g.get("/x", lines+navigation), 401)
		}
	})
	g.sub("HDR-26 to another application it is a stranger's", func(t *testing.T, g *rig) {
		for _, lines := range []string{"Authorization: " + basic(appKey) + "\r\n", "Wandb-Api-Key: " + appKey + "\r\n"} {
			g.denied(g.get("/other/x", lines), 401)
			g.denied(g.get("/other/x", lines+aliceOnly), 401)
		}
		alice := person("alice")
		for _, lines := range []string{"Authorization: " + basic(aliceKey) + "\r\n", "Wandb-Api-Key: " + aliceKey + "\r\n"} {
			g.forget()
			want(t, "status", g.get("/other/x", lines).StatusCode, 200)
			onlyOurs(t, g.last(), &alice)
			want(t, "credentials", onwards(g.last()), "  ")
		}
	})
	g.sub("HDR-26 the gateway's own goes nowhere", func(t *testing.T, g *rig) {
		for _, own := range []string{"gatehouse-" + strings.Repeat("a1B2", 10), "gh_at_" + strings.Repeat("a1B2", 10), "Gatehouse-" + strings.Repeat("a1B2", 9)} {
			g.forget()
			g.get("/pass/x", "X-Gatehouse-Authorization: Bearer "+ours+"\r\nAuthorization: "+basic(own)+"\r\nWandb-Api-Key: "+own+"\r\n")
			want(t, own, onwards(g.last()), "  ")
			g.forget()
			g.get("/pass/x", aliceOnly+"Authorization: Bearer "+own+"\r\n")
			if len(g.up.all()) > 0 {
				want(t, own, onwards(g.last()), "  ")
			}
			for _, value := range []string{"Foo Bearer " + own, basicOf(own, ""), basicOf("api", own+".")} {
				g.forget()
				g.get("/pass/x", "X-Gatehouse-Authorization: Bearer "+ours+"\r\nAuthorization: "+value+"\r\n")
				want(t, value, onwards(g.last()), "  ")
			}
		}
	})
	g.sub("HDR-28 not for who comes by a session", func(t *testing.T, g *rig) {
		g.get("/x", aliceOnly+"Wandb-Api-Key: other\r\nX-Wandb-Api-Key: other\r\nAuthorization: "+basic("other")+"\r\n")
		want(t, "credentials", onwards(g.last()), "  ")
		g.forget()
		g.get("/pass/x", aliceOnly+"Wandb-Api-Key: other\r\nAuthorization: "+basic("other")+"\r\n")
		want(t, "passthrough", onwards(g.last()), basic("other")+" other ")
		g.forget()
		g.get("/pass/public", aliceOnly+"Wandb-Api-Key: other\r\nAuthorization: "+basic("other")+"\r\n")
		want(t, "public", onwards(g.last()), "  ")
	})
}

// basicOf is a Basic credential of any name.
func basicOf(username, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(username, password)
	return r.Header.Get("Authorization")
}
