package session_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFormer(t *testing.T) {
	inMemory(t, "OIDC-38 a sign-in that comes back without its cookies", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		former := r.two.Former(request(alice))
		if len(former) != 1 {
			t.Fatalf("Former = %q", former)
		}
		w := httptest.NewRecorder()
		if err := r.one.Start(w, request(), person("bob"), former...); err != nil {
			t.Fatal(err)
		}
		r.rejected(t, r.one, alice)
		r.accepted(t, r.two, "bob-1", w.Result().Cookies()[0])
	})
	inMemory(t, "SES-32 a reference is no credential", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		ref := r.one.Former(request(alice))[0]
		r.rejected(t, r.one, &http.Cookie{Name: cookieName, Value: ref})
		if strings.Contains(alice.Value, ref) {
			t.Error("the reference is part of the cookie")
		}
	})
	inMemory(t, "only genuine cookies have one, and few", func(t *testing.T, r *rig) {
		var jar []*http.Cookie
		for range 6 {
			jar = append(jar, &http.Cookie{Name: cookieName, Value: "forged"}, r.signIn(t, person("alice")))
		}
		if former := r.one.Former(request(jar...)); len(former) != 4 {
			t.Errorf("Former = %q", former)
		}
		if former := r.one.Former(request(jar[0])); len(former) != 0 {
			t.Errorf("Former = %q of a forged cookie", former)
		}
	})
	inMemory(t, "what is no reference ends nothing", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		ref := r.one.Former(request(alice))[0]
		for _, bad := range []string{
			"", "*", ref[1:], ref + "=", "\n" + ref[1:], ref[:42] + "\n", ref[:42] + "=", ref[:42] + "B", ref + "\n", strings.Repeat("A", 1<<16),
			ref[:43] + ".", ref[:43] + ".*.QQ", ref[:43] + ".QQ.*", ref + ".QQ",
		} {
			w := httptest.NewRecorder()
			if err := r.one.Start(w, request(), person("bob"), ref, bad); !outage(err) || len(w.Header()) != 0 {
				t.Errorf("%.50q: %v, %v", bad, err, w.Header())
			}
		}
		r.accepted(t, r.one, "alice-1", alice)
	})
	inMemory(t, "a reference without a person", func(t *testing.T, r *rig) {
		stranger := person("alice")
		stranger.Identity.Subject = strings.Repeat("a", 300)
		alice, long := r.signIn(t, person("alice")), r.signIn(t, stranger)
		r.store.fail("get", errDown)
		unknown := r.one.Former(request(alice))
		r.store.fail("get", nil)
		refs := append(unknown, r.one.Former(request(long))...)
		for _, ref := range refs {
			if len(ref) != 43 {
				t.Errorf("the reference is %q", ref)
			}
		}
		if err := r.one.Start(httptest.NewRecorder(), request(), person("bob"), refs...); err != nil {
			t.Fatal(err)
		}
		r.rejected(t, r.one, alice)
		r.rejected(t, r.one, long)
	})
	inMemory(t, "RDS-06 a former session that can't be ended", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		r.store.fail("delete", errDown)
		w := httptest.NewRecorder()
		if err := r.one.Start(w, request(), person("bob"), r.one.Former(request(alice))...); !outage(err) || len(w.Header()) != 0 {
			t.Errorf("%v, %v", err, w.Header())
		}
	})
}
