// Package page owns the few pages that people see and the JSON that programs
// get instead: what happened, in one sentence, and what to do next.
//
// Every page works without script and carries a Content-Security-Policy that
// allows none. Text reaches a page through html/template only; an address
// becomes a link only if it is http, https or a path of this origin. Nothing of
// the request but its id is shown, so what is on a page is what the caller gave.
//
// Brand, stylesheet and logo are fixed when [New] returns; a [Pages] may be used
// by any number of requests at once.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"
)

//go:embed pages.html style.css mark.svg
var files embed.FS

const (
	defaultName   = "Gatehouse"
	defaultColour = "#1f5fbf"
	maxLogo       = 256 << 10 // bytes
)

// Brand is whose pages these are. Its zero value is Gatehouse's own.
type Brand struct {
	// Name is the name of the place people sign in to; without it, Gatehouse.
	Name string
	// Logo is an image of at most 256 KiB; without it, a mark of our own in
	// the brand's colour.
	Logo []byte
	// LogoType is the logo's media type: image/svg+xml, image/png, image/jpeg
	// or image/webp.
	LogoType string
	// Colour is the colour of buttons, as #rrggbb; without it, a blue.
	Colour string
	// Contact is whom to ask for help: an e-mail address, an https link, or empty.
	Contact string
}

// Pages writes the pages of one brand.
type Pages struct {
	prefix    string
	site      site
	style     asset
	logo      asset
	templates *template.Template
}

// site is what every page shows of its brand.
type site struct {
	Name, Style, Logo    string
	Named                bool // people go to a place of that name, and not to Gatehouse
	Contact, ContactText string
}

// New prepares the pages of b. Prefix is the path that the gateway's own pages
// are below, for instance "/.gatehouse". A brand that can't be shown is an error.
func New(b Brand, prefix string) (*Pages, error) {
	if b.Name == "" {
		b.Name = defaultName
	}
	colour, err := parseColour(b.Colour)
	if err != nil {
		return nil, err
	}
	logo, err := newLogo(b, colour)
	if err != nil {
		return nil, err
	}
	style, err := newStyle(colour)
	if err != nil {
		return nil, err
	}
	templates, err := parseTemplates()
	if err != nil {
		return nil, err
	}
	prefix = strings.TrimRight(prefix, "/")
	s := site{Name: b.Name, Named: b.Name != defaultName, Style: prefix + "/style.css?v=" + style.version, Logo: prefix + "/logo?v=" + logo.version}
	if s.Contact, s.ContactText, err = contact(b.Contact); err != nil {
		return nil, err
	}
	return &Pages{prefix: prefix, site: s, style: style, logo: logo, templates: templates}, nil
}

// Mount adds the stylesheet and the logo.
func (p *Pages) Mount(mux *http.ServeMux) {
	mux.Handle("GET "+p.prefix+"/style.css", p.style)
	mux.Handle("GET "+p.prefix+"/logo", p.logo)
}

// parseTemplates also runs every template once, because html/template finds
// what it can't escape only then.
func parseTemplates() (*template.Template, error) {
	t, err := template.New("pages").Funcs(template.FuncMap{
		"link": link, "called": called, "initial": initial,
		// An e-mail address that is too long for its line breaks after the "@".
		"split": func(email string) []string { return strings.SplitAfter(email, "@") },
	}).ParseFS(files, "pages.html")
	if err != nil {
		return nil, fmt.Errorf("page: parse templates: %w", err)
	}
	for name, page := range map[string]any{
		"signIn": SignIn{Form: &Form{}}, "signOut": SignOut{}, "signedOut": SignedOut{}, "me": Me{Devices: &Devices{}},
		"refused": Refused{}, "tryAgain": TryAgain{}, "outage": Outage{}, "error": fault{},
	} {
		if err := t.ExecuteTemplate(io.Discard, name, view{Page: page}); err != nil {
			return nil, fmt.Errorf("page: template %s: %w", name, err)
		}
	}
	return t, nil
}

// contact turns an e-mail address or an https link into an address and its text.
func contact(raw string) (href, text string, err error) {
	if raw == "" {
		return "", "", nil
	}
	if u, err := url.Parse(raw); err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil {
		return raw, strings.TrimSuffix(u.Host+u.EscapedPath(), "/"), nil
	}
	if a, err := mail.ParseAddress(raw); err == nil && a.Name == "" && a.Address == raw {
		return "mailto:" + url.PathEscape(raw), raw, nil
	}
	return "", "", fmt.Errorf("page: contact %q: want an e-mail address or an https link", raw)
}

// newLogo takes the brand's logo, or our own mark in the brand's colour.
func newLogo(b Brand, colour rgb) (asset, error) {
	// A logo is opened as a document too, by whoever types its address: the
	// sandbox keeps an SVG from running script in the gateway's origin.
	const policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
	if len(b.Logo) == 0 {
		mark, err := files.ReadFile("mark.svg")
		if err != nil {
			return asset{}, fmt.Errorf("page: read mark: %w", err)
		}
		text := strings.NewReplacer("BRAND", colour.String(), "GLYPH", colour.text().String()).Replace(string(mark))
		return newAsset([]byte(text), "image/svg+xml", policy), nil
	}
	if len(b.Logo) > maxLogo {
		return asset{}, errors.New("page: the logo is larger than 256 KiB")
	}
	if !slices.Contains([]string{"image/svg+xml", "image/png", "image/jpeg", "image/webp"}, b.LogoType) {
		return asset{}, fmt.Errorf("page: logo type %q: want SVG, PNG, JPEG or WebP", b.LogoType)
	}
	return newAsset(b.Logo, b.LogoType, policy), nil
}

func newStyle(colour rgb) (asset, error) {
	sheet, err := files.ReadFile("style.css")
	if err != nil {
		return asset{}, fmt.Errorf("page: read stylesheet: %w", err)
	}
	return newAsset(append([]byte(palette(colour)), sheet...), "text/css; charset=utf-8", "default-src 'none'"), nil
}

// asset is a file in memory that browsers may keep for as long as they like
// when they ask for it by its version.
type asset struct {
	body                       []byte
	mediaType, policy, version string
}

func newAsset(body []byte, mediaType, policy string) asset {
	sum := sha256.Sum256(body)
	return asset{body: body, mediaType: mediaType, policy: policy, version: hex.EncodeToString(sum[:8])}
}

func (a asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.mediaType)
	h.Set("Content-Security-Policy", a.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("ETag", `"`+a.version+`"`)
	h.Set("Cache-Control", "no-cache")
	if r.URL.RawQuery == "v="+a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}
