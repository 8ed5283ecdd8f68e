package ldap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/page"
	peer "gatehouse/e2e/directory"
	"gatehouse/session"
)

const formURL = "https://gatehouse.test/.gatehouse/sign-in/dir"

// browser fills in the form. It keeps cookies and follows nothing.
type browser struct {
	*rig
	jar  *cookiejar.Jar
	from string
}

func (r *rig) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.Fatal(err)
	}
	return &browser{r, jar, "192.0.2.1:1234"}
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (b *browser) do(req *http.Request) answer {
	b.Helper()
	for _, c := range b.jar.Cookies(req.URL) {
		req.AddCookie(c)
	}
	req.RemoteAddr = b.from
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	w := httptest.NewRecorder()
	b.mux.ServeHTTP(w, req)
	res := w.Result()
	b.jar.SetCookies(req.URL, res.Cookies())
	return answer{res.StatusCode, res.Header, w.Body.String()}
}

// get opens the form.
func (b *browser) get(query string) answer {
	b.Helper()
	return b.do(httptest.NewRequestWithContext(b.Context(), http.MethodGet, formURL+query, nil))
}

var hidden = regexp.MustCompile(`<input name="(\w+)" type="hidden" value="([^"]*)">`)

// fields is what the form of a page sends, filled in.
func (a answer) fields(username, password string) url.Values {
	f := url.Values{"username": {username}, "password": {password}}
	for _, m := range hidden.FindAllStringSubmatch(a.body, -1) {
		f.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
	}
	return f
}

