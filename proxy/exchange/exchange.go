// Package exchange carries identities into an application that believes no header:
// it gets an access token of the application's own for somebody, as the W&B SDK
// gets one for itself (RFC 7523, section 2.1). The gateway is the issuer there. It
// signs a JWT that names the person, the application verifies that by the keys
// which the gateway publishes, and gives a token for it.
//
// A token is asked for once, by whoever needs it first, and kept until shortly
// before its end: in this process, and sealed in the store, so that replicas share
// it. So is a refusal, in this process and for a moment. What can't be found out is
// neither, and is not kept.
package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"gatehouse/authn"
	"gatehouse/authn/meter"
	"gatehouse/config"
	"gatehouse/proxy/assertion"
	"gatehouse/session"
)

const (
	// storeTime bounds one question to the store. Without it the application is asked.
	storeTime = time.Second
	// flightTime bounds all of one exchange.
	flightTime = callTime + 2*storeTime + time.Second
	// atOnce is how many exchanges may be under way.
	atOnce = 256
	// size is how many people's tokens are kept, and as many refusals.
	size = 10_000
	// refusedTime is how long a refusal counts: who is given an account need not
	// wait for longer.
	refusedTime = 15 * time.Second
	// longest is how long a token is used at most, whatever the application says of it.
	longest = time.Hour
	// pause is the shortest time between two tokens that one person's requests are
	// found to be refused with. An application that refuses every token, or answers
	// 401 for reasons of its own, is not asked for more.
	pause = 10 * time.Second
)

// Deps are what an [Exchanger] is given.
type Deps struct {
	// PublicURL is the gateway's, and the issuer that the application knows.
	PublicURL *url.URL
	// Signer signs what is exchanged.
	Signer *assertion.Signer
	// Keys and Store keep tokens for other replicas.
	Keys  session.Keyring
	Store session.Store
	// Calls is told of what the application is asked.
	Calls meter.Calls
	Log   *slog.Logger
}

// Exchanger gets the access tokens of one application, and keeps them. It is safe
// for concurrent use.
type Exchanger struct {
	name     string
	audience string
	claim    string // what the application knows people by
	issuer   string
	signer   *assertion.Signer
	endpoint endpoint
	results  session.Results
	log      *slog.Logger

	kept    *otter.Cache[string, answer] // by the subject that the application sees
	flights singleflight.Group
	places  chan struct{} // one for each exchange under way

	mu      sync.Mutex // held while it is decided what to forget
	dropped *otter.Cache[string, dropped]
}

// answer is what came of an exchange, and its end.
type answer struct {
	token string
	err   error // the application's refusal
	until time.Time
}

// dropped is the token that somebody's requests were last refused with.
type dropped struct {
	token string
	at    time.Time
}

// New makes the exchanger of an upstream. It reads the files that TLS settings name
// and opens no connection.
func New(u config.Upstream, d Deps) (*Exchanger, error) {
	if d.Signer == nil {
		return nil, errors.New("exchange: there is no signer; assertions must not be disabled")
	}
	e, err := newEndpoint(u, d.PublicURL, d.Calls)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	kept, err := otter.New(&otter.Options[string, answer]{MaximumSize: size})
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	drops, err := otter.New(&otter.Options[string, dropped]{MaximumSize: size})
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	x := &Exchanger{
		name: u.Name, audience: u.Exchange.Audience, claim: u.Exchange.Subject, issuer: d.PublicURL.String(), signer: d.Signer,
		endpoint: e, log: d.Log, kept: kept, dropped: drops, places: make(chan struct{}, atOnce),
	}
	// All that a token depends on besides whom it is for.
	purpose := fmt.Sprintf("access tokens %q", []string{x.issuer, x.audience, x.claim, cmp.Or(u.Exchange.TokenURL, u.URL), e.host})
	x.results = session.NewResults(d.Store, d.Keys, purpose)
	return x, nil
}

// Close closes the connections that are not in use.
func (x *Exchanger) Close() { x.endpoint.client.CloseIdleConnections() }

// Token is the access token by which the application knows somebody. An error that
// is a *[authn.NotAllowed] says that it does not know them, any other that it could
// not be found out.
func (x *Exchanger) Token(ctx context.Context, id authn.Identity) (string, error) {
	subject, err := x.subject(id)
	if err != nil {
		return "", err
	}
	if a, ok := x.recall(subject); ok {
		return a.token, a.err
	}
	flight := x.flights.DoChan(subject, func() (any, error) { return x.find(ctx, subject) })
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case res := <-flight:
		token, _ := res.Val.(string)
		return token, res.Err
	}
}

