package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

const listenerSection = "listener, TLS"

// listenerFindings looks at the certificates in files: whether they are good now, and
// whether every host that people use has one.
func listenerFindings(c config.Config, now time.Time) []authn.Finding {
	var out []authn.Finding
	var good []tls.Certificate
	for i, pair := range c.Listen.TLS.Certificates {
		what := fmt.Sprintf("certificate %d", i+1)
		cert, err := pair.Load()
		if err != nil {
			out = append(out, authn.Finding{What: what, Detail: err.Error(), Fix: "name two files in PEM that belong together"})
			continue
		}
		leaf, f := cert.Leaf, authn.Finding{What: what, Detail: certificateNames(cert) + ", from " + pair.CertFile}
		switch {
		case now.After(leaf.NotAfter):
			f.Detail += ", has ended at " + leaf.NotAfter.UTC().Format(time.RFC3339)
			f.Fix = "put a new one there; it is served without a restart"
		case now.Before(leaf.NotBefore):
			f.Detail += ", is not good before " + leaf.NotBefore.UTC().Format(time.RFC3339)
			f.Fix = "check this machine's clock, or use an older certificate until then"
		default:
			f.OK = true
			f.Detail += ", good until " + leaf.NotAfter.UTC().Format(time.RFC3339)
			good = append(good, cert)
		}
		out = append(out, f)
	}
	for _, host := range hostsServed(c) {
		if !covers(good, host) && !slices.Contains(c.ACMEHosts(), host) {
			fix := "get one for that name"
			if c.Listen.TLS.ACME != nil {
				fix += ", or add it to listen.tls.acme.hosts"
			}
			out = append(out, authn.Finding{What: "names", Detail: "no certificate is good for " + host + ", so that nobody who uses it gets here", Fix: fix})
		}
	}
	if len(c.ACMEHosts()) > 0 {
		out = append(out, authn.Finding{OK: true, What: "of a CA", Detail: "by itself, for " + strings.Join(c.ACMEHosts(), ", ")})
	}
	return out
}

// hostsServed are the hosts that people reach by way of the gateway's own listener.
func hostsServed(c config.Config) []string {
	c.ForwardAuth = nil // another proxy has those
	var out []string
	for _, h := range c.Hosts() {
		u := url.URL{Host: h}
		out = append(out, u.Hostname())
	}
	return out
}

// checkCA asks the CA for its directory. It orders nothing.
func checkCA(ctx context.Context, a config.ACME) []authn.Finding {
	fault := func(err error) []authn.Finding {
		return []authn.Finding{{What: "directory", Detail: err.Error(), Fix: "check listen.tls.acme.directoryURL, caFile, and that the CA can be reached from here"}}
	}
	client, err := acmeClient(ctx, a)
	if err != nil {
		return fault(err)
	}
	d, err := client.Discover(ctx)
	switch {
	case err != nil:
		return fault(err)
	case d.OrderURL == "":
		return fault(errNoDirectory)
	case d.ExternalAccountRequired && a.AccountID == "":
		return []authn.Finding{{What: "account", Detail: "the CA gives certificates to accounts alone that it knows otherwise", Fix: "set listen.tls.acme.accountID and accountKey, as the CA gives them"}}
	}
	detail := "answers"
	if d.Terms != "" {
		detail += "; its terms of service, which acme accepts, are at " + d.Terms
	}
	return []authn.Finding{{OK: true, What: "directory", Detail: detail}}
}
