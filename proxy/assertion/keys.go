package assertion

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json/v2"
	"fmt"
	"math/big"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is a way to sign and how its keys are made.
type algorithm struct {
	name   string // alg (RFC 7518, section 3.1)
	method jwt.SigningMethod
	size   int // of what a key is made of, in bytes
	make   func(seed []byte) (crypto.Signer, point, error)
}

// algorithmOf finds an algorithm by its name; the empty one is the default's.
func algorithmOf(name string) (alg algorithm, known bool) {
	switch name {
	case "", "ES256":
		// 16 bytes more than the curve's order has: that leaves no number the likelier
		// for being small (FIPS 186-5, appendix A.2.1).
		return algorithm{"ES256", jwt.SigningMethodES256, 48, newP256}, true
	case "EdDSA":
		return algorithm{"EdDSA", jwt.SigningMethodEdDSA, ed25519.SeedSize, newEd25519}, true
	}
	return algorithm{}, false
}

// point is a public key: the members that its thumbprint is of, in their order
// (RFC 7638, section 3.2; RFC 8037, section 2).
type point struct {
	Curve string `json:"crv"`
	Type  string `json:"kty"`
	X     string `json:"x"`
	Y     string `json:"y,omitempty"`
}

// thumbprint names a key by what it is (RFC 7638).
func (p point) thumbprint() (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// newP256 makes the seed a number from 1 to the order of P-256 less one.
func newP256(seed []byte) (crypto.Signer, point, error) {
	less := new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(1))
	d := new(big.Int).Mod(new(big.Int).SetBytes(seed), less)
	d.Add(d, big.NewInt(1))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
	if err != nil {
		return nil, point{}, err
	}
	public, err := key.PublicKey.Bytes() // 4, x, y (SEC 1, section 2.3.3)
	if err != nil {
		return nil, point{}, err
	}
	return key, point{
		Type: "EC", Curve: "P-256",
		X: base64.RawURLEncoding.EncodeToString(public[1:33]), Y: base64.RawURLEncoding.EncodeToString(public[33:]),
	}, nil
}

func newEd25519(seed []byte) (crypto.Signer, point, error) {
	key := ed25519.NewKeyFromSeed(seed)
	public := key[ed25519.SeedSize:] // RFC 8032, section 5.1.5
	return key, point{Type: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(public)}, nil
}

// pair is one key of one period.
type pair struct {
	private crypto.Signer
	public  jwk
}

// derive makes the key of one secret and one period. What the key is for is part of
// what it is made of, so that with another issuer, algorithm or rotation it is
// another one.
func (s *Signer) derive(secret []byte, epoch int64) (pair, error) {
	info := fmt.Sprintf("gatehouse assertion %s %d %d", s.alg.name, int64(s.rotation/time.Second), epoch)
	seed, err := hkdf.Key(sha256.New, secret, []byte(s.issuer), info, s.alg.size)
	if err != nil {
		return pair{}, err
	}
	private, public, err := s.alg.make(seed)
	if err != nil {
		return pair{}, err
	}
	id, err := public.thumbprint()
	if err != nil {
		return pair{}, err
	}
	return pair{private, jwk{KeyID: id, Use: "sig", Algorithm: s.alg.name, point: public}}, nil
}

// period is what is derived once for one epoch.
type period struct {
	epoch int64
	key   crypto.Signer
	head  string // a token's first part
	set   []byte // the key set
}

// at returns the period of a time. Deriving one costs less than a millisecond, once
// in a rotation.
func (s *Signer) at(now time.Time) *period {
	epoch := now.Unix() / int64(s.rotation/time.Second)
	if p := s.current.Load(); p != nil && p.epoch == epoch {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.current.Load(); p != nil && p.epoch == epoch {
		return p
	}
	p, err := s.newPeriod(epoch)
	if err != nil { // only for lengths and numbers that there can't be
		panic("assertion: derive a key: " + err.Error())
	}
	s.current.Store(p)
	return p
}

func (s *Signer) newPeriod(epoch int64) (*period, error) {
	p := &period{epoch: epoch}
	var published []jwk
	named := map[string]bool{} // a secret may be there twice, and a key must not
	for _, secret := range s.secrets {
		for _, e := range []int64{epoch, epoch + 1, epoch - 1} {
			k, err := s.derive(secret, e)
			if err != nil {
				return nil, err
			}
			if !named[k.public.KeyID] {
				published, named[k.public.KeyID] = append(published, k.public), true
			}
			if e == epoch { // of the last secret in the end
				p.key = k.private
				if p.head, err = head(k.public); err != nil {
					return nil, err
				}
			}
		}
	}
	var err error
	p.set, err = json.Marshal(keySet{published})
	return p, err
}

// head is the first part of the tokens that a key signs.
func head(k jwk) (string, error) {
	text, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}{k.Algorithm, k.KeyID, "JWT"})
	return base64.RawURLEncoding.EncodeToString(text), err
}
