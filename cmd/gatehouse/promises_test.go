package main

import (
	"encoding/base64"
	"encoding/json/v2"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatehouse/authn/apikey"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// The promises of the gateway, one test each. They go through everything: the
// settings, the wiring, a real TLS listener, a provider and an application.

// forgeries are header names by which somebody might pass for somebody else.
func forgeries() []string {
	return []string{
		"X-Forwarded-User", "x-forwarded-USER", "X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User", "x-forwarded-email",
		"X-Forwarded-Groups", "X_FORWARDED_GROUPS", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
		"X-Gatehouse-Subject", "X-Gatehouse-Issuer", "X-Gatehouse-Route", "X-Gatehouse-Teams", "X_Gatehouse_Roles", "X-Gatehouse-Jwt-Assertion",
		"X-Gatehouse-Team", "X_Gatehouse_Teams", "X-Gatehouse-Roles", "X_Gatehouse_Authorization", "X.Gatehouse.Authorization", "X-Gatehouse-Authorization-2",
		"X-Auth-Request-User", "X-Auth-Request-Email", "X_Auth_Request_Groups", "Remote-User", "Remote_User", "X-Remote-User", "Remote-Groups",
		"X-WEBAUTH-USER", "X-Pomerium-Jwt-Assertion", "X-Pomerium-Claim-Email", "Cf-Access-Jwt-Assertion", "Cf-Access-Authenticated-User-Email",
		"X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion", "X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-NAME", "X-Amzn-Oidc-Data",
		"X-Amzn-Oidc-Identity", "Tailscale-User-Login", "X-Authentik-Username", "X-Vouch-User",
	}
}

// identityNames are folded names of headers that say who somebody is.
var identityNames = regexp.MustCompile(`^(x-forwarded-(user|email|groups|preferred-username|access-token)|x-gatehouse-.*|x-auth-request-.*|remote-.*|x-remote-.*|x-webauth-.*|x-pomerium-.*|cf-access-.*|x-goog-.*|x-ms-client-.*|x-amzn-oidc-.*|tailscale-user-.*|x-authentik-.*|x-vouch-.*)$`)

func fold(name string) string {
	return regexp.MustCompile(`[^a-z0-9]`).ReplaceAllString(strings.ToLower(name), "-")
}

const withPublicPath = `
publicURL: https://example.com
upstreams:
  - url: $UPSTREAM
    public: [/public/]
authn:
  - name: corp
    oidc:
      issuer: $ISSUER
      clientID: gatehouse
      scopes: [openid, profile, email, groups]
`

func TestPromiseNoForgedIdentityReachesTheUpstream(t *testing.T) {
	w := newWorld(t, withPublicPath)
	signedIn := w.signIn("ada")
	for _, tt := range []struct {
		name, path string
		client     *http.Client
		ours       map[string]string
	}{
		{"HDR-01 on a public path", "/public/x", w.program(), nil},
		{"HDR-01 on a public path, signed in", "/public/x", signedIn, nil},
		{"HDR-02 with a session", "/x", signedIn, map[string]string{
			"X-Forwarded-User": "1001", "X-Forwarded-Email": "ada@example.com", "X-Forwarded-Preferred-Username": "ada",
			"X-Forwarded-Groups": "admins,research", "X-Gatehouse-Subject": "1001", "X-Gatehouse-Issuer": w.provider.URL, "X-Gatehouse-Route": "corp",
		}},
	} {
		for _, forged := range forgeries() {
			t.Run(tt.name+"/"+forged, func(t *testing.T) {
				// A map entry goes over the wire spelled as it is.
				w.get(tt.client, tt.path, http.Header{forged: {"eve", "root"}, "Connection": {"keep-alive, " + forged, "x-forwarded-user"}})
				seen := saidOf(t, w.app.last(t).Header)
				if fmt.Sprint(seen) != fmt.Sprint(tt.ours) {
					t.Errorf("the application saw %v, want %v", seen, tt.ours)
				}
			})
		}
	}
}

// saidOf is what the application is told of whom a request comes from. The signed
// header must say the same as the plain ones, and is left out.
func saidOf(t *testing.T, h http.Header) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for name, values := range h {
		if identityNames.MatchString(fold(name)) {
			seen[name] = strings.Join(values, " & ")
		}
	}
	const signed = "X-Gatehouse-Jwt-Assertion"
	token, sent := seen[signed]
	delete(seen, signed)
	var said struct {
		Subject string `json:"sub"`
	}
	if sent {
		if err := json.Unmarshal(payloadOf(token), &said); err != nil {
			t.Errorf("%s: %v", token, err)
		}
	}
	if said.Subject != seen["X-Gatehouse-Subject"] {
		t.Errorf("the signed header is of %q, the plain one of %q", said.Subject, seen["X-Gatehouse-Subject"])
	}
	return seen
}

