package authn_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn"
)

func landings() authn.Landings {
	public := &url.URL{Scheme: "https", Host: "gw.test"}
	hosts := []string{"gw.test", "a.example.com", "gw.test:8443", "portal.example.com"}
	return authn.NewLandings(public, hosts, func(p string) bool {
		return p == "/logout" || p == "/oidc/callback" || p == "/.gatehouse" || strings.HasPrefix(p, "/.gatehouse/")
	})
}

func TestLandingKeeps(t *testing.T) {
	l := landings()
	for raw, want := range map[string]string{
		"/":                                "/",
		"/deep/link?a=1&b=%20c#frag":       "/deep/link?a=1&b=%20c#frag",
		"/entity/project/runs/x%20y":       "/entity/project/runs/x%20y",
		"/search?q=https://elsewhere.test": "/search?q=https://elsewhere.test",
		"https://gw.test/deep?x=1":         "/deep?x=1",
		"https://gw.test":                  "https://gw.test",
		"https://a.example.com/x":          "https://a.example.com/x",
		"https://gw.test:8443/x":           "https://gw.test:8443/x",
		"/caf%C3%A9":                       "/caf%C3%A9",
	} {
		if got := l.Clean(raw); got != want {
			t.Errorf("Clean(%q) = %q, want %q", raw, got, want)
		}
	}
}

