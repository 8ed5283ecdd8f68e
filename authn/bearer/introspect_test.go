package bearer

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

const opaque = "opaque.access-token/of+the~issuer=="

// active is the answer for a token that is good, with changes.
func active(changes m) string {
	c := claims(m{"active": true, "client_id": "app"})
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return object(c)
}

func TestIntrospection(t *testing.T) {
	bubble(t, "a good token, asked about once", func(t *testing.T, r *rig) {
		r.asked.says(active(nil))
		for range 5 {
			if id := r.accepted(opaque); !sameIdentity(id, ada()) {
				t.Errorf("%+v", id)
			}
		}
		if n := r.asked.count(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		head, form := r.asked.last()
		want := url.Values{"token": {opaque}, "token_type_hint": {"access_token"}}
		if form.Encode() != want.Encode() || head.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("gw:s3cret")) {
			t.Errorf("%v %v", form, head)
		}
	}, asks)
	bubble(t, "JWT-47 revoked, and noticed when what is remembered ends", func(t *testing.T, r *rig) {
		r.asked.says(active(nil))
		r.accepted(opaque)
		time.Sleep(59 * time.Second)
		other := r.replica()
		if _, err := judge(other, request("Bearer "+opaque)); err != nil { // from the store
			t.Errorf("%v", err)
		}
		r.asked.says(`{"active":false}`)
		time.Sleep(time.Second)
		r.rejected(opaque, "at its issuer, or no longer")
		if _, err := judge(other, request("Bearer "+opaque)); !isRejected(err) {
			t.Errorf("the other replica: %v", err)
		}
		time.Sleep(5 * time.Second)
		r.asked.says(active(nil))
		r.accepted(opaque)
	}, asks)
	bubble(t, "no longer than exp", func(t *testing.T, r *rig) {
		r.asked.says(active(m{"exp": time.Now().Add(5 * time.Second).Unix()}))
		r.accepted(opaque)
		time.Sleep(66 * time.Second)
		r.rejected(opaque, "has expired")
	}, asks, func(s *setup) { s.settings.Cache.Lifetime = config.Duration(15 * time.Minute) })
	bubble(t, "an answer with neither iss nor exp", func(t *testing.T, r *rig) {
		r.asked.says(active(m{"iss": nil, "exp": nil}))
		if id := r.accepted(opaque); id.Issuer != idpURL || id.Subject != "1001" {
			t.Errorf("%+v", id)
		}
	}, asks)
	bubble(t, "valid for longer than JWTs may be", func(t *testing.T, r *rig) {
		r.asked.says(active(m{"exp": time.Now().Add(30 * 24 * time.Hour).Unix()}))
		r.accepted(opaque)
	}, asks)
	bubble(t, "where discovery says", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) {
			f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["introspection_endpoint"] = idpURL + "/introspect" })
		})
		r.asked.says(active(nil))
		r.accepted(opaque)
	}, asks, func(s *setup) { s.first().Introspection.URL = "" })
	for name, uri := range map[string]any{"nowhere": nil, "SSRF-03 http": "http://idp.test/introspect", "SSRF-01 metadata": "https://169.254.169.254/", "SSRF-06 a number": "https://2130706433/"} {
		bubble(t, "where discovery says: "+name, func(t *testing.T, r *rig) {
			r.idp.Set(func(f *authntest.Faults) {
				f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["introspection_endpoint"] = uri })
			})
			r.unsure(opaque)
			if n := r.asked.count(); n > 0 {
				t.Errorf("asked %d times", n)
			}
		}, asks, func(s *setup) { s.first().Introspection.URL = "" })
	}
}

// TestNotActive: TOK-21 to TOK-23, answers that let nobody in.
func TestNotActive(t *testing.T) {
	past, ahead := time.Now().Add(-2*time.Minute).Unix(), time.Now().Add(2*time.Minute).Unix()
	for name, answer := range map[string]string{
		"TOK-21 nothing":             `{}`,
		"TOK-21 text":                active(m{"active": "true"}),
		"TOK-21 one":                 active(m{"active": 1}),
		"TOK-21 null":                strings.Replace(active(nil), `"active":true`, `"active":null`, 1),
		"TOK-21 a list":              active(m{"active": []bool{true}}),
		"TOK-21 an object":           active(m{"active": m{"active": true}}),
		"TOK-22 false with claims":   active(m{"active": false, "sub": "admin"}),
		"TOK-22 another case":        strings.Replace(active(nil), `"active"`, `"Active"`, 1),
		"TOK-22 at a path":           strings.Replace(active(nil), `"active":true`, `"a":{"ctive":true}`, 1),
		"TOK-23 aud other":           active(m{"aud": "other"}),
		"TOK-23 aud absent":          active(m{"aud": nil}),
		"TOK-23 exp past":            active(m{"exp": past}),
		"TOK-23 exp text":            active(m{"exp": "2999999999"}),
		"TOK-23 nbf ahead":           active(m{"nbf": ahead}),
		"TOK-23 iat ahead":           active(m{"iat": ahead}),
		"TOK-23 no sub":              active(m{"sub": nil}),
		"TOK-23 another iss":         active(m{"iss": otherURL}),
		"TOK-23 iss number":          active(m{"iss": 7}),
		"TOK-23 sub number":          active(m{"sub": 7}),
		"TOK-17 no client":           active(m{"client_id": nil}),
		"TOK-23 user name is broken": active(m{"preferred_username": "a\u200bb"}),
	} {
		bubble(t, name, func(t *testing.T, r *rig) {
			r.asked.says(answer)
			r.rejected(opaque, "")
			r.rejected(opaque, "") // from memory
			if n := r.asked.count(); n != 1 {
				t.Errorf("asked %d times", n)
			}
			if _, writes := r.store.counts(); writes > 0 {
				t.Errorf("%d writes to the store", writes)
			}
			r.asked.says(active(nil))
			time.Sleep(5 * time.Second)
			r.accepted(opaque)
		}, asks, func(s *setup) {
			s.first().RequiredClaims = []config.RequiredClaim{{Claim: "client_id", Values: []string{"app"}}}
		})
	}
}

