package workload

import (
	"context"
	"time"
)

// step bounds what is waited for at once. Timers stand still while the machine is
// suspended, and the clock does not: it is looked at after each step.
const step = 30 * time.Second

// now is what the clock says, without the monotonic reading, which stands still
// with the timers.
func (k *Keeper) now() time.Time {
	if k.wall != nil {
		return k.wall()
	}
	return time.Now().Round(0)
}

// rest waits by the clock, a step at a time. A clock that is set back makes it no
// longer. It returns false as soon as ctx ends.
func (k *Keeper) rest(ctx context.Context, wait time.Duration) bool {
	end := k.now().Add(wait)
	for left := wait; left > 0; {
		d := min(step, left)
		if !pause(ctx, d, nil) {
			return false
		}
		left = min(left-d, end.Sub(k.now()))
	}
	return true
}

// pause waits for d, or until there is something new. It returns false if ctx has
// ended.
func pause(ctx context.Context, d time.Duration, news <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-news:
	}
	return true
}

// watch removes the token when it has ended, until ctx ends. It looks again when
// there is a fresh one.
func (k *Keeper) watch(ctx context.Context, fresh <-chan struct{}) {
	said := ""
	for {
		d := step
		ends, err := k.sweep()
		switch {
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			k.Log.Error("the old token can't be looked at", "err", err)
		}
		if left := ends.Sub(k.now()); left > 0 {
			d = min(d, left)
		}
		if !pause(ctx, d, fresh) {
			return
		}
	}
}

// sweep removes the token if it has ended, and says when it will otherwise; zero
// if nobody knows.
func (k *Keeper) sweep() (time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ends, gone, err := k.File.sweep(k.now(), k.last)
	if gone && err == nil {
		k.Log.Error("the token in the file has ended and is removed", "file", string(k.File))
	}
	return ends, err
}
