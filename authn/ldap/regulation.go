package ldap

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
	"gatehouse/session"
)

// pendingTime is how long an attempt may be under way; after that it was a failure.
const pendingTime = 30 * time.Second

// regulation stands against guessing passwords. What it counts is in the store,
// so that all replicas count together: per person, whatever way and spelling
// they are tried by, and per address. Without the store nobody may try (LDAP-27).
//
// An attempt is written down before the directory is asked. However many come
// at once, no more wrong passwords reach the directory than the settings say.
type regulation struct {
	settings config.Regulation
	route    string
	store    session.Store
	log      *slog.Logger
}

// failure is a wrong password, or an attempt that is under way.
type failure struct {
	ID      string `json:"i,omitempty"` // of an attempt under way
	At      int64  `json:"t"`           // Unix milliseconds
	Address string `json:"a,omitempty"` // hashed
}

func (f failure) at() time.Time { return time.UnixMilli(f.At) }

// tally is what the store has under one key.
type tally struct {
	Failures []failure `json:"f"`
}

// until says when the wait is over that n failures within find bring about, zero if
// there is none. While somebody waits nothing is added, so the last n are those.
func until(failures []failure, n int, find, ban time.Duration, now time.Time) time.Time {
	if len(failures) < n {
		return time.Time{}
	}
	first, last := failures[len(failures)-n].at(), failures[len(failures)-1].at()
	if end := last.Add(ban); last.Sub(first) <= find && now.Before(end) {
		return end
	}
	return time.Time{}
}

// admits says whether anybody may try from remote. The error is *authn.Throttled
// or that it can't be found out.
func (g *regulation) admits(ctx context.Context, remote string) error {
	key, ok := addressKey(remote)
	if !ok {
		return nil
	}
	t, _, err := g.read(ctx, key)
	if err != nil {
		return err
	}
	return g.wait(t.Failures, g.settings.MaxAddressRetries)
}

func (g *regulation) wait(failures []failure, n int) error {
	now := time.Now()
	if end := until(failures, n, g.settings.FindTime.Std(), g.settings.BanTime.Std(), now); !end.IsZero() {
		return &authn.Throttled{After: end.Sub(now)}
	}
	return nil
}

// attempt is one look at a password that is under way.
type attempt struct {
	*regulation
	id, person, address string // keys; address is empty if it is not known
	account             string // for the log
}

// begin writes down an attempt at an account, or refuses it.
func (g *regulation) begin(ctx context.Context, acc account, remote string) (attempt, error) {
	a := attempt{regulation: g, id: rand.Text(), person: g.personKey(acc.key), account: acc.named()}
	a.address, _ = addressKey(remote)
	for waited := time.Duration(0); ; waited += pendingPause {
		err := a.enter(ctx)
		if !errors.Is(err, errPending) {
			return a, err
		}
		if waited >= pendingWait {
			return a, &authn.Throttled{After: time.Second}
		}
		select {
		case <-time.After(pendingPause):
		case <-ctx.Done():
			return a, context.Cause(ctx)
		}
	}
}

// enter writes the attempt down, if there is room for one more failure.
func (a attempt) enter(ctx context.Context) error {
	return a.change(ctx, a.person, func(t *tally) error {
		here := slices.DeleteFunc(slices.Clone(t.Failures), func(f failure) bool { return f.Address != a.address })
		if err := a.wait(here, a.settings.MaxRetries); err != nil {
			return pendingOr(here, err)
		}
		if err := a.wait(t.Failures, a.settings.MaxUserRetries); err != nil {
			return pendingOr(t.Failures, err)
		}
		t.Failures = append(t.Failures, failure{ID: a.id, At: time.Now().UnixMilli(), Address: a.address})
		return nil
	})
}

// errPending: there is room only when attempts under way end well, as most do.
var errPending = errors.New("too many attempts are under way")

const pendingPause, pendingWait = 50 * time.Millisecond, 2 * time.Second

