package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/authn"
	"gatehouse/proxy/policy"
)

// exchange is one request on its way through the gateway and the writer of its
// answer. It belongs to one call of ServeHTTP.
type exchange struct {
	http.ResponseWriter
	h *Handler
	r *http.Request

	start     time.Time
	id        []string   // one; the value of X-Request-Id
	remote    string     // the client's address
	from      netip.Addr // the same; invalid for who speaks for many, or has none
	insecure  bool       // it came in the clear
	ours      bool       // it is for a host of the gateway
	via       string     // X-Forwarded-For for the upstream
	clean     bool       // the path reads the same however often it is decoded
	websocket bool       // asks for a WebSocket, properly
	asked     *dialect   // how a proxy asks about a request; nil if it is one itself
	question  question   // about which request
	unasked   fault      // why that is no question
	named     []string   // the headers of a question, where the answer says which to remove
	upstream  *upstream
	path      [1]string // as it is matched
	rule      policy.Rule
	public    bool     // declared public: no identity
	beside    []string // the credential for the gateway alone; more than one is too many
	identity  authn.Identity
	foreign   bool           // nobody's, with a credential that the application judges
	onward    bool           // Authorization and the like are for the application
	strange   bool           // it came with a credential of an application other than the upstream
	standing  *standing      // of the identity; nil without one
	assertion [1]string      // for the upstream; empty without one
	carried   string         // the upstream's own access token for the identity; empty without one
	upload    *upload        // nil without a body
	response  *http.Response // the upstream's
	trial     *trial         // of a request that is only explained; nil else

	status   int   // zero until the header is written
	rest     int64 // of a Content-Length, what has not been written yet
	bytes    int64 // of body, written
	interim  int   // 1xx answers of the upstream
	armed    time.Time
	hijacked bool
	seen     observed // for who counts

	// What goroutines that outlive the handler touch.
	interimBytes int          // of 1xx headers; only the transport's
	tunnelled    atomic.Int64 // bytes to the client of a WebSocket
	life         sync.Mutex
	over         bool    // the handler is done
	ended        bool    // the gateway has cut it off
	tunnel       *tunnel // of a WebSocket that is open

	cancel context.CancelFunc // ends its way to the upstream, once it is listed
	listed listed             // while it is open
}

// exchangeKey is the context key of a request's *exchange.
type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	return r.Context().Value(exchangeKey{}).(*exchange)
}

// begin finds out who sent the request, gives it an id and takes out the
// credential for the gateway alone and every header that no client may send.
// Nothing reads a header before that.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request) *exchange {
	start, s := time.Now(), h.sender(r)
	if h.o.Watch != nil {
		h.o.Watch.Begin(start)
	}
	x := &exchange{ResponseWriter: w, h: h, r: r, start: start, remote: s.remote, from: s.from, via: s.via}
	x.id = []string{requestID(r, s.trusted)}
	if s.forwarded {
		r.RemoteAddr = net.JoinHostPort(s.remote, "0")
	}
	if h.o.Trace != nil {
		r = h.o.Trace.Begin(r, start, s.trusted)
		x.r, x.seen.request = r, r.Context()
	}
	h.listen(x, s)
	x.beside = takeBeside(r.Header)
	h.scrub(x)
	r.Header["X-Request-Id"] = x.id
	return x
}

// listen finds out whether a proxy asks about a request, and about which. Only named
// ones may: whoever else asks could pass for anybody's neighbour.
func (h *Handler) listen(x *exchange, s sender) {
	// As it is spelled: what a proxy keeps its clients from is often told by that.
	path, _, _ := strings.Cut(x.r.RequestURI, "?")
	if x.asked = h.dialectOf(path); x.asked == nil {
		return
	}
	if !s.trusted {
		if h.strangers.Allow() {
			h.o.Log.Warn("a question was refused; if your proxy asks it, name its address in trustedProxies", "request_id", x.id[0], "peer", s.remote)
		}
		x.unasked = fault{http.StatusForbidden, "Only proxies that the settings name may ask here (trustedProxies)."}
		return
	}
	if x.question, x.unasked = x.asked.read(x.r); x.unasked.status == 0 {
		x.unasked = h.elsewhereAsked(x.r, x.question)
	}
	if x.asked.removes {
		x.named = slices.Sorted(maps.Keys(x.r.Header))
	}
}

