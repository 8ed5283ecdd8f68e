package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/page"
	"gatehouse/proxy/policy"
)

// outageRetry is when to try again what could not be found out.
const outageRetry = 5 * time.Second

const sentenceOutage = "It can’t be checked right now whether you are signed in."

// rule finds the rule that the request falls under. If nobody may go there, or the
// path can be read in ways that fall under different rules, it has answered.
func (h *Handler) rule(x *exchange) bool {
	at := x.place()
	var err error
	x.rule, err = h.policy.Find(at)
	if err == nil && x.asked != nil && x.question.method == "" && !h.policy.Same(at) {
		err = policy.ErrAmbiguous // who asks has not said which method it is
	}
	switch {
	case err != nil:
		h.turnAway(x, fault{http.StatusBadRequest, "That address can be understood in more than one way."})
		return false
	case x.rule.Denied:
		x.seen.decision = DecidedDenied
		h.turnAway(x, fault{http.StatusForbidden, "Nobody may go there through this gateway."})
		return false
	}
	if x.public = x.rule.Public && x.clean; x.public {
		x.seen.decision = DecidedPublic
	}
	return true
}

// place is where the request goes, as the policy looks at it.
func (x *exchange) place() policy.Place {
	at := policy.Place{Upstream: x.upstream.name, Host: hostName(x.r.Host), Method: x.r.Method, Unclear: !x.clean}
	if x.path[0] = opaque(x.r.URL); x.clean && !strings.Contains(x.path[0], ";") {
		at.Paths = x.path[:]
	} else {
		at.Paths = readings(x.r.URL)
	}
	return at
}

// admit finds out whom the request comes from and whether they may come in. If
// not, it has answered. What the application judges by a credential of its own
// goes on with that credential and nobody's name.
func (h *Handler) admit(x *exchange) bool {
	id, err := h.identify(x)
	if errors.Is(err, authn.ErrApplication) && !h.judges(x.upstream) {
		err = fmt.Errorf("proxy: a credential of another application: %w", authn.ErrRejected)
	}
	x.foreign = errors.Is(err, authn.ErrApplication)
	switch {
	case x.foreign && !x.rule.Anonymous():
		h.refuse(x, err) // the rule asks who it is
		return false
	case x.foreign:
		x.onward, x.seen.decision = true, DecidedApplication
		return h.sameSite(x)
	case err != nil:
		h.refuse(x, err)
		return false
	}
	x.identity, x.onward = id, id.Onward && h.judges(x.upstream) || len(x.beside) > 0
	x.strange = id.Onward && !x.onward
	x.standing, x.seen.decision = h.stand(id), DecidedAllowed
	return h.allow(x) && h.sameSite(x) && h.describe(x, cmp.Or(x.upstream.audience, hostName(x.r.Host))) && h.carry(x)
}

// judges reports whether an upstream knows the credentials that are the
// application's own. To any other they are a stranger's, and no reason to let
// anybody in. The settings let one route alone take such credentials.
func (h *Handler) judges(u *upstream) bool {
	return slices.ContainsFunc(h.o.Routes, func(r authn.Route) bool { return slices.Contains(r.Upstreams, u.name) })
}

// allow lets a person in or refuses them.
func (h *Handler) allow(x *exchange) bool {
	err := h.allowed(x.standing.Subject, x.rule)
	if err != nil {
		h.forbid(x, err)
	}
	return err == nil
}

// allowed asks the route and the rule whether they let somebody in.
func (h *Handler) allowed(s policy.Subject, rule policy.Rule) error {
	if allow := h.routes[s.Route].Allow; allow != nil {
		err := allow(s.Identity)
		if not := (*authn.NotAllowed)(nil); errors.As(err, &not) {
			return fmt.Errorf("the route %s itself does not let them in, and no rule was asked: %w", s.Route, err)
		}
		if err != nil {
			return err
		}
	}
	return rule.Allow(s)
}

// sameSite keeps other sites from opening WebSockets.
func (h *Handler) sameSite(x *exchange) bool {
	if x.websocket && !h.sameOrigin(x.r) {
		x.seen.decision = DecidedDenied
		h.turnAway(x, fault{http.StatusForbidden, "Another site may not open a connection in your name."})
		return false
	}
	return true
}

