package proxy

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

// asking is a rig that proxies on loopback may ask.
func asking(t *testing.T, change func(*Options)) *rig {
	return newRig(t, func(o *Options) {
		rules(o)
		o.Upstreams = nil
		o.Paths.OAuth2Proxy = true
		o.TrustedProxies = []netip.Prefix{mustPrefix("127.0.0.0/8")}
		o.ForwardAuth = &config.ForwardAuth{Hosts: []string{gwHost, "b.test", "app.test"}, Public: []string{"/public/"}}
		o.Assertions = signer(t)
		if change != nil {
			change(o)
		}
	})
}

// questions are how the proxies ask about a request.
func questions() map[string]func(method, host, target, headers string) string {
	forwarded := func(at string) func(method, host, target, headers string) string {
		return func(method, host, target, headers string) string {
			return "GET /.gatehouse/auth/" + at + " HTTP/1.1\r\nHost: gatehouse:8080\r\nX-Forwarded-Method: " + method + "\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: " + host +
				"\r\nX-Forwarded-Uri: " + target + "\r\n" + headers + "\r\n"
		}
	}
	return map[string]func(method, host, target, headers string) string{
		"nginx": func(method, host, target, headers string) string {
			return "GET /.gatehouse/auth/nginx HTTP/1.1\r\nHost: gatehouse:8080\r\nX-Original-Method: " + method + "\r\nX-Original-URL: https://" + host + target + "\r\n" + headers + "\r\n"
		},
		"oauth2-proxy": func(method, host, target, headers string) string {
			return "GET /oauth2/auth HTTP/1.1\r\nHost: " + host + "\r\nX-Original-Method: " + method + "\r\nX-Original-URI: " + target + "\r\n" + headers + "\r\n"
		},
		"traefik": forwarded("traefik"), "caddy": forwarded("caddy"), "haproxy": forwarded("haproxy"),
		"envoy": func(method, host, target, headers string) string {
			return method + " /.gatehouse/auth/envoy" + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n"
		},
	}
}

// subrequest says whose proxies know 401 and 403 alone.
func subrequest(dialect string) bool { return dialect == "nginx" || dialect == "oauth2-proxy" }

// TestForwardAuthPolicy: FWD-18, who asks gets the answer that the request itself
// would have got, in every dialect.
func TestForwardAuthPolicy(t *testing.T) {
	g := asking(t, nil)
	for dialect, ask := range questions() {
		for _, row := range decisions() {
			if dialect == "envoy" && (row.target == "*" || strings.HasPrefix(row.target, "http")) || strings.HasPrefix(row.target, "http") && dialect != "nginx" {
				continue // which such a proxy can't send
			}
			g.sub(dialect+" "+row.name, func(t *testing.T, g *rig) {
				host, target := gwHost, row.target
				if rest, ok := strings.CutPrefix(target, "http://b.test"); ok {
					host, target = "b.test", rest
				}
				if strings.HasPrefix(target, "*") {
					target = "/" + target + "%zz"
				}
				a := g.raw(ask(row.method, host, target, row.headers))
				expect := row.status
				switch {
				case dialect == "oauth2-proxy" && (strings.HasPrefix(target, "/data/") || strings.HasPrefix(target, "/open/")):
					expect = 403 // where the method matters, which it is not believed about
				case expect == 200 && dialect == "oauth2-proxy":
					expect = 202
				case expect == 302 && subrequest(dialect):
					expect = 401
				case expect == 400 && subrequest(dialect):
					expect = 403
				}
				want(t, "status", a.StatusCode, expect)
				if row.status == 302 {
					where := a.Header.Get("Location") + a.Header.Get("X-Gatehouse-Sign-In")
					if !strings.HasPrefix(where, gwURL+"/.gatehouse/") {
						t.Errorf("led to %q", where)
					}
				}
				if a.StatusCode >= 300 {
					for name := range a.Header {
						if strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Auth-Request-") || strings.HasPrefix(name, "X-Gatehouse-") && name != "X-Gatehouse-Sign-In" {
							t.Errorf("FWD-21 a refusal tells %s", name)
						}
					}
					want(t, "FWD-20 Cache-Control", a.Header.Get("Cache-Control"), "no-store")
				}
				g.untouched()
			})
		}
	}
}

