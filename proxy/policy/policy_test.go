package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/config"
)

func at(path string) Place {
	return Place{Upstream: "app", Host: "gw.test", Method: "GET", Paths: []string{path}}
}

func TestFind(t *testing.T) {
	p := New(nil, []config.Rule{
		{Name: "internal", Paths: []string{"/internal/"}, Access: "deny"},
		{Name: "static", Paths: []string{"/static/", "/favicon.ico"}, Access: "public"},
		{Name: "posts", Paths: []string{"/api/"}, Methods: []string{"POST", "DELETE"}, Require: []config.Requirement{{Teams: []string{"writers"}}}},
		{Paths: []string{"/api/"}, Methods: []string{"GET"}, API: true},
		{Name: "media", Paths: []string{"/files/*/media/**", "/files/*.zip"}},
		{Name: "deep", Paths: []string{"/**/secret/*"}},
		{Name: "stars", Paths: []string{"/x/*/y/"}},
		{Name: "host", Hosts: []string{"a.test", "*.b.test"}},
		{Name: "upstream", Upstreams: []string{"other"}},
	})
	change := func(path string, f func(*Place)) Place { a := at(path); f(&a); return a }
	for want, places := range map[string][]Place{
		"internal":  {at("/internal"), at("/internal/"), at("/internal/x/y")},
		"static":    {at("/static/"), at("/static/a/b.css"), at("/favicon.ico")},
		"posts":     {change("/api/x", func(a *Place) { a.Method = "POST" }), change("/api", func(a *Place) { a.Method = "DELETE" })},
		"policy[3]": {at("/api/x"), change("/api/x", func(a *Place) { a.Method = "HEAD" })},
		"media":     {at("/files/a/media"), at("/files/a/media/b"), at("/files/a/media/b/c"), at("/files/a.zip"), at("/files/.zip")},
		"deep":      {at("/secret/x"), at("/a/b/secret/x"), at("/secret/secret/x")},
		"stars":     {at("/x/1/y"), at("/x/1/y/z")},
		"host":      {change("/", func(a *Place) { a.Host = "a.test" }), change("/", func(a *Place) { a.Host = "x.b.test" }), change("/", func(a *Place) { a.Host = "x.y.b.test" })},
		"upstream":  {change("/", func(a *Place) { a.Upstream = "other" })},
		"": {
			at("/"), at("/internals"), at("/static"), at("/favicon.ico/"), at("/INTERNAL"), at("/files/a/b/media"), at("/files/a/b.zip"),
			at("/files/a.zip/x"), at("/a/secret"), at("/a/secret/x/y"), at("/x/y"), at("/x//z"), at("/x/1/yz"), change("/api/x", func(a *Place) { a.Method = "PUT" }),
			change("/", func(a *Place) { a.Host = "b.test" }), change("/", func(a *Place) { a.Host = "xb.test" }),
			change("/static/x", func(a *Place) { a.Unclear = true }),
		},
	} {
		for _, place := range places {
			if got, err := p.Find(place); err != nil || got.Name != want {
				t.Errorf("%+v falls under %q (%v), want %q", place, got.Name, err, want)
			}
		}
	}
	r, err := p.Find(at("/api/x"))
	if err != nil || !r.API {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestAmbiguous: a path that reads in several ways falls under one rule or under none.
func TestAmbiguous(t *testing.T) {
	p := New(nil, []config.Rule{
		{Name: "admin", Paths: []string{"/admin/"}, Require: []config.Requirement{{Teams: []string{"ops"}}}},
		{Name: "open", Paths: []string{"/open/"}, Access: "public"},
	})
	for _, row := range []struct {
		paths []string
		want  string
		err   error
	}{
		{[]string{"/x%2fadmin/y", "/admin/y"}, "", ErrAmbiguous},
		{[]string{"/admin/a%2fb", "/admin/a/b"}, "admin", nil},
		{[]string{"/files/a%2fb", "/files/a/b"}, "", nil},
		{[]string{"/open/..%2fadmin/x", "/open/../admin/x", "/admin/x"}, "", ErrAmbiguous},
		{[]string{"/open/a%2fb", "/open/a/b"}, "", nil},
	} {
		got, err := p.Find(Place{Paths: row.paths, Unclear: true})
		if !errors.Is(err, row.err) || got.Name != row.want {
			t.Errorf("%q: %q, %v", row.paths, got.Name, err)
		}
	}
}

func TestAllow(t *testing.T) {
	teams := []config.Team{
		{Name: "writers", Groups: []config.TeamGroup{{Group: "w", Role: "member"}, {Group: "chief", Role: "admin"}}},
		{Name: "ops", Groups: []config.TeamGroup{{Group: "o", Role: "admin"}}},
	}
	id := authn.Identity{Subject: "s", Kind: authn.Person, Route: "corp", Groups: []string{"w", "o"}, Claims: map[string][]string{"dept": {"a", "b"}}}
	type req = config.Requirement
	for _, row := range []struct {
		name    string
		require []req
		missing string
	}{
		{"nothing", nil, ""},
		{"team", []req{{Teams: []string{"x", "writers"}}}, ""},
		{"no team", []req{{Teams: []string{"x", "y"}}}, "You need to be in the team x or y."},
		{"role in a team", []req{{Teams: []string{"ops"}, Roles: []string{"admin"}}}, ""},
		{"role, but in another team", []req{{Teams: []string{"writers"}, Roles: []string{"admin", "owner"}}}, "You need to be admin or owner in the team writers."},
		{"role anywhere", []req{{Roles: []string{"admin"}}}, ""},
		{"no role", []req{{Roles: []string{"viewer"}}}, "You need to be viewer in a team."},
		{"group", []req{{Groups: []string{"w"}}}, ""},
		{"no group", []req{{Groups: []string{"W", "w "}}}, "You need to be in the group W or w ."},
		{"kind", []req{{Kinds: []string{"person"}}}, ""},
		{"another kind", []req{{Kinds: []string{"service"}}}, "You need to be a service."},
		{"route", []req{{Routes: []string{"corp"}}}, ""},
		{"another route", []req{{Routes: []string{"ldap"}}}, "You need to be signed in by ldap."},
		{"claim", []req{{Claims: map[string][]string{"dept": {"b", "c"}}}}, ""},
		{"another claim", []req{{Claims: map[string][]string{"dept": {"c"}}}}, "You need to be somebody whose claim dept is c."},
		{"no claim", []req{{Claims: map[string][]string{"level": {"1"}}}}, "You need to be somebody whose claim level is 1."},
		{"all must hold", []req{{Teams: []string{"writers"}, Groups: []string{"w"}, Kinds: []string{"service"}}}, "You need to be a service."},
		{"one is enough", []req{{Kinds: []string{"service"}}, {Teams: []string{"ops"}}}, ""},
		{"none of two", []req{{Kinds: []string{"service"}}, {Teams: []string{"x"}}}, "You need to be a service, or in the team x."},
	} {
		p := New(teams, []config.Rule{{Require: row.require}})
		r, err := p.Find(at("/"))
		if err != nil {
			t.Fatal(err)
		}
		err = r.Allow(p.Subject(id))
		var not *authn.NotAllowed
		if row.missing == "" && err != nil || row.missing != "" && (!errors.As(err, &not) || not.Missing != row.missing) {
			t.Errorf("%s: %v", row.name, err)
		}
		if r.Anonymous() != (row.require == nil) {
			t.Errorf("%s: anonymous %v", row.name, r.Anonymous())
		}
	}
	denied := New(nil, []config.Rule{{Access: "deny"}})
	if r, _ := denied.Find(at("/")); r.Allow(Subject{Identity: id}) == nil || r.Anonymous() {
		t.Error("a rule that denies lets somebody in")
	}
	public := New(nil, []config.Rule{{Access: "public"}})
	if r, _ := public.Find(at("/")); r.Allow(Subject{}) != nil || !r.Public || !r.Anonymous() {
		t.Error("a public rule keeps somebody out")
	}
}

func TestMeets(t *testing.T) {
	s := New(nil, nil).Subject(authn.Identity{Subject: "1", Kind: authn.Person, Groups: []string{"ops"}})
	for name, tt := range map[string]struct {
		needs []config.Requirement
		want  bool
	}{
		"nothing":       {nil, false},
		"one of two":    {[]config.Requirement{{Groups: []string{"admins"}}, {Groups: []string{"ops"}}}, true},
		"all of one":    {[]config.Requirement{{Groups: []string{"ops"}, Kinds: []string{"person"}}}, true},
		"not all of it": {[]config.Requirement{{Groups: []string{"ops"}, Kinds: []string{"service"}}}, false},
	} {
		if got := s.Meets(tt.needs); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestTeams(t *testing.T) {
	g := func(group string) config.TeamGroup { return config.TeamGroup{Group: group, Role: "member"} }
	teams := []config.Team{
		{Name: "vision", Groups: []config.TeamGroup{{Group: "leads", Role: "admin", Routes: []string{"corp"}}, g("vision"), g("v-*")}},
		{Name: "audio", Groups: []config.TeamGroup{g("vision"), {CN: "Audio*", Role: "viewer"}, g(`a\*b`)}},
		{Name: "*", Groups: []config.TeamGroup{g("wandb-*"), {CN: "team-*-x", Role: "admin"}}},
		{Name: "guests", DefaultRole: "viewer"},
	}
	p := New(teams, nil)
	for _, row := range []struct {
		name string
		id   authn.Identity
		want []string // team/role
	}{
		{"nobody's", authn.Identity{Groups: []string{"x"}}, []string{"guests/viewer"}},
		{"one to many", authn.Identity{Groups: []string{"vision"}}, []string{"vision/member", "audio/member"}},
		{"the first that fits decides", authn.Identity{Route: "corp", Groups: []string{"vision", "leads"}}, []string{"vision/admin", "audio/member"}},
		{"another route's group", authn.Identity{Route: "okta", Groups: []string{"leads"}}, []string{"guests/viewer"}},
		{"star", authn.Identity{Groups: []string{"v-1", "v-2"}}, []string{"vision/member"}},
		{"a star itself", authn.Identity{Groups: []string{"a*b"}}, []string{"audio/member"}},
		{"not what a star would be", authn.Identity{Groups: []string{"axb"}}, []string{"guests/viewer"}},
		{"cn, in any case", authn.Identity{Groups: []string{"CN=audio people,ou=g,dc=x"}}, []string{"audio/viewer"}},
		{"cn with escapes", authn.Identity{Groups: []string{`cn=Audio\2C loud\, er,ou=g`}}, []string{"audio/viewer"}},
		{"not in the first part", authn.Identity{Groups: []string{"ou=audio,cn=audio"}}, []string{"guests/viewer"}},
		{"cn first of several names", authn.Identity{Groups: []string{"cn=audio+ou=b,dc=x"}}, []string{"audio/viewer"}},
		{"cn last of several names", authn.Identity{Groups: []string{`ou=b\+cn=c + CN=audio,dc=x`}}, []string{"audio/viewer"}},
		{"two cn", authn.Identity{Groups: []string{"cn=audio+cn=b,dc=x"}}, []string{"guests/viewer"}},
		{"the name of a group", authn.Identity{Groups: []string{"wandb-b", "wandb-a", "wandb-", "wandb-é", "wandb-a b"}}, []string{"b/member", "a/member"}},
		{"a star fills no team that has an entry", authn.Identity{Groups: []string{"wandb-vision", "wandb-x"}}, []string{"x/member"}},
		{"the name of a cn", authn.Identity{Groups: []string{"cn=team-Red-x,dc=y"}}, []string{"red/admin"}},
		{"claimed", authn.Identity{Teams: []string{"red", "bad name", ""}}, []string{"red/member"}},
		{"claimed and mapped", authn.Identity{Teams: []string{"vision"}, Route: "corp", Groups: []string{"leads"}}, []string{"vision/admin"}},
		{"an account", authn.Identity{Groups: []string{"vision"}, Account: authn.Account{Name: "ci", Teams: []string{"core"}, Role: "admin"}}, []string{"core/admin"}},
		{"an account of no team", authn.Identity{Groups: []string{"vision"}, Account: authn.Account{Name: "ci"}}, nil},
		{"case counts", authn.Identity{Groups: []string{"Vision", " vision", "vision "}}, []string{"guests/viewer"}},
	} {
		var got []string
		for _, m := range p.Subject(row.id).Memberships {
			got = append(got, m.Team+"/"+m.Role)
			if m.By == "" {
				t.Errorf("%s: nobody knows why %s", row.name, m.Team)
			}
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
	}
	by := p.Subject(authn.Identity{Groups: []string{"v-9"}}).Memberships[0].By
	if by != `teams[0].groups[2]: group "v-9"` {
		t.Error(by)
	}
}

// many is somebody in n groups.
func many(n int) authn.Identity {
	id := authn.Identity{Subject: "s", Groups: make([]string, n)}
	for i := range id.Groups {
		id.Groups[i] = fmt.Sprintf("cn=group-%d,ou=groups,dc=example,dc=com", i)
	}
	return id
}

func TestManyGroups(t *testing.T) {
	p := New([]config.Team{{Name: "a", Groups: []config.TeamGroup{{Group: "cn=group-1999,ou=groups,dc=example,dc=com", Role: "member"}}}}, nil)
	s := p.Subject(many(2000))
	if len(s.Memberships) != 1 || !s.inGroup("cn=group-7,ou=groups,dc=example,dc=com") || s.inGroup("cn=group-2000,ou=groups,dc=example,dc=com") {
		t.Errorf("%+v", s.Memberships)
	}
}

// FuzzPattern: a pattern without stars matches what it says, and none takes long.
func FuzzPattern(f *testing.F) {
	f.Add("/a/", "/a/b")
	f.Add("/**/x/*", "/a/x/b")
	f.Add("/*a*b*/", "/aab")
	f.Fuzz(func(t *testing.T, text, path string) {
		if !strings.HasPrefix(text, "/") || !strings.HasPrefix(path, "/") || strings.Count(text, "**") > 3 {
			return
		}
		p := newPattern(text, true)
		got := p.matches(path)
		if strings.Contains(text, "*") {
			return
		}
		base := strings.TrimSuffix(text, "/")
		want := path == text || strings.HasSuffix(text, "/") && (path == base || strings.HasPrefix(path, base+"/"))
		if got != want {
			t.Errorf("%q and %q: %v", text, path, got)
		}
	})
}

// TestPatternsAreQuick: no pattern takes long, whatever the path is (a request of
// nobody is held against it).
func TestPatternsAreQuick(t *testing.T) {
	path := strings.Repeat("/a", 20_000)
	for _, text := range []string{"/**/a/**/a/**/b", "/**/*/**/*/**/b", "/**/a*a*a*/**/c", "/**/private/**/edit"} {
		p := newPattern(text, true)
		start := time.Now()
		if p.matches(path) {
			t.Errorf("%s matches", text)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s took %s", text, took)
		}
	}
	for text, path := range map[string]string{"/**/a/**/b": "/x/a/y/a/b", "/**/a/b/**": "/a/c/a/b", "/a/**/**/b": "/a/b", "/**/**": "/", "/a/**": "/a"} {
		if p := newPattern(text, true); !p.matches(path) {
			t.Errorf("%s does not match %s", text, path)
		}
	}
}

func TestSame(t *testing.T) {
	p := New(nil, []config.Rule{
		{Name: "public", Paths: []string{"/a"}, Methods: []string{"GET"}, Access: "public"}, {Name: "public", Paths: []string{"/a", "/b"}, Access: "public"},
		{Paths: []string{"/c"}, Methods: []string{"PROPFIND"}, Access: "deny"},
	})
	for path, want := range map[string]bool{"/a": false, "/b": true, "/c": false, "/d": true} {
		if got := p.Same(at(path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if !p.TellsMethods() || New(nil, nil).TellsMethods() {
		t.Error("it does not know whether methods matter")
	}
}

// BenchmarkPolicy is what the policy costs a request, with 200 rules and somebody
// in 2,000 groups whose teams are known already.
func BenchmarkPolicy(b *testing.B) {
	var rules []config.Rule
	for i := range 200 {
		rules = append(rules, config.Rule{Paths: []string{fmt.Sprintf("/app-%d/", i)}, Methods: []string{"GET"}, Require: []config.Requirement{
			{Teams: []string{"a"}, Groups: []string{"cn=group-1999,ou=groups,dc=example,dc=com"}},
		}})
	}
	p := New([]config.Team{{Name: "a", Groups: []config.TeamGroup{{Group: "cn=group-1999,ou=groups,dc=example,dc=com", Role: "member"}}}}, rules)
	s := p.Subject(many(2000))
	place := at("/app-199/x")
	b.ReportAllocs()
	for b.Loop() {
		r, err := p.Find(place)
		if err != nil || r.Allow(s) != nil {
			b.Fatal(r, err)
		}
	}
}

// BenchmarkSubject is what it costs to find the teams of somebody in 2,000 groups.
func BenchmarkSubject(b *testing.B) {
	var teams []config.Team
	for i := range 100 {
		teams = append(teams, config.Team{Name: fmt.Sprint("t", i), Groups: []config.TeamGroup{{Group: fmt.Sprintf("cn=group-%d,ou=groups,dc=example,dc=com", i*19), Role: "member"}}})
	}
	p, id := New(teams, nil), many(2000)
	b.ReportAllocs()
	for b.Loop() {
		if len(p.Subject(id).Memberships) != 100 {
			b.Fatal("not in the teams")
		}
	}
}
