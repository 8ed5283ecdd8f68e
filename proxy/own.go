package proxy

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/page"
	"gatehouse/config"
	"gatehouse/proxy/assertion"
)

// maxOwnBody bounds what is read of a request to the gateway itself, in bytes.
const maxOwnBody = 1 << 20

// ownMux holds the gateway's own paths. Nothing but a clean path gets there, so
// the mux never tidies one up by a redirect.
func (h *Handler) ownMux() *http.ServeMux {
	mux := http.NewServeMux()
	prefix := h.o.Paths.Prefix
	if h.o.Assertions != nil {
		mux.HandleFunc("GET "+prefix+"/jwks.json", func(w http.ResponseWriter, _ *http.Request) { h.publish(w.(*exchange), h.o.Assertions.JWKS()) })
		documents := []string{prefix + "/.well-known/openid-configuration"}
		if h.o.Paths.Issuer {
			documents = append(documents, config.IssuerDocuments()...)
		}
		for _, path := range documents {
			mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
				h.publish(w.(*exchange), h.o.Assertions.Discovery(h.origin+prefix+"/jwks.json"))
			})
		}
	}
	for pattern, serve := range map[string]func(*exchange){
		"GET " + prefix + "/{$}":        h.me,
		"GET " + prefix + "/sign-in":    h.signIn,
		"GET " + prefix + "/signed-out": h.signedOut,
		"GET " + prefix + "/userinfo":   h.userinfo,
		"GET " + h.o.Paths.SignOut:      h.askSignOut,
		"POST " + h.o.Paths.SignOut:     h.postSignOut,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { serve(w.(*exchange)) })
	}
	if h.o.Register != nil {
		mux.HandleFunc("POST "+prefix+endPath, func(w http.ResponseWriter, _ *http.Request) { h.postEnd(w.(*exchange)) })
		for pattern, serve := range h.api() {
			method, path, _ := strings.Cut(pattern, " ")
			mux.HandleFunc(method+" "+prefix+APIPath+path, func(w http.ResponseWriter, _ *http.Request) { serve(w.(*exchange)) })
		}
	}
	h.o.Pages.Mount(mux)
	if h.o.ForwardAuth != nil && h.o.Paths.OAuth2Proxy {
		h.mountLegacy(mux)
	}
	for _, r := range h.o.Routes {
		if r.Mount != nil {
			r.Mount(mux)
		}
	}
	return mux
}

// publish answers with what everybody may read, for as long as it may be kept.
func (h *Handler) publish(x *exchange, document []byte) {
	header := x.Header()
	header["Content-Type"] = []string{"application/json"}
	header["Cache-Control"] = []string{"public, max-age=" + strconv.Itoa(int(assertion.MaxAge.Seconds()))}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	_, _ = x.Write(document)
}

// serveOwn answers on the gateway's own paths. What the mux does not know gets
// a page or JSON like every other refusal.
func (h *Handler) serveOwn(x *exchange) {
	if x.trial != nil {
		x.trial.own = true
		return
	}
	x.because()
	if x.r.ContentLength != 0 {
		h.drain(x)
		x.r.Body = http.MaxBytesReader(x.ResponseWriter, x.r.Body, maxOwnBody)
	}
	signsIn := slices.ContainsFunc(h.signIns, func(r authn.Route) bool { return r.SignInPath == x.r.URL.Path })
	if signsIn && page.Part(x.r) { // any page of the web can ask for it a thousand times
		h.o.Pages.Error(x, x.r, http.StatusForbidden, "Sign-in is a page of its own. Open it by a link.")
		return
	}
	if signsIn && !h.mayBegin(x) {
		return
	}
	handler, pattern := h.own.Handler(x.r)
	if pattern != "" {
		h.own.ServeHTTP(x, x.r)
		return
	}
	m := &mute{header: x.Header(), status: http.StatusOK}
	handler.ServeHTTP(m, x.r)
	sentence := "The gateway has no page at this address."
	if m.status == http.StatusMethodNotAllowed {
		sentence = sentenceMethod
	}
	h.o.Pages.Error(x, x.r, m.status, sentence)
}

// mute keeps the status and the headers of an answer and drops its body.
type mute struct {
	header http.Header
	status int
}

func (m *mute) Header() http.Header         { return m.header }
func (m *mute) WriteHeader(status int)      { m.status = status }
func (m *mute) Write(p []byte) (int, error) { return len(p), nil }

