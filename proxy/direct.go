package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// sweepEvery is how often connections that are not in use are looked at.
	sweepEvery = 10 * time.Second
	// lastWords is how long the answer of an upstream is waited for that takes no more
	// of the request's body.
	lastWords = time.Second
	// sentGrace is how long after its answer a request may still be on its way.
	sentGrace = 50 * time.Millisecond
)

// noLimit is no limit for what is read.
const noLimit = -1

var (
	errAnswerHeader = errors.New("the upstream's answer has too large a header")
	errStatus       = errors.New("the upstream's answer has a status that is none")
	errNoAnswer     = errors.New("the upstream has closed the connection without an answer")
)

// direct sends requests over plain connections, to an HTTP/1.1 upstream without TLS.
// The request's own goroutine writes it and reads the answer, where http.Transport
// hands both to goroutines of the connection; that is half of what a small request
// costs. Only a body is sent by another one, since an answer may come before its
// end. What asks for an upgrade, or waits for leave to send its body, goes to rest.
//
// The answer is read by net/http's parser. A connection is used again only if its
// last answer has been read to a definite end, neither side wants it closed, and
// nothing at all has come on it since: what an upstream sends unasked would be
// somebody else's answer.
type direct struct {
	dial  func(context.Context) (net.Conn, error)
	limit time.Duration // of a write, and until the answer's header is there; zero for none
	rest  *http.Transport
	lent  *buffers

	mu       sync.Mutex
	idle     []*link // the last used is the last
	closed   bool    // no connection is kept any more
	sweeping *time.Timer
}

// link is one connection of a direct.
type link struct {
	net.Conn
	raw    syscall.RawConn
	in     *bufio.Reader
	out    *bufio.Writer
	limit  time.Duration // of a write; zero for none
	lent   *buffers
	left   int64 // what of an answer's header may still be read, in bytes, or noLimit
	parked time.Time
	broken atomic.Bool // a read or a write has failed

	peek  func(fd uintptr) bool // of quiet
	quiet bool                  // what it has found
}

// RoundTrip implements http.RoundTripper.
func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if !plain(r) {
		return d.rest.RoundTrip(r)
	}
	for fresh := false; ; fresh = true {
		l, used, err := d.take(r.Context(), fresh)
		if err != nil {
			if r.Body != nil {
				err = errors.Join(err, r.Body.Close())
			}
			return nil, err
		}
		x := &transfer{d: d, l: l, r: r}
		res, err := x.run()
		if err == nil {
			return res, nil
		}
		_ = l.Close()
		if ctxErr := r.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		var timeout net.Error
		if x.begun || !used || !repeatable(r) || !l.broken.Load() || errors.As(err, &timeout) && timeout.Timeout() {
			return nil, err
		}
		// The upstream has closed the connection while it was not in use. Or the request
		// makes it: so it is sent once more at most, not over each that is left.
	}
}

// CloseIdleConnections closes what is not in use, and what is as soon as it is not.
func (d *direct) CloseIdleConnections() {
	d.mu.Lock()
	idle := d.idle
	d.idle, d.closed = nil, true
	d.mu.Unlock()
	for _, l := range idle {
		_ = l.Close()
	}
	d.rest.CloseIdleConnections()
}

// plain says whether a request is one for this transport. What http.Transport
// would refuse is left for it to refuse.
func plain(r *http.Request) bool {
	if r.Close || r.URL.Host == "" || len(r.TransferEncoding)+len(r.Header["Upgrade"])+len(r.Header["Expect"]) > 0 {
		return false
	}
	return sound(r.Header) && sound(r.Trailer) && httpguts.ValidHostHeader(r.Host) && token(r.Method)
}

func sound(h http.Header) bool {
	for name, values := range h {
		if !token(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return false
		}
	}
	return true
}

// token says whether s is one (RFC 9110, section 5.6.2), as a method must be.
func token(s string) bool { return httpguts.ValidHeaderFieldName(s) }

// repeatable says whether a request can be sent twice and means the same as once
// (RFC 9110, section 9.2.2).
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.Body == nil
	}
	return false
}

