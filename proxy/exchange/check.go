package exchange

import (
	"context"
	"errors"
	"net/url"

	"gatehouse/authn"
	"gatehouse/config"
)

// noJWT has the form of one and says nothing.
const noJWT = "e30.e30.e30"

// Check asks an upstream's token endpoint for what it can't give. Its refusal says that
// it is there; whether it trusts this gateway, only an exchange for somebody can tell.
func Check(ctx context.Context, u config.Upstream, public *url.URL) []authn.Finding {
	f := authn.Finding{What: "token endpoint"}
	e, err := newEndpoint(u, public, nil)
	if err == nil {
		defer e.client.CloseIdleConnections()
		_, _, err = e.ask(ctx, noJWT)
	}
	var not *authn.NotAllowed
	switch {
	case err == nil:
		f.Detail, f.Fix = e.url+" gives a token for a JWT that is none", "look at what answers there: it would take anybody for anybody"
	case errors.As(err, &not):
		f.OK, f.Detail = true, e.url+" refuses a JWT that is none, as it should"
	default:
		f.Detail, f.Fix = err.Error(), "check exchange.tokenURL, and that identity federation is there and on in the application"
	}
	return []authn.Finding{f}
}
