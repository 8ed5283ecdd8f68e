package config

import (
	"fmt"
	"net/url"
	"strings"
)

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
