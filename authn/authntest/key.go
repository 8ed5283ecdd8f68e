package authntest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json/jsontext"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Key is a signing key of a provider.
type Key struct {
	// ID is its kid.
	ID string
	// Algorithm is RS256, PS256, ES256 or EdDSA.
	Algorithm string
	Private   crypto.Signer
}

// NewKey makes a key for an algorithm: RS256, PS256, ES256 or EdDSA. It panics
// for any other. An RSA key takes a while to make; tests with many providers may
// want ES256, or to share.
func NewKey(algorithm string) Key {
	k := Key{ID: strings.ToLower(algorithm) + "-" + rand.Text()[:8], Algorithm: algorithm}
	var err error
	switch algorithm {
	case "RS256", "PS256":
		k.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		k.Private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		panic("authntest: no such algorithm: " + algorithm)
	}
	if err != nil {
		panic("authntest: make a key: " + err.Error())
	}
	return k
}

// sign signs by the key's algorithm (RFC 7518, section 3; RFC 8037, section 3.1).
// It takes the input as it is: a JOSE library would insist on an honest header.
func (k Key) sign(input []byte) []byte {
	digest := sha256.Sum256(input)
	var signature []byte
	var err error
	switch key := k.Private.(type) {
	case *rsa.PrivateKey:
		if k.Algorithm == "PS256" {
			pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			signature, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], pss)
			break
		}
		signature, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, key, digest[:])
		if err = signErr; err == nil {
			signature = make([]byte, 64)
			r.FillBytes(signature[:32])
			s.FillBytes(signature[32:])
		}
	default:
		signature, err = k.Private.Sign(rand.Reader, input, crypto.Hash(0))
	}
	if err != nil {
		panic("authntest: sign: " + err.Error())
	}
	return signature
}

// leftHash is the value of at_hash and c_hash (OpenID Connect Core, section
// 3.1.3.6), by the hash that the algorithm signs with.
func (k Key) leftHash(s string) string {
	if k.Algorithm == "EdDSA" {
		sum := sha512.Sum512([]byte(s))
		return encode(sum[:32])
	}
	sum := sha256.Sum256([]byte(s))
	return encode(sum[:16])
}

// publicPEM is the public key as an attacker would use it for an HMAC.
func (k Key) publicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
	if err != nil {
		panic("authntest: " + err.Error())
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Keys returns the published keys; the first one signs.
func (i *Issuer) Keys() []Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.keys)
}

// SetKeys replaces the published keys; the first one signs. To rotate, put a new
// key before the ones there are; to retire, leave some out.
func (i *Issuer) SetKeys(keys ...Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.Clone(keys)
}

// foreignKey returns a key like k that is published nowhere.
func (i *Issuer) foreignKey(k Key) Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.foreign.Algorithm != k.Algorithm {
		i.foreign = NewKey(k.Algorithm)
	}
	return i.foreign
}

func (i *Issuer) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	noKid := i.wrong().NoKid
	set := []jsontext.Value{}
	for _, k := range i.Keys() {
		jwk := jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
		if noKid {
			jwk.KeyID = ""
		}
		text, err := jwk.MarshalJSON()
		if err != nil {
			panic("authntest: publish a key: " + err.Error())
		}
		set = append(set, text)
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": set})
}

// token makes a JWT as the faults say.
func (i *Issuer) token(a Answer, client Client, claims map[string]any) string {
	f, key := i.wrong(), i.Keys()[0]
	if f.Only != "" && f.Only != a {
		f = Faults{}
	}
	if f.Claims != nil {
		f.Claims(a, claims)
	}
	payload := marshal(claims)
	if f.Payload != nil {
		payload = f.Payload(a, payload)
	}
	header := map[string]any{"alg": key.Algorithm, "kid": key.ID, "typ": "JWT"}
	if a == FromLogout {
		header["typ"] = "logout+jwt"
	}
	if f.NoKid {
		delete(header, "kid")
	}
	signer := i.signer(f.Signature, key, client)
	if signer.algorithm != "" {
		header["alg"] = signer.algorithm
	}
	if f.Header != nil {
		f.Header(a, header)
	}
	input := encode(marshal(header)) + "." + encode(payload)
	compact := input + "." + encode(signer.sign([]byte(input)))
	if f.Compact != nil {
		compact = f.Compact(a, compact)
	}
	return compact
}

// signer signs, and names another algorithm if it is not the key's own.
type signer struct {
	algorithm string
	sign      func(input []byte) []byte
}

func (i *Issuer) signer(s Signature, key Key, client Client) signer {
	switch s {
	case Genuine:
		return signer{"", key.sign}
	case Corrupt:
		return signer{"", func(input []byte) []byte {
			signature := key.sign(input)
			signature[len(signature)/2] ^= 1
			return signature
		}}
	case ForeignKey:
		return signer{"", i.foreignKey(key).sign}
	case Unsigned:
		return signer{"none", func([]byte) []byte { return nil }}
	case HMACSecret:
		return signer{"HS256", hs256([]byte(client.Secret))}
	case HMACPublicKey:
		return signer{"HS256", hs256(key.publicPEM())}
	case HMACEmpty:
		return signer{"HS256", hs256(nil)}
	}
	panic("authntest: no such signature")
}

func hs256(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil)
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
