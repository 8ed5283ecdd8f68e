package metrics

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/authn/meter"
	"gatehouse/proxy"
)

const (
	// nobody is the route of requests that come from nobody, and other what the settings
	// don't name.
	nobody = "none"
	other  = "other"
)

// requests counts requests, in several places so that nobody waits for anybody: each
// count is an addition at the place of its time.
type requests struct {
	bounds [boundCount]time.Duration
	codes  codes
	common [meter.Stripes]common

	mu        sync.Mutex
	routes    map[string]*byRoute
	upstreams map[string]*byUpstream

	total, inFlight, took, gateway, waited, failures, decisions, streams, open *prometheus.Desc
}

// common is what is counted of all requests.
type common struct {
	begun, ended   atomic.Uint64
	decisions      [proxy.Decisions]atomic.Uint64
	opened, closed [proxy.Streams]atomic.Uint64
	_              [64]byte
}

// byRoute is what is counted of those of a route's people.
type byRoute struct {
	stripes [meter.Stripes]struct {
		codes         [codeCount]atomic.Uint64
		took, gateway histogram
	}
}

// byUpstream is what is counted of those that were sent on to an application.
type byUpstream struct {
	stripes [meter.Stripes]struct {
		waited   histogram
		failures [proxy.Failures]atomic.Uint64
	}
}

func newRequests() *requests {
	return &requests{
		bounds: bounds(), codes: newCodes(), routes: map[string]*byRoute{}, upstreams: map[string]*byUpstream{},
		total:     desc("requests_total", "Requests that are over, by the route that proved who sent them and the status of the answer.", "route", "code"),
		inFlight:  desc("requests_in_flight", "Requests that are under way, streams included."),
		took:      desc("request_duration_seconds", "From a request's header to the end of its answer, without streams.", "route"),
		gateway:   desc("gateway_duration_seconds", "From a request's header until it is sent on, or answered by the gateway itself.", "route"),
		waited:    desc("upstream_duration_seconds", "From sending a request on to the head of the answer.", "upstream"),
		failures:  desc("upstream_failures_total", "Requests that an application has not answered.", "upstream", "reason"),
		decisions: desc("authz_total", "Decisions whether to let a request in.", "result"),
		streams:   desc("streams_total", "Answers that became streams.", "kind"),
		open:      desc("streams_open", "Streams that are open.", "kind"),
	}
}

// Requests counts the requests of a gateway with these routes and upstreams.
func (m *Metrics) Requests(routes, upstreams []string) proxy.Watch {
	r := m.requests
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &watch{r: r, routes: map[string]*byRoute{}, upstreams: map[string]*byUpstream{}}
	for _, name := range append([]string{nobody, other}, routes...) {
		if r.routes[name] == nil {
			r.routes[name] = &byRoute{}
		}
		w.routes[name] = r.routes[name]
	}
	for _, name := range append([]string{other}, upstreams...) {
		if r.upstreams[name] == nil {
			r.upstreams[name] = &byUpstream{}
		}
		w.upstreams[name] = r.upstreams[name]
	}
	w.nobody, w.other, w.elsewhere = w.routes[nobody], w.routes[other], w.upstreams[other]
	return w
}

// watch counts the requests of one gateway. Nothing in it changes.
type watch struct {
	r             *requests
	routes        map[string]*byRoute
	upstreams     map[string]*byUpstream
	nobody, other *byRoute
	elsewhere     *byUpstream
}

// Begin implements [proxy.Watch].
func (w *watch) Begin(at time.Time) { w.r.common[meter.Stripe(at)].begun.Add(1) }

// Open implements [proxy.Watch].
func (w *watch) Open(s proxy.Stream) { w.r.common[0].opened[s].Add(1) }

// End implements [proxy.Watch].
func (w *watch) End(r proxy.Record) {
	i := meter.Stripe(r.Begun)
	c := &w.r.common[i]
	c.decisions[r.Decision].Add(1)
	if r.Stream != proxy.NoStream {
		c.closed[r.Stream].Add(1)
	}
	at := &w.route(r.Route).stripes[i]
	at.codes[w.r.codes.of(r.Status)].Add(1)
	at.gateway.observe(&w.r.bounds, r.Gateway)
	if r.Stream == proxy.NoStream {
		at.took.observe(&w.r.bounds, r.Took)
	}
	if r.Upstream != "" {
		to := &w.upstream(r.Upstream).stripes[i]
		if r.Waited > 0 {
			to.waited.observe(&w.r.bounds, r.Waited)
		}
		if r.Failure != proxy.NoFailure {
			to.failures[r.Failure].Add(1)
		}
	}
	c.ended.Add(1)
}

