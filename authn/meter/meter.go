// Package meter is how the gateway's rooms count what happens in them, and tell of
// what they ask others. Who reads the counts and what is made of them is no affair of
// theirs: they know of no metrics library, of no names and of no labels.
//
// A count on the way of every request costs one atomic addition, which processors
// seldom do at the same place.
package meter

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Stripes is over how many places a count is spread.
const Stripes = 16

// Stripe is the place for what happens at a time. Of those who count at once, most get
// places of their own.
func Stripe(at time.Time) int { return at.Nanosecond() >> 6 % Stripes }

// Counter counts. It is ready for use and must not be copied.
type Counter struct {
	stripes [Stripes]struct {
		n atomic.Uint64
		_ [56]byte // a cache line each
	}
}

// Add counts one more; at is when, and only says where.
func (c *Counter) Add(at time.Time) { c.stripes[Stripe(at)].n.Add(1) }

// Load is the count.
func (c *Counter) Load() uint64 {
	var sum uint64
	for i := range c.stripes {
		sum += c.stripes[i].n.Load()
	}
	return sum
}

// Calls is told of each question to a peer, when it begins: what is asked, in a word of
// the program's own. The context is for the question, and the function is to be called
// once, with the error that it ended with. Nil tells nobody.
type Calls func(ctx context.Context, what string) (context.Context, func(error))

// Begin tells of a question.
func (c Calls) Begin(ctx context.Context, what string) (context.Context, func(error)) {
	if c == nil {
		return ctx, func(error) {}
	}
	return c(ctx, what)
}

// Refused marks the error of a question that was answered: with no.
type Refused struct{ Err error }

func (r Refused) Error() string { return r.Err.Error() }

// Unwrap returns the answer.
func (r Refused) Unwrap() error { return r.Err }

// The results of a question.
const (
	OK       = "ok"
	No       = "refused"
	Late     = "timeout"
	Withdrew = "canceled"
	Failed   = "error"
)

// Result sorts the error that a question ended with.
func Result(err error) string {
	var refused Refused
	var timeout net.Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &refused):
		return No
	case errors.Is(err, context.Canceled):
		return Withdrew
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Late
	}
	return Failed
}

// asked is the context key of what a question is.
type asked struct{}

// Asking names the questions that are asked over HTTP under a context.
func Asking(ctx context.Context, what string) context.Context {
	return context.WithValue(ctx, asked{}, what)
}

// Transport tells of the requests that go by next, as [Asking] names them.
func Transport(calls Calls, next http.RoundTripper) http.RoundTripper {
	if calls == nil {
		return next
	}
	return transport{calls, next}
}

type transport struct {
	calls Calls
	next  http.RoundTripper
}

// statusError is an answer that is no success.
type statusError int

func (s statusError) Error() string { return http.StatusText(int(s)) }

// RoundTrip sends the request.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	what, ok := r.Context().Value(asked{}).(string)
	if !ok {
		what = "other"
	}
	ctx, end := t.calls(r.Context(), what)
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	res, err := t.next.RoundTrip(r)
	switch {
	case err != nil:
		end(err)
	case res.StatusCode >= http.StatusInternalServerError:
		end(statusError(res.StatusCode))
	case res.StatusCode >= http.StatusBadRequest:
		end(Refused{statusError(res.StatusCode)})
	default:
		end(nil)
	}
	return res, err
}

// CloseIdleConnections closes those of the transport below.
func (t transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
