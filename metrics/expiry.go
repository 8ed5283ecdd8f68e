package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// expiry tells when certificates expire.
type expiry struct {
	mu    sync.Mutex
	certs []certificate
}

type certificate struct {
	name    string
	expires func() (time.Time, error)
}

// Certificate tells when a certificate expires, under a name of the program's own; it is
// asked at each scrape, and one that can't be read is left out.
func (m *Metrics) Certificate(name string, expires func() (time.Time, error)) {
	m.expiry.mu.Lock()
	defer m.expiry.mu.Unlock()
	m.expiry.certs = append(m.expiry.certs, certificate{name, expires})
}

func expiryDesc() *prometheus.Desc {
	return desc("certificate_expiry_timestamp_seconds", "When a certificate of the gateway expires.", "certificate")
}

// Describe implements prometheus.Collector.
func (e *expiry) Describe(to chan<- *prometheus.Desc) { to <- expiryDesc() }

// Collect implements prometheus.Collector.
func (e *expiry) Collect(to chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := expiryDesc()
	for _, c := range e.certs {
		at, err := c.expires()
		if err != nil {
			to <- prometheus.NewInvalidMetric(d, err) // is logged, and is not in the answer
			continue
		}
		to <- gauge(d, float64(at.Unix()), c.name)
	}
}
