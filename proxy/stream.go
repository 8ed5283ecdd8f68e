package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// drainTimeout bounds how long the body of a refused request is waited for.
const drainTimeout = 10 * time.Second

const (
	// maxInterim is how many 1xx answers of one request are passed on.
	maxInterim = 64
	// mostInterim is how many an upstream may send before it is given up.
	mostInterim = 1000
	// mostInterimBytes bounds their headers, all together.
	mostInterimBytes = 4 << 20
)

var (
	errStalled  = errors.New("the client stands still")
	errTooLarge = errors.New("the request's body is too large")
	errInterim  = errors.New("the upstream sends 1xx answers without end")
)

// uploadError is a fault of the client while it sent its body.
type uploadError struct{ err error }

func (e *uploadError) Error() string { return "read the request's body: " + e.err.Error() }
func (e *uploadError) Unwrap() error { return e.err }

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader notes the status and adds the request's id. A reverse proxy that
// has passed on a 1xx answer clears all headers set before, so it is added here.
func (x *exchange) WriteHeader(status int) {
	if status < http.StatusOK {
		x.writeInterim(status)
		return
	}
	if x.status != 0 {
		return
	}
	status = x.answered(status)
	x.status = status
	header := x.Header()
	header["X-Request-Id"] = x.id
	if x.h.hsts != nil && x.ours && !x.insecure && len(header["Strict-Transport-Security"]) == 0 {
		header["Strict-Transport-Security"] = x.h.hsts
	}
	if !x.r.ProtoAtLeast(1, 1) {
		// HTTP/1.0 knows no chunked bodies, and the server takes the bytes of one
		// for the next request.
		x.closeAfter()
	}
	if v := header["Content-Length"]; len(v) == 1 {
		x.rest, _ = strconv.ParseInt(v[0], 10, 64)
	}
	x.arm()
	x.writeHead(status)
	if x.upload != nil && (status == http.StatusNoContent || status == http.StatusNotModified || slices.Equal(header["Content-Length"], []string{"0"})) {
		// Nothing else sends it before the client's own body has ended.
		_ = http.NewResponseController(x.ResponseWriter).Flush()
	}
	x.disarm()
}

// writeHead writes the answer's head. A client that waits for it with its body
// (RFC 9110, section 10.1.1) gets it before anybody reads that body: the server
// sends no 100 any more, and its lock would keep the head back as long as the read
// waits for what the client does not send.
func (x *exchange) writeHead(status int) {
	if x.upload == nil || x.r.ProtoMajor > 1 || len(x.r.Header["Expect"]) == 0 {
		x.ResponseWriter.WriteHeader(status)
		return
	}
	x.upload.mu.Lock()
	defer x.upload.mu.Unlock()
	x.ResponseWriter.WriteHeader(status)
	_ = http.NewResponseController(x.ResponseWriter).Flush() // a connection that is gone is for the next Write to tell
}

// closeAfter ends the connection with this answer. In HTTP/2, where a request is
// only one of many and ends by itself, there is nothing to do.
func (x *exchange) closeAfter() {
	if x.r.ProtoMajor == 1 {
		x.Header()["Connection"] = []string{"close"}
	}
}

// writeInterim passes a 1xx answer on, without what an upstream may not set.
// 100 is left to the server, which sends it when the body begins to be read.
// Past a bound the others are dropped, and all of them in HTTP/2: its server reads
// the headers on a goroutine of its own and, when the stream is reset, does not wait
// for it, while httputil.ReverseProxy clears them for the next answer.
func (x *exchange) writeInterim(status int) {
	if x.interim++; status == http.StatusContinue || x.interim > maxInterim || x.r.ProtoMajor != 1 || x.r.ProtoMinor == 0 { // RFC 9110, section 15.2
		return
	}
	x.h.cleanResponse(x.Header())
	x.arm()
	x.ResponseWriter.WriteHeader(status)
	x.disarm()
}

// bearInterim is called for each 1xx answer, after writeInterim, and ends the
// request once there have been too many: the transport bounds each alone.
func (x *exchange) bearInterim(_ int, header textproto.MIMEHeader) error {
	for name, values := range header {
		for _, v := range values {
			x.interimBytes += len(name) + len(v)
		}
	}
	if x.interim > mostInterim || x.interimBytes > mostInterimBytes {
		return errInterim
	}
	return nil
}

// Write sends p. It is not left in a buffer if more is to come, or if the end
// of the answer, which flushes by itself, may have to wait for the request's.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	x.arm()
	n, err := x.ResponseWriter.Write(p)
	x.bytes += int64(n)
	x.rest -= int64(n)
	if err == nil && (x.rest > 0 || x.r.ContentLength != 0) {
		err = http.NewResponseController(x.ResponseWriter).Flush()
	}
	x.disarm()
	return n, err
}

// FlushError is for http.ResponseController.
func (x *exchange) FlushError() error {
	x.arm()
	err := http.NewResponseController(x.ResponseWriter).Flush()
	x.disarm()
	return err
}

