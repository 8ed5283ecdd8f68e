package ldap

import (
	"context"
	"sync"
)

// turns lets those with the same key go one after the other, or so many at once.
type turns struct {
	atOnce int // zero means one

	mu   sync.Mutex
	keys map[string]*turn
}

type turn struct {
	taken chan struct{} // one for each who has the turn
	users int
}

// take waits for the turn. Whoever gets it calls done.
func (t *turns) take(ctx context.Context, key string) (done func(), err error) {
	t.mu.Lock()
	if t.keys == nil {
		t.keys = map[string]*turn{}
	}
	mine := t.keys[key]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, max(1, t.atOnce))}
		t.keys[key] = mine
	}
	mine.users++
	t.mu.Unlock()
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; t.leave(key, mine) }, nil
	case <-ctx.Done():
		t.leave(key, mine)
		return nil, context.Cause(ctx)
	}
}

func (t *turns) leave(key string, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(t.keys, key)
	}
}
