package proxy

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/authn"
)

// A dialect is how a proxy asks about a request, and which answers it understands.
type dialect struct {
	// read finds the request in the question.
	read func(r *http.Request) (question, fault)
	// subrequest says that nothing but a status and headers comes of the answer, and
	// that every status but 2xx, 401 and 403 is an error to it.
	subrequest bool
	allowed    int    // the status that lets a request pass
	legacy     bool   // answers with oauth2-proxy's headers too
	told       *names // what the answer tells an application: no question may bring it along
	removes    bool   // takes headers off the request that the answer names
	rest       string // where the path of the request follows that of the question
}

// question is the request that somebody asks about. The method is empty where the
// dialect lets it be unsaid.
type question struct{ method, host, uri string }

// EnvoyPath is where Envoy asks, below the gateway's prefix.
const EnvoyPath = "/auth/envoy"

// Where proxies ask.
const (
	askedNginx   = "/auth/nginx"
	askedTraefik = "/auth/traefik"
	askedCaddy   = "/auth/caddy"
	askedHAProxy = "/auth/haproxy"
	askedEnvoy   = EnvoyPath
	legacyPrefix = "/oauth2"
)

// dialects are the ways to ask, by their paths.
func (h *Handler) dialects() map[string]*dialect {
	if h.o.ForwardAuth == nil {
		return nil
	}
	envoy, told := h.o.Paths.Prefix+askedEnvoy, h.told()
	out := map[string]*dialect{
		h.o.Paths.Prefix + askedNginx:   {read: readNginx, subrequest: true, allowed: http.StatusOK, told: told},
		h.o.Paths.Prefix + askedTraefik: {read: readForwarded, allowed: http.StatusOK, told: told},
		h.o.Paths.Prefix + askedCaddy:   {read: readForwarded, allowed: http.StatusOK, told: told},
		h.o.Paths.Prefix + askedHAProxy: {read: readForwarded, allowed: http.StatusOK, told: told},
		envoy:                           {removes: true, read: readEnvoy(envoy), allowed: http.StatusOK, rest: envoy, told: told},
	}
	if h.o.Paths.OAuth2Proxy {
		// Not their whole family: ingress-nginx itself sends X-Auth-Request-Redirect.
		var more []string
		for _, l := range authRequest() {
			more = append(more, l.Name)
		}
		out[legacyPrefix+"/auth"] = &dialect{read: readLegacy(h.places.knows), subrequest: true, allowed: http.StatusAccepted, legacy: true, told: h.told(more...)}
	}
	return out
}

// told are the names by which an application behind another proxy is told who somebody
// is, and more.
func (h *Handler) told(more ...string) *names {
	return newNames(slices.Concat(h.contract.names(), forwardedIdentity(), more), []string{"x-gatehouse-"}, nil)
}

// dialectOf is the dialect of a question at that path; nil if it is none.
func (h *Handler) dialectOf(path string) *dialect {
	if d := h.asks[path]; d != nil || h.asks == nil {
		return d
	}
	if below, ours := strings.CutPrefix(path, h.o.Paths.Prefix); ours && strings.HasPrefix(below, askedEnvoy+"/") {
		return h.asks[h.o.Paths.Prefix+askedEnvoy] // what follows is the path of the request
	}
	return nil
}

// one returns the only value of a header.
func one(r *http.Request, name string) (string, bool) {
	v := r.Header[name]
	if len(v) != 1 || v[0] == "" {
		return "", false
	}
	return v[0], true
}

// lacking refuses a question that does not say what is asked about, whoever it is
// about: what is not known can't be decided on.
func lacking(names string) fault {
	return fault{http.StatusBadRequest, "The proxy in front does not say which request it asks about. It must send " + names + ", each once."}
}

// readNginx reads X-Original-URL, the whole of it, and X-Original-Method.
func readNginx(r *http.Request) (question, fault) {
	raw, ok := one(r, "X-Original-Url")
	method, too := one(r, "X-Original-Method")
	if !ok || !too {
		return question{}, lacking("X-Original-URL and X-Original-Method")
	}
	return originalURL(method, raw)
}

// originalURL takes a whole URL apart without changing a byte of its path.
func originalURL(method, raw string) (question, fault) {
	bad := fault{http.StatusBadRequest, "The proxy in front asks about an address that can’t be understood."}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return question{}, bad
	}
	slash := strings.IndexByte(rest, '/')
	if slash <= 0 {
		return question{}, bad
	}
	return question{method, rest[:slash], rest[slash:]}, fault{}
}

// readForwarded reads what Traefik, Caddy and HAProxy's script send.
func readForwarded(r *http.Request) (question, fault) {
	method, ok := one(r, "X-Forwarded-Method")
	host, too := one(r, "X-Forwarded-Host")
	uri, three := one(r, "X-Forwarded-Uri")
	if !ok || !too || !three {
		return question{}, lacking("X-Forwarded-Method, X-Forwarded-Host and X-Forwarded-Uri")
	}
	return question{method, host, uri}, fault{}
}

// readEnvoy reads the request that the question itself is: Envoy puts a prefix
// before its path and changes nothing else.
func readEnvoy(prefix string) func(r *http.Request) (question, fault) {
	return func(r *http.Request) (question, fault) {
		uri, ok := strings.CutPrefix(r.RequestURI, prefix)
		if !ok {
			return question{}, lacking("the path of the request behind " + prefix)
		}
		if !strings.HasPrefix(uri, "/") {
			uri = "/" + uri
		}
		return question{r.Method, r.Host, uri}, fault{}
	}
}

