package apikey

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/session"
)

func TestContract(t *testing.T) {
	r := started(t)
	key, k := r.made("ci")
	lost, gone := r.made("ci")
	if _, err := r.ledger.Revoke(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	_, broken := r.made("ci")
	unsure := prefix + broken.ID + strings.Repeat("x", secretLength)
	if err := r.store.Set(t.Context(), place(broken.ID), []byte("not sealed"), time.Hour); err != nil {
		t.Fatal(err)
	}
	send := func(h http.Header) func() *http.Request {
		return func() *http.Request { return carrying(h) }
	}
	authntest.Contract(t, r.route.Authenticator, authntest.Cases{
		Good: send(basic("api", key)),
		Want: authn.Identity{Issuer: "https://gatehouse.test", Subject: "account:ci", Kind: authn.Service, Route: "keys"},
		Absent: map[string]func() *http.Request{
			"a password": send(basic("ada", aSecret)), "a JWT": send(basic("api", jwt)), "no credential": send(http.Header{"Authorization": {"Basic Og=="}}),
		},
		Bad: map[string]func() *http.Request{
			"unknown": send(basic("api", mine)), "revoked": send(basic("api", lost)), "another secret": send(basic("api", prefix+k.ID+strings.Repeat("a", secretLength))),
			"the application's": send(basic("api", hexKey(1))), "two keys": send(http.Header{"Wandb-Api-Key": {key, lost}}),
		},
		Unsure: map[string]func() *http.Request{"a record that does not open": send(http.Header{"Wandb-Api-Key": {unsure}})},
	})
	r.discreet(key, lost)
}

func TestServiceIdentity(t *testing.T) {
	r := started(t)
	key, k := r.made("nightly")
	before := r.store.reads.Load()
	for name, h := range map[string]http.Header{
		"Basic": basic("api", key), "netrc": basic("user", key), "a person's name": basic("ada", key), "no name": basic("", key),
		"Bearer": {"Authorization": {"Bearer " + key}}, "header": {"Wandb-Api-Key": {key}},
	} {
		id, err := r.route.Authenticator.Authenticate(carrying(h))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		a := id.Account
		if id.Subject != "account:nightly" || id.Username != "nightly" || id.Onward || !id.Expires.Equal(k.Expires) || id.AuthTime.IsZero() ||
			a.Name != "nightly" || a.Team != "ops" || !slices.Equal(a.Teams, []string{"ops", "research"}) || a.Role != "admin" {
			t.Errorf("%s: %+v", name, id)
		}
		if id.Email != "" || len(id.Groups) != 0 || id.Kind != authn.Service {
			t.Errorf("%s: %+v", name, id)
		}
	}
	if n := r.store.reads.Load() - before; n != 1 { // one for all requests
		t.Errorf("the store was asked %d times", n)
	}
	r.discreet(key)
	if !strings.Contains(r.log.String(), k.ID) {
		t.Errorf("the log does not tell which key: %s", r.log)
	}
}

func TestRoute(t *testing.T) {
	r := started(t, func(s *setup) {
		s.settings.AllowedEmailDomains, s.settings.AllowedGroups = []string{"example.com"}, []string{"research"}
	})
	if r.route.Name != "keys" || r.route.Challenge != `Basic realm="https://gatehouse.test", charset="UTF-8"` || r.route.Issuer != "" {
		t.Errorf("%+v", r.route)
	}
	person := authn.Identity{Subject: "wandb:1", Kind: authn.Person, Route: "keys", Issuer: "https://gatehouse.test/graphql"}
	if !r.route.Vouches(person) {
		t.Error("does not vouch for its people")
	}
	var not *authn.NotAllowed
	if err := r.route.Allow(person); !errors.As(err, &not) {
		t.Errorf("somebody without address and group: %v", err)
	}
	person.Email, person.Groups = "ada@example.com", []string{"research"}
	if err := r.route.Allow(person); err != nil {
		t.Error(err)
	}
	person.Groups = []string{"Research"} // the application tells them apart
	if err := r.route.Allow(person); err == nil {
		t.Error("a team in another spelling is let in")
	}
	key, _ := r.made("ci")
	if err := r.route.Allow(r.accepted(key)); err != nil {
		t.Errorf("a service account: %v", err)
	}
}

// TestOwnKeyWhole: a key counts whole or not at all.
func TestOwnKeyWhole(t *testing.T) {
	r := started(t, func(s *setup) { s.settings.Application = "pass" })
	key, _ := r.made("ci")
	r.accepted(key)
	swapped := strings.ToLower(key)
	if swapped == key {
		swapped = strings.ToUpper(key)
	}
	for name, other := range map[string]string{
		"TOK-28 without its last":      key[:len(key)-1],
		"TOK-28 with one more":         key + "a",
		"TOK-28 in another case":       swapped,
		"TOK-28 prefix in upper case":  strings.ToUpper(prefix) + key[len(prefix):],
		"TOK-28 with another last":     key[:len(key)-1] + string(alphabet[(strings.IndexByte(alphabet, key[len(key)-1])+1)%62]),
		"TOK-28 cut to what is hashed": key[:len(prefix)+idLength+31] + "-",
	} {
		t.Run(name, func(t *testing.T) { r.in(t).refused(other) }) // and the application is not shown it either
	}
	r.discreet(key)
}

// TestRevoked: what is taken back is refused by every replica within the cache's
// lifetime (TOK-29).
func TestRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newRig(t)
		two := newRig(t, func(s *setup) { s.deps.Store = one.store })
		defer one.end()
		defer two.end()
		key, k := one.made("ci")
		one.accepted(key)
		time.Sleep(30 * time.Second)
		two.accepted(key)
		if _, err := one.ledger.Revoke(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		one.accepted(key) // what is remembered, and said so
		time.Sleep(time.Minute)
		one.refused(key)
		two.refused(key)
		one.discreet(key)
	})
}

