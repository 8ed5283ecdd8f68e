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
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

// sweepEvery is how often connections that are not in use are looked at.
const sweepEvery = 10 * time.Second

var (
	errAnswerHeader = errors.New("the upstream's answer has too large a header")
	errNoAnswer     = errors.New("the upstream has closed the connection without an answer")
)

// direct sends plain requests over plain connections: those without a body, by a
// method that may be repeated, to an HTTP/1.1 upstream without TLS. The request's
// own goroutine writes it and reads the answer, where http.Transport hands both to
// goroutines of the connection; that is half of what a small request costs.
// Whatever else there is goes to rest.
//
// The answer is read by net/http's parser. A connection is used again only if its
// last answer has been read to a definite end, neither side wants it closed, and
// nothing at all has come on it since: what an upstream sends unasked would be
// somebody else's answer.
type direct struct {
	dial  func(context.Context) (net.Conn, error)
	limit time.Duration // until the answer's header is there; zero for none
	rest  *http.Transport

	mu       sync.Mutex
	idle     []*link // the last used is the last
	sweeping *time.Timer
}

// link is one connection of a direct.
type link struct {
	net.Conn
	raw    syscall.RawConn
	in     *bufio.Reader
	out    *bufio.Writer
	left   int64 // what of an answer's header may still be read, in bytes; negative for no limit
	parked time.Time

	peek  func(fd uintptr) bool // of quiet
	quiet bool                  // what it has found
}

// RoundTrip implements http.RoundTripper.
func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if !plain(r) {
		return d.rest.RoundTrip(r)
	}
	for {
		l, used, err := d.take(r.Context())
		if err != nil {
			return nil, err
		}
		res, begun, err := d.exchange(l, r)
		if err == nil {
			return res, nil
		}
		_ = l.Close()
		if ctxErr := r.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		var timeout net.Error
		if begun || !used || errors.As(err, &timeout) && timeout.Timeout() {
			return nil, err
		}
		// The upstream has closed the connection while it was not in use. The
		// request may be repeated (RFC 9110, section 9.2.2).
	}
}

// CloseIdleConnections closes what is not in use.
func (d *direct) CloseIdleConnections() {
	d.mu.Lock()
	idle := d.idle
	d.idle = nil
	d.mu.Unlock()
	for _, l := range idle {
		_ = l.Close()
	}
	d.rest.CloseIdleConnections()
}

// plain says whether a request is one for this transport. What http.Transport
// would refuse is left for it to refuse.
func plain(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return false
	}
	if r.Body != nil && r.Body != http.NoBody || r.ContentLength != 0 || r.Close || len(r.Trailer)+len(r.TransferEncoding) > 0 ||
		len(r.Header["Upgrade"])+len(r.Header["Expect"]) > 0 || r.URL.Host == "" {
		return false
	}
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return false
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return false
			}
		}
	}
	return true
}

// exchange sends a request and reads the header of its answer. Begun says that the
// upstream has said anything at all.
func (d *direct) exchange(l *link, r *http.Request) (res *http.Response, begun bool, err error) {
	stop := context.AfterFunc(r.Context(), func() { _ = l.Close() })
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if d.limit > 0 {
		_ = l.SetDeadline(time.Now().Add(d.limit))
	}
	if err := errors.Join(r.Write(l.out), l.out.Flush()); err != nil {
		return nil, false, err
	}
	l.left = maxAnswerHeader
	if _, err := l.in.Peek(1); err != nil {
		if err == io.EOF { //nolint:errorlint // a reader's EOF is never wrapped
			err = errNoAnswer
		}
		return nil, false, err
	}
	if res, err = l.head(r); err != nil {
		return nil, true, err
	}
	if d.limit > 0 {
		_ = l.SetDeadline(time.Time{})
	}
	a := &reply{ReadCloser: res.Body, d: d, l: l, ctx: r.Context(), stop: stop, last: res.Close || res.StatusCode < http.StatusOK}
	if res.Body == http.NoBody {
		a.end(true)
		return res, true, nil
	}
	res.Body = a
	return res, true, nil
}

// head reads the header of the final answer and tells of those before it.
func (l *link) head(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	for {
		res, err := http.ReadResponse(l.in, r)
		if err != nil {
			return nil, err
		}
		if res.StatusCode >= http.StatusOK || res.StatusCode == http.StatusSwitchingProtocols {
			l.left = -1
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
	return n, err
}

// reply is the body of an answer. At its end the connection is free again.
type reply struct {
	io.ReadCloser
	d    *direct
	l    *link
	ctx  context.Context //nolint:containedctx // of the request whose answer this is
	stop func() bool
	last bool // the connection is not for another request
	over bool
}

// Read implements io.Reader.
func (a *reply) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil {
		a.end(err == io.EOF) //nolint:errorlint // a reader's EOF is never wrapped
		if err != io.EOF && a.ctx.Err() != nil { //nolint:errorlint // as above
			err = a.ctx.Err()
		}
	}
	return n, err
}

// Close gives up what has not been read, and the connection with it.
func (a *reply) Close() error {
	a.end(false)
	return nil
}

// end lets the connection go, for another request if all has been read.
func (a *reply) end(whole bool) {
	if a.over {
		return
	}
	a.over = true
	// What is left in the buffer is more than the answer.
	if !a.stop() || !whole || a.last || a.l.in.Buffered() > 0 {
		_ = a.l.Close()
		return
	}
	a.d.park(a.l)
}

// take returns a connection, one that was used before if there is one.
func (d *direct) take(ctx context.Context) (l *link, used bool, err error) {
	for {
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
	l = &link{Conn: c}
	if s, ok := c.(syscall.Conn); ok {
		l.raw, err = s.SyscallConn()
	}
	if err != nil {
		return nil, false, errors.Join(err, c.Close())
	}
	l.in, l.out = bufio.NewReader(l), bufio.NewWriter(c)
	l.peek = func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK) //nolint:gosec // a descriptor is an int
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
	full := len(d.idle) >= maxIdlePerUpstream
	if !full {
		d.idle = append(d.idle, l)
	}
	if d.sweeping == nil {
		d.sweeping = time.AfterFunc(sweepEvery, d.sweep)
	}
	d.mu.Unlock()
	if full {
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
