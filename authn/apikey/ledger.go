package apikey

import (
	"context"
	"crypto/sha256"
	"encoding/json/v2"
	"errors"
	"fmt"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

const (
	// MaxLifetime is the longest that a key may live: about five years.
	MaxLifetime = 5 * 366 * 24 * time.Hour
	// MaxNote bounds a note, in bytes.
	MaxNote = 200
	// tries is how often to begin anew when somebody else changes the same value.
	tries = 10
	// undoTime bounds the removal of a key that nobody got to see.
	undoTime = 5 * time.Second
)

// Errors of a [Ledger] that are not a failure to reach the store.
var (
	// ErrUnknown: there is no key with that id.
	ErrUnknown = errors.New("there is no such key")
	// ErrSealed: the record does not open with the session keys that are there. It
	// is from before a rotation, or was not written by the gateway.
	ErrSealed = errors.New("its record does not open: session.keys no longer has the key that it was sealed with, or somebody has changed it")
	// ErrFull: the account has as many keys as one may have.
	ErrFull = fmt.Errorf("the account has %d keys, which is the most that one may have", maxKeys)
)

// errChanging ends the attempts to change what somebody else keeps changing.
var errChanging = errors.New("apikey: somebody else is changing the same keys; try again")

// Key is what may be told of a key.
type Key struct {
	// ID names it.
	ID      string `json:"id"`
	Account string `json:"account"`
	Note    string `json:"note,omitempty"`
	// Created and Expires are zero for a key that is Lost.
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// Used is when it was last used, to within some minutes; zero if never.
	Used time.Time `json:"lastUsed,omitzero"`
	// Lost: its record can't be read; see [ErrSealed].
	Lost bool `json:"lost,omitempty"`
}

// record is what the store holds of a key. It is sealed, under the name of its
// place: who reads the store learns no hash, and who writes it can neither make a
// key nor give one to another account.
type record struct {
	Account string    `json:"account"`
	Hash    []byte    `json:"hash"` // SHA-256 of the whole key
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`
	Note    string    `json:"note,omitempty"`
}

// kept is a record in its place.
type kept struct {
	id  string
	raw []byte // as the store has it
	record
}

func (k kept) told() Key {
	return Key{ID: k.id, Account: k.Account, Note: k.Note, Created: k.Created, Expires: k.Expires, Used: k.Used}
}

// Ledger is the keys that are in the store.
type Ledger struct {
	store  session.Store
	sealer session.Sealer
}

// NewLedger opens the ledger of the gateway that has this store and these keys.
func NewLedger(store session.Store, keys session.Keyring) Ledger {
	return Ledger{store, keys.Sealer("api key")}
}

func place(id string) string { return "apikey:" + id }

// get reads a record.
func (l Ledger) get(ctx context.Context, id string) (kept, error) {
	raw, found, err := l.store.Get(ctx, place(id))
	if err != nil {
		return kept{}, err
	}
	if !found {
		return kept{}, ErrUnknown
	}
	plain, err := l.sealer.Open(place(id), string(raw))
	if err != nil {
		return kept{}, ErrSealed
	}
	k := kept{id: id, raw: raw}
	if err := json.Unmarshal(plain, &k.record); err != nil || len(k.Hash) != sha256.Size {
		return kept{}, fmt.Errorf("apikey: the record of key %s makes no sense", id)
	}
	return k, nil
}

func (l Ledger) seal(id string, r record) ([]byte, error) {
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("apikey: %w", err)
	}
	sealed, err := l.sealer.Seal(place(id), plain)
	return []byte(sealed), err
}

// replace writes next in the place of k, unless k has changed meanwhile.
func (l Ledger) replace(ctx context.Context, k kept, next record) (bool, error) {
	left := time.Until(next.Expires)
	if left <= 0 {
		return l.store.Swap(ctx, place(k.id), k.raw, nil, 0)
	}
	raw, err := l.seal(k.id, next)
	if err != nil {
		return false, err
	}
	return l.store.Swap(ctx, place(k.id), k.raw, raw, left)
}

// New makes a key for an account and gives it to show; it can't be had again. If
// show fails, nobody has the key, and it ends.
func (l Ledger) New(ctx context.Context, account, note string, lifetime time.Duration, show func(key string) error) (Key, error) {
	switch {
	case lifetime <= 0 || lifetime > MaxLifetime:
		return Key{}, fmt.Errorf("apikey: a key lives for more than 0 and at most %d days", MaxLifetime/(24*time.Hour))
	case len(note) > MaxNote || !authn.Text(note):
		return Key{}, fmt.Errorf("apikey: a note is one line of text, of at most %d bytes", MaxNote)
	}
	key, k, err := l.write(ctx, account, note, lifetime)
	if err != nil {
		return Key{}, err
	}
	err = l.list(ctx, account, k.id)
	if err == nil {
		err = show(key)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		if failed := l.store.Delete(undo, place(k.id)); failed != nil {
			err = fmt.Errorf("%w; and key %s, which nobody has, is still in the store: %w", err, k.id, failed)
		}
		return Key{}, err
	}
	return k.told(), nil
}

// write makes the record of a new key, under an id that is free.
func (l Ledger) write(ctx context.Context, account, note string, lifetime time.Duration) (string, kept, error) {
	now := time.Now().UTC().Truncate(time.Second)
	for range tries {
		key := Generate()
		id, _ := ID(key)
		sum := sha256.Sum256([]byte(key))
		k := kept{id: id, record: record{Account: account, Hash: sum[:], Created: now, Expires: now.Add(lifetime), Note: note}}
		raw, err := l.seal(id, k.record)
		if err != nil {
			return "", kept{}, err
		}
		added, err := l.store.Add(ctx, place(id), raw, lifetime)
		if err != nil {
			return "", kept{}, err
		}
		if added {
			return key, k, nil
		}
	}
	return "", kept{}, errors.New("apikey: found no id that is free")
}

// Rotate makes a new key in the place of another, which ends after the grace. It
// gives the new one to show before that. If show fails, nobody has the new key: it
// ends, and the old one does not. If the old one can't be ended, both go on, and made
// is not zero beside the error.
func (l Ledger) Rotate(ctx context.Context, id string, grace, lifetime time.Duration, show func(key string) error) (made, old Key, err error) {
	was, err := l.Find(ctx, id)
	if err != nil {
		return Key{}, Key{}, err
	}
	if made, err = l.New(ctx, was.Account, was.Note, lifetime, show); err != nil {
		return Key{}, Key{}, err
	}
	old, err = l.end(ctx, id, grace)
	return made, old, err
}

// end lets a key live for the grace and no longer.
func (l Ledger) end(ctx context.Context, id string, grace time.Duration) (Key, error) {
	for range tries {
		k, err := l.get(ctx, id)
		if err != nil {
			return Key{}, err
		}
		next := k.record
		if end := time.Now().UTC().Truncate(time.Second).Add(grace); end.Before(next.Expires) {
			next.Expires = end
		}
		if swapped, err := l.replace(ctx, k, next); err != nil {
			return Key{}, err
		} else if swapped {
			k.record = next
			return k.told(), session.NewNews(l.store, nil).Changed(ctx, accessID(id))
		}
	}
	return Key{}, errChanging
}

// Find returns what may be told of a key.
func (l Ledger) Find(ctx context.Context, id string) (Key, error) {
	if !isID(id) {
		return Key{}, ErrUnknown
	}
	k, err := l.get(ctx, id)
	if err != nil {
		return Key{}, err
	}
	return k.told(), nil
}

// Revoke ends a key now, also one whose record does not open. With an error the Key is
// empty if there was none to end.
func (l Ledger) Revoke(ctx context.Context, id string) (Key, error) {
	k, err := l.Find(ctx, id)
	if err != nil && !errors.Is(err, ErrSealed) {
		return Key{}, err
	}
	k.ID, k.Lost = id, err != nil
	if err := l.store.Delete(ctx, place(id)); err != nil { // the index forgets it when it is next written
		return k, fmt.Errorf("key %s may not have ended; revoke it again: %w", id, err)
	}
	if err := session.NewNews(l.store, nil).Ended(ctx, accessID(id)); err != nil {
		return k, fmt.Errorf("key %s has ended, but running gateways could not be told, and go by what they remember for a while: %w", id, err)
	}
	return k, nil
}

// accessID names a key to those who remember what it proved.
func accessID(id string) string { return "k" + id }
