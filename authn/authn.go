// Package authn is the contract between the ways in (routes) and the rest of
// the gateway: who a request comes from, how that was proved, and what is said
// when it could not be.
//
// The rules of the chain:
//
//   - Claim or pass. An [Authenticator] claims only what is its own kind of
//     credential. What it claims is decided there and then: a refused claim
//     never becomes somebody else by asking the next one.
//   - Unknown is closed. Whatever is neither a proof, nor the absence of a
//     credential, nor its refusal is an error, and nobody is let in on an error.
//   - Proving is not signing in. An authenticator reads the request and can't
//     write a response. Signing in is an ordinary handler that a [Route] mounts
//     and that ends in starting a session.
//
// The package is a leaf: it imports nothing of this module but the counters, and does
// no I/O.
package authn

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Kind tells people from programs.
type Kind string

// The kinds of identity.
const (
	Person  Kind = "person"
	Service Kind = "service"
)

// Identity is who a request comes from, as far as one route could prove it.
// It is a value; nothing in it is ever shared with a secret.
type Identity struct {
	// Issuer and Subject together name one person or service for ever: Subject
	// is never given to anyone else within Issuer, and it carries the route's
	// subject prefix, so it is unique over all routes of the gateway too.
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	Kind    Kind   `json:"kind"`
	// Username and Name are for people to read. Either may be empty.
	Username string `json:"username,omitempty"`
	Name     string `json:"name,omitempty"`
	// Email is empty unless the route's provider vouches for it.
	Email string `json:"email,omitempty"`
	// Groups are spelled as the provider spells them.
	Groups []string `json:"groups,omitempty"`
	// Teams are the applications' teams that the proof itself names; groups stand for
	// others.
	Teams []string `json:"teams,omitempty"`
	// Claims are what the proof says of the names that the policy asks for.
	Claims map[string][]string `json:"claims,omitempty"`
	// Route is the name of the route that proved the identity.
	Route string `json:"route"`
	// AuthTime is when the person last proved themselves to the provider.
	AuthTime time.Time `json:"auth_time"`
	// Expires is when the proof is worthless; zero means it ends with the session.
	Expires time.Time `json:"exp,omitzero"`
	// Account is what a service account is to the application; zero for people,
	// and for services that are not registered.
	Account Account `json:"-"`
	// Access names the session or token by which somebody came, if it can be ended by
	// itself. It opens nothing.
	Access string `json:"-"`
	// Onward says that the application knows the credential too, and judges by it:
	// it goes on.
	Onward bool `json:"-"`
}

// The two answers of an [Authenticator] that are not a failure to find out.
var (
	// ErrNoCredential: the request carries no credential of this kind.
	ErrNoCredential = errors.New("no credential")
	// ErrRejected: the credential is wrong, expired or revoked.
	ErrRejected = errors.New("credential rejected")
)

// ErrApplication says that the credential is the application's own and for it to
// judge, and that the settings let it: the request goes on with the credential
// and without any identity.
var ErrApplication = errors.New("credential is the application's own")

// Rejected is an [ErrRejected] that can tell who sent the credential what is
// wrong with it.
type Rejected struct {
	// Sentence is for them. It holds nothing of the credential but what they know.
	Sentence string
	// Err is for the log.
	Err error
}

func (e *Rejected) Error() string { return e.Err.Error() }

// Is makes it a kind of [ErrRejected].
func (e *Rejected) Is(target error) bool { return target == ErrRejected }

// Unwrap returns the cause.
func (e *Rejected) Unwrap() error { return e.Err }

// Throttled refuses to look at a credential for now, whether or not it is right:
// 429 (RFC 6585, section 4). To those who don't know it, it is [ErrRejected].
type Throttled struct {
	// After is how long to wait.
	After time.Duration
}

func (e *Throttled) Error() string {
	return "too many attempts; wait " + e.After.Round(time.Second).String()
}

// Seconds is how long to wait, rounded up, as Retry-After has it.
func (e *Throttled) Seconds() int { return max(1, int(math.Ceil(e.After.Seconds()))) }

// RetryAfter is how long to wait, as the header of that name has it.
func (e *Throttled) RetryAfter() string { return strconv.Itoa(e.Seconds()) }

// Sentence tells it to people.
func (e *Throttled) Sentence() string { return "Too many attempts. " + e.Again() }

// Again tells people when to try again.
func (e *Throttled) Again() string {
	wait := strconv.Itoa(e.Seconds()) + " seconds"
	switch s := e.Seconds(); {
	case s == 1:
		wait = "a second"
	case s >= 100:
		wait = strconv.Itoa((s+59)/60) + " minutes"
	}
	return "Try again in " + wait + "."
}

// Is makes it a kind of [ErrRejected].
func (e *Throttled) Is(target error) bool { return target == ErrRejected }

// An Authenticator recognises one kind of credential. It only reads the request.
//
//   - no credential of its kind: [ErrNoCredential]; the next one is asked
//   - the application's own: [ErrApplication]; the chain stops
//   - wrong, expired or revoked: an error that wraps [ErrRejected]; the answer
//     is 401 (429 for a *[Throttled]) and the chain stops
//   - could not find out: any other error; the answer is 503, the chain stops
//     and nobody is let in
//
// An Identity that comes with an error is to be ignored.
type Authenticator interface {
	Authenticate(r *http.Request) (Identity, error)
}

