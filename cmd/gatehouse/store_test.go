package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"gatehouse/authn/authntest"
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
	w := newWorld(t, offlineSettings+fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr))
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
			env := append(operatorEnv(w.gw.handlerUpstream(t), w.provider.URL), "GATEHOUSE_SESSION_KEYS=rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw=")
			code, out, errs := command(t, append(env, tt.env...), "check")
			if code != tt.code || !strings.Contains(out, tt.says) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, tt.code, tt.says, out, errs)
			}
		})
	}
	if left := dump(t, open); len(left) != 0 {
		t.Errorf("the check leaves %v", left)
	}
}
