package ldap

import (
	"cmp"
	"slices"
	"time"

	"gatehouse/authn"
)

// failure is a wrong password, or an attempt that is under way.
type failure struct {
	ID      string `json:"i,omitempty"` // of an attempt under way
	At      int64  `json:"t"`           // Unix milliseconds
	Address string `json:"a,omitempty"` // a digest
}

func (f failure) at() time.Time { return time.UnixMilli(f.At) }

// tally is what the store has of one person or one address, oldest first.
type tally struct {
	Failures []failure `json:"f"`
}

// maxTally bounds a tally; the oldest failures go first.
const maxTally = 2000

// tidy drops what is too old to count.
func (t *tally) tidy(keep time.Duration) {
	now := time.Now()
	t.drop(func(f failure) bool { return now.Sub(f.at()) > keep })
	slices.SortStableFunc(t.Failures, func(a, b failure) int { return cmp.Compare(a.At, b.At) })
	t.Failures = t.Failures[max(0, len(t.Failures)-maxTally):]
}

func (t *tally) drop(which func(failure) bool) { t.Failures = slices.DeleteFunc(t.Failures, which) }

// limit is how many failures there may be within a time, and for how long
// nothing is looked at after the last of that many.
type limit struct {
	count     int
	find, ban time.Duration
	// from is the address whose failures count; empty for all.
	from string
}

// enter adds an attempt under way, if no limit is reached. It is errPending where
// one would not be but for others that are under way.
func (t *tally) enter(f failure, limits ...limit) error {
	for _, l := range limits {
		if err := t.wait(l); err != nil {
			if slices.ContainsFunc(t.of(l), failure.pending) {
				return errPending
			}
			return err
		}
	}
	t.Failures = append(t.Failures, f)
	return nil
}

func (f failure) pending() bool { return f.ID != "" && time.Since(f.at()) < pendingTime }

// wait returns *authn.Throttled while the limit is reached.
func (t *tally) wait(l limit) error {
	now := time.Now()
	if end := until(t.of(l), l, now); now.Before(end) {
		return &authn.Throttled{After: end.Sub(now)}
	}
	return nil
}

// of is the failures that count for a limit.
func (t *tally) of(l limit) []failure {
	if l.from == "" {
		return t.Failures
	}
	return slices.DeleteFunc(slices.Clone(t.Failures), func(f failure) bool { return f.Address != l.from })
}

// until says when the wait is over that failures bring about, zero if they don't.
// Every run of that many counts, not the last alone: one entry of a clock that is
// ahead must not hide the others.
func until(failures []failure, l limit, now time.Time) time.Time {
	var latest time.Time
	for i := l.count - 1; i < len(failures); i++ {
		first, last := failures[i-l.count+1].at(), failures[i].at()
		if end := last.Add(l.ban); last.Sub(first) <= l.find && end.After(latest) && now.Before(end) {
			latest = end
		}
	}
	return latest
}
