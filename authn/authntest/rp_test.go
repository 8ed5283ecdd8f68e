package authntest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatehouse/authn/authntest"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const redirectURI = "http://rp.test/callback"

// party is an honest relying party with a browser beside it.
type party struct {
	t        *testing.T
	issuer   *authntest.Issuer
	client   *http.Client // follows nothing; its jar is the browser's
	provider *oidc.Provider
	config   oauth2.Config
}

func ada() authntest.Person {
	return authntest.Person{Subject: "1001", Username: "ada", Name: "Ada Lovelace", Email: "ada@example.com",
		EmailVerified: true, Groups: []string{"admins", "research"}}
}

func ben() authntest.Person {
	return authntest.Person{Subject: "1002", Username: "ben", Email: "ben@example.com"}
}

// newParty starts a provider with a public client "rp" and a relying party for it.
func newParty(t *testing.T, o authntest.IssuerOptions) *party {
	t.Helper()
	if o.People == nil {
		o.People = []authntest.Person{ada(), ben()}
	}
	if o.Clients == nil {
		o.Clients = []authntest.Client{{ID: "rp", RedirectURIs: []string{redirectURI}, PostLogoutURIs: []string{"http://rp.test/bye"}}}
	}
	if o.Keys == nil {
		o.Keys = []authntest.Key{authntest.NewKey("ES256")}
	}
	issuer, stop, err := authntest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &party{t: t, issuer: issuer, client: &http.Client{
		Jar:           jar,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.discover()
	client := o.Clients[0]
	p.config = oauth2.Config{ClientID: client.ID, ClientSecret: client.Secret, RedirectURL: redirectURI,
		Endpoint: p.provider.Endpoint(), Scopes: []string{"openid", "profile", "email"}}
	p.config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	return p
}

func (p *party) ctx() context.Context {
	return context.WithValue(p.t.Context(), oauth2.HTTPClient, p.client)
}

func (p *party) discover() {
	p.t.Helper()
	provider, err := oidc.NewProvider(p.ctx(), p.issuer.URL())
	if err != nil {
		p.t.Fatal(err)
	}
	p.provider = provider
}

// get fetches a URL and returns the answer with its body read.
func (p *party) get(url string) (*http.Response, string) {
	p.t.Helper()
	response, err := p.client.Get(url)
	if err != nil {
		p.t.Fatal(err)
	}
	return response, p.read(response)
}

func (p *party) post(url string, form url.Values) (*http.Response, string) {
	p.t.Helper()
	response, err := p.client.PostForm(url, form)
	if err != nil {
		p.t.Fatal(err)
	}
	return response, p.read(response)
}

func (p *party) read(response *http.Response) string {
	p.t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

// answer is the authorization response to a request with those parameters.
func (p *party) answer(options ...oauth2.AuthCodeOption) url.Values {
	p.t.Helper()
	response, body := p.get(p.config.AuthCodeURL("the-state", options...))
	return p.responseOf(response, body)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// responseOf reads an authorization response by query, fragment or form.
func (p *party) responseOf(response *http.Response, body string) url.Values {
	p.t.Helper()
	if response.StatusCode == http.StatusOK {
		form := url.Values{}
		for _, m := range hidden.FindAllStringSubmatch(body, -1) {
			form.Add(m[1], unescape(m[2]))
		}
		return form
	}
	location, err := response.Location()
	if err != nil {
		p.t.Fatalf("%d without a Location: %s", response.StatusCode, body)
	}
	if location.Fragment == "" {
		return location.Query()
	}
	form, err := url.ParseQuery(location.EscapedFragment())
	if err != nil {
		p.t.Fatal(err)
	}
	return form
}

// signIn runs the code flow with PKCE and a nonce and returns the tokens.
func (p *party) signIn() *oauth2.Token {
	p.t.Helper()
	token, err := p.trySignIn()
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

func (p *party) trySignIn() (*oauth2.Token, error) {
	p.t.Helper()
	verifier := oauth2.GenerateVerifier()
	got := p.answer(oauth2.S256ChallengeOption(verifier), oidc.Nonce("the-nonce"))
	return p.config.Exchange(p.ctx(), got.Get("code"), oauth2.VerifierOption(verifier))
}

// verify checks an ID token as a relying party should and returns its claims.
func (p *party) verify(raw string) (*oidc.IDToken, error) {
	return p.provider.VerifierContext(p.ctx(), &oidc.Config{ClientID: "rp",
		SupportedSigningAlgs: []string{"RS256", "PS256", "ES256", "EdDSA"}}).Verify(p.ctx(), raw)
}

func rawIDToken(t *oauth2.Token) string {
	raw, _ := t.Extra("id_token").(string)
	return raw
}

// refresh renews once, by the refresh token alone.
func (p *party) refresh(t *oauth2.Token) (*oauth2.Token, error) {
	return p.config.TokenSource(p.ctx(), &oauth2.Token{RefreshToken: t.RefreshToken}).Token()
}

// pkce is a challenge for requests whose code nobody redeems.
func pkce() oauth2.AuthCodeOption { return oauth2.S256ChallengeOption(oauth2.GenerateVerifier()) }

// wantError returns a check that a token request was refused with that code.
func wantError(t *testing.T, code string) func(*oauth2.Token, error) {
	t.Helper()
	return func(_ *oauth2.Token, err error) {
		t.Helper()
		var refused *oauth2.RetrieveError
		if !errors.As(err, &refused) || refused.ErrorCode != code {
			t.Errorf("the answer is %v, not %s", err, code)
		}
	}
}

// part decodes a part of a JWT without a look at the rest.
func part(t *testing.T, token string, n int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	return decode[map[string]any](t, string(text))
}

func header(t *testing.T, token string) map[string]any  { t.Helper(); return part(t, token, 0) }
func payload(t *testing.T, token string) map[string]any { t.Helper(); return part(t, token, 1) }

// decodePart is the JSON of a JWT's claims as it stands.
func decodePart(t *testing.T, token string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