// payloadOf is what a JWT says; nobody has verified it.
func payloadOf(token string) []byte {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	return text
}

func TestPromiseNoForgedIdentityReachesTheUpstreamByProgram(t *testing.T) {
	p := newPrograms(t, "")
	for name, good := range p.good() {
		for _, forged := range forgeries() {
			t.Run("HDR-02 "+name+"/"+forged, func(t *testing.T) {
				h := good.header.Clone()
				h[forged] = []string{"eve", "root"}
				h["Connection"] = []string{"keep-alive, " + forged + ", x-forwarded-user"}
				p.get(p.program(), "/x", h)
				seen := saidOf(t, p.app.last(t).Header)
				if fmt.Sprint(seen) != fmt.Sprint(good.ours) {
					t.Errorf("the application saw %v, want %v", seen, good.ours)
				}
				if _, sent := p.app.last(t).Header["Authorization"]; sent {
					t.Error("the application saw the credential")
				}
			})
		}
	}
}

func TestPromiseIdentityOnlyAfterProof(t *testing.T) {
	w := newWorld(t, "")
	other := newWorld(t, "")
	foreign := sessionCookie(t, other.signIn("ada"))
	for name, cookie := range map[string]string{
		"no cookie":                            "",
		"SES-01 garbage":                       "__Host-gatehouse=" + strings.Repeat("A", 120),
		"SES-01 another gateway's":             foreign,
		"SES-01 empty":                         "__Host-gatehouse=",
		"SES-11 two cookies, one of them good": foreign + "; " + foreign,
	} {
		t.Run(name, func(t *testing.T) {
			before := w.app.count()
			got := w.get(w.program(), "/", http.Header{"Cookie": {cookie}})
			if got.status != http.StatusUnauthorized || w.app.count() != before {
				t.Errorf("%d, and the application saw %d requests; want 401 and none", got.status, w.app.count()-before)
			}
			if got.header.Get("WWW-Authenticate") == "" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v: want a challenge and no-store", got.header)
			}
		})
	}
}

func TestPromiseIdentityOnlyAfterProofOfProgram(t *testing.T) {
	p := newPrograms(t, "")
	for name, h := range p.wrong() {
		t.Run(name, func(t *testing.T) { p.assertRefused(t, h) })
	}
	for name, assertion := range p.wrongJWTs() {
		t.Run("exchange/"+name, func(t *testing.T) {
			got := p.exchange(assertion)
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, `"invalid_grant"`) || strings.Contains(got.body, "gh_at_") {
				t.Errorf("%d %s, want 400 invalid_grant", got.status, got.body)
			}
		})
	}
}

func TestPromiseAWrongCredentialOfAProgramIsNeverSomebodyElse(t *testing.T) {
	p := newPrograms(t, "")
	ben := sessionCookie(t, p.signIn("ben"))
	for name, h := range p.wrong() {
		t.Run("HDR-26 beside a session/"+name, func(t *testing.T) {
			h = h.Clone()
			h.Set("Cookie", ben)
			p.assertRefused(t, h)
		})
	}
	for name, good := range p.good() {
		t.Run("HDR-26 a good one beside another's session/"+name, func(t *testing.T) {
			h := good.header.Clone()
			h.Set("Cookie", ben)
			if got := p.get(p.program(), "/", h); got.status != http.StatusOK || p.app.last(t).Header.Get("X-Gatehouse-Subject") != good.ours["X-Gatehouse-Subject"] {
				t.Errorf("%d, and the application saw %v; want %v", got.status, p.app.last(t).Header, good.ours)
			}
		})
	}
}

