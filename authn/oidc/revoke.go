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
)

// revoke has the provider take the refresh token back, if it says where (RFC
// 7009, section 2.1). The client proves itself as at the token endpoint.
func (o *relying) revoke(ctx context.Context, p authn.Proof) error {
	var g grant
	if err := json.Unmarshal(p.Grant, &g); err != nil || g.Refresh == "" {
		return nil //nolint:nilerr // there is nothing to take back
	}
	m, err := o.provider.metadata(ctx)
	if err != nil || m.RevocationEndpoint == "" {
		return err
	}
	if err := o.postRevocation(ctx, m.RevocationEndpoint, g.Refresh); err != nil {
		return fmt.Errorf("oidc: revoke: %w", err)
	}
	return nil
}

func (o *relying) postRevocation(ctx context.Context, endpoint, token string) error {
	form := url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}
	id, secret := o.settings.ClientID, o.settings.ClientSecret.Reveal()
	if o.settings.ClientAuth != "basic" {
		form.Set("client_id", id)
	}
	if o.settings.ClientAuth == "post" {
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequestWithContext(meter.Asking(ctx, "revocation"), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if o.settings.ClientAuth == "basic" { // form-encoded, as x/oauth2 does it (RFC 6749, section 2.3.1)
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	resp, err := o.tokenClient().Do(req)
	if errors.As(err, new(issuer.BadAnswer)) {
		return nil // of a success alone is the body looked at, and there it says nothing (RFC 7009, section 2.2)
	}
	if err != nil {
		return issuer.CallError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return issuer.StatusError(resp.StatusCode)
	}
	return nil
}
