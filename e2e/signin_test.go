package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"gatehouse/session"
)

const deepLink = "/runs/42/overview?tab=charts&smooth=0.6"

// TestSignIn is the way of a person at each provider: a deep link, sign-in, the
// application, sign-out. Between the parts the gateway forgets nothing.
func TestSignIn(t *testing.T) {
	t.Parallel()
	t.Run("oidc-provider", func(t *testing.T) {
		t.Parallel()
		h, _ := nodeHouse(t, securePlace(t), nodeOptions{as: "public"})
		testSignIn(t, h)
		// LemonLDAP::NG would answer the first of many attempts.
		t.Run("abandoned attempts", func(t *testing.T) { testAbandoned(newProfile(t), h, h.provider.someone()) })
	})
	t.Run("LemonLDAP", func(t *testing.T) {
		t.Parallel()
		testSignIn(t, lemonHouse(t, securePlace(t), 0))
	})
}

func testSignIn(t *testing.T, h *house) {
	who := h.provider.someone()
	b := newProfile(t)
	for _, step := range []struct {
		name string
		run  func(b *tab)
	}{
		{"deep link", func(b *tab) { testDeepLink(b, h, who) }},
		{"cookies", func(b *tab) { checkSessionCookie(b, h.place) }},
		{"back", func(b *tab) { testBack(b, h) }},
		{"forged headers", func(b *tab) { testForgedHeaders(b, h, who) }},
		{"gateway restarted", func(b *tab) { testRestart(b, h, who) }},
		{"two tabs", func(b *tab) { testTwoTabs(newProfile(b.t), h, who) }},
		{"SES-18 answer without an attempt", func(b *tab) { testLostAttempt(newProfile(b.t), h, who) }},
		{"late answer", func(b *tab) { testLateAnswer(newProfile(b.t), h, who) }},
		{"log", func(b *tab) { checkLog(b, h) }},
		{"sign-out", func(b *tab) { testSignOut(b, h, who) }},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(b.in(t)) }) {
			return // each step begins where the one before has ended
		}
	}
}

// testDeepLink signs in on the way to a page deep in the application.
func testDeepLink(b *tab, h *house, who person) {
	b.open(h.url + deepLink)
	h.provider.signIn(b, who.Login)
	b.await(h.url + deepLink)
	if got := b.url(); got != h.url+deepLink {
		b.t.Errorf("landed at %s", got)
	}
	checkIdentity(b.t, h.app.last(b.t, "/runs/42/overview"), h.provider, who)
}

// testRestart restarts the gateway: Redis remembers who is signed in, and the
// browser what it has begun.
func testRestart(b *tab, h *house, who person) {
	c := newProfile(b.t)
	c.open(h.url + deepLink)
	h.gateway.stop()
	h.gateway.restart()
	b.open(h.url + "/after-restart")
	b.await(h.url + "/after-restart")
	checkIdentity(b.t, h.app.last(b.t, "/after-restart"), h.provider, who)
	h.provider.signIn(c, who.Login)
	c.await(h.url + deepLink)
}

// checkSessionCookie looks at the gateway's cookies as the browser keeps them:
// the session's and no other.
func checkSessionCookie(b *tab, at place) {
	b.t.Helper()
	found := false
	for name, c := range b.cookies() {
		if !strings.Contains(name, "gatehouse") {
			continue
		}
		if name != at.cookie() {
			b.t.Errorf("a cookie %s is left over", name)
			continue
		}
		found = true
		if c.Secure != at.secure() || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != at.host() {
			b.t.Errorf("%s is %+v", name, c)
		}
	}
	if !found {
		b.t.Error("there is no session cookie")
	}
}

// testForgedHeaders lets the browser claim to be somebody else in many spellings.
func testForgedHeaders(b *tab, h *house, who person) {
	forged := map[string]string{}
	for _, name := range []string{
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
		"X-Gatehouse-Subject", "X-Gatehouse-Route", "x-forwarded-USER", "X_Forwarded_User", "X_Gatehouse_Issuer",
		"X-Forwarded-Access-Token", "X-Remote-User", "Remote-User", "X-Auth-Request-User",
	} {
		forged[name] = "mallory"
	}
	b.pretend(forged)
	defer b.pretend(nil)
	b.open(h.url + "/forged")
	b.open(h.url + "/open/forged")
	checkIdentity(b.t, h.app.last(b.t, "/forged"), h.provider, who)
	for name, values := range h.app.last(b.t, "/open/forged").Header {
		if slices.Contains(values, "mallory") {
			b.t.Errorf("the public path got %s from the client", name)
		}
	}
}

// testBack goes back to the provider's form and forth again: nobody is sent round
// in circles, and the session is still there.
func testBack(b *tab, h *house) {
	signIns := h.gateway.out.count("/.gatehouse/sign-in/main")
	b.do(chromedp.Evaluate[chromedp.Void]("setTimeout(() => history.back())")) // once this is over: the page may be gone at once
	b.awaitThat("go back", func() bool { return b.url() != h.url+deepLink && b.loaded() })
	b.do(chromedp.Evaluate[chromedp.Void]("setTimeout(() => history.forward())"))
	b.await(h.url + deepLink)
	if n := h.gateway.out.count("/.gatehouse/sign-in/main") - signIns; n > 1 {
		b.t.Errorf("going back and forth began %d sign-ins", n)
	}
}

