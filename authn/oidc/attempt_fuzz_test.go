package oidc

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzAttempt: no cookie that we did not seal is an attempt, and every attempt
// comes back as it was.
func FuzzAttempt(f *testing.F) {
	f.Add("state", "nonce", "/landing", "x.y")
	f.Add(strings.Repeat("s", 43), "", "/?a=1", "")
	f.Add("\x00", "\xff", "//evil.test", "AAAA")
	f.Fuzz(func(t *testing.T, state, nonce, landing, forged string) {
		r := newRig(t)
		name := r.o.attemptCookie(state)
		if strings.ContainsAny(name, " ;=,\r\n\t") || len(name) > 100 {
			t.Fatalf("cookie name %q", name)
		}
		if a, ok := r.o.openAttempt(&http.Cookie{Name: name, Value: forged}); ok {
			t.Fatalf("a forged cookie is %+v", a)
		}
		in := attempt{State: state, Nonce: nonce, Route: "main", Landing: landing, Made: time.Now().Unix()}
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, signInPath, nil)
		req.Header.Set("Cookie", name+"="+strings.Map(func(c rune) rune {
			if c <= ' ' || c >= 0x7f || strings.ContainsRune(`";,\`, c) {
				return 'x'
			}
			return c
		}, forged))
		if err := r.o.keepAttempt(rec, req, in); err != nil {
			return // not valid UTF-8: never made by us
		}
		back := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, c := range rec.Result().Cookies() {
			if c.MaxAge >= 0 {
				back.AddCookie(c)
			}
		}
		out, ok := r.o.findAttempt(back, state)
		if out.Landing == "/" && (len(landing) > 500 || !utf8.ValidString(landing)) {
			in.Landing = "/" // it would not fit
		}
		if want := len(state) == 43 && nonce != ""; ok != want || ok && !cmp.Equal(out, in) {
			t.Errorf("found %v: %+v, want %+v", ok, out, in)
		}
	})
}
