package proxy

import (
	"fmt"
	"net/http"

	"gatehouse/authn"
)

// The headers by which a program says for whom it works. They are hints to the
// application and never an identity.
const (
	attributedName  = "X-Wandb-Username"
	attributedEmail = "X-Wandb-User-Email"
)

// checkAttribution refuses a word that headers.attribution does not know.
func checkAttribution(mode string) error {
	switch mode {
	case "", "members", "keep", "strip":
		return nil
	}
	return fmt.Errorf("attribution %q is not one of members, keep, strip", mode)
}

// attribute drops what the request may not say about for whom it works. Each of
// the two headers is judged for itself.
func (x *exchange) attribute(h http.Header) {
	mode := x.h.o.Headers.Attribution
	if mode == "keep" || x.foreign && mode != "strip" {
		return // or the application judges, as it judges the credential
	}
	for _, name := range [...]string{attributedName, attributedEmail} {
		values, sent := h[name]
		if !sent || mode != "strip" && len(values) == 1 && x.mayName(name, values[0]) {
			continue
		}
		delete(h, name)
		if len(values) != 1 || values[0] != "" { // W&B clients send empty ones
			x.h.o.Log.Debug("attribution dropped", "request_id", x.id[0], "route", x.identity.Route, "subject", x.identity.Subject, "header", name)
		}
	}
}

// mayName reports whether the request may say that it works for who: a person
// for themselves, a service account for the people of its team.
func (x *exchange) mayName(header, who string) bool {
	id := x.identity
	switch {
	case who == "":
		return false
	case id.Kind == authn.Service:
		return id.Account.Team != "" && x.h.o.Accounts.Member(id.Account.Team, who)
	case id.Kind != authn.Person:
		return false // on a public path nobody is known
	case header == attributedEmail:
		return authn.FoldASCII(who) == authn.FoldASCII(id.Email)
	}
	who = authn.FoldASCII(who)
	return who == authn.FoldASCII(id.Username) || who == authn.FoldASCII(id.Subject)
}
