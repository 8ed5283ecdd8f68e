package bearer

import (
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// sends makes requests with one Authorization header.
func sends(authorization string) func() *http.Request {
	return func() *http.Request { return request(authorization) }
}

func want() authn.Identity {
	return authn.Identity{Issuer: idpURL, Subject: "1001", Route: "robots", Kind: authn.Person}
}

func absent() map[string]func() *http.Request {
	return map[string]func() *http.Request{
		"another issuer's JWT": sends("Bearer " + with(m{"iss": "https://evil.test"})),
		"an API key":           sends("Bearer wandb_v1_" + "0123456789012345678901234567890123456789"),
		"a person's password":  sends("Basic " + base64.StdEncoding.EncodeToString([]byte("ada:correct horse"))),
		"nothing Basic":        sends("Basic Og=="),
		"another scheme":       sends("Negotiate YII="),
	}
}

func TestContractJWT(t *testing.T) {
	r := newRig(t)
	r.other.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Unavailable })
	c := authntest.Cases{
		Good: sends("Bearer " + good()), Want: want(), Absent: absent(),
		Bad: map[string]func() *http.Request{
			"two":           func() *http.Request { return request("Bearer "+good(), "Bearer "+good()) },
			"no token":      sends("Bearer"),
			"encrypted":     sends("Bearer " + zipBomb()),
			"wrong kind":    sends("Bearer " + authntest.JWT(es256(), m{"typ": "logout+jwt"}, claims(nil))),
			"a foreign key": sends("Bearer " + authntest.JWT(foreign(), m{"kid": es256().ID}, claims(nil))),
			"expired":       sends("Bearer " + with(m{"exp": time.Now().Add(-time.Hour).Unix()})),
			"for others":    sends("Bearer " + with(m{"aud": "other"})),
		},
		Unsure: map[string]func() *http.Request{
			"no keys": sends("Bearer " + authntest.JWT(es256b(), nil, claims(m{"iss": otherURL}))),
		},
	}
	authntest.Contract(t, r.route.Authenticator, c)
}

func TestContractIssued(t *testing.T) {
	r := newRig(t)
	token, ended := r.issue(good()), r.issue(good())
	r.post("/.gatehouse/revoke", "token="+ended)
	c := authntest.Cases{
		Good: sends("Bearer " + token), Want: want(), Absent: absent(),
		Bad: map[string]func() *http.Request{
			"revoked": sends("Bearer " + ended), "cut": sends("Bearer " + token[:len(token)-1]), "longer": sends("Bearer " + token + "A"), "nobody's": sends("Bearer gh_at_"),
		},
	}
	authntest.Contract(t, r.route.Authenticator, c)
	r.store.breaks("get")
	if _, err := judge(r.replica(), request("Bearer "+token)); !outage(err) {
		t.Errorf("without the store: %v", err)
	}
}

func TestContractOpaque(t *testing.T) {
	r := newRig(t, asks, func(s *setup) {
		in := *s.first().Introspection
		s.first().Introspection = &in
		in.TokenPrefix = "at."
		s.settings.Issuers[1].Introspection = &config.Introspection{URL: otherURL + "/introspect", ClientID: "gw", ClientSecret: "x", TokenPrefix: "other."}
	})
	r.asked.does(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if req.PostForm.Get("token") == "at.good" {
			_, _ = w.Write([]byte(active(nil)))
			return
		}
		_, _ = w.Write([]byte(`{"active":false}`))
	})
	c := authntest.Cases{
		Good: sends("Bearer at.good"), Want: want(), Absent: absent(),
		Bad:    map[string]func() *http.Request{"revoked": sends("Bearer at.revoked"), "cut": sends("Bearer at.goo")},
		Unsure: map[string]func() *http.Request{"an issuer without an answer": sends("Bearer other.token")},
	}
	c.Absent["of no issuer"] = sends("Bearer nobodys")
	authntest.Contract(t, r.route.Authenticator, c)
}
