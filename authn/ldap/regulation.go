package ldap

import (
	"context"
	"crypto/rand"
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
	"gatehouse/session"
)

// regulation stands against guessing passwords. What it counts is in the store,
// so that all replicas count together: per person, whatever way and spelling
// they are tried by, and per address. Without the store nobody may try (LDAP-27).
//
// An attempt is written down before the directory is asked, and stays a failure
// until something else is known. So however many come at once, and whatever
// becomes of the answer, no more wrong passwords reach the directory than the
// settings say.
type regulation struct {
	settings config.Regulation
	route    string
	store    session.Store
	digest   func(string) string // of what keys are made of
	log      *slog.Logger
	turns    turns // within this process, those who change a tally don't race
}

func newRegulation(c config.Regulation, route string, store session.Store, keys session.Keyring, log *slog.Logger) *regulation {
	return &regulation{settings: c, route: route, store: store, digest: keys.Digest("failures"), log: log}
}

const (
	// pendingTime is how long an attempt may be under way; after that it was a failure.
	pendingTime = 30 * time.Second
	// Where there is room only if attempts under way elsewhere end well, as most
	// do, an attempt waits for that.
	pendingPause, pendingWait = 50 * time.Millisecond, 2 * time.Second
)

var errPending = errors.New("too many attempts are under way")

// attempt is one look at a password that is under way.
type attempt struct {
	*regulation
	id, person, address string // keys; address is empty if it is not known
	from                string // the address, as it stands in tallies
	account             string // for the log
}

// begin writes down an attempt at an account, or refuses it. The error is
// *authn.Throttled, errPending or that it can't be found out; the attempt is then
// to be undone, for it may have been written all the same.
func (g *regulation) begin(ctx context.Context, acc account, remote string) (attempt, error) {
	a := attempt{regulation: g, id: rand.Text(), person: g.personKey(acc.key), account: acc.named()}
	at, ok := network(remote)
	if ok {
		a.address, a.from = g.addressKey(at), g.digest(at)
	}
	limits := []limit{g.limit(g.settings.MaxUserRetries)}
	if ok {
		here := g.limit(g.settings.MaxRetries)
		here.from = a.from
		limits = append(limits, here)
	}
	now := time.Now().UnixMilli()
	err := a.change(ctx, a.person, func(t *tally) error {
		return t.enter(failure{ID: a.id, At: now, Address: a.from}, limits...)
	})
	if err == nil && ok {
		err = a.change(ctx, a.address, func(t *tally) error {
			return t.enter(failure{ID: a.id, At: now}, g.limit(g.settings.MaxAddressRetries))
		})
	}
	return a, err
}

func (g *regulation) limit(count int) limit {
	return limit{count: count, find: g.settings.FindTime.Std(), ban: g.settings.BanTime.Std()}
}

// kept is how long a failure can matter.
func (g *regulation) kept() time.Duration {
	return g.settings.FindTime.Std() + g.settings.BanTime.Std()
}

// admits says whether anybody may try from remote, before the directory is asked
// who is meant.
func (g *regulation) admits(ctx context.Context, remote string) error {
	at, ok := network(remote)
	if !ok {
		return nil
	}
	t, _, err := g.read(ctx, g.addressKey(at))
	if err != nil {
		return err
	}
	t.drop(failure.pending)
	return t.wait(g.limit(g.settings.MaxAddressRetries))
}

// succeeded forgets the failures of the person at this address: they have shown
// that they are it. What came from elsewhere stays, and so does what else this
// address has tried, or one good password would buy any number of guesses.
func (a attempt) succeeded(ctx context.Context) error {
	ctx, cancel := settling(ctx)
	defer cancel()
	err := a.change(ctx, a.person, func(t *tally) error {
		t.drop(func(f failure) bool { return f.ID == a.id || f.ID == "" && f.Address == a.from })
		return nil
	})
	return errors.Join(err, a.settle(ctx, a.address, nil))
}

// undone takes the attempt back: the directory was not asked, or did not look
// at the password.
func (a attempt) undone(ctx context.Context) error {
	ctx, cancel := settling(ctx)
	defer cancel()
	return errors.Join(a.settle(ctx, a.person, nil), a.settle(ctx, a.address, nil))
}

