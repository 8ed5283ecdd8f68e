package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/authn/meter"
)

// The kinds of peers.
const (
	Provider    = "provider"    // an OpenID provider, or an issuer of tokens
	Directory   = "directory"   // LDAP
	Application = "application" // what the gateway itself asks of one
	Store       = "store"       // Redis
)

// calls counts what peers are asked. They are far fewer than requests.
type calls struct {
	total *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newCalls() *calls {
	return &calls{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_calls_total", Help: "Questions to those that the gateway depends on, by how they ended.",
		}, []string{"peer", "name", "call", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_call_duration_seconds", Help: "How long those questions took.", Buckets: seconds(),
		}, []string{"peer", "name", "call"}),
	}
}

// Calls counts the questions to a peer of one of the kinds; the name is that of the
// settings.
func (m *Metrics) Calls(peer, name string) meter.Calls {
	return func(ctx context.Context, what string) (context.Context, func(error)) {
		begun := time.Now()
		return ctx, func(err error) {
			m.calls.total.WithLabelValues(peer, name, what, meter.Result(err)).Inc()
			m.calls.took.WithLabelValues(peer, name, what).Observe(time.Since(begun).Seconds())
		}
	}
}

// Describe implements prometheus.Collector.
func (c *calls) Describe(to chan<- *prometheus.Desc) {
	c.total.Describe(to)
	c.took.Describe(to)
}

// Collect implements prometheus.Collector.
func (c *calls) Collect(to chan<- prometheus.Metric) {
	c.total.Collect(to)
	c.took.Collect(to)
}
