package session

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json/v2"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
)

func sample() record {
	now := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	return record{
		identity: authn.Identity{
			Issuer: "https://idp.example.com/realms/main", Subject: "okta|00u1a2b3c4d5e6f7g8h9", Kind: authn.Person,
			Username: "ada", Name: "Ada Lövelace", Email: "ada@example.com", Route: "okta",
			Groups:   []string{"engineering", "wandb-admins", "everyone", "", "a,b"},
			AuthTime: now.Add(-time.Minute), Expires: now.Add(time.Hour),
		},
		created: now, ends: now.Add(168 * time.Hour), renewAt: now.Add(50 * time.Minute),
	}
}

var ignoreRaw = cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "raw" }, cmp.Ignore())

func diff(want, got record) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(record{}), ignoreRaw)
}

func mustSeal(t testing.TB, k ticket, r record, secret []byte) []byte {
	t.Helper()
	raw, err := sealRecord(k, r, secret)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRecord(t *testing.T) {
	k, _ := newTicket()
	far := sample()
	far.identity.Expires = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	bare := record{identity: authn.Identity{Issuer: "i", Subject: "s"}, ends: time.Unix(1, 0).UTC()}
	teams, claims := sample(), bare
	teams.identity.Teams = []string{"a", "b"}
	claims.identity.Claims = map[string][]string{"dept": {"x", "y"}, "a": {""}}
	for name, want := range map[string]record{"full": sample(), "bare": bare, "far": far, "teams": teams, "claims": claims} {
		raw := mustSeal(t, k, want, []byte("refresh-token"))
		got, err := openRecord(k, raw)
		if err != nil {
			t.Fatal(name, err)
		}
		if d := diff(want, got); d != "" {
			t.Error(name, d)
		}
		secret, err := openGrant(k, raw)
		if err != nil || string(secret) != "refresh-token" {
			t.Errorf("%s: grant %q, %v", name, secret, err)
		}
		for _, plain := range []string{"refresh-token", "okta", "ada@", "engineering"} {
			if bytes.Contains(raw, []byte(plain)) {
				t.Errorf("%s: the stored form shows %q", name, plain)
			}
		}
	}
}

func TestRecordRefused(t *testing.T) {
	alice, _ := newTicket()
	bob, _ := newTicket()
	raw := mustSeal(t, alice, sample(), []byte("grant"))
	refuse := func(t *testing.T, k ticket, raw []byte, want error) {
		t.Helper()
		if r, err := openRecord(k, raw); !errors.Is(err, want) {
			t.Errorf("openRecord = %v, %v, want %v", r.identity, err, want)
		}
	}
	t.Run("RDS-08 swapped", func(t *testing.T) {
		refuse(t, bob, raw, errCorrupt)
		refuse(t, ticket{hash: bob.hash, key: alice.key}, raw, errCorrupt) // the right key, the wrong place
		refuse(t, ticket{hash: alice.hash, key: bob.key}, raw, errCorrupt)
	})
	t.Run("RDS-08 parts swapped", func(t *testing.T) {
		size := binary.BigEndian.Uint32(raw[1:])
		head, grant := raw[preamble:][:size], raw[preamble+size:]
		turned := binary.BigEndian.AppendUint32([]byte{version}, uint32(len(grant)))
		turned = append(append(turned, grant...), head...)
		refuse(t, alice, turned, errCorrupt)
		if _, err := openGrant(alice, turned); err == nil {
			t.Error("the head opens as a grant")
		}
	})
	t.Run("RDS-07 every bit and every length", func(t *testing.T) {
		size := preamble + int(binary.BigEndian.Uint32(raw[1:]))
		for i := range 8 * size {
			bad := bytes.Clone(raw)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := openRecord(alice, bad); err == nil {
				t.Fatalf("bit %d flipped, still open", i)
			}
		}
		for i := range size {
			if _, err := openRecord(alice, raw[:i]); err == nil {
				t.Fatalf("open at length %d", i)
			}
		}
		for i := size; i < len(raw); i++ {
			if _, err := openGrant(alice, raw[:i]); err == nil {
				t.Fatalf("grant open at length %d", i)
			}
		}
	})
	t.Run("SES-24 garbage", func(t *testing.T) {
		for _, s := range []string{"", "null", "{}", `{"sub":"alice"}`, "%n%s", "\x00", "\x01", "\x01\xff\xff\xff\xff", strings.Repeat("x", 1000)} {
			refuse(t, alice, []byte(s), errCorrupt)
		}
		refuse(t, alice, make([]byte, 50<<20), errCorrupt)
	})
	t.Run("OPS-20 a later version", func(t *testing.T) {
		refuse(t, alice, append([]byte{version + 1}, raw[1:]...), errNewer)
		refuse(t, alice, []byte{newest}, errNewer)
		refuse(t, alice, []byte{newest + 1}, errCorrupt)
		refuse(t, alice, append([]byte{0}, raw[1:]...), errCorrupt)
	})
	t.Run("SES-24 no subject, no issuer, no end", func(t *testing.T) {
		for _, spoil := range []func(*record){
			func(r *record) { r.identity.Subject = "" },
			func(r *record) { r.identity.Issuer = "" },
			func(r *record) { r.ends = time.Time{} },
		} {
			r := sample()
			spoil(&r)
			refuse(t, alice, mustSeal(t, alice, r, nil), errCorrupt)
		}
	})
	t.Run("SES-34 too big", func(t *testing.T) {
		r := sample()
		r.identity.Groups = []string{strings.Repeat("g", maxRecord)}
		if _, err := sealRecord(alice, r, nil); !errors.Is(err, ErrTooBig) {
			t.Error(err)
		}
	})
	t.Run("a key of another size", func(t *testing.T) {
		bad := ticket{hash: alice.hash, key: alice.key[:20]}
		if _, err := sealRecord(bad, sample(), nil); err == nil {
			t.Error("seals")
		}
		if _, err := openRecord(bad, raw); err == nil {
			t.Error("opens")
		}
	})
}

func TestHeadIsCanonical(t *testing.T) {
	plain := encodeHead(sample())
	for i := range plain {
		if _, ok := decodeHead(plain[:i]); ok {
			t.Errorf("decodes at length %d", i)
		}
	}
	if _, ok := decodeHead(append(plain, 0)); ok {
		t.Error("decodes with a byte behind")
	}
	late := encodeHead(record{})
	binary.BigEndian.PutUint32(late[7*4+8:], 1e9) // a whole second of nanoseconds
	if _, ok := decodeHead(late); ok {
		t.Error("decodes a time that has another spelling")
	}
	many := bytes.Clone(plain)
	at := len(many) - len("a,b") - 4 - 4 - len("everyone") - 4 - len("wandb-admins") - 4 - len("engineering") - 4 - 4
	if binary.BigEndian.Uint32(many[at:]) != 5 {
		t.Fatal("the number of groups is elsewhere")
	}
	binary.BigEndian.PutUint32(many[at:], 1<<31) // must not be allocated
	if _, ok := decodeHead(many); ok {
		t.Error("decodes two thousand million groups")
	}
}

// FuzzHead: whatever decodes is exactly what encodes to it.
func FuzzHead(f *testing.F) {
	more := sample()
	more.identity.Teams, more.identity.Claims = []string{"t"}, map[string][]string{"a": {"b"}, "c": {"d", ""}}
	f.Add(encodeHead(more))
	f.Add(encodeHead(sample()))
	f.Add(encodeHead(record{}))
	f.Fuzz(func(t *testing.T, plain []byte) {
		if r, ok := decodeHead(plain); ok && !bytes.Equal(encodeHead(r), plain) {
			t.Errorf("%q decodes to %v, which encodes differently", plain, r)
		}
	})
}

// storedRecord is sample with the grant "grant" as the first gateway stored it. It
// must open for ever, or its version must change.
const storedRecord = "AQAAAROMD6qj76Cegljy4GkAn0tqWOX63Jn+uNYHJPNAxlZ8TK/RC72EuWz2KxFIY1aMIVP++LFlxyhiCxuRK9IOF9varGxmZ0WRe9Q8wOBPGE" +
	"RZ2IrHYwR/Gl02qhCIJCKT5E93UcEz4wM9bCscJWo0CDAkBPpQsOpY6UYe/1nv/m8+qHmMfJjJ6uF29q5/w57wuCtshXvlBkMLUO6fK+TsVmpJ" +
	"Fdj4OOmo2FZRijXU3Bd3vHTOyAWac2Q025qZfnLcSWBRyqwqb4iD02cE5mf5MA3OBGoea2qlEPxQmajyBCmFrax2aSlKJcmMA+zZBMhKcI/3HI" +
	"BhgoFnof5wDTm65AxbOLd5aYGkdHfSQcmBj6X1YBqbVTVFRlYjBlkN+RIyz/gcaS6E7UpXn7odGjNh/xiIBlR7XA=="

func stored(t testing.TB) (ticket, []byte) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(storedRecord)
	if err != nil {
		t.Fatal(err)
	}
	return parseTicket(bytes.Repeat([]byte("0123456789abcdef"), 3)), raw
}