// post is a request that a page's form sends, as browsers do.
func post(b *browser, fields url.Values) *http.Request {
	req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, formURL, strings.NewReader(fields.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://gatehouse.test")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return req
}

// signIn opens the form, fills it in and sends it.
func (b *browser) signIn(username, password string) answer {
	b.Helper()
	return b.do(post(b, b.get("").fields(username, password)))
}

// cookie returns the value of a cookie that the browser has.
func (b *browser) cookie(name string) string {
	u, _ := url.Parse(formURL)
	for _, c := range b.jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

const sessionCookie, formCookie = "__Host-gatehouse", "__Host-gatehouse_form"

// session is whose session the browser has.
func (b *browser) session() (authn.Identity, error) {
	req := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "https://gatehouse.test/", nil)
	for _, c := range b.jar.Cookies(req.URL) {
		req.AddCookie(c)
	}
	return b.sessions.Authenticate(req)
}

// stays checks that nobody has been signed in.
func (b *browser) stays(a answer, status int, sentence string) {
	b.Helper()
	if a.status != status || !strings.Contains(a.body, sentence) {
		b.Errorf("%d, not %d with %q:\n%s", a.status, status, sentence, a.body)
	}
	for _, c := range a.header.Values("Set-Cookie") {
		if strings.HasPrefix(c, sessionCookie+"=") {
			b.Errorf("a session: %s", c)
		}
	}
	if b.cookie(sessionCookie) != "" {
		b.Error("the browser has a session")
	}
	if random := regexp.MustCompile(`value="[A-Za-z0-9_=-]{40,}"`); strings.Contains(random.ReplaceAllString(a.body, ""), "-pw") {
		b.Error("the page has the password")
	}
}

func TestForm(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s), lax)
	t.Run("page", func(t *testing.T) {
		a := r.on(t).browser().get("?rd=/runs/7%3Ftab=logs&login_hint=al%22ice")
		if a.status != http.StatusOK || !strings.Contains(a.body, `action="/.gatehouse/sign-in/dir"`) || !strings.Contains(a.body, `value="al&#34;ice"`) {
			t.Errorf("%d %s", a.status, a.body)
		}
		if f := a.fields("", ""); f.Get("rd") != "/runs/7?tab=logs" || f.Get("token") == "" {
			t.Errorf("%v", f)
		}
		if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self'") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Error(csp)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%v", a.header)
		}
		c := a.header.Get("Set-Cookie")
		for _, part := range []string{formCookie + "=", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age=43200"} {
			if !strings.Contains(c, part) {
				t.Errorf("%q lacks %q", c, part)
			}
		}
	})
	t.Run("in", func(t *testing.T) {
		b := r.on(t).browser()
		a := b.do(post(b, b.get("?rd=%2Fruns%2F7%3Ftab%3Dlogs").fields(" ALICE ", "alice-pw")))
		if a.status != http.StatusSeeOther || a.header.Get("Location") != "/runs/7?tab=logs" || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		who, err := b.session()
		if err != nil || who.Username != "alice" || who.Route != "dir" || who.Issuer != r.route.Issuer || who.Kind != authn.Person {
			t.Errorf("%+v, %v", who, err)
		}
		if !slices.Equal(who.Groups, []string{"admins", "research"}) || who.Email != "alice@example.org" || time.Until(who.Expires) > 5*time.Minute || time.Until(who.Expires) < 4*time.Minute {
			t.Errorf("%+v", who)
		}
		if !strings.Contains(r.log.String(), `"msg":"signed in"`) {
			t.Error("the log does not say so")
		}
	})
	t.Run("spaces around the name", func(t *testing.T) { // which dnTemplate refuses
		settings := settingsFor(s)
		settings.Users.DNTemplate = "uid={input}," + peopleBase
		if a := newRig(t, settings).browser().signIn(" alice ", "alice-pw"); a.status != http.StatusSeeOther {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("a new session each time", func(t *testing.T) {
		b := r.on(t).browser()
		b.signIn("alice", "alice-pw")
		first := b.cookie(sessionCookie)
		b.signIn("bob", "bob-pw")
		if who, err := b.session(); err != nil || who.Username != "bob" || b.cookie(sessionCookie) == first {
			t.Errorf("%+v, %v", who, err)
		}
	})
	t.Run("one form in two tabs", func(t *testing.T) {
		b := r.on(t).browser()
		first, second := b.get("?rd=/a"), b.get("?rd=/b")
		if a := b.do(post(b, second.fields("alice", "alice-pw"))); a.header.Get("Location") != "/b" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := b.do(post(b, first.fields("alice", "alice-pw"))); a.header.Get("Location") != "/a" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("a program", func(t *testing.T) {
		b := r.on(t).browser()
		req := post(b, b.get("").fields("alice", "bad-pw"))
		for _, c := range b.jar.Cookies(req.URL) {
			req.AddCookie(c)
		}
		req.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, req)
		if w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/") || !strings.Contains(w.Body.String(), reason("").sentence()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("another host", func(t *testing.T) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://other.test/.gatehouse/sign-in/dir?rd=/x", nil)
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, req)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != formURL+"?rd=/x" || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	})
	t.Run("a shared form", func(t *testing.T) {
		others := newRig(t, settingsFor(s), func(s *setup) {
			s.deps.Others = func(landing string) []page.Choice {
				return []page.Choice{{Label: "Okta", URL: "/.gatehouse/sign-in/okta?rd=" + landing}}
			}
		})
		if a := others.browser().get("?rd=/x"); !strings.Contains(a.body, `href="/.gatehouse/sign-in/okta?rd=/x"`) {
			t.Error(a.body)
		}
	})
}

func TestFormLanding(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s), lax)
	for rd, want := range map[string]string{
		"/runs/7": "/runs/7", "https://gatehouse.test/x": "/x", "": "/", "https://evil.example/": "/", "//evil.example": "/",
		`/\evil.example`: "/", "javascript:alert(1)": "/", "https://gatehouse.test@evil.example/": "/", "/a/../b": "/", "/\t/evil.example": "/",
	} {
		t.Run(rd, func(t *testing.T) {
			b := r.on(t).browser()
			asked := b.get("?rd=" + url.QueryEscape(rd))
			if got := asked.fields("", "").Get("rd"); got != want {
				t.Errorf("the form has %q", got)
			}
			if a := b.do(post(b, asked.fields("alice", "alice-pw"))); a.status != http.StatusSeeOther || a.header.Get("Location") != want {
				t.Errorf("by the query: %d %q", a.status, a.header.Get("Location"))
			}
			f := asked.fields("alice", "alice-pw")
			f.Set("rd", rd)
			if a := b.do(post(b, f)); a.status != http.StatusSeeOther || a.header.Get("Location") != want {
				t.Errorf("by the field: %d %q", a.status, a.header.Get("Location"))
			}
		})
	}
	t.Run("two of them", func(t *testing.T) {
		if got := r.on(t).browser().get("?rd=/a&rd=/b").fields("", "").Get("rd"); got != "/" {
			t.Error(got)
		}
	})
}

