package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestForwarded(t *testing.T) {
	h := &Handler{o: Options{ForwardedHeader: "forwarded", TrustedProxies: []netip.Prefix{mustPrefix("10.0.0.0/8"), mustPrefix("fd00::/8")}}}
	const peer, alone = "10.0.0.1:5", "10.0.0.1"
	rows := []struct {
		name, peer string
		lines      []string
		remote     string
		via        string
	}{
		{"direct", "192.0.2.1:5", []string{"for=1.1.1.1"}, "192.0.2.1", "192.0.2.1"},
		{"unix socket", "@", []string{"for=1.1.1.1"}, "", ""},
		{"one proxy", peer, []string{"for=1.1.1.1"}, "1.1.1.1", "1.1.1.1, 10.0.0.1"},
		{"proxy says nothing", peer, nil, alone, alone},
		{"all parameters", peer, []string{`by=10.0.0.1;FOR=1.1.1.1;host="a,b;c=\"d\"";proto=https`}, "1.1.1.1", "1.1.1.1, 10.0.0.1"},
		{"extension", peer, []string{`secret=x;for=1.1.1.1;`}, "1.1.1.1", "1.1.1.1, 10.0.0.1"},
		{"v4 with port", peer, []string{`for="1.1.1.1:4711"`}, "1.1.1.1", "1.1.1.1, 10.0.0.1"},
		{"v4 in quotes, escaped", peer, []string{`for="1\.1.1.1"`}, "1.1.1.1", "1.1.1.1, 10.0.0.1"},
		{"v6", peer, []string{`for="[2001:db8::1]"`}, "2001:db8::1", "2001:db8::1, 10.0.0.1"},
		{"v6 with port", peer, []string{`for="[2001:db8::1]:4711"`}, "2001:db8::1", "2001:db8::1, 10.0.0.1"},
		{"hidden port", peer, []string{`for="[2001:db8::1]:_p-1"`}, "2001:db8::1", "2001:db8::1, 10.0.0.1"},
		{"mapped v4", peer, []string{`for="[::ffff:1.2.3.4]"`}, "1.2.3.4", "1.2.3.4, 10.0.0.1"},
		{"right-most untrusted", peer, []string{"for=127.0.0.1, for=6.6.6.6", "for=7.7.7.7;proto=http ,\tfor=\"[fd00::2]:80\""}, "7.7.7.7", "7.7.7.7, fd00::2, 10.0.0.1"},
		{"all trusted", peer, []string{"for=10.9.9.9,for=10.2.2.2"}, "10.9.9.9", "10.9.9.9, 10.2.2.2, 10.0.0.1"},
		{"unknown ends it", peer, []string{"for=1.1.1.1, for=unknown, for=10.2.2.2"}, "10.2.2.2", "10.2.2.2, 10.0.0.1"},
		{"hidden ends it", peer, []string{`for=1.1.1.1, for="_hidden:80", for=10.2.2.2`}, "10.2.2.2", "10.2.2.2, 10.0.0.1"},
		{"nobody named ends it", peer, []string{"for=1.1.1.1, proto=https, for=10.2.2.2"}, "10.2.2.2", "10.2.2.2, 10.0.0.1"},
		{"nothing ends it", peer, []string{"for=1.1.1.1, , for=10.2.2.2"}, "10.2.2.2", "10.2.2.2, 10.0.0.1"},
		{"an empty line ends it", peer, []string{"for=1.1.1.1", ""}, alone, alone},
		{"an open quote of the client's swallows nothing", peer, []string{`for="6.6.6.6, for=7.7.7.7`}, "7.7.7.7", "7.7.7.7, 10.0.0.1"},
		{"in a line of its own", peer, []string{`for=6.6.6.6;x="`, `for="[2001:db8::1]:80";host=""`}, "2001:db8::1", "2001:db8::1, 10.0.0.1"},
		{"with a backslash", peer, []string{`for=6.6.6.6;x="\`, `for=7.7.7.7`}, "7.7.7.7", "7.7.7.7, 10.0.0.1"},
		{"behind a trusted one", peer, []string{`for=6.6.6.6;x=", for=10.2.2.2`}, "10.2.2.2", "10.2.2.2, 10.0.0.1"},
		{"a comma in quotes", peer, []string{`for=7.7.7.7;host="x, for=6.6.6.6"`}, "7.7.7.7", "7.7.7.7, 10.0.0.1"},
		{"an escaped quote in quotes", peer, []string{`for=7.7.7.7;host="x\\\", for=6.6.6.6"`}, "7.7.7.7", "7.7.7.7, 10.0.0.1"},
		{"bounded", peer, []string{strings.Repeat("for=10.0.0.2,", 5000) + "for=10.0.0.3"}, "10.0.0.2", "*"},
	}
	for _, bad := range []string{
		`for=1.1.1.1 ;proto=http`, `for=1.1.1.1; proto=http`, `for = 1.1.1.1`, `for= 1.1.1.1`, `for`, `for=`, `for=""`, `=1.1.1.1`, `1.1.1.1`, `for:1.1.1.1`,
		`for=1.1.1.1:80`, `for=[2001:db8::1]`, `for=2001:db8::1`, `for="2001:db8::1"`, `for="[1.1.1.1]"`, `for="[2001:db8::1"`, `for="2001:db8::1]"`, `for="[]"`, `for="["`,
		`for="[2001:db8::1]80"`, `for="[2001:db8::1]:"`, `for="1.1.1.1:"`, `for="1.1.1.1:123456"`, `for="1.1.1.1:65536"`, `for="1.1.1.1:-1"`, `for="1.1.1.1:8_0"`, `for="1.1.1.1:_"`,
		`for="1.1.1.1:_a b"`, `for="[fe80::1%eth0]"`, `for=1.1.1.1;for=1.1.1.1`, `for=2.2.2.2;For=1.1.1.1`, `for="1.1.1.1`, `for=1.1.1.1"`, `for="1.1.1.1"x`, `for="1.1.1.1\"`,
		`for="1.1.1.1` + "\x00" + `"`, `for='1.1.1.1'`, `for=1.1.1`, `for=01.1.1.1`, `for=1.1.1.1;proto="`, `for=1.1.1.1;pro to=x`, `for=1.1.1.1;host=a:80`, `for=1.1.1.1/8`, `f%6fr=1.1.1.1`,
		`for=1.1.1.1` + pairs(maxPairs), "unknown", "for=Unknown", "for=_",
	} {
		rows = append(rows, struct {
			name, peer  string
			lines       []string
			remote, via string
		}{"malformed " + bad, peer, []string{"for=6.6.6.6, " + bad, "for=10.2.2.2"}, "10.2.2.2", "10.2.2.2, 10.0.0.1"})
	}
	for _, row := range rows {
		t.Run("FWD-10 "+row.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: row.peer, Header: http.Header{"Forwarded": row.lines, "X-Forwarded-For": {"6.6.6.6"}}}
			s := h.sender(r)
			want(t, "remote", s.remote, row.remote)
			if row.via == "*" {
				want(t, "FWD-12 hops", strings.Count(s.via, ","), maxHops)
				return
			}
			want(t, "via", s.via, row.via)
		})
	}
}

