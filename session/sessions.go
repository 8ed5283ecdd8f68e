// Package session keeps browsers signed in. It owns the session cookie and the
// key ring that seals every cookie of the gateway, the record behind the
// session cookie, its renewal at the provider, and the stores that records live
// in. It relies on the routes for how a proof is renewed and on the handlers
// around it for who may sign in or out.
//
// What it promises:
//
//   - Who reads all of the store can act as nobody. The cookie holds a random id
//     and a random key; the store knows a hash of the id and a record sealed with
//     the key, bound to its place.
//   - Signing in always makes a new id and a new key, and ends the session that
//     the browser came with. No value that somebody else knew goes on living.
//   - An outage is never a logout. Only the store's word that there is no record,
//     a passed end or the provider's refusal ends a session; whatever can't be
//     found out is an error that is neither.
//   - An ended session stays ended, also under a renewal that is under way.
//   - A cookie that we did not seal costs no trip to the store.
//
// What it won't do: decide who is allowed what, write pages, redirect, or write
// a cookie while a request is authenticated.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"gatehouse/authn"
)

// Options is what [New] makes Sessions of.
type Options struct {
	Store  Store
	Keys   Keyring
	Cookie Cookie
	// Lifetime is the longest that a session lasts; zero means 7 days.
	Lifetime time.Duration
	// IdleTimeout ends a session that is not used; zero means only Lifetime does.
	// A use counts at most once a minute (or a tenth of IdleTimeout, if shorter),
	// so a session may end that much early.
	IdleTimeout time.Duration
	// MaxPerPerson is how many sessions one person has at most: with a further one, that
	// which was not used for the longest time ends. Zero means no limit.
	MaxPerPerson int
	// OutageGrace is how long a session goes on after its proof has expired while
	// the provider can't be asked; after that, requests are errors.
	OutageGrace time.Duration
	// Renew asks the route that made a proof for a fresh one; see authn.Route.
	// Nil means that no session is renewed.
	Renew func(ctx context.Context, p authn.Proof) (authn.Proof, error)
	// Register is where sessions are listed, for the same store, keys and IdleTimeout; nil
	// means one without news. Without news, and without Remember, nothing is remembered
	// between two requests.
	Register *Register
	// Remember is how long a session counts without asking the store, at most, when no
	// news of it arrives.
	Remember time.Duration
	// RememberBytes bounds the memory of that; zero means 64 MiB.
	RememberBytes uint64
	// Log may be nil.
	Log *slog.Logger
}

// Starter starts a session; it is what a sign-in needs of [Sessions].
type Starter interface {
	// Former returns references to the sessions that the request came with. They
	// are for a later Start that the browser won't send its cookies along with.
	Former(r *http.Request) []string
	Start(w http.ResponseWriter, r *http.Request, p authn.Proof, former ...string) error
}

// Sessions is the browser sessions of one gateway over one store. Any number of
// processes may share the store; they need the same keys, cookie and times.
type Sessions struct {
	store    Store
	sealer   Sealer
	cookie   Cookie
	log      *slog.Logger
	register *Register
	recent   *recent
	uses     *uses

	lifetime, idle, grace time.Duration

	renew    func(context.Context, authn.Proof) (authn.Proof, error)
	renewals *renewals
	tally    tally
	most     int // sessions of one person; zero for no limit
}

var (
	_ authn.Authenticator = (*Sessions)(nil)
	_ Starter             = (*Sessions)(nil)
)

// The ways in which a session cookie is refused.
var (
	errForged  error = refusal{"a cookie that is not ours", "forged"}
	errSeveral error = refusal{"several live sessions", "several"}
	errUnknown error = refusal{"unknown or ended", "unknown"}
	errOver    error = refusal{"expired", "expired"}
	// errEndedMeanwhile: somebody, or the provider, ended the session as it began.
	errEndedMeanwhile = fmt.Errorf("session: ended while it began: %w", authn.ErrRejected)
)

// touchPause is how seldom a session's idle time is written down.
const touchPause = time.Minute

