package migrate

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/config"
)

// translation makes settings of what was read.
type translation struct {
	*reader
	dir     string // of files of secrets
	root    []node
	secrets []Secret
	files   map[string]bool // paths of settings that name files which may be missing here

	public    *url.URL // what publicURL says; never nil, without host if nobody knows
	upstreams []upstream
	headers   []header // those of forward-auth's answer, or of requests
	behind    bool     // another proxy asks: forwardAuth
	claims    []node   // of the provider
	domains   []string
	groups    []string
	door      []node // who may come in by a route
	rules     []node // what the rule for everything requires
}

func (t *translation) all() {
	t.files = map[string]bool{}
	t.upstreams, t.headers = t.legacyUpstreams(), t.legacyHeaders()
	if t.alpha != nil {
		t.upstreams, t.headers = t.alpha.upstreams, t.alpha.request
	}
	t.behind = forwardOnly(t.upstreams)
	t.where()
	t.listen()
	t.proxies()
	t.applications()
	t.authn()
	t.policy()
	t.session()
	t.store()
	t.identity()
	t.ownPaths()
	t.pages()
}

// The values of options, with oauth2-proxy's defaults.

func (t *translation) known(flag string) option {
	return t.options[slices.IndexFunc(t.options, func(o option) bool { return o.flag == flag })]
}

func (t *translation) has(flag string) bool { return len(t.given[flag].values) > 0 }

