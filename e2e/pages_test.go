package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// look is one way in which people see a page.
type look struct {
	scheme string
	width  int64
}

// TestPages looks at each of the gateway's pages as people do, light and dark, on
// a phone and on a desk, and lets axe-core look for barriers. With
// GATEHOUSE_SCREENSHOTS set to a directory, it leaves a picture of each there.
func TestPages(t *testing.T) {
	t.Parallel()
	at := securePlace(t)
	p := startNodeProvider(t, nodeOptions{paths: clientPaths{
		redirect:  at.url + "/oidc/callback " + at.url + "/oidc/callback/guests",
		signedOut: at.paths().signedOut,
	}, as: "public"})
	guests := route{
		Name: "guests", Issuer: p.issuer(), ClientID: "confidential", Secret: nodeSecret,
		Extra: []string{
			"subjectPrefix: \"guest:\"", "scopes: [openid, profile, email, groups]",
			"allowedEmailDomains: [guests.example.com]", "allowedGroups: [guests]",
		},
	}
	h := newHouse(t, at, p, routeTo(p, "scopes: [openid, profile, email, groups]", "allowedEmailDomains: [example.com]"), guests)
	b := newProfile(t)
	if dir := os.Getenv("GATEHOUSE_SCREENSHOTS"); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	axe, err := os.ReadFile("oidc-provider/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v; %s", err, hint)
	}
	inspect := func(name string, status int, path string) {
		t.Helper()
		if got := b.open(h.url + path); got != status {
			b.fail(fmt.Sprintf("%s is %d, want %d", path, got, status))
		}
		inspectPage(b, name, string(axe))
	}

	inspect("sign-in", 200, "/.gatehouse/sign-in?rd=/x")
	inspect("signed-out", 200, "/.gatehouse/signed-out")
	inspect("try-again", 400, "/oidc/callback?code=x&state=y")
	inspect("not-found", 404, "/.gatehouse/nothing")

	b.open(h.url + "/.gatehouse/sign-in?provider=guests")
	p.signIn(b, "bob")
	b.await(h.url + "/oidc/callback/guests")
	inspectPage(b, "refused", string(axe))

	b.open(h.url + "/.gatehouse/sign-in?provider=main&rd=/x")
	b.await(h.url + "/x")
	phone := newProfile(t)
	phone.open(h.url + "/.gatehouse/sign-in?provider=main&rd=/x")
	p.signIn(phone, "bob")
	phone.await(h.url + "/x")
	inspect("me", 200, "/.gatehouse/")
	b.press("button[value=others]")
	b.await(h.url + "/.gatehouse/#devices")
	phone.awaitThat("be signed out", func() bool { return phone.open(h.url+"/.gatehouse/userinfo") == 401 })
	inspect("sign-out", 200, "/logout")
	h.app.Close()
	inspect("bad-gateway", 502, "/x")
	h.redis.stop()
	b.awaitThat("no more go on with a remembered session", func() bool { return b.open(h.url+"/x") == 503 })
	inspect("outage", 503, "/x")
}

// TestKeyboard signs in and out with nothing but the keyboard.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	at := securePlace(t)
	p := startNodeProvider(t, nodeOptions{paths: at.paths(), as: "public"})
	guests := route{
		Name: "guests", Issuer: p.issuer(), ClientID: "confidential", Secret: nodeSecret,
		Extra: []string{"subjectPrefix: \"guest:\"", "allowedEmailDomains: [guests.example.com]"},
	}
	h := newHouse(t, at, p, routeTo(p, "allowedEmailDomains: [example.com]"), guests)
	b := newProfile(t)

	t.Run("choose a provider", func(t *testing.T) {
		b := b.in(t)
		b.open(h.url + "/x")
		b.tabTo("main a.choice")
		b.do(chromedp.KeyEvent(kb.Enter))
		p.signIn(b, "alice")
		b.await(h.url + "/x")
	})
	t.Run("sign out", func(t *testing.T) {
		b := b.in(t)
		b.open(h.url + "/logout")
		b.tabTo("main button")
		b.do(chromedp.KeyEvent(kb.Enter))
		p.signOut(b)
		b.awaitText("You are signed out")
	})
}

// tabTo goes to what a CSS selector names, as the first thing on the page, with
// the tabulator key, and looks whether it can be seen where that leads.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(kb.Tab))
	const look = `(() => {
		const e = document.activeElement, s = getComputedStyle(e);
		return e !== document.querySelector(%q) ? "the focus is at " + e.outerHTML
			: s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2 ? "the outline is " + s.outline : "";
	})()`
	if wrong := ask(b, chromedp.Evaluate[string](fmt.Sprintf(look, selector))); wrong != "" {
		b.fail(wrong)
	}
}

// inspectPage looks at the page that the tab shows.
func inspectPage(b *tab, name, axe string) {
	b.t.Helper()
	b.do(chromedp.Stop(), chromedp.Evaluate[chromedp.Void](axe)) // the page of an outage would load itself again meanwhile
	for _, l := range []look{{"light", 360}, {"dark", 360}, {"light", 1280}, {"dark", 1280}} {
		b.wear(l)
		what := fmt.Sprintf("%s-%s-%d", name, l.scheme, l.width)
		for _, v := range barriers(b) {
			b.t.Errorf("%s: %s: %s %s", what, v.ID, v.Help, v.where())
		}
		if wide := ask(b, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)); wide > l.width {
			b.t.Errorf("%s is %d pixels wide", what, wide)
		}
		if dir := os.Getenv("GATEHOUSE_SCREENSHOTS"); dir != "" {
			picture := ask(b, chromedp.FullScreenshot(100))
			if err := os.WriteFile(filepath.Join(dir, what+".png"), picture, 0o644); err != nil {
				b.t.Error(err)
			}
		}
	}
}

func (b *tab) wear(l look) {
	b.t.Helper()
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
	})
	b.do(chromedp.EmulateViewport(l.width, 800))
}

// violation is what axe-core says about one rule.
type violation struct {
	ID, Help string
	Nodes    []struct{ HTML string }
}

func (v violation) where() string {
	out := ""
	for _, n := range v.Nodes {
		out += "\n  " + n.HTML
	}
	return out
}

// barriers asks axe-core, with every rule that it has.
func barriers(b *tab) []violation {
	b.t.Helper()
	const run = `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations))`
	text := ask(b, chromedp.Evaluate[string](run, chromedp.EvalAwaitPromise))
	var out []violation
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		b.fail(err)
	}
	return out
}
