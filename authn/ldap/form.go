package ldap

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/page"
	"gatehouse/session"
)

const (
	// maxForm bounds what a form may send, in bytes.
	maxForm = 16 << 10
	// formTime is how long a form may stay open before it is sent.
	formTime = 12 * time.Hour
	// outageRetry is when to try again what the directory did not answer.
	outageRetry = 10 * time.Second
)

// What people read. None of it tells whether there is such a name.
const (
	sentenceOutage  = "Your password can’t be checked right now. Please try again in a moment."
	sentenceForeign = "That form did not come from this page. Open the sign-in page and try again."
	sentenceStale   = "This page was open for too long, or your browser sends no cookies here. Allow cookies for this site, then try again."
)

// sentence says what a refusal means to the person, and what to do.
func (r reason) sentence() string {
	switch r {
	case locked:
		return "This account is locked, most likely after too many wrong passwords. Wait a while, or ask for help."
	case expired:
		return "The password has expired. Set a new one where you usually change it, then sign in here."
	case mustChange:
		return "The password must be changed first. Change it where you usually do, then sign in here."
	case disabled:
		return "This account is disabled. Ask for help if it should not be."
	case ended:
		return "This account has expired. Ask for help if it should not have."
	case notNow:
		return "This account may not be used at this time or from here."
	case unfit:
		return "The password is right, but the directory’s entry for this account can’t be used here. Ask for help."
	case wrong:
	}
	return "The user name or the password is wrong."
}

func (l *route) signInPath() string { return l.Prefix + "/sign-in/" + l.name }

// signInURL is a link to the form.
func (l *route) signInURL(landing string) string {
	if landing == "" || landing == "/" {
		return l.signInPath()
	}
	return l.signInPath() + "?rd=" + url.QueryEscape(landing)
}

// showForm answers a GET. Of the query it takes where to land and whom to
// suggest; a name and a password there are not read (LDAP-39).
func (l *route) showForm(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Host, l.PublicURL.Host) { // the session is to be the public origin's
		there := *l.PublicURL
		there.Path, there.RawQuery = l.signInPath(), r.URL.RawQuery
		page.SeeOther(w, there.String())
		return
	}
	q := r.URL.Query()
	f := form{status: http.StatusOK, landing: "/"}
	if rd := q["rd"]; len(rd) == 1 {
		f.landing = l.Landings.Clean(rd[0])
	}
	if hint := q["login_hint"]; len(hint) == 1 && len(hint[0]) <= maxLogin && authn.Text(hint[0]) {
		f.username = hint[0]
	}
	l.show(w, r, f)
}

// person is who has signed in, and by what name they are found again.
type person struct {
	authn.Identity
	login string
}

// form is the page as it is shown.
type form struct {
	status            int
	landing, username string
	problem           string
}

func (l *route) show(w http.ResponseWriter, r *http.Request, f form) {
	token, err := l.token(w, r)
	if err != nil {
		l.log(r).Error("sign-in form", "err", err)
		l.Pages.Error(w, r, http.StatusInternalServerError, "Sign-in can't begin.")
		return
	}
	s := page.SignIn{Status: f.status, Form: &page.Form{
		Action: l.signInPath(), Token: token, Landing: f.landing, Label: l.label, Username: f.username, Problem: f.problem,
	}}
	if l.Others != nil {
		s.Choices = l.Others(f.landing)
	}
	if f.status == http.StatusUnauthorized { // RFC 9110, section 15.5.2, asks for a challenge
		origin := l.PublicURL.Scheme + "://" + l.PublicURL.Host
		w.Header().Set("WWW-Authenticate", `Cookie realm="`+origin+`", form-action="`+origin+l.signInPath()+`"`)
	}
	l.Pages.SignIn(w, r, s)
}

// postForm answers the form.
func (l *route) postForm(w http.ResponseWriter, r *http.Request) {
	if err := l.forms.Check(r); err != nil {
		l.log(r).Info("sign-in from another site", "err", err)
		l.Pages.Error(w, r, http.StatusForbidden, sentenceForeign)
		return
	}
	in, status, problem := readForm(w, r)
	if status != 0 {
		l.Pages.Error(w, r, status, problem)
		return
	}
	f := form{landing: l.Landings.Clean(in.landing), username: in.login}
	if !l.genuine(r, in.token) {
		l.Signed.Tell(authn.OutcomeStale)
		l.log(r).Info("sign-in form without its cookie, or too old")
		f.status, f.problem = http.StatusForbidden, sentenceStale
		l.show(w, r, f)
		return
	}
	c := credentials{login: in.login, password: in.password, remote: r.RemoteAddr, form: true}
	err := c.screen() // not worth remembering
	who := person{login: in.login}
	if err == nil {
		who.Identity, err = l.verify(r, c, l.memory.VerifyAnew)
	}
	if err == nil {
		err = l.admit(w, r, who)
	}
	if err != nil {
		l.failed(w, r, f, who, err)
		return
	}
	l.Signed.Tell(authn.OutcomeSuccess)
	page.SeeOther(w, f.landing)
}

// input is what a form sent.
type input struct{ login, password, landing, token string }

