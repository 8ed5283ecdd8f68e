package authntest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn/authntest"

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