// testAbandoned begins to sign in again and again: the attempts don't pile up in
// the browser, and the last one still works.
func testAbandoned(b *tab, h *house, who person) {
	for range 8 {
		b.open(h.url + deepLink)
	}
	n := 0
	for name := range b.cookies() {
		if attemptName(name) {
			n++
		}
	}
	if n < 2 || n > 5 {
		b.t.Errorf("the browser keeps %d attempts", n)
	}
	h.provider.signIn(b, who.Login)
	b.await(h.url + deepLink)
}

// testTwoTabs begins to sign in twice before it finishes once.
func testTwoTabs(one *tab, h *house, who person) {
	two := one.another()
	one.open(h.url + "/one")
	two.open(h.url + "/two?x=1")
	h.provider.signIn(one, who.Login)
	one.await(h.url + "/one")
	h.provider.signIn(two, who.Login)
	two.await(h.url + "/two?x=1")
	checkSessionCookie(one, h.place)
}

// testLostAttempt comes back from the provider when the browser has lost what
// it began, and starts again.
func testLostAttempt(b *tab, h *house, who person) {
	b.open(h.url + deepLink)
	for name := range b.cookies() {
		if attemptName(name) {
			b.forget(name, h.url)
		}
	}
	h.provider.signIn(b, who.Login)
	b.await(h.url + "/oidc/callback")
	b.awaitText("try that again")
	b.press("main a.button")
	b.await(h.url + "/")
	checkIdentity(b.t, h.app.last(b.t, "/"), h.provider, who)
}

// testLateAnswer comes back from the provider after eleven minutes, and starts
// again without having lost the way.
func testLateAnswer(b *tab, h *house, who person) {
	b.open(h.url + deepLink)
	makeOlder(b, h.place, 11*time.Minute)
	h.provider.signIn(b, who.Login)
	b.await(h.url + "/oidc/callback")
	b.awaitText("took too long")
	b.press("main a.button")
	b.await(h.url + deepLink)
}

// makeOlder rewrites the browser's attempts as if they had begun earlier, with
// the key that the gateway has.
func makeOlder(b *tab, at place, by time.Duration) {
	b.t.Helper()
	keys, err := session.NewKeyring(at.url, []string{sessionKey})
	if err != nil {
		b.t.Fatal(err)
	}
	sealer := keys.Sealer("oidc attempt")
	for name, c := range b.cookies() {
		if !attemptName(name) {
			continue
		}
		plain, err := sealer.Open(name, c.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		var attempt map[string]any
		if err := json.Unmarshal(plain, &attempt); err != nil {
			b.t.Fatal(err)
		}
		attempt["m"] = int64(attempt["m"].(float64)) - int64(by.Seconds())
		if plain, err = json.Marshal(attempt); err == nil {
			c.Value, err = sealer.Seal(name, plain)
		}
		if err != nil {
			b.t.Fatal(err)
		}
		command(b, network.SetCookie, network.SetCookieParams{
			Name: name, Value: c.Value, URL: at.url, Path: c.Path, Secure: &c.Secure, HTTPOnly: &c.HTTPOnly, SameSite: c.SameSite,
		})
	}
}

// checkLog looks for secrets in what the gateway has written.
func checkLog(b *tab, h *house) {
	log := h.gateway.out.String()
	for what, secret := range map[string]string{
		"session cookie": b.cookies()[h.cookie()].Value,
		"session key":    sessionKey,
		"client secret":  h.provider.client().secret,
		"code":           "code=",
		"state":          "state=",
		"token":          "eyJ",
	} {
		if secret != "" && strings.Contains(log, secret) {
			b.t.Errorf("the log holds a %s", what)
		}
	}
}

// attemptName tells the cookie of a sign-in that is under way.
func attemptName(name string) bool { return strings.Contains(name, "gatehouse_attempt_") }

// testSignOut signs out on the page that asks, here and at the provider.
func testSignOut(b *tab, h *house, who person) {
	b.open(h.url + "/logout")
	b.awaitText("Sign out?")
	b.press("main button")
	h.provider.signOut(b)
	checkSignedOut(b, h, who)
}

// checkSignedOut follows somebody who has signed out: nobody knows them any more.
func checkSignedOut(b *tab, h *house, who person) {
	b.t.Helper()
	b.await(h.url + "/logout")
	b.awaitText("signed out at your provider too")
	for name := range b.cookies() {
		if name == h.cookie() || attemptName(name) {
			b.t.Errorf("the cookie %s is left after signing out", name)
		}
	}
	b.open(h.url + "/open/page")
	const fetch = `fetch("/api").then(r => r.status + " " + r.redirected + " " + r.headers.get("Content-Type"))`
	if got := ask(b, chromedp.Evaluate[string](fetch, chromedp.EvalAwaitPromise)); got != "401 false application/json" {
		b.t.Errorf("a script of the application gets %s", got)
	}
	asked := h.app.count("/runs/42/overview")
	b.open(h.url + deepLink)
	h.provider.signIn(b, who.Login) // fails unless the provider asks who it is
	b.await(h.url + deepLink)
	if n := h.app.count("/runs/42/overview") - asked; n != 1 {
		b.t.Errorf("the application was asked %d times", n)
	}
}
