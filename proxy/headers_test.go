package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/proxy/policy"
)

// onlyOurs fails if the upstream got an identity header that is not ours, in any spelling.
func onlyOurs(t *testing.T, s seen, id *authn.Identity) {
	t.Helper()
	expect := map[string]string{}
	if id != nil {
		expect = map[string]string{
			"x-forwarded-user": id.Subject, "x-forwarded-email": id.Email, "x-forwarded-preferred-username": id.Username,
			"x-forwarded-groups": strings.Join(id.Groups, ","), "x-gatehouse-subject": id.Subject,
			"x-gatehouse-issuer": id.Issuer, "x-gatehouse-route": id.Route,
		}
		if id.Account.Name != "" {
			expect["x-gatehouse-teams"], expect["x-gatehouse-roles"] = strings.Join(id.Account.Teams, ","), strings.TrimSuffix(strings.Repeat(id.Account.Role+",", len(id.Account.Teams)), ",")
		}
	}
	own := []string{"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"}
	all := guarded(nil)
	for name, values := range s.Header {
		if !all.protects(name) || slices.Contains(own, strings.ToLower(name)) {
			continue
		}
		value, ok := expect[fold(name)]
		if !ok || len(values) != 1 || values[0] != value || name != http.CanonicalHeaderKey(fold(name)) {
			t.Errorf("the upstream got %s: %q, want %q", name, values, value)
		}
		delete(expect, fold(name))
	}
	for name, value := range expect {
		t.Errorf("the upstream did not get %s: %s", name, value)
	}
}

func TestForgedHeaders(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Headers.Scrub = []string{"X-Team", "x-lower_case"} })
	alice := person("alice")
	rows := []struct{ id, lines string }{
		{"HDR-01 plain spoof", "X-Forwarded-User: eve\r\nX-Forwarded-Groups: admin\r\nX-Gatehouse-Subject: eve\r\n"},
		{"HDR-03 case variants", "x-FORWARDED-uSeR: eve\r\nx-gatehouse-SUBJECT: eve\r\n"},
		{"HDR-04 underscore alias", "X_Forwarded_User: eve\r\nX-Forwarded_User: eve\r\nx_gatehouse_subject: eve\r\n"},
		{"HDR-05 dot alias", "X.Forwarded.User: eve\r\nX-Gatehouse.Route: eve\r\n"},
		{"HDR-06 other aliases", "X~Forwarded|User: eve\r\nX!Gatehouse$Subject: eve\r\nX^Forwarded`User: eve\r\n"},
		{"HDR-07 duplicates and commas", "X-Forwarded-Groups: a\r\nAccept: x/y\r\nX-Forwarded-Groups: a, admin\r\nX-Forwarded-Groups: b\r\n"},
		{"HDR-08 hop-by-hop", "Connection: keep-alive, X-Forwarded-User, X-Gatehouse-Subject\r\n"},
		{"HDR-09 hop-by-hop, odd tokens", "connection: x-forwarded-groups\r\nConnection: keep-alive,\tX-FORWARDED-USER ,\r\nConnection: X_Forwarded_User\r\n"},
		{"HDR-23 well-known names", "Remote-User: eve\r\nX-Remote-User: eve\r\nX-WEBAUTH-USER: eve\r\nX-Forwarded-Access-Token: t\r\n" +
			"X-Auth-Request-User: eve\r\nX-Auth-Request-Email: e\r\nX-MS-CLIENT-PRINCIPAL: e\r\nX-MS-CLIENT-PRINCIPAL-NAME: e\r\n" +
			"X-Pomerium-Jwt-Assertion: e\r\nCf-Access-Jwt-Assertion: e\r\nX-Goog-IAP-JWT-Assertion: e\r\nX-Amzn-Oidc-Identity: e\r\n" +
			"Tailscale-User-Login: e\r\nX-Vouch-User: e\r\nX-authentik-username: e\r\nX-Auth-User: e\r\nX-Team: core\r\nX-Lower-Case: e\r\n"},
		{"HDR-24 control headers", "X-Envoy-Original-Path: /public\r\nX-Gatehouse-Skip: 1\r\nX-Auth-Skip: 1\r\nX-Accel-Redirect: /x\r\n"},
		{"HDR-25 signed assertion", "X-Gatehouse-Assertion: eyJhbGciOiJub25lIn0.e30.\r\n"},
		{"FWD-06 forwarding aliases", "X_Forwarded_Proto: http\r\nX.Forwarded.Host: evil.test\r\nX_Real_IP: 1.1.1.1\r\n"},
		{"FWD-25 client certificates", "X-SSL-Client-S-DN: CN=eve\r\nX-Client-Cert: e\r\nX-Forwarded-Tls-Client-Cert: e\r\nClient-Cert: :e:\r\n" +
			"SSL_CLIENT_VERIFY: SUCCESS\r\n"},
		{"HTTP-03 framing aliases", "Transfer_Encoding: chunked\r\nContent_Length: 3\r\nProxy_Authorization: Basic eA==\r\n"},
	}
	for _, row := range rows {
		g.sub(row.id+", public", func(t *testing.T, g *rig) {
			want(t, "status", g.get("/public/x", row.lines+aliceOnly).StatusCode, 200)
			onlyOurs(t, g.last(), nil)
			odd(t, g.last())
		})
		g.sub(row.id+", with a session (HDR-02)", func(t *testing.T, g *rig) {
			want(t, "status", g.get("/x", row.lines+aliceOnly).StatusCode, 200)
			onlyOurs(t, g.last(), &alice)
			odd(t, g.last())
		})
		g.sub(row.id+", nobody (HDR-21)", func(t *testing.T, g *rig) {
			g.denied(g.raw("OPTIONS /api HTTP/1.1\r\nHost: gw.test\r\nOrigin: https://evil.test\r\n"+
				"Access-Control-Request-Method: POST\r\n"+row.lines+"\r\n"), 401)
		})
	}
}

