package main

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
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
}

func newReadiness(g *gateway) *readiness {
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
	isThere    = "ok"
	isMissing  = "missing"  // and the gateway is not ready
	isDegraded = "degraded" // but it is
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
		c := condition{Name: d.name, State: isThere}
		switch {
		case errs[i] == nil:
			r.seen[d.name] = true
		case d.needed || !r.seen[d.name] && !d.optional:
			s.Ready = false
			c.State, c.Reason = isMissing, errs[i].Error()
		default:
			c.State, c.Reason = isDegraded, errs[i].Error()
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
		b.WriteString(c.String() + "\n")
	}
	return b.String()
}

// String is a line.
func (c condition) String() string {
	line := fmt.Sprintf("%-9s %s", c.State, c.Name)
	if c.Reason != "" {
		line += ": " + c.Reason
	}
	return line
}

// answer answers in lines, or in JSON to who asks for that.
func (s state) answer(w http.ResponseWriter, req *http.Request) {
	status := http.StatusOK
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

// settingsPath is where the operations listener tells the settings that count.
const settingsPath = "/settings"

// opsServer answers those who run the gateway: /livez (this process answers), with the
// aliases /healthz and /ping, /readyz (what it needs is there), /metrics, and /settings,
// which only this machine itself is told.
func opsServer(look func(context.Context) state, settings func() config.Config, scrapes http.Handler, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") }
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /healthz", live)
	mux.HandleFunc("GET /ping", live)
	mux.Handle("GET /metrics", scrapes)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) { look(req.Context()).answer(w, req) })
	mux.HandleFunc("GET "+settingsPath, func(w http.ResponseWriter, req *http.Request) {
		if !local(req) {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(settings().Masked())
	})
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// local reports whether a request is from this machine and about it: not of a site whose
// name a browser here was led to believe in, nor passed on by a proxy.
func local(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if len(r.Header[name]) > 0 {
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	host := (&url.URL{Host: r.Host}).Hostname()
	at, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && at.Unmap().IsLoopback()
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
