package ldap

import (
	"context"
	"sync/atomic"
	"time"
)

// step is what the time of a refusal is rounded up to.
const step = 250 * time.Millisecond

// pace makes all refusals take the same time, whatever has been done for them.
// Where the directory takes longer over a wrong password than a step, which
// happens with slow hashes, those that it was not asked about wait as long.
type pace struct {
	step  time.Duration
	usual atomic.Int64 // the longest of late for a wrong password at the directory
}

// note learns how long the directory takes to refuse a password.
func (p *pace) note(took time.Duration) {
	was := p.usual.Load()
	p.usual.Store(max(int64(took), was-was/64)) // slow to fall: hashes differ from person to person
}

// hold waits until a refusal that began then may be given.
func (p *pace) hold(ctx context.Context, began time.Time) {
	if p.step <= 0 {
		return
	}
	least := max(time.Since(began), time.Duration(p.usual.Load())+p.step/5)
	until := began.Add(least.Truncate(p.step) + p.step)
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