// pairs are n parameters.
func pairs(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(";x" + strings.Repeat("x", i) + "=y")
	}
	return b.String()
}

// TestForwardedOnly: of the two headers one is believed, and neither goes on as it came.
func TestForwardedOnly(t *testing.T) {
	for _, row := range []struct{ id, header, lines, via string }{
		{"FWD-10 Forwarded is not read", "", "Forwarded: for=6.6.6.6\r\n", "127.0.0.1"},
		{"FWD-10 Forwarded is not read beside the other", "x-forwarded-for", "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7, 127.0.0.1"},
		{"FWD-10 X-Forwarded-For is not read", "forwarded", "X-Forwarded-For: 6.6.6.6\r\n", "127.0.0.1"},
		{"FWD-10 X-Forwarded-For is not read beside the other", "forwarded", "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6, for=192.0.2.7;host=evil.test\r\n", "192.0.2.7, 127.0.0.1"},
		{"FWD-12 many elements", "forwarded", "Forwarded: " + strings.Repeat("for=6.6.6.6,", 4000) + "for=192.0.2.7\r\n", "192.0.2.7, 127.0.0.1"},
		{"FWD-13 other client addresses", "forwarded", "X-Real-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\nCF-Connecting-IP: 6.6.6.6\r\nClient-IP: 6.6.6.6\r\n" +
			"X-Client-IP: 6.6.6.6\r\nFastly-Client-IP: 6.6.6.6\r\nX-Forwarded: for=6.6.6.6\r\n", "127.0.0.1"},
		{"FWD-13 another spelling", "forwarded", "F-orwarded: for=6.6.6.7\r\nForwarded_: for=6.6.6.7\r\nX_Forwarded_For: 6.6.6.6\r\n", "127.0.0.1"},
	} {
		t.Run(row.id, func(t *testing.T) {
			g := newRig(t, func(o *Options) {
				o.TrustedProxies, o.ForwardedHeader = []netip.Prefix{mustPrefix("127.0.0.0/8")}, row.header
			})
			a := g.get("/x", aliceOnly+row.lines)
			want(t, "status", a.StatusCode, 200)
			h := g.last().Header
			want(t, "X-Forwarded-For", strings.Join(h["X-Forwarded-For"], "|"), row.via)
			want(t, "X-Forwarded-Host", h.Get("X-Forwarded-Host"), "gw.test")
			client, _, _ := strings.Cut(row.via, ",")
			want(t, "access line", g.lineOf(a).Remote, client)
			for name, values := range h {
				if s := strings.Join(values, ","); strings.Contains(s, "evil") || strings.Contains(s, "6.6.6.6") || name == "Forwarded" {
					t.Errorf("the upstream got %s: %s", name, s)
				}
			}
		})
	}
}

