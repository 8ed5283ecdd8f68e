package proxy

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how often the open requests are looked at.
	lookEvery = 250 * time.Millisecond
	// gather is how long calls of Recheck are waited for after the first.
	gather = 100 * time.Millisecond
	// askers is how many requests are asked about at once.
	askers = 16
)

// openRequests are the requests on their way that the gateway may have to end: if somebody's
// access ends, if other settings don't allow them, or with the gateway itself. One goroutine looks at them. To come and to go is all that a
// request that is over soon has to do with them: it costs a lock that few share.
type openRequests struct {
	h        *Handler
	shards   [16]shard
	changed  chan struct{} // somebody's access may have
	leaving  chan struct{} // the WebSockets are to be ended
	draining atomic.Bool
	life     context.Context // of the gateway
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex
	queue  []*exchange // to be asked about
	asking int
}

// shard is some of the open requests.
type shard struct {
	mu    sync.Mutex
	first *exchange
}

// listed is a request's place among the open ones. All but in is the shard's, under
// its lock.
type listed struct {
	in         *shard // nil if it is not listed
	prev, next *exchange
	term       term // of who it comes from
	over       *farewell
}

func newOpenRequests(h *Handler) *openRequests {
	o := &openRequests{h: h, changed: make(chan struct{}, 1), leaving: make(chan struct{}, 1)}
	o.life, o.stop = context.WithCancel(context.Background())
	o.running.Go(o.look)
	return o
}

// add lists a request if it may have to be ended, and returns the context of its way to
// the upstream. Its headers don't change from now on. In HTTP/1 there is one request on
// a connection at a time, so that the connection's context does for it.
func (o *openRequests) add(x *exchange) context.Context {
	ctx := x.r.Context()
	if x.trial != nil {
		return ctx
	}
	var ok bool
	if x.cancel, ok = ctx.Value(cutKey{}).(context.CancelFunc); !ok || x.r.ProtoMajor > 1 {
		ctx, x.cancel = context.WithCancel(ctx)
	}
	if x.standing != nil {
		x.listed.term = begin(x.start, x.identity.Expires)
	}
	s := &o.shards[uint(x.start.Nanosecond()>>6)%uint(len(o.shards))]
	x.listed.in = s
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.listed.next = s.first; s.first != nil {
		s.first.listed.prev = x
	}
	s.first = x
	return ctx
}

// remove takes a request off the list that has come to its end.
func (o *openRequests) remove(x *exchange) {
	s, l := x.listed.in, &x.listed
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.prev == nil {
		s.first = l.next
	} else {
		l.prev.listed.next = l.next
	}
	if l.next != nil {
		l.next.listed.prev = l.prev
	}
	l.prev, l.next = nil, nil
}

func (o *openRequests) recheck() { nudge(o.changed) }

func (o *openRequests) drain() {
	o.draining.Store(true)
	nudge(o.leaving)
}

// close ends what is left of the WebSockets, and then the goroutines.
func (o *openRequests) close() {
	o.drain()
	for end := time.Now().Add(2*partTime + lookEvery); time.Now().Before(end) && len(o.sockets()) > 0; {
		time.Sleep(lookEvery / 10)
	}
	o.stop()
	o.running.Wait()
}

func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// look looks after the open requests.
func (o *openRequests) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var changed time.Time // when anybody's access may last have
	for {
		select {
		case <-o.life.Done():
			return
		case <-o.changed:
			if !o.pause(gather) {
				return
			}
			select {
			case <-o.changed:
			default:
			}
			changed = time.Now()
		case <-o.leaving:
		case <-tick.C:
		}
		if o.draining.Load() {
			for _, t := range o.sockets() {
				t.end(farewell{closeGoingAway, "going away"})
			}
		}
		o.sweep(time.Now(), changed)
	}
}

// pause waits, and reports whether the gateway goes on.
func (o *openRequests) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-o.life.Done():
		return false
	}
}

// sweep asks about those requests whose turn it is, and ends those whose time is over.
func (o *openRequests) sweep(now, changed time.Time) {
	for i := range o.shards {
		due, over := o.shards[i].sweep(now, changed)
		for _, x := range over {
			x.cut(*x.listed.over)
		}
		for _, x := range due {
			o.ask(x)
		}
	}
}

// sweep finds them. One that has been cut off is found again until it is gone: what it
// was doing may have put off its end.
func (s *shard) sweep(now, changed time.Time) (due, over []*exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := s.first; x != nil; x = x.listed.next {
		l, somebody := &x.listed, x.standing != nil
		if somebody && l.over == nil && l.term.over(now) {
			l.over = &farewell{closePolicy, "session has ended"}
		}
		switch {
		case l.over != nil:
			over = append(over, x)
		case somebody && l.term.due(now, changed), !somebody && x.h.succeeded() && l.term.dueOnce(now, changed):
			l.term.asking = true
			due = append(due, x)
		}
	}
	return due, over
}

// sockets are the WebSockets that are open.
func (o *openRequests) sockets() []*tunnel {
	var out []*tunnel
	for i := range o.shards {
		s := &o.shards[i]
		s.mu.Lock()
		for x := s.first; x != nil; x = x.listed.next {
			if t := x.socket(); t != nil {
				out = append(out, t)
			}
		}
		s.mu.Unlock()
	}
	return out
}

// cut ends a request before its end. The client of a WebSocket is told; any other sees
// that its answer is not whole.
func (x *exchange) cut(why farewell) {
	x.life.Lock()
	defer x.life.Unlock()
	if x.over {
		return
	}
	x.ended = true
	if x.tunnel != nil {
		x.tunnel.end(why)
		return
	}
	past, to := time.Unix(1, 0), http.NewResponseController(x.ResponseWriter)
	_ = to.SetReadDeadline(past)
	_ = to.SetWriteDeadline(past)
	x.cancel()
}

func (x *exchange) isEnded() bool {
	x.life.Lock()
	defer x.life.Unlock()
	return x.ended
}

// opened makes a WebSocket known to who may have to end it.
func (x *exchange) opened(t *tunnel) {
	x.life.Lock()
	x.tunnel = t
	x.life.Unlock()
}

// socket is the request's WebSocket, if there is one open.
func (x *exchange) socket() *tunnel {
	x.life.Lock()
	defer x.life.Unlock()
	if x.over {
		return nil
	}
	return x.tunnel
}
