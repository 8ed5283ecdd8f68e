package session

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// News tells every replica what has ended, so that what a replica remembers can be
// relied on without asking the store: who remembers something notes the [News.Edition]
// before finding it out, and asks [News.Holds] before using it.
//
// A replica that may have missed news, because its subscription broke or never came
// about, relies on nothing that it remembers until it hears again, and then on nothing
// that is from before.
type News struct {
	store Store
	log   *slog.Logger

	// edition counts what was heard. What was found out before floor, or while
	// hearing is false, does not hold.
	edition, floor atomic.Uint64
	hearing        atomic.Bool

	mu         sync.RWMutex
	young, old map[string]uint64 // what is no longer as it was, and the edition since when
	youngSince uint64            // the edition before everything in young
	oldSince   uint64            // likewise, of old
	turnsOver  time.Time
	tell       []func()

	stop    context.CancelFunc
	running sync.WaitGroup
}

const (
	// newsKept is how long each of the two generations of news is kept at least, and
	// newsLimit how many there are of it at most. What is forgotten no longer holds.
	newsKept  = 10 * time.Minute
	newsLimit = 1 << 16
	// refsAtOnce is how many references go into one message: they have 64 bytes at most.
	refsAtOnce = 400
	maxRef     = 64
)

// The kinds of messages. What a later gateway says besides is taken for a message that
// was lost.
const (
	newsEnded   = "ended"   // sessions and tokens, or everything of a person
	newsChanged = "changed" // a session was renewed
)

// NewNews makes news over the store. Until [News.Start] nothing is heard, and nothing
// holds; news can be told all the same. Log may be nil.
func NewNews(store Store, log *slog.Logger) *News {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &News{store: store, log: log, young: map[string]uint64{}, stop: func() {}}
}

// OnEnd has f called, soon after something has ended, here or elsewhere, or may have.
// It must not block. Call it before Start.
func (n *News) OnEnd(f func()) { n.tell = append(n.tell, f) }

// Start begins to listen. Call Close when done.
func (n *News) Start() {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { n.follow(ctx) })
}

// Close stops listening.
func (n *News) Close() {
	n.stop()
	n.running.Wait()
}

// Hearing reports whether news come: while they don't, each request asks the store.
func (n *News) Hearing() bool { return n.hearing.Load() }

// Edition is what to note before something is found out that is to be remembered.
func (n *News) Edition() uint64 { return n.edition.Load() }

// Holds reports whether what was found out at that edition can be relied on: nothing
// has come to light about any of the references since. An empty one stands for nothing.
func (n *News) Holds(edition uint64, refs ...string) bool {
	if !n.hearing.Load() || edition < n.floor.Load() {
		return false
	}
	return edition == n.edition.Load() || n.Quiet(edition, refs...)
}

// Quiet reports whether nothing about any of the references has come to light since that
// edition, though there may be something that was not heard.
func (n *News) Quiet(edition uint64, refs ...string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, ref := range refs {
		if ref != "" && max(n.young[ref], n.old[ref]) > edition {
			return false
		}
	}
	return edition >= n.oldSince
}

// Ended tells all replicas, this one first, that these are over.
func (n *News) Ended(ctx context.Context, refs ...string) error {
	return n.publish(ctx, newsEnded, refs)
}

// Changed tells all replicas, this one first, that these must be looked at again.
func (n *News) Changed(ctx context.Context, refs ...string) error {
	return n.publish(ctx, newsChanged, refs)
}

func (n *News) publish(ctx context.Context, kind string, refs []string) error {
	n.note(kind, refs)
	for len(refs) > 0 {
		some := refs[:min(len(refs), refsAtOnce)]
		if err := n.store.Publish(ctx, []byte(kind+"\n"+strings.Join(some, "\n"))); err != nil {
			return err
		}
		refs = refs[len(some):]
	}
	return nil
}

// hear takes a message in.
func (n *News) hear(message []byte) {
	var kind string
	var refs []string
	if len(message) <= maxMessage { // a longer one is nobody's of ours
		first, rest, _ := strings.Cut(string(message), "\n")
		kind, refs = first, strings.Split(rest, "\n")
	}
	for _, ref := range refs {
		if len(ref) > maxRef {
			kind = ""
		}
	}
	if kind != newsEnded && kind != newsChanged {
		n.log.Warn("news that make no sense: nothing that is remembered counts", "bytes", len(message))
		n.doubt()
		return
	}
	n.note(kind, refs)
}

func (n *News) note(kind string, refs []string) {
	n.mu.Lock()
	if now := time.Now(); now.After(n.turnsOver) || len(n.young)+len(refs) > newsLimit {
		n.old, n.young = n.young, map[string]uint64{}
		n.oldSince, n.youngSince, n.turnsOver = n.youngSince, n.edition.Load(), now.Add(newsKept)
	}
	next := n.edition.Load() + 1
	for _, ref := range refs {
		n.young[ref] = next
	}
	n.edition.Store(next)
	n.mu.Unlock()
	if kind == newsEnded {
		n.alert()
	}
}

// doubt lets nothing count that was found out until now.
func (n *News) doubt() {
	n.mu.Lock()
	next := n.edition.Load() + 1
	n.floor.Store(next) // first: whoever has seen the new edition is held to it
	n.edition.Store(next)
	n.mu.Unlock()
	n.alert()
}

func (n *News) alert() {
	for _, f := range n.tell {
		f()
	}
}

// follow listens until ctx is over, and begins anew, after a pause, when it may have
// missed something.
func (n *News) follow(ctx context.Context) {
	const shortest, longest = 50 * time.Millisecond, 2 * time.Second
	for pause := shortest; ; pause = min(2*pause, longest) {
		err := n.store.Listen(ctx, func() {
			pause = shortest
			n.doubt()
			n.hearing.Store(true)
		}, n.hear)
		lost := n.hearing.Swap(false)
		if ctx.Err() != nil {
			return
		}
		if lost && !errors.Is(err, errClosed) {
			n.log.Warn("not told any more of sessions that end: each request asks the store until that is over", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(pause)):
		}
	}
}

// jitter is a time around d, so that replicas don't come all at once.
func jitter(d time.Duration) time.Duration {
	var b [1]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return d/2 + d*time.Duration(b[0])/255
}
