package bearer

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json/v2"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func object(v any) string {
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(out)
}

// forged puts a token together byte by byte.
func forged(header, payload string, sign func(input []byte) []byte) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	return input + "." + b64(sign([]byte(input)))
}

// by signs honestly with a key, whatever the header says.
func by(k authntest.Key) func([]byte) []byte {
	return func(input []byte) []byte {
		sum := sha256.Sum256(input)
		var out []byte
		var err error
		switch key := k.Private.(type) {
		case *ecdsa.PrivateKey:
			r, s, signErr := ecdsa.Sign(rand.Reader, key, sum[:])
			out, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), signErr
		case *rsa.PrivateKey:
			out, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		default:
			out, err = k.Private.Sign(rand.Reader, input, crypto.Hash(0))
		}
		if err != nil {
			panic(err)
		}
		return out
	}
}

func hs256(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil)
	}
}

func fixed(signature []byte) func([]byte) []byte { return func([]byte) []byte { return signature } }

// swap changes the parts of a compact token.
func swap(token string, edit func(parts []string)) string {
	parts := strings.Split(token, ".")
	edit(parts)
	return strings.Join(parts, ".")
}

// bad is a token that nobody may be let in with.
type bad struct{ name, token, sentence string }

// everyKey makes the first issuer publish one key of each kind.
func everyKey(s *setup) { s.idp.Keys = []authntest.Key{es256(), rs256(), eddsa()} }

const notSigned = "not a signed JWT"

func badAlgorithms() []bad {
	body := object(claims(nil))
	all := []bad{
		{"JWT-01 alg absent", authntest.JWT(es256(), m{"alg": nil}, claims(nil)), "algorithm is not accepted"},
		{"JWT-01 alg empty", authntest.JWT(es256(), m{"alg": ""}, claims(nil)), "algorithm is not accepted"},
		{"JWT-04 alg list", authntest.JWT(es256(), m{"alg": []string{"ES256"}}, claims(nil)), notSigned},
		{"JWT-04 alg null", authntest.JWT(es256(), m{"alg": nil, "x": 1}, claims(nil)), "algorithm is not accepted"},
		{"JWT-04 alg twice", forged(`{"alg":"ES256","alg":"none"}`, body, by(es256())), notSigned},
		{"JWT-04 alg of another case", authntest.JWT(es256(), m{"alg": "es256"}, claims(nil)), "algorithm is not accepted"},
		{"JWT-04 ALG", forged(`{"ALG":"ES256","kid":"`+es256().ID+`"}`, body, by(es256())), "algorithm is not accepted"},
		{"JWT-04 alg number", authntest.JWT(es256(), m{"alg": 256}, claims(nil)), notSigned},
		{"JWT-03 PS256 with the RSA key", authntest.JWT(rs256(), m{"alg": "PS256"}, claims(nil)), "algorithm is not accepted"},
		{"JWT-03 RS384 with the RSA key", authntest.JWT(rs256(), m{"alg": "RS384"}, claims(nil)), "algorithm is not accepted"},
		{"JWT-03 RS256 by the EC key", authntest.JWT(es256(), m{"alg": "RS256"}, claims(nil)), "key is not one"},
		{"JWT-03 ES256 by the RSA key", authntest.JWT(rs256(), m{"alg": "ES256"}, claims(nil)), "key is not one"},
		{"JWT-03 EdDSA by the EC key", authntest.JWT(es256(), m{"alg": "EdDSA"}, claims(nil)), "key is not one"},
		{"JWT-51 HS256 with nothing", forged(`{"alg":"HS256"}`, body, hs256(nil)), "algorithm is not accepted"},
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE"} {
		kept := swap(good(), func(p []string) { p[0] = b64([]byte(`{"alg":"` + none + `"}`)) })
		all = append(all,
			bad{"JWT-01 " + none + " and no signature", forged(`{"alg":"`+none+`"}`, body, fixed(nil)), ""},
			bad{"JWT-01 " + none + " and the old signature", kept, "algorithm is not accepted"})
	}
	for _, key := range []authntest.Key{rs256(), es256()} {
		for name, secret := range publicForms(key) {
			all = append(all, bad{"JWT-02 HS256 with " + key.Algorithm + " as " + name, forged(`{"alg":"HS256","kid":"`+key.ID+`"}`, body, hs256(secret)), "algorithm is not accepted"})
		}
	}
	return all
}

