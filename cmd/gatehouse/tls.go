package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"gatehouse/config"
)

const (
	// lookEvery is how often the files of certificates are looked at. Their names may be
	// links to somewhere else each time.
	lookEvery = 5 * time.Second
	// endsSoon is when a certificate should long have been renewed.
	endsSoon = 7 * 24 * time.Hour
)

// shownCertificates are what the gateway shows, and whom it asks to show one too. What
// is in the files is served as soon as it is sound; till then, what was.
type shownCertificates struct {
	settings config.ListenTLS
	issued   *issued // by a CA; nil for none
	log      *slog.Logger
	current  atomic.Pointer[tls.Config]

	mu       sync.Mutex
	served   digest // of what is
	suspect  digest // of what was wrong at the last look; it may have been half written
	reported digest // of what the log has been told is wrong
	err      error  // why what is in the files is not served
}

// digest stands for what is in the files.
type digest [sha256.Size]byte

// openShown reads the files.
func openShown(t config.ListenTLS, by *issued, log *slog.Logger) (*shownCertificates, error) {
	c := &shownCertificates{settings: t, issued: by, log: log}
	c.served = c.read()
	conf, err := c.load()
	if err != nil {
		return nil, err
	}
	c.current.Store(conf)
	return c, nil
}

// read is the digest of the files. One that can't be read counts by why.
func (c *shownCertificates) read() digest {
	h := sha256.New()
	for _, name := range c.settings.Files() {
		digestFile(h, name)
	}
	return digest(h.Sum(nil))
}

// load makes what is served.
func (c *shownCertificates) load() (*tls.Config, error) {
	t := c.settings
	conf := &tls.Config{MinVersion: t.Version(), NextProtos: []string{"h2", "http/1.1"}}
	for i, pair := range t.Certificates {
		loaded, err := pair.Load()
		if err != nil {
			return nil, fmt.Errorf("listen.tls.certificates[%d]: %w", i, err)
		}
		conf.Certificates = append(conf.Certificates, loaded)
	}
	var err error
	if conf.ClientCAs, err = t.ClientCAs(); err != nil {
		return nil, fmt.Errorf("listen.tls.clientCAFile: %w", err)
	}
	if conf.ClientCAs != nil {
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if c.issued != nil {
		conf.GetCertificate = c.issued.certificate
	}
	return conf, nil
}

// watch looks at the files until ctx ends.
func (c *shownCertificates) watch(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.look()
		}
	}
}

// look serves what is in the files now. What is wrong at two looks in a row is told,
// once: files are not replaced at one moment.
func (c *shownCertificates) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.read()
	if now == c.served {
		c.suspect, c.err = digest{}, nil
		return
	}
	conf, err := c.load()
	switch {
	case err == nil:
		c.current.Store(conf)
		c.served, c.suspect, c.err = now, digest{}, nil
		c.log.Info("certificates read again", "ends", ends(conf))
	case now != c.suspect:
		c.suspect = now
	case now != c.reported:
		c.reported, c.err = now, err
		c.log.Error("certificates have changed, but can't be used; those from before are still served", "err", err)
	default:
		c.err = err
	}
}

// ends is when the first of the certificates ends.
func ends(conf *tls.Config) string {
	if len(conf.Certificates) == 0 {
		return ""
	}
	first := slices.MinFunc(conf.Certificates, func(a, b tls.Certificate) int { return a.Leaf.NotAfter.Compare(b.Leaf.NotAfter) })
	return first.Leaf.NotAfter.UTC().Format(time.RFC3339)
}

// config is for the listener. Each connection gets what is served when it comes, and
// session tickets are good as long as they would be without that: their keys are this
// config's, and a client's certificate is verified again.
func (c *shownCertificates) config() *tls.Config {
	return &tls.Config{MinVersion: c.settings.Version(), GetConfigForClient: c.forClient}
}

func (c *shownCertificates) forClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if c.issued != nil && slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return c.issued.challenge(), nil
	}
	return c.current.Load(), nil
}

// condition is how the certificates are. They never make the gateway unready: nobody
// could bring it one then.
func (c *shownCertificates) condition() condition {
	if err := c.check(); err != nil {
		return condition{"certificates", isDegraded, err.Error()}
	}
	return condition{Name: "certificates", State: isThere}
}

// check says what is wrong with the certificates.
func (c *shownCertificates) check() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	errs := []error{err}
	for _, cert := range c.current.Load().Certificates {
		errs = append(errs, lasting(cert))
	}
	if c.issued != nil {
		errs = append(errs, c.issued.check())
	}
	return errors.Join(errs...)
}

// lasting says whether a certificate ends soon.
func lasting(cert tls.Certificate) error {
	end := cert.Leaf.NotAfter
	if time.Until(end) > endsSoon {
		return nil
	}
	return fmt.Errorf("the certificate for %s ends at %s", certificateNames(cert), end.UTC().Format(time.RFC3339))
}

// certificateNames are what a certificate is for.
func certificateNames(cert tls.Certificate) string {
	out := slices.Clone(cert.Leaf.DNSNames)
	for _, ip := range cert.Leaf.IPAddresses {
		out = append(out, ip.String())
	}
	if len(out) == 0 {
		return "no name"
	}
	return strings.Join(out, ", ")
}

// covers says whether a certificate is for a host.
func covers(certs []tls.Certificate, host string) bool {
	return slices.ContainsFunc(certs, func(c tls.Certificate) bool { return c.Leaf.VerifyHostname(host) == nil })
}
