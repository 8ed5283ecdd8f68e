package proxy

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
)

// desk answers for a rig's chain, and can change its mind.
type desk struct {
	mu    sync.Mutex
	known map[string]func(r *http.Request) (authn.Identity, error)
	asked map[string]int
}

func (d *desk) say(name string, answer func(r *http.Request) (authn.Identity, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[name] = answer
}

// knows lets somebody in.
func (d *desk) knows(name string, id authn.Identity) {
	d.say(name, func(*http.Request) (authn.Identity, error) { return id, nil })
}

// fails answers with an error from now on.
func (d *desk) fails(name string, err error) {
	d.say(name, func(*http.Request) (authn.Identity, error) { return authn.Identity{}, err })
}

func (d *desk) count(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[name]
}

// Authenticate implements authn.Authenticator.
func (d *desk) Authenticate(r *http.Request) (authn.Identity, error) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return authn.Identity{}, authn.ErrNoCredential
	}
	d.mu.Lock()
	d.asked[c.Value]++
	answer := d.known[c.Value]
	d.mu.Unlock()
	if answer == nil {
		return authn.Identity{}, authn.ErrRejected
	}
	return answer(r)
}

var (
	errSignedOut = fmt.Errorf("the session has ended: %w", authn.ErrRejected)
	errDown      = errors.New("the store is down")
)

// newDesk starts a gateway whose chain is a desk that knows Alice and Bob. Only those
// in the group users may come in.
func newDesk(t *testing.T, upstream string) (*rig, *desk) {
	t.Helper()
	d := &desk{known: map[string]func(*http.Request) (authn.Identity, error){}, asked: map[string]int{}}
	d.knows("alice", person("alice"))
	d.knows("bob", person("bob"))
	change := func(o *Options) {
		o.Chain = authn.Chain{d}
		o.Routes[0].Allow = func(id authn.Identity) error {
			if !slices.Contains(id.Groups, "users") {
				return &authn.NotAllowed{Missing: "You need to be in users."}
			}
			return nil
		}
	}
	if upstream == "" {
		return newRig(t, change), d
	}
	g := &rig{t: t, up: &echo{}, log: &authntest.Log{}, ender: &ender{}}
	g.start(upstream, change)
	return g, d
}

// socket opens a WebSocket for somebody.
func (g *rig) socket(name string) *websocket.Conn {
	g.t.Helper()
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return net.Dial("tcp", g.addr()) }}
	header := http.Header{"Origin": {gwURL}, "Cookie": {cookieName + "=" + name}}
	path := "/live"
	if name == "" {
		path = "/public/ws"
	}
	c, res, err := d.Dial("ws://gw.test"+path, header)
	if err != nil {
		g.t.Fatal(err, res)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

// lives fails unless a socket answers.
func lives(t *testing.T, c *websocket.Conn) {
	t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte("are you there?")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, p, err := c.ReadMessage(); err != nil || string(p) != "are you there?" {
		t.Fatalf("%q, %v", p, err)
	}
}

// parted fails unless the socket is closed properly, within the time.
func parted(t *testing.T, c *websocket.Conn, within time.Duration, code int, reason string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(within))
	for {
		_, _, err := c.ReadMessage()
		var said *websocket.CloseError
		switch {
		case err == nil:
			continue
		case !errors.As(err, &said):
			t.Fatalf("got %v, want a close frame", err)
		}
		want(t, "code", said.Code, code)
		want(t, "reason", said.Text, reason)
		c.Close()
		return
	}
}

const (
	// promised is the second within which what has ended is closed, and as much again for a
	// machine that is busy. One test holds the time; the others wait until it has happened.
	promised = 2 * time.Second
	soon     = 10 * time.Second
	// quiet is how long it is waited for what must not happen.
	quiet = 1200 * time.Millisecond
)

