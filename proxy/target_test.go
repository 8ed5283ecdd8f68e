package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

func TestRefusedTargets(t *testing.T) {
	g := newRig(t, nil)
	rows := []struct {
		id      string
		targets []string
	}{
		{"PATH-02 raw fragment", []string{"/foo/secret#/public/", "/public/#/admin", "/x?a#b"}},
		{"PATH-04 dot segments", []string{"/public/../admin", "/public/./../admin", "/public/x/../../admin", "/.", "/..", "/a/."}},
		{"PATH-05 encoded dots", []string{"/public/%2e%2e/admin", "/public/.%2e/admin", "/public/%2E./admin", "/%2e", "/public/%2e%2e;x/admin"}},
		{"PATH-06 encoded slash and dots", []string{"/public/..%2fadmin", "/public%2f..%2fadmin", "/public/..%2f..%2fadmin"}},
		{"PATH-07 case of encoding", []string{"/public/..%2Fadmin", "/public/%2E%2e%2fadmin"}},
		{"PATH-10 backslash", []string{`/public\..\admin`, "/public/..%5cadmin", "/%5cadmin", `/\evil.test`, "/public/%5C"}},
		{"PATH-11 empty segments and dots", []string{"/./admin", "/help/..//admin", "///admin/../admin//%2Ftest"}},
		{"PATH-12 control bytes", []string{"/admin%00.css", "/public%00/../admin", "/public%0a/admin", "/public%7f", "/public/%0d%0aX:y", "/public/%1f"}},
		{"PATH-14 overlong UTF-8", []string{"/public/%c0%ae%c0%ae/admin", "/public/%ff", "/%u002e%u002e/", "/public/%e0%80%af"}},
		{"PATH-18 dot at the end", []string{"/admin/."}},
		{"PATH-19 own paths", []string{"/oidc/../admin", "/oidc/callback/..%2f..%2fadmin", "/.gatehouse/../../admin", "/.gatehouse/sign-in/..;/x"}},
		{"PATH-20 prefix and dots", []string{"/app/../oidc/x"}},
		{"PATH-22 no path", []string{"*", "admin", "?x", "", "http:", "/a b"}},
		{"PATH-36 well-known names", []string{"/robots.txt/../admin", "/.well-known/../admin"}},
		{"dots with parameters", []string{"/public/..;/admin", "/public/..;a=b/admin", "/public/.;/x"}},
	}
	for _, row := range rows {
		for _, target := range row.targets {
			for _, session := range []string{"", aliceOnly} {
				g.sub(fmt.Sprintf("%s %q %v", row.id, target, session != ""), func(_ *testing.T, g *rig) {
					g.denied(g.get(target, session), 400)
				})
			}
		}
	}
	g.sub("PATH-22 OPTIONS *", func(_ *testing.T, g *rig) {
		g.denied(g.raw("OPTIONS * HTTP/1.1\r\nHost: gw.test\r\n\r\n"), 400)
	})
}

