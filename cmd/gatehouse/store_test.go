package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/authn/apikey"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/session"
)

// startRedis runs a real server until the test ends.
func startRedis(t *testing.T, more ...string) (addr string) {
	t.Helper()
	addr = freeAddress(t)
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, more...)...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (make setup installs redis-server)", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer client.Close()
	waitFor(t, func() error {
		if err := client.Ping(t.Context()).Err(); err != nil && !strings.Contains(err.Error(), "NOAUTH") {
			return err
		}
		return nil
	})
	return addr
}

// dump is everything that the server holds.
func dump(t *testing.T, addr string) map[string]string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	out := map[string]string{}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if ttl, err := client.TTL(t.Context(), k).Result(); err != nil || ttl <= 0 {
			t.Errorf("RDS-17: %s has no time to live (%v, %v)", k, ttl, err)
		}
		out[k] = client.Get(t.Context(), k).Val()
	}
	return out
}

const offlineSettings = `
publicURL: https://example.com
upstreams:
  - url: $UPSTREAM
authn:
  - name: corp
    oidc:
      issuer: $ISSUER
      clientID: gatehouse
      scopes: [openid, profile, email, groups, offline_access]
` + sharedKey

func TestPromiseWhoeverReadsTheStoreCanActAsNobody(t *testing.T) {
	addr := startRedis(t)
	w := newWorld(t, strings.Replace(offlineSettings, "session: {", "session: {cache: {lifetime: 0s}, ", 1)+fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr))
	cookie := sessionCookie(t, w.signIn("ada"))
	token := w.issuer.Last(authntest.Token)

	all := dump(t, addr)
	if len(all) < 2 {
		t.Fatalf("the store holds %d keys; want a session and a replay mark", len(all))
	}
	_, value, _ := strings.Cut(cookie, "=")
	// Long enough not to stand in random bytes by chance.
	secrets := []string{"Ada Lovelace", "ada@example.com", w.provider.URL, value, token.PostForm.Get("code"), token.PostForm.Get("code_verifier"), "research", "refresh_"}
	for k, v := range all {
		for _, s := range secrets {
			if s != "" && (strings.Contains(k, s) || strings.Contains(v, s)) {
				t.Errorf("the store shows %q at %s", s, k)
			}
		}
		for _, stolen := range []string{k, v, base64.URLEncoding.EncodeToString([]byte(v)), strings.TrimPrefix(k, "gatehouse:session:")} {
			got := w.get(w.program(), "/", http.Header{"Cookie": {"__Host-gatehouse=" + url.QueryEscape(stolen)}})
			if got.status != http.StatusUnauthorized {
				t.Errorf("what stands at %s was taken for a cookie: %d", k, got.status)
			}
		}
	}

	t.Run("RDS-08 nor can a writer put one person's record in another's place", func(t *testing.T) {
		ben := sessionCookie(t, w.signIn("ben"))
		after := dump(t, addr)
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer client.Close()
		for k := range after {
			if _, old := all[k]; !old && strings.HasPrefix(k, "gatehouse:session:") {
				for was, v := range all {
					if strings.HasPrefix(was, "gatehouse:session:") {
						client.Set(t.Context(), k, v, 0)
					}
				}
			}
		}
		if got := w.get(w.program(), "/", http.Header{"Cookie": {ben}}); got.status != http.StatusUnauthorized {
			t.Errorf("Ben's cookie opens Ada's record: %d", got.status)
		}
		if got := w.get(w.program(), "/", http.Header{"Cookie": {cookie}}); got.status != http.StatusOK {
			t.Errorf("Ada is no longer signed in: %d", got.status)
		}
	})
}

