package page

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"gatehouse/authn"
)

// Choice is one way to sign in.
type Choice struct {
	// Label is what its button says.
	Label string
	// URL is where the button leads.
	URL string
}

// Form is a name and a password to be typed.
type Form struct {
	// Action is where they are posted to, with the fields username, password, rd
	// (Landing) and token.
	Action, Token, Landing string
	// Label is whose name and password is meant; it may be empty.
	Label string
	// Username is what stands in the form already; it may be empty.
	Username string
	// Problem is a sentence about what was sent before; empty at first.
	Problem string
}

// SignIn is the page that lets a person sign in, or choose how to.
type SignIn struct {
	// Status is the answer's; zero means 200.
	Status int
	// Form is for a password; it may be nil.
	Form *Form
	// Choices are the ways to sign in elsewhere.
	Choices []Choice
}

// SignIn answers with the ways to sign in. A program that sent a form gets its
// problem as JSON.
func (p *Pages) SignIn(w http.ResponseWriter, r *http.Request, d SignIn) {
	a := answer{status: max(d.Status, http.StatusOK), page: "signIn", title: "Sign in", data: d}
	if d.Form != nil {
		a.message, a.form = d.Form.Problem, formAction([]string{d.Form.Landing})
	}
	p.answer(w, r, a)
}

// SignOut is the page that asks before it signs out.
type SignOut struct {
	// Name is who is signed in; it may be empty.
	Name string
	// Action is where the answer is posted to.
	Action string
	// FormAction lists URLs of other origins that Action may redirect to.
	FormAction []string
}

// SignOut answers 200 with the question whether to sign out.
func (p *Pages) SignOut(w http.ResponseWriter, r *http.Request, d SignOut) {
	p.answer(w, r, answer{status: http.StatusOK, page: "signOut", title: "Sign out?", data: d, form: formAction(d.FormAction)})
}

// SignedOut is the page after signing out.
type SignedOut struct {
	// SignInURL is where to sign in again; it may be empty.
	SignInURL string
	// ProviderToo says that the person has been signed out at their provider too.
	ProviderToo bool
}

// SignedOut answers 200 and says what signing out has ended.
func (p *Pages) SignedOut(w http.ResponseWriter, r *http.Request, d SignedOut) {
	p.answer(w, r, answer{status: http.StatusOK, page: "signedOut", title: "You are signed out", data: d})
}

// Me is the page that shows people their own identity.
type Me struct {
	// Identity is whom the request comes from.
	Identity authn.Identity
	// Through is what people call the route that they signed in by; empty for its name.
	Through string
	// Teams are theirs.
	Teams []Team
	// HomeURL and SignOutURL may be empty.
	HomeURL, SignOutURL string
	// Devices is where they are signed in; nil where that is not known of anybody.
	Devices *Devices
}

// Devices is where somebody is signed in.
type Devices struct {
	// All are to be shown, in that order; More is how many others there are.
	All  []Device
	More int
	// Unknown says that it can't be found out right now.
	Unknown bool
	// Action is where a button is posted to, in the field "end": the ID of one device, or
	// Others for all but the current one, or Everywhere.
	Action, Others, Everywhere string
	// FormAction lists URLs of other origins that Action may redirect to.
	FormAction []string
}

// Several reports whether there is another than the current one.
func (d Devices) Several() bool { return len(d.All) > 1 || len(d.All) == 1 && !d.All[0].Current }

// Device is one browser or program by which somebody comes in.
type Device struct {
	ID string
	// Name says what it seems to be; Token that it has an access token and no session.
	Name  string
	Token bool
	// Current marks the one that asks.
	Current bool
	// Address is its own, Route what people call that which it signed in through. Either may be empty.
	Address, Route string
	// Since is when it signed in, Seen when it was last seen; either may be zero.
	Since, Seen time.Time
}

// Team is a team and what somebody is in it.
type Team struct{ Name, Role string }

// Me answers 200 with what the gateway knows about the person.
func (p *Pages) Me(w http.ResponseWriter, r *http.Request, d Me) {
	a := answer{status: http.StatusOK, page: "me", title: "You are signed in", data: d, wide: true}
	if d.Devices != nil && len(d.Devices.All) > 0 {
		a.form = formAction(d.Devices.FormAction)
	}
	p.answer(w, r, a)
}

// Refused is the answer to somebody who has proved who they are and may not come in.
type Refused struct {
	// Identity is whom the request comes from.
	Identity authn.Identity
	// Missing is a sentence: what they would need.
	Missing string
	// SwitchURL is where to sign in as somebody else. Either may be empty.
	SwitchURL, SignOutURL string
}