// TestStricter holds targets that are legal and need a session all the same;
// with one they pass byte for byte.
func TestStricter(t *testing.T) {
	g := newRig(t, nil)
	rows := []struct {
		id      string
		targets []string
	}{
		{"PATH-01 query looks public", []string{"/api/private?path=/public/x", "/x?/public/"}},
		{"PATH-06 encoded slash", []string{"/%2fadmin", "/public%2fx", "/public/a%2Fb"}},
		{"PATH-07 encoded letters", []string{"/%61dmin", "/%41DMIN"}},
		{"PATH-08 double encoding", []string{"/public/%252e%252e%252fadmin", "/public/%2561dmin", "/public/100%25"}},
		{"PATH-11 empty segments", []string{"//admin", "/public//admin", "//public/x", "//admin%2Ftest"}},
		{"PATH-14 look-alikes", []string{"/%e2%88%95public/x", "/%ef%bc%8e%ef%bc%8e/admin"}},
		{"PATH-15 suffixes", []string{"/admin/x.css", "/admin;x.css", "/admin%3f.css", "/admin/%2ex.css", "/admin?.css"}},
		{"PATH-16 prefix without boundary", []string{"/healthadmin", "/health../admin", "/health%2fadmin", "/health/", "/publicx", "/public"}},
		{"PATH-17 anchored", []string{"/private/public/x", "/private/health"}},
		{"PATH-18 case and tails", []string{"/ADMIN", "/admin/", "/admin.", "/admin%20", "/HEALTH", "/Public/x", "/health%20"}},
		{"PATH-19 near our own", []string{"/oidc/callbackX", "/OIDC/callback", "/.gatehousex", "/logout/", "/%2egatehouse%2fsign-in", "//.gatehouse/sign-in", "//logout"}},
		{"PATH-31 queries that net/url can't read", []string{"/x?a=1;admin=true", "/x?a=%zz&b=1", "/x?a=1&&;;", "/x?"}},
		{"PATH-32 queries byte for byte", []string{"/x?x=a%26admin=1", "/x?x=a+b%20c", "/x?%61dmin=1", "/x?a=%2F%2f&" + strings.Repeat("a&", 12000)}},
		{"PATH-35 no wildcards", []string{"/v1/a%2fadmin/public", "/v1/*/public", "/v1//public"}},
		{"PATH-36 well-known names", []string{"/admin/favicon.ico", "/admin/.well-known/x", "/favicon.ico"}},
		{"PATH-37 Unicode", []string{"/%E2%84%AAelvin", "/adm%C4%B1n", "/e%CC%81", "/%C3%A9"}},
		{"bytes that net/url would encode anew", []string{"/x[1]/y", "/a!$&'()*+,;=:@~-._z", "/a%2Fb;c=d,e"}},
	}
	for _, row := range rows {
		for _, target := range row.targets {
			name := target[:min(len(target), 40)]
			g.sub(fmt.Sprintf("%s %s", row.id, name), func(t *testing.T, g *rig) {
				g.denied(g.get(target, ""), 401)
				want(t, "with a session", g.get(target, aliceOnly).StatusCode, 200)
				want(t, "forwarded", g.last().Target, target)
			})
		}
	}
}

func TestRespelled(t *testing.T) {
	g := newRig(t, nil)
	for target, sent := range map[string]string{
		`/a%2Fb{c}|"<>^` + "`": "/a%2Fb%7Bc%7D%7C%22%3C%3E%5E%60",
		"/ü/a%2fb":             "/%C3%BC/a%2fb",
		"/a{b}":                "/a%7Bb%7D",
		"http://gw.test":       "/",
		"http://gw.test?a=b":   "/?a=b",
		"HTTP://GW.TEST/x%2fy": "/x%2fy",
	} {
		g.sub(target, func(t *testing.T, g *rig) {
			want(t, "status", g.get(target, aliceOnly).StatusCode, 200)
			want(t, "forwarded", g.last().Target, sent)
		})
	}
}

func TestPublic(t *testing.T) {
	g := newRig(t, nil)
	for _, target := range []string{"/public/", "/public/x", "/public/a/b.css?x=1;y", "/health", "/public/x;y", "/public/%61", "/public/..x", "/public/.well-known"} {
		g.sub(target, func(t *testing.T, g *rig) {
			want(t, "status", g.get(target, "").StatusCode, 200)
			want(t, "forwarded", g.last().Target, target)
		})
	}
	g.sub("PATH-26 rules hold for every method", func(t *testing.T, g *rig) {
		want(t, "POST", g.raw("POST /health HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 0\r\n\r\n").StatusCode, 200)
		want(t, "HEAD", g.raw("HEAD /health HTTP/1.1\r\nHost: gw.test\r\n\r\n").StatusCode, 200)
	})
	g.sub("a session on a public path says nothing", func(t *testing.T, g *rig) {
		g.get("/public/x", aliceOnly+"Authorization: Bearer bob\r\n")
		onlyOurs(t, g.last(), nil)
		want(t, "Cookie", g.last().Header.Get("Cookie"), "")
	})
}