// odd fails if a header that a row has sent under another name got through.
func odd(t *testing.T, s seen) {
	t.Helper()
	for name := range s.Header {
		if strings.ContainsAny(name, "_.~!^") || name == "X-Team" || name == "X-Lower-Case" {
			t.Errorf("the upstream got %s", name)
		}
	}
}

func TestWhatPasses(t *testing.T) {
	g := newRig(t, nil)
	lines := map[string]string{
		"X-Wandb-Username": "alice", "X-Wandb-User-Email": "alice@example.com", "Use-Admin-Privileges": "true", "X-Origin": "https://gw.test",
		"User-Agent": "W&B Public Client 0.28.2", "Content-Md5": "1B2M2Y8AsgTpgAmY7PhCfg==", "X-Amz-Date": "20260101T000000Z",
		"X-Wandb-Use-Async-Filestream": "true", "Remote": "x", "X-Forward": "x", "Client": "y", "Range": "bytes=0-1", "Accept-Encoding": "zstd",
		"X-Http-Method-Override": "PUT",
	}
	var all strings.Builder
	for name, value := range lines {
		fmt.Fprintf(&all, "%s: %s\r\n", name, value)
	}
	g.get("/x", all.String()+aliceOnly)
	s := g.last()
	for name, value := range lines {
		want(t, name, s.Header.Get(name), value)
	}
	if _, ok := s.Header["Connection"]; ok {
		t.Error("Connection reached the upstream")
	}

	g.sub("no User-Agent is made up", func(t *testing.T, g *rig) {
		g.get("/x", aliceOnly)
		if ua, ok := g.last().Header["User-Agent"]; ok {
			t.Errorf("the upstream got User-Agent %q", ua)
		}
	})
	g.sub("PATH-25 method override on a public path", func(t *testing.T, g *rig) {
		g.get("/public/x", "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\n")
		for name := range g.last().Header {
			if strings.Contains(name, "Method") {
				t.Errorf("the upstream got %s", name)
			}
		}
	})
}

