package authntest

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
)

//go:embed assets
var assets embed.FS

// pages writes what people see of the provider.
type pages struct {
	name, base string
	templates  *template.Template
}

func newPages(name, base string) *pages {
	return &pages{name: name, base: base, templates: template.Must(template.ParseFS(assets, "assets/*.html"))}
}

// view is what every page is made from.
type view struct {
	Provider, Base string
	Title          string
	Page           any
}

type signInPage struct {
	Client, Request string
	People          []choice
}

type signOutPage struct{ Name, Back, State, Client string }

// formPage is an authorization response in a form (OAuth 2.0 Form Post Response Mode).
type formPage struct {
	Action string
	Params url.Values
}

func (p *pages) signIn(w http.ResponseWriter, page signInPage) {
	p.write(w, http.StatusOK, "signin.html", "Choose who you are", page)
}

func (p *pages) signOut(w http.ResponseWriter, page signOutPage) {
	p.write(w, http.StatusOK, "signout.html", "Sign out?", page)
}

func (p *pages) signedOut(w http.ResponseWriter) {
	p.write(w, http.StatusOK, "message.html", "You are signed out", "You can close this page.")
}

func (p *pages) problem(w http.ResponseWriter, status int, sentence string) {
	p.write(w, status, "message.html", "This did not work", sentence)
}

func (p *pages) formPost(w http.ResponseWriter, action string, params url.Values) {
	p.write(w, http.StatusOK, "formpost.html", "One moment", formPage{Action: action, Params: params})
}

// write renders a page. The policy has no form-action: browsers apply it to
// every redirect that follows a form, and those lead to the relying party and on.
func (p *pages) write(w http.ResponseWriter, status int, name, title string, page any) {
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, view{p.name, p.base, title, page}); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

func (p *pages) serveAsset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	text, err := assets.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	kind := "text/css; charset=utf-8"
	if strings.HasSuffix(name, ".js") {
		kind = "text/javascript; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text)
}

// serveHome tells a visitor what this is and who is signed in.
func (i *Issuer) serveHome(w http.ResponseWriter, r *http.Request) {
	s, ok := i.current(r)
	title, sentence := "Nobody is signed in", "An application sends you here when it wants to know who you are."
	if p, known := i.person(s.subject); ok && known {
		title, sentence = "You are signed in", "Applications that ask are told that you are "+p.title()+"."
	}
	i.pages.write(w, http.StatusOK, "home.html", title, homePage{Sentence: sentence, SignedIn: ok})
}

type homePage struct {
	Sentence string
	SignedIn bool
}
