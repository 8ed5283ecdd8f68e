package oidc

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"gatehouse/authn"
)

// frontChannel ends the session that the provider's page names, in a frame of
// that page (OpenID Connect Front-Channel Logout, section 2). Browsers send no
// cookie along there, and none is needed: sid is known to the provider, to the
// gateway and to whoever's ID token it is in.
func (o *relying) frontChannel(w http.ResponseWriter, r *http.Request) {
	o.letFrame(w.Header())
	sid, ok := o.asked(r)
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case prefetch(r):
		w.WriteHeader(http.StatusNoContent)
		return
	case !ok:
		o.log(r).Warn("front-channel logout refused: it does not name a session of this provider")
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endTime)
	defer cancel()
	if err := o.end(ctx, authn.Logout{Issuer: o.settings.Issuer, SID: sid, At: time.Now(), Unsigned: true}); err != nil {
		o.log(r).Error("front-channel logout could not be followed", "err", err)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "<!doctype html><title>-</title>\n") // whoever asked may be gone
}

// asked reads which session is to end. Entra ID leaves iss out; whose path it is
// says it then.
func (o *relying) asked(r *http.Request) (sid string, ok bool) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(q["sid"]) != 1 {
		return "", false
	}
	if iss, said := q["iss"]; said && !slices.Equal(iss, []string{o.settings.Issuer}) {
		return "", false
	}
	sid = q["sid"][0]
	return sid, len(sid) <= authn.MaxID && authn.CleanID(sid)
}

// letFrame lets the provider's pages, and nobody else's, frame an answer that has
// nothing to see or to click.
func (o *relying) letFrame(h http.Header) {
	origin := "'none'"
	if u, err := url.Parse(o.settings.Issuer); err == nil {
		origin = u.Scheme + "://" + u.Host
	}
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors "+origin)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
}
