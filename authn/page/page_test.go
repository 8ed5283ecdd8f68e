package page_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/page"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

const browserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// write is one call of one method of Pages.
type write func(p *page.Pages, w http.ResponseWriter, r *http.Request)

// sample is one page with every field filled.
type sample struct {
	name   string
	status int
	json   bool // programs get JSON instead
	form   bool
	write  write
}

// samples fills every field of every page: text and addresses go through the
// two functions, so that tests can put anything into all of them.
func samples(text, address func(string) string) []sample {
	id := authn.Identity{
		Issuer: text("https://login.example.com"), Subject: text("corp:8f14e45f"), Kind: authn.Person,
		Username: text("amara.okafor"), Name: text("Amara Okafor"), Email: text("amara.okafor@example.com"),
		Groups: []string{text("ml-research"), text("Vision/Segmentation")}, Route: text("corp"),
		AuthTime: time.Date(2026, 11, 22, 3, 4, 5, 0, time.FixedZone("", 3600)),
	}
	many := id
	many.Name = ""
	for range 12 {
		many.Groups = append(many.Groups, text("team"))
	}
	return []sample{
		{name: "sign-in", status: 200, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.SignIn(w, r, page.SignIn{Choices: []page.Choice{
				{Label: text("Company account"), URL: address("/.gatehouse/sign-in/corp?rd=%2Fruns%3Fa%3D1")},
				{Label: text("Partners"), URL: address("/.gatehouse/sign-in/partners")},
			}})
		}},
		{name: "sign-in-form", status: 200, form: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.SignIn(w, r, page.SignIn{Form: &page.Form{
				Action: address("/.gatehouse/sign-in/corp"), Token: text("MTc5NTY0"), Landing: address("https://login.example.com/runs"), Label: text("Company directory"),
			}, Choices: []page.Choice{{Label: text("Okta"), URL: address("/.gatehouse/sign-in/okta")}}})
		}},
		{name: "sign-in-problem", status: 401, json: true, form: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.SignIn(w, r, page.SignIn{Status: 401, Form: &page.Form{
				Action: address("/.gatehouse/sign-in/corp"), Token: text("MTc5NTY0"), Landing: address("https://login.example.com/"), Username: text("amara"),
				Problem: text("The user name or the password is wrong."),
			}})
		}},
		{name: "sign-out", status: 200, form: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.SignOut(w, r, page.SignOut{Name: text("Amara Okafor"), Action: address("/logout"), FormAction: []string{address("https://login.example.com/end")}})
		}},
		{name: "signed-out", status: 200, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.SignedOut(w, r, page.SignedOut{SignInURL: address("/")})
		}},
		{name: "signed-out-everywhere", status: 200, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.SignedOut(w, r, page.SignedOut{SignInURL: address("/"), ProviderToo: true})
		}},
		{name: "me", status: 200, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.Me(w, r, page.Me{Identity: id, Teams: []page.Team{{Name: "vision", Role: "admin"}, {Name: "<b>", Role: "member"}}, HomeURL: address("/"), SignOutURL: address("/logout")})
		}},
		{name: "me-devices", status: 200, form: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			at := time.Date(2026, 11, 26, 5, 59, 0, 0, time.UTC)
			p.Me(w, r, page.Me{Identity: id, HomeURL: address("/"), SignOutURL: address("/logout"), Devices: &page.Devices{
				Action: address("/.gatehouse/end"), Others: "others", Everywhere: "everywhere", FormAction: []string{address("https://login.example.com/end")}, More: 3,
				All: []page.Device{
					{ID: "s1", Name: text("Firefox on Linux"), Current: true, Address: text("198.51.100.2"), Route: text("corp"), Since: at, Seen: at.Add(time.Hour)},
					{ID: "s2", Name: text("Safari on iOS"), Address: text("2001:db8::7"), Route: text("corp"), Since: at, Seen: at.Add(40 * time.Minute)},
					{ID: "t3", Name: text("wandb-core"), Token: true, Route: text("ci"), Since: at},
				},
			}})
		}},
		{name: "me-no-devices", status: 200, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.Me(w, r, page.Me{Identity: id, HomeURL: address("/"), SignOutURL: address("/logout"), Devices: &page.Devices{Action: address("/.gatehouse/end")}})
		}},
		{name: "me-devices-unknown", status: 200, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.Me(w, r, page.Me{Identity: id, HomeURL: address("/"), SignOutURL: address("/logout"), Devices: &page.Devices{Action: address("/.gatehouse/end"), Unknown: true}})
		}},
		{name: "me-many-groups", status: 200, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.Me(w, r, page.Me{Identity: many, HomeURL: address("/"), SignOutURL: address("/logout")})
		}},
		{name: "refused", status: 403, json: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.Refused(w, r, page.Refused{Identity: id, Missing: text("You need to be in one of these groups: ml-users."),
				SwitchURL: address("/.gatehouse/sign-in/corp?prompt=select_account"), SignOutURL: address("/logout")})
		}},
		{name: "try-again", status: 400, json: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.TryAgain(w, r, page.TryAgain{Reason: text("This sign-in took too long."), URL: address("/.gatehouse/sign-in/corp")})
		}},
		{name: "outage", status: 503, json: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.Outage(w, r, page.Outage{Sentence: text("The sign-in provider cannot be reached."), RetryURL: address("/runs"), After: 15 * time.Second})
		}},
		{name: "error", status: 404, json: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.Error(w, r, 404, text("No page has this address."))
		}},
		{name: "no-sign-in", status: 401, json: true, write: func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.NoSignIn(w, r, text("Nobody can sign in here with a browser."))
		}},
	}
}

