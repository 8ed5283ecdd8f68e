package proxy

import (
	"context"
	"net/http"
	"strings"
	"time"

	"gatehouse/authn"
)

// Watch is told of requests, to count them. Many goroutines tell it at once, and it
// must keep none of them waiting.
type Watch interface {
	// Begin tells of a request that has come at that time, and End of the same one once
	// it is over. Nothing comes between.
	Begin(at time.Time)
	End(Record)
	// Open tells that the answer to a request is a stream: it may go on for days. End
	// names it again.
	Open(Stream)
}

// Record is what counts of a request once it is over. Nothing in it is of the
// client's choice.
type Record struct {
	Begun time.Time
	// Took is how long it was, from its header to the end of its answer. Gateway is the
	// part until it was sent on or, if it was not, all of it.
	Took, Gateway time.Duration
	// Upstream is the name of the application that it was sent on to, and Waited, how
	// long the head of the answer took; empty and zero if it was not, or had none.
	Upstream string
	Waited   time.Duration
	// Failure is why the application has not answered.
	Failure Failure
	// Route is the name of the route that has proved whom it came from.
	Route string
	// Status is that of the answer; zero if there was none.
	Status int
	// Decision is whether it was let in.
	Decision Decision
	Stream   Stream
}

// Decision is whether a request was let in, and why.
type Decision int

// The decisions. Undecided is a request that is refused whoever it comes from, or for
// the gateway itself.
const (
	Undecided          Decision = iota
	DecidedPublic               // nobody is asked who they are
	DecidedAllowed              // somebody who may
	DecidedApplication          // nobody, with a credential that the application judges
	DecidedNobody               // nobody
	DecidedRejected             // nobody, with a credential that is wrong
	DecidedThrottled            // somebody with a credential that is not looked at for now
	DecidedDenied               // somebody who may not
	DecidedUnavailable          // it could not be found out
	Decisions                   // how many there are
)

// String is a word for counts.
func (d Decision) String() string {
	return [Decisions]string{"undecided", "public", "allowed", "application", "unauthenticated", "rejected", "throttled", "denied", "unavailable"}[d]
}

// Failure is why an application has not answered.
type Failure int

// The failures.
const (
	NoFailure   Failure = iota
	Unreachable         // or it broke off, or said what makes no sense
	TimedOut
	Failures // how many there are
)

// failureOf is what the gateway answers for with that status.
func failureOf(status int) Failure {
	switch {
	case status == http.StatusGatewayTimeout:
		return TimedOut
	case status >= http.StatusInternalServerError:
		return Unreachable
	}
	return NoFailure
}

// String is a word for counts.
func (f Failure) String() string { return [Failures]string{"", "unreachable", "timeout"}[f] }

// Stream is a kind of answer that goes on.
type Stream int

// The kinds of streams.
const (
	NoStream  Stream = iota
	WebSocket        // RFC 6455
	Events           // server-sent events
	Streams          // how many there are
)

// String is a word for counts.
func (s Stream) String() string { return [Streams]string{"", "websocket", "events"}[s] }

// observed is what the record of a request is made of, beside the request itself.
type observed struct {
	request, way   context.Context // of the request and of its part at the upstream, where it is traced
	sent, answered time.Time
	failure        Failure
	decision       Decision
	stream         Stream
}

// decided notes that somebody was refused with that error.
func (x *exchange) decided(err error) {
	switch authn.OutcomeOf(err) {
	case authn.OutcomeRejected:
		x.seen.decision = DecidedRejected
	case authn.OutcomeThrottled:
		x.seen.decision = DecidedThrottled
	case authn.OutcomeNotAllowed:
		x.seen.decision = DecidedDenied
	default:
		x.seen.decision = DecidedUnavailable
		if refused(err) {
			x.seen.decision = DecidedNobody
		}
	}
}

// streams notes that the answer is a stream, if it is one.
func (x *exchange) streams(res *http.Response) {
	switch {
	case x.h.o.Watch == nil:
		return
	case res.StatusCode == http.StatusSwitchingProtocols:
		x.seen.stream = WebSocket
	case len(res.Header["Content-Type"]) > 0 && strings.HasPrefix(res.Header["Content-Type"][0], "text/event-stream"):
		x.seen.stream = Events
	default:
		return
	}
	x.h.o.Watch.Open(x.seen.stream)
}

// report tells of a request that is over.
func (x *exchange) report(took time.Duration) {
	if x.h.o.Watch == nil && x.h.o.Trace == nil {
		return
	}
	r := Record{
		Begun: x.start, Took: took, Gateway: took, Failure: x.seen.failure, Route: x.identity.Route,
		Status: x.status, Decision: x.seen.decision, Stream: x.seen.stream,
	}
	if !x.seen.sent.IsZero() {
		r.Upstream, r.Gateway = x.upstream.name, x.seen.sent.Sub(x.start)
	}
	if !x.seen.answered.IsZero() {
		r.Waited = x.seen.answered.Sub(x.seen.sent)
	}
	if x.h.o.Watch != nil {
		x.h.o.Watch.End(r)
	}
	if x.h.o.Trace != nil {
		x.h.o.Trace.End(x.seen.request, x.seen.way, x.id[0], x.remote, r)
	}
}
