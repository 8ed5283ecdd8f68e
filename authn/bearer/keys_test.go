package bearer

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// bubble runs a test of a rig with a clock of its own.
func bubble(t *testing.T, name string, f func(t *testing.T, r *rig), changes ...func(*setup)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f(t, newRig(t, changes...))
			time.Sleep(2 * issuer.CallTime) // for what goes on beside the work
		})
	})
}

// signedBy is a token of the first issuer that nobody has seen yet.
func signedBy(key authntest.Key, n any) string {
	return authntest.JWT(key, nil, claims(m{"jti": fmt.Sprint(n)}))
}

// late says what was so when it was asked, two seconds later.
type late struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l late) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(r)
	time.Sleep(2 * time.Second)
	return res, err
}

func (r *rig) keyCalls() int { return r.idp.Calls(authntest.JWKS) }

func TestRotation(t *testing.T) {
	next := authntest.NewKey("ES256")
	bubble(t, "JWT-19 a new key at once, for a hundred at once", func(t *testing.T, r *rig) {
		r.accepted(good())
		r.idp.SetKeys(next, es256())
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Delay(time.Second) })
		var all sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				if n%2 == 1 {
					time.Sleep(time.Duration(n) * 20 * time.Millisecond) // some come when the answer does
				}
				if id, err := r.judge(signedBy(next, n)); err != nil || id.Subject != "1001" {
					t.Errorf("%d: %v", n, err)
				}
			})
		}
		all.Wait()
		if n := r.keyCalls(); n != 2 {
			t.Errorf("the keys were asked for %d times", n)
		}
		r.accepted(signedBy(es256(), "old"))
	})
	bubble(t, "who comes just after the answer to somebody else", func(t *testing.T, r *rig) {
		r.accepted(good())
		r.idp.SetKeys(next, es256())
		old := issuer.Snapshot{At: time.Now()}
		time.Sleep(time.Second)
		r.accepted(signedBy(next, 1))
		s, err := r.b.issuers[0].keys.Newer(t.Context(), old)
		if err != nil || len(s.Keys) != 2 {
			t.Errorf("%d keys, %v", len(s.Keys), err)
		}
	})
	bubble(t, "JWT-19 a new key while the old ones are on their way", func(t *testing.T, r *rig) {
		r.accepted(good())
		time.Sleep(keysAge + time.Second)
		client := r.b.issuers[0].client
		client.Transport = late{client.Transport}
		r.accepted(signedBy(es256(), "other")) // they are asked for, beside the work
		time.Sleep(time.Second)
		r.idp.SetKeys(next, es256())
		token := signedBy(next, "new")
		r.unsure(token) // the old ones are no answer to it
		time.Sleep(10 * time.Second)
		r.accepted(token)
	})
	bubble(t, "JWT-19 no key has an id", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) { f.NoKid = true })
		r.accepted(authntest.JWT(es256(), m{"kid": nil}, claims(nil)))
		r.idp.SetKeys(next)
		time.Sleep(time.Second)
		r.accepted(authntest.JWT(next, m{"kid": nil}, claims(nil)))
		for n := range 50 {
			r.rejected(authntest.JWT(foreign(), m{"kid": nil}, claims(m{"jti": fmt.Sprint(n), "iat": time.Now().Add(-2 * time.Minute).Unix()})), "signature is not")
		}
		r.unsure(authntest.JWT(foreign(), m{"kid": nil}, claims(nil))) // it may be by a newer key yet
		if n := r.keyCalls(); n != 2 {
			t.Errorf("the keys were asked for %d times", n)
		}
	})
	bubble(t, "JWT-18 a removed key, with traffic", func(t *testing.T, r *rig) {
		r.idp.SetKeys(next, es256())
		r.accepted(good())
		r.idp.SetKeys(next)
		remembered := signedBy(es256(), "remembered")
		for range int(keysAge / (10 * time.Second)) {
			r.accepted(signedBy(next, time.Now()))
			time.Sleep(10 * time.Second)
		}
		r.accepted(remembered) // the last moment
		synctest.Wait()
		r.rejected(signedBy(es256(), "late"), "key is not one")
		time.Sleep(time.Minute)
		r.rejected(remembered, "key is not one")
	})
	bubble(t, "JWT-18 a removed key, after a quiet night", func(t *testing.T, r *rig) {
		r.idp.SetKeys(next, es256())
		r.accepted(good())
		r.idp.SetKeys(next)
		time.Sleep(12 * time.Hour)
		r.rejected(signedBy(es256(), "late"), "key is not one")
	})
	bubble(t, "a quiet night, and an issuer that hangs", func(t *testing.T, r *rig) {
		r.accepted(good())
		time.Sleep(12 * time.Hour)
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Delay(time.Hour) })
		start := time.Now()
		r.accepted(signedBy(es256(), 1))
		if waited := time.Since(start); waited > issuer.KeysWait {
			t.Errorf("waited %v", waited)
		}
		time.Sleep(issuer.CallTime)
		start = time.Now()
		r.accepted(signedBy(es256(), 2))
		if waited := time.Since(start); waited > 0 {
			t.Errorf("waited %v once it was known that it hangs", waited)
		}
	})
}

