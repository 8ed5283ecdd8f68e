package authntest

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"
)

// codeLifetime is how long a code can be redeemed.
const codeLifetime = time.Minute

// grant is what one sign-in gave to one client; every code and token of it
// points here, so that they can be ended together.
type grant struct {
	client      string
	login       login
	scopes      []string
	nonce       string
	acr         string
	redirectURI string
	challenge   string
}

// code is an authorization code. A used one is remembered: RFC 6749, section
// 4.1.2 wants everything that came of it ended when it comes again.
type code struct {
	grant   *grant
	expires time.Time
	used    bool
}

// refresh is a refresh token. A used one is remembered, to tell a theft (RFC
// 9700, section 4.14.2).
type refresh struct {
	grant *grant
	used  bool
}

type access struct {
	grant   *grant
	expires time.Time
}

func (i *Issuer) newCode(g *grant) string {
	id, expires := newID("code"), i.now().Add(codeLifetime)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.codes[id] = &code{grant: g, expires: expires}
	return id
}

func (i *Issuer) newAccess(g *grant) string {
	id, expires := newID("access"), i.now().Add(i.options.Lifetime)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accesses[id] = access{grant: g, expires: expires}
	return id
}

func (i *Issuer) newRefresh(g *grant) string {
	id := newID("refresh")
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refreshes[id] = &refresh{grant: g}
	return id
}

// serveToken is the token endpoint (RFC 6749, section 3.2).
func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Pragma", "no-cache")
	client, err := i.authenticateClient(r)
	if err != nil {
		refuseToken(w, err)
		return
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			refuseToken(w, refuse("invalid_request", name+" is there twice"))
			return
		}
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		i.redeemCode(w, r, client)
	case "refresh_token":
		i.renew(w, r, client)
	case "client_credentials":
		i.answerService(w, r, client)
	default:
		refuseToken(w, refuse("unsupported_grant_type", "no such grant_type"))
	}
}

func refuseToken(w http.ResponseWriter, err *refusal) {
	status := http.StatusBadRequest
	if err.code == "invalid_client" {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
	}
	writeJSON(w, status, map[string]any{"error": err.code, "error_description": err.description})
}

func (i *Issuer) redeemCode(w http.ResponseWriter, r *http.Request, client Client) {
	g, err := i.takeCode(r, client)
	if err != nil {
		refuseToken(w, err)
		return
	}
	refresh := ""
	if !i.options.OfflineOnly || slices.Contains(g.scopes, "offline_access") {
		refresh = i.newRefresh(g)
	}
	i.answerTokens(w, FromCode, client, g, refresh)
}

// takeCode uses a code up. Whatever is wrong with the request, the code is gone:
// it has been seen by somebody who should not have it.
func (i *Issuer) takeCode(r *http.Request, client Client) (*grant, *refusal) {
	now := i.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	c, ok := i.codes[r.PostForm.Get("code")]
	if !ok {
		return nil, refuse("invalid_grant", "no such code")
	}
	g := c.grant
	if c.used {
		i.revokeWhere(func(other *grant) bool { return other == g })
		return nil, refuse("invalid_grant", "the code has been used before; its tokens are revoked")
	}
	c.used = true
	switch {
	case now.After(c.expires):
		return nil, refuse("invalid_grant", "the code has expired")
	case g.client != client.ID:
		return nil, refuse("invalid_grant", "the code is another client's")
	case g.redirectURI != r.PostForm.Get("redirect_uri"):
		return nil, refuse("invalid_grant", "redirect_uri is not that of the authorization request")
	}
	return g, g.verify(r.PostForm.Get("code_verifier"))
}

// verify checks PKCE (RFC 7636, section 4.6). A verifier for a code that had no
// challenge is somebody's downgrade (RFC 9700, section 4.8.2).
func (g *grant) verify(verifier string) *refusal {
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case g.challenge == "" && verifier == "":
		return nil
	case g.challenge == "":
		return refuse("invalid_grant", "code_verifier without a code_challenge")
	case len(verifier) < 43 || len(verifier) > 128:
		return refuse("invalid_grant", "code_verifier must have 43 to 128 characters")
	case subtle.ConstantTimeCompare([]byte(encode(sum[:])), []byte(g.challenge)) != 1:
		return refuse("invalid_grant", "code_verifier is not the one of the code_challenge")
	}
	return nil
}

