package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// patience bounds every single thing that a browser is asked to do.
const patience = 30 * time.Second

// chromium is one browser process for the whole run; each test gets a profile
// of its own, with its own cookies. Names below .test lead to this machine.
type chromium struct {
	ctx   context.Context
	close func()
}

// startChromium starts the browser. What it keeps is below dir.
func startChromium(dir string) (*chromium, error) {
	path, err := find("chromium", "chromium-browser", "google-chrome")
	if err != nil {
		return nil, err
	}
	ctx, closeAll := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(dir, "chromium")),
		chromedp.IgnoreCertErrors,
		chromedp.DisableGPU,
		chromedp.Flag("no-sandbox", os.Getuid() == 0),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"),
		chromedp.Flag("disable-component-update", true),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		}),
	)...)
	ctx, cancel := chromedp.NewContext(ctx)
	c := &chromium{ctx: ctx, close: func() { cancel(); closeAll() }}
	if err := chromedp.Do(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// newProfile opens a tab in a new profile, as a person who was never here before.
func newProfile(t *testing.T) *tab {
	t.Helper()
	browser, err := shared.browser()
	if err != nil {
		t.Fatal("start the browser: ", err)
	}
	return openTab(t, browser.ctx, chromedp.WithNewBrowserContext())
}

// tab is one tab of a profile. Whatever can't be done fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func openTab(t *testing.T, parent context.Context, o ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, o...)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal("open a tab: ", err)
	}
	return &tab{t: t, ctx: ctx}
}

// another opens one more tab in the same profile.
func (b *tab) another() *tab { return openTab(b.t, b.ctx) }

// in is the same tab in a subtest.
func (b *tab) in(t *testing.T) *tab { return &tab{t: t, ctx: b.ctx} }

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(err)
	}
}

func ask[T any](b *tab, a chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		b.fail(err)
	}
	return v
}

// command sends the browser one command of the DevTools protocol for this tab.
func command[P, R any](b *tab, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	return ask(b, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, c, params) })
}

// fail ends the test and says what the tab shows.
func (b *tab) fail(why any) {
	b.t.Helper()
	b.t.Fatalf("%v\nthe browser is at %s\nand shows: %s", why, b.url(), b.shows())
}

func (b *tab) url() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	u, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return u
}

// shows is what there is to read in the tab.
func (b *tab) shows() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
	if err != nil {
		return err.Error()
	}
	return text
}

// open goes to a URL and returns the status of the page that comes after all redirects.
func (b *tab) open(url string) int {
	b.t.Helper()
	res := ask(b, chromedp.NavigateResponse(url))
	if res == nil {
		b.fail("no answer from " + url)
	}
	return int(res.Status)
}

// fill types into the field that a CSS selector names.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// press clicks what a CSS selector names.
func (b *tab) press(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// await waits until the tab has loaded a page whose URL begins with prefix.
func (b *tab) await(prefix string) {
	b.t.Helper()
	b.awaitThat("arrive at "+prefix, func() bool {
		return strings.HasPrefix(b.url(), prefix) && b.loaded()
	})
}

// awaitText waits until the tab shows text.
func (b *tab) awaitText(text string) {
	b.t.Helper()
	b.awaitThat("show "+text, func() bool { return strings.Contains(b.shows(), text) })
}

func (b *tab) loaded() bool {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	state, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.readyState`))
	return err == nil && state == "complete"
}

func (b *tab) awaitThat(what string, ok func() bool) {
	b.t.Helper()
	b.awaitLonger(patience, what, ok)
}

func (b *tab) awaitLonger(limit time.Duration, what string, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			b.fail("the browser did not " + what)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// pretend adds headers to everything that the tab sends from now on.
func (b *tab) pretend(headers map[string]string) {
	b.t.Helper()
	h := network.Headers{}
	for name, value := range headers {
		h[name] = value
	}
	command(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: h})
}

// forget deletes a cookie that a page at url has.
func (b *tab) forget(name, url string) {
	b.t.Helper()
	command(b, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: url})
}

// cookies are all that the profile holds, by name.
func (b *tab) cookies() map[string]*network.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	id := chromedp.FromContext(b.ctx).BrowserContextID
	res, err := chromedp.CallBrowser(ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: id})
	if err != nil {
		b.fail(err)
	}
	out := map[string]*network.Cookie{}
	for _, c := range res.Cookies {
		out[c.Name] = c
	}
	return out
}
