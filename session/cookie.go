package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Cookie is how the session cookie is named and where browsers send it.
type Cookie struct {
	// Name is the full name, prefix and all.
	Name string
	// Domain is empty for the one host that set the cookie.
	Domain string
	// Secure keeps the cookie off plain http. It is false only for development.
	Secure bool
}

// NewCookie names the cookie. A secure one gets the prefix by which browsers
// refuse it from elsewhere: "__Host-" without a domain, else "__Secure-".
func NewCookie(name, domain string, secure bool) Cookie {
	switch {
	case secure && domain == "":
		name = "__Host-" + name
	case secure:
		name = "__Secure-" + name
	}
	return Cookie{Name: name, Domain: domain, Secure: secure}
}

// Attempt names the cookie of the sign-in attempt id.
func (c Cookie) Attempt(id string) string { return c.Name + "_attempt_" + id }

func (c Cookie) set(w http.ResponseWriter, value string, lifetime time.Duration) {
	c.write(w, value, int(lifetime/time.Second), time.Time{})
}

// expire takes the cookie back. Browsers find it by name, domain and path, and
// refuse a prefixed one without its attributes, so all are those of set.
func (c Cookie) expire(w http.ResponseWriter) {
	c.write(w, "", -1, time.Unix(1, 0))
}

func (c Cookie) write(w http.ResponseWriter, value string, maxAge int, expires time.Time) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // not Secure in development only
		Name: c.Name, Value: value, Domain: c.Domain, Path: "/", MaxAge: maxAge, Expires: expires,
		Secure: c.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// ticket is what the browser holds: where its record is and the key to it.
type ticket struct {
	// hash stands for the id wherever the id must not be seen.
	hash string
	key  []byte
}

const (
	idSize     = 16
	keySize    = 32
	ticketSize = idSize + keySize
)

// newTicket makes a random ticket and the bytes that go into the cookie.
func newTicket() (ticket, []byte) {
	plain := make([]byte, ticketSize)
	rand.Read(plain) // never fails: it ends the program instead
	return parseTicket(plain), plain
}

// parseTicket reads bytes of ticketSize.
func parseTicket(plain []byte) ticket {
	sum := sha256.Sum256(plain[:idSize])
	return ticket{hash: base64.RawURLEncoding.EncodeToString(sum[:]), key: plain[idSize:]}
}

// isHash says whether text has the form of a ticket's hash.
func isHash(text string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(sum) == sha256.Size && len(text) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// maxReference bounds the names in a reference, in bytes: it goes into a cookie.
const maxReference = 300

// reference names a session by its hash, and whose it is, if that is known and short.
func reference(hash string, p Person) string {
	if p == (Person{}) || len(p.Issuer)+len(p.Subject) > maxReference {
		return hash
	}
	b := base64.RawURLEncoding
	return hash + "." + b.EncodeToString([]byte(p.Issuer)) + "." + b.EncodeToString([]byte(p.Subject))
}

// parseReference reads what reference has made.
func parseReference(text string) (hash string, p Person, err error) {
	hash, whose, known := strings.Cut(text, ".")
	if known {
		issuer, subject, _ := strings.Cut(whose, ".")
		p = Person{decoded(issuer), decoded(subject)}
	}
	if !isHash(hash) || reference(hash, p) != text {
		return "", Person{}, errors.New("session: a former session that is no reference")
	}
	return hash, p, nil
}

// decoded is a text out of base64url; empty for what is none.
func decoded(text string) string {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return string(b)
}

// record is the key of the session's record in the store.
func (t ticket) record() string { return "session:" + t.hash }

// lock is the key of the mark of who renews the session.
func (t ticket) lock() string { return "renew:" + t.hash }
