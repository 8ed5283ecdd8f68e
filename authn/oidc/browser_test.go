package oidc

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// browser keeps cookies and follows nothing by itself.
type browser struct {
	r      *rig
	client *http.Client
}

func (r *rig) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &browser{r, &http.Client{
		Jar: jar, Transport: r.world,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) location() string { return a.header.Get("Location") }

func (b *browser) do(req *http.Request) answer {
	b.r.t.Helper()
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	resp, err := b.client.Do(req)
	if err != nil {
		b.r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(target string) answer {
	b.r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return b.do(req)
}

func (b *browser) post(target string, form url.Values) answer {
	b.r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(req)
}

// start begins to sign in and returns the authorization URL.
func (b *browser) start(query string) string {
	b.r.t.Helper()
	a := b.get(gatewayURL + signInPath + query)
	if a.status != http.StatusSeeOther {
		b.r.t.Fatalf("start: %d %s", a.status, a.body)
	}
	return a.location()
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// delivery is an authorization response on its way to the gateway.
type delivery struct {
	url  string
	form url.Values // nil for a GET
}

// params returns what it says, to be changed in place with set.
func (d delivery) params() url.Values {
	if d.form != nil {
		return d.form
	}
	u, err := url.Parse(d.url)
	if err != nil {
		panic(err)
	}
	return u.Query()
}

func (d delivery) set(change func(url.Values)) delivery {
	q := d.params()
	change(q)
	if d.form != nil {
		return delivery{d.url, q}
	}
	base, _, _ := strings.Cut(d.url, "?")
	return delivery{base + "?" + q.Encode(), nil}
}

// authorize asks the provider and returns its response, not yet delivered.
func (b *browser) authorize(target string) delivery {
	b.r.t.Helper()
	a := b.get(target)
	if a.status == http.StatusSeeOther {
		return delivery{url: a.location()}
	}
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(a.body, -1) {
		form.Add(m[1], html.UnescapeString(m[2]))
	}
	if len(form) == 0 {
		b.r.t.Fatalf("authorize: %d %s", a.status, a.body)
	}
	return delivery{callback, form}
}

func (b *browser) deliver(d delivery) answer {
	b.r.t.Helper()
	if d.form != nil {
		return b.post(d.url, d.form)
	}
	return b.get(d.url)
}

// signIn goes all the way.
func (b *browser) signIn(query string) answer {
	b.r.t.Helper()
	return b.deliver(b.authorize(b.start(query)))
}

// cookies are the attempts that the browser holds for the gateway.
func (b *browser) attempts() []*http.Cookie {
	u, _ := url.Parse(gatewayURL)
	var out []*http.Cookie
	for _, c := range b.client.Jar.Cookies(u) {
		if strings.Contains(c.Name, "_attempt_") {
			out = append(out, c)
		}
	}
	return out
}
