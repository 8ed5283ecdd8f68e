package authntest_test

import (
	"encoding/json/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

func param(name, value string) oauth2.AuthCodeOption { return oauth2.SetAuthURLParam(name, value) }

// Who asks and where the answer goes must be known; anything else is answered
// on a page, never by a redirect.
func TestAuthorizeNeverRedirectsToStrangers(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	good := p.config.AuthCodeURL("s", pkce())
	for name, request := range map[string]string{
		"unknown client":      strings.Replace(good, "client_id=rp", "client_id=stranger", 1),
		"two clients":         good + "&client_id=rp",
		"no redirect_uri":     strings.Replace(good, "redirect_uri=", "x=", 1),
		"two redirect_uris":   good + "&redirect_uri=" + url.QueryEscape(redirectURI),
		"longer path":         strings.Replace(good, "callback", "callback%2Fx", 1),
		"with query":          strings.Replace(good, "callback", "callback%3Fx%3Dy", 1),
		"upper case":          strings.Replace(good, "rp.test", "RP.test", 1),
		"slash at the end":    strings.Replace(good, "callback", "callback%2F", 1),
		"no parameter at all": p.issuer.URL() + "/authorize",
	} {
		response, _ := p.get(request)
		if response.StatusCode != http.StatusBadRequest || response.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", name, response.StatusCode, response.Header.Get("Location"))
		}
	}
	if r, _ := p.get(good); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the good one: %d", r.StatusCode)
	}
}

func TestAuthorizeErrors(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	for _, c := range []struct {
		name, want string
		options    []oauth2.AuthCodeOption
	}{
		{"no response_type", "unsupported_response_type", []oauth2.AuthCodeOption{param("response_type", "")}},
		{"token alone", "unsupported_response_type", []oauth2.AuthCodeOption{param("response_type", "token")}},
		{"response_mode", "invalid_request", []oauth2.AuthCodeOption{param("response_mode", "carrier_pigeon"), pkce()}},
		{"tokens in a query", "invalid_request", []oauth2.AuthCodeOption{param("response_type", "id_token"), param("response_mode", "query"), param("nonce", "n")}},
		{"implicit without nonce", "invalid_request", []oauth2.AuthCodeOption{param("response_type", "id_token")}},
		{"no openid", "invalid_scope", []oauth2.AuthCodeOption{param("scope", "profile"), pkce()}},
		{"prompt none and login", "invalid_request", []oauth2.AuthCodeOption{param("prompt", "none login"), pkce()}},
		{"max_age", "invalid_request", []oauth2.AuthCodeOption{param("max_age", "-1"), pkce()}},
		{"no PKCE", "invalid_request", nil},
		{"plain PKCE", "invalid_request", []oauth2.AuthCodeOption{param("code_challenge", strings.Repeat("a", 43)), param("code_challenge_method", "plain")}},
		{"PKCE without method", "invalid_request", []oauth2.AuthCodeOption{param("code_challenge", strings.Repeat("a", 43))}},
		{"short challenge", "invalid_request", []oauth2.AuthCodeOption{param("code_challenge", "abc"), param("code_challenge_method", "S256")}},
		{"request object", "request_not_supported", []oauth2.AuthCodeOption{param("request", "x"), pkce()}},
	} {
		got := p.answer(c.options...)
		if got.Get("error") != c.want || got.Has("code") || got.Has("id_token") {
			t.Errorf("%s: %v", c.name, got)
		}
		if got.Get("state") != "the-state" || got.Get("iss") != p.issuer.URL() {
			t.Errorf("%s: an error without state or iss: %v", c.name, got)
		}
	}
	response, body := p.get(p.config.AuthCodeURL("s", pkce()) + "&scope=openid")
	if got := p.responseOf(response, body); got.Get("error") != "invalid_request" {
		t.Errorf("a parameter twice: %v", got)
	}
}

