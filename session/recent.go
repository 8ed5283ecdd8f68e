package session

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// recent is the sessions that this process has seen lately, by their cookies' text. The
// text has a random key in it, so its hash names it and says nothing of it. A session is
// remembered without its grant, and for [Options.Remember] at most.
type recent struct {
	news  *News
	keeps time.Duration
	cache *otter.Cache[[sha256.Size]byte, *known] // nil: nothing is remembered
}

// known is a session as it is remembered.
type known struct {
	record
	hash  string
	until time.Time
	// edition is that of the news when the session was last looked at.
	edition atomic.Uint64
	// noted is when a use of it was last to be noted, in Unix nanoseconds.
	noted atomic.Int64
}

// place is where a request's session is remembered, if it can be.
type place struct {
	sum [sha256.Size]byte
	ok  bool
}

const (
	recentBytes = 64 << 20
	// maxPlain bounds the text of a cookie that is looked for, in bytes.
	maxPlain = 512
	// knownBytes is about what a session takes besides its texts.
	knownBytes = 500
)

func newRecent(o Options) *recent {
	r := &recent{news: o.Register.news, keeps: min(o.Remember, o.IdleTimeout)} // or an idle session would be remembered beyond its end
	if r.news == nil || o.Remember <= 0 {
		return r
	}
	if o.RememberBytes == 0 {
		o.RememberBytes = recentBytes
	}
	r.cache = otter.Must(&otter.Options[[sha256.Size]byte, *known]{
		MaximumWeight: o.RememberBytes,
		Weigher:       func(_ [sha256.Size]byte, k *known) uint32 { return k.weight() },
	})
	return r
}

func (r *recent) edition() uint64 {
	if r.cache == nil {
		return 0
	}
	return r.news.Edition()
}

// find returns what is remembered of the request's session, nil for nothing, and where
// it would be. Whatever is not one plain cookie is left to who reads more closely.
func (r *recent) find(req *http.Request, name string) (*known, place) {
	if r.cache == nil {
		return nil, place{}
	}
	value, ok := onlyCookie(req.Header["Cookie"], name)
	if !ok {
		return nil, place{}
	}
	var text [maxPlain]byte // on the stack
	p := place{sum: sha256.Sum256(text[:copy(text[:], value)]), ok: true}
	k, _ := r.cache.GetIfPresent(p.sum)
	return k, p
}

// onlyCookie is the value of the one cookie of that name, if the lines hold the name just
// once and nothing about it is unusual. What it finds is what [http.Request.CookiesNamed]
// finds: the name inside of another cookie, where anybody can write it, is none.
func onlyCookie(lines []string, name string) (string, bool) {
	if len(lines) != 1 {
		return "", false
	}
	line := lines[0]
	i := strings.Index(line, name)
	if i < 0 || strings.Contains(line[i+len(name):], name) {
		return "", false
	}
	if before := line[:i]; before != "" && !strings.HasSuffix(before, "; ") && !strings.HasSuffix(before, ";") {
		return "", false
	}
	value, found := strings.CutPrefix(line[i+len(name):], "=")
	if end := strings.IndexByte(value, ';'); end >= 0 {
		value = value[:end]
	}
	return value, found && len(value) <= maxPlain && canonical(value)
}

// keep remembers a session that was looked at when the news were at that edition.
func (r *recent) keep(p place, t ticket, rec record, edition uint64, now time.Time) {
	if !p.ok {
		return
	}
	k := &known{record: rec, hash: t.hash, until: now.Add(r.keeps)}
	k.raw = nil
	if rec.ends.Before(k.until) {
		k.until = rec.ends
	}
	k.edition.Store(edition)
	r.cache.Set(p.sum, k)
}

// holds reports whether nothing has been heard of the session since it was looked at.
func (r *recent) holds(k *known) bool {
	now := r.news.Edition()
	if !r.news.Holds(k.edition.Load(), k.identity.Access) {
		return false
	}
	k.edition.Store(now)
	return true
}

// weight is about what a session takes of memory, in bytes.
func (k *known) weight() uint32 {
	id := &k.identity
	n := knownBytes + len(k.hash) + len(id.Access)
	for _, s := range [...]string{id.Issuer, id.Subject, id.Username, id.Name, id.Email, id.Route} {
		n += len(s)
	}
	for _, list := range [...][]string{id.Groups, id.Teams} {
		n += listBytes(list)
	}
	for name, list := range id.Claims {
		n += 100 + len(name) + listBytes(list)
	}
	return uint32(n) //nolint:gosec // a record is far shorter
}

func listBytes(list []string) int {
	n := 16 * len(list)
	for _, s := range list {
		n += len(s)
	}
	return n
}

// counts reports whether what is remembered of a session will do for a request.
func (s *Sessions) counts(k *known, now time.Time) bool {
	return now.Before(k.until) && !s.due(k.record, now) && !k.expired(now) && s.recent.holds(k)
}

// bridges reports whether what is remembered of a session will do while the store can't
// be asked.
func (s *Sessions) bridges(k *known, now time.Time) bool {
	return now.Before(k.until) && !k.expired(now) && s.recent.news.Quiet(k.edition.Load(), k.identity.Access)
}