func same(s string) string { return s }

func newPages(t *testing.T, b page.Brand) *page.Pages {
	t.Helper()
	p, err := page.New(b, "/.gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func brand() page.Brand {
	return page.Brand{Name: "Northwind Weights & Biases", Colour: "#1f5fbf", Contact: "ml-platform@example.com"}
}

// get serves one page to a browser, with whatever more the request says.
func get(p *page.Pages, f write, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "https://gate.example.com/runs", nil)
	r.Header.Set("Accept", browserAccept)
	r.Header.Set("X-Request-Id", "01JD8Z4M9QK7W2V5")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f(p, w, r)
	return w
}

func TestGolden(t *testing.T) {
	// The versions in addresses change with every change of the stylesheet.
	version := regexp.MustCompile(`\?v=[0-9a-f]{16}"`)
	p := newPages(t, brand())
	for _, s := range samples(same, same) {
		t.Run(s.name, func(t *testing.T) {
			got := version.ReplaceAllString(get(p, s.write).Body.String(), `?v=VERSION"`)
			file := filepath.Join("testdata", s.name+".html")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("-want +got (go test -update writes it anew):\n%s", d)
			}
		})
	}
}

func TestStatusAndTwin(t *testing.T) {
	p := newPages(t, brand())
	wants := map[string]string{
		"refused": "You are signed in as Amara Okafor (amara.okafor@example.com), but you don't have access. " +
			"You need to be in one of these groups: ml-users. For access, ask ml-platform@example.com.",
		"try-again": "This sign-in took too long. Please start again.",
		"outage":    "The sign-in provider cannot be reached. Please try again in 15 seconds.",
		"error":     "No page has this address.",

		"no-sign-in": "Nobody can sign in here with a browser.",

		"sign-in-problem": "The user name or the password is wrong.",
	}
	for _, s := range samples(same, same) {
		t.Run(s.name, func(t *testing.T) {
			w := get(p, s.write)
			if w.Code != s.status || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("browser: %d %s, want %d and a page", w.Code, w.Header().Get("Content-Type"), s.status)
			}
			if quoted := strings.Contains(w.Body.String(), "01JD8Z4M9QK7W2V5"); quoted != (s.status >= 400) {
				t.Errorf("page shows the request id: %t", quoted)
			}
			w = get(p, s.write, "Accept", "*/*")
			if w.Code != s.status {
				t.Errorf("program: %d, want %d", w.Code, s.status)
			}
			if !s.json {
				return
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/json" {
				t.Errorf("program: Content-Type %q", ct)
			}
			want := `{"errors":[{"message":` + quote(t, wants[s.name]) + `}],"request_id":"01JD8Z4M9QK7W2V5"}` + "\n"
			if d := cmp.Diff(want, w.Body.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func quote(t *testing.T, s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What identities say may be no UTF-8 at all, and a log viewer may show JSON as HTML.
func TestTwinHoldsAnything(t *testing.T) {
	p := newPages(t, page.Brand{})
	f := func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
		p.Error(w, r, 400, "a\xff<script>\"\n")
	}
	w := get(p, f, "Accept", "application/json", "X-Request-Id", "not an id")
	if !json.Valid(w.Body.Bytes()) || bytes.ContainsAny(w.Body.Bytes(), "<>") {
		t.Errorf("body %q", w.Body)
	}
	var got struct {
		Errors    []struct{ Message string }
		RequestID *string `json:"request_id"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := "a\ufffd<script>\"\n"; len(got.Errors) != 1 || got.Errors[0].Message != want || got.RequestID != nil {
		t.Errorf("got %+v", got)
	}
}

func TestRequestID(t *testing.T) {
	p := newPages(t, page.Brand{})
	for _, id := range []string{"", "a b", "a\nb", "ü", strings.Repeat("x", 129)} {
		w := get(p, func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.Error(w, r, 500, "") }, "X-Request-Id", id)
		if strings.Contains(w.Body.String(), "Request id") {
			t.Errorf("id %q is shown", id)
		}
	}
}

func TestHeadings(t *testing.T) {
	p := newPages(t, page.Brand{})
	for status, want := range map[int]string{
		400: "That didn’t work", 401: "Please sign in", 403: "That is not allowed", 404: "There is nothing here",
		405: "That didn’t work", 413: "That is too large", 429: "One moment, please", 500: "Something went wrong",
		502: "Not available right now", 503: "Not available right now", 504: "Not available right now",
	} {
		w := get(p, func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.Error(w, r, status, "") })
		body := w.Body.String()
		if w.Code != status || !strings.Contains(body, "<h1>"+want+"</h1>") || !strings.Contains(body, http.StatusText(status)+".") {
			t.Errorf("%d: want heading %q and a sentence in\n%s", status, want, body)
		}
		if signIn := strings.Contains(body, `href="/">Sign in<`); signIn != (status == 401) {
			t.Errorf("%d: link to sign in: %t", status, signIn)
		}
	}
}

func TestOutageRetries(t *testing.T) {
	p := newPages(t, page.Brand{})
	for _, c := range []struct {
		name, method, accept, url string
		after                     time.Duration
		retry, refresh            string
	}{
		{"browser", "GET", browserAccept, "/runs?a=1;b", 1500 * time.Millisecond, "2", "2; url=/runs?a=1;b"},
		{"where it is", "GET", browserAccept, "", 0, "10", "10"},
		{"HEAD", "HEAD", browserAccept, "", time.Minute, "60", "60"},
		{"a POST is not sent again", "POST", browserAccept, "", time.Minute, "60", ""},
		{"a POST goes on elsewhere", "POST", browserAccept, "/", time.Minute, "60", "60; url=/"},
		{"script address", "GET", browserAccept, "javascript:alert(1)", time.Minute, "60", "60"},
		{"foreign header", "GET", browserAccept, "/\r\nSet-Cookie: a=b", time.Minute, "60", "60"},
		{"program", "GET", "application/json", "/runs", time.Minute, "60", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/", nil)
			r.Header.Set("Accept", c.accept)
			w := httptest.NewRecorder()
			p.Outage(w, r, page.Outage{RetryURL: c.url, After: c.after})
			if got := w.Header().Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After %q, want %q", got, c.retry)
			}
			if got := w.Header().Get("Refresh"); got != c.refresh {
				t.Errorf("Refresh %q, want %q", got, c.refresh)
			}
			if !strings.Contains(w.Body.String(), "cannot be reached right now") {
				t.Errorf("no sentence in\n%s", w.Body)
			}
		})
	}
}

func TestEmptyPages(t *testing.T) {
	p := newPages(t, page.Brand{})
	for name, c := range map[string]struct {
		write write
		want  string
	}{
		"no way in": {func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.SignIn(w, r, page.SignIn{}) },
			"There is no way to sign in with a browser here."},
		"nobody in no group": {func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.Me(w, r, page.Me{}) },
			"<dt>Groups</dt><dd>None</dd>"},
		"nobody to ask": {func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.Refused(w, r, page.Refused{}) },
			"ask the people who run this site"},
		"a place without a name": {func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.Refused(w, r, page.Refused{}) },
			"this account may not use this site."},
		"no reason": {func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.TryAgain(w, r, page.TryAgain{}) },
			"This sign-in can&#39;t be finished. Start again.<"},
		"nobody knows where to": {func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.TryAgain(w, r, page.TryAgain{Reason: "It was not begun here.", URL: "/"})
		}, "It was not begun here. Start again.<"},
	} {
		t.Run(name, func(t *testing.T) {
			body := get(p, c.write).Body.String()
			if !strings.Contains(body, c.want) {
				t.Errorf("want %q in\n%s", c.want, body)
			}
			for _, not := range []string{`href=""`, "ZgotmplZ", "0001", "Need help?", "mailto:"} {
				if strings.Contains(body, not) {
					t.Errorf("%q in\n%s", not, body)
				}
			}
		})
	}
}

func TestContact(t *testing.T) {
	for _, c := range []struct{ contact, href, text string }{
		{"https://help.example.com/ml/", "https://help.example.com/ml/", "help.example.com/ml"},
		{"help@example.com", "mailto:help@example.com", "help@<wbr>example.com"},
		{"help?cc=eve%40evil.test@example.com", "mailto:help%3Fcc=eve%2540evil.test@example.com", "help?cc=eve%40evil.test@<wbr>example.com"},
	} {
		body := get(newPages(t, page.Brand{Contact: c.contact}), samples(same, same)[0].write).Body.String()
		if want := `<a class="contact" href="` + c.href + `"><bdi>` + c.text + `</bdi></a>`; !strings.Contains(body, want) {
			t.Errorf("want %s in\n%s", want, body)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, b := range map[string]page.Brand{
		"colour name":     {Colour: "red"},
		"short colour":    {Colour: "#fff"},
		"no hex":          {Colour: "#gggggg"},
		"colour and more": {Colour: "#1f5fbf;}"},
		"no hash":         {Colour: "1f5fbf"},
		"http contact":    {Contact: "http://help.example.com"},
		"script contact":  {Contact: "javascript:alert(1)"},
		"named contact":   {Contact: "Help <help@example.com>"},
		"logo of a page":  {Logo: []byte("<html>"), LogoType: "text/html"},
		"logo of no type": {Logo: []byte("x")},
		"large logo":      {Logo: make([]byte, 256<<10+1), LogoType: "image/png"},
	} {
		if _, err := page.New(b, "/.gatehouse"); err == nil || !strings.HasPrefix(err.Error(), "page: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Pages, twins and assets over a real connection: HEAD says what GET says.
func TestHead(t *testing.T) {
	p := newPages(t, brand())
	mux := http.NewServeMux()
	p.Mount(mux)
	paths := []string{"/.gatehouse/style.css", "/.gatehouse/logo"}
	for _, s := range samples(same, same) {
		mux.HandleFunc("/page/"+s.name, func(w http.ResponseWriter, r *http.Request) { s.write(p, w, r) })
		paths = append(paths, "/page/"+s.name)
	}
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for _, path := range paths {
		for _, accept := range []string{browserAccept, "*/*"} {
			want, length := fetch(t, srv, "GET", path, accept)
			got, none := fetch(t, srv, "HEAD", path, accept)
			if d := cmp.Diff(want, got); d != "" || none != 0 || got.Get("Content-Length") == "" || length == 0 {
				t.Errorf("%s for %s: body %d (GET %d), header:\n%s", path, accept, none, length, d)
			}
		}
	}
}

func fetch(t *testing.T, srv *httptest.Server, method, path, accept string) (http.Header, int) {
	t.Helper()
	r, err := http.NewRequest(method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Header.Del("Date")
	return resp.Header, len(body)
}

func TestConcurrentUse(t *testing.T) {
	p := newPages(t, brand())
	for _, s := range samples(same, same) {
		want := get(p, s.write).Body.String()
		for range 4 {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				if got := get(p, s.write).Body.String(); got != want {
					t.Error("two requests got different pages")
				}
			})
		}
	}
}
