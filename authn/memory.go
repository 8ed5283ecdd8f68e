package authn

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"gatehouse/authn/meter"
)

// MemoryOptions is what [NewMemory] makes a Memory of.
type MemoryOptions struct {
	// Lifetime is how long a proof counts without asking again; zero means that
	// it is asked for each time, though once for all who ask at once.
	Lifetime time.Duration
	// RejectedLifetime is how long a refusal counts.
	RejectedLifetime time.Duration
	// Size is how many proofs are kept at most, and as many refusals; zero means
	// 10,000.
	Size int
	// Limit bounds one check; zero means 10 seconds.
	Limit time.Duration
	// AtOnce is how many checks may be under way; zero means 1,000. Further ones
	// are [ErrCrowded].
	AtOnce int
	// News tells of what has ended before its time, by the names that Ref gives. Both may
	// be nil.
	News News
	Ref  func(Identity) string
}

// News tells whether something has ended since it was found out.
type News interface {
	// Edition is what to note before finding something out.
	Edition() uint64
	// Holds reports whether it is certain that nothing of those names has ended since
	// that edition, and Quiet, whether nothing is known to have.
	Holds(edition uint64, refs ...string) bool
	Quiet(edition uint64, refs ...string) bool
}

// ErrCrowded says that too many checks are under way to begin another. It is
// neither a proof nor a refusal.
var ErrCrowded = errors.New("authn: too many credentials are being checked at once")

// Memory remembers what credentials have proved, in this process and for a
// while, so that what is sent with a hundred requests is checked once. A
// credential is known by its HMAC under a random key of the process: nothing in
// the memory can be turned back into it, and nobody can prepare two that meet.
//
// There is one proof at most for each name, and whoever sends another secret
// under that name ends it before the secret is looked at. So what somebody else
// has proved is no place to try guesses out.
//
// Whatever is neither a proof nor a plain refusal is not remembered.
type Memory struct {
	good, bad, limit time.Duration

	news News
	ref  func(Identity) string

	sums     sync.Pool                     // of *summing with the key
	proofs   *otter.Cache[sum, remembered] // by name
	refusals *otter.Cache[sum, remembered] // by name and secret
	flights  singleflight.Group
	places   chan struct{} // one for each check under way

	hits, noes, misses meter.Counter
}

type sum [sha256.Size]byte

// summing is what one sum is made with.
type summing struct {
	hash hash.Hash
	text []byte
}

// remembered is an answer and its end.
type remembered struct {
	credential sum // name and secret
	identity   Identity
	err        error
	until      time.Time
	// ref is what the end of a proof is told by, and edition that of the news when the
	// check began.
	ref     string
	edition uint64
}

// NewMemory makes an empty memory.
func NewMemory(o MemoryOptions) (*Memory, error) {
	if o.Size <= 0 {
		o.Size = 10_000
	}
	if o.Limit <= 0 {
		o.Limit = 10 * time.Second
	}
	if o.AtOnce <= 0 {
		o.AtOnce = 1000
	}
	// Its policy keeps what is asked for often, so a flood of wrong credentials
	// drives out no right one. The end of an answer is ours to watch.
	proofs, err := otter.New(&otter.Options[sum, remembered]{MaximumSize: o.Size})
	if err != nil {
		return nil, fmt.Errorf("authn: memory: %w", err)
	}
	refusals, err := otter.New(&otter.Options[sum, remembered]{MaximumSize: o.Size})
	if err != nil {
		return nil, fmt.Errorf("authn: memory: %w", err)
	}
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails: it ends the program instead
	m := &Memory{good: o.Lifetime, bad: o.RejectedLifetime, limit: o.Limit, proofs: proofs, refusals: refusals, places: make(chan struct{}, o.AtOnce), news: o.News, ref: o.Ref}
	m.sums.New = func() any { return &summing{hash: hmac.New(sha256.New, key)} }
	return m, nil
}

// Verify returns what is remembered of the secret under that name, or asks check.
// All who ask for the same at once share a check; it goes on when one of them
// gives up, under a time limit of its own. The parts of a name are bound with
// their lengths, so that "ab", "c" is not "a", "bc".
func (m *Memory) Verify(ctx context.Context, check func(context.Context) (Identity, error), secret string, name ...string) (Identity, error) {
	return m.verify(ctx, false, check, secret, name)
}

// VerifyToken is Verify for what is both a name and a secret, so that any number of
// them can be remembered.
func (m *Memory) VerifyToken(ctx context.Context, token string, check func(context.Context) (Identity, error)) (Identity, error) {
	return m.verify(ctx, false, check, "", []string{token})
}

// VerifyAnew is Verify for what is worth more than one request, such as a
// session: what was proved before does not count, only what is being proved now.
// What was refused a moment ago is refused again.
func (m *Memory) VerifyAnew(ctx context.Context, check func(context.Context) (Identity, error), secret string, name ...string) (Identity, error) {
	return m.verify(ctx, true, check, secret, name)
}

// Forget ends what was proved under that name.
func (m *Memory) Forget(name ...string) { m.proofs.Invalidate(m.sum(name)) }