func TestMethods(t *testing.T) {
	g := newRig(t, nil)
	for _, session := range []string{"", aliceOnly} {
		for _, method := range []string{"TRACE", "CONNECT"} {
			g.sub("PATH-24 "+method+session, func(t *testing.T, g *rig) {
				a := g.raw(method + " /x HTTP/1.1\r\nHost: gw.test\r\n" + session + "\r\n")
				g.denied(a, 405, 400)
			})
		}
		for _, method := range []string{"get", "Get", "G3T", "M-SEARCH", "X_Y"} {
			g.sub("PATH-24 "+method+session, func(_ *testing.T, g *rig) {
				g.denied(g.raw(method+" /public/x HTTP/1.1\r\nHost: gw.test\r\n"+session+"\r\n"), 400)
			})
		}
	}
	for _, method := range []string{"FOO", "TRACK", "PROPFIND", "QUERY", "DELETE"} {
		g.sub("PATH-24 "+method, func(t *testing.T, g *rig) {
			request := method + " /admin HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 0\r\n"
			g.denied(g.raw(request+navigation+"\r\n"), 401)
			want(t, "with a session", g.raw(request+aliceOnly+"\r\n").StatusCode, 200)
			want(t, "method", g.last().Method, method)
		})
	}
	g.sub("405 says what is allowed", func(t *testing.T, g *rig) {
		want(t, "Allow", g.raw("TRACE /x HTTP/1.1\r\nHost: gw.test\r\n\r\n").Header.Get("Allow"), someMethods)
	})
}

func TestHosts(t *testing.T) {
	g := newRig(t, func(o *Options) {
		b := o.Upstreams[0]
		b.Name, b.Hosts, b.Public = "b", []string{"b.test", "c.test"}, []string{"/open"}
		api := b
		api.Name, api.Paths, api.Public = "api", []string{"/api"}, nil
		o.Upstreams = append(o.Upstreams, b, api)
	})
	ask := func(target, host, more string) answer {
		return g.raw("GET " + target + " HTTP/1.1\r\n" + host + more + "\r\n")
	}
	for _, host := range []string{"GW.Test", "gw.test.", "gw.test:80", "gw.test:443", "Gw.Test.:8080", "b.test", "B.TEST.:1"} {
		g.sub("PATH-27 "+host, func(t *testing.T, g *rig) {
			g.denied(ask("/x", "Host: "+host+"\r\n", ""), 401)
			want(t, "with a session", ask("/x", "Host: "+host+"\r\n", aliceOnly).StatusCode, 200)
			want(t, "Host", g.last().Host, strings.NewReplacer("est.", "est", "EST.", "EST").Replace(host)) // some upstreams know no such dot
			want(t, "X-Forwarded-Host", g.last().Header.Get("X-Forwarded-Host"), g.last().Host)
		})
	}
	for _, host := range []string{
		"Host: evil.test\r\n", "Host:\r\n", "Host: 127.0.0.1\r\n", "Host: gw%2etest\r\n", "Host: gw.test;proto=https\r\n", "Host: gw.test:8x\r\n",
		"Host: gw.test.evil.test\r\n", "Host: gw.test..\r\n", "Host: [::1]\r\n", "Host: :80\r\n", "Host: evil.test:80:80\r\n",
		"Host: gw.test:123456\r\n", "Host: gw.test.:123456\r\n", "Host: gw.test,b.test\r\n",
	} {
		g.sub("PATH-28 "+strings.TrimSpace(host), func(t *testing.T, g *rig) {
			for _, more := range []string{"", aliceOnly, navigation} {
				a := ask("/public/x", host, more)
				g.denied(a, 421)
				want(t, "Location", a.Header.Get("Location"), "")
			}
		})
	}
	g.sub("PATH-28 HTTP/1.0 without a host", func(_ *testing.T, g *rig) {
		g.denied(g.raw("GET /public/x HTTP/1.0\r\n\r\n"), 421)
	})
	g.sub("absolute form goes before Host", func(t *testing.T, g *rig) {
		g.denied(ask("http://evil.test/public/x", "Host: gw.test\r\n", ""), 421)
		want(t, "ours", ask("http://gw.test/public/x", "Host: evil.test\r\n", "").StatusCode, 200)
		want(t, "Host", g.last().Host, "gw.test")
	})
	g.sub("FWD-23 a public path of one host is none of another", func(t *testing.T, g *rig) {
		g.denied(ask("/open", "Host: gw.test\r\n", ""), 401)
		want(t, "b", ask("/open", "Host: b.test\r\n", "").StatusCode, 200)
	})
	for target, name := range map[string]string{
		"/api": "api", "/api/x": "api", "/apix": "b", "/": "b", "/API": "b", "/api%2fx": "b", "//api": "b", "/%61pi/x": "api", "/api;x": "b", "/api/a%2fb": "api",
	} {
		g.sub("PATH-16 longest path "+target, func(t *testing.T, g *rig) {
			req, err := http.NewRequest(http.MethodGet, "http://c.test", nil)
			if err != nil {
				t.Fatal(err)
			}
			if req.URL, err = url.ParseRequestURI(target); err != nil {
				t.Fatal(err)
			}
			want(t, "upstream", g.gw.places.find(req).title(), name)
		})
	}
	g.sub("a host without an upstream for the path", func(t *testing.T, g *rig) {
		only := newRig(t, func(o *Options) { o.Upstreams[0].Paths = []string{"/app"}; o.Upstreams[0].Public = nil })
		only.denied(only.get("/other", aliceOnly), 404)
		only.denied(only.get("/appx", aliceOnly), 404)
		only.denied(only.get("/app//admin", ""), 401)
	})
}

