package proxy

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/config"
)

// fault is why a request is turned away before anyone asks whom it comes from.
// Its zero value is none.
type fault struct {
	status   int
	sentence string
}

const sentenceMethod = "That method is not allowed here."

const someMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// checkMethod refuses what is no request to a resource, and what is no method.
func checkMethod(method string) fault {
	if method == http.MethodConnect || method == http.MethodTrace {
		return fault{http.StatusMethodNotAllowed, sentenceMethod}
	}
	for i := range len(method) {
		if method[i] < 'A' || method[i] > 'Z' {
			return fault{http.StatusBadRequest, "That is not a method."}
		}
	}
	return fault{}
}

// checkLength refuses an address that is too long (RFC 9110, section 15.5.15).
func (h *Handler) checkLength(r *http.Request) fault {
	if h.o.MaxURLSize > 0 && len(r.RequestURI) > h.o.MaxURLSize {
		return fault{http.StatusRequestURITooLong, "That address is too long."}
	}
	return fault{}
}

// checkTarget refuses targets that mean one thing to the gateway and may mean
// another to an upstream, and settles the spelling of u: from here on its
// escaped path is what is sent. Clean is false for a path that is legal but
// reads differently after one more round of decoding or tidying up; no rule
// that makes things easier may match it.
func checkTarget(requestURI string, u *url.URL) (clean bool, f fault) {
	bad := fault{http.StatusBadRequest, "That address can’t be understood."}
	for i := range len(requestURI) {
		// A raw space survives HTTP/2 and would end the address in the upstream's
		// request line; a fragment never belongs in a request (RFC 9112, section 3.2).
		if c := requestURI[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false, bad
		}
	}
	if u.Path == "" && u.Host != "" {
		u.Path = "/" // absolute form without a path, RFC 9112, section 3.2.2
	}
	if !strings.HasPrefix(u.Path, "/") || !utf8.ValidString(u.Path) || dotted(u.Path) {
		return false, bad
	}
	clean = !strings.Contains(u.Path, "//")
	for i := range len(u.Path) {
		switch c := u.Path[i]; {
		case c < ' ', c == 0x7f, c == '\\':
			return false, bad
		case c == '%', c == '?', c == '#':
			clean = false
		}
	}
	if u.RawPath != "" {
		clean = clean && !encodedSlash(u.RawPath)
		if u.EscapedPath() != u.RawPath {
			u.RawPath = respell(u.RawPath)
		}
	}
	return clean, fault{}
}