// take returns a connection, one that was used before if there is one and it need not be
// fresh.
func (d *direct) take(ctx context.Context, fresh bool) (l *link, used bool, err error) {
	for !fresh {
		l := d.pop()
		if l == nil {
			break
		}
		if l.fit(time.Now()) {
			return l, true, nil
		}
		_ = l.Close()
	}
	c, err := d.dial(ctx)
	if err != nil {
		return nil, false, err
	}
	l = &link{Conn: c, limit: d.limit, lent: d.lent}
	if s, ok := c.(syscall.Conn); ok {
		l.raw, err = s.SyscallConn()
	}
	if err != nil {
		return nil, false, errors.Join(err, c.Close())
	}
	l.in, l.out = bufio.NewReader(l), bufio.NewWriter(l)
	l.peek = func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		l.quiet = errors.Is(err, syscall.EAGAIN)
		return true
	}
	return l, false, nil
}

func (d *direct) pop() *link {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle) == 0 {
		return nil
	}
	l := d.idle[len(d.idle)-1]
	d.idle[len(d.idle)-1] = nil
	d.idle = d.idle[:len(d.idle)-1]
	return l
}

// fit says whether a connection may be used again: the upstream has neither closed
// it nor sent anything on it.
func (l *link) fit(now time.Time) bool {
	if l.raw == nil || now.Sub(l.parked) > idleTimeout {
		return false
	}
	l.quiet = false
	return l.raw.Read(l.peek) == nil && l.quiet
}

// park keeps a connection for another request.
func (d *direct) park(l *link) {
	l.parked = time.Now()
	d.mu.Lock()
	keep := !d.closed && len(d.idle) < maxIdlePerUpstream
	if keep {
		d.idle = append(d.idle, l)
	}
	if keep && d.sweeping == nil {
		d.sweeping = time.AfterFunc(sweepEvery, d.sweep)
	}
	d.mu.Unlock()
	if !keep {
		_ = l.Close()
	}
}

// sweep closes what will not be used again, as long as there is anything.
func (d *direct) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, now := d.idle[:0], time.Now()
	for _, l := range d.idle {
		if l.fit(now) {
			kept = append(kept, l)
		} else {
			_ = l.Close()
		}
	}
	clear(d.idle[len(kept):])
	d.idle = kept
	if len(kept) == 0 {
		d.sweeping = nil
		return
	}
	d.sweeping.Reset(sweepEvery)
}

// head reads the header of the final answer and tells of those before it.
func (l *link) head(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	for {
		res, err := http.ReadResponse(l.in, r)
		if err != nil {
			return nil, err
		}
		if res.StatusCode < http.StatusContinue {
			return nil, errStatus
		}
		if res.StatusCode >= http.StatusOK || res.StatusCode == http.StatusSwitchingProtocols {
			l.left = noLimit
			return res, nil
		}
		if trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
		l.left = maxAnswerHeader
	}
}

// Read holds a header to its size.
func (l *link) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, errAnswerHeader
	}
	if l.left > 0 {
		p = p[:min(int64(len(p)), l.left)]
	}
	n, err := l.Conn.Read(p)
	if l.left > 0 {
		l.left -= int64(n)
	}
	if err != nil {
		l.broken.Store(true)
	}
	return n, err
}

// mostAtOnce is how many bytes an upstream may take before its time begins anew.
const mostAtOnce = 64 << 10

// Write gives up on an upstream that takes no bytes.
func (l *link) Write(p []byte) (n int, err error) {
	for {
		if l.limit > 0 {
			_ = l.SetWriteDeadline(time.Now().Add(l.limit))
		}
		some, err := l.Conn.Write(p[n:min(len(p), n+mostAtOnce)])
		if n += some; err != nil {
			l.broken.Store(true)
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
	}
}

// ReadFrom is where a body comes in that is past the small buffer. One that comes
// quickly gets large reads; who sends little by little holds little.
func (l *link) ReadFrom(r io.Reader) (sent int64, err error) {
	for quick := false; err == nil; {
		var n int
		n, err = l.pass(r, quick)
		sent += int64(n)
		quick = n >= smallBuffer
	}
	if err == io.EOF { //nolint:errorlint // a reader's EOF is never wrapped
		err = nil
	}
	return sent, err
}

// pass sends on what one read returns.
func (l *link) pass(r io.Reader, quick bool) (n int, err error) {
	var b []byte
	if quick {
		large := borrow[[largeBuffer]byte](&l.lent.large)
		defer l.lent.large.Put(large)
		b = large[:]
	} else {
		small := borrow[[smallBuffer]byte](&l.lent.small)
		defer l.lent.small.Put(small)
		b = small[:]
	}
	n, err = r.Read(b)
	if n > 0 {
		if n, writeErr := l.Write(b[:n]); writeErr != nil {
			return n, writeErr
		}
	}
	return n, err
}
