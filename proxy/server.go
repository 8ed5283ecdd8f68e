package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

// Server is the HTTP server for h. It bounds the request's header in time and
// size and leaves bodies and answers as much time as they take: what stands
// still there is h's business.
func Server(l config.Listen, h http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(l.H2C)
	return &http.Server{
		Handler:           h,
		ConnContext:       connected,
		ReadHeaderTimeout: l.HeaderTimeout.Std(),
		IdleTimeout:       l.IdleTimeout.Std(),
		MaxHeaderBytes:    int(l.MaxHeaderSize),
		Protocols:         protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: l.MaxStreams,
			SendPingTimeout:      30 * time.Second,
			WriteByteTimeout:     l.StallTimeout.Std(),
		},
		// HTTP/2 is set up only if it is named here, for a TLS listener of the caller too.
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
		// "OPTIONS *" is for h to refuse; the server would answer 200 for it.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// cutKey is the context key of what cancels all that happens on a connection.
type cutKey struct{}

// connected is the context of a connection.
func connected(ctx context.Context, c net.Conn) context.Context {
	ctx, cancel := context.WithCancel(rememberHop(ctx, c))
	return context.WithValue(ctx, cutKey{}, cancel)
}

// Check opens one connection to the upstream, with TLS if it is https, and says
// how that went. It sends no request.
func Check(ctx context.Context, c config.Upstream) []authn.Finding {
	target, socket, err := parseTarget(c.URL)
	if err != nil {
		return []authn.Finding{{What: "url", Detail: err.Error(), Fix: "correct the upstream's url"}}
	}
	dial := dialer(c, target, socket)
	t, err := newTransport(c, target, dial)
	if err != nil {
		return []authn.Finding{{What: "tls", Detail: err.Error(), Fix: "check the files of the upstream's tls settings"}}
	}
	conn, err := dial(ctx)
	if err != nil {
		return []authn.Finding{{What: "connect", Detail: err.Error(), Fix: "check that the application runs and can be reached from here"}}
	}
	defer conn.Close()
	out := []authn.Finding{{OK: true, What: "connect", Detail: conn.RemoteAddr().String()}}
	if target.Scheme != "https" {
		return out
	}
	if t.TLSClientConfig.ServerName == "" {
		t.TLSClientConfig.ServerName = target.Hostname()
	}
	if err := tls.Client(conn, t.TLSClientConfig).HandshakeContext(ctx); err != nil {
		return append(out, authn.Finding{What: "tls", Detail: err.Error(),
			Fix: "check tls.caFile, tls.serverName and tls.certFile of the upstream"})
	}
	return append(out, authn.Finding{OK: true, What: "tls", Detail: "the certificate is good for " + t.TLSClientConfig.ServerName})
}
