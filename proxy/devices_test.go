package proxy

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
	iPhone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1"
	fromUs  = "Sec-Fetch-Site: same-origin\r\n"
)

// press is what a browser sends for a button of the page.
func (a *apiRig) press(which, headers string) answer {
	a.t.Helper()
	form := url.Values{"end": {which}}.Encode()
	got := a.raw(fmt.Sprintf("POST /.gatehouse/end HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n%s\r\n%s",
		gwHost, len(form), headers, form))
	a.untouched()
	return got
}

func TestDevices(t *testing.T) {
	a := newAPI(t)
	here, hereID := a.signIn(person("alice"), firefox)
	_, thereID := a.signIn(person("alice"), iPhone)
	_, toolID := a.signIn(person("alice"), `wandb-core/0.21"><script>`)
	_, otherID := a.signIn(person("bob"), firefox)
	page := a.get("/.gatehouse/", here)
	want(t, "status", page.StatusCode, 200)
	for _, text := range []string{hereID, thereID, toolID, "Firefox on Linux", "Safari on iOS", "wandb-core", "This device", "Sign out all others"} {
		if !strings.Contains(page.body, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	for _, text := range []string{otherID, "<script>"} {
		if strings.Contains(page.body, text) {
			t.Errorf("the page says %q", text)
		}
	}
	if first := strings.Index(page.body, `value="`+hereID); first < 0 || first > strings.Index(page.body, thereID) || first > strings.Index(page.body, toolID) {
		t.Error("this device is not the first")
	}
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self'") {
		t.Errorf("the form goes nowhere: %s", csp)
	}
	if page := a.get("/.gatehouse/", "Authorization: Bearer root\r\nAccept: text/html\r\n"); !strings.Contains(page.body, "Nowhere but here") {
		t.Errorf("somebody with no session sees:\n%s", page.body)
	}
	a.store.down.Store(true)
	if page := a.get("/.gatehouse/", here); page.StatusCode != 200 || !strings.Contains(page.body, "can’t be shown right now") || strings.Contains(page.body, "<form") {
		t.Errorf("without an answer of the store the page is %d\n%s", page.StatusCode, page.body)
	}
}

// TestDevicesManyAreCounted: what one page does not show it counts.
func TestDevicesManyAreCounted(t *testing.T) {
	a := newAPI(t)
	here, _ := a.signIn(person("alice"), firefox)
	for range maxDevices + 4 {
		a.signIn(person("alice"), "curl/8.1")
	}
	page := a.get("/.gatehouse/", here)
	if n := strings.Count(page.body, `name="end"`); n != maxDevices+2 || !strings.Contains(page.body, "And 5 more") {
		t.Errorf("%d buttons\n%s", n, page.body)
	}
}

func TestDevicesEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		which      string // here, there, bob's, or as it is
		headers    string
		status     int
		location   string
		here, also bool // signed in after that
	}{
		"another":                  {"there", fromUs, 303, "/.gatehouse/#devices", true, false},
		"by the origin":            {"there", "Origin: " + gwURL + "\r\n", 303, "/.gatehouse/#devices", true, false},
		"one that has ended":       {"s" + strings.Repeat("A", 43), fromUs, 303, "/.gatehouse/#devices", true, true},
		"all others":               {endOthers, fromUs, 303, "/.gatehouse/#devices", true, false},
		"this one":                 {"here", fromUs, 303, "/.gatehouse/signed-out", false, true},
		"everywhere":               {endEverywhere, fromUs, 303, "/.gatehouse/signed-out", false, false},
		"nothing":                  {"", fromUs, 400, "", true, true},
		"from another site":        {"there", "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.test\r\n", 403, "", true, true},
		"from a sister site":       {endEverywhere, "Sec-Fetch-Site: same-site\r\nOrigin: https://sister.gw.test\r\n", 403, "", true, true},
		"of somebody else":         {"bob's", fromUs, 303, "/.gatehouse/#devices", true, true},
		"with an old browser":      {"there", "Origin: null\r\n", 403, "", true, true},
		"what is not a name":       {"../../etc", fromUs, 303, "/.gatehouse/#devices", true, true},
		"everywhere, in an outage": {endEverywhere, fromUs + "Down: 1\r\n", 503, "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			here, hereID := a.signIn(person("alice"), firefox)
			there, thereID := a.signIn(person("alice"), iPhone)
			bob, bobID := a.signIn(person("bob"), iPhone)
			which := map[string]string{"here": hereID, "there": thereID, "bob's": bobID}[tt.which]
			if which == "" {
				which = tt.which
			}
			a.store.down.Store(strings.Contains(tt.headers, "Down"))
			got := a.press(which, here+tt.headers)
			a.store.down.Store(false)
			want(t, "status", got.StatusCode, tt.status)
			want(t, "Location", strings.TrimPrefix(got.Header.Get("Location"), gwURL), tt.location)
			want(t, "signed in here", a.in(here), tt.here)
			want(t, "signed in there", a.in(there), tt.also)
			want(t, "bob is signed in", a.in(bob), true)
		})
	}
}

// TestDevicesNobody: the buttons do nothing for who has not proved who they are.
func TestDevicesNobody(t *testing.T) {
	a := newAPI(t)
	there, id := a.signIn(person("alice"), iPhone)
	for _, which := range []string{id, endOthers, endEverywhere} {
		want(t, which, a.press(which, fromUs).StatusCode, 401)
	}
	want(t, "signed in", a.in(there), true)
}

func TestDeviceNames(t *testing.T) {
	for agent, name := range map[string]string{
		firefox: "Firefox on Linux", iPhone: "Safari on iOS", "": "A device of unknown kind", "wandb-core/0.21": "wandb-core", "curl/8.5.0": "curl",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/144.0.0.0 Safari/537.36 Edg/144.0.0.0": "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/144.0.0.0 Safari/537.36":         "Chrome on macOS",
		"python-requests/2.32": "python-requests", strings.Repeat("(", 5000): strings.Repeat("(", 5000),
	} {
		want(t, agent, deviceName(agent), name)
	}
}
