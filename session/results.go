package session

import (
	"context"
	"crypto/sha256"
	"time"

	"gatehouse/authn"
)

// Results keeps in the store what was found out about credentials, so that what
// one replica has asked need not be asked by the next. Both where a result is and
// what it is sealed with are made of the credential under the key ring: who reads
// the store learns nothing, and who writes to it can plant nothing.
type Results struct {
	store   Store
	at, key func(text string) string
}

// NewResults makes results for one purpose. The purpose must hold all that a
// result depends on besides the credential, for instance the settings by which
// it was judged.
func NewResults(store Store, keys Keyring, purpose string) Results {
	return Results{store: store, at: keys.Digest("result of " + purpose), key: keys.Digest("key to a result of " + purpose)}
}

// Get returns what is kept, and the note beside it, if anything is. The identity expires when the result
// does, so that who keeps it in turn prolongs nothing. A store that does not
// answer, or a record that can't be read, is as good as nothing.
func (r Results) Get(ctx context.Context, credential string) (id authn.Identity, note string, found bool) {
	k := r.ticket(credential)
	raw, found, err := r.store.Get(ctx, resultKey(k))
	if err != nil || !found {
		return authn.Identity{}, "", false
	}
	rec, err := openRecord(k, raw)
	if err != nil || !time.Now().Before(rec.ends) {
		return authn.Identity{}, "", false
	}
	plain, err := openGrant(k, raw)
	if err != nil {
		return authn.Identity{}, "", false
	}
	rec.identity.Expires = rec.ends
	return rec.identity, string(plain), true
}

// Put keeps a result for at most so long, and never beyond its own end.
func (r Results) Put(ctx context.Context, credential string, id authn.Identity, note string, lifetime time.Duration) error {
	now := time.Now()
	if left := id.Expires.Sub(now); !id.Expires.IsZero() && left < lifetime {
		lifetime = left
	}
	if lifetime <= 0 {
		return nil
	}
	k := r.ticket(credential)
	raw, err := sealRecord(k, record{identity: id, created: now, ends: now.Add(lifetime)}, []byte(note))
	if err != nil {
		return err
	}
	return r.store.Set(ctx, resultKey(k), raw, lifetime)
}

func (r Results) ticket(credential string) ticket {
	key := sha256.Sum256([]byte(r.key(credential)))
	return ticket{hash: r.at(credential), key: key[:]}
}

func resultKey(k ticket) string { return "result:" + k.hash }
