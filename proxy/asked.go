package proxy

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
)

// A dialect is how a proxy asks about a request, and which answers it understands.
type dialect struct {
	name string
	// read finds the request in the question.
	read func(r *http.Request) (question, fault)
	// subrequest says that nothing but a status and headers comes of the answer, and
	// that every status but 2xx, 401 and 403 is an error to it.
	subrequest bool
	allowed    int    // the status that lets a request pass
	legacy     bool   // answers with oauth2-proxy's headers too
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

// dialectOf is the dialect of a question at that path; nil if it is none.
func (h *Handler) dialectOf(path string) *dialect {
	if h.o.ForwardAuth == nil {
		return nil
	}
	if h.o.Paths.OAuth2Proxy && path == legacyPrefix+"/auth" {
		return &dialect{name: "oauth2-proxy", read: readLegacy, subrequest: true, allowed: http.StatusAccepted, legacy: true}
	}
	below, ours := strings.CutPrefix(path, h.o.Paths.Prefix)
	switch {
	case !ours:
	case below == askedNginx:
		return &dialect{name: "nginx", read: readNginx, subrequest: true, allowed: http.StatusOK}
	case below == askedTraefik, below == askedCaddy, below == askedHAProxy:
		return &dialect{name: strings.TrimPrefix(below, "/auth/"), read: readForwarded, allowed: http.StatusOK}
	case below == askedEnvoy, strings.HasPrefix(below, askedEnvoy+"/"):
		return &dialect{name: "envoy", read: readEnvoy(h.o.Paths.Prefix + askedEnvoy), allowed: http.StatusOK, rest: h.o.Paths.Prefix + askedEnvoy}
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
func readLegacy(r *http.Request) (question, fault) {
	_, whole := r.Header["X-Original-Url"]
	_, path := r.Header["X-Original-Uri"]
	_, forwarded := r.Header["X-Forwarded-Uri"]
	method, fine := legacyMethod(r)
	if !fine {
		return question{}, lacking("X-Original-Method or X-Forwarded-Method")
	}
	host, ok := one(r, "X-Forwarded-Host")
	if !ok {
		host = r.Host
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

// legacyMethod is the method of what is asked about; empty if nobody says.
func legacyMethod(r *http.Request) (method string, fine bool) {
	for _, name := range []string{"X-Original-Method", "X-Forwarded-Method"} {
		if _, sent := r.Header[name]; !sent {
			continue
		}
		given, ok := one(r, name)
		if !ok || method != "" && method != given {
			return "", false
		}
		method = given
	}
	return method, true
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

// said reports whether a question asks for something that this is nothing of: an
// empty list is no list that lets everybody in.
func (c constraint) broken(q url.Values) bool {
	return len(c.groups) == 0 && q.Has("allowed_groups") || len(c.emails) == 0 && q.Has("allowed_emails") || len(c.domains) == 0 && q.Has("allowed_email_domains")
}
