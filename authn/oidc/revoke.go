package oidc

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"net/url"

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
	resp, err := o.asClient(meter.Asking(ctx, "revocation"), endpoint, form)
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