// TestNoAnswer: TOK-24 and what is not an answer.
func TestNoAnswer(t *testing.T) {
	reply := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	to := func(status int, location string) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, location, status) }
	}
	for name, h := range map[string]http.HandlerFunc{
		"TOK-21 a list":             reply(200, "application/json", `[true]`),
		"TOK-21 true":               reply(200, "application/json", `true`),
		"TOK-22 active twice":       reply(200, "application/json", strings.Replace(active(nil), `"active":true`, `"active":false,"active":true`, 1)),
		"TOK-24 500":                reply(500, "text/html", "<b>s3cret</b>"),
		"TOK-24 401":                reply(401, "application/json", `{"error":"invalid_client"}`),
		"TOK-24 201":                reply(201, "application/json", active(nil)),
		"TOK-24 HTML":               reply(200, "text/html", "<html>sign in</html>"),
		"TOK-24 10 MB":              reply(200, "application/json", strings.Repeat(" ", 10<<20)+active(nil)),
		"TOK-24 a signed answer":    reply(200, "application/jwt", good()),
		"TOK-24 empty":              reply(200, "application/json", ""),
		"TOK-24 redirect":           to(302, "https://evil.test/introspect"),
		"TOK-24 redirect with body": to(307, "https://evil.test/introspect"),
		"TOK-24 redirect home":      to(308, idpURL+"/introspect2"),
		"TOK-24 hang-up":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"TOK-24 stall":              func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() },
	} {
		bubble(t, name, func(t *testing.T, r *rig) {
			r.asked.does(h)
			start := time.Now()
			r.unsure(opaque)
			if waited := time.Since(start); waited > verifyTime {
				t.Errorf("waited %v", waited)
			}
			if n := r.seen("evil.test") + r.seen("idp.test/introspect2"); n > 0 {
				t.Errorf("SSRF-08 followed %d times", n)
			}
			if strings.Contains(r.log.String(), "s3cret") || strings.Contains(r.log.String(), opaque) {
				t.Errorf("the log holds a secret: %s", r.log)
			}
			r.asked.says(active(nil))
			r.accepted(opaque) // nothing was remembered
		}, asks)
	}
}

// TestStampede: TOK-26.
func TestStampede(t *testing.T) {
	slow := func(w http.ResponseWriter, req *http.Request) {
		select {
		case <-time.After(2 * time.Second):
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(active(nil)))
		case <-req.Context().Done():
		}
	}
	bubble(t, "TOK-26 a thousand first uses", func(t *testing.T, r *rig) {
		r.asked.does(slow)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if id, err := r.judge(opaque); err != nil || id.Subject != "1001" {
					t.Errorf("%v", err)
				}
			})
		}
		all.Wait()
		if n := r.asked.count(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	}, asks)
	bubble(t, "TOK-26 the first one gives up", func(t *testing.T, r *rig) {
		r.asked.does(slow)
		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := judge(r.b, request("Bearer "+opaque).WithContext(ctx)); !outage(err) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() {
				if _, err := r.judge(opaque); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if n := r.asked.count(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	}, asks)
}

// TestClientAuth: how the gateway proves itself, and how it never does.
func TestClientAuth(t *testing.T) {
	key := rs256()
	der, err := x509.MarshalPKCS8PrivateKey(key.Private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "client.pem")
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	for name, c := range map[string]struct {
		settings config.Introspection
		check    func(t *testing.T, head http.Header, form url.Values)
	}{
		"basic": {config.Introspection{ClientID: "g w:1", ClientSecret: "a+b c%"}, func(t *testing.T, head http.Header, form url.Values) {
			if want := "Basic " + base64.StdEncoding.EncodeToString([]byte("g+w%3A1:a%2Bb+c%25")); head.Get("Authorization") != want || form.Has("client_id") || form.Has("client_secret") {
				t.Errorf("%q %v", head.Get("Authorization"), form)
			}
		}},
		"post": {config.Introspection{ClientID: "gw", ClientSecret: "a+b", ClientAuth: "post"}, func(t *testing.T, head http.Header, form url.Values) {
			if form.Get("client_id") != "gw" || form.Get("client_secret") != "a+b" || head.Get("Authorization") != "" {
				t.Errorf("%v %v", head, form)
			}
		}},
		"privateKeyJWT": {config.Introspection{ClientID: "gw", ClientKeyFile: file, ClientKeyID: "k1"}, func(t *testing.T, head http.Header, form url.Values) {
			parsed, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.RS256})
			if err != nil {
				t.Fatal(err)
			}
			var said jwt.Claims
			if err := parsed.Claims(key.Private.Public(), &said); err != nil {
				t.Fatal(err)
			}
			if said.Issuer != "gw" || said.Subject != "gw" || !said.Audience.Contains(idpURL) || len(said.Audience) != 1 || said.ID == "" || parsed.Headers[0].KeyID != "k1" {
				t.Errorf("%+v", said)
			}
			if form.Get("client_assertion_type") != issuer.AssertionType || form.Get("client_id") != "gw" || form.Has("client_secret") || head.Get("Authorization") != "" {
				t.Errorf("%v %v", head, form)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(s *setup) {
				c.settings.URL = idpURL + "/introspect"
				s.first().Introspection = &c.settings
			})
			r.asked.says(active(nil))
			r.accepted(opaque)
			head, form := r.asked.last()
			if head.Get("Content-Type") != "application/x-www-form-urlencoded" || form.Get("token") != opaque {
				t.Errorf("%v %v", head, form)
			}
			c.check(t, head, form)
		})
	}
}