// signIn leads to the route that ?provider names, to the door, or to a page that
// lets the person choose.
func (h *Handler) signIn(x *exchange) {
	r := x.r
	q := r.URL.Query()
	links := func(route authn.Route) string {
		v := url.Values{"rd": {h.returnTo(r, q)}}
		for _, name := range []string{"login_hint", "switch"} {
			if given := q[name]; len(given) == 1 {
				v[name] = given
			}
		}
		return h.base(r) + route.SignInPath + "?" + v.Encode()
	}
	if i := slices.IndexFunc(h.signIns, func(r authn.Route) bool { return r.Name == q.Get("provider") }); i >= 0 {
		redirect(x, links(h.signIns[i]), http.StatusFound)
		return
	}
	if door, ok := h.door(); ok {
		redirect(x, links(door), http.StatusFound)
		return
	}
	choices := make([]page.Choice, 0, len(h.signIns))
	for _, route := range h.signIns {
		choices = append(choices, page.Choice{Label: h.label(route.Name), URL: links(route)})
	}
	if len(choices) == 0 {
		h.o.Pages.Error(x, r, http.StatusNotFound, "This gateway has no sign-in for browsers.")
		return
	}
	h.o.Pages.SignIn(x, r, page.SignIn{Choices: choices})
}

// returnTo is the landing that rd asks for, as the public origin sees it.
func (h *Handler) returnTo(r *http.Request, q url.Values) string {
	rd := q["rd"]
	if len(rd) != 1 {
		return "/"
	}
	if h.base(r) != "" && strings.HasPrefix(rd[0], "/") && h.o.Landings.Clean(rd[0]) == rd[0] {
		return h.o.Landings.Clean("https://" + strings.ToLower(r.Host) + rd[0])
	}
	return h.o.Landings.Clean(rd[0])
}

// label is what people call a route: what its sign-in button says, or its name.
func (h *Handler) label(name string) string {
	for _, r := range h.o.Routes {
		if r.Name == name && r.Label != "" {
			return r.Label
		}
	}
	return name
}

// me shows people their own identity, also those who may not come in.
func (h *Handler) me(x *exchange) {
	id, err := h.identify(x)
	if err != nil {
		h.refuse(x, err)
		return
	}
	x.identity = id
	var teams []page.Team
	for _, m := range h.stand(id).Memberships {
		teams = append(teams, page.Team{Name: m.Team, Role: m.Role})
	}
	h.o.Pages.Me(x, x.r, page.Me{
		Identity: id, Through: h.label(id.Route), Teams: teams, HomeURL: "/", SignOutURL: h.base(x.r) + h.o.Paths.SignOut, Devices: h.devices(x),
	})
}

// userinfo is what /userinfo tells: the identity, and no secret.
type userinfo struct {
	Issuer   string     `json:"issuer"`
	Subject  string     `json:"subject"`
	Kind     authn.Kind `json:"kind"`
	Username string     `json:"username,omitempty"`
	Name     string     `json:"name,omitempty"`
	Email    string     `json:"email,omitempty"`
	Groups   []string   `json:"groups"`
	Teams    []team     `json:"teams,omitempty"`
	Route    string     `json:"route"`
	AuthTime time.Time  `json:"auth_time,omitzero"`
}

// team is one that somebody is in.
type team struct {
	Name string `json:"name"`
	Role string `json:"role"`
}

// userinfo tells programs their own identity, as JSON.
func (h *Handler) userinfo(x *exchange) {
	id, err := h.identify(x)
	switch {
	case err != nil && refused(err):
		h.unauthorized(x, err)
		return
	case err != nil:
		h.outage(x, err)
		return
	}
	var teams []team
	for _, m := range h.stand(id).Memberships {
		teams = append(teams, team{m.Team, m.Role})
	}
	h.tell(x, userinfo{
		Issuer: id.Issuer, Subject: id.Subject, Kind: id.Kind, Username: id.Username, Name: id.Name, Email: id.Email,
		Groups: id.Groups, Teams: teams, Route: id.Route, AuthTime: id.AuthTime,
	})
}

// tell answers a program with JSON that is for it alone.
func (h *Handler) tell(x *exchange, what any) {
	body, err := json.Marshal(what, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		h.o.Log.Error("write an answer", "request_id", x.id[0], "err", err)
		h.o.Pages.Error(x, x.r, http.StatusInternalServerError, "")
		return
	}
	header := x.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = x.Write(append(body, '\n'))
}
