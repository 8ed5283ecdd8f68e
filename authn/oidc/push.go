package oidc

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
	"gatehouse/config"
)

const (
	// pushesAtOnce is how many requests are handed over at once. Anybody can have a
	// sign-in begin.
	pushesAtOnce = 64
	// maxRequestURI bounds what the provider calls a request, in bytes.
	maxRequestURI = 2 << 10
)

// errPush: the provider does not take this gateway's requests. Somebody has to mend the
// settings.
var errPush = errors.New("the authorization request is not taken")

// pushes says whether authorization requests go to the provider itself, and the browser
// carries only their name (RFC 9126): if the settings want it, or the provider does.
func (m *metadata) pushes(c config.OIDC) bool {
	switch c.PushedAuthorization {
	case "always":
		return true
	case "never":
		return false
	}
	return m.RequirePushed
}

// push hands an authorization request to the provider and returns where the browser goes
// with its name (RFC 9126, sections 2 and 4). The client proves itself as at the token
// endpoint.
func (o *relying) push(ctx context.Context, m *metadata, request url.Values) (string, error) {
	select {
	case o.pushing <- struct{}{}:
		defer func() { <-o.pushing }()
	default:
		return "", fmt.Errorf("%w: push authorization request: %d are under way", issuer.ErrUnavailable, pushesAtOnce)
	}
	ctx, cancel := context.WithTimeout(meter.Asking(ctx, "push"), issuer.CallTime)
	defer cancel()
	resp, err := o.asClient(ctx, m.PushedEndpoint, request)
	if errors.As(err, new(issuer.BadAnswer)) {
		return "", fmt.Errorf("%w: %w", errPush, err)
	}
	if err != nil {
		return "", fmt.Errorf("push authorization request: %w", issuer.CallError(err))
	}
	defer resp.Body.Close()
	var said struct {
		RequestURI  string `json:"request_uri"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	err = json.UnmarshalRead(resp.Body, &said)
	switch {
	case resp.StatusCode/100 != 2: // 201, and some say 200
		no := o.refusal(resp.StatusCode, said.Error, said.Description, request.Get("state"), request.Get("nonce"))
		if errors.Is(no, issuer.ErrUnavailable) {
			return "", fmt.Errorf("push authorization request: %w", no)
		}
		return "", fmt.Errorf("%w: %w", errPush, no)
	case err != nil:
		return "", fmt.Errorf("%w: %w", errPush, authn.Foreign{Err: err})
	case said.RequestURI == "" || len(said.RequestURI) > maxRequestURI:
		return "", fmt.Errorf("%w: the answer has no request_uri, or one that is too long", errPush)
	}
	to, err := url.Parse(m.AuthorizationEndpoint)
	if err != nil {
		return "", err
	}
	q := to.Query()
	q.Set("client_id", o.settings.ClientID)
	q.Set("request_uri", said.RequestURI)
	to.RawQuery = q.Encode()
	return to.String(), nil
}

// asClient posts a form as the client that the provider knows (RFC 6749, section 2.3.1).
func (o *relying) asClient(ctx context.Context, endpoint string, form url.Values) (*http.Response, error) {
	id, secret := o.settings.ClientID, o.settings.ClientSecret.Reveal()
	if o.settings.ClientAuth != "basic" {
		form.Set("client_id", id)
	}
	if o.settings.ClientAuth == "post" {
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if o.settings.ClientAuth == "basic" { // form-encoded, as x/oauth2 does it
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	return o.tokenClient().Do(req)
}
