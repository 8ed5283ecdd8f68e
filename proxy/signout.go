package proxy

import (
	"errors"
	"net/http"
	"net/url"

	"gatehouse/authn"
	"gatehouse/authn/page"
)

// askSignOut answers a GET of the sign-out path. Any site can make a browser
// send one, so it asks first, unless it can be seen that the person clicked on
// a link of this very site.
func (h *Handler) askSignOut(x *exchange) {
	if clicked(x.r) {
		h.signOut(x)
		return
	}
	id, err := h.identify(x.r)
	if errors.Is(err, authn.ErrNoCredential) { // also somebody whom the provider has signed out and sent back
		to := h.afterSignOut(x.r)
		if to == h.signedOutPath() && x.r.URL.Query().Has("state") {
			to += "?state"
		}
		redirect(x, to, http.StatusSeeOther)
		return
	}
	// Whatever else is wrong with the cookie, the person may want to be rid of it.
	action := h.o.Paths.SignOut
	if x.r.URL.Query().Has("rd") {
		action += "?rd=" + url.QueryEscape(h.afterSignOut(x.r))
	}
	h.o.Pages.SignOut(x, x.r, page.SignOut{Name: called(id), Action: action, FormAction: h.leavesTo(id)})
}

// postSignOut answers the button of the page that asks.
func (h *Handler) postSignOut(x *exchange) {
	if err := h.forms.Check(x.r); err != nil {
		h.o.Log.Info("sign-out from another site", "request_id", x.id[0], "err", err)
		h.turnAway(x, fault{http.StatusForbidden, "Another site may not sign you out."})
		return
	}
	h.signOut(x)
}

// clicked reports whether a person followed a link within this site. Only a
// browser can say so: scripts can't set these headers.
func clicked(r *http.Request) bool {
	says := func(name, value string) bool {
		v := r.Header[name]
		return len(v) == 1 && v[0] == value
	}
	return r.Method == http.MethodGet && page.Navigation(r) && says("Sec-Fetch-Site", "same-origin") &&
		says("Sec-Fetch-Mode", "navigate") && says("Sec-Fetch-Dest", "document") && says("Sec-Fetch-User", "?1")
}

// signOut ends the session and leads to the provider's own sign-out, if it has one.
func (h *Handler) signOut(x *exchange) {
	p, found, err := h.o.Sessions.End(x, x.r)
	if err != nil {
		h.o.Log.Error("end a session", "request_id", x.id[0], "err", err)
		h.o.Pages.Error(x, x.r, http.StatusServiceUnavailable, "Signing out is not complete. This browser has forgotten your "+
			"sign-in, but it could not be ended on the server. If somebody may have copied it, tell those who run this site.")
		return
	}
	to := h.afterSignOut(x.r)
	if found {
		h.o.Log.Info("signed out", "request_id", x.id[0], "route", p.Identity.Route, "subject", p.Identity.Subject)
		if route := h.routes[p.Identity.Route]; route.Vouches(p.Identity) && route.SignOutURL != nil {
			if there := route.SignOutURL(p); there != "" {
				to = there
			}
		}
	}
	redirect(x, to, http.StatusSeeOther)
}

// afterSignOut is where a browser lands that has nothing left to sign out of.
func (h *Handler) afterSignOut(r *http.Request) string {
	switch q := r.URL.Query(); {
	case q.Has("rd"):
		return h.returnTo(r, q)
	case h.o.SignedOutURL != "":
		return h.o.SignedOutURL
	}
	return h.signedOutPath()
}

// signedOutPath is our own page at the end of signing out.
func (h *Handler) signedOutPath() string { return h.o.Paths.Prefix + "/signed-out" }

// leavesTo lists where signing out may lead, for the policy of the page that
// asks: browsers hold the redirect after a form to it.
func (h *Handler) leavesTo(id authn.Identity) []string {
	out := []string{h.origin, h.o.SignedOutURL}
	if ends := h.routes[id.Route].SignOutURL; ends != nil {
		out = append(out, ends(authn.Proof{Identity: id}))
	}
	return out
}

// signedOut is where signing out ends. A provider that has signed the person
// out too brings back the state that it was given (OpenID Connect RP-Initiated
// Logout, section 3).
func (h *Handler) signedOut(x *exchange) {
	h.o.Pages.SignedOut(x, x.r, page.SignedOut{
		SignInURL: h.base(x.r) + h.o.Paths.Prefix + "/sign-in", ProviderToo: x.r.URL.Query().Has("state"),
	})
}

// called is what to call somebody.
func called(id authn.Identity) string {
	for _, s := range []string{id.Name, id.Username, id.Email} {
		if s != "" {
			return s
		}
	}
	return id.Subject
}
