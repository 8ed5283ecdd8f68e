package page_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"gatehouse/authn/page"
)

const (
	chromeAccept  = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
	firefoxAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
)

type header = map[string]string

// fetchHeader is what browsers say of a request: its mode and destination.
func fetchHeader(mode, dest, accept string) header {
	return header{"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, "Sec-Fetch-Site": "same-origin", "Accept": accept}
}

func with(h header, more ...string) header {
	out := header{}
	for k, v := range h {
		out[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

func TestNavigationAndWantsPage(t *testing.T) {
	chrome := with(fetchHeader("navigate", "document", chromeAccept), "Upgrade-Insecure-Requests", "1", "Sec-Fetch-User", "?1")
	safari := header{"Accept": firefoxAccept}
	for _, c := range []struct {
		name                  string
		method                string
		header                header
		navigation, wantsPage bool
	}{
		{"Chrome", "GET", chrome, true, true},
		{"Chrome HEAD", "HEAD", chrome, true, true},
		{"Chrome form", "POST", chrome, false, true},
		{"Chrome PUT", "PUT", chrome, false, true},
		{"Firefox", "GET", with(fetchHeader("navigate", "document", firefoxAccept), "Priority", "u=0, i", "TE", "trailers"), true, true},
		{"Safari without Sec-Fetch", "GET", safari, true, true},
		{"Safari form", "POST", safari, false, true},
		{"Chrome frame", "GET", fetchHeader("navigate", "iframe", chromeAccept), false, true},
		{"Chrome embed", "GET", fetchHeader("navigate", "embed", chromeAccept), false, true},
		{"fetch()", "GET", fetchHeader("cors", "empty", "*/*"), false, false},
		{"fetch() of a page", "GET", fetchHeader("cors", "empty", chromeAccept), false, false},
		{"fetch() that says it navigates", "GET", fetchHeader("navigate", "empty", "*/*"), false, false},
		{"XMLHttpRequest, jQuery", "GET", header{"Accept": "text/html, */*; q=0.01", "X-Requested-With": "XMLHttpRequest"}, false, false},
		{"XMLHttpRequest, axios", "GET", header{"Accept": "application/json, text/plain, */*"}, false, false},
		{"EventSource", "GET", fetchHeader("cors", "empty", "text/event-stream"), false, false},
		{"WebSocket", "GET", with(fetchHeader("websocket", "websocket", "*/*"), "Upgrade", "websocket", "Connection", "Upgrade"), false, false},
		{"WebSocket without Sec-Fetch", "GET", with(safari, "Upgrade", "websocket"), false, false},
		{"image", "GET", fetchHeader("no-cors", "image", "image/avif,image/webp,*/*;q=0.8"), false, false},
		{"script", "GET", fetchHeader("no-cors", "script", "*/*"), false, false},
		{"CORS preflight", "OPTIONS", header{"Accept": "*/*", "Access-Control-Request-Method": "POST", "Sec-Fetch-Mode": "cors"}, false, false},
		{"curl", "GET", header{"User-Agent": "curl/8.9.1", "Accept": "*/*"}, false, false},
		{"curl for a page", "GET", header{"User-Agent": "curl/8.9.1", "Accept": "text/html"}, true, true},
		{"Go-http-client", "GET", header{"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}, false, false},
		{"python-requests", "GET", header{"User-Agent": "python-requests/2.32.3", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}, false, false},
		{"python-requests with a key", "GET", header{"User-Agent": "python-requests/2.32.3", "Accept": "*/*", "Authorization": "Basic YXBpOktFWQ=="}, false, false},
		{"wandb-core", "POST", header{"User-Agent": "wandb-core", "Content-Type": "application/json", "Authorization": "Basic YXBpOktFWQ=="}, false, false},
		{"wandb-core after a redirect", "GET", header{"User-Agent": "wandb-core", "Referer": "https://gate.example.com/files/a/b/c/file_stream"}, false, false},
		{"W&B app's dummy credential", "POST", with(fetchHeader("cors", "empty", "application/json"), "Authorization", "Basic Og=="), false, false},
		{"browser with the dummy credential", "GET", with(chrome, "Authorization", "Basic Og=="), true, true},
		{"browser with half a credential", "GET", with(chrome, "Authorization", "Basic"), true, true},
		{"browser with no credential", "GET", with(chrome, "Authorization", ""), true, true},
		{"browser with a key", "GET", with(chrome, "Authorization", "Basic YXBpOktFWQ=="), false, true},
		{"browser with broken Basic", "GET", with(chrome, "Authorization", "basic %%%"), false, true},
		{"page for a token that is missing", "GET", with(safari, "Authorization", "Bearer "), false, true},
		{"page for a token", "GET", with(safari, "Authorization", "Bearer abc"), false, true},
		{"page for a scheme of its own", "GET", with(safari, "Authorization", "KEY"), false, true},
		{"OIDC-43 Sec-Purpose: prefetch", "GET", with(chrome, "Sec-Purpose", "prefetch"), false, true},
		{"OIDC-43 Sec-Purpose: prerender", "GET", with(chrome, "Sec-Purpose", "prefetch;prerender"), false, true},
		{"OIDC-43 Purpose: prefetch", "GET", with(safari, "Purpose", "Prefetch"), false, true},
		{"OIDC-43 X-Moz: prefetch", "GET", with(safari, "X-Moz", "prefetch"), false, true},
		{"no Accept", "GET", header{}, false, false},
		{"a page as little as JSON, JSON first", "GET", header{"Accept": "application/json, text/html"}, true, false},
		{"JSON rather than a page", "GET", header{"Accept": "text/html;q=0.5, application/json"}, true, false},
		{"a page rather than JSON", "GET", header{"Accept": "application/json;q=0.5, TEXT/HTML;level=1;q=0.9"}, true, true},
		{"no page", "GET", header{"Accept": "text/html;q=0, */*"}, false, false},
		{"a page that almost is", "GET", header{"Accept": "text/html5, atext/html"}, false, false},
		{"an unreadable weight", "GET", header{"Accept": "text/html;q=lots"}, true, true},
		{"a weight beyond one", "GET", header{"Accept": "text/html;q=7"}, true, true},
		{"an empty mode", "GET", with(safari, "Sec-Fetch-Mode", ""), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/", nil)
			for name, value := range c.header {
				r.Header.Set(name, value)
			}
			if got := page.Navigation(r); got != c.navigation {
				t.Errorf("Navigation %t, want %t", got, c.navigation)
			}
			if got := page.WantsPage(r); got != c.wantsPage {
				t.Errorf("WantsPage %t, want %t", got, c.wantsPage)
			}
		})
	}
}

// A header that is sent twice counts twice.
func TestRepeatedHeaders(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"Accept": {"image/png", "text/html"}, "Sec-Fetch-Mode": {"navigate", "cors"}}
	if page.Navigation(r) || page.WantsPage(r) {
		t.Error("one of two modes is enough")
	}
	r.Header.Del("Sec-Fetch-Mode")
	if !page.Navigation(r) || !page.WantsPage(r) {
		t.Error("the second Accept is not read")
	}
	r.Header["Authorization"] = []string{"Basic Og==", "Bearer abc"}
	if page.Navigation(r) {
		t.Error("the second Authorization is not read")
	}
}
