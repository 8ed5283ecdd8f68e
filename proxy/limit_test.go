package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/config"
)

func mustPace(t testing.TB, limit rate.Limit, burst int) *pace {
	t.Helper()
	p, err := newPace(limit, burst)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustPace(t, 2, 10)
		ask := func(from string, count int) (good int, wait time.Duration) {
			for range count {
				if w := p.wait(netip.MustParseAddr(from), time.Now()); w == 0 {
					good++
				} else {
					wait = w
				}
			}
			return good, wait
		}
		good, wait := ask("192.0.2.1", 15)
		want(t, "at first", good, 10)
		want(t, "wait", wait, time.Second)
		good, _ = ask("192.0.2.2", 5)
		want(t, "another", good, 5)
		time.Sleep(3 * time.Second)
		good, _ = ask("192.0.2.1", 15)
		want(t, "later", good, 6)
		good, _ = ask("::ffff:192.0.2.1", 5)
		want(t, "the same, spelled otherwise", good, 0)
		good, _ = ask("2001:db8::1", 10)
		want(t, "IPv6", good, 10)
		good, _ = ask("2001:db8::ffff", 1)
		want(t, "its neighbour", good, 0)
		good, _ = ask("2001:db8:0:1::1", 1)
		want(t, "another network", good, 1)
		want(t, "nobody", p.wait(netip.Addr{}, time.Now()), 0)
		want(t, "none", (*pace)(nil).wait(netip.MustParseAddr("192.0.2.1"), time.Now()), 0)
		slow := mustPace(t, rate.Limit(1)/60, 1)
		want(t, "one", slow.wait(netip.MustParseAddr("192.0.2.1"), time.Now()), 0)
		want(t, "a minute", slow.wait(netip.MustParseAddr("192.0.2.1"), time.Now()).Round(time.Second), time.Minute)
	})
}

// TestPaceForgets (DOS-12): however many addresses there are, few are remembered.
func TestPaceForgets(t *testing.T) {
	p := mustPace(t, 1, 5)
	for i := range uint32(4 * maxAddresses) {
		p.wait(netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}), time.Now())
	}
	await(t, func() bool { p.of.CleanUp(); return p.of.EstimatedSize() <= maxAddresses })
}

// TestRequestRate: who asks too often is told so, and nobody else.
func TestRequestRate(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Limits.RequestsPerSecond = 2
		o.TrustedProxies = []netip.Prefix{mustPrefix("127.0.0.0/8"), mustPrefix("10.0.0.0/8")}
	})
	from := func(addr string) string { return "X-Forwarded-For: " + addr + "\r\n" }
	for range leeway * 2 {
		want(t, "status", g.get("/public/x", from("192.0.2.7")).StatusCode, 200)
	}
	g.forget()
	a := g.get("/public/x", from("192.0.2.7"))
	g.denied(a, 429)
	if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 || n > 2 {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	if !strings.Contains(a.body, `{"errors":[{"message":"Your address asks too often. Try again in a second."}]`) {
		t.Errorf("a program gets %s", a.body)
	}
	if a := g.get("/x", navigation+from("192.0.2.7")); a.StatusCode != 429 || !strings.Contains(a.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a browser gets %d %v", a.StatusCode, a.Header)
	}
	g.denied(g.get("/x", aliceOnly+from("192.0.2.7")), 429) // whoever it is
	g.denied(g.get("/public/x", from("6.6.6.6, 192.0.2.7, 10.0.0.1")), 429)
	g.untouched()
	want(t, "another", g.get("/public/x", from("192.0.2.8")).StatusCode, 200)
	for range 3 * leeway { // the proxy speaks for itself, or for who it does not name
		want(t, "a proxy", g.get("/public/x", "").StatusCode, 200)
		want(t, "proxies", g.get("/public/x", from("10.0.0.1")).StatusCode, 200)
	}
	if got := strings.Count(g.log.String(), "limits.requestsPerSecond"); got < 1 || got > 10 {
		t.Errorf("the log says so %d times", got)
	}
}

// TestAskedTooOften: other proxies' clients are told apart by their own addresses.
func TestAskedTooOften(t *testing.T) {
	g := asking(t, func(o *Options) { o.Limits.RequestsPerSecond = 1 })
	client := 0
	for dialect, ask := range questions() {
		client++
		question := ask("GET", gwHost, "/public/x", fmt.Sprintf("X-Forwarded-For: 192.0.2.%d\r\n", client))
		var a answer
		for range 2 * leeway {
			a = g.raw(question)
		}
		status := 429
		if subrequest(dialect) {
			status = 403
		}
		want(t, dialect, a.StatusCode, status)
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", dialect)
		}
	}
	want(t, "another", g.raw(questions()["caddy"]("GET", gwHost, "/public/x", "X-Forwarded-For: 192.0.2.200\r\n")).StatusCode, 200)
}

