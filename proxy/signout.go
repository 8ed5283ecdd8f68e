package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/page"
)

// askSignOut answers a GET of the sign-out path. Any site can make a browser
// send one, so it asks first, unless it can be seen that the person clicked on
// a link of this very site.
func (h *Handler) askSignOut(x *exchange) {
	if there := h.frontChannel(x.r); there != nil {
		there(x, x.r)
		return
	}
	if clicked(x.r) {
		h.signOut(x)
		return
	}
	id, err := h.identify(x)
	if errors.Is(err, authn.ErrNoCredential) {
		if to := h.afterSignOut(x.r); !h.returned(x) || to != h.signedOutPath() {
			redirect(x, to, http.StatusSeeOther)
			return
		}
		h.showSignedOut(x, true)
		return
	}
	// Whatever else is wrong with the cookie, the person may want to be rid of it.
	action := h.o.Paths.SignOut
	if x.r.URL.Query().Has("rd") {
		action += "?rd=" + url.QueryEscape(h.afterSignOut(x.r))
	}
	h.o.Pages.SignOut(x, x.r, page.SignOut{Name: called(id), Action: action, FormAction: h.leavesTo(id)})
}

// frontChannel finds the route whose provider asks, in a frame of its own page, to
// end a session (OpenID Connect Front-Channel Logout, section 2). The sign-out path
// is what a W&B server has registered for it. Nil means that it is a person who
// comes, or that it can't be told which provider is meant.
func (h *Handler) frontChannel(r *http.Request) http.HandlerFunc {
	q := r.URL.Query()
	if !q.Has("sid") || r.Header.Get("Sec-Fetch-Dest") == "document" {
		return nil
	}
	var found authn.Route
	for _, route := range h.o.Routes {
		switch {
		case route.FrontChannel == nil, q.Has("iss") && q.Get("iss") != route.Issuer:
		case found.FrontChannel != nil && found.Issuer != route.Issuer: // Entra ID leaves iss out
			return nil
		default:
			found = route
		}
	}
	return found.FrontChannel
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
	route := h.routes[p.Identity.Route]
	ours := found && route.Vouches(p.Identity)
	if ours && route.Revoke != nil {
		h.revoke(x, route, p)
	}
	if err != nil {
		h.o.Log.Error("end a session", "request_id", x.id[0], "err", err)
		h.o.Pages.Error(x, x.r, http.StatusServiceUnavailable, "Signing out is not complete. This browser has forgotten your "+
			"sign-in, but it could not be ended on the server. If somebody may have copied it, tell those who run this site.")
		return
	}
	to := h.afterSignOut(x.r)
	if found {
		h.o.Log.Info("signed out", "request_id", x.id[0], "route", p.Identity.Route, "subject", p.Identity.Subject)
		if ours && route.SignOutURL != nil {
			if there := route.SignOutURL(p); there != "" {
				to = there
				h.keepState(x, there)
			}
		}
	}
	redirect(x, to, http.StatusSeeOther)
}

// revokeTime bounds what a sign-out waits for a provider to take back.
const revokeTime = 3 * time.Second

// revoke has the provider take back what it granted. The sign-out does not depend
// on it, nor on whether the browser still waits.
func (h *Handler) revoke(x *exchange, route authn.Route, p authn.Proof) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), revokeTime)
	defer cancel()
	if err := route.Revoke(ctx, p); err != nil {
		h.o.Log.Warn("not revoked at the provider", "request_id", x.id[0], "route", route.Name, "subject", p.Identity.Subject, "err", err)
	}
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

// signOutTime is how long signing out at a provider may take.
const signOutTime = 10 * time.Minute

// stateCookie holds the state of a sign-out at the provider. It is no secret; it
// tells the provider's answer from a link that anybody can make.
func (h *Handler) stateCookie(value string, keep time.Duration) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure but on a loopback gateway of plain http
		Name: h.o.Cookie + "_sign_out", Value: value, Path: "/", MaxAge: int(keep / time.Second),
		HttpOnly: true, Secure: h.o.PublicURL.Scheme == "https", SameSite: http.SameSiteLaxMode,
	}
}

// keepState remembers the state with which the browser leaves for the provider's
// sign-out (OpenID Connect RP-Initiated Logout, section 2).
func (h *Handler) keepState(x *exchange, there string) {
	if u, err := url.Parse(there); err == nil && u.Query().Get("state") != "" {
		http.SetCookie(x, h.stateCookie(u.Query().Get("state"), signOutTime))
	}
}

// returned reports whether the provider has signed the person out and sent them
// back: with the state that it was given (section 3).
func (h *Handler) returned(x *exchange) bool {
	c, err := x.r.Cookie(h.o.Cookie + "_sign_out")
	if err != nil {
		return false
	}
	http.SetCookie(x, h.stateCookie("", -time.Second))
	state := x.r.URL.Query()["state"]
	return len(state) == 1 && state[0] == c.Value
}

// signedOut is where signing out ends. It says so to nobody who is signed in.
func (h *Handler) signedOut(x *exchange) {
	if _, err := h.identify(x); err == nil {
		redirect(x, h.base(x.r)+h.o.Paths.SignOut, http.StatusSeeOther)
		return
	}
	h.showSignedOut(x, false)
}

func (h *Handler) showSignedOut(x *exchange, providerToo bool) {
	h.o.Pages.SignedOut(x, x.r, page.SignedOut{SignInURL: h.base(x.r) + h.o.Paths.Prefix + "/sign-in", ProviderToo: providerToo})
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
