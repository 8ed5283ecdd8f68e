package session

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"gatehouse/authn/meter"
)

// told tells of the commands that are carried out, by their names. What greets the
// server over a new connection is part of the command that needs it.
type told struct{ calls meter.Calls }

var _ redis.Hook = told{}

// DialHook leaves dialling as it is.
func (t told) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook tells of one command.
func (t told) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if ctx.Value(entered{}) != nil {
			return next(ctx, cmd)
		}
		ctx, end := t.calls.Begin(ctx, cmd.Name())
		err := next(ctx, cmd)
		end(told{}.outcome(err))
		return err
	}
}

// ProcessPipelineHook tells of several commands as of one.
func (t told) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if ctx.Value(entered{}) != nil {
			return next(ctx, cmds)
		}
		ctx, end := t.calls.Begin(ctx, "pipeline")
		err := next(ctx, cmds)
		end(told{}.outcome(err))
		return err
	}
}

// outcome is an error as it counts: absence is none, nor is a script that the server has
// to be sent first.
func (told) outcome(err error) error {
	var reply redis.Error
	switch {
	case errors.Is(err, redis.Nil), redis.HasErrorPrefix(err, "NOSCRIPT"):
		return nil
	case errors.As(err, &reply):
		return meter.Refused{Err: err}
	}
	return err
}

// RedisStats is how the connection to Redis stands.
type RedisStats struct {
	// Shunned says that it does not answer and is, for a moment at a time, not asked;
	// Outages is how often that has begun.
	Shunned bool
	Outages uint64
	// Connections are open, Idle of them not in use, and Waits is how often there was
	// none to be had in time.
	Connections, Idle uint32
	Waits             uint32
}

// Stats is how the connection stands. It asks nobody.
func (r *Redis) Stats() RedisStats {
	p := r.client.PoolStats()
	s := RedisStats{Connections: p.TotalConns, Idle: p.IdleConns, Waits: p.Timeouts}
	s.Shunned, s.Outages = r.breaker.state()
	return s
}