// A confidential client may do without PKCE, but not halfway.
func TestAuthorizeConfidentialClient(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{Clients: []authntest.Client{{ID: "rp", Secret: "s", RedirectURIs: []string{redirectURI}}}})
	p.issuer.AutoLogin("1001")
	if got := p.answer(); got.Get("code") == "" {
		t.Errorf("without PKCE: %v", got)
	}
	if got := p.answer(param("code_challenge_method", "S256")); got.Get("error") != "invalid_request" {
		t.Errorf("half of PKCE: %v", got)
	}
}

func TestResponseModes(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	type answer struct{ code, idToken, access bool }
	for _, c := range []struct {
		types, mode, where string
		want               answer
	}{
		{"code", "", "query", answer{code: true}},
		{"code", "fragment", "fragment", answer{code: true}},
		{"code", "form_post", "form", answer{code: true}},
		{"id_token", "", "fragment", answer{idToken: true}},
		{"id_token", "form_post", "form", answer{idToken: true}},
		{"id_token token", "form_post", "form", answer{idToken: true, access: true}},
		{"token id_token", "fragment", "fragment", answer{idToken: true, access: true}},
		{"code id_token", "form_post", "form", answer{code: true, idToken: true}},
	} {
		options := []oauth2.AuthCodeOption{param("response_type", c.types), oidc.Nonce("n"), pkce()}
		if c.mode != "" {
			options = append(options, param("response_mode", c.mode))
		}
		response, body := p.get(p.config.AuthCodeURL("the-state", options...))
		where := "form"
		if location, err := response.Location(); err == nil {
			where = "query"
			if location.Fragment != "" {
				where = "fragment"
			}
		}
		got := p.responseOf(response, body)
		if where != c.where || (answer{got.Has("code"), got.Has("id_token"), got.Has("access_token")}) != c.want {
			t.Errorf("%s %s: by %s: %v", c.types, c.mode, where, got)
		}
		if got.Get("state") != "the-state" || got.Get("iss") != p.issuer.URL() {
			t.Errorf("%s %s: %v", c.types, c.mode, got)
		}
	}
}

// The implicit flow as a relying party sees it: form_post, and the hashes.
func TestImplicitFormPost(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{ThinIDTokens: true})
	p.issuer.AutoLogin("1001")
	got := p.answer(param("response_type", "code id_token token"), param("response_mode", "form_post"), oidc.Nonce("n"), pkce())
	id, err := p.verify(got.Get("id_token"))
	if err != nil {
		t.Fatal(err)
	}
	if err := id.VerifyAccessToken(got.Get("access_token")); err != nil || id.Nonce != "n" {
		t.Errorf("nonce %q, at_hash: %v", id.Nonce, err)
	}
	if claims := payload(t, got.Get("id_token")); claims["c_hash"] == nil || claims["email"] != nil {
		t.Errorf("claims beside an access token: %v", claims)
	}
	if got.Get("token_type") != "Bearer" || got.Get("expires_in") != "3600" {
		t.Errorf("response: %v", got)
	}
	alone := p.answer(param("response_type", "id_token"), param("response_mode", "form_post"), oidc.Nonce("n"))
	if claims := payload(t, alone.Get("id_token")); claims["email"] != "ada@example.com" || claims["at_hash"] != nil {
		t.Errorf("claims of an ID token that comes alone: %v", claims)
	}
}

// The form posts itself where the policy lets it, and shows a button where not.
func TestFormPostPage(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	response, body := p.get(p.config.AuthCodeURL(`"><script>`, param("response_mode", "form_post"), pkce()))
	for _, want := range []string{`<form method="post" action="` + redirectURI + `">`, `<script src="/submit.js"></script>`, "<noscript><button"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(body, `"><script>`) || p.responseOf(response, body).Get("state") != `"><script>` {
		t.Error("state is not escaped")
	}
	if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self'") || strings.Contains(policy, "form-action") {
		t.Errorf("policy: %s", policy)
	}
}

func TestRedirectKeepsQuery(t *testing.T) {
	uri := "http://rp.test/callback?tenant=a"
	p := newParty(t, authntest.IssuerOptions{NoIssParameter: true, Clients: []authntest.Client{{ID: "rp", RedirectURIs: []string{uri}}}})
	p.config.RedirectURL = uri
	p.issuer.AutoLogin("1001")
	got := p.answer(pkce())
	if got.Get("tenant") != "a" || got.Get("code") == "" || got.Has("iss") {
		t.Errorf("response: %v", got)
	}
}

