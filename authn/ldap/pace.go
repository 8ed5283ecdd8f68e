package ldap

import (
	"context"
	"sync"
	"time"
)

// step is what the time of a refusal is rounded up to.
const step = 250 * time.Millisecond

// pace makes all refusals take the same time, whatever has been done for them.
// Where the directory takes longer over a wrong password than a step, which
// happens with slow hashes, those that it was not asked about wait as long.
type pace struct {
	step time.Duration

	mu    sync.Mutex
	usual time.Duration // the longest of late for a wrong password
	noted time.Time
}

// note learns how long the directory takes to refuse a password.
func (p *pace) note(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usual, p.noted = max(took, p.late()), time.Now()
}

// late is usual, of which half is forgotten each minute.
func (p *pace) late() time.Duration { return p.usual >> min(62, int(time.Since(p.noted)/time.Minute)) }

// hold waits until a refusal that began then may be given.
func (p *pace) hold(ctx context.Context, began time.Time) {
	if p.step <= 0 {
		return
	}
	p.mu.Lock()
	least := max(time.Since(began), p.late()+p.step/5)
	p.mu.Unlock()
	timer := time.NewTimer(time.Until(began.Add(least.Truncate(p.step) + p.step)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
