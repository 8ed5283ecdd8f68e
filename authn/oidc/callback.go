package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/issuer"
	"gatehouse/authn/page"
	"gatehouse/session"
)

const (
	// maxForm bounds a posted answer in bytes: an ID token with many groups.
	maxForm = maxToken + 64<<10
	// maxCode bounds a code in bytes.
	maxCode = 8 << 10
	// formTime is how long a browser may take to post one.
	formTime = 10 * time.Second
	// markTime bounds the write that makes an attempt usable once.
	markTime = 3 * time.Second
)

// What people read when a sign-in does not work.
const (
	sentenceOutage   = "The sign-in service can’t be reached right now."
	sentenceOurs     = "Sign-in is not set up correctly here. Please tell whoever runs this service."
	sentenceBadForm  = "This is not an answer of the sign-in service."
	reasonUnknown    = "This sign-in was not begun in this browser, or it was finished already."
	reasonLate       = "This sign-in took too long."
	reasonUsed       = "This sign-in was finished already."
	reasonCancelled  = "The sign-in was cancelled, or the sign-in service refused it."
	reasonInteract   = "The sign-in service has to ask you something first."
	reasonUnverified = "The answer of the sign-in service could not be accepted."
)

// ourParameters are those of an authorization response. One that is there twice
// could be read in two ways.
func ourParameters() []string {
	return []string{
		"code", "state", "iss", "error", "error_description", "error_uri",
		"id_token", "access_token", "token_type", "expires_in", "scope", "session_state",
	}
}

// callback takes the provider's answer. Nothing is believed before the browser's
// own attempt was found, and nothing is redeemed twice.
func (o *relying) callback(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && prefetch(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	q, status := o.answer(w, r)
	if status != 0 {
		o.Signed.Tell(authn.OutcomeRejected)
		o.log(r).Warn("callback refused", "status", status)
		o.Pages.Error(w, r, status, sentenceBadForm)
		return
	}
	a, found := o.findAttempt(r, q.Get("state"))
	if !found || a.Route != o.name {
		o.Signed.Tell(authn.OutcomeStale)
		o.log(r).Warn("callback without an attempt of this browser")
		o.Pages.TryAgain(w, r, page.TryAgain{Reason: reasonUnknown, URL: "/"})
		return
	}
	landing := o.Landings.Clean(a.Landing)
	if a.late() {
		o.Signed.Tell(authn.OutcomeStale)
		o.setAttempt(w, o.attemptCookie(a.State), "")
		o.Pages.TryAgain(w, r, page.TryAgain{Reason: reasonLate, URL: o.signInURL(landing)})
		return
	}
	proof, err := o.finish(w, r, a, q)
	if err == nil {
		err = o.admit(w, r, proof, a.Former)
	}
	if err != nil {
		o.failed(w, r, failure{landing, proof.Identity, err})
		return
	}
	o.Signed.Tell(authn.OutcomeSuccess)
	page.SeeOther(w, landing)
}

// answer reads the authorization response from the one place where it may be,
// or says with which status to refuse it.
func (o *relying) answer(w http.ResponseWriter, r *http.Request) (q url.Values, status int) {
	method, raw := http.MethodGet, r.URL.RawQuery
	if o.implicit() {
		method = http.MethodPost
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		return nil, http.StatusMethodNotAllowed
	}
	if o.implicit() {
		if given(r.URL.Query()) {
			return nil, http.StatusBadRequest
		}
		if raw, status = readForm(w, r, maxForm); status != 0 {
			return nil, status
		}
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, http.StatusBadRequest
	}
	for _, name := range ourParameters() {
		if len(q[name]) > 1 {
			return nil, http.StatusBadRequest
		}
	}
	misplaced := q.Has("id_token") || q.Has("access_token")
	if o.implicit() {
		misplaced = q.Has("code")
	}
	if misplaced {
		return nil, http.StatusBadRequest
	}
	return q, 0
}

// given says whether q has anything of an authorization response.
func given(q url.Values) bool {
	return slices.ContainsFunc(ourParameters(), q.Has)
}

// readForm reads a posted form, within bounds of size and time (OAuth 2.0 Form
// Post Response Mode, section 2).
func readForm(w http.ResponseWriter, r *http.Request, most int64) (body string, status int) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || r.Header.Get("Content-Encoding") != "" {
		return "", http.StatusUnsupportedMediaType
	}
	c := http.NewResponseController(w)
	timed := c.SetReadDeadline(time.Now().Add(formTime)) == nil
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if timed && err == nil { // or the connection would be cut while the provider is asked
		err = c.SetReadDeadline(time.Time{})
	}
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return "", http.StatusRequestEntityTooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", http.StatusRequestTimeout
	}
	if err != nil {
		return "", http.StatusBadRequest
	}
	return string(text), 0
}

