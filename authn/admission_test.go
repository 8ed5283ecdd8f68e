package authn_test

import (
	"errors"
	"testing"

	"gatehouse/authn"
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
			p := authn.NewAdmission(c.domains, c.groups, false)
			err := p.Allow(authn.Identity{Subject: "s", Email: c.email, Groups: c.in})
			var no *authn.NotAllowed
			if (err == nil) != c.allowed || err != nil && !errors.As(err, &no) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("folded groups", func(t *testing.T) {
		a := authn.NewAdmission(nil, []string{"ML-Team", "kelvin"}, true)
		for group, in := range map[string]bool{"ml-team": true, "ML-TEAM": true, "ml-teams": false, "\u212aelvin": false} {
			if err := a.Allow(authn.Identity{Groups: []string{group}}); (err == nil) != in {
				t.Errorf("%q: %v", group, err)
			}
		}
	})
	t.Run("what is missing", func(t *testing.T) {
		for want, a := range map[string]authn.Admission{
			"You need a verified e-mail address in a.test or *.b.test.": authn.NewAdmission([]string{"A.test", "*.b.test"}, nil, false),
			"You need to be in the group a, b or c.":                    authn.NewAdmission(nil, []string{"a", "b", "c"}, false),
			"You need to be in the group a.":                            authn.NewAdmission(nil, []string{"a"}, true),
		} {
			var no *authn.NotAllowed
			if err := a.Allow(authn.Identity{}); !errors.As(err, &no) || no.Missing != want {
				t.Errorf("%v", err)
			}
		}
	})
}
