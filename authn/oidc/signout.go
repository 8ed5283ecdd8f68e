package oidc

import (
	"context"
	"encoding/json/v2"
	"net/url"
	"strings"
	"time"

	"gatehouse/authn"
)

// signOutURL is where the provider ends its own session (OpenID Connect
// RP-Initiated Logout, section 2), or empty if it has no such place or nobody
// can say.
func (o *relying) signOutURL(p authn.Proof) string {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	m, err := o.provider.metadata(ctx)
	if err != nil || m.EndSessionEndpoint == "" {
		return ""
	}
	u, err := url.Parse(m.EndSessionEndpoint)
	if err != nil {
		return ""
	}
	var g grant
	_ = json.Unmarshal(p.Grant, &g) // without a grant the provider asks the person
	q := u.Query()
	for name, value := range o.settings.SignOutParams {
		q.Set(name, value)
	}
	q.Set("client_id", o.settings.ClientID)
	q.Set("post_logout_redirect_uri", strings.TrimSuffix(o.PublicURL.String(), "/")+o.SignOutPath)
	q.Set("state", random())
	if g.IDToken != "" {
		q.Set("id_token_hint", g.IDToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
