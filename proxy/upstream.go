package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"gatehouse/config"
)

const (
	maxIdlePerUpstream = 1024
	idleTimeout        = 90 * time.Second
	// continueTimeout is how long the upstream may think about
	// Expect: 100-continue before the body is sent unasked.
	continueTimeout = 5 * time.Second
	maxAnswerHeader = 1 << 20
	// flushAfter bounds how long an answer's header waits for the first of a body
	// whose length is known. Every other byte is sent on as it comes.
	flushAfter = 10 * time.Millisecond
)

// upstream is one application.
type upstream struct {
	h         *Handler
	name      string
	audience  string   // of assertions
	target    *url.URL // scheme and host
	keepHost  bool
	passAuth  bool
	exchanger Exchanger // nil for an upstream that gets no access token of its own
	maxBody   int64     // bytes; zero for no limit
	transport transport
	proxy     httputil.ReverseProxy
}

func newUpstream(h *Handler, c config.Upstream) (*upstream, error) {
	target, socket, err := parseTarget(c.URL)
	if err != nil {
		return nil, err
	}
	u := &upstream{
		h: h, name: c.Name, audience: cmp.Or(c.Audience, c.Name), target: target,
		keepHost: c.HostHeader != "upstream", passAuth: c.Identity == "passthrough", maxBody: int64(c.MaxBodySize),
	}
	if c.Exchanges() {
		if u.exchanger = h.o.Exchangers[c.Name]; u.exchanger == nil {
			return nil, errors.New("nobody exchanges identities for it")
		}
	}
	dial := dialer(c, target, socket)
	standard, err := newTransport(c, target, dial)
	if err != nil {
		return nil, err
	}
	u.transport = standard
	if target.Scheme == "http" {
		u.transport = &direct{dial: dial, limit: c.ResponseTimeout.Std(), rest: standard, lent: h.buffers}
	}
	u.proxy = httputil.ReverseProxy{
		Rewrite:        u.rewrite,
		Transport:      u.transport,
		FlushInterval:  flushAfter,
		ModifyResponse: u.receive,
		ErrorHandler:   u.fail,
		ErrorLog:       slog.NewLogLogger(h.o.Log.With("upstream", c.Name).Handler(), slog.LevelDebug),
	}
	return u, nil
}

// parseTarget reads an upstream's URL; socket is the path of a unix socket, or empty.
func parseTarget(raw string) (target *url.URL, socket string, err error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, "", err
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return &url.URL{Scheme: "http", Host: "localhost"}, u.Path, nil
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "":
		return nil, "", fmt.Errorf("%q is not http://host:port, https://host:port or unix:///path/to/socket", raw)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, "", nil
}

// transport sends requests to one application.
type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// dialer opens connections to an upstream, without TLS.
func dialer(c config.Upstream, target *url.URL, socket string) func(context.Context) (net.Conn, error) {
	d := &net.Dialer{Timeout: c.ConnectTimeout.Std(), KeepAlive: 30 * time.Second}
	network, addr := "tcp", authority(target)
	if socket != "" {
		network, addr = "unix", socket
	}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, network, addr) }
}

func newTransport(c config.Upstream, target *url.URL, dial func(context.Context) (net.Conn, error)) (*http.Transport, error) {
	t := &http.Transport{
		MaxIdleConnsPerHost:    maxIdlePerUpstream,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true, // bodies pass as they are
		ExpectContinueTimeout:  continueTimeout,
		ResponseHeaderTimeout:  c.ResponseTimeout.Std(),
		TLSHandshakeTimeout:    c.ConnectTimeout.Std(),
		MaxResponseHeaderBytes: maxAnswerHeader,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second},
	}
	t.DialContext = tracked(c.ResponseTimeout.Std(), dial)
	if target.Scheme == "https" {
		var err error
		if t.TLSClientConfig, err = c.TLS.Load(); err != nil {
			return nil, err
		}
		t.ForceAttemptHTTP2 = true
	}
	return t, nil
}

// authority is the host and port to dial.
func authority(target *url.URL) string {
	port := target.Port()
	if port == "" {
		port = target.Scheme // "http" and "https" are names of ports too
	}
	return net.JoinHostPort(target.Hostname(), port)
}

func (u *upstream) title() string {
	if u == nil {
		return ""
	}
	return u.name
}

// forward sends the request on and the answer back.
func (u *upstream) forward(x *exchange) {
	if u.maxBody > 0 && x.r.ContentLength > u.maxBody {
		u.h.turnAway(x, fault{http.StatusRequestEntityTooLarge, sentenceTooLarge})
		return
	}
	if x.r.ContentLength != 0 && x.r.ProtoMajor == 1 {
		// Without it the server throws the rest of the body away as soon as the
		// upstream begins to answer.
		_ = http.NewResponseController(x.ResponseWriter).EnableFullDuplex()
	}
	trace := &httptrace.ClientTrace{GotConn: settle, Got1xxResponse: x.bearInterim}
	ctx := context.WithValue(httptrace.WithClientTrace(u.h.open.add(x), trace), exchangeKey{}, x)
	x.seen.sent = time.Now()
	if u.h.o.Trace != nil && x.trial == nil {
		x.seen.way = u.h.o.Trace.Send(x.r, u.name)
	}
	send := u.proxy
	send.BufferPool = copying{u.h.buffers, x}
	if x.trial != nil {
		send.Transport = x.trial
	}
	send.ServeHTTP(x, x.r.WithContext(ctx))
	if x.response != nil && len(x.response.Trailer) > 0 {
		u.h.cleanTrailer(x.Header())
	}
}

