package page_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/page"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

// both is every way in which a sample can be answered.
func both(p *page.Pages, s sample) map[string]*httptest.ResponseRecorder {
	out := map[string]*httptest.ResponseRecorder{"page": get(p, s.write)}
	if s.json {
		out["json"] = get(p, s.write, "Accept", "application/json")
	}
	return out
}

func TestHeaders(t *testing.T) {
	p := newPages(t, brand())
	for _, s := range samples(same, same) {
		for kind, w := range both(p, s) {
			h := w.Header()
			t.Run("WEB-02 never cached/"+s.name+"/"+kind, func(t *testing.T) {
				equal(t, h, "Cache-Control", "no-store")
			})
			t.Run("WEB-08 sniffing, referrer, features/"+s.name+"/"+kind, func(t *testing.T) {
				equal(t, h, "X-Content-Type-Options", "nosniff")
				equal(t, h, "Cross-Origin-Resource-Policy", "same-origin")
				if kind == "page" {
					referrer := map[bool]string{true: "same-origin", false: "no-referrer"}[s.form]
					equal(t, h, "Referrer-Policy", referrer)
					equal(t, h, "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
				}
			})
			t.Run("WEB-20 no CORS/"+s.name+"/"+kind, func(t *testing.T) {
				for _, origin := range []string{"https://evil.test", "null", "https://gate.example.com.evil.test"} {
					for name := range get(p, s.write, "Origin", origin).Header() {
						if strings.HasPrefix(name, "Access-Control-") {
							t.Errorf("%s for %s", name, origin)
						}
					}
				}
			})
			if kind != "page" {
				continue
			}
			t.Run("WEB-06 framing/"+s.name, func(t *testing.T) {
				equal(t, h, "X-Frame-Options", "DENY")
				if !slices.Contains(directives(h), "frame-ancestors 'none'") {
					t.Error(h.Get("Content-Security-Policy"))
				}
			})
			t.Run("WEB-07 policy/"+s.name, func(t *testing.T) {
				form := map[bool]string{true: "form-action 'self' https://login.example.com", false: "form-action 'none'"}[s.form]
				want := []string{"default-src 'none'", "style-src 'self'", "img-src 'self'", form, "base-uri 'none'", "frame-ancestors 'none'"}
				if d := cmp.Diff(want, directives(h)); d != "" {
					t.Error(d)
				}
			})
			t.Run("WEB-22 opener/"+s.name, func(t *testing.T) {
				equal(t, h, "Cross-Origin-Opener-Policy", "same-origin")
			})
		}
	}
}

func equal(t *testing.T, h http.Header, name, want string) {
	t.Helper()
	if got := h.Values(name); len(got) != 1 || got[0] != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func directives(h http.Header) []string {
	return strings.Split(h.Get("Content-Security-Policy"), "; ")
}

// A caller's own headers stay; a policy that something set before does not.
func TestCallersHeaders(t *testing.T) {
	p := newPages(t, page.Brand{})
	for _, accept := range []string{browserAccept, "application/json"} {
		w := get(p, func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Add("Set-Cookie", "a=; Max-Age=0")
			w.Header().Set("Cache-Control", "public, max-age=60")
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Etag", `"x"`)
			p.Error(w, r, 401, "Please sign in.")
		}, "Accept", accept)
		equal(t, w.Header(), "WWW-Authenticate", "Bearer")
		equal(t, w.Header(), "Set-Cookie", "a=; Max-Age=0")
		equal(t, w.Header(), "Cache-Control", "no-store")
		if w.Header().Get("Content-Encoding") != "" || w.Header().Get("Etag") != "" {
			t.Errorf("header %v", w.Header())
		}
	}
}

func TestRequestIsNotReflected(t *testing.T) {
	p := newPages(t, brand())
	const payload = `"><script>evil.test</script>`
	for _, s := range samples(same, same) {
		clean := get(p, s.write).Body.String()
		t.Run("WEB-04 unkeyed headers/"+s.name, func(t *testing.T) {
			got := get(p, s.write, "X-Forwarded-Host", "evil.test", "Forwarded", "host=evil.test", "X-Forwarded-Proto", "http",
				"X-Forwarded-Prefix", "//evil.test", "X-Original-Url", "//evil.test", "Host", "evil.test").Body.String()
			if d := cmp.Diff(clean, got); d != "" {
				t.Error(d)
			}
			for _, m := range regexp.MustCompile(`<(?:link|img)[^>]*(?:href|src)="([^"]*)"`).FindAllStringSubmatch(clean, -1) {
				if !strings.HasPrefix(m[1], "/.gatehouse/") {
					t.Errorf("asset %q is not a path of ours", m[1])
				}
			}
		})
		t.Run("WEB-09 reflected request/"+s.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "https://gate.example.com/"+strings.ReplaceAll(payload, " ", "+")+"?error="+payload+"&state="+payload+"&rd="+payload, nil)
			r.Host = "evil.test"
			for name, value := range map[string]string{"Accept": browserAccept, "User-Agent": payload, "Referer": payload, "Accept-Language": payload, "Cookie": "a=" + payload} {
				r.Header.Set(name, value)
			}
			r.Header.Set("X-Request-Id", "01JD8Z4M9QK7W2V5")
			w := httptest.NewRecorder()
			s.write(p, w, r)
			if d := cmp.Diff(clean, w.Body.String()); d != "" {
				t.Error(d)
			}
			equal(t, w.Header(), "Content-Type", "text/html; charset=utf-8")
		})
		t.Run("WEB-26 no internals/"+s.name, func(t *testing.T) {
			for kind, w := range both(p, s) {
				for _, not := range []string{"goroutine", ".go:", "192.0.2.1", "html/template", "go1.", "upstream"} {
					if strings.Contains(strings.ToLower(w.Body.String()), not) {
						t.Errorf("%s shows %q", kind, not)
					}
				}
				for _, name := range []string{"Server", "X-Powered-By", "X-Runtime"} {
					if v := w.Header().Get(name); v != "" {
						t.Errorf("%s: %s: %s", kind, name, v)
					}
				}
			}
		})
	}
}

