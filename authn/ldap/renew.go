package ldap

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
)

// grant is what a session keeps to find a person again: what they typed, which
// the filter of the settings is for. It holds no password.
type grant struct {
	Login string `json:"l"`
}

// proof joins an identity with the means to read it again.
func (l *route) proof(who person) (authn.Proof, error) {
	text, err := json.Marshal(grant{Login: who.login})
	if err != nil {
		return authn.Proof{}, fmt.Errorf("ldap: keep grant: %w", err)
	}
	p := authn.Proof{Identity: who.Identity, Grant: text}
	p.RenewAt, p.Identity.Expires = l.refresh(time.Now())
	return p, nil
}

// refresh is when to read a person's entry again, and until when to believe it
// without: early, so that the answer is there before it is needed.
func (l *route) refresh(now time.Time) (renewAt, expires time.Time) {
	every := l.settings.RefreshInterval.Std()
	return now.Add(every - every/5), now.Add(every)
}

// renew reads the entry again. That it is gone, out of use, no longer found by
// the filter or no longer allowed in wraps [authn.ErrRejected].
func (l *route) renew(ctx context.Context, p authn.Proof) (authn.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, l.settings.Timeout.Std())
	defer cancel()
	var g grant
	if err := json.Unmarshal(p.Grant, &g); err != nil || g.Login == "" {
		return authn.Proof{}, fmt.Errorf("ldap: renew: nothing to find the person by: %w", authn.ErrRejected)
	}
	who, err := l.again(ctx, g.Login, p.Identity)
	if err != nil {
		return authn.Proof{}, fmt.Errorf("ldap: renew: %w", err)
	}
	return l.proof(person{who, g.Login})
}

// again returns what is said now about somebody who was before.
func (l *route) again(ctx context.Context, login string, was authn.Identity) (authn.Identity, error) {
	e, err := l.same(ctx, login, was.Subject)
	if err != nil {
		return authn.Identity{}, err
	}
	if why := outOfUse(e, time.Now()); why != "" {
		return authn.Identity{}, fmt.Errorf("%w: %s", authn.ErrRejected, why)
	}
	who, err := l.identity(ctx, e)
	if errors.Is(err, errUnfit) {
		return authn.Identity{}, fmt.Errorf("%w: %w", authn.ErrRejected, err)
	}
	if err != nil {
		return authn.Identity{}, err
	}
	if err := l.admission.Allow(who); err != nil {
		return authn.Identity{}, fmt.Errorf("%w: %w", authn.ErrRejected, err)
	}
	who.AuthTime = was.AuthTime
	return who, nil
}

// maxNamesakes is how many entries of one name are looked through for the one
// who is known already.
const maxNamesakes = 20

// same finds the entry of a known subject among those that a name means now.
// An entry that somebody else has made for the name ends no session.
func (l *route) same(ctx context.Context, login, subject string) (*ldap.Entry, error) {
	all, err := l.directory.candidates(ctx, login, maxNamesakes)
	if err != nil {
		return nil, err
	}
	var found *ldap.Entry
	for _, e := range all {
		switch who, err := l.person(e); {
		case err != nil || who.Subject != subject:
		case found != nil:
			return nil, fmt.Errorf("two entries have the %s of one person", l.settings.Attributes.Subject)
		default:
			found = e
		}
	}
	if found != nil {
		return found, nil
	}
	if len(all) > 0 {
		return nil, fmt.Errorf("%w: the name is somebody else's now", authn.ErrRejected)
	}
	return nil, fmt.Errorf("%w: %w", authn.ErrRejected, errNobody)
}
