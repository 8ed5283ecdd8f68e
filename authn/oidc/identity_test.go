package oidc

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// mapped maps claims, written as JSON, with these settings.
func mapped(t *testing.T, c config.OIDC, text string, foreign ...string) (authn.Identity, error) {
	t.Helper()
	id, err := issuer.ParseClaims([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m := newMapping("main", withDefaults(c), foreign, nil)
	p, err := m.profile(source{Claims: id})
	if err != nil {
		return authn.Identity{}, err
	}
	who, err := m.identity(id, p)
	if err != nil {
		return authn.Identity{}, err
	}
	return who, m.missingGroups(p, source{Claims: id})
}

func TestClaimNames(t *testing.T) {
	const text = `{"sub":"s","iat":1700000000,"oid":"o","cognito:groups":["c"],"https://example.com/groups":["ns"],
		"realm_access":{"roles":["r"],"deep.er":{"x":["d"]}},"realm_access.other":["exact"],"urn.a":{"b":["no"]},
		"resource_access":{"gw":{"roles":["gw"]}},"upn":"u"}`
	for name, c := range map[string]struct {
		groups string
		want   []string
	}{
		"exact":             {"cognito:groups", []string{"c"}},
		"namespaced":        {"https://example.com/groups", []string{"ns"}},
		"path":              {"realm_access.roles", []string{"r"}},
		"longer path":       {"resource_access.gw.roles", []string{"gw"}},
		"exact before path": {"realm_access.other", []string{"exact"}},
		"dots in names":     {"realm_access.deep.er.x", []string{"d"}},
		"dots at first":     {"urn.a.b", []string{"no"}},
		"nothing there":     {"realm_access.none", nil},
		"into a list":       {"cognito:groups.0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapped(t, config.OIDC{Claims: config.Claims{Groups: c.groups, Subject: "oid", Username: "upn"}}, text)
			if err != nil || !slices.Equal(got.Groups, c.want) || got.Subject != "o" || got.Username != "u" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	t.Run("subject claim absent", func(t *testing.T) {
		if _, err := mapped(t, config.OIDC{Claims: config.Claims{Subject: "oid2"}}, text); err == nil {
			t.Error("accepted")
		}
	})
}

func TestClaimTypes(t *testing.T) {
	for name, text := range map[string]string{
		"HDR-19 groups string":      `{"sub":"s","groups":"admin"}`,
		"HDR-19 groups object":      `{"sub":"s","groups":{"0":"admin"}}`,
		"HDR-19 groups nested":      `{"sub":"s","groups":[["admin"]]}`,
		"HDR-19 groups number":      `{"sub":"s","groups":5}`,
		"HDR-19 groups with null":   `{"sub":"s","groups":["a",null]}`,
		"HDR-19 email list":         `{"sub":"s","email":["a@x.test"],"email_verified":true}`,
		"HDR-19 sub number":         `{"sub":42}`,
		"HDR-19 username number":    `{"sub":"s","preferred_username":42}`,
		"HDR-19 username list":      `{"sub":"s","preferred_username":["ada"]}`,
		"HDR-19 name object":        `{"sub":"s","name":{}}`,
		"HDR-29 sub empty":          `{"sub":""}`,
		"HDR-29 sub absent":         `{}`,
		"IDT-07 sub null":           `{"sub":null}`,
		"IDT-16 newline in e-mail":  `{"sub":"s","email":"alice@corp.test\n","email_verified":true}`,
		"IDT-16 leading space":      `{"sub":"s","preferred_username":" alice"}`,
		"IDT-16 no-break space":     `{"sub":"s","preferred_username":"alice\u00a0"}`,
		"IDT-16 unverified newline": `{"sub":"s","email":"alice@corp.test\n"}`,
		"IDT-15 zero width":         `{"sub":"s","preferred_username":"ad\u200bmin"}`,
		"IDT-15 direction":          `{"sub":"s","preferred_username":"\u202enimda"}`,
		"IDT-15 filler":             `{"sub":"s","preferred_username":"a\u3164"}`,
		"IDT-15 blank":              `{"sub":"s","preferred_username":"a\u2800b"}`,
		"IDT-15 variation":          `{"sub":"s","preferred_username":"a\ufe0f"}`,
		"IDT-15 undecodable":        `{"sub":"s","preferred_username":"a\ufffd"}`,
		"username too long":         `{"sub":"s","preferred_username":"` + strings.Repeat("a", 256) + `"}`,
		"HDR-15 line in a group":    `{"sub":"s","groups":["a\r\nX-Auth-Groups: admin"]}`,
		"HDR-16 NUL in a group":     `{"sub":"s","groups":["a\u0000"]}`,
		"auth_time text":            `{"sub":"s","auth_time":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := mapped(t, config.OIDC{}, text); err == nil {
				t.Errorf("accepted: %+v", got)
			}
		})
	}
	for name, c := range map[string]struct {
		text string
		want authn.Identity
	}{
		"null is absent": {`{"sub":"s","groups":null,"email":null,"name":null,"preferred_username":null}`, authn.Identity{Subject: "s"}},
		"HDR-18 empty is absent": {`{"sub":"s","groups":["","a",""],"email":"","name":"","preferred_username":""}`,
			authn.Identity{Subject: "s", Groups: []string{"a"}}},
		"HDR-18 groups as they are": {`{"sub":"s","groups":["ADMIN"," admin","admin ","a,b"]}`,
			authn.Identity{Subject: "s", Groups: []string{"ADMIN", " admin", "admin ", "a,b"}}},
		"HDR-16 names of the world": {`{"sub":"s","name":"Jürgen 日本 😀","preferred_username":"jürgen"}`,
			authn.Identity{Subject: "s", Name: "Jürgen 日本 😀", Username: "jürgen"}},
		"HDR-15 name with a line break": {`{"sub":"s","name":"a\r\nX-Auth-Groups: admin"}`, authn.Identity{Subject: "s"}},
		"name in spaces":                {`{"sub":"s","name":" Ada "}`, authn.Identity{Subject: "s", Name: "Ada"}},
		"IDT-15 look-alikes stay apart": {`{"sub":"s","preferred_username":"аdmin"}`, authn.Identity{Subject: "s", Username: "аdmin"}},
		"IDT-31 HTML is only text": {`{"sub":"s","name":"<script>","picture":"javascript:x"}`,
			authn.Identity{Subject: "s", Name: "<script>"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapped(t, config.OIDC{}, c.text)
			if err != nil {
				t.Fatal(err)
			}
			got.Kind, got.Route, got.Issuer, got.AuthTime = "", "", "", c.want.AuthTime
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEmail(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		trust bool
		want  string
	}{
		"verified":              {`{"sub":"s","email":"a@x.test","email_verified":true}`, false, "a@x.test"},
		"verified as text":      {`{"sub":"s","email":"a@x.test","email_verified":"true"}`, false, "a@x.test"},
		"IDT-10 false":          {`{"sub":"s","email":"a@x.test","email_verified":false}`, false, ""},
		"IDT-10 absent":         {`{"sub":"s","email":"a@x.test"}`, false, ""},
		"IDT-10 null":           {`{"sub":"s","email":"a@x.test","email_verified":null}`, false, ""},
		"IDT-10 false as text":  {`{"sub":"s","email":"a@x.test","email_verified":"false"}`, false, ""},
		"IDT-10 yes":            {`{"sub":"s","email":"a@x.test","email_verified":"yes"}`, false, ""},
		"IDT-10 number":         {`{"sub":"s","email":"a@x.test","email_verified":1}`, false, ""},
		"trusted":               {`{"sub":"s","email":"a@x.test"}`, true, "a@x.test"},
		"trusted, null":         {`{"sub":"s","email":"a@x.test","email_verified":null}`, true, "a@x.test"},
		"IDT-10 trusted, false": {`{"sub":"s","email":"a@x.test","email_verified":false}`, true, ""},
		"IDT-10 trusted, text":  {`{"sub":"s","email":"a@x.test","email_verified":"no"}`, true, ""},
		"IDT-13 two at signs":   {`{"sub":"s","email":"attacker@evil.com@company.com"}`, true, ""},
		"IDT-13 quoted":         {`{"sub":"s","email":"\"a@company.com\"@evil.com"}`, true, ""},
		"IDT-13 bracketed":      {`{"sub":"s","email":"a@company.com <b@evil.com>"}`, true, ""},
		"IDT-13 comment":        {`{"sub":"s","email":"a(x)@evil.com"}`, true, ""},
		"no domain":             {`{"sub":"s","email":"a@"}`, true, ""},
		"no local part":         {`{"sub":"s","email":"@x.test"}`, true, ""},
		"no at sign":            {`{"sub":"s","email":"root"}`, true, ""},
		"IDT-14 trailing dot":   {`{"sub":"s","email":"a@x.test."}`, true, ""},
		"empty label":           {`{"sub":"s","email":"a@x..test"}`, true, ""},
		"address literal":       {`{"sub":"s","email":"a@[127.0.0.1]"}`, true, ""},
		"hyphens":               {`{"sub":"s","email":"a@-x.test"}`, true, ""},
		"IDT-15 domain":         {`{"sub":"s","email":"a@еxample.com"}`, true, ""},
		"IDT-15 fullwidth":      {`{"sub":"s","email":"a＠x.test"}`, true, ""},
		"IDT-15 local part":     {`{"sub":"s","email":"ADMİN@x.test"}`, true, "ADMİN@x.test"},
		"upper case stays":      {`{"sub":"s","email":"A@X.TEST"}`, true, "A@X.TEST"},
		"plus and dots":         {`{"sub":"s","email":"a.b+c@x.test"}`, true, "a.b+c@x.test"},
		"one label":             {`{"sub":"s","email":"a@localhost"}`, true, "a@localhost"},
		"domain label too long": {`{"sub":"s","email":"a@` + strings.Repeat("x", 64) + `.test"}`, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapped(t, config.OIDC{TrustUnverifiedEmail: c.trust}, c.text)
			if err != nil || got.Email != c.want {
				t.Errorf("%q, %v", got.Email, err)
			}
		})
	}
	t.Run("IDT-10 as the subject", func(t *testing.T) {
		byEmail := config.OIDC{Claims: config.Claims{Subject: "email"}}
		var no *authn.NotAllowed
		for _, text := range []string{
			`{"sub":"s","email":"a@x.test"}`, `{"sub":"s","email":"a@x.test","email_verified":false}`, `{"sub":"s","email_verified":true}`,
		} {
			if got, err := mapped(t, byEmail, text); !errors.As(err, &no) {
				t.Errorf("%s is %q, %v", text, got.Subject, err)
			}
		}
		got, err := mapped(t, byEmail, `{"sub":"s","email":"a@x.test","email_verified":true}`)
		if err != nil || got.Subject != "a@x.test" {
			t.Errorf("%q, %v", got.Subject, err)
		}
	})
	t.Run("IDT-10 as the subject at sign-in", func(t *testing.T) {
		r := newRig(t, func(s *setup) {
			s.oidc.Claims.Subject = "email"
			evil := ada()
			evil.Email, evil.EmailVerified = "root@example.com", false
			s.issuer.People = []authntest.Person{evil}
		})
		r.refused(r.browser().signIn(""), 403)
	})
	t.Run("IDT-10 as the username", func(t *testing.T) {
		byEmail := config.OIDC{Claims: config.Claims{Username: "email"}}
		for text, want := range map[string]string{
			`{"sub":"s","email":"a@x.test"}`:                        "",
			`{"sub":"s","email":"a@x.test","email_verified":false}`: "",
			`{"sub":"s","email":"a@x.test","email_verified":true}`:  "a@x.test",
		} {
			got, err := mapped(t, byEmail, text)
			if err != nil || got.Username != want || got.Subject != "s" {
				t.Errorf("%s is %q, %v", text, got.Username, err)
			}
		}
	})
	t.Run("too long", func(t *testing.T) {
		if _, err := mapped(t, config.OIDC{}, `{"sub":"s","email":"`+strings.Repeat("a", 256)+`@x.test"}`); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("refuted elsewhere", func(t *testing.T) { // "no" counts, whichever source says it
		m := newMapping("main", withDefaults(config.OIDC{TrustUnverifiedEmail: true}), nil, nil)
		no := issuer.Claims{"sub": []byte(`"s"`), "email": []byte(`"A@x.test"`), "email_verified": []byte(`false`)}
		for name, silent := range map[string]issuer.Claims{
			"silent": {"sub": []byte(`"s"`), "email": []byte(`"a@x.test"`)}, "vouching": {"sub": []byte(`"s"`), "email": []byte(`"a@x.test"`), "email_verified": []byte(`true`)},
		} {
			for _, sources := range [][]source{{{Claims: no}, {silent, true}}, {{Claims: silent}, {no, true}}} {
				if p, err := m.profile(sources...); err != nil || p.Email != "" {
					t.Errorf("%s: %q, %v", name, p.Email, err)
				}
			}
		}
		m.settings.Claims.Subject = "email"
		p, err := m.profile(source{Claims: issuer.Claims{"email": []byte(`"a@x.test"`)}}, source{no, true})
		if err != nil {
			t.Fatal(err)
		}
		if who, err := m.identity(issuer.Claims{"email": []byte(`"a@x.test"`)}, p); !errors.Is(err, errNoAddress) {
			t.Errorf("%q, %v", who.Subject, err)
		}
	})
	t.Run("verified elsewhere", func(t *testing.T) { // each source vouches for its own address
		m := newMapping("main", withDefaults(config.OIDC{}), nil, nil)
		id := source{Claims: issuer.Claims{"email": []byte(`"chosen@corp.test"`)}}
		info := source{issuer.Claims{"email": []byte(`"real@x.test"`), "email_verified": []byte(`true`)}, true}
		p, err := m.profile(id, info)
		if err != nil || p.Email != "real@x.test" || !slices.Equal(p.FromUserinfo, []string{"email"}) {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestSubjects(t *testing.T) {
	for name, c := range map[string]struct {
		prefix  string
		foreign []string
		sub     string
		want    string // empty: refused
	}{
		"plain":                           {"", nil, "1", "1"},
		"prefix":                          {"okta:", nil, "1", "okta:1"},
		"IDT-08 one prefix each":          {"b:", []string{"a:"}, "1", "b:1"},
		"IDT-08 like another route":       {"", []string{"b:"}, "b:1", ""},
		"IDT-08 like a longer prefix":     {"a", []string{"ab"}, "b1", ""},
		"IDT-08 shorter prefix is theirs": {"ab", []string{"a"}, "1", "ab1"},
		"no foreign prefix":               {"", []string{""}, "1", "1"},
		"control character":               {"okta:", nil, `1\n`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapped(t, config.OIDC{SubjectPrefix: c.prefix}, `{"sub":"`+c.sub+`"}`, c.foreign...)
			if (err == nil) != (c.want != "") || got.Subject != c.want {
				t.Errorf("%q, %v", got.Subject, err)
			}
		})
	}
	t.Run("IDT-22 recycled name", func(t *testing.T) { // the same e-mail address and username, another sub
		a, _ := mapped(t, config.OIDC{}, `{"sub":"1","preferred_username":"ada","email":"a@x.test","email_verified":true}`)
		b, _ := mapped(t, config.OIDC{}, `{"sub":"2","preferred_username":"ada","email":"a@x.test","email_verified":true}`)
		if a.Subject == b.Subject {
			t.Error("one is taken for the other")
		}
	})
}

func TestGroupsOverage(t *testing.T) {
	for name, text := range map[string]string{
		"IDT-19 claim names": `{"sub":"s","_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"http://169.254.169.254"}}}`,
		"IDT-19 hasgroups":   `{"sub":"s","hasgroups":true}`,
		"IDT-19 src claim":   `{"sub":"s","groups:src1":"https://graph.test"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mapped(t, config.OIDC{}, text)
			var no *authn.NotAllowed
			if !errors.As(err, &no) || no.Missing == "" {
				t.Errorf("%v", err)
			}
			got, err := mapped(t, config.OIDC{GroupsOverage: "none"}, text)
			if err != nil || got.Groups != nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	for name, text := range map[string]string{
		"groups are there": `{"sub":"s","groups":[],"_claim_names":{"groups":"src1"}}`,
		"other claim":      `{"sub":"s","_claim_names":{"address":"src1"}}`,
		"no overage":       `{"sub":"s","hasgroups":false}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := mapped(t, config.OIDC{}, text); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("IDT-19 at sign-in", func(t *testing.T) {
		r := newRig(t, func(s *setup) {
			s.issuer.People[0].Groups = nil
			s.issuer.People[0].Claims = map[string]any{
				"_claim_names":   map[string]any{"groups": "src1"},
				"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://internal.test"}},
			}
		})
		a := r.browser().signIn("")
		r.refused(a, 403)
		if !strings.Contains(a.body, "more groups") || r.seen("internal.test") != 0 {
			t.Errorf("page: %s", a.body)
		}
		r.logged("not allowed in")
	})
}

// TestPolicyClaims: teams that a token names, and the claims that the policy asks for.
func TestPolicyClaims(t *testing.T) {
	text := `{"sub":"s","iat":1700000000,"teams":["a","b"],"dept":"research","levels":["1","2"],"n":7,"on":true,"none":null,"o":{"x":"deep"},"empty":""}`
	id, err := issuer.ParseClaims([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m := newMapping("main", withDefaults(config.OIDC{Claims: config.Claims{Teams: "teams"}}), nil,
		[]string{"dept", "levels", "n", "on", "none", "o", "o.x", "empty", "absent"})
	p, err := m.profile(source{Claims: id})
	if err != nil {
		t.Fatal(err)
	}
	who, err := m.identity(id, p)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"dept": {"research"}, "levels": {"1", "2"}, "n": {"7"}, "on": {"true"}, "o.x": {"deep"}}
	if diff := cmp.Diff(want, who.Claims); diff != "" || !slices.Equal(who.Teams, []string{"a", "b"}) {
		t.Errorf("%v %s", who.Teams, diff)
	}
	t.Run("teams that are no list", func(t *testing.T) {
		if _, err := mapped(t, config.OIDC{Claims: config.Claims{Teams: "dept"}}, `{"sub":"s","iat":1700000000,"dept":"research"}`); err == nil {
			t.Error("taken")
		}
	})
	t.Run("userinfo replaces what was its own", func(t *testing.T) {
		old := authn.Identity{Teams: []string{"a"}, Claims: map[string][]string{"dept": {"research"}, "levels": {"1"}}}
		fresh, err := issuer.ParseClaims([]byte(`{"sub":"s","teams":[],"dept":"sales"}`))
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.profile(source{fresh, true})
		if err != nil {
			t.Fatal(err)
		}
		got := p.over(old, append(m.said(fresh), claimField+"levels"))
		if len(got.Teams) != 0 || !slices.Equal(got.Claims["dept"], []string{"sales"}) || got.Claims["levels"] != nil {
			t.Errorf("%+v", got)
		}
		if old.Claims["dept"][0] != "research" || len(old.Claims) != 2 {
			t.Errorf("the old identity was changed: %+v", old)
		}
	})
}
