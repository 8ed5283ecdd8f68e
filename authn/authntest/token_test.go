package authntest_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
)

func TestCodeIsChecked(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newParty(t, authntest.IssuerOptions{Now: func() time.Time { return now }, Clients: []authntest.Client{
		{ID: "rp", RedirectURIs: []string{redirectURI}}, {ID: "other", RedirectURIs: []string{redirectURI}},
	}})
	p.issuer.AutoLogin("1001")
	verifier := oauth2.GenerateVerifier()
	for name, change := range map[string]func(form url.Values){
		"unknown code":       func(f url.Values) { f.Set("code", "made-up") },
		"no code":            func(f url.Values) { f.Del("code") },
		"another client":     func(f url.Values) { f.Set("client_id", "other") },
		"other redirect_uri": func(f url.Values) { f.Set("redirect_uri", redirectURI+"/") },
		"no redirect_uri":    func(f url.Values) { f.Del("redirect_uri") },
		"no verifier":        func(f url.Values) { f.Del("code_verifier") },
		"wrong verifier":     func(f url.Values) { f.Set("code_verifier", oauth2.GenerateVerifier()) },
		"challenge itself":   func(f url.Values) { f.Set("code_verifier", oauth2.S256ChallengeFromVerifier(verifier)) },
		"long verifier":      func(f url.Values) { f.Set("code_verifier", strings.Repeat("a", 129)) },
		"too late":           func(url.Values) { now = now.Add(61 * time.Second) },
	} {
		form := url.Values{
			"grant_type": {"authorization_code"}, "client_id": {"rp"}, "redirect_uri": {redirectURI}, "code_verifier": {verifier},
			"code": {p.answer(oauth2.S256ChallengeOption(verifier)).Get("code")},
		}
		change(form)
		response, body := p.post(p.issuer.URL()+"/token", form)
		if response.StatusCode != http.StatusBadRequest || decode[map[string]string](t, body)["error"] != "invalid_grant" {
			t.Errorf("%s: %d %s", name, response.StatusCode, body)
		}
	}
}

// A verifier for a code that had no challenge is a downgrade (RFC 9700, 4.8.2).
func TestVerifierWithoutChallenge(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{Clients: []authntest.Client{{ID: "rp", Secret: "s", RedirectURIs: []string{redirectURI}}}})
	p.issuer.AutoLogin("1001")
	wantError(t, "invalid_grant")(p.config.Exchange(p.ctx(), p.answer().Get("code"), oauth2.VerifierOption(oauth2.GenerateVerifier())))
	if _, err := p.config.Exchange(p.ctx(), p.answer().Get("code")); err != nil {
		t.Errorf("neither: %v", err)
	}
}

// A code that comes again takes its tokens with it.
func TestCodeReplay(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	verifier := oauth2.GenerateVerifier()
	code := p.answer(oauth2.S256ChallengeOption(verifier)).Get("code")
	token, err := p.config.Exchange(p.ctx(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "invalid_grant")(p.config.Exchange(p.ctx(), code, oauth2.VerifierOption(verifier)))
	wantError(t, "invalid_grant")(p.refresh(token))
}

func TestRefreshRotation(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newParty(t, authntest.IssuerOptions{Now: func() time.Time { return now }})
	p.issuer.AutoLogin("1001")
	first := p.signIn()
	now = now.Add(10 * time.Minute)
	second, err := p.refresh(first)
	if err != nil {
		t.Fatal(err)
	}
	before, after := payload(t, rawIDToken(first)), payload(t, rawIDToken(second))
	if second.RefreshToken == first.RefreshToken {
		t.Error("the refresh token did not rotate")
	}
	if before["sub"] != after["sub"] || before["auth_time"] != after["auth_time"] || after["nonce"] != nil ||
		after["iat"] != before["iat"].(float64)+600 {
		t.Errorf("before %v, after %v", before, after)
	}
	wantError(t, "invalid_grant")(p.refresh(first))
	wantError(t, "invalid_grant")(p.refresh(second)) // the family is gone
	if _, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(second)); err == nil {
		t.Error("the access token of a revoked family is good")
	}
}

func TestRefreshWithoutRotation(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{KeepRefreshTokens: true})
	p.issuer.AutoLogin("1001")
	first := p.signIn()
	for range 2 {
		next, err := p.refresh(first)
		if err != nil || next.RefreshToken != first.RefreshToken {
			t.Fatalf("refresh: %v", err)
		}
	}
}