// assertRefused wants 401, and nothing at the application.
func (p *programs) assertRefused(t *testing.T, h http.Header) {
	t.Helper()
	before := p.app.count()
	got := p.get(p.program(), "/", h)
	if got.status != http.StatusUnauthorized || p.app.count() != before {
		t.Errorf("%d, and the application saw %d requests; want 401 and none\n%s", got.status, p.app.count()-before, got.body)
	}
	if got.header.Get("WWW-Authenticate") == "" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v: want a challenge and no-store", got.header)
	}
}

func TestPromiseAWrongCredentialIsNeverSomebodyElse(t *testing.T) {
	w := newWorld(t, "")
	ada, ben := sessionCookie(t, w.signIn("ada")), sessionCookie(t, w.signIn("ben"))
	for name, cookie := range map[string]string{
		"SES-11 two sessions":                ada + "; " + ben,
		"SES-11 two sessions, other order":   ben + "; " + ada,
		"SES-02 one character changed":       flip(ada),
		"a good cookie under another's name": strings.Replace(ada, "__Host-gatehouse", "gatehouse", 1),
	} {
		t.Run(name, func(t *testing.T) {
			before := w.app.count()
			if got := w.get(w.program(), "/", http.Header{"Cookie": {cookie}}); got.status != http.StatusUnauthorized || w.app.count() != before {
				t.Errorf("%d, and the application saw %d requests; want 401 and none", got.status, w.app.count()-before)
			}
		})
	}
}

// A cookie that proves nothing takes nothing from one that does: browsers go on
// sending one that no sign-in can take back.
func TestPromiseAForgedCookieChangesNothing(t *testing.T) {
	w := newWorld(t, "")
	ada := sessionCookie(t, w.signIn("ada"))
	for name, cookie := range map[string]string{
		"before a good one": "__Host-gatehouse=forged; " + ada,
		"behind a good one": ada + "; __Host-gatehouse=forged",
		"the good one, too": ada + "; " + ada,
	} {
		t.Run("SES-11 "+name, func(t *testing.T) {
			got := w.get(w.program(), "/", http.Header{"Cookie": {cookie}})
			if got.status != http.StatusOK || w.app.last(t).Header.Get("X-Gatehouse-Subject") != "1001" {
				t.Errorf("%d, and the application saw %v; want 200 as 1001", got.status, w.app.last(t).Header)
			}
		})
	}
}

// flip changes the case of a letter in the middle.
func flip(cookie string) string {
	i := len(cookie) / 2
	for !strings.ContainsAny(cookie[i:i+1], "abcdefghijklmnopqrstuvwxyz") {
		i++
	}
	return cookie[:i] + strings.ToUpper(cookie[i:i+1]) + cookie[i+1:]
}

const (
	ringKey   = "rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw="
	sharedKey = "session: {keys: [\"" + ringKey + "\"]}\n"
)