// New makes Sessions. Call Close when done.
func New(o Options) *Sessions {
	if o.Lifetime <= 0 {
		o.Lifetime = 7 * 24 * time.Hour
	}
	if o.IdleTimeout <= 0 || o.IdleTimeout > o.Lifetime {
		o.IdleTimeout = o.Lifetime
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Register == nil {
		o.Register = NewRegister(o.Store, o.Keys, nil, o.IdleTimeout)
	}
	s := &Sessions{
		store: o.Store, sealer: o.Keys.Sealer("session"), cookie: o.Cookie, log: o.Log,
		register: o.Register, recent: newRecent(o),
		lifetime: o.Lifetime, idle: o.IdleTimeout, grace: o.OutageGrace,
		renew: o.Renew, renewals: newRenewals(), most: o.MaxPerPerson,
	}
	s.uses = newUses(min(touchPause, o.IdleTimeout/10), s.note)
	return s
}

// Authenticate returns whose session the request's cookie is. What is remembered of it
// counts as long as nothing has been heard of it, or the store can't be asked. Otherwise
// the store is asked once, or once for each of several genuine cookies. Now and then the
// use is noted there, beside the requests, and when the proof is about to expire it is
// renewed, in the background as long as it is valid.
func (s *Sessions) Authenticate(r *http.Request) (authn.Identity, error) {
	now := time.Now()
	known, place := s.recent.find(r, s.cookie.Name)
	if known != nil && s.counts(known, now) {
		s.tally.hits.Add(now)
		if known.noted.Load() <= now.Add(-s.uses.pause).UnixNano() {
			known.noted.Store(now.UnixNano())
			s.uses.note(known.hash, known.record, r, now)
		}
		return known.identity, nil
	}
	edition := s.recent.edition()
	t, rec, err := s.standing(r)
	if known != nil && err != nil && !errors.Is(err, authn.ErrRejected) && s.bridges(known, now) {
		s.tally.bridged.Add(now)
		return known.identity, nil
	}
	if err != nil {
		return authn.Identity{}, err
	}
	s.tally.misses.Add(now)
	if s.due(rec, now) {
		if rec, err = s.renewed(r.Context(), t, rec); err != nil {
			return authn.Identity{}, err
		}
	}
	rec.identity.Access = t.session()
	s.recent.keep(place, t, rec, edition, now)
	s.uses.note(t.hash, rec, r, now)
	return rec.identity, nil
}

// standing finds the one live session that the request's cookies stand for. Others
// beside it may be ended, as where a former cookie of another domain or path is left
// over: no sign-in could take that back. A forged one proves nothing either way. Of
// several live ones somebody planted one; which is not ours to guess.
func (s *Sessions) standing(r *http.Request) (t ticket, rec record, err error) {
	tickets := s.tickets(r)
	switch {
	case len(tickets) > maxTickets:
		return ticket{}, record{}, errSeveral
	case len(tickets) == 0 && len(r.CookiesNamed(s.cookie.Name)) == 0:
		return ticket{}, record{}, authn.ErrNoCredential
	}
	found, err := false, errForged
	for _, each := range tickets {
		one, no := s.live(r.Context(), each)
		switch {
		case no == nil && found:
			return ticket{}, record{}, errSeveral
		case no == nil:
			t, rec, found = each, one, true
		case !errors.Is(no, authn.ErrRejected): // any of them may be the other
			return ticket{}, record{}, no
		default:
			err = no
		}
	}
	if !found {
		return ticket{}, record{}, err
	}
	return t, rec, nil
}

// live reads the record of a session that has not ended. One that has is cleared away.
func (s *Sessions) live(ctx context.Context, t ticket) (record, error) {
	rec, err := s.load(ctx, t)
	if err != nil {
		return record{}, err
	}
	if now := time.Now(); rec.expired(now) && !s.due(rec, now) {
		s.clear(ctx, t, rec)
		s.tally.expired.Add(1)
		s.log.Info("session ended", "reason", "the proof expired", "route", rec.identity.Route, "subject", rec.identity.Subject)
		return record{}, errOver
	}
	return rec, nil
}

func (s *Sessions) open(value string) (ticket, bool) {
	plain, err := s.sealer.Open(s.cookie.Name, value)
	if err != nil || len(plain) != ticketSize {
		return ticket{}, false
	}
	return parseTicket(plain), true
}

// maxTickets is how many cookies of one request are looked up or noted.
const maxTickets = 4

// tickets reads every genuine session cookie of the request, each once.
func (s *Sessions) tickets(r *http.Request) []ticket {
	var out []ticket
	for _, c := range r.CookiesNamed(s.cookie.Name) {
		t, ok := s.open(c.Value)
		if ok && !slices.ContainsFunc(out, func(o ticket) bool { return o.hash == t.hash }) {
			out = append(out, t)
		}
	}
	return out
}

// load reads the record. What can't be a session any more is cleared away.
func (s *Sessions) load(ctx context.Context, t ticket) (record, error) {
	raw, found, err := s.store.Get(ctx, t.record())
	if err != nil {
		return record{}, err
	}
	if !found {
		return record{}, errUnknown
	}
	rec, err := openRecord(t, raw)
	switch {
	case errors.Is(err, errNewer): // left for those who can read it
		return record{}, errUnknown
	case err != nil:
		s.log.Warn("session record unreadable, dropped", "err", err)
		s.discard(ctx, t, raw)
		return record{}, errUnknown
	case !time.Now().Before(rec.ends):
		s.discard(ctx, t, raw)
		return record{}, errOver
	}
	return rec, nil
}

// clear discards a session that has ended by itself, and takes it out of the register. One
// that was renewed meanwhile stays.
func (s *Sessions) clear(ctx context.Context, t ticket, rec record) {
	if !s.discard(ctx, t, rec.raw) {
		return
	}
	if err := s.register.leave(ctx, PersonOf(rec.identity), t.session()); err != nil {
		s.log.Warn("session that has ended is still listed", "err", err)
	}
}

// discard deletes the record if it is still raw, and says whether it did.
func (s *Sessions) discard(ctx context.Context, t ticket, raw []byte) bool {
	var err error
	var gone bool
	if len(raw) > maxRecord { // nothing of ours, and too much to send for comparing
		err = s.store.Delete(ctx, t.record())
		gone = err == nil
	} else {
		gone, err = s.store.Swap(ctx, t.record(), raw, nil, 0)
	}
	if err != nil {
		s.log.Warn("session record not deleted", "err", err)
	}
	return gone
}

// ttl is how long the store is to keep the record from now on.
func (s *Sessions) ttl(rec record, now time.Time) time.Duration {
	return min(s.idle, rec.ends.Sub(now))
}

// note writes a use down. One that can't be is no reason to refuse anything.
func (s *Sessions) note(u use) {
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	t := ticket{hash: u.hash}
	ttl := s.ttl(u.record, u.at)
	if ttl <= 0 {
		return
	}
	var err error
	if s.idle < s.lifetime {
		err = s.store.Touch(ctx, t.record(), ttl)
	}
	if err == nil {
		err = s.seen(ctx, t, accessOf(t.session(), AccessSession, u.record, u.client, u.at))
	}
	if err != nil {
		s.log.Warn("session use not noted", "err", err)
	}
}

// seen notes the use of a session in the register. One that is not there has ended, or a
// store that lost something, as in a failover, has lost it: then it is entered again.
func (s *Sessions) seen(ctx context.Context, t ticket, a Access) error {
	stands, err := s.register.stands(ctx, a)
	if stands || err != nil {
		return err
	}
	_, alive, err := s.store.Get(ctx, t.record())
	if !alive || err != nil {
		return err
	}
	if err := s.register.enter(ctx, a, ""); err != nil {
		return err
	}
	if _, alive, err = s.store.Get(ctx, t.record()); !alive && err == nil { // it was being ended
		err = s.register.leave(ctx, a.Person, a.ID)
	}
	return err
}

// Close waits for the renewals that are under way: to drop one would lose the new token
// that the provider may just have given. None begins any more. It takes 70 seconds at
// most, where the store and the provider are as slow as they may be.
func (s *Sessions) Close() {
	s.renewals.wait()
	s.uses.close()
}