// TestUnknownKids: JWT-09, tokens with random key ids.
func TestUnknownKids(t *testing.T) {
	stranger := foreign()
	bubble(t, "JWT-09 one question in each interval", func(t *testing.T, r *rig) {
		r.accepted(good())
		for n := range 3000 {
			stranger.ID = fmt.Sprint("kid", n)
			if _, err := r.judge(signedBy(stranger, n)); !isRejected(err) && !outage(err) {
				t.Fatalf("%v", err)
			}
			if n%100 == 0 {
				start := time.Now()
				r.accepted(signedBy(es256(), n))
				if time.Since(start) > 0 {
					t.Error("a valid token waited")
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := r.keyCalls(); n > 1+4 {
			t.Errorf("%d questions in 30 seconds", n)
		}
		if _, writes := r.store.counts(); writes > 0 {
			t.Errorf("%d writes to the store", writes)
		}
	})
	bubble(t, "JWT-09 nobody else waits for an issuer that hangs", func(t *testing.T, r *rig) {
		r.accepted(good())
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Delay(time.Hour) })
		var all sync.WaitGroup
		for n := range 50 {
			stranger.ID = fmt.Sprint("kid", n)
			token := signedBy(stranger, n)
			all.Go(func() {
				if _, err := r.judge(token); !outage(err) {
					t.Errorf("%v", err)
				}
			})
		}
		time.Sleep(time.Second)
		start := time.Now()
		r.accepted(signedBy(es256(), "other"))
		if time.Since(start) > 0 {
			t.Error("a valid token waited")
		}
		all.Wait()
		if waited := time.Since(start); waited > verifyTime {
			t.Errorf("the others waited %v", waited)
		}
	})
}

// TestKeysOutage: JWT-20.
func TestKeysOutage(t *testing.T) {
	bubble(t, "at start", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Unavailable })
		r.unsure(good())
		r.other.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Unavailable })
		if err := r.route.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), idpURL) || !strings.Contains(err.Error(), otherURL) {
			t.Errorf("ready: %v", err)
		}
		r.other.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		time.Sleep(10 * time.Second)
		if err := r.route.Ready(t.Context()); err != nil {
			t.Errorf("not ready with one issuer: %v", err)
		}
		if id, err := r.judge(authntest.JWT(es256b(), nil, claims(m{"iss": otherURL}))); err != nil || id.Issuer != otherURL {
			t.Errorf("the other issuer: %v", err)
		}
		r.idp.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		time.Sleep(10 * time.Second)
		r.accepted(good())
		if err := r.route.Ready(t.Context()); err != nil {
			t.Errorf("not ready: %v", err)
		}
	})
	bubble(t, "warm", func(t *testing.T, r *rig) {
		r.accepted(good())
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Hangup })
		for n := range 23 {
			time.Sleep(time.Hour)
			r.accepted(signedBy(es256(), n))
		}
		time.Sleep(time.Hour)
		r.unsure(signedBy(es256(), "too late"))
	})
	bubble(t, "a request that ends", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Delay(time.Hour) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := judge(r.b, request("Bearer "+good()).WithContext(ctx))
		if !outage(err) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		r.unsure(good())
		if waited := time.Since(start); waited > verifyTime {
			t.Errorf("waited %v", waited)
		}
	})
}

// jwks is a set of public keys.
func jwks(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	list := []any{}
	for _, k := range keys {
		text, err := k.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rawJSON(text))
	}
	return object(m{"keys": list})
}

// rawJSON goes into a document as it is.
type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

func public(k authntest.Key, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Private.Public(), KeyID: kid}
}

// publishes makes the first issuer answer with a key set.
func (r *rig) publishes(set string) {
	r.idp.Set(func(f *authntest.Faults) {
		f.At[authntest.JWKS] = authntest.Reply(http.StatusOK, "application/json", set)
	})
}

