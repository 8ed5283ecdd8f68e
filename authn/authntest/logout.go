package authntest

import (
	"encoding/json/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// hint is what an id_token_hint says.
type hint struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Session  string `json:"sid"`
}

// serveEndSession signs somebody out and sends them back (OpenID Connect
// RP-Initiated Logout, section 2). Without a good hint it asks first, lest any
// page could sign people out.
func (i *Issuer) serveEndSession(w http.ResponseWriter, r *http.Request) {
	form := r.Form
	h, hinted := i.readHint(form.Get("id_token_hint"))
	if form.Get("id_token_hint") != "" && !hinted {
		i.pages.problem(w, http.StatusBadRequest, "The application's request to sign you out is not genuine.")
		return
	}
	client := form.Get("client_id")
	if hinted {
		if client != "" && client != h.Audience {
			i.pages.problem(w, http.StatusBadRequest, "The application's request to sign you out is another's.")
			return
		}
		client = h.Audience
	}
	back := form.Get("post_logout_redirect_uri")
	known, _ := i.client(client)
	if back != "" && !slices.Contains(known.PostLogoutURIs, back) {
		i.pages.problem(w, http.StatusBadRequest, "The application wants you to be sent to a place that is not registered for it.")
		return
	}
	now, signedIn := i.current(r)
	confirmed := r.Method == http.MethodPost && r.PostForm.Get("confirm") == "yes" &&
		http.NewCrossOriginProtection().Check(r) == nil
	if signedIn && !confirmed && (!hinted || h.Subject != now.subject) {
		p, _ := i.person(now.subject)
		i.pages.signOut(w, signOutPage{Name: p.title(), Back: back, State: form.Get("state"), Client: client})
		return
	}
	i.endLogin(w, r)
	i.mu.Lock()
	i.revokeWhere(func(g *grant) bool { return g.login.id == h.Session || signedIn && g.login.id == now.id })
	i.mu.Unlock()
	i.leave(w, back, form.Get("state"))
}

// leave sends the browser back, or says that it is done.
func (i *Issuer) leave(w http.ResponseWriter, back, state string) {
	if back == "" {
		i.pages.signedOut(w)
		return
	}
	params := url.Values{}
	if state != "" {
		params.Set("state", state)
	}
	if f := i.wrong(); f.Redirect != nil {
		f.Redirect(EndSession, params)
	}
	redirect(w, withQuery(back, params))
}

// readHint reads an ID token that the provider itself signed; it may have expired.
func (i *Issuer) readHint(token string) (hint, bool) {
	signed, err := jose.ParseSignedCompact(token, clientAlgorithms())
	if err != nil {
		return hint{}, false
	}
	for _, k := range i.Keys() {
		var h hint
		payload, err := signed.Verify(k.Private.Public())
		if err == nil && json.Unmarshal(payload, &h) == nil && h.Issuer == i.options.URL {
			return h, true
		}
	}
	return hint{}, false
}

// logoutLifetime is how long a logout token is good.
const logoutLifetime = 2 * time.Minute

// LogoutToken tells a client that somebody, or one session of the provider, has
// been signed out (OpenID Connect Back-Channel Logout, section 2.4). Subject or sid
// may be empty. It is what the provider would post; it ends nothing by itself.
func (i *Issuer) LogoutToken(client, subject, sid string) string {
	now := i.now()
	claims := map[string]any{
		"iss": i.options.URL, "aud": client, "iat": now.Unix(), "exp": now.Add(logoutLifetime).Unix(), "jti": newID("jwt"),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	setIf(claims, "sub", subject)
	setIf(claims, "sid", sid)
	known, _ := i.client(client)
	return i.token(FromLogout, known, claims)
}

// SIDs are the sessions that somebody has at the provider, as ID tokens name them.
func (i *Issuer) SIDs(subject string) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []string
	for _, s := range i.sessions {
		if s.subject == subject {
			out = append(out, s.id)
		}
	}
	return out
}

// serveRevoke takes a refresh token back, and all that came of the same sign-in
// (RFC 7009, section 2). A token that is not there needs no revoking.
func (i *Issuer) serveRevoke(w http.ResponseWriter, r *http.Request) {
	client, err := i.authenticateClient(r)
	if err != nil {
		refuseToken(w, err)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if t, ok := i.refreshes[r.PostForm.Get("token")]; ok && t.grant.client == client.ID {
		i.revokeWhere(func(g *grant) bool { return g == t.grant })
	}
}
