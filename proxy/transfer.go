package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// transfer is one request on its way over a link, and its answer's body.
type transfer struct {
	d     *direct
	l     *link
	r     *http.Request
	stop  func() bool // ends the watch over the request's context
	begun bool        // the upstream has said something
	body  io.ReadCloser
	last  bool // the connection is not for another request
	over  bool

	feed   *feed      // the request's body; nil if there is none
	sent   chan error // how sending it has ended
	mu     sync.Mutex
	headed bool  // the answer's header is there
	unsent error // why the body could not be sent, though the upstream would take it
}

// run sends the request and reads the header of its answer.
func (x *transfer) run() (res *http.Response, err error) {
	x.stop = context.AfterFunc(x.r.Context(), func() { _ = x.l.Close() })
	defer func() {
		if err != nil {
			x.stop()
		}
	}()
	if err := x.send(); err != nil {
		return nil, err
	}
	if res, err = x.head(); err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.unsent != nil {
			err = x.unsent // and so the connection was closed
		}
		return nil, err
	}
	x.body, x.last = res.Body, res.Close || res.StatusCode < http.StatusOK
	if res.Body == http.NoBody {
		x.end(true)
		return res, nil
	}
	res.Body = x
	return res, nil
}

// send writes the request, or begins to if it has a body.
func (x *transfer) send() error {
	if x.r.Body == nil {
		err := x.write(x.r)
		x.await(x.d.limit)
		return err
	}
	with := *x.r
	x.feed = &feed{ReadCloser: x.r.Body}
	with.Body = x.feed
	x.sent = make(chan error, 1)
	go func() {
		err := x.write(&with)
		switch fault := x.feed.fault(); {
		case err == nil:
			x.await(x.d.limit)
		case fault != nil:
			x.giveUp(fault)
		case x.l.broken.Load(): // the upstream takes no more; it may have said why
			x.await(lastWords)
		default:
			x.giveUp(err)
		}
		x.sent <- err
	}()
	return nil
}

// giveUp ends a request that can't be sent whole: half of one has no answer.
func (x *transfer) giveUp(err error) {
	x.mu.Lock()
	x.unsent = err
	x.mu.Unlock()
	_ = x.l.Close()
}

func (x *transfer) write(r *http.Request) error {
	err := r.Write(x.l.out)
	if err == nil {
		err = x.l.out.Flush()
	}
	return err
}

// await bounds how long the answer's header may take from now on.
func (x *transfer) await(limit time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if limit > 0 && !x.headed {
		_ = x.l.SetReadDeadline(time.Now().Add(limit))
	}
}

// head reads the header of the answer.
func (x *transfer) head() (*http.Response, error) {
	x.l.left = maxAnswerHeader
	if _, err := x.l.in.Peek(1); err != nil {
		if err == io.EOF {
			err = errNoAnswer
		}
		return nil, err
	}
	x.begun = true
	res, err := x.l.head(x.r)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.headed = true
	if x.d.limit > 0 || x.sent != nil {
		_ = x.l.SetReadDeadline(time.Time{})
	}
	return res, err
}

// feed is the body of a request, and remembers why it could not be read.
type feed struct {
	io.ReadCloser
	mu  sync.Mutex
	err error
}

// Read implements io.Reader.
func (s *feed) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *feed) fault() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Read reads the answer's body. At its end the connection is free again.
func (x *transfer) Read(p []byte) (int, error) {
	n, err := x.body.Read(p)
	if err != nil {
		x.end(err == io.EOF)                                               //nolint:errorlint // a reader's EOF is never wrapped
		if ctxErr := x.r.Context().Err(); err != io.EOF && ctxErr != nil { //nolint:errorlint // as above
			err = ctxErr
		}
	}
	return n, err
}

// Close gives up what has not been read, and the connection with it.
func (x *transfer) Close() error {
	x.end(false)
	return nil
}

// end lets the connection go, for another request if all has been sent and read.
func (x *transfer) end(whole bool) {
	if x.over {
		return
	}
	x.over = true
	// What is left in the buffer is more than the answer.
	if !x.stop() || !whole || x.last || x.l.in.Buffered() > 0 {
		_ = x.l.Close()
		return
	}
	if x.sent == nil {
		x.d.park(x.l)
		return
	}
	select {
	case err := <-x.sent:
		x.settle(err)
		return
	default: // its last byte has been answered, perhaps, before the sender knows that it is gone
	}
	t := time.NewTimer(sentGrace)
	defer t.Stop()
	select {
	case err := <-x.sent:
		x.settle(err)
	case <-t.C:
		x.settle(net.ErrClosed)
	}
}

func (x *transfer) settle(err error) {
	if err != nil {
		_ = x.l.Close()
		return
	}
	x.d.park(x.l)
}