func TestChoice(t *testing.T) {
	named := func(k authntest.Key, kid any) string { return authntest.JWT(k, m{"kid": kid}, claims(nil)) }
	second := authntest.NewKey("ES256")
	enc := public(es256(), "a")
	enc.Use = "enc"
	oaep := public(rs256(), "a")
	oaep.Algorithm = "RSA-OAEP"
	rs512 := public(rs256(), "a")
	rs512.Algorithm = "RS512"
	for name, c := range map[string]struct {
		set       []jose.JSONWebKey
		good, bad string
	}{
		"JWT-06 no kid, one key":                  {[]jose.JSONWebKey{public(es256(), "a")}, named(es256(), nil), named(second, nil)},
		"JWT-06 no kid, several keys":             {[]jose.JSONWebKey{public(es256(), "a"), public(second, "b")}, named(second, nil), named(foreign(), nil)},
		"JWT-06 a kid, and a key without":         {[]jose.JSONWebKey{public(es256(), "")}, named(es256(), "x"), named(second, "x")},
		"JWT-06 a kid, and two keys without":      {[]jose.JSONWebKey{public(es256(), ""), public(second, ""), public(rs256(), "r")}, named(second, "x"), named(foreign(), "x")},
		"JWT-06 a kid, one key without, one with": {[]jose.JSONWebKey{public(es256(), ""), public(second, "b")}, named(es256(), "x"), named(es256(), "b")},
		"JWT-16 one kid for two algorithms":       {[]jose.JSONWebKey{public(es256(), "a"), public(rs256(), "a")}, named(rs256(), "a"), named(second, "a")},
		"JWT-16 one kid twice":                    {[]jose.JSONWebKey{public(es256(), "a"), public(second, "a")}, named(second, "a"), named(foreign(), "a")},
		"JWT-17 use enc":                          {[]jose.JSONWebKey{enc, public(second, "b")}, named(second, "b"), named(es256(), "a")},
		"JWT-17 alg RSA-OAEP":                     {[]jose.JSONWebKey{oaep, public(second, "b")}, named(second, "b"), named(rs256(), "a")},
		"JWT-03 a key for another algorithm":      {[]jose.JSONWebKey{rs512, public(second, "b")}, named(second, "b"), named(rs256(), "a")},
		"JWT-08 the last key is nobody's":         {[]jose.JSONWebKey{public(second, "b"), public(es256(), "a")}, named(es256(), "a"), named(es256(), "nope")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.publishes(jwks(t, c.set...))
			r.accepted(c.good)
			r.rejected(c.bad, "")
		})
	}
}

// TestKeySets: JWT-14 to JWT-16, key sets with odd or no keys.
func TestKeySets(t *testing.T) {
	odd := []string{
		`null`, `7`, `{}`, `{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U","kid":"h"}`, `{"kty":"XX"}`, `{"kty":"RSA","e":"AQAB"}`,
		`{"kty":"OKP","crv":"X25519","x":"AAAA"}`, `{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}`, `{"kty":"RSA","n":"AQ","e":"AQ"}`, `[]`,
	}
	for _, key := range odd {
		t.Run("beside "+key, func(t *testing.T) {
			r := newRig(t)
			r.publishes(strings.Replace(jwks(t, public(es256(), es256().ID)), `{"keys":[`, `{"keys":[`+key+`,`, 1))
			r.accepted(good())
			body := object(claims(nil))
			r.rejected(forged(`{"alg":"HS256","kid":"h"}`, body, hs256([]byte("secretsecretsecretsecretsecretse"))), "algorithm")
			alone := newRig(t)
			alone.publishes(`{"keys":[` + key + `]}`)
			alone.unsure(good())
		})
	}
	for name, answer := range map[string]authntest.Fault{
		"no keys":       authntest.Reply(200, "application/json", `{"keys":[]}`),
		"null":          authntest.Reply(200, "application/json", `null`),
		"a list":        authntest.Reply(200, "application/json", `[]`),
		"empty":         authntest.Reply(200, "application/json", ``),
		"HTML":          authntest.Reply(200, "text/html", `<html>sign in</html>`),
		"304":           authntest.Reply(304, "application/json", ``),
		"500":           authntest.Reply(500, "text/plain", `s3cret stack trace`),
		"401":           authntest.Reply(401, "text/plain", `no`),
		"10 000 keys":   authntest.Reply(200, "application/json", `{"keys":[`+strings.Repeat(`{},`, 9999)+`{}]}`),
		"2 MiB":         authntest.Pad(2 << 20),
		"cut in half":   authntest.Truncate,
		"names twice":   authntest.Duplicate,
		"a redirect":    authntest.SendTo(302, "https://evil.test/jwks"),
		"a downgrade":   authntest.SendTo(307, "http://idp.test/jwks"),
		"a hang-up":     authntest.Hangup,
		"a gzip bomb":   authntest.Reply(200, "application/json", "\x1f\x8b\x08"),
		"two documents": authntest.EditBody(func(b []byte) []byte { return append(b, b...) }),
	} {
		bubble(t, "JWT-16 "+name, func(t *testing.T, r *rig) {
			r.idp.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = answer })
			r.unsure(good())
			if n := r.seen("evil.test"); n > 0 {
				t.Errorf("followed: %d", n)
			}
			r.idp.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
			r.accepted(signedBy(es256(), 1))
			r.idp.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = answer })
			time.Sleep(2 * keysAge)
			r.accepted(signedBy(es256(), 2)) // what was known goes on
		})
	}
}

