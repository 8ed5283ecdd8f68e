package proxy

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"gatehouse/config"
	"gatehouse/proxy/policy"
)

// FuzzScrub: no header that survives reads as a protected name.
func FuzzScrub(f *testing.F) {
	for _, name := range slices.Concat(identityNames(), forwardingNames(), identityFamilies(), properNames(), overrideNames()) {
		f.Add(name)
		f.Add(strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "x")
	}
	f.Add("X\xffForwarded\x00User")
	lower := func(s string) string {
		b := []byte(asciiLower(s))
		for i, c := range b {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", rune(c)) {
				b[i] = '-'
			}
		}
		return string(b)
	}
	n := guarded([]string{"X-Auth-User", "x_own.name"})
	whole := append(slices.Concat(identityNames(), forwardingNames()), "x-auth-user", "x-own-name")
	families := slices.Concat(identityFamilies(), forwardingFamilies())
	f.Fuzz(func(t *testing.T, name string) {
		h := http.Header{name: {"eve"}, http.CanonicalHeaderKey(name): {"eve"}, "Accept": {"x"}}
		n.scrub(h)
		if _, ok := h["Accept"]; !ok {
			t.Fatal("Accept is gone")
		}
		for left := range h {
			folded := lower(left)
			if slices.Contains(whole, folded) {
				t.Errorf("%q reads as %s", left, folded)
			}
			if slices.Contains(properNames(), folded) && strings.Trim(asciiLower(left), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				t.Errorf("%q reads as %s", left, folded)
			}
			for _, family := range families {
				if strings.HasPrefix(folded, family) {
					t.Errorf("%q reads as %s…", left, family)
				}
			}
		}
	})
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 32
		}
	}
	return string(b)
}

// FuzzTarget: what is public stays below the public path however an upstream
// reads it, and what is sent is what was decided on.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"/public/x", "/public/../admin", "/public/..%2fadmin", "/public/%252e%252e/x", `/public/..\x`, "/public/..;/x", "/public//x", "/a%2Fb{c}",
		"http://gw.test/public/x", "//public/x", "/public/%zz", "/public/x?y#z", "/public/\xff", "/public/.%00./x", "*", "/health;x", "/public/a b",
	} {
		f.Add(s)
	}
	rules := policy.New(nil, []config.Rule{{Paths: []string{"/public/", "/health"}, Access: "public"}})
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		clean, bad := checkTarget(target, u)
		if bad.status != 0 {
			return
		}
		sent := u.EscapedPath()
		if back, err := url.PathUnescape(sent); err != nil || back != u.Path {
			t.Fatalf("%q is sent as %q, which reads as %q, not %q", target, sent, back, u.Path)
		}
		if u.RawPath != "" && sent != u.RawPath || strings.ContainsAny(sent, " #?\\\r\n") || !utf8.ValidString(u.Path) {
			t.Fatalf("%q is sent as %q", target, sent)
		}
		if again, err := url.ParseRequestURI(sent); err != nil || again.Path != u.Path {
			t.Fatalf("%q does not parse again: %v", sent, err)
		}
		rule, err := rules.Find(policy.Place{Host: gwHost, Method: "GET", Paths: readings(u), Unclear: !clean})
		if err != nil || !clean || !rule.Public {
			return
		}
		for _, read := range careless(sent) {
			if read != "/health" && !strings.HasPrefix(read+"/", "/public/") {
				t.Errorf("%q is public and may read as %q", target, read)
			}
		}
	})
}

// careless are the paths that careless servers make of what is sent.
func careless(sent string) []string {
	escape := regexp.MustCompile("%[0-9A-Fa-f]{2}")
	var out []string
	for p, depth := sent, 0; depth < 3; depth++ {
		slashed := strings.ReplaceAll(p, `\`, "/")
		var bare []string
		for segment := range strings.SplitSeq(slashed, "/") {
			segment, _, _ = strings.Cut(segment, ";")
			bare = append(bare, segment)
		}
		cut, _, _ := strings.Cut(slashed, "\x00")
		if !strings.Contains(sent, ";") {
			bare = nil
		}
		for _, q := range []string{p, slashed, cut, strings.Join(bare, "/")} {
			if q != "" {
				out = append(out, path.Clean(q))
			}
		}
		p = escape.ReplaceAllStringFunc(p, func(e string) string { // and what is none stays, as PHP and Python have it
			b, err := hex.DecodeString(e[1:])
			if err != nil {
				return e
			}
			return string(b)
		})
	}
	return out
}

// FuzzHeaderValue: a value is printable ASCII, survives trimming and decodes to
// what it was; groups split at the separator before they are decoded.
func FuzzHeaderValue(f *testing.F) {
	for _, s := range []string{"", "a", " a ", "a,b", "100%", "ü\x00\r\n", "\xff", "a;b|c", "%2C", "  ", "a  "} {
		f.Add(s, "b,c", byte(0))
	}
	f.Fuzz(func(t *testing.T, one, two string, which byte) {
		separator := ",;|"[which%3]
		for _, value := range []string{encode(one, 0), encode(one, separator)} {
			if back, err := url.PathUnescape(value); err != nil || back != one {
				t.Errorf("%q became %q, which reads as %q, %v", one, value, back, err)
			}
			if strings.TrimSpace(value) != value || strings.Trim(value, printable) != "" {
				t.Errorf("%q became %q", one, value)
			}
		}
		if strings.IndexByte(encode(one, separator), separator) >= 0 {
			t.Errorf("a separator inside %q", encode(one, separator))
		}
		var want, got []string
		for _, g := range []string{one, two} {
			if g != "" {
				want = append(want, g)
			}
		}
		if joined := (contract{separator: separator}).list([]string{one, "", two}); joined != "" {
			for g := range strings.SplitSeq(joined, string(separator)) {
				g, _ = url.PathUnescape(g)
				got = append(got, g)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q became %q", want, got)
		}
	})
}

const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

// FuzzCookies: none of ours is left, all others are, byte for byte and in order.
func FuzzCookies(f *testing.F) {
	for _, s := range []string{
		"a=1; __Host-gatehouse=x; b=2", `a="x; __Host-gatehouse=y; b"`, ";;=", "=__Host-gatehouse=x", "__Host-gatehouse_attempt_1=x",
		"__Host-gatehouse2=x;", " __Host-gatehouse =x", "\t;__Host-gatehouse",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line}}
		dropCookies(h, cookieName)
		var want []string
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
			name = strings.TrimRight(name, " \t")
			if name != cookieName && !strings.HasPrefix(name, cookieName+"_") {
				want = append(want, pair)
			}
		}
		if got, w := strings.TrimLeft(h.Get("Cookie"), " \t"), strings.TrimLeft(strings.Join(want, ";"), " \t"); got != w {
			t.Errorf("%q became %q, want %q", line, got, w)
		}
	})
}