func TestRefreshIsChecked(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{Clients: []authntest.Client{
		{ID: "rp", RedirectURIs: []string{redirectURI}}, {ID: "other", RedirectURIs: []string{redirectURI}},
	}})
	p.issuer.AutoLogin("1001")
	token := p.signIn()
	wantError(t, "invalid_grant")(p.refresh(&oauth2.Token{RefreshToken: "made-up"}))
	p.config.ClientID = "other"
	wantError(t, "invalid_grant")(p.refresh(token))
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"rp"}, "refresh_token": {token.RefreshToken}, "scope": {"openid admin"}}
	if _, body := p.post(p.issuer.URL()+"/token", form); !strings.Contains(body, "invalid_scope") {
		t.Errorf("more scope: %s", body)
	}
	form.Set("scope", "openid")
	if response, body := p.post(p.issuer.URL()+"/token", form); response.StatusCode != http.StatusOK {
		t.Errorf("less scope: %s", body)
	}
}

func TestOfflineOnly(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{OfflineOnly: true})
	p.issuer.AutoLogin("1001")
	if p.signIn().RefreshToken != "" {
		t.Error("a refresh token without offline_access")
	}
	p.config.Scopes = append(p.config.Scopes, oidc.ScopeOfflineAccess)
	if p.signIn().RefreshToken == "" {
		t.Error("no refresh token with offline_access")
	}
}

func TestTokenRequestShape(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	for want, form := range map[string]url.Values{
		"unsupported_grant_type": {"client_id": {"rp"}, "grant_type": {"password"}},
		"invalid_request":        {"client_id": {"rp"}, "grant_type": {"authorization_code"}, "code": {"a", "b"}},
		"invalid_client":         {"client_id": {"stranger"}, "grant_type": {"authorization_code"}},
	} {
		response, body := p.post(p.issuer.URL()+"/token", form)
		if decode[map[string]string](t, body)["error"] != want || response.Header.Get("Pragma") != "no-cache" {
			t.Errorf("%s: %s", want, body)
		}
	}
}

// Each client proves itself in its own way and no other.
func TestClientAuthentication(t *testing.T) {
	key := authntest.NewKey("EdDSA")
	const odd = "a:b%+ ü" // RFC 6749, section 2.3.1 has it form-encoded
	p := newParty(t, authntest.IssuerOptions{Clients: []authntest.Client{
		{ID: "rp", RedirectURIs: []string{redirectURI}},
		{ID: "odd id:1", Secret: odd},
		{ID: "keyed", Key: key.Private.Public()},
	}})
	basic := func(id, secret string) string { return url.QueryEscape(id) + "\n" + url.QueryEscape(secret) }
	assertion := p.assertion(key, nil)
	for _, c := range []struct {
		name, basic, want string
		form              url.Values
	}{
		{"public", "", "invalid_grant", url.Values{"client_id": {"rp"}}},
		{"public with a secret", "", "invalid_client", url.Values{"client_id": {"rp"}, "client_secret": {"x"}}},
		{"public by basic", basic("rp", ""), "invalid_client", nil},
		{"basic", basic("odd id:1", odd), "invalid_grant", nil},
		{"basic, not encoded", "odd id:1\n" + odd, "invalid_client", nil},
		{"basic, wrong", basic("odd id:1", "no"), "invalid_client", nil},
		{"basic, other client_id", basic("odd id:1", odd), "invalid_request", url.Values{"client_id": {"rp"}}},
		{"post", "", "invalid_grant", url.Values{"client_id": {"odd id:1"}, "client_secret": {odd}}},
		{"post, wrong", "", "invalid_client", url.Values{"client_id": {"odd id:1"}, "client_secret": {"no"}}},
		{"no secret", "", "invalid_client", url.Values{"client_id": {"odd id:1"}}},
		{"two ways", basic("odd id:1", odd), "invalid_request", url.Values{"client_secret": {odd}}},
		{"assertion", "", "invalid_grant", assertion},
		{"assertion again", "", "invalid_client", assertion},
		{"key, but a secret", "", "invalid_client", url.Values{"client_id": {"keyed"}, "client_secret": {""}}},
	} {
		if got := p.tokenError(c.basic, c.form); got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
}

// tokenError asks for a token with a code that does not exist and returns the
// error: invalid_grant means that the client itself was believed.
func (p *party) tokenError(basic string, extra url.Values) string {
	p.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {"made-up"}}
	for name, values := range extra {
		form[name] = values
	}
	request, err := http.NewRequest("POST", p.issuer.URL()+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id, secret, ok := strings.Cut(basic, "\n"); ok {
		request.SetBasicAuth(id, secret)
	}
	response, err := p.client.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	body := p.read(response)
	code := decode[map[string]string](p.t, body)["error"]
	if unauthorized := response.StatusCode == http.StatusUnauthorized; unauthorized != (code == "invalid_client") ||
		unauthorized != (response.Header.Get("WWW-Authenticate") != "") {
		p.t.Errorf("%s with status %d", code, response.StatusCode)
	}
	return code
}

// assertion is a private_key_jwt of the client "keyed".
func (p *party) assertion(key authntest.Key, change func(*jwt.Claims)) url.Values {
	p.t.Helper()
	claims := jwt.Claims{Issuer: "keyed", Subject: "keyed", Audience: jwt.Audience{p.issuer.URL()}, ID: rand.Text(),
		Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute))}
	if change != nil {
		change(&claims)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key.Private}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return url.Values{"client_assertion": {text},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
}

