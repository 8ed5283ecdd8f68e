package apikey

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"gatehouse/authn"
)

const (
	// knownAtOnce is how many places there are for known keys alone.
	knownAtOnce = 16
	// knownFor is how long a key is known after it was found good.
	knownFor = time.Hour
	// maxKnown bounds the known keys. Only good ones are among them, so no flood
	// of others gets there.
	maxKnown = 10_000
)

// checks is the checking of one kind of keys: what it has found out, and how many
// keys are checked at once. Some places are for keys that were good a while ago: a
// flood of unknown ones does not shut those out when it is time to check them again.
type checks struct {
	memory     *authn.Memory
	all, known chan struct{} // one for each check under way

	mu   sync.Mutex
	good map[[sha256.Size]byte]time.Time // until when a key is known
}

// newChecks makes them. The memory's own bound is above that of the places.
func newChecks(o authn.MemoryOptions, atOnce int) (*checks, error) {
	memory, err := authn.NewMemory(o)
	return &checks{
		memory: memory, all: make(chan struct{}, atOnce), known: make(chan struct{}, knownAtOnce), good: map[[sha256.Size]byte]time.Time{},
	}, err
}

// verify returns what is remembered of a key, or runs check if there is a place for
// it. Else the error is [authn.ErrCrowded].
func (c *checks) verify(ctx context.Context, key string, check func(context.Context) (authn.Identity, error)) (authn.Identity, error) {
	return c.memory.VerifyToken(ctx, key, func(ctx context.Context) (authn.Identity, error) {
		sum := sha256.Sum256([]byte(key))
		place := c.take(sum)
		if place == nil {
			return authn.Identity{}, authn.ErrCrowded
		}
		defer func() { <-place }()
		id, err := check(ctx)
		c.note(sum, err)
		return id, err
	})
}

// take takes a place and returns where, or nil.
func (c *checks) take(sum [sha256.Size]byte) chan struct{} {
	select {
	case c.all <- struct{}{}:
		return c.all
	default:
	}
	c.mu.Lock()
	until := c.good[sum]
	c.mu.Unlock()
	if !time.Now().Before(until) {
		return nil
	}
	select {
	case c.known <- struct{}{}:
		return c.known
	default:
		return nil
	}
}

// note remembers what came of a check. A failure to find out changes nothing.
func (c *checks) note(sum [sha256.Size]byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		if _, known := c.good[sum]; !known && len(c.good) >= maxKnown {
			clear(c.good) // they are known again by their next check
		}
		c.good[sum] = time.Now().Add(knownFor)
	case errors.Is(err, authn.ErrRejected):
		delete(c.good, sum)
	}
}
