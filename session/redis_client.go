package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"slices"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// newClient makes the client for the way in which Redis is run.
func newClient(o RedisOptions) (redis.UniversalClient, error) {
	// By itself the library writes a line to stderr for each failed connection,
	// in its own format. All of that is in the errors that it returns, too.
	logging.Disable()
	switch {
	case o.Sentinel != nil:
		return underSentinel(o)
	case o.Cluster != nil:
		return inCluster(o)
	}
	at, err := placesOf(o.URL)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(bound(o, at).Simple()), nil
}

// places are servers, as URLs name them.
type places struct {
	addresses          []string
	database           int
	secure             bool
	username, password string
}

// placesOf reads URLs that all begin alike.
func placesOf(urls ...string) (places, error) {
	var out places
	for i, text := range urls {
		// The library's own errors would quote a password.
		malformed := errors.New("session: redis url: not of the form redis://host:port/database")
		u, err := url.Parse(text)
		if err != nil || u.RawQuery != "" {
			return places{}, malformed
		}
		c, err := redis.ParseURL(text)
		if err != nil {
			return places{}, malformed
		}
		secure := c.TLSConfig != nil
		if i > 0 && secure != out.secure {
			return places{}, errors.New("session: redis urls: some begin with rediss:// and some with redis://; TLS is for all or none")
		}
		out = places{append(out.addresses, c.Addr), c.DB, secure, c.Username, c.Password}
	}
	if len(out.addresses) == 0 {
		return places{}, errors.New("session: redis: no server is named")
	}
	return out, nil
}

// bound is what all ways have in common: the limits, what needs further rights on
// the server turned off, and no replica ever asked.
func bound(o RedisOptions, at places) *redis.UniversalOptions {
	size := max(20, 10*runtime.GOMAXPROCS(0))
	return &redis.UniversalOptions{
		Addrs: at.addresses, DB: at.database,
		CredentialsProviderContext: credentials(o, at),
		Dialer:                     newDialer(o, at).dial,
		ContextTimeoutEnabled:      true,
		DialTimeout:                o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		DialerRetries: 1, MaxRetries: -1,
		PoolSize: size, MaxActiveConns: size, PipelinePoolSize: -1,
		ReadBufferSize: 8 << 10, WriteBufferSize: 8 << 10,
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// credentials tells, for each connection, by whom and with what to sign in.
func credentials(o RedisOptions, at places) func(context.Context) (string, string, error) {
	username := at.username
	if o.Username != "" {
		username = o.Username
	}
	return func(context.Context) (string, string, error) {
		if o.Password == nil {
			return username, at.password, nil
		}
		password, err := o.Password()
		return username, password, err
	}
}

// underSentinel asks the Sentinels for the primary before each connection, and
// hears of a new one by the channel +switch-master.
func underSentinel(o RedisOptions) (redis.UniversalClient, error) {
	at, err := placesOf(o.Sentinel.Addresses...)
	if err != nil {
		return nil, err
	}
	c := bound(o, at)
	c.MasterName, c.DB = o.Sentinel.Master, o.Sentinel.Database
	c.OnConnect = primaryAlone
	// A Sentinel that hangs is given up after two timeouts, and then the others are
	// asked. The dialer's own limit, one timeout, holds for each connection.
	c.DialTimeout = 4 * o.Timeout
	client := redis.NewFailoverClient(c.Failover())
	client.AddHook(knownMaster{o.Sentinel.Master})
	return client, nil
}

// primaryAlone refuses a replica that the Sentinels name, as they may for a moment:
// what it says may be old.
func primaryAlone(ctx context.Context, c *redis.Conn) error {
	role, err := c.Do(ctx, "role").Slice()
	if err != nil {
		return fmt.Errorf("role: %w", err)
	}
	if len(role) == 0 || !slices.Contains([]any{"master", "sentinel"}, role[0]) {
		return errors.New("the server that the Sentinels name is not the primary")
	}
	return nil
}

// knownMaster tells that no Sentinel knows the name. The library reports it by
// an error that is redis.Nil too, which everywhere else means absence.
type knownMaster struct{ name string }

func (h knownMaster) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if errors.Is(err, redis.Nil) {
			err = fmt.Errorf("the Sentinels know no master that is called %q", h.name)
		}
		return conn, err
	}
}

func (h knownMaster) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h knownMaster) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// inCluster asks the node that has the key, and follows where that one sends it.
func inCluster(o RedisOptions) (redis.UniversalClient, error) {
	at, err := placesOf(o.Cluster...)
	if err != nil {
		return nil, err
	}
	if at.database != 0 {
		return nil, errors.New("session: redis cluster: a Cluster has the database 0 alone")
	}
	c := bound(o, at).Cluster()
	c.MaxRedirects = 3
	c.DisableRoutingPolicies = true // they need the command COMMAND
	c.NewClient = func(o *redis.Options) *redis.Client {
		node := redis.NewClient(o)
		node.AddHook(once{o.Addr})
		return node
	}
	client := redis.NewClusterClient(c)
	client.AddHook(lookAgain{client})
	return client, nil
}

// lookAgain has a Cluster's nodes looked up again when one of them is in trouble:
// another may have its place.
type lookAgain struct{ cluster *redis.ClusterClient }

func (h lookAgain) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h lookAgain) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		var final finalError
		if errors.As(err, &final) {
			h.cluster.ReloadState(ctx)
		}
		return err
	}
}

func (h lookAgain) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// once keeps a Cluster's client from repeating what failed at a node, which it does
// as often as it follows redirections.
type once struct{ node string }

func (h once) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h once) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if name := cmd.Name(); name == "hello" || name == "auth" {
			return err // within the command for which a connection is made
		}
		return h.final(err)
	}
}

func (h once) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return h.final(next(ctx, cmds)) }
}

// final makes an error one that is not repeated for. Absence, redirections and
// answers about a script stay what they are.
func (h once) final(err error) error {
	if err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "MOVED ") ||
		redis.HasErrorPrefix(err, "ASK ") || redis.HasErrorPrefix(err, "NOSCRIPT") {
		return err
	}
	return finalError{h.node, err}
}

// finalError has no Unwrap, by which the library would know what to repeat. It
// still is the end of a context, for which nothing is.
type finalError struct {
	node string
	err  error
}

func (e finalError) Error() string { return e.node + ": " + e.err.Error() }

func (e finalError) Is(target error) bool {
	return (target == context.Canceled || target == context.DeadlineExceeded) && errors.Is(e.err, target)
}
