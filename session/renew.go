package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/authn"
)

const (
	// askLimit bounds one question to the provider.
	askLimit = 20 * time.Second
	// waitLimit bounds how long a request, or a replica, waits for a renewal.
	waitLimit = 10 * time.Second
	// firstPause is how long to wait before another replica's renewal is looked at.
	firstPause = 50 * time.Millisecond
	// saveLimit bounds how long a renewed record is tried to be written while
	// others wait for it; keepLimit, how long at all. At most maxUnsaved records
	// are kept that long.
	saveLimit  = 20 * time.Second
	keepLimit  = 15 * time.Minute
	maxUnsaved = 1000
	// maxAsking is how many renewals of one replica are under way at once; the
	// others queue.
	maxAsking = 64
	// stepLimit bounds the single steps around them, which are a few commands.
	stepLimit = 10 * time.Second
	// backOffLongest is the longest pause after failures; the mark that counts
	// them is remembered for failureKept.
	backOffFirst   = 10 * time.Second
	backOffLongest = time.Minute
	failureKept    = 5 * time.Minute
)

var (
	errBackingOff = errors.New("session: renewal failed a moment ago")
	errSlow       = errors.New("session: renewal takes too long")
	errUnwritten  = errors.New("session: renewed, but not written down")
	errClosing    = errors.New("session: closing")
	errNoNews     = errors.New("session: the grant was renewed, the proof was not")
	errNoGrant    = fmt.Errorf("session: the grant is not ours: %w", authn.ErrRejected)
	errChanged    = fmt.Errorf("session: renewed as somebody else: %w", authn.ErrRejected)
)

// renewals is the renewals of this process: one at a time a session, each in a
// goroutine of its own so that no request's hang-up ends it.
type renewals struct {
	mu      sync.Mutex
	flights map[string]*flight
	running sync.WaitGroup
	// open is done once nothing may begin any more and nothing wait for long.
	open  context.Context
	close context.CancelFunc
	// unsaved has an element for each record that is kept until it can be written.
	unsaved chan struct{}
	// asking has an element for each renewal that is under way up to its answer.
	asking chan struct{}
	// failures says until when not to try again. A session that has an entry has
	// failed lately.
	failures *marks
}

// flight is one renewal; rec and err stand once done is closed.
type flight struct {
	done chan struct{}
	rec  record
	err  error
}

func newRenewals() *renewals {
	open, closing := context.WithCancel(context.Background())
	return &renewals{
		flights: map[string]*flight{}, failures: newMarks(failureKept), open: open, close: closing,
		unsaved: make(chan struct{}, maxUnsaved), asking: make(chan struct{}, maxAsking),
	}
}

// join returns the session's renewal that is under way, or begins one.
func (r *renewals) join(key string, renew func() (record, error)) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[key]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{}), err: errClosing}
	if r.closed() {
		close(f.done)
		return f
	}
	r.flights[key] = f
	r.running.Go(func() {
		f.rec, f.err = renew()
		r.mu.Lock()
		delete(r.flights, key)
		r.mu.Unlock()
		close(f.done)
	})
	return f
}

func (r *renewals) wait() {
	r.mu.Lock()
	r.close()
	r.mu.Unlock()
	r.running.Wait()
}

func (r *renewals) closed() bool { return r.open.Err() != nil }

// enter takes a place among those that ask. Where there is none, it waits for one, and
// says false if the gateway closes meanwhile.
func (r *renewals) enter() bool {
	select {
	case r.asking <- struct{}{}:
		return true
	default:
	}
	select {
	case r.asking <- struct{}{}:
		return true
	case <-r.open.Done():
		return false
	}
}

func (r *renewals) leave() { <-r.asking }

// due says whether it is time to ask the provider.
func (s *Sessions) due(rec record, now time.Time) bool {
	if s.renew == nil || rec.renewAt.IsZero() {
		return false
	}
	return !now.Before(rec.renewAt) || rec.expired(now)
}

// renewed sees to it that a session that is due is renewed, and returns what the
// request is to go on with. While the proof is valid that is rec, at once;
// afterwards the request waits for the outcome, unless it is known to be bad.
func (s *Sessions) renewed(ctx context.Context, t ticket, rec record) (record, error) {
	until, failing := s.renewals.failures.get(t.hash)
	if failing && time.Now().Before(until) {
		return s.goOn(rec, errBackingOff)
	}
	f := s.renewals.join(t.hash, func() (record, error) {
		rec, err := s.fly(context.WithoutCancel(ctx), t)
		if err == nil {
			s.renewals.failures.drop(t.hash)
		}
		return rec, err
	})
	if !rec.expired(time.Now()) || failing && s.tolerates(rec) {
		return rec, nil
	}
	timer := time.NewTimer(waitLimit)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
		return s.goOn(rec, errSlow)
	case <-ctx.Done():
		return record{}, fmt.Errorf("session: renewal: %w", ctx.Err())
	}
	switch {
	case f.err == nil:
		return f.rec, nil
	case errors.Is(f.err, authn.ErrRejected):
		return record{}, f.err
	}
	return s.goOn(rec, f.err)
}

