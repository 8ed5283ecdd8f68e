package apikey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxKeys bounds the keys of one account.
const maxKeys = 100

// A store can't be asked what it holds, so there is an index for each account:
// the ids of its keys, with spaces between. It tells less than the names of the
// records do, so it is not sealed; who writes to it can hide a key from a list
// and no more.

func indexPlace(account string) string {
	sum := sha256.Sum256([]byte(account))
	return "apikeys:" + hex.EncodeToString(sum[:])
}

// ids reads an index, and returns it as the store has it; that is nil if there is none.
func (l Ledger) ids(ctx context.Context, account string) (ids []string, raw []byte, err error) {
	raw, found, err := l.store.Get(ctx, indexPlace(account))
	if err != nil || !found {
		return nil, nil, err
	}
	for id := range strings.FieldsSeq(string(raw)) {
		if isID(id) && len(ids) < maxKeys {
			ids = append(ids, id)
		}
	}
	return ids, raw, nil
}

// list adds a key to the index, and drops those that have ended.
func (l Ledger) list(ctx context.Context, account, id string) error {
	for range tries {
		ids, raw, err := l.ids(ctx, account)
		if err != nil {
			return err
		}
		var live []string
		for _, one := range ids {
			_, found, err := l.store.Get(ctx, place(one))
			if err != nil {
				return err
			}
			if found {
				live = append(live, one)
			}
		}
		if len(live) >= maxKeys {
			return ErrFull
		}
		next := []byte(strings.Join(append(live, id), " "))
		var done bool
		if raw == nil {
			done, err = l.store.Add(ctx, indexPlace(account), next, MaxLifetime)
		} else {
			done, err = l.store.Swap(ctx, indexPlace(account), raw, next, MaxLifetime)
		}
		if err != nil || done {
			return err
		}
	}
	return errChanging
}

// List returns the keys of an account, oldest first.
func (l Ledger) List(ctx context.Context, account string) ([]Key, error) {
	ids, _, err := l.ids(ctx, account)
	if err != nil {
		return nil, err
	}
	out := []Key{}
	for _, id := range ids {
		k, err := l.get(ctx, id)
		switch {
		case err == nil && k.Account == account:
			out = append(out, k.told())
		case err == nil, errors.Is(err, ErrUnknown):
		case errors.Is(err, ErrSealed):
			out = append(out, Key{ID: id, Account: account, Lost: true})
		default:
			return nil, fmt.Errorf("apikey: key %s: %w", id, err)
		}
	}
	slices.SortStableFunc(out, func(a, b Key) int { return a.Created.Compare(b.Created) })
	return out, nil
}

// Reseal seals the keys of an account with the newest session key, so that they
// outlive the ones before it, and returns how many. One that it can't do keeps it
// from none of the others.
func (l Ledger) Reseal(ctx context.Context, account string) (int, error) {
	ids, _, err := l.ids(ctx, account)
	if err != nil {
		return 0, err
	}
	sealed, failed := 0, error(nil)
	for _, id := range ids {
		k, err := l.get(ctx, id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		done := false
		if err == nil {
			done, err = l.replace(ctx, k, k.record)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("apikey: key %s: %w", id, err))
		}
		if done { // else it is no more, or somebody has just sealed it
			sealed++
		}
	}
	return sealed, failed
}