func TestPromiseUnknownIsClosed(t *testing.T) {
	good := newWorld(t, withPublicPath+sharedKey)
	cookie := sessionCookie(t, good.signIn("ada"))

	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close() // nobody listens there
	w := newWorld(t, withPublicPath+sharedKey+fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", dead.Addr()))

	t.Run("RDS-01 a program with a session", func(t *testing.T) {
		assertClosed(t, w, w.get(w.program(), "/", http.Header{"Cookie": {cookie}}))
	})
	t.Run("RDS-01 a browser with a session is not sent to sign in", func(t *testing.T) {
		h := navigation.Clone()
		h.Set("Cookie", cookie)
		assertClosed(t, w, w.get(w.program(), "/", h))
	})
	t.Run("RDS-01 a public path goes on", func(t *testing.T) {
		if got := w.get(w.program(), "/public/x", nil); got.status != http.StatusOK {
			t.Errorf("%d, want 200", got.status)
		}
	})
	t.Run("RDS-06 a sign-in that can't be stored sets no cookie", func(t *testing.T) {
		b := w.browser()
		got := w.get(b, "/.gatehouse/sign-in?login_hint=ada", navigation)
		if got.status != http.StatusServiceUnavailable {
			t.Errorf("%d, want 503", got.status)
		}
		for _, c := range b.Jar.Cookies(&url.URL{Scheme: "https", Host: publicHost, Path: "/"}) {
			if c.Name == "__Host-gatehouse" {
				t.Error("there is a session cookie")
			}
		}
	})
	t.Run("a program without a credential still gets 401", func(t *testing.T) {
		if got := w.get(w.program(), "/", nil); got.status != http.StatusUnauthorized {
			t.Errorf("%d, want 401", got.status)
		}
	})
	t.Run("a provider that is down answers 503 to a sign-in", func(t *testing.T) {
		w := newWorld(t, "")
		w.provider.Close()
		got := w.get(w.browser(), "/deep/link", navigation)
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.header.Get("Refresh") == "" {
			t.Errorf("%d, headers %v; want 503 that retries", got.status, got.header)
		}
	})
}

func TestPromiseUnknownProgramIsClosed(t *testing.T) {
	token := newPrograms(t, "").token()
	p := openPrograms(t, "store: {redis: {url: \"redis://127.0.0.1:1\"}}\n")
	for name, h := range map[string]http.Header{
		"an access token":      bearerHeader(token),
		"a key of the gateway": keyHeader(apikey.Generate()),
	} {
		t.Run("RDS-01 "+name, func(t *testing.T) { assertClosed(t, p.world, p.get(p.program(), "/", h)) })
	}
	t.Run("RDS-01 the exchange", func(t *testing.T) {
		got := p.exchange(p.jwt(p.issuer.Keys()[0], nil))
		assertClosed(t, p.world, got)
		if strings.Contains(got.body, "gh_at_") {
			t.Error("there is a token that nobody has stored")
		}
	})

	down := newPrograms(t, "")
	cookie := sessionCookie(t, down.signIn("ben"))
	down.app.mu.Lock()
	down.app.seen = nil
	down.app.mu.Unlock()
	assertion := down.jwt(down.issuer.Keys()[0], nil)
	down.provider.Close()
	down.peer.Close()
	for name, h := range map[string]http.Header{
		"JWT-20 a JWT, and its issuer is down":                       bearerHeader(assertion),
		"TOK-24 an opaque token, and its issuer is down":             bearerHeader(goodOpaque),
		"a key of the application, and it is down":                   keyHeader(goodKey),
		"HDR-26 a JWT beside a session, and its issuer is down":      {"Authorization": {"Bearer " + assertion}, "Cookie": {cookie}},
		"HDR-26 a key beside a session, and the application is down": {"Wandb-Api-Key": {goodKey}, "Cookie": {cookie}},
	} {
		t.Run(name, func(t *testing.T) { assertClosed(t, down.world, down.get(down.program(), "/", h)) })
	}
	t.Run("JWT-20 the exchange, and the issuer is down", func(t *testing.T) { assertClosed(t, down.world, down.exchange(assertion)) })
}

func assertClosed(t *testing.T, w *world, got answer) {
	t.Helper()
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q; want 503 with one", got.status, got.header.Get("Retry-After"))
	}
	if c := got.header.Values("Set-Cookie"); len(c) != 0 {
		t.Errorf("the cookie was touched: %v", c)
	}
	if w.app.count() != 0 {
		t.Error("the application saw the request")
	}
}

func TestPromiseSignInChangesTheSession(t *testing.T) {
	w := newWorld(t, "")
	b := w.signIn("ada")
	first := sessionCookie(t, b)
	if got := w.get(b, "/.gatehouse/sign-in?login_hint=ben", navigation); got.status != http.StatusOK {
		t.Fatalf("second sign-in: %d\n%s", got.status, got.body)
	}
	second := sessionCookie(t, b)
	if first == second {
		t.Error("OIDC-37: the cookie is the same after a sign-in")
	}
	if got := w.get(w.program(), "/", http.Header{"Cookie": {first}}); got.status != http.StatusUnauthorized {
		t.Errorf("OIDC-38: the old session answers %d, want 401", got.status)
	}
	w.get(w.program(), "/", http.Header{"Cookie": {second}})
	if got := w.app.last(t).Header.Get("X-Forwarded-User"); got != "1002" {
		t.Errorf("the second session is %q, want ben", got)
	}
}