func TestOpenWebSocket(t *testing.T) {
	someoneElse := person("alice")
	someoneElse.Subject = "sub-eve"
	elsewhere := person("alice")
	elsewhere.Issuer = "https://other.test"
	outsider := person("alice")
	outsider.Groups = []string{"alices"}
	rows := []struct {
		id     string
		change func(d *desk)
		reason string
	}{
		{"WS-03 revoked", func(d *desk) { d.fails("alice", errSignedOut) }, "signed out"},
		{"nobody any more", func(d *desk) { d.fails("alice", authn.ErrNoCredential) }, "signed out"},
		{"the application's own", func(d *desk) { d.fails("alice", authn.ErrApplication) }, "signed out"},
		{"another person", func(d *desk) { d.knows("alice", someoneElse) }, "signed out"},
		{"another issuer", func(d *desk) { d.knows("alice", elsewhere) }, "signed out"},
		{"WS-05 out of the group", func(d *desk) { d.knows("alice", outsider) }, "no longer allowed"},
	}
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			t.Parallel()
			g, d := newDesk(t, "")
			g.up.sockets(t)
			alice, bob, public := g.socket("alice"), g.socket("bob"), g.socket("")
			lives(t, alice)
			time.Sleep(briefly)
			row.change(d)
			g.gw.Recheck()
			g.gw.Recheck()
			parted(t, alice, soon, websocket.ClosePolicyViolation, row.reason)
			lives(t, bob)
			lives(t, public)
			want(t, "aborted", g.lines(1)[0].Aborted, true)
		})
	}
}

func TestOpenWebSocketThatGoesOn(t *testing.T) {
	for _, err := range []error{errDown, &authn.Throttled{After: time.Minute}} {
		t.Run("an outage: "+err.Error(), func(t *testing.T) {
			t.Parallel()
			g, d := newDesk(t, "")
			g.up.sockets(t)
			alice := g.socket("alice")
			time.Sleep(briefly)
			d.fails("alice", err)
			g.gw.Recheck()
			await(t, func() bool { return d.count("alice") == 2 })
			time.Sleep(quiet)
			lives(t, alice)
		})
	}
	t.Run("a session that is renewed", func(t *testing.T) {
		t.Parallel()
		g, d := newDesk(t, "")
		g.up.sockets(t)
		d.say("alice", func(*http.Request) (authn.Identity, error) {
			id := person("alice")
			id.Expires = time.Now().Add(700 * time.Millisecond)
			return id, nil
		})
		alice := g.socket("alice")
		time.Sleep(2 * quiet)
		lives(t, alice)
		if n := d.count("alice"); n < 3 || n > 6 {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("a session that goes on past its proof", func(t *testing.T) {
		t.Parallel()
		g, d := newDesk(t, "")
		g.up.sockets(t)
		late := person("alice")
		late.Expires = time.Now().Add(-time.Minute)
		d.knows("alice", late)
		alice := g.socket("alice")
		time.Sleep(quiet)
		lives(t, alice)
		want(t, "asked", d.count("alice"), 1)
		d.fails("alice", errDown)
		g.gw.Recheck()
		parted(t, alice, soon, websocket.ClosePolicyViolation, "session has ended")
	})
}

// TestOpenWebSocketExpires: what an identity says of its own end is kept to, whatever
// can be found out then.
func TestOpenWebSocketExpires(t *testing.T) {
	rows := map[string]struct {
		then   func(r *http.Request) (authn.Identity, error)
		reason string
	}{
		"WS-04 rejected":  {func(*http.Request) (authn.Identity, error) { return authn.Identity{}, errSignedOut }, "signed out"},
		"WS-04 an outage": {func(*http.Request) (authn.Identity, error) { return authn.Identity{}, errDown }, "session has ended"},
		"WS-04 no answer": {func(r *http.Request) (authn.Identity, error) {
			<-r.Context().Done()
			return authn.Identity{}, r.Context().Err()
		}, "session has ended"},
		"WS-04 a bad route": {func(*http.Request) (authn.Identity, error) { panic("a fault of the route") }, "session has ended"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, d := newDesk(t, "")
			if name == "WS-04 a bad route" {
				g.log = &authntest.Log{} // the panic is meant
			}
			g.up.sockets(t)
			id := person("alice")
			id.Expires = time.Now().Add(800 * time.Millisecond)
			d.knows("alice", id)
			alice := g.socket("alice")
			d.say("alice", row.then)
			time.Sleep(600 * time.Millisecond)
			lives(t, alice)
			parted(t, alice, time.Until(id.Expires)+soon, websocket.ClosePolicyViolation, row.reason)
			if time.Now().Before(id.Expires) {
				t.Error("ended early")
			}
		})
	}
}

// spout answers a WebSocket with large frames without end, which come in pieces, so that
// one is nearly always under way. It stops in the middle of the frame with that number.
func spout(c net.Conn, br *bufio.Reader, stop int, stopped chan<- struct{}) {
	r, err := skip(br)
	if err != nil {
		return
	}
	accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 1.3
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
		"Sec-WebSocket-Accept: ", base64.StdEncoding.EncodeToString(accept[:]), "\r\n\r\n")
	for i := 0; ; i++ {
		size, bits := 70_000, 64
		if i%2 == 0 {
			size, bits = 3000, 16
		}
		frame := frameOf(0x82, size, bits, false)
		for _, b := range frame[:12] {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		rest := frame[12:]
		if _, err := c.Write(rest[:1000]); err != nil {
			return
		}
		rest = rest[1000:]
		time.Sleep(10 * time.Millisecond)
		if i == stop {
			_, _ = c.Write(rest[:10])
			close(stopped)
			_, _ = io.Copy(io.Discard, br)
			return
		}
		if _, err := c.Write(rest); err != nil {
			return
		}
	}
}

func TestOpenWebSocketBetweenFrames(t *testing.T) {
	for _, stop := range []int{-1, 5} {
		t.Run(fmt.Sprint("WS-03 stops at ", stop), func(t *testing.T) {
			t.Parallel()
			gone, stopped := make(chan struct{}), make(chan struct{})
			url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
				spout(c, br, stop, stopped)
				close(gone)
			})
			g, d := newDesk(t, url)
			alice := g.socket("alice")
			go func() { // who doesn't listen
				for alice.WriteMessage(websocket.BinaryMessage, make([]byte, 1000)) == nil {
				}
			}()
			if stop >= 0 {
				<-stopped
			}
			time.AfterFunc(briefly, func() {
				d.fails("alice", errSignedOut)
				g.gw.Recheck()
			})
			if stop < 0 {
				parted(t, alice, briefly+soon, websocket.ClosePolicyViolation, "signed out")
			} else {
				_ = alice.SetReadDeadline(time.Now().Add(briefly + soon + 500*time.Millisecond))
				err := error(nil)
				for err == nil {
					_, _, err = alice.ReadMessage()
				}
				var said *websocket.CloseError
				var late net.Error
				if errors.As(err, &said) && said.Code != websocket.CloseAbnormalClosure || errors.As(err, &late) && late.Timeout() {
					t.Errorf("got %v, want a broken connection", err)
				}
			}
			select {
			case <-gone:
			case <-time.After(2 * soon):
				t.Error("the upstream is still connected")
			}
		})
	}
}