func TestFormRefusals(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("lou") + somebody("max") + somebody("exp") +
		somebody("out", "objectClass", "shadowAccount", "shadowExpire", "1")})
	change(t, s, "uid=max,"+peopleBase, "pwdReset", "TRUE")
	change(t, s, "uid=lou,"+peopleBase, "pwdAccountLockedTime", never)
	change(t, s, "uid=exp,"+peopleBase, "pwdChangedTime", longAgo)
	change(t, s, "cn=default,ou=policies,"+treeBase, "pwdMaxAge", "3600")
	settings := settingsFor(s)
	settings.AllowedGroups = []string{"research"}
	r := newRig(t, settings, lax)
	usual := "The user name or the password is wrong."
	for _, c := range []struct{ id, login, password, sentence string }{
		{"a wrong password", "alice", "bad-pw", usual},
		{"LDAP-21 nobody", "nobody", "bad-pw", usual},
		{"LDAP-01 no password", "alice", "", usual},
		{"LDAP-04 no name", "", "alice-pw", usual},
		{"LDAP-40 a long password", "alice", strings.Repeat("x", maxPassword+1), usual},
		{"LDAP-40 a long name", strings.Repeat("x", maxLogin+1), "alice-pw", usual},
		{"LDAP-02 NUL", "alice", "alice-pw\x00", usual},
		{"locked", "lou", "lou-pw", locked.sentence()},
		{"must change", "max", "max-pw", mustChange.sentence()},
		{"must change, wrong password", "max", "bad-pw", usual},
		{"password expired", "exp", "exp-pw", expired.sentence()},
		{"account expired", "out", "out-pw", ended.sentence()},
		{"account expired, wrong password", "out", "bad-pw", usual},
		{"unfit", "eve", "eve-pw", unfit.sentence()},
		{"unfit, wrong password", "eve", "bad-pw", usual},
	} {
		t.Run(c.id, func(t *testing.T) {
			b := r.on(t).browser()
			a := b.signIn(c.login, c.password)
			b.stays(a, http.StatusUnauthorized, c.sentence)
			if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Cookie ") { // RFC 9110; and no box for a password
				t.Error(got)
			}
			if f := a.fields("", ""); f.Get("token") == "" {
				t.Error("no form to try again")
			}
		})
	}
	t.Run("LDAP-21 nobody looks like somebody", func(t *testing.T) {
		page := func(login string) string {
			b := r.on(t).browser()
			first := b.get("")
			a := b.do(post(b, first.fields(login, "bad-pw")))
			return strings.NewReplacer(first.fields("", "").Get("token"), "TOKEN", login, "LOGIN").Replace(a.body)
		}
		if a, b := page("alice"), page("nobody"); a != b {
			t.Errorf("%s\n%s", a, b)
		}
	})
	t.Run("again", func(t *testing.T) {
		b := r.on(t).browser()
		a := b.do(post(b, b.get("?rd=/x").fields("bob", "bad-pw")))
		if !strings.Contains(a.body, `value="bob"`) {
			t.Error("the name is gone")
		}
		if a = b.do(post(b, a.fields("bob", "bob-pw"))); a.status != http.StatusSeeOther || a.header.Get("Location") != "/x" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		b := r.on(t).browser()
		a := b.signIn("carol", "carol-pw")
		b.stays(a, http.StatusForbidden, "You need to be in the group research.")
		if !strings.Contains(a.body, "Carol Danvers") || a.header.Get("Location") != "" {
			t.Error(a.body)
		}
	})
	t.Run("LDAP-37 the directory is down", func(t *testing.T) {
		b := r.on(t).browser()
		form := b.get("")
		s.Stop()
		t.Cleanup(func() { s.Restart(t) })
		for _, login := range []string{"alice", "nobody"} {
			a := b.do(post(b, form.fields(login, "alice-pw")))
			b.stays(a, http.StatusServiceUnavailable, sentenceOutage)
			if a.header.Get("Retry-After") != "10" {
				t.Errorf("%v", a.header)
			}
			if got := a.fields("", "").Get("token"); got == "" || !strings.Contains(a.body, `value="`+login+`"`) {
				t.Errorf("no form to try again with:\n%s", a.body)
			}
			for _, inner := range []string{"127.0.0.1", "LDAP", "connect", "dc=example"} { // WEB-26
				if strings.Contains(a.body, inner) {
					t.Errorf("the page says %q", inner)
				}
			}
		}
		if a := b.get(""); a.status != http.StatusOK {
			t.Errorf("the form itself: %d", a.status)
		}
	})
}

func TestFormTooManyGroups(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{ManyGroups: map[string]int{"carol": 6000}})
	settings := settingsFor(s)
	settings.Groups.As = "dn"
	b := newRig(t, settings).browser()
	b.stays(b.signIn("carol", "carol-pw"), http.StatusForbidden, errTooMuch.Missing)
}

