package e2e

import (
	"testing"

	"github.com/chromedp/cdproto/network"
)

// TestImplicit signs in by a form that the browser posts from the provider's
// site to the gateway's. Only cookies that are made for that come along.
func TestImplicit(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]place{
		"https":             securePlace(t),
		"http on localhost": plainPlace(t), // where browsers take Secure cookies too
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, p := nodeHouse(t, at, nodeOptions{as: "implicit"}, "authMethod: implicit")
			b := newProfile(t)
			b.open(h.url + deepLink)
			b.await(p.issuer() + "/interaction/")
			checkAttemptCookie(b)
			p.signIn(b, "alice")
			b.await(h.url + deepLink)
			checkIdentity(t, h.app.last(t, "/runs/42/overview"), p, p.someone())

			testTwoTabs(newProfile(t), h, p.someone())
			b.press(`a[href="/logout"]`) // a person who follows a link of the application is not asked
			p.signOut(b)
			checkSignedOut(b, h, p.someone())
		})
	}
}

func checkAttemptCookie(b *tab) {
	b.t.Helper()
	n := 0
	for name, c := range b.cookies() {
		if !attemptName(name) {
			continue
		}
		n++
		if !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteNone {
			b.t.Errorf("%s is %+v", name, c)
		}
	}
	if n != 1 {
		b.t.Errorf("there are %d cookies of an attempt", n)
	}
}
