package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// shortLife is the life of access tokens that have to be renewed in a test. The
// gateway asks a provider once in half a minute at most, however short it is.
const (
	shortLife = 10 * time.Second
	renewTime = 45 * time.Second
)

// TestRenewal keeps somebody signed in for longer than a token lives.
func TestRenewal(t *testing.T) {
	t.Parallel()
	t.Run("oidc-provider", func(t *testing.T) {
		t.Parallel()
		h, p := nodeHouse(t, securePlace(t), nodeOptions{as: "confidential", accessTokenLife: shortLife})
		b := h.signIn(t, "/first", "alice")
		groups := [][]string{{"admins", "late riser"}, {"nobody"}}
		for i, g := range groups { // a second time, with the token that the first one brought
			p.write(person{"alice", "Alice Example", "alice@example.com", g})
			awaitRenewal(b, h, i+1)
			b.awaitThat("show new groups", func() bool {
				time.Sleep(100 * time.Millisecond)
				b.open(h.url + "/renewed")
				return h.app.last(t, "/renewed").Header.Get("X-Forwarded-Groups") == strings.Join(g, ",")
			})
		}
		checkIdentity(t, h.app.last(t, "/renewed"), p, person{"alice", "Alice Example", "alice@example.com", groups[1]})
	})
	t.Run("LemonLDAP", func(t *testing.T) {
		t.Parallel()
		h := lemonHouse(t, securePlace(t), shortLife)
		who := h.provider.someone()
		b := h.signIn(t, "/first", who.Login)
		awaitRenewal(b, h, 1+h.provider.grants("refresh_token"))
		b.open(h.url + "/renewed")
		checkIdentity(t, h.app.last(t, "/renewed"), h.provider, who)
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		h, p := nodeHouse(t, securePlace(t), nodeOptions{as: "public", accessTokenLife: shortLife})
		b := h.signIn(t, "/first", "alice")
		p.write(person{"bob", "Bob Example", "bob@example.com", nil}) // alice has left
		b.awaitLonger(renewTime, "be sent to sign in", func() bool {
			time.Sleep(time.Second)
			b.open(h.url + "/left")
			return strings.HasPrefix(b.url(), p.issuer())
		})
	})
}

// awaitRenewal keeps four requests at a time coming until the provider has given
// tokens for a refresh token count times, and no more often than that.
func awaitRenewal(b *tab, h *house, count int) {
	b.t.Helper()
	const four = `Promise.all([1, 2, 3, 4].map(i => fetch("/busy").then(r => r.status))).then(s => s.every(x => x === 200))`
	b.awaitLonger(renewTime, "have its session renewed", func() bool {
		if !ask(b, chromedp.Evaluate[bool](four, chromedp.EvalAwaitPromise)) {
			b.fail("a request was refused while the session was due for renewal")
		}
		time.Sleep(time.Second)
		return h.provider.grants("refresh_token") >= count
	})
	if n := h.provider.grants("refresh_token"); n != count {
		b.t.Errorf("the provider gave tokens %d times, want %d", n, count)
	}
}