// TestForwardAuthIdentity: FWD-22, who may pass has every header, be it empty.
func TestForwardAuthIdentity(t *testing.T) {
	g := asking(t, nil)
	bare := person("bare")
	bare.Email, bare.Groups, bare.Username = "", nil, ""
	g.people["bare"] = bare
	for dialect, ask := range questions() {
		t.Run(dialect, func(t *testing.T) {
			a := g.raw(ask("GET", "app.test", "/x", aliceOnly))
			for name, value := range map[string]string{"X-Gatehouse-Subject": "sub-alice", "X-Forwarded-Email": "alice@example.com", "X-Forwarded-Groups": "users,alices", "X-Gatehouse-Teams": "vision,all"} {
				want(t, name, strings.Join(a.Header[name], " & "), value)
			}
			claims := payload(t, a.Header.Get(assertionHeader))
			want(t, "aud", claims["aud"], any("app.test"))
			want(t, "Cache-Control", a.Header.Get("Cache-Control"), "no-store")
			want(t, "Content-Length", a.Header.Get("Content-Length"), "0") // or a proxy would wait for a body
			if dialect == "oauth2-proxy" {
				want(t, "X-Auth-Request-Email", a.Header.Get("X-Auth-Request-Email"), "alice@example.com")
			}
			for who, headers := range map[string]string{"public": "", "bare": "Authorization: Bearer bare\r\n"} {
				target := map[string]string{"public": "/public/x", "bare": "/x"}[who]
				a := g.raw(ask("GET", "app.test", target, headers))
				if a.StatusCode != 200 && a.StatusCode != 202 {
					t.Fatalf("%s: %s", who, a.Status)
				}
				for _, name := range []string{"X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username"} {
					if v, sent := a.Header[name]; !sent || len(v) != 1 || v[0] != "" {
						t.Errorf("%s: %s is %q", who, name, v)
					}
				}
				want(t, who, a.Header.Get("X-Gatehouse-Subject"), map[string]string{"public": "", "bare": "sub-bare"}[who])
				if v, sent := a.Header[assertionHeader]; !sent || who == "public" && v[0] != "" {
					t.Errorf("%s: the assertion is %q", who, v)
				}
			}
		})
	}
}

// TestForwardAuthIsAsked: FWD-01, FWD-02, FWD-09, FWD-15: only named proxies are
// answered, and where nobody asks their headers mean nothing.
func TestForwardAuthIsAsked(t *testing.T) {
	for dialect, ask := range questions() {
		t.Run(dialect, func(t *testing.T) {
			g := asking(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{mustPrefix("10.0.0.0/8")} })
			for _, headers := range []string{"", aliceOnly, "X-Forwarded-For: 10.0.0.1\r\n", "User-Agent: kube-probe/1.30\r\n"} {
				a := g.raw(ask("GET", gwHost, "/public/x", headers))
				want(t, "FWD-02 from anybody", a.StatusCode, 403)
				want(t, "no identity", a.Header.Get("X-Gatehouse-Subject"), "")
			}
			off := newRig(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{mustPrefix("127.0.0.0/8")} })
			a := off.raw(ask("GET", gwHost, "/public/x", ""))
			if a.StatusCode < 400 {
				t.Errorf("without forward-auth: %s", a.Status)
			}
			off.untouched()
		})
	}
	t.Run("the log names who may not ask, and is not flooded", func(t *testing.T) {
		g := asking(t, func(o *Options) { o.TrustedProxies, o.Access = []netip.Prefix{mustPrefix("10.0.0.0/8")}, false })
		for range 50 {
			g.raw(questions()["nginx"]("GET", gwHost, "/public/x", "X-Forwarded-For: 10.0.0.1\r\n"))
		}
		log := g.log.String()
		if n := strings.Count(log, "trustedProxies"); n < 1 || n > 12 || !strings.Contains(log, "127.0.0.1") || !strings.Contains(log, "WARN") {
			t.Errorf("%d warnings:\n%s", n, log)
		}
	})
	t.Run("FWD-01 FWD-09 a request of its own", func(t *testing.T) {
		g := newRig(t, func(o *Options) {
			rules(o)
			o.TrustedProxies = []netip.Prefix{mustPrefix("127.0.0.0/8")}
			o.ForwardAuth = &config.ForwardAuth{Hosts: []string{"app.test"}}
		})
		for _, name := range []string{"X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Rewrite-URL"} {
			want(t, name, g.get("/admin/x", bobOnly+name+": /public/x\r\n").StatusCode, 403)
		}
		want(t, "a host of others", g.raw("GET /x HTTP/1.1\r\nHost: app.test\r\n"+aliceOnly+"\r\n").StatusCode, 404)
		g.untouched()
	})
}

