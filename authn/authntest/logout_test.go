package authntest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn/authntest"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
)

const bye = "http://rp.test/bye"

func (p *party) endSession(params url.Values) (*http.Response, string) {
	p.t.Helper()
	return p.get(p.issuer.URL() + "/end-session?" + params.Encode())
}

func (p *party) signedIn() bool {
	p.t.Helper()
	return p.answer(param("prompt", "none"), pkce()).Get("error") == ""
}

// signInByPage runs the code flow with a person who presses a button.
func (p *party) signInByPage(subject string) *oauth2.Token {
	p.t.Helper()
	verifier := oauth2.GenerateVerifier()
	got := p.responseOf(p.pick(subject, oauth2.S256ChallengeOption(verifier), param("prompt", "login")))
	token, err := p.config.Exchange(p.ctx(), got.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

func TestLogoutWithHint(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	token := p.signInByPage("1001")
	response, _ := p.endSession(url.Values{"id_token_hint": {rawIDToken(token)}, "post_logout_redirect_uri": {bye}, "state": {"s&1"}})
	if got := response.Header.Get("Location"); response.StatusCode != http.StatusSeeOther || got != bye+"?state=s%261" {
		t.Errorf("%d to %q", response.StatusCode, got)
	}
	if p.signedIn() {
		t.Error("still signed in")
	}
	wantError(t, "invalid_grant")(p.refresh(token))
	response, _ = p.endSession(url.Values{"client_id": {"rp"}, "post_logout_redirect_uri": {bye}})
	if got := response.Header.Get("Location"); got != bye {
		t.Errorf("without state, to %q", got)
	}
}

// Without a hint, or with another person's, the person is asked.
func TestLogoutAsks(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	bens := p.signInByPage("1002")
	token := p.signInByPage("1001")
	for name, params := range map[string]url.Values{
		"nothing":     {"client_id": {"rp"}, "post_logout_redirect_uri": {bye}, "state": {"s"}},
		"Ben's token": {"id_token_hint": {rawIDToken(bens)}, "post_logout_redirect_uri": {bye}, "state": {"s"}},
	} {
		response, body := p.endSession(params)
		if response.StatusCode != http.StatusOK || !strings.Contains(body, "Ada Lovelace") || !p.signedIn() {
			t.Fatalf("%s: %d, not asked: %s", name, response.StatusCode, body)
		}
		form := p.responseOf(response, body)
		if form.Get("confirm") != "yes" || form.Get("post_logout_redirect_uri") != bye || form.Get("state") != "s" || form.Get("client_id") != "rp" {
			t.Errorf("%s: form %v", name, form)
		}
	}
	_, body := p.endSession(url.Values{})
	response, body := p.post(p.issuer.URL()+"/end-session", p.responseOf(&http.Response{StatusCode: http.StatusOK}, body))
	if response.StatusCode != http.StatusOK || !strings.Contains(body, "You are signed out") || p.signedIn() {
		t.Errorf("%d: %s", response.StatusCode, body)
	}
	wantError(t, "invalid_grant")(p.refresh(token))
}

func TestLogoutRefuses(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	token := p.signInByPage("1001")
	raw := rawIDToken(token)
	for name, params := range map[string]url.Values{
		"unknown place":        {"id_token_hint": {raw}, "post_logout_redirect_uri": {"http://evil.test/"}},
		"place without client": {"post_logout_redirect_uri": {bye}},
		"no token":             {"id_token_hint": {"abc"}},
		"forged token":         {"id_token_hint": {raw[:len(raw)-8] + "AAAAAAAA"}, "post_logout_redirect_uri": {bye}},
		"another's token":      {"id_token_hint": {raw}, "client_id": {"other"}},
	} {
		response, _ := p.endSession(params)
		if response.StatusCode != http.StatusBadRequest || response.Header.Get("Location") != "" || !p.signedIn() {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
}

// An old ID token still says whose session is meant.
func TestLogoutWithOldKey(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{})
	token := p.signInByPage("1001")
	p.issuer.SetKeys(append([]authntest.Key{authntest.NewKey("ES256")}, p.issuer.Keys()...)...)
	if response, _ := p.endSession(url.Values{"id_token_hint": {rawIDToken(token)}}); response.StatusCode != http.StatusOK || p.signedIn() {
		t.Errorf("%d", response.StatusCode)
	}
}

// A logout token is signed like every other, and says what it is.
func TestLogoutToken(t *testing.T) {
	key := authntest.NewKey("ES256")
	p := newParty(t, authntest.IssuerOptions{Keys: []authntest.Key{key}})
	p.signInByPage("1001")
	sids := p.issuer.SIDs("1001")
	if len(sids) != 1 || len(p.issuer.SIDs("1002")) != 0 {
		t.Fatalf("sessions %v", sids)
	}
	token, err := jwt.ParseSigned(p.issuer.LogoutToken("rp", "1001", sids[0]), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	var more map[string]any
	if err := token.Claims(key.Private.Public(), &claims, &more); err != nil {
		t.Fatal(err)
	}
	if err := claims.Validate(jwt.Expected{Issuer: p.issuer.URL(), Subject: "1001", AnyAudience: jwt.Audience{"rp"}}); err != nil || claims.ID == "" {
		t.Errorf("%+v, %v", claims, err)
	}
	_, nonce := more["nonce"]
	event, _ := more["events"].(map[string]any)["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
	if more["sid"] != sids[0] || event == nil || nonce || token.Headers[0].ExtraHeaders["typ"] != "logout+jwt" {
		t.Errorf("%v %v", token.Headers, more)
	}
}

// A revoked refresh token renews nothing; nobody revokes another client's.
func TestRevocation(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{Clients: []authntest.Client{
		{ID: "rp", RedirectURIs: []string{redirectURI}}, {ID: "other", Secret: "s"},
	}})
	token := p.signInByPage("1001")
	revoke := func(token string, client url.Values) int {
		client.Set("token", token)
		response, _ := p.post(p.issuer.URL()+"/revoke", client)
		return response.StatusCode
	}
	if got := revoke(token.RefreshToken, url.Values{"client_id": {"other"}, "client_secret": {"s"}}); got != http.StatusOK {
		t.Errorf("another's token: %d", got)
	}
	if got := revoke(token.RefreshToken, url.Values{"client_id": {"other"}}); got != http.StatusUnauthorized {
		t.Errorf("no secret: %d", got)
	}
	if _, err := p.refresh(token); err != nil {
		t.Fatalf("revoked by another client: %v", err)
	}
	token = p.signInByPage("1001")
	for range 2 {
		if got := revoke(token.RefreshToken, url.Values{"client_id": {"rp"}}); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		wantError(t, "invalid_grant")(p.refresh(token))
	}
}
