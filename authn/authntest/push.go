package authntest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	// pushedPrefix begins the name of a pushed request (RFC 9126, section 2.2).
	pushedPrefix   = "urn:ietf:params:oauth:request_uri:"
	pushedLifetime = time.Minute
)

// pushed is an authentication request that came from a client itself. It is used once.
type pushed struct {
	client  string
	form    url.Values
	expires time.Time
}

// servePush takes an authentication request (RFC 9126, section 2).
func (i *Issuer) servePush(w http.ResponseWriter, r *http.Request) {
	client, err := i.authenticateClient(r)
	if err != nil {
		refuseToken(w, err)
		return
	}
	form := maps.Clone(r.PostForm)
	for _, proof := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		form.Del(proof)
	}
	switch {
	case len(form["client_id"]) != 1 || form.Get("client_id") != client.ID:
		err = refuse("invalid_request", "client_id is missing, or another's")
	case len(form["redirect_uri"]) != 1 || !slices.Contains(client.RedirectURIs, form.Get("redirect_uri")):
		err = refuse("invalid_request", "redirect_uri is not registered")
	default:
		a := newAuthorization(client, form)
		err = a.check()
	}
	if err != nil {
		refuseToken(w, err)
		return
	}
	name, expires := pushedPrefix+newID("pushed"), i.now().Add(pushedLifetime)
	i.mu.Lock()
	i.pushes[name] = pushed{client.ID, form, expires}
	i.mu.Unlock()
	writeJSON(w, http.StatusCreated, map[string]any{"request_uri": name, "expires_in": int(pushedLifetime.Seconds())})
}

// pushedForm is the request that a browser names, or the one that it carries where that
// is allowed.
func (i *Issuer) pushedForm(form url.Values) (url.Values, bool) {
	name := form.Get("request_uri")
	if name == "" {
		return form, !i.options.RequirePushed
	}
	now := i.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	p, ok := i.pushes[name]
	delete(i.pushes, name)
	return p.form, ok && p.client == form.Get("client_id") && len(form) == 2 && now.Before(p.expires)
}
