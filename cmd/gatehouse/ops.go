package main

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/config"
	"gatehouse/proxy"
	"gatehouse/session"
)

// readyTimeout bounds the looks at all dependencies together; probes give up early.
const readyTimeout = 3 * time.Second

// dependency is something that the gateway needs.
type dependency struct {
	name  string
	check func(context.Context) error
	// needed ones make the gateway unready whenever they are missing. The others
	// do so only until they were there once: a provider's outage must not take
	// every replica, and with it every signed-in person, out of service.
	needed bool
	// optional ones never do: an application's outage is its own.
	optional bool
}

// readiness looks at the dependencies and remembers which were ever there.
type readiness struct {
	dependencies []dependency
	mu           sync.Mutex
	seen         map[string]bool
	stopping     atomic.Bool
}

func newReadiness(g *gateway, settings func() error) *readiness {
	r := &readiness{seen: map[string]bool{}}
	r.dependencies = append(r.dependencies, dependency{name: "store", check: g.store.Ping, needed: true},
		dependency{name: "news", check: hearing(g.news), optional: true})
	for _, route := range g.routes {
		if route.Ready != nil {
			r.dependencies = append(r.dependencies, dependency{name: "route " + route.Name, check: route.Ready})
		}
	}
	for _, u := range g.upstreams {
		r.dependencies = append(r.dependencies, dependency{name: "upstream " + u.Name, check: reach(u), optional: true})
	}
	r.dependencies = append(r.dependencies, dependency{name: "settings", check: func(context.Context) error { return settings() }, optional: true})
	return r
}

// hearing looks whether the gateway hears of sessions that end elsewhere.
func hearing(n *session.News) func(context.Context) error {
	return func(context.Context) error {
		if n.Hearing() {
			return nil
		}
		return errors.New("the store does not tell what ends elsewhere: until it does, each request asks it")
	}
}

// reach looks whether an application takes connections.
func reach(u config.Upstream) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, f := range proxy.Check(ctx, u) {
			if !f.OK {
				return errors.New(f.Detail)
			}
		}
		return nil
	}
}

// The states of a condition.
const (
	there    = "ok"
	missing  = "missing"  // and the gateway is not ready
	degraded = "degraded" // but it is
)

// condition is how something is that the gateway needs.
type condition struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// state is whether requests should come here, and why.
type state struct {
	Ready      bool        `json:"ready"`
	Stopping   bool        `json:"stopping,omitzero"`
	Conditions []condition `json:"conditions,omitempty"`
}

// look looks at everything at once.
func (r *readiness) look(ctx context.Context) state {
	if r.stopping.Load() {
		return state{Stopping: true}
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	errs := make([]error, len(r.dependencies))
	var wg sync.WaitGroup
	for i, d := range r.dependencies {
		wg.Go(func() { errs[i] = d.check(ctx) })
	}
	wg.Wait()

	r.mu.Lock()
	defer r.mu.Unlock()
	s := state{Ready: true}
	for i, d := range r.dependencies {
		c := condition{Name: d.name, State: there}
		switch {
		case errs[i] == nil:
			r.seen[d.name] = true
		case d.needed || !r.seen[d.name] && !d.optional:
			s.Ready = false
			c.State, c.Reason = missing, errs[i].Error()
		default:
			c.State, c.Reason = degraded, errs[i].Error()
		}
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

// String is a line for each condition.
func (s state) String() string {
	if s.Stopping {
		return "stopping\n"
	}
	var b strings.Builder
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%-9s %s", c.State, c.Name)
		if c.Reason != "" {
			b.WriteString(": " + c.Reason)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// ServeHTTP answers in lines, or in JSON to who asks for that.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s, status := r.look(req.Context()), http.StatusOK
	if !s.Ready {
		status = http.StatusServiceUnavailable
	}
	if !strings.Contains(req.Header.Get("Accept"), "application/json") {
		writeText(w, status, s.String())
		return
	}
	text, err := json.Marshal(s)
	if err != nil {
		writeText(w, http.StatusInternalServerError, "the state can't be written as JSON\n")
		return
	}
	write(w, status, "application/json", string(text))
}

// opsServer answers those who run the gateway: /livez (this process answers), /readyz
// (what it needs is there) and /metrics, with the aliases /healthz and /ping for /livez.
func opsServer(r *readiness, scrapes http.Handler, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") }
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /healthz", live)
	mux.HandleFunc("GET /ping", live)
	mux.Handle("GET /metrics", scrapes)
	mux.Handle("GET /readyz", r)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

func writeText(w http.ResponseWriter, status int, text string) {
	write(w, status, "text/plain; charset=utf-8", text)
}

func write(w http.ResponseWriter, status int, kind, text string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}