// write puts a text into a file at once, as tools that replace secrets do.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	fromFile := func(s *setup) { s.first().KeyFile = file }
	next := authntest.NewKey("ES256")
	bubble(t, "a JWK set", func(t *testing.T, r *rig) {
		write(t, file, jwks(t, public(es256(), es256().ID)))
		r.accepted(good())
		write(t, file, jwks(t, public(next, next.ID)))
		time.Sleep(time.Second)
		r.accepted(signedBy(next, 1)) // its kid is a new one
		r.rejected(signedBy(es256(), 2), "key is not one")
	}, fromFile)
	bubble(t, "PEM", func(t *testing.T, r *rig) {
		write(t, file, string(publicForms(es256())["PEM"]))
		r.accepted(good())
		write(t, file, string(publicForms(next)["PEM"]))
		time.Sleep(time.Second)
		r.accepted(signedBy(next, 1)) // no id tells of it
		r.rejected(signedBy(es256(), 2), "signature is not")
		write(t, file, "half a fil")
		time.Sleep(10 * time.Second)
		r.unsure(signedBy(es256(), 3))
		write(t, file, string(publicForms(rs256())["PEM"]))
		time.Sleep(10 * time.Second)
		r.rejected(signedBy(es256(), 4), "key is not one")
	}, fromFile)
	bubble(t, "PEM with a key of each kind", func(t *testing.T, r *rig) {
		write(t, file, string(publicForms(es256())["PEM"])+string(publicForms(rs256())["PEM"]))
		r.accepted(good())
		r.accepted(authntest.JWT(rs256(), nil, claims(nil)))
	}, fromFile)
	bubble(t, "spoiled, and gone", func(t *testing.T, r *rig) {
		write(t, file, jwks(t, public(es256(), es256().ID)))
		r.accepted(good())
		write(t, file, "half a fil")
		time.Sleep(time.Hour)
		r.accepted(signedBy(es256(), 1))
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.accepted(signedBy(es256(), 2))
		time.Sleep(issuer.KeysMaxAge)
		r.unsure(signedBy(es256(), 3))
		if n := r.seen("idp.test"); n > 0 {
			t.Errorf("the issuer was asked %d times", n)
		}
	}, fromFile)
}

// TestBrokenKeyFile: a file that can't be right is a fault of the settings; one
// that is missing may come yet.
func TestBrokenKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	r := newRig(t, func(s *setup) { s.first().KeyFile = file })
	r.unsure(good())
	write(t, file, "nonsense")
	if _, err := New("robots", r.setup.settings, r.setup.deps); err == nil || !strings.Contains(err.Error(), "keyFile") {
		t.Errorf("%v", err)
	}
	write(t, file, string(publicForms(es256())["PEM"]))
	if _, err := New("robots", r.setup.settings, r.setup.deps); err != nil {
		t.Error(err)
	}
}

// TestReplacedInAnOutage: a key that was replaced under its name is no reason to
// refuse for good, while nobody can ask for it.
func TestReplacedInAnOutage(t *testing.T) {
	next := authntest.NewKey("ES256")
	next.ID = es256().ID
	bubble(t, "at the issuer", func(t *testing.T, r *rig) {
		r.accepted(good())
		r.idp.SetKeys(next)
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Unavailable })
		time.Sleep(time.Minute)
		r.unsure(signedBy(next, 1))
		r.idp.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
		time.Sleep(11 * time.Second)
		r.accepted(signedBy(next, 1))
		r.rejected(authntest.JWT(foreign(), m{"kid": next.ID}, claims(nil)), "signature is not") // read just now
	})
	file := filepath.Join(t.TempDir(), "keys")
	bubble(t, "in a file that is older than what it replaces", func(t *testing.T, r *rig) {
		write(t, file, jwks(t, public(es256(), es256().ID)))
		r.accepted(good())
		r.rejected(signedBy(foreign(), 1), "is not")
		write(t, file+".new", jwks(t, public(next, next.ID)))
		if err := os.Chtimes(file+".new", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		r.unsure(signedBy(next, 2))
		time.Sleep(time.Minute)
		r.accepted(signedBy(next, 2))
	}, func(s *setup) { s.first().KeyFile, s.first().KeysInterval = file, config.Duration(time.Minute) })
}
