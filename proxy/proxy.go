package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/page"
	"gatehouse/config"
	"gatehouse/proxy/assertion"
	"gatehouse/proxy/policy"
)

// Ender ends the session of a request: the part of session.Sessions that
// signing out needs. It clears the cookie even when it returns an error.
type Ender interface {
	End(w http.ResponseWriter, r *http.Request) (p authn.Proof, found bool, err error)
}

// Options is what a [Handler] is made of.
type Options struct {
	// PublicURL is where people reach the gateway. Its host is always answered for.
	PublicURL *url.URL
	// Upstreams are the applications. There is at least one.
	Upstreams []config.Upstream
	// Teams are the applications', and Policy the rules of who may go where.
	Teams  []config.Team
	Policy []config.Rule
	// ForwardAuth says for which hosts the gateway answers other proxies; nil for none.
	ForwardAuth *config.ForwardAuth
	// Assertions signs whom a request comes from; nil for no signed header.
	Assertions *assertion.Signer
	// Exchangers get access tokens of the upstreams whose identity is exchange, by
	// their names.
	Exchangers map[string]Exchanger
	// Headers is the identity headers; its zero value is the default contract.
	Headers config.Headers
	// Paths are the gateway's own, all set.
	Paths config.Paths
	// StallTimeout is how long a transfer may stand still because of the client.
	// Zero means for ever.
	StallTimeout time.Duration
	// Limits are what one address may ask for; zeros for any.
	Limits config.Limits
	// MaxURLSize is the most that a request's address may hold, in bytes; zero for any.
	MaxURLSize int
	// HSTS is what browsers are told of https.
	HSTS config.HSTS
	// TrustedProxies are the peers who are believed about the client's address,
	// and whose X-Request-Id is.
	TrustedProxies []netip.Prefix
	// ForwardedHeader is in which header they say the address: "x-forwarded-for",
	// also if empty, or "forwarded".
	ForwardedHeader string
	// Routes are the ways in, in the order in which they are offered.
	Routes []authn.Route
	// Chain tells whom a request comes from.
	Chain authn.Chain
	// Accounts tells who is in a service account's team.
	Accounts authn.Accounts
	// Sessions ends sessions.
	Sessions Ender
	// Register is who is signed in, for the API; nil for none.
	Register Register
	// Administrators are who may see and end what others have there: who meets one of
	// these requirements.
	Administrators []config.Requirement
	// Cookie is the name of the session cookie. Every cookie of that name, or of
	// one that goes on with "_", is the gateway's own.
	Cookie string
	// Landings decides where a browser may be sent.
	Landings authn.Landings
	// Pages shows what people see.
	Pages *page.Pages
	// SignedOutURL is where people land after signing out; empty for a page of our own.
	SignedOutURL string
	// Log gets what went wrong, and the access line.
	Log *slog.Logger
	// Audit is told who is refused; nil tells nobody.
	Audit audit.Trail
	// Access asks for one line for each request.
	Access bool
	// Watch is told of requests, and Trace of their ways; nil for nobody.
	Watch Watch
	Trace Tracer
	// Former is what answered before, in the same process by other settings; nil for
	// none. See [Handler.Succeed].
	Former *Handler
}

// maxStandings bounds how many people's teams and headers are kept.
const maxStandings = 10_000

// Handler is the gateway. It is safe for concurrent use. A goroutine of its own looks
// after the requests that are open, until it is closed.
type Handler struct {
	o         Options
	places    *places
	upstreams []*upstream
	elsewhere *upstream // the applications behind other proxies; nil without forward-auth
	asks      map[string]*dialect
	names     *names // no client may send
	answers   *names // no upstream may answer
	overrides *names // of what changes a method
	contract  contract
	policy    *policy.Policy
	standings *otter.Cache[whom, *standing]
	routes    map[string]authn.Route
	signIns   []authn.Route   // that a browser can sign in by
	origin    string          // of PublicURL
	origins   map[string]bool // that may open WebSockets
	challenge []string        // WWW-Authenticate
	own       *http.ServeMux
	buffers   *buffers
	forms     *http.CrossOriginProtection // for what a POST changes
	open      *openRequests
	lineage   *lineage
	trail     audit.Trail

	hsts     []string // Strict-Transport-Security; nil for none
	requests *pace    // of an address
	begins   *pace    // likewise, of sign-ins

	outages      *rate.Limiter // for what the log has to say of them
	strangers    *rate.Limiter // the same, of those who ask and may not
	crowds       *rate.Limiter // the same, of those who ask too often
	drainTimeout time.Duration // how long a body that nobody wants is waited for
}

