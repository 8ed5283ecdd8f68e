package ldap

import (
	"context"
	"sync"
	"time"
)

// step is what the time of a refusal is rounded up to.
const step = 250 * time.Millisecond

// longestUsual bounds what is learned: a directory that hangs once does not slow
// everybody down.
const longestUsual = 2 * time.Second

// pace makes all refusals take the same time, whatever has been done for them.
// Where the directory takes longer over a password than a step, which happens with
// slow hashes and over long distances, those that it was not asked about wait as long.
type pace struct {
	step time.Duration

	mu    sync.Mutex
	usual time.Duration // the longest of late for a password
	noted time.Time
}

// note learns how long the directory takes over a password, right or wrong.
func (p *pace) note(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usual, p.noted = max(min(took, longestUsual), p.late()), time.Now()
}

// late is usual, of which half is forgotten each hour: whoever guesses at names does not
// get quick answers by coming when nobody signs in.
func (p *pace) late() time.Duration { return p.usual >> min(62, int(time.Since(p.noted)/time.Hour)) }

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
