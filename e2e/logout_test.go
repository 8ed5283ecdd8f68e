package e2e

import "testing"

// TestLogoutAtProvider signs somebody out at a real provider, which tells the
// gateway so: that session ends here at once, and the one in another browser
// does not.
func TestLogoutAtProvider(t *testing.T) {
	t.Parallel()
	at := plainPlace(t)
	h, p := nodeHouse(t, at, nodeOptions{as: "confidential", logoutURI: at.url + "/.gatehouse/backchannel-logout/main"})
	who := p.someone()
	here, there := h.signIn(t, "/here", who.Login), h.signIn(t, "/there", who.Login)

	here.open(p.issuer() + "/session/end")
	p.signOut(here)
	here.awaitText("Sign-out Success")
	here.awaitThat("be signed out at the provider", func() bool { return p.out.count("told confidential") > 0 })
	if n := p.out.count("not told"); n != 0 {
		t.Fatalf("the gateway did not follow the provider:\n%s\n%s", p.out.tail(5), h.gateway.out.tail(5))
	}
	asked := h.app.count("/again")
	here.open(h.url + "/again")
	p.signIn(here, who.Login) // fails unless the provider asks who it is
	here.await(h.url + "/again")
	if n := h.app.count("/again") - asked; n != 1 {
		t.Errorf("the application was asked %d times", n)
	}
	there.open(h.url + "/still-there")
	there.await(h.url + "/still-there")
	checkIdentity(t, h.app.last(t, "/still-there"), p, who)

	// Who signs out here is signed out there, and the provider's word of it does no harm.
	here.open(h.url + "/logout")
	here.awaitText("Sign out?")
	here.press("main button")
	p.signOut(here)
	here.await(h.url + "/logout")
	here.awaitText("signed out at your provider too")
	here.awaitThat("be told of that too", func() bool { return p.out.count("told confidential") == 2 && p.out.count("not told") == 0 })
}