// errUsed: the attempt's answer came before.
var errUsed = errors.New("the attempt was used before")

// providerError is an error that the provider sent through the browser.
type providerError struct{ code, text string }

func (p providerError) Error() string {
	return fmt.Sprintf("provider answered %q %q", authn.Bounded(p.code), authn.Bounded(p.text))
}

// finish turns an answer into a proof. From the mark on, the attempt is spent.
func (o *relying) finish(w http.ResponseWriter, r *http.Request, a attempt, q url.Values) (authn.Proof, error) {
	m, err := o.provider.metadata(r.Context())
	if err != nil {
		return authn.Proof{}, err
	}
	if err := o.checkSender(m, q); err != nil {
		return authn.Proof{}, err
	}
	if q.Has("error") { // wins over whatever else is there, and there is nothing to redeem
		o.setAttempt(w, o.attemptCookie(a.State), "")
		return authn.Proof{}, providerError{q.Get("error"), q.Get("error_description")}
	}
	if err := o.spend(w, r, a); err != nil {
		return authn.Proof{}, err
	}
	if m.TokenEndpoint != a.Token {
		return authn.Proof{}, errors.New("the token endpoint moved while the sign-in was under way")
	}
	t, want, err := o.redeem(r.Context(), m, a, q)
	if err != nil {
		return authn.Proof{}, err
	}
	id, err := o.verify(r.Context(), m, t.id, want)
	if err != nil {
		return authn.Proof{}, err
	}
	who, profile, err := o.person(r.Context(), m, id, t.access)
	if err != nil {
		return authn.Proof{Identity: who}, err
	}
	return o.proof(who, id, t, newGrant(a.Nonce, id, profile))
}

// checkSender refuses an answer of another provider (RFC 9207, section 2.4). An
// answer with an ID token names its issuer there, and some leave the rest out.
func (o *relying) checkSender(m *metadata, q url.Values) error {
	if !q.Has("iss") && !q.Has("id_token") && m.IssInResponse {
		return errors.New("the answer does not say who it is from")
	}
	if q.Has("iss") && q.Get("iss") != o.settings.Issuer {
		return fmt.Errorf("the answer is from %q", authn.Bounded(q.Get("iss")))
	}
	return nil
}

// spend marks the attempt as used, for all replicas, and takes its cookie back.
// Of any number of answers to one attempt, one gets past here.
func (o *relying) spend(w http.ResponseWriter, r *http.Request, a attempt) error {
	ctx, cancel := context.WithTimeout(r.Context(), markTime)
	defer cancel()
	added, err := o.Store.Add(ctx, "attempt:"+attemptID(a.State), []byte{1}, attemptMarked)
	if err != nil {
		return fmt.Errorf("%w: mark the attempt as used: %w", issuer.ErrUnavailable, err)
	}
	o.setAttempt(w, o.attemptCookie(a.State), "")
	if !added {
		return errUsed
	}
	return nil
}

// redeem gets the tokens: for a code, or from the form itself.
func (o *relying) redeem(ctx context.Context, m *metadata, a attempt, q url.Values) (tokens, expected, error) {
	want := expected{nonce: a.Nonce}
	if o.implicit() {
		t := tokens{id: q.Get("id_token"), access: q.Get("access_token")}
		want.access, want.front = t.access, true
		if t.id == "" {
			return t, want, errors.New("the answer has no ID token")
		}
		return t, want, nil
	}
	code := q.Get("code")
	if code == "" || len(code) > maxCode {
		return tokens{}, want, errors.New("the answer has no code")
	}
	t, err := o.exchange(ctx, m, code, a.Verifier)
	want.access = t.access
	return t, want, err
}