// arm gives the client StallTimeout to take what is about to be written.
func (x *exchange) arm() {
	if x.h.o.StallTimeout > 0 {
		x.armed = time.Now()
		_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(x.armed.Add(x.h.o.StallTimeout))
	}
}

// disarm takes the deadline away once nothing waits to be written. In HTTP/1 a
// deadline that passes while nothing is being written does no harm; in HTTP/2
// it ends the stream.
func (x *exchange) disarm() {
	if x.h.o.StallTimeout > 0 && x.r.ProtoMajor > 1 {
		_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}

// lastCall arms the deadline for what the server itself still has to flush
// after the handler. The server takes it away before the next request.
func (x *exchange) lastCall(now time.Time) {
	if !x.hijacked && x.h.o.StallTimeout > 0 && (x.r.ProtoMajor > 1 || now.Sub(x.armed) > x.h.o.StallTimeout/8) {
		_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(now.Add(x.h.o.StallTimeout))
	}
}

// upload is the body of a request on its way to the upstream, read on the
// transport's goroutine, which may outlive the handler. It lets the
// client stand still for StallTimeout between two reads, holds the body to its
// limit, and passes the trailers on when the body has ended.
type upload struct {
	io.ReadCloser
	x       *exchange
	limited bool
	left    int64 // bytes, if limited
	trailer http.Header

	mu  sync.Mutex
	err error // of the client's making
}

// Close leaves the body to the server, once the answer is on its way: it reads on,
// and here nothing bounds for how long.
func (u *upload) Close() error { return nil }

func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n, err := u.read(p)
	if err != io.EOF { //nolint:errorlint // a reader's EOF is never wrapped
		u.err = err
	}
	return n, err
}

// fault is what the last read has failed with. It waits for one that is under way.
func (u *upload) fault() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *upload) read(p []byte) (int, error) {
	if u.limited && int64(len(p)) > u.left {
		p = p[:u.left+1] // one more than allowed, to see that there is more
	}
	u.x.deadline(u.x.h.o.StallTimeout)
	n, err := u.ReadCloser.Read(p)
	if err == io.EOF || u.x.r.ProtoMajor > 1 {
		// The server reads on after the body, to see whether the client goes away.
		u.x.deadline(0)
	}
	if u.left -= int64(n); u.limited && u.left < 0 {
		u.left = 0
		return 0, errTooLarge
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		u.finish()
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, errStalled
	}
	return n, &uploadError{err}
}

// finish copies the trailers that were announced. The server fills them in
// at the end of the body, announced or not.
func (u *upload) finish() {
	for name := range u.trailer {
		if v := u.x.r.Trailer[name]; len(v) > 0 {
			u.trailer[name] = v
		}
	}
}

// deadline sets how long the next read of the request's body may take; zero
// means as long as it likes.
func (x *exchange) deadline(d time.Duration) {
	if x.h.o.StallTimeout <= 0 && d == 0 {
		return
	}
	x.life.Lock()
	defer x.life.Unlock()
	if x.over || x.ended {
		return
	}
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	_ = http.NewResponseController(x.ResponseWriter).SetReadDeadline(t)
}

// expire ends the use of the request's connection. The transport may read on in
// the body, on a goroutine of its own, when an upstream has answered early and
// the handler is done; in HTTP/1 the connection is then another request's, and
// in HTTP/2 the server's writer is gone and to touch it is to crash. It reports
// whether the request was ended before its own end.
func (x *exchange) expire() (ended bool) {
	x.life.Lock()
	defer x.life.Unlock()
	x.over = true
	return x.ended
}

// drain bounds how long the server waits for the rest of a body that nobody
// wants, which it does before it answers.
func (h *Handler) drain(x *exchange) {
	if x.r.ContentLength != 0 {
		x.deadline(h.drainTimeout)
	}
}

// announced are the trailers of a request that may be passed on, still empty.
func (n *names) announced(t http.Header) http.Header {
	var out http.Header
	for name := range t {
		if !n.trailer(name) {
			continue
		}
		if out == nil {
			out = http.Header{}
		}
		out[name] = nil
	}
	return out
}

// Bodies are copied through buffers of these sizes, in bytes. A large one costs
// fewer system calls; a small one is all that a stream of events holds for days.
const (
	smallBuffer = 32 << 10
	largeBuffer = 256 << 10
)

// buffers keeps the buffers that are not in use.
type buffers struct{ small, large sync.Pool }

// copying lends one answer its buffer; it is the answer's httputil.BufferPool.
type copying struct {
	*buffers
	x *exchange
}

// Get returns a large buffer for an answer that says it is large.
func (c copying) Get() []byte {
	if c.x.response != nil && c.x.response.ContentLength > largeBuffer {
		return borrow[[largeBuffer]byte](&c.large)[:]
	}
	return borrow[[smallBuffer]byte](&c.small)[:]
}

// Put takes a buffer back.
func (c copying) Put(p []byte) {
	if len(p) == largeBuffer {
		c.large.Put((*[largeBuffer]byte)(p))
		return
	}
	c.small.Put((*[smallBuffer]byte)(p))
}

func borrow[T any](pool *sync.Pool) *T {
	if p, ok := pool.Get().(*T); ok {
		return p
	}
	return new(T)
}
