package proxy

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"gatehouse/authn"
)

// maxAddresses bounds how many addresses are remembered. Who is forgotten begins anew.
const maxAddresses = 1 << 16

// leeway is for how many seconds an address may come as often as it likes, before it is
// held to its rate.
const leeway = 5

// pace is how often each address may do something. A nil pace is any.
type pace struct {
	limit rate.Limit
	burst int
	of    *otter.Cache[netip.Addr, *rate.Limiter]
}

// newPace makes a pace; nil for a limit of zero.
func newPace(limit rate.Limit, burst int) (*pace, error) {
	if limit == 0 {
		return nil, nil //nolint:nilnil // none is no fault
	}
	of, err := otter.New(&otter.Options[netip.Addr, *rate.Limiter]{MaximumSize: maxAddresses})
	return &pace{limit: limit, burst: burst, of: of}, err
}

// wait is how long the client has to wait until it may go on; zero if it may now. What
// has no address of its own never waits.
func (p *pace) wait(from netip.Addr, now time.Time) time.Duration {
	if p == nil || !from.IsValid() {
		return 0
	}
	from = authn.OneClient(from)
	l, ok := p.of.GetIfPresent(from)
	if !ok {
		l, _ = p.of.SetIfAbsent(from, rate.NewLimiter(p.limit, p.burst))
	}
	if l.AllowN(now, 1) {
		return 0
	}
	return max(time.Second, time.Duration((1-l.TokensAt(now))/float64(p.limit)*float64(time.Second)))
}

// keepsPace reports whether the client may ask for something now. If not, it has been
// answered.
func (h *Handler) keepsPace(x *exchange) bool {
	wait := h.requests.wait(x.from, x.start)
	if wait > 0 {
		h.slowDown(x, wait, "requestsPerSecond")
	}
	return wait == 0
}

// mayBegin is like keepsPace, for a sign-in.
func (h *Handler) mayBegin(x *exchange) bool {
	wait := h.begins.wait(x.from, x.start)
	if wait > 0 {
		h.slowDown(x, wait, "signInsPerMinute")
	}
	return wait == 0
}

// slowDown answers 429 (RFC 6585, section 4).
func (h *Handler) slowDown(x *exchange, wait time.Duration, setting string) {
	h.drain(x)
	if h.crowds.Allow() {
		h.o.Log.Warn("one address asks too often; if it stands for many, such as a proxy, name it in trustedProxies, or raise the limit",
			"request_id", x.id[0], "remote", x.remote, "limit", "limits."+setting)
	}
	often := &authn.Throttled{After: wait}
	x.Header().Set("Retry-After", often.RetryAfter())
	h.o.Pages.Error(x, x.r, http.StatusTooManyRequests, "Your address asks too often. "+often.Again())
}
