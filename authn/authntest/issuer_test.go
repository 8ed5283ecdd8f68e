package authntest_test

import (
	"encoding/json/v2"
	"html"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"

	"golang.org/x/oauth2"
)

func unescape(s string) string { return html.UnescapeString(s) }

func decode[V any](t *testing.T, text string) V {
	t.Helper()
	var v V
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func TestCodeFlow(t *testing.T) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			p := newParty(t, authntest.IssuerOptions{Keys: []authntest.Key{authntest.NewKey(algorithm)}})
			p.issuer.AutoLogin("1001")
			token := p.signIn()
			id, err := p.verify(rawIDToken(token))
			if err != nil {
				t.Fatal(err)
			}
			if id.Subject != "1001" || id.Nonce != "the-nonce" || !slices.Equal(id.Audience, []string{"rp"}) {
				t.Errorf("sub %q, nonce %q, aud %q", id.Subject, id.Nonce, id.Audience)
			}
			if err := id.VerifyAccessToken(token.AccessToken); err != nil {
				t.Errorf("at_hash: %v", err)
			}
			var claims map[string]any
			if err := id.Claims(&claims); err != nil {
				t.Fatal(err)
			}
			if claims["name"] != "Ada Lovelace" || claims["email"] != "ada@example.com" || claims["email_verified"] != true ||
				claims["preferred_username"] != "ada" || len(claims["groups"].([]any)) != 2 || claims["sid"] == "" {
				t.Errorf("claims: %v", claims)
			}
			if token.RefreshToken == "" || token.TokenType != "Bearer" {
				t.Errorf("token response: %+v", token)
			}
		})
	}
}

// An issuer with a path has everything below it.
func TestIssuerWithPath(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{URL: "http://ignored.test/realms/demo"})
	if !strings.HasSuffix(p.issuer.URL(), "/realms/demo") {
		t.Fatalf("URL: %s", p.issuer.URL())
	}
	p.issuer.AutoLogin("1001")
	if _, err := p.verify(rawIDToken(p.signIn())); err != nil {
		t.Error(err)
	}
	if r, body := p.get(p.issuer.URL()); r.StatusCode != http.StatusOK || !strings.Contains(body, `/realms/demo/style.css`) {
		t.Errorf("home: %d %s", r.StatusCode, body)
	}
	if r, _ := p.get(strings.TrimSuffix(p.issuer.URL(), "/realms/demo") + "/jwks"); r.StatusCode != http.StatusNotFound {
		t.Errorf("beside the path: %d", r.StatusCode)
	}
}

func TestNewIssuerRefusesWhatIsNoIssuer(t *testing.T) {
	for _, url := range []string{"", "issuer", "http://issuer.test/", "http://a b/"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is taken", url)
				}
			}()
			authntest.NewIssuer(authntest.IssuerOptions{URL: url})
		}()
	}
}

func TestNewKeyKnowsItsAlgorithms(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("HS256 is taken for a key pair's")
		}
	}()
	authntest.NewKey("HS256")
}

func TestDefaults(t *testing.T) {
	issuer := authntest.NewIssuer(authntest.IssuerOptions{URL: "https://id.test"})
	if keys := issuer.Keys(); len(keys) != 1 || keys[0].Algorithm != "RS256" {
		t.Errorf("keys: %v", keys)
	}
}

func TestDiscovery(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{SignedUserinfo: true, NoIssParameter: true,
		Keys: []authntest.Key{authntest.NewKey("ES256"), authntest.NewKey("EdDSA"), authntest.NewKey("ES256")}})
	response, body := p.get(p.issuer.URL() + "/.well-known/openid-configuration")
	doc := decode[map[string]any](t, body)
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"} {
		if url, _ := doc[name].(string); !strings.HasPrefix(url, p.issuer.URL()+"/") {
			t.Errorf("%s: %v", name, doc[name])
		}
	}
	if algorithms, _ := doc["id_token_signing_alg_values_supported"].([]any); !slices.Equal(algorithms, []any{"ES256", "EdDSA"}) {
		t.Errorf("algorithms: %v", algorithms)
	}
	if doc["authorization_response_iss_parameter_supported"] != false || doc["userinfo_signing_alg_values_supported"] == nil {
		t.Errorf("document: %v", doc)
	}
	if response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("header: %v", response.Header)
	}
}

// The newest key signs, the older ones verify until they are taken away.
func TestKeyRotation(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	before := rawIDToken(p.signIn())
	old, fresh := p.issuer.Keys()[0], authntest.NewKey("EdDSA")
	p.issuer.SetKeys(fresh, old)
	after := rawIDToken(p.signIn())
	for name, token := range map[string]string{"old": before, "new": after} {
		if _, err := p.verify(token); err != nil {
			t.Errorf("%s key: %v", name, err)
		}
	}
	p.issuer.SetKeys(fresh)
	p.discover()
	if _, err := p.verify(before); err == nil {
		t.Error("a retired key still verifies")
	}
	if _, err := p.verify(after); err != nil {
		t.Errorf("new key: %v", err)
	}
}

