package main

import (
	"io"
	"maps"
	"os"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/meter"
	"gatehouse/cmd/gatehouse/metrics"
	"gatehouse/cmd/gatehouse/traces"
	"gatehouse/config"
	"gatehouse/proxy"
)

// observers are told what happens in a gateway. They outlive it.
type observers struct {
	metrics *metrics.Metrics
	traces  *traces.Traces // nil for none
	out     io.Writer      // standard output, for an audit trail that is to go there
	issued  *issued        // the certificates of a CA; nil for none
}

// onlyMetrics observes without traces.
func onlyMetrics() observers {
	return observers{metrics: metrics.New(version(), revision()), out: os.Stdout}
}

// calls is told of the questions to a peer.
func (o observers) calls(peer, name string) meter.Calls {
	return o.traces.Calls(peer, name, o.metrics.Calls(peer, name))
}

// tracer is for the proxy; nil for none.
func (o observers) tracer() proxy.Tracer {
	if o.traces == nil {
		return nil
	}
	return o.traces
}

// follow reads from now on what a gateway counts by itself.
func (o observers) follow(c config.Config, g *gateway) {
	o.metrics.Follow(metrics.Rooms{Sessions: g.sessions, News: g.news, Store: g.store, Routes: g.routes, Warnings: len(c.Warnings())})
	expiries := map[string]func() (time.Time, error){}
	if o.issued != nil {
		o.issued.follow(c)
		maps.Copy(expiries, o.issued.expiries())
	}
	for setting, file := range certificates(c) {
		expiries[setting] = expiryOf(file)
	}
	o.metrics.Certificates(expiries)
}

// chain is who is asked whom a request comes from: the routes in their order, the last
// ones after all of them, the session behind.
func (o observers) chain(routes []authn.Route, sessions authn.Authenticator) authn.Chain {
	chain, last := authn.Chain{}, authn.Chain{}
	for _, r := range routes {
		if r.Authenticator != nil {
			chain = append(chain, o.metrics.Authenticator(r.Name, r.Authenticator))
		}
		if r.Last != nil {
			last = append(last, o.metrics.Authenticator(r.Name, r.Last))
		}
	}
	// Explicit credentials go before the ambient one.
	return o.traces.Chain(append(append(chain, last...), o.metrics.Authenticator(metrics.SessionRoute, sessions)))
}

// names are those of the routes and the upstreams.
func names(c config.Config) (routes, upstreams []string) {
	for _, r := range c.Authn {
		routes = append(routes, r.Name)
	}
	for _, u := range c.Upstreams {
		upstreams = append(upstreams, u.Name)
	}
	return routes, upstreams
}
