package session

import (
	"strings"
	"testing"
)

// TestDigest: one text, one digest, for one purpose, one origin and one newest key.
func TestDigest(t *testing.T) {
	const one, two = "rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw=", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ9x0bTfOLWmE="
	ring := func(origin string, keys ...string) Keyring {
		k, err := NewKeyring(origin, keys)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := ring("https://a.test", one).Digest("failures")("alice")
	if again := ring("https://a.test", one, two).Digest("failures")("alice"); again != first || strings.Contains(first, "alice") || len(first) != 43 {
		t.Errorf("%s, then %s", first, again)
	}
	for name, other := range map[string]string{
		"text":    ring("https://a.test", one).Digest("failures")("alicf"),
		"purpose": ring("https://a.test", one).Digest("else")("alice"),
		"origin":  ring("https://b.test", one).Digest("failures")("alice"),
		"key":     ring("https://a.test", two, one).Digest("failures")("alice"),
		"random":  RandomKeyring("https://a.test").Digest("failures")("alice"),
	} {
		if other == first {
			t.Errorf("another %s has the same digest", name)
		}
	}
}