// TestForwardAuthBadQuestions: FWD-03, FWD-17, FWD-19, PATH-29: what is not said, or
// said twice, is not guessed, with a session too.
func TestForwardAuthBadQuestions(t *testing.T) {
	g := asking(t, nil)
	line := func(name, value string) string { return name + ": " + value + "\r\n" }
	nginx := func(headers string) string {
		return "GET /.gatehouse/auth/nginx HTTP/1.1\r\nHost: x\r\n" + aliceOnly + headers + "\r\n"
	}
	traefik := func(headers string) string {
		return "GET /.gatehouse/auth/traefik HTTP/1.1\r\nHost: x\r\n" + aliceOnly + headers + "\r\n"
	}
	legacy := func(headers string) string {
		return "GET /oauth2/auth HTTP/1.1\r\nHost: app.test\r\n" + aliceOnly + headers + "\r\n"
	}
	method, url := line("X-Original-Method", "GET"), line("X-Original-URL", "https://app.test/x")
	m, h, u := line("X-Forwarded-Method", "GET"), line("X-Forwarded-Host", "app.test"), line("X-Forwarded-Uri", "/x")
	want(t, "nginx, as it should be", g.raw(nginx(method+url)).StatusCode, 200)
	want(t, "traefik, as it should be", g.raw(traefik(m+h+u)).StatusCode, 200)
	want(t, "oauth2-proxy, as it should be", g.raw(legacy(line("X-Original-URI", "/x"))).StatusCode, 202)
	want(t, "oauth2-proxy, as Traefik asks it", g.raw(legacy(m+h+u)).StatusCode, 202)
	want(t, "FWD-03 oauth2-proxy: another host than its own", g.raw(legacy(line("X-Original-URI", "/x")+line("X-Forwarded-Host", "gw.test"))).StatusCode, 403)
	want(t, "FWD-03 nginx under an application's host, about another", g.raw(strings.Replace(nginx(method+url), "Host: x", "Host: b.test", 1)).StatusCode, 403)
	want(t, "nginx under the application's host", g.raw(strings.Replace(nginx(method+url), "Host: x", "Host: app.test", 1)).StatusCode, 200)
	for _, forged := range []string{"X-Gatehouse-Subject", "x_forwarded_groups", "X.Gatehouse.Teams", "X-Forwarded-Access-Token", assertionHeader} {
		want(t, "HDR-23 "+forged, g.raw(nginx(method+url+line(forged, "eve"))).StatusCode, 403)
	}
	want(t, "a credential for the gateway is none", g.raw(nginx(method+url+line("X-Gatehouse-Authorization", "Bearer alice"))).StatusCode, 200)
	for _, spelled := range []string{"/.gatehouse/auth%2Fnginx", "/.gatehouse/%61uth/nginx", "/.gatehouse%2fauth%2fnginx", "/%6fauth2/auth"} {
		if a := g.raw("GET " + spelled + " HTTP/1.1\r\nHost: gw.test\r\n" + aliceOnly + method + url + "\r\n"); a.StatusCode < 400 {
			t.Errorf("%s is answered: %s", spelled, a.Status)
		}
	}
	want(t, "oauth2-proxy, as ingress-nginx asks it", g.raw(legacy(method+url)).StatusCode, 202)
	for name, question := range map[string]string{
		"FWD-17 nginx: nothing": nginx(""), "FWD-17 nginx: no method": nginx(url), "FWD-17 nginx: no address": nginx(method), "FWD-03 nginx: two methods": nginx(method + method + url),
		"nginx: two addresses": nginx(method + url + url), "nginx: a path": nginx(method + line("X-Original-URL", "/x")), "nginx: another scheme": nginx(method + line("X-Original-URL", "javascript://app.test/x")),
		"nginx: no host": nginx(method + line("X-Original-URL", "https:///x")), "nginx: no path": nginx(method + line("X-Original-URL", "https://app.test")),
		"FWD-19 nginx: another host": nginx(method + line("X-Original-URL", "https://evil.test/x")), "nginx: a user in the address": nginx(method + line("X-Original-URL", "https://app.test@evil.test/x")),
		"PATH-29 nginx: a bad escape": nginx(method + line("X-Original-URL", "https://app.test/%zz")), "FWD-03 nginx: a small method": nginx(line("X-Original-Method", "get") + url),
		"FWD-03 nginx: CONNECT": nginx(line("X-Original-Method", "CONNECT") + url), "FWD-06 nginx: an alias": nginx(line("X_Original_Method", "GET") + url),
		"FWD-17 traefik: nothing": traefik(""), "FWD-17 traefik: no method": traefik(h + u), "FWD-17 traefik: no host": traefik(m + u), "FWD-17 traefik: no address": traefik(m + h),
		"FWD-03 traefik: two methods": traefik(m + m + h + u), "traefik: empty": traefik(m + h + line("X-Forwarded-Uri", "")), "PATH-29 traefik: a bad escape": traefik(m + h + line("X-Forwarded-Uri", "/%zz")),
		"PATH-29 traefik: a whole address": traefik(m + h + line("X-Forwarded-Uri", "http://[::1")), "PATH-02 traefik: a fragment": traefik(m + h + line("X-Forwarded-Uri", "/public/#x")),
		"FWD-19 traefik: another host": traefik(m + line("X-Forwarded-Host", "evil.test") + u), "FWD-19 traefik: two hosts": traefik(m + line("X-Forwarded-Host", "app.test, evil.test") + u),
		"FWD-03 oauth2-proxy: the client's word for the method": legacy(line("X-Original-URI", "/data/x") + line("X-Original-Method", "GET") + line("X-Forwarded-Method", "GET")),
		"FWD-17 oauth2-proxy: nothing":                          legacy(""), "oauth2-proxy: two ways": legacy(line("X-Original-URI", "/x") + u), "oauth2-proxy: two addresses": legacy(line("X-Original-URI", "/x") + line("X-Original-URI", "/y")),
		"oauth2-proxy: no method, where it matters": legacy(line("X-Original-URI", "/data/x")),
		"PATH-19 the gateway's own":                 nginx(method + line("X-Original-URL", "https://gw.test/.gatehouse/x")), "PATH-19 the gateway's answers": traefik(m + h + line("X-Forwarded-Uri", "/.gatehouse/auth/nginx")),
	} {
		t.Run(name, func(t *testing.T) {
			a := g.raw(question)
			if a.StatusCode < 400 || a.StatusCode >= 500 {
				t.Errorf("%s %q", a.Status, a.body)
			}
			want(t, "no identity", a.Header.Get("X-Gatehouse-Subject"), "")
		})
	}
	g.untouched()
}

