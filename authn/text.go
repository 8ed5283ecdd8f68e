package authn

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxForeign bounds a foreign text in the log, in bytes.
const maxForeign = 300

// Bounded makes a foreign text fit for a log line: short, and with nothing in
// it that a terminal or a line-based tool would act upon.
func Bounded(s string) string {
	more := ""
	if len(s) > maxForeign {
		s, more = s[:maxForeign], "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s) + more
}

// Foreign is an error whose text may hold what a provider said. It prints [Bounded].
type Foreign struct{ Err error }

func (f Foreign) Error() string { return Bounded(f.Err.Error()) }

// Unwrap returns the error as it was.
func (f Foreign) Unwrap() error { return f.Err }

// MaxID bounds a subject, a username or an e-mail address in bytes.
const MaxID = 255

// CleanID says whether s can name somebody without being taken for another
// name: valid UTF-8, nothing invisible, no white space but plain inner spaces.
func CleanID(s string) bool {
	if s == "" || !utf8.ValidString(s) || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) || r > unicode.MaxASCII && unicode.IsSpace(r) || invisible(r) {
			return false
		}
	}
	return true
}

// invisible tells code points that show nothing, or that say "could not be
// decoded". Format characters, zero-width ones among them, are not graphic.
func invisible(r rune) bool {
	return r == utf8.RuneError || r == '\u2800' || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// FoldASCII lowers A to Z and nothing else, so that no letter of another script
// becomes one of them.
func FoldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// DisplayName drops a name that could draw over something else, and the space
// around one that could not.
func DisplayName(s string) string {
	s = strings.TrimSpace(s)
	if !CleanID(s) || len(s) > MaxID {
		return ""
	}
	return s
}

// EmailDomain returns the domain of a plain address, with A to Z lowered: one
// "@", nothing quoted, no comment, and an ASCII host name after it.
func EmailDomain(email string) (string, bool) {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || strings.ContainsAny(local, "\"(),:;<>@[\\] ") || len(domain) > 253 {
		return "", false
	}
	domain = FoldASCII(domain)
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notHost) {
			return "", false
		}
	}
	return domain, true
}

func notHost(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-')
}

// AddressOf is the client's address of a request that has been through the gateway's
// front, which sets RemoteAddr. The port there means nothing and is left out.
func AddressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr // it came over a socket
	}
	return host
}

// LogOf is a log that tells a request from others: by its id, and the client's address.
func LogOf(log *slog.Logger, r *http.Request) *slog.Logger {
	return log.With("request_id", r.Header.Get("X-Request-Id"), "remote", AddressOf(r))
}

// OneClient is what an address counts as where clients are counted: of IPv6 the first
// half, since who has one address there has 2^64.
func OneClient(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	half, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return half.Addr()
}

// AppendOneLine appends JSON in which whatever some readers take for the end of a line,
// or a terminal for a command, is escaped: U+2028, U+2029, and the control characters
// U+0080 to U+009F, which JSON itself lets stand.
func AppendOneLine(to, json []byte) []byte {
	if bytes.IndexByte(json, "\u0080"[0]) < 0 && bytes.IndexByte(json, "\u2028"[0]) < 0 {
		return append(to, json...) // as nearly always
	}
	odd := func(r rune) bool { return r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' }
	for {
		i := bytes.IndexFunc(json, odd)
		if i < 0 {
			return append(to, json...)
		}
		r, size := utf8.DecodeRune(json[i:])
		to = fmt.Appendf(append(to, json[:i]...), `\u%04x`, r)
		json = json[i+size:]
	}
}
