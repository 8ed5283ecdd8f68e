package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

// house is two replicas that hear of each other, with what they share.
type house struct {
	*rig
	keys     session.Keyring
	register *session.Register // of an operator, who hears nothing
	tokens   session.Tokens
}

// inHouse runs f over both stores, where both replicas remember sessions for 30 seconds.
func inHouse(t *testing.T, name string, f func(t *testing.T, h *house)) {
	t.Helper()
	t.Run(name+" (memory)", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, newHouse(t, session.NewMemory())) })
	})
	t.Run(name+" (redis)", func(t *testing.T) {
		f(t, newHouse(t, startRedis(t).open(t)))
	})
}

func newHouse(t *testing.T, store session.Store, keys ...string) *house {
	t.Helper()
	if keys == nil {
		keys = []string{key}
	}
	h := &house{rig: newRig(t, store), keys: keyring(t, origin, keys...)}
	h.rig.one.Close()
	h.rig.two.Close()
	h.register = session.NewRegister(h.store, h.keys, session.NewNews(h.store, nil), idle)
	h.tokens = session.NewTokens(h.store, h.keys, h.register)
	h.one, _ = h.replica(t)
	h.two, _ = h.replica(t)
	t.Cleanup(func() { h.store.Close() })
	return h
}

func (h *house) replica(t *testing.T, changes ...func(*session.Options)) (*session.Sessions, *session.News) {
	t.Helper()
	news := session.NewNews(h.store, nil)
	o := session.Options{
		Store: h.store, Keys: h.keys, Cookie: session.NewCookie("gatehouse", "", true), Lifetime: lifetime, IdleTimeout: idle,
		Renew: h.provider.renew, Register: session.NewRegister(h.store, h.keys, news, idle), Remember: 30 * time.Second,
	}
	for _, change := range changes {
		change(&o)
	}
	s := session.New(o)
	news.Start()
	t.Cleanup(func() { s.Close(); news.Close() })
	soon(t, "the replica hears", func() bool { return news.Holds(news.Edition()) })
	return s, news
}

// soon waits until something is so.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 2000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("never: ", what)
}

func (h *house) in(s *session.Sessions, cookies ...*http.Cookie) bool {
	_, err := s.Authenticate(request(cookies...))
	return err == nil
}

