package config

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const goodKey = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ9x0bTfOLWmE="

func decode(t *testing.T, text string, env ...string) Config {
	t.Helper()
	c, err := Decode("gatehouse.yaml", []byte(text), env)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

// minimal is the least that works, over the environment alone.
func minimal(more ...string) []string {
	return append([]string{
		"GATEHOUSE_PUBLIC_URL=https://wandb.example.com", "GATEHOUSE_UPSTREAM=http://wandb:8080",
		"OIDC_ISSUER=https://idp.example.com", "OIDC_CLIENT_ID=gate",
	}, more...)
}

// TestDefaults spells out what stands in tags, so that no default changes by accident.
func TestDefaults(t *testing.T) {
	got, err := Load("", minimal("GATEHOUSE_STORE_REDIS_URL=redis://redis", "GATEHOUSE_SESSION_KEYS="+goodKey, "PATH=/bin", "odd"))
	if err != nil {
		t.Fatal(err)
	}
	d := func(d time.Duration) Duration { return Duration(d) }
	want := Config{
		PublicURL: "https://wandb.example.com",
		Listen: Listen{
			Address: ":8080", HeaderTimeout: d(10 * time.Second), IdleTimeout: d(2 * time.Minute),
			StallTimeout: d(5 * time.Minute), MaxHeaderSize: 64 << 10, DrainTimeout: d(30 * time.Second), DrainDelay: 0,
			TLS: ListenTLS{MinVersion: "1.2"}, MaxURLSize: 16 << 10, MaxStreams: 250,
		},
		Limits:     Limits{Connections: 32768, ConnectionsPerAddress: 16384, RequestsPerSecond: 5000, SignInsPerMinute: 600},
		HSTS:       HSTS{MaxAge: d(8760 * time.Hour)},
		Operations: Operations{Address: "127.0.0.1:8081"},
		Upstreams: []Upstream{{
			Name: "upstream", URL: "http://wandb:8080", Paths: []string{"/"}, HostHeader: "keep",
			Identity: "headers", Exchange: UpstreamExchange{Audience: "wandb", Subject: "email"},
			ConnectTimeout: d(10 * time.Second), ResponseTimeout: d(10 * time.Minute),
		}},
		Authn: []Route{{Name: "oidc", OIDC: &OIDC{
			Issuer: "https://idp.example.com", ClientID: "gate", AuthMethod: "pkce", Scopes: []string{"openid", "profile", "email"},
			Claims:              Claims{Subject: "sub", Username: "preferred_username", Name: "name", Email: "email", EmailVerified: "email_verified", Groups: "groups"},
			PushedAuthorization: "auto", Userinfo: "auto", GroupsOverage: "refuse", ClockSkew: d(time.Minute),
		}}},
		Regulation: Regulation{MaxRetries: 3, MaxUserRetries: 4, MaxAddressRetries: 30, FindTime: d(15 * time.Minute), BanTime: d(15 * time.Minute)},
		Session: Session{
			Lifetime: d(168 * time.Hour), IdleTimeout: d(24 * time.Hour), MaxPerPerson: 100, OutageGrace: d(time.Hour), Cache: SessionCache{Lifetime: d(30 * time.Second), MaxSize: 64 << 20},
			Cookie: Cookie{Name: "gatehouse"}, Keys: []Secret{goodKey},
		},
		Store:           Store{Redis: &Redis{URL: "redis://redis", KeyPrefix: "gatehouse:", Timeout: d(2 * time.Second)}},
		Headers:         Headers{Preset: "gatehouse", GroupSeparator: ",", GroupFormat: "joined", Attribution: "members", MaxSize: 32 << 10},
		Assertion:       Assertion{Algorithm: "ES256", Lifetime: d(5 * time.Minute)},
		Paths:           Paths{Callback: "/oidc/callback", SignOut: "/logout", Prefix: "/.gatehouse"},
		Pages:           Pages{Name: "Gatehouse", Colour: "#1f5fbf"},
		ForwardedHeader: "x-forwarded-for",
		Log:             Log{Level: "info", Format: "json"},
		Audit:           Audit{Output: "none", Syslog: "unixgram:///dev/log", OnFailure: "refuse"},
		Reload:          Reload{Interval: Duration(5 * time.Second)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDefaultsStandAgainstZero: what is set to zero stays zero.
func TestDefaultsStandAgainstZero(t *testing.T) {
	c := decode(t, "", minimal("GATEHOUSE_UPSTREAMS_0_RESPONSE_TIMEOUT=0s", "GATEHOUSE_AUTHN_0_OIDC_CLOCK_SKEW=0s", "GATEHOUSE_LISTEN_DRAIN_TIMEOUT=0s")...)
	if c.Upstreams[0].ResponseTimeout != 0 || c.Authn[0].OIDC.ClockSkew != 0 || c.Listen.DrainTimeout != 0 {
		t.Errorf("a zero was replaced by a default: %+v", c)
	}
	if c.Store.Redis != nil {
		t.Error("a store came out of nothing")
	}
}

// full says something about nearly everything.
const full = `# the gateway of example.com
publicURL: https://wandb.example.com:8443
listen:
  address: "[::1]:8443"
  httpAddress: "[::1]:8080"
  proxyProtocol: true
  maxHeaderSize: 131072
  tls:
    certificates: [{certFile: cert.pem, keyFile: key.pem}]
    acme: {email: ops@example.com, caFile: cert.pem, accountID: kid-1, accountKey: "c2VjcmV0"}
    minVersion: "1.3"
    clientCAFile: cert.pem
limits: {connections: 0, requestsPerSecond: 100}
hsts: {maxAge: 26280h, includeSubdomains: true, preload: true}
upstreams:
  - name: wandb
    url: https://10.0.0.7:8443
    hosts: [wandb.example.com, files.example.com]
    public: [/healthz, /static/]
    tls: {caFile: cert.pem, certFile: cert.pem, keyFile: key.pem, serverName: wandb.internal}
    maxBodySize: 10GiB
  - {name: local, url: unix:///run/app/app.sock, hosts: [files.example.com], paths: [/bucket, /other]}
authn:
  - name: okta
    oidc:
      issuer: https://example.okta.com/oauth2/default/
      clientID: gate
      clientKeyFile: key.pem
      clientKeyID: k1
      clientAuth: privateKeyJWT
      prompt: login consent
      maxAge: 8h
      authParams: {hd: example.com, resource: "https://wandb,x"}
      signOutParams: {logout_uri: "https://gate.example.com/logout"}
      allowedEmailDomains: [example.com, "*.example.org"]
      signingAlgorithms: [RS256, ES256]
  - name: lab
    oidc:
      issuer: http://127.0.0.1:9000
      clientID: gate
      clientSecretFile: secret.txt
      clientAuth: post
      subjectPrefix: "lab:"
      allowedEmailDomains: [lab.example.com]
session:
  lifetime: 720h
  cookie: {domain: example.com, name: gate}
  keysFile: keys.txt
store:
  redis: {url: rediss://redis:6379/3, username: gate, passwordFile: secret.txt, tls: {caFile: cert.pem}}
headers:
  identity: [{name: X-User, from: subject}, {name: X-Groups, from: groups}]
  groupSeparator: "|"
  scrub: [X-Admin]
trustedProxies: [10.0.0.0/8, "fd00::1"]
forwardedHeader: forwarded
pages: {name: Weights at Example, logoFile: logo.svg, colour: "#ABCDEF", contact: help@example.com, signedOutURL: "https://example.com/bye?from=wandb#top"}
log: {level: debug, format: text, noAccess: true}
`

func TestFull(t *testing.T) {
	putFiles(t)
	c := decode(t, full)
	if got := c.Authn[1].OIDC.ClientSecret.Reveal(); got != "hunter2" {
		t.Errorf("secret from its file is %q", got)
	}
	if got := c.Session.Keys; !slices.Equal(got, []Secret{goodKey}) {
		t.Errorf("keys from their file are %d", len(got))
	}
	if c.Listen.MaxHeaderSize != 128<<10 || c.Upstreams[0].MaxBodySize != 10<<30 {
		t.Errorf("sizes are %s and %s", c.Listen.MaxHeaderSize, c.Upstreams[0].MaxBodySize)
	}
	if got := c.Origin().String(); got != "https://wandb.example.com:8443" {
		t.Errorf("origin is %s", got)
	}
	if diff := cmp.Diff([]string{"wandb.example.com:8443", "files.example.com:8443"}, c.Hosts()); diff != "" {
		t.Error(diff)
	}
	if a, b := c.CallbackPath(0), c.CallbackPath(1); a != "/oidc/callback" || b != "/oidc/callback/lab" {
		t.Errorf("callbacks are %s and %s", a, b)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::1/128")}
	if got := c.Networks(); !slices.Equal(got, want) {
		t.Errorf("networks are %v", got)
	}
}

// TestRedisWays decodes each way in which Redis is run.
func TestRedisWays(t *testing.T) {
	putFiles(t)
	read := func(redis string) Redis {
		t.Helper()
		c := decode(t, base[0].text+base[1].text+base[2].text+"session: {keysFile: keys.txt}\nstore: {redis: "+redis+"}\n")
		return *c.Store.Redis
	}
	s := read(`{sentinel: {master: main, addresses: ["rediss://s-1:26379", "rediss://s-2:26379"], database: 3, username: watch, passwordFile: secret.txt}, tls: {caFile: cert.pem}}`)
	if p, err := s.Sentinel.ReadPassword(); p != "hunter2" || err != nil || s.Sentinel.Password != "hunter2" || s.Sentinel.Database != 3 || s.Cluster != nil || s.URL != "" {
		t.Errorf("%+v, %v", s, err)
	}
	if d := read(`{sentinel: {master: main, addresses: ["redis://localhost:26379"]}}`); d.Sentinel.Database != 0 {
		t.Errorf("%+v", d)
	}
	if c := read(`{cluster: {addresses: ["rediss://n-1", "rediss://n-2:6380"]}, tls: {serverName: redis.internal}}`); len(c.Cluster.Addresses) != 2 || c.Sentinel != nil {
		t.Errorf("%+v", c)
	}
	read(`{url: "unix:///run/redis.sock", password: hunter2}`)
	read(`{url: "redis://127.0.0.1:6379", password: hunter2}`)
	read(`{url: "redis://redis:6379", password: hunter2, insecurePlainRedis: true}`)
	t.Run("by the environment", func(t *testing.T) {
		c := decode(t, "", minimal("GATEHOUSE_SESSION_KEYS="+goodKey, "GATEHOUSE_STORE_REDIS_SENTINEL_MASTER=main",
			"GATEHOUSE_STORE_REDIS_SENTINEL_ADDRESSES=rediss://s-1:26379,rediss://s-2:26379")...)
		if c.Store.Redis.Timeout.Std() != 2*time.Second || len(c.Store.Redis.Sentinel.Addresses) != 2 {
			t.Errorf("%+v", c.Store.Redis)
		}
	})
	t.Run("a password that is read again", func(t *testing.T) {
		r := read(`{url: "rediss://redis", passwordFile: secret.txt}`)
		check(t, os.WriteFile("secret.txt", []byte("hunter3\n"), 0o600))
		if p, err := r.ReadPassword(); p != "hunter3" || err != nil {
			t.Errorf("%q, %v", p, err)
		}
		check(t, os.Remove("secret.txt"))
		if p, err := r.ReadPassword(); p != "" || err == nil || err.Error() != "store.redis.passwordFile: can't be read: no such file or directory" {
			t.Errorf("%q, %v", p, err)
		}
	})
	t.Run("none of it prints", func(t *testing.T) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x"} {
			if text := fmt.Sprintf(verb+verb+verb, s, *s.Sentinel, &s); strings.Contains(text, "hunter") || strings.Contains(text, fmt.Sprintf("%x", "hunter")) {
				t.Errorf("%s: %s", verb, text)
			}
		}
	})
}

func TestRedisWarnings(t *testing.T) {
	const plain, open = "store.redis: is spoken to without TLS", "store.redis.insecurePlainRedis: anyone"
	for name, c := range map[string]struct {
		redis Redis
		want  string
	}{
		"this machine":            {Redis{URL: "redis://localhost", Password: "x"}, ""},
		"a socket":                {Redis{URL: "unix:///s", Password: "x"}, ""},
		"TLS":                     {Redis{URL: "rediss://redis", Password: "x"}, ""},
		"in clear":                {Redis{URL: "redis://redis"}, plain},
		"in clear, a password":    {Redis{URL: "redis://redis", Password: "x"}, open},
		"one node in clear":       {Redis{Cluster: &RedisCluster{[]string{"redis://127.0.0.1:1", "redis://redis"}}}, plain},
		"the Sentinels' password": {Redis{Sentinel: &RedisSentinel{Addresses: []string{"redis://s"}, Password: "x"}}, open},
		"RDS-14 any authority":    {Redis{Cluster: &RedisCluster{[]string{"rediss://n"}}, Password: "x"}, "store.redis.tls: a server that"},
		"one authority":           {Redis{Cluster: &RedisCluster{[]string{"rediss://n"}}, Password: "x", TLS: ClientTLS{CAFile: "ca.pem"}}, ""},
		"one name":                {Redis{Cluster: &RedisCluster{[]string{"rediss://n"}}, Password: "x", TLS: ClientTLS{ServerName: "n"}}, ""},
	} {
		got := strings.Join(Config{Store: Store{Redis: &c.redis}}.Warnings(), "\n")
		if (c.want == "") != (got == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: warned of %q, want %q", name, got, c.want)
		}
	}
}

// TestClientPair: a certificate and its key are read again, and half of a new pair
// is not used.
func TestClientPair(t *testing.T) {
	putFiles(t)
	c, err := ClientTLS{CertFile: "cert.pem", KeyFile: "key.pem"}.Load()
	check(t, err)
	shown := func() *tls.Certificate {
		t.Helper()
		pair, err := c.GetClientCertificate(nil)
		check(t, err)
		return pair
	}
	first := shown()
	dir, err := os.Getwd()
	check(t, err)
	putFiles(t) // others of the same names, elsewhere
	copyTo := func(name string) {
		t.Helper()
		b, err := os.ReadFile(name)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	copyTo("cert.pem")
	copyTo("key.pem")
	t.Chdir(dir)
	second := shown()
	if bytes.Equal(first.Certificate[0], second.Certificate[0]) {
		t.Error("the files were not read again")
	}
	check(t, os.Remove("key.pem"))
	if !bytes.Equal(shown().Certificate[0], second.Certificate[0]) {
		t.Error("half of a pair is used")
	}
}

// TestSpellings: the same settings in other clothes.
func TestSpellings(t *testing.T) {
	plain := "publicURL: https://wandb.example.com\nupstreams:\n  - url: http://app\nauthn:\n  - name: okta\n    oidc:\n      issuer: https://idp.example.com\n      clientID: gate\n"
	want := decode(t, plain)
	asJSON, err := json.Marshal(map[string]any{
		"publicURL": "https://wandb.example.com",
		"upstreams": []any{map[string]any{"url": "http://app"}},
		"authn":     []any{map[string]any{"name": "okta", "oidc": map[string]any{"issuer": "https://idp.example.com", "clientID": "gate"}}},
	})
	check(t, err)
	for name, text := range map[string]string{
		"CRLF":             strings.ReplaceAll(plain, "\n", "\r\n"),
		"byte order mark":  "\ufeff" + plain,
		"comments":         "# a\n" + strings.ReplaceAll(plain, "\n", " # b\n") + "# c",
		"JSON":             string(asJSON),
		"document markers": "---\n" + plain + "...\n",
		"block text":       strings.Replace(plain, "clientID: gate", "clientID: >-\n        gate", 1),
		"quoted keys":      strings.Replace(plain, "clientID:", `"clientID":`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, decode(t, text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Run("beats the file", func(t *testing.T) {
		c := decode(t, base[0].text+base[1].text+base[2].text+"session: {lifetime: 1h, idleTimeout: 1h}\ntrustedProxies: [10.0.0.1, 10.0.0.2]\n",
			"GATEHOUSE_PUBLIC_URL=https://other.example.com", "OIDC_ISSUER=https://other.example.org", "GATEHOUSE_UPSTREAM=http://other",
			"GATEHOUSE_SESSION_LIFETIME=2h", "GATEHOUSE_TRUSTED_PROXIES=10.0.0.3", "GATEHOUSE_SHARED_EMAILS=true")
		got := []any{c.PublicURL, c.Authn[0].OIDC.Issuer, c.Authn[0].Name, c.Upstreams[0].URL, c.Session.Lifetime.String(), c.TrustedProxies[0], len(c.TrustedProxies), c.SharedEmails}
		want := []any{"https://other.example.com", "https://other.example.org", "okta", "http://other", "2h", "10.0.0.3", 1, true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("adds to lists", func(t *testing.T) {
		c := decode(t, "", minimal("GATEHOUSE_UPSTREAMS_1_URL=http://files", "GATEHOUSE_UPSTREAMS_1_NAME=files", "GATEHOUSE_UPSTREAMS_1_PATHS=/a, /b",
			"GATEHOUSE_AUTHN_0_NAME=okta", "GATEHOUSE_AUTHN_0_OIDC_ALLOWED_GROUPS=staff,guests", "GATEHOUSE_HEADERS_IDENTITY_0_NAME=X-User", "GATEHOUSE_HEADERS_IDENTITY_0_FROM=subject")...)
		if c.Upstreams[0].URL != "http://wandb:8080" || !slices.Equal(c.Upstreams[1].Paths, []string{"/a", "/b"}) {
			t.Errorf("upstreams are %+v", c.Upstreams)
		}
		if len(c.Authn) != 1 || c.Authn[0].Name != "okta" || len(c.Authn[0].OIDC.AllowedGroups) != 2 || c.Headers.Identity[0].From != "subject" {
			t.Errorf("routes are %+v", c.Authn)
		}
	})
	t.Run("more than ten items", func(t *testing.T) {
		var env []string
		for i := range 12 {
			env = append(env, fmt.Sprintf("GATEHOUSE_UPSTREAMS_%d_URL=http://u%d", i, i), fmt.Sprintf("GATEHOUSE_UPSTREAMS_%d_NAME=u%d", i, i), fmt.Sprintf("GATEHOUSE_UPSTREAMS_%d_PATHS=/%d", i, i))
		}
		env = append(env, "GATEHOUSE_PUBLIC_URL=https://wandb.example.com", "OIDC_ISSUER=https://idp.example.com", "OIDC_CLIENT_ID=gate")
		if c := decode(t, "", env...); c.Upstreams[11].URL != "http://u11" {
			t.Errorf("upstreams are %+v", c.Upstreams)
		}
	})
	t.Run("pairs", func(t *testing.T) {
		for text, want := range map[string]map[string]string{
			"hd=example.com, a=b=c,e=":        {"hd": "example.com", "a": "b=c", "e": ""},
			`{"claims": "{\"a\":1,\"b\":2}"}`: {"claims": `{"a":1,"b":2}`},
		} {
			c := decode(t, "", minimal("GATEHOUSE_AUTHN_0_OIDC_AUTH_PARAMS="+text)...)
			if diff := cmp.Diff(want, c.Authn[0].OIDC.AuthParams); diff != "" {
				t.Error(diff)
			}
		}
	})
	t.Run("names of a Weights & Biases server", func(t *testing.T) {
		c := decode(t, "", "GATEHOUSE_PUBLIC_URL=https://wandb.example.com", "GATEHOUSE_UPSTREAM=http://wandb:8080",
			"GORILLA_OIDC_ISSUER=https://idp.example.com", "OIDC_ISSUER=https://idp.example.com", "GORILLA_OIDC_CLIENT_ID=gate", "GORILLA_OIDC_SECRET=s3cret",
			"GORILLA_AUTH_METHOD=implicit", "OIDC_AUTH_METHOD=", "OIDC_SECRET=", "GORILLA_SESSION_LENGTH=720h")
		o := c.Authn[0].OIDC
		if c.Authn[0].Name != "oidc" || o.ClientSecret != "s3cret" || o.AuthMethod != "implicit" || o.ClientID != "gate" {
			t.Errorf("route is %+v", o)
		}
	})
	t.Run("goes to the first OIDC route of the file", func(t *testing.T) {
		c := decode(t, base[0].text+base[1].text+"authn: [{name: okta, oidc: {issuer: \"https://idp.example.com\"}}]\n", "OIDC_CLIENT_ID=gate")
		if len(c.Authn) != 1 || c.Authn[0].OIDC.ClientID != "gate" {
			t.Errorf("routes are %+v", c.Authn)
		}
	})
	t.Run("variables of services are passed over", func(t *testing.T) {
		decode(t, "", minimal("GATEHOUSE_SERVICE_HOST=10.0.0.1", "GATEHOUSE_SERVICE_PORT=80", "GATEHOUSE_SERVICE_PORT_HTTP=80", "GATEHOUSE_PORT=tcp://10.0.0.1:80",
			"GATEHOUSE_PORT_80_TCP=tcp://10.0.0.1:80", "GATEHOUSE_PORT_80_TCP_ADDR=10.0.0.1", "GATEHOUSE_REDIS_MASTER_SERVICE_HOST=10.0.0.2", "GATEHOUSE_REDIS_PORT=tcp://10.0.0.2:6379")...)
	})
}

// TestVariableNames: no two settings share an environment name, and each name
// leads back to its setting.
func TestVariableNames(t *testing.T) {
	s, _, err := model()
	check(t, err)
	names := variableNames("", s)
	slices.Sort(names)
	if twice := len(names) - len(slices.Compact(slices.Clone(names))); twice != 0 || len(names) < 90 {
		t.Fatalf("%d names, %d of them twice", len(names), twice)
	}
	for _, name := range names {
		path, found := resolve(name, s)
		var parts []string
		for _, p := range path {
			if p.list {
				parts = append(parts, fmt.Sprint(p.index))
			} else {
				parts = append(parts, variableName(p.key))
			}
		}
		if found == nil || strings.Join(parts, "_") != name {
			t.Errorf("%s leads to %s", name, spelled(path))
		}
	}
	for key, want := range map[string]string{"publicURL": "PUBLIC_URL", "h2c": "H2C", "signedOutURL": "SIGNED_OUT_URL", "insecurePublicHTTP": "INSECURE_PUBLIC_HTTP", "acrValues": "ACR_VALUES"} {
		if got := variableName(key); got != want {
			t.Errorf("%s is %s", key, got)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load("nowhere.yaml", nil); err == nil || !strings.HasPrefix(err.Error(), "nowhere.yaml: can't be read: no such file") {
		t.Errorf("missing file: %v", err)
	}
	check(t, os.WriteFile("gatehouse.yaml", []byte(base[0].text+base[1].text+base[2].text), 0o600))
	c, err := Load("gatehouse.yaml", []string{"GATEHOUSE_LOG_LEVEL=warn"})
	if err != nil || c.Log.Level != "warn" {
		t.Errorf("%+v %v", c.Log, err)
	}
	check(t, os.WriteFile("large.yaml", []byte(strings.Repeat("#\n", maxFile)), 0o600))
	if _, err := Load("large.yaml", nil); err == nil || err.Error() != "large.yaml:1:1: the file is larger than 256KiB\n    keep nothing but settings in it" {
		t.Errorf("large file: %v", err)
	}
	for text, want := range map[string]string{
		"log:\n  level: \xff": "bad:2:10: a character that is not text",
		"log: \x00":           "bad:1:6: a character that is not text",
		"a: é\x7f":            "bad:1:5: a character that is not text",
	} {
		if _, err := Decode("bad", []byte(text), nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	if _, err := Decode("deep", []byte("pages: "+deep), nil); err == nil || !strings.Contains(err.Error(), "nested too deep") {
		t.Errorf("deep nesting: %v", err)
	}
	if _, err := Load("", minimal("GATEHOUSE_PAGES_NAME=\xff")); err == nil || !strings.Contains(err.Error(), "is not UTF-8 text") {
		t.Errorf("bytes in a variable: %v", err)
	}
}

// TestSecretFiles is OPS-23: the value is exact but for what editors add.
func TestSecretFiles(t *testing.T) {
	folder := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"OPS-23 no line break":            {"s3cret", "s3cret"},
		"OPS-23 trailing newline":         {"s3cret\n", "s3cret"},
		"OPS-23 CRLF":                     {"s3cret\r\n", "s3cret"},
		"OPS-23 only one newline":         {"s3cret\n\n", "s3cret\n"},
		"OPS-23 byte order mark":          {"\ufeffs3cret\n", "s3cret"},
		"OPS-23 spaces are the secret":    {" s3cret \n", " s3cret "},
		"OPS-23 lone carriage return":     {"s3cret\r", "s3cret\r"},
		"OPS-23 secret beyond plain YAML": {"s3cret: #'\"\n", "s3cret: #'\""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(folder, "secret")
			check(t, os.WriteFile(file, []byte(c.text), 0o600))
			got := decode(t, "", minimal("GATEHOUSE_AUTHN_0_OIDC_CLIENT_SECRET_FILE="+file)...)
			if s := got.Authn[0].OIDC.ClientSecret.Reveal(); s != c.want {
				t.Errorf("%q became %q", c.text, s)
			}
		})
	}
	t.Run("OPS-23 symlink", func(t *testing.T) {
		link := filepath.Join(folder, "link")
		check(t, os.Symlink("secret", link))
		check(t, os.WriteFile(filepath.Join(folder, "secret"), []byte("s3cret\n"), 0o600))
		if c := decode(t, "", minimal("GATEHOUSE_AUTHN_0_OIDC_CLIENT_SECRET_FILE="+link)...); c.Authn[0].OIDC.ClientSecret != "s3cret" {
			t.Error("the link was not followed, as Kubernetes needs it")
		}
	})
	t.Run("OPS-23 open to everybody", func(t *testing.T) {
		file := filepath.Join(folder, "secret")
		check(t, os.WriteFile(file, []byte("s3cret\n"), 0o600))
		c := decode(t, "", minimal("GATEHOUSE_AUTHN_0_OIDC_CLIENT_SECRET_FILE="+file)...)
		if w := c.openFiles(); w != nil {
			t.Errorf("warned of %q", w)
		}
		check(t, os.Chmod(file, 0o644))
		if w := c.openFiles(); len(w) != 1 || !strings.HasPrefix(w[0], "authn[0].oidc.clientSecretFile: every user of this machine can read") {
			t.Errorf("warned of %q", w)
		}
	})
	t.Run("keys, one a line", func(t *testing.T) {
		file := filepath.Join(folder, "keys")
		check(t, os.WriteFile(file, []byte("\ufeff"+goodKey+"\r\n\r\n  tTf+8oBEqLc2vJm3oX1yHkq0dUu7gq7m9S4iZ5nRw2A= \r\n"), 0o600))
		c := decode(t, "", minimal("GATEHOUSE_SESSION_KEYS_FILE="+file)...)
		if !slices.Equal(c.Session.Keys, []Secret{goodKey, "tTf+8oBEqLc2vJm3oX1yHkq0dUu7gq7m9S4iZ5nRw2A="}) {
			t.Errorf("%d keys, or wrong ones", len(c.Session.Keys))
		}
	})
}

// TestSecretsNeverPrint goes through every way in which Go prints a value.
func TestSecretsNeverPrint(t *testing.T) {
	putFiles(t)
	c := decode(t, full)
	o := *c.Authn[1].OIDC
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "secret", o.ClientSecret, "config", c, "oidc", o, "keys", c.Session.Keys)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "secret", o.ClientSecret, "config", c, "oidc", o, "keys", c.Session.Keys)
	asJSON, err := json.Marshal(c)
	check(t, err)
	asYAML, err := yaml.Marshal(c)
	check(t, err)
	printed := log.String() + string(asJSON) + string(asYAML)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%e"} {
		printed += fmt.Sprintf(verb+verb+verb+verb+verb, c, o, o.ClientSecret, c.Session.Keys, *c.Store.Redis)
	}
	for _, secret := range []string{"hunter", goodKey[:8], fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(printed, secret) {
			at := strings.Index(printed, secret)
			t.Errorf("%s is printed: %s", secret, printed[max(0, at-100):at+50])
		}
	}
	if !strings.Contains(printed, masked) {
		t.Error("nothing was masked")
	}
	if got := fmt.Sprintf("%v|%s", Secret(""), Secret("x")); got != "|"+masked {
		t.Errorf("an empty secret and one print as %s", got)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "0B": 0, "1500": 1500, "64KiB": 64 << 10, "10GiB": 10 << 30, "3TiB": 3 << 40, "1536KiB": 1536 << 10, "9223372036854775807": 1<<63 - 1,
	} {
		var s, again Size
		check(t, s.UnmarshalText([]byte(text)))
		check(t, again.UnmarshalText([]byte(s.String())))
		if s != want || again != want {
			t.Errorf("%s is %d, and %s is %d", text, s, s, again)
		}
	}
	for s, want := range map[Size]string{0: "0", 1500: "1500", 1024: "1KiB", 1536 << 10: "1536KiB", 2048 << 40: "2048TiB", 1 << 20: "1MiB"} {
		if s.String() != want {
			t.Errorf("%d is %s", int64(s), s)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5GiB", "10GB", "8388608TiB", "1 KiB", "1e3", "0x10"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s", text, s)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{"90s": "1m30s", "15m": "15m", "12h": "12h", "1h30m": "1h30m", "0s": "0s", "1.5h": "1h30m", "60s": "1m", "500ms": "500ms", "10m": "10m", "20h0m10s": "20h0m10s"} {
		var d Duration
		check(t, d.UnmarshalText([]byte(text)))
		if d.String() != want {
			t.Errorf("%s is %s", text, d)
		}
	}
	for _, text := range []string{"", "7d", "-1s", "5", "1h 2m"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s", text, d)
		}
	}
}

func TestClientTLS(t *testing.T) {
	putFiles(t)
	c, err := ClientTLS{CAFile: "cert.pem", CertFile: "cert.pem", KeyFile: "key.pem", ServerName: "app"}.Load()
	if err != nil || c.RootCAs == nil || c.GetClientCertificate == nil || c.ServerName != "app" || c.MinVersion != 0x0303 {
		t.Errorf("%+v %v", c, err)
	}
	if c, err := (ClientTLS{}).Load(); err != nil || c.RootCAs != nil || c.GetClientCertificate != nil {
		t.Errorf("without settings: %+v %v", c, err)
	}
	for _, bad := range []ClientTLS{{CAFile: "nowhere.pem"}, {CAFile: "key.pem"}, {CertFile: "cert.pem", KeyFile: "other.pem"}, {CertFile: "nowhere.pem", KeyFile: "key.pem"}, {CertFile: "cert.pem", KeyFile: "nowhere.pem"}} {
		if c, err := bad.Load(); err == nil || c != nil {
			t.Errorf("%+v was loaded", bad)
		}
	}
}

func TestOpenDoors(t *testing.T) {
	c := Config{InsecurePublicHTTP: true, Authn: []Route{
		{OIDC: &OIDC{AllowedGroups: []string{"staff"}}}, {OIDC: &OIDC{}}, {OIDC: &OIDC{AllowedEmailDomains: []string{"example.com"}}},
	}}
	want := []string{
		"insecurePublicHTTP: anyone on the network can take over sessions",
		"authn[1].oidc: lets in everybody whom the provider knows; see allowedGroups and allowedEmailDomains",
	}
	if got := c.Warnings(); !slices.Equal(got, want) {
		t.Errorf("warned of %q, want %q", got, want)
	}
}

// TestCertificateWarnings: a certificate that ends within two weeks is told of.
func TestCertificateWarnings(t *testing.T) {
	putFiles(t) // it ends in an hour
	in := ListenTLS{Certificates: []Certificate{{CertFile: "cert.pem", KeyFile: "key.pem"}}}
	for days, want := range map[int]string{0: "ends on", -20: "", 1: "has ended on"} {
		got := strings.Join(in.warnings(time.Now().AddDate(0, 0, days)), "\n")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("in %d days: %q", days, got)
		}
	}
	if got := decode(t, "publicURL: https://wandb.example.com\nupstreams: [{url: \"http://app\"}]\nauthn: [{name: a, oidc: {issuer: \"https://idp.example.com\", clientID: g, allowedGroups: [x]}}]\n"+
		"listen: {tls: {certificates: [{certFile: cert.pem, keyFile: key.pem}]}}\n").Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "listen.tls.certificates[0]: the certificate in cert.pem ends on ") {
		t.Errorf("warned of %q", got)
	}
}

// TestNamesakes: who may have somebody else's username is warned of where the
// application is told nothing else.
func TestNamesakes(t *testing.T) {
	two := []Route{{Name: "a", LDAP: &LDAP{AllowedGroups: []string{"x"}}}, {Name: "b", LDAP: &LDAP{AllowedGroups: []string{"x"}}}}
	identity := func(of ...Header) Headers { return Headers{Identity: of, Preset: "gatehouse"} }
	for name, tt := range map[string]struct {
		c    Config
		want string
	}{
		"authelia":              {Config{Authn: two, Headers: Headers{Preset: "authelia"}}, "headers.preset: says the username"},
		"authelia, one route":   {Config{Authn: two[:1], Headers: Headers{Preset: "authelia"}}, ""},
		"authelia, an account":  {Config{Authn: two[:1], ServiceAccounts: []ServiceAccount{{Name: "ci"}}, Headers: Headers{Preset: "authelia"}}, "headers.preset: says the username"},
		"an address is one's":   {Config{Authn: two, Headers: Headers{Preset: "cloudflare-access"}}, ""},
		"a subject is one's":    {Config{Authn: two, Headers: Headers{Preset: "pomerium"}}, ""},
		"of one's own":          {Config{Authn: two, Headers: identity(Header{Name: "X-User", From: "username"})}, "headers.identity: says the username"},
		"of one's own, a route": {Config{Authn: two, Headers: identity(Header{Name: "X-User", Template: "{route}/{username}"})}, ""},
	} {
		if got := strings.Join(tt.c.Warnings(), "\n"); (got == "") != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: warned of %q", name, got)
		}
	}
}

// TestPresetDeniesFirst: what a preset denies is denied before a rule that lets
// somebody into all of an application, unless a rule names it.
func TestPresetDeniesFirst(t *testing.T) {
	up := []Upstream{{Name: "wandb", Preset: "wandb", Public: []string{"/open/"}}}
	spelled := func(policy ...Rule) []string {
		var out []string
		for _, r := range Rules(policy, up, nil) {
			out = append(out, r.Name+" "+strings.Join(r.Paths, ","))
		}
		return out
	}
	const api = "wandb-api /graphql,/graphql2,/api/,/files/*/*/*/file_stream,/sdk/,/traces/,/mcp/,/scim/,/admin/audit_logs"
	if diff := cmp.Diff([]string{"wandb-internal /service-dangerzone/,/service-redirect/,/debug/", "wide ", "wandb-storage /local-files/,/bucket/", "wandb-health /healthz,/ready", api, "public /open/"}, spelled(Rule{Name: "wide"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"wandb-internal /service-dangerzone/,/service-redirect/", "mine /debug/vars", "wandb-internal /debug/", "wandb-storage /local-files/,/bucket/", "wandb-health /healthz,/ready", api, "public /open/"}, spelled(Rule{Name: "mine", Paths: []string{"/debug/vars"}})); diff != "" {
		t.Error(diff)
	}
}

// TestPolicyClaims: what rules and administrators are told by is asked of tokens.
func TestPolicyClaims(t *testing.T) {
	c, err := Decode("gatehouse.yaml", []byte(`
publicURL: https://wandb.example.com
upstreams: [{url: "http://app:8080"}]
authn: [{name: okta, oidc: {issuer: "https://idp.example.com", clientID: gate}}]
policy:
  - {paths: [/a], require: [{claims: {dept: [x], site: [y]}}]}
  - {paths: [/b], require: [{claims: {dept: [z]}}]}
api:
  administrators: [{groups: [ops], claims: {duty: [oncall]}}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.PolicyClaims(), " "); got != "dept duty site" {
		t.Errorf("the claims are %s", got)
	}
}
