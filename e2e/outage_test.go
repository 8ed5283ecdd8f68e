package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestProviderOutage starts a gateway whose provider is down: who is signed in
// notices nothing, and who wants to sign in gets in as soon as it is back.
func TestProviderOutage(t *testing.T) {
	t.Parallel()
	h, p := nodeHouse(t, securePlace(t), nodeOptions{as: "confidential"})
	b := h.signIn(t, "/before", "alice")
	p.stop()
	h.gateway.stop()
	h.gateway.restart()

	if status := b.open(h.url + "/during"); status != http.StatusOK {
		t.Errorf("somebody who is signed in gets %d", status)
	}
	checkIdentity(t, h.app.last(t, "/during"), p, p.someone())
	if status, text := h.operations("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "main") {
		t.Errorf("readyz says %d: %s", status, text)
	}

	c := newProfile(t)
	if status := c.open(h.url + deepLink); status != http.StatusServiceUnavailable {
		t.Errorf("sign-in answers %d", status)
	}
	c.awaitText("Back in a moment")
	p.restart()
	p.signIn(c, "alice") // the page has to go on by itself
	c.await(h.url + deepLink)
	if status, text := h.operations("/readyz"); status != http.StatusOK {
		t.Errorf("readyz says %d: %s", status, text)
	}
}

// TestProviderOutageLater loses the provider while somebody is at its form.
func TestProviderOutageLater(t *testing.T) {
	t.Parallel()
	h, p := nodeHouse(t, securePlace(t), nodeOptions{as: "public"})
	b := newProfile(t)
	b.open(h.url + deepLink)
	b.await(p.issuer() + "/interaction/")
	p.stop()
	p.restart() // with new keys, and without a memory of this sign-in
	b.open(h.url + deepLink)
	p.signIn(b, "alice")
	b.await(h.url + deepLink)
	checkIdentity(t, h.app.last(t, "/runs/42/overview"), p, p.someone())
}

// TestStoreOutage takes Redis away and brings it back.
func TestStoreOutage(t *testing.T) {
	t.Parallel()
	h, p := nodeHouse(t, securePlace(t), nodeOptions{as: "public"})
	b := h.signIn(t, "/before", "alice")
	cookie := b.cookies()[h.cookie()]
	h.redis.stop()

	if status := b.open(h.url + "/remembered"); status != http.StatusOK {
		t.Errorf("somebody who was seen a moment ago gets %d", status)
	}
	time.Sleep(2 * time.Second) // session.cache.lifetime
	if status := b.open(h.url + "/during"); status != http.StatusServiceUnavailable {
		t.Errorf("somebody who is signed in gets %d", status)
	}
	b.awaitText("Back in a moment")
	if now := b.cookies()[h.cookie()]; now == nil || now.Value != cookie.Value {
		t.Error("the session's cookie was not kept")
	}
	if n := h.app.count("/during"); n != 0 {
		t.Errorf("the application was asked %d times", n)
	}
	if status, _ := h.operations("/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("readyz says %d", status)
	}

	h.redis.start(t)
	b.awaitText("/during") // the page has to go on by itself
	checkIdentity(t, h.app.last(t, "/during"), p, p.someone())
}