// publicForms are what a public key may look like to who takes it for a secret.
func publicForms(key authntest.Key) map[string][]byte {
	public := key.Private.Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	jwk, err := (&jose.JSONWebKey{Key: public, KeyID: key.ID}).MarshalJSON()
	if err != nil {
		panic(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	forms := map[string][]byte{"PEM": text, "PEM without the last line break": bytes.TrimSpace(text), "DER": der, "JWK": jwk}
	if k, ok := public.(*rsa.PublicKey); ok {
		pkcs1 := x509.MarshalPKCS1PublicKey(k)
		forms["PKCS1"], forms["PKCS1 PEM"], forms["n"] = pkcs1, pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}), k.N.Bytes()
	}
	return forms
}

func badHeaders() []bad {
	own, err := (&jose.JSONWebKey{Key: foreign().Private.Public(), KeyID: es256().ID}).MarshalJSON()
	if err != nil {
		panic(err)
	}
	var jwk any
	if err := json.Unmarshal(own, &jwk); err != nil {
		panic(err)
	}
	kid := es256().ID
	all := []bad{
		{"JWT-05 kid number", authntest.JWT(foreign(), m{"kid": 7}, claims(nil)), notSigned},
		{"JWT-05 kid object", authntest.JWT(foreign(), m{"kid": m{"a": 1}}, claims(nil)), notSigned},
		{"JWT-05 kid list", authntest.JWT(es256(), m{"kid": []string{kid}}, claims(nil)), notSigned},
		{"JWT-10 jku", authntest.JWT(foreign(), m{"kid": kid, "jku": "https://evil.test/jwks"}, claims(nil)), "signature is not"},
		{"JWT-10 x5u", authntest.JWT(foreign(), m{"kid": kid, "x5u": "https://evil.test/cert"}, claims(nil)), "signature is not"},
		{"JWT-11 jwk", authntest.JWT(foreign(), m{"kid": kid, "jwk": jwk}, claims(nil)), "signature is not"},
		{"JWT-11 x5c", authntest.JWT(foreign(), m{"kid": kid, "x5c": []string{base64.StdEncoding.EncodeToString(selfSigned())}}, claims(nil)), "signature is not"},
		{"JWT-12 crit exp", authntest.JWT(es256(), m{"crit": []string{"exp"}}, claims(nil)), notSigned},
		{"JWT-12 crit b64", authntest.JWT(es256(), m{"crit": []string{"b64"}, "b64": false}, claims(nil)), notSigned},
		{"JWT-12 crit empty", authntest.JWT(es256(), m{"crit": []string{}}, claims(nil)), notSigned},
		{"JWT-12 crit text", authntest.JWT(es256(), m{"crit": "exp"}, claims(nil)), notSigned},
		{"JWT-29 b64", authntest.JWT(es256(), m{"b64": false}, claims(nil)), notSigned},
		{"JWT-23 cty JWT", forged(`{"alg":"ES256","cty":"JWT","kid":"`+kid+`"}`, good(), by(es256())), ""},
		{"JWT-32 key of another issuer", authntest.JWT(es256b(), nil, claims(nil)), "key is not one"},
		{"JWT-32 key of another issuer under our kid", authntest.JWT(es256b(), m{"kid": kid}, claims(nil)), "signature is not"},
		{"JWT-32 our key for the other issuer", authntest.JWT(es256(), nil, claims(m{"iss": otherURL})), "key is not one"},
		{"JWT-08 unknown kid", authntest.JWT(es256(), m{"kid": "nope"}, claims(nil)), "key is not one"},
		{"JWT-06 no kid, and a key that is not there", authntest.JWT(foreign(), m{"kid": nil}, claims(nil)), "signature is not"},
	}
	for name, id := range map[string]string{
		"path": "../../../../dev/null", "SQL": "' OR 1=1", "URL": "https://evil.test/", "NUL": "\x00", "prototype": "__proto__",
		"line break": "a\n{\"level\":\"ERROR\"}", "long": strings.Repeat("k", 8000), "place": "key 0",
	} {
		all = append(all, bad{"JWT-05 kid " + name, authntest.JWT(foreign(), m{"kid": id}, claims(nil)), "key is not one"})
	}
	for _, typ := range []string{"logout+jwt", "secevent+jwt", "dpop+jwt", "vc+jwt", "JWE", "application/logout+jwt", "application/application/jwt", "ſecevent+jwt"} {
		all = append(all, bad{"JWT-37 typ " + typ, authntest.JWT(es256(), m{"typ": typ}, claims(nil)), "kind that is not accepted"})
	}
	return append(all, bad{"JWT-37 typ number", authntest.JWT(es256(), m{"typ": 1}, claims(nil)), notSigned},
		bad{"JWT-37 events", with(m{"events": m{"http://schemas.openid.net/event/backchannel-logout": m{}}}), "kind that is not accepted"})
}

