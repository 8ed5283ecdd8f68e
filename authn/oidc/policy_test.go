package oidc

import (
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
)

// TestRefused: who may not come in is told so, and may come as somebody else.
func TestRefused(t *testing.T) {
	r := newRig(t, func(s *setup) { s.oidc.AllowedGroups = []string{"staff"} })
	b := r.browser()
	a := b.signIn("?rd=/x")
	r.refused(a, 403)
	if !strings.Contains(a.body, "staff") || !strings.Contains(a.body, "/.gatehouse/sign-in/main?rd=%2Fx&amp;switch=1") || a.location() != "" {
		t.Errorf("IDT-25: %s", a.body)
	}
	if err := r.route.Allow(authn.Identity{Groups: []string{"staff"}}); err != nil {
		t.Error(err)
	}
	if err := r.route.Allow(authn.Identity{Groups: []string{"admins"}}); err == nil {
		t.Error("the route lets in who the callback does not")
	}
	if target := b.start("?rd=/x&switch=1"); !strings.Contains(target, "prompt=select_account") {
		t.Errorf("switch: %s", target)
	}
	r.issuer.Set(func(f *authntest.Faults) {
		f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["prompt_values_supported"] = []string{"login"} })
	})
	if _, err := r.o.provider.discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if target := b.start("?switch=1"); !strings.Contains(target, "prompt=login") {
		t.Errorf("switch: %s", target)
	}
}