// New makes the gateway. It reads the files that upstreams' TLS settings name
// and opens no connection.
func New(o Options) (*Handler, error) {
	k, err := newContract(o.Headers)
	if err = errors.Join(err, checkAttribution(o.Headers.Attribution), checkForwardedHeader(o.ForwardedHeader)); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	standings, err := otter.New(&otter.Options[whom, *standing]{MaximumSize: maxStandings})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	h := &Handler{
		o:         o,
		places:    newPlaces(o.PublicURL),
		names:     guarded(append(k.names(), o.Headers.Scrub...)),
		answers:   newNames(k.names(), []string{"x-gatehouse-"}, nil),
		overrides: newNames(overrideNames(), nil, nil),
		contract:  k,
		policy:    policy.New(o.Teams, config.Rules(o.Policy, o.Upstreams, o.ForwardAuth)),
		routes:    map[string]authn.Route{},

		standings: standings,
		buffers:   &buffers{},
		origin:    o.PublicURL.Scheme + "://" + o.PublicURL.Host,

		hsts: strictTransport(o.PublicURL, o.HSTS),

		outages:      rate.NewLimiter(10, 100),
		strangers:    rate.NewLimiter(rate.Every(10*time.Second), 10),
		trail:        audit.Or(o.Audit),
		crowds:       rate.NewLimiter(rate.Every(10*time.Second), 10),
		drainTimeout: drainTimeout,
	}
	if h.requests, err = newPace(rate.Limit(o.Limits.RequestsPerSecond), leeway*o.Limits.RequestsPerSecond); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if h.begins, err = newPace(rate.Limit(o.Limits.SignInsPerMinute)/60, o.Limits.SignInsPerMinute); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	for _, r := range o.Routes {
		h.routes[r.Name] = r
		if r.SignInPath != "" {
			h.signIns = append(h.signIns, r)
		}
	}
	h.forms = http.NewCrossOriginProtection()
	if err := h.forms.AddTrustedOrigin(h.origin); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	for _, c := range o.Upstreams {
		u, err := newUpstream(h, c)
		if err != nil {
			return nil, fmt.Errorf("proxy: upstream %s: %w", c.Name, err)
		}
		h.upstreams = append(h.upstreams, u)
		h.places.add(u, c)
	}
	if o.ForwardAuth != nil {
		h.elsewhere = &upstream{h: h, name: config.ForwardAuthUpstream, audience: o.ForwardAuth.Audience}
		h.places.answer(o.ForwardAuth.Hosts)
	}
	h.asks = h.dialects()
	h.origins = origins(o.PublicURL, h.places)
	h.challenge = h.challenges()
	h.own = h.ownMux()
	h.lineage = newLineage(h, o.Former)
	h.o.Former = nil // or none of them would ever be forgotten
	h.open = newOpenRequests(h)
	return h, nil
}

// Recheck says that somebody's access may have ended: every open request, those at
// former handlers too, is soon asked again whom it comes from. It returns at once, and may be called as often as one likes.
func (h *Handler) Recheck() { h.lineage.each(func(h *Handler) { h.open.recheck() }) }

// Drain tells the clients of all WebSockets that the gateway is going away, now and as
// they are opened. It returns at once; Close waits for them. Other requests go on.
func (h *Handler) Drain() { h.lineage.each(func(h *Handler) { h.open.drain() }) }

// Close ends the WebSockets that are open, and closes the connections to upstreams
// that are not in use. Other requests must have ended.
func (h *Handler) Close() {
	h.open.close()
	h.lineage.leave(h)
	for _, u := range h.upstreams {
		u.transport.CloseIdleConnections()
	}
}

// ServeHTTP answers one request. Its order is the table "one request" of
// docs/architecture.md.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := h.begin(w, r)
	defer h.end(x)
	if !h.keepsPace(x) {
		return
	}
	if x.asked != nil {
		h.serveAsked(x)
		return
	}
	if h.decide(x) {
		x.upstream.forward(x)
	}
}

// decide finds out whether a request goes on to its upstream. If not, it has
// answered.
func (h *Handler) decide(x *exchange) bool {
	if f := x.check(); f.status != 0 {
		h.turnAway(x, f)
		return false
	}
	if x.clean && h.o.Paths.Owns(x.r.URL.Path) {
		h.serveOwn(x)
		return false
	}
	if x.upstream = h.places.find(x.r); x.upstream == nil {
		h.turnAway(x, fault{http.StatusNotFound, "There is nothing at this address."})
		return false
	}
	return h.rule(x) && (x.public || h.admit(x))
}