func TestForwardedHeaderUnknown(t *testing.T) {
	g := &rig{t: t}
	o := g.options("http://127.0.0.1:1")
	o.ForwardedHeader = "both"
	if _, err := New(o); err == nil {
		t.Error("a header that is not known was taken")
	}
}

// FuzzForwarded: what a client has sent changes nothing about what a trusted
// proxy has written behind it.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"", `for="`, `for=6.6.6.6;x="\`, `for=6.6.6.6, for=10.0.0.1`, `"`, `\"`, `a="b\\", c`, `;;,,==`} {
		f.Add(s, "a.test")
		f.Add("", s)
	}
	h := &Handler{o: Options{ForwardedHeader: "forwarded", TrustedProxies: []netip.Prefix{mustPrefix("10.0.0.0/8")}}}
	f.Fuzz(func(t *testing.T, sent, host string) {
		for _, c := range host {
			if c < ' ' || c == 0x7f {
				return // which no proxy reads in a Host
			}
		}
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(host)
		for _, written := range []string{"for=7.7.7.7", `for="[2001:db8::7]:80"`, `host="` + quoted + `";for="7.7.7.7:1"`, `for=7.7.7.7;host="` + quoted + `"`} {
			for _, lines := range [][]string{{sent, written}, {sent + ", " + written}, {sent + "," + written + ",for=10.2.2.2"}} {
				s := h.sender(&http.Request{RemoteAddr: "10.0.0.1:5", Header: http.Header{"Forwarded": lines}})
				if s.remote != "7.7.7.7" && s.remote != "2001:db8::7" {
					t.Errorf("%q comes from %s", lines, s.remote)
				}
			}
		}
	})
}
