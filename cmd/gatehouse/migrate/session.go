package migrate

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/config"
)

var cookieName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

func (t *translation) session() {
	var nodes []node
	if t.has("cookie-expire") {
		nodes = append(nodes, t.lifetime()...)
	}
	if t.onRedis() {
		nodes = append(nodes, node{key: "keysFile", value: t.secretFile("session.keysFile", Secret{File: "session-keys"}), note: "New: oauth2-proxy's cookie secret is of no use here."})
	}
	cookie := []node{{key: "domain", value: t.cookieDomain()}}
	if t.has("cookie-name") {
		name := strings.TrimPrefix(strings.TrimPrefix(t.text("cookie-name"), "__Host-"), "__Secure-")
		if cookieName.MatchString(name) && !strings.HasPrefix(name, "__") {
			cookie = append([]node{{key: "name", value: name, note: "With __Host- or __Secure- before it."}}, cookie...)
		} else {
			t.note(Different, "cookie-name", "a cookie can't be called so here; it is called gatehouse")
		}
	}
	t.put(node{key: "session", value: append(nodes, node{key: "cookie", value: cookie})})
}

func (t *translation) lifetime() []node {
	const year, idle = 8760 * time.Hour, 24 * time.Hour
	life := t.duration("cookie-expire")
	switch {
	case life <= 0:
		t.note(Different, "cookie-expire", "a sign-in never lasts until the browser is closed alone: it is the default, 168h, or a day without use (session.idleTimeout)")
		return nil
	case life > year:
		t.note(Narrower, "cookie-expire", "it is a year, the longest there is")
		life = year
	}
	shown := raw(clock(life))
	out := []node{{key: "lifetime", value: shown, note: "From signing in; renewing tokens does not make it longer."}}
	if life < idle {
		out = append(out, node{key: "idleTimeout", value: shown})
	} else {
		t.note(Different, "cookie-expire", "besides, a sign-in ends that is not used for a day (session.idleTimeout)")
	}
	if life < time.Hour {
		out = append(out, node{key: "outageGrace", value: shown})
	}
	return out
}