// TestRevokedAtOnce: who hears of it takes a revoked or rotated key no more, though it is
// remembered.
func TestRevokedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var news *session.News
		r := newRig(t, func(s *setup) {
			news = session.NewNews(s.deps.Store, nil)
			s.deps.Register = session.NewRegister(s.deps.Store, s.deps.Keys, news, 0)
			s.settings.Cache.Lifetime = config.Duration(15 * time.Minute)
		})
		defer r.end()
		news.Start()
		defer news.Close()
		synctest.Wait()
		revoked, one := r.made("ci")
		rotated, two := r.made("ci")
		for range 3 {
			r.accepted(revoked)
			r.accepted(rotated)
		}
		if _, err := r.ledger.Revoke(t.Context(), one.ID); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		r.refused(revoked)
		r.accepted(rotated)
		if _, _, err := r.ledger.Rotate(t.Context(), two.ID, 0, time.Hour, func(string) error { return nil }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		r.refused(rotated)
	})
}

// TestExpires: a key ends to the second, however fresh what is remembered of it.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		key, k := r.made("ci")
		time.Sleep(time.Until(k.Expires) - time.Second)
		r.accepted(key)
		time.Sleep(2 * time.Second)
		r.refused(key)
	})
}

func TestExpiredButKept(t *testing.T) {
	r := started(t)
	key, k := r.made("ci")
	known, err := r.ledger.get(t.Context(), k.ID)
	if err != nil {
		t.Fatal(err)
	}
	known.Expires = time.Now().Add(-time.Second)
	raw, err := r.ledger.seal(k.ID, known.record)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.Set(t.Context(), place(k.ID), raw, time.Hour); err != nil { // a store whose clock is slow
		t.Fatal(err)
	}
	r.refused(key)
}

