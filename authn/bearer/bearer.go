// Package bearer is the way in for programs that send tokens: JWTs of issuers
// that the settings trust, access tokens that an issuer vouches for when it is
// asked, and the gateway's own access tokens, which it gives for a JWT at the
// token endpoint (RFC 7523), as the W&B SDK does it.
//
// It claims a credential by its shape and, of a JWT, by the issuer that it names:
// that choice is made before anything is verified and only among the issuers of
// the settings, and nothing that a token says makes the gateway ask anywhere
// else. What is claimed is verified by that issuer's keys alone.
//
// It relies on authn/issuer for what issuers publish, on golang-jwt and keyfunc
// for signatures, on session.Tokens for the tokens it gives, on authn.Memory for
// what was verified a moment ago.
//
// The package never puts a token, a secret or a key into a log line or an error.
package bearer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
	"gatehouse/config"
	"gatehouse/session"
)

// Deps is what the route needs of the house around it.
type Deps struct {
	// PublicURL is where programs reach the gateway; it is the issuer of its tokens.
	PublicURL *url.URL
	// TokenPath is the token endpoint's.
	TokenPath string
	// Prefix is what the gateway's own paths are below.
	Prefix string
	// Teams are the application's, whose names the preset wandb takes for audiences.
	Teams []config.Team
	// Claims are those that the policy asks for, beside what the settings map.
	Claims []string
	// Accounts are the service accounts, some of which prove themselves by a JWT.
	Accounts authn.Accounts
	// ForeignPrefixes are the subject prefixes of all other routes. A subject
	// that begins with one of them is refused.
	ForeignPrefixes []string
	Keys            session.Keyring
	Store           session.Store
	// Register is where what is remembered can be ended; nil means nowhere.
	Register *session.Register
	// Audit is told of exchanges that are refused; nil tells nobody.
	Audit audit.Trail
	// Calls is told of what issuers are asked, and Signed of the exchanges of JWTs for
	// access tokens.
	Calls  meter.Calls
	Signed authn.Signed
	Log    *slog.Logger
}

func (d Deps) withLog() Deps {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

// verifyTime bounds one verification. A W&B client gives a whole request ten
// seconds at the least, and tries again.
const verifyTime = 8 * time.Second

// checksAtOnce is how many tokens are verified at once, besides those that wait for an
// issuer's keys.
const checksAtOnce = 1000

// route is the way in.
type route struct {
	Deps
	name     string
	settings config.Bearer
	issuers  []*trusted
	memory   *authn.Memory
	issued   session.Tokens
	exchange *exchange // nil if the endpoint is the application's
	refusals *rate.Limiter
}

// New makes the route. It opens no connection: the issuers may be down. Its
// errors are faults of the settings.
func New(name string, c config.Bearer, d Deps) (authn.Route, error) {
	b, err := newRoute(name, c, d)
	if err != nil {
		return authn.Route{}, fmt.Errorf("bearer: route %s: %w", name, err)
	}
	return b.route(), nil
}

func newRoute(name string, c config.Bearer, d Deps) (*route, error) {
	d = d.withLog()
	d.Log = d.Log.With("route", name)
	memory, err := authn.NewMemory(d.Register.Remembering(authn.MemoryOptions{
		Lifetime: c.Cache.Lifetime.Std(), RejectedLifetime: c.Cache.RejectedLifetime.Std(), Size: c.Cache.Size, Limit: verifyTime,
		AtOnce: checksAtOnce + issuer.MaxWaiting*len(c.Issuers),
	}))
	if err != nil {
		return nil, err
	}
	b := &route{
		Deps: d, name: name, settings: c, memory: memory, issued: session.NewTokens(d.Store, d.Keys, d.Register),
		// What is refused is logged, but a flood of it does not become one of lines.
		refusals: rate.NewLimiter(rate.Every(100*time.Millisecond), 100),
	}
	for _, settings := range c.Issuers {
		t, err := newTrusted(name, settings.WithPreset(d.Teams), c.Cache, d, b.foreign(settings))
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", settings.Issuer, err)
		}
		b.issuers = append(b.issuers, t)
	}
	if !c.Exchange.Disabled {
		b.exchange = newExchange(b)
	}
	return b, nil
}

