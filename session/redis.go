package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// swapScript compares and replaces (or, without a next value, deletes) in one step.
const swapScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if #ARGV == 1 then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`

// RedisOptions is how to reach a Redis or Valkey server.
type RedisOptions struct {
	// URL is redis://host:port/database, rediss:// for TLS, or unix:///path/to/socket.
	URL string
	// Username and Password go before those in URL. Both may be empty.
	Username, Password string
	// KeyPrefix is put before every key.
	KeyPrefix string
	// Timeout bounds each command, reconnecting included; zero means 2 s.
	Timeout time.Duration
	// TLS is for a rediss URL; nil means the system's roots. The server's name is
	// the URL's host unless it is set here.
	TLS *tls.Config
}

// Redis is a [Store] on a Redis or Valkey server. Its user needs these rights
// and no more: the keys of KeyPrefix, the commands GETRANGE, GET, SET, DEL, PEXPIRE, EVAL,
// EVALSHA and PING (as an ACL rule: "~gatehouse:* resetchannels -@all +getrange
// +get +set +del +pexpire +eval +evalsha +ping +hello +select"). The server
// should not evict keys without being asked (maxmemory-policy noeviction): a
// replay mark that was evicted is forgotten.
//
// No command is ever repeated: an answer that got lost is an error, not a guess.
type Redis struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration

	swap, entering, retiring *redis.Script
}

// NewRedis makes the store; the server need not be up. It fails only for a URL
// that is none, without quoting it.
func NewRedis(o RedisOptions) (*Redis, error) {
	// The library's own errors would quote a password.
	u, err := url.Parse(o.URL)
	if err != nil || u.RawQuery != "" {
		return nil, errors.New("session: redis url: not of the form redis://host:port/database")
	}
	c, err := redis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("session: redis url: not of the form redis://host:port/database")
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Username != "" {
		c.Username = o.Username
	}
	if o.Password != "" {
		c.Password = o.Password
	}
	if c.TLSConfig != nil && o.TLS != nil {
		name := c.TLSConfig.ServerName
		c.TLSConfig = o.TLS.Clone()
		if c.TLSConfig.ServerName == "" {
			c.TLSConfig.ServerName = name
		}
	}
	bound(c, o.Timeout)
	// By itself the library writes a line to stderr for each failed connection,
	// in its own format. All of that is in the errors that it returns, too.
	logging.Disable()
	client := redis.NewClient(c)
	client.AddHook(&breaker{patience: o.Timeout / 2})
	return &Redis{
		client: client, prefix: o.KeyPrefix, timeout: o.Timeout,
		swap: redis.NewScript(swapScript), entering: redis.NewScript(enterScript), retiring: redis.NewScript(retireScript),
	}, nil
}

// bound sets the limits, and turns off what needs further rights on the server.
func bound(c *redis.Options, timeout time.Duration) {
	c.ContextTimeoutEnabled = true
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = timeout, timeout, timeout, timeout
	c.DialerRetries, c.MaxRetries = 1, -1
	c.PoolSize = max(20, 10*runtime.GOMAXPROCS(0))
	c.MaxActiveConns, c.PipelinePoolSize = c.PoolSize, -1
	c.ReadBufferSize, c.WriteBufferSize = 8<<10, 8<<10
	c.Protocol, c.DisableIdentity = 2, true
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
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
		return nil, false, fmt.Errorf("session: redis get: %w", err)
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

// Ping reports whether the server answers.
func (r *Redis) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
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
	return fmt.Errorf("session: redis %s: %w", verb, err)
}

// milliseconds rounds up: zero would be refused.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
