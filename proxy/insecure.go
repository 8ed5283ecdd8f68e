package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn/page"
	"gatehouse/config"
)

// challengePath is where a CA looks for its proof (RFC 8555, section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// Insecure answers what comes in the clear where people use https: a browser's
// navigation is sent on there, and everything else refused, since a program never gets a
// redirect. No credential is looked at, and nothing gets to an upstream. A CA that looks
// for its proof gets it from challenges, which may be nil.
func (h *Handler) Insecure(challenges http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := h.begin(w, r)
		defer h.end(x)
		x.asked, x.insecure = nil, true
		switch {
		case !h.keepsPace(x):
		case challenges != nil && strings.HasPrefix(r.URL.Path, challengePath):
			h.drain(x)
			challenges.ServeHTTP(x, r)
		default:
			h.toSecure(x)
		}
	})
}

func (h *Handler) toSecure(x *exchange) {
	r := x.r
	switch f := x.check(); {
	case f.status != 0:
		h.turnAway(x, f)
	case page.Navigation(r):
		h.drain(x)
		redirect(x, h.secure(r), http.StatusPermanentRedirect)
	default:
		h.turnAway(x, fault{http.StatusBadRequest, "This is plain http, and anyone on the way can read it. Use https://" + h.secureHost(r) + " instead."})
	}
}

// secure is the same address by https.
func (h *Handler) secure(r *http.Request) string {
	return "https://" + h.secureHost(r) + (&url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}).RequestURI()
}

// secureHost is the host that the request came to, as it is reached by https.
func (h *Handler) secureHost(r *http.Request) string {
	name := hostName(r.Host)
	if port := h.o.PublicURL.Port(); port != "" {
		return name + ":" + port
	}
	return name
}

// strictTransport is the value of Strict-Transport-Security (RFC 6797, section 6.1); nil
// for none. It counts for all ports of a host, so it is not for one whose other ports
// may be anybody's; nor is it for an address, where browsers ignore it.
func strictTransport(public *url.URL, c config.HSTS) []string {
	name := public.Hostname()
	_, err := netip.ParseAddr(name)
	local := name == "localhost" || strings.HasSuffix(name, ".localhost")
	if public.Scheme != "https" || public.Port() != "" || err == nil || local || c.MaxAge == 0 {
		return nil
	}
	value := "max-age=" + strconv.Itoa(int(c.MaxAge.Std()/time.Second))
	if c.IncludeSubdomains {
		value += "; includeSubDomains"
	}
	if c.Preload {
		value += "; preload"
	}
	return []string{value}
}
