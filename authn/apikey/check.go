package apikey

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"

	"gatehouse/authn"
	"gatehouse/config"
	"gatehouse/session"
)

// Check looks at whether the application can be asked whose its keys are: it asks
// about one that nobody has made, and must be told no.
func Check(ctx context.Context, c config.APIKey, u config.Upstream, publicURL *url.URL) []authn.Finding {
	const what = "keys"
	store := session.NewMemory()
	defer store.Close() //nolint:errcheck // it holds nothing
	v, err := newViewers("check", c, Deps{
		PublicURL: publicURL, Upstream: u, Keys: session.RandomKeyring(publicURL.String()), Store: store, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return []authn.Finding{{What: what, Detail: err.Error(), Fix: "correct upstreams[].url or upstreams[].tls of " + u.Name}}
	}
	defer v.close()
	key := strings.Repeat("0", 40) // it has a key's form, and no server makes one like it
	who, err := v.ask(ctx, key)
	switch {
	case err == nil:
		return []authn.Finding{{
			What: what, Detail: "the application takes a key that nobody has made for that of " + authn.Bounded(who.Username),
			Fix: "with application: verify everybody would be that one; let the application check keys, or use application: refuse",
		}}
	case errors.Is(err, authn.ErrRejected):
		return []authn.Finding{{OK: true, What: what, Detail: v.url + " says no to a key that nobody has made"}}
	}
	return []authn.Finding{{
		What: what, Detail: authn.Bounded(err.Error()),
		Fix: "the application must answer the GraphQL query viewer at " + v.url + ", as a W&B server does; until then every key gets 503",
	}}
}