func (h *house) list(t *testing.T, name string) []session.Access {
	t.Helper()
	list, err := h.register.Of(t.Context(), session.PersonOf(person(name).Identity))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestPlantedCookie: a session inside of another cookie, which any neighbouring host can
// set, is none, though it is one that the replica remembers.
func TestPlantedCookie(t *testing.T) {
	inHouse(t, "planted", func(t *testing.T, h *house) {
		mallory := h.signIn(t, person("mallory"))
		h.accepted(t, h.one, "mallory-1", mallory)
		h.accepted(t, h.one, "mallory-1", mallory)
		cookie := mallory.Name + "=" + mallory.Value
		for _, line := range []string{"a=b " + cookie, "a " + cookie, "theme=dark; lang=de " + cookie + "; z=1", " x=" + cookie, "a=b,\t" + cookie} {
			r := request()
			r.Header.Set("Cookie", line)
			if id, err := h.one.Authenticate(r); !errors.Is(err, authn.ErrNoCredential) {
				t.Errorf("%.30q is %q, %v", line, id.Subject, err)
			}
		}
	})
}

// TestRemembered: a session that was seen costs no command, and is forgotten at once by
// both replicas when it ends, whoever ends it and how.
func TestRemembered(t *testing.T) {
	alicePerson := session.PersonOf(person("alice").Identity)
	for what, end := range map[string]func(t *testing.T, h *house, alice *http.Cookie) error{
		"signed out": func(_ *testing.T, h *house, alice *http.Cookie) error {
			_, _, err := h.one.End(httptest.NewRecorder(), request(alice))
			return err
		},
		"ended by its id": func(t *testing.T, h *house, _ *http.Cookie) error {
			return h.register.End(t.Context(), alicePerson, h.list(t, "alice")[0].ID)
		},
		"all of hers": func(t *testing.T, h *house, _ *http.Cookie) error {
			n, err := endAll(t.Context(), h.register, alicePerson)
			if n != 1 {
				t.Errorf("endAll = %d", n)
			}
			return err
		},
		"another sign-in in the same browser": func(t *testing.T, h *house, alice *http.Cookie) error {
			return h.one.Start(httptest.NewRecorder(), request(alice), person("bob"))
		},
		"a sign-in that came back without the cookie": func(t *testing.T, h *house, alice *http.Cookie) error {
			return h.one.Start(httptest.NewRecorder(), request(), person("alice"), h.two.Former(request(alice))...)
		},
		"by the provider": func(t *testing.T, h *house, _ *http.Cookie) error {
			n, err := h.two.EndSessions(t.Context(), authn.Logout{Issuer: alicePerson.Issuer, Subject: alicePerson.Subject, At: time.Now()})
			if n != 1 {
				t.Errorf("EndSessions = %d", n)
			}
			return err
		},
	} {
		inHouse(t, what, func(t *testing.T, h *house) {
			alice, bob := h.signIn(t, person("alice")), h.signIn(t, person("bob"))
			for _, s := range []*session.Sessions{h.one, h.two} {
				h.accepted(t, s, "alice-1", alice)
				h.accepted(t, s, "bob-1", bob)
			}
			h.store.since()
			for range 1000 {
				h.accepted(t, h.one, "alice-1", alice)
				h.accepted(t, h.two, "alice-1", alice)
			}
			if c := h.store.since(); len(c) > 4 { // each replica notes that she was seen
				t.Errorf("2000 requests cost %d commands, for instance %s", len(c), c[0])
			}
			if err := end(t, h, alice); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			soon(t, "ended on both replicas", func() bool { return !h.in(h.one, alice) && !h.in(h.two, alice) })
			if took := time.Since(begun); took > 100*time.Millisecond {
				t.Errorf("SES-30 ended everywhere after %v only", took)
			}
			h.accepted(t, h.one, "bob-1", bob)
			if what != "a sign-in that came back without the cookie" && len(h.list(t, "alice")) != 0 {
				t.Errorf("still listed: %+v", h.list(t, "alice"))
			}
		})
	}
}

// TestRememberedBound: RDS-13, what was not told holds for 30 seconds and no longer; and
// what can't be told, not at all.
func TestRememberedBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, session.NewMemory())
		alice := h.signIn(t, person("alice"))
		h.accepted(t, h.two, "alice-1", alice)
		if err := h.store.Store.Delete(t.Context(), h.store.record(t)); err != nil { // behind everybody's back
			t.Fatal(err)
		}
		time.Sleep(30*time.Second - time.Millisecond)
		h.accepted(t, h.two, "alice-1", alice)
		time.Sleep(time.Millisecond)
		h.rejected(t, h.two, alice)
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, session.NewMemory())
		brief, _ := h.replica(t, func(o *session.Options) { o.IdleTimeout, o.Remember = 20*time.Second, 10*time.Minute })
		alice := h.signIn(t, person("alice"))
		for range 30 {
			h.accepted(t, brief, "alice-1", alice)
			time.Sleep(19 * time.Second)
		}
		h.accepted(t, brief, "alice-1", alice)
		time.Sleep(20 * time.Second)
		h.rejected(t, brief, alice) // idle, though it might be remembered for longer
	})
	s := startRedis(t)
	h := newHouse(t, s.open(t))
	alice := h.signIn(t, person("alice"))
	h.accepted(t, h.two, "alice-1", alice)
	if err := s.raw.Do(t.Context(), "client", "kill", "type", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	s.raw.Del(t.Context(), s.keysLike(t, "gatehouse:session:")...)
	soon(t, "a replica that is told nothing asks", func() bool { return !h.in(h.two, alice) })
}

