package session

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatehouse/authn"
)

// A record in the store is
//
//	version (1) ‖ length of head (4) ‖ head ‖ grant
//
// where head and grant are sealed each for itself with AES-256-GCM under the
// cookie's key, so that an ordinary request never opens the grant. The version,
// the store key and the part are bound into each seal: no record can take
// another's place and no part another part's.
const (
	version = 1
	// The bytes up to newest are kept for the versions of later gateways.
	newest   = 31
	preamble = 5
	// maxRecord bounds a record, in bytes.
	maxRecord = 256 << 10
)

type part byte

const (
	head  part = 'h'
	grant part = 'g'
)

// ErrTooBig says that somebody's identity and grant, groups and tokens for the
// most part, are more than a session can hold.
var ErrTooBig = errors.New("session: the record is over the limit")

var (
	errCorrupt = errors.New("session: the record is not ours")
	errNewer   = errors.New("session: the record is of a newer gateway")
)

// record is a session as it stands in the store, without its grant.
type record struct {
	identity authn.Identity
	created  time.Time
	ends     time.Time // whatever happens
	renewAt  time.Time // zero: never
	// raw is the stored form that the record was read from.
	raw []byte
}

// expired says whether the proof is worthless.
func (r record) expired(now time.Time) bool {
	return !r.identity.Expires.IsZero() && !now.Before(r.identity.Expires)
}

// sealRecord makes the stored form.
func sealRecord(t ticket, r record, secret []byte) ([]byte, error) {
	aead, err := newAEAD(t)
	if err != nil {
		return nil, err
	}
	plain := encodeHead(r)
	out := make([]byte, preamble, preamble+len(plain)+len(secret)+2*aead.Overhead())
	out[0] = version
	binary.BigEndian.PutUint32(out[1:], uint32(len(plain)+aead.Overhead())) //nolint:gosec // what is too long is refused below
	out = aead.Seal(out, nil, plain, binding(t, head))                      //nolint:gosec // it makes a random nonce itself
	out = aead.Seal(out, nil, secret, binding(t, grant))                    //nolint:gosec // likewise
	if len(out) > maxRecord {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrTooBig, len(out), maxRecord)
	}
	return out, nil
}

// openRecord reads the stored form but for its grant. The error is errNewer
// or errCorrupt.
func openRecord(t ticket, raw []byte) (record, error) {
	plain, err := openPart(t, raw, head)
	if err != nil {
		return record{}, err
	}
	r, ok := decodeHead(plain)
	if !ok || r.identity.Subject == "" || r.identity.Issuer == "" || r.ends.IsZero() {
		return record{}, errCorrupt
	}
	r.raw = raw
	return r, nil
}

// openGrant reads the grant of a record's stored form.
func openGrant(t ticket, raw []byte) ([]byte, error) { return openPart(t, raw, grant) }

func openPart(t ticket, raw []byte, p part) ([]byte, error) {
	if len(raw) < preamble || len(raw) > maxRecord || raw[0] != version {
		if len(raw) > 0 && raw[0] > version && raw[0] <= newest {
			return nil, errNewer
		}
		return nil, errCorrupt
	}
	size, rest := binary.BigEndian.Uint32(raw[1:]), raw[preamble:]
	if uint64(size) > uint64(len(rest)) {
		return nil, errCorrupt
	}
	sealed := rest[:size]
	if p == grant {
		sealed = rest[size:]
	}
	aead, err := newAEAD(t)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, binding(t, p))
	if err != nil {
		return nil, errCorrupt
	}
	return plain, nil
}

// newAEAD has random nonces. A key seals twice at sign-in and twice at each
// renewal, far below the 2^32 that random nonces allow.
func newAEAD(t ticket) (cipher.AEAD, error) {
	block, err := aes.NewCipher(t.key)
	if err != nil {
		return nil, fmt.Errorf("session: record key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func binding(t ticket, p part) []byte {
	return append([]byte{version, byte(p)}, t.record()...)
}

// The head is its fields in the order of fields, each string as its length (4)
// and its bytes, each time as seconds (8) and nanoseconds (4). Every head has
// one encoding and every encoding one head. It takes less than half of JSON's time.

func encodeHead(r record) []byte {
	id := r.identity
	b := make([]byte, 0, 512)
	for _, s := range []string{id.Issuer, id.Subject, string(id.Kind), id.Username, id.Name, id.Email, id.Route} {
		b = appendString(b, s)
	}
	for _, t := range []time.Time{id.AuthTime, id.Expires, r.created, r.ends, r.renewAt} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))       //nolint:gosec // the same 64 bits
		b = binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond())) //nolint:gosec // below a billion
	}
	b = appendList(b, id.Groups)
	if len(id.Teams)+len(id.Claims) == 0 {
		return b // as heads were before there was more
	}
	b = appendList(b, id.Teams)
	for _, name := range slices.Sorted(maps.Keys(id.Claims)) {
		b = appendList(appendString(b, name), id.Claims[name])
	}
	return b
}

func appendList(b []byte, list []string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(list))) //nolint:gosec // a record is far shorter, or refused
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) //nolint:gosec // a record is far shorter, or refused
}

// decodeHead says false for whatever encodeHead would not have written.
func decodeHead(plain []byte) (record, bool) {
	d := decoder{rest: string(plain), ok: true} // one copy, shared by all strings
	var r record
	var kind string
	id := &r.identity
	for _, s := range []*string{&id.Issuer, &id.Subject, &kind, &id.Username, &id.Name, &id.Email, &id.Route} {
		*s = d.text()
	}
	id.Kind = authn.Kind(kind)
	for _, t := range []*time.Time{&id.AuthTime, &id.Expires, &r.created, &r.ends, &r.renewAt} {
		*t = d.time()
	}
	id.Groups = d.list()
	if d.rest != "" {
		id.Teams, id.Claims = d.list(), d.claims()
		d.ok = d.ok && len(id.Teams)+len(id.Claims) > 0
	}
	return r, d.ok && d.rest == ""
}

// decoder takes fields off the front of rest; ok turns false where it runs short.
type decoder struct {
	rest string
	ok   bool
}

func (d *decoder) take(n uint64) string {
	if !d.ok || n > uint64(len(d.rest)) {
		d.ok, d.rest = false, ""
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) number() uint32 {
	s := d.take(4)
	if s == "" {
		return 0
	}
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}

// list reads texts. Each takes four bytes at least.
func (d *decoder) list() []string {
	n := d.number()
	if n == 0 || uint64(n) > uint64(len(d.rest))/4 {
		d.ok = d.ok && n == 0
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = d.text()
	}
	return out
}

// claims reads what is left, in the order of the names.
func (d *decoder) claims() map[string][]string {
	var out map[string][]string
	for last := ""; d.ok && d.rest != ""; {
		name, values := d.text(), d.list()
		if out == nil {
			out = map[string][]string{}
		}
		d.ok = d.ok && len(values) > 0 && name > last
		out[name], last = values, name
	}
	return out
}

func (d *decoder) text() string { return d.take(uint64(d.number())) }

func (d *decoder) time() time.Time {
	seconds := uint64(d.number())<<32 | uint64(d.number())
	nanoseconds := d.number()
	if nanoseconds >= uint32(time.Second) {
		d.ok = false
		return time.Time{}
	}
	return time.Unix(int64(seconds), int64(nanoseconds)).UTC() //nolint:gosec // the same 64 bits
}
