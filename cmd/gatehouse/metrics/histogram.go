package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// boundCount is how many bounds there are.
const boundCount = 18

// bounds are the upper bounds of the buckets: what a gateway adds is a fraction of a
// millisecond, and what an application takes may be a minute.
func bounds() [boundCount]time.Duration {
	const us, ms, s = time.Microsecond, time.Millisecond, time.Second
	return [boundCount]time.Duration{
		100 * us, 250 * us, 500 * us, ms, 5 * ms / 2, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms,
		250 * ms, 500 * ms, s, 5 * s / 2, 5 * s, 10 * s, 30 * s, 60 * s,
	}
}

// seconds are the bounds as Prometheus has them.
func seconds() []float64 {
	out := make([]float64, 0, boundCount)
	for _, b := range bounds() {
		out = append(out, b.Seconds())
	}
	return out
}

// histogram counts durations. The library's own takes a loop for its sum, which those
// who count at once lengthen for each other.
type histogram struct {
	counts [boundCount + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) observe(bounds *[boundCount]time.Duration, d time.Duration) {
	i := 0
	for i < boundCount && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// total is histograms added up.
type total struct {
	counts [boundCount + 1]uint64
	sum    time.Duration
}

func (t *total) add(h *histogram) {
	for i := range h.counts {
		t.counts[i] += h.counts[i].Load()
	}
	t.sum += time.Duration(h.sum.Load())
}

func (t *total) metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	var n uint64
	buckets := make(map[float64]uint64, boundCount)
	for i, le := range seconds() {
		n += t.counts[i]
		buckets[le] = n
	}
	return prometheus.MustNewConstHistogram(d, n+t.counts[boundCount], t.sum.Seconds(), buckets, labels...)
}