func TestPromiseWhoeverReadsTheStoreCanActAsNoProgram(t *testing.T) {
	addr := startRedis(t)
	p := newPrograms(t, fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr))
	secrets := []string{"1001", "1002", "ada@example.com", "ben@example.com", "research", p.provider.URL, apikey.Hash(p.stored)[7:]}
	for _, good := range p.good() {
		if got := p.get(p.program(), "/", good.header); got.status != http.StatusOK {
			t.Fatalf("%d: %s", got.status, got.body)
		}
		secrets = append(secrets, secretsOf(good.header)...)
	}
	all := dump(t, addr)
	kinds := map[string]bool{}
	for k, v := range all {
		kinds[strings.Split(k, ":")[1]] = true
		for _, s := range secrets {
			if len(s) > 4 && (strings.Contains(k, s) || strings.Contains(v, s)) {
				t.Errorf("the store shows %q at %s", s, k)
			}
		}
		name := k[strings.LastIndex(k, ":")+1:]
		for _, stolen := range []string{name, k, url.QueryEscape(v), base64.RawURLEncoding.EncodeToString([]byte(v)), name + base64.RawURLEncoding.EncodeToString([]byte(v))} {
			for _, h := range []http.Header{
				bearerHeader(stolen), bearerHeader("gh_at_" + stolen), bearerHeader("pat_" + stolen), bearerHeader("gatehouse-" + stolen),
				keyHeader(stolen), keyHeader("gatehouse-" + stolen), {"Wandb-Api-Key": {stolen}}, {"Cookie": {"__Host-gatehouse=" + stolen}},
			} {
				if got := p.get(p.program(), "/", h); got.status != http.StatusUnauthorized {
					t.Errorf("what stands at %s was taken for a credential: %d for %v", k, got.status, h)
				}
			}
		}
	}
	if fmt.Sprint(kinds) != "map[apikey:true apikeys:true name:true person:true result:true token:true]" {
		t.Errorf("the store holds %v", kinds)
	}
}

// TestStoreWriterOfPrograms: what is sealed for one place opens in no other (RDS-08).
func TestStoreWriterOfPrograms(t *testing.T) {
	addr := startRedis(t)
	p := newPrograms(t, fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr))
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	ci := p.keyOf("ci")
	ada := p.token()
	before := dump(t, addr)
	ben := p.given(p.exchange(p.jwt(p.issuer.Keys()[0], map[string]any{"sub": "1002"})))
	for k := range dump(t, addr) {
		if _, old := before[k]; old {
			continue
		}
		for was, v := range before {
			if strings.HasPrefix(was, "gatehouse:token:") {
				client.Set(t.Context(), k, v, time.Hour)
			}
		}
	}
	id, _ := apikey.ID(ci)
	client.Set(t.Context(), "gatehouse:apikey:"+id, before["gatehouse:apikey:"+p.id], time.Hour)
	for name, tt := range map[string]struct {
		h      http.Header
		status int
	}{
		"an access token with another's record": {bearerHeader(ben), http.StatusUnauthorized},
		"the other one":                         {bearerHeader(ada), http.StatusOK},
		"a key with another's record":           {keyHeader(ci), http.StatusServiceUnavailable},
		"the other key":                         {keyHeader(p.stored), http.StatusOK},
	} {
		t.Run("RDS-08 "+name, func(t *testing.T) {
			if got := p.get(p.program(), "/", tt.h); got.status != tt.status {
				t.Errorf("%d, want %d", got.status, tt.status)
			}
		})
	}
}

// TestPolicyActsOnLiveSessions: a stricter gateway over the same store refuses
// somebody who signed in at the laxer one, on the next request (OPS-07, SES-29).
func TestPolicyActsOnLiveSessions(t *testing.T) {
	store := fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", startRedis(t))
	lax := newWorld(t, offlineSettings+store)
	ada, ben := sessionCookie(t, lax.signIn("ada")), sessionCookie(t, lax.signIn("ben"))
	strict := newWorld(t, strings.NewReplacer("$ISSUER", lax.provider.URL,
		"      clientID: gatehouse\n", "      clientID: gatehouse\n      allowedGroups: [admins]\n").Replace(offlineSettings)+store)
	if got := strict.get(strict.program(), "/", http.Header{"Cookie": {ada}}); got.status != http.StatusOK {
		t.Errorf("Ada, who is still allowed: %d, want 200", got.status)
	}
	h := navigation.Clone()
	h.Set("Cookie", ben)
	before := strict.app.count()
	got := strict.get(strict.program(), "/", h)
	if got.status != http.StatusForbidden || got.header.Get("Location") != "" || strict.app.count() != before {
		t.Errorf("Ben, who is not allowed any more: %d to %q, want 403 and nothing upstream", got.status, got.header.Get("Location"))
	}
	for _, part := range []string{"Ben", "admins"} {
		if !strings.Contains(got.body, part) {
			t.Errorf("the page does not say %q:\n%s", part, got.body)
		}
	}
}