// refuse answers a request that comes from nobody: a browser's navigation goes
// to sign-in, a program is told, and what can't be found out is an outage that
// leaves the cookie alone. Who sends a credential is a program, whatever it
// takes for an answer.
func (h *Handler) refuse(x *exchange, err error) {
	x.decided(err)
	if !refused(err) {
		h.outage(x, err)
		return
	}
	if len(h.signIns) > 0 && x.navigates() {
		h.drain(x)
		x.trial.say("", err)
		if x.asked != nil {
			h.signInElsewhere(x)
			return
		}
		redirect(x, h.signInURL(x.r), http.StatusFound)
		return
	}
	h.unauthorized(x, err)
}

// refused reports whether it is known that the request comes from nobody. To
// the gateway itself the application's own credential is nobody's.
func refused(err error) bool {
	return errors.Is(err, authn.ErrNoCredential) || errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrApplication)
}

// unauthorized answers 401, with what would be a credential.
func (h *Handler) unauthorized(x *exchange, err error) {
	h.drain(x)
	var wait *authn.Throttled
	if errors.As(err, &wait) {
		h.throttle(x, wait)
		return
	}
	sentence := "You are not signed in."
	if len(h.signIns) == 0 && page.WantsPage(x.r) {
		sentence = "Nobody can sign in here with a browser."
	}
	if errors.Is(err, authn.ErrRejected) {
		h.refusal(x, err)
		h.o.Log.Debug("credential rejected", "request_id", x.id[0], "err", err)
		sentence = "Your credential is wrong, or it is no longer valid."
		var said *authn.Rejected
		if errors.As(err, &said) {
			sentence = said.Sentence
		}
	}
	if errors.Is(err, authn.ErrApplication) {
		sentence = "Your credential is the application’s. It does not say to the gateway who you are."
	}
	x.trial.say(sentence, err)
	x.Header()["Www-Authenticate"] = h.challengeFor(x, err)
	if len(h.signIns) == 0 {
		h.o.Pages.NoSignIn(x, x.r, sentence)
		return
	}
	h.o.Pages.Error(x, x.r, http.StatusUnauthorized, sentence)
}

// throttle answers somebody whose credential is not looked at for now.
func (h *Handler) throttle(x *exchange, wait *authn.Throttled) {
	h.o.Log.Info("too many attempts", "request_id", x.id[0], "remote", x.remote, "wait", wait.After.Round(time.Second).String())
	x.trial.say(wait.Sentence(), wait)
	x.Header()["Retry-After"] = []string{wait.RetryAfter()}
	h.o.Pages.Error(x, x.r, http.StatusTooManyRequests, wait.Sentence())
}

// challengeFor leaves out what makes a browser open a password box of its own:
// people sign in on a page. Browsers alone send Sec-Fetch-Mode. Who has sent a
// credential of that kind is told what it would take, and who has sent a Bearer
// token in vain, that it was the token (RFC 6750, section 3.1).
func (h *Handler) challengeFor(x *exchange, err error) []string {
	if len(x.r.Header["Sec-Fetch-Mode"]) > 0 && len(x.r.Header[authorization]) == 0 && len(x.beside) == 0 {
		return h.challenge[len(h.challenge)-1:]
	}
	if !errors.Is(err, authn.ErrRejected) || !x.bearer() {
		return h.challenge
	}
	return withError(h.challenge, "invalid_token")
}

// withError says in the challenges for Bearer what was wrong with a token.
func withError(challenges []string, code string) []string {
	out := slices.Clone(challenges)
	for i, c := range out {
		switch scheme, params, _ := strings.Cut(c, " "); {
		case !strings.EqualFold(scheme, "Bearer"):
		case params == "":
			out[i] = scheme + ` error="` + code + `"`
		default:
			out[i] = c + `, error="` + code + `"`
		}
	}
	return out
}

// outage answers 503: nobody can say whom the request comes from.
func (h *Handler) outage(x *exchange, err error) {
	h.unavailable(x, err, "can't find out who it is", page.Outage{
		Sentence: sentenceOutage, After: outageRetry,
	})
}

// unavailable answers 503, and leads back to where the request has come to.
func (h *Handler) unavailable(x *exchange, err error, what string, o page.Outage) {
	x.seen.decision = DecidedUnavailable
	h.drain(x)
	x.trial.say(o.Sentence, err)
	level := slog.LevelError
	if !h.outages.Allow() {
		level = slog.LevelDebug // an outage, or a flood that looks like one, is known by now
	}
	h.o.Log.Log(x.r.Context(), level, what, "request_id", x.id[0], "err", err)
	o.RetryURL = h.here(x.r)
	h.o.Pages.Outage(x, x.r, o)
}

