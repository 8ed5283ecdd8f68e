package authn

import "errors"

// Outcome is how an attempt to prove something ended, in a word for counts. There are
// no others than these.
type Outcome string

// The outcomes of a credential. Those of a sign-in are the same, and three more.
const (
	OutcomeSuccess     Outcome = "success"
	OutcomeRejected    Outcome = "rejected"    // wrong, expired or revoked
	OutcomeNotAllowed  Outcome = "not_allowed" // proved, and not let in
	OutcomeThrottled   Outcome = "throttled"   // not looked at for now
	OutcomeApplication Outcome = "application" // for the application to judge
	OutcomeUnavailable Outcome = "unavailable" // could not be found out

	OutcomeCancelled     Outcome = "cancelled"     // by the person, or by the provider
	OutcomeStale         Outcome = "stale"         // finished before, too old, or begun elsewhere
	OutcomeMisconfigured Outcome = "misconfigured" // the provider won't deal with this gateway
)

// OutcomeOf sorts what an [Authenticator] or a sign-in has said.
func OutcomeOf(err error) Outcome {
	var wait *Throttled
	var not *NotAllowed
	switch {
	case err == nil:
		return OutcomeSuccess
	case errors.As(err, &wait):
		return OutcomeThrottled
	case errors.As(err, &not):
		return OutcomeNotAllowed
	case errors.Is(err, ErrApplication):
		return OutcomeApplication
	case errors.Is(err, ErrRejected):
		return OutcomeRejected
	}
	return OutcomeUnavailable
}

// ReasonOf is why a credential was refused, in a word or two of the room that did, if it
// says so by a method Reason. It holds nothing of the credential, and there are few.
func ReasonOf(err error) string {
	var said interface {
		error
		Reason() string
	}
	if errors.As(err, &said) {
		return said.Reason()
	}
	return ""
}

// Signed tells that somebody has come to the end of a sign-in, well or not. Nil tells
// nobody.
type Signed func(Outcome)

// Tell tells it.
func (s Signed) Tell(o Outcome) {
	if s != nil {
		s(o)
	}
}

// Recall is how often what was remembered did for a question.
type Recall struct {
	// Kind is what is remembered: "token", "password", "key".
	Kind string
	// Hits are answered by a proof, Refusals by a no, and Misses had to be found out.
	Hits, Refusals, Misses uint64
	// Proofs and Noes are how many of each are remembered now, about.
	Proofs, Noes int
}