func TestAccountThatIsGone(t *testing.T) {
	was := started(t)
	key, _ := was.made("ci")
	now := started(t, func(s *setup) {
		s.deps.Store, s.accounts = was.store, usualAccounts()[1:]
	})
	now.refused(key)
}

func TestKeysOfTheSettings(t *testing.T) {
	key, foreign := Generate(), hexKey(7)
	r := started(t, func(s *setup) {
		s.accounts[1].KeyHashes = []string{Hash(key), Hash(foreign)}
	})
	r.store.down.Store(true) // it is not needed
	id := r.accepted(key)
	if id.Subject != "account:nightly" || !id.Expires.IsZero() {
		t.Errorf("%+v", id)
	}
	if n := r.store.reads.Load(); n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	r.refused(foreign) // only the gateway's own keys stand there
	r.unsure(Generate())
	r.discreet(key)
}

// TestStoreOutage: can't find out is not a refusal, and what is known goes on.
func TestStoreOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		key, _ := r.made("ci")
		another, _ := r.made("ci")
		r.accepted(key)
		synctest.Wait()
		r.store.down.Store(true)
		time.Sleep(59 * time.Second)
		r.accepted(key)
		r.unsure(another)
		time.Sleep(2 * time.Second)
		r.unsure(key)
		r.store.down.Store(false)
		r.accepted(key)
		r.accepted(another)
	})
}

func TestLastUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.settings.Cache.Lifetime = 0 })
		defer r.end()
		key, k := r.made("ci")
		used := func() time.Time {
			synctest.Wait()
			k, err := r.ledger.Find(t.Context(), k.ID)
			if err != nil {
				t.Fatal(err)
			}
			return k.Used
		}
		if !used().IsZero() {
			t.Error("used before it was")
		}
		r.accepted(key)
		first := used()
		if !first.Equal(time.Now().UTC().Truncate(time.Second)) {
			t.Errorf("used at %v", first)
		}
		writes := r.store.writes.Load()
		for range 10 {
			time.Sleep(29 * time.Second)
			r.accepted(key)
		}
		if got := used(); !got.Equal(first) || r.store.writes.Load() != writes {
			t.Errorf("written again after %v", got.Sub(first))
		}
		time.Sleep(time.Minute)
		r.accepted(key)
		if got := used(); got.Sub(first) != 350*time.Second || r.store.writes.Load() != writes+1 {
			t.Errorf("written after %v, %d writes", got.Sub(first), r.store.writes.Load()-writes)
		}
		found, err := r.ledger.Find(t.Context(), k.ID)
		if err != nil || !found.Expires.Equal(k.Expires) || found.Created != k.Created {
			t.Errorf("use has changed it: %+v %v", found, err)
		}
		time.Sleep(time.Until(k.Expires)) // nor does it live longer in the store
		if _, err := r.ledger.Find(t.Context(), k.ID); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	})
}

