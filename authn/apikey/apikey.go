// Package apikey is the API keys that programs send: the gateway's own, which
// stand for service accounts, and those that the application gave to its people.
//
// What is a key is told by its place in the request and by its shape alone; a
// request is asked of nobody to find out whose kind of credential it carries. The
// gateway's own keys are in the store, sealed, by their hash, or in the settings
// by their hash. The application's keys are refused, left to the application, or
// shown to it to learn whose they are.
//
// It relies on session.Store and session.Sealer for the records, on authn.Memory
// for what a key has proved, and on net/http to ask the application. No key is
// ever in a log line, an error or a page; the id of a key of the gateway may be.
package apikey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/authn"
	"gatehouse/authn/meter"
	"gatehouse/config"
	"gatehouse/session"
)

const (
	// checkTime bounds one check, of which a question to the application is a part.
	checkTime = askTime + 3*time.Second
	// ownAtOnce is how many keys of the gateway are looked up at once. Sessions use
	// the same connections to the store, and a flood of keys is not to queue before them.
	ownAtOnce = 64
	// askAtOnce is how many questions the application is asked at once.
	askAtOnce = 64
)

// Deps is what a route needs of the house around it.
type Deps struct {
	// PublicURL is where programs reach the gateway.
	PublicURL *url.URL
	// Upstream is the application to ask whose a key is.
	Upstream config.Upstream
	// Upstreams are the names of those that know the application's keys.
	Upstreams []string
	// Accounts are the service accounts that keys stand for.
	Accounts authn.Accounts
	// ForeignPrefixes are the subject prefixes of all other routes. A subject
	// that begins with one of them is refused.
	ForeignPrefixes []string
	Keys            session.Keyring
	Store           session.Store
	// Register is where what is remembered can be ended; nil means nowhere.
	Register *session.Register
	// Calls is told of what the application is asked.
	Calls meter.Calls
	Log   *slog.Logger
}

// route is one way in by API key.
type route struct {
	Deps
	name        string
	application string // what to do with the application's keys
	admission   authn.Admission
	ledger      Ledger
	uses        *uses
	viewers     *viewers // nil unless application is verify
	// A flood of one kind of keys leaves the other's places free.
	ours, theirs *checks
	refusals     *rate.Limiter
}

// New makes the route of c. It opens no connection: store and application may be
// down. Its errors are faults of the settings.
func New(name string, c config.APIKey, d Deps) (authn.Route, error) {
	k, err := newRoute(name, c, d)
	if err != nil {
		return authn.Route{}, fmt.Errorf("apikey: route %s: %w", name, err)
	}
	return k.route(), nil
}

func (k *route) route() authn.Route {
	return authn.Route{
		Name:          k.name,
		Authenticator: authn.AuthenticatorFunc(k.authenticate),
		Claims:        k.claims,
		Challenge:     `Basic realm="` + k.PublicURL.Scheme + "://" + k.PublicURL.Host + `", charset="UTF-8"`,
		Allow:         k.allow,
		Upstreams:     k.Upstreams,
		Close:         k.close,
		Recall:        k.recall,
	}
}

// recall is what the memories did, of both kinds of keys.
func (k *route) recall() []authn.Recall {
	out := []authn.Recall{k.ours.memory.Recall("key")}
	if k.theirs != nil {
		out = append(out, k.theirs.memory.Recall("application_key"))
	}
	return out
}

// allow lets service accounts in without address and groups, which they have not.
func (k *route) allow(id authn.Identity) error {
	if id.Account.Name != "" {
		return nil
	}
	return k.admission.Allow(id)
}

