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
		r.store.since()
		former := r.two.Former(request(alice))
		if len(former) != 1 || len(r.store.since()) != 0 {
			t.Fatalf("Former = %q, or the store was asked", former)
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
			"", "*", ref[1:], ref + "A", "\n" + ref[1:], ref[:42] + "\n", ref[:42] + "=", ref[:42] + "B", ref + "\n", strings.Repeat("A", 1<<16),
		} {
			w := httptest.NewRecorder()
			if err := r.one.Start(w, request(), person("bob"), ref, bad); !outage(err) || len(w.Header()) != 0 {
				t.Errorf("%.50q: %v, %v", bad, err, w.Header())
			}
		}
		r.accepted(t, r.one, "alice-1", alice)
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
