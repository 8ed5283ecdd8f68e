package issuer

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkix(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certificate is one of a key, signed by itself.
func certificate(t *testing.T, key authntest.Key) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Private.Public(), key.Private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestReadKeys(t *testing.T) {
	ec, rs, ed := authntest.NewKey("ES256"), authntest.NewKey("RS256"), authntest.NewKey("EdDSA")
	public := func(k authntest.Key) any { return k.Private.Public() }
	jwk, err := (&jose.JSONWebKey{Key: public(ec), KeyID: "k"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	set := `{"keys":[` + string(jwk) + `]}`
	one := block("PUBLIC KEY", pkix(t, public(ec)))
	for name, c := range map[string]struct {
		text string
		want []any
	}{
		"a JWK set":                {set, []any{public(ec)}},
		"a JWK set in white space": {"\n\t " + set + "\n", []any{public(ec)}},
		"a JWK set, some unusable": {strings.Replace(set, "[", `[{"kty":"oct","k":"AAAA"},`, 1), []any{public(ec)}},
		"PUBLIC KEY":               {one, []any{public(ec)}},
		"RSA PUBLIC KEY":           {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(public(rs).(*rsa.PublicKey))), []any{public(rs)}},
		"Ed25519":                  {block("PUBLIC KEY", pkix(t, public(ed))), []any{public(ed)}},
		"CERTIFICATE":              {block("CERTIFICATE", certificate(t, rs)), []any{public(rs)}},
		"several, with text":       {"# old\n" + one + "# new\n" + block("CERTIFICATE", certificate(t, ed)) + "the end\n", []any{public(ec), public(ed)}},
		"lines of Windows":         {strings.ReplaceAll(one, "\n", "\r\n"), []any{public(ec)}},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := ReadKeys([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []any
			for _, k := range keys {
				got = append(got, k.Key)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestReadKeysRefuses(t *testing.T) {
	ec := authntest.NewKey("ES256")
	one := block("PUBLIC KEY", pkix(t, ec.Private.Public()))
	private, err := x509.MarshalPKCS8PrivateKey(ec.Private)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong := authntest.NewKey("RS256").Private.Public().(*rsa.PublicKey)
	weak := &rsa.PublicKey{N: new(big.Int).Rsh(strong.N, 1024), E: strong.E}
	weak.N.SetBit(weak.N, 0, 1)
	for name, c := range map[string]struct{ text, problem string }{
		"nothing":                       {"", "neither"},
		"white space":                   {" \n", "neither"},
		"text":                          {"hello", "neither"},
		"half a block":                  {one[:len(one)/2], "neither"},
		"a broken JWK set":              {`{"keys":[`, ""},
		"an empty JWK set":              {`{"keys":[]}`, "none of 0 keys"},
		"one JWK":                       {`{"kty":"EC"}`, "none of 0 keys"},
		"a private key":                 {block("PRIVATE KEY", private), "is no public key"},
		"a private key behind a public": {one + block("PRIVATE KEY", private), "key 2: a PRIVATE KEY is no public key"},
		"a request for a certificate":   {block("CERTIFICATE REQUEST", []byte{0x30}), "is no public key"},
		"a block of nonsense":           {block("PUBLIC KEY", []byte("nonsense")), "key 1"},
		"a certificate of nonsense":     {block("CERTIFICATE", []byte("nonsense")), "key 1"},
		"an RSA key of nonsense":        {block("RSA PUBLIC KEY", []byte("nonsense")), "key 1"},
		"JWT-15 RSA of 1024 bits":       {one + block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(weak)), "key 2: must be RSA of 2048"},
		"X25519":                        {block("PUBLIC KEY", pkix(t, agreement.PublicKey())), "must be RSA"},
		"too many":                      {strings.Repeat(block("PUBLIC KEY", pkix(t, edPublic)), MaxKeys+1), "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := ReadKeys([]byte(c.text))
			if err == nil || keys != nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%d keys, %v", len(keys), err)
			}
		})
	}
}