// goOn bridges an outage: rec for as long as it is tolerated, then the cause.
func (s *Sessions) goOn(rec record, cause error) (record, error) {
	if s.tolerates(rec) {
		return rec, nil
	}
	return record{}, fmt.Errorf("session: the proof has expired and can't be renewed: %w", cause)
}

func (s *Sessions) tolerates(rec record) bool {
	exp := rec.identity.Expires
	return exp.IsZero() || time.Now().Before(exp.Add(s.grace))
}

// fly brings the session to its next proof: by renewing it, or by waiting for
// the replica that does.
func (s *Sessions) fly(ctx context.Context, t ticket) (record, error) {
	started := time.Now()
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		if !s.renewals.enter() {
			return record{}, errClosing
		}
		l, err := s.acquire(ctx, t)
		if err == nil && l.held {
			if pause > firstPause {
				s.tally.waited(time.Since(started))
			}
			return s.renewHeld(ctx, t, l)
		}
		s.renewals.leave()
		switch {
		case err != nil:
			return record{}, err
		case l.retryAt.After(time.Now()):
			s.renewals.failures.set(t.hash, l.retryAt)
			return record{}, errBackingOff
		case time.Since(started) > waitLimit:
			s.tally.waited(time.Since(started))
			return record{}, errSlow
		}
		time.Sleep(pause)
		rec, err := s.reload(ctx, t)
		if err != nil || !s.due(rec, time.Now()) {
			s.tally.waited(time.Since(started))
			return rec, err
		}
		if s.renewals.closed() {
			return record{}, errClosing
		}
	}
}

func (s *Sessions) reload(ctx context.Context, t ticket) (record, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	return s.load(ctx, t)
}

// renewHeld renews under the lock l and gives it back, and leaves its place as soon
// as there is an answer.
func (s *Sessions) renewHeld(ctx context.Context, t ticket, l lock) (record, error) {
	rec, err := s.reload(ctx, t)
	if err != nil || !s.due(rec, time.Now()) { // somebody was faster, or it has ended
		s.renewals.leave()
		s.release(ctx, l)
		return rec, err
	}
	next, err := s.exchange(ctx, t, l, rec)
	if err == nil {
		s.tally.renewed.Add(1)
	}
	switch {
	case err == nil, errors.Is(err, errUnknown), errors.Is(err, errOver):
		s.release(ctx, l)
	case errors.Is(err, authn.ErrRejected):
		s.refused(ctx, t, rec, err)
		s.release(ctx, l)
	default:
		s.tally.notRenewed.Add(1)
		l.failures++
		l.retryAt = time.Now().Add(min(backOffFirst<<min(l.failures-1, 8), backOffLongest))
		s.renewals.failures.set(t.hash, l.retryAt)
		s.backOff(ctx, l)
		s.log.Warn("session not renewed", "route", rec.identity.Route, "subject", rec.identity.Subject, "failures", l.failures, "err", err)
	}
	return next, err
}

// exchange asks for the next record and writes it down. It keeps the lock
// meanwhile: until the new grant is written, another replica has but the old one. If
// the lock is lost nonetheless, somebody may be asking with the same grant, so a
// question is withdrawn; an answer is still written.
func (s *Sessions) exchange(ctx context.Context, t ticket, l lock, rec record) (record, error) {
	asking, withdraw := context.WithTimeout(ctx, askLimit)
	defer withdraw()
	keeping, done := context.WithCancel(ctx)
	var prolonging sync.WaitGroup
	prolonging.Go(func() { s.prolong(keeping, withdraw, l) })
	defer prolonging.Wait()
	defer done()
	next, err := s.ask(asking, t, rec)
	s.renewals.leave()
	if err != nil {
		return record{}, err
	}
	answered := time.Now()
	next, err = s.replace(ctx, t, rec, next)
	if err == nil && next.expired(answered) { // there is a new grant to keep, and no news of the person
		return record{}, errNoNews
	}
	return next, err
}