func TestFormThrottled(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	b := newRig(t, settingsFor(s)).browser()
	expectAsked(t, s, 2, 1, func() { // one of the binds is the service’s
		for range 5 { // a button that is pressed again is no other guess
			b.stays(b.signIn("alice", "bad-pw"), http.StatusUnauthorized, wrong.sentence())
		}
	})
	for i := range 2 {
		b.stays(b.signIn("alice", fmt.Sprintf("bad%d-pw", i)), http.StatusUnauthorized, wrong.sentence())
	}
	expectAsked(t, s, 0, 1, func() {
		a := b.signIn("alice", "alice-pw")
		b.stays(a, http.StatusTooManyRequests, "Too many attempts. Try again in 15 minutes.")
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 850 || n > 900 {
			t.Errorf("%v", a.header)
		}
	})
	if !strings.Contains(b.log.String(), "too many attempts") {
		t.Error("the log does not say so")
	}
}

func TestFormForgery(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s), lax)
	sealed := func(by session.Sealer, age time.Duration, name string) string {
		plain := make([]byte, tokenSize)
		binary.BigEndian.PutUint64(plain[16:], uint64(time.Now().Add(-age).Unix()))
		sealed, err := by.Seal(name, plain)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	stale := func(age time.Duration, name string) string { return sealed(r.l.sealer, age, name) }
	both := func(value string) func(*browser, url.Values, http.Header) {
		return func(b *browser, f url.Values, _ http.Header) {
			u, _ := url.Parse(formURL)
			b.jar.SetCookies(u, []*http.Cookie{{Name: formCookie, Value: value, Path: "/", Secure: true}})
			f.Set("token", value)
		}
	}
	header := func(pairs ...string) func(*browser, url.Values, http.Header) {
		return func(_ *browser, _ url.Values, h http.Header) {
			for pair := range slices.Chunk(pairs, 2) {
				h.Del(pair[0])
				if pair[1] != "" {
					h.Set(pair[0], pair[1])
				}
			}
		}
	}
	forget := func(b *browser) { b.jar, _ = cookiejar.New(nil) }
	for _, c := range []struct {
		id    string
		forge func(b *browser, f url.Values, h http.Header)
	}{
		{"another site", header("Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")},
		{"another site of ours", header("Sec-Fetch-Site", "same-site", "Origin", "https://b.gatehouse.test")},
		{"another site, no Origin", header("Sec-Fetch-Site", "cross-site", "Origin", "")},
		{"another site, no Sec-Fetch-Site", header("Sec-Fetch-Site", "", "Origin", "https://evil.example")},
		{"another scheme, no Sec-Fetch-Site", header("Sec-Fetch-Site", "cross-site", "Origin", "http://gatehouse.test")},
		{"Origin null", header("Sec-Fetch-Site", "cross-site", "Origin", "null")},
		{"Origin null, no Sec-Fetch-Site", header("Sec-Fetch-Site", "", "Origin", "null")},
		{"no token", func(_ *browser, f url.Values, _ http.Header) { f.Del("token") }},
		{"an empty token", both("")},
		{"a token of somebody's making", both("bm90LW91cnM")},
		{"a token of another gateway", func(b *browser, f url.Values, h http.Header) {
			both(sealed(session.RandomKeyring("https://gatehouse.test").Sealer("ldap form"), 0, formCookie))(b, f, h)
		}},
		{"a token of another browser", func(_ *browser, f url.Values, _ http.Header) {
			f.Set("token", r.browser().get("").fields("", "").Get("token"))
		}},
		{"a stale token", func(b *browser, f url.Values, h http.Header) { both(stale(formTime+time.Minute, formCookie))(b, f, h) }},
		{"a token of tomorrow", func(b *browser, f url.Values, h http.Header) { both(stale(-day, formCookie))(b, f, h) }},
		{"a token for something else", func(b *browser, f url.Values, h http.Header) { both(stale(0, "other"))(b, f, h) }},
		{"no cookie", func(b *browser, _ url.Values, _ http.Header) { forget(b) }},
		{"another cookie", func(b *browser, _ url.Values, _ http.Header) { forget(b); b.get("") }},
	} {
		t.Run("LDAP-38 "+c.id, func(t *testing.T) {
			b := r.on(t).browser()
			f := b.get("").fields("alice", "alice-pw")
			h := post(b, f).Header
			c.forge(b, f, h)
			req := post(b, f)
			req.Header = h
			expectAsked(t, s, 0, 0, func() { b.stays(b.do(req), http.StatusForbidden, "again") })
		})
	}
	t.Run("a token that is old enough for a new one", func(t *testing.T) {
		b := r.on(t).browser()
		f := b.get("").fields("alice", "alice-pw")
		both(stale(formTime-time.Hour, formCookie))(b, f, nil)
		if a := b.get(""); a.header.Get("Set-Cookie") == "" {
			t.Error("it is kept")
		}
		both(stale(formTime-time.Hour, formCookie))(b, f, nil)
		if a := b.do(post(b, f)); a.status != http.StatusSeeOther {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("LDAP-38 the next try", func(t *testing.T) { // with what the refusal brought
		b := r.on(t).browser()
		f := b.get("").fields("alice", "alice-pw")
		f.Del("token")
		if a := b.do(post(b, b.do(post(b, f)).fields("alice", "alice-pw"))); a.status != http.StatusSeeOther {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestFormInput(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s), lax)
	t.Run("LDAP-39 GET", func(t *testing.T) {
		b := r.on(t).browser()
		expectAsked(t, s, 0, 0, func() {
			b.stays(b.get("?username=alice&password=alice-pw&rd=/x&token=x"), http.StatusOK, "Sign in")
		})
	})
	t.Run("LDAP-39 POST with a query", func(t *testing.T) {
		b := r.on(t).browser()
		f := b.get("").fields("alice", "alice-pw")
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, formURL+"?"+f.Encode(), strings.NewReader(url.Values{"token": f["token"]}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		expectAsked(t, s, 0, 0, func() { b.stays(b.do(req), http.StatusUnauthorized, wrong.sentence()) })
	})
	t.Run("LDAP-39 other methods", func(t *testing.T) {
		for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete, "SIGN-IN"} {
			b := r.on(t).browser()
			req := post(b, b.get("").fields("alice", "alice-pw"))
			req.Method = method
			b.stays(b.do(req), http.StatusMethodNotAllowed, "")
		}
	})
	for _, c := range []struct {
		id, kind, body string
		status         int
	}{
		{"1 MiB", "application/x-www-form-urlencoded", "username=" + strings.Repeat("x", 1<<20), http.StatusRequestEntityTooLarge},
		{"10,000 fields", "application/x-www-form-urlencoded", strings.Repeat("a=1&", 10_000), http.StatusRequestEntityTooLarge},
		{"multipart", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nalice\r\n--x--\r\n", http.StatusUnsupportedMediaType},
		{"JSON", "application/json", `{"username":"alice","password":"alice-pw"}`, http.StatusUnsupportedMediaType},
		{"no media type", "", "username=alice&password=alice-pw", http.StatusUnsupportedMediaType},
		{"a name twice", "application/x-www-form-urlencoded", "username=alice&username=bob&password=alice-pw", http.StatusBadRequest},
		{"a password twice", "application/x-www-form-urlencoded", "username=alice&password=x&password=alice-pw", http.StatusBadRequest},
		{"a token twice", "application/x-www-form-urlencoded", "username=alice&password=alice-pw&token=x&token=x", http.StatusBadRequest},
		{"a landing twice", "application/x-www-form-urlencoded", "username=alice&password=alice-pw&rd=/a&rd=/b", http.StatusBadRequest},
		{"bad encoding", "application/x-www-form-urlencoded", "username=%zz&password=alice-pw", http.StatusBadRequest},
		{"semicolons", "application/x-www-form-urlencoded", "username=alice;password=alice-pw", http.StatusBadRequest},
	} {
		t.Run("LDAP-40 "+c.id, func(t *testing.T) {
			b := r.on(t).browser()
			b.get("")
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, formURL, strings.NewReader(c.body))
			req.Header.Set("Content-Type", c.kind)
			expectAsked(t, s, 0, 0, func() { b.stays(b.do(req), c.status, "") })
		})
	}
}

// dripping is a body that has not come in time.
type dripping struct{}

func (dripping) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// TestSlowForm (DOS-02) tells who is too slow so.
func TestSlowForm(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, formURL, dripping{})
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, status, _ := readForm(httptest.NewRecorder(), r); status != http.StatusRequestTimeout {
		t.Errorf("status %d", status)
	}
}

func TestFormStore(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	store := newSpyStore()
	r := newRig(t, settingsFor(s), func(s *setup) { s.store = store })
	b := r.browser()
	f := b.get("")
	store.fail(func(op string) bool { return op == "set" }) // the session
	b.stays(b.do(post(b, f.fields("alice", "alice-pw"))), http.StatusServiceUnavailable, "")
	store.fail(func(string) bool { return true })
	b.stays(b.do(post(b, f.fields("alice", "alice-pw"))), http.StatusServiceUnavailable, "")
	if _, err := r.by("bob", "bob-pw"); err == nil || errors.Is(err, authn.ErrRejected) {
		t.Error(err)
	}
}
