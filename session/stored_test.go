package session_test

import (
	"encoding/json/v2"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/session"
)

// kept is what a gateway of an earlier version has left in the store, and what it has
// given away. It was made at the time at which a bubble begins.
type kept struct {
	Cookie  string                       `json:"cookie"`
	Token   string                       `json:"token"`
	Values  map[string][]byte            `json:"values"`
	Indexes map[string]map[string][]byte `json:"indexes"`
}

// ada is who has signed in there.
func ada() authn.Proof {
	begun := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return authn.Proof{
		Identity: authn.Identity{
			Issuer: "https://idp.example.com", Subject: "00u1a2b3c4", Kind: authn.Person, Username: "ada", Name: "Ada Lövelace", Email: "ada@example.com",
			Route: "okta", Groups: []string{"engineering", ""}, Teams: []string{"vision"}, Claims: map[string][]string{"dept": {"a", "b"}, "site": {"x"}},
			AuthTime: begun, Expires: begun.Add(time.Hour),
		},
		Grant: []byte(`{"r":"rt-0"}`), RenewAt: begun.Add(50 * time.Minute), SID: "provider-session", IssuedAt: begun,
	}
}

// TestStoredByFormerVersions: what is in testdata stays readable. Where it can't, the
// version of records must change, so that an upgrade logs nobody out by accident.
func TestStoredByFormerVersions(t *testing.T) {
	text, err := os.ReadFile("testdata/store-1.json")
	if err != nil {
		t.Fatal(err)
	}
	var was kept
	if err := json.Unmarshal(text, &was); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, session.NewMemory())
		defer r.close()
		for key, value := range was.Values {
			err = errors.Join(err, r.store.Set(t.Context(), key, value, time.Hour))
		}
		for index, members := range was.Indexes {
			for member, value := range members {
				err = errors.Join(err, r.store.Enter(t.Context(), index, member, value, time.Hour))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		register := session.NewRegister(r.store, keyring(t, origin, key), nil, idle)
		tokens := session.NewTokens(r.store, keyring(t, origin, key), register)
		cookie := &http.Cookie{Name: cookieName, Value: was.Cookie}

		id := r.accepted(t, r.one, "00u1a2b3c4", cookie)
		id.Access = ""
		if d := cmp.Diff(ada().Identity, id); d != "" {
			t.Error(d)
		}
		who, note, err := tokens.Find(t.Context(), was.Token)
		if err != nil || who.Subject != "00u1a2b3c4" || note != "a note" {
			t.Errorf("the token: %+v, %q, %v", who, note, err)
		}
		for _, name := range []string{"ada", "ADA@example.com", "00u1a2b3c4"} {
			if p, found, err := register.Who(t.Context(), name, ""); !found || err != nil || p != session.PersonOf(id) {
				t.Errorf("%s: %v, %t, %v", name, p, found, err)
			}
		}
		if list, err := register.Of(t.Context(), session.PersonOf(id)); len(list) != 2 || err != nil {
			t.Errorf("listed: %+v, %v", list, err)
		}
		if n, err := r.two.EndSessions(t.Context(), authn.Logout{Issuer: id.Issuer, SID: "provider-session", At: time.Now()}); n != 1 || err != nil {
			t.Errorf("by the provider: %d, %v", n, err)
		}
		if err := r.store.Set(t.Context(), sole(t, was.Values, "session:"), was.Values[sole(t, was.Values, "session:")], time.Hour); err != nil {
			t.Fatal(err)
		}
		p, found, err := r.one.End(httptest.NewRecorder(), request(cookie))
		if !found || err != nil || string(p.Grant) != string(ada().Grant) {
			t.Errorf("the grant: %q, %t, %v", p.Grant, found, err)
		}
		if n, err := endAll(t.Context(), register, session.PersonOf(id)); n != 1 || err != nil {
			t.Errorf("ended %d, %v", n, err)
		}
	})
}

// sole is the one key that begins so.
func sole(t *testing.T, values map[string][]byte, prefix string) string {
	t.Helper()
	for key := range values {
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			return key
		}
	}
	t.Fatal("none begins with ", prefix)
	return ""
}