// TestForwardAuthOutage: nobody passes when it can't be found out.
func TestForwardAuthOutage(t *testing.T) {
	g := asking(t, nil)
	for dialect, ask := range questions() {
		a := g.raw(ask("GET", "app.test", "/x", "Authorization: Bearer outage\r\n"))
		want(t, dialect, a.StatusCode, 503)
		want(t, dialect, a.Header.Get("Retry-After") != "", true)
	}
}

// TestForwardAuthConstraints: what a question itself asks for, in oauth2-proxy's words.
func TestForwardAuthConstraints(t *testing.T) {
	g := asking(t, nil)
	for query, status := range map[string]int{
		"": 202, "?allowed_groups=alices": 202, "?allowed_groups=x,alices": 202, "?allowed_groups=x&allowed_groups=alices": 202, "?allowed_groups=x": 403,
		"?allowed_groups=": 403, "?allowed_groups=,": 403, "?allowed_emails=ALICE@example.com": 202, "?allowed_emails=bob@example.com": 403, "?allowed_emails=": 403,
		"?allowed_email_domains=example.com": 202, "?allowed_email_domains=evil.test": 403, "?allowed_email_domains=": 403,
		"?allowed_groups=x;y": 403, "?a=b;allowed_groups=x": 403, "?allowed_groups=%zz": 403, "?allowed_group=alices": 403, "?Allowed_Groups=alices": 403, "?allowed_groups[]=alices": 403, "?x=y": 403,
		"?allowed_groups=alices&allowed_emails=bob@example.com": 403, "?allowed_groups=alices&allowed_email_domains=example.com": 202,
	} {
		a := g.raw("GET /oauth2/auth" + query + " HTTP/1.1\r\nHost: app.test\r\nX-Original-URI: /x\r\n" + aliceOnly + "\r\n")
		want(t, query, a.StatusCode, status)
	}
	a := g.raw("GET /.gatehouse/auth/envoy/x?allowed_groups=x HTTP/1.1\r\nHost: app.test\r\n" + aliceOnly + "\r\n")
	want(t, "the request's own query", a.StatusCode, 200)
	for query, status := range map[string]int{"?x=y": 200, "?x=%zz": 200, "?x=y&z": 403, "?allowed_groups=x": 403} {
		a := g.raw("GET /.gatehouse/auth/caddy" + query + " HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Uri: /x" +
			strings.TrimSuffix(query, "&z") + "\r\n" + aliceOnly + "\r\n")
		want(t, "carried over "+query, a.StatusCode, status)
	}
}

