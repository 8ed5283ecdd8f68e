package session

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/authn"
)

// Tokens are the access tokens that the gateway gives to programs. One is like a
// session's cookie: a random id and a random key, signed. The store knows a hash
// of the id and a record sealed with the key, so who reads all of it can act as
// nobody; and a token that this gateway did not sign costs no trip to the store.
type Tokens struct {
	store    Store
	register *Register
	// signs has what signs for each key of the ring, newest first.
	signs []func(text string) string
}

// NewTokens makes the tokens of one gateway over one store, which are listed in the
// register; nil means one without news.
func NewTokens(store Store, keys Keyring, register *Register) Tokens {
	if register == nil {
		register = NewRegister(store, keys, nil, 0)
	}
	t := Tokens{store: store, register: register}
	for _, each := range keys.Each() {
		t.signs = append(t.signs, each.Digest("access token"))
	}
	return t
}

var errToken = fmt.Errorf("session: access token: unknown, expired or revoked: %w", authn.ErrRejected)

// Issue makes a token that stands for id for so long, which is above zero. The note
// is kept beside it, for who made it. An error means that there is none.
func (t Tokens) Issue(ctx context.Context, id authn.Identity, note string, from Client, lifetime time.Duration) (string, error) {
	if len(t.signs) == 0 {
		return "", errNoKeys
	}
	k, plain := newTicket()
	now := time.Now()
	id.Expires = now.Add(lifetime).UTC()
	rec := record{identity: id, created: now, ends: id.Expires}
	raw, err := sealRecord(k, rec, []byte(note))
	if err != nil {
		return "", err
	}
	if err := t.begin(ctx, k, raw, accessOf(k.token(), AccessToken, rec, from, now), lifetime); err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(plain)
	return authn.TokenPrefix + text + t.signs[0](text), nil
}

// begin writes a new token down: first in the register, so that whoever ends what the
// person has finds it. It must not have been ended meanwhile.
func (t Tokens) begin(ctx context.Context, k ticket, raw []byte, a Access, lifetime time.Duration) error {
	err := t.register.enter(ctx, a, "")
	if err == nil {
		err = t.store.Set(ctx, tokenKey(k), raw, lifetime)
	}
	if err == nil {
		err = t.register.confirm(ctx, a)
	}
	if err != nil {
		return errors.Join(err, t.register.undo(ctx, a))
	}
	return nil
}

// Find returns whom a token stands for, and the note beside it. The error wraps [authn.ErrRejected] if it
// stands for nobody, or no longer; any other means that this could not be found out.
func (t Tokens) Find(ctx context.Context, token string) (id authn.Identity, note string, err error) {
	k, ok := t.open(token)
	if !ok {
		return authn.Identity{}, "", errToken
	}
	raw, found, err := t.store.Get(ctx, tokenKey(k))
	switch {
	case err != nil:
		return authn.Identity{}, "", err
	case !found:
		return authn.Identity{}, "", errToken
	}
	rec, err := openRecord(k, raw)
	switch {
	case errors.Is(err, errNewer):
		return authn.Identity{}, "", err
	case err != nil || !time.Now().Before(rec.ends):
		return authn.Identity{}, "", errToken
	}
	plain, err := openGrant(k, raw)
	if err != nil {
		return authn.Identity{}, "", errToken
	}
	rec.identity.Access = k.token()
	return rec.identity, string(plain), nil
}

// End revokes a token. A token that is none, or no longer, is no error.
func (t Tokens) End(ctx context.Context, token string) error {
	k, ok := t.open(token)
	if !ok {
		return nil
	}
	raw, found, err := t.store.Get(ctx, tokenKey(k))
	if err != nil || !found {
		return err
	}
	rec, err := openRecord(k, raw)
	if err != nil { // nobody's any more
		return t.store.Delete(ctx, tokenKey(k))
	}
	return t.register.End(ctx, PersonOf(rec.identity), k.token())
}

// open checks a token's signature. There is one spelling of a token: whatever
// was cut off, added or changed makes it another's or nobody's.
func (t Tokens) open(token string) (ticket, bool) {
	text, ours := strings.CutPrefix(token, authn.TokenPrefix)
	size := base64.RawURLEncoding.EncodedLen(ticketSize)
	if !ours || len(text) != size+base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return ticket{}, false
	}
	for _, sign := range t.signs {
		if subtle.ConstantTimeCompare([]byte(text[size:]), []byte(sign(text[:size]))) != 1 {
			continue
		}
		plain, err := base64.RawURLEncoding.Strict().DecodeString(text[:size])
		if err != nil {
			return ticket{}, false
		}
		return parseTicket(plain), true
	}
	return ticket{}, false
}

func tokenKey(k ticket) string { return "token:" + k.hash }
