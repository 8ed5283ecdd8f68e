package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/session"
)

// trail is an audit trail that a test reads, or that can't be written.
type trail struct {
	told []string
	full bool
}

func (tr *trail) Record(e audit.Event) error {
	if tr.full {
		return audit.ErrUnwritten
	}
	tr.told = append(tr.told, e.Name+" "+e.Outcome+" "+e.Subject+e.OfSubject)
	return nil
}

// TestTrail: what begins and ends is told once, and what can't be told does not begin.
func TestTrail(t *testing.T) {
	tr := &trail{}
	audited := func(o *session.Options) {
		o.Register = session.NewRegister(o.Store, o.Keys, nil, o.IdleTimeout).Audited(tr)
	}
	inMemory(t, "a session ends once", func(t *testing.T, r *rig) {
		*tr = trail{}
		cookie := r.signIn(t, person("alice"))
		for range 3 {
			if _, _, err := r.one.End(httptest.NewRecorder(), request(cookie)); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(tr.told, ", "); got != "sign-in allowed alice-1, session-end allowed alice-1" {
			t.Errorf("the trail: %s", got)
		}
	}, audited)
	for name, start := range map[string]func(r *rig, old *http.Cookie) error{
		"somebody else signs in over a session": func(r *rig, old *http.Cookie) error {
			return r.one.Start(httptest.NewRecorder(), request(old), person("bob"), r.one.Former(request(old))...)
		},
		"and comes back without its cookie": func(r *rig, old *http.Cookie) error {
			return r.one.Start(httptest.NewRecorder(), request(), person("bob"), r.one.Former(request(old))...)
		},
	} {
		inMemory(t, name, func(t *testing.T, r *rig) {
			*tr = trail{}
			if err := start(r, r.signIn(t, person("alice"))); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(tr.told, ", "); got != "sign-in allowed alice-1, sign-in allowed bob-1, session-end allowed alice-1" {
				t.Errorf("the trail: %s", got)
			}
			nobody(t, r.store)
		}, audited)
	}
	inMemory(t, "a sign-in that the provider has ended meanwhile", func(t *testing.T, r *rig) {
		*tr = trail{}
		p := person("alice")
		p.IssuedAt = time.Now().Add(-time.Second)
		if _, err := r.two.EndSessions(t.Context(), authn.Logout{Issuer: p.Identity.Issuer, Subject: p.Identity.Subject, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if err := r.one.Start(httptest.NewRecorder(), request(), p); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("%v", err)
		}
		if len(tr.told) > 0 {
			t.Errorf("the trail: %q", tr.told)
		}
	}, audited)
	inMemory(t, "no session without a line", func(t *testing.T, r *rig) {
		*tr = trail{full: true}
		w := httptest.NewRecorder()
		if err := r.one.Start(w, request(), person("alice")); !errors.Is(err, audit.ErrUnwritten) || len(w.Header()["Set-Cookie"]) > 0 {
			t.Errorf("%v, %v", err, w.Header())
		}
		nobody(t, r.store)
	}, audited)
	inMemory(t, "no token without a line", func(t *testing.T, r *rig) {
		*tr = trail{full: true}
		keys, err := session.NewKeyring(origin, []string{key})
		if err != nil {
			t.Fatal(err)
		}
		tokens := session.NewTokens(r.store, keys, session.NewRegister(r.store, keys, nil, idle).Audited(tr))
		if token, err := tokens.Issue(t.Context(), person("alice").Identity, "", session.Client{}, lifetime); !errors.Is(err, audit.ErrUnwritten) || token != "" {
			t.Errorf("%v, %q", err, token)
		}
		nobody(t, r.store)
	}, audited)
}

// nobody checks that nobody has anything in the store.
func nobody(t *testing.T, store session.Store) {
	t.Helper()
	keys, err := session.NewKeyring(origin, []string{key})
	if err != nil {
		t.Fatal(err)
	}
	all, err := session.NewRegister(store, keys, nil, idle).Of(t.Context(), session.PersonOf(person("alice").Identity))
	if len(all) > 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}