// TestOpenWebSocketUnread ends a client that takes nothing.
func TestOpenWebSocketUnread(t *testing.T) {
	gone := make(chan struct{})
	url, _ := script(t, func(c net.Conn, br *bufio.Reader) {
		spout(c, br, -1, nil)
		close(gone)
	})
	g, d := newDesk(t, url)
	g.socket("alice")
	time.Sleep(briefly)
	d.fails("alice", errSignedOut)
	g.gw.Recheck()
	select {
	case <-gone:
	case <-time.After(2 * soon):
		t.Error("the upstream is still connected")
	}
	await(t, func() bool { return len(g.lines(1)) == 1 })
}

// endless is an upstream that answers without end, or takes a body without end, and
// tells when that is over.
func endless(gone chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() { gone <- r.Context().Err() }()
		switch r.URL.Path {
		case "/download":
			w.Header().Set("Content-Length", "1000000000")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		case "/upload":
			_, _ = io.Copy(io.Discard, r.Body)
		case "/poll":
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: first\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
}

// body never ends.
type forever struct{ done <-chan struct{} }

func (f forever) Read(p []byte) (int, error) {
	select {
	case <-f.done:
		return 0, io.EOF
	case <-time.After(time.Millisecond):
		return len(p), nil
	}
}

func TestOpenTransfers(t *testing.T) {
	for _, path := range []string{"/events", "/download", "/upload", "/poll", "/public/events"} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("WS-16 WS-17 %s, h2 %v", path, h2), func(t *testing.T) {
				t.Parallel()
				g, d := newDesk(t, "")
				gone := make(chan error, 1)
				g.up.then = endless(gone)
				req := g.request("GET", path, nil)
				if path == "/upload" {
					req = g.request("POST", path, forever{t.Context().Done()})
				}
				failed := make(chan error, 1)
				go func() {
					res, err := g.client(h2).Do(req)
					if err == nil {
						defer res.Body.Close()
						_, err = io.Copy(io.Discard, res.Body)
					}
					failed <- err
				}()
				await(t, func() bool { return len(g.up.all()) == 1 })
				time.Sleep(briefly)
				d.fails("alice", errSignedOut)
				g.gw.Recheck()
				if strings.HasPrefix(path, "/public/") {
					select {
					case err := <-failed:
						t.Errorf("a public request ended: %v", err)
					case <-time.After(quiet):
						want(t, "asked", d.count("alice"), 0)
					}
					return
				}
				for what, c := range map[string]chan error{"client": failed, "upstream": gone} {
					select {
					case err := <-c:
						if err == nil && path != "/upload" {
							t.Errorf("%s: a clean end", what)
						}
					case <-time.After(soon):
						t.Errorf("%s: no end", what)
					}
				}
				want(t, "aborted", g.lines(1)[0].Aborted, true)
			})
		}
	}
}

