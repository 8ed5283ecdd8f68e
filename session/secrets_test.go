package session

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"testing"
)

// TestSecrets: one secret for each key in the ring's order, alike on every
// replica, and another one for any other key, purpose and origin.
func TestSecrets(t *testing.T) {
	const old, young = "rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw=", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ9x0bTfOLWmE="
	alone := ring(t, "https://a.test", old).Secrets("assertion")
	both := ring(t, "https://a.test", young, old).Secrets("assertion")
	if len(alone) != 1 || len(both) != 2 || len(alone[0]) != 64 || len(both[0]) != 64 {
		t.Fatalf("%d and %d secrets", len(alone), len(both))
	}
	if !bytes.Equal(both[1], alone[0]) {
		t.Error("a key has another secret when there is a newer key")
	}
	seen := map[string]string{string(alone[0]): "the first"}
	for name, other := range map[string][]byte{
		"key":     both[0],
		"purpose": ring(t, "https://a.test", old).Secrets("else")[0],
		"origin":  ring(t, "https://b.test", old).Secrets("assertion")[0],
		"random":  RandomKeyring("https://a.test").Secrets("assertion")[0],
	} {
		if twin, twice := seen[string(other)]; twice {
			t.Errorf("another %s has the secret of %s", name, twin)
		}
		seen[string(other)] = name
	}
	if len((Keyring{}).Secrets("assertion")) != 0 {
		t.Error("an empty ring has secrets")
	}
}

// TestSecretsAreNoSeals: what a secret is derived by is nobody else's, even for a
// purpose of the same name.
func TestSecretsAreNoSeals(t *testing.T) {
	k := RandomKeyring("https://a.test")
	secret := k.Secrets("session")[0]
	for _, kind := range []string{"cookie", "digest"} {
		derived, err := hkdf.Key(sha256.New, k.keys[0], []byte(k.origin), "gatehouse "+kind+" session", 64)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(derived, secret) {
			t.Errorf("a secret is the key of a %s", kind)
		}
	}
}