// TestSignInFlood: no address begins sign-ins without end, and nothing else is slowed
// down by that.
func TestSignInFlood(t *testing.T) {
	begun := 0
	g := newRig(t, func(o *Options) {
		o.Limits.SignInsPerMinute = 3
		for i := range o.Routes {
			if o.Routes[i].SignInPath != "" {
				o.Routes[i].Mount = func(mux *http.ServeMux) {
					mux.HandleFunc(o.Routes[i].SignInPath, func(http.ResponseWriter, *http.Request) { begun++ })
				}
			}
		}
	})
	path := g.gw.signIns[0].SignInPath
	for range 10 { // somebody else's page
		for _, part := range []string{"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n", "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"} {
			g.denied(g.get(path, "Sec-Fetch-Site: cross-site\r\n"+part), 403)
		}
	}
	want(t, "begun", begun, 0)
	for range 3 {
		want(t, "status", g.get(path, navigation).StatusCode, 200)
	}
	a := g.get(path+"?rd=/x", navigation)
	g.denied(a, 429)
	if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 10 || n > 20 {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	g.denied(g.raw("POST "+path+" HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 3\r\n\r\na=b"), 429)
	want(t, "begun", begun, 3)
	want(t, "who is signed in", g.get("/x", aliceOnly).StatusCode, 200)
	want(t, "who is not", g.get("/x", navigation).StatusCode, 302)
}

// TestAddressLength (DOS-04): RFC 9110, section 15.5.15.
func TestAddressLength(t *testing.T) {
	g := newRig(t, func(o *Options) { o.MaxURLSize = 1024 })
	long := func(n int) string { return "/public/" + strings.Repeat("x", n-len("/public/")) }
	want(t, "fits", g.get(long(1024), "").StatusCode, 200)
	g.forget()
	g.denied(g.get(long(1025), ""), 414)
	g.denied(g.get("/public/?"+strings.Repeat("a=b&", 400), ""), 414)
	g.denied(g.get("/.gatehouse/userinfo?"+strings.Repeat("a=b&", 400), ""), 414)
	g.untouched()
	q := asking(t, func(o *Options) { o.MaxURLSize = 1024 })
	ask := questions()["caddy"]
	want(t, "a question", q.raw(ask("GET", gwHost, long(1000), "")).StatusCode, 200)
	want(t, "a long one", q.raw(ask("GET", gwHost, long(1025), "")).StatusCode, 414)
}

func TestStrictTransport(t *testing.T) {
	year := config.HSTS{MaxAge: config.Duration(8760 * time.Hour)}
	hsts := func(c config.HSTS) func(*Options) { return func(o *Options) { o.HSTS = c } }
	value := func(g *rig, target, headers string) string {
		return strings.Join(g.get(target, headers).Header["Strict-Transport-Security"], "|")
	}
	g := newRig(t, hsts(year))
	for name, ask := range map[string][2]string{
		"the application's": {"/public/x", ""}, "a page": {"/.gatehouse/signed-out", navigation}, "to sign-in": {"/x", navigation},
		"a refusal": {"/x", ""}, "an error": {"/../x", ""},
	} {
		want(t, name, value(g, ask[0], ask[1]), "max-age=31536000")
	}
	a := g.raw("GET /public/x HTTP/1.1\r\nHost: other.test\r\n\r\n")
	want(t, "another host's", len(a.Header["Strict-Transport-Security"]), 0)
	g.up.then = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		fmt.Fprint(w, "mine")
	}
	want(t, "the application's own", value(g, "/public/x", ""), "max-age=1")
	want(t, "none", value(newRig(t, hsts(config.HSTS{})), "/public/x", ""), "")
	want(t, "all", value(newRig(t, hsts(config.HSTS{MaxAge: year.MaxAge, IncludeSubdomains: true, Preload: true})), "/public/x", ""), "max-age=31536000; includeSubDomains; preload")
	for public, sent := range map[string]bool{
		"https://a.test": true, "http://a.test": false, "https://a.test:8443": false, "https://127.0.0.1": false, "https://localhost": false, "https://x.localhost": false,
	} {
		o := g.options("http://127.0.0.1:1")
		u, err := o.PublicURL.Parse(public)
		if err != nil {
			t.Fatal(err)
		}
		want(t, public, strictTransport(u, year) != nil, sent)
	}
	q := asking(t, hsts(year))
	want(t, "an answer to a question", len(q.raw(questions()["caddy"]("GET", gwHost, "/public/x", "")).Header["Strict-Transport-Security"]), 0)
}
