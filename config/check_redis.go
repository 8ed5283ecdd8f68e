package config

import (
	"strconv"
	"strings"
)

func (k *checks) store() {
	r := k.c.Store.Redis
	if r == nil {
		return
	}
	if k.c.Session.Keys == nil && k.c.Session.KeysFile == "" {
		k.fault("session.keys", "is missing, but sessions in Redis outlive this process only if their keys do", "make one with: openssl rand -base64 32")
	}
	if len(r.KeyPrefix) > 64 || strings.ContainsFunc(r.KeyPrefix, func(c rune) bool { return c <= ' ' || c > '~' }) {
		k.fault("store.redis.keyPrefix", "must be at most 64 printable ASCII characters without space", "write it like gatehouse:")
	}
	k.nobody("store.redis.username", r.Username, r.Password, r.PasswordFile)
	if s := r.Sentinel; s != nil {
		k.nobody("store.redis.sentinel.username", s.Username, s.Password, s.PasswordFile)
	}
	if k.oneWay(*r) {
		k.redisServers(*r)
	}
}

// nobody refuses a name that is never sent, because there is no password.
func (k *checks) nobody(path, username string, password Secret, file string) {
	if username != "" && password == "" && file == "" {
		k.fault(path, "has no effect without a password", "set passwordFile beside it, or leave the name out")
	}
}

// oneWay says whether the settings name one way in which Redis is run.
func (k *checks) oneWay(r Redis) bool {
	ways := r.ways()
	switch len(ways) {
	case 0:
		k.fault("store.redis", "does not say where Redis is", "set url for one server, or sentinel, or cluster")
	case 1:
		return true
	default:
		k.fault("store.redis."+ways[1], "set together with "+ways[0], "keep one of url, sentinel and cluster")
	}
	return false
}

// redisServers checks the addresses, each and together.
func (k *checks) redisServers(r Redis) {
	paths, urls := r.servers()
	secure, sound := false, true
	for i, text := range urls {
		problem, fix := redisAddress(r, text)
		switch begins := strings.HasPrefix(text, "rediss://"); {
		case problem != "":
		case i > 0 && begins != secure && sound:
			problem, fix = "begins unlike the one before it", "TLS is for all or none: write rediss:// everywhere"
		default:
			secure = begins
		}
		if problem != "" {
			k.fault(paths[i], problem, fix)
			sound = false
			continue
		}
		if r.sendsPassword() && !r.InsecurePlainRedis && inClear(text) {
			k.fault(paths[i], "would send the password over the network as it is", "write rediss://"+strings.TrimPrefix(text, "redis://")+"; for tests behind closed doors there is insecurePlainRedis")
		}
	}
	if sound {
		k.clientTLS("store.redis.tls", r.TLS, secure)
	}
}

// redisAddress says what is wrong with the URL of a server.
func redisAddress(r Redis, text string) (problem, fix string) {
	if socket, ok := strings.CutPrefix(text, "unix://"); ok && r.URL != "" {
		if !strings.HasPrefix(socket, "/") || strings.ContainsAny(socket, "?#") {
			return "names no socket", "write it like unix:///run/redis/redis.sock"
		}
		return "", ""
	}
	fix = "write it like rediss://redis.example.com:6379/0; user name and password are settings of their own"
	if r.Sentinel != nil {
		fix = "write it like rediss://sentinel-1.example.com:26379; everything else is a setting of its own"
	}
	if r.Cluster != nil {
		fix = "write it like rediss://redis-1.example.com:6379; a Cluster has the database 0 alone"
	}
	u, problem := webURL(text, "rediss", "redis")
	if problem != "" {
		return problem, fix
	}
	database := strings.TrimPrefix(u.Path, "/")
	_, err := strconv.ParseUint(database, 10, 16)
	switch {
	case r.Sentinel != nil && u.Port() == "":
		return "names no port", fix
	case r.URL == "" && u.Path != "":
		return "has a path", fix
	case database != "" && err != nil:
		return "its path is not the number of a database", fix
	}
	return "", ""
}
