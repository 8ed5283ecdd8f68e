package apikey

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/config"
	"gatehouse/session"
)

// TestSharedAnswers: replicas share what the application said, sealed, and no
// longer than the cache's lifetime in all.
func TestSharedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newRig(t, verifying)
		defer one.end()
		same := func(s *setup) { s.deps.Store = one.store }
		two := newRig(t, verifying, same)
		defer two.end()
		key := hexKey(1)
		one.accepted(key)
		time.Sleep(40 * time.Second)
		if id := two.accepted(key); two.app.count() != 0 || id.Username != "ada" || !id.Onward || len(id.Groups) != 2 {
			t.Errorf("asked %d times: %+v", two.app.count(), id)
		}
		two.app.answer = says(401, "application/json", "{}")
		time.Sleep(21 * time.Second) // the answer is a minute old
		two.refused(key)
	})
}

// TestSharedAnswersOfOthers: an answer counts for what it was given for alone.
func TestSharedAnswersOfOthers(t *testing.T) {
	one := started(t, verifying)
	same := func(s *setup) { s.deps.Store = one.store }
	one.accepted(hexKey(2))
	for name, change := range map[string]func(*setup){
		"another upstream":       func(s *setup) { s.deps.Upstream.URL, s.here = "http://other.test", &application{} },
		"another host":           func(s *setup) { s.deps.Upstream.Hosts = []string{"other.test"} },
		"another subject prefix": func(s *setup) { s.settings.SubjectPrefix = "lab:" },
		"another route beside":   func(s *setup) { s.deps.ForeignPrefixes = []string{"ldap:"} },
		"another session key":    func(s *setup) { s.deps.Keys = ring(t, secondKey) },
		"a shorter lifetime":     func(s *setup) { s.settings.Cache.Lifetime = config.Duration(time.Second) },
		"no cache":               func(s *setup) { s.settings.Cache.Lifetime = 0 },
		"a store that is down":   func(s *setup) { down := &watched{Store: one.store}; down.down.Store(true); s.deps.Store = down },
	} {
		t.Run(name, func(t *testing.T) {
			r := started(t, verifying, same, change)
			if id := r.accepted(hexKey(2)); id.Subject != r.k.viewers.prefix+"VXNlcjox" {
				t.Errorf("%+v", id)
			}
			if n := r.k.viewers.client.Transport.(*application).count(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
	t.Run("another route", func(t *testing.T) {
		r := started(t, verifying, same)
		v, err := newViewers("others", config.APIKey{SubjectPrefix: "wandb:", Cache: config.TokenCache{Lifetime: config.Duration(time.Minute)}}, r.k.Deps)
		if err != nil {
			t.Fatal(err)
		}
		v.client.Transport = r.app
		if id, err := v.owner(t.Context(), hexKey(2)); err != nil || id.Route != "others" || r.app.count() != 1 {
			t.Errorf("%+v %v, asked %d times", id, err, r.app.count())
		}
	})
}

// written remembers where a store was written to, and what with.
type written struct {
	session.Store
	mu     sync.Mutex
	values map[string][]byte
}

func (s *written) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	s.mu.Lock()
	s.values[key] = value
	s.mu.Unlock()
	return s.Store.Set(ctx, key, value, ttl)
}

// TestSharedAnswersAreSealed: who reads the store learns nothing of what replicas
// share in it, and who writes to it plants nothing (RDS-08).
func TestSharedAnswersAreSealed(t *testing.T) {
	store := &written{Store: session.NewMemory(), values: map[string][]byte{}}
	same := func(s *setup) { s.deps.Store = store }
	one := started(t, verifying, same)
	one.accepted(hexKey(3))
	one.app.answer = says(200, "application/json", viewerOf(`"id":"2","username":"grace"`))
	one.accepted(hexKey(4))
	if len(store.values) != 2 {
		t.Fatalf("%d places", len(store.values))
	}
	var places []string
	for at, raw := range store.values {
		places = append(places, at)
		for _, s := range []string{"ada", "grace", "research", "VXNlcjox", hexKey(3), hexKey(4), encoded("api:" + hexKey(3))} {
			if strings.Contains(at+string(raw), s) {
				t.Errorf("the store shows %q", s)
			}
		}
	}
	// Each gets the other's answer.
	for i, at := range places {
		if err := store.Store.Set(t.Context(), at, store.values[places[1-i]], time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	two := started(t, verifying, same)
	two.app.answer = says(401, "application/json", "{}")
	two.refused(hexKey(3))
	two.refused(hexKey(4))
}

// TestLongAnswerIsShared: somebody in many teams is shared too.
func TestLongAnswerIsShared(t *testing.T) {
	one := started(t, verifying)
	two := started(t, verifying, func(s *setup) { s.deps.Store = one.store })
	team := `{"node":{"name":"` + strings.Repeat("t", 100) + `"}},`
	one.app.answer = says(200, "application/json", viewerOf(`"id":"1","teams":{"edges":[`+strings.TrimSuffix(strings.Repeat(team, 50), ",")+`]}`))
	one.accepted(hexKey(1))
	if id := two.accepted(hexKey(1)); len(id.Groups) != 50 || two.app.count() != 0 {
		t.Errorf("%d groups, asked %d times", len(id.Groups), two.app.count())
	}
}

// TestRefusalIsNotShared: no number of wrong keys fills the store.
func TestRefusalIsNotShared(t *testing.T) {
	r := started(t, verifying)
	r.app.answer = says(401, "application/json", "{}")
	r.refused(hexKey(1))
	if n := r.store.writes.Load(); n != 0 {
		t.Errorf("%d writes", n)
	}
}
