package proxy

import (
	"cmp"
	"errors"

	"gatehouse/authn"
	"gatehouse/authn/audit"
)

// refusal tells the audit trail who was refused: a credential that is wrong, or somebody
// who may not go there. Who has none is told to sign in, and no business of the trail's.
func (h *Handler) refusal(x *exchange, err error) {
	var not *authn.NotAllowed
	allowed := errors.As(err, &not)
	if x.trial != nil || !allowed && !errors.Is(err, authn.ErrRejected) {
		return
	}
	e := audit.Of(x.r, audit.Access, audit.Refused).By(x.identity)
	e.Address = x.remote
	switch {
	case !allowed:
		e.Reason = "the credential is wrong, or no longer valid"
	default:
		e.Reason = "rule " + cmp.Or(x.rule.Name, "without a name") + ": " + not.Missing
	}
	_ = h.trail.Record(e) // it is refused all the same
}

// because gives what happens on the gateway's own paths the request for its cause.
func (x *exchange) because() {
	e := audit.Of(x.r, "", "").By(x.identity)
	e.Address = x.remote
	x.r = x.r.WithContext(audit.Because(x.r.Context(), e))
}