// rewrite makes the request that the upstream sees. Headers that the client
// named in Connection are gone by now, so nothing set here can be lost.
func (u *upstream) rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In)
	out := p.Out
	out.URL.Scheme, out.URL.Host = u.target.Scheme, u.target.Host
	out.URL.RawQuery = p.In.URL.RawQuery // byte for byte, also what net/url can't parse
	if !u.keepHost {
		out.Host = u.target.Host
	}
	h := out.Header
	x.dropCredentials(h)
	x.attribute(h)
	if x.via != "" {
		h["X-Forwarded-For"] = []string{x.via}
	}
	h["X-Forwarded-Host"] = []string{x.r.Host}
	h["X-Forwarded-Proto"] = []string{u.h.o.PublicURL.Scheme}
	h["X-Request-Id"] = x.id
	x.vouch(h)
	if x.seen.way != nil {
		u.h.o.Trace.Carry(x.seen.way, h)
	}
	out.Trailer, out.TransferEncoding = nil, nil // the body's length says how it is sent
	if out.Body != nil {
		out.Trailer = u.h.names.announced(p.In.Trailer)
		x.upload = &upload{ReadCloser: out.Body, x: x, limited: u.maxBody > 0, left: u.maxBody, trailer: out.Trailer}
		out.Body = x.upload
	}
}

// receive looks through the upstream's answer before it is passed on.
func (u *upstream) receive(res *http.Response) error {
	x := exchangeOf(res.Request)
	x.seen.answered = time.Now()
	if x.stale(res) {
		return errStale
	}
	x.response = res
	if res.StatusCode == http.StatusSwitchingProtocols {
		// Without an Upgrade header it would pass for the answer to a request that
		// has none either, and open a tunnel. Refused here, its connection is
		// closed; httputil.ReverseProxy would leave that to the garbage collector.
		if !x.websocket || !strings.EqualFold(res.Header.Get("Upgrade"), "websocket") {
			return errors.New("the upstream switched protocols without being asked")
		}
		dropHopByHop(res.Header)
		u.h.cleanResponse(res.Header)
		res.Header["X-Request-Id"] = x.id
		x.streams(res)
		return nil
	}
	x.streams(res)
	u.h.cleanResponse(res.Header)
	for name := range res.Trailer {
		if !u.h.names.trailer(name) {
			delete(res.Trailer, name)
		}
	}
	if !x.public {
		keepPrivate(res.Header)
	}
	return nil
}

const sentenceTooLarge = "That is more than may be sent here."

// fail answers when the request could not be sent or not be answered. The cause
// stays in the log.
func (u *upstream) fail(_ http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	if x.isEnded() {
		panic(http.ErrAbortHandler)
	}
	if x.r.Context().Err() != nil && x.upload != nil {
		// The server ends the context when it can't read on, so a client that
		// stands still looks like one that has gone away.
		err = errors.Join(x.upload.fault(), err)
	}
	if errors.Is(err, errStale) {
		u.h.again(x)
		return
	}
	var uploading *uploadError
	var timeout net.Error
	f := fault{http.StatusBadGateway, "The application behind this gateway can’t be reached right now."}
	switch {
	case errors.Is(err, errTooLarge):
		f = fault{http.StatusRequestEntityTooLarge, sentenceTooLarge}
	case errors.Is(err, errStalled):
		f = fault{http.StatusRequestTimeout, "The request took too long to arrive."}
	case x.r.Context().Err() != nil:
		u.h.o.Log.Debug("client went away", "request_id", x.id[0], "upstream", u.name, "err", err)
		panic(http.ErrAbortHandler)
	case errors.As(err, &uploading):
		f = fault{http.StatusBadRequest, "The request's body can’t be understood."}
	case errors.As(err, &timeout) && timeout.Timeout():
		x.seen.failure = TimedOut
		f = fault{http.StatusGatewayTimeout, "The application behind this gateway takes too long to answer."}
	}
	x.seen.failure = failureOf(f.status)
	level := slog.LevelWarn
	if f.status < http.StatusInternalServerError { // it is the client's
		level = slog.LevelInfo
		x.closeAfter() // what is left of the body is no next request
	}
	u.h.o.Log.Log(x.r.Context(), level, "request failed", "request_id", x.id[0], "upstream", u.name, "status", f.status, "err", err)
	u.h.turnAway(x, f)
}