// Forget says that the application has answered 401 to a request with that token. It
// reports whether the next request comes with another one, so that it is worth
// making. Nothing is asked or written here: what the store has is not believed again.
func (x *Exchanger) Forget(id authn.Identity, token string) bool {
	subject, err := x.subject(id)
	if err != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if a, ok := x.recall(subject); ok && a.token != token {
		return a.err == nil // an answer that was late: there is another token by now
	}
	last, ok := x.dropped.GetIfPresent(subject)
	now := time.Now()
	if ok && now.Sub(last.at) < pause {
		_, again := x.recall(subject)
		return last.token == token && !again
	}
	x.dropped.Set(subject, dropped{token, now})
	x.kept.Invalidate(subject)
	return true
}

// subject is what the application knows somebody by.
func (x *Exchanger) subject(id authn.Identity) (string, error) {
	subject, sentence := id.Email, "The application behind this gateway knows people by their e-mail address, and your sign-in does not vouch for one."
	switch x.claim {
	case "username":
		subject, sentence = id.Username, "The application behind this gateway knows people by their user name, and your sign-in does not say yours."
	case "subject":
		subject = id.Subject
	}
	if subject == "" {
		return "", fmt.Errorf("exchange: %s: no %s to name them by: %w", x.name, x.claim, &authn.NotAllowed{Missing: sentence})
	}
	return subject, nil
}

// recall returns what this process remembers.
func (x *Exchanger) recall(subject string) (answer, bool) {
	a, ok := x.kept.GetIfPresent(subject)
	return a, ok && time.Now().Before(a.until)
}

// find gets a token from the store or from the application, for all who wait. It goes
// on when one of them gives up.
func (x *Exchanger) find(ctx context.Context, subject string) (token string, err error) {
	defer func() {
		if v := recover(); v != nil { // on a goroutine of its own, it would end the gateway
			token, err = "", fmt.Errorf("exchange: %s: panicked: %v", x.name, v)
		}
	}()
	if a, ok := x.recall(subject); ok { // by a flight that has just ended
		return a.token, a.err
	}
	select {
	case x.places <- struct{}{}:
		defer func() { <-x.places }()
	default:
		return "", fmt.Errorf("exchange: %s: %w", x.name, authn.ErrCrowded)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTime)
	defer cancel()
	if token, ok := x.shared(ctx, subject); ok {
		return token, nil
	}
	token, life, err := x.trade(ctx, subject)
	var not *authn.NotAllowed
	switch {
	case errors.As(err, &not):
		x.kept.Set(subject, answer{err: err, until: time.Now().Add(refusedTime)})
		return "", err
	case err != nil:
		return "", err
	}
	x.kept.Set(subject, answer{token: token, until: time.Now().Add(life)})
	x.log.Debug("access token of the application taken", "upstream", x.name, "for", subject, "lifetime", life.String())
	x.flights.Forget(subject) // who comes from now on recalls it, or needs another one
	x.share(ctx, subject, token, life)
	return token, nil
}

// trade asks the application.
func (x *Exchanger) trade(ctx context.Context, subject string) (token string, life time.Duration, err error) {
	signed, _, err := x.signer.SignSubject(subject, x.audience, 0)
	if err != nil {
		return "", 0, fmt.Errorf("exchange: %s: name %q: %w", x.name, authn.Bounded(subject), err)
	}
	if token, life, err = x.endpoint.ask(ctx, signed); err != nil {
		return "", 0, fmt.Errorf("exchange: %s: %w", x.name, err)
	}
	return token, life, nil
}

// gone reports whether requests were refused with a token, be it a moment ago.
func (x *Exchanger) gone(subject, token string) bool {
	last, ok := x.dropped.GetIfPresent(subject)
	return ok && last.token == token
}

// shared takes over what another replica has got, but no token that is gone.
func (x *Exchanger) shared(ctx context.Context, subject string) (token string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	id, token, ok := x.results.Get(ctx, subject)
	if !ok || token == "" {
		return "", false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone(subject, token) {
		return "", false
	}
	x.kept.Set(subject, answer{token: token, until: id.Expires})
	return token, true
}

// share lets other replicas have a token.
func (x *Exchanger) share(ctx context.Context, subject, token string, life time.Duration) {
	if x.gone(subject, token) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := x.results.Put(ctx, subject, authn.Identity{Issuer: x.issuer, Subject: subject}, token, life); err != nil {
		x.log.Debug("an access token is not shared with other replicas", "upstream", x.name, "err", err)
	}
}
