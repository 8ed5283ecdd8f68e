package bearer

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// TestWhoIsAsked: JWT-44, a token is shown to nobody but who made it.
func TestWhoIsAsked(t *testing.T) {
	both := func(s *setup) {
		s.first().Introspection = &config.Introspection{URL: idpURL + "/introspect", ClientID: "gw", ClientSecret: "x", TokenPrefix: "a_"}
		s.settings.Issuers[1].Introspection = &config.Introspection{URL: otherURL + "/introspect", ClientID: "gw", ClientSecret: "x", TokenPrefix: "a_b_"}
	}
	r := newRig(t, both)
	r.asked.says(active(nil))
	r.hosts["other.test"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"active":true,"sub":"2002","aud":"wandb"}`))
	})
	for token, want := range map[string]string{
		"a_token": idpURL, "a_b_token": otherURL, "a_b": idpURL,
		"a_" + strings.Repeat("x", 60):   idpURL, // it has the length of an API key
		"a_b_" + strings.Repeat("0", 40): otherURL,
	} {
		if id, err := r.judge(token); err != nil || id.Issuer != want {
			t.Errorf("%s: %+v, %v", token, id, err)
		}
	}
	before := r.seen("idp.test/introspect") + r.seen("other.test/introspect")
	for _, token := range []string{"c_token", "b_token", strings.Repeat("a1", 20), "eyJ.a.b.c.d", "gh_at_nobody", zipBomb(), with(m{"iss": "https://evil.test"})} {
		r.rejected(token, "")
	}
	if n := r.seen("idp.test/introspect") + r.seen("other.test/introspect"); n != before {
		t.Errorf("asked about others' tokens: %d", n-before)
	}
	alone := newRig(t, asks)
	alone.asked.says(active(nil))
	alone.accepted("00" + strings.Repeat("aZ-_", 10)) // long, and of no known kind of key
	n := alone.asked.count()
	for _, key := range []string{strings.Repeat("a1", 20), "local-" + strings.Repeat("a1", 20), "wandb_v1_" + strings.Repeat("a", 77), "gatehouse-" + strings.Repeat("aB", 20), "wb_at_abc"} {
		if _, err := alone.route.Authenticator.Authenticate(request("Bearer " + key)); !isAbsent(err) {
			t.Errorf("claimed an API key: %v", err)
		}
	}
	for _, token := range []string{zipBomb(), "a.b.c", "a.b.c.d.e", good() + ".AA.AA", authntest.JWT(foreign(), nil, claims(nil)), with(m{"iss": "https://evil.test"})} {
		alone.rejected(token, "") // JWT-27
	}
	if alone.asked.count() != n {
		t.Error("an API key, or a JWT, was shown to an issuer")
	}
}

// TestSharedResults: what one replica has asked, the next need not, and the store
// tells nobody anything.
func TestSharedResults(t *testing.T) {
	r := newRig(t, asks)
	r.asked.says(active(nil))
	r.accepted(opaque)
	if id, err := judge(r.replica(), request("Bearer "+opaque)); err != nil || !sameIdentity(id, ada()) {
		t.Errorf("%+v, %v", id, err)
	}
	if n := r.asked.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	for _, secret := range []string{opaque, "1001", "ada", "example.com", "admins", idpURL, "s3cret"} {
		if strings.Contains(r.store.dump(), secret) {
			t.Errorf("the store shows %q", secret)
		}
	}
	for name, change := range map[string]func(*setup){
		"audiences":         func(s *setup) { s.first().Audiences = []string{"wandb", "x"} },
		"required claims":   func(s *setup) { s.first().RequiredClaims = []config.RequiredClaim{{Claim: "client_id"}} },
		"claims":            func(s *setup) { s.first().Claims.Username = "upn" },
		"the client":        func(s *setup) { s.first().Introspection.ClientID = "other" },
		"another key ring":  func(s *setup) { s.deps.Keys = ring(t, strings.Repeat("An0therKeyRing", 3)) },
		"who is let in":     func(s *setup) { s.first().AllowedGroups = []string{"admins"} },
		"the subjects kind": func(s *setup) { s.first().Kind = "service" },
	} {
		t.Run("asked anew with other "+name, func(t *testing.T) {
			before := r.asked.count()
			b := r.replica(func(s *setup) {
				in := *s.first().Introspection
				s.first().Introspection = &in
				change(s)
			})
			if _, err := judge(b, request("Bearer "+opaque)); err != nil || r.asked.count() != before+1 {
				t.Errorf("asked %d times, %v", r.asked.count()-before, err)
			}
		})
	}
}

// TestPlanted: who writes to the store can make nobody anybody.
func TestPlanted(t *testing.T) {
	r := newRig(t, asks)
	r.asked.says(active(nil))
	r.accepted(opaque)
	own := r.store.keys("result:")
	if len(own) != 1 {
		t.Fatalf("%v", own)
	}
	record := r.store.data[own[0]]
	r.asked.says(active(m{"sub": "2002"}))
	r.accepted("victim.token")
	var victim string
	for _, key := range r.store.keys("result:") {
		if key != own[0] {
			victim = key
		}
	}
	for name, value := range map[string][]byte{
		"another token's record": record, "cut": record[:len(record)/2], "empty": {}, "a newer version": append([]byte{9}, record[1:]...),
		"nonsense": []byte(strings.Repeat("x", 200)),
	} {
		t.Run(name, func(t *testing.T) {
			if err := r.store.Set(t.Context(), victim, value, time.Minute); err != nil {
				t.Fatal(err)
			}
			before := r.asked.count()
			id, err := judge(r.replica(), request("Bearer victim.token"))
			if err != nil || id.Subject != "2002" || r.asked.count() != before+1 {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

// TestResultsWithoutStore: results are a help and no more.
func TestResultsWithoutStore(t *testing.T) {
	r := newRig(t, asks)
	r.asked.says(active(nil))
	r.store.breaks("*")
	r.accepted(opaque)
	r.logged("what introspection found out is not shared")
	if strings.Contains(r.log.String(), opaque) {
		t.Error("the log has the token")
	}
}

// TestTruncated: TOK-28, a token that is cut or changed is another one.
func TestTruncated(t *testing.T) {
	r := newRig(t, asks)
	r.asked.does(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if req.PostForm.Get("token") == opaque {
			_, _ = w.Write([]byte(active(nil)))
			return
		}
		_, _ = w.Write([]byte(`{"active":false}`))
	})
	r.accepted(opaque)
	for n := 1; n < len(opaque); n++ {
		r.rejected(opaque[:n], "")
	}
	for _, changed := range []string{opaque + "=", opaque + "a", strings.ToUpper(opaque), url.QueryEscape(opaque)} {
		t.Run(fmt.Sprint(len(changed)), func(t *testing.T) {
			if _, err := r.judge(changed); !isRejected(err) {
				t.Errorf("%s: %v", changed, err)
			}
		})
	}
	r.accepted(opaque)
}
