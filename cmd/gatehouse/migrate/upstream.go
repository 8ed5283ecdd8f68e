package migrate

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// upstream is one upstream of oauth2-proxy.
type upstream struct {
	from, id, path, rewrite, uri string
	static, insecure, keepHost   bool
	timeout                      string
}

// nothing says whether an upstream is there only because oauth2-proxy wanted one:
// another proxy asks, and passes requests on itself.
func (u upstream) nothing() bool { return u.static || strings.HasPrefix(u.uri, "file:///dev/null") }

func forwardOnly(all []upstream) bool {
	return !slices.ContainsFunc(all, func(u upstream) bool { return !u.nothing() })
}

// legacyUpstreams are those of --upstream, as oauth2-proxy reads them.
func (t *translation) legacyUpstreams() []upstream {
	var out []upstream
	for _, raw := range t.list("upstream") {
		from := t.about("upstream")
		u, err := url.Parse(raw)
		if err != nil {
			t.fault(from, "is no URL", "write it like http://127.0.0.1:3000")
			continue
		}
		one := upstream{
			from: from, path: u.Path, uri: raw,
			insecure: t.isOn("ssl-upstream-insecure-skip-verify"), keepHost: t.isOn("pass-host-header"),
		}
		if t.has("upstream-timeout") {
			one.timeout = t.text("upstream-timeout")
		}
		switch u.Scheme {
		case "static":
			one.static, one.path = true, "/"
		case "file":
			one.path = u.Fragment
		case "unix":
			one.path = "/"
		}
		out = append(out, one)
	}
	return out
}

// applications writes upstreams, or forwardAuth where another proxy asks.
func (t *translation) applications() {
	if t.behind {
		t.elsewhere()
		return
	}
	var items [][]node
	names := map[string]bool{}
	for _, u := range t.upstreams {
		if item, ok := t.application(u, names, len(t.upstreams) > 1); ok {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		items = [][]node{{{key: "url", value: "http://127.0.0.1:1", hole: "where the application listens, for instance http://127.0.0.1:3000; none of oauth2-proxy's upstreams can be one here (see below)"}}}
	}
	t.put(node{key: "upstreams", value: items})
}

func (t *translation) elsewhere() {
	hosts := node{key: "hosts", value: []string{standIn(t.list("cookie-domain"))}}
	if host := t.public.Hostname(); host != "" && !t.has("cookie-domain") {
		hosts.value = []string{host}
	} else {
		hosts.hole = "the host names of the applications that the proxy in front asks about"
	}
	t.put(node{key: "forwardAuth", value: []node{hosts}, note: "There was no application behind oauth2-proxy: another proxy asks it about requests.\ndocs/forward-auth.md shows how nginx, Traefik, Caddy, Envoy and HAProxy ask."})
	for _, u := range t.upstreams {
		t.say(Moot, u.from, "forwardAuth answers by itself")
	}
}

// notSlug is what the name of an upstream can't hold.
var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

func slug(s string) string {
	return strings.Trim(notSlug.ReplaceAllString(strings.ToLower(s), "-"), "-")
}

func (t *translation) application(u upstream, names map[string]bool, several bool) ([]node, bool) {
	at, err := url.Parse(u.uri)
	path, why := servedPath(u)
	switch {
	case u.nothing():
		why = "there are no answers of the gateway's own. A path that nobody may come to is closed by a rule with access: deny"
	case err != nil:
		why = "its address is no URL"
	case at.Scheme == "file":
		why = "files are not served: put a small web server in front of them and name that"
	case at.Scheme == "unix":
		at = &url.URL{Scheme: "unix", Path: at.Host + at.Path}
	case at.Host == "":
		why = "its address names no host"
	}
	if why != "" {
		t.say(Narrower, u.from+" "+cleaned(u.uri), "it is left out: "+why)
		return nil, false
	}
	name := slug(u.id)
	if name == "" && several {
		name = slug(path)
	}
	if name == "" && several {
		name = "app"
	}
	for i := 2; names[name]; i++ {
		name = fmt.Sprintf("%s-%d", strings.TrimRight(name, "-0123456789"), i)
	}
	names[name] = true
	address := at.Scheme + "://" + at.Host
	if at.Scheme == "unix" {
		address = "unix://" + at.Path
	}
	item := []node{{key: "name", value: name}, {key: "url", value: address}}
	if path != "/" {
		if !strings.HasSuffix(u.path, "/") {
			t.say(Wider, u.from+" "+u.path, "oauth2-proxy passed on this path alone; here all below it goes there too")
		}
		item = append(item, node{key: "paths", value: []string{path}})
	}
	if !u.keepHost {
		item = append(item, node{key: "hostHeader", value: "upstream"})
	}
	if d, err := time.ParseDuration(u.timeout); err == nil && d > 0 {
		item = append(item, node{key: "responseTimeout", value: raw(clock(d))})
	}
	if u.insecure && at.Scheme == "https" {
		if t.alpha != nil {
			t.say(Different, u.from, "the application's certificate is verified always: name its authority in upstreams[].tls.caFile")
		}
		item = append(item, node{note: "Unless its certificate is from a well-known authority:\ntls: {caFile: /etc/ssl/app-ca.pem}"})
	}
	return item, true
}

// servedPath is the path that an upstream answers for, or why there is none.
func servedPath(u upstream) (path, why string) {
	path = u.path
	switch {
	case u.rewrite != "":
		return "", "requests keep their paths. Have the application serve what rewriteTarget made, or rewrite behind the gateway"
	case strings.ContainsAny(path, "^$*(){}[]|\\"):
		return "", "its path is a pattern; an upstream answers for a path and everything below it"
	}
	if path = "/" + strings.Trim(path, "/"); strings.Contains(path, "//") {
		return "", "its path has an empty part"
	}
	return path, ""
}

// cleaned is an address without a password.
func cleaned(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return printable(u.Redacted())
}
