package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/authn"
	"gatehouse/session"
)

// Rooms is where a gateway counts by itself.
type Rooms struct {
	Sessions *session.Sessions
	News     *session.News
	Store    session.Store
	Routes   []authn.Route
	// Warnings is how many of the settings are insecure, or look like a mistake.
	Warnings int
}

// Follow reads the counts of a gateway from now on. Those of the one before are at an
// end: to Prometheus the counters begin anew.
func (m *Metrics) Follow(r Rooms) { m.rooms.now.Store(&r) }

// rooms reads what the rooms of the gateway count.
type rooms struct{ now atomic.Pointer[Rooms] }

// described are the metrics of the rooms.
type described struct {
	lookups, entries, bridged, started, ended, renewals, lockWaits, lockWaited, hearing, warnings,
	shunned, outages, connections, poolTimeouts *prometheus.Desc
}

func describe() described {
	return described{
		lookups:      desc("cache_lookups_total", "Questions that were answered from memory, or not.", "cache", "route", "result"),
		entries:      desc("cache_entries", "How many entries are remembered now, approximately.", "cache", "route", "kind"),
		bridged:      desc("sessions_bridged_total", "Requests that a remembered session answered for because the store could not be asked."),
		started:      desc("sessions_started_total", "Sessions that began here."),
		ended:        desc("sessions_ended_total", "Sessions that ended here, by reason.", "reason"),
		renewals:     desc("session_renewals_total", "Renewals of sessions at their provider or directory.", "result"),
		lockWaits:    desc("session_lock_waits_total", "Renewals that had to wait for another replica's of the same session."),
		lockWaited:   desc("session_lock_wait_seconds_total", "How long they waited, all together."),
		hearing:      desc("session_news_listening", "Whether this process hears what has ended elsewhere; while it does not, each request asks the store."),
		warnings:     desc("config_warnings", "Settings that are insecure or look like a mistake; the log names them at the start."),
		shunned:      desc("redis_breaker_open", "Whether Redis has not answered and so is not asked for the moment."),
		outages:      desc("redis_breaker_opened_total", "How often that began."),
		connections:  desc("redis_connections", "Connections to Redis.", "state"),
		poolTimeouts: desc("redis_pool_timeouts_total", "Commands for which there was no connection in time."),
	}
}

// Describe implements prometheus.Collector.
func (r *rooms) Describe(to chan<- *prometheus.Desc) {
	d := describe()
	for _, one := range []*prometheus.Desc{
		d.lookups, d.entries, d.bridged, d.started, d.ended, d.renewals, d.lockWaits, d.lockWaited, d.hearing, d.warnings,
		d.shunned, d.outages, d.connections, d.poolTimeouts,
	} {
		to <- one
	}
}

// Collect implements prometheus.Collector.
func (r *rooms) Collect(to chan<- prometheus.Metric) {
	now, d := r.now.Load(), describe()
	if now == nil {
		return
	}
	to <- gauge(d.warnings, float64(now.Warnings))
	to <- gauge(d.hearing, number(now.News.Hearing()))
	d.sessions(to, now.Sessions.Stats())
	for _, route := range now.Routes {
		if route.Recall == nil {
			continue
		}
		for _, recall := range route.Recall() {
			d.recall(to, route.Name, recall)
		}
	}
	if redis, ok := now.Store.(interface{ Stats() session.RedisStats }); ok {
		s := redis.Stats()
		to <- gauge(d.shunned, number(s.Shunned))
		to <- counter(d.outages, s.Outages)
		to <- gauge(d.connections, float64(s.Idle), "idle")
		to <- gauge(d.connections, float64(s.Connections-min(s.Idle, s.Connections)), "used")
		to <- counter(d.poolTimeouts, uint64(s.Waits))
	}
}

func (d described) sessions(to chan<- prometheus.Metric, s session.Stats) {
	d.recall(to, "", s.Recall)
	to <- counter(d.bridged, s.Bridged)
	to <- counter(d.started, s.Started)
	for reason, n := range map[string]uint64{
		"signed_out": s.SignedOut, "expired": s.Expired, "renewal_refused": s.Refused, "provider": s.ByProvider,
	} {
		to <- counter(d.ended, n, reason)
	}
	for result, n := range map[string]uint64{"renewed": s.Renewed, "refused": s.Refused, "failed": s.NotRenewed} {
		to <- counter(d.renewals, n, result)
	}
	to <- counter(d.lockWaits, s.LockWaits)
	to <- prometheus.MustNewConstMetric(d.lockWaited, prometheus.CounterValue, s.LockWaited.Seconds())
}

func (d described) recall(to chan<- prometheus.Metric, route string, r authn.Recall) {
	to <- counter(d.lookups, r.Hits, r.Kind, route, "hit")
	to <- counter(d.lookups, r.Misses, r.Kind, route, "miss")
	to <- gauge(d.entries, float64(r.Proofs), r.Kind, route, "proof")
	if r.Kind == "session" { // a refused cookie is not remembered
		return
	}
	to <- counter(d.lookups, r.Refusals, r.Kind, route, "refusal")
	to <- gauge(d.entries, float64(r.Noes), r.Kind, route, "refusal")
}

// Reload is how loading the settings went. It is made as after a success.
type Reload struct {
	ok          atomic.Bool
	at          atomic.Int64 // Unix nanoseconds of the last success
	failures    atomic.Uint64
	good, since *prometheus.Desc
	failed      *prometheus.Desc
}

func newReload() *Reload {
	r := &Reload{
		good:   desc("config_last_reload_success", "Whether the settings that were last read are in force."),
		since:  desc("config_last_reload_success_timestamp_seconds", "When settings were last read that are in force."),
		failed: desc("config_reload_failures_total", "How often settings were read that could not be used."),
	}
	r.Loaded(time.Now(), nil)
	return r
}

// Loaded says that settings were read then, and why they can't be used.
func (r *Reload) Loaded(at time.Time, err error) {
	r.ok.Store(err == nil)
	if err != nil {
		r.failures.Add(1)
		return
	}
	r.at.Store(at.UnixNano())
}

// Describe implements prometheus.Collector.
func (r *Reload) Describe(to chan<- *prometheus.Desc) { to <- r.good; to <- r.since; to <- r.failed }

// Collect implements prometheus.Collector.
func (r *Reload) Collect(to chan<- prometheus.Metric) {
	to <- gauge(r.good, number(r.ok.Load()))
	to <- gauge(r.since, float64(r.at.Load())/1e9)
	to <- counter(r.failed, r.failures.Load())
}
