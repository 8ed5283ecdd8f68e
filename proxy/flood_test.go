package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// flood is an HTTP/2 connection that is read all the time, or the gateway could
// not write. What comes is counted.
type flood struct {
	*h2
	up      *gauge
	window  atomic.Int64 // of the connection, as far as the gateway opened it
	resets  atomic.Int64
	closed  atomic.Bool
	pong    atomic.Bool // the gateway has read all
	mu      sync.Mutex
	answers map[uint32]bool // streams that got a header
}

// last begins the data of a flood's last ping.
const last = 0xff

func (g *rig) flood() *flood {
	c := &flood{h2: g.h2(), answers: map[uint32]bool{}}
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			g.t.Fatal(err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			break
		}
	}
	if err := c.framer.WriteSettingsAck(); err != nil {
		g.t.Fatal(err)
	}
	c.framer.ReadMetaHeaders = nil // what the gateway's compressor does is its own business
	go func() {
		for {
			f, err := c.framer.ReadFrame()
			if err != nil {
				c.closed.Store(true)
				return
			}
			switch f := f.(type) {
			case *http2.RSTStreamFrame:
				c.resets.Add(1)
			case *http2.PingFrame:
				if f.IsAck() && f.Data == [8]byte{last} {
					c.pong.Store(true)
				}
			case *http2.WindowUpdateFrame:
				if f.StreamID == 0 {
					c.window.Add(int64(f.Increment))
				}
			case *http2.HeadersFrame:
				c.mu.Lock()
				c.answers[f.StreamID] = true
				c.mu.Unlock()
			}
		}
	}()
	return c
}

// settle waits until the gateway has read all that was sent, or has hung up.
func (c *flood) settle() {
	c.t.Helper()
	_ = c.framer.WritePing(false, [8]byte{last})
	await(c.t, func() bool { return c.pong.Load() || c.closed.Load() })
}

func (c *flood) answered(stream uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[stream]
}

// open begins a request. It is false when the gateway has closed the connection.
func (c *flood) open(stream uint32, end bool, fields ...string) bool {
	c.t.Helper()
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	p := http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: true}
	return c.framer.WriteHeaders(p) == nil
}

// gauge counts the requests that the upstream has at a time.
type gauge struct{ now, peak, all atomic.Int64 }