func pendingOr(failures []failure, err error) error {
	for _, f := range failures {
		if f.ID != "" && time.Since(f.at()) < pendingTime {
			return errPending
		}
	}
	return err
}

// succeeded forgets the failures of the person: they have shown that they are
// it. Those of the address stay, or one good password would buy any number of
// guesses at others (LDAP-25).
func (a attempt) succeeded(ctx context.Context) error {
	if err := a.store.Delete(ctx, a.person); err != nil {
		return fmt.Errorf("ldap: regulation: %w", err)
	}
	return nil
}

// undone takes the attempt back: nothing was found out about the password.
func (a attempt) undone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return a.change(ctx, a.person, func(t *tally) error {
		t.Failures = slices.DeleteFunc(t.Failures, func(f failure) bool { return f.ID == a.id })
		return nil
	})
}

// failed counts a wrong password.
func (a attempt) failed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	var person, address []failure
	err := a.change(ctx, a.person, func(t *tally) error {
		// It is not there any more if somebody has signed in meanwhile.
		t.Failures = slices.DeleteFunc(t.Failures, func(f failure) bool { return f.ID == a.id })
		t.Failures = append(t.Failures, failure{At: time.Now().UnixMilli(), Address: a.address})
		person = t.Failures
		return nil
	})
	if a.address != "" {
		err = errors.Join(err, a.change(ctx, a.address, func(t *tally) error {
			t.Failures = append(t.Failures, failure{At: time.Now().UnixMilli()})
			t.Failures = t.Failures[max(0, len(t.Failures)-a.settings.MaxAddressRetries):]
			address = t.Failures
			return nil
		}))
	}
	a.tell(person, address)
	return err
}

// tell logs a ban when it begins.
func (a attempt) tell(person, address []failure) {
	if err := a.wait(person, a.settings.MaxUserRetries); err != nil {
		a.log.Warn("too many wrong passwords for one person", "account", a.account, "err", err)
	}
	if err := a.wait(address, a.settings.MaxAddressRetries); err != nil {
		a.log.Warn("too many wrong passwords from one address", "err", err)
	}
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
	now := time.Now()
	t.Failures = slices.DeleteFunc(t.Failures, func(f failure) bool {
		return now.Sub(f.at()) > g.settings.BanTime.Std()
	})
	slices.SortStableFunc(t.Failures, func(a, b failure) int { return cmp.Compare(a.At, b.At) })
	return t, raw, nil
}

// maxTries bounds how often a tally is written anew because somebody else was faster.
const maxTries = 50

// change rewrites a tally, unless edit refuses. Of several who change it at
// once each sees what the others have written.
func (g *regulation) change(ctx context.Context, key string, edit func(*tally) error) error {
	for range maxTries {
		t, raw, err := g.read(ctx, key)
		if err != nil {
			return err
		}
		if err := edit(&t); err != nil {
			return err
		}
		done, err := g.write(ctx, key, raw, t)
		if err != nil || done {
			return err
		}
	}
	return errors.New("ldap: regulation: too many change one counter at once")
}

func (g *regulation) write(ctx context.Context, key string, old []byte, t tally) (done bool, err error) {
	next, err := json.Marshal(t)
	if err != nil {
		return false, err
	}
	if len(t.Failures) == 0 {
		next = nil
	}
	switch {
	case old == nil && next == nil:
		return true, nil
	case old == nil:
		done, err = g.store.Add(ctx, key, next, g.settings.BanTime.Std())
	default:
		done, err = g.store.Swap(ctx, key, old, next, g.settings.BanTime.Std())
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
	return "failures:person:" + hashed(g.route+"\x00"+account)
}

// addressKey is the key of an address, or of the network of an IPv6 address: who
// has one address there has 2^64 (LDAP-24). What came over a socket has none.
func addressKey(remote string) (string, bool) {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return "", false
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		network, err := addr.Prefix(64)
		if err != nil {
			return "", false
		}
		addr = network.Addr()
	}
	return "failures:address:" + hashed(addr.String()), true
}

func hashed(text string) string {
	h := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(h[:])
}