// foreign are the prefixes of all other routes and issuers, and of accounts: no
// token names one but by being registered.
func (b *route) foreign(own config.Issuer) []string {
	out := append(slices.Clone(b.ForeignPrefixes), config.AccountPrefix)
	for _, other := range b.settings.Issuers {
		if other.Issuer != own.Issuer && other.SubjectPrefix != "" {
			out = append(out, other.SubjectPrefix)
		}
	}
	return out
}

func (b *route) route() authn.Route {
	r := authn.Route{
		Name:          b.name,
		Issuers:       b.issuerNames(),
		Authenticator: authn.AuthenticatorFunc(b.authenticate),
		Claims:        b.claims,
		Challenge:     `Bearer realm="` + b.origin() + `"`,
		Allow:         b.allow,
		Ready:         b.ready,
		Recall:        func() []authn.Recall { return []authn.Recall{b.memory.Recall("token")} },
	}
	if b.settings.Unknown != "ignore" {
		r.Last = authn.AuthenticatorFunc(b.refuseUnknown)
	}
	if b.exchange != nil {
		r.Challenge += `, resource_metadata="` + b.origin() + resourceMetadata + `"` // RFC 9728, section 5.1
		r.Mount = b.exchange.mount
	}
	return r
}

// authenticate proves the request's token, if it is one of ours.
func (b *route) authenticate(r *http.Request) (authn.Identity, error) {
	token, err := credential(r)
	if err != nil {
		return authn.Identity{}, err
	}
	return b.memory.VerifyToken(r.Context(), token, func(ctx context.Context) (authn.Identity, error) {
		return b.prove(ctx, b.logOf(r), token)
	})
}

// logOf is the route's log with what tells this request from others. Who asks for
// the same token at once shares the one's who came first.
func (b *route) logOf(r *http.Request) *slog.Logger {
	return authn.LogOf(b.Log, r)
}

// credential reads the token of a request. A JWT or a token of the gateway may
// stand in the place of a W&B API key, where a client has no other.
func credential(r *http.Request) (string, error) {
	token, err := authn.BearerOf(r)
	if !errors.Is(err, authn.ErrNoCredential) {
		return token, err
	}
	basic, err := authn.BasicOf(r)
	if err != nil {
		return "", authn.ErrNoCredential // a fault in it is for who knows Basic to tell
	}
	if strings.HasPrefix(basic.Password, authn.TokenPrefix) || isJWT(basic.Password) && ownName(basic.Username, basic.Password) {
		return basic.Password, nil
	}
	return "", authn.ErrNoCredential
}

// ownName says whether a JWT as a password is one, and not what a person has
// thought of: W&B clients send it under one of their names, and under a person's
// its beginning tells.
func ownName(username, password string) bool {
	return username == "" || username == "api" || username == "user" || strings.HasPrefix(password, "eyJ")
}

// prove finds out whom a token stands for. It is [authn.ErrNoCredential] for a
// token that no issuer of the settings can have made.
func (b *route) prove(ctx context.Context, log *slog.Logger, token string) (authn.Identity, error) {
	switch b.kindOf(token) {
	case foreignToken:
	case issuedToken:
		return b.proveIssued(ctx, log, token)
	case jwtToken:
		id, _, err := b.proveJWT(ctx, log, token)
		return id, err
	case opaqueToken:
		return b.proveOpaque(ctx, log, b.introspects(token), token)
	}
	return authn.Identity{}, authn.ErrNoCredential
}

// proveIssued finds out whom one of the gateway's own tokens stands for. The
// settings may have changed since it was given.
func (b *route) proveIssued(ctx context.Context, log *slog.Logger, token string) (authn.Identity, error) {
	id, sub, err := b.issued.Find(ctx, token)
	if err != nil {
		return authn.Identity{}, err
	}
	t := b.issuer(id.Issuer)
	if t == nil || id.Route != b.name {
		return authn.Identity{}, b.refused(ctx, log, nil, refusal{check: "iss", sentence: "The token’s issuer is no longer trusted.", seen: id.Issuer})
	}
	if id, err = t.again(id, sub); err != nil {
		return authn.Identity{}, b.refused(ctx, log, t, err)
	}
	return id, nil
}