func newRoute(name string, c config.APIKey, d Deps) (*route, error) {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.Log = d.Log.With("route", name)
	k := &route{
		Deps: d, name: name, application: c.Application, ledger: NewLedger(d.Store, d.Keys),
		admission: authn.NewAdmission(c.AllowedEmailDomains, c.AllowedGroups, false),
		// What is refused is logged, but a flood of it does not become one of lines.
		refusals: rate.NewLimiter(rate.Every(100*time.Millisecond), 100),
	}
	o := d.Register.Remembering(authn.MemoryOptions{
		Lifetime: c.Cache.Lifetime.Std(), RejectedLifetime: c.Cache.RejectedLifetime.Std(), Size: c.Cache.Size, Limit: checkTime,
	})
	var err error
	if k.ours, err = newChecks(o, ownAtOnce); err != nil {
		return nil, err
	}
	if c.Application == "verify" {
		if k.theirs, err = newChecks(o, askAtOnce); err != nil {
			return nil, err
		}
		if k.viewers, err = newViewers(name, c, d); err != nil {
			return nil, err
		}
	}
	k.uses = newUses(k.ledger, d.Log)
	return k, nil
}

// authenticate decides on the key that the request carries, if there is one.
func (k *route) authenticate(r *http.Request) (authn.Identity, error) {
	key, err := claim(r)
	if err != nil {
		return authn.Identity{}, k.noted(r, "", err)
	}
	if own(key) {
		id, ok := ID(key)
		if !ok { // not worth remembering
			return authn.Identity{}, k.noted(r, "", errNotWhole())
		}
		return k.ours.verify(r.Context(), key, func(ctx context.Context) (authn.Identity, error) {
			who, err := k.service(ctx, id, key)
			if err == nil {
				k.logOf(r).Info("API key accepted", "key_id", id, "account", who.Account.Name)
			}
			return who, k.noted(r, id, err)
		})
	}
	switch k.application {
	case "pass":
		return authn.Identity{}, authn.ErrApplication
	case "verify":
		who, err := k.theirs.verify(r.Context(), key, func(ctx context.Context) (authn.Identity, error) {
			who, err := k.viewers.owner(ctx, key)
			return who, k.noted(r, "", err)
		})
		who.Expires = time.Time{} // it was for the memory; the key is good until the application says otherwise
		return who, err
	}
	return authn.Identity{}, k.noted(r, "", errTheirs())
}

// errNotWhole and errTheirs are the noes that a key's shape alone decides.
func errNotWhole() error { return tell("The API key is incomplete.", "not whole") }

func errTheirs() error {
	return tell("Keys of the application are not taken here. Ask for a key of the gateway.", "keys of the application are refused")
}

// claims says who is asked about the key that the request carries.
func (k *route) claims(r *http.Request) (asks string, err error) {
	key, err := claim(r)
	if err != nil {
		return "", err
	}
	if own(key) {
		if _, ok := ID(key); !ok {
			return "", errNotWhole()
		}
		return "a key of the gateway, which keyHashes and the store know", nil
	}
	switch k.application {
	case "pass":
		return "a key of the application, which judges it itself", authn.ErrApplication
	case "verify":
		return "a key of the application, which " + k.Upstream.Name + " is asked about", nil
	}
	return "", errTheirs()
}

// noted logs a refusal, but no flood of them. An id is that of a key of the gateway.
func (k *route) noted(r *http.Request, id string, err error) error {
	if errors.Is(err, authn.ErrRejected) && k.refusals.Allow() {
		k.logOf(r).Info("API key refused", "key_id", id, "reason", err.Error())
	}
	return err
}

// logOf is the route's log with what tells this request from others.
func (k *route) logOf(r *http.Request) *slog.Logger {
	return authn.LogOf(k.Log, r)
}

// reject is the no to a key. What it says holds nothing of the key.
func reject(why string) error { return fmt.Errorf("apikey: %s: %w", why, authn.ErrRejected) }

// tell is a no that says to who sent the key what to do.
func tell(sentence, why string) error {
	return &authn.Rejected{Sentence: sentence, Err: reject(why)}
}

func (k *route) close() error {
	k.uses.close()
	if k.viewers != nil {
		k.viewers.close()
	}
	return nil
}
