package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/page"
)

// Exchanger gets the access tokens by which an application knows people, where it
// believes no header.
type Exchanger interface {
	// Token is somebody's. An error that is a *[authn.NotAllowed] says that the
	// application does not know them, any other that it could not be found out.
	Token(ctx context.Context, id authn.Identity) (string, error)
	// Forget says that the application has answered 401 to a request with that token,
	// and reports whether the next one comes with another.
	Forget(id authn.Identity, token string) bool
}

// errStale is an answer that says nothing but that a token which was kept is not good
// any more.
var errStale = errors.New("the application no longer takes the access token that it gave for the person")

// carry gets the credential by which the upstream knows whom the request comes from,
// unless the request has one that is for the upstream to judge. If it can't, it has
// answered.
func (h *Handler) carry(x *exchange) bool {
	by := x.upstream.exchanger
	if by == nil || x.brings() {
		return true
	}
	if x.trial != nil { // which asks nobody
		x.carried = "the application's access token"
		return true
	}
	token, err := by.Token(x.r.Context(), x.identity)
	var not *authn.NotAllowed
	switch {
	case errors.As(err, &not):
		h.forbid(x, err)
	case err != nil:
		h.unavailable(x, err, "can't carry an identity into the application", page.Outage{
			Sentence: "The application can’t be asked right now who you are to it.", After: outageRetry,
		})
	default:
		x.carried = token
	}
	return err == nil
}

// brings reports whether a request has a credential of its own that goes on to the
// application.
func (x *exchange) brings() bool {
	return x.onward && slices.ContainsFunc([]string{authorization, shortKey, longKey}, func(name string) bool {
		values := x.r.Header[name]
		return !slices.ContainsFunc(values, ownCredential) && slices.ContainsFunc(values, func(v string) bool {
			return name == authorization && secretOf(v) != "" || name != authorization && strings.Trim(v, " \t") != ""
		})
	})
}

// stale reports whether an answer is about a token that was kept, and not about the
// request: who is told to come again comes with another one. The client has had no
// part in that token, and 401 is for good to many programs.
func (x *exchange) stale(res *http.Response) bool {
	return x.carried != "" && res.StatusCode == http.StatusUnauthorized && x.upstream.exchanger.Forget(x.identity, x.carried)
}

// again answers a request that is worth repeating at once.
func (h *Handler) again(x *exchange) {
	h.drain(x)
	if x.upload != nil {
		x.closeAfter() // what is left of the body is no next request
	}
	h.o.Log.Info("access token dropped", "request_id", x.id[0], "upstream", x.upstream.name, "subject", x.identity.Subject, "err", errStale)
	h.o.Pages.Outage(x, x.r, page.Outage{
		Sentence: "The application has ended your session with it. The next request gets a new one.", RetryURL: h.here(x.r), After: time.Second,
	})
}
