package page

import (
	"bytes"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// answer is one answer to a request: a page, or a message for a program.
type answer struct {
	status int
	page   string // the template
	title  string // the heading too
	data   any
	// message is what a program gets; empty for what only people ask for.
	message string
	// form is the value of form-action; empty for a page without a form.
	form string
	// wide is for a page that lists things; asks, for one that says whom to ask.
	wide, asks bool
}

// view is what a template sees.
type view struct {
	Site      site
	Title     string
	Status    int // zero unless it is a problem
	RequestID string
	Page      any
	// Wide makes room; Asks leaves the contact out of the footer.
	Wide, Asks bool
}

// answer writes a. Headers that the caller has set stay, for instance
// WWW-Authenticate and Set-Cookie.
func (p *Pages) answer(w http.ResponseWriter, r *http.Request, a answer) {
	if a.message != "" && !WantsPage(r) {
		writeJSON(w, r, a)
		return
	}
	v := view{Site: p.site, Title: a.title, RequestID: requestID(r), Page: a.data, Wide: a.wide, Asks: a.asks}
	if a.status >= http.StatusBadRequest {
		v.Status = a.status
	}
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, a.page, v); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	guard(w.Header(), a.form)
	// Identities may hold any bytes; the page is UTF-8.
	write(w, a.status, "text/html; charset=utf-8", bytes.ToValidUTF8(body.Bytes(), []byte("\ufffd")))
}

// guard sets what keeps a page from being framed, cached, sniffed, scripted or
// opened by others.
func guard(h http.Header, form string) {
	// A form's Origin header is "null" under no-referrer (Fetch, section 3.2),
	// and browsers without Sec-Fetch-Site have nothing else to show that the
	// sign-out is their own. So the page with a form tells its own origin.
	referrer := "same-origin"
	if form == "" {
		form, referrer = "'none'", "no-referrer"
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action "+form+
		"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", referrer)
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// write sends body, which is for this one request only.
func write(w http.ResponseWriter, status int, mediaType string, body []byte) {
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// Whoever asked may be gone already; there is nobody left to tell.
	_, _ = w.Write(body)
}

// problem is the JSON twin of a page. Its shape is that of GraphQL errors,
// which the W&B SDK shows to its user.
type problem struct {
	Errors    []message `json:"errors"`
	RequestID string    `json:"request_id,omitempty"`
}

type message struct {
	Message string `json:"message"`
}

func writeJSON(w http.ResponseWriter, r *http.Request, a answer) {
	body, err := json.Marshal(problem{Errors: []message{{a.message}}, RequestID: requestID(r)},
		jsontext.AllowInvalidUTF8(true), jsontext.EscapeForHTML(true))
	if err != nil {
		http.Error(w, http.StatusText(a.status), a.status)
		return
	}
	write(w, a.status, "application/json", append(body, '\n'))
}

// requestID is the request's id, or empty when it is not one that a person
// could read out.
func requestID(r *http.Request) string {
	const longest = 128
	id := r.Header.Get("X-Request-Id")
	if len(id) > longest || !visible(id) {
		return ""
	}
	return id
}

// visible reports whether s is nothing but visible ASCII.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// link returns raw if it may stand in a link: an http or https URL or a path of
// this origin. Anything else is empty, and the page goes without the link.
func link(raw string) string {
	if !visible(raw) || strings.Contains(raw, `\`) || strings.HasPrefix(raw, "//") {
		return ""
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return ""
	case u.Scheme == "" && strings.HasPrefix(raw, "/"), (u.Scheme == "https" || u.Scheme == "http") && u.Host != "":
		return raw
	}
	return ""
}

// formAction lists where a form may lead: here and the origins of urls, since
// browsers hold the redirect after a POST to form-action too.
func formAction(urls []string) string {
	list := []string{"'self'"}
	for _, raw := range urls {
		u, err := url.Parse(link(raw))
		// What separates sources and directives of a policy can't be in an origin.
		if err != nil || u.Host == "" || strings.ContainsAny(u.Host, ";,'\"* ") {
			continue
		}
		list = append(list, u.Scheme+"://"+u.Host)
	}
	return strings.Join(list, " ")
}

// Quiet marks every answer as nobody's to keep or to tell: a callback's URL
// holds a code (RFC 9700, section 4.2).
func Quiet(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		h(w, r)
	}
}

// SeeOther redirects to target exactly as it is; http.Redirect would tidy it.
func SeeOther(w http.ResponseWriter, target string) {
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}
