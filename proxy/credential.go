package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/authn"
)

// The headers that hold a credential which may be the application's own.
const (
	authorization = "Authorization"
	shortKey      = authn.KeyHeader
	longKey       = authn.LongKeyHeader
)

const sentenceSeveral = "The request has several credentials. Send one."

// takeBeside takes the credential that is meant for the gateway alone off a
// request, with all its lines. Nothing else may see it: it never goes onward.
func takeBeside(h http.Header) []string {
	own, ofProxy := h["X-Gatehouse-Authorization"], h["Proxy-Authorization"]
	if own == nil && ofProxy == nil {
		return nil
	}
	delete(h, "X-Gatehouse-Authorization")
	delete(h, "Proxy-Authorization")
	return slices.Concat(own, ofProxy)
}

// identify asks the chain. Somebody whom a route vouched for that is no longer
// there is nobody.
func (h *Handler) identify(x *exchange) (authn.Identity, error) {
	id, err := h.ask(x)
	if err != nil {
		return authn.Identity{}, err
	}
	if !h.routes[id.Route].Vouches(id) {
		return authn.Identity{}, fmt.Errorf("proxy: route %q of %s is gone: %w", id.Route, id.Issuer, authn.ErrRejected)
	}
	return id, nil
}

// ask shows the request to the chain. One with a credential beside the
// application's own is judged by that alone: a refused claim never becomes
// somebody else, and what nobody claims was meant for the gateway all the same.
func (h *Handler) ask(x *exchange) (authn.Identity, error) {
	switch {
	case len(x.beside) == 0 && several(x.r):
		return authn.Identity{}, &authn.Rejected{Sentence: sentenceSeveral, Err: errors.New("proxy: one of several credentials")}
	case len(x.beside) == 0:
		return x.authenticate(x.r)
	case len(x.beside) > 1:
		return authn.Identity{}, &authn.Rejected{Sentence: sentenceSeveral, Err: errors.New("proxy: one of several credentials for the gateway")}
	}
	id, err := x.authenticate(x.shown())
	if errors.Is(err, authn.ErrNoCredential) || errors.Is(err, authn.ErrApplication) {
		return id, fmt.Errorf("proxy: the credential for the gateway is of no kind that it knows: %w", authn.ErrRejected)
	}
	return id, err
}

// authenticate asks the chain, or who stands for it where a request is only explained.
func (x *exchange) authenticate(r *http.Request) (authn.Identity, error) {
	if x.trial != nil {
		return x.trial.authenticate(r)
	}
	return x.h.o.Chain.Authenticate(r)
}

// shown is the request as the chain sees it when a credential for the gateway
// came beside the application's own: that one in Authorization, and no other.
func (x *exchange) shown() *http.Request {
	r := x.r.WithContext(x.r.Context())
	r.Header = make(http.Header, len(x.r.Header))
	for name, values := range x.r.Header {
		switch name {
		case "Cookie", shortKey, longKey:
		default:
			r.Header[name] = values
		}
	}
	r.Header[authorization] = x.beside
	return r
}

// explicit reports whether the request carries a credential as only programs send
// it; of one in Authorization, page.Navigation knows.
func (x *exchange) explicit() bool {
	return len(x.beside) > 0 || len(x.r.Header[authorization]) > 1 || len(x.r.Header[shortKey]) > 0 || len(x.r.Header[longKey]) > 0
}

// bearer reports whether a Bearer token came with the request (RFC 6750, section 2.1).
func (x *exchange) bearer() bool {
	values := x.beside
	if len(values) == 0 {
		values = x.r.Header[authorization]
	}
	return slices.ContainsFunc(values, func(v string) bool { return hasScheme(v, "Bearer") })
}

// hasScheme tells the scheme of a credential (RFC 9110, section 11.4).
func hasScheme(value, scheme string) bool {
	got, _ := authn.Scheme(value)
	return strings.EqualFold(got, scheme)
}

// several reports whether a request shows more than one credential, in Authorization
// and the headers for API keys. Which of them is meant is not ours to guess: the
// gateway would judge by one and the application by another. The same one twice, as
// from ~/.netrc and an exporter's settings, is one.
func several(r *http.Request) bool {
	shown := authn.KeysOf(r.Header)
	if len(shown) == 0 {
		return false // of several Authorization lines, who reads them says so
	}
	for _, v := range r.Header[authorization] {
		if secret := secretOf(v); secret != "" {
			shown = append(shown, secret)
		}
	}
	return slices.ContainsFunc(shown, func(v string) bool { return v != shown[0] })
}

// secretOf is what proves somebody in a credential: a Basic password, or what
// follows any other scheme. It is empty for the empty Basic that browsers'
// applications send.
func secretOf(value string) string {
	scheme, rest := authn.Scheme(value)
	if !strings.EqualFold(scheme, "Basic") {
		return rest
	}
	b, err := authn.BasicOf(&http.Request{Header: http.Header{authorization: {value}}})
	switch {
	case errors.Is(err, authn.ErrNoCredential):
		return ""
	case err != nil:
		return rest
	}
	return b.Password
}

// ownCredential reports whether a header's value holds a credential that this
// gateway has given out. No application may have it, whatever else may go on.
func ownCredential(value string) bool {
	if authn.Own(value) {
		return true
	}
	b, err := authn.BasicOf(&http.Request{Header: http.Header{authorization: {value}}})
	return err == nil && (authn.Own(b.Username) || authn.Own(b.Password))
}

// dropCredentials removes what is meant for the gateway alone, and on public
// paths what is meant for nobody there: a presigned address of a store must come
// without Authorization. The upstream's own access token takes the place of all.
func (x *exchange) dropCredentials(h http.Header) {
	dropCookies(h, x.h.o.Cookie)
	for _, name := range []string{authorization, shortKey, longKey} {
		switch {
		case x.public, x.strange, x.carried != "", !x.onward && !x.upstream.passAuth, slices.ContainsFunc(h[name], ownCredential):
			delete(h, name)
		}
	}
	if x.carried != "" {
		h[authorization] = []string{"Bearer " + x.carried}
	}
	if x.methodMatters() {
		x.h.overrides.scrub(h)
	}
}

// methodMatters reports whether another method could have been decided on otherwise.
func (x *exchange) methodMatters() bool { return x.public || x.h.policy.TellsMethods() }
