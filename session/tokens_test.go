package session_test

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

const otherKey = "QW5vdGhlciBrZXkgZm9yIHRlc3RzIG9ubHksIHllcz8="

func keyring(t testing.TB, origin string, keys ...string) session.Keyring {
	t.Helper()
	k, err := session.NewKeyring(origin, keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// tokenRig is the access tokens of one gateway over a store that is watched.
type tokenRig struct {
	t     *testing.T
	store *spy
	session.Tokens
}

func newTokenRig(t *testing.T) *tokenRig {
	t.Helper()
	s := &spy{Store: session.NewMemory()}
	t.Cleanup(func() { s.Store.Close() })
	return &tokenRig{t, s, session.NewTokens(s, keyring(t, origin, key), nil)}
}

func (r *tokenRig) issue(name string) string {
	r.t.Helper()
	token, err := r.Issue(r.t.Context(), person(name).Identity, "note", session.Client{}, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// is asserts whom a token stands for; nobody is "".
func (r *tokenRig) is(tokens session.Tokens, token, subject string) {
	r.t.Helper()
	id, _, err := tokens.Find(r.t.Context(), token)
	if id.Subject != subject || subject != "" && err != nil || subject == "" && !errors.Is(err, authn.ErrRejected) {
		r.t.Errorf("%q, %v; want %q", id.Subject, err, subject)
	}
	if err != nil && (!reflect.ValueOf(id).IsZero() || len(token) > 20 && strings.Contains(err.Error(), token)) {
		r.t.Errorf("%+v came with %v", id, err)
	}
}

func TestTokens(t *testing.T) {
	r := newTokenRig(t)
	want := person("alice").Identity
	before := time.Now()
	token, err := r.Issue(t.Context(), want, "note", session.Client{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got, note, err := r.Find(t.Context(), token)
	if err != nil || note != "note" || got.Expires.Before(before.Add(time.Hour)) || got.Expires.After(time.Now().Add(time.Hour)) {
		t.Fatalf("%+v, %v", got, err)
	}
	if !got.AuthTime.Equal(want.AuthTime) {
		t.Errorf("%v", got.AuthTime)
	}
	want.Expires, want.AuthTime, want.Access = got.Expires, got.AuthTime, got.Access
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	r.is(r.Tokens, r.issue("bob"), "bob-1")
	r.is(r.Tokens, token, "alice-1")
	if err := r.End(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	r.is(r.Tokens, token, "")
	if err := r.End(t.Context(), token); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// TestTokenSpelling: TOK-28, there is one spelling of a token.
func TestTokenSpelling(t *testing.T) {
	r := newTokenRig(t)
	token, other := r.issue("alice"), r.issue("bob")
	if !strings.HasPrefix(token, authn.TokenPrefix) {
		t.Fatal(token)
	}
	r.store.since()
	for n := range token {
		for _, c := range []byte("AB9_-=. ") {
			if token[n] != c {
				r.is(r.Tokens, token[:n]+string(c)+token[n+1:], "")
			}
		}
		if c := token[n] ^ 0x20; 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			r.is(r.Tokens, token[:n]+string(c)+token[n+1:], "")
		}
		r.is(r.Tokens, token[:n], "")
		r.is(r.Tokens, token[n+1:], "")
		if mixed := token[:n] + other[n:]; mixed != other && mixed != token {
			r.is(r.Tokens, mixed, "")
		}
	}
	for _, longer := range []string{token + "A", token + "=", token + "\n", " " + token, token + token, "gh_at_" + token} {
		r.is(r.Tokens, longer, "")
	}
	for _, c := range r.store.since() {
		if c == "" || !strings.HasPrefix(c, "get token:") {
			t.Errorf("the store saw %q", c)
		}
	}
	for _, junk := range []string{"", "gh_at_", "gh_at_" + strings.Repeat("A", len(token)-6), "gh_at_" + strings.Repeat("é", 53)} {
		r.is(r.Tokens, junk, "")
		if err := r.End(t.Context(), junk); err != nil {
			t.Errorf("end of %q: %v", junk, err)
		}
	}
	if seen := r.store.since(); len(seen) > 0 {
		t.Errorf("what nobody signed cost %v", seen)
	}
	r.is(r.Tokens, token, "alice-1")
}

// TestTokenRing: TOK-20, tokens by older keys of the ring are good until it is dropped.
func TestTokenRing(t *testing.T) {
	r := newTokenRig(t)
	token := r.issue("alice")
	for name, c := range map[string]struct {
		keys    session.Keyring
		subject string
	}{
		"the same":         {keyring(t, origin, key), "alice-1"},
		"a new one before": {keyring(t, origin, otherKey, key), "alice-1"},
		"a new one behind": {keyring(t, origin, key, otherKey), "alice-1"},
		"another":          {keyring(t, origin, otherKey), ""},
		"another origin":   {keyring(t, "https://other.test", key), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &tokenRig{t, r.store, r.Tokens}
			tokens := session.NewTokens(r.store, c.keys, nil)
			r.is(tokens, token, c.subject)
			fresh, err := tokens.Issue(t.Context(), person("bob").Identity, "note", session.Client{}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			r.is(tokens, fresh, "bob-1")
		})
	}
	if _, err := session.NewTokens(r.store, session.Keyring{}, nil).Issue(t.Context(), person("a").Identity, "note", session.Client{}, time.Hour); err == nil {
		t.Error("a token without a key")
	}
}

// TestTokenRecords: who writes to the store makes nobody of a token, and who reads
// it learns nothing.
func TestTokenRecords(t *testing.T) {
	r := newTokenRig(t)
	alice := r.issue("alice")
	at := r.store.record(t)
	record, _, err := r.store.Store.Get(t.Context(), at)
	if err != nil || !strings.HasPrefix(at, "token:") {
		t.Fatal(at, err)
	}
	for _, secret := range []string{alice, alice[6:], "alice", "everyone", "idp.example.com"} {
		if strings.Contains(string(record), secret) || strings.Contains(at, secret) {
			t.Errorf("the store shows %q", secret)
		}
	}
	bob := r.issue("bob")
	bobs := r.store.record(t)
	flipped := append([]byte(nil), record...)
	flipped[len(flipped)/2] ^= 1
	for name, value := range map[string][]byte{
		"another's": record, "cut": record[:20], "one byte": {1}, "version 0": append([]byte{0}, record[1:]...), "nonsense": []byte(strings.Repeat("x", 300)), "one bit": flipped,
	} {
		t.Run(name, func(t *testing.T) {
			r := &tokenRig{t, r.store, r.Tokens}
			if err := r.store.Store.Set(t.Context(), bobs, value, time.Hour); err != nil {
				t.Fatal(err)
			}
			r.is(r.Tokens, bob, "")
		})
	}
	newer := append([]byte{2}, record[1:]...)
	if err := r.store.Store.Set(t.Context(), at, newer, time.Hour); err != nil {
		t.Fatal(err)
	}
	if id, _, err := r.Find(t.Context(), alice); !outage(err) || id.Subject != "" {
		t.Errorf("a record of a newer gateway: %+v, %v", id, err)
	}
	huge := person("huge").Identity
	huge.Groups = []string{strings.Repeat("g", 300<<10)}
	if token, err := r.Issue(t.Context(), huge, "note", session.Client{}, time.Hour); !errors.Is(err, session.ErrTooBig) || token != "" {
		t.Errorf("%v", err)
	}
}

func TestTokenTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTokenRig(t)
		token := r.issue("alice")
		at := r.store.record(t)
		time.Sleep(time.Hour - time.Nanosecond)
		r.is(r.Tokens, token, "alice-1")
		if err := r.store.Store.Touch(t.Context(), at, time.Hour); err != nil { // whatever the store keeps
			t.Fatal(err)
		}
		time.Sleep(time.Nanosecond)
		r.is(r.Tokens, token, "")
	})
}

// TestTokenOutage: what can't be found out is no rejection.
func TestTokenOutage(t *testing.T) {
	r := newTokenRig(t)
	token := r.issue("alice")
	down := errors.New("connection refused")
	r.store.fail("", down)
	if _, _, err := r.Find(t.Context(), token); !outage(err) {
		t.Errorf("find: %v", err)
	}
	if got, err := r.Issue(t.Context(), person("bob").Identity, "note", session.Client{}, time.Hour); !errors.Is(err, down) || got != "" {
		t.Errorf("issue: %v", err)
	}
	if err := r.End(t.Context(), token); !errors.Is(err, down) {
		t.Errorf("end: %v", err)
	}
	r.store.fail("", nil)
	r.is(r.Tokens, token, "alice-1")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { r.is(r.Tokens, token, "alice-1") })
	}
	all.Wait()
}

func TestResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &spy{Store: session.NewMemory()}
		defer store.Store.Close()
		keys := keyring(t, origin, key)
		results := session.NewResults(store, keys, "introspection")
		alice := person("alice").Identity
		put := func(credential string, id authn.Identity, lifetime time.Duration) {
			t.Helper()
			if err := results.Put(t.Context(), credential, id, "note", lifetime); err != nil {
				t.Fatal(err)
			}
		}
		is := func(r session.Results, credential, subject string) {
			t.Helper()
			if id, note, ok := r.Get(t.Context(), credential); id.Subject != subject || ok != (subject != "") || ok != (note == "note") {
				t.Errorf("%s: %+v, %v", credential, id, ok)
			}
		}
		put("secret-token", alice, time.Minute)
		is(results, "secret-token", "alice-1")
		for _, other := range []string{"secret-toke", "secret-token ", "Secret-token", ""} {
			is(results, other, "")
		}
		is(session.NewResults(store, keys, "introspection"), "secret-token", "alice-1")
		is(session.NewResults(store, keys, "introspection 2"), "secret-token", "")
		is(session.NewResults(store, keyring(t, origin, otherKey), "introspection"), "secret-token", "")
		is(session.NewResults(store, keyring(t, "https://other.test", key), "introspection"), "secret-token", "")
		at := store.record(t)
		record, _, _ := store.Store.Get(t.Context(), at)
		if text := at + string(record); strings.Contains(text, "secret") || strings.Contains(text, "alice") || !strings.HasPrefix(at, "result:") {
			t.Errorf("the store shows %q", text)
		}
		if id, _, _ := results.Get(t.Context(), "secret-token"); !id.Expires.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("it expires at %v", id.Expires)
		}
		put("other", person("bob").Identity, time.Minute)
		if err := store.Store.Set(t.Context(), store.record(t), record, time.Minute); err != nil { // alice's, in bob's place
			t.Fatal(err)
		}
		is(results, "other", "")
		if err := store.Store.Touch(t.Context(), at, time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		is(results, "secret-token", "")

		alice.Expires = time.Now().Add(10 * time.Second)
		put("short", alice, time.Minute)
		time.Sleep(10*time.Second - time.Nanosecond)
		is(results, "short", "alice-1")
		time.Sleep(time.Nanosecond)
		is(results, "short", "")
		store.since()
		put("over", alice, time.Minute) // at its end
		alice.Expires = time.Time{}
		put("never", alice, 0)
		if seen := store.since(); len(seen) > 0 {
			t.Errorf("kept: %v", seen)
		}
		alice.Groups = []string{strings.Repeat("g", 300<<10)}
		if err := results.Put(t.Context(), "huge", alice, "note", time.Minute); !errors.Is(err, session.ErrTooBig) {
			t.Errorf("%v", err)
		}
		store.fail("", errors.New("down"))
		is(results, "short", "")
		if err := results.Put(t.Context(), "x", person("alice").Identity, "note", time.Minute); err == nil {
			t.Error("no error without a store")
		}
	})
}