// admit starts a session for somebody whom the route lets in, in place of the
// former ones.
func (o *relying) admit(w http.ResponseWriter, r *http.Request, p authn.Proof, former []string) error {
	if err := o.admission.Allow(p.Identity); err != nil {
		return err
	}
	err := o.Sessions.Start(w, r, p, former...)
	if errors.Is(err, session.ErrTooBig) { // and will be the next time
		return fmt.Errorf("%w: %w", errTooMuch, err)
	}
	if err != nil {
		return fmt.Errorf("%w: start session: %w", issuer.ErrUnavailable, err)
	}
	o.log(r).Info("signed in", "subject", p.Identity.Subject)
	return nil
}

// errTooMuch is for people about whom the provider says more than is kept.
var errTooMuch = &authn.NotAllowed{
	Missing: "The sign-in service says too much about you to keep, most often too many groups. Ask for fewer of them.",
}

// failure is a sign-in that did not work.
type failure struct {
	landing string
	who     authn.Identity // as far as it is known
	err     error
}

// failed logs why a sign-in did not work and says what to do about it. None of
// its answers leads back to the provider by itself but the one for an outage,
// and that one waits.
func (o *relying) failed(w http.ResponseWriter, r *http.Request, f failure) {
	log := o.log(r).With("err", f.err)
	again := page.TryAgain{Reason: reasonUnverified, URL: o.signInURL(f.landing)}
	outcome := authn.OutcomeRejected
	var no *authn.NotAllowed
	var said providerError
	var answer refusal
	switch {
	case errors.As(f.err, &no):
		o.refused(r, f.who, no.Missing)
		o.Signed.Tell(authn.OutcomeNotAllowed)
		log.Info("not allowed in", "subject", f.who.Subject, "groups", len(f.who.Groups))
		o.Pages.Refused(w, r, page.Refused{
			Identity: f.who, Missing: no.Missing, SwitchURL: o.signInURL(f.landing, "switch", "1"),
		})
		return
	case errors.Is(f.err, issuer.ErrUnavailable), errors.As(f.err, &said) && said.passing():
		o.Signed.Tell(authn.OutcomeUnavailable)
		log.Error("sign-in could not be finished")
		o.Pages.Outage(w, r, page.Outage{Sentence: sentenceOutage, RetryURL: again.URL, After: 30 * time.Second})
		return
	case errors.Is(f.err, errPush), errors.As(f.err, &answer) && answer.ours():
		o.Signed.Tell(authn.OutcomeMisconfigured)
		log.Error("provider refuses this gateway; see the client settings")
		o.Pages.Error(w, r, http.StatusBadGateway, sentenceOurs)
		return
	case errors.Is(f.err, errUsed):
		outcome = authn.OutcomeStale
		again = page.TryAgain{Reason: reasonUsed, URL: f.landing}
	case said.interactive():
		outcome = authn.OutcomeCancelled
		again = page.TryAgain{Reason: reasonInteract, URL: o.signInURL(f.landing, "switch", "1")}
	case said.code != "":
		outcome = authn.OutcomeCancelled
		again.Reason = reasonCancelled
	}
	o.refused(r, f.who, f.err.Error())
	o.Signed.Tell(outcome)
	log.Warn("sign-in refused")
	o.Pages.TryAgain(w, r, again)
}

// refused tells the audit trail.
func (o *relying) refused(r *http.Request, who authn.Identity, reason string) {
	e := audit.Of(r, audit.SignIn, audit.Refused).By(who)
	e.Route, e.Reason = o.name, reason
	_ = audit.Or(o.Audit).Record(e) // it is refused all the same
}

// passing says that the provider expects to do better soon.
func (p providerError) passing() bool {
	return p.code == "temporarily_unavailable" || p.code == "server_error"
}

// interactive says that the provider needs to show a page (OpenID Connect Core,
// section 3.1.2.6). The way on is a link and never a redirect: with prompt none
// that would go round for ever.
func (p providerError) interactive() bool {
	return slices.Contains([]string{
		"login_required", "interaction_required", "consent_required", "account_selection_required",
	}, p.code)
}

// log is the route's log with what tells this request from others.
func (o *relying) log(r *http.Request) *slog.Logger {
	return authn.LogOf(o.Log, r)
}
