package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// An index is a hash. The value of a member has its end in front, in Unix
// milliseconds and 13 digits. The end is what the server's clock says, so that the
// clocks of the replicas don't matter; a few members are looked at with each that is
// entered, and dropped if they are over, so no index grows for ever.
const (
	endDigits = 13

	enterScript = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[4] == 'update' then
  local old = redis.call('HGET', KEYS[1], ARGV[1])
  if not old or #old <= 13 then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%013.0f', now + ARGV[3]) .. ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
local some = redis.call('HRANDFIELD', KEYS[1], 8, 'WITHVALUES')
for i = 1, #some, 2 do
  if tonumber(string.sub(some[i + 1], 1, 13)) < now then redis.call('HDEL', KEYS[1], some[i]) end
end
return 1`

	retireScript = `
for _, member in ipairs(ARGV) do
  local old = redis.call('HGET', KEYS[1], member)
  if old then redis.call('HSET', KEYS[1], member, string.sub(old, 1, 13)) end
end
return 0`

	// atOnce is how many members go into one command: a script stops the server.
	atOnce = 1000
)

// Enter writes a member of an index, in place of one of the same name.
func (r *Redis) Enter(ctx context.Context, index, member string, value []byte, ttl time.Duration) error {
	_, err := r.enter(ctx, "enter", index, member, value, ttl)
	return err
}

// Update writes the value of a member only if it is there and was not retired.
func (r *Redis) Update(ctx context.Context, index, member string, value []byte, ttl time.Duration) (bool, error) {
	return r.enter(ctx, "update", index, member, value, ttl)
}

func (r *Redis) enter(ctx context.Context, verb, index, member string, value []byte, ttl time.Duration) (bool, error) {
	ctx, cancel, err := r.begin(ctx, index, member)
	if err != nil {
		return false, err
	}
	defer cancel()
	if err := checkMember(value, ttl); err != nil {
		return false, err
	}
	n, err := r.entering.Run(ctx, r.client, []string{r.prefix + index}, member, value, milliseconds(ttl), verb).Int()
	return err == nil && n == 1, failed(verb, err)
}

// Retire takes the values of members away, so that no Update brings them back.
func (r *Redis) Retire(ctx context.Context, index string, members ...string) error {
	return r.inParts(ctx, "retire", index, members, func(ctx context.Context, part []any) error {
		return r.retiring.Run(ctx, r.client, []string{r.prefix + index}, part...).Err()
	})
}

// Leave removes members.
func (r *Redis) Leave(ctx context.Context, index string, members ...string) error {
	return r.inParts(ctx, "leave", index, members, func(ctx context.Context, part []any) error {
		return r.client.Do(ctx, append([]any{"hdel", r.prefix + index}, part...)...).Err()
	})
}

// inParts runs a command for so many members at once.
func (r *Redis) inParts(ctx context.Context, verb, index string, members []string, run func(context.Context, []any) error) error {
	for len(members) > 0 {
		n := min(atOnce, len(members))
		part := make([]any, n)
		for i, m := range members[:n] {
			part[i] = m
		}
		ctx, cancel, err := r.begin(ctx, append([]string{index}, members[:n]...)...)
		if err != nil {
			return err
		}
		err = run(ctx, part)
		cancel()
		if err != nil {
			return failed(verb, err)
		}
		members = members[n:]
	}
	return nil
}

// Members returns every member of an index and its value, with one question.
func (r *Redis) Members(ctx context.Context, index string) (map[string][]byte, error) {
	ctx, cancel, err := r.begin(ctx, index)
	if err != nil {
		return nil, err
	}
	defer cancel()
	all, err := r.client.HGetAll(ctx, r.prefix+index).Result()
	if err != nil {
		return nil, failed("members", err)
	}
	out := make(map[string][]byte, len(all))
	for member, value := range all {
		if len(value) >= endDigits {
			out[member] = []byte(value[endDigits:])
		}
	}
	return out, nil
}

// Indexes calls f with every index whose key begins with prefix.
func (r *Redis) Indexes(ctx context.Context, prefix string, f func(index string) bool) error {
	if err := checkKey(prefix); err != nil {
		return err
	}
	pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(r.prefix+prefix) + "*"
	var err error
	if c, ok := r.client.(*redis.ClusterClient); ok {
		var one sync.Mutex // the nodes answer side by side
		enough := false
		err = c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return r.scan(ctx, node, pattern, func(index string) bool {
				one.Lock()
				defer one.Unlock()
				enough = enough || !f(index)
				return !enough
			})
		})
	} else {
		err = r.scan(ctx, r.client, pattern, f)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("session: that is enough")

func (r *Redis) scan(ctx context.Context, node redis.Cmdable, pattern string, f func(index string) bool) error {
	for cursor := uint64(0); ; {
		step, cancel := context.WithTimeout(ctx, r.timeout)
		keys, next, err := node.Scan(step, cursor, pattern, atOnce).Result()
		cancel()
		if err != nil {
			return failed("scan", err)
		}
		for _, key := range keys {
			if !f(key[len(r.prefix):]) {
				return errEnough
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Publish sends a message to whoever listens.
func (r *Redis) Publish(ctx context.Context, message []byte) error {
	ctx, cancel, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := checkMessage(message); err != nil {
		return err
	}
	return failed("publish", r.client.Publish(ctx, r.channel(), message).Err())
}

func (r *Redis) channel() string { return r.prefix + "news" }

// heartbeat is how often a listener sees whether the server is there. Two in vain, and
// it is not.
const heartbeat = time.Second

// Listen calls hear with each message that is published after it has called ready. A
// connection that breaks, or a server that is silent, is the end of it.
func (r *Redis) Listen(ctx context.Context, ready func(), hear func(message []byte)) error {
	sub := r.client.Subscribe(ctx, r.channel())
	defer func() { _ = sub.Close() }() // what could go wrong with it has
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })()
	for silent, listening := 0, false; ; {
		wait := heartbeat
		if !listening {
			wait = r.timeout
		}
		got, err := sub.ReceiveTimeout(ctx, wait)
		switch m := got.(type) {
		case *redis.Message:
			hear([]byte(m.Payload))
			silent = 0
		case *redis.Pong:
			silent = 0
		case *redis.Subscription:
			if listening || m.Kind != "subscribe" { // a second one is of another connection
				return errUnheard
			}
			listening = true
			ready()
		default:
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("session: redis listen: %w", ctx.Err())
			case !listening, !isTimeout(err), silent > 0:
				return fmt.Errorf("%w: %w", errUnheard, err)
			}
			if silent++; sub.Ping(ctx) != nil {
				return errUnheard
			}
		}
	}
}

var errUnheard = errors.New("session: a message may be lost")

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
