package session

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/audit"
)

// Former returns references to the sessions of the request's genuine cookies, at
// most 4. A browser sends no SameSite=Lax cookie with a provider's cross-site POST, so
// who signs in by one notes these beforehand and hands them to Start. A reference opens
// nothing, but says whose the session is, if that can be found out.
func (s *Sessions) Former(r *http.Request) []string {
	var out []string
	for _, t := range s.tickets(r) {
		if len(out) < maxTickets {
			out = append(out, reference(t.hash, s.owner(r.Context(), t)))
		}
	}
	return out
}

// owner is whose session that is; nobody's if there is none, or that can't be found out.
func (s *Sessions) owner(ctx context.Context, t ticket) Person {
	if rec, err := s.load(ctx, t); err == nil {
		return PersonOf(rec.identity)
	}
	return Person{}
}

// Start signs in: it stores a new session under a new id and key, ends the sessions
// that the request came with and the former ones, as [Sessions.Former] named them,
// and sets the cookie. On an error no cookie is set and nobody is signed in; it is
// [ErrTooBig] where trying again can't help.
func (s *Sessions) Start(w http.ResponseWriter, r *http.Request, p authn.Proof, former ...string) error {
	if p.Identity.Subject == "" || p.Identity.Issuer == "" {
		return errors.New("session: a proof of nobody")
	}
	ending := map[string]Person{} // by id
	for _, ref := range former {
		hash, person, err := parseReference(ref)
		if err != nil {
			return err
		}
		ending[ticket{hash: hash}.session()] = person
	}
	for _, old := range s.tickets(r) {
		ending[old.session()] = s.owner(r.Context(), old)
	}
	t, plain := newTicket()
	value, err := s.sealer.Seal(s.cookie.Name, plain)
	if err != nil {
		return err
	}
	if err := s.begin(r, t, p); err != nil {
		return err
	}
	ctx, cancel := throughout(r.Context())
	defer cancel()
	for id, person := range ending {
		// The new record is out of reach without its cookie and expires by itself.
		if err := s.register.End(ctx, person, id); err != nil {
			return err
		}
	}
	s.trim(ctx, PersonOf(p.Identity), t.session())
	s.cookie.set(w, value, s.lifetime)
	s.tally.started.Add(1)
	s.log.Info("session started", "route", p.Identity.Route, "subject", p.Identity.Subject)
	return nil
}

// begin writes a new session down: first in the register, so that whoever ends the
// person's sessions finds it, then its record. It must not have been ended meanwhile.
func (s *Sessions) begin(r *http.Request, t ticket, p authn.Proof) error {
	ctx, now := r.Context(), time.Now()
	rec := record{identity: p.Identity, created: now, ends: now.Add(s.lifetime), renewAt: p.RenewAt}
	raw, err := sealRecord(t, rec, p.Grant)
	if err != nil {
		return err
	}
	a := accessOf(t.session(), AccessSession, rec, ClientOf(r), now)
	err = s.register.enter(ctx, a, p.SID)
	if err == nil {
		err = s.store.Set(ctx, t.record(), raw, s.ttl(rec, now))
	}
	if err == nil {
		err = s.vouchedSince(ctx, p)
	}
	if err == nil {
		err = s.register.confirm(ctx, a)
	}
	if err != nil {
		return errors.Join(err, s.register.undo(ctx, a))
	}
	s.uses.set(t.hash, now)
	return nil
}

// trim ends the sessions of a person that are too many, those that were not used for the
// longest time; never that of one id, which has just begun. Where it fails it is left to
// the next sign-in.
func (s *Sessions) trim(ctx context.Context, p Person, begun string) {
	if s.most <= 0 {
		return
	}
	list, err := s.register.Of(ctx, p)
	if err != nil {
		s.log.Warn("sessions of a person not counted", "subject", p.Subject, "err", err)
		return
	}
	var many []string
	left := s.most - 1
	for _, a := range list {
		switch {
		case a.Kind != AccessSession || a.ID == begun:
		case left > 0:
			left--
		default:
			many = append(many, a.ID)
		}
	}
	if len(many) == 0 {
		return
	}
	cause := audit.Cause(ctx)
	cause.Reason = "too many sessions of one person (session.maxPerPerson)"
	if err := s.register.End(audit.Because(ctx, cause), p, many...); err != nil {
		s.log.Warn("sessions that are too many not ended", "subject", p.Subject, "sessions", len(many), "err", err)
		return
	}
	s.log.Info("session ended", "reason", cause.Reason, "subject", p.Subject, "sessions", len(many))
}

// End signs out: it deletes the sessions of the request's cookies and has the
// browser drop the cookie. It returns the proof, for signing out at the provider
// too, if there was one to be read. On an error the cookie is gone, but a copy
// of it may still work; say so to the person.
func (s *Sessions) End(w http.ResponseWriter, r *http.Request) (p authn.Proof, found bool, err error) {
	s.cookie.expire(w)
	ctx, cancel := throughout(r.Context())
	defer cancel()
	for _, t := range s.tickets(r) {
		proof, ok := s.proof(ctx, t)
		if ok && !found {
			p, found = proof, true
		}
		person := PersonOf(proof.Identity)
		if !ok {
			person = s.owner(ctx, t)
		}
		err = errors.Join(err, s.register.End(ctx, person, t.session()))
	}
	if found && err == nil {
		s.tally.signedOut.Add(1)
		s.log.Info("session ended", "reason", "signed out", "route", p.Identity.Route, "subject", p.Identity.Subject)
	}
	return p, found, err
}

// throughout is a context for what must not stop halfway because the client goes away.
func throughout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
}

// proof reads a session's proof, grant and all, if that can be done.
func (s *Sessions) proof(ctx context.Context, t ticket) (authn.Proof, bool) {
	rec, err := s.load(ctx, t)
	if err != nil {
		return authn.Proof{}, false
	}
	secret, err := openGrant(t, rec.raw)
	if err != nil {
		return authn.Proof{}, false
	}
	return authn.Proof{Identity: rec.identity, Grant: secret, RenewAt: rec.renewAt}, true
}