func payloads() []string {
	return []string{
		`<script>alert(1)</script>`,
		`"><img src=x onerror=alert(1)>`,
		`'><svg onload=alert(1)>`,
		`</title><script>alert(1)</script>`,
		`</bdi></main><iframe src=javascript:alert(1)>`,
		`--><script>alert(1)</script><!--`,
		`" autofocus onfocus=alert(1) x="`,
		`' style='background:url(//evil.test)`,
		"` onmouseover=alert(1)",
		`{{.Site}}${alert(1)}`,
		`<base href=//evil.test>`,
		`<meta http-equiv=refresh content=0;url=//evil.test>`,
		`&lt;script&gt;&#60;script&#62;`,
		"\x00<script>\x00alert(1)</script>",
		"\xff\xfe<script>alert(1)</script>",
		"\u202e<script>\u2028alert(1)</script>",
		`]]><script>alert(1)</script>`,
		`<plaintext>`, `<textarea>`, `<!--`, `<noscript><p title="</noscript><img src=x onerror=alert(1)>">`,
	}
}

// Whatever a field holds, the page has the elements and attributes that it has
// with harmless text, and the text reads as it was given.
func TestNothingIsInjected(t *testing.T) {
	rows := []struct {
		id    string
		pages []string
	}{
		{"OIDC-22 error text", []string{"try-again", "error", "outage"}},
		{"IDT-31 claims", []string{"me", "me-many-groups", "refused", "sign-out"}},
		{"WEB-09 labels and addresses", []string{"sign-in", "signed-out", "signed-out-everywhere"}},
	}
	for _, row := range rows {
		for _, payload := range payloads() {
			t.Run(row.id+"/"+payload, func(t *testing.T) {
				harmless := strings.Repeat("x", 8)
				evil := samples(func(string) string { return payload }, same)
				plain := samples(func(string) string { return harmless }, same)
				// The brand comes from the operator, and is not trusted either.
				p, q := newPages(t, page.Brand{Name: payload}), newPages(t, page.Brand{Name: harmless})
				for i, s := range evil {
					if !slices.Contains(row.pages, s.name) {
						continue
					}
					got, want := parse(t, get(p, s.write)), parse(t, get(q, plain[i].write))
					if d := cmp.Diff(want.shape, got.shape); d != "" {
						t.Errorf("%s has another shape:\n%s", s.name, d)
					}
					text := strings.ReplaceAll(strings.ToValidUTF8(payload, "\ufffd"), "\x00", "\ufffd")
					if !strings.Contains(got.text, text) {
						t.Errorf("%s does not show %q in\n%s", s.name, text, got.text)
					}
				}
			})
		}
	}
}