// pick presses a button of the sign-in page that a request leads to.
func (p *party) pick(subject string, options ...oauth2.AuthCodeOption) (*http.Response, string) {
	p.t.Helper()
	response, body := p.get(p.config.AuthCodeURL("the-state", options...))
	if response.StatusCode != http.StatusOK || !strings.Contains(body, "Choose who you are") {
		p.t.Fatalf("no sign-in page but %d: %s", response.StatusCode, body)
	}
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(body, -1) {
		form.Set(m[1], unescape(m[2]))
	}
	if subject != "" {
		form.Set("subject", subject)
	}
	return p.post(p.issuer.URL()+"/sign-in", form)
}

func (p *party) asksWho(options ...oauth2.AuthCodeOption) bool {
	p.t.Helper()
	_, body := p.get(p.config.AuthCodeURL("the-state", append(options, pkce())...))
	return strings.Contains(body, "Choose who you are")
}

func TestSignInPage(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{Name: "Example ID"})
	_, body := p.get(p.config.AuthCodeURL("s", pkce(), param("login_hint", "BEN@example.com")))
	for _, want := range []string{"Example ID", "<strong>rp</strong>", "Ada Lovelace", "ada@example.com", "research", ">AL<", ">B<"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if ben, ada := strings.Index(body, `value="1002" autofocus`), strings.Index(body, `value="1001"`); ben < 0 || ben > ada {
		t.Error("login_hint does not put Ben first")
	}
	if strings.Contains(body, "<script") {
		t.Error("the page has a script")
	}
	response, body := p.pick("1002", pkce())
	if got := p.responseOf(response, body); got.Get("code") == "" || got.Get("state") != "the-state" {
		t.Errorf("Ben: %v", got)
	}
	if _, body := p.get(p.config.AuthCodeURL("s", pkce(), param("prompt", "select_account"))); !strings.Contains(body, "signed in</span>") {
		t.Error("the page does not say who is signed in")
	}
}

func TestSignInRefuses(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	response, body := p.pick("", pkce())
	if got := p.responseOf(response, body); got.Get("error") != "access_denied" || got.Get("state") != "the-state" {
		t.Errorf("cancelled: %v", got)
	}
	if response, _ := p.pick("nobody", pkce()); response.StatusCode != http.StatusBadRequest {
		t.Errorf("somebody unknown: %d", response.StatusCode)
	}
	for name, request := range map[string]string{"damaged": "%zz", "other client": "client_id=x"} {
		if response, _ := p.post(p.issuer.URL()+"/sign-in", url.Values{"request": {request}, "subject": {"1001"}}); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
	request, err := http.NewRequest("POST", p.issuer.URL()+"/sign-in", strings.NewReader("subject=1001"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	response, err = p.client.Do(request)
	if err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("from another site's page: %v %v", response, err)
	}
}

// The session at the provider, and what prompt and max_age do to it.
func TestSingleSignOn(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newParty(t, authntest.IssuerOptions{Now: func() time.Time { return now }})
	if got := p.answer(param("prompt", "none"), pkce()); got.Get("error") != "login_required" {
		t.Errorf("prompt=none with nobody signed in: %v", got)
	}
	if response, _ := p.pick("1001", pkce()); response.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-in: %d", response.StatusCode)
	}
	now = now.Add(90 * time.Second)
	for name, options := range map[string][]oauth2.AuthCodeOption{
		"nothing special": nil,
		"prompt=none":     {param("prompt", "none")},
		"max_age enough":  {param("max_age", "90")},
		"hint of another": {param("login_hint", "ben")},
	} {
		if p.asksWho(options...) {
			t.Errorf("%s: the person is asked again", name)
		}
	}
	for name, options := range map[string][]oauth2.AuthCodeOption{
		"prompt=login":          {param("prompt", "login")},
		"prompt=select_account": {param("prompt", "select_account")},
		"prompt=consent":        {param("prompt", "consent")},
		"max_age too small":     {param("max_age", "89")},
	} {
		if !p.asksWho(options...) {
			t.Errorf("%s: the person is not asked", name)
		}
	}
	if got := p.answer(param("max_age", "89"), param("prompt", "none"), pkce()); got.Get("error") != "login_required" {
		t.Errorf("max_age and prompt=none: %v", got)
	}
	token := p.signIn()
	if got := payload(t, rawIDToken(token))["auth_time"]; got != float64(now.Add(-90*time.Second).Unix()) {
		t.Errorf("auth_time without a new sign-in: %v", got)
	}
}

func TestHintSignsIn(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{HintSignsIn: true})
	if p.asksWho(param("login_hint", "ben")) || !p.asksWho(param("login_hint", "who"), param("prompt", "login")) {
		t.Error("a hint does not sign in, or a wrong one does")
	}
}

