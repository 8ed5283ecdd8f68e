package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"time"

	"gatehouse/config"
)

// certificates are the files of the gateway's own certificates: what it serves with, and
// what it shows to others. They go by their settings, with names in the place of numbers.
func certificates(c config.Config) map[string]string {
	files := map[string]string{}
	for i, pair := range c.Listen.TLS.Certificates {
		files[fmt.Sprintf("listen.tls.certificates[%d].certFile", i)] = pair.CertFile
	}
	if r := c.Store.Redis; r != nil {
		files["store.redis.tls.certFile"] = r.TLS.CertFile
	}
	for _, r := range c.Authn {
		at := "authn." + r.Name
		switch {
		case r.OIDC != nil:
			files[at+".oidc.tls.certFile"] = r.OIDC.TLS.CertFile
		case r.LDAP != nil:
			files[at+".ldap.tls.certFile"] = r.LDAP.TLS.CertFile
		case r.Bearer != nil:
			for i, issuer := range r.Bearer.Issuers {
				files[fmt.Sprintf("%s.bearer.issuers[%d].tls.certFile", at, i)] = issuer.TLS.CertFile
			}
		}
	}
	for _, u := range c.Upstreams {
		files["upstreams."+u.Name+".tls.certFile"] = u.TLS.CertFile
		files["upstreams."+u.Name+".exchange.tls.certFile"] = u.Exchange.TLS.CertFile
	}
	maps.DeleteFunc(files, func(_, file string) bool { return file == "" })
	return files
}

// expiryOf tells when the certificate in a file expires: the first of the file, which is
// the gateway's own.
func expiryOf(file string) func() (time.Time, error) {
	return func() (time.Time, error) {
		text, err := os.ReadFile(file) //nolint:gosec // naming it is the operator's right
		if err != nil {
			return time.Time{}, err
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return time.Time{}, fmt.Errorf("%s holds no PEM", file)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", file, err)
		}
		return cert.NotAfter, nil
	}
}