type document struct {
	shape []string // elements with their attributes, in order
	text  string
}

func parse(t *testing.T, w *httptest.ResponseRecorder) document {
	t.Helper()
	root, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	for n := range root.Descendants() {
		switch n.Type {
		case html.TextNode:
			d.text += n.Data
		case html.CommentNode:
			d.shape = append(d.shape, "comment")
		case html.ElementNode:
			d.shape = append(d.shape, element(t, n))
		}
	}
	return d
}

// element is an element's name and attributes, and fails for what no page may have.
func element(t *testing.T, n *html.Node) string {
	t.Helper()
	out := n.Data
	if slices.Contains([]string{"script", "style", "iframe", "object", "embed", "base"}, n.Data) {
		t.Errorf("page has <%s>", n.Data)
	}
	for _, a := range n.Attr {
		out += " " + a.Key + "=" + a.Val
		if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "http-equiv" {
			t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
		}
	}
	return out
}

func TestAddresses(t *testing.T) {
	p := newPages(t, page.Brand{})
	bad := []string{
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "\x01javascript:alert(1)",
		"javascript://gate.example.com/%0aalert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "blob:https://a/b", "file:///etc/passwd",
		"//evil.test", `/\evil.test`, `\\evil.test`, "https:evil.test", "https:///evil.test", "http:", "evil.test", "?a=b", "#x", "/a b", "/\r\nX: y", "http://[::1", "mailto:a@b.test",
	}
	for _, raw := range bad {
		t.Run("OIDC-22 WEB-12 address/"+raw, func(t *testing.T) {
			for _, s := range samples(same, func(string) string { return raw }) {
				w := get(p, s.write)
				for _, e := range parse(t, w).shape {
					if strings.Contains(e, "evil") || strings.Contains(strings.ToLower(e), "script:") || strings.Contains(e, "ZgotmplZ") || strings.Contains(e, "data:") {
						t.Errorf("%s: %s", s.name, e)
					}
					if href := regexp.MustCompile(`href=(.*)$`).FindStringSubmatch(e); href != nil && href[1] != "/" && !strings.HasPrefix(href[1], "/.gatehouse/") {
						t.Errorf("%s: link %s", s.name, e)
					}
				}
				if s.form && !slices.Contains(directives(w.Header()), "form-action 'self'") {
					t.Errorf("%s: %s", s.name, w.Header().Get("Content-Security-Policy"))
				}
			}
		})
	}
	for _, raw := range []string{"/", "/a?b=c&d=%2Fe#f", "https://other.example.com/x", "http://localhost:8080/"} {
		t.Run("good/"+raw, func(t *testing.T) {
			for _, s := range samples(same, func(string) string { return raw }) {
				shape := strings.Join(parse(t, get(p, s.write)).shape, "\n")
				if s.name != "error" && s.name != "no-sign-in" && !strings.Contains(shape, "="+raw) {
					t.Errorf("%s has no link to %s", s.name, raw)
				}
			}
		})
	}
}

func TestFormAction(t *testing.T) {
	p := newPages(t, page.Brand{})
	for raw, want := range map[string]string{
		"https://login.example.com:8443/end?a=b": "form-action 'self' https://login.example.com:8443",
		"http://[::1]:9/x":                       "form-action 'self' http://[::1]:9",
		"https://a.test;script-src":              "form-action 'self'",
		"https://a.test,b":                       "form-action 'self'",
		"https://*":                              "form-action 'self'",
		"https://a.test script-src *":            "form-action 'self'",
		"/path":                                  "form-action 'self'",
	} {
		w := get(p, func(p *page.Pages, w http.ResponseWriter, r *http.Request) {
			p.SignOut(w, r, page.SignOut{Action: "/logout", FormAction: []string{raw}})
		})
		if got := directives(w.Header()); len(got) != 6 || got[3] != want {
			t.Errorf("%s: %q", raw, got)
		}
	}
}