// dotted reports whether path has a segment "." or "..", also one with
// parameters ("..;x"), which some servers cut off before they resolve it.
func dotted(path string) bool {
	if !strings.Contains(path, "/.") {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func encodedSlash(raw string) bool {
	return strings.Contains(raw, "%2f") || strings.Contains(raw, "%2F")
}

// respell percent-encodes the bytes of raw that don't belong in a path, and
// nothing else. net/url would otherwise encode the whole decoded path anew, and
// an encoded slash would become a real one.
func respell(raw string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(raw) {
		c := raw[i]
		if foldByte(c) != '-' || strings.IndexByte("-._~!$&'()*+,;=:@/%[]", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// opaque is the decoded path with encoded slashes left as they are, so that
// "/app%2fx" is not below "/app".
func opaque(u *url.URL) string {
	if !encodedSlash(u.RawPath) {
		return u.Path
	}
	p, err := url.PathUnescape(strings.NewReplacer("%2f", "%252f", "%2F", "%252F").Replace(u.RawPath))
	if err != nil {
		return u.Path
	}
	return p
}

// hostName is the name of a Host header: lower case, without port and without
// the dot of a fully qualified name. It is empty if there is no telling. Letters beyond
// ASCII are never lower-cased: some of them would become others' (U+212A is "k").
func hostName(host string) string {
	name, port := cutPort(host)
	if !ascii(name) || !digits(port) {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// meant is a host as everybody understands it: some servers don't know a name with the
// dot of a fully qualified one.
func meant(host string) string {
	name, port := cutPort(host)
	if plain, dotted := strings.CutSuffix(name, "."); dotted {
		return plain + port
	}
	return host
}

// cutPort takes a port off a host, with its colon.
func cutPort(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host, ""
	}
	return host[:i], host[i:]
}

// digits reports whether what stands for a port may be one.
func digits(port string) bool {
	const longest = len(":65535")
	for i := 1; i < len(port); i++ {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return len(port) <= longest
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// places says which upstream answers for which host and path.
type places struct {
	byHost map[string][]place // longest path first
	public string             // the public URL's host name
	behind map[string]bool    // hosts that other proxies ask about
}

type place struct {
	prefix   string // without a slash at its end; empty for all paths
	upstream *upstream
}

func newPlaces(public *url.URL) *places {
	name := hostName(public.Host)
	return &places{byHost: map[string][]place{name: nil}, public: name}
}

// add registers an upstream under its hosts and paths.
func (p *places) add(u *upstream, c config.Upstream) {
	hosts, paths := c.Hosts, c.Paths
	if len(hosts) == 0 {
		hosts = []string{p.public}
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, host := range hosts {
		list := p.byHost[hostName(host)]
		for _, path := range paths {
			list = append(list, place{strings.TrimRight(path, "/"), u})
		}
		slices.SortStableFunc(list, func(a, b place) int { return len(b.prefix) - len(a.prefix) })
		p.byHost[hostName(host)] = list
	}
}

// answer makes hosts known that other proxies have the applications of. The public URL's
// is one of them if no upstream is there.
func (p *places) answer(hosts []string) {
	p.behind = map[string]bool{p.public: len(p.byHost[p.public]) == 0}
	for _, host := range hosts {
		name := hostName(host)
		p.behind[name] = true
		if p.byHost[name] == nil {
			p.byHost[name] = nil
		}
	}
}

// asked reports whether another proxy may ask about a host. Rules are an upstream's or
// theirs, so about an upstream's host nobody may.
func (p *places) asked(host string) bool { return p.behind[hostName(host)] }

// knows reports whether the gateway answers for the Host header.
func (p *places) knows(host string) bool {
	_, known := p.byHost[hostName(host)]
	return known
}

// find returns the upstream with the longest path that r's path is at or below,
// or nil.
func (p *places) find(r *http.Request) *upstream {
	path := opaque(r.URL)
	for _, place := range p.byHost[hostName(r.Host)] {
		if below(path, place.prefix) {
			return place.upstream
		}
	}
	return nil
}

// below reports whether path is prefix or below it: "/healthy" is not below "/health".
func below(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// readings are all the ways in which an upstream may read the path, the one that is
// sent first: with encoded slashes as they are or as real ones, once more decoded,
// without parameters ("/a;b" is /a to some), empty segments and dots tidied up. A
// clean path without parameters reads the same in all of them.
func readings(u *url.URL) []string {
	first := opaque(u)
	out := []string{first}
	add := func(p string) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, p := range []string{first, u.Path, decoded(u.Path), decoded(decoded(u.Path))} {
		add(p)
		add(tidy(p))
		if i := strings.IndexAny(p, "?#"); i >= 0 { // who parses once more begins a query there
			p = p[:i]
			add(tidy(p))
		}
		if strings.Contains(p, "\\") {
			p = strings.ReplaceAll(p, "\\", "/")
			add(tidy(p))
		}
		if strings.Contains(p, ";") {
			add(tidy(plainSegments(p)))
		}
	}
	return out
}

// plainSegments is a path without the parameters of its segments (RFC 3986, section 3.3).
func plainSegments(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// decoded is a path decoded once more, as lenient servers do it: what is no escape
// stays as it is.
func decoded(p string) string {
	if d, err := url.PathUnescape(p); err == nil {
		return d
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if i+2 < len(p) {
			if d, err := url.PathUnescape(p[i : i+3]); p[i] == '%' && err == nil {
				b.WriteString(d)
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// tidy is a path without empty segments and dots; it keeps its slash at the end.
func tidy(p string) string {
	t := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && t != "/" {
		t += "/"
	}
	return t
}