// readLegacy reads what snippets for oauth2-proxy send, which are of many kinds.
// Only one of them may stand in a question.
func readLegacy(known func(host string) bool) func(r *http.Request) (question, fault) {
	return func(r *http.Request) (question, fault) { return legacyQuestion(r, known) }
}

func legacyQuestion(r *http.Request, known func(host string) bool) (question, fault) {
	_, whole := r.Header["X-Original-Url"]
	_, path := r.Header["X-Original-Uri"]
	_, forwarded := r.Header["X-Forwarded-Uri"]
	// Snippets set neither of these, so that they may be the client's own word: the
	// host is that of the question if it is one that we answer for, and the method
	// is not asked for at all.
	const method = ""
	host := r.Host
	if _, there := r.Header["X-Forwarded-Host"]; there {
		given, ok := one(r, "X-Forwarded-Host")
		if !ok {
			return question{}, lacking("one host")
		}
		if known(host) && hostName(given) != hostName(host) {
			return question{}, lacking("one host")
		}
		host = given
	}
	switch {
	case whole && !path && !forwarded:
		raw, ok := one(r, "X-Original-Url")
		if !ok {
			return question{}, lacking("X-Original-URL")
		}
		return originalURL(method, raw)
	case path && !whole && !forwarded:
		if uri, ok := one(r, "X-Original-Uri"); ok {
			return question{method, host, uri}, fault{}
		}
	case forwarded && !whole && !path:
		if uri, ok := one(r, "X-Forwarded-Uri"); ok {
			return question{method, host, uri}, fault{}
		}
	}
	return question{}, lacking("one of X-Original-URL, X-Original-URI and X-Forwarded-Uri")
}

// request is the request that is asked about, with what the client sent in it.
func (q question) request(r *http.Request) (*http.Request, fault) {
	u, err := url.ParseRequestURI(q.uri)
	if err != nil || !strings.HasPrefix(q.uri, "/") {
		return nil, fault{http.StatusBadRequest, "That address can’t be understood."}
	}
	about := r.WithContext(r.Context())
	about.Method, about.Host, about.URL, about.RequestURI = cmp.Or(q.method, http.MethodGet), q.host, u, q.uri
	delete(about.Header, "Host")
	return about, fault{}
}

// constraint is what a question itself asks for, in the words of oauth2-proxy: all
// that is there must hold.
type constraint struct{ groups, emails, domains []string }

func constraintOf(q url.Values) constraint {
	list := func(name string) []string {
		var out []string
		for _, v := range q[name] {
			for part := range strings.SplitSeq(v, ",") {
				if part = strings.TrimSpace(part); part != "" {
					out = append(out, part)
				}
			}
		}
		return out
	}
	return constraint{list("allowed_groups"), list("allowed_emails"), list("allowed_email_domains")}
}

// constraints reads those of a question. A name that is not known, a pair that can't
// be read and an empty list are faults: each was meant to keep somebody out. But where
// the query is that of the request itself, as Caddy sends it unless told otherwise, what
// isn't known is the application's.
func constraints(raw, uri string) (constraint, bool) {
	if raw == "" {
		return constraint{}, true
	}
	q, err := url.ParseQuery(raw)
	_, own, _ := strings.Cut(uri, "?")
	own, _, _ = strings.Cut(own, "#")
	carried := raw == own
	if err != nil && !carried {
		return constraint{}, false
	}
	c := constraintOf(q)
	for name, list := range map[string][]string{"allowed_groups": c.groups, "allowed_emails": c.emails, "allowed_email_domains": c.domains} {
		if q.Has(name) && len(list) == 0 {
			return constraint{}, false
		}
		delete(q, name)
	}
	return c, carried || len(q) == 0
}

// elsewhereAsked refuses a question that comes under an application's host and is about
// another: somebody other than the proxy may have had a hand in it.
func (h *Handler) elsewhereAsked(r *http.Request, q question) fault {
	if name := hostName(r.Host); slices.ContainsFunc(h.o.ForwardAuth.Hosts, func(site string) bool { return hostName(site) == name }) && hostName(q.host) != name {
		return fault{http.StatusForbidden, "The proxy in front asks about another host than the one that it asks under."}
	}
	return fault{}
}

// scrub takes out the headers that no client may send.
func (h *Handler) scrub(x *exchange) {
	for name := range x.r.Header {
		if !h.names.protects(name) { // which are those of the contract, and more
			continue
		}
		delete(x.r.Header, name)
		x.mustNotBring(name)
	}
}

// mustNotBring refuses a question that brings along a header by which an application is told
// who somebody is: a proxy that does not write all of them over would pass that on.
func (x *exchange) mustNotBring(name string) {
	if x.asked != nil && x.unasked.status == 0 && x.asked.told.protects(name) && fold(name) != "x-gatehouse-authorization" {
		x.unasked = fault{http.StatusForbidden, "No client may send the header " + authn.Bounded(name) + ": it says who somebody is."}
	}
}

// canonical is the host that is meant, with the port that people reach it by: proxies
// leave it out, and nothing depends on it.
func (h *Handler) canonical(host string) string {
	name := hostName(host)
	if name == "" {
		return host
	}
	if port := h.o.PublicURL.Port(); port != "" {
		name += ":" + port
	}
	return name
}