func TestClientAssertion(t *testing.T) {
	key := authntest.NewKey("RS256")
	p := newParty(t, authntest.IssuerOptions{Clients: []authntest.Client{
		{ID: "keyed", Key: key.Private.Public(), RedirectURIs: []string{redirectURI}}}})
	in := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	for name, change := range map[string]func(*jwt.Claims){
		"good":                 func(*jwt.Claims) {},
		"good, token endpoint": func(c *jwt.Claims) { c.Audience = jwt.Audience{p.issuer.URL() + "/token"} },
		"good, two audiences":  func(c *jwt.Claims) { c.Audience = append(c.Audience, "other") },
		"other aud":            func(c *jwt.Claims) { c.Audience = jwt.Audience{p.issuer.URL() + "/"} },
		"no aud":               func(c *jwt.Claims) { c.Audience = nil },
		"other iss":            func(c *jwt.Claims) { c.Issuer = "rp" },
		"other sub":            func(c *jwt.Claims) { c.Subject = "rp" },
		"no exp":               func(c *jwt.Claims) { c.Expiry = nil },
		"expired":              func(c *jwt.Claims) { c.Expiry = in(-time.Second) },
		"good for too long":    func(c *jwt.Claims) { c.Expiry = in(time.Hour) },
		"not yet good":         func(c *jwt.Claims) { c.NotBefore = in(time.Minute) },
		"no jti":               func(c *jwt.Claims) { c.ID = "" },
	} {
		want := "invalid_client"
		if strings.HasPrefix(name, "good,") || name == "good" {
			want = "invalid_grant"
		}
		if got := p.tokenError("", p.assertion(key, change)); got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
	if got := p.tokenError("", p.assertion(authntest.NewKey("RS256"), nil)); got != "invalid_client" {
		t.Errorf("another key: %s", got)
	}
	for name, change := range map[string]url.Values{
		"other client_id": {"client_id": {"rp"}},
		"other type":      {"client_assertion_type": {"saml"}},
		"no JWT":          {"client_assertion": {"a.b.c"}},
		"no claims":       {"client_assertion": {"eyJhbGciOiJFUzI1NiJ9.W10.AA"}},
	} {
		form := p.assertion(key, nil)
		for n, v := range change {
			form[n] = v
		}
		if got := p.tokenError("", form); got != "invalid_client" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestUserinfo(t *testing.T) {
	now := time.Now()
	p := newParty(t, authntest.IssuerOptions{ThinIDTokens: true, Now: func() time.Time { return now }})
	p.issuer.AutoLogin("1001")
	token := p.signIn()
	if claims := payload(t, rawIDToken(token)); claims["email"] != nil || claims["groups"] != nil {
		t.Errorf("a thin ID token says %v", claims)
	}
	info, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Name   string
		Groups []string
	}
	if err := info.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if info.Subject != "1001" || info.Email != "ada@example.com" || !info.EmailVerified || claims.Name != "Ada Lovelace" ||
		!slices.Equal(claims.Groups, []string{"admins", "research"}) {
		t.Errorf("userinfo: %+v %+v", info, claims)
	}
	for name, credential := range map[string]string{"none": "", "made up": "Bearer x", "basic": "Basic " + token.AccessToken} {
		if status := p.userinfoStatus(credential); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	now = now.Add(2 * time.Hour)
	if status := p.userinfoStatus("Bearer " + token.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("expired: %d", status)
	}
}

func (p *party) userinfoStatus(credential string) int {
	p.t.Helper()
	request, err := http.NewRequest("GET", p.issuer.URL()+"/userinfo", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Authorization", credential)
	response, err := p.client.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	p.read(response)
	return response.StatusCode
}

// Scopes decide what is said.
func TestScopes(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	p.issuer.AutoLogin("1001")
	p.config.Scopes = []string{"openid"}
	if claims := payload(t, rawIDToken(p.signIn())); claims["email"] != nil || claims["name"] != nil {
		t.Errorf("openid alone: %v", claims)
	}
}

func TestSignedUserinfo(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{SignedUserinfo: true, Keys: []authntest.Key{authntest.NewKey("RS256")}})
	p.issuer.AutoLogin("1001")
	token := p.signIn()
	info, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(token))
	if err != nil || info.Subject != "1001" {
		t.Fatalf("%v %v", info, err)
	}
	p.issuer.Set(func(f *authntest.Faults) { f.Signature = authntest.ForeignKey })
	if _, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(token)); err == nil {
		t.Error("userinfo signed by a foreign key is taken")
	}
}
