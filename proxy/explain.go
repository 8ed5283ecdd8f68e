package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/json/jsontext"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gatehouse/authn"
	"gatehouse/proxy/policy"
)

// The words for what becomes of a request that is not refused. A refusal is its
// status: "401", "403" and so on.
const (
	// Allow is on to the upstream, with an identity or a credential that the
	// application judges.
	Allow = "allow"
	// Public is on to the upstream, as nobody.
	Public = "public"
	// SignIn leads a browser to sign-in.
	SignIn = "sign-in"
	// Own is a path of the gateway itself.
	Own = "own"
)

// Explanation is what would become of a request, and why.
type Explanation struct {
	// Decision is one of the words above, or the status of a refusal.
	Decision string
	// Status is that of the gateway's answer; zero if the upstream answers.
	Status int
	// Sentence is what the client is told; Cause is what the log would have.
	Sentence string
	Cause    error
	// Location is where a browser is led.
	Location string

	// Upstream is the name of the application, Target its URL; empty if none answers
	// for the address.
	Upstream, Target string
	// Rule is the rule that decides; its zero value is none.
	Rule policy.Rule
	// Readings are the ways in which the path can be read, if there are several, and
	// the rule that each falls under.
	Readings []Reading

	// Asked says that it was asked whom the request comes from.
	Asked bool
	// Known says that it is known; Subject is who it is, with their teams.
	Known   bool
	Subject policy.Subject
	// Application says that the credential is the application's to judge.
	Application bool

	// Host and Header are what the upstream gets, but for the length of the body; a
	// nil Header is nothing at all.
	Host   string
	Header http.Header
	// Assertion is the name of the signed header.
	Assertion string
	// Sent are the names of those headers that the client said, as it said them.
	Sent []string
	// Dropped are the headers of the client that the upstream does not get.
	Dropped []Dropped
}

// Reading is one way to read a path.
type Reading struct {
	Path string
	// Rule is what it falls under.
	Rule policy.Rule
}

// Dropped is a header that does not go on.
type Dropped struct {
	Name string
	// Why is for people.
	Why string
}

// Explain says what would become of r, by the code that decides about requests. It
// sends nothing, and writes no access line. By stands for the chain; with nil the
// chain itself is asked, which may open connections. R is as a server reads it, and
// is changed.
func (h *Handler) Explain(r *http.Request, by authn.Authenticator) Explanation {
	if by == nil {
		by = h.o.Chain
	}
	t := &trial{by: by}
	came := r.Header.Clone()
	x := h.begin(&mute{header: http.Header{}}, r)
	x.trial = t
	let := slices.Sorted(maps.Keys(r.Header)) // what a client may send
	switch {
	case x.asked != nil: // a question about another request, to the gateway itself
		t.own = true
	case h.isElsewhere(r):
		x.asked = &dialect{allowed: http.StatusOK, rest: "/", told: h.told()}
		x.question = question{r.Method, r.Host, r.RequestURI}
		for _, name := range slices.Sorted(maps.Keys(came)) {
			x.mustNotBring(name)
		}
		h.serveAsked(x)
	case h.decide(x):
		x.upstream.forward(x)
	}
	e := Explanation{
		Decision: t.decision(x), Sentence: t.sentence, Cause: t.cause, Rule: x.rule,
		Asked: t.asked, Known: x.standing != nil, Application: x.foreign, Assertion: h.contract.assertion,
	}
	if x.upstream != nil {
		e.Upstream, e.Readings = x.upstream.name, h.readings(x)
		if x.upstream.target != nil {
			e.Target = x.upstream.target.String()
		}
	}
	if x.standing != nil {
		e.Subject = x.standing.Subject
	}
	switch {
	case t.sent != nil:
		e.Host, e.Header = t.sent.Host, t.sent.Header
		delete(e.Header, "Content-Length")
		if e.Header.Get("User-Agent") == "" {
			delete(e.Header, "User-Agent") // that is how the transport is told to send none
		}
		e.compare(came, let)
	case x.asked != nil && x.status == http.StatusOK:
		e.Host, e.Header = x.r.Host, h.answer(x)
	case x.status == http.StatusFound:
		e.Status, e.Location = x.status, x.Header().Get("Location")
	default:
		e.Status = x.status
	}
	return e
}

// isElsewhere reports whether a request is for an application behind another proxy,
// which would ask about it.
func (h *Handler) isElsewhere(r *http.Request) bool {
	return h.elsewhere != nil && h.places.find(r) == nil && slices.Contains(h.o.ForwardAuth.Hosts, hostName(r.Host))
}

// answer is what the proxy that asks is told to put into the request.
func (h *Handler) answer(x *exchange) http.Header {
	out := http.Header{}
	for _, name := range h.contract.names() {
		if v := x.Header()[name]; len(v) > 0 && v[0] != "" {
			out[name] = v
		}
	}
	return out
}

// readings are the rules that each way to read the path falls under, if there are
// several ways.
func (h *Handler) readings(x *exchange) []Reading {
	at := x.place()
	if len(at.Paths) == 1 {
		return nil
	}
	var out []Reading
	for _, path := range at.Paths {
		one := at
		one.Paths = []string{path}
		rule, err := h.policy.Find(one)
		if err == nil {
			out = append(out, Reading{path, rule})
		}
	}
	return out
}

// compare says which of the client's headers went on and which did not. Let are
// the names of those that a client may send.
func (e *Explanation) compare(came http.Header, let []string) {
	delete(came, "Content-Length")
	for _, name := range slices.Sorted(maps.Keys(came)) {
		values, went := e.Header[name]
		if went && slices.Contains(let, name) && slices.Equal(values, came[name]) {
			e.Sent = append(e.Sent, name)
			continue
		}
		why := "not for the application"
		switch {
		case went && name == "Cookie":
			why = "without the gateway's own cookies"
			e.Sent = append(e.Sent, name)
		case name == "X-Gatehouse-Authorization" || name == "Proxy-Authorization":
			why = "for the gateway alone"
		case name == attributedName || name == attributedEmail:
			why = "may not be said by this request"
		case went:
			why = "the gateway says it itself"
		case !slices.Contains(let, name):
			why = "no client may send it"
		}
		e.Dropped = append(e.Dropped, Dropped{name, why})
	}
}

// Claims are those of the signed header, in JSON; nil if there is none.
func (e Explanation) Claims() []byte {
	parts := strings.Split(e.Header.Get(e.Assertion), ".")
	if len(parts) != 3 {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !jsontext.Value(text).IsValid() {
		return nil
	}
	return bytes.TrimSpace(text)
}

// trial is what a request is held by that is only explained, and what came of it.
type trial struct {
	by       authn.Authenticator
	asked    bool
	own      bool
	sentence string
	cause    error
	sent     *http.Request
}

func (t *trial) authenticate(r *http.Request) (authn.Identity, error) {
	t.asked = true
	return t.by.Authenticate(r)
}

// say notes what a client is told, and why. Nobody listens for a request that is
// real.
func (t *trial) say(sentence string, cause error) {
	if t != nil {
		t.sentence, t.cause = sentence, cause
	}
}

// RoundTrip keeps what would be sent to the upstream, and answers in its place.
func (t *trial) RoundTrip(r *http.Request) (*http.Response, error) {
	t.sent = r
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: r,
	}, nil
}

func (t *trial) decision(x *exchange) string {
	goes := t.sent != nil || x.asked != nil && x.status == http.StatusOK
	switch {
	case t.own:
		return Own
	case goes && x.public:
		return Public
	case goes:
		return Allow
	case x.status == http.StatusFound:
		return SignIn
	}
	return strconv.Itoa(x.status)
}
