package config

import (
	"fmt"
	"net/url"
	"strings"
)

// Redis is Redis (or Valkey) and how it is run: by exactly one of url, sentinel
// and cluster.
type Redis struct {
	// The URL of one server: redis://host:6379/0, rediss:// for TLS, or
	// unix:///path/to/socket.
	URL string `json:"url,omitempty"`
	// Servers under Sentinel, instead of url.
	Sentinel *RedisSentinel `json:"sentinel,omitempty"`
	// A Redis Cluster, instead of url.
	Cluster *RedisCluster `json:"cluster,omitempty"`
	// The ACL user name. The user needs the keys and channels below keyPrefix and the
	// commands getrange get set del pexpire pttl hset hget hdel hgetall hrandfield time
	// scan publish subscribe eval evalsha ping hello select; under Sentinel role too, in
	// a Cluster cluster|slots and asking.
	Username string `json:"username,omitempty"`
	// The password.
	Password Secret `json:"password,omitempty"`
	// A file that holds the password. It is read again for each new connection, so
	// that a new password needs no restart.
	PasswordFile string `json:"passwordFile,omitempty"`
	// Put before every key.
	KeyPrefix string `json:"keyPrefix" jsonschema:"default=gatehouse:"`
	// How long one command may take.
	Timeout Duration `json:"timeout" jsonschema:"default=2s"`
	// How to speak TLS to every server and Sentinel, for rediss URLs. certFile and
	// keyFile are read again for each new connection.
	TLS ClientTLS `json:"tls,omitempty"`
	// Lets passwords go to other machines as they are. Anyone on the network can then
	// read them, end all sessions and bring ended ones back. For tests behind closed
	// doors.
	InsecurePlainRedis bool `json:"insecurePlainRedis,omitempty"`
}

// RedisSentinel is a primary and its replicas, which Sentinels look after.
type RedisSentinel struct {
	// The name under which the Sentinels look after them (sentinel monitor NAME …).
	Master string `json:"master" jsonschema:"required,pattern=^[A-Za-z0-9._-]+$"`
	// The Sentinels: rediss://host:26379, or redis:// without TLS. The servers that
	// they name are spoken to in the same way.
	Addresses []string `json:"addresses" jsonschema:"required,uniqueItems=true"`
	// The number of the database.
	Database int `json:"database" jsonschema:"minimum=0,maximum=65535,default=0"`
	// The ACL user name at the Sentinels. The user needs the channels +switch-master and
	// +replica-reconf-done and the commands sentinel|get-master-addr-by-name
	// sentinel|sentinels subscribe ping hello role.
	Username string `json:"username,omitempty"`
	// The password at the Sentinels, if they want one.
	Password Secret `json:"password,omitempty"`
	// A file that holds the password at the Sentinels. It is read again for each new
	// connection.
	PasswordFile string `json:"passwordFile,omitempty"`
}

// RedisCluster is a Redis Cluster.
type RedisCluster struct {
	// Some of its nodes, or the one name for all: rediss://host:6379, or redis://
	// without TLS. They name the others.
	Addresses []string `json:"addresses" jsonschema:"required,uniqueItems=true"`
}

// ReadPassword is the password as it is now: that of passwordFile, read again, or
// the one of the settings.
func (r Redis) ReadPassword() (string, error) {
	return readAgain(r.Password, r.PasswordFile, "store.redis.passwordFile")
}

// ReadPassword is like [Redis.ReadPassword].
func (s RedisSentinel) ReadPassword() (string, error) {
	return readAgain(s.Password, s.PasswordFile, "store.redis.sentinel.passwordFile")
}

func readAgain(s Secret, file, path string) (string, error) {
	if file == "" {
		return s.Reveal(), nil
	}
	text, err := secretOf(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// ways are those in which the settings say that Redis is run.
func (r Redis) ways() []string {
	var out []string
	for _, w := range []struct {
		name string
		set  bool
	}{{"url", r.URL != ""}, {"sentinel", r.Sentinel != nil}, {"cluster", r.Cluster != nil}} {
		if w.set {
			out = append(out, w.name)
		}
	}
	return out
}

// servers are the URLs of the settings, and where each stands.
func (r Redis) servers() (paths, urls []string) {
	switch {
	case r.Sentinel != nil:
		return listed("store.redis.sentinel.addresses", r.Sentinel.Addresses), r.Sentinel.Addresses
	case r.Cluster != nil:
		return listed("store.redis.cluster.addresses", r.Cluster.Addresses), r.Cluster.Addresses
	}
	return []string{"store.redis.url"}, []string{r.URL}
}

// listed are the paths of a list's items.
func listed(path string, items []string) []string {
	out := make([]string, len(items))
	for i := range items {
		out[i] = indexed(path, i)
	}
	return out
}

// sendsPassword says whether there is a password that a server or Sentinel is sent.
func (r Redis) sendsPassword() bool {
	return r.Password != "" || r.PasswordFile != "" || r.Sentinel != nil && (r.Sentinel.Password != "" || r.Sentinel.PasswordFile != "")
}

// warnings are those about the way to the servers.
func (r Redis) warnings() []string {
	_, urls := r.servers()
	for _, text := range urls {
		if !inClear(text) {
			continue
		}
		if r.sendsPassword() {
			return []string{"store.redis.insecurePlainRedis: anyone on the network can read the password, end all sessions and bring ended ones back"}
		}
		return []string{"store.redis: is spoken to without TLS and password: anyone on the network can end all sessions and bring ended ones back"}
	}
	if r.URL == "" && r.sendsPassword() && strings.HasPrefix(urls[0], "rediss://") && r.TLS.CAFile == "" && r.TLS.ServerName == "" {
		return []string{"store.redis.tls: a server that a Sentinel or a node names is sent the password if any public authority vouches for it; set caFile or serverName"}
	}
	return nil
}

// inClear says whether what goes to a server goes over a network as it is.
func inClear(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "redis" && !thisMachine(u.Hostname())
}

// Format is like [OIDC.Format].
func (s RedisSentinel) Format(w fmt.State, _ rune) {
	type plain RedisSentinel
	_, _ = fmt.Fprintf(w, "%+v", plain(s))
}