// TestOpenTransferOfOthers: one person's end is nobody else's, in the middle of a
// connection that they share.
func TestOpenTransferOfOthers(t *testing.T) {
	g, d := newDesk(t, "")
	g.up.then = func(w http.ResponseWriter, r *http.Request) {
		for i := 0; r.Context().Err() == nil && i < 20; i++ {
			fmt.Fprintln(w, "data: tick")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	}
	c := g.client(true)
	results := map[string]chan error{}
	for _, name := range []string{"alice", "bob"} {
		done := make(chan error, 1)
		results[name] = done
		req := g.request("GET", "/events", nil)
		req.Header.Set("Cookie", cookieName+"="+name)
		go func() {
			res, err := c.Do(req)
			if err == nil {
				defer res.Body.Close()
				_, err = io.Copy(io.Discard, res.Body)
			}
			done <- err
		}()
	}
	await(t, func() bool { return len(g.up.all()) == 2 })
	time.Sleep(briefly)
	d.fails("alice", errSignedOut)
	g.gw.Recheck()
	if err := <-results["alice"]; err == nil {
		t.Error("alice: a clean end")
	}
	want(t, "bob", <-results["bob"], nil)
	if n := d.count("bob"); n != 2 {
		t.Errorf("bob was asked %d times", n)
	}
}

// TestOpenPipelined: a client that sends more behind its request is no harder to end.
func TestOpenPipelined(t *testing.T) {
	g, d := newDesk(t, "")
	gone := make(chan error, 1)
	g.up.then = endless(gone)
	c := g.dial()
	fmt.Fprint(c, "GET /events HTTP/1.1\r\n"+head+"\r\n")
	await(t, func() bool { return len(g.up.all()) == 1 })
	time.Sleep(briefly)
	fmt.Fprint(c, "GET /next HTTP/1.1\r\n"+head+"\r\n") // after which the server doesn't watch the connection any more
	time.Sleep(briefly / 5)
	d.fails("alice", errSignedOut)
	g.gw.Recheck()
	got, err := io.ReadAll(c)
	if err == nil && strings.HasSuffix(string(got), "\r\n0\r\n\r\n") {
		t.Errorf("a clean end: %q", got)
	}
	select {
	case <-gone:
	case <-time.After(soon):
		t.Error("the upstream is still connected")
	}
	want(t, "requests", len(g.up.all()), 1)
}

// TestOpenUploadStalled ends an upload that stands still.
func TestOpenUploadStalled(t *testing.T) {
	g, d := newDesk(t, "")
	gone := make(chan error, 1)
	g.up.then = endless(gone)
	c := g.dial()
	fmt.Fprint(c, "POST /upload HTTP/1.1\r\n"+head+"Content-Length: 100\r\n\r\nhalf")
	await(t, func() bool { return len(g.up.all()) == 1 })
	time.Sleep(briefly)
	d.fails("alice", errSignedOut)
	g.gw.Recheck()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	<-gone
}

// TestOpenTransferUnread ends a download that the client does not take.
func TestOpenTransferUnread(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2 %v", h2), func(t *testing.T) {
			t.Parallel()
			g, d := newDesk(t, "")
			gone := make(chan error, 1)
			g.up.then = endless(gone)
			res, err := g.client(h2).Do(g.request("GET", "/download", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			time.Sleep(briefly)
			d.fails("alice", errSignedOut)
			g.gw.Recheck()
			ended := time.Now()
			<-gone
			g.lines(1)
			if took := time.Since(ended); took > promised {
				t.Errorf("that took %v", took)
			}
		})
	}
}

