package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// Origin is PublicURL, parsed. Of settings that [Load] returned it is never nil.
func (c Config) Origin() *url.URL {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// Hosts returns every host that people use, as it stands in a URL: lower case,
// PublicURL's own first, the upstreams' with the port of PublicURL if that has one.
func (c Config) Hosts() []string {
	origin := c.Origin()
	out := []string{origin.Host}
	for _, h := range c.otherHosts() {
		if p := origin.Port(); p != "" {
			h += ":" + p
		}
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// hostNames are those of Hosts, without ports.
func (c Config) hostNames() []string {
	out := []string{c.Origin().Hostname()}
	for _, h := range c.otherHosts() {
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// otherHosts are the names of hosts that the settings say beside PublicURL's.
func (c Config) otherHosts() []string {
	var out []string
	for _, u := range c.Upstreams {
		out = append(out, u.Hosts...)
	}
	if c.ForwardAuth != nil {
		out = append(out, c.ForwardAuth.Hosts...)
	}
	return out
}

// CallbackPath is where the provider of the route Authn[i] sends people back
// to: Paths.Callback for the first OIDC route, below it the name of any other.
func (c Config) CallbackPath(i int) string {
	first := slices.IndexFunc(c.Authn, func(r Route) bool { return r.OIDC != nil })
	if i == first {
		return c.Paths.Callback
	}
	return c.Paths.Callback + "/" + c.Authn[i].Name
}

// AccountPrefix is what the subjects of service accounts begin with, whatever they
// prove themselves by.
const AccountPrefix = "account:"

// SubjectPrefixes are what stands before the subjects of the route.
func (r Route) SubjectPrefixes() []string {
	switch {
	case r.OIDC != nil:
		return []string{r.OIDC.SubjectPrefix}
	case r.LDAP != nil:
		return []string{r.LDAP.SubjectPrefix}
	case r.Bearer != nil:
		var out []string
		for _, i := range r.Bearer.Issuers {
			out = append(out, i.SubjectPrefix)
		}
		return out
	case r.APIKey != nil:
		return []string{r.APIKey.SubjectPrefix, AccountPrefix}
	}
	return nil
}

// kinds are what a route says that it is.
func (r Route) kinds() []string {
	var out []string
	for _, k := range []struct {
		name string
		set  bool
	}{{"oidc", r.OIDC != nil}, {"ldap", r.LDAP != nil}, {"bearer", r.Bearer != nil}, {"apiKey", r.APIKey != nil}} {
		if k.set {
			out = append(out, k.name)
		}
	}
	return out
}

// Asks says whether the upstream is more than what is public: who gets there, but
// for its public paths, has proved who they are.
func (u Upstream) Asks() bool {
	return slices.ContainsFunc(u.Paths, func(p string) bool { return !slices.Contains(u.Public, strings.TrimSuffix(p, "/")+"/") })
}

// Exchanges says whether the upstream gets an access token of its own for whom a
// request comes from.
func (u Upstream) Exchanges() bool { return u.Identity == "exchange" }

// KeyUpstreams are the names of the upstreams that know the application's keys; none
// if those are refused. If nothing is said it is the one that is not all public.
func (c Config) KeyUpstreams(a APIKey) []string {
	if a.Application == "refuse" || a.Upstreams != nil {
		return a.Upstreams
	}
	var out []string
	for _, u := range c.Upstreams {
		if u.Asks() {
			out = append(out, u.Name)
		}
	}
	return out
}

// Load reads the files and makes what a client needs: TLS 1.2 or newer, the
// certificates to trust (the system's without CAFile), the one to show, which is
// read again for each connection.
func (t ClientTLS) Load() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := loadPool(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("config: caFile: %w", err)
		}
		out.RootCAs = pool
	}
	if t.CertFile != "" {
		pair, err := loadPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		p := &clientPair{certFile: t.CertFile, keyFile: t.KeyFile}
		p.last.Store(&pair)
		out.GetClientCertificate = p.current
	}
	return out, nil
}

// clientPair is a certificate to show, with its key, in files that may change.
type clientPair struct {
	certFile, keyFile string
	last              atomic.Pointer[tls.Certificate]
}

// current is what is in the files, or was when they last belonged together: they
// are not replaced at one moment.
func (p *clientPair) current(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if pair, err := loadPair(p.certFile, p.keyFile); err == nil {
		p.last.Store(&pair)
	}
	return p.last.Load(), nil
}

// maxPEM bounds a file of certificates or keys, in bytes.
const maxPEM = 4 << 20

func loadPool(file string) (*x509.CertPool, error) {
	b, err := readFile(file, maxPEM)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return pool, nil
}

func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readFile(certFile, maxPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certFile: %w", err)
	}
	key, err := readFile(keyFile, maxPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("keyFile: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	return pair, nil
}