func (m *Memory) verify(ctx context.Context, anew bool, check func(context.Context) (Identity, error), secret string, name []string) (Identity, error) {
	who := m.sum(name)
	credential := who // of a token, which is its own name
	if secret != "" || len(name) != 1 {
		credential = m.sum(append([]string{string(who[:])}, secret))
	}
	now := time.Now()
	a, ok := m.recall(who, credential, anew, now)
	m.count(a, ok, now)
	if ok {
		return a.identity, a.err
	}
	a = m.join(ctx, anew, check, who, credential)
	if a.err == nil && m.news != nil && !m.news.Quiet(a.edition, a.ref) {
		// It has ended since the check began, perhaps before this request came. The
		// next check begins later than that.
		a = m.join(ctx, anew, check, who, credential)
	}
	return a.identity, a.err
}

// join waits for the check of a credential that is under way, or begins one.
func (m *Memory) join(ctx context.Context, anew bool, check func(context.Context) (Identity, error), who, credential sum) remembered {
	flight := m.flights.DoChan(string(credential[:]), func() (any, error) {
		return m.ask(ctx, anew, check, who, credential), nil
	})
	select {
	case <-ctx.Done():
		return remembered{err: ctx.Err()}
	case res := <-flight:
		a, _ := res.Val.(remembered)
		return a
	}
}

// ask has a credential checked, unless a check has just ended.
func (m *Memory) ask(ctx context.Context, anew bool, check func(context.Context) (Identity, error), who, credential sum) remembered {
	if a, ok := m.recall(who, credential, anew, time.Now()); ok {
		return a
	}
	select {
	case m.places <- struct{}{}:
		defer func() { <-m.places }()
	default:
		return remembered{err: ErrCrowded}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.limit)
	defer cancel()
	edition := m.edition()
	id, err := contained(ctx, check)
	if a, ok := m.bridge(who, credential, err); ok && !anew {
		return a
	}
	return m.keep(who, credential, edition, id, err)
}

// recall returns a refusal, or a proof unless it is asked for anew. A proof of
// another secret is ended.
func (m *Memory) recall(who, credential sum, anew bool, now time.Time) (remembered, bool) {
	if a, ok := m.refusals.GetIfPresent(credential); ok && now.Before(a.until) {
		return a, true
	}
	a, ok := m.proofs.GetIfPresent(who)
	if ok && a.credential != credential {
		m.proofs.Invalidate(who)
	}
	return a, ok && !anew && a.credential == credential && now.Before(a.until) && m.holds(a)
}

func (m *Memory) count(a remembered, found bool, now time.Time) {
	switch {
	case !found:
		m.misses.Add(now)
	case a.err != nil:
		m.noes.Add(now)
	default:
		m.hits.Add(now)
	}
}

// Recall is how often what was remembered did, under the name of a kind.
func (m *Memory) Recall(kind string) Recall {
	return Recall{
		Kind: kind, Hits: m.hits.Load(), Refusals: m.noes.Load(), Misses: m.misses.Load(),
		Proofs: m.proofs.EstimatedSize(), Noes: m.refusals.EstimatedSize(),
	}
}

func (m *Memory) edition() uint64 {
	if m.news == nil {
		return 0
	}
	return m.news.Edition()
}

// holds reports whether a proof has not ended before its time. What can be ended by
// itself must certainly not have been; for the rest it is enough that nothing is known.
func (m *Memory) holds(a remembered) bool {
	switch {
	case m.news == nil:
		return true
	case a.identity.Access != "":
		return m.news.Holds(a.edition, a.ref)
	}
	return m.news.Quiet(a.edition, a.ref)
}

// bridge returns what is remembered when the check could not find out: until its time is
// over it counts, unless it is known to have ended.
func (m *Memory) bridge(who, credential sum, err error) (remembered, bool) {
	if m.news == nil || err == nil || errors.Is(err, ErrRejected) || errors.Is(err, ErrNoCredential) {
		return remembered{}, false
	}
	a, ok := m.proofs.GetIfPresent(who)
	return a, ok && a.credential == credential && time.Now().Before(a.until) && m.news.Quiet(a.edition, a.ref)
}

// contained keeps a panic on the flight's goroutine from ending the gateway.
func contained(ctx context.Context, check func(context.Context) (Identity, error)) (id Identity, err error) {
	defer func() {
		if v := recover(); v != nil {
			id, err = Identity{}, fmt.Errorf("authn: a check panicked: %v", v)
		}
	}()
	id, err = check(ctx)
	if err != nil {
		id = Identity{}
	}
	return id, err
}

func (m *Memory) keep(who, credential sum, edition uint64, id Identity, err error) remembered {
	a := remembered{credential: credential, identity: id, err: err, until: time.Now(), edition: edition}
	var throttled *Throttled
	switch {
	case err == nil:
		a.until = a.until.Add(m.good)
		if !id.Expires.IsZero() && id.Expires.Before(a.until) {
			a.until = id.Expires
		}
		if m.news != nil {
			a.ref = m.ref(id)
		}
		m.proofs.Set(who, a)
	case !errors.As(err, &throttled) && errors.Is(err, ErrRejected):
		a.until = a.until.Add(m.bad)
		m.refusals.Set(credential, a)
	}
	return a
}

func (m *Memory) sum(parts []string) sum {
	s := m.sums.Get().(*summing)
	defer m.sums.Put(s)
	s.text = s.text[:0]
	for _, p := range parts {
		s.text = binary.BigEndian.AppendUint64(s.text, uint64(len(p)))
		s.text = append(s.text, p...)
	}
	s.hash.Reset()
	s.hash.Write(s.text)
	clear(s.text) // no secret stays behind
	var out sum
	s.hash.Sum(out[:0])
	return out
}