func TestStoredRecord(t *testing.T) {
	k, raw := stored(t)
	got, err := openRecord(k, raw)
	if d := diff(sample(), got); err != nil || d != "" {
		t.Error(err, d)
	}
	if secret, err := openGrant(k, raw); err != nil || string(secret) != "grant" {
		t.Errorf("grant %q, %v", secret, err)
	}
}

// FuzzRecordOpen: whatever opens is what was sealed, byte for byte up to the grant.
func FuzzRecordOpen(f *testing.F) {
	k, raw := stored(f)
	size := preamble + int(binary.BigEndian.Uint32(raw[1:]))
	f.Add(raw)
	f.Add(raw[:size])
	f.Add([]byte("null"))
	f.Add([]byte{version, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := openRecord(k, data); err == nil && !bytes.HasPrefix(data, raw[:size]) {
			t.Errorf("%q opens", data)
		}
		if _, err := openGrant(k, data); err == nil && !bytes.HasSuffix(data, raw[size:]) {
			t.Errorf("the grant of %q opens", data)
		}
	})
}

func BenchmarkOpenRecord(b *testing.B) {
	k, _ := newTicket()
	raw := mustSeal(b, k, sample(), bytes.Repeat([]byte("grant"), 400))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := openRecord(k, raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHead compares the head's encoding with the obvious one.
func BenchmarkHead(b *testing.B) {
	r := sample()
	b.Run("ours", func(b *testing.B) {
		plain := encodeHead(r)
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := decodeHead(plain); !ok {
				b.Fatal("does not decode")
			}
		}
	})
	b.Run("JSON", func(b *testing.B) {
		plain, err := json.Marshal(r.identity)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			var id authn.Identity
			if err := json.Unmarshal(plain, &id); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestLaterEntries: what a later gateway notes of an access beside what this one does is
// no reason to know nothing of it.
func TestLaterEntries(t *testing.T) {
	ring, err := NewKeyring("https://wandb.example.com", []string{"VGhpcyBrZXkgaXMgZm9yIHRlc3RzIG9ubHksIG9rPyE="})
	if err != nil {
		t.Fatal(err)
	}
	store := NewMemory()
	register := NewRegister(store, ring, nil, 0)
	k, _ := newTicket()
	a := accessOf(k.session(), AccessSession, sample(), Client{}, time.Now())
	a.Ends = time.Now().Add(time.Hour).UTC()
	index := register.newest(personIndex, a.Issuer, a.Subject)
	sealed, err := register.seal(index, a.ID, struct {
		Access
		Device map[string]string `json:"device"`
	}{a, map[string]string{"kind": "phone"}})
	if err == nil {
		err = store.Enter(t.Context(), index, a.ID, sealed, time.Hour)
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := register.Of(t.Context(), a.Person)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if d := cmp.Diff(a, list[0]); d != "" {
		t.Error(d)
	}
}