func (w *watch) route(name string) *byRoute {
	if name == "" {
		return w.nobody
	}
	if at := w.routes[name]; at != nil {
		return at
	}
	return w.other
}

func (w *watch) upstream(name string) *byUpstream {
	if to := w.upstreams[name]; to != nil {
		return to
	}
	return w.elsewhere
}

// Describe implements prometheus.Collector.
func (r *requests) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.total, r.inFlight, r.took, r.gateway, r.waited, r.failures, r.decisions, r.streams, r.open} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r *requests) Collect(to chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collectCommon(to)
	for name, at := range r.routes {
		r.collectRoute(to, name, at)
	}
	for name, up := range r.upstreams {
		var waited total
		var failures [proxy.Failures]uint64
		for i := range up.stripes {
			waited.add(&up.stripes[i].waited)
			sum(failures[:], up.stripes[i].failures[:])
		}
		to <- waited.metric(r.waited, name)
		for f := proxy.NoFailure + 1; f < proxy.Failures; f++ {
			to <- counter(r.failures, failures[f], name, f.String())
		}
	}
}

// proved are the requests of each route of the settings: somebody has proved who they are.
func (r *requests) proved() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]uint64{}
	for name, at := range r.routes {
		if name == nobody || name == other {
			continue
		}
		var counts [codeCount]uint64
		for i := range at.stripes {
			sum(counts[:], at.stripes[i].codes[:])
		}
		for _, n := range counts {
			out[name] += n
		}
	}
	return out
}

func (r *requests) collectCommon(to chan<- prometheus.Metric) {
	var begun, ended uint64
	var decisions [proxy.Decisions]uint64
	var opened, closed [proxy.Streams]uint64
	for i := range r.common { // what is over is read first, so that there are never less than none
		ended += r.common[i].ended.Load()
		sum(closed[:], r.common[i].closed[:])
	}
	for i := range r.common {
		begun += r.common[i].begun.Load()
		sum(opened[:], r.common[i].opened[:])
		sum(decisions[:], r.common[i].decisions[:])
	}
	to <- gauge(r.inFlight, float64(begun-ended))
	for d := proxy.Undecided + 1; d < proxy.Decisions; d++ {
		to <- counter(r.decisions, decisions[d], d.String())
	}
	for s := proxy.NoStream + 1; s < proxy.Streams; s++ {
		to <- counter(r.streams, opened[s], s.String())
		to <- gauge(r.open, float64(opened[s]-closed[s]), s.String())
	}
}

func (r *requests) collectRoute(to chan<- prometheus.Metric, name string, at *byRoute) {
	var took, gateway total
	var counts [codeCount]uint64
	for i := range at.stripes {
		sum(counts[:], at.stripes[i].codes[:])
		took.add(&at.stripes[i].took)
		gateway.add(&at.stripes[i].gateway)
	}
	to <- took.metric(r.took, name)
	to <- gateway.metric(r.gateway, name)
	for code, n := range counts {
		if n > 0 {
			to <- counter(r.total, n, name, r.codes.names[code])
		}
	}
}

// sum adds counts up.
func sum(to []uint64, from []atomic.Uint64) {
	for i := range from {
		to[i] += from[i].Load()
	}
}

// codeCount is how many statuses are told apart: those that HTTP knows, all others, and
// none.
const codeCount = 64

// codes are the places of statuses.
type codes struct {
	places [600]uint8
	names  [codeCount]string
}

func newCodes() codes {
	c := codes{}
	c.names[0], c.names[1] = other, "aborted"
	c.places[0] = 1 // no answer
	next := uint8(2)
	for status := range c.places {
		if http.StatusText(status) != "" && next < codeCount {
			c.places[status], c.names[next] = next, strconv.Itoa(status)
			next++
		}
	}
	return c
}

func (c *codes) of(status int) uint8 {
	if status < 0 || status >= len(c.places) {
		return 0
	}
	return c.places[status]
}