func selfSigned() []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, foreign().Private.Public(), foreign().Private)
	if err != nil {
		panic(err)
	}
	return der
}

// badSignatures: JWT-13, signatures that hold for anything in broken verifiers.
func badSignatures() []bad {
	head := `{"alg":"ES256","kid":"` + es256().ID + `"}`
	body := object(claims(nil))
	order := es256().Private.(*ecdsa.PrivateKey).Params().N.FillBytes(make([]byte, 32))
	one := append(make([]byte, 31), 1)
	zero := make([]byte, 32)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(0), big.NewInt(0)})
	if err != nil {
		panic(err)
	}
	honest := by(es256())
	var all []bad
	for name, sign := range map[string]func([]byte) []byte{
		"r and s zero": fixed(make([]byte, 64)), "r zero": fixed(append(zero[:32:32], one...)), "s zero": fixed(append(one[:32:32], zero...)),
		"s is n": fixed(append(one[:32:32], order...)), "r is n": fixed(append(order[:32:32], one...)), "DER": fixed(der),
		"63 bytes": func(in []byte) []byte { return honest(in)[:63] }, "65 bytes": func(in []byte) []byte { return append(honest(in), 0) },
		"real DER": func(in []byte) []byte {
			sum := sha256.Sum256(in)
			out, _ := ecdsa.SignASN1(rand.Reader, es256().Private.(*ecdsa.PrivateKey), sum[:])
			return out
		},
	} {
		all = append(all, bad{"JWT-13 " + name, forged(head, body, sign), "signature is not"})
	}
	for _, key := range []authntest.Key{rs256(), eddsa()} {
		head := `{"alg":"` + key.Algorithm + `","kid":"` + key.ID + `"}`
		all = append(all,
			bad{"JWT-13 zeros for " + key.Algorithm, forged(head, body, fixed(make([]byte, 256))), "signature is not"},
			bad{"JWT-13 one byte for " + key.Algorithm, forged(head, body, fixed([]byte{1})), "signature is not"})
	}
	return all
}

