package ldap

import (
	"cmp"
	"slices"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
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
func (t *tally) tidy(ban time.Duration) {
	now := time.Now()
	t.drop(func(f failure) bool { return now.Sub(f.at()) > ban })
	slices.SortStableFunc(t.Failures, func(a, b failure) int { return cmp.Compare(a.At, b.At) })
	t.Failures = t.Failures[max(0, len(t.Failures)-maxTally):]
}

func (t *tally) drop(which func(failure) bool) { t.Failures = slices.DeleteFunc(t.Failures, which) }

// limit is how many failures there may be, of those that count for it.
type limit struct {
	config.Regulation
	count int
	// from is the address whose failures count; empty for all.
	from string
}

// rules are the limits of the settings.
type rules struct{ config.Regulation }

func (l rules) address() limit { return limit{Regulation: l.Regulation, count: l.MaxAddressRetries} }

// person has two: one for each address, which leaves the person a try elsewhere,
// and one for all.
func (l rules) person(from string) []limit {
	all := limit{Regulation: l.Regulation, count: l.MaxUserRetries}
	if from == "" {
		return []limit{all}
	}
	return []limit{{Regulation: l.Regulation, count: l.MaxRetries, from: from}, all}
}

// enter adds an attempt under way, if no limit is reached. It is errPending where
// one would not be but for others that are under way.
func (t *tally) enter(f failure, all ...limit) error {
	for _, l := range all {
		if err := t.wait(l); err != nil {
			if t.pending(l) {
				return errPending
			}
			return err
		}
	}
	t.Failures = append(t.Failures, f)
	return nil
}

// wait returns *authn.Throttled while a limit is reached.
func (t *tally) wait(all ...limit) error {
	now := time.Now()
	for _, l := range all {
		if end := until(t.of(l), l.count, l.FindTime.Std(), l.BanTime.Std(), now); !end.IsZero() {
			return &authn.Throttled{After: end.Sub(now)}
		}
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

// pending says whether attempts under way are among those that reach a limit.
func (t *tally) pending(l limit) bool {
	return slices.ContainsFunc(t.of(l), func(f failure) bool { return f.ID != "" && time.Since(f.at()) < pendingTime })
}

// until says when the wait is over that n failures within find bring about, zero if
// there is none. While somebody waits nothing is added, so the last n are those.
func until(failures []failure, n int, find, ban time.Duration, now time.Time) time.Time {
	if len(failures) < n {
		return time.Time{}
	}
	first, last := failures[len(failures)-n].at(), failures[len(failures)-1].at()
	if end := last.Add(ban); last.Sub(first) <= find && now.Before(end) {
		return end
	}
	return time.Time{}
}
