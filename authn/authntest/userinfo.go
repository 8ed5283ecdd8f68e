package authntest

import (
	"net/http"
	"strings"
)

// serveUserinfo says more about whoever the access token stands for (OpenID
// Connect Core, section 5.3). The token is taken from the header only.
func (i *Issuer) serveUserinfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	now := i.now()
	i.mu.Lock()
	a, ok := i.accesses[token]
	i.mu.Unlock()
	if !ok || !strings.EqualFold(scheme, "Bearer") || now.After(a.expires) {
		refuseAccess(w)
		return
	}
	p, ok := i.person(a.grant.login.subject)
	if !ok {
		refuseAccess(w)
		return
	}
	claims := p.claims(a.grant.scopes)
	claims["sub"] = p.Subject
	if !i.options.SignedUserinfo {
		writeJSON(w, http.StatusOK, claims)
		return
	}
	claims["iss"], claims["aud"] = i.options.URL, a.grant.client
	client, _ := i.client(a.grant.client)
	w.Header().Set("Content-Type", "application/jwt")
	_, _ = w.Write([]byte(i.token(FromUserinfo, client, claims)))
}

// refuseAccess answers 401 (RFC 6750, section 3).
func refuseAccess(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
}
