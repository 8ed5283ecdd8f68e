package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// errShunned says that the server was not asked: it has not answered others lately.
var errShunned = errors.New("the server does not answer; it is not asked for a moment")

// breaker keeps requests from waiting, one after the other, for a server that does not
// answer. After some failures in a row nothing is asked for a moment; then one question
// is, and its outcome is for all.
type breaker struct {
	patience time.Duration // who waited for less can't say that there is no answer
	log      *slog.Logger

	mu       sync.Mutex
	failures int // in a row
	pause    time.Duration
	until    time.Time // nothing is asked before that
	trying   bool      // one question is on its way
	opened   uint64    // times
	openedAt time.Time
}

const (
	breakAfter                  = 5
	shortestPause, longestPause = 100 * time.Millisecond, 2 * time.Second
)

// entered is in the context of what is let through.
type entered struct{}

var _ redis.Hook = (*breaker)(nil)

// DialHook leaves dialling as it is.
func (b *breaker) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook asks the server for one command, if it is to be asked.
func (b *breaker) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		begun := time.Now()
		switch {
		case ctx.Value(entered{}) != nil, ctx.Err() != nil: // it greets the server, over a new connection; or is over
			return next(ctx, cmd)
		case !b.enter(begun):
			cmd.SetErr(errShunned)
			return errShunned
		}
		err := next(context.WithValue(ctx, entered{}, true), cmd)
		b.leave(err, begun)
		return err
	}
}

// ProcessPipelineHook asks the server for several commands, if it is to be asked.
func (b *breaker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		begun := time.Now()
		switch {
		case ctx.Value(entered{}) != nil, ctx.Err() != nil:
			return next(ctx, cmds)
		case !b.enter(begun):
			for _, cmd := range cmds {
				cmd.SetErr(errShunned)
			}
			return errShunned
		}
		err := next(context.WithValue(ctx, entered{}, true), cmds)
		b.leave(err, begun)
		return err
	}
}

// enter reports whether the server is to be asked.
func (b *breaker) enter(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures < breakAfter:
		return true
	case b.trying || now.Before(b.until):
		return false
	}
	b.trying = true
	return true
}

// leave takes note of what came of it, and says once that the server is shunned, and
// once that it is not any more.
func (b *breaker) leave(err error, begun time.Time) {
	now := time.Now()
	switch b.note(err, begun, now) {
	case opens:
		b.log.Warn("the store does not answer: for a moment at a time it is not asked", "after", breakAfter, "err", err)
	case closes:
		b.log.Info("the store answers again", "after", now.Sub(b.since()).Round(time.Millisecond).String())
	case stays:
	}
}

// turn is what an outcome does to a breaker.
type turn int

const (
	stays turn = iota
	opens
	closes
)

func (b *breaker) note(err error, begun, now time.Time) turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	was := b.failures >= breakAfter
	switch {
	case errors.Is(err, context.Canceled), isTimeout(err) && now.Sub(begun) < b.patience: // that says nothing of the server
	case !unanswered(err):
		b.failures, b.pause = 0, 0
	default:
		if b.failures++; b.failures >= breakAfter {
			b.pause = min(max(2*b.pause, shortestPause), longestPause)
			b.until = now.Add(jitter(b.pause))
		}
	}
	switch is := b.failures >= breakAfter; {
	case is && !was:
		b.opened++
		b.openedAt = now
		return opens
	case was && !is:
		return closes
	}
	return stays
}

func (b *breaker) since() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openedAt
}

// state reports whether the server is shunned, and how often that has begun.
func (b *breaker) state() (open bool, opened uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= breakAfter, b.opened
}

// unanswered reports whether an error means that there was no answer. An answer that is
// an error is one.
func unanswered(err error) bool {
	if final := (finalError{}); errors.As(err, &final) {
		err = final.err
	}
	var reply redis.Error // as [redis.Nil] is
	return err != nil && !errors.As(err, &reply) && !errors.Is(err, redis.ErrClosed)
}
