package ldap

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/config"
	"gatehouse/session"
)

// Unban lifts bans, with the settings of the gateway that made them. A running
// gateway notices within 5 seconds.
type Unban struct {
	Regulation config.Regulation
	Store      session.Store
	Keys       session.Keyring
}

// Lift forgets the wrong passwords that were counted for whoever types login,
// in each spelling, and says whether there were any. Entries that the directory
// does not have any more are lifted by the name alone.
func (u Unban) Lift(ctx context.Context, name, login string, c config.LDAP) (bool, error) {
	d, err := newDirectory(c)
	if err != nil {
		return false, fmt.Errorf("ldap: route %s: %w", name, err)
	}
	defer d.close()
	lifted, err := u.lift(ctx, func(g *regulation) string { return g.personKey("name:" + foldName(login)) }, name)
	if err != nil || c.Users.DNTemplate != "" {
		return lifted, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.Std())
	defer cancel()
	e, err := d.find(ctx, login)
	if errors.Is(err, errNobody) || errors.Is(err, errAmbiguous) {
		return lifted, nil
	}
	if err != nil {
		return lifted, fmt.Errorf("ldap: route %s: %w", name, err)
	}
	also, err := u.lift(ctx, func(g *regulation) string { return g.personKey(accountKey(e, d.settings)) }, name)
	return lifted || also, err
}

// LiftAddress forgets the wrong passwords that were counted for an address. It
// says false for what is no address too.
func (u Unban) LiftAddress(ctx context.Context, address string) (bool, error) {
	at, ok := network(address)
	if !ok {
		return false, fmt.Errorf("ldap: %q is not an address", address)
	}
	return u.lift(ctx, func(g *regulation) string { return g.addressKey(at) }, "")
}

// lift forgets what stands under a key, under each key of the ring: a gateway that
// has not heard of the newest yet counts by another.
func (u Unban) lift(ctx context.Context, key func(*regulation) string, route string) (bool, error) {
	lifted := false
	for _, ring := range u.Keys.Each() {
		g := newRegulation(u.Regulation, route, u.Store, ring, nil)
		one, err := g.lift(ctx, key(g))
		if err != nil {
			return lifted, err
		}
		lifted = lifted || one
	}
	return lifted, nil
}