func badShapes() []bad {
	token := good()
	parts := strings.Split(token, ".")
	last := len(token) - 1
	return []bad{
		{"JWT-21 no dot", parts[0], ""},
		{"JWT-21 two parts", parts[0] + "." + parts[1], ""},
		{"JWT-21 four parts", token + ".a", ""},
		{"JWT-21 empty parts", parts[0] + "..", notSigned},
		{"JWT-21 only dots", strings.Repeat(".", 16<<10), ""},
		{"JWT-21 a megabyte of dots", strings.Repeat(".", 1<<20), ""},
		{"JWT-22 64 KB", with(m{"x": strings.Repeat("x", 48<<10)}), ""},
		{"JWT-22 1 MB", with(m{"x": strings.Repeat("x", 768<<10)}), ""},
		{"JWT-23 a JWT for a payload", forged(`{"alg":"ES256","kid":"`+es256().ID+`"}`, token, by(es256())), ""},
		{"JWT-24 encrypted", zipBomb(), "encrypted"},
		{"JWT-25 PBES2", b64([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA"}`)) + ".AA.AA.AA.AA", "encrypted"},
		{"JWT-26 empty parts", b64([]byte(`{"alg":"dir","enc":"A128CBC-HS256"}`)) + "....", "encrypted"},
		{"JWT-28 JSON serialization", base64.StdEncoding.EncodeToString([]byte(object(m{"payload": parts[1], "signatures": []any{m{"protected": parts[0], "signature": parts[2]}}}))), ""},
		{"JWT-28 flattened", b64([]byte(object(m{"payload": parts[1], "protected": parts[0], "signature": parts[2]}))), ""},
		{"JWT-29 detached", parts[0] + ".." + parts[2], notSigned},
		{"JWT-30 padding", token + "=", ""},
		{"JWT-30 unused bits", token[:last] + string(token[last]+1), notSigned},
		{"JWT-46 cut by one", token[:last], ""},
		{"JWT-46 cut by sixteen", token[:last-15], ""},
		{"JWT-46 another signature", parts[0] + "." + parts[1] + "." + strings.Split(with(nil), ".")[2][:40] + parts[2][40:], "signature is not"},
		{"payload is a list", forged(`{"alg":"ES256","kid":"`+es256().ID+`"}`, `["a"]`, by(es256())), ""},
		{"payload is null", forged(`{"alg":"ES256","kid":"`+es256().ID+`"}`, `null`, by(es256())), ""},
		{"header is null", swap(token, func(p []string) { p[0] = "bnVsbA" }), ""},
		{"claims twice", forged(`{"alg":"ES256","kid":"`+es256().ID+`"}`, strings.Replace(object(claims(nil)), `"sub":"1001"`, `"sub":"1002","sub":"1001"`, 1), by(es256())), ""},
		{"deep", with(m{"x": nested(40)}), ""},
		{"bad UTF-8", forged(`{"alg":"ES256","kid":"`+es256().ID+`"}`, strings.Replace(object(claims(nil)), "Ada", "\xff\xfe", 1), by(es256())), ""},
	}
}

func nested(depth int) any {
	var v any = 1
	for range depth {
		v = []any{v}
	}
	return v
}

// zipBomb is a JWE of little that says to be a lot.
func zipBomb() string {
	var small bytes.Buffer
	w, err := flate.NewWriter(&small, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(make([]byte, 4<<20))
	_ = w.Close()
	return b64([]byte(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`)) + ".." + b64(make([]byte, 12)) + "." + b64(small.Bytes()) + "." + b64(make([]byte, 16))
}

func badClaims() []bad {
	const iss, aud, exp = "issuer (iss) is not trusted", "audience (aud)", "(exp)"
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	all := []bad{
		{"JWT-33 iss absent", with(m{"iss": nil}), iss},
		{"JWT-33 iss list", with(m{"iss": []string{idpURL}}), iss},
		{"JWT-33 iss number", with(m{"iss": 1}), iss},
		{"JWT-34 aud absent", with(m{"aud": nil}), aud},
		{"JWT-34 aud null", forged(`{"alg":"ES256","kid":"`+es256().ID+`"}`, strings.Replace(object(claims(nil)), `"aud":"wandb"`, `"aud":null`, 1), by(es256())), aud},
		{"JWT-34 aud empty", with(m{"aud": ""}), aud},
		{"JWT-34 aud empty list", with(m{"aud": []string{}}), aud},
		{"JWT-34 aud other", with(m{"aud": []string{"other"}}), aud},
		{"JWT-34 aud longer", with(m{"aud": "wandbX"}), aud},
		{"JWT-34 aud of another case", with(m{"aud": "WANDB"}), aud},
		{"JWT-34 aud with a space", with(m{"aud": "wandb evil"}), aud},
		{"JWT-34 aud number", with(m{"aud": 7}), aud},
		{"JWT-34 aud object", with(m{"aud": m{"0": "wandb"}}), aud},
		{"JWT-34 aud of numbers too", with(m{"aud": []any{"wandb", 7}}), aud},
		{"JWT-39 exp absent", with(m{"exp": nil}), "does not say when it expires"},
		{"JWT-39 exp past", with(m{"exp": at(-61 * time.Second)}), "has expired"},
		{"JWT-39 exp in ten years", with(m{"exp": at(10 * 365 * 24 * time.Hour)}), "longer than is accepted"},
		{"JWT-39 exp beyond the longest", with(m{"exp": at(25 * time.Hour)}), "longer than is accepted"},
		{"JWT-39 longest, counted from an old iat", with(m{"iat": at(-24 * time.Hour)}), "longer than is accepted"},
		{"JWT-39 longest, without iat", with(m{"iat": nil, "exp": at(25 * time.Hour)}), "longer than is accepted"},
		{"JWT-39 longest, with iat ahead", with(m{"iat": at(50 * time.Second), "exp": at(24*time.Hour + 90*time.Second)}), "longer than is accepted"},
		{"JWT-39 nbf ahead", with(m{"nbf": at(2 * time.Minute)}), "not valid yet"},
		{"JWT-39 iat ahead", with(m{"iat": at(2 * time.Minute)}), "made in the future"},
		{"JWT-31 expired, with a bad signature", authntest.JWT(foreign(), m{"kid": es256().ID}, claims(m{"exp": at(-time.Hour)})), "signature is not"},
		{"JWT-31 nbf ahead, with a bad aud", with(m{"nbf": at(time.Hour), "aud": "other"}), aud},
		{"sub absent", with(m{"sub": nil}), "does not say whom"},
		{"sub empty", with(m{"sub": ""}), "does not say whom"},
		{"sub number", with(m{"sub": 1001}), "is not text"},
		{"sub list", with(m{"sub": []string{"1001"}}), "is not text"},
		{"sub with a line break", with(m{"sub": "1001\n"}), "can’t name anybody"},
		{"sub invisible", with(m{"sub": "10\u200b01"}), "can’t name anybody"},
		{"sub too long", with(m{"sub": strings.Repeat("a", 256)}), "can’t name anybody"},
		{"user name with a control character", with(m{"preferred_username": "ada\x1b[0m"}), "user name"},
		{"user name number", with(m{"preferred_username": 7}), "missing or has the wrong type"},
		{"address with a line break", with(m{"email": "ada@example.com\nX: y"}), "e-mail address"},
		{"address number", with(m{"email": 7}), "missing or has the wrong type"},
		{"name number", with(m{"name": 7}), "missing or has the wrong type"},
		{"groups text", with(m{"groups": "admins"}), "missing or has the wrong type"},
		{"group with a control character", with(m{"groups": []string{"a\x00"}}), "control character"},
	}
	for name, v := range map[string]any{"text": "2999999999", "negative": -1, "zero": 0, "beyond time": 1e300, "list": []int{1}} {
		for _, claim := range []string{"exp", "iat", "nbf"} {
			all = append(all, bad{"JWT-39 " + claim + " " + name, with(m{claim: v}), "an invalid time"})
		}
	}
	for _, similar := range []string{
		idpURL + "/", idpURL + ".evil", "idp.test", "https://IDP.test", "http://idp.test", idpURL + " ", idpURL + ":443",
		"https://evil.test", "https://idp.test@evil.test", "", gatewayURL, "https://idp.test/../", "https://ıdp.test",
	} {
		all = append(all, bad{"JWT-33 iss " + similar, with(m{"iss": similar}), iss})
	}
	return all
}

// TestBadTokens sends every bad token as a credential and as an assertion
// (TOK-09). None may let anybody in, be stored, or make the gateway ask anywhere
// but at its issuers (SSRF-04).
func TestBadTokens(t *testing.T) {
	var all []bad
	for _, list := range [][]bad{badAlgorithms(), badHeaders(), badSignatures(), badShapes(), badClaims()} {
		all = append(all, list...)
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, everyKey)
			r.rejected(c.token, c.sentence)
			for name, form := range map[string]url.Values{
				"assertion":     {"grant_type": {grantJWT}, "assertion": {c.token}},
				"subject_token": {"grant_type": {grantExchange}, "subject_token": {c.token}, "subject_token_type": {typePrefix + "jwt"}},
			} {
				fresh := newRig(t, everyKey)
				w := fresh.post(tokenPath, form.Encode())
				if w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
					t.Errorf("%s: %d %s", name, w.Code, w.Body)
				}
				code := map[string]string{"assertion": "invalid_grant", "subject_token": "invalid_request"}[name]
				if w.Code == http.StatusBadRequest && !strings.Contains(w.Body.String(), `"`+code+`"`) {
					t.Errorf("%s: %s", name, w.Body)
				}
				quiet(t, fresh, c.token)
			}
			quiet(t, r, c.token)
		})
	}
	if len(all) < 170 {
		t.Errorf("only %d tokens", len(all))
	}
}

// quiet asserts what holds of every refusal.
func quiet(t *testing.T, r *rig, token string) {
	t.Helper()
	if _, writes := r.store.counts(); writes > 0 {
		t.Errorf("%d writes to the store", writes)
	}
	for at := range r.calls {
		if !strings.HasPrefix(at, "idp.test/.well-known/openid") && at != "idp.test/jwks" && !strings.HasPrefix(at, "other.test/") {
			t.Errorf("asked %s", at)
		}
	}
	if len(token) > 20 && strings.Contains(r.log.String(), token) {
		t.Error("the log has the token")
	}
	for line := range strings.Lines(r.log.String()) {
		if len(line) > 2000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// TestGoodTokens: what is near to a bad token and is good.
func TestGoodTokens(t *testing.T) {
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, token := range map[string]string{
		"ES256":                              good(),
		"RS256":                              authntest.JWT(rs256(), nil, claims(nil)),
		"EdDSA":                              authntest.JWT(eddsa(), nil, claims(nil)),
		"JWT-36 typ at+jwt":                  authntest.JWT(es256(), m{"typ": "at+jwt"}, claims(nil)),
		"typ in full":                        authntest.JWT(es256(), m{"typ": "application/AT+JWT"}, claims(nil)),
		"typ absent":                         authntest.JWT(es256(), m{"typ": nil}, claims(nil)),
		"JWT-34 aud among others":            with(m{"aud": []string{"other", "wandb"}}),
		"JWT-39 expired within the skew":     with(m{"exp": at(-55 * time.Second)}),
		"JWT-39 nbf within the skew":         with(m{"nbf": at(55 * time.Second)}),
		"JWT-39 iat within the skew":         with(m{"iat": at(55 * time.Second)}),
		"iat absent":                         with(m{"iat": nil}),
		"iat with a fraction":                with(m{"iat": float64(at(0)) + 0.5}),
		"JWT-06 no kid, and one key fits":    authntest.JWT(es256(), m{"kid": nil}, claims(nil)),
		"SSRF-13 claims elsewhere, unasked":  with(m{"_claim_names": m{"x": "s"}, "_claim_sources": m{"s": m{"endpoint": "https://evil.test"}}}),
		"SSRF-14 a picture, unasked":         with(m{"picture": "http://169.254.169.254/"}),
		"JWT-22 8 KB":                        with(m{"x": strings.Repeat("x", 6<<10)}),
		"JWT-10 jku of the attacker, unread": authntest.JWT(es256(), m{"jku": "https://evil.test"}, claims(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, everyKey)
			if id := r.accepted(token); id.Subject != "1001" || id.Issuer != idpURL || id.Username != "ada" {
				t.Errorf("%+v", id)
			}
			quiet(t, r, token)
		})
	}
}

// TestSeenAndExpected: the log says what was wrong, the answer a sentence.
func TestSeenAndExpected(t *testing.T) {
	for name, c := range map[string]struct {
		token string
		log   []string
	}{
		"alg": {authntest.JWT(es256(), m{"alg": "PS512"}, claims(nil)), []string{`"check":"alg"`, `"seen":"PS512"`, `"expected":"RS256 ES256 EdDSA"`}},
		"aud": {with(m{"aud": []string{"a", "b"}}), []string{`"check":"aud"`, `"seen":"a b"`, `"expected":"wandb"`, `"issuer":"` + idpURL}},
		"iss": {with(m{"iss": "https://evil.test"}), []string{`"check":"iss"`, `"seen":"https://evil.test"`, `"expected":"` + idpURL + " " + otherURL}},
		"typ": {authntest.JWT(es256(), m{"typ": "logout+jwt"}, claims(nil)), []string{`"check":"typ"`, `"seen":"logout+jwt"`}},
		"exp": {with(m{"exp": time.Now().Add(-time.Hour).Unix()}), []string{`"check":"exp"`, `"expected":"now `}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.rejected(c.token, "")
			r.logged(append(c.log, "token refused", `"route":"robots"`)...)
		})
	}
}
