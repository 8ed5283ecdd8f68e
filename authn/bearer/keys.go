package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"gatehouse/authn/issuer"
)

// loadKeys reads the issuer's keys, wherever the settings say that they are.
func (t *trusted) loadKeys(ctx context.Context) (keys []issuer.Key, err error) {
	if t.settings.KeyFile != "" {
		text, err := os.ReadFile(t.settings.KeyFile)
		if err != nil {
			return nil, err
		}
		return issuer.ReadKeys(text)
	}
	uri, err := t.endpoint(ctx, t.settings.JWKSURL, "jwks_uri", jwksURI)
	if err != nil {
		return nil, err
	}
	token, err := t.token()
	if err != nil {
		return nil, err
	}
	return issuer.FetchKeys(ctx, uri, token, t.client)
}

// token reads what the gateway shows to an issuer that tells its keys to nobody
// else; it is read each time, for it is replaced under us.
func (t *trusted) token() (string, error) {
	if t.settings.TokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(t.settings.TokenFile)
	return strings.TrimSpace(string(text)), err
}

// known is the keys of one time in the form that golang-jwt asks for.
type known struct {
	at   time.Time
	keys []issuer.Key
	find jwt.Keyfunc
}

// of returns the known keys of a snapshot, made once for each.
func (t *trusted) of(s issuer.Snapshot) (known, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known.find != nil && t.known.at.Equal(s.At) {
		return t.known, nil
	}
	storage := jwkset.NewMemoryStorage()
	for i, key := range s.Keys {
		jwk, err := jwkset.NewJWKFromKey(key.Key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{
			ALG: jwkset.ALG(key.Algorithm), KID: place(i), USE: jwkset.UseSig,
		}})
		if err == nil {
			err = storage.KeyWrite(context.Background(), jwk)
		}
		if err != nil {
			return known{}, fmt.Errorf("%w: key %d: %w", issuer.ErrUnavailable, i, err)
		}
	}
	find, err := keyfunc.New(keyfunc.Options{Storage: storage, UseWhitelist: []jwkset.USE{jwkset.UseSig}})
	if err != nil {
		return known{}, fmt.Errorf("%w: keys: %w", issuer.ErrUnavailable, err)
	}
	t.known = known{s.At, s.Keys, find.Keyfunc}
	return t.known, nil
}

// place is what a key goes by among its issuer's: its own id may be another's too.
func place(i int) string { return fmt.Sprintf("key %d", i) }

// choose returns the one key that a token can mean: the one that it names, or
// else the only one without a name; with no name in the token, the only one for
// its algorithm (RFC 7515, section 4.1.4).
func (k known) choose(head issuer.Header) (int, bool) {
	choice, found, unnamed := -1, 0, 0
	for i, key := range k.keys {
		if !fits(key, head.Algorithm) {
			continue
		}
		switch {
		case head.KeyID != "" && key.KeyID == head.KeyID:
			return i, true
		case head.KeyID == "":
			choice, found = i, found+1
		case key.KeyID == "":
			choice, unnamed = i, unnamed+1
		}
	}
	return choice, found == 1 || unnamed == 1
}

// fits says whether a key is one for an algorithm (RFC 7518, section 3.1).
func fits(key issuer.Key, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[alg] == k.Params().BitSize
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// signed returns the claims of a token that one of the issuer's keys has signed.
func (t *trusted) signed(ctx context.Context, token string, head issuer.Header) (issuer.Claims, error) {
	k, i, err := t.key(ctx, head)
	if err != nil {
		return nil, err
	}
	c, ok := t.open(token, k, i)
	if !ok && (head.KeyID == "" || k.keys[i].KeyID == "") {
		c, ok = t.openByNewer(ctx, token, head, k)
	}
	if !ok {
		return nil, refusal{check: "signature", sentence: "The token’s signature is not its issuer’s.", seen: head.Algorithm + " by key " + head.KeyID}
	}
	return c, nil
}

// open returns the claims of a token if that key has signed it.
func (t *trusted) open(token string, k known, i int) (issuer.Claims, bool) {
	var p payload
	_, err := t.parser.ParseWithClaims(token, &p, func(j *jwt.Token) (any, error) {
		j.Header[jwkset.HeaderKID] = place(i)
		return k.find(j)
	})
	return p.Claims, err == nil
}

// openByNewer tries the keys that have come since. Where keys or tokens have no
// ids, a wrong signature is all that tells of a new key.
func (t *trusted) openByNewer(ctx context.Context, token string, head issuer.Header, than known) (issuer.Claims, bool) {
	s, err := t.keys.Newer(ctx, issuer.Snapshot{At: than.at})
	if err != nil {
		return nil, false
	}
	k, err := t.of(s)
	if err != nil {
		return nil, false
	}
	i, ok := k.choose(head)
	if !ok {
		return nil, false
	}
	return t.open(token, k, i)
}

// key finds the key that a token means. One that is not known is asked for, once
// in a while; who sends it waits for that, and nobody else does.
func (t *trusted) key(ctx context.Context, head issuer.Header) (known, int, error) {
	s, err := t.keys.Current(ctx)
	if err != nil {
		return known{}, 0, err
	}
	k, err := t.of(s)
	if err != nil {
		return known{}, 0, err
	}
	if i, ok := k.choose(head); ok {
		return k, i, nil
	}
	if s, err = t.keys.Newer(ctx, s); err != nil {
		return known{}, 0, err
	}
	if k, err = t.of(s); err != nil {
		return known{}, 0, err
	}
	i, ok := k.choose(head)
	if !ok {
		return known{}, 0, refusal{check: "signature", sentence: "The token’s key is not one of its issuer’s.", seen: head.Algorithm + " by key " + head.KeyID}
	}
	return k, i, nil
}

// payload takes the claims in strictly: golang-jwt would take the last of two
// claims with one name.
type payload struct{ issuer.Claims }

// UnmarshalJSON reads one object.
func (p *payload) UnmarshalJSON(text []byte) (err error) {
	p.Claims, err = issuer.ParseClaims(text)
	return err
}

// The claims are checked by verify, and by nothing else.

// GetExpirationTime is never asked.
func (*payload) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt is never asked.
func (*payload) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore is never asked.
func (*payload) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer is never asked.
func (*payload) GetIssuer() (string, error) { return "", nil }

// GetSubject is never asked.
func (*payload) GetSubject() (string, error) { return "", nil }

// GetAudience is never asked.
func (*payload) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }
