package session

import (
	"fmt"
	"sync/atomic"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/meter"
)

// tally is what has happened to the sessions in this process.
type tally struct {
	hits, misses, bridged          meter.Counter
	started                        atomic.Uint64
	signedOut, expired, refused    atomic.Uint64
	byProvider                     atomic.Uint64
	renewed, notRenewed, lockWaits atomic.Uint64
	lockWaited                     atomic.Int64 // nanoseconds
}

// Stats is what has happened to the sessions, as far as this process had to do with it.
type Stats struct {
	// Recall is how often a remembered session did for a request; Bridged, how often one
	// did because the store could not be asked.
	Recall  authn.Recall
	Bridged uint64
	// Started is sign-ins. Of the ended, SignedOut is by people, Expired and Refused by
	// the end of their proof and its provider's no at a renewal, and ByProvider by its
	// logout calls.
	Started, SignedOut, Expired, Refused, ByProvider uint64
	// Renewed are renewals that went well and NotRenewed those for which there was no
	// answer; Refused has the others.
	Renewed, NotRenewed uint64
	// LockWaits is how often another replica's renewal was waited for, and LockWaited
	// how long.
	LockWaits  uint64
	LockWaited time.Duration
}

// Stats is what has happened so far. It asks nobody.
func (s *Sessions) Stats() Stats {
	t := &s.tally
	out := Stats{
		Recall:  authn.Recall{Kind: "session", Hits: t.hits.Load(), Misses: t.misses.Load()},
		Bridged: t.bridged.Load(), Started: t.started.Load(),
		SignedOut: t.signedOut.Load(), Expired: t.expired.Load(), Refused: t.refused.Load(), ByProvider: t.byProvider.Load(),
		Renewed: t.renewed.Load(), NotRenewed: t.notRenewed.Load(),
		LockWaits: t.lockWaits.Load(), LockWaited: time.Duration(t.lockWaited.Load()),
	}
	if s.recent.cache != nil {
		out.Recall.Proofs = s.recent.cache.EstimatedSize()
	}
	return out
}

// waited notes that another replica's renewal was waited for.
func (t *tally) waited(d time.Duration) {
	t.lockWaits.Add(1)
	t.lockWaited.Add(int64(d))
}

// refusal is the no to a session cookie. It wraps [authn.ErrRejected].
type refusal struct{ text, reason string }

func (r refusal) Error() string { return fmt.Sprintf("session: %s: %s", r.text, authn.ErrRejected) }

// Is makes it a kind of [authn.ErrRejected].
func (r refusal) Is(target error) bool { return target == authn.ErrRejected }

// Reason is why, for counts.
func (r refusal) Reason() string { return r.reason }