func TestCredentials(t *testing.T) {
	g := newRig(t, func(o *Options) {
		pass := o.Upstreams[0]
		pass.Name, pass.Paths, pass.Identity, pass.Public = "pass", []string{"/pass"}, "passthrough", []string{"/pass/public"}
		o.Upstreams = append(o.Upstreams, pass)
	})
	alice, bob := person("alice"), person("bob")
	g.sub("HDR-11 Connection names the credential", func(t *testing.T, g *rig) {
		want(t, "bearer", g.get("/x", "Authorization: Bearer alice\r\nConnection: Authorization\r\n").StatusCode, 200)
		onlyOurs(t, g.last(), &alice)
		g.forget()
		want(t, "cookie", g.get("/x", aliceOnly+"Connection: Cookie, X-Request-Id\r\n").StatusCode, 200)
		onlyOurs(t, g.last(), &alice)
		if g.last().Header.Get("X-Request-Id") == "" {
			t.Error("the request id was lost")
		}
	})
	g.sub("HDR-26 two credentials, one identity", func(t *testing.T, g *rig) {
		g.get("/x", aliceOnly+"Authorization: Bearer bob\r\n")
		onlyOurs(t, g.last(), &bob)
		g.forget()
		g.denied(g.get("/x", aliceOnly+"Authorization: Bearer nobody\r\n"), 401)
	})
	g.sub("HDR-27 our cookies stay here", func(t *testing.T, g *rig) {
		g.get("/x", "Cookie: a=1; "+cookieName+"=alice; b=\"2\"; "+cookieName+"_attempt_x=s; "+cookieName+"more=3\r\n")
		want(t, "Cookie", g.last().Header.Get("Cookie"), `a=1; b="2"; `+cookieName+"more=3")
	})
	g.sub("HDR-28 Authorization stays here", func(t *testing.T, g *rig) {
		for _, path := range []string{"/x", "/public/x", "/pass/public"} {
			g.forget()
			want(t, path, g.get(path, aliceOnly+"Authorization: Basic YWxpY2U6cHc=\r\nWANDB-API-KEY: pw\r\nx-wandb-api-key: pw\r\n").StatusCode, 200)
			if h := g.last().Header; h.Get("Authorization") != "" || h.Get("Wandb-Api-Key") != "" || h.Get("X-Wandb-Api-Key") != "" {
				t.Errorf("%s: the upstream got a credential: %v", path, h)
			}
		}
	})
	g.sub("HDR-28 unless it is asked for; HTTP-38 never for the proxy", func(t *testing.T, g *rig) {
		g.get("/pass/x", aliceOnly+"Authorization: Basic YWxpY2U6cHc=\r\nWandb-Api-Key: pw\r\nProxy_Authorization: Basic YQ==\r\n")
		want(t, "Authorization", g.last().Header.Get("Authorization"), "Basic YWxpY2U6cHc=")
		want(t, "Wandb-Api-Key", g.last().Header.Get("Wandb-Api-Key"), "pw")
		want(t, "Proxy-Authorization", g.last().Header.Get("Proxy-Authorization"), "")
	})
	g.sub("HDR-35 schemes that are nobody's", func(t *testing.T, g *rig) {
		for _, v := range []string{"Bearer", "Bearer  x", "BEARER\tx", "Bearer x, Basic y", "Basic Og=="} {
			a := g.get("/x", "Authorization: "+v+"\r\n")
			g.denied(a, 401)
			if len(a.Header["Www-Authenticate"]) == 0 {
				t.Errorf("%s: no challenge", v)
			}
		}
	})
}

// claim is one value and what the upstream must get for it.
type claim struct{ id, value, want string }