// TestForwardAuthWebSocket: WS-02, another site may not open one in somebody's name.
func TestForwardAuthWebSocket(t *testing.T) {
	g := asking(t, nil)
	const key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
	for dialect, ask := range questions() {
		want(t, dialect+": its own", g.raw(ask("GET", "app.test", "/ws", aliceOnly+key+"Origin: https://app.test\r\n")).StatusCode/100, 2)
		want(t, dialect+": by its version", g.raw(ask("GET", "app.test", "/ws", aliceOnly+"Sec-WebSocket-Version: 13\r\nOrigin: https://evil.test\r\n")).StatusCode, 403)
		for _, origin := range []string{"Origin: https://evil.test\r\n", "Origin: null\r\n", ""} {
			want(t, dialect+": "+origin, g.raw(ask("GET", "app.test", "/ws", aliceOnly+key+origin)).StatusCode, 403)
		}
	}
}

// TestForwardAuthLegacyTold: HDR-01, what /oauth2/auth tells an application nobody can
// bring along, and what ingress-nginx asks with is no such thing.
func TestForwardAuthLegacyTold(t *testing.T) {
	g := asking(t, nil)
	for header, status := range map[string]int{
		"X-Auth-Request-User: root": 403, "X_Auth_Request_User: root": 403, "x.auth-request_groups: admin": 403, "X-Auth-Request-Email:": 403,
		"X-Auth-Request-Preferred-Username: root": 403, "X_Forwarded_User: root": 403, "X-Auth-Request-Redirect: /x": 202,
	} {
		a := g.raw(questions()["oauth2-proxy"]("GET", "app.test", "/x", aliceOnly+header+"\r\n"))
		want(t, header, a.StatusCode, status)
	}
}

// TestForwardAuthOverride: the method that was decided on stays it, since the proxy in
// front can't be told to take off a header that changes it. Envoy can.
func TestForwardAuthOverride(t *testing.T) {
	rules := []config.Rule{{Name: "kept", Methods: []string{"DELETE"}, Paths: []string{"/api/"}, Access: "deny"}}
	telling, silent := asking(t, func(o *Options) { o.Policy = rules }), asking(t, func(o *Options) { o.Policy = nil })
	for dialect, ask := range questions() {
		for _, header := range []string{"X-HTTP-Method-Override: DELETE", "x_http_method: DELETE", "X-Method-Override: DELETE"} {
			t.Run(dialect+" "+header, func(t *testing.T) {
				question := func(path string) string { return ask("POST", "app.test", path, aliceOnly+header+"\r\n") }
				allowed := 200
				if dialect == "oauth2-proxy" {
					allowed = 202
				}
				a := telling.raw(question("/api/x"))
				if dialect == "envoy" {
					want(t, "status", a.StatusCode, 200)
					if gone := a.Header.Get(RemoveHeader); !strings.Contains(gone, "method") {
						t.Errorf("to be removed: %s", gone)
					}
				} else {
					want(t, "status", a.StatusCode, 403)
					want(t, "on a public path", silent.raw(question("/public/x")).StatusCode, 403)
				}
				want(t, "where no method matters", silent.raw(question("/api/x")).StatusCode, allowed)
			})
		}
	}
}

