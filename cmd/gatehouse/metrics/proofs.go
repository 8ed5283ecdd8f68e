package metrics

import (
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/authn"
)

// SessionRoute is the route under which refused session cookies count: what is wrong
// with one does not say which route it was of.
const SessionRoute = "session"

// maxReasons is how many reasons are told apart, of all routes together. They are words
// of the program's and names of the settings', so there are far fewer.
const maxReasons = 200

// proofs counts what came of credentials and of sign-ins.
type proofs struct {
	requests *requests
	signIns  *prometheus.CounterVec
	desc     *prometheus.Desc

	mu     sync.Mutex
	counts map[proof]uint64
}

// proof is what one count is of.
type proof struct {
	route   string
	outcome authn.Outcome
	reason  string
}

func newProofs(r *requests) *proofs {
	return &proofs{
		requests: r,
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_sign_ins_total", Help: "Sign-ins that came to an end, and exchanges of tokens at the token endpoint.",
		}, []string{"route", "outcome"}),
		desc:   desc("authn_total", "Outcomes of credentials, by the route that claimed them.", "route", "result", "reason"),
		counts: map[proof]uint64{},
	}
}

// Signed counts the sign-ins of a route.
func (m *Metrics) Signed(route string) authn.Signed {
	m.proofs.signIns.WithLabelValues(route, string(authn.OutcomeSuccess))
	return func(o authn.Outcome) { m.proofs.signIns.WithLabelValues(route, string(o)).Inc() }
}

// Authenticator counts what a route says of credentials. What it lets through is counted
// with the request.
func (m *Metrics) Authenticator(route string, a authn.Authenticator) authn.Authenticator {
	return authn.AuthenticatorFunc(func(r *http.Request) (authn.Identity, error) {
		id, err := a.Authenticate(r)
		if err != nil && !errors.Is(err, authn.ErrNoCredential) {
			m.proofs.count(proof{route, authn.OutcomeOf(err), reasonOf(err)})
		}
		return id, err
	})
}

// reasonOf is a reason as a label.
func reasonOf(err error) string {
	return strings.ReplaceAll(authn.ReasonOf(err), " ", "_")
}

func (p *proofs) count(of proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.counts[of]; !known && len(p.counts) >= maxReasons {
		of.reason = other
	}
	p.counts[of]++
}

// Describe implements prometheus.Collector.
func (p *proofs) Describe(to chan<- *prometheus.Desc) {
	p.signIns.Describe(to)
	to <- p.desc
}

// Collect implements prometheus.Collector.
func (p *proofs) Collect(to chan<- prometheus.Metric) {
	p.signIns.Collect(to)
	p.mu.Lock()
	defer p.mu.Unlock()
	for route, n := range p.requests.proved() {
		to <- counter(p.desc, n, route, string(authn.OutcomeSuccess), "")
	}
	for of, n := range p.counts {
		to <- counter(p.desc, n, of.route, string(of.outcome), of.reason)
	}
}