// Refused answers 403: who you are, what is missing, whom to ask.
func (p *Pages) Refused(w http.ResponseWriter, r *http.Request, d Refused) {
	who := called(d.Identity)
	if d.Identity.Email != "" && d.Identity.Email != who {
		who += " (" + d.Identity.Email + ")"
	}
	text := "You are signed in as " + who + ", but you don't have access. " + d.Missing
	if p.site.Contact != "" {
		text = strings.TrimSpace(text) + " For access, ask " + p.site.ContactText + "."
	}
	p.answer(w, r, answer{
		status: http.StatusForbidden, page: "refused", title: "You don’t have access", data: d, asks: true,
		message: strings.TrimSpace(text),
	})
}

// TryAgain is the answer to a sign-in that came back too late, or to a browser
// that never began it.
type TryAgain struct {
	// Reason is a sentence: what happened.
	Reason string
	// URL is where to start again.
	URL string
}

// TryAgain answers 400 with a link that starts again.
func (p *Pages) TryAgain(w http.ResponseWriter, r *http.Request, d TryAgain) {
	if d.Reason == "" {
		d.Reason = "This sign-in can't be finished."
	}
	p.answer(w, r, answer{
		status: http.StatusBadRequest, page: "tryAgain", title: "Let’s try that again", data: d,
		message: d.Reason + " Please start again.",
	})
}

// Outage is the answer when it can't be found out who somebody is.
type Outage struct {
	// Sentence says what can't be reached.
	Sentence string
	// RetryURL is what the page goes to next; empty means where it is.
	RetryURL string
	// After is how long to wait before that; less than a second means ten.
	After time.Duration
}

// Outage answers 503 with Retry-After and a page that tries again by itself.
func (p *Pages) Outage(w http.ResponseWriter, r *http.Request, d Outage) {
	const usual = 10 * time.Second
	if d.After < time.Second {
		d.After = usual
	}
	if d.Sentence == "" {
		d.Sentence = "Something this page depends on cannot be reached right now."
	}
	d.RetryURL = link(d.RetryURL)
	w.Header().Set("Retry-After", strconv.Itoa(d.Seconds()))
	if WantsPage(r) {
		d.refresh(w, r)
	}
	p.answer(w, r, answer{
		status: http.StatusServiceUnavailable, page: "outage", title: "Back in a moment", data: d,
		message: fmt.Sprintf("%s Please try again in %d seconds.", d.Sentence, d.Seconds()),
	})
}

// Seconds is After in whole seconds, rounded up.
func (o Outage) Seconds() int { return int(math.Ceil(o.After.Seconds())) }

// refresh makes the browser try again. What was posted is never sent twice: a
// POST without an address to go to stays where it is.
func (o Outage) refresh(w http.ResponseWriter, r *http.Request) {
	switch {
	case o.RetryURL != "":
		w.Header().Set("Refresh", strconv.Itoa(o.Seconds())+"; url="+o.RetryURL)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		w.Header().Set("Refresh", strconv.Itoa(o.Seconds()))
	}
}

// fault is what the page of a general error shows.
type fault struct{ Sentence, Action string }

// Error answers with status and a sentence for the person: what happened and
// what to do next. The cause belongs in the log.
func (p *Pages) Error(w http.ResponseWriter, r *http.Request, status int, sentence string) {
	if sentence == "" {
		sentence = http.StatusText(status) + "."
	}
	f := fault{Sentence: sentence, Action: "Go to the start page"}
	if status == http.StatusUnauthorized {
		f.Action = "Sign in"
	}
	p.answer(w, r, answer{status: status, page: "error", title: heading(status), data: f, message: sentence})
}

// NoSignIn is the 401 of a place where nobody signs in with a browser: its page
// leads nowhere.
func (p *Pages) NoSignIn(w http.ResponseWriter, r *http.Request, sentence string) {
	f := fault{Sentence: sentence}
	p.answer(w, r, answer{status: http.StatusUnauthorized, page: "error", title: "This place is for programs", data: f, message: sentence})
}

func heading(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "Please sign in"
	case http.StatusForbidden:
		return "That is not allowed"
	case http.StatusNotFound:
		return "There is nothing here"
	case http.StatusRequestEntityTooLarge:
		return "That is too large"
	case http.StatusTooManyRequests:
		return "One moment, please"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "Not available right now"
	}
	if status < http.StatusInternalServerError {
		return "That didn’t work"
	}
	return "Something went wrong"
}

// called is what to call somebody.
func called(id authn.Identity) string {
	for _, s := range []string{id.Name, id.Username, id.Email, id.Subject} {
		if strings.TrimSpace(s) != "" {
			return s
		}
	}
	return "somebody"
}

// initial is the letter that stands for somebody, or empty.
func initial(name string) string {
	for _, c := range name {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			return string(unicode.ToUpper(c))
		}
	}
	return ""
}