func (i *Issuer) renew(w http.ResponseWriter, r *http.Request, client Client) {
	g, token, err := i.takeRefresh(r, client)
	if err != nil {
		refuseToken(w, err)
		return
	}
	i.answerTokens(w, FromRefresh, client, g, token)
}

// takeRefresh returns what the refresh token stands for and the token for the
// next time: a new one with rotation, the same without.
func (i *Issuer) takeRefresh(r *http.Request, client Client) (*grant, string, *refusal) {
	token := r.PostForm.Get("refresh_token")
	i.mu.Lock()
	defer i.mu.Unlock()
	old, ok := i.refreshes[token]
	switch {
	case !ok:
		return nil, "", refuse("invalid_grant", "no such refresh token")
	case old.grant.client != client.ID:
		return nil, "", refuse("invalid_grant", "the refresh token is another client's")
	case old.used:
		i.revokeWhere(func(other *grant) bool { return other == old.grant })
		return nil, "", refuse("invalid_grant", "the refresh token has been used before; all of its family are revoked")
	}
	for scope := range strings.FieldsSeq(r.PostForm.Get("scope")) {
		if !slices.Contains(old.grant.scopes, scope) {
			return nil, "", refuse("invalid_scope", scope+" was not granted")
		}
	}
	if i.options.KeepRefreshTokens {
		return old.grant, token, nil
	}
	old.used = true
	next := newID("refresh")
	i.refreshes[next] = &refresh{grant: old.grant}
	return old.grant, next, nil
}

func (i *Issuer) answerTokens(w http.ResponseWriter, a Answer, client Client, g *grant, refresh string) {
	accessToken := i.newAccess(g)
	idToken, err := i.idToken(a, client, g, map[string]string{"at_hash": accessToken})
	if err != nil {
		refuseToken(w, err)
		return
	}
	doc := map[string]any{
		"access_token": accessToken,
		"token_type":   "Bearer",
		"expires_in":   int(i.options.Lifetime.Seconds()),
		"scope":        strings.Join(g.scopes, " "),
		"id_token":     idToken,
	}
	if refresh != "" {
		doc["refresh_token"] = refresh
	}
	writeJSON(w, http.StatusOK, doc)
}

// answerService gives a client a token of its own (RFC 6749, section 4.4), which
// is a JWT (RFC 9068, section 2).
func (i *Issuer) answerService(w http.ResponseWriter, r *http.Request, client Client) {
	asked := r.PostForm.Get("audience") + r.PostForm.Get("resource")
	switch {
	case client.Audience == "" || client.Secret == "" && client.Key == nil:
		refuseToken(w, refuse("unauthorized_client", "not a client that has tokens of its own"))
		return
	case asked != "" && asked != client.Audience:
		refuseToken(w, refuse("invalid_target", "not for this audience"))
		return
	}
	now := i.now()
	claims := map[string]any{
		"iss": i.options.URL, "sub": client.ID, "client_id": client.ID, "aud": client.Audience, "jti": newID("jwt"),
		"iat": now.Unix(), "exp": now.Add(i.options.Lifetime).Unix(),
	}
	setIf(claims, "scope", r.PostForm.Get("scope"))
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": i.token(FromService, client, claims),
		"token_type":   "Bearer",
		"expires_in":   int(i.options.Lifetime.Seconds()),
	})
}

// idToken says who signed in (OpenID Connect Core, section 2). Beside maps
// at_hash and c_hash to what is sent along.
func (i *Issuer) idToken(a Answer, client Client, g *grant, beside map[string]string) (string, *refusal) {
	p, ok := i.person(g.login.subject)
	if !ok {
		return "", refuse("invalid_grant", "there is no such person any more")
	}
	_, withAccess := beside["at_hash"]
	claims := map[string]any{}
	if !i.options.ThinIDTokens || !withAccess {
		claims = p.claims(g.scopes)
	}
	now, key := i.now(), i.Keys()[0]
	for name, value := range map[string]any{
		"iss": i.options.URL, "sub": p.Subject, "aud": client.ID, "sid": g.login.id,
		"iat": now.Unix(), "exp": now.Add(i.options.Lifetime).Unix(), "auth_time": g.login.at.Unix(),
	} {
		if _, set := claims[name]; !set {
			claims[name] = value
		}
	}
	setIf(claims, "acr", g.acr)
	if a != FromRefresh { // Core, section 12.2
		setIf(claims, "nonce", g.nonce)
	}
	for name, value := range beside {
		claims[name] = key.leftHash(value)
	}
	return i.token(a, client, claims), nil
}
