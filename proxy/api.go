package proxy

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/page"
	"gatehouse/session"
)

// Register is who is signed in: the part of session.Register that the API needs.
type Register interface {
	// Of lists a person's accesses.
	Of(ctx context.Context, p session.Person) ([]session.Access, error)
	// Who returns the one person who goes by a name, or a *session.Several.
	Who(ctx context.Context, name, issuer string) (p session.Person, found bool, err error)
	// EndOne ends one access of a person, and says whether they had one of that id.
	EndOne(ctx context.Context, p session.Person, id string) (had bool, err error)
	// EndOthers ends all of a person's but one, what is remembered of their passwords
	// too, and names what there was.
	EndOthers(ctx context.Context, p session.Person, keep string) (ended []string, err error)
}

// APIPath is where the API is, below the gateway's prefix.
const APIPath = "/api"

// openAPI describes the API; it has $COOKIE where the session cookie's name belongs.
//
//go:embed openapi.json
var openAPI []byte

// api is what the API answers, by method and path below its own. openapi.json says the
// same.
func (h *Handler) api() map[string]func(*exchange) {
	document := bytes.ReplaceAll(openAPI, []byte("$COOKIE"), []byte(h.o.Cookie))
	return map[string]func(*exchange){
		"GET /openapi.json":        func(x *exchange) { h.publish(x, document) },
		"GET /me/sessions":         h.mine(h.list),
		"DELETE /me/sessions":      h.mine(h.endAll, "except"),
		"DELETE /me/sessions/{id}": h.mine(h.endOne),
		"GET /sessions":            h.theirs(h.look),
		"DELETE /sessions":         h.theirs(h.endAll),
		"DELETE /sessions/{id}":    h.theirs(h.endOne),
	}
}

// call is a request to the API: whose accesses it is about, and what it says of them.
type call struct {
	*exchange
	person session.Person
	query  url.Values
}

// mine asks f about who comes.
func (h *Handler) mine(f func(call), may ...string) func(*exchange) {
	return func(x *exchange) {
		if !h.recognise(x) {
			return
		}
		if q, ok := h.query(x, may...); ok {
			f(call{x, session.PersonOf(x.identity), q})
		}
	}
}

// theirs asks f about whom the query names, if an administrator comes.
func (h *Handler) theirs(f func(call)) func(*exchange) {
	return func(x *exchange) {
		if !h.recognise(x) || !h.administers(x) {
			return
		}
		q, ok := h.query(x, "person", "issuer")
		if !ok {
			return
		}
		if p, ok := h.meant(x, q); ok {
			f(call{x, p, q})
		}
	}
}

// recognise finds out who asks, and that no other site has them do it. If it can't, it
// has answered.
func (h *Handler) recognise(x *exchange) bool {
	if err := h.forms.Check(x.r); err != nil {
		h.o.Log.Info("asked by another site", "request_id", x.id[0], "err", err)
		h.turnAway(x, fault{http.StatusForbidden, "Another site may not do that in your name."})
		return false
	}
	id, err := h.identify(x)
	switch {
	case err != nil && refused(err):
		h.unauthorized(x, err)
	case err != nil:
		h.outage(x, err)
	}
	x.identity = id
	x.because()
	return err == nil
}

// administers says whether who asks may see and end what others have. If not, it has
// answered, the same whether or not there is such a person.
func (h *Handler) administers(x *exchange) bool {
	var err error
	if allow := h.routes[x.identity.Route].Allow; allow != nil {
		err = allow(x.identity)
	}
	if err == nil && !h.stand(x.identity).Meets(h.o.Administrators) {
		err = &authn.NotAllowed{Missing: "You need to be an administrator of this gateway."}
	}
	if err != nil {
		h.forbid(x, err)
	}
	return err == nil
}

// query reads what may be said, each at most once. Of a misspelt query nothing is done:
// without what it was to say it could end more.
func (h *Handler) query(x *exchange, may ...string) (url.Values, bool) {
	q, err := url.ParseQuery(x.r.URL.RawQuery)
	for name, values := range q {
		if len(values) != 1 || values[0] == "" || !slices.Contains(may, name) {
			err = errors.New("proxy: an unknown parameter, or one twice")
		}
	}
	if q.Has("except") && q.Get("except") != "current" {
		err = errors.New("proxy: another value of except")
	}
	if err != nil {
		sentence := "That query is not understood. There are no parameters here."
		if len(may) > 0 {
			sentence = "That query is not understood. The parameters are, once each: " + strings.Join(may, ", ") + "."
		}
		h.turnAway(x, fault{http.StatusBadRequest, sentence})
	}
	return q, err == nil
}

