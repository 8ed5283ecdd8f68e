package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// checks judges what the schema can't: what values mean, and together.
type checks struct {
	*document
	c *Config
}

// fault notes what is wrong with the value at path.
func (k *checks) fault(path, problem, fix string) { k.add(k.valueAt(path), path, problem, fix) }

// all looks at everything, so that all faults are known at once.
func (k *checks) all() {
	k.publicURL()
	k.listeners()
	k.listenTLS()
	k.hsts()
	k.upstreams()
	k.forwardAuth()
	k.routes()
	k.teams()
	k.accounts()
	k.policy()
	k.api()
	k.regulation()
	k.session()
	k.store()
	k.headers()
	k.paths()
	k.pages()
	k.proxies()
	k.durations()
	k.sizes()
	k.audit()
}

func (k *checks) publicURL() {
	const path = "publicURL"
	u, problem := webURL(k.c.PublicURL, "https", "http")
	if problem != "" {
		k.fault(path, problem, "write it like https://wandb.example.com")
		return
	}
	host := u.Hostname()
	switch {
	case u.Path != "":
		k.fault(path, "has a path, but the gateway is a whole origin", "write "+u.Scheme+"://"+u.Host)
	case !hostname(host):
		k.fault(path, quoted(host)+" is not a host name in lower case", "write the name that certificates have, international ones in their xn-- form")
	case defaultPort(u.Scheme, u.Port()):
		k.fault(path, "names the port that goes without saying, as browsers never do", "write "+u.Scheme+"://"+strings.TrimSuffix(u.Host, ":"+u.Port()))
	case u.Scheme == "http" && !loopback(host) && !k.c.InsecurePublicHTTP:
		k.fault(path, "must be https", "write https://"+u.Host+"; for tests behind closed doors there is insecurePublicHTTP")
	}
}

// listener is where to listen; an empty host means everywhere.
type listener struct{ host, port string }

func (l listener) clashes(o listener) bool {
	everywhere := func(h string) bool { return h == "" || h == "0.0.0.0" || h == "::" }
	return l.port == o.port && l.port != "0" && (l.host == o.host || everywhere(l.host) || everywhere(o.host))
}

func (k *checks) address(path, text string) (listener, bool) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		k.fault(path, quoted(text)+" is not an address to listen on", "write host:port or :port, for instance :8080 or [::1]:8080")
		return listener{}, false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		k.fault(path, quoted(port)+" is not a port", "use a number from 0 to 65535")
		return listener{}, false
	}
	if host != "" && !hostname(host) {
		k.fault(path, quoted(host)+" is neither an IP address nor a host name", "leave the host out to listen everywhere")
		return listener{}, false
	}
	return listener{host, port}, true
}

// pair checks a certificate and its key.
func (k *checks) pair(path, certFile, keyFile string) {
	switch {
	case certFile == "" && keyFile == "":
	case keyFile == "":
		k.fault(path+".certFile", "needs keyFile too", "name the file of its private key")
	case certFile == "":
		k.fault(path+".keyFile", "needs certFile too", "name the file of its certificate")
	case k.pem(path+".certFile", certFile) && k.pem(path+".keyFile", keyFile):
		if _, err := loadPair(certFile, keyFile); err != nil {
			k.fault(path+".certFile", "the certificate and its key can't be used: "+reason(err), "name two files in PEM that belong together")
		}
	}
}

// pem says whether a file can be read.
func (k *checks) pem(path, file string) bool {
	_, err := readFile(file, maxPEM)
	if err != nil {
		k.fault(path, "can't be read: "+reason(err), readable)
	}
	return err == nil
}

// clientTLS checks a group tls. Used says whether the URL beside it speaks TLS at all.
func (k *checks) clientTLS(path string, t ClientTLS, used bool) {
	if t != (ClientTLS{}) && !used {
		k.fault(path, "has no effect, for the URL beside it does not speak TLS", "change the URL or leave tls out")
		return
	}
	if t.CAFile != "" {
		if _, err := loadPool(t.CAFile); err != nil {
			k.fault(path+".caFile", "the certificates can't be used: "+reason(err), "name a file of certificates in PEM")
		}
	}
	k.pair(path, t.CertFile, t.KeyFile)
	if t.ServerName != "" && !hostname(t.ServerName) {
		k.fault(path+".serverName", quoted(t.ServerName)+" is not a host name in lower case", "write the name alone, without a port")
	}
}

