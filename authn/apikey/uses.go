package apikey

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// useInterval is the shortest time between two records of a key's use.
	useInterval = 5 * time.Minute
	// useTime bounds the writing of one.
	useTime = 5 * time.Second
	// maxUses is how many may wait to be written. One that is lost is written the
	// next time.
	maxUses = 256
)

// uses writes down when keys were last used, beside the requests. What it writes
// is sealed with the newest session key, so that a key in use outlives the ones
// before it.
type uses struct {
	ledger Ledger
	log    *slog.Logger
	queue  chan kept
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func newUses(l Ledger, log *slog.Logger) *uses {
	ctx, stop := context.WithCancel(context.Background())
	u := &uses{ledger: l, log: log, queue: make(chan kept, maxUses), stop: stop}
	u.done.Go(func() { u.run(ctx) })
	return u
}

// note says that a key is used now. It does not wait.
func (u *uses) note(k kept) {
	if time.Since(k.Used) < useInterval {
		return
	}
	select {
	case u.queue <- k:
	default:
	}
}

func (u *uses) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-u.queue:
			u.write(ctx, k)
		}
	}
}

// write writes one down. If the record has changed meanwhile, somebody else has
// done so, or it is no more.
func (u *uses) write(life context.Context, k kept) {
	ctx, cancel := context.WithTimeout(life, useTime)
	defer cancel()
	next := k.record
	next.Used = time.Now().UTC().Truncate(time.Second)
	if _, err := u.ledger.replace(ctx, k, next); err != nil && life.Err() == nil {
		u.log.Warn("the use of an API key is not written down", "key_id", k.id, "err", err)
	}
}

// close ends the writing. What still waits is lost.
func (u *uses) close() {
	u.stop()
	u.done.Wait()
}
