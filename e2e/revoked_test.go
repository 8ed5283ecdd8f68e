package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// turns waits until a credential is answered so. Within is the bound that the
// settings set; patience is added for a busy machine.
func (h *programHouse) turns(t *testing.T, c *http.Client, authorization string, want int, within time.Duration) {
	t.Helper()
	begin := time.Now()
	for {
		status, body := h.viewer(t, c, authorization)
		if status == want {
			return
		}
		if time.Since(begin) > within+5*time.Second {
			t.Fatalf("after %s it is still %d: %s", time.Since(begin), status, body)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestOpaqueToken has the gateway ask a real provider about tokens that say
// nothing.
func TestOpaqueToken(t *testing.T) {
	t.Parallel()
	h, p := tokenHouse(t, true)
	token := p.programToken(opaqueAudience)
	if status, body := h.viewer(t, nil, "Bearer "+token); status != http.StatusOK {
		t.Fatalf("a good token: %d %s", status, body)
	}
	// The provider's answer has no sub, but a client_id that is registered as one.
	checkAccounts(t, "tokens", h.wandb.Requests("/"))
	if status, body := h.viewer(t, nil, "Bearer "+token[:len(token)-1]); status != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d %s", status, body)
	}
	p.stop()
	h.turns(t, nil, "Bearer "+token, http.StatusServiceUnavailable, 2*time.Second)
	p.restart() // it has forgotten the token
	h.turns(t, nil, "Bearer "+token, http.StatusUnauthorized, 2*time.Second)
	token = p.programToken(opaqueAudience)
	h.turns(t, nil, "Bearer "+token, http.StatusOK, 2*time.Second)
	second := reaches(h.another(place{url: h.url, port: freePort(t), ops: freePort(t)}, programSettings{Application: "refuse", Issuer: p.issuer(), Opaque: true}))
	if status, body := h.viewer(t, second, "Bearer "+token); status != http.StatusOK {
		t.Errorf("at another gateway: %d %s", status, body)
	}
	p.revoke(token)
	h.turns(t, nil, "Bearer "+token, http.StatusUnauthorized, 2*time.Second)
	h.turns(t, second, "Bearer "+token, http.StatusUnauthorized, 2*time.Second)
}

// exchange gets an access token of the gateway for a JWT.
func (h *programHouse) exchange(t *testing.T, c *http.Client, jwt string) string {
	t.Helper()
	res, err := c.PostForm(h.url+"/oidc/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {jwt}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || res.StatusCode != http.StatusOK || got.ExpiresIn <= 300 {
		t.Fatalf("the exchange: %d %+v (%v)", res.StatusCode, got, err)
	}
	return got.AccessToken
}

// reaches is a client that gets to one of several gateways behind one address.
func reaches(g *gateway) *http.Client {
	var d net.Dialer
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, loopback(g.port))
		},
	}}
}

// TestReplicas has two gateways on one Redis: what one gives out is good at the
// other, and what is taken back at one is soon no good at the other.
func TestReplicas(t *testing.T) {
	t.Parallel()
	h, p := tokenHouse(t, false)
	second := h.another(place{url: h.url, port: freePort(t), ops: freePort(t)}, programSettings{Application: "refuse", Issuer: p.issuer()})
	a, b := reaches(h.gateway), reaches(second)
	token := "Bearer " + h.exchange(t, a, p.programToken(audience))
	key := h.newKey()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+key))
	for name, credential := range map[string]string{"token": token, "key": basic} {
		for i, c := range []*http.Client{b, a} {
			if status, body := h.viewer(t, c, credential); status != http.StatusOK {
				t.Errorf("%s at gateway %d: %d %s", name, i, status, body)
			}
		}
	}
	h.said("key", "revoke", keyID(key))
	for _, c := range []*http.Client{a, b} {
		h.turns(t, c, basic, http.StatusUnauthorized, time.Second)
	}
	if status, body := h.viewer(t, a, token); status != http.StatusOK {
		t.Errorf("the token ended with the key: %d %s", status, body)
	}
	h.revoke(t, a, strings.TrimPrefix(token, "Bearer "))
	for _, c := range []*http.Client{a, b} {
		h.turns(t, c, token, http.StatusUnauthorized, time.Second)
	}
}

// revoke takes an access token back where the gateway says that this is done
// (RFC 8414, RFC 7009).
func (h *programHouse) revoke(t *testing.T, c *http.Client, token string) {
	t.Helper()
	res, err := c.Get(h.url + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var document struct {
		Revocation string `json:"revocation_endpoint"`
	}
	if err := json.NewDecoder(res.Body).Decode(&document); err != nil || document.Revocation == "" {
		t.Fatalf("the gateway names no place to revoke tokens at (%v)", err)
	}
	res, err = c.PostForm(document.Revocation, url.Values{"token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the revocation is answered with %d", res.StatusCode)
	}
}

// keyID is the part of a key that may be shown.
func keyID(key string) string { return strings.TrimPrefix(key, "gatehouse-")[:8] }
