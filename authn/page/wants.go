package page

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// Navigation reports whether r is a browser going to a page of its own: a GET
// or HEAD of a top-level document. It is the only thing that may be redirected
// to sign-in. Programs, fetches, frames, streams, WebSockets and guesses at
// where the person goes next are not; a program that follows a redirect to a
// page takes the page for success.
func Navigation(r *http.Request) bool {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead,
		Part(r), script(r), upgrade(r), speculative(r), credential(r):
		return false
	}
	return quality(r, "text/html").q > 0
}

// Part reports whether a browser asks for a part of a page, such as an image, a frame or
// what a script fetches, and not for a page that the person goes to.
func Part(r *http.Request) bool {
	return !only(r, "Sec-Fetch-Mode", "navigate") || !only(r, "Sec-Fetch-Dest", "document")
}

// WantsPage reports whether the sender of r would rather see a page than JSON:
// it names text/html before application/json and no script is going to read the
// answer. Frames and forms want pages though they are no [Navigation].
func WantsPage(r *http.Request) bool {
	if script(r) || upgrade(r) || !only(r, "Sec-Fetch-Mode", "navigate") {
		return false
	}
	html, json := quality(r, "text/html"), quality(r, "application/json")
	if html.q == json.q {
		return html.q > 0 && html.place < json.place
	}
	return html.q > json.q
}

// only reports whether the header is absent or says want and nothing else.
func only(r *http.Request, name, want string) bool {
	for _, v := range r.Header.Values(name) {
		if !strings.EqualFold(strings.TrimSpace(v), want) {
			return false
		}
	}
	return true
}

func script(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest")
}

func upgrade(r *http.Request) bool { return len(r.Header.Values("Upgrade")) > 0 }

// speculative tells a browser's prefetch or prerender: "prefetch;prerender" in
// Sec-Purpose, "prefetch" in the older Purpose and X-Moz.
func speculative(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if strings.Contains(strings.ToLower(strings.Join(r.Header.Values(name), ",")), "prefetch") {
			return true
		}
	}
	return false
}

// credential reports whether an Authorization header holds one. A browser's
// application may send "Basic Og==", an empty name and password, and mean its
// cookie.
func credential(r *http.Request) bool {
	for _, v := range r.Header.Values("Authorization") {
		scheme, value, _ := strings.Cut(strings.TrimSpace(v), " ")
		value = strings.TrimSpace(value)
		basic := strings.EqualFold(scheme, "Basic")
		if value == "" && (basic || scheme == "") {
			continue
		}
		if plain, err := base64.StdEncoding.DecodeString(value); basic && err == nil && string(plain) == ":" {
			continue
		}
		return true
	}
	return false
}

// wish is how much a media type is wanted, from 0 to 1, and its place in the list.
type wish struct {
	q     float64
	place int
}

// quality finds a media type in Accept (RFC 9110, section 12.5.1). Only its own
// name counts: "*/*" is what programs send.
func quality(r *http.Request, mediaType string) wish {
	list := strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",")
	for i, item := range list {
		name, params, _ := strings.Cut(item, ";")
		if strings.EqualFold(strings.TrimSpace(name), mediaType) {
			return wish{q: weight(params), place: i}
		}
	}
	return wish{place: len(list)}
}

// weight reads q from a media type's parameters; without a readable one it is 1.
func weight(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		if q, err := strconv.ParseFloat(value, 64); err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}
