package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestCookieLines(t *testing.T) {
	own := cookieName
	rows := []struct{ id, in, out string }{
		{"HDR-27 alone", own + "=x", ""},
		{"HDR-27 first", own + "=x; a=1; b=2", "a=1; b=2"},
		{"HDR-27 middle", "a=1; " + own + "=x; b=2", "a=1; b=2"},
		{"HDR-27 last", "a=1;  b=2; " + own + "=x", "a=1;  b=2"},
		{"HDR-27 attempts", own + "_attempt_1=x;" + own + "_attempt_2=y;a=1", "a=1"},
		{"HDR-27 near names", own + "2=x; x" + own + "=y; " + own + "-b=z", own + "2=x; x" + own + "=y; " + own + "-b=z"},
		{"SES-11 twice", own + "=x; a=1; " + own + "=y", "a=1"},
		{"SES-14 inside quotes", `$Version=1; a="x; ` + own + `=secret; b=y"`, `$Version=1; a="x; b=y"`},
		{"SES-14 quotes around", `a="1"; ` + own + `="x"; c="d e"`, `a="1"; c="d e"`},
		{"SES-16 spaces around the name", " \t" + own + " = x; a=1", "a=1"},
		{"SES-17 nothing but signs", ";;=;", ";;=;"},
		{"SES-17 signs and ours", ";;=;" + own + "=x;", ";;=;"},
		{"SES-17 no name", "=" + own + "=x; a=1", "a=1"},
		{"SES-17 odd bytes", "a=\xff\x80; " + own + "=x; b=,", "a=\xff\x80; b=,"},
		{"untouched", `a=1;b="x y";  c=;d`, `a=1;b="x y";  c=;d`},
	}
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			h := http.Header{"Cookie": {row.in}}
			dropCookies(h, own)
			want(t, "Cookie", h.Get("Cookie"), row.out)
			_, there := h["Cookie"]
			want(t, "present", there, row.out != "")
		})
	}
	t.Run("SES-17 several lines", func(t *testing.T) {
		h := http.Header{"Cookie": {"a=1", own + "=x", "b=2; " + own + "=y"}}
		dropCookies(h, own)
		want(t, "lines", strings.Join(h["Cookie"], "|"), "a=1|b=2")
		h = http.Header{}
		dropCookies(h, own)
		want(t, "none", len(h), 0)
	})
	t.Run("SES-15 SES-17 three thousand cookies", func(t *testing.T) {
		g := newRig(t, nil)
		var many strings.Builder
		for i := range 3001 {
			fmt.Fprintf(&many, "c%d=%d; ", i, i)
		}
		g.get("/x", "Authorization: Bearer alice\r\nCookie: "+many.String()+own+"_0=x\r\n")
		if s := g.last().Header.Get("Cookie"); s != strings.TrimSuffix(many.String(), "; ") {
			t.Errorf("got %d bytes of cookies", len(s))
		}
	})
}

func TestCaches(t *testing.T) {
	rows := []struct {
		id   string
		in   []string
		want string
	}{
		{"WEB-01 silent", nil, "private"},
		{"WEB-01 public", []string{"public, max-age=60"}, "max-age=60, private"},
		{"WEB-01 s-maxage", []string{"S-MaxAge=600, max-age=5"}, "max-age=5, private"},
		{"WEB-01 several lines", []string{"public", "max-age=60"}, "max-age=60, private"},
		{"WEB-01 private for some headers only", []string{`private="x, set-cookie", max-age=60`}, "max-age=60, private"},
		{"WEB-01 quoted", []string{`ext="public, private", max-age=1`}, `ext="public, private", max-age=1, private`},
		{"immutable", []string{"public, max-age=31536000, immutable"}, "max-age=31536000, immutable, private"},
		{"private already", []string{"max-age=60, Private"}, "max-age=60, Private"},
		{"not stored", []string{"no-store"}, "no-store"},
		{"no-cache", []string{"no-cache"}, "no-cache, private"},
		{"empty", []string{" , ,"}, "private"},
	}
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			h := http.Header{"Cdn-Cache-Control": {"max-age=60"}, "Surrogate-Control": {"max-age=60"}, "Vary": {"Accept"}}
			if row.in != nil {
				h["Cache-Control"] = row.in
			}
			keepPrivate(h)
			want(t, "Cache-Control", strings.Join(h["Cache-Control"], "|"), row.want)
			want(t, "CDN", h.Get("Cdn-Cache-Control")+h.Get("Surrogate-Control"), "")
			want(t, "Vary", h.Get("Vary"), "Accept")
		})
	}
	g := newRig(t, nil)
	g.up.then = func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "public, max-age=60") }
	for path, control := range map[string]string{
		"/account/x.css": "max-age=60, private", "/account%2fx.css": "max-age=60, private", "/account;x.css": "max-age=60, private",
		"/public/x": "public, max-age=60",
	} {
		g.sub("WEB-03 cache deception "+path, func(t *testing.T, g *rig) {
			want(t, "Cache-Control", g.get(path, aliceOnly).Header.Get("Cache-Control"), control)
		})
	}
	g.sub("WEB-02 refusals are not stored", func(t *testing.T, g *rig) {
		for _, more := range []string{"", navigation, "Cookie: " + cookieName + "=outage\r\n"} {
			want(t, more, g.get("/x", more).Header.Get("Cache-Control"), "no-store")
		}
	})
}
