package session

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/authn/meter"
)

// swapScript compares and replaces (or, without a next value, deletes) in one step.
const swapScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if #ARGV == 1 then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`

// RedisOptions is how to reach Redis or Valkey. One of URL, Sentinel and Cluster
// says how it is run.
type RedisOptions struct {
	// URL is redis://host:port/database, rediss:// for TLS, or unix:///path/to/socket.
	URL string
	// Sentinel says which servers follow one another.
	Sentinel *RedisSentinel
	// Cluster is some nodes of a Redis Cluster, redis://host:port or rediss://host:port;
	// these name the others.
	Cluster []string
	// Username and Password go before those in URL. Password is asked for each
	// connection, so that it may change; nil means none.
	Username string
	Password func() (string, error)
	// KeyPrefix is put before every key.
	KeyPrefix string
	// Timeout bounds each command, reconnecting included; zero means 2 s.
	Timeout time.Duration
	// TLS is for rediss URLs; nil means the system's roots. The name of every server
	// and Sentinel is the host that it goes by, unless it is set here.
	TLS *tls.Config
	// InsecurePlain lets passwords go over the network as they are. Without it, a
	// connection in clear to another machine is not made if there is a password.
	InsecurePlain bool
	// Calls is told of each command.
	Calls meter.Calls
	// Log is told when the server ceases to answer, and when it answers again. It may
	// be nil.
	Log *slog.Logger
}

// RedisSentinel is a primary and its replicas that Sentinels look after.
type RedisSentinel struct {
	// Master is what the Sentinels call them.
	Master string
	// Addresses are those of the Sentinels, redis://host:port or rediss://host:port.
	Addresses []string
	// Database is its number.
	Database int
	// Username and Password are for the Sentinels themselves. Password is asked for
	// each connection; nil means none.
	Username string
	Password func() (string, error)
}

// Redis is a [Store] on Redis or Valkey: one server, servers under Sentinel, or a
// Cluster. It reads and writes at primaries alone, never at a replica, whose
// answers may be old. Its user needs the keys of KeyPrefix, the one channel below it,
// and these rights, and no more:
//
//	~gatehouse:* resetchannels &gatehouse:news -@all +getrange +get +set +del
//	+pexpire +pttl +hset +hget +hdel +hgetall +hrandfield +time +scan +publish
//	+subscribe +eval +evalsha +ping +hello +select
//
// Under Sentinel it needs +role too, in a Cluster +cluster|slots and +asking. The
// version must be 6.2 or later. The user of the Sentinels
// needs "resetchannels &+switch-master &+replica-reconf-done -@all
// +sentinel|get-master-addr-by-name +sentinel|sentinels +subscribe +ping +hello
// +role". The server should not evict keys without being asked (maxmemory-policy
// noeviction): a replay mark that was evicted is forgotten.
//
// No command is ever repeated: an answer that got lost is an error, not a guess.
// Only where a node of a Cluster refuses a command and names the one to ask, that
// one is asked.
type Redis struct {
	breaker *breaker
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration

	swap, entering, retiring *redis.Script
}

// NewRedis makes the store; no server need be up. It fails only for a URL that is
// none, without quoting it.
func NewRedis(o RedisOptions) (*Redis, error) {
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	if o.Calls != nil {
		client.AddHook(told{o.Calls})
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &breaker{patience: o.Timeout / 2, log: o.Log}
	client.AddHook(b)
	return &Redis{
		breaker: b, client: client, prefix: o.KeyPrefix, timeout: o.Timeout,
		swap: redis.NewScript(swapScript), entering: redis.NewScript(enterScript), retiring: redis.NewScript(retireScript),
	}, nil
}

// Get returns the value, and whether there is one. Of a value that is longer
// than any Store writes only the beginning is read.
func (r *Redis) Get(ctx context.Context, key string) ([]byte, bool, error) {
	ctx, cancel, err := r.begin(ctx, key)
	if err != nil {
		return nil, false, err
	}
	defer cancel()
	value, err := r.client.GetRange(ctx, r.prefix+key, 0, maxValue).Bytes()
	if err == nil && len(value) == 0 { // GETRANGE doesn't tell absence from emptiness
		value, err = r.client.Get(ctx, r.prefix+key).Bytes()
	}
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, failed("get", err)
	}
	return value, true, nil
}

// Set writes the value, whether or not there was one before.
func (r *Redis) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ctx, cancel, err := r.begin(ctx, key)
	if err != nil {
		return err
	}
	defer cancel()
	if err := checkWrite(value, ttl); err != nil {
		return err
	}
	return failed("set", r.client.Do(ctx, "set", r.prefix+key, value, "px", milliseconds(ttl)).Err())
}

// Add writes the value only if there is none and says whether it did.
func (r *Redis) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	ctx, cancel, err := r.begin(ctx, key)
	if err != nil {
		return false, err
	}
	defer cancel()
	if err := checkWrite(value, ttl); err != nil {
		return false, err
	}
	err = r.client.Do(ctx, "set", r.prefix+key, value, "px", milliseconds(ttl), "nx").Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, failed("add", err)
}

// Swap writes next only if the value is old and says whether it did. A nil next deletes.
func (r *Redis) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (bool, error) {
	ctx, cancel, err := r.begin(ctx, key)
	if err != nil {
		return false, err
	}
	defer cancel()
	args := []any{old}
	if next != nil {
		if err := checkWrite(next, ttl); err != nil {
			return false, err
		}
		args = append(args, next, milliseconds(ttl))
	}
	n, err := r.swap.Run(ctx, r.client, []string{r.prefix + key}, args...).Int()
	return err == nil && n == 1, failed("swap", err)
}

// Touch sets the time to live of an existing value.
func (r *Redis) Touch(ctx context.Context, key string, ttl time.Duration) error {
	ctx, cancel, err := r.begin(ctx, key)
	if err != nil {
		return err
	}
	defer cancel()
	if err := checkWrite(nil, ttl); err != nil {
		return err
	}
	return failed("touch", r.client.Do(ctx, "pexpire", r.prefix+key, milliseconds(ttl)).Err())
}

// Delete removes the values.
func (r *Redis) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	ctx, cancel, err := r.begin(ctx, keys...)
	if err != nil {
		return err
	}
	defer cancel()
	if len(keys) == 1 {
		return failed("delete", r.client.Del(ctx, r.prefix+keys[0]).Err())
	}
	_, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error { // one by one: in a cluster they are in different places
		for _, key := range keys {
			p.Del(ctx, r.prefix+key)
		}
		return nil
	})
	return failed("delete", err)
}

// Ping reports whether the server answers; of a Cluster, whether all primaries do.
func (r *Redis) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		return failed("ping", cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return node.Ping(ctx).Err()
		}))
	}
	return failed("ping", r.client.Ping(ctx).Err())
}

// Close closes the connections.
func (r *Redis) Close() error { return failed("close", r.client.Close()) }

func (r *Redis) begin(ctx context.Context, keys ...string) (context.Context, context.CancelFunc, error) {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	return ctx, cancel, nil
}

func failed(verb string, err error) error {
	if err == nil {
		return nil
	}
	return &RedisError{verb: verb, err: err}
}

// RedisError is what the server, or the way to it, said to a command.
type RedisError struct {
	verb string
	err  error
}

func (e *RedisError) Error() string { return "session: redis " + e.verb + ": " + e.err.Error() }

// Unwrap returns the error as the client has it.
func (e *RedisError) Unwrap() error { return e.err }

// milliseconds rounds up: zero would be refused.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