// forbid answers somebody who is known and may not come in.
func (h *Handler) forbid(x *exchange, err error) {
	var not *authn.NotAllowed
	if !errors.As(err, &not) {
		h.outage(x, err)
		return
	}
	x.seen.decision = DecidedDenied
	h.drain(x)
	x.trial.say(not.Missing, err)
	if x.bearer() { // RFC 6750, section 3.1
		x.Header()["Www-Authenticate"] = withError(slices.DeleteFunc(slices.Clone(h.challenge), func(c string) bool { return !hasScheme(c, "Bearer") }), "insufficient_scope")
	}
	base := h.base(x.r)
	h.refusal(x, err)
	h.o.Log.Info("not allowed", "request_id", x.id[0], "route", x.identity.Route, "subject", x.identity.Subject, "rule", x.rule.Name, "err", err)
	h.o.Pages.Refused(x, x.r, page.Refused{
		Identity: x.identity, Missing: not.Missing,
		SwitchURL: base + h.o.Paths.Prefix + "/sign-in?switch=1&rd=" + url.QueryEscape(h.landing(x.r)), SignOutURL: base + h.o.Paths.SignOut,
	})
}

// turnAway answers a request that is refused whoever it comes from.
func (h *Handler) turnAway(x *exchange, f fault) {
	h.drain(x)
	x.trial.say(f.sentence, nil)
	if f.status == http.StatusMethodNotAllowed {
		x.Header()["Allow"] = []string{someMethods}
	}
	if x.r.Method == http.MethodConnect {
		x.closeAfter()
	}
	h.o.Pages.Error(x, x.r, f.status, f.sentence)
}

// challenges are the WWW-Authenticate values of a 401, which needs at least one
// (RFC 9110, section 11.6.1), each once. The last is for the session cookie: no browser
// knows the scheme, so none opens a password box for it.
func (h *Handler) challenges() []string {
	var out []string
	for _, r := range h.o.Routes {
		if r.Challenge != "" && !slices.Contains(out, r.Challenge) {
			out = append(out, r.Challenge)
		}
	}
	cookie := `Cookie realm="` + h.origin + `"`
	if len(h.signIns) > 0 {
		cookie += `, form-action="` + h.origin + h.o.Paths.Prefix + `/sign-in"`
	}
	return slices.Clip(append(out, cookie))
}

// signInURL is where a browser signs in and comes back to where it is. There is
// at least one route for that.
func (h *Handler) signInURL(r *http.Request) string {
	path := h.o.Paths.Prefix + "/sign-in"
	if door, ok := h.door(); ok {
		path = door.SignInPath
	}
	return h.base(r) + path + "?rd=" + url.QueryEscape(h.landing(r))
}

// door is where people sign in without having to choose first: the only route,
// or the first one whose page offers the others too.
func (h *Handler) door() (authn.Route, bool) {
	if len(h.signIns) == 1 {
		return h.signIns[0], true
	}
	i := slices.IndexFunc(h.signIns, func(r authn.Route) bool { return r.Hub })
	if i < 0 {
		return authn.Route{}, false
	}
	return h.signIns[i], true
}

// base is what to put before a path of the gateway's public origin: nothing if
// the request has come there.
func (h *Handler) base(r *http.Request) string {
	if strings.EqualFold(r.Host, h.o.PublicURL.Host) {
		return ""
	}
	return h.origin
}

// here is where the request has come to, as a path of its own host, or "/" if a
// browser could take it for another.
func (h *Handler) here(r *http.Request) string { return h.o.Landings.Clean(r.URL.RequestURI()) }

// landing is where the request has come to, as the public origin sees it.
func (h *Handler) landing(r *http.Request) string {
	if h.base(r) == "" {
		return h.here(r)
	}
	return h.o.Landings.Clean("https://" + strings.ToLower(r.Host) + r.URL.RequestURI())
}

func redirect(w http.ResponseWriter, to string, status int) {
	header := w.Header()
	header["Location"] = []string{to}
	header["Cache-Control"] = []string{"no-store"}
	header["Content-Length"] = []string{"0"}
	w.WriteHeader(status)
}
