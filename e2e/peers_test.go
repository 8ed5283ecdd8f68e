package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// TestPeers proves that the providers are what the other tests take them for,
// without a gateway: a person signs in, a token is renewed, the person signs out.
func TestPeers(t *testing.T) {
	t.Parallel()
	t.Run("oidc-provider", func(t *testing.T) {
		t.Parallel()
		testPeer(t, true, func(p clientPaths) provider {
			return startNodeProvider(t, nodeOptions{paths: p, as: "confidential"})
		})
	})
	t.Run("LemonLDAP", func(t *testing.T) {
		t.Parallel()
		testPeer(t, false, func(p clientPaths) provider { return startLemonProvider(t, p, 0) })
	})
}

func testPeer(t *testing.T, rotates bool, start func(clientPaths) provider) {
	codes := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) { codes <- r.FormValue("code") })
	mux.HandleFunc("GET /signed-out", func(http.ResponseWriter, *http.Request) {})
	self := httptest.NewServer(mux)
	defer self.Close()
	p := start(clientPaths{self.URL + "/callback", self.URL + "/signed-out"})

	ctx, cancel := context.WithTimeout(oidc.ClientContext(t.Context(), self.Client()), time.Minute)
	defer cancel()
	remote, err := oidc.NewProvider(ctx, p.issuer())
	if err != nil {
		t.Fatal(err)
	}
	rp := oauth2.Config{
		ClientID: p.client().id, ClientSecret: p.client().secret, Endpoint: remote.Endpoint(),
		RedirectURL: self.URL + "/callback", Scopes: []string{"openid", "profile", "email", "groups"},
	}
	verifier := oauth2.GenerateVerifier()
	b := newProfile(t)
	b.open(rp.AuthCodeURL("state", oidc.Nonce("nonce"), oauth2.S256ChallengeOption(verifier)))
	who := p.someone()
	p.signIn(b, who.Login)
	b.await(self.URL + "/callback")

	token, err := rp.Exchange(ctx, <-codes, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := remote.VerifierContext(ctx, &oidc.Config{ClientID: rp.ClientID}).Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	if id.Nonce != "nonce" || id.Subject != who.Login {
		t.Errorf("the ID token is for %q with the nonce %q", id.Subject, id.Nonce)
	}
	info, err := remote.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	var got person
	if err := info.Claims(&got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Groups)
	if got.Name != who.Name || got.Email != who.Email || !slices.Equal(got.Groups, who.Groups) {
		t.Errorf("userinfo says %+v, want %+v", got, who)
	}

	before := p.grants("refresh_token")
	next, err := rp.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}
	if rotated := next.RefreshToken != token.RefreshToken; rotated != rotates {
		t.Errorf("the refresh token was rotated: %t, want %t", rotated, rotates)
	}
	// A provider may write its log after its answer.
	b.awaitThat("the provider's log tells of the renewal", func() bool { return p.grants("refresh_token") > before })

	var ends struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := remote.Claims(&ends); err != nil {
		t.Fatal(err)
	}
	b.open(ends.EndSession + "?id_token_hint=" + raw + "&post_logout_redirect_uri=" + self.URL + "/signed-out")
	p.signOut(b)
	b.await(self.URL + "/signed-out")
}
