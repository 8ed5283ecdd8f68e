package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"net/url"
	"os"
	"slices"
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
		return t.readKeyFile()
	}
	uri, err := t.endpoint(ctx, t.settings.JWKSURL, "jwks_uri", jwksURI)
	if err != nil {
		return nil, err
	}
	token, err := t.tokenFor(uri)
	if err != nil {
		return nil, err
	}
	return issuer.FetchKeys(ctx, uri, token, t.client)
}

// readKeyFile reads the keys, and notes which file it was.
func (t *trusted) readKeyFile() ([]issuer.Key, error) {
	info, err := os.Stat(t.settings.KeyFile)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(t.settings.KeyFile)
	if err != nil {
		return nil, err
	}
	keys, err := issuer.ReadKeys(text)
	if err == nil {
		t.mu.Lock()
		t.file = info
		t.mu.Unlock()
	}
	return keys, err
}

// tokenFor reads what the gateway shows to an issuer that tells its keys to nobody
// else; it is read each time, for it is replaced under us. Where a document sends
// us elsewhere, it is shown only to who has a certificate of the issuer's own
// authority.
func (t *trusted) tokenFor(uri string) (string, error) {
	if t.settings.TokenFile == "" {
		return "", nil
	}
	u, err := url.Parse(uri)
	if err != nil {
		return "", err
	}
	if u.Host != t.base.Host && t.settings.JWKSURL == "" && t.settings.TLS.CAFile == "" {
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

// maxTries is how many keys one token is tried with.
const maxTries = 8

// candidates are the keys that a token can mean: those that it names, or else
// those without a name; without a name in the token, all that are for its
// algorithm (RFC 7515, section 4.1.4).
func (k known) candidates(head issuer.Header) []int {
	var named, nameless []int
	for i, key := range k.keys {
		switch {
		case !fits(key, head.Algorithm):
		case head.KeyID == "" || key.KeyID == head.KeyID:
			named = append(named, i)
		case key.KeyID == "":
			nameless = append(nameless, i)
		}
	}
	if len(named) == 0 {
		named = nameless
	}
	return named[:min(len(named), maxTries)]
}

// unchanged says whether the keys are in a file that is still the one they were
// read from.
func (t *trusted) unchanged() bool {
	if t.settings.KeyFile == "" {
		return false
	}
	now, err := os.Stat(t.settings.KeyFile)
	t.mu.Lock()
	defer t.mu.Unlock()
	return err == nil && t.file != nil && os.SameFile(now, t.file) && now.ModTime().Equal(t.file.ModTime()) && now.Size() == t.file.Size()
}

// justNow is how short a time ago keys were read that a replaced one may be told
// from a forged signature by.
const justNow = 10 * time.Second

// named says whether one of the keys, which were read just now, is the one that a
// token names. So a flood of forged tokens, which has them read again and again,
// is told no.
func named(s issuer.Snapshot, head issuer.Header) bool {
	return time.Since(s.Asked) < justNow && slices.ContainsFunc(s.Keys, func(k issuer.Key) bool {
		return head.KeyID != "" && k.KeyID == head.KeyID && fits(k, head.Algorithm)
	})
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

// checkSignature says whether one of the issuer's keys has signed a token. If none
// of the known ones has, newer ones are asked for, once in a while: a key may be
// new, and so may one under an old name. Who sends such a token waits for that, and
// nobody else does.
func (t *trusted) checkSignature(ctx context.Context, j issuer.JWS, said issuer.Claims) error {
	came := time.Now()
	s, err := t.keys.Current(ctx)
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		if ok, err := t.signed(j, s); err != nil || ok {
			return err
		}
		if tries > 0 && !s.Asked.Before(came) {
			return t.unsigned(j.Header, s) // the issuer was asked after the token came
		}
		fresh, err := t.keys.Newer(ctx, s)
		switch {
		case err != nil && (t.madeBefore(said, s.Asked) || named(s, j.Header) || t.unchanged()):
			// The issuer has shown its keys since it made this, or the very key that is named.
			return t.unsigned(j.Header, s)
		case err != nil:
			return err
		}
		s = fresh
	}
}

// unsigned refuses a token that none of these keys has signed.
func (t *trusted) unsigned(head issuer.Header, s issuer.Snapshot) refusal {
	no := refusal{check: "signature", sentence: "The token’s signature is not its issuer’s.", seen: head.Algorithm + " by key " + head.KeyID}
	if len((known{keys: s.Keys}).candidates(head)) == 0 {
		no.sentence = "The token’s key is not one of its issuer’s."
	}
	return no
}

// madeBefore says whether a token was surely made before a time, whatever its
// issuer's clock says, if what it says of that is true. Who lies is told "no" in the
// place of "can't find out", or the reverse.
func (t *trusted) madeBefore(said issuer.Claims, at time.Time) bool {
	iat, err := said.Instant("iat")
	return err != nil || !iat.IsZero() && iat.Add(t.settings.ClockSkew.Std()+time.Second).Before(at)
}

// signed says whether one of these keys has signed a token. Its algorithm is one of
// the settings', and each key one for it.
func (t *trusted) signed(j issuer.JWS, s issuer.Snapshot) (bool, error) {
	k, err := t.of(s)
	if err != nil {
		return false, err
	}
	method := jwt.GetSigningMethod(j.Algorithm)
	if method == nil {
		return false, fmt.Errorf("%w: no algorithm %q", issuer.ErrUnavailable, j.Algorithm)
	}
	for _, i := range k.candidates(j.Header) {
		key, err := k.find(&jwt.Token{Method: method, Header: map[string]any{jwkset.HeaderKID: place(i), "alg": j.Algorithm}})
		if err == nil && method.Verify(j.Signed, j.Signature, key) == nil {
			return true, nil
		}
	}
	return false, nil
}