// TestForwardAuthHosts: who names no host, or several, asks about none.
func TestForwardAuthHosts(t *testing.T) {
	g := asking(t, nil)
	for _, more := range []string{"X-Forwarded-Host: app.test\r\nX-Forwarded-Host: app.test\r\n", "X-Forwarded-Host: app.test\r\nX-Forwarded-Host: b.test\r\n", "X-Forwarded-Host:\r\n"} {
		a := g.raw("GET /oauth2/auth HTTP/1.1\r\nHost: app.test\r\nX-Original-URI: /x\r\n" + aliceOnly + more + "\r\n")
		want(t, more, a.StatusCode, 403)
	}
	for dialect, status := range map[string]int{"nginx": 403, "traefik": 421, "caddy": 421, "haproxy": 421} {
		for _, host := range []string{"app.test,b.test", "\u212Apis.test", "app.test:123456"} {
			want(t, dialect+" "+host, g.raw(questions()[dialect]("GET", host, "/x", aliceOnly)).StatusCode, status)
		}
	}
	kelvin := asking(t, func(o *Options) { o.ForwardAuth.Hosts = append(o.ForwardAuth.Hosts, "k.test") })
	want(t, "U+212A is no k", kelvin.raw(questions()["traefik"]("GET", "\u212A.test", "/x", aliceOnly)).StatusCode, 421)
	want(t, "K is", kelvin.raw(questions()["traefik"]("GET", "K.test", "/x", aliceOnly)).StatusCode, 200)
}

// TestForwardAuthBody: FWD-24, nobody waits for a body.
func TestForwardAuthBody(t *testing.T) {
	g := asking(t, nil)
	g.gw.drainTimeout = 100 * time.Millisecond
	small := g.raw("POST /.gatehouse/auth/traefik HTTP/1.1\r\nHost: x\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Uri: /x\r\nContent-Length: 10\r\n" + aliceOnly + "\r\n")
	want(t, "a small one that never comes", small.StatusCode, 200)
	a := g.raw("GET /.gatehouse/auth/traefik HTTP/1.1\r\nHost: x\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Uri: /x\r\nContent-Length: 10485760\r\nExpect: 100-continue\r\n" + aliceOnly + "\r\n")
	want(t, "status", a.StatusCode, 200)
}

// TestLegacyNames: oauth2-proxy's names lead to what the gateway has under its own.
func TestLegacyNames(t *testing.T) {
	g := asking(t, nil)
	for _, at := range []string{"/oauth2/start?rd=https://app.test/x", "/oauth2/sign_in?rd=/x"} {
		a := g.get(at, "")
		want(t, at, a.StatusCode, 302)
		if !strings.HasPrefix(a.Header.Get("Location"), "/.gatehouse/oidc/corp/sign-in?rd=") {
			t.Errorf("led to %s", a.Header.Get("Location"))
		}
	}
	want(t, "userinfo", g.get("/oauth2/userinfo", aliceOnly).StatusCode, 200)
	want(t, "sign_out asks", g.get("/oauth2/sign_out", aliceOnly).StatusCode, 200)
	want(t, "unknown", g.get("/oauth2/other", aliceOnly).StatusCode, 404)
	off := newRig(t, nil)
	want(t, "without", off.get("/oauth2/start", aliceOnly).StatusCode, 200)
	want(t, "the application's", off.last().Target, "/oauth2/start")
}

// TestForwardAuthAddress: the client's address is the one that the proxy says.
func TestForwardAuthAddress(t *testing.T) {
	g := asking(t, nil)
	g.raw(questions()["nginx"]("GET", "app.test", "/x", aliceOnly+"X-Forwarded-For: 192.0.2.7\r\n"))
	if log := g.log.String(); !strings.Contains(log, `"remote":"192.0.2.7"`) || !strings.Contains(log, `"upstream":"forward-auth"`) || !strings.Contains(log, `"path":"/x"`) {
		t.Error(log)
	}
}

