package authn

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxLanding bounds a landing in bytes. A longer one is dropped as a whole, never cut.
const maxLanding = 2000

// Landings decides where a browser may be sent after signing in or out. Only
// places of this gateway qualify; anything else becomes "/". It is the one
// place that turns what a request says into a redirect.
type Landings struct {
	public *url.URL
	hosts  map[string]bool
	own    func(path string) bool
}

// NewLandings allows paths on public, the gateway's own origin, and https URLs
// on hosts ("b.example.com" or "b.example.com:8443", lower case). Own tells the
// gateway's own paths, where nobody may land (a sign-in that lands on sign-out).
func NewLandings(public *url.URL, hosts []string, own func(path string) bool) Landings {
	l := Landings{public: public, hosts: map[string]bool{}, own: own}
	for _, h := range hosts {
		l.hosts[h] = true
	}
	return l
}

// Clean returns raw if it is a safe place to land, and "/" if not. The result
// is either a path of the gateway's own origin or an absolute https URL of an
// allowed host. Several values for one parameter are for the caller to refuse.
func (l Landings) Clean(raw string) string {
	const home = "/"
	if len(raw) > maxLanding || !plain(raw) {
		return home
	}
	if rest, ours := strings.CutPrefix(raw, l.public.Scheme+"://"+l.public.Host+"/"); ours {
		raw = "/" + rest
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Opaque != "" || !settled(u.Path) {
		return home
	}
	elsewhere := u.Scheme == "https" && l.hosts[u.Host] && (u.Path == "" || u.Path[0] == '/')
	here := raw != "" && raw[0] == '/' && !strings.HasPrefix(raw, "//")
	if (elsewhere || here) && !l.own(u.Path) {
		return raw
	}
	return home
}

// plain refuses what browsers drop or rewrite before they read a URL:
// backslashes, white space, control characters and everything beyond ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// settled refuses paths that mean something else after one more round of
// decoding or cleaning: empty and dot segments, encoded slashes, backslashes
// and control characters.
func settled(path string) bool {
	if !utf8.ValidString(path) {
		return false
	}
	lower := strings.ToLower(path) // already decoded once
	for _, bad := range []string{"//", "/./", "/../", "\\", "%2f", "%5c", "%2e", "%25"} {
		if strings.Contains(lower, bad) {
			return false
		}
	}
	if strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..") {
		return false
	}
	for i := range len(path) {
		if path[i] < ' ' || path[i] == 0x7f {
			return false
		}
	}
	return true
}