// check refuses what can't be understood in one way only.
func (x *exchange) check() fault {
	if f := checkMethod(x.r.Method); f.status != 0 {
		return f
	}
	// HTTP/2 has two places for the host; they must agree (RFC 9113, section 8.3.1).
	if twin, ok := x.r.Header["Host"]; ok && (len(twin) != 1 || twin[0] != x.r.Host) {
		return fault{http.StatusBadRequest, "That request names two hosts."}
	}
	if !x.h.places.knows(x.r.Host) {
		return fault{http.StatusMisdirectedRequest, "This gateway does not answer for that host."}
	}
	x.ours, x.r.Host = true, meant(x.r.Host)
	if f := x.h.checkLength(x.r); f.status != 0 {
		return f
	}
	var f fault
	if x.clean, f = checkTarget(x.r.RequestURI, x.r.URL); f.status != 0 {
		return f
	}
	x.websocket, f = checkUpgrade(x.r)
	return f
}

// requestID is a trusted proxy's request id if it is fit for logs, or a new one.
func requestID(r *http.Request, trusted bool) string {
	const longest = 64
	if given := r.Header["X-Request-Id"]; trusted && len(given) == 1 && len(given[0]) <= longest && word(given[0]) {
		return given[0]
	}
	var raw [16]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// word reports whether s is letters, digits, ".", "_" and "-", and not empty.
func word(s string) bool {
	for i := range len(s) {
		if c := s[i]; foldByte(c) == '-' && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}

// end finishes the answer, contains a panic and writes the access line. It is
// deferred by ServeHTTP.
func (h *Handler) end(x *exchange) {
	cause := recover()
	if cause != nil && cause != http.ErrAbortHandler { //nolint:errorlint // a panic value is compared as net/http does
		h.o.Log.Error("panic", "request_id", x.id[0], "err", cause, "stack", string(debug.Stack()))
		cause = h.apologise(x)
	}
	if cause == nil && x.status == 0 && !x.hijacked {
		status := http.StatusOK
		if x.asked != nil { // to which that would be yes
			status = http.StatusInternalServerError
		}
		x.WriteHeader(status)
	}
	now := time.Now()
	h.open.remove(x)
	ended := x.expire()
	if ended && !x.hijacked {
		cause = http.ErrAbortHandler // what it has been given so far must not pass for a whole answer
	}
	if cause == nil {
		x.lastCall(now)
	}
	x.report(now.Sub(x.start))
	if h.o.Access {
		h.logAccess(x, now, cause != nil || ended)
	}
	if cause != nil {
		panic(http.ErrAbortHandler)
	}
}

// apologise answers after a panic, if nothing has been sent yet. What has been
// begun can only be cut off; the result is then what to panic with.
func (h *Handler) apologise(x *exchange) any {
	if x.status != 0 || x.hijacked {
		return http.ErrAbortHandler
	}
	h.drain(x)
	h.o.Pages.Error(x, x.r, http.StatusInternalServerError, "Something went wrong at the gateway.")
	return nil
}

// AccessLine is the message of the line that each request has in the log.
const AccessLine = "request"

// logAccess writes the line of one request, which ended now. The query stays out: it
// may hold secrets. The handler is asked without the logger, which would look up from
// where it is called, for nobody.
func (h *Handler) logAccess(x *exchange, now time.Time, aborted bool) {
	ctx, handler := context.Background(), h.o.Log.Handler()
	if !handler.Enabled(ctx, slog.LevelInfo) {
		return
	}
	line := slog.NewRecord(now, slog.LevelInfo, AccessLine, 0)
	line.AddAttrs(
		slog.String("request_id", x.id[0]),
		slog.String("remote", x.remote),
		slog.String("method", x.r.Method),
		slog.String("host", x.r.Host),
		slog.String("path", x.r.URL.Path),
		slog.Int("status", x.status),
		slog.Int64("bytes", x.bytes+x.tunnelled.Load()),
		slog.Duration("duration", now.Sub(x.start)),
		slog.String("upstream", x.upstream.title()),
		slog.String("rule", x.rule.Name),
		slog.String("route", x.identity.Route),
		slog.String("subject", x.identity.Subject),
		slog.Bool("application", x.foreign),
		slog.Bool("aborted", aborted),
	)
	_ = handler.Handle(ctx, line) // as the logger does: there is nobody to tell
}