// meant is whom an administrator's query names.
func (h *Handler) meant(x *exchange, q url.Values) (session.Person, bool) {
	name := q.Get("person")
	if name == "" {
		h.turnAway(x, fault{http.StatusBadRequest, "Say whose sessions: person=NAME."})
		return session.Person{}, false
	}
	p, found, err := h.o.Register.Who(x.r.Context(), name, q.Get("issuer"))
	var several *session.Several
	switch {
	case errors.As(err, &several):
		h.turnAway(x, fault{http.StatusConflict, "Several people go by that name: " + choices(several.People) + ". Say which by person=SUBJECT&issuer=ISSUER."})
	case err != nil:
		h.unlisted(x, err)
	case !found:
		h.turnAway(x, fault{http.StatusNotFound, "Nobody of that name is signed in."})
	}
	return p, found
}

func choices(people []session.Person) string {
	out := make([]string, len(people))
	for i, p := range people {
		out[i] = p.Subject + " of " + p.Issuer
	}
	return strings.Join(out, ", ")
}

// entry is an access as the API tells it.
type entry struct {
	session.Access
	// Current marks the one by which the request has come.
	Current bool `json:"current,omitzero"`
}

// look is list for an administrator. What can't be written down is not told.
func (h *Handler) look(a call) {
	e := audit.Cause(a.r.Context())
	e.Name, e.Outcome, e.Reason, e.OfIssuer, e.OfSubject = audit.Administrator, audit.Allowed, "looked at sessions and tokens", a.person.Issuer, a.person.Subject
	if err := h.trail.Record(e); err != nil {
		h.unlisted(a.exchange, err)
		return
	}
	h.list(a)
}

// list tells a person's sessions and tokens.
func (h *Handler) list(a call) {
	all, err := h.o.Register.Of(a.r.Context(), a.person)
	if err != nil {
		h.unlisted(a.exchange, err)
		return
	}
	out := make([]entry, len(all))
	for i, one := range all {
		out[i] = entry{one, one.ID == a.identity.Access}
	}
	h.tell(a.exchange, struct {
		Sessions []entry `json:"sessions"`
	}{out})
}

// endOne ends one. Another person's is like one that there is not.
func (h *Handler) endOne(a call) {
	ctx, cancel := ending(a.r)
	defer cancel()
	id := a.r.PathValue("id")
	switch had, err := h.o.Register.EndOne(ctx, a.person, id); {
	case err != nil:
		h.unended(a, err)
	case !had:
		h.turnAway(a.exchange, fault{http.StatusNotFound, "There is no such session."})
	default:
		h.ended(a, id)
	}
}

// endAll ends every one, or all but the one by which the request has come.
func (h *Handler) endAll(a call) {
	ctx, cancel := ending(a.r)
	defer cancel()
	keep := ""
	if a.query.Has("except") {
		keep = a.identity.Access
	}
	ended, err := h.o.Register.EndOthers(ctx, a.person, keep)
	if err != nil {
		h.unended(a, err)
		return
	}
	h.ended(a, ended...)
}

// endTime is how long ending accesses may take.
const endTime = 10 * time.Second

// ending is the time to end accesses in, which goes on if nobody waits for the answer.
func ending(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), endTime)
}

// note logs who has ended what of whom.
func (h *Handler) note(a call, ids []string) {
	for _, id := range ids {
		h.o.Log.Info("access ended", "request_id", a.id[0], "access", id, "subject", a.person.Subject, "issuer", a.person.Issuer,
			"by_subject", a.identity.Subject, "by_issuer", a.identity.Issuer, "by_route", a.identity.Route)
	}
}

// ended notes what has ended, and says how much that was and whose: the name that an
// administrator gave may be one that somebody else goes by.
func (h *Handler) ended(a call, ids ...string) {
	h.note(a, ids)
	h.tell(a.exchange, struct {
		Ended int `json:"ended"`
		session.Person
	}{len(ids), a.person})
}

func (h *Handler) unlisted(x *exchange, err error) {
	h.unavailable(x, err, "can't find out who is signed in", page.Outage{
		Sentence: "It can’t be found out right now who is signed in.", After: outageRetry,
	})
}

func (h *Handler) unended(a call, err error) {
	err = fmt.Errorf("proxy: end accesses of %s of %s: %w", a.person.Subject, a.person.Issuer, err)
	h.unavailable(a.exchange, err, "accesses not ended", page.Outage{
		Sentence: "Not everything may have been ended. Try again.", After: outageRetry,
	})
}