func TestMethods(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	for path, allow := range map[string]string{"/token": "POST", "/sign-in": "POST"} {
		response, _ := p.get(p.issuer.URL() + path)
		if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != allow {
			t.Errorf("GET %s: %d, Allow %q", path, response.StatusCode, response.Header.Get("Allow"))
		}
	}
	if response, _ := p.post(p.issuer.URL()+"/jwks", nil); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /jwks: %d", response.StatusCode)
	}
	if response, err := p.client.Head(p.issuer.URL() + "/jwks"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("HEAD /jwks: %v %v", response, err)
	}
	if response, _ := p.get(p.issuer.URL() + "/nothing"); response.StatusCode != http.StatusNotFound {
		t.Errorf("GET /nothing: %d", response.StatusCode)
	}
	if response, _ := p.get(p.issuer.URL() + "/authorize?a=%zz"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("a form that can't be read: %d", response.StatusCode)
	}
}

func TestCallsAndLast(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	if p.issuer.Calls(authntest.Token) != 0 || p.issuer.Last(authntest.Token).Method != "" {
		t.Error("a request is remembered that never was")
	}
	token := p.signIn()
	if got := p.issuer.Calls(authntest.Token); got != 1 {
		t.Errorf("%d token requests", got)
	}
	last := p.issuer.Last(authntest.Token)
	if last.Method != "POST" || last.PostForm.Get("grant_type") != "authorization_code" || last.Form.Get("code_verifier") == "" ||
		!strings.HasPrefix(last.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		t.Errorf("last token request: %+v", last)
	}
	if last := p.issuer.Last(authntest.Authorize); last.URL.Query().Get("state") != "the-state" {
		t.Errorf("last authorization request: %v", last.URL)
	}
	if _, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(token)); err != nil {
		t.Error(err)
	}
	if got := p.issuer.Last(authntest.Userinfo).Header.Get("Authorization"); got != "Bearer "+token.AccessToken {
		t.Errorf("userinfo credential: %q", got)
	}
}

// The clock governs what tokens say and the Date header.
func TestClock(t *testing.T) {
	now := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	p := newParty(t, authntest.IssuerOptions{Now: func() time.Time { return now }, Lifetime: 10 * time.Minute})
	p.issuer.Set(func(f *authntest.Faults) { f.ClockShift = time.Hour })
	p.issuer.AutoLogin("1001")
	claims := payload(t, rawIDToken(p.signIn()))
	at := float64(now.Add(time.Hour).Unix())
	if claims["iat"] != at || claims["auth_time"] != at || claims["exp"] != at+600 {
		t.Errorf("iat %v, auth_time %v, exp %v", claims["iat"], claims["auth_time"], claims["exp"])
	}
	response, _ := p.get(p.issuer.URL() + "/jwks")
	if got := response.Header.Get("Date"); got != "Tue, 06 May 2031 08:08:09 GMT" {
		t.Errorf("Date: %s", got)
	}
}

// SetPerson shows at the next renewal; RemovePerson ends everything.
func TestPeopleChange(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	token := p.signIn()
	changed := ada()
	changed.Groups = []string{"research"}
	changed.Claims = map[string]any{"department": "engines", "name": "Countess"}
	p.issuer.SetPerson(changed)
	fresh, err := p.refresh(token)
	if err != nil {
		t.Fatal(err)
	}
	claims := payload(t, rawIDToken(fresh))
	if groups := claims["groups"].([]any); len(groups) != 1 || claims["department"] != "engines" || claims["name"] != "Countess" {
		t.Errorf("claims: %v", claims)
	}
	p.issuer.RemovePerson("1001")
	wantError(t, "invalid_grant")(p.refresh(fresh))
	if _, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(fresh)); err == nil {
		t.Error("userinfo of somebody who is not there")
	}
	wantError(t, "invalid_grant")(p.trySignIn())

	p.issuer.SetPerson(authntest.Person{Subject: "1003", Email: "cleo@example.com"})
	p.issuer.AutoLogin("1003")
	if claims := payload(t, rawIDToken(p.signIn())); claims["sub"] != "1003" || claims["email_verified"] != false || claims["groups"] != nil {
		t.Errorf("a new person: %v", claims)
	}
}

func TestRevoke(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1002")
	other := p.signIn()
	p.issuer.AutoLogin("1001")
	token := p.signIn()
	p.issuer.Revoke("1001")
	wantError(t, "invalid_grant")(p.refresh(token))
	if _, err := p.refresh(other); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	p.issuer.AutoLogin("")
	if got := p.answer(oauth2.SetAuthURLParam("prompt", "none"), pkce()).Get("error"); got != "login_required" {
		t.Errorf("the session at the provider goes on: %q", got)
	}
}

func TestHome(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{Name: "Example ID"})
	if _, body := p.get(p.issuer.URL() + "/"); !strings.Contains(body, "Nobody is signed in") || !strings.Contains(body, "Example ID") {
		t.Errorf("home: %s", body)
	}
	p.issuer.AutoLogin("1001")
	p.signIn()
	if _, body := p.get(p.issuer.URL() + "/"); !strings.Contains(body, "you are Ada Lovelace") {
		t.Errorf("home: %s", body)
	}
	for path, kind := range map[string]string{"/style.css": "text/css; charset=utf-8", "/submit.js": "text/javascript; charset=utf-8"} {
		if r, body := p.get(p.issuer.URL() + path); r.Header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
}

func TestStartIsStopped(t *testing.T) {
	issuer, stop, err := authntest.Start(authntest.IssuerOptions{Keys: []authntest.Key{authntest.NewKey("EdDSA")}})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if response, err := client.Get(issuer.URL() + "/jwks"); err == nil {
		t.Errorf("it still answers %d", response.StatusCode)
	}
}
