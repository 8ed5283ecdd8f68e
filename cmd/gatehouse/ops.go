package main

import (
	"context"
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

func newReadiness(g *gateway, more ...dependency) *readiness {
	r := &readiness{seen: map[string]bool{}}
	r.dependencies = append(r.dependencies, dependency{name: "store", check: g.store.Ping, needed: true})
	for _, route := range g.routes {
		if route.Ready != nil {
			r.dependencies = append(r.dependencies, dependency{name: "route " + route.Name, check: route.Ready})
		}
	}
	for _, u := range g.upstreams {
		r.dependencies = append(r.dependencies, dependency{name: "upstream " + u.Name, check: reach(u), optional: true})
	}
	r.dependencies = append(r.dependencies, more...)
	return r
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

// report is a line for each dependency, and whether the gateway is ready.
func (r *readiness) report(ctx context.Context) (text string, ready bool) {
	if r.stopping.Load() {
		return "stopping\n", false
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
	var b strings.Builder
	ready = true
	for i, d := range r.dependencies {
		switch {
		case errs[i] == nil:
			r.seen[d.name] = true
			fmt.Fprintf(&b, "ok        %s\n", d.name)
		case d.needed || !r.seen[d.name] && !d.optional:
			ready = false
			fmt.Fprintf(&b, "missing   %s: %v\n", d.name, errs[i])
		default:
			fmt.Fprintf(&b, "degraded  %s: %v\n", d.name, errs[i])
		}
	}
	return b.String(), ready
}

// opsServer answers those who run the gateway: /livez (this process answers)
// and /readyz (what it needs is there), with the alias /healthz for /livez.
func opsServer(r *readiness, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") }
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /healthz", live)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) {
		text, ready := r.report(req.Context())
		if !ready {
			writeText(w, http.StatusServiceUnavailable, text)
			return
		}
		writeText(w, http.StatusOK, text)
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

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}