// TestUseOfRevoked: writing a use does not bring a key back.
func TestUseOfRevoked(t *testing.T) {
	r := started(t)
	_, k := r.made("ci")
	known, err := r.ledger.get(t.Context(), k.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ledger.Revoke(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	r.k.uses.write(t.Context(), known)
	if _, err := r.ledger.Find(t.Context(), k.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("it is back: %v", err)
	}
}

// stuck is a store whose Swap waits for its context.
type stuck struct{ session.Store }

func (s stuck) Swap(ctx context.Context, _ string, _, _ []byte, _ time.Duration) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

// TestUsesAreBounded: a store that takes no writes holds up neither requests nor the end.
func TestUsesAreBounded(t *testing.T) {
	r := newRig(t, func(s *setup) { s.deps.Store, s.settings.Cache.Lifetime = stuck{s.deps.Store}, 0 })
	key, _, err := shownKey(t.Context(), NewLedger(r.store, ring(t, firstKey)), "ci", "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range maxUses + 50 {
		r.accepted(key)
	}
	if n := len(r.k.uses.queue); n > maxUses {
		t.Errorf("%d wait", n)
	}
	r.end()
}

// TestRotationOfSessionKeys: a key in use outlives the session keys that it was
// sealed with; one that is not in use is not taken for a wrong one.
func TestRotationOfSessionKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := newRig(t)
		inUse, k := before.made("ci")
		idle, _ := before.made("ci")
		before.end()
		keys := func(list ...string) func(*setup) {
			return func(s *setup) { s.deps.Store, s.deps.Keys = before.store, ring(t, list...) }
		}
		during := newRig(t, keys(secondKey, firstKey))
		during.accepted(inUse)
		synctest.Wait()
		during.end()
		after := newRig(t, keys(secondKey))
		defer after.end()
		after.accepted(inUse)
		after.unsure(idle)
		idleID, _ := ID(idle)
		if _, err := after.ask(idle); !strings.Contains(err.Error(), idleID) || !strings.Contains(err.Error(), "session.keys") {
			t.Errorf("the operator is told %v", err)
		}
		old := newRig(t, keys(firstKey)) // a replica that has not heard of the new one
		defer old.end()
		old.unsure(inUse)
		if _, err := before.ledger.Find(t.Context(), k.ID); !errors.Is(err, ErrSealed) {
			t.Errorf("%v", err)
		}
	})
}

// TestFloodOfOwnKeys: 100,000 keys that nobody has cost a look each and leave nothing (TOK-27).
func TestFloodOfOwnKeys(t *testing.T) {
	r := started(t, func(s *setup) { s.settings.Cache.Size = 100 })
	key, _ := r.made("ci")
	r.accepted(key)
	reads, writes := r.store.reads.Load(), r.store.writes.Load()
	const flood = 100_000
	for range flood {
		r.refused(Generate())
	}
	if n := r.store.reads.Load() - reads; n > flood {
		t.Errorf("the store was asked %d times", n)
	}
	if n := r.store.writes.Load() - writes; n > 1 { // the use of the good one
		t.Errorf("the store was written to %d times", n)
	}
	for range 1000 {
		r.refused(mine[:len(mine)-1]) // not whole
	}
	if n := r.store.reads.Load() - reads; n > flood {
		t.Errorf("the store was asked %d times, also about what is no key", n)
	}
	r.accepted(key)
}

// slow is a store that takes a second to read, and counts who reads at once.
type slow struct {
	session.Store
	now, most atomic.Int32
}

func (s *slow) Get(ctx context.Context, key string) ([]byte, bool, error) {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	time.Sleep(time.Second)
	return s.Store.Get(ctx, key)
}

// TestOwnKeysAtOnce: however many keys come at once, the store is left with room
// for sessions (TOK-27).
func TestOwnKeysAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{Store: session.NewMemory()}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		defer r.end()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if id, err := r.ask(Generate()); err == nil || id.Subject != "" {
					t.Errorf("%+v", id)
				}
			})
		}
		all.Wait()
		if n := store.most.Load(); n == 0 || n > 64 {
			t.Errorf("%d at once", n)
		}
	})
}

// TestRefusalsInTheLog: whoever knows an id, which is no secret, can't fill the log.
func TestRefusalsInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		_, k := r.made("ci")
		lines := func() int { return strings.Count(r.log.String(), "API key refused") }
		for range 1000 {
			r.refused(prefix + k.ID + Generate()[len(prefix)+idLength:])
		}
		if n := lines(); n != 100 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Second)
		before := lines()
		r.refused(prefix + k.ID + strings.Repeat("a", secretLength))
		if n := lines(); n != before+1 {
			t.Errorf("%d lines later", n-before)
		}
	})
}

// TestCacheOff: without a lifetime every request is looked up.
func TestCacheOff(t *testing.T) {
	r := started(t, func(s *setup) { s.settings.Cache = config.TokenCache{} })
	key, k := r.made("ci")
	r.accepted(key)
	if _, err := r.ledger.Revoke(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	r.refused(key)
}
