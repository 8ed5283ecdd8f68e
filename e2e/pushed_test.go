package e2e

import "testing"

// TestPushed signs in at a provider that takes authorization requests from the clients
// themselves alone (RFC 9126), and says so.
func TestPushed(t *testing.T) {
	t.Parallel()
	for _, as := range []string{"public", "confidential"} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			h, p := nodeHouse(t, securePlace(t), nodeOptions{as: as, pushed: true})
			b := newProfile(t)
			b.open(h.url + deepLink)
			p.signIn(b, "alice")
			b.await(h.url + deepLink)
			checkIdentity(t, h.app.last(t, "/runs/42/overview"), p, p.someone())
		})
	}
}
