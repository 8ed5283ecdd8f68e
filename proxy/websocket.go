package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// checkUpgrade finds out whether r asks for a WebSocket. Every other upgrade is
// taken out: the tunnel that follows one is out of the gateway's sight, and
// some, like h2c, lead to all of the upstream.
func checkUpgrade(r *http.Request) (websocket bool, f fault) {
	wanted, ok := r.Header["Upgrade"]
	if !ok {
		return false, fault{}
	}
	if len(wanted) != 1 || !strings.EqualFold(wanted[0], "websocket") || r.Method != http.MethodGet || r.ProtoMajor != 1 ||
		!r.ProtoAtLeast(1, 1) || !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade") {
		delete(r.Header, "Upgrade")
		return false, fault{}
	}
	if r.ContentLength != 0 {
		return false, fault{http.StatusBadRequest, "A WebSocket handshake has no body."}
	}
	if len(r.Header["Sec-Websocket-Key"]) != 1 || len(r.Header["Sec-Websocket-Version"]) != 1 {
		return false, fault{http.StatusBadRequest, "That is not a valid WebSocket handshake."} // RFC 6455, section 4.2.1
	}
	return true, fault{}
}

// sameOrigin reports whether one of the gateway's own hosts opens the WebSocket.
// Browsers send the cookie whoever does, and always say who it is in Origin.
// Only a program leaves it out; it may, if it does not use a browser's cookie.
func (h *Handler) sameOrigin(r *http.Request) bool {
	origin, ok := r.Header["Origin"]
	if !ok {
		return !strings.Contains(strings.Join(r.Header["Cookie"], ";"), h.o.Cookie)
	}
	return len(origin) == 1 && h.origins[origin[0]]
}

// origins are the origins of the hosts that the gateway answers for: they have
// the public URL's scheme and port.
func origins(public *url.URL, p *places) map[string]bool {
	port := ""
	if public.Port() != "" {
		port = ":" + public.Port()
	}
	out := map[string]bool{}
	for host := range p.byHost {
		out[public.Scheme+"://"+host+port] = true
	}
	return out
}
