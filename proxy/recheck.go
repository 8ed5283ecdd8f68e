package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"gatehouse/authn"
)

const (
	// askEvery is when an open request is asked again whom it comes from. With the time
	// that it takes to notice and to answer, that is within fifteen seconds.
	askEvery = 14 * time.Second
	// askTimeout bounds one answer.
	askTimeout = 10 * time.Second
	// briefly is how long a request has had before it is asked again, though it may be
	// that somebody's access has ended. Most are over by then.
	briefly = 500 * time.Millisecond
	// lastMoment is how long after its identity's end a request waits for an answer.
	lastMoment = 500 * time.Millisecond
	// mostUnanswered is how long an open request goes on while it can't be found out
	// whether it may.
	mostUnanswered = 10 * time.Minute
)

var errAnother = fmt.Errorf("proxy: the credential is now somebody else's: %w", authn.ErrRejected)

// term is how long an open request may go on by what is known of whom it comes from.
type term struct {
	asked   time.Time // when it was, last
	allowed time.Time // when it was, last, and the answer was that it may go on
	next    time.Time // when it is to be asked again
	expires time.Time // the identity; zero for never
	asking  bool
}

// begin is the term of a request that was let in.
func begin(now, expires time.Time) term {
	t := term{allowed: now, expires: expires}
	t.put(now)
	return t
}

// put says that it was asked then, and when that will be again.
func (t *term) put(asked time.Time) {
	t.asked, t.next, t.asking = asked, asked.Add(askEvery), false
	if t.expires.After(asked) && t.expires.Before(t.next) {
		t.next = t.expires
	}
}

// due reports whether it is to be asked. Changed is when anybody's access last may have
// ended.
func (t *term) due(now, changed time.Time) bool {
	return !t.asking && (!now.Before(t.next) || t.asked.Before(changed) && now.Sub(t.asked) >= briefly)
}

// dueOnce is due for a request that comes from nobody, where other settings count than
// those that it was let in by: it has no end of its own.
func (t *term) dueOnce(now, changed time.Time) bool {
	return !t.asking && t.allowed.Before(changed) && !now.Before(t.next)
}

// over reports whether the request has to end, whatever it may still be told. One that
// was let in though its identity had expired, as in a provider's outage, has to be
// asked about that.
func (t *term) over(now time.Time) bool {
	return t.expires.After(t.allowed) && now.Sub(t.expires) > lastMoment || now.Sub(t.allowed) > mostUnanswered
}

// renew says that the request may go on, by an answer that was asked for then.
func (t *term) renew(asked, expires time.Time) {
	t.allowed, t.expires = asked, expires
	t.put(asked)
}

// expired reports whether nothing but an answer lets the request go on.
func (t *term) expired(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// ask has it found out whether a request may go on.
func (o *openRequests) ask(x *exchange) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, x)
	if o.asking < askers {
		o.asking++
		o.running.Go(o.answer)
	}
}

// answer asks about one request after the other, until there is none.
func (o *openRequests) answer() {
	for x := o.take(); x != nil; x = o.take() {
		asked := time.Now()
		id, err := o.again(x)
		o.conclude(x, asked, id, err)
	}
}

func (o *openRequests) take() *exchange {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 || o.life.Err() != nil {
		o.asking--
		return nil
	}
	x := o.queue[0]
	o.queue[0], o.queue = nil, o.queue[1:]
	return x
}

// again asks whom an open request comes from and whether they may, as if it were new.
func (o *openRequests) again(x *exchange) (id authn.Identity, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			o.h.o.Log.Error("panic", "request_id", x.id[0], "err", cause, "stack", string(debug.Stack()))
			err = fmt.Errorf("proxy: panic: %v", cause)
		}
	}()
	ctx, cancel := context.WithTimeout(x.r.Context(), askTimeout)
	defer cancel()
	defer context.AfterFunc(o.life, cancel)()
	latest := o.h.lineage.latest.Load()
	anew := &exchange{h: latest, r: x.r.WithContext(ctx), beside: x.beside, clean: x.clean, upstream: x.upstream, rule: x.rule}
	anew.r.Body = http.NoBody
	return latest.judge(x, anew)
}

// conclude lets a request go on or ends it. What can't be found out is no reason to,
// unless the identity has expired.
func (o *openRequests) conclude(x *exchange, asked time.Time, id authn.Identity, err error) {
	if o.life.Err() != nil || x.r.Context().Err() != nil {
		return // which is why there was no answer
	}
	why := verdict(err)
	l := &x.listed
	l.in.mu.Lock()
	switch {
	case err == nil:
		l.term.renew(asked, id.Expires)
	case why == nil && l.term.expired(time.Now()):
		why = &farewell{closePolicy, "session has ended"}
	case why == nil:
		l.term.put(asked)
	}
	if l.over == nil {
		l.over = why
	}
	l.in.mu.Unlock()
	level := slog.LevelDebug
	switch {
	case err == nil:
		return
	case why != nil:
		level = slog.LevelInfo
		x.cut(*why)
	case o.h.outages.Allow():
		level = slog.LevelWarn
	}
	o.h.o.Log.Log(x.r.Context(), level, "open request asked again", "request_id", x.id[0], "route", x.identity.Route,
		"subject", x.identity.Subject, "rule", x.rule.Name, "ended", why != nil, "err", err)
}

// verdict is what the client is told by whose credential it is known that the request
// may not go on; nil if that is not known. A credential that is not looked at for now
// has not been found wrong.
func verdict(err error) *farewell {
	var wait *authn.Throttled
	var not *authn.NotAllowed
	switch {
	case errors.As(err, &wait):
		return nil
	case errors.As(err, &not):
		return &farewell{closePolicy, "no longer allowed"}
	case refused(err):
		return &farewell{closePolicy, "signed out"}
	}
	return nil
}