// readForm reads each field once, from the body alone.
func readForm(w http.ResponseWriter, r *http.Request) (in input, status int, problem string) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return in, http.StatusUnsupportedMediaType, "Sign-in takes what its form sends, and nothing else."
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	var large *http.MaxBytesError
	if err := r.ParseForm(); errors.As(err, &large) {
		return in, http.StatusRequestEntityTooLarge, "That is more than a name and a password."
	} else if errors.Is(err, os.ErrDeadlineExceeded) { // the gateway waits for no body without end
		return in, http.StatusRequestTimeout, "That form took too long to arrive. Try again."
	} else if err != nil {
		return in, http.StatusBadRequest, "That form can’t be read."
	}
	for _, field := range []struct {
		name string
		to   *string
	}{{"username", &in.login}, {"password", &in.password}, {"rd", &in.landing}, {"token", &in.token}} {
		switch v := r.PostForm[field.name]; {
		case len(v) > 1:
			return in, http.StatusBadRequest, "That form has a field twice."
		case len(v) == 1:
			*field.to = v[0]
		}
	}
	in.login = strings.TrimSpace(in.login) // keyboards add one
	if !authn.Text(in.login) || len(in.login) > maxLogin {
		in.login = ""
	}
	return in, 0, ""
}

// errTooMuch is for people about whom the directory says more than is kept.
var errTooMuch = &authn.NotAllowed{
	Missing: "The directory says too much about you to keep, most often too many groups. Ask for fewer of them.",
}

// admit starts a session for somebody whom the route lets in.
func (l *route) admit(w http.ResponseWriter, r *http.Request, who person) error {
	if err := l.admission.Allow(who.Identity); err != nil {
		return err
	}
	p, err := l.proof(who)
	if err != nil {
		return err
	}
	err = l.Sessions.Start(w, r, p)
	if errors.Is(err, session.ErrTooBig) { // and will be the next time
		return fmt.Errorf("%w: %w", errTooMuch, err)
	}
	if err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	l.log(r).Info("signed in", "user", who.Username, "subject", who.Subject)
	return nil
}

// failed says why a sign-in did not work and what to do about it.
func (l *route) failed(w http.ResponseWriter, r *http.Request, f form, who person, err error) {
	l.Signed.Tell(authn.OutcomeOf(err))
	var no *refusal
	var wait *authn.Throttled
	var not *authn.NotAllowed
	switch {
	case errors.As(err, &wait):
		w.Header().Set("Retry-After", wait.RetryAfter())
		f.status, f.problem = http.StatusTooManyRequests, wait.Sentence()
		l.log(r).Info("sign-in refused", "reason", "too many attempts", "wait", wait.After.Round(time.Second).String())
	case errors.As(err, &no):
		f.status, f.problem = http.StatusUnauthorized, no.reason.sentence()
	case errors.As(err, &not):
		l.log(r).Info("not allowed in", "subject", who.Subject, "groups", len(who.Groups), "err", err)
		l.Pages.Refused(w, r, page.Refused{Identity: who.Identity, Missing: not.Missing, SwitchURL: l.signInURL(f.landing)})
		return
	default:
		l.log(r).Error("sign-in could not be finished", "err", err)
		w.Header().Set("Retry-After", strconv.Itoa(int(outageRetry/time.Second)))
		f.status, f.problem = http.StatusServiceUnavailable, sentenceOutage
	}
	l.show(w, r, f)
}

// The token of a form is what its cookie holds too, sealed: another site can
// neither read nor make one, so it can't sign anybody in as somebody of its
// choice (LDAP-38). One is good for all the forms of a browser.

func (l *route) formCookie() string { return l.Cookie.Name + "_form" }

const tokenSize = 16 + 8

// token returns the browser's token, or gives it one.
func (l *route) token(w http.ResponseWriter, r *http.Request) (string, error) {
	if c, err := r.Cookie(l.formCookie()); err == nil && l.fresh(c.Value, formTime/2) {
		return c.Value, nil
	}
	plain := make([]byte, tokenSize)
	rand.Read(plain[:16])                                             // never fails: it ends the program instead
	binary.BigEndian.PutUint64(plain[16:], uint64(time.Now().Unix())) //nolint:gosec // a time after 1970
	sealed, err := l.sealer.Seal(l.formCookie(), plain)
	if err != nil {
		return "", err
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure but on a loopback gateway of plain http
		Name: l.formCookie(), Value: sealed, Path: "/", MaxAge: int(formTime / time.Second),
		HttpOnly: true, Secure: l.Cookie.Secure, SameSite: http.SameSiteLaxMode,
	})
	return sealed, nil
}

// fresh says whether a token is ours and not older than age.
func (l *route) fresh(token string, age time.Duration) bool {
	plain, err := l.sealer.Open(l.formCookie(), token)
	if err != nil || len(plain) != tokenSize {
		return false
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(plain[16:])), 0) //nolint:gosec // as it was written
	return time.Since(made) <= age && time.Until(made) <= time.Minute
}

// genuine says whether a form is one that this browser was given.
func (l *route) genuine(r *http.Request, token string) bool {
	if !l.fresh(token, formTime) {
		return false
	}
	for _, c := range r.CookiesNamed(l.formCookie()) {
		if subtle.ConstantTimeCompare([]byte(c.Value), []byte(token)) == 1 {
			return true
		}
	}
	return false
}