// TestEndedAtItsEnd: an answer does not pass for whole that was cut off as it ended.
func TestEndedAtItsEnd(t *testing.T) {
	g, _ := newDesk(t, "")
	x := &exchange{ResponseWriter: httptest.NewRecorder(), h: g.gw, r: httptest.NewRequest("GET", "/", nil), id: []string{"x"}, ended: true}
	defer func() { want(t, "panic", recover(), any(http.ErrAbortHandler)) }()
	g.gw.end(x)
}

func TestDrain(t *testing.T) {
	t.Run("WS-13 WebSockets are told", func(t *testing.T) {
		t.Parallel()
		g, _ := newDesk(t, "")
		g.up.sockets(t)
		alice, public := g.socket("alice"), g.socket("")
		lives(t, alice)
		g.gw.Drain()
		parted(t, alice, soon, websocket.CloseGoingAway, "going away")
		parted(t, public, soon, websocket.CloseGoingAway, "going away")
		parted(t, g.socket("bob"), soon, websocket.CloseGoingAway, "going away")
		if a := g.get("/", aliceOnly); a.StatusCode != 200 {
			t.Errorf("a request while draining: %s", a.Status)
		}
	})
	t.Run("WS-13 Close waits until they have been", func(t *testing.T) {
		t.Parallel()
		g, _ := newDesk(t, "")
		g.up.sockets(t)
		alice := g.socket("alice")
		lives(t, alice)
		go g.gw.Close()
		parted(t, alice, soon, websocket.CloseGoingAway, "going away")
		alice.Close()
		g.gw.Close()
		want(t, "sockets", len(g.gw.open.sockets()), 0)
	})
	t.Run("other requests go on", func(t *testing.T) {
		t.Parallel()
		g, _ := newDesk(t, "")
		g.up.then = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(quiet)
			fmt.Fprint(w, "done")
		}
		time.AfterFunc(quiet/4, g.gw.Drain)
		want(t, "body", g.get("/slow", aliceOnly).body, "done")
	})
}

func TestTerm(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	never := time.Time{}
	x := begin(start, never)
	for s, due := range map[float64]bool{0: false, 13: false, 15: true} {
		want(t, fmt.Sprint("due after ", s), x.due(at(s), never), due)
	}
	want(t, "due when access may have ended", x.due(at(1), at(0.9)), true)
	want(t, "due so soon", x.due(at(0.1), at(0.05)), false)
	want(t, "due when it was asked since", x.due(at(1), at(-1)), false)
	x.asking = true
	want(t, "due while it is asked", x.due(at(20), at(20)), false)
	x.put(at(15))
	want(t, "asking when there was no answer", x.asking, false)
	want(t, "due at once after that", x.due(at(16), never), false)
	want(t, "due after that", x.due(at(30), never), true)
	want(t, "over after ten minutes without an answer", x.over(at(601)), true)
	want(t, "over before", x.over(at(599)), false)
	x.renew(at(599), at(700))
	want(t, "over with an answer", x.over(at(700)), false)
	want(t, "due at its end", x.due(at(700), never), true)
	want(t, "over past its end", x.over(at(701)), true)
	x.renew(at(702), at(700))
	want(t, "over when it was let in all the same", x.over(at(705)), false)
	want(t, "expired", x.expired(at(705)), true)
	want(t, "due once a while", x.due(at(705), never), false)
}

// TestManyOpen asks about more than are asked at once, with one who never answers.
func TestManyOpen(t *testing.T) {
	g, d := newDesk(t, "")
	g.up.sockets(t)
	d.say("bob", func(r *http.Request) (authn.Identity, error) {
		if d.count("bob") > 1 {
			<-r.Context().Done()
		}
		return person("bob"), r.Context().Err()
	})
	bob := g.socket("bob")
	var all []*websocket.Conn
	for range 5 * askers {
		all = append(all, g.socket("alice"))
	}
	time.Sleep(briefly)
	d.fails("alice", errSignedOut)
	g.gw.Recheck()
	for _, c := range all {
		parted(t, c, soon, websocket.ClosePolicyViolation, "signed out")
	}
	lives(t, bob)
}