func (t *translation) list(flag string) []string {
	var out []string
	for _, v := range t.given[flag].values {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// value is a text, or the default.
func (t *translation) value(flag string) string {
	if t.has(flag) {
		return t.text(flag)
	}
	return t.known(flag).def
}

func (t *translation) isOn(flag string) bool {
	on, _ := strconv.ParseBool(t.value(flag)) // what was given has been looked at
	return on
}

func (t *translation) duration(flag string) time.Duration {
	d, _ := time.ParseDuration(t.value(flag)) // what was given has been looked at
	return d
}

// about is how an option was written.
func (t *translation) about(flag string) string {
	if t.has(flag) {
		return t.given[flag].from
	}
	return "--" + flag
}

// note says something about an option.
func (t *translation) note(kind Kind, flag, says string) { t.say(kind, t.about(flag), says) }

func (t *translation) say(kind Kind, about, says string) {
	if n := (Note{kind, about, says}); !slices.Contains(t.notes, n) {
		t.notes = append(t.notes, n)
	}
}

// put adds a setting at the top, unless it has nothing to say.
func (t *translation) put(n node) { t.root = append(t.root, n) }

// file notes that a setting names a file that need not be on this machine.
func (t *translation) file(path, name string) string {
	if name != "" {
		t.files[path] = true
	}
	return name
}

// secret is where a secret is to be. What stood in a file stays there; what stood
// elsewhere goes into a file of that name.
func (t *translation) secret(path, name, flag, fileFlag string) string {
	if fileFlag != "" && t.has(fileFlag) && !t.has(flag) {
		return t.file(path, t.text(fileFlag))
	}
	if !t.has(flag) {
		return ""
	}
	return t.secretFile(path, Secret{File: name, Value: config.Secret(t.text(flag)), From: t.about(flag)})
}

func (t *translation) secretFile(path string, s Secret) string {
	t.secrets = append(t.secrets, s)
	return t.file(path, t.dir+"/"+s.File)
}

// remarks says what becomes of options without a setting.
func (t *translation) remarks() {
	for _, o := range t.options {
		g, ok := t.given[o.flag]
		if !ok || o.usual(g.values) {
			continue
		}
		if own := owners(o.flag); len(own) > 0 && !slices.Contains(own, t.value("provider")) {
			t.say(Moot, g.from, "it has no effect with this provider")
			continue
		}
		if o.fate == mapped {
			continue
		}
		kind := Different
		if o.fate == moot {
			kind = Moot
		}
		t.say(kind, g.from, o.says)
	}
	slices.SortStableFunc(t.notes, func(a, b Note) int { return int(a.Kind - b.Kind) })
}

// owners are the providers for which alone an option has an effect; none for all.
func owners(flag string) []string {
	switch name, _, _ := strings.Cut(flag, "-"); name {
	case "bitbucket", "github", "gitlab", "google", "keycloak", "azure":
		return []string{name}
	case "entra":
		return []string{"entra-id"}
	case "jwt", "pubjwk":
		return []string{"login.gov"}
	}
	switch flag {
	case "allowed-role":
		return []string{"keycloak-oidc"}
	case "resource":
		return []string{"azure", "adfs"}
	}
	return nil
}

// usual says whether values are the default.
func (o option) usual(values []string) bool {
	switch o.kind {
	case boolean:
		on, _ := strconv.ParseBool(first(values))
		def, _ := strconv.ParseBool(o.def)
		return on == def
	case duration:
		is, _ := time.ParseDuration(first(values))
		def, _ := time.ParseDuration(o.def)
		return is == def
	case text, list, number:
		return strings.EqualFold(strings.Join(values, ","), o.def) || strings.Join(values, "") == ""
	}
	return false
}

// where says where people reach the gateway.
func (t *translation) where() {
	t.public = &url.URL{}
	n := node{key: "publicURL"}
	u, err := url.Parse(t.text("redirect-url"))
	switch {
	case t.has("redirect-url") && err != nil:
		t.fault(t.about("redirect-url"), "is no URL", "write it like https://app.example.com/oauth2/callback")
		return
	case u.Host == "":
		n.value, n.hole = "https://"+standIn(t.list("cookie-domain")), "where people reach the gateway, for instance https://app.example.com; oauth2-proxy took it from each request"
		t.put(n)
		return
	}
	insecure := false
	if host := u.Hostname(); u.Scheme == "http" && host != "localhost" && !strings.HasPrefix(host, "127.") && host != "::1" {
		if insecure = !t.isOn("cookie-secure"); insecure {
			t.say(Different, t.about("cookie-secure"), "it stays plain http, by insecurePublicHTTP: anyone on the network can take over sessions. Put https in front and remove that")
		} else {
			u.Scheme = "https"
			t.note(Different, "redirect-url", "it says http, but its cookie is for https alone: publicURL is https. Register that redirect URI at the provider")
		}
	}
	port := u.Port()
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	t.public.Scheme, t.public.Host = u.Scheme, strings.ToLower(u.Hostname())
	if strings.Contains(u.Hostname(), ":") {
		t.public.Host = "[" + u.Hostname() + "]"
	}
	if port != "" {
		t.public.Host += ":" + port
	}
	n.value = t.public.String()
	t.put(n)
	t.put(node{key: "insecurePublicHTTP", value: insecure, note: "As before. Put https in front and remove this."})
}

// standIn is a host for checks where nobody knows the real one.
func standIn(domains []string) string {
	if host := domainOf(first(domains)); strings.Contains(host, ".") {
		return host
	}
	return "gatehouse.example.com"
}

// domainOf is a cookie's domain as settings spell it.
func domainOf(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(strings.TrimLeft(s, ".*")), ":")
	return s
}

func (t *translation) listen() {
	address, cert, key := t.value("http-address"), t.text("tls-cert-file"), t.text("tls-key-file")
	about := "http-address"
	if cert != "" || key != "" {
		address, about = t.value("https-address"), "https-address"
		if t.alpha != nil && t.has("http-address") {
			t.note(Different, "http-address", "there is one listener, that with TLS")
		}
	}
	for _, scheme := range []string{"http://", "https://"} {
		address = strings.TrimPrefix(address, scheme)
	}
	if strings.HasPrefix(strings.ToLower(address), "unix:") || strings.HasPrefix(strings.ToLower(address), "fd:") {
		t.note(Different, about, "there is no listening on a unix socket or a descriptor: listen.address is left out, which is :8080. Name a port of the loopback interface for a proxy on this machine")
		address = ""
	}
	at, pair := "listen.tls.certificates[0].", [][]node(nil)
	if cert != "" || key != "" {
		pair = [][]node{{
			{key: "certFile", value: t.file(at+"certFile", cert)},
			{key: "keyFile", value: t.file(at+"keyFile", key)},
		}}
	}
	t.put(node{key: "listen", value: []node{
		{key: "address", value: address},
		{key: "tls", value: []node{{key: "certificates", value: pair}, {key: "minVersion", value: t.minVersion()}}},
	}})
	if strings.HasSuffix(address, ":8081") {
		t.put(node{key: "operations", value: []node{{key: "address", value: "127.0.0.1:8082"}}, note: "Not the default, for that port is taken."})
	}
}

// minVersion is the oldest version of TLS, if it is not the default.
func (t *translation) minVersion() string {
	if t.value("tls-min-version") == "TLS1.3" {
		return "1.3"
	}
	return ""
}

func (t *translation) proxies() {
	var trusted []string
	if t.isOn("reverse-proxy") {
		for _, p := range t.list("trusted-proxy-ip") {
			if strings.HasSuffix(p, "/0") {
				t.note(Narrower, "trusted-proxy-ip", p+" would trust everybody and is left out. Name the proxies' own addresses")
				continue
			}
			trusted = append(trusted, p)
		}
		if header := t.value("real-client-ip-header"); !strings.EqualFold(header, "X-Forwarded-For") && (t.has("real-client-ip-header") || len(trusted) > 0) {
			t.note(Different, "real-client-ip-header", header+" is not read: the proxy must write X-Forwarded-For, or Forwarded with forwardedHeader: forwarded. What it says is believed only from trustedProxies")
		}
	}
	n := node{key: "trustedProxies", value: trusted}
	switch {
	case len(trusted) > 0:
	case t.behind:
		n.value, n.hole = []string{"192.0.2.1"}, "the addresses of the proxies that ask, for instance 10.0.0.0/8; nobody else is answered"
	case t.isOn("reverse-proxy"):
		t.note(Narrower, "reverse-proxy", "oauth2-proxy believed what anybody said about the client's address. Here nobody is believed until trustedProxies names the proxies in front")
		n = node{note: "The addresses of the proxies in front, so that the client's address is known:\ntrustedProxies: [10.0.0.0/8]"}
	}
	t.put(n)
}

func (t *translation) ownPaths() {
	prefix := "/" + strings.Trim(t.value("proxy-prefix"), "/")
	callback := prefix + "/callback"
	if u, err := url.Parse(t.text("redirect-url")); err == nil && strings.Trim(u.Path, "/") != "" {
		callback = u.Path
	}
	nodes := []node{{key: "callback", value: callback, note: "The redirect URI that is registered at the provider."}}
	if t.behind {
		nodes = append(nodes, node{key: "oauth2Proxy", value: true, note: "/oauth2/auth, /oauth2/start, /oauth2/sign_out … stay."})
		if prefix != "/oauth2" {
			t.note(Different, "proxy-prefix", "oauth2-proxy's own paths are answered below /oauth2 alone: change them at the proxy that asks")
		}
	} else {
		nodes = append(nodes, node{key: "signOut", value: prefix + "/sign_out", note: "So that the application's links go on to work. Register it at the provider as post-logout redirect URI."})
		if prefix != "/oauth2" {
			t.note(Different, "proxy-prefix", "all but the callback and signing out is below /.gatehouse, which paths.prefix changes")
		}
	}
	t.put(node{key: "paths", value: nodes})
}

func (t *translation) pages() {
	logo := t.text("custom-sign-in-logo")
	if logo == "-" {
		logo = ""
	} else if strings.Contains(logo, "://") {
		t.note(Different, "custom-sign-in-logo", "pages show an image from a file, not from a URL: fetch it and name the file in pages.logoFile")
		logo = ""
	}
	t.put(node{key: "pages", value: []node{{key: "logoFile", value: t.file("pages.logoFile", logo)}}})
	t.put(node{key: "log", value: []node{{key: "noAccess", value: !t.isOn("request-logging")}}})
}
