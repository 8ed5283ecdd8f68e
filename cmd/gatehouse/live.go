package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/config"
	"gatehouse/proxy"
)

// live is the gateway that answers now. Others may have been before it, by other
// settings; each goes on until its last request has ended.
type live struct {
	now      atomic.Pointer[generation]
	stopping atomic.Bool // requests are to go elsewhere

	mu      sync.Mutex
	former  map[*generation]bool
	closing sync.WaitGroup
}

// generation is a gateway, what it was made from, and how many requests it has.
type generation struct {
	*gateway
	settings config.Config
	bounds   proxy.Bounds
	log      *slog.Logger
	ready    *readiness

	requests atomic.Int64
	retired  atomic.Bool
	once     sync.Once
	idle     chan struct{} // closed when it is retired and has no more requests
}

func newGeneration(c config.Config, g *gateway, log *slog.Logger) *generation {
	return &generation{gateway: g, settings: c, bounds: proxy.Bounds{Limits: c.Limits, Trusted: c.Networks()}, log: log, ready: newReadiness(g), idle: make(chan struct{})}
}

func newLive(first *generation) *live {
	l := &live{former: map[*generation]bool{}}
	l.now.Store(first)
	return l
}

// ServeHTTP has the gateway answer that is live when the request comes.
func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g := l.enter()
	defer g.leave()
	g.handler.ServeHTTP(w, r)
}

// questions has the gateway answer whether requests may go on.
func (l *live) questions() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := l.enter()
		defer g.leave()
		g.handler.ServeQuestion(w, r)
	})
}

// insecure has the gateway answer what comes in the clear, see [proxy.Handler.Insecure].
func (l *live) insecure(challenges http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := l.enter()
		defer g.leave()
		g.handler.Insecure(challenges).ServeHTTP(w, r)
	})
}

// enter counts a request in. Who has been counted in before a generation was retired is
// waited for.
func (l *live) enter() *generation {
	for {
		g := l.now.Load()
		g.requests.Add(1)
		if l.now.Load() == g {
			return g
		}
		g.leave()
	}
}

func (g *generation) leave() {
	if g.requests.Add(-1) == 0 {
		g.rest()
	}
}

// rest notes that the last request has ended, if no other can come.
func (g *generation) rest() {
	if g.retired.Load() && g.requests.Load() == 0 {
		g.once.Do(func() { close(g.idle) })
	}
}

// roomsTime is how long after it was retired a generation may still have to find out
// who somebody is. From then on it does no more than finish what it forwards.
const roomsTime = 2 * time.Minute

// swap has next answer from now on.
func (l *live) swap(next *generation) {
	former := l.now.Load()
	next.inherit(former.gateway)
	l.mu.Lock()
	l.former[former] = true
	l.mu.Unlock()
	l.now.Store(next)
	next.handler.Succeed()
	former.retired.Store(true)
	former.rest()
	l.closing.Go(func() {
		rooms := time.NewTimer(roomsTime)
		defer rooms.Stop()
		select {
		case <-former.idle:
		case <-rooms.C:
			warn(former.log, former.closeRooms())
			<-former.idle
		}
		l.mu.Lock()
		delete(l.former, former)
		l.mu.Unlock()
		warn(former.log, former.close())
	})
}

func warn(log *slog.Logger, err error) {
	if err != nil {
		log.Warn("former settings", "err", err)
	}
}

// Drain tells the clients of all WebSockets that the gateway is going away.
func (l *live) Drain() { l.now.Load().handler.Drain() }

// close gives back what the gateways hold. The servers must have ended.
func (l *live) close() error {
	l.mu.Lock()
	for g := range l.former {
		g.once.Do(func() { close(g.idle) }) // what has been hijacked counts until it is closed
	}
	l.mu.Unlock()
	err := l.now.Load().close()
	l.closing.Wait()
	return err
}

// bounds is what the settings say of connections now.
func (l *live) bounds() proxy.Bounds { return l.now.Load().bounds }

// look is what /readyz says: how each thing is that the gateway needs, and whether
// requests may come.
func (l *live) look(ctx context.Context) state {
	if l.stopping.Load() {
		return state{Stopping: true}
	}
	return l.now.Load().ready.look(ctx)
}