func TestPromiseUsersSeeNoInternals(t *testing.T) {
	internals := regexp.MustCompile(`127\.0\.0\.1|dial tcp|connection refused|goroutine|\.go:\d|oidc: |session: |proxy: |redis|EOF|panic`)
	w := newWorld(t, withPublicPath)
	ada := w.signIn("ada")
	gone := newWorld(t, strings.ReplaceAll(withPublicPath, "$UPSTREAM", "http://127.0.0.1:1"))
	goneAda := gone.signInAnywhere("ada")
	down := newWorld(t, "")
	down.provider.Close()
	w.issuer.Set(func(f *authntest.Faults) {
		f.Claims = func(_ authntest.Answer, c map[string]any) { c["nonce"] = "another" }
	})
	tests := map[string]struct {
		w      *world
		client *http.Client
		path   string
		status int
	}{
		"WEB-26 bad target":             {w, ada, "/a/%2e%2e/b", 400},
		"WEB-26 callback":               {w, w.browser(), "/oidc/callback?state=x&code=y", 400},
		"WEB-26 no such page":           {w, ada, "/.gatehouse/nothing", 404},
		"WEB-26 a lying provider":       {w, w.browser(), "/.gatehouse/sign-in?login_hint=ada", 400},
		"WEB-26 provider down":          {down, down.browser(), "/", 503},
		"WEB-26 application down":       {gone, goneAda, "/x", 502},
		"WEB-26 application down, anon": {gone, gone.browser(), "/public/x", 502},
	}
	for name, tt := range tests {
		for _, accept := range []string{"text/html", "application/json"} {
			t.Run(name+"/"+accept, func(t *testing.T) {
				h := http.Header{"Accept": {accept}}
				got := tt.w.get(tt.client, tt.path, h)
				want := tt.status
				if accept != "text/html" && (got.status == http.StatusUnauthorized) {
					want = http.StatusUnauthorized // a program is never sent to sign in
				}
				if got.status != want {
					t.Errorf("%d, want %d\n%s", got.status, want, got.body)
				}
				if m := internals.FindString(got.body); m != "" {
					t.Errorf("the body tells %q:\n%s", m, got.body)
				}
				if id := got.header.Get("X-Request-Id"); id == "" || !strings.Contains(got.body, id) {
					t.Errorf("the body does not show the request id %q", id)
				}
			})
		}
	}
}

// signInAnywhere signs in though the application behind can't be reached.
func (w *world) signInAnywhere(username string) *http.Client {
	w.t.Helper()
	b := w.browser()
	w.get(b, "/.gatehouse/sign-in?rd=/.x&login_hint="+username, navigation)
	sessionCookie(w.t, b)
	return b
}

