package session

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"gatehouse/authn"
)

// logoutKept is how long it is remembered that a provider has ended sessions: longer than
// a sign-in may take from the provider's word to the session.
const logoutKept = 10 * time.Minute

// maxSwaps is how often a mark is tried to be written that others write too.
const maxSwaps = 10

// EndSessions ends what a provider says is over, on every replica, and says how many
// sessions that were. A sign-in that is under way with what the provider said before does
// not come to a session any more. After an error some may go on; to try again is in order.
func (s *Sessions) EndSessions(ctx context.Context, l authn.Logout) (int, error) {
	if l.Issuer == "" || l.Subject == "" && l.SID == "" {
		return 0, errors.New("session: a logout of nobody")
	}
	marked := s.markLogout(ctx, l) // what there is ends, even if a store that is full takes no mark
	var ended map[Person][]string
	var err error
	if l.SID != "" {
		ended, err = s.register.bySID(ctx, l)
	} else {
		ended, err = s.register.sessionsOf(ctx, Person{l.Issuer, l.Subject})
	}
	if err != nil {
		return 0, errors.Join(marked, err)
	}
	n := 0
	for p, ids := range ended {
		if err := s.register.End(ctx, p, ids...); err != nil {
			return n, errors.Join(marked, err)
		}
		n += len(ids)
		s.tally.byProvider.Add(uint64(len(ids)))
		s.log.Info("session ended", "reason", "the provider ended it", "subject", p.Subject, "issuer", p.Issuer, "sessions", len(ids))
	}
	return n, marked
}

// markLogout keeps in mind what a provider has ended, if it is certain that it said so:
// nobody else is to fill the store.
func (s *Sessions) markLogout(ctx context.Context, l authn.Logout) error {
	if l.Unsigned {
		return nil
	}
	for _, mark := range s.logoutMarks(l.Issuer, l.Subject, l.SID) {
		if err := s.markLater(ctx, mark, l.At); err != nil {
			return err
		}
	}
	return nil
}

// markLater writes a logout down unless a later one stands there: providers say again,
// and late, what they could not say before.
func (s *Sessions) markLater(ctx context.Context, mark string, at time.Time) error {
	next := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	for range maxSwaps {
		added, err := s.store.Add(ctx, mark, next, logoutKept)
		if added || err != nil {
			return err
		}
		old, found, err := s.store.Get(ctx, mark)
		switch {
		case err != nil:
			return err
		case !found:
			continue // it has just run out
		case logoutTime(old).After(at):
			return nil
		}
		swapped, err := s.store.Swap(ctx, mark, old, next, logoutKept)
		if swapped || err != nil {
			return err
		}
	}
	return errors.New("session: too many logouts of one session at once")
}

// logoutMarks are the keys of the mark of a provider's logout, one for each key of the
// ring: other replicas may have another in front.
func (s *Sessions) logoutMarks(issuer, subject, sid string) []string {
	if sid != "" {
		return s.register.indexes("logout:", issuer, "sid", sid)
	}
	return s.register.indexes("logout:", issuer, "sub", subject)
}

// vouchedSince is an error if the provider has ended what it vouched for with p.
func (s *Sessions) vouchedSince(ctx context.Context, p authn.Proof) error {
	var marks []string
	if p.SID != "" {
		marks = s.logoutMarks(p.Identity.Issuer, "", p.SID)
	}
	whole := len(marks) // from here on they are of the person, and end what is older
	if !p.IssuedAt.IsZero() {
		marks = append(marks, s.logoutMarks(p.Identity.Issuer, p.Identity.Subject, "")...)
	}
	for i, mark := range marks {
		value, found, err := s.store.Get(ctx, mark)
		switch {
		case err != nil:
			return err
		case found && (i < whole || !p.IssuedAt.After(logoutTime(value))):
			return errEndedMeanwhile
		}
	}
	return nil
}

func logoutTime(mark []byte) time.Time {
	if len(mark) != 8 {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(mark))) //nolint:gosec // as it was written
}

// bySID are the sessions that a provider's session made, of whom the logout names.
func (g *Register) bySID(ctx context.Context, l authn.Logout) (map[Person][]string, error) {
	out := map[Person][]string{}
	for _, index := range g.indexes(sidIndex, l.Issuer, l.SID) {
		members, err := g.store.Members(ctx, index)
		if err != nil {
			return nil, err
		}
		for id, value := range members {
			var p Person
			if g.open(index, id, value, &p) && (l.Subject == "" || l.Subject == p.Subject) {
				out[p] = append(out[p], id)
			}
		}
	}
	return out, nil
}

// sessionsOf are the sessions of a person, also those that are being ended.
func (g *Register) sessionsOf(ctx context.Context, p Person) (map[Person][]string, error) {
	var ids []string
	for _, index := range g.of(p) {
		members, err := g.store.Members(ctx, index)
		if err != nil {
			return nil, err
		}
		for id := range members {
			if strings.HasPrefix(id, "s") {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return map[Person][]string{p: ids}, nil
}

// accessOf is what the register says of a record.
func accessOf(id, kind string, rec record, from Client, seen time.Time) Access {
	who := rec.identity
	return Access{
		ID: id, Kind: kind, Person: PersonOf(who), Username: short(who.Username), Name: short(who.Name), Email: short(who.Email), Route: who.Route,
		Since: rec.created.UTC().Truncate(time.Second), Seen: seen.UTC().Truncate(time.Second), Ends: rec.ends.UTC(),
		Address: short(from.Address), Agent: short(from.Agent),
	}
}

// short bounds a text that others wrote.
func short(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}