func (k *checks) proxies() {
	if len(k.c.TrustedProxies) == 0 {
		k.noProxies()
	}
	for i, text := range k.c.TrustedProxies {
		path := indexed("trustedProxies", i)
		p, err := parseNetwork(text)
		switch {
		case err != nil:
			k.fault(path, quoted(text)+" is neither an IP address nor a network", "write it like 10.1.2.3 or 10.0.0.0/8")
		case p.Bits() == 0, p == netip.MustParsePrefix("::ffff:0:0/96"):
			k.fault(path, "trusts everybody, so that any client could lie about its address", "name the proxies' own addresses")
		}
	}
}

// noProxies refuses what needs trusted proxies where there are none.
func (k *checks) noProxies() {
	if k.c.Listen.ProxyProtocol {
		k.fault("listen.proxyProtocol", "would close every connection, for there are no trustedProxies", "name the load balancer's own addresses in trustedProxies, or leave it out")
	}
	if k.c.ForwardedHeader == "forwarded" {
		k.fault("forwardedHeader", "has no effect, for there are no trustedProxies", "name the proxies' own addresses in trustedProxies, or leave it out")
	}
}

// durations refuses zero where it would stop everything.
func (k *checks) durations() {
	positive := func(path string, d Duration) {
		if d == 0 {
			k.fault(path, "must be more than 0s", "use for instance 10s, or leave it out")
		}
	}
	positive("listen.headerTimeout", k.c.Listen.HeaderTimeout)
	positive("listen.idleTimeout", k.c.Listen.IdleTimeout)
	positive("listen.stallTimeout", k.c.Listen.StallTimeout)
	for i, u := range k.c.Upstreams {
		positive(indexed("upstreams", i)+".connectTimeout", u.ConnectTimeout)
	}
	if i := k.c.Reload.Interval; i != 0 && i < Duration(time.Second) {
		k.fault("reload.interval", "is "+i.String(), "use 1s or more, or 0s for never")
	}
	if l := k.c.Assertion.Lifetime; l.Std() < 10*time.Second || l.Std() > 5*time.Minute {
		k.fault("assertion.lifetime", "is "+l.String(), "use 10s to 5m")
	}
	if k.c.Store.Redis != nil {
		positive("store.redis.timeout", k.c.Store.Redis.Timeout)
	}
}

func (k *checks) sizes() {
	within := func(path string, s, least, most Size) {
		if s < least || s > most {
			k.fault(path, "is "+s.String(), fmt.Sprintf("use %s to %s", least, most))
		}
	}
	within("listen.maxHeaderSize", k.c.Listen.MaxHeaderSize, 4<<10, 16<<20)
	within("listen.maxURLSize", k.c.Listen.MaxURLSize, 1<<10, 16<<20)
	within("headers.maxSize", k.c.Headers.MaxSize, 1<<10, 1<<20)
	within("session.cache.maxSize", k.c.Session.Cache.MaxSize, 1<<20, 64<<30)
}

func (k *checks) session() {
	const year = Duration(8760 * time.Hour)
	s := k.c.Session
	switch {
	case s.IdleTimeout == 0:
		k.fault("session.idleTimeout", "must be more than 0s", "use for instance 24h, or leave it out")
	case s.Lifetime > year:
		k.fault("session.lifetime", "is longer than a year", "use at most "+year.String())
	case s.Lifetime < s.IdleTimeout:
		k.fault("session.lifetime", fmt.Sprintf("%s is shorter than session.idleTimeout, %s", s.Lifetime, s.IdleTimeout), "make idleTimeout shorter or lifetime longer")
	}
	if s.OutageGrace > s.Lifetime {
		k.fault("session.outageGrace", "is longer than session.lifetime", "use a few hours at most")
	}
	if s.Cache.Lifetime > Duration(10*time.Minute) {
		k.fault("session.cache.lifetime", "is longer than 10 minutes", "use 30s, or leave it out; what is ended is forgotten at once anyway")
	}
	if strings.HasPrefix(s.Cookie.Name, "__") {
		k.fault("session.cookie.name", quoted(s.Cookie.Name)+" begins with __", "leave the prefix out; the gateway puts the right one before it")
	}
	k.cookieDomain()
	k.keys()
}

// keys refuses keys that can be guessed (SES-08).
func (k *checks) keys() {
	s := k.c.Session
	seen := map[Secret]bool{}
	for i, key := range s.Keys {
		path, which := indexed("session.keys", i), ""
		if s.KeysFile != "" {
			path, which = "session.keysFile", fmt.Sprintf("key %d ", i+1)
		}
		if problem := weakness(key.Reveal()); problem != "" {
			k.fault(path, which+problem, "make one with: openssl rand -base64 32")
		} else if seen[key] {
			k.fault(path, which+"is there twice", "remove one")
		}
		seen[key] = true
	}
}
