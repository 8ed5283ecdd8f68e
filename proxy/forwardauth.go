package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/page"
)

// signInHeader tells a proxy that can't pass an answer on where a browser signs in.
const signInHeader = "X-Gatehouse-Sign-In"

// ServeQuestion answers whether a request may go on, as [EnvoyPath] does. That it is a
// question is not told by its address, which settings can change: it is never forwarded.
func (h *Handler) ServeQuestion(w http.ResponseWriter, r *http.Request) {
	target := h.o.Paths.Prefix + EnvoyPath + r.RequestURI
	u, err := url.ParseRequestURI(target)
	if err != nil || h.dialectOf(h.o.Paths.Prefix+EnvoyPath) == nil {
		h.o.Pages.Error(w, r, http.StatusNotFound, "There is nothing at this address.")
		return
	}
	r.URL, r.RequestURI = u, target
	h.ServeHTTP(w, r)
}

// serveAsked answers a proxy that asks about a request. It goes through the same
// chain and the same policy as a request that comes here, and is answered in the same
// words, as far as the proxy understands them.
func (h *Handler) serveAsked(x *exchange) {
	d := x.asked
	q, f := x.question, x.unasked
	limits := x.r.URL.RawQuery
	if f.status != 0 {
		h.deny(x, f)
		return
	}
	q.host = h.canonical(q.host)
	about, f := q.request(x.r)
	if f.status != 0 {
		h.deny(x, f)
		return
	}
	if d.rest != "" {
		limits = "" // the query is the request's own
	}
	x.r, x.upstream = about, h.elsewhere
	if f := x.checkAsked(); f.status != 0 {
		h.deny(x, f)
		return
	}
	if x.clean && h.o.Paths.Owns(about.URL.Path) {
		h.deny(x, fault{http.StatusForbidden, "That address is the gateway’s own. The proxy in front must send it here instead of asking about it."})
		return
	}
	need, ok := constraints(limits, q.uri)
	if !ok {
		h.deny(x, fault{http.StatusForbidden, "The proxy in front asks for what can’t be understood: allowed_groups, allowed_emails and allowed_email_domains are known, each with something in it."})
		return
	}
	if !h.rule(x) {
		return
	}
	if !d.removes && x.methodMatters() && h.overrides.any(x.r.Header) {
		h.deny(x, fault{http.StatusForbidden, "No header may change the method of a request there, and the proxy in front can’t be told to take it off."})
		return
	}
	if !x.public && !h.admit(x) {
		return
	}
	if err := need.allow(x.identity); err != nil && !x.public {
		h.forbid(x, err)
		return
	}
	h.letPass(x)
}

// checkAsked refuses what can't be understood in one way only. Whether it is the
// beginning of a WebSocket is told by what the proxy in front does not take off.
func (x *exchange) checkAsked() fault {
	if f := checkMethod(x.r.Method); f.status != 0 {
		return f
	}
	if !x.h.places.asked(x.r.Host) {
		return fault{http.StatusMisdirectedRequest, "No proxy may ask about that host (forwardAuth.hosts)."}
	}
	if f := x.h.checkLength(x.r); f.status != 0 {
		return f
	}
	var f fault
	x.clean, f = checkTarget(x.r.RequestURI, x.r.URL)
	for name := range x.r.Header {
		x.websocket = x.websocket || strings.HasPrefix(name, "Sec-Websocket-")
	}
	x.websocket = x.websocket || slices.Contains(x.r.Header["Sec-Fetch-Mode"], "websocket") ||
		slices.ContainsFunc(x.r.Header["Upgrade"], func(v string) bool { return strings.Contains(strings.ToLower(v), "websocket") })
	delete(x.r.Header, "Upgrade")
	return f
}

// letPass tells the proxy that the request may go on, and as whom. Each header of the
// contract is there, if only empty, so that the proxy puts it over what the client
// sent.
func (h *Handler) letPass(x *exchange) {
	header := x.Header()
	for i := range h.contract.headers {
		header[h.contract.headers[i].Name] = x.said(i)
	}
	if h.o.Assertions != nil {
		header[h.contract.assertion] = x.assertion[:]
	}
	if x.asked.legacy {
		for _, l := range authRequest() {
			value := ""
			if x.standing != nil {
				value, _ = h.contract.value(x.standing.Subject, l)
			}
			header[l.Name] = []string{value}
		}
	}
	if x.asked.removes {
		x.remove(header)
	}
	header["Cache-Control"] = []string{"no-store"}
	h.drain(x) // a question's body, if it has any
	x.WriteHeader(x.asked.allowed)
}

