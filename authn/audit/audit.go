// Package audit is the trail of who came in, who was refused, and what was changed: one
// line of JSON for each, apart from the log, for those who have to answer for it later.
//
// A trail can be chained: each line then has a code over itself and the line before it,
// by a key of the gateway's, so that [Verify] finds what was changed, left out or put in
// afterwards. That lines are missing at the very end it can't tell; where that matters,
// send the trail elsewhere as well.
//
// The package imports nothing of the module but the contract.
package audit

import (
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"gatehouse/authn"
)

// What a trail tells of.
const (
	SignIn        = "sign-in"       // somebody proved who they are: a session begins
	SessionEnd    = "session-end"   // a session or access token was ended before its time
	TokenIssue    = "token-issue"   // an access token was given
	Access        = "access"        // a request was refused: the credential, or the rule
	KeyChange     = "key-change"    // an API key was made, rotated or revoked
	Settings      = "settings"      // settings were loaded, or refused
	Administrator = "administrator" // somebody looked at what others have
	Lifecycle     = "lifecycle"     // the gateway has started, or stops
	Unban         = "unban"         // a limit on wrong passwords was lifted
)

// How it came out.
const (
	Allowed = "allowed"
	Refused = "refused" // the answer is no
	Failed  = "failed"  // there is no answer
)

// Event is one line of the trail. Nothing in it is a secret: no password, token, cookie
// or key.
type Event struct {
	Time    time.Time `json:"time"`
	Name    string    `json:"event"`
	Outcome string    `json:"outcome"`
	// Reason is why, for people: a rule's name, what was wrong.
	Reason string `json:"reason,omitempty"`

	// Route, Issuer, Subject and Username are of who did it, as far as it is known. What
	// somebody only claimed to be is in Claimed.
	Route    string `json:"route,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	Subject  string `json:"subject,omitempty"`
	Username string `json:"username,omitempty"`
	Kind     string `json:"kind,omitempty"`
	Claimed  string `json:"claimed,omitempty"`

	// Object is what was done something to: an access's or key's id, paths of settings.
	Object []string `json:"object,omitempty"`
	// OfIssuer and OfSubject are whose that is, if it is somebody else's.
	OfIssuer  string `json:"of_issuer,omitempty"`
	OfSubject string `json:"of_subject,omitempty"`

	// Address is the client's, Agent its User-Agent; the latter is hearsay. Request is
	// the id of the request, which the log has too.
	Address string `json:"address,omitempty"`
	Agent   string `json:"user_agent,omitempty"`
	Request string `json:"request_id,omitempty"`
	Host    string `json:"host,omitempty"`
	Method  string `json:"method,omitempty"`
	Path    string `json:"path,omitempty"` // without the query
}

const (
	// maxText bounds each text, in bytes, but for the reason.
	maxText   = 512
	maxReason = 4 * maxText
	// maxObjects is how many things one line can tell of.
	maxObjects = 50
)

// Of begins an event that a request is the cause of. The request has been through the
// gateway's front: its RemoteAddr is the client's, and its X-Request-Id can be believed.
func Of(r *http.Request, name, outcome string) Event {
	e := Event{Name: name, Outcome: outcome}
	if r == nil {
		return e
	}
	e.Address = authn.AddressOf(r)
	e.Agent, e.Request = r.UserAgent(), r.Header.Get("X-Request-Id")
	e.Host, e.Method, e.Path = r.Host, r.Method, r.URL.Path
	return e
}

// lines are the event as lines tell it: its texts within bounds, and as many times as it
// takes to name all that something was done to.
func (e Event) lines() []Event {
	for _, s := range []*string{
		&e.Name, &e.Outcome, &e.Route, &e.Issuer, &e.Subject, &e.Username, &e.Kind, &e.Claimed, &e.OfIssuer, &e.OfSubject,
		&e.Address, &e.Agent, &e.Request, &e.Host, &e.Method, &e.Path,
	} {
		*s = bounded(*s, maxText)
	}
	e.Reason = bounded(e.Reason, maxReason)
	if len(e.Object) == 0 {
		return []Event{e}
	}
	var out []Event
	for some := range slices.Chunk(e.Object, maxObjects) {
		one := e
		one.Object = make([]string, len(some))
		for i, o := range some {
			one.Object[i] = bounded(o, maxText)
		}
		out = append(out, one)
	}
	return out
}

func bounded(s string, most int) string { return s[:min(len(s), most)] }

// Trail takes events. Its methods may be called by any number of goroutines.
type Trail interface {
	// Record writes an event down; its time is set, if it has none. The error says that
	// it is not written down and that what it tells of must not happen; where events
	// may be lost (see [Options]), there is none.
	Record(e Event) error
}

// Or returns the trail, or one that keeps nothing for nil.
func Or(t Trail) Trail {
	if t == nil {
		return None{}
	}
	return t
}

// because is the context key of what is the cause.
type because struct{}

// Because returns a context under which whatever happens has e for its cause. Where that
// is told, it fills in what e does not say.
func Because(ctx context.Context, e Event) context.Context {
	return context.WithValue(ctx, because{}, e)
}

// Cause is the event that [Because] put into the context, or an empty one.
func Cause(ctx context.Context) Event {
	e, _ := ctx.Value(because{}).(Event)
	return e
}

// By says who is the cause.
func (e Event) By(id authn.Identity) Event {
	e.Route, e.Issuer, e.Subject, e.Username, e.Kind = id.Route, id.Issuer, id.Subject, id.Username, string(id.Kind)
	return e
}

// None is a trail that keeps nothing.
type None struct{}

// Record forgets.
func (None) Record(Event) error { return nil }

// ErrUnwritten says that an event could not be written down.
var ErrUnwritten = errors.New("audit: the trail can't be written")

// line is an event as it stands in the trail.
type line struct {
	Event
	// After is the code of the line before this one, and Code the one of this line's text
	// without it; it stands last. Both are empty in a trail that is not chained.
	After string `json:"after,omitempty"`
	Code  string `json:"code,omitempty"`
}

func (l line) text() ([]byte, error) {
	b, err := json.Marshal(l, jsontext.AllowInvalidUTF8(true), jsontext.EscapeForHTML(true))
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return authn.AppendOneLine(nil, b), nil
}