// TestRepointedRoute: a route that is given another provider knows nobody whom
// the former one vouched for, and hands it nothing of theirs.
func TestRepointedRoute(t *testing.T) {
	store := fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", startRedis(t))
	was := newWorld(t, offlineSettings+store)
	cookie := sessionCookie(t, was.signIn("ada"))
	now := newWorld(t, offlineSettings+store)
	h := navigation.Clone()
	h.Set("Cookie", cookie)
	if got := now.get(now.program(), "/", h); got.status != http.StatusFound || now.app.count() != 0 {
		t.Errorf("a session of the former provider: %d with %d requests upstream, want 302 and none", got.status, now.app.count())
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+publicHost+"/logout", nil)
	req.Header = http.Header{"Cookie": {cookie}}
	got := now.do(now.program(), req)
	if to := got.header.Get("Location"); strings.Contains(to, "id_token_hint") || strings.HasPrefix(to, now.provider.URL) {
		t.Errorf("signing out leads to %s", to)
	}
	if n := now.issuer.Calls(authntest.Token); n != 0 {
		t.Errorf("the new provider was given %d tokens of the former one", n)
	}
}

func TestCheckOfRedis(t *testing.T) {
	w := newWorld(t, "")
	open, guarded := startRedis(t), startRedis(t, "--requirepass", "right")
	for name, tt := range map[string]struct {
		env  []string
		code int
		says string
	}{
		"a server that is there":  {[]string{"GATEHOUSE_STORE_REDIS_URL=redis://" + open}, 0, "could be written, replaced, read and deleted"},
		"the right password":      {[]string{"GATEHOUSE_STORE_REDIS_URL=redis://" + guarded, "GATEHOUSE_STORE_REDIS_PASSWORD=right"}, 0, "All is well, with 1 warning(s)."},
		"no password":             {[]string{"GATEHOUSE_STORE_REDIS_URL=redis://" + guarded}, 1, "set store.redis.passwordFile"},
		"a wrong password":        {[]string{"GATEHOUSE_STORE_REDIS_URL=redis://" + guarded, "GATEHOUSE_STORE_REDIS_PASSWORD=wrong"}, 1, "is wrong: see store.redis.username"},
		"TLS where there is none": {[]string{"GATEHOUSE_STORE_REDIS_URL=rediss://" + open}, 1, "to do:"},
		"nobody there":            {[]string{"GATEHOUSE_STORE_REDIS_URL=redis://127.0.0.1:1"}, 1, "check store.redis.url"},
	} {
		t.Run(name, func(t *testing.T) {
			env := append(operatorEnv(w.gw.handlerUpstream(t), w.provider.URL), "GATEHOUSE_SESSION_KEYS="+ringKey)
			code, out, errs := command(t, append(env, tt.env...), "check")
			if code != tt.code || !strings.Contains(out, tt.says) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, tt.code, tt.says, out, errs)
			}
		})
	}
	sentinel, node := startSentinel(t, open), startNode(t)
	for name, tt := range map[string]struct {
		env  []string
		code int
		says string
	}{
		"under Sentinel":           {[]string{"SENTINEL_MASTER=main", "SENTINEL_ADDRESSES=redis://" + sentinel}, 0, "could be written, replaced, read and deleted"},
		"another name for them":    {[]string{"SENTINEL_MASTER=other", "SENTINEL_ADDRESSES=redis://" + sentinel}, 1, "sentinel monitor NAME"},
		"no Sentinel there":        {[]string{"SENTINEL_MASTER=main", "SENTINEL_ADDRESSES=redis://127.0.0.1:1"}, 1, "check store.redis.sentinel.addresses"},
		"no user of the Sentinels": {[]string{"SENTINEL_MASTER=main", "SENTINEL_ADDRESSES=redis://" + sentinel, "SENTINEL_USERNAME=x", "SENTINEL_PASSWORD=x"}, 1, "see store.redis.sentinel.passwordFile"},
		"a Sentinel for a server":  {[]string{"URL=redis://" + sentinel}, 1, "a Sentinel belongs into"},
		"a Cluster":                {[]string{"CLUSTER_ADDRESSES=redis://" + node}, 0, "could be written, replaced, read and deleted"},
		"a server for a Cluster":   {[]string{"CLUSTER_ADDRESSES=redis://" + open}, 1, "set store.redis.url instead of cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			env := append(operatorEnv(w.gw.handlerUpstream(t), w.provider.URL), "GATEHOUSE_SESSION_KEYS="+ringKey)
			for _, e := range tt.env {
				env = append(env, "GATEHOUSE_STORE_REDIS_"+e)
			}
			code, out, errs := command(t, env, "check")
			if code != tt.code || !strings.Contains(out, tt.says) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, tt.code, tt.says, out, errs)
			}
		})
	}
	if left := dump(t, open); len(left) != 0 {
		t.Errorf("the check leaves %v", left)
	}
}

