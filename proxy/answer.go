package proxy

import (
	"net/http"
	"strings"
)

// dropCookies removes the gateway's cookies from Cookie lines and leaves every
// other byte as it is. Quotes mean nothing here: a cookie inside somebody
// else's quotes is dropped too.
func dropCookies(h http.Header, own string) {
	lines := h["Cookie"]
	kept := lines[:0]
	for _, line := range lines {
		if strings.Contains(line, own) {
			line = withoutCookies(line, own)
		}
		if line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func withoutCookies(line, own string) string {
	var b strings.Builder
	kept, dropped := 0, 0
	for pair := range strings.SplitSeq(line, ";") {
		switch {
		case ownCookie(pair, own):
			dropped++
			continue
		case kept > 0:
			b.WriteByte(';')
		case dropped > 0:
			pair = strings.TrimLeft(pair, " \t")
		}
		kept++
		b.WriteString(pair)
	}
	return b.String()
}

// ownCookie reports whether a pair of a Cookie or Set-Cookie line names a cookie
// of the gateway. A cookie without a name comes back from the browser as if its
// value were name and value.
func ownCookie(pair, own string) bool {
	pair = strings.TrimLeft(pair, "= \t")
	rest, found := strings.CutPrefix(pair, own)
	if !found {
		return false
	}
	name, _, _ := strings.Cut(rest, "=")
	name = strings.TrimRight(name, " \t")
	return name == "" || name[0] == '_'
}

// cleanResponse removes what an upstream may not tell the client: cookies of
// the gateway, identity headers, a request id of its own, and another address
// for the same service (RFC 7838), which would lead around the gateway.
func (h *Handler) cleanResponse(header http.Header) {
	delete(header, "Alt-Svc")
	delete(header, "X-Request-Id")
	for name := range header {
		if h.answers.protects(name) {
			delete(header, name)
		}
	}
	lines := header["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	kept := lines[:0]
	for _, line := range lines {
		if pair, _, _ := strings.Cut(line, ";"); !ownCookie(pair, h.o.Cookie) {
			kept = append(kept, line)
		}
	}
	if header["Set-Cookie"] = kept; len(kept) == 0 {
		delete(header, "Set-Cookie")
	}
}

// cleanTrailer removes from an answer's trailers what may not stand there. The
// server finds them among the headers, some under http.TrailerPrefix.
func (h *Handler) cleanTrailer(header http.Header) {
	for name := range header {
		plain, prefixed := strings.CutPrefix(name, http.TrailerPrefix)
		if prefixed && !h.names.trailer(http.CanonicalHeaderKey(plain)) || h.answers.protects(plain) {
			delete(header, name)
		}
	}
}

// dropHopByHop removes the headers of an answer that are meant for this hop
// alone (RFC 9110, section 7.6.1) from one that switches to WebSocket, where
// httputil.ReverseProxy leaves them in.
func dropHopByHop(header http.Header) {
	for _, line := range header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); !strings.EqualFold(name, "upgrade") {
				header.Del(name)
			}
		}
	}
	for _, name := range []string{
		"Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Content-Length",
	} {
		delete(header, name)
	}
	header["Connection"] = []string{"Upgrade"}
	header["Upgrade"] = []string{"websocket"}
}

// keepPrivate keeps an answer that was made for one person out of caches that
// others use (RFC 9111, section 3.5 does so only for Authorization, not for
// cookies). What is private already stays as it is; everything else becomes
// private. How long the person's own browser keeps it is not touched.
func keepPrivate(header http.Header) {
	// for caches that obey these before Cache-Control (RFC 9213)
	for _, name := range []string{"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control", "X-Accel-Expires"} {
		delete(header, name)
	}
	directives := splitDirectives(header["Cache-Control"])
	kept := make([]string, 0, len(directives)+1)
	for _, d := range directives {
		name, _, _ := strings.Cut(strings.ToLower(d), "=")
		switch {
		case strings.EqualFold(d, "private"), name == "no-store":
			return
		case name == "public", name == "s-maxage", name == "private":
			// "private" with names of headers lets the rest be shared
		default:
			kept = append(kept, d)
		}
	}
	header["Cache-Control"] = []string{strings.Join(append(kept, "private"), ", ")}
}

// splitDirectives splits Cache-Control at the commas that are not quoted.
func splitDirectives(lines []string) []string {
	var out []string
	for _, line := range lines {
		quoted, start := false, 0
		for i := 0; i <= len(line); i++ {
			if i < len(line) && line[i] == '"' {
				quoted = !quoted
			}
			if i == len(line) || line[i] == ',' && !quoted {
				if d := strings.TrimSpace(line[start:i]); d != "" {
					out = append(out, d)
				}
				start = i + 1
			}
		}
	}
	return out
}
