package ldap

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"gatehouse/authn"
)

// authenticate reads HTTP Basic. What has the shape of an API key or of a token
// is for others, whatever the name; everything else is a person's password and
// is decided here.
func (l *route) authenticate(r *http.Request) (authn.Identity, error) {
	b, err := authn.BasicOf(r)
	if err != nil {
		return authn.Identity{}, err
	}
	if b.Key() {
		return authn.Identity{}, authn.ErrNoCredential
	}
	c := credentials{login: b.Username, password: b.Password, remote: r.RemoteAddr}
	if err := c.screen(); err != nil { // not worth remembering
		return authn.Identity{}, err
	}
	// An address is told only what it has proved itself: what somebody else's
	// program has proved would answer guesses.
	at, _ := network(c.remote)
	requestID := r.Header.Get("X-Request-Id")
	id, err := l.memory.Verify(r.Context(), func(ctx context.Context) (authn.Identity, error) {
		c := c
		c.log = l.Log.With("request_id", requestID, "remote", c.remote)
		who, err := l.prove(ctx, c)
		if err == nil {
			c.log.Info("password accepted", "subject", who.Subject)
		}
		return who.Identity, err
	}, c.password, at, c.login)
	if err != nil && !errors.Is(err, authn.ErrRejected) {
		return authn.Identity{}, fmt.Errorf("ldap: %w", err)
	}
	return id, err
}