// startSentinel runs a Sentinel that knows a server by the name main.
func startSentinel(t *testing.T, of string) (addr string) {
	t.Helper()
	file := writeFile(t, "sentinel.conf", "sentinel monitor main "+strings.Replace(of, ":", " ", 1)+" 1\n")
	addr = freeAddress(t)
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command("redis-server", file, "--sentinel", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (make setup installs redis-server)", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	client := redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer client.Close()
	waitFor(t, func() error { return client.Ping(t.Context()).Err() })
	return addr
}

// startNode runs a Cluster of one node.
func startNode(t *testing.T) (addr string) {
	t.Helper()
	addr = startRedis(t, "--cluster-enabled", "yes", "--cluster-port", strings.TrimPrefix(freeAddress(t), "127.0.0.1:"))
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer client.Close()
	if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() error { return client.Set(t.Context(), "k", "", 0).Err() })
	return addr
}

// TestRedisRotation changes all that the gateway proves itself by, in their files,
// while the store is open.
func TestRedisRotation(t *testing.T) {
	server, first, second := newPair(t), newPair(t), newPair(t)
	serverCert, serverKey := writePair(t, server)
	cert, key := writePair(t, first)
	nextCert, nextKey := writePair(t, second)
	password := writeFile(t, "password", "right\n")
	secure := freeAddress(t)
	addr := startRedis(t, "--requirepass", "right", "--tls-port", strings.TrimPrefix(secure, "127.0.0.1:"), "--tls-cert-file", serverCert, "--tls-key-file", serverKey, "--tls-ca-cert-file", cert)
	admin := redis.NewClient(&redis.Options{Addr: addr, Password: "right", PoolSize: 1, MaxRetries: -1})
	defer admin.Close()
	do := func(words ...any) {
		t.Helper()
		if err := admin.Do(t.Context(), words...).Err(); err != nil {
			t.Fatal(words, err)
		}
	}
	hangUp := func() { do("client", "kill", "type", "normal", "skipme", "yes") }

	c, err := config.Decode("gatehouse.yaml", []byte(strings.NewReplacer("$UPSTREAM", "http://app", "$ISSUER", "https://idp.example.com").Replace(offlineSettings)+
		fmt.Sprintf("store: {redis: {url: \"rediss://%s\", passwordFile: %q, tls: {caFile: %q, certFile: %q, keyFile: %q}}}\n", secure, password, serverCert, cert, key)), nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := openStore(c.Store)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	works := func(when string) {
		t.Helper()
		if err := store.Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	works("at first")

	do("config", "set", "requirepass", "next")
	do("config", "set", "tls-ca-cert-file", nextCert)
	works("over the old connection")
	hangUp()
	if err := store.Ping(t.Context()); err == nil {
		t.Error("the former certificate still is good")
	}
	copyFile(t, nextKey, key)
	if err := store.Ping(t.Context()); err == nil {
		t.Error("half a pair is used")
	}
	copyFile(t, nextCert, cert)
	if err := store.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("the former password: %v", err)
	}
	if err := os.Remove(password); err != nil {
		t.Fatal(err)
	}
	if err := store.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "store.redis.passwordFile: can't be read: no such file") {
		t.Errorf("no password: %v", err)
	}
	if err := os.WriteFile(password, []byte("next\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	works("with the next ones")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newPair makes a certificate for this machine that vouches for itself.
func newPair(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: rand.Text()}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// programs is a world whose gateway knows programs too, beside a server that is
// both the application whose keys are verified and the issuer's introspection.
type programs struct {
	*world
	peer        *httptest.Server
	key, stored string // keys of the accounts ci, in the settings, and nightly, in the store
	id          string // of stored
}

const programSettings = `
publicURL: https://example.com
sharedEmails: true
upstreams:
  - name: app
    url: $UPSTREAM
    public: [/public/]
  - name: wandb
    url: $PEER
    paths: [/wandb]
authn:
  - name: corp
    oidc:
      issuer: $ISSUER
      clientID: gatehouse
      scopes: [openid, profile, email, groups]
  - name: tokens
    bearer:
      issuers:
        - issuer: $ISSUER
          audiences: [https://example.com]
          introspection: {url: $PEER/introspect, clientID: gatehouse, clientSecret: $SECRET, tokenPrefix: pat_}
  - name: keys
    apiKey: {application: verify, upstreams: [wandb]}
teams:
  - {name: research, members: [ada]}
serviceAccounts:
  - {name: ci, team: research, keyHashes: ["$HASH"]}
  - {name: nightly, team: research, role: admin}
` + sharedKey

// What the server beside knows.
const (
	goodOpaque          = "pat_of-ada-that-is-good"
	goodKey             = "local-0123456789abcdef0123456789abcdef01234567"
	introspectionSecret = "introspection-secret-5"
)

func newPrograms(t *testing.T, more string) *programs {
	t.Helper()
	p := openPrograms(t, more)
	p.stored = p.keyOf("nightly")
	p.id, _ = apikey.ID(p.stored)
	return p
}

// openPrograms leaves the store alone, which may be down.
func openPrograms(t *testing.T, more string) *programs {
	t.Helper()
	p := &programs{key: apikey.Generate()}
	p.peer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		answer := `{"active":false}`
		switch {
		case r.URL.Path == "/graphql" && password == goodKey:
			answer = `{"data":{"viewer":{"id":"U-1001","username":"ada","email":"ada@example.com","teams":{"edges":[{"node":{"name":"research"}}]}}}}`
		case r.URL.Path == "/graphql":
			answer = `{"data":{"viewer":null}}`
		case password == introspectionSecret && r.PostFormValue("token") == goodOpaque:
			answer = `{"active":true,"sub":"1001","aud":"https://example.com"}`
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(p.peer.Close)
	p.world = newWorld(t, strings.NewReplacer("$PEER", p.peer.URL, "$SECRET", introspectionSecret, "$HASH", apikey.Hash(p.key)).Replace(programSettings)+more)
	return p
}

// keyOf makes a key in the store.
func (p *programs) keyOf(account string) (key string) {
	p.t.Helper()
	ring, err := session.NewKeyring("https://"+publicHost, []string{ringKey})
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = apikey.NewLedger(p.gw.store, ring).New(p.t.Context(), account, "", time.Hour, func(k string) error { key = k; return nil })
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}

// jwt is a good JWT of Ada's, but for what is changed; nil takes a claim out. It
// was made before the gateway read its issuer's keys: whether one made since is by
// a key that is newer still, the gateway may not know for a while.
func (w *world) jwt(key authntest.Key, change map[string]any) string {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": w.provider.URL, "sub": "1001", "aud": "https://example.com", "iat": now - 120, "exp": now + 3600,
		"email": "ada@example.com", "email_verified": true, "preferred_username": "ada", "groups": []string{"admins", "research"},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return authntest.JWT(key, nil, claims)
}

func (p *programs) post(path string, form url.Values) answer {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "https://"+publicHost+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(p.program(), req)
}

func (p *programs) exchange(assertion string) answer {
	p.t.Helper()
	return p.post("/oidc/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}})
}

// given is the access token of an answer.
func (p *programs) given(a answer) string {
	p.t.Helper()
	token := regexp.MustCompile(`gh_at_[\w-]+`).FindString(a.body)
	if a.status != http.StatusOK || token == "" {
		p.t.Fatalf("the exchange: %d %s", a.status, a.body)
	}
	return token
}

// token is a good access token of Ada's.
func (p *programs) token() string {
	p.t.Helper()
	return p.given(p.exchange(p.jwt(p.issuer.Keys()[0], nil)))
}

func bearerHeader(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// keyHeader is a key or a token as the W&B SDK sends it.
func keyHeader(key string) http.Header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth("api", key)
	return r.Header
}

// secretsOf is what must be seen nowhere: what a header proves somebody with, and
// its parts that are long enough not to be there by chance.
func secretsOf(h http.Header) []string {
	value := h.Get("Wandb-Api-Key") + strings.TrimPrefix(h.Get("Authorization"), "Bearer ")
	if r := (&http.Request{Header: h}); strings.HasPrefix(value, "Basic ") {
		_, value, _ = r.BasicAuth()
	}
	secrets := []string{value, value[len(value)-20:]}
	if parts := strings.Split(value, "."); len(parts) == 3 {
		secrets = append(secrets, parts[1], parts[2])
	}
	return slices.DeleteFunc(secrets, func(s string) bool { return s == "" })
}

// good is a good credential of each kind, and what the application must be told.
func (p *programs) good() map[string]goodCredential {
	ada := map[string]string{
		"X-Forwarded-User": "1001", "X-Forwarded-Email": "ada@example.com", "X-Forwarded-Preferred-Username": "ada", "X-Forwarded-Groups": "admins,research",
		"X-Gatehouse-Subject": "1001", "X-Gatehouse-Issuer": p.provider.URL, "X-Gatehouse-Route": "tokens",
	}
	opaque := map[string]string{"X-Forwarded-User": "1001", "X-Gatehouse-Subject": "1001", "X-Gatehouse-Issuer": p.provider.URL, "X-Gatehouse-Route": "tokens"}
	viewer := map[string]string{
		"X-Forwarded-User": "wandb:U-1001", "X-Forwarded-Email": "ada@example.com", "X-Forwarded-Preferred-Username": "ada", "X-Forwarded-Groups": "research",
		"X-Gatehouse-Subject": "wandb:U-1001", "X-Gatehouse-Issuer": "https://example.com/graphql", "X-Gatehouse-Route": "keys",
	}
	account := func(name, role string) map[string]string {
		return map[string]string{
			"X-Forwarded-User": "account:" + name, "X-Forwarded-Preferred-Username": name, "X-Gatehouse-Subject": "account:" + name,
			"X-Gatehouse-Issuer": "https://example.com", "X-Gatehouse-Route": "keys", "X-Gatehouse-Teams": "research", "X-Gatehouse-Roles": role,
		}
	}
	jwt := p.jwt(p.issuer.Keys()[0], nil)
	return map[string]goodCredential{
		"a JWT":                              {bearerHeader(jwt), ada},
		"a JWT in a key's place":             {keyHeader(jwt), ada},
		"an access token":                    {bearerHeader(p.token()), ada},
		"an opaque token":                    {bearerHeader(goodOpaque), opaque},
		"a key of the settings":              {keyHeader(p.key), account("ci", "member")},
		"a key of the store":                 {bearerHeader(p.stored), account("nightly", "admin")},
		"a key of the application, verified": {keyHeader(goodKey), viewer},
	}
}

type goodCredential struct {
	header http.Header
	ours   map[string]string
}

// wrongJWTs are JWTs that prove nobody.
func (p *programs) wrongJWTs() map[string]string {
	key, now := p.issuer.Keys()[0], time.Now().Unix()
	foreign := authntest.NewKey(key.Algorithm)
	foreign.ID = key.ID
	nameless := foreign
	nameless.ID = "another"
	good := p.jwt(key, nil)
	return map[string]string{
		"JWT-01 no signature":                    good[:strings.LastIndex(good, ".")+1],
		"JWT-01 alg none":                        authntest.JWT(key, map[string]any{"alg": "none"}, map[string]any{"iss": p.provider.URL, "sub": "1001"}),
		"JWT-08 a key that is not its issuer's":  p.jwt(nameless, nil),
		"JWT-32 by another key of the same name": p.jwt(foreign, nil),
		"JWT-33 an unknown issuer":               p.jwt(key, map[string]any{"iss": "https://evil.example.com"}),
		"JWT-33 no issuer":                       p.jwt(key, map[string]any{"iss": nil}),
		"JWT-34 made for somebody else":          p.jwt(key, map[string]any{"aud": "https://other.example.com"}),
		"JWT-34 made for nobody":                 p.jwt(key, map[string]any{"aud": nil}),
		"JWT-39 expired":                         p.jwt(key, map[string]any{"iat": now - 7200, "exp": now - 3600}),
		"JWT-39 without an end":                  p.jwt(key, map[string]any{"exp": nil}),
		"JWT-39 not valid yet":                   p.jwt(key, map[string]any{"nbf": now + 600}),
		"IDT-08 the subject of an account":       p.jwt(key, map[string]any{"sub": "account:ci"}),
		"IDT-08 the subject of another route":    p.jwt(key, map[string]any{"sub": "wandb:U-1001"}),
		"no subject":                             p.jwt(key, map[string]any{"sub": ""}),
	}
}

// wrong is a wrong credential of each kind.
func (p *programs) wrong() map[string]http.Header {
	revoked := p.token()
	p.post("/.gatehouse/revoke", url.Values{"token": {revoked}})
	ended := p.keyOf("nightly")
	ring, err := session.NewKeyring("https://"+publicHost, []string{ringKey})
	if err != nil {
		p.t.Fatal(err)
	}
	id, _ := apikey.ID(ended)
	if _, err := apikey.NewLedger(p.gw.store, ring).Revoke(p.t.Context(), id); err != nil {
		p.t.Fatal(err)
	}
	all := map[string]http.Header{
		"TOK-28 an access token cut short":          bearerHeader(revoked[:len(revoked)-1]),
		"TOK-28 an access token, one letter new":    bearerHeader(flip(p.token())),
		"TOK-29 an access token that is revoked":    bearerHeader(revoked),
		"TOK-22 an opaque token that is not good":   bearerHeader(goodOpaque + "2"),
		"an opaque token of nobody's":               bearerHeader("nobodys-" + goodOpaque),
		"TOK-29 a key that is revoked":              keyHeader(ended),
		"a key of the gateway that nobody has":      bearerHeader(apikey.Generate()),
		"a key with another secret":                 keyHeader(p.stored[:18] + apikey.Generate()[18:]),
		"a key of the settings, one letter new":     keyHeader(flip(p.key)),
		"a key of the application that nobody has":  keyHeader("local-" + strings.Repeat("0a1b", 10)),
		"a key in its header that nobody has":       {"Wandb-Api-Key": {apikey.Generate()}},
		"a JWT in the place of a key alone":         {"Wandb-Api-Key": {p.jwt(p.issuer.Keys()[0], nil)}},
		"HDR-26 a good key beside another good key": {"Wandb-Api-Key": {p.key}, "X-Wandb-Api-Key": {p.stored}},
	}
	for name, token := range p.wrongJWTs() {
		all[name] = bearerHeader(token)
		all[name+", in a key's place"] = keyHeader(token)
	}
	return all
}