// TestRememberedOutage: RDS-01, sessions that were seen go on for a while without the
// store, but none that ended.
func TestRememberedOutage(t *testing.T) {
	s := startRedis(t)
	h := newHouse(t, s.open(t))
	alice, bob, carol := h.signIn(t, person("alice")), h.signIn(t, person("bob")), h.signIn(t, person("carol"))
	h.accepted(t, h.one, "alice-1", alice)
	h.accepted(t, h.one, "bob-1", bob)
	if _, err := endAll(t.Context(), h.register, session.PersonOf(person("bob").Identity)); err != nil {
		t.Fatal(err)
	}
	soon(t, "bob is out", func() bool { return !h.in(h.one, bob) })
	s.stop()
	h.accepted(t, h.one, "alice-1", alice)
	h.outage(t, h.one, carol) // who was not seen
	if h.in(h.one, bob) {
		t.Error("who was signed out is in again")
	}
}

// TestRegister: what is told of a session and of a token.
func TestRegister(t *testing.T) {
	inHouse(t, "a person's", func(t *testing.T, h *house) {
		p := person("alice")
		p.Identity.Email, p.Identity.Name = "Alice@example.com", "Alice"
		r := request()
		r.RemoteAddr = "192.0.2.7:50321" // the port tells nobody anything
		r.Header.Set("User-Agent", "Firefox \xff"+strings.Repeat("x", 1000))
		w := httptest.NewRecorder()
		if err := h.one.Start(w, r, p); err != nil {
			t.Fatal(err)
		}
		token, err := h.tokens.Issue(t.Context(), p.Identity, "", session.Client{Address: "192.0.2.8", Agent: "wandb-core"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		h.signIn(t, person("bob"))
		list := h.list(t, "alice")
		if len(list) != 2 {
			t.Fatalf("%+v", list)
		}
		slices.SortFunc(list, func(a, b session.Access) int { return strings.Compare(a.Kind, b.Kind) })
		if a := list[0]; a.Kind != session.AccessSession || a.Address != "192.0.2.7" || !strings.HasPrefix(a.Agent, "Firefox xxx") || len(a.Agent) > 512 ||
			a.Email != "Alice@example.com" || a.Route != "okta" || time.Since(a.Since) > time.Minute || time.Until(a.Ends) < lifetime-time.Minute {
			t.Errorf("%+v", a)
		}
		if a := list[1]; a.Kind != session.AccessToken || a.Agent != "wandb-core" || time.Until(a.Ends) > time.Hour {
			t.Errorf("%+v", a)
		}
		for _, name := range []string{"alice", "ALICE-1", " alice@EXAMPLE.com"} {
			if found, err := h.register.Find(t.Context(), name); err != nil || len(found) != 1 || found[0] != session.PersonOf(p.Identity) {
				t.Errorf("Find(%q) = %v, %v", name, found, err)
			}
		}
		if found, err := h.register.Find(t.Context(), "Alice"+"x"); err != nil || len(found) != 0 {
			t.Errorf("%v, %v", found, err)
		}
		people := 0
		if err := h.register.Everybody(t.Context(), func([]session.Access) bool { people++; return true }); err != nil || people != 2 {
			t.Errorf("%d people, %v", people, err)
		}
		if err := h.register.End(t.Context(), session.PersonOf(p.Identity), "session:x"); err == nil {
			t.Error("what is no id is ended")
		}
		if n, err := endAll(t.Context(), h.register, session.PersonOf(p.Identity)); n != 2 || err != nil {
			t.Errorf("endAll = %d, %v", n, err)
		}
		if _, _, err := h.tokens.Find(t.Context(), token); !errors.Is(err, authn.ErrRejected) {
			t.Errorf("the token: %v", err)
		}
	})
	inMemory(t, "what is idle is not listed", func(t *testing.T, r *rig) {
		register := session.NewRegister(r.store, keyring(t, origin, key), nil, idle)
		alice := r.signIn(t, person("alice"))
		r.signIn(t, person("alice"))
		for range 70 {
			time.Sleep(time.Minute)
			r.accepted(t, r.one, "alice-1", alice)
		}
		synctest.Wait()
		list, err := register.Of(t.Context(), session.PersonOf(person("alice").Identity))
		if err != nil || len(list) != 1 || time.Since(list[0].Seen) > 2*time.Minute {
			t.Errorf("%+v, %v", list, err)
		}
	})
	inMemory(t, "RDS-12 what a store has lost is listed again once it is used", func(t *testing.T, r *rig) {
		register := session.NewRegister(r.store, keyring(t, origin, key), nil, idle)
		alice, p := r.signIn(t, person("alice")), session.PersonOf(person("alice").Identity)
		lose := func() {
			for _, prefix := range []string{"person:", "name:"} {
				err := r.store.Indexes(t.Context(), prefix, func(index string) bool {
					members, err := r.store.Members(t.Context(), index)
					if err := errors.Join(err, r.store.Leave(t.Context(), index, slices.Collect(maps.Keys(members))...)); err != nil {
						t.Error(err)
					}
					return true
				})
				if err != nil {
					t.Error(err)
				}
			}
		}
		lose()
		time.Sleep(2 * time.Minute)
		r.accepted(t, r.one, "alice-1", alice)
		synctest.Wait()
		if found, err := register.Find(t.Context(), "alice"); len(found) != 1 || err != nil {
			t.Errorf("found %v, %v", found, err)
		}
		lose()
		time.Sleep(2 * time.Minute)
		r.accepted(t, r.two, "alice-1", alice)
		synctest.Wait()
		if n, err := endAll(t.Context(), register, p); n != 1 || err != nil {
			t.Errorf("ended %d, %v", n, err)
		}
		r.rejected(t, r.one, alice)
		if list, err := register.Of(t.Context(), p); len(list) != 0 || err != nil {
			t.Errorf("listed: %+v, %v", list, err)
		}
	})
	inMemory(t, "a use that is noted late lists nothing again", func(t *testing.T, r *rig) {
		register := session.NewRegister(r.store, keyring(t, origin, key), nil, idle)
		alice, p := r.signIn(t, person("alice")), session.PersonOf(person("alice").Identity)
		time.Sleep(2 * time.Minute)
		r.store.slow("touch", time.Second)
		r.accepted(t, r.one, "alice-1", alice)
		if _, err := endAll(t.Context(), register, p); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if list, err := register.Of(t.Context(), p); len(list) != 0 || err != nil {
			t.Errorf("listed: %+v, %v", list, err)
		}
	})
	inMemory(t, "who reads the store learns nothing", func(t *testing.T, r *rig) {
		p := person("alice")
		p.SID = "provider-session"
		r.signIn(t, p)
		err := r.store.Indexes(t.Context(), "", func(string) bool { return true })
		if err == nil {
			t.Error("an empty prefix is taken")
		}
		n := 0
		for _, prefix := range []string{"person:", "name:", "sid:"} {
			err := r.store.Indexes(t.Context(), prefix, func(index string) bool {
				members, err := r.store.Members(t.Context(), index)
				if err != nil {
					t.Error(err)
				}
				for member, value := range members {
					n++
					for _, word := range []string{"alice", "okta", "provider-session", "idp.example"} {
						if strings.Contains(index+member+string(value), word) {
							t.Errorf("%s in %s", word, index)
						}
					}
				}
				return true
			})
			if err != nil {
				t.Error(err)
			}
		}
		if n != 4 {
			t.Errorf("%d entries", n)
		}
	})
}

// TestRegisterKeys: SES-22, what was entered under a former key of the ring is found.
func TestRegisterKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const next = "QW5vdGhlciBrZXkgZm9yIHRlc3RzIG9ubHksIHllcz8="
		before := newHouse(t, session.NewMemory())
		p := person("alice")
		p.SID = "one"
		before.signIn(t, p)
		after := session.NewRegister(before.store, keyring(t, origin, next, key), nil, idle)
		person := session.PersonOf(p.Identity)
		if found, err := after.Find(t.Context(), "alice"); len(found) != 1 || err != nil {
			t.Errorf("%v, %v", found, err)
		}
		if list, err := after.Of(t.Context(), person); len(list) != 1 || err != nil {
			t.Errorf("%v, %v", list, err)
		}
		if n, err := endAll(t.Context(), after, person); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		alone := session.NewRegister(before.store, keyring(t, origin, next), nil, idle)
		before.signIn(t, p)
		if list, err := alone.Of(t.Context(), person); len(list) != 0 || err != nil {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// TestEndingRace: whatever is made while a person's accesses are being ended is ended, or
// was not made.
func TestEndingRace(t *testing.T) {
	s := startRedis(t)
	h := newHouse(t, s.open(t))
	alice := session.PersonOf(person("alice").Identity)
	for range 30 {
		var all sync.WaitGroup
		made := make(chan *http.Cookie, 20)
		for range 20 {
			all.Go(func() {
				w := httptest.NewRecorder()
				if err := h.one.Start(w, request(), person("alice")); err == nil {
					made <- w.Result().Cookies()[0]
				}
			})
		}
		all.Go(func() {
			if _, err := endAll(context.Background(), h.register, alice); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		close(made)
		listed := len(h.list(t, "alice"))
		alive := 0
		for c := range made {
			if h.in(h.two, c) {
				alive++
			}
		}
		if alive != listed {
			t.Fatalf("%d sessions are alive, and %d listed", alive, listed)
		}
		if _, err := endAll(t.Context(), h.register, alice); err != nil {
			t.Fatal(err)
		}
		if left := len(s.keysLike(t, "gatehouse:session:")); left != 0 {
			t.Fatalf("%d records are left", left)
		}
	}
}

// TestLogoutsOutOfOrder: an earlier logout that comes late does not take back a later one.
func TestLogoutsOutOfOrder(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for name, order := range map[string][]time.Duration{"in order": {-5, 0}, "late": {0, -5}, "again": {0, 0}, "twice late": {-7, 0, -5, -6}} {
		inHouse(t, name, func(t *testing.T, h *house) {
			for _, ago := range order {
				l := authn.Logout{Issuer: person("bob").Identity.Issuer, Subject: "bob-1", At: now.Add(ago * time.Second)}
				if _, err := h.two.EndSessions(t.Context(), l); err != nil {
					t.Fatal(err)
				}
			}
			for vouched, in := range map[time.Duration]bool{-6: false, -2: false, 0: false, 1: true} {
				p := person("bob")
				p.IssuedAt = now.Add(vouched * time.Second)
				err := h.one.Start(httptest.NewRecorder(), request(), p)
				if in && err != nil || !in && !errors.Is(err, authn.ErrRejected) {
					t.Errorf("vouched for at %d: %v", vouched, err)
				}
			}
		})
	}
}

// TestEndSessions: what a provider ends.
func TestEndSessions(t *testing.T) {
	issuer := person("alice").Identity.Issuer
	with := func(name, sid string, issued time.Time) authn.Proof {
		p := person(name)
		p.SID, p.IssuedAt = sid, issued
		return p
	}
	inHouse(t, "by its own session", func(t *testing.T, h *house) {
		now := time.Now()
		one, two, bob := h.signIn(t, with("alice", "s1", now)), h.signIn(t, with("alice", "s2", now)), h.signIn(t, with("bob", "s3", now))
		for sid, want := range map[string]int{"": -1, "s9": 0, "s1": 1} {
			n, err := h.two.EndSessions(t.Context(), authn.Logout{Issuer: issuer, SID: sid, At: now})
			if n != max(want, 0) || (err != nil) != (want < 0) {
				t.Errorf("%q: %d, %v", sid, n, err)
			}
		}
		if n, err := h.two.EndSessions(t.Context(), authn.Logout{Issuer: "https://other.example.com", SID: "s2", Subject: "alice-1", At: now}); n != 0 || err != nil {
			t.Errorf("LGO-15 of another issuer: %d, %v", n, err)
		}
		soon(t, "one is over", func() bool { return !h.in(h.one, one) })
		h.accepted(t, h.one, "alice-1", two)
		h.accepted(t, h.one, "bob-1", bob)
	})
	inHouse(t, "LGO-17 while somebody signs in", func(t *testing.T, h *house) {
		now := time.Now()
		if _, err := h.two.EndSessions(t.Context(), authn.Logout{Issuer: issuer, SID: "s1", At: now}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.two.EndSessions(t.Context(), authn.Logout{Issuer: issuer, Subject: "bob-1", At: now}); err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			proof authn.Proof
			ok    bool
		}{
			"the session that is over": {with("alice", "s1", now.Add(time.Second)), false}, "another": {with("alice", "s2", now.Add(-time.Second)), true},
			"vouched for before": {with("bob", "b1", now.Add(-time.Second)), false}, "vouched for since": {with("bob", "b1", now.Add(time.Second)), true},
			"without a time": {with("bob", "b1", time.Time{}), true},
		} {
			w := httptest.NewRecorder()
			err := h.one.Start(w, request(), c.proof)
			if (err == nil) != c.ok || !c.ok && (!errors.Is(err, authn.ErrRejected) || len(w.Header()) != 0) {
				t.Errorf("%s: %v, %v", what, err, w.Header())
			}
		}
		if list := h.list(t, "alice"); len(list) != 1 {
			t.Errorf("listed: %+v", list)
		}
	})
}

// TestRenewedSession: with its renewal the provider may give a session another name.
func TestRenewedSession(t *testing.T) {
	issuer := person("alice").Identity.Issuer
	named := func(h *house, during func()) {
		h.provider.set(func(_ context.Context, p authn.Proof) (authn.Proof, error) {
			during()
			p, err := h.provider.rotate(p)
			p.SID = "s2"
			return p, err
		})
	}
	signIn := func(t *testing.T, h *house) *http.Cookie {
		p := dueIn(-time.Second)
		p.SID, p.IssuedAt = "s1", time.Now()
		return h.signIn(t, p)
	}
	for sid, what := range map[string]string{"s1": "the former name", "s2": "the new one"} {
		inHouse(t, "ended by "+what, func(t *testing.T, h *house) {
			named(h, func() {})
			alice := signIn(t, h)
			h.accepted(t, h.one, "alice-1", alice)
			h.accepted(t, h.two, "alice-1", alice)
			if n, err := h.two.EndSessions(t.Context(), authn.Logout{Issuer: issuer, SID: sid, At: time.Now()}); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			soon(t, "it is over", func() bool { return !h.in(h.one, alice) && !h.in(h.two, alice) })
		})
	}
	inHouse(t, "LGO-17 ended by the new one before anybody knew of it", func(t *testing.T, h *house) {
		named(h, func() {
			if _, err := h.two.EndSessions(context.Background(), authn.Logout{Issuer: issuer, SID: "s2", At: time.Now()}); err != nil {
				t.Error(err)
			}
		})
		alice := signIn(t, h)
		h.rejected(t, h.one, alice)
		h.rejected(t, h.two, alice)
		if list := h.list(t, "alice"); len(list) != 0 {
			t.Errorf("listed: %+v", list)
		}
	})
	inHouse(t, "what the provider refuses is not listed", func(t *testing.T, h *house) {
		h.provider.set(func(context.Context, authn.Proof) (authn.Proof, error) { return authn.Proof{}, authn.ErrRejected })
		h.rejected(t, h.one, signIn(t, h))
		p := person("alice")
		p.Identity.Expires = time.Now().Add(-time.Second) // and nothing renews it
		h.rejected(t, h.one, h.signIn(t, p))
		if list := h.list(t, "alice"); len(list) != 0 {
			t.Errorf("listed: %+v", list)
		}
	})
}

// TestNews: what is remembered of the news, and when nothing holds.
func TestNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemory()
		one, two := session.NewNews(store, nil), session.NewNews(store, nil)
		if one.Holds(one.Edition(), "a") {
			t.Error("something holds before anything is heard")
		}
		told := 0
		two.OnEnd(func() { told++ })
		one.Start()
		two.Start()
		defer one.Close()
		defer two.Close()
		synctest.Wait()
		told = 0
		at := two.Edition()
		if !two.Holds(at, "a", "b", "") {
			t.Error("nothing has ended, and yet it does not hold")
		}
		if err := errors.Join(one.Ended(t.Context(), "a"), one.Changed(t.Context(), "c")); err != nil {
			t.Fatal(err)
		}
		if one.Holds(0, "a") {
			t.Error("it does not hear itself")
		}
		synctest.Wait()
		if two.Holds(at, "a") || two.Holds(at, "b", "c") || !two.Holds(at, "b") || !two.Holds(two.Edition(), "a") || told != 1 {
			t.Errorf("after news: %v %v %v, told %d times", two.Holds(at, "a"), two.Holds(at, "b"), two.Holds(two.Edition(), "a"), told)
		}
		for range 3 {
			time.Sleep(11 * time.Minute)
			if err := one.Ended(t.Context(), "z"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if two.Quiet(at, "b") {
			t.Error("what is older than what is remembered of the news holds")
		}
		at = two.Edition()
		if err := store.Publish(t.Context(), []byte("whatever\nb")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if two.Holds(at, "b") {
			t.Error("something holds after news that make no sense")
		}
		at = two.Edition()
		flood := make([]string, 70_000)
		for i := range flood {
			flood[i] = fmt.Sprint(i)
		}
		if err := one.Ended(t.Context(), flood...); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if two.Holds(at, "17") || two.Holds(at, "69999") {
			t.Error("what has ended holds after a flood")
		}
	})
}

// heard is a store that hands over how what it listens to is heard.
type heard struct {
	session.Store
	hear chan func(message []byte)
}

func (h heard) Listen(ctx context.Context, ready func(), hear func(message []byte)) error {
	ready()
	h.hear <- hear
	<-ctx.Done()
	return ctx.Err()
}

// TestNewsOfOthers: who else can write to the channel has things asked about again, and
// that is all.
func TestNewsOfOthers(t *testing.T) {
	store := heard{session.NewMemory(), make(chan func(message []byte), 1)}
	news := session.NewNews(store, nil)
	news.Start()
	defer news.Close()
	hear := <-store.hear
	for what, message := range map[string]string{
		"nothing": "", "no kind": "\nb", "a reference of no length that there is": "ended\n" + strings.Repeat("x", 65),
		"more than there is in a message": "ended\n" + strings.Repeat("a\n", 20_000),
	} {
		at := news.Edition()
		if !news.Holds(at, "b") {
			t.Fatal("nothing holds")
		}
		hear([]byte(message))
		if news.Holds(at, "b") {
			t.Errorf("after %s something holds", what)
		}
	}
	for range 3000 {
		at, doubted := news.Edition(), make(chan struct{})
		go func() {
			hear(nil)
			close(doubted)
		}()
		for over := false; !over; { // as who remembers something does, with every request
			select {
			case <-doubted:
				over = true
			default:
			}
			if now := news.Edition(); news.Holds(at, "b") {
				at = now
			}
		}
		if news.Holds(at, "b") {
			t.Fatal("what was used in the moment of the doubt holds for ever")
		}
	}
}
