package config

import (
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func (k *checks) listeners() {
	l := k.c.Listen
	type place struct {
		path string
		listener
	}
	var all []place
	for _, at := range []struct{ path, address string }{
		{"listen.address", l.Address}, {"operations.address", k.c.Operations.Address}, {"listen.httpAddress", l.HTTPAddress},
	} {
		if at.address == "" && at.path == "listen.httpAddress" {
			continue
		}
		here, ok := k.address(at.path, at.address)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(all, func(p place) bool { return here.clashes(p.listener) }); i >= 0 {
			k.fault(at.path, "is the same as "+all[i].path, "give it a port of its own")
		}
		all = append(all, place{at.path, here})
	}
	if l.HTTPAddress != "" && !l.TLS.Enabled() {
		k.fault("listen.httpAddress", "has no effect, for listen.address is plain http itself", "set listen.tls, or leave it out")
	}
	if l.H2C && l.TLS.Enabled() {
		k.fault("listen.h2c", "has no effect, for listen.tls speaks HTTP/2 anyway", "leave it out")
	}
}

func (k *checks) listenTLS() {
	const path = "listen.tls"
	t := k.c.Listen.TLS
	for i, c := range t.Certificates {
		if c.CertFile != "" && c.KeyFile != "" { // what is missing has been said
			k.pair(indexed(path+".certificates", i), c.CertFile, c.KeyFile)
		}
	}
	if t.ClientCAFile != "" {
		k.pool(path+".clientCAFile", t.ClientCAFile)
		if !t.Enabled() {
			k.fault(path+".clientCAFile", "has no effect, for there is no certificate to serve https with", "set certificates or acme beside it")
		}
	}
	if t.ACME != nil {
		k.acme(path+".acme", *t.ACME)
	}
}

func (k *checks) pool(path, file string) {
	if _, err := loadPool(file); err != nil {
		k.fault(path, "the certificates can't be used: "+reason(err), "name a file of certificates in PEM")
	}
}

func (k *checks) acme(path string, a ACME) {
	if _, problem := webURL(a.DirectoryURL, "https"); problem != "" {
		k.fault(path+".directoryURL", problem, "write the address that the CA gives, like https://acme-v02.api.letsencrypt.org/directory")
	}
	if a.Email != "" && !strings.Contains(strings.Trim(a.Email, "@"), "@") {
		k.fault(path+".email", quoted(a.Email)+" is not an e-mail address", "write it like operator@example.com")
	}
	if a.CAFile != "" {
		k.pool(path+".caFile", a.CAFile)
	}
	k.acmeHosts(path, a)
	k.acmeCache(path, a)
	switch _, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(a.AccountKey.Reveal(), "=")); {
	case (a.AccountID == "") != (a.AccountKey == ""):
		k.fault(path+".accountID", "goes together with accountKey", "set both, as the CA gives them, or none")
	case err != nil:
		k.fault(path+".accountKey", "is not base64url", "write it as the CA gives it")
	}
}

// acmeHosts refuses what no CA gives a certificate for by these means: an address, this
// machine, a name without a domain.
func (k *checks) acmeHosts(path string, a ACME) {
	for i, h := range k.c.ACMEHosts() {
		if domainName(h) && strings.Contains(h, ".") && !loopback(h) {
			continue
		}
		at := indexed(path+".hosts", i)
		if len(a.Hosts) == 0 {
			at = path
		}
		k.fault(at, "can't get a certificate for "+quoted(h)+", which is no full host name in lower case", "name the hosts in hosts, or give a certificate of your own in certificates")
	}
}

// acmeCache refuses what would ask the CA for new certificates at each restart, until it
// gives none any more.
func (k *checks) acmeCache(path string, a ACME) {
	switch info, err := os.Stat(a.CacheDir); {
	case a.CacheDir == "" && k.c.Store.Redis == nil:
		k.fault(path, "has no place for certificates that outlives the process", "set acme.cacheDir, or store.redis")
	case a.CacheDir == "", os.IsNotExist(err): // it is made
	case err != nil:
		k.fault(path+".cacheDir", "can't be read: "+reason(err), "name a directory that this user may read and write")
	case !info.IsDir():
		k.fault(path+".cacheDir", "is not a directory", "name a directory that this user may read and write")
	}
}

func (k *checks) hsts() {
	h := k.c.HSTS
	if h.Preload && (!h.IncludeSubdomains || h.MaxAge.Std() < 365*24*time.Hour) {
		k.fault("hsts.preload", "needs includeSubdomains, and maxAge of at least 8760h", "set them, or leave preload out")
	}
}

// soon is how long before its end a certificate deserves a look.
const soon = 14 * 24 * time.Hour

// warnings names certificates that end soon, or have ended.
func (t ListenTLS) warnings(now time.Time) []string {
	var out []string
	for i, c := range t.Certificates {
		pair, err := c.Load()
		if err != nil || now.Before(pair.Leaf.NotAfter.Add(-soon)) {
			continue // the settings were checked; since then files may be changing
		}
		at, end := indexed("listen.tls.certificates", i), pair.Leaf.NotAfter.UTC().Format(time.DateOnly)
		if now.After(pair.Leaf.NotAfter) {
			out = append(out, fmt.Sprintf("%s: the certificate in %s has ended on %s; put a new one there, which is served at once", at, c.CertFile, end))
			continue
		}
		out = append(out, fmt.Sprintf("%s: the certificate in %s ends on %s; put a new one there, which is served at once", at, c.CertFile, end))
	}
	return out
}