// TestClientTokens: a program's own token may name the client alone, which is
// somebody only where it is registered.
func TestClientTokens(t *testing.T) {
	registered := func(s *setup) {
		s.deps.Accounts = authn.NewAccounts([]authn.Registration{{Account: authn.Account{Name: "train", Team: "ml"}, Issuer: idpURL, Subject: "app"}}, nil)
	}
	alone := m{"sub": nil, "email": nil, "name": nil, "groups": nil, "preferred_username": nil}
	t.Run("registered", func(t *testing.T) {
		r := newRig(t, asks, registered)
		r.asked.says(active(alone))
		if id := r.accepted(opaque); id.Account.Name != "train" || id.Kind != authn.Service {
			t.Errorf("%+v", id)
		}
		r.asked.says(active(nil))
		if id := r.accepted("a.token.of/a-person"); id.Subject != "1001" || id.Account.Name != "" {
			t.Errorf("a person through that client: %+v", id)
		}
	})
	t.Run("not registered", func(t *testing.T) {
		r := newRig(t, asks)
		r.asked.says(active(alone))
		r.rejected(opaque, "does not say whom")
	})
	for name, id := range map[string]any{"another client": "app2", "number": 7, "absent": nil} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, asks, registered)
			alone["client_id"] = id
			r.asked.says(active(alone))
			r.rejected(opaque, "does not say whom")
		})
	}
}

// TestAnswersOfProviders: what answers say beside RFC 7662's letter.
func TestAnswersOfProviders(t *testing.T) {
	for name, c := range map[string]struct {
		claims m
		good   bool
	}{
		"exp 0 for never":   {m{"exp": 0}, true},
		"nbf 0, iat 0":      {m{"nbf": 0, "iat": 0}, true},
		"Bearer":            {m{"token_type": "bearer"}, true},
		"access_token":      {m{"token_type": "access_token"}, true},
		"a refresh token":   {m{"token_type": "refresh_token"}, false},
		"bound to a key":    {m{"token_type": "DPoP"}, false},
		"exp as text 0":     {m{"exp": "0"}, false},
		"a list of iss":     {m{"iss": []string{idpURL}}, false},
		"a logout's events": {m{"events": m{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, asks)
			r.asked.says(active(c.claims))
			if !c.good {
				r.rejected(opaque, "")
				return
			}
			r.accepted(opaque)
		})
	}
}

// TestCrowdedIntrospection: TOK-27, a flood of tokens is none of questions.
func TestCrowdedIntrospection(t *testing.T) {
	bubble(t, "TOK-27 more tokens at once than questions", func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.asked.does(func(w http.ResponseWriter, req *http.Request) {
			<-release
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(active(nil)))
		})
		var all sync.WaitGroup
		for n := range askAtOnce {
			all.Go(func() {
				if _, err := r.judge(fmt.Sprintf("token.%d", n)); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		synctest.Wait()
		r.unsure("token.more")
		if n := r.asked.count(); n != askAtOnce {
			t.Errorf("asked %d times", n)
		}
		close(release)
		all.Wait()
		r.accepted("token.more")
	}, asks)
}

// TestOpaqueOnly: an issuer may have no keys at all.
func TestOpaqueOnly(t *testing.T) {
	bubble(t, "no jwks_uri", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) {
			f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { delete(d, "jwks_uri") })
		})
		r.asked.says(active(nil))
		r.accepted(opaque)
		if err := r.route.Ready(t.Context()); err != nil {
			t.Errorf("%v", err)
		}
		r.unsure(good())
	}, asks, func(s *setup) { s.settings.Issuers = s.settings.Issuers[:1] })
}