// proveJWT verifies a JWT by the keys of the issuer that it names. What looks like
// one and can't be read is nobody's token, and no reason to look further.
func (b *route) proveJWT(ctx context.Context, log *slog.Logger, token string) (authn.Identity, verified, error) {
	said, err := claimsOf(token)
	if err != nil {
		return authn.Identity{}, verified{}, b.refused(ctx, log, nil, unreadable(err))
	}
	t := b.issuer(issuerOf(said))
	if t == nil {
		return authn.Identity{}, verified{}, authn.ErrNoCredential
	}
	v, err := t.verify(ctx, token, said)
	if err != nil {
		return authn.Identity{}, verified{}, b.refused(ctx, log, t, err)
	}
	id, err := t.identity(v)
	if err != nil {
		return authn.Identity{}, verified{}, b.refused(ctx, log, t, err)
	}
	return id, v, nil
}

// introspects returns the issuer whose opaque tokens begin like this one, nil if
// there is none.
func (b *route) introspects(token string) *trusted {
	var best *trusted
	for _, t := range b.issuers {
		if in := t.introspection; in != nil && strings.HasPrefix(token, in.settings.TokenPrefix) &&
			(best == nil || len(in.settings.TokenPrefix) > len(best.introspection.settings.TokenPrefix)) {
			best = t
		}
	}
	return best
}

func (b *route) proveOpaque(ctx context.Context, log *slog.Logger, t *trusted, token string) (authn.Identity, error) {
	id, err := t.introspect(ctx, token)
	if err != nil {
		return authn.Identity{}, b.refused(ctx, log, t, err)
	}
	return id, nil
}

// refuseUnknown refuses a credential that no route knows, so that its request does
// not go on as somebody else's.
func (b *route) refuseUnknown(r *http.Request) (authn.Identity, error) {
	if blank(r, "Authorization") {
		if len(authn.KeysOf(r.Header)) == 0 {
			return authn.Identity{}, authn.ErrNoCredential
		}
		no := refusal{check: "format", sentence: "No API keys are taken here."}
		return authn.Identity{}, b.refused(r.Context(), b.logOf(r), nil, no)
	}
	if _, err := authn.BasicOf(r); errors.Is(err, authn.ErrNoCredential) && isBasic(r) {
		return authn.Identity{}, err // an empty one, which browsers' applications send
	}
	token, err := credential(r)
	if errors.Is(err, authn.ErrNoCredential) {
		no := refusal{check: "format", sentence: "That kind of credential is not known here."}
		return authn.Identity{}, b.refused(r.Context(), b.logOf(r), nil, no)
	}
	if err != nil {
		return authn.Identity{}, err
	}
	no := refusal{check: "format", sentence: "That kind of token is not known here."}
	if isJWT(token) {
		no = b.notTrusted(token)
	}
	return authn.Identity{}, b.refused(r.Context(), b.logOf(r), nil, no)
}

// blank says whether a header is not there, or says nothing.
func blank(r *http.Request, name string) bool {
	return !slices.ContainsFunc(r.Header[name], func(v string) bool { return strings.Trim(v, " \t") != "" })
}

func isBasic(r *http.Request) bool {
	scheme, _ := authn.Scheme(r.Header["Authorization"][0])
	return strings.EqualFold(scheme, "Basic")
}

func (b *route) issuer(name string) *trusted {
	for _, t := range b.issuers {
		if t.settings.Issuer == name && name != "" {
			return t
		}
	}
	return nil
}

func (b *route) issuerNames() []string {
	var names []string
	for _, t := range b.issuers {
		names = append(names, t.settings.Issuer)
	}
	return names
}

// origin is the issuer of the gateway's tokens, and what they are good at.
func (d Deps) origin() string { return d.PublicURL.Scheme + "://" + d.PublicURL.Host }

// allow lets in whom the issuer's settings let in, at this very request.
func (b *route) allow(id authn.Identity) error {
	t := b.issuer(id.Issuer)
	switch {
	case t == nil:
		return &authn.NotAllowed{Missing: "Who vouched for you is no longer trusted here."}
	case id.Account.Name != "":
		return nil
	}
	return t.admission.Allow(id)
}

// ready reports whether tokens of any issuer can be judged. One that is down keeps
// only its own waiting.
func (b *route) ready(ctx context.Context) error {
	var faults []error
	for _, t := range b.issuers {
		if t.introspection != nil && t.settings.KeyFile == "" && t.settings.JWKSURL == "" {
			if doc, err := t.discover(ctx); err == nil && doc.JWKSURI == "" {
				return nil // its tokens are all opaque
			}
		}
		err := t.keys.Ready(ctx)
		if err == nil {
			return nil
		}
		faults = append(faults, fmt.Errorf("bearer: issuer %s: %w", t.settings.Issuer, err))
	}
	return errors.Join(faults...)
}
