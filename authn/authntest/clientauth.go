package authntest

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// clientAlgorithms are what a client may sign an assertion with.
func clientAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertion is how far ahead an assertion may expire.
const maxAssertion = 10 * time.Minute

// authenticateClient finds out which client asks, by the one method that is
// right for it (RFC 6749, section 2.3).
func (i *Issuer) authenticateClient(r *http.Request) (Client, *refusal) {
	form, header := r.PostForm, r.Header.Get("Authorization")
	methods := 0
	for _, used := range []bool{header != "", form.Has("client_secret"), form.Has("client_assertion")} {
		if used {
			methods++
		}
	}
	switch {
	case methods > 1:
		return Client{}, refuse("invalid_request", "the client proves itself in two ways")
	case header != "":
		return i.clientByBasic(r)
	case form.Has("client_assertion"):
		return i.clientByAssertion(form)
	}
	return i.clientBySecret(form.Get("client_id"), form.Get("client_secret"))
}

// clientByBasic reads name and secret, each form-encoded (RFC 6749, section 2.3.1).
func (i *Issuer) clientByBasic(r *http.Request) (Client, *refusal) {
	user, password, ok := r.BasicAuth()
	id, idErr := url.QueryUnescape(user)
	secret, secretErr := url.QueryUnescape(password)
	if !ok || idErr != nil || secretErr != nil || secret == "" {
		return Client{}, refuse("invalid_client", "unreadable Authorization header")
	}
	if form := r.PostForm; form.Has("client_id") && form.Get("client_id") != id {
		return Client{}, refuse("invalid_request", "client_id is not the one of the Authorization header")
	}
	return i.clientBySecret(id, secret)
}

// clientBySecret also takes a public client, which has none.
func (i *Issuer) clientBySecret(id, secret string) (Client, *refusal) {
	c, ok := i.client(id)
	if !ok || c.Key != nil || subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) != 1 {
		return Client{}, refuse("invalid_client", "unknown client or wrong secret")
	}
	return c, nil
}

// clientByAssertion checks a private_key_jwt (RFC 7523, section 3; OpenID Connect
// Core, section 9).
func (i *Issuer) clientByAssertion(form url.Values) (Client, *refusal) {
	if form.Get("client_assertion_type") != assertionType {
		return Client{}, refuse("invalid_client", "no such client_assertion_type")
	}
	parsed, err := jwt.ParseSigned(form.Get("client_assertion"), clientAlgorithms())
	if err != nil {
		return Client{}, refuse("invalid_client", "unreadable client_assertion")
	}
	var claims jwt.Claims
	if parsed.UnsafeClaimsWithoutVerification(&claims) != nil {
		return Client{}, refuse("invalid_client", "unreadable client_assertion")
	}
	c, ok := i.client(claims.Subject)
	if !ok || c.Key == nil || parsed.Claims(c.Key, &claims) != nil {
		return Client{}, refuse("invalid_client", "unknown client or wrong key")
	}
	if form.Has("client_id") && form.Get("client_id") != c.ID {
		return Client{}, refuse("invalid_client", "client_id is not the one of the assertion")
	}
	return c, i.checkAssertion(c, claims)
}

func (i *Issuer) checkAssertion(c Client, claims jwt.Claims) *refusal {
	now, token := i.now(), i.options.URL+"/token"
	switch {
	case claims.Issuer != c.ID:
		return refuse("invalid_client", "the assertion's iss is not the client")
	case !claims.Audience.Contains(i.options.URL) && !claims.Audience.Contains(token):
		return refuse("invalid_client", "the assertion's aud is not this provider")
	case claims.Expiry == nil || !now.Before(claims.Expiry.Time()):
		return refuse("invalid_client", "the assertion has expired")
	case claims.Expiry.Time().After(now.Add(maxAssertion)):
		return refuse("invalid_client", "the assertion is good for too long")
	case claims.NotBefore != nil && now.Before(claims.NotBefore.Time()):
		return refuse("invalid_client", "the assertion is not good yet")
	case claims.ID == "":
		return refuse("invalid_client", "the assertion has no jti")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	mark := strings.Join([]string{c.ID, claims.ID}, "\x00")
	if i.replayed[mark] {
		return refuse("invalid_client", "the assertion has been used before")
	}
	i.replayed[mark] = true
	return nil
}