// TestForwardAuthExplained: an address behind another proxy is explained as that
// proxy would be answered.
func TestForwardAuthExplained(t *testing.T) {
	g := asking(t, nil)
	for _, row := range decisions() {
		if strings.HasPrefix(row.target, "http") || row.target == "*" {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			question := row.method + " " + row.target + " HTTP/1.1\r\nHost: " + gwHost + "\r\n" + row.headers + "\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(question)))
			if err != nil {
				t.Fatal(err)
			}
			a := g.raw(questions()["traefik"](row.method, gwHost, row.target, row.headers))
			e := g.gw.Explain(r, nil)
			if a.StatusCode != http.StatusOK {
				want(t, "status", e.Status, a.StatusCode)
				want(t, "headers", len(e.Header), 0)
				return
			}
			want(t, "status", e.Status, 0)
			want(t, "subject", e.Header.Get("X-Gatehouse-Subject"), a.Header.Get("X-Gatehouse-Subject"))
			want(t, "teams", e.Header.Get("X-Gatehouse-Teams"), a.Header.Get("X-Gatehouse-Teams"))
		})
	}
	g.untouched()
}

// TestForwardAuthElsewhere: about the host of an upstream no proxy may ask: the rules
// there are the upstream's.
func TestForwardAuthElsewhere(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Upstreams[0].Hosts = []string{"b.test"}
		o.TrustedProxies = []netip.Prefix{mustPrefix("127.0.0.0/8")}
		o.ForwardAuth = &config.ForwardAuth{Hosts: []string{"app.test"}, Public: []string{"/open/"}}
	})
	for dialect, ask := range questions() {
		if dialect == "oauth2-proxy" {
			continue
		}
		refused := 421
		if subrequest(dialect) {
			refused = 403
		}
		want(t, dialect+" an upstream's", g.raw(ask("GET", "b.test", "/open/x", aliceOnly)).StatusCode, refused)
		want(t, dialect+" its own", g.raw(ask("GET", "app.test", "/open/x", aliceOnly)).StatusCode, 200)
		want(t, dialect+" the public one, where no upstream is", g.raw(ask("GET", gwHost, "/x", aliceOnly)).StatusCode, 200)
	}
	g.untouched()
}

// TestServeQuestion: what is a question stays one, whatever the settings are by now: it
// is never forwarded, and an upstream's answer never passes for the gateway's.
func TestServeQuestion(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		status int
	}{
		"as ever":                 {func(*Options) {}, 200},
		"under another prefix":    {func(o *Options) { o.Paths.Prefix = "/.gw" }, 200},
		"without forward-auth":    {func(o *Options) { o.ForwardAuth = nil }, 404},
		"of an upstream's host":   {func(o *Options) { o.ForwardAuth.Hosts = []string{"b.test"} }, 421},
		"from somebody unnamed":   {func(o *Options) { o.TrustedProxies = nil }, 403},
		"about what nobody may":   {func(o *Options) { o.Policy = []config.Rule{{Access: "deny"}} }, 403},
		"about what somebody may": {func(o *Options) { o.Policy = []config.Rule{{Paths: []string{"/x"}}} }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, func(o *Options) {
				o.TrustedProxies = []netip.Prefix{mustPrefix("127.0.0.0/8")}
				o.ForwardAuth = &config.ForwardAuth{Hosts: []string{gwHost}}
				c.change(o)
			})
			r := httptest.NewRequest(http.MethodGet, "/x", nil)
			r.Host, r.RemoteAddr = gwHost, "127.0.0.1:4711"
			r.Header.Set("Authorization", "Bearer alice")
			w := httptest.NewRecorder()
			g.gw.ServeQuestion(w, r)
			want(t, "status", w.Code, c.status)
			want(t, "told", w.Header().Get("X-Forwarded-User") != "", c.status == 200)
			g.untouched()
		})
	}
}

// TestForwardAuthForwarded: what Envoy leaves of the client's own word about where it
// has been is taken off.
func TestForwardAuthForwarded(t *testing.T) {
	g := asking(t, nil)
	a := g.raw(questions()["envoy"]("GET", "app.test", "/x", aliceOnly+"X-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Proto: https\r\nX-Original-Url: /y\r\n"))
	want(t, "status", a.StatusCode, 200)
	want(t, "removed", a.Header.Get(RemoveHeader), "cookie,x-forwarded-host,x-forwarded-port,x-original-url")
}