// ServeHTTP reads the body, and waits a moment for the request to be given up.
func (u *gauge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.all.Add(1)
	n := u.now.Add(1)
	defer u.now.Add(-1)
	for p := u.peak.Load(); n > p && !u.peak.CompareAndSwap(p, n); p = u.peak.Load() {
	}
	_, _ = io.Copy(io.Discard, r.Body)
	if r.URL.Path == "/public/flood" {
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	fmt.Fprint(w, "hello")
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestHTTP2Floods floods one connection in each of the known ways. Meanwhile
// others are served; afterwards nothing is left of it.
func TestHTTP2Floods(t *testing.T) {
	post := func(more ...string) []string {
		return append(pseudo(":method", "POST", ":path", "/public/flood"), more...)
	}
	get := pseudo(":path", "/public/flood")
	row := func(name string, f func(t *testing.T, g *rig, c *flood)) {
		t.Run(name, func(t *testing.T) {
			const spare, spareHeap = 10, 32 << 20
			g := newRig(t, func(o *Options) { o.Access = false })
			up := &gauge{}
			g.up.then = up.ServeHTTP
			want(t, "before", g.get("/public/x", "").StatusCode, 200)
			goroutines, bytes := runtime.NumGoroutine(), heap()
			c := g.flood()
			c.up = up
			f(t, g, c)
			want(t, "others are served", g.get("/public/x", "").StatusCode, 200)
			c.settle()
			if peak := up.peak.Load(); peak > maxStreams+spare {
				t.Errorf("the upstream had %d requests at a time", peak)
			}
			if n := heap(); n > bytes+64<<20 {
				t.Errorf("the heap was %d bytes, %d before", n, bytes)
			}
			c.conn.Close()
			await(t, func() bool {
				g.gw.Close() // idle connections to the upstream
				g.forget()
				return runtime.NumGoroutine() <= goroutines+spare && heap() <= bytes+spareHeap
			})
		})
	}
	row("HTTP-21 rapid reset", func(_ *testing.T, _ *rig, c *flood) {
		for i := range uint32(5000) {
			if !c.open(2*i+1, true, get...) || c.framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
				return
			}
		}
	})
	row("HTTP-22 endless CONTINUATION", func(t *testing.T, g *rig, c *flood) {
		g.forget()
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		field := func(name, value string) {
			if err := enc.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true}); err != nil {
				t.Fatal(err)
			}
		}
		for p := range slices.Chunk(pseudo(), 2) {
			field(p[0], p[1])
		}
		if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true}); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for sent < 64<<20 {
			block.Reset()
			for range 100 {
				field("x-filler", strings.Repeat("a", 100))
			}
			if c.framer.WriteContinuation(1, false, block.Bytes()) != nil {
				break
			}
			sent += block.Len()
		}
		if sent >= 64<<20 {
			t.Error("64 MiB of headers were taken")
		}
		g.untouched()
	})
	row("HTTP-23 resets that the gateway is made to send", func(t *testing.T, _ *rig, c *flood) {
		for i := range uint32(1000) {
			stream := 2*i + 1
			if !c.open(stream, false, post()...) {
				t.Fatal("closed")
			}
			var err error
			switch i % 3 {
			case 0: // more than a window can be
				err = c.framer.WriteWindowUpdate(stream, 1<<31-1)
			case 1:
				err = c.framer.WriteWindowUpdate(stream, 0)
			case 2: // trailers that are not the end
				c.open(stream, false, "x-sum", "1")
			}
			if err != nil {
				t.Fatal(err)
			}
			if i%100 == 99 {
				await(t, func() bool { return c.resets.Load() > int64(i) })
			}
		}
	})
	row("HTTP-24 frames that nobody knows", func(_ *testing.T, _ *rig, c *flood) {
		for i := range 5000 {
			if c.framer.WriteRawFrame(http2.FrameType(0x0a+i%6), 0, 0, nil) != nil || c.framer.WritePing(false, [8]byte{1}) != nil ||
				c.framer.WriteSettings() != nil || c.framer.WritePriority(uint32(2*i+1), http2.PriorityParam{Weight: 1}) != nil {
				return
			}
		}
	})
	row("HTTP-25 table size while answers are written", func(t *testing.T, _ *rig, c *flood) {
		for i := range uint32(500) {
			if !c.open(2*i+1, true, pseudo(":path", "/public/x")...) {
				t.Fatal("closed")
			}
			for _, size := range []uint32{0, 4096, 1 << 16} {
				if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}); err != nil {
					t.Fatal(err)
				}
			}
			if i%100 == 99 {
				await(t, func() bool { return c.answered(2*i + 1) })
			}
		}
	})
	row("HTTP-26 window size again and again", func(t *testing.T, _ *rig, c *flood) {
		for i := range uint32(maxStreams) {
			if !c.open(2*i+1, false, post()...) {
				return
			}
		}
		await(t, func() bool { return c.up.now.Load() == maxStreams })
		for i := range uint32(5000) {
			if c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: i % 2}) != nil {
				return
			}
		}
	})
	row("HTTP-27 names of trailers", func(t *testing.T, g *rig, c *flood) {
		names := func(n int) string {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, "x%d,", i)
			}
			return b.String() + "x"
		}
		one := g.h2()
		one.headers(1, true, post("trailer", names(9000))...)
		want(t, "outcome", one.outcome(1), "431")
		one.conn.Close()
		for i := range uint32(30) {
			if !c.open(2*i+1, false, post("trailer", names(9000))...) {
				return
			}
		}
	})
	row("HTTP-28 data and reset", func(t *testing.T, _ *rig, c *flood) {
		await(t, func() bool { return c.window.Load() > 0 })
		opened, sent := c.window.Load(), int64(0)
		data := make([]byte, 4096)
		for i := range uint32(500) {
			await(t, func() bool { return 65535+c.window.Load()-sent >= int64(len(data)) })
			if !c.open(2*i+1, false, post()...) || c.framer.WriteData(2*i+1, false, data) != nil ||
				c.framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
				return
			}
			sent += int64(len(data))
		}
		c.settle()
		if back := c.window.Load() - opened; back > sent {
			t.Errorf("got back %d bytes of the window for %d", back, sent)
		}
	})
}
