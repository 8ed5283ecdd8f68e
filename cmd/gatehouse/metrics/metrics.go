// Package metrics is what is counted, for Prometheus: the names, their labels and where
// the numbers come from. docs/observability.md says what each means.
//
// The rooms count by themselves, without a lock and without a library, and are read when
// somebody asks. No label is of a client's choice: routes and upstreams are named as in
// the settings, everything else is a word of the program's own.
//
// It hides the Prometheus library. There is no registry but its own.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// scrapesAtOnce is how many scrapes are answered at once; others are told to wait.
	scrapesAtOnce = 4
	// scrapeTime bounds one.
	scrapeTime = 8 * time.Second
)

// Metrics is all that is counted in this process. It outlives the gateways that settings
// make, so that no count begins anew with them. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	requests *requests
	calls    *calls
	proofs   *proofs
	rooms    *rooms
	expiry   *expiry
	// Reload is how the last loading of the settings went.
	Reload *Reload
}

// New makes the metrics of a program of that version, made of that revision.
func New(version, revision string) *Metrics {
	r := newRequests()
	m := &Metrics{
		registry: prometheus.NewPedanticRegistry(),
		requests: r, calls: newCalls(), proofs: newProofs(r), rooms: &rooms{}, expiry: &expiry{}, Reload: newReload(),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gatehouse_build_info", Help: "The running version, as labels; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.calls, m.proofs, m.rooms, m.expiry, m.Reload,
	)
	return m
}

// Handler answers scrapes. A number that can't be had is left out, and logged.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTime, EnableOpenMetrics: true,
	})
}

// desc describes a metric.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gatehouse_"+name, help, labels, nil)
}

// counter is a count as it stands.
func counter(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

// gauge is a number that goes up and down.
func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
