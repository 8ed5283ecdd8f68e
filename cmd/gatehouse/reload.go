package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/authn/audit"
	"gatehouse/config"
)

// reloader keeps the settings that count the same as those in the files: it makes a new
// gateway of what has changed, and has it answer once it is ready. What can't be loaded
// changes nothing.
type reloader struct {
	file string // empty for none
	read func() (config.Config, error)
	live *live
	log  func(config.Log) *slog.Logger
	// observe is told what happens in each gateway, and how each loading went.
	observe observers
	wait    time.Duration // for a new gateway to be ready
	rest    time.Duration // before what was refused is tried again

	tried string // digest of what was tried last

	mu sync.Mutex
	at time.Time // of the last try
	// problem is why what is in the files does not count; empty if it does.
	problem string
}

const (
	readyWait   = 15 * time.Second
	refusedRest = 30 * time.Second
)

// start runs it until ctx ends or what it returns is called, which waits for it.
func (r *reloader) start(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx, told) })
	return func() {
		signal.Stop(told)
		cancel()
		running.Wait()
	}
}

// look is what /readyz says.
func (r *reloader) look(ctx context.Context) state {
	s := r.live.look(ctx)
	if !s.Stopping {
		s.Conditions = append(s.Conditions, r.condition())
	}
	return s
}

// run looks at the files until ctx ends, and loads them whenever it is told to.
func (r *reloader) run(ctx context.Context, told <-chan os.Signal) {
	seen := r.tried
	for {
		var look <-chan time.Time
		if every := r.live.now.Load().settings.Reload.Interval.Std(); every > 0 {
			look = time.After(every)
		}
		select {
		case <-ctx.Done():
			return
		case <-told:
			r.reload(ctx)
			seen = r.tried
			continue
		case <-look:
		}
		now := r.digest(r.live.now.Load().settings)
		settled := now == seen // nobody is in the middle of writing
		seen = now
		if settled && (now != r.tried || r.due()) {
			r.reload(ctx)
			seen = r.tried
		}
	}
}

// due reports whether what was refused is to be tried again: what it needs may be there
// now.
func (r *reloader) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem != "" && time.Since(r.at) >= r.rest
}

// maxLoads bounds how often settings are read that name other files each time.
const maxLoads = 5

// settings reads what is in the files, and notes what that was. What it notes is looked at
// before it is read, so that whatever changes meanwhile is seen as a change. Which files
// there are to look at the settings before say; where the new ones name others, they are
// read once more.
func (r *reloader) settings(former config.Config) (c config.Config, err error) {
	for range maxLoads {
		r.tried = r.digest(former)
		c, err = r.read()
		if err != nil || slices.Equal(c.Files(), former.Files()) {
			return c, err
		}
		former = c
	}
	return c, nil
}

// digest stands for the content of the files that those settings are from.
func (r *reloader) digest(c config.Config) string {
	h := sha256.New()
	if r.file != "" {
		digestFile(h, r.file)
	}
	for _, file := range c.Files() {
		digestFile(h, file)
	}
	return string(h.Sum(nil))
}

// maxWatched bounds what is read of one file, in bytes; none that can be loaded is as large.
const maxWatched = 16 << 20

// digestFile adds a file's content to h, or that it can't be read. Its name is in it, so
// that contents can't change places.
func digestFile(h hash.Hash, name string) {
	content := sha256.New()
	info, err := os.Stat(name)
	if err == nil && info.Mode().IsRegular() {
		var f *os.File
		if f, err = os.Open(name); err == nil { //nolint:gosec // the settings name it
			_, err = io.Copy(content, io.LimitReader(f, maxWatched))
			_ = f.Close() // it was only read
		}
	}
	fmt.Fprintf(h, "%q %x %v\n", name, content.Sum(nil), err)
}

// reload has what is in the files answer, if it can be loaded.
func (r *reloader) reload(ctx context.Context) {
	former := r.live.now.Load()
	tried := r.digest(former.settings)
	next, err := r.load(ctx, former)
	if err != nil {
		r.tried = tried
	}
	if ctx.Err() != nil && next == nil {
		return
	}
	r.mu.Lock()
	was := r.problem
	r.at, r.problem = time.Now(), ""
	if err != nil {
		r.problem = err.Error()
	}
	r.mu.Unlock()
	r.observe.metrics.Reload.Loaded(time.Now(), err)
	if err != nil {
		if err.Error() != was {
			former.log.Error("settings not reloaded; the former ones go on", "err", err)
			record(former, audit.Event{Name: audit.Settings, Outcome: audit.Refused, Reason: err.Error()})
		}
		return
	}
	r.live.swap(next)
	r.observe.follow(next.settings, next.gateway)
	changed := tellChanges(next.log, config.Changes(former.settings, next.settings))
	record(next, audit.Event{Name: audit.Settings, Outcome: audit.Allowed, Reason: "reloaded", Object: changed})
}

// record tells the audit trail of what happens all the same.
func record(g *generation, e audit.Event) { _ = g.trail.Record(e) }

// load makes a gateway of what is in the files and waits until it is ready.
func (r *reloader) load(ctx context.Context, former *generation) (*generation, error) {
	c, err := r.settings(former.settings)
	if err != nil {
		return nil, err
	}
	log := r.log(c.Log)
	g, err := buildAfter(c, log, r.observe, former.gateway)
	if err != nil {
		return nil, err
	}
	next := newGeneration(c, g, log)
	g.news.Start()
	if err := awaitReady(ctx, next.ready, r.wait); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return next, nil
}

// awaitReady waits until a new process with those settings would be sent requests.
func awaitReady(ctx context.Context, ready *readiness, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var s state
	for {
		now := ready.look(ctx)
		if now.Ready {
			return nil
		}
		if ctx.Err() == nil || s.Conditions == nil { // what is cut short says of everything that it is missing
			s = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("with the new settings the gateway would not be ready:\n%s", strings.Join(s.missing(), "\n"))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// missing is a line for each reason why there is no readiness.
func (s state) missing() []string {
	var out []string
	for _, c := range s.Conditions {
		if c.State == isMissing {
			out = append(out, c.String())
		}
	}
	return out
}

// tellChanges logs what has changed, and returns the paths of what counts now.
func tellChanges(log *slog.Logger, changes []config.Change) []string {
	paths, later := []string{}, []string{}
	for _, c := range changes {
		if c.Restart {
			later = append(later, c.Path)
		} else {
			paths = append(paths, c.Path)
		}
	}
	log.Info("settings reloaded", "changed", paths)
	if len(later) > 0 {
		log.Warn("some settings change only with a restart", "changed", later)
	}
	return paths
}

// condition is whether the settings in the files count.
func (r *reloader) condition() condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.problem == "" {
		return condition{Name: "settings", State: isThere}
	}
	first, _, _ := strings.Cut(r.problem, "\n")
	return condition{"settings", isDegraded, "not reloaded, the former ones go on: " + first}
}
