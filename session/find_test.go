package session_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"gatehouse/authn"
	"gatehouse/session"
)

// TestWho: a name is one person's, or nobody's, or it takes an issuer.
func TestWho(t *testing.T) {
	inMemory(t, "one of several", func(t *testing.T, r *rig) {
		register := session.NewRegister(r.store, keyring(t, origin, key), nil, idle)
		for _, id := range []authn.Identity{
			{Issuer: "https://a.test", Subject: "1", Username: "ada"},
			{Issuer: "https://a.test", Subject: "2", Username: "ben", Email: "1"}, // goes by another's subject
			{Issuer: "https://b.test", Subject: "9", Username: "Ada"},
		} {
			id.Kind, id.Route = authn.Person, "okta"
			r.signIn(t, authn.Proof{Identity: id})
		}
		for _, tt := range []struct {
			name, issuer string
			want         session.Person
			found        bool
			several      int
		}{
			{name: "ben", want: session.Person{Issuer: "https://a.test", Subject: "2"}, found: true},
			{name: "ada", several: 2},
			{name: "ada", issuer: "https://b.test", want: session.Person{Issuer: "https://b.test", Subject: "9"}, found: true},
			{name: "1", several: 2},
			{name: "1", issuer: "https://a.test", want: session.Person{Issuer: "https://a.test", Subject: "1"}, found: true},
			{name: "carol"},
			{name: "carol", issuer: "https://a.test", want: session.Person{Issuer: "https://a.test", Subject: "carol"}, found: true},
		} {
			p, found, err := register.Who(t.Context(), tt.name, tt.issuer)
			var several *session.Several
			if errors.As(err, &several) != (tt.several > 0) || tt.several > 0 && len(several.People) != tt.several {
				t.Errorf("%s of %s: %v", tt.name, tt.issuer, err)
			}
			if found != tt.found || found && p != tt.want {
				t.Errorf("%s of %q is %v, %t", tt.name, tt.issuer, p, found)
			}
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, found, err := register.Who(over, "ben", "https://a.test"); err == nil || found {
			t.Errorf("found while the store can't be asked: %v", err)
		}
	})
}

// TestEndOthers: one goes on, and the others are named.
func TestEndOthers(t *testing.T) {
	inHouse(t, "but one", func(t *testing.T, h *house) {
		alice := session.PersonOf(person("alice").Identity)
		here := h.signIn(t, person("alice"))
		kept := h.list(t, "alice")[0].ID
		there, bob := h.signIn(t, person("alice")), h.signIn(t, person("bob"))
		ended, err := h.register.EndOthers(t.Context(), alice, kept)
		if err != nil || len(ended) != 1 || slices.Contains(ended, kept) {
			t.Fatalf("ended %v, %v", ended, err)
		}
		soon(t, "the other is over on all replicas", func() bool { return !h.in(h.one, there) && !h.in(h.two, there) })
		if !h.in(h.one, here) || !h.in(h.two, here) || !h.in(h.one, bob) {
			t.Error("who was to stay is out")
		}
	})
}

// TestEndOne: of that person and no other, and again after a failure.
func TestEndOne(t *testing.T) {
	inMemory(t, "one", func(t *testing.T, r *rig) {
		register := session.NewRegister(r.store, keyring(t, origin, key), nil, idle)
		alice, bob := session.PersonOf(person("alice").Identity), session.PersonOf(person("bob").Identity)
		cookie := r.signIn(t, person("alice"))
		list, err := register.Of(t.Context(), alice)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		for _, tt := range []struct {
			p  session.Person
			id string
		}{{bob, list[0].ID}, {alice, list[0].ID[1:]}, {alice, "x"}, {alice, ""}} {
			if had, err := register.EndOne(t.Context(), tt.p, tt.id); had || err != nil {
				t.Errorf("%q of %v: %t, %v", tt.id, tt.p, had, err)
			}
		}
		r.accepted(t, r.one, "alice-1", cookie)
		r.store.fail("delete", errDown)
		if _, err := register.EndOne(t.Context(), alice, list[0].ID); err == nil {
			t.Error("no error while the store is down")
		}
		r.store.fail("", nil)
		if had, err := register.EndOne(t.Context(), alice, list[0].ID); !had || err != nil {
			t.Errorf("tried again: %t, %v", had, err)
		}
		if _, err := r.one.Authenticate(request(cookie)); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("it goes on: %v", err)
		}
	})
	inHouse(t, "what could not be told is told when tried again", func(t *testing.T, h *house) {
		alice := session.PersonOf(person("alice").Identity)
		for what, end := range map[string]func(id string) error{
			"by its id": func(id string) error {
				had, err := h.register.EndOne(t.Context(), alice, id)
				if !had && err == nil {
					err = errors.New("it is theirs no more")
				}
				return err
			},
			"all": func(string) error { _, err := endAll(t.Context(), h.register, alice); return err },
		} {
			cookie := h.signIn(t, person("alice"))
			h.accepted(t, h.two, "alice-1", cookie)
			id := h.list(t, "alice")[0].ID
			h.store.fail("publish", errDown)
			if err := end(id); !errors.Is(err, errDown) {
				t.Fatalf("%s: %v", what, err)
			}
			h.store.fail("", nil)
			if err := end(id); err != nil {
				t.Errorf("%s, tried again: %v", what, err)
			}
			soon(t, what+": over on the other replica", func() bool { return !h.in(h.two, cookie) })
		}
	})
}