// clock is a length of time without zero parts.
func clock(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// cookieDomain is the one domain that fits the host of publicURL.
func (t *translation) cookieDomain() string {
	var fit []string
	all, host := t.list("cookie-domain"), t.public.Hostname()
	for _, d := range all {
		if d = domainOf(d); strings.Contains(d, ".") && net.ParseIP(d) == nil && (host == "" || host == d || strings.HasSuffix(host, "."+d)) {
			fit = append(fit, d)
		}
	}
	if len(fit) == 0 && len(all) > 0 {
		t.note(Different, "cookie-domain", "the cookie is for the host of publicURL alone: no domain here is one of several names that it is in")
		return ""
	}
	slices.SortStableFunc(fit, func(a, b string) int { return len(b) - len(a) })
	if len(all) > 1 {
		t.note(Different, "cookie-domain", "there is one domain, "+fit[0]+". For others run a gateway of their own")
	}
	return first(fit)
}

func (t *translation) onRedis() bool { return t.value("session-store-type") == "redis" }

func (t *translation) store() {
	if !t.onRedis() {
		says := []string{"sessions are in the memory of this one process, not in the cookie: a restart signs people out, and replicas need Redis (store.redis)"}
		for _, flag := range []string{"redis-connection-url", "redis-sentinel-connection-urls", "redis-cluster-connection-urls"} {
			if t.has(flag) {
				says = append(says, t.about(flag)+" had no effect, for session-store-type is not redis")
			}
		}
		t.note(Different, "session-store-type", strings.Join(says, ". "))
		return
	}
	const at = "store.redis."
	redis, secure := t.servers()
	user, password := t.credentials()
	redis = append(redis, node{key: "username", value: user}, node{key: "passwordFile", value: password})
	if ca := t.text("redis-ca-path"); ca != "" && secure {
		redis = append(redis, node{key: "tls", value: []node{{key: "caFile", value: t.file(at+"tls.caFile", ca)}}})
		t.files[at+"tls"] = true
	} else if ca != "" {
		t.note(Moot, "redis-ca-path", "the URL says redis://, which is without TLS")
	}
	t.put(node{key: "store", value: []node{{key: "redis", value: redis}}})
}

// servers says where Redis is.
func (t *translation) servers() (redis []node, secure bool) {
	flag, port := "redis-connection-url", ""
	switch {
	case t.isOn("redis-use-sentinel"):
		flag, port = "redis-sentinel-connection-urls", "26379"
	case t.isOn("redis-use-cluster"):
		flag = "redis-cluster-connection-urls"
	}
	var addresses []string
	plain := false
	for _, text := range t.list(flag) {
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" {
			t.fault(t.about(flag), "is no URL of a Redis server", "write it like redis://redis.example.com:6379")
			continue
		}
		address, clear := t.server(flag, *u, port)
		plain = plain || clear
		secure = secure || u.Scheme == "rediss"
		addresses = append(addresses, address)
	}
	switch n := (node{key: "addresses", value: addresses}); {
	case len(addresses) == 0:
		redis = []node{{key: "url", value: "redis://127.0.0.1:6379", hole: "where Redis is, for instance rediss://redis.example.com:6379"}}
	case t.isOn("redis-use-sentinel"):
		password := t.secret("store.redis.sentinel.passwordFile", "redis-sentinel-password", "redis-sentinel-password", "")
		master := node{key: "master", value: t.text("redis-sentinel-master-name")}
		if master.value == "" {
			master.value, master.hole = "mymaster", "the name by which the Sentinels know the servers"
		}
		redis = []node{{key: "sentinel", value: []node{master, n, {key: "passwordFile", value: password}}}}
	case t.isOn("redis-use-cluster"):
		redis = []node{{key: "cluster", value: []node{n}}}
	default:
		redis = []node{{key: "url", value: addresses[0]}}
	}
	if plain && (t.has("redis-password") || t.has("redis-sentinel-password") || t.inURL().User != nil) {
		redis = append(redis, node{key: "insecurePlainRedis", value: true, note: "As before: the password goes over the network as it is. Write rediss:// and remove this."})
	}
	return redis, secure
}

// server is one address as settings spell it, and whether others could read along.
func (t *translation) server(flag string, u url.URL, port string) (address string, clear bool) {
	if u.RawQuery != "" {
		t.note(Different, flag, "what stands behind ? in the URL is left out")
	}
	if u.Scheme == "unix" {
		return "unix://" + path.Join("/", u.Host, u.Path), false
	}
	host := u.Host
	if u.Port() == "" && port != "" {
		host = net.JoinHostPort(u.Hostname(), port)
	}
	address = u.Scheme + "://" + host
	if database := strings.Trim(u.Path, "/"); database != "" && flag == "redis-connection-url" {
		address += "/" + database
	}
	ip := net.ParseIP(u.Hostname())
	return address, u.Scheme == "redis" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// inURL is the first URL, which may hold a name and a password.
func (t *translation) inURL() *url.URL {
	for _, flag := range []string{"redis-sentinel-connection-urls", "redis-cluster-connection-urls", "redis-connection-url"} {
		if u, err := url.Parse(first(t.list(flag))); err == nil && t.has(flag) {
			return u
		}
	}
	return &url.URL{}
}

// credentials are those of Redis; options go before the URL.
func (t *translation) credentials() (user, file string) {
	const at = "store.redis.passwordFile"
	user = t.text("redis-username")
	file = t.secret(at, "redis-password", "redis-password", "")
	if in := t.inURL().User; in != nil {
		if user == "" {
			user = in.Username()
		}
		if password, ok := in.Password(); ok && file == "" {
			file = t.secretFile(at, Secret{File: "redis-password", Value: config.Secret(password), From: "the URL of Redis"})
		}
	}
	if file == "" {
		user = "" // a name alone is never sent
	}
	return user, file
}