// Only the sign-out and the password page have a form, it waits for the person,
// takes nothing but a name and a password, and its origin
// is told to the guard against foreign POSTs even by browsers without
// Sec-Fetch-Site. Under no-referrer that origin would be "null".
func TestForms(t *testing.T) {
	p := newPages(t, brand())
	for _, s := range samples(same, same) {
		t.Run("WEB-12 no form submits itself/"+s.name, func(t *testing.T) {
			forms, typed := 0, []string(nil)
			if strings.HasPrefix(s.name, "sign-in-") {
				typed = []string{"name=username", "name=password", "name=rd type=hidden", "name=token type=hidden"}
			}
			for _, e := range parse(t, get(p, s.write)).shape {
				if name, _, _ := strings.Cut(e, " "); name == "form" {
					forms++
				} else if name == "meta http-equiv" || name == "input" && !slices.ContainsFunc(typed, func(f string) bool { return strings.Contains(e, f) }) {
					t.Errorf("page has %s", e)
				}
			}
			if want := map[bool]int{true: 1}[s.form]; forms != want {
				t.Errorf("%d forms, want %d", forms, want)
			}
		})
	}
	for origin, allowed := range map[string]bool{"https://gate.example.com": true, "null": false} {
		r := httptest.NewRequest("POST", "https://gate.example.com/logout", nil)
		r.Header.Set("Origin", origin)
		if err := http.NewCrossOriginProtection().Check(r); (err == nil) != allowed {
			t.Errorf("Origin %s: %v", origin, err)
		}
	}
}

func TestTemplates(t *testing.T) {
	text, err := os.ReadFile("pages.html")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("WEB-11 no script context", func(t *testing.T) {
		for _, not := range []string{"<script", "<style", "style=", "http-equiv", "`", "javascript", "srcdoc"} {
			if strings.Contains(strings.ToLower(string(text)), not) {
				t.Errorf("template has %q", not)
			}
		}
		if m := regexp.MustCompile(`\son[a-z]+=`).Find(text); m != nil {
			t.Errorf("template has %q", m)
		}
	})
}

// What people who can't see the page, or use no mouse, rely on.
func TestStructure(t *testing.T) {
	p := newPages(t, brand())
	for _, s := range samples(same, same) {
		t.Run(s.name, func(t *testing.T) {
			count := map[string]int{}
			for _, e := range parse(t, get(p, s.write)).shape {
				name, _, _ := strings.Cut(e, " ")
				count[name]++
				if e == "html lang=en" || strings.HasPrefix(e, "main") && strings.HasSuffix(e, "tabindex=-1") {
					count[e]++
				}
			}
			for _, once := range []string{"title", "h1", "header", "main", "footer", "html lang=en"} {
				if count[once] != 1 {
					t.Errorf("%d × %s", count[once], once)
				}
			}
		})
	}
}

func TestCalled(t *testing.T) {
	p := newPages(t, page.Brand{})
	for want, id := range map[string]authn.Identity{
		"Ada":                     {Name: "Ada", Username: "ada", Email: "ada@x.test", Subject: "1"},
		"ada":                     {Name: " ", Username: "ada", Subject: "1"},
		"a@x.test":                {Email: "a@x.test", Subject: "1"},
		"corp:1":                  {Subject: "corp:1"},
		"somebody":                {},
		"\u202eevil\u202c \u03a9": {Name: "\u202eevil\u202c \u03a9"},
	} {
		text := parse(t, get(p, func(p *page.Pages, w http.ResponseWriter, r *http.Request) { p.Me(w, r, page.Me{Identity: id}) })).text
		if !strings.Contains(text, "as "+want) {
			t.Errorf("want %q in %s", want, text)
		}
	}
}