// AuthenticatorFunc makes a function an [Authenticator].
type AuthenticatorFunc func(r *http.Request) (Identity, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(r *http.Request) (Identity, error) { return f(r) }

// Chain asks its members in order; the first that claims a credential decides.
// An empty chain answers [ErrNoCredential].
type Chain []Authenticator

// Authenticate returns the first answer that is not [ErrNoCredential].
func (c Chain) Authenticate(r *http.Request) (Identity, error) {
	for _, a := range c {
		id, err := a.Authenticate(r)
		switch {
		case err == nil && id.Subject == "":
			return Identity{}, errors.New("authn: an authenticator vouched for nobody")
		case err == nil:
			return id, nil
		case !errors.Is(err, ErrNoCredential):
			return Identity{}, err
		}
	}
	return Identity{}, ErrNoCredential
}

// Proof is what a sign-in hands to the session.
type Proof struct {
	Identity Identity
	// Grant is the route's own means of renewal and sign-out, for instance a
	// refresh token. Only the route that made it reads it.
	Grant []byte
	// RenewAt is when to ask the provider again; zero means never.
	RenewAt time.Time
	// SID names the provider's own session (OpenID Connect Front-Channel Logout,
	// section 3), of at most [MaxID] bytes; empty if the provider did not say.
	SID string
	// IssuedAt is when the provider vouched for the sign-in, by its own clock, and
	// does not change at a renewal: what it ended afterwards is this session too.
	// Zero if that is not known.
	IssuedAt time.Time
}

// Route is one way in. Every field but Name may be zero.
type Route struct {
	// Name is unique and made of a-z, 0-9 and "-".
	Name string
	// Issuer is whose identities are this route's, when all have one. Somebody
	// whom another issuer vouched for, before the settings changed, is nobody:
	// neither their session nor their tokens belong to the new provider.
	Issuer string
	// Issuers are whose identities are this route's, when there are several.
	Issuers []string
	// Label is what a sign-in button says.
	Label string
	// Authenticator reads credentials that requests carry themselves.
	Authenticator Authenticator
	// Claims says by its place and shape alone whether the credential of a request is
	// one for Authenticator, and names who is then asked about it. It asks nobody; its
	// errors are those of Authenticator.
	Claims func(r *http.Request) (asks string, err error)
	// Upstreams are the names of those that know the credentials which are the
	// application's own; nil if the route has none such.
	Upstreams []string
	// Last reads what no route has claimed, to refuse what would otherwise count as
	// absent. It is asked after all routes' Authenticators and before the session.
	Last Authenticator
	// Challenge is the route's WWW-Authenticate value (RFC 9110, section 11.6.1).
	Challenge string
	// SignInPath is where a browser starts to sign in. It understands the query
	// parameters rd (where to land afterwards) and login_hint.
	SignInPath string
	// Mount adds the route's own handlers.
	Mount func(*http.ServeMux)
	// Renew asks the provider for a fresh proof. An error that wraps
	// [ErrRejected] ends the session; any other means "could not find out". So
	// does a proof that ends when the old one did; its grant is kept.
	Renew func(ctx context.Context, p Proof) (Proof, error)
	// SignOutURL is where the browser goes to sign out at the provider too;
	// empty when the provider offers no such place.
	SignOutURL func(p Proof) string
	// Revoke has the provider take back what it granted for a session that the
	// person has ended (RFC 7009). Nothing depends on it, and ctx says how long it
	// may take.
	Revoke func(ctx context.Context, p Proof) error
	// FrontChannel ends the session of the provider that the query names by iss and
	// sid, and no other (OpenID Connect Front-Channel Logout, section 2). It has a
	// path of its own; this is for who has registered another.
	FrontChannel http.HandlerFunc
	// Allow says whether the route lets this identity in, on every request, so
	// that a change of settings acts at once on live sessions. Its refusal is a
	// *[NotAllowed]. It is pure.
	Allow func(Identity) error
	// Ready reports whether the route's provider can be used right now.
	Ready func(context.Context) error
	// Recall is how often what the route remembers did for a question.
	Recall func() []Recall
	// Hub says that the page at SignInPath offers the other routes too, so that
	// people need not choose before it.
	Hub bool
	// Close gives back what the route holds. Requests must have ended.
	Close func() error
}

// Vouches reports whether id is one of the route's own. A session outlives
// the settings that it was made under.
func (r Route) Vouches(id Identity) bool {
	return r.Name == id.Route && (r.Issuer == "" || r.Issuer == id.Issuer) && (r.Issuers == nil || slices.Contains(r.Issuers, id.Issuer))
}

// NotAllowed refuses somebody who has proved who they are: 403, never a redirect.
type NotAllowed struct {
	// Missing is a sentence for the person: what they would need.
	Missing string
}

func (e *NotAllowed) Error() string { return "not allowed: " + e.Missing }

// Finding is one line of a check: something that was looked at, how it is, and
// what to do if it is wrong.
type Finding struct {
	// OK is false for a fault.
	OK bool
	// What was looked at, in a few words.
	What string
	// Detail is what was seen.
	Detail string
	// Fix is what to do; empty when OK.
	Fix string
}
