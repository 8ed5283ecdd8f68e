package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"

	"gatehouse/config"
	"gatehouse/proxy"
)

// listeners are where people and programs come in, and the certificates there.
type listeners struct {
	public net.Listener
	plain  net.Listener       // that sends them to public; nil for none
	certs  *shownCertificates // nil for none
	issued *issued            // nil for none
	crowd  *proxy.Crowd       // at all of them
}

// openListeners opens the listeners: each counts its connections, takes PROXY headers if
// they are asked for, and then begins TLS if there is a certificate. The CA is asked for
// nothing after ctx has ended.
func openListeners(ctx context.Context, c config.Config, l *live, log *slog.Logger) (d listeners, err error) {
	t := c.Listen.TLS
	if t.Enabled() {
		if d.issued, err = openIssued(ctx, c, l, log); err != nil {
			return listeners{}, err
		}
		if d.certs, err = openShown(t, d.issued, log); err != nil {
			return listeners{}, err
		}
	}
	d.crowd = proxy.NewCrowd(l.bounds, log)
	if d.public, err = listen(ctx, c.Listen, c.Listen.Address, d.crowd, l, log); err != nil {
		return listeners{}, fmt.Errorf("listen.address: %w", taken(err))
	}
	if d.certs != nil {
		d.public = tls.NewListener(d.public, d.certs.config())
	}
	if c.Listen.HTTPAddress == "" {
		return d, nil
	}
	if d.plain, err = listen(ctx, c.Listen, c.Listen.HTTPAddress, d.crowd, l, log); err != nil {
		return listeners{}, errors.Join(fmt.Errorf("listen.httpAddress: %w", taken(err)), d.public.Close())
	}
	return d, nil
}

// taken adds what to do about an address that is in use.
func taken(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\n    another program listens there: end it, or set another address", err)
	}
	return err
}

func listen(ctx context.Context, c config.Listen, address string, crowd *proxy.Crowd, l *live, log *slog.Logger) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	ln = crowd.Around(ln)
	if c.ProxyProtocol {
		ln = proxy.BehindBalancer(ln, l.bounds, c.HeaderTimeout.Std(), log)
	}
	return ln, nil
}

// close closes listeners that nothing serves yet.
func (d listeners) close() error {
	err := d.public.Close()
	if d.plain != nil {
		err = errors.Join(err, d.plain.Close())
	}
	return err
}

// servers are what serves at the listeners.
func (d listeners) servers(c config.Listen, l *live, log *slog.Logger) []server {
	public := publicServer(c, l, log)
	if d.issued != nil {
		public.Handler = withoutChallenges(public.Handler)
	}
	out := []server{{public, d.public}}
	if d.plain != nil {
		var challenges http.Handler
		if d.issued != nil {
			challenges = d.issued.manager.HTTPHandler(http.NotFoundHandler())
		}
		out = append(out, server{proxy.Server(c, l.insecure(challenges), log), d.plain})
	}
	return out
}

// watch keeps the certificates new. What it returns ends that.
func (d listeners) watch(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	if d.certs != nil {
		running.Go(func() { d.certs.watch(ctx) })
	}
	if d.issued != nil {
		go d.issued.run(ctx) // the library may take a while to see that it has ended
	}
	return func() { cancel(); running.Wait() }
}

// look adds to what /readyz says how the certificates are.
func (d listeners) look(at func(context.Context) state) func(context.Context) state {
	return func(ctx context.Context) state {
		s := at(ctx)
		if d.certs != nil && !s.Stopping {
			s.Conditions = append(s.Conditions, d.certs.condition())
		}
		return s
	}
}
