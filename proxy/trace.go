package proxy

import (
	"context"
	"net/http"
	"time"
)

// Tracer is told of requests, to draw their ways. Like [Watch], it must keep nobody
// waiting.
type Tracer interface {
	// Begin begins with a request that has come at that time, before anything is looked
	// at. A trusted proxy's trace context is its word, any other just a client's. The
	// request that it returns is the one that goes on.
	Begin(r *http.Request, at time.Time, trusted bool) *http.Request
	// Send begins the part of it that is sent on to an upstream, under the context that
	// it returns.
	Send(r *http.Request, upstream string) context.Context
	// Carry sets the headers by which an upstream goes on with it.
	Carry(sent context.Context, to http.Header)
	// End ends both; sent is nil for a request that was not sent on.
	End(request, sent context.Context, id, remote string, r Record)
}
