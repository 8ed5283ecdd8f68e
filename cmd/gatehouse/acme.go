package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"gatehouse/config"
	"gatehouse/session"
)

const (
	// A CA counts failures, and gives nothing any more if there are many. The library
	// answers for a minute what came out last.
	firstRetry, lastRetry = 65 * time.Second, time.Hour
	// elsewhereRetry is when to look whether another replica has got a certificate.
	elsewhereRetry = 2 * time.Second
	// caTimeout bounds one question to the CA.
	caTimeout = 30 * time.Second
)

var (
	errNotYet    = errors.New("the CA has not given the certificate yet")
	errElsewhere = errors.New("another replica is asking the CA for the certificate")
)

// issued are the certificates that a CA gives by itself. They are asked for at the start
// and renewed a month before they end, never because somebody connects.
type issued struct {
	manager *autocert.Manager
	listen  config.Listen // as it was when the program started
	cache   keptCertificates
	log     *slog.Logger
	turn    sync.Mutex    // one host at a time
	other   chan struct{} // gets something when the hosts are others

	mu    sync.Mutex
	state map[string]error // of each host; nil once there is a certificate
}

// keptCertificates are where they outlive the process.
type keptCertificates interface {
	autocert.Cache
	// claim says whether this replica may ask the CA for a host's certificate; done gives
	// that back.
	claim(ctx context.Context, host string) (mine bool, done func(), err error)
}

// openIssued makes what asks the CA for certificates, until ctx ends; nil for no CA.
func openIssued(ctx context.Context, c config.Config, l *live, log *slog.Logger) (*issued, error) {
	a := c.Listen.TLS.ACME
	if a == nil {
		return nil, nil //nolint:nilnil // none is no fault
	}
	hosts, err := hostsToIssue(c)
	if err != nil {
		return nil, err
	}
	client, err := acmeClient(ctx, *a)
	if err != nil {
		return nil, err
	}
	binding, err := accountBinding(*a)
	if err != nil {
		return nil, err
	}
	cache := openKept(*a, func() (config.Config, session.Store) {
		g := l.now.Load()
		return g.settings, g.store
	})
	i := &issued{listen: c.Listen, cache: cache, log: log, other: make(chan struct{}, 1)}
	i.ask(hosts)
	i.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: cache, HostPolicy: i.policy,
		Client: client, Email: a.Email, ExternalAccountBinding: binding,
	}
	return i, nil
}

var errNotOurs = errors.New("not a host of this gateway's")

// policy is for autocert.Manager.HostPolicy. Who looks for a proof over HTTP may say a port.
func (i *issued) policy(_ context.Context, host string) error {
	name := (&url.URL{Host: strings.ToLower(host)}).Hostname()
	if !slices.Contains(i.hosts(), name) {
		return errNotOurs
	}
	return nil
}

// hosts are those that the CA is asked for now, in order.
func (i *issued) hosts() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Sorted(maps.Keys(i.state))
}

// follow asks the CA from now on for the hosts of these settings: applications come and
// go while the program runs. What the CA is and what files there are it does not take
// from them.
func (i *issued) follow(c config.Config) {
	c.Listen = i.listen
	hosts, err := hostsToIssue(c)
	if err != nil {
		i.log.Error("the CA is asked for the former hosts only", "err", err)
		return
	}
	i.ask(hosts)
}

func (i *issued) ask(hosts []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	state := map[string]error{}
	for _, h := range hosts {
		state[h] = errNotYet
		if err, known := i.state[h]; known {
			state[h] = err
		}
	}
	i.state = state
	select {
	case i.other <- struct{}{}:
	default: // it is told already
	}
}

// hostsToIssue are the hosts that the CA is asked for: those that the settings say, or
// all that no other certificate is for.
func hostsToIssue(c config.Config) ([]string, error) {
	hosts := slices.Clone(c.ACMEHosts())
	if len(c.Listen.TLS.ACME.Hosts) > 0 {
		return hosts, nil
	}
	var own []tls.Certificate
	for _, pair := range c.Listen.TLS.Certificates {
		cert, err := pair.Load()
		if err != nil {
			return nil, err
		}
		own = append(own, cert)
	}
	return slices.DeleteFunc(hosts, func(h string) bool { return covers(own, h) }), nil
}

