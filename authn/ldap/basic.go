package ldap

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/audit"
)

// authenticate reads HTTP Basic. What has the shape of an API key or of a token
// is for others, whatever the name; everything else is a person's password and
// is decided here.
func (l *route) authenticate(r *http.Request) (authn.Identity, error) {
	c, err := claim(r)
	if err != nil {
		return authn.Identity{}, err
	}
	id, err := l.verify(r, c, l.memory.Verify)
	if err != nil && !errors.Is(err, authn.ErrRejected) {
		return authn.Identity{}, fmt.Errorf("ldap: %w", err)
	}
	return id, err
}

// claim returns the name and the password of a request, judged by their shape alone.
func claim(r *http.Request) (credentials, error) {
	b, err := authn.BasicOf(r)
	if err != nil {
		return credentials{}, err
	}
	if b.Key() {
		return credentials{}, authn.ErrNoCredential
	}
	c := credentials{login: b.Username, password: b.Password, remote: r.RemoteAddr}
	return c, c.screen() // what it refuses is not worth remembering
}

// claims says that the directory is asked about a request's password.
func (l *route) claims(r *http.Request) (asks string, err error) {
	_, err = claim(r)
	return "a password, which the directory " + strings.Join(l.settings.Address, ", ") + " is asked about", err
}

// verifier is a way to ask the memory.
type verifier func(ctx context.Context, check func(context.Context) (authn.Identity, error), secret string, name ...string) (authn.Identity, error)

// verify finds out by way of the memory whose password it is: a password that was
// wrong a moment ago is not counted again, be it that a button was pressed twice.
// An address is told only what it has proved itself.
func (l *route) verify(r *http.Request, c credentials, by verifier) (authn.Identity, error) {
	at, _ := network(c.remote)
	requestID := r.Header.Get("X-Request-Id")
	return by(r.Context(), func(ctx context.Context) (authn.Identity, error) {
		c := c
		c.r = r
		c.log = l.Log.With("request_id", requestID, "remote", authn.AddressOf(r))
		who, err := l.prove(ctx, c)
		if err == nil {
			c.log.Info("password accepted", "user", who.Username, "subject", who.Subject)
		}
		if err == nil && !c.form { // a form begins a session, which is told
			e := audit.Of(r, audit.SignIn, audit.Allowed).By(who)
			e.Route, e.Reason = l.name, "a password"
			err = audit.Or(l.Audit).Record(e)
		}
		return who, err
	}, c.password, at, c.login)
}