var aJWT = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.`)

func TestPromiseLogsHoldNoSecrets(t *testing.T) {
	w := newWorld(t, withPublicPath)
	var secrets []string
	keep := func(values ...string) { secrets = append(secrets, values...) }
	spy := w.transport()
	b := w.browser()
	b.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		for _, p := range []string{"code", "state", "nonce", "code_challenge", "id_token_hint"} {
			keep(r.URL.Query().Get(p))
		}
		res, err := spy.RoundTrip(r)
		if err == nil {
			if to, _, _ := strings.Cut(res.Header.Get("Location"), "id_token_hint="); aJWT.MatchString(to) {
				t.Errorf("WEB-21: a token is in the address %s", to)
			}
			for _, c := range res.Cookies() {
				keep(c.Value)
			}
		}
		return res, err
	})
	w.get(b, "/deep?token=query-secret-1", navigation)
	w.get(b, "/.gatehouse/sign-in?login_hint=ada", navigation)
	w.get(b, "/deep?token=query-secret-2", navigation)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+publicHost+"/logout", nil)
	req.Header.Set("Authorization", "Bearer header-secret-3")
	w.do(b, req)
	for _, name := range []string{"X-Gatehouse-Authorization", "Proxy-Authorization", "Wandb-Api-Key", "X-Wandb-Username"} {
		for _, path := range []string{"/x", "/public/x", "/.gatehouse/userinfo"} {
			w.get(w.program(), path, http.Header{name: {"Bearer beside-secret-4"}})
			if seen := fmt.Sprint(w.app.last(t).Header); strings.Contains(seen, "beside-secret-4") {
				t.Errorf("HDR-28: the application saw %s at %s: %s", name, path, seen)
			}
		}
	}
	w.issuer.Set(func(f *authntest.Faults) { f.Signature = authntest.Corrupt })
	w.get(b, "/.gatehouse/sign-in?login_hint=ada", navigation)
	token := w.issuer.Last(authntest.Token)
	keep(token.PostForm.Get("code_verifier"), token.PostForm.Get("code"), "query-secret-1", "query-secret-2", "header-secret-3", "beside-secret-4")

	log := w.log.String() + w.trail.String()
	if !strings.Contains(log, `"subject":"1001"`) || !strings.Contains(w.trail.String(), `"event":"sign-in"`) {
		t.Errorf("the log does not even say who signed in:\n%s", log)
	}
	n := 0
	for _, s := range secrets {
		if len(s) < 8 {
			continue
		}
		n++
		for _, form := range []string{s, url.QueryEscape(s)} {
			if strings.Contains(log, form) {
				t.Errorf("OPS-09: the log holds the secret %q", s)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d secrets were looked for", n)
	}
}

func TestPromiseLogsHoldNoSecretsOfPrograms(t *testing.T) {
	p := newPrograms(t, "")
	var sent []http.Header
	for _, good := range p.good() {
		sent = append(sent, good.header)
	}
	for _, h := range p.wrong() {
		sent = append(sent, h)
	}
	secrets := []string{introspectionSecret}
	for _, h := range sent {
		secrets = append(secrets, secretsOf(h)...)
		p.get(p.program(), "/x", h)
		p.get(p.program(), "/.gatehouse/userinfo", h)
		p.get(p.program(), "/public/x", h)
		h = h.Clone()
		h["X-Gatehouse-Authorization"] = h["Authorization"]
		p.get(p.program(), "/x", h)
	}
	for _, assertion := range p.wrongJWTs() {
		p.exchange(assertion)
	}
	p.post("/.gatehouse/revoke", url.Values{"token": {p.token()}})
	p.peer.Close()
	p.provider.Close()
	p.get(p.program(), "/x", bearerHeader(goodOpaque+"2"))
	p.get(p.program(), "/x", keyHeader(flip(goodKey)))
	secrets = append(secrets, goodOpaque+"2", flip(goodKey))

	log := p.log.String() + p.trail.String()
	for _, want := range []string{`"event":"token-issue"`, `"event":"access"`, `"check":"aud"`, `"access token given"`, `"key_id":"` + p.id + `"`, `"subject":"1001"`, "connection refused"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %s:\n%s", want, log)
		}
	}
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s)} {
			if strings.Contains(log, form) {
				t.Errorf("OPS-09, TOK-30: the log holds the secret %q", s)
			}
		}
	}
	if len(secrets) < 40 {
		t.Errorf("only %d secrets were looked for", len(secrets))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSecretsNeverPrint(t *testing.T) {
	c := config.Config{Session: config.Session{Keys: []config.Secret{"top-secret-key"}}}
	if s := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(s, "top-secret") {
		t.Errorf("settings print a secret: %s", s)
	}
}

// TestLiveness keeps the operations listener's answers.
func TestOperations(t *testing.T) {
	w := newWorld(t, "")
	ops := httptest.NewServer(opsServer(newReadiness(w.gw).look, func() config.Config { return config.Config{} }, w.metrics.Handler(newLogger(config.Log{}, w.log)), newLogger(config.Log{}, w.log)).Handler)
	defer ops.Close()
	look := func(path string) (int, string) {
		res, err := ops.Client().Get(ops.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	waitFor(t, func() error {
		if _, body := look("/readyz"); !strings.Contains(body, "ok        news\n") {
			return fmt.Errorf("/readyz says nothing of news: %s", body)
		}
		return nil
	})
	for path, want := range map[string]int{"/livez": 200, "/healthz": 200, "/ping": 200, "/metrics": 200, "/readyz": 200, "/debug/pprof/": 404, "/healthz/../admin": 404} {
		if got, body := look(path); got != want {
			t.Errorf("OPS-03 %s: %d, want %d\n%s", path, got, want, body)
		}
	}
	w.provider.Close()
}
