package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// partTime is how long the end of a frame is waited for when a WebSocket is ended, and
// then how long the client may take to close it too.
const partTime = time.Second

var errParted = errors.New("the gateway has ended the WebSocket")

// Hijack hands the connection over for a WebSocket. What the client has sent
// already is read first; httputil.ReverseProxy would lose it.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.hijacked, x.status = true, http.StatusSwitchingProtocols
	return &tunnel{Conn: conn, early: rw.Reader, x: x, parting: make(chan struct{})}, rw, nil
}

// tunnel is the client's side of a WebSocket. Who ends it sends the client a Close
// frame, which can stand only between two of the upstream's frames.
type tunnel struct {
	net.Conn
	early *bufio.Reader // nil once it is empty
	x     *exchange
	open  bool // has been read from

	ending  atomic.Pointer[farewell] // nil while it goes on
	parting chan struct{}            // closed with parted

	mu     sync.Mutex // held while anything is sent to the client
	frames frames
	parted bool // the Close frame has been sent, or need not be
}

// Read reads what the client sends. Once the tunnel is ended, none of that goes on.
func (t *tunnel) Read(p []byte) (int, error) {
	if !t.open { // the 101 is out, and whatever is written now comes after it
		t.open = true
		t.x.opened(t)
	}
	n, err := t.read(p)
	for n > 0 && t.ending.Load() != nil {
		if n = 0; err == nil {
			n, err = t.read(p)
		}
	}
	return n, err
}

func (t *tunnel) read(p []byte) (int, error) {
	if t.early != nil {
		if n := min(t.early.Buffered(), len(p)); n > 0 {
			return t.early.Read(p[:n])
		}
		t.early = nil
	}
	return t.Conn.Read(p)
}

// Write sends what the upstream sends. Once the tunnel is ended, that is only the rest
// of a frame.
func (t *tunnel) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending.Load() == nil {
		return t.send(p)
	}
	n, err := t.send(p[:t.frames.rest(p)])
	if err != nil {
		return n, err
	}
	if t.frames.between() {
		t.part()
	}
	if n < len(p) {
		err = errParted
	}
	return n, err
}

func (t *tunnel) send(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := t.Conn.Write(p)
	t.x.tunnelled.Add(int64(n))
	t.frames.pass(p[:n])
	return n, err
}

// part sends the last frame; t.mu is held, and no frame is under way.
func (t *tunnel) part() {
	if t.parted {
		return
	}
	t.parted = true
	if !t.frames.closed { // the upstream has not said it itself
		_, _ = t.Conn.Write(t.ending.Load().frame()) // a client that is gone needs none
	}
	close(t.parting)
}

// end ends the tunnel, once.
func (t *tunnel) end(why farewell) {
	if t.ending.CompareAndSwap(nil, &why) {
		go t.leave()
	}
}

// leave tells the client, now or when the upstream's frame has ended, and cuts the
// upstream off.
func (t *tunnel) leave() {
	_ = t.Conn.SetWriteDeadline(time.Now().Add(partTime)) // also for a Write that is under way
	t.mu.Lock()
	if t.frames.between() {
		t.part()
	}
	t.mu.Unlock()
	limit := time.NewTimer(partTime)
	defer limit.Stop()
	select {
	case <-t.parting:
	case <-limit.C:
	}
	t.x.cancel()
}

// Close closes the connection. A client that has been told is given the time to read
// that: to close while its bytes are unread would be to reset the connection.
func (t *tunnel) Close() error {
	t.mu.Lock()
	parted := t.parted
	t.mu.Unlock()
	if parted {
		_ = closeWrite(t.Conn)
		_ = t.Conn.SetReadDeadline(time.Now().Add(partTime))
		_, _ = io.Copy(io.Discard, t.Conn)
	}
	return t.Conn.Close()
}

// CloseWrite ends one direction, where the connection can.
func (t *tunnel) CloseWrite() error { return closeWrite(t.Conn) }
