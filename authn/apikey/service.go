package apikey

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

// service finds out which account a key of the gateway stands for. It costs one
// look into the store at most, and none for a key of the settings.
func (k *route) service(ctx context.Context, id, key string) (authn.Identity, error) {
	sum := sha256.Sum256([]byte(key))
	if account, ok := k.Accounts.Holder(sum); ok {
		return k.identity(account, time.Time{}), nil
	}
	known, err := k.ledger.get(ctx, id)
	switch {
	case errors.Is(err, ErrUnknown):
		return authn.Identity{}, reject("key " + id + " is unknown")
	case err != nil:
		return authn.Identity{}, fmt.Errorf("apikey: key %s: %w", id, err)
	}
	const expired = "has expired"
	account, named := k.Accounts.Named(known.Account)
	why := ""
	switch {
	case subtle.ConstantTimeCompare(sum[:], known.Hash) != 1:
		why = "has another secret"
	case !time.Now().Before(known.Expires):
		why = expired
	case !named:
		why = "is of an account that is not in the settings"
	}
	if why != "" {
		if why == expired { // only who has the key learns that
			return authn.Identity{}, tell("The API key has expired. Ask for another.", "key "+id+" "+why)
		}
		return authn.Identity{}, reject("key " + id + " " + why)
	}
	k.uses.note(known)
	found := k.identity(account, known.Expires)
	found.Access = accessID(id)
	return found, nil
}

func (k *route) identity(account authn.Account, expires time.Time) authn.Identity {
	return authn.Identity{
		Issuer: k.PublicURL.String(), Subject: config.AccountPrefix + account.Name, Kind: authn.Service,
		Username: account.Name, Account: account, Route: k.name,
		AuthTime: time.Now().UTC().Truncate(time.Second), Expires: expires,
	}
}