// failed counts a wrong password.
func (a attempt) failed(ctx context.Context) error {
	ctx, cancel := settling(ctx)
	defer cancel()
	now := time.Now().UnixMilli()
	err := a.settle(ctx, a.person, &failure{At: now, Address: a.from})
	return errors.Join(err, a.settle(ctx, a.address, &failure{At: now}))
}

// unanswered counts a password that the directory may have looked at. It is the
// person's alone: nobody has learnt anything from it, and a directory that hangs
// is not the doing of all who share an address.
func (a attempt) unanswered(ctx context.Context) error {
	ctx, cancel := settling(ctx)
	defer cancel()
	err := a.settle(ctx, a.person, &failure{At: time.Now().UnixMilli(), Address: a.from})
	return errors.Join(err, a.settle(ctx, a.address, nil))
}

// settling bounds writing down what became of an attempt, which goes on when
// whoever made it has gone.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	const limit = 3 * time.Second
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// settle takes the attempt out of a tally and puts what it came to in its place,
// if anything. A ban that begins with that is logged.
func (a attempt) settle(ctx context.Context, key string, instead *failure) error {
	if key == "" {
		return nil
	}
	most, what := a.settings.MaxUserRetries, "ban: too many wrong passwords for one person"
	if key == a.address {
		most, what = a.settings.MaxAddressRetries, "ban: too many wrong passwords from one address"
	}
	var ban error
	err := a.change(ctx, key, func(t *tally) error {
		t.drop(func(f failure) bool { return f.ID == a.id })
		if instead != nil {
			t.Failures = append(t.Failures, *instead)
			ban = t.wait(a.limit(most))
		}
		return nil
	})
	if ban != nil && err == nil {
		a.log.Warn(what, "account", a.account, "err", ban)
	}
	return err
}

func (g *regulation) read(ctx context.Context, key string) (t tally, raw []byte, err error) {
	raw, found, err := g.store.Get(ctx, key)
	if err != nil {
		return tally{}, nil, fmt.Errorf("ldap: regulation: %w", err)
	}
	if !found {
		return tally{}, nil, nil
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return tally{}, nil, fmt.Errorf("ldap: regulation: what the store holds is not ours: %w", err)
	}
	t.tidy(g.kept())
	return t, raw, nil
}

// maxTries bounds how often a tally is written anew because another replica was faster.
const maxTries = 50

// change rewrites a tally, unless edit refuses. Of several who change it at
// once each sees what the others have written.
func (g *regulation) change(ctx context.Context, key string, edit func(*tally) error) error {
	done, err := g.turns.take(ctx, key)
	if err != nil {
		return fmt.Errorf("ldap: regulation: %w", err)
	}
	defer done()
	for range maxTries {
		t, raw, err := g.read(ctx, key)
		if err != nil {
			return err
		}
		if err := edit(&t); err != nil {
			return err
		}
		written, err := g.write(ctx, key, raw, t)
		if err != nil || written {
			return err
		}
	}
	return errors.New("ldap: regulation: too many change one counter at once")
}

func (g *regulation) write(ctx context.Context, key string, old []byte, t tally) (done bool, err error) {
	var next []byte
	if len(t.Failures) > 0 {
		if next, err = json.Marshal(t); err != nil {
			return false, err
		}
	}
	switch {
	case old == nil && next == nil:
		return true, nil
	case old == nil:
		done, err = g.store.Add(ctx, key, next, g.kept())
	default:
		done, err = g.store.Swap(ctx, key, old, next, g.kept())
	}
	if err != nil {
		return false, fmt.Errorf("ldap: regulation: %w", err)
	}
	return done, nil
}

// lift forgets the failures under a key, and says whether there were any.
func (g *regulation) lift(ctx context.Context, key string) (bool, error) {
	t, _, err := g.read(ctx, key)
	if err != nil {
		return false, err
	}
	return len(t.Failures) > 0, g.store.Delete(ctx, key)
}

func (g *regulation) personKey(account string) string {
	return session.Guesses + "person:" + g.digest(g.route+"\x00"+account)
}

func (g *regulation) addressKey(at string) string { return session.Guesses + "address:" + g.digest(at) }

// network is the address that somebody is known by, see [authn.OneClient] (LDAP-24). What
// came over a socket has none.
func network(remote string) (string, bool) {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return "", false
	}
	return authn.OneClient(addr).String(), true
}
