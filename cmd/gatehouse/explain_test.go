package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"gatehouse/authn"
	"gatehouse/config"
)

// TestCommands runs testdata/commands/*.txt. Each file holds the files that a
// command reads, its arguments, one a line, and what it has printed.
func TestCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/commands/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no commands: %v", err)
	}
	for _, file := range files {
		absolute, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runCommand(t, absolute) })
	}
}

func runCommand(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	part := map[string]string{}
	for _, f := range archive.Files {
		part[f.Name] = string(f.Data)
		if strings.Contains(f.Name, ".") {
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out, errs bytes.Buffer
	args := strings.Split(strings.TrimSpace(part["args"]), "\n")
	code := run(t.Context(), shell{args: args, in: strings.NewReader(part["stdin"]), out: &out, err: &errs})
	got := map[string]string{"exit": fmt.Sprintln(code), "out": steadyTimes(out.String()), "err": errs.String()}
	if secret := strings.TrimSpace(part["secret"]); secret != "" && strings.Contains(out.String()+errs.String(), secret) {
		t.Errorf("the secret was printed:\n%s%s", &out, &errs)
	}
	for i, f := range archive.Files {
		if text, ok := got[f.Name]; ok {
			if want := string(f.Data); text != want && !*update {
				t.Errorf("%s:\n%s\nwant:\n%s", f.Name, text, want)
			}
			archive.Files[i].Data = []byte(text)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// steadyTimes masks what a signed header has anew each time.
func steadyTimes(s string) string {
	s = regexp.MustCompile(`((?:iat|nbf|exp|auth_time)"?:? *)\d+`).ReplaceAllString(s, "${1}1700000000")
	return regexp.MustCompile(`(jti"?:? *)"[^"]*"`).ReplaceAllString(s, `${1}"$$JTI"`)
}

const forExplain = `
publicURL: https://example.com
sharedEmails: true
upstreams:
  - name: app
    url: $UPSTREAM
    preset: wandb
authn:
  - name: corp
    oidc:
      issuer: $ISSUER
      clientID: gatehouse
      scopes: [openid, profile, email, groups]
  - name: tokens
    bearer:
      issuers:
        - issuer: $ISSUER/programs
          audiences: [https://example.com]
          subjectPrefix: "t:"
  - name: keys
    apiKey:
      application: pass
  - name: people
    ldap:
      address: [ldaps://ldap.example.com]
      baseDN: dc=example,dc=com
      subjectPrefix: "ldap:"
      accept: [basic]
teams:
  - name: research
    groups: [{group: research}]
serviceAccounts:
  - {name: nightly, team: research}
policy:
  - name: admin
    paths: [/admin/]
    require: [{groups: [admins]}]
`

func jwtOf(issuer string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(`{"iss":"`+issuer+`"}`)) + ".c2lnbmVk"
}

// shapesOf are credentials, and which route takes them.
func shapesOf() map[string]struct{ header, route string } {
	basic := func(s string) string { return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	hex, own := strings.Repeat("0a", 20), "gatehouse-"+strings.Repeat("Zz", 20)
	return map[string]struct{ header, route string }{
		"a JWT":                        {"Authorization: Bearer " + jwtOf("https://idp.test/programs"), "tokens"},
		"a JWT of somebody else":       {"Authorization: Bearer " + jwtOf("https://evil.test"), "tokens"},
		"a JWT for a key":              {basic("api:" + jwtOf("https://idp.test/programs")), "tokens"},
		"half a JWT":                   {"Authorization: Bearer a.b.c", "tokens"},
		"an access token":              {"Authorization: Bearer gh_at_" + strings.Repeat("x", 30), "tokens"},
		"a key of the gateway":         {"Authorization: Bearer " + own, "keys"},
		"a key of the gateway, Basic":  {basic("api:" + own), "keys"},
		"half a key":                   {basic("api:" + own[:40]), "keys"},
		"a key of the application":     {basic("api:" + hex), "keys"},
		"a key in its header":          {"Wandb-Api-Key: " + hex, "keys"},
		"a token in a key's header":    {"Wandb-Api-Key: " + jwtOf("https://idp.test/programs"), "keys"},
		"a password":                   {basic("jo:hunter2hunter2"), "people"},
		"Basic that is none":           {"Authorization: Basic c2VjcmV0", "keys"},
		"an unknown scheme":            {"Authorization: Digest hunter2hunter2", "tokens"},
		"an opaque token":              {"Authorization: Bearer hunter2hunter2", "tokens"},
		"a session":                    {"Cookie: __Host-gatehouse=hunter2hunter2", ""},
		"several":                      {"Authorization: Bearer " + own + "\r\nWandb-Api-Key: " + hex, ""},
		"a JWT for the gateway":        {"Authorization: Basic aHVudGVyMg==\r\nX-Gatehouse-Authorization: Bearer " + jwtOf("https://idp.test/programs"), "tokens"},
		"a Basic of a browser's fetch": {"Authorization: Basic Og==", ""},
	}
}

func explainGateway(t *testing.T) (config.Config, *gateway) {
	t.Helper()
	c, err := config.Decode("", []byte(strings.NewReplacer("$ISSUER", "https://idp.test", "$UPSTREAM", "http://127.0.0.1:9").Replace(forExplain)), nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := build(c, slog.New(slog.DiscardHandler), onlyMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.close() })
	return c, g
}

// TestExplainSecrets: which route takes a credential, without asking anybody, and
// nothing that is printed holds any of it.
func TestExplainSecrets(t *testing.T) {
	c, g := explainGateway(t)
	for name, row := range shapesOf() {
		t.Run(name, func(t *testing.T) {
			q := question{method: "GET", url: "/x?token=hunter3hunter3"}
			for line := range strings.SplitSeq(row.header, "\r\n") {
				k, v, _ := strings.Cut(line, ": ")
				q.headers = append(q.headers, [2]string{k, v})
			}
			for _, who := range []config.Somebody{{}, {Username: "jo", Groups: []string{"research"}}} {
				q.who = who
				e, err := g.explain(t.Context(), c, q)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				if e.claim != nil {
					got = e.claim.route
				}
				if got != row.route {
					t.Errorf("taken by %q, want %q", got, row.route)
				}
				var out bytes.Buffer
				e.write(&out)
				e.writeJSON(&out)
				for _, h := range q.headers {
					_, secret := authn.Scheme(h[1])
					if secret == "" {
						secret = strings.TrimPrefix(h[1], "__Host-gatehouse=")
					}
					if secret != "Og==" && strings.Contains(out.String(), secret) {
						t.Errorf("%q was printed:\n%s", secret, &out)
					}
				}
				if strings.Contains(out.String(), "hunter") {
					t.Errorf("a secret was printed:\n%s", &out)
				}
			}
		})
	}
}

// TestClaims: what routes say of a credential by its shape agrees with what they do.
func TestClaims(t *testing.T) {
	_, g := explainGateway(t)
	for name, row := range shapesOf() {
		for _, route := range g.routes {
			if route.Claims == nil {
				if route.Authenticator != nil {
					t.Errorf("route %s says nothing of its credentials", route.Name)
				}
				continue
			}
			if name == "a password" && route.Name == "people" {
				continue // the directory is not there
			}
			request := func() *http.Request {
				r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: example.com\r\n" + row.header + "\r\n\r\n")))
				if err != nil {
					t.Fatal(err)
				}
				r.Body, r.RemoteAddr = http.NoBody, anyAddress+":0"
				return r
			}
			_, said := route.Claims(request())
			_, did := route.Authenticator.Authenticate(request().WithContext(t.Context()))
			switch {
			case errors.Is(said, authn.ErrNoCredential) != errors.Is(did, authn.ErrNoCredential),
				errors.Is(said, authn.ErrApplication) != errors.Is(did, authn.ErrApplication),
				errors.Is(said, authn.ErrRejected) && !errors.Is(did, authn.ErrRejected):
				t.Errorf("%s, route %s: says %v, does %v", name, route.Name, said, did)
			}
		}
	}
}

// TestExplainAgrees: what is explained of somebody who signs in is what they get.
func TestExplainAgrees(t *testing.T) {
	const rules = "teams:\n  - name: lab\n    groups: [{group: research}]\npolicy:\n  - name: admin\n    paths: [/admin/]\n    require: [{groups: [admins]}]\nauthn:"
	ruled := strings.Replace(withPublicPath, "authn:", rules, 1)
	w := newWorld(t, ruled)
	settings := writeFile(t, "gatehouse.yaml", strings.NewReplacer("$ISSUER", w.provider.URL, "$UPSTREAM", w.gw.upstreams[0].URL).Replace(ruled))
	people := map[string][]string{
		"ada": {"--subject", "1001", "--username", "ada", "--email", "ada@example.com", "--group", "admins", "--group", "research"},
		"":    nil,
	}
	for who, flags := range people {
		client := w.program()
		if who != "" {
			client = w.signIn(who)
		}
		for _, path := range []string{"/x", "/admin/x", "/public/x", "/public/a%2fb", "/%2561dmin/x"} {
			code, out, errs := command(t, nil, append([]string{"explain", "-c", settings, "--json", path}, flags...)...)
			if code != 0 {
				t.Fatal(errs)
			}
			var e shownExplanation
			if err := json.Unmarshal([]byte(out), &e); err != nil {
				t.Fatal(err)
			}
			before := w.app.count()
			a := w.get(client, path, nil)
			if went := w.app.count() > before; went != (e.Headers != nil) || !went && a.status != e.Status {
				t.Errorf("%q %s: %d, explained as\n%s", who, path, a.status, out)
				continue
			}
			if e.Headers == nil {
				continue
			}
			seen := w.app.last(t).Header
			for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Gatehouse-Teams", "X-Gatehouse-Roles", "X-Gatehouse-Issuer", "X-Gatehouse-Route"} {
				if fmt.Sprint(seen[name]) != fmt.Sprint(e.Headers[name]) {
					t.Errorf("%q %s: %s is %v, explained as %v", who, path, name, seen[name], e.Headers[name])
				}
			}
		}
	}
}

// TestExplainVerify asks the provider whose token it is.
func TestExplainVerify(t *testing.T) {
	const tokens = `
publicURL: https://example.com
upstreams:
  - url: $UPSTREAM
authn:
  - name: tokens
    bearer:
      issuers:
        - issuer: $ISSUER
          audiences: [https://example.com]
`
	w := newWorld(t, tokens)
	settings := writeFile(t, "gatehouse.yaml", strings.NewReplacer("$ISSUER", w.provider.URL, "$UPSTREAM", "http://127.0.0.1:9").Replace(tokens))
	token := w.jwt(w.issuer.Keys()[0], nil)
	file := writeFile(t, "token", token+"\n")
	for _, tt := range []struct {
		name string
		args []string
		says []string
	}{
		{"not verified", nil, []string{"unverified:", "keys of " + w.provider.URL, "of the route tokens; it was not verified"}},
		{"as somebody", []string{"--username", "jo"}, []string{"allow:", "jo, a person by the route tokens", "it was not verified"}},
		{"verified", []string{"--verify"}, []string{"allow:", "1001, a person by the route tokens", "X-Forwarded-User: 1001", "it was looked at"}},
	} {
		code, out, errs := command(t, nil, append([]string{"explain", "-c", settings, "/", "--token-file", file}, tt.args...)...)
		for _, part := range tt.says {
			if code != 0 || !strings.Contains(out, part) {
				t.Errorf("%s: exit %d, want %q\n%s%s", tt.name, code, part, out, errs)
			}
		}
		if strings.Contains(out, token[len(token)-20:]) {
			t.Errorf("%s: the token was printed\n%s", tt.name, out)
		}
	}
	w.provider.Close()
	if code, out, _ := command(t, nil, "explain", "-c", settings, "/", "--token-file", file, "--verify"); code != 0 || !strings.Contains(out, "503 Service Unavailable") || !strings.Contains(out, "because:") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestExplainBadFlags(t *testing.T) {
	settings := writeFile(t, "gatehouse.yaml", strings.NewReplacer("$ISSUER", "https://idp.test", "$UPSTREAM", "http://127.0.0.1:9").Replace(forExplain))
	bad := writeFile(t, "bad.yaml", "publicURL: http://example.com\n")
	empty, two := writeFile(t, "empty", "\n"), writeFile(t, "two", "Bearer hunter2\n")
	for name, tt := range map[string]struct {
		args []string
		errs string
	}{
		"nothing":                   {nil, "takes a URL"},
		"too much":                  {[]string{"GET", "/", "/"}, "takes a URL"},
		"no URL":                    {[]string{"example.com/x"}, "a path of the public URL"},
		"no host":                   {[]string{"https:///x"}, "no host"},
		"a password in the URL":     {[]string{"https://jo:hunter2@example.com/"}, "a password before its host"},
		"a fragment":                {[]string{"/x#y"}, "a fragment"},
		"a space":                   {[]string{"/a b"}, "%20"},
		"half an escape":            {[]string{"/%zz"}, "each % in its path"},
		"a method that is none":     {[]string{"G T", "/"}, "is no method"},
		"a header without colon":    {[]string{"/", "-H", "hunter2"}, "--header, number 1"},
		"a header's name":           {[]string{"/", "-H", "hunter2 x: y"}, "that is not a header's name"},
		"a line break in a header":  {[]string{"/", "-H", "X-A: hunter2\nB: c"}, "X-A has a line break"},
		"the header Host":           {[]string{"/", "-H", "Host: x"}, "the host in the URL"},
		"a claim":                   {[]string{"/", "--claim", "dept"}, "is not name=value"},
		"a kind":                    {[]string{"/", "--kind", "robot"}, "neither person nor service"},
		"nobody and somebody":       {[]string{"/", "--anonymous", "--username", "jo"}, "stands beside"},
		"verify and somebody":       {[]string{"/", "--verify", "--username", "jo"}, "leave out"},
		"a route":                   {[]string{"/", "--route", "crop"}, "there are corp, tokens, keys, people"},
		"a route, on a public path": {[]string{"/healthz", "--route", "crop"}, "there are corp, tokens, keys, people"},
		"an issuer":                 {[]string{"/", "--route", "tokens", "--issuer", "https://evil.test"}, "does not vouch"},
		"an issuer of no route":     {[]string{"/", "--issuer", "https://evil.test"}, "no route vouches"},
		"an empty name":             {[]string{"/", "--username", ""}, "--username is empty"},
		"an empty group":            {[]string{"/", "--username", "jo", "--group", "a", "--group", ""}, "--group is empty"},
		"an account":                {[]string{"/", "--account", "nightly-eval"}, "there are nightly"},
		"an account with a name":    {[]string{"/", "--account", "nightly", "--username", "jo"}, "say the account alone"},
		"a route for another":       {[]string{"/", "--route", "corp", "-H", "Wandb-Api-Key: gatehouse-" + strings.Repeat("a", 40)}, "for the route keys"},
		"no such file":              {[]string{"/", "--token-file", "/nowhere/x"}, "/nowhere/x"},
		"an empty file":             {[]string{"/", "--token-file", empty}, "it is empty"},
		"more than a token":         {[]string{"/", "--token-file", two}, "without Bearer"},
		"an unknown flag":           {[]string{"/", "--user", "jo"}, "unknown flag"},
		"wrong settings":            {[]string{"/", "-c", bad}, "publicURL"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, nil, append([]string{"explain", "-c", settings}, tt.args...)...)
			if code != 2 || out != "" || !strings.Contains(errs, tt.errs) || strings.Contains(errs, "hunter2") {
				t.Errorf("exit %d, want 2 with %q\n%s%s", code, tt.errs, out, errs)
			}
		})
	}
}
