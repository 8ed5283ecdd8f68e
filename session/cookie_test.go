package session

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const origin = "https://wandb.example.com"

func randomKey() string {
	key := make([]byte, 32)
	rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

func ring(t testing.TB, origin string, keys ...string) Keyring {
	t.Helper()
	k, err := NewKeyring(origin, keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustOpen(t *testing.T, s Sealer, name, sealed, want string) {
	t.Helper()
	if plain, err := s.Open(name, sealed); err != nil || string(plain) != want {
		t.Errorf("Open = %q, %v, want %q", plain, err, want)
	}
}

func refuses(t *testing.T, s Sealer, name, sealed string) {
	t.Helper()
	if plain, err := s.Open(name, sealed); err == nil || plain != nil {
		t.Errorf("Open(%q) = %q, %v", sealed, plain, err)
	}
}

func seal(t testing.TB, s Sealer, name, plain string) string {
	t.Helper()
	sealed, err := s.Seal(name, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestKeyring(t *testing.T) {
	older, newer := randomKey(), randomKey()
	s := ring(t, origin, older).Sealer("session")
	sealed := seal(t, s, "c", "plain")

	t.Run("SES-02 every bit and every length", func(t *testing.T) {
		for i := range 8 * len(sealed) {
			bad := []byte(sealed)
			bad[i/8] ^= 1 << (i % 8)
			refuses(t, s, "c", string(bad))
		}
		for i := range sealed {
			refuses(t, s, "c", sealed[:i])
			refuses(t, s, "c", sealed[:i]+"\n"+sealed[i:])
		}
		refuses(t, s, "c", sealed+"AAAA")
		refuses(t, s, "c", strings.Repeat("A", 1<<20))
		mustOpen(t, s, "c", sealed, "plain")
	})
	t.Run("SES-02 stray bits at the end", func(t *testing.T) {
		for n := 1; n < 4; n++ { // whatever the padding is
			text := seal(t, s, "c", strings.Repeat("x", n))
			for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=" {
				for at := len(text) - 3; at < len(text); at++ {
					if bad := text[:at] + string(c) + text[at+1:]; bad != text {
						refuses(t, s, "c", bad)
					}
				}
			}
		}
	})
	t.Run("SES-03 never the same twice", func(t *testing.T) {
		seen := map[string]bool{}
		for range 10_000 {
			seen[seal(t, s, "c", "plain")] = true
		}
		if len(seen) != 10_000 {
			t.Errorf("%d different seals of 10000", len(seen))
		}
	})
	t.Run("SES-04 another purpose or name", func(t *testing.T) {
		refuses(t, ring(t, origin, older).Sealer("attempt"), "c", sealed)
		refuses(t, ring(t, origin, older).Sealer(""), "c", sealed)
		refuses(t, s, "c2", sealed)
		refuses(t, s, "", sealed)
	})
	t.Run("SES-21 another gateway", func(t *testing.T) {
		refuses(t, ring(t, "https://other.example.com", older).Sealer("session"), "c", sealed)
		refuses(t, ring(t, origin+":8443", older).Sealer("session"), "c", sealed)
		refuses(t, RandomKeyring(origin).Sealer("session"), "c", sealed)
	})
	t.Run("SES-22 rotation", func(t *testing.T) {
		both := ring(t, origin, newer, older).Sealer("session")
		mustOpen(t, both, "c", sealed, "plain")
		fresh := seal(t, both, "c", "plain")
		only := ring(t, origin, newer).Sealer("session")
		mustOpen(t, only, "c", fresh, "plain")
		refuses(t, only, "c", sealed)
		refuses(t, s, "c", fresh)
	})
	t.Run("a random ring is of its own", func(t *testing.T) {
		one, two := RandomKeyring(origin).Sealer("p"), RandomKeyring(origin).Sealer("p")
		text := seal(t, one, "c", "plain")
		mustOpen(t, one, "c", text, "plain")
		refuses(t, two, "c", text)
	})
	t.Run("what fits", func(t *testing.T) {
		full := strings.Repeat("x", 2200)
		mustOpen(t, s, "c", seal(t, s, "c", full), full)
		if _, err := s.Seal("c", bytes.Repeat([]byte("x"), 3000)); err == nil {
			t.Error("3000 bytes fit into a cookie")
		}
		if _, err := s.Seal("c", nil); err == nil {
			t.Error("nothing is sealed")
		}
	})
	t.Run("an empty ring", func(t *testing.T) {
		var none Keyring
		if _, err := none.Sealer("p").Seal("c", nil); err == nil {
			t.Error("seals")
		}
		refuses(t, none.Sealer("p"), "c", sealed)
	})
}

func TestKeys(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i*37 + 251)
	}
	s := ring(t, origin, base64.StdEncoding.EncodeToString(raw)).Sealer("p")
	sealed := seal(t, s, "c", "plain")
	for _, spelling := range []string{
		base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), string(raw),
	} {
		mustOpen(t, ring(t, origin, spelling).Sealer("p"), "c", sealed, "plain")
	}
	hex := "8f3a1b2c4d5e6f708192a3b4c5d6e7f08f3a1b2c4d5e6f708192a3b4c5d6e7f0"
	ring(t, origin, hex, "a passphrase of more than 32 bytes, for those who like it")

	t.Run("SES-08 weak keys", func(t *testing.T) {
		for _, weak := range []string{
			"", "changeme", "12345678", strings.Repeat("a", 32), strings.Repeat("a", 64), strings.Repeat("changeme", 8),
			base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString(raw[:16]), string(raw[:31]),
		} {
			_, err := NewKeyring(origin, []string{randomKey(), weak})
			if err == nil || !strings.Contains(err.Error(), "key 2") {
				t.Errorf("%q: %v", weak, err)
			} else if len(weak) > 3 && strings.Contains(err.Error(), weak) {
				t.Errorf("the error quotes the key: %v", err)
			}
		}
		if _, err := NewKeyring(origin, nil); err == nil {
			t.Error("no keys at all are taken")
		}
	})
}

func TestTickets(t *testing.T) {
	t.Run("SES-07 ten thousand", func(t *testing.T) {
		ids, keys := map[string]bool{}, map[string]bool{}
		for range 10_000 {
			k, plain := newTicket()
			ids[k.hash], keys[string(k.key)] = true, true
			if len(plain) != 48 || len(k.key) != 32 || strings.Contains(k.record(), string(plain[:16])) {
				t.Fatalf("ticket of %d bytes, key of %d", len(plain), len(k.key))
			}
		}
		if len(ids) != 10_000 || len(keys) != 10_000 {
			t.Errorf("%d ids and %d keys of 10000", len(ids), len(keys))
		}
	})
	t.Run("RDS-09 keys of one form, spaces apart", func(t *testing.T) {
		k, _ := newTicket()
		for _, key := range []string{k.record(), k.lock()} {
			if err := checkKey(key); err != nil || strings.Count(key, ":") != 1 {
				t.Errorf("%q: %v", key, err)
			}
		}
		if len(k.record()) != len("session:")+43 || len(k.lock()) != len("renew:")+43 {
			t.Errorf("%q, %q", k.record(), k.lock())
		}
	})
}

func TestCookie(t *testing.T) {
	for _, c := range []struct {
		cookie     Cookie
		name       string
		attributes string
	}{
		{NewCookie("gatehouse", "", true), "__Host-gatehouse", "Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"},
		{NewCookie("gatehouse", "example.com", true), "__Secure-gatehouse", "Path=/; Domain=example.com; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"},
		{NewCookie("gatehouse", "", false), "gatehouse", "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"},
	} {
		t.Run("SES-10 "+c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c.cookie.set(w, "value", time.Hour)
			if got := w.Header().Get("Set-Cookie"); got != c.name+"=value; "+c.attributes {
				t.Error(got)
			}
			w = httptest.NewRecorder()
			c.cookie.expire(w)
			gone := strings.Replace(c.attributes, "Max-Age=3600", "Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0", 1)
			if got := w.Header().Get("Set-Cookie"); got != c.name+"=; "+gone {
				t.Error(got)
			}
			if got := c.cookie.Attempt("x1"); got != c.name+"_attempt_x1" {
				t.Error(got)
			}
		})
	}
}

