package oidc

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

func TestAllow(t *testing.T) {
	for name, c := range map[string]struct {
		domains, groups []string
		email           string
		in              []string
		allowed         bool
	}{
		"anybody":                   {nil, nil, "", nil, true},
		"domain":                    {[]string{"corp.test"}, nil, "x@corp.test", nil, true},
		"IDT-14 case":               {[]string{"Corp.test"}, nil, "x@CORP.TEST", nil, true},
		"IDT-14 suffix":             {[]string{"corp.test"}, nil, "x@evilcorp.test", nil, false},
		"IDT-14 prefix":             {[]string{"corp.test"}, nil, "x@corp.test.evil", nil, false},
		"IDT-14 trailing dot":       {[]string{"corp.test"}, nil, "x@corp.test.", nil, false},
		"IDT-14 subdomain":          {[]string{"corp.test"}, nil, "x@a.corp.test", nil, false},
		"IDT-13 two at signs":       {[]string{"corp.test"}, nil, "x@evil.test@corp.test", nil, false},
		"IDT-15 kelvin":             {[]string{"kelvin.test"}, nil, "x@\u212aelvin.test", nil, false},
		"IDT-25 no address":         {[]string{"corp.test"}, nil, "", nil, false},
		"subdomains":                {[]string{"*.corp.test"}, nil, "x@a.b.corp.test", nil, true},
		"subdomains, not it":        {[]string{"*.corp.test"}, nil, "x@corp.test", nil, false},
		"subdomains, not like it":   {[]string{"*.corp.test"}, nil, "x@evilcorp.test", nil, false},
		"one of two":                {[]string{"a.test", "b.test"}, nil, "x@b.test", nil, true},
		"group":                     {nil, []string{"admins"}, "", []string{"x", "admins"}, true},
		"IDT-25 no groups":          {nil, []string{"admins"}, "", nil, false},
		"HDR-18 case":               {nil, []string{"admins"}, "", []string{"Admins", " admins"}, false},
		"HDR-17 separator":          {nil, []string{"admins"}, "", []string{"x,admins"}, false},
		"both needed":               {[]string{"corp.test"}, []string{"admins"}, "x@corp.test", []string{"guests"}, false},
		"both there":                {[]string{"corp.test"}, []string{"admins"}, "x@corp.test", []string{"admins"}, true},
		"one group of three needed": {nil, []string{"a", "b", "c"}, "", []string{"c"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPolicy(config.OIDC{AllowedEmailDomains: c.domains, AllowedGroups: c.groups})
			err := p.allow(authn.Identity{Subject: "s", Email: c.email, Groups: c.in})
			var no *authn.NotAllowed
			if (err == nil) != c.allowed || err != nil && !errors.As(err, &no) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("what is missing", func(t *testing.T) {
		for want, c := range map[string]config.OIDC{
			"You need a verified e-mail address in a.test or *.b.test.": {AllowedEmailDomains: []string{"A.test", "*.b.test"}},
			"You need to be in the group a, b or c.":                    {AllowedGroups: []string{"a", "b", "c"}},
			"You need to be in the group a.":                            {AllowedGroups: []string{"a"}},
		} {
			var no *authn.NotAllowed
			if err := newPolicy(c).allow(authn.Identity{}); !errors.As(err, &no) || no.Missing != want {
				t.Errorf("%v", err)
			}
		}
	})
}

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
	if _, err := r.o.provider.discover(); err != nil {
		t.Fatal(err)
	}
	if target := b.start("?switch=1"); !strings.Contains(target, "prompt=login") {
		t.Errorf("switch: %s", target)
	}
}
