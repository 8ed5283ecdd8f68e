package config

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
)

func (k *checks) upstreams() {
	names, served := map[string]int{}, map[string]string{}
	if len(k.c.Upstreams) == 0 && k.c.ForwardAuth == nil {
		k.add(k.keyAt(""), "upstreams", "is missing", k.provide(strings.Split("upstreams", ".")))
	}
	for i, u := range k.c.Upstreams {
		at := indexed("upstreams", i)
		if first, ok := names[u.Name]; ok {
			k.fault(at+".name", fmt.Sprintf("%q is the name of %s too", u.Name, indexed("upstreams", first)), "give each its own")
		} else {
			names[u.Name] = i
		}
		if u.Name == ForwardAuthUpstream && k.c.ForwardAuth != nil {
			k.fault(at+".name", quoted(u.Name)+" stands for the applications behind other proxies", "give it another name")
		}
		k.upstreamURL(at, u)
		k.hosts(at, u.Hosts)
		k.upstreamPaths(at, u)
		k.serves(at, u, served)
		k.exchange(at, u)
	}
}

// forwardAuth checks what is said of the applications behind other proxies.
func (k *checks) forwardAuth() {
	f := k.c.ForwardAuth
	if f == nil {
		if k.c.Paths.OAuth2Proxy {
			k.fault("paths.oauth2Proxy", "has no effect without forwardAuth", "add forwardAuth, or remove it")
		}
		return
	}
	if len(k.c.TrustedProxies) == 0 {
		k.fault("forwardAuth", "nobody may ask: trustedProxies is empty", "name the addresses of the proxies that ask, for instance trustedProxies: [10.0.0.7]")
	}
	k.hosts("forwardAuth", f.Hosts)
	if f.GRPCAddress != "" {
		const path = "forwardAuth.grpcAddress"
		asked, ok := k.address(path, f.GRPCAddress)
		for _, other := range []struct{ path, address string }{{"listen.address", k.c.Listen.Address}, {"operations.address", k.c.Operations.Address}} {
			if host, port, err := net.SplitHostPort(other.address); ok && err == nil && asked.clashes(listener{host, port}) {
				k.fault(path, "is the same as "+other.path, "give it a port of its own")
			}
		}
	}
	for i, h := range f.Hosts {
		for j, u := range k.c.Upstreams {
			if slices.Contains(u.Hosts, h) || len(u.Hosts) == 0 && h == k.c.Origin().Hostname() && slices.Contains(u.Paths, "/") {
				k.fault(indexed("forwardAuth.hosts", i), quoted(h)+" is a host of "+indexed("upstreams", j)+" already", "leave the one or the other out: an application is behind the gateway or behind another proxy")
			}
		}
	}
	k.publicPaths("forwardAuth.public", f.Public, []string{"/"})
}

func (k *checks) upstreamURL(at string, u Upstream) {
	if socket, ok := strings.CutPrefix(u.URL, "unix://"); ok {
		if !strings.HasPrefix(socket, "/") || path.Clean(socket) != socket {
			k.fault(at+".url", "names no socket by its whole path", "write it like unix:///run/app/app.sock")
		}
		k.clientTLS(at+".tls", u.TLS, false)
		return
	}
	parsed, problem := webURL(u.URL, "http", "https", "unix")
	if problem == "" && strings.Trim(parsed.Path, "/") != "" {
		problem = "has a path, but requests keep their own"
	}
	if problem != "" {
		k.fault(at+".url", problem, "write it like http://app:8080, https://app.example.com or unix:///run/app.sock")
		return
	}
	k.clientTLS(at+".tls", u.TLS, parsed.Scheme == "https")
}

// hosts checks the host names of one upstream. A host that does not get the
// session cookie would ask people to sign in for ever.
func (k *checks) hosts(at string, hosts []string) {
	public, domain := k.c.Origin().Hostname(), k.c.Session.Cookie.Domain
	for i, h := range hosts {
		path := indexed(at+".hosts", i)
		switch {
		case !hostname(h) || strings.Contains(h, ":"):
			k.fault(path, quoted(h)+" is not a host name in lower case", "write the name alone, without scheme, port and path")
		case h != public && !covers(domain, h):
			k.fault(path, "would never get the session cookie: it is neither the host of publicURL nor below session.cookie.domain", "set session.cookie.domain to the domain that they share")
		}
	}
}

func (k *checks) upstreamPaths(at string, u Upstream) {
	for i, p := range u.Paths {
		path := indexed(at+".paths", i)
		if problem := wrongPath(p); problem != "" {
			k.fault(path, problem, "write it as browsers send it, decoded, for instance /api")
		} else if p != "/" && strings.HasSuffix(p, "/") {
			k.fault(path, "ends in /", "write "+strings.TrimSuffix(p, "/")+"; all below it is meant anyway")
		}
	}
	k.publicPaths(at+".public", u.Public, u.Paths)
}

// publicPaths checks paths that need no sign-in, below those that they belong to.
func (k *checks) publicPaths(at string, public, bases []string) {
	for i, p := range public {
		path := indexed(at, i)
		switch problem := wrongPath(p); {
		case problem != "":
			k.fault(path, problem, "write it as browsers send it, decoded, for instance /healthz or /static/")
		case everything([]string{p}), strings.Trim(p, "*/") == "":
			k.fault(path, "would open the whole application to everybody", "name the paths that need no sign-in")
		case !slices.ContainsFunc(bases, func(base string) bool { return below(p, base) }):
			k.fault(path, "is below none of the upstream's paths", "move it to the upstream that answers for it")
		}
	}
}

// serves refuses two upstreams for one path of one host.
func (k *checks) serves(at string, u Upstream, served map[string]string) {
	hosts := u.Hosts
	if hosts == nil {
		hosts = []string{k.c.Origin().Hostname()}
	}
	for i, p := range u.Paths {
		path := indexed(at+".paths", i)
		for _, h := range hosts {
			if other, ok := served[h+p]; ok && other != path {
				k.fault(path, fmt.Sprintf("%s%s is %s already", h, p, other), "give them different hosts or paths")
			}
			served[h+p] = path
		}
	}
}

func (k *checks) cookieDomain() {
	const path = "session.cookie.domain"
	domain, host := k.c.Session.Cookie.Domain, k.c.Origin().Hostname()
	switch {
	case domain == "":
	case strings.HasPrefix(domain, "."):
		k.fault(path, "begins with a dot", "write "+strings.TrimLeft(domain, "."))
	case !domainName(domain):
		k.fault(path, quoted(domain)+" is not a domain in lower case", "write it like example.com")
	case !strings.Contains(domain, "."), publicSuffix(domain):
		k.fault(path, quoted(domain)+" belongs to everybody, so browsers refuse such a cookie", "use a domain of your own")
	case !covers(domain, host):
		k.fault(path, fmt.Sprintf("%s is not %s or below it", quoted(host), domain), "use a domain that the host of publicURL is in, or leave it out")
	}
}