func TestIdentityValues(t *testing.T) {
	g := newRig(t, nil)
	for _, c := range []claim{
		{"HDR-15 CR LF", "a\r\nX-Forwarded-Groups: admin", "a%0D%0AX-Forwarded-Groups: admin"},
		{"HDR-36 cookie in a claim", "x\r\nSet-Cookie: a=b", "x%0D%0ASet-Cookie: a=b"},
		{"HDR-16 umlaut", "Jürgen", "J%C3%BCrgen"},
		{"HDR-16 Japanese", "日本", "%E6%97%A5%E6%9C%AC"},
		{"HDR-16 NUL", "a\x00b", "a%00b"},
		{"HDR-16 bytes that are no UTF-8", "\xff\xfe", "%FF%FE"},
		{"HDR-16 DEL", "a\x7f", "a%7F"},
		{"percent", "100%41", "100%2541"},
		{"inner space and plus", "Jo + Ann, Jr.", "Jo + Ann, Jr."},
		{"outer spaces", " Jo ", "%20Jo%20"},
		{"HDR-29 empty", "", ""},
	} {
		g.sub(c.id, func(t *testing.T, g *rig) {
			id := person("alice")
			id.Username = c.value
			g.people["carol"] = id
			want(t, "status", g.get("/x", "Cookie: "+cookieName+"=carol\r\n").StatusCode, 200)
			values, ok := g.last().Header["X-Forwarded-Preferred-Username"]
			if c.want == "" {
				want(t, "present", ok, false)
				return
			}
			want(t, "lines", len(values), 1)
			want(t, "value", values[0], c.want)
			back, err := url.PathUnescape(values[0])
			if err != nil || back != c.value {
				t.Errorf("decodes to %q, %v", back, err)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	rows := []struct {
		id, separator string
		groups        []string
		want          string
	}{
		{"HDR-17 comma inside", "", []string{"a,admin", "b"}, "a%2Cadmin,b"},
		{"HDR-17 semicolon inside", ";", []string{"a;admin", "b,c"}, "a%3Badmin;b,c"},
		{"HDR-17 bar inside", "|", []string{"a|admin", "b c"}, "a%7Cadmin|b c"},
		{"HDR-18 edges", ",", []string{"", " admin", "admin ", "admin\t", "ADMIN"}, "%20admin,admin%20,admin%09,ADMIN"},
		{"HDR-18 none but empty", ",", []string{"", ""}, ""},
		{"none", ",", nil, ""},
	}
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			k, err := newContract(config.Headers{GroupSeparator: row.separator})
			if err != nil {
				t.Fatal(err)
			}
			values, _ := k.values(policy.Subject{Identity: authn.Identity{Subject: "s", Groups: row.groups}})
			h := http.Header{}
			k.inject(h, values)
			want(t, "groups", h.Get("X-Forwarded-Groups"), row.want)
			want(t, "present", len(h["X-Forwarded-Groups"]) > 0, row.want != "")
		})
	}
}

// robot is a service account.
func robot(name string) authn.Identity {
	return authn.Identity{
		Issuer: "https://idp.test", Subject: "sub-" + name, Kind: authn.Service, Username: name, Email: name + "@example.com",
		Groups: []string{"robots"}, Route: "corp",
		Account: authn.Account{Name: name, Team: "core", Teams: []string{"core", "data"}, Role: "member"},
	}
}

func TestAccountHeaders(t *testing.T) {
	g := newRig(t, nil)
	id := robot("ci")
	g.people["ci"] = id
	g.sub("the default contract", func(t *testing.T, g *rig) {
		want(t, "status", g.get("/x", "Authorization: Bearer ci\r\nX-Gatehouse-Team: x\r\nX_Gatehouse_Roles: admin\r\nx.gatehouse.teams: x\r\n").StatusCode, 200)
		onlyOurs(t, g.last(), &id)
	})
	g.sub("HDR-29 empty is absent", func(t *testing.T, g *rig) {
		bare := robot("bare")
		bare.Account = authn.Account{Name: "bare"}
		g.people["bare"] = bare
		g.get("/x", "Authorization: Bearer bare\r\nX-Gatehouse-Roles: admin\r\n")
		for name := range g.last().Header {
			if strings.HasPrefix(name, "X-Gatehouse-Team") || strings.HasPrefix(name, "X-Gatehouse-Role") {
				t.Errorf("the upstream got %s", name)
			}
		}
	})
	for _, c := range []struct {
		id, from, separator string
		account             authn.Account
		want                string
	}{
		{"team", "team", "", authn.Account{Team: "core", Teams: []string{"core", "data"}}, "core"},
		{"teams", "teams", "", authn.Account{Team: "core", Teams: []string{"core", "data"}}, "core,data"},
		{"HDR-17 separator in a team", "teams", ";", authn.Account{Teams: []string{"a;admin", "b,c"}}, "a%3Badmin;b,c"},
		{"HDR-18 edges", "teams", "", authn.Account{Teams: []string{"", " a"}}, "%20a"},
		{"HDR-15 CR LF in a team", "team", "", authn.Account{Teams: []string{"a\r\nX-Gatehouse-Roles: admin"}}, "a%0D%0AX-Gatehouse-Roles: admin"},
		{"roles, one for each team", "roles", "", authn.Account{Teams: []string{"core", "data"}, Role: "viewer"}, "viewer,viewer"},
		{"none", "team", "", authn.Account{}, ""},
	} {
		t.Run(c.id, func(t *testing.T) {
			k, err := newContract(config.Headers{GroupSeparator: c.separator, Identity: []config.Header{{Name: "X-It", From: c.from}}})
			if err != nil {
				t.Fatal(err)
			}
			values, _ := k.values(new(policy.Policy).Subject(authn.Identity{Subject: "s", Account: c.account}))
			want(t, "value", values[0], c.want)
		})
	}
}

func TestTooManyGroups(t *testing.T) {
	g := newRig(t, nil)
	id := person("alice")
	for i := range 5000 {
		id.Groups = append(id.Groups, fmt.Sprintf("%064d", i))
	}
	g.people["alice"] = id
	g.sub("HDR-20 group overflow", func(t *testing.T, g *rig) {
		a := g.get("/x", aliceOnly)
		g.denied(a, 403)
		if !strings.Contains(a.body, "more groups than fit") {
			t.Errorf("the person is not told why: %s", a.body)
		}
		want(t, "public path", g.get("/public/x", aliceOnly).StatusCode, 200)
	})
	t.Run("HDR-20 the limit counts every byte", func(t *testing.T) {
		g := newRig(t, func(o *Options) {
			o.Headers = config.Headers{Identity: []config.Header{{Name: "x-user", From: "subject"}}, MaxSize: config.Size(len("X-User: sub-alice\r\n"))}
		})
		long := person("alice")
		long.Subject = "sub-alicea"
		g.people["alicea"] = long
		want(t, "exactly", g.get("/x", aliceOnly).StatusCode, 200)
		want(t, "one more", g.get("/x", "Authorization: Bearer alicea\r\n").StatusCode, 403)
	})
}

func TestOwnContract(t *testing.T) {
	t.Run("a word that attribution does not know", func(t *testing.T) {
		g := &rig{t: t, log: &authntest.Log{}, ender: &ender{}}
		o := g.options("http://127.0.0.1:9")
		o.Headers.Attribution = "member"
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "attribution") {
			t.Errorf("got %v", err)
		}
	})
	g := newRig(t, func(o *Options) {
		o.Headers.Identity = []config.Header{
			{Name: "remote-user", From: "username"}, {Name: "X-Name", From: "name"}, {Name: "X-Kind", From: "kind"},
			{Name: "X-Mail", From: "email"}, {Name: "X-Iss", From: "issuer"}, {Name: "X-Way", From: "route"}, {Name: "X-Groups", From: "groups"},
		}
	})
	g.get("/x", aliceOnly+"x_name: eve\r\nX-Forwarded-User: eve\r\nX-Gatehouse-Subject: eve\r\nREMOTE_USER: eve\r\n")
	h := g.last().Header
	for name, value := range map[string]string{
		"Remote-User": "alice", "X-Name": "Alice", "X-Kind": "person", "X-Mail": "alice@example.com", "X-Iss": "https://idp.test",
		"X-Way": "corp", "X-Groups": "users,alices", "X-Forwarded-User": "", "X-Gatehouse-Subject": "", "X_name": "", "Remote_user": "",
	} {
		want(t, name, h.Get(name), value)
	}
	for _, bad := range []config.Headers{
		{Identity: []config.Header{{Name: "X-A", From: "shoe size"}}},
		{Identity: []config.Header{{Name: "X-" + strings.Repeat("a", maxName), From: "name"}}},
		{GroupSeparator: "%"},
	} {
		if _, err := newContract(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestUpstreamCantSpeakForUs(t *testing.T) {
	g := newRig(t, nil)
	g.up.then = func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, c := range []string{"app=1; Path=/", cookieName + "=x; Path=/", " " + cookieName + "_attempt_1=x", "=" + cookieName + "=x", cookieName + "2=ok"} {
			h.Add("Set-Cookie", c)
		}
		h.Set("X-Forwarded-User", "root")
		h.Set("X-Gatehouse-Anything", "root")
		h.Set("X-Request-Id", "upstream's")
		h.Set("Alt-Svc", `h3=":443"`)
		h.Set("Connection", "X-Secret")
		h.Set("X-Secret", "s")
		h.Set("Proxy-Authenticate", "Basic")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("X-App", "ok")
	}
	g.sub("HDR-30 cookies and identity headers in an answer", func(t *testing.T, g *rig) {
		a := g.get("/x", aliceOnly)
		want(t, "cookies", strings.Join(a.Header["Set-Cookie"], "|"), "app=1; Path=/|"+cookieName+"2=ok")
		for _, name := range []string{"X-Forwarded-User", "X-Gatehouse-Anything", "Alt-Svc"} {
			want(t, name, a.Header.Get(name), "")
		}
		want(t, "X-App", a.Header.Get("X-App"), "ok")
		want(t, "request id", a.Header.Get("X-Request-Id"), g.last().Header.Get("X-Request-Id"))
		want(t, "request ids", len(a.Header["X-Request-Id"]), 1)
	})
	g.sub("HTTP-37 hop-by-hop in answers", func(t *testing.T, g *rig) {
		a := g.get("/x", aliceOnly)
		for _, name := range []string{"X-Secret", "Proxy-Authenticate", "Keep-Alive"} {
			want(t, name, a.Header.Get(name), "")
		}
	})
	g.sub("SES-33 no cookie of ours while proxying", func(t *testing.T, g *rig) {
		g.up.then = nil
		defer func() { g.up.then = nil }()
		for _, path := range []string{"/x", "/public/x"} {
			want(t, path, len(g.get(path, aliceOnly).Header["Set-Cookie"]), 0)
		}
	})
}

func TestNoBleed(t *testing.T) {
	const workers, rounds, people = 32, 40, 20
	g := newRig(t, func(o *Options) { o.Access = false })
	for i := range people {
		g.people[fmt.Sprint("user", i)] = person(fmt.Sprint("user", i))
	}
	wrong := make(chan string, workers)
	g.up.then = func(_ http.ResponseWriter, r *http.Request) {
		if who := r.Header.Get("X-Forwarded-User"); who != "sub-"+strings.TrimPrefix(r.URL.Path, "/") {
			select {
			case wrong <- who + " at " + r.URL.Path:
			default:
			}
		}
	}
	h1, h2 := &http.Transport{MaxIdleConnsPerHost: workers}, &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h1.CloseIdleConnections()
	defer h2.CloseIdleConnections()
	t.Run("HDR-34 concurrency", func(t *testing.T) {
		var wg sync.WaitGroup
		for worker := range workers {
			transport := h1
			if worker%2 == 0 {
				transport = h2
			}
			wg.Go(func() {
				for i := range rounds {
					who := fmt.Sprint("user", (worker*7+i)%people)
					req, _ := http.NewRequest(http.MethodGet, g.server.URL+"/"+who, nil)
					req.Host = gwHost
					if req.AddCookie(&http.Cookie{Name: cookieName, Value: who}); i%3 == 0 {
						req.Header.Set("X-Gatehouse-Authorization", "Bearer "+who)
						req.Header.Set("Cookie", cookieName+"=user0")
					}
					res, err := transport.RoundTrip(req)
					if err != nil || res.StatusCode != 200 {
						t.Errorf("%v %v", res, err)
						return
					}
					res.Body.Close()
				}
			})
		}
		wg.Wait()
		close(wrong)
		for w := range wrong {
			t.Errorf("mixed up: %s", w)
		}
		want(t, "requests", len(g.up.all()), workers*rounds)
	})
}

// TestPresets: HDR-23, no client may say what any contract says, whichever is in use.
func TestPresets(t *testing.T) {
	all := guarded(nil)
	for name, expect := range map[string]map[string]string{
		"gatehouse":         {"X-Forwarded-User": "sub-alice", "X-Forwarded-Groups": "users,alices", "X-Gatehouse-Teams": "vision", "X-Gatehouse-Roles": "admin"},
		"oauth2-proxy":      {"X-Forwarded-User": "sub-alice", "X-Auth-Request-Email": "alice@example.com", "X-Auth-Request-Groups": "users,alices"},
		"authelia":          {"Remote-User": "alice", "Remote-Groups": "users,alices", "Remote-Email": "alice@example.com", "Remote-Name": "Alice"},
		"pomerium":          {"X-Pomerium-Claim-Email": "alice@example.com", "X-Pomerium-Claim-Groups": "users,alices"},
		"google-iap":        {"X-Goog-Authenticated-User-Email": "accounts.google.com:alice@example.com", "X-Goog-Authenticated-User-Id": "accounts.google.com:sub-alice"},
		"cloudflare-access": {"Cf-Access-Authenticated-User-Email": "alice@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := preset(name)
			if err != nil {
				t.Fatal(err)
			}
			forged := ""
			for _, h := range list {
				if !all.protects(h.Name) {
					t.Errorf("a client may send %s", h.Name)
				}
				forged += h.Name + ": eve\r\n" + strings.ReplaceAll(h.Name, "-", "_") + ": eve\r\n"
			}
			g := newRig(t, func(o *Options) {
				o.Headers.Preset = name
				o.Teams = []config.Team{{Name: "vision", Groups: []config.TeamGroup{{Group: "alices", Role: "admin"}}}}
			})
			g.get("/x", aliceOnly+forged)
			got := g.last()
			for name, value := range expect {
				want(t, name, got.Header.Get(name), value)
			}
			for name, values := range got.Header {
				if strings.Contains(strings.Join(values, ""), "eve") {
					t.Errorf("%s: %q", name, values)
				}
			}
		})
	}
	if _, err := newContract(config.Headers{Preset: "nginx"}); err == nil {
		t.Error("an unknown preset was taken")
	}
}

func TestTemplates(t *testing.T) {
	for template, value := range map[string]string{
		"user:{email}": "user:a%C3%BC@b.test", "{route}/{subject}": "corp/s", "{username}-": "", "x{groups}y{kind}": "xa,b%2Ccyperson",
	} {
		k, err := newContract(config.Headers{Identity: []config.Header{{Name: "X-It", Template: template}}})
		if err != nil {
			t.Fatal(err)
		}
		values, _ := k.values(policy.Subject{Identity: authn.Identity{Subject: "s", Route: "corp", Kind: authn.Person, Email: "aü@b.test", Groups: []string{"a", "b,c"}}})
		want(t, template, values[0], value)
	}
	for _, bad := range []string{"{shoe}", "{email"} {
		if _, err := newContract(config.Headers{Identity: []config.Header{{Name: "X-It", Template: bad}}}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestGroupsInJSON(t *testing.T) {
	k, err := newContract(config.Headers{GroupFormat: "json", Identity: []config.Header{{Name: "X-It", From: "groups"}}})
	if err != nil {
		t.Fatal(err)
	}
	for text, groups := range map[string][]string{
		"": nil, `["a,b","\"c\"","\u00fc","\ud83d\ude00","\u2028","a\r\n\u007f"]`: {"a,b", `"c"`, "ü", "😀", "\u2028", "a\r\n\x7f"},
	} {
		values, _ := k.values(policy.Subject{Identity: authn.Identity{Groups: groups}})
		want(t, "list", values[0], text)
	}
}