// storedCookie is a cookie of 48 bytes "t" as the first gateway made it. It must open
// for ever: an upgrade that changes the derivation or the seal logs everybody out.
const (
	storedKey    = "0123456789abcdefghijklmnopqrstuvwxyz-fuzz"
	storedCookie = "MTc5NTMyMTk3N3xTS3dkYktySlpadUFEQXFWczJCXzUyd21uaHhsVGtTTW9ZajBrVU5FLXk2NXg1TWMwcjlROFVtSEJZLXN1TlNMODZ4bUEzSE" +
		"5wSGttV3lFOEpwcDBCdz09fPNsj6gmj_mvhFJFcicqW6s7EsY-QIfTUOjSv7hOxgnM"
)

func TestStoredCookie(t *testing.T) {
	mustOpen(t, ring(t, origin, storedKey).Sealer("session"), "__Host-gatehouse", storedCookie, strings.Repeat("t", ticketSize))
}

// FuzzCookieOpen: whatever opens was sealed by us, and only in the one spelling.
func FuzzCookieOpen(f *testing.F) {
	sealer := ring(f, origin, storedKey).Sealer("session")
	f.Add("", 0)
	f.Add(storedCookie, 0)
	f.Add(storedCookie, 1)
	f.Add("deleted", 7)
	f.Fuzz(func(t *testing.T, text string, bit int) {
		if _, err := sealer.Open("__Host-gatehouse", text); err == nil && text != storedCookie {
			t.Errorf("%q opens", text)
		}
		if bit < 0 {
			return
		}
		bad := []byte(storedCookie)
		bad[bit/8%len(bad)] ^= 1 << (bit % 8)
		if _, err := sealer.Open("__Host-gatehouse", string(bad)); err == nil {
			t.Errorf("bit %d flipped, still open", bit)
		}
	})
}

func BenchmarkCookieOpen(b *testing.B) {
	s := RandomKeyring(origin).Sealer("session")
	_, plain := newTicket()
	sealed := seal(b, s, "__Host-gatehouse", string(plain))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open("__Host-gatehouse", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
