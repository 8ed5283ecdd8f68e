package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	upstream "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
)

// tokens is what the token endpoint gave, or the browser in the implicit flow.
type tokens struct {
	id, access, refresh string
	expiry              time.Time // of the access token; zero if nobody said
}

// exchange redeems a code (RFC 6749, section 4.1.3).
func (o *relying) exchange(ctx context.Context, m *metadata, code, verifier string) (tokens, error) {
	ctx, cancel := context.WithTimeout(upstream.ClientContext(meter.Asking(ctx, "token"), o.tokenClient()), issuer.CallTime)
	defer cancel()
	t, err := o.oauth(m).Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return tokens{}, fmt.Errorf("exchange code: %w", o.tokenError(err, code, verifier))
	}
	got, err := readTokens(t)
	if err == nil && got.id == "" {
		err = errors.New("no ID token")
	}
	if err != nil {
		return tokens{}, fmt.Errorf("exchange code: %w", err)
	}
	return got, nil
}

// refresh redeems a refresh token (RFC 6749, section 6). The answer holds the
// old refresh token if there is no new one.
func (o *relying) refresh(ctx context.Context, m *metadata, token string) (tokens, error) {
	ctx, cancel := context.WithTimeout(upstream.ClientContext(meter.Asking(ctx, "token"), o.tokenClient()), issuer.CallTime)
	defer cancel()
	t, err := o.oauth(m).TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
	if err != nil {
		return tokens{}, fmt.Errorf("refresh: %w", o.tokenError(err, token))
	}
	got, err := readTokens(t)
	if err != nil {
		return tokens{}, fmt.Errorf("refresh: %w", err)
	}
	return got, nil
}

func readTokens(t *oauth2.Token) (tokens, error) {
	if !strings.EqualFold(t.TokenType, "Bearer") {
		return tokens{}, fmt.Errorf("token type is %q", authn.Bounded(t.TokenType))
	}
	id, ok := t.Extra("id_token").(string)
	if !ok && t.Extra("id_token") != nil {
		return tokens{}, errors.New("ID token is not a string")
	}
	return tokens{id: id, access: t.AccessToken, refresh: t.RefreshToken, expiry: t.Expiry}, nil
}

// refusal is the token endpoint's own no (RFC 6749, section 5.2).
type refusal struct {
	status int
	code   string
	text   string
}

func (r refusal) Error() string {
	return fmt.Sprintf("provider answered %d %q %q", r.status, authn.Bounded(r.code), authn.Bounded(r.text))
}

// final says that the grant is worth nothing any more.
func (r refusal) final() bool {
	return slices.Contains([]string{
		"invalid_grant", "access_denied", "login_required", "interaction_required", "consent_required",
	}, r.code)
}

// ours says that it is not the person but this gateway that the provider won't
// deal with: somebody has to mend the settings.
func (r refusal) ours() bool {
	return slices.Contains([]string{
		"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	}, r.code) || r.status == http.StatusUnauthorized
}

// Is makes a no that may pass away issuer.ErrUnavailable.
func (r refusal) Is(target error) bool {
	return target == issuer.ErrUnavailable &&
		(issuer.Transient(r.status) || r.code == "temporarily_unavailable" || r.code == "server_error")
}

// refusal is what the provider said, without what it was sent: some repeat the code or
// token that they refuse.
func (o *relying) refusal(status int, code, text string, sent ...string) refusal {
	sent = append(sent, o.settings.ClientSecret.Reveal())
	return refusal{status: status, code: issuer.Without(code, sent...), text: issuer.Without(text, sent...)}
}

// tokenError says what an error of x/oauth2 means, without the body that it
// would print.
func (o *relying) tokenError(err error, sent ...string) error {
	var no *oauth2.RetrieveError
	if errors.As(err, &no) {
		return o.refusal(no.Response.StatusCode, no.ErrorCode, no.ErrorDescription, sent...)
	}
	var call *url.Error
	if errors.As(err, &call) {
		return issuer.CallError(err)
	}
	return authn.Foreign{Err: err}
}