func TestHostNames(t *testing.T) {
	for in, name := range map[string]string{
		"a.test": "a.test", "A.Test.:80": "a.test", "[::1]:8080": "[::1]", "[::1]": "[::1]", "a:b": "", "a:": "a", "": "", "a.test:80@evil": "",
		"a@b": "a@b", "[::1]x:1": "[::1]x",
	} {
		want(t, in, hostName(in), name)
	}
}

func TestLongTargets(t *testing.T) {
	g := newRig(t, nil)
	for size, status := range map[int]int{8 << 10: 200, 100 << 10: 431, 1 << 20: 431} {
		g.sub(fmt.Sprint("PATH-39 URL of ", size), func(t *testing.T, g *rig) {
			want(t, "status", g.get("/public/"+strings.Repeat("a", size), "").StatusCode, status)
		})
	}
	g.sub("DOS-04 header volume", func(t *testing.T, g *rig) {
		want(t, "many lines", g.get("/public/x", strings.Repeat("X-A: b\r\n", 12000)).StatusCode, 431)
		want(t, "one long line", g.get("/public/x", "X-A: "+strings.Repeat("b", 80<<10)+"\r\n").StatusCode, 431)
	})
}

func TestBadSettings(t *testing.T) {
	g := &rig{t: t, log: &authntest.Log{}, ender: &ender{}}
	for name, change := range map[string]func(*Options){
		"path in url":     func(o *Options) { o.Upstreams[0].URL = "http://a/b" },
		"scheme":          func(o *Options) { o.Upstreams[0].URL = "ftp://a" },
		"user":            func(o *Options) { o.Upstreams[0].URL = "http://u:p@a" },
		"relative socket": func(o *Options) { o.Upstreams[0].URL = "unix://run/app.sock" },
		"no url":          func(o *Options) { o.Upstreams[0].URL = "http://a b" },
		"no CA":           func(o *Options) { o.Upstreams[0].URL, o.Upstreams[0].TLS.CAFile = "https://a", "/nowhere" },
		"contract":        func(o *Options) { o.Headers.Identity = []config.Header{{Name: "X", From: "y"}} },
		"public URL":      func(o *Options) { o.PublicURL = &url.URL{Host: "a/b"} },
	} {
		t.Run(name, func(t *testing.T) {
			o := g.options("http://127.0.0.1:1")
			change(&o)
			if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), "proxy: ") {
				t.Errorf("got %v", err)
			}
		})
	}
}