// refusedLandings are tricks by the attack they belong to.
var refusedLandings = map[string][]string{
	"RED-02 protocol-relative":   {"//evil.test", "///evil.test", "////evil.test/%2f..", "//evil.test/", "//"},
	"RED-03 slash and backslash": {`/\evil.test`, `\\evil.test`, `/\/evil.test`, `\/evil`, `/a\b`, `\`, `/\\evil.test`},
	"RED-04 encoded white space": {"/%09/evil.test", "/%0a/evil", "/%0d/evil", "/%0b/", "/\t/evil", "/\n/evil", "/\v/evil", " /x", "\t//evil.test", "/%20/%0aevil"},
	"RED-05 dot segments":        {`/./\evil.test`, "/foo/..//evil.test", `/./../../\\evil.com`, "/.//evil", "/a/../b", "/..", "/.", "/%2e%2e/x"},
	"RED-06 userinfo":            {"https://gw.test@evil.test", "https://gw.test%40evil.test", "https://evil.test#@gw.test", "https://gw.test:x@evil", "https://user@gw.test/"},
	"RED-07 suffix without dot":  {"https://badexample.com", "https://a.example.com.evil.test", "https://xa.example.com"},
	"RED-08 prefix":              {"https://portal.example.com.evil.tld", "https://portal.example.comevil"},
	"RED-09 dot is a dot":        {"https://portalXexample.com", "https://a-example.com"},
	"RED-10 ports":               {"https://gw.test:9999", "https://gw.test:8443@evil", "https://gw.test:443x/"},
	"RED-11 schemes": {"javascript:alert(1)//gw.test", "data:text/html,x", "x:1/:///%01javascript:alert(1)", "http:gw.test", "https:evil.test",
		"https:///evil.test", "ht\ttps://evil", "http://gw.test/", "http://a.example.com/", "mailto:a@gw.test", "//gw.test/x"},
	"RED-12 unicode hosts":  {"https://evil。test", "//evil%E3%80%82test", "https://gw.test／@evil", "https://xn--gw-.test", "/％2fevil"},
	"RED-13 address forms":  {"//0x7f.1", "//017700000001", "//2130706433", "http://[::1]", "https://[::1]/"},
	"RED-14 line ends":      {"/x%0d%0aSet-Cookie:a=b", "/x\r\nSet-Cookie:a=b", "/x%00y"},
	"RED-16 double encoded": {"%252f%252fevil.test", "/%2f%2fevil", "/%252f%252fevil", "/%5cevil", "/%255cevil"},
	"RED-22 own paths":      {"/logout", "/oidc/callback?code=x", "/.gatehouse/sign-in", "/.gatehouse", "https://gw.test/logout", "/%6cogout"},
	"RED-24 long":           {"/" + strings.Repeat("a", 8000) + "\n//evil", "/" + strings.Repeat("a", 2000)},
	"not a place":           {"", "evil.test", "a/b", "?x", "#x", "/\xff", "/%ff", "http://%zz", "/%zz"},
}

func TestLandingRefuses(t *testing.T) {
	l := landings()
	for name, list := range refusedLandings {
		t.Run(name, func(t *testing.T) {
			for _, raw := range list {
				if got := l.Clean(raw); got != "/" {
					t.Errorf("Clean(%q) = %q, want /", raw, got)
				}
			}
		})
	}
}

// TestLandingBulk (RED-01) builds some ten thousand payloads from the pieces
// that open redirects are made of and checks each the way a browser reads it.
func TestLandingBulk(t *testing.T) {
	l := landings()
	starts := []string{"", "/", "//", "///", `\`, `/\`, `\/`, "/./", "/../", "/.", "/%2f", "/%5c", "/%09/", "/%0a/", "/\t/", ";/", "/;", "/;@", "?", "#", "%2f", "%2f%2f", "https:", "https:/", "https://", "http://", "HTTPS://", "java\nscript:", "javascript:", "data:", "//gw.test@", "https://gw.test@", "https://gw.test.", "https://gw.test:", "//gw.test:80@", "/https://", "/〱", "/ー", "//%00", "/%e3%80%82"}
	middles := []string{"", "evil.test", "evil。test", "[::1]", "127.1", "0x7f000001", "gw.test", "evil.test:443", "evil%E3%80%82test", "%65vil.test", "evil.test%23", "evil.test%3f", "www.evil.test%2f"}
	ends := []string{"", "/", "//", `\`, "/..", "/../", "/%2f..", "/%2e%2e", "?gw.test", "#gw.test", "@gw.test", "%40gw.test", ":80", "/%0d%0aX: y", "\r\n", "/x;y", "%00", "/.gw.test", "%09", " ", "&rd=/"}
	n := 0
	for _, a := range starts {
		for _, b := range middles {
			for _, c := range ends {
				n++
				assertStays(t, l, a+b+c)
			}
		}
	}
	if n < 10000 {
		t.Errorf("only %d payloads", n)
	}
}

// assertStays resolves the landing the way a browser does, which treats a
// backslash as a slash and drops tabs and line ends.
func assertStays(t *testing.T, l authn.Landings, raw string) {
	t.Helper()
	got := l.Clean(raw)
	seen := strings.NewReplacer(`\`, "/", "\t", "", "\n", "", "\r", "").Replace(got)
	base := &url.URL{Scheme: "https", Host: "gw.test", Path: "/"}
	u, err := base.Parse(seen)
	if err != nil {
		t.Errorf("Clean(%q) = %q, which is no URL: %v", raw, got, err)
		return
	}
	allowed := map[string]bool{"gw.test": true, "a.example.com": true, "gw.test:8443": true, "portal.example.com": true}
	if u.Scheme != "https" || !allowed[u.Host] || u.User != nil {
		t.Errorf("Clean(%q) = %q leaves for %s://%s", raw, got, u.Scheme, u.Host)
	}
	if strings.HasPrefix(got, "/") && len(got) > 1 && strings.ContainsAny(got[1:2], `/\`) {
		t.Errorf("Clean(%q) = %q is protocol-relative to some browser", raw, got)
	}
	w := httptest.NewRecorder()
	w.Header().Set("Location", got)
	if strings.ContainsAny(w.Header().Get("Location"), "\r\n\x00") {
		t.Errorf("Clean(%q) = %q splits a header", raw, got)
	}
}

func FuzzLanding(f *testing.F) {
	for _, list := range refusedLandings {
		for _, raw := range list {
			f.Add(raw)
		}
	}
	f.Add("/deep/link?a=1#b")
	l := landings()
	f.Fuzz(func(t *testing.T, raw string) {
		assertStays(t, l, raw)
		once := l.Clean(raw)
		if again := l.Clean(once); again != once {
			t.Errorf("Clean is not settled: %q then %q", once, again)
		}
	})
}