func TestACR(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	got := p.answer(param("response_type", "id_token"), param("response_mode", "form_post"), oidc.Nonce("n"), param("acr_values", "phr phrh"))
	if acr := payload(t, got.Get("id_token"))["acr"]; acr != "phr" {
		t.Errorf("acr: %v", acr)
	}
}

// TestPush: RFC 9126, what has been pushed is used once, by its client, and carried by
// nobody else where that is wanted.
func TestPush(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{RequirePushed: true})
	p.issuer.AutoLogin("1001")
	push := func(change func(url.Values)) (int, map[string]any) {
		t.Helper()
		request, err := url.Parse(p.config.AuthCodeURL("s", pkce()))
		if err != nil {
			t.Fatal(err)
		}
		form := request.Query()
		form.Set("client_secret", p.config.ClientSecret)
		change(form)
		response, body := p.post(p.issuer.URL()+"/push", form)
		doc := map[string]any{}
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatalf("%d %s", response.StatusCode, body)
		}
		return response.StatusCode, doc
	}
	same := func(url.Values) {}
	status, doc := push(same)
	name, _ := doc["request_uri"].(string)
	if status != http.StatusCreated || !strings.HasPrefix(name, "urn:ietf:params:oauth:request_uri:") || doc["expires_in"] != 60.0 {
		t.Fatalf("%d %v", status, doc)
	}
	goTo := func(q url.Values) int {
		response, _ := p.get(p.issuer.URL() + "/authorize?" + q.Encode())
		return response.StatusCode
	}
	by := func(client, name string) url.Values {
		return url.Values{"client_id": {client}, "request_uri": {name}}
	}
	if got := goTo(by(p.config.ClientID, name)); got != http.StatusSeeOther {
		t.Errorf("the good one: %d", got)
	}
	_, doc = push(same)
	other, _ := doc["request_uri"].(string)
	for what, q := range map[string]url.Values{
		"twice": by(p.config.ClientID, name), "another client's": by("other", other), "unknown": by(p.config.ClientID, "urn:x"),
		"carried": {"client_id": {p.config.ClientID}, "redirect_uri": {p.config.RedirectURL}, "response_type": {"code"}, "scope": {"openid"}},
	} {
		if got := goTo(q); got != http.StatusBadRequest {
			t.Errorf("%s: %d", what, got)
		}
	}
	for what, change := range map[string]func(url.Values){
		"secret": func(q url.Values) { q.Set("client_secret", "wrong") }, "redirect URI": func(q url.Values) { q.Set("redirect_uri", "https://evil.test") },
		"scope": func(q url.Values) { q.Set("scope", "email") }, "request_uri": func(q url.Values) { q.Set("request_uri", "x") },
		"twice": func(q url.Values) { q.Add("state", "t") }, "no PKCE": func(q url.Values) { q.Set("code_challenge_method", "plain") },
	} {
		if status, doc := push(change); status/100 != 4 || doc["error"] == nil || doc["request_uri"] != nil {
			t.Errorf("%s: %d %v", what, status, doc)
		}
	}
}
