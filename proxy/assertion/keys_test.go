package assertion

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReplicas: what one signs, the key set of another verifies.
func TestReplicas(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA"} {
		one, two := newSigner(t, Options{Algorithm: alg, Secrets: ring("BA")}), newSigner(t, Options{Algorithm: alg, Secrets: ring("BA")})
		if !bytes.Equal(one.JWKS(), two.JWKS()) {
			t.Errorf("%s: two replicas publish different keys", alg)
		}
		if err := verify(t, sign(t, one), two.JWKS(), time.Now()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// TestRing adds keys in front and drops the last, replica for replica: who has
// fetched the keys of any replica before a step verifies what any replica signs
// after it.
func TestRing(t *testing.T) {
	rings := []string{"A", "BA", "B", "CB", "DCB", "DC", "D"}
	for i, after := range rings[1:] {
		before := rings[i]
		old, young := newSigner(t, Options{Secrets: ring(before)}), newSigner(t, Options{Secrets: ring(after)})
		for _, signer := range []*Signer{old, young} {
			if err := verify(t, sign(t, signer), old.JWKS(), time.Now()); err != nil {
				t.Errorf("from %s to %s: %v", before, after, err)
			}
		}
		if len(after) > len(before) {
			// Adding changes nothing for who fetches the keys later, either.
			if err := verify(t, sign(t, old), young.JWKS(), time.Now()); err != nil {
				t.Errorf("from %s to %s, fetched later: %v", before, after, err)
			}
		}
	}
}

// TestDroppedSecret: what a dropped secret has signed is good for nobody who
// fetches the keys.
func TestDroppedSecret(t *testing.T) {
	old, young := newSigner(t, Options{Secrets: ring("BA")}), newSigner(t, Options{Secrets: ring("B")})
	if err := verify(t, sign(t, old), young.JWKS(), time.Now()); err == nil {
		t.Error("verified by a key that nobody should have")
	}
}

// TestRollover: who has fetched the keys in one period verifies what was signed in
// the one before, in the same and in the next, and nothing older or younger.
func TestRollover(t *testing.T) {
	const epoch = 700
	at := func(now time.Time) *Signer { return newSigner(t, Options{Secrets: ring("BA"), Now: (&clock{now}).now}) }
	begins, ends := begin(epoch), begin(epoch+1).Add(-time.Second)
	for name, c := range map[string]struct {
		signed, fetched time.Time
		good            bool
	}{
		"within the period":            {begins, ends, true},
		"just before its end":          {ends, begin(epoch + 1), true},
		"by a clock that is slow":      {begin(epoch + 1).Add(-time.Hour), begin(epoch + 1).Add(time.Hour), true},
		"fetched just before the next": {begin(epoch + 1), ends, true},
		"fetched a whole period ago":   {begin(epoch + 2).Add(-time.Second), begins, true},
		"fetched two periods ago":      {begin(epoch + 2), ends, false},
		"of the last but one":          {ends, begin(epoch + 2), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := verify(t, sign(t, at(c.signed)), at(c.fetched).JWKS(), c.signed)
			if (err == nil) != c.good {
				t.Error(err)
			}
		})
	}
}

// TestRolloverInOneSigner: the time decides, forwards and backwards.
func TestRolloverInOneSigner(t *testing.T) {
	c := &clock{begin(700)}
	s := newSigner(t, Options{Now: c.now})
	id := func() string { head, _ := open(t, sign(t, s), s); return head.KeyID }
	first, set := id(), s.JWKS()
	c.Time = begin(701).Add(-time.Nanosecond)
	if id() != first || !bytes.Equal(s.JWKS(), set) {
		t.Error("the key has changed within its period")
	}
	c.Time = begin(701)
	if id() == first || bytes.Equal(s.JWKS(), set) {
		t.Error("the key has not changed with the period")
	}
	c.Time = begin(700)
	if id() != first || !bytes.Equal(s.JWKS(), set) {
		t.Error("a clock that was set back has other keys")
	}
}

// TestExpiry: a token ends when it says so.
func TestExpiry(t *testing.T) {
	now := begin(700)
	s := newSigner(t, Options{Now: (&clock{now}).now})
	token := sign(t, s)
	if err := verify(t, token, s.JWKS(), now.Add(MaxLifetime-time.Second)); err != nil {
		t.Error(err)
	}
	if err := verify(t, token, s.JWKS(), now.Add(MaxLifetime+time.Second)); err == nil {
		t.Error("good after its end")
	}
}

// TestKeyIDs: keys stay what they are over versions of the gateway, or else two
// versions beside one another don't know each other's tokens. An id is the
// thumbprint (RFC 7638) as another library finds it.
func TestKeyIDs(t *testing.T) {
	for alg, want := range map[string][]string{
		"ES256": {"mm97cXL7OpQw6m9uVFyL9rpiwtOo3wc3j4r0GJh7q0k", "oRb1bUa0sT47f2K4b6RLCA9kpxYiAxlu_g82o9cFuSw", "-QeCVkH64QGC5IRCmI-gKKbHiqeASKMVY0jdmJCXJsc"},
		"EdDSA": {"_dt31yatq7wt3B53ageiVbBAiGxXG5Q62l3Nt1o7-LI", "PN8nKVWj549VAQ07QtZuctEvJ2eCILsfvqZQMQt3K0M", "R5D3HCwm9X_a-7U94EzmtUhXrJeyfebpXs4FJPfe7EY"},
	} {
		s := newSigner(t, Options{Algorithm: alg, Now: (&clock{begin(700)}).now})
		var ids []string
		for _, k := range keySetOf(t, s).Keys {
			sum, err := k.Thumbprint(crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if id := base64.RawURLEncoding.EncodeToString(sum); id != k.KeyID {
				t.Errorf("%s: %s is called %s", alg, id, k.KeyID)
			}
			if k.Use != "sig" || k.Algorithm != alg || !k.Valid() || !k.IsPublic() {
				t.Errorf("%s: %+v", alg, k)
			}
			ids = append(ids, k.KeyID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: %q", alg, ids)
		}
		if head, _ := open(t, sign(t, s), s); head.KeyID != ids[0] {
			t.Errorf("%s: signed by %s", alg, head.KeyID)
		}
	}
}

// TestNothingPrivate: what is published has the members of public keys and no other,
// and no number that is a private one.
func TestNothingPrivate(t *testing.T) {
	for alg, members := range map[string]string{"ES256": "alg crv kid kty use x y", "EdDSA": "alg crv kid kty use x"} {
		s := newSigner(t, Options{Algorithm: alg, Secrets: ring("CBA")})
		keys := published(t, s)
		if len(keys) != 9 {
			t.Errorf("%s: %d keys of 3 secrets", alg, len(keys))
		}
		for _, k := range keys {
			var names []string
			for name := range k {
				names = append(names, name)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != members {
				t.Errorf("%s: %s", alg, got)
			}
		}
		if bytes.Contains(s.JWKS(), []byte(`"d"`)) {
			t.Errorf("%s: a private part is published", alg)
		}
		for _, secret := range s.secrets {
			k, err := s.derive(secret, s.at(time.Now()).epoch)
			if err != nil {
				t.Fatal(err)
			}
			if d := privatePart(t, k.private); bytes.Contains(s.JWKS(), []byte(base64.RawURLEncoding.EncodeToString(d))) {
				t.Errorf("%s: a private number is published", alg)
			}
		}
	}
}

func privatePart(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	switch k := key.(type) {
	case interface{ Seed() []byte }:
		return k.Seed()
	case *ecdsa.PrivateKey:
		d, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Fatalf("a key of type %T", key)
	return nil
}

// TestOtherKeys: with anything else a key is another one.
func TestOtherKeys(t *testing.T) {
	now := begin(700)
	seen := map[string]string{}
	for name, o := range map[string]Options{
		"plain":     {},
		"secret":    {Secrets: ring("B")},
		"issuer":    {Issuer: "https://b.example.com"},
		"algorithm": {Algorithm: "EdDSA"},
		"rotation":  {Rotation: 2 * month},
	} {
		o.Now = (&clock{now}).now
		for _, k := range published(t, newSigner(t, o)) {
			if twin, twice := seen[k["x"]]; twice {
				t.Errorf("%s has a key of %s", name, twin)
			}
			seen[k["x"]] = name
		}
	}
}

// TestSecretTwice: some verifiers refuse a set in which two keys have one name.
func TestSecretTwice(t *testing.T) {
	once, twice := newSigner(t, Options{Secrets: ring("AB")}), newSigner(t, Options{Secrets: ring("ABA")})
	if !bytes.Equal(once.JWKS(), twice.JWKS()) {
		t.Error("a key is published twice")
	}
	head, _ := open(t, sign(t, twice), twice)
	if want := published(t, newSigner(t, Options{Secrets: ring("A")}))[0]["kid"]; head.KeyID != want {
		t.Error("the last secret does not sign")
	}
}

// TestP256 derives from seeds at the edges: each gives a key, and none is zero.
func TestP256(t *testing.T) {
	n := elliptic.P256().Params().N
	number := func(i int64) *big.Int { return big.NewInt(i) }
	for name, c := range map[string]struct{ seed, want *big.Int }{
		"zero":              {number(0), number(1)},
		"one":               {number(1), number(2)},
		"the order less 2":  {new(big.Int).Sub(n, number(2)), new(big.Int).Sub(n, number(1))},
		"the order less 1":  {new(big.Int).Sub(n, number(1)), number(1)},
		"the order":         {n, number(2)},
		"a multiple":        {new(big.Int).Mul(new(big.Int).Sub(n, number(1)), number(12345)), number(1)},
		"nothing but ones ": {new(big.Int).Sub(new(big.Int).Lsh(number(1), 384), number(1)), nil},
	} {
		key, _, err := newP256(c.seed.FillBytes(make([]byte, 48)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := new(big.Int).SetBytes(privatePart(t, key)); c.want != nil && d.Cmp(c.want) != 0 {
			t.Errorf("%s: %d", name, d)
		}
	}
}

// TestJWKSIsACopy: who gets the set may write on it.
func TestJWKSIsACopy(t *testing.T) {
	s := newSigner(t, Options{})
	clear(s.JWKS())
	if len(published(t, s)) != 3 {
		t.Error("the set was changed from outside")
	}
}

// TestAtOnce signs on many goroutines while periods pass.
func TestAtOnce(t *testing.T) {
	var mu sync.Mutex
	ticks := 0
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		ticks++
		return begin(700 + int64(ticks/100))
	}
	s := newSigner(t, Options{Secrets: ring("BA"), Now: now})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				token, _, err := s.Sign(Claims{Subject: "jo", Groups: []string{"a"}}, "app")
				if err != nil || token == "" || len(s.JWKS()) == 0 {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if epoch := s.current.Load().epoch; epoch < 700 || epoch > 708 {
		t.Errorf("period %d", epoch)
	}
}