func acmeClient(ctx context.Context, a config.ACME) (*acme.Client, error) {
	roots, err := a.Roots()
	if err != nil {
		return nil, fmt.Errorf("listen.tls.acme.caFile: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	return &acme.Client{
		DirectoryURL: a.DirectoryURL, UserAgent: "gatehouse/" + version(),
		HTTPClient: &http.Client{Transport: until{ctx, transport}, Timeout: caTimeout},
	}, nil
}

// until asks nothing any more once ctx has ended: the library knows no way to be stopped.
type until struct {
	ctx context.Context //nolint:containedctx // of all requests
	to  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (u until) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := u.ctx.Err(); err != nil {
		return nil, err
	}
	return u.to.RoundTrip(r)
}

func accountBinding(a config.ACME) (*acme.ExternalAccountBinding, error) {
	if a.AccountID == "" {
		return nil, nil //nolint:nilnil // none is no fault
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(a.AccountKey.Reveal(), "="))
	if err != nil {
		return nil, errors.New("listen.tls.acme.accountKey is not base64url")
	}
	return &acme.ExternalAccountBinding{KID: a.AccountID, Key: key}, nil
}

// run gets what there is no certificate for yet, until ctx ends. Renewals go on by
// themselves after that.
func (i *issued) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	asking := map[string]context.CancelFunc{}
	for {
		hosts := i.hosts()
		for h, end := range asking {
			if !slices.Contains(hosts, h) {
				end()
				delete(asking, h)
			}
		}
		for _, h := range hosts {
			if asking[h] == nil {
				each, end := context.WithCancel(ctx)
				asking[h] = end
				running.Go(func() { i.keepAsking(each, h) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-i.other:
		}
	}
}

// keepAsking asks less and less often, but looks all the time whether another replica
// has got the certificate.
func (i *issued) keepAsking(ctx context.Context, host string) {
	var retry time.Duration
	var next time.Time // to ask the CA
	for {
		err := i.obtain(ctx, host, !time.Now().Before(next))
		wait := firstRetry
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			i.note(host, nil)
			i.log.Info("certificate of the CA", "host", host)
			return
		case errors.Is(err, errElsewhere):
			wait = elsewhereRetry
		case !errors.Is(err, errNotYet):
			i.note(host, err)
			retry = min(max(firstRetry, 5*retry), lastRetry)
			next = time.Now().Add(retry)
			i.log.Error("the CA gives no certificate", "host", host, "again", retry.String(), "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// obtain gets a certificate from where they are kept, or else from the CA, if it may be
// asked now. Of all replicas one asks.
func (i *issued) obtain(ctx context.Context, host string, ask bool) error {
	i.turn.Lock()
	defer i.turn.Unlock()
	if _, err := i.cache.Get(ctx, host); errors.Is(err, autocert.ErrCacheMiss) {
		if !ask {
			return errNotYet
		}
		mine, done, err := i.cache.claim(ctx, host)
		switch {
		case err != nil:
			return err
		case !mine:
			return errElsewhere
		}
		defer done()
	} else if err != nil {
		return err
	}
	_, err := i.manager.GetCertificate(modern(host))
	return err
}

func (i *issued) note(host string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ours := i.state[host]; ours {
		i.state[host] = err
	}
}

// modern is what a client of these years says: the library would otherwise get a second
// certificate, with an RSA key, for whoever says that they are of another age.
func modern(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
	}
}

// certificate is for tls.Config.GetCertificate. It is nil for a host that is not for the
// CA, and for one that has no certificate yet.
func (i *issued) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	i.mu.Lock()
	err, known := i.state[host]
	i.mu.Unlock()
	if !known || err != nil {
		return nil, nil //nolint:nilnil,nilerr // another certificate is shown, if there is one
	}
	return i.manager.GetCertificate(modern(host))
}

// challenge is what a CA gets that looks for its proof (TLS-ALPN-01, RFC 8737). It has
// no certificate to show.
func (i *issued) challenge() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, GetCertificate: i.manager.GetCertificate}
}

// withoutChallenges keeps requests off connections that were only to look for that proof.
func withoutChallenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && r.TLS.NegotiatedProtocol == acme.ALPNProto {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// present is a host's certificate, or why there is none. It asks nobody for one.
func (i *issued) present(host string) (*tls.Certificate, error) {
	i.mu.Lock()
	err, ours := i.state[host]
	i.mu.Unlock()
	switch {
	case !ours:
		return nil, errNotOurs
	case err != nil:
		return nil, err
	}
	return i.manager.GetCertificate(modern(host))
}

// expiries are when the certificates of the hosts expire, by what they are called in
// metrics; zero for one that there is not yet.
func (i *issued) expiries() map[string]func() (time.Time, error) {
	out := map[string]func() (time.Time, error){}
	for _, h := range i.hosts() {
		out["listen.tls.acme "+h] = func() (time.Time, error) {
			cert, err := i.present(h)
			if err != nil {
				return time.Time{}, nil //nolint:nilerr // /readyz says why there is none
			}
			return cert.Leaf.NotAfter, nil
		}
	}
	return out
}

// check says which hosts have no certificate, or one that ends soon.
func (i *issued) check() error {
	var errs []error
	for _, h := range i.hosts() {
		cert, err := i.present(h)
		if err == nil {
			err = lasting(*cert)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", h, err))
		}
	}
	return errors.Join(errs...)
}