// ask makes the next record of what the route says. A proof that has expired and
// ends when it did before makes one for its grant's sake.
func (s *Sessions) ask(ctx context.Context, t ticket, rec record) (record, error) {
	secret, err := openGrant(t, rec.raw)
	if err != nil {
		return record{}, errNoGrant
	}
	p, err := s.call(ctx, authn.Proof{Identity: rec.identity, Grant: secret, RenewAt: rec.renewAt})
	if err != nil {
		return record{}, err
	}
	was, is, now := rec.identity, p.Identity, time.Now()
	if is.Issuer != was.Issuer || is.Subject != was.Subject || is.Route != was.Route {
		return record{}, errChanged
	}
	if err := s.named(ctx, t, rec, p.SID); err != nil {
		return record{}, err
	}
	next := record{identity: is, created: rec.created, ends: rec.ends, renewAt: p.RenewAt}
	if next.expired(now) && !is.Expires.Equal(was.Expires) {
		return record{}, errors.New("session: the renewed proof has expired already")
	}
	if floor := now.Add(time.Second); !next.renewAt.IsZero() && next.renewAt.Before(floor) {
		next.renewAt = floor // a provider can't make us ask without end
	}
	next.raw, err = sealRecord(t, next, p.Grant)
	return next, err
}

// named notes the provider's session that a renewal is of, and is an error if the provider
// has ended that one meanwhile.
func (s *Sessions) named(ctx context.Context, t ticket, rec record, sid string) error {
	err := s.register.enterSID(ctx, accessOf(t.session(), AccessSession, rec, Client{}, time.Now()), sid)
	if err == nil {
		err = s.vouchedSince(ctx, authn.Proof{Identity: rec.identity, SID: sid})
	}
	if err != nil && !errors.Is(err, authn.ErrRejected) { // the grant must be kept nonetheless
		s.log.Warn("session can't be ended by the provider's session", "route", rec.identity.Route, "subject", rec.identity.Subject, "err", err)
		return nil
	}
	return err
}

// call asks the route. A panic on this goroutine would end the gateway.
func (s *Sessions) call(ctx context.Context, p authn.Proof) (fresh authn.Proof, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("session: renewal panicked: %v", v)
		}
	}()
	return s.renew(ctx, p)
}

// replace writes next in place of rec. The provider may have made the old grant
// worthless, so if the store does not answer within saveLimit, the record is kept and
// tried on, while requests no longer wait for it. It returns the record that stands
// afterwards.
func (s *Sessions) replace(ctx context.Context, t ticket, rec, next record) (record, error) {
	stands, err := s.write(ctx, t, rec, next, saveLimit)
	if !errors.Is(err, errUnwritten) || s.renewals.closed() {
		return stands, err
	}
	select {
	case s.renewals.unsaved <- struct{}{}:
		defer func() { <-s.renewals.unsaved }()
	default:
		return record{}, err
	}
	s.renewals.failures.set(t.hash, time.Now().Add(keepLimit))
	s.log.Warn("session renewed, but not written down yet", "route", rec.identity.Route, "subject", rec.identity.Subject, "err", err)
	return s.write(ctx, t, rec, next, keepLimit)
}

// write tries to put next in place of rec, and only there: a session that ended or
// was renewed elsewhere stays as it is. Once the gateway closes, saveLimit is all
// that is left.
func (s *Sessions) write(ctx context.Context, t ticket, rec, next record, limit time.Duration) (record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := time.AfterFunc(limit, cancel)
	defer over.Stop()
	defer context.AfterFunc(s.renewals.open, func() { over.Reset(saveLimit) })()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		stands, err := s.swap(ctx, t, rec, next)
		if err == nil || errors.Is(err, authn.ErrRejected) {
			return stands, err
		}
		select {
		case <-ctx.Done():
			return record{}, fmt.Errorf("%w: %w", errUnwritten, err)
		case <-time.After(pause):
		}
	}
}

// swap writes next in place of rec once.
func (s *Sessions) swap(ctx context.Context, t ticket, rec, next record) (record, error) {
	now := time.Now()
	if !now.Before(next.ends) {
		return record{}, errOver
	}
	swapped, err := s.store.Swap(ctx, t.record(), rec.raw, next.raw, s.ttl(next, now))
	switch {
	case err != nil:
		return record{}, err
	case swapped:
		return next, nil
	}
	return s.load(ctx, t) // ended or replaced meanwhile; or by us, and the answer got lost
}

// refused ends a session that the provider no longer vouches for.
func (s *Sessions) refused(ctx context.Context, t ticket, rec record, cause error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	s.clear(ctx, t, rec)
	s.tally.refused.Add(1)
	s.log.Info("session ended", "reason", "refused at renewal", "route", rec.identity.Route, "subject", rec.identity.Subject, "err", cause)
}
