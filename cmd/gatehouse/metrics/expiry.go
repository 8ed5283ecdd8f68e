package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// expiry tells when certificates expire.
type expiry struct {
	mu    sync.Mutex
	certs map[string]func() (time.Time, error)
}

// Certificates tells when these certificates expire, and no others from now on. They go by
// names of the settings'; each is asked at each scrape, and one that can't be read, or is
// not there yet (a zero time), is left out.
func (m *Metrics) Certificates(expires map[string]func() (time.Time, error)) {
	m.expiry.mu.Lock()
	defer m.expiry.mu.Unlock()
	m.expiry.certs = expires
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
	for name, expires := range e.certs {
		at, err := expires()
		if err != nil {
			to <- prometheus.NewInvalidMetric(d, err) // is logged, and is not in the answer
			continue
		}
		if !at.IsZero() {
			to <- gauge(d, float64(at.Unix()), name)
		}
	}
}