// RemoveHeader names the headers of a request that must not go on, with commas
// between. Envoy obeys it.
const RemoveHeader = "X-Envoy-Auth-Headers-To-Remove"

// remove says what a request loses that goes through the gateway itself: what no
// client may say, what is for the gateway alone, and a credential that the
// application has no use for. Of a cookie line that holds more than the gateway's, the
// rest stays.
func (x *exchange) remove(header http.Header) {
	left := x.r.Header.Clone()
	x.dropCredentials(left)
	x.attribute(left)
	var gone []string
	for _, name := range x.named {
		_, stays := left[name]
		switch {
		case name == "Cookie" && stays:
			if !slices.Equal(left[name], x.r.Header[name]) {
				header[name] = []string{strings.Join(left[name], "; ")}
			}
		case stays || ofEnvoy(name):
		case len(header[name]) == 0 || header[name][0] == "":
			gone = append(gone, strings.ToLower(name))
		}
	}
	if len(gone) > 0 {
		header[RemoveHeader] = []string{strings.Join(gone, ",")}
	}
}

// ofEnvoy reports whether Envoy itself says a header of that name: where the request
// has been.
func ofEnvoy(name string) bool {
	switch name {
	case "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Client-Cert", "X-Request-Id":
		return true
	}
	return strings.HasPrefix(name, "X-Envoy-")
}

// said is the value of a header of the contract, if only empty.
func (x *exchange) said(i int) []string {
	if x.standing == nil {
		return []string{""}
	}
	return x.standing.headers[i : i+1 : i+1]
}

// deny refuses a request that is asked about, whoever it comes from.
func (h *Handler) deny(x *exchange, f fault) {
	if f.status == http.StatusBadRequest {
		h.o.Log.Warn("asked in vain", "request_id", x.id[0], "peer", x.r.RemoteAddr, "why", f.sentence)
	}
	h.turnAway(x, f)
}

// answered fits an answer to who asks: of a status that it would take for an error of
// ours it makes a refusal.
func (x *exchange) answered(status int) int {
	switch {
	case x.asked == nil || !x.asked.subrequest, status < http.StatusBadRequest:
		return status
	case status == http.StatusUnauthorized, status >= http.StatusInternalServerError:
		return status
	}
	return http.StatusForbidden
}

// allow holds somebody against what the question asks for.
func (c constraint) allow(id authn.Identity) error {
	switch {
	case len(c.groups) > 0 && !slices.ContainsFunc(c.groups, func(g string) bool { return slices.Contains(id.Groups, g) }):
		return &authn.NotAllowed{Missing: "You need to be in the group " + authn.AnyOf(c.groups) + "."}
	case len(c.emails) > 0 && !slices.ContainsFunc(c.emails, func(e string) bool { return id.Email != "" && authn.FoldASCII(e) == authn.FoldASCII(id.Email) }):
		return &authn.NotAllowed{Missing: "Your e-mail address is not one of those that may come in here."}
	}
	return authn.NewAdmission(c.domains, nil, false).Allow(id)
}

// signInElsewhere leads a browser to sign-in, as far as who asks can pass that on.
func (h *Handler) signInElsewhere(x *exchange) {
	to := h.signInURL(x.r)
	if strings.HasPrefix(to, "/") {
		to = h.origin + to
	}
	if !x.asked.subrequest {
		redirect(x, to, http.StatusFound)
		return
	}
	header := x.Header()
	header[signInHeader] = []string{to}
	header["Www-Authenticate"] = h.challenge[len(h.challenge)-1:]
	header["Cache-Control"] = []string{"no-store"}
	header["Content-Length"] = []string{strconv.Itoa(0)}
	x.WriteHeader(http.StatusUnauthorized)
}

// mountLegacy adds oauth2-proxy's names for what the gateway has under its own.
func (h *Handler) mountLegacy(mux *http.ServeMux) {
	for pattern, serve := range map[string]func(*exchange){
		"GET " + legacyPrefix + "/start":     h.signIn,
		"GET " + legacyPrefix + "/sign_in":   h.signIn,
		"GET " + legacyPrefix + "/sign_out":  h.askSignOut,
		"POST " + legacyPrefix + "/sign_out": h.postSignOut,
		"GET " + legacyPrefix + "/userinfo":  h.userinfo,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { serve(w.(*exchange)) })
	}
}

// navigates reports whether a browser's person waits for the answer.
func (x *exchange) navigates() bool { return !x.explicit() && !x.rule.API && page.Navigation(x.r) }
