package ldap

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

func TestGroups(t *testing.T) {
	alice, mallory := "uid=alice,"+peopleBase, `cn=Bob (x)*\, Jr,`+peopleBase
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("plain") +
		team("special", mallory) + team("équipe", "uid=plain,"+peopleBase) + team("alliés", "cn=équipe,"+groupsBase) +
		ldif("cn=nato,ou=posix,"+treeBase, "objectClass", "posixGroup", "cn", "nato", "gidNumber", "1000", "memberUid", "*") +
		ldif("cn=unique,"+groupsBase, "objectClass", "groupOfUniqueNames", "cn", "unique", "uniqueMember", alice) +
		ldif("ou=eu,"+groupsBase, "objectClass", "organizationalUnit") +
		ldif("cn=lower,ou=eu,"+groupsBase, "objectClass", "groupOfNames", "cn", "lower", "member", "uid=bob,"+peopleBase),
	})
	posix := "ou=posix," + treeBase
	for _, c := range []struct {
		name, login string
		set         func(*config.LDAP)
		want        []string
	}{
		{"by search", "alice", func(*config.LDAP) {}, []string{"admins", "research", "unique"}},
		{"by search, deeper", "bob", func(*config.LDAP) {}, []string{"lower", "research"}},
		{"by search, one level", "bob", func(c *config.LDAP) { c.Groups.Scope = "one" }, []string{"research"}},
		{"by search, a class", "alice", func(c *config.LDAP) { c.Groups.ObjectClass = "groupOfUniqueNames" }, []string{"unique"}},
		{"by search, posixGroup", "alice", func(c *config.LDAP) { c.Groups.BaseDN = posix }, []string{"infra", "ml"}},
		{"by search, a filter", "alice", func(c *config.LDAP) { c.Groups.BaseDN, c.Groups.Filter = posix, "(memberUid={username})" }, []string{"infra"}},
		{"by search, all of it", "bob", func(c *config.LDAP) { c.Groups.BaseDN = "" }, []string{"admins", "infra", "lower", "research"}},
		{"by search, no number", "plain", func(c *config.LDAP) { c.Groups.BaseDN = posix }, nil},
		{"by search, as dn", "bob", func(c *config.LDAP) {
			c.Groups.BaseDN, c.Groups.As, c.Groups.ObjectClass = treeBase, "dn", "groupOfNames"
		},
			[]string{"cn=admins,ou=evil,dc=example,dc=org", "cn=lower,ou=eu,ou=groups,dc=example,dc=org", "cn=research,ou=groups,dc=example,dc=org"}},
		{"by search, as number", "alice", func(c *config.LDAP) { c.Groups.BaseDN, c.Groups.As = posix, "gidNumber" }, []string{"1001", "1002"}},
		{"memberOf", "alice", memberOf, []string{"admins", "research"}},
		{"LDAP-34 memberOf below the base alone", "bob", memberOf, []string{"lower", "research"}},
		{"memberOf, all of it", "bob", func(c *config.LDAP) { memberOf(c); c.Groups.BaseDN = "" }, []string{"admins", "lower", "research"}},
		{"memberOf as dn", "dave", func(c *config.LDAP) { memberOf(c); c.Groups.As = "dn" }, []string{`cn=ops\, emea,ou=groups,dc=example,dc=org`}},
		{"memberOf, none", "plain", func(c *config.LDAP) { memberOf(c); c.Groups.BaseDN = posix }, nil},
		{"another attribute", "alice", func(c *config.LDAP) { memberOf(c); c.Attributes.MemberOf = "isMemberOf" }, nil},
		{"a comma in the name", "dave", func(*config.LDAP) {}, []string{"ops, emea"}},
		{"beyond ASCII", "plain", func(*config.LDAP) {}, []string{"équipe"}},
		{"gidNumber as number", "alice", func(c *config.LDAP) { c.Groups.From, c.Groups.As = "gidNumber", "gidNumber" }, []string{"1001"}},
		{"gidNumber as name", "alice", func(c *config.LDAP) { c.Groups.From, c.Groups.BaseDN = "gidNumber", posix }, []string{"ml"}},
		{"gidNumber without one", "plain", func(c *config.LDAP) { c.Groups.From, c.Groups.BaseDN = "gidNumber", posix }, nil},
		{"none", "alice", func(c *config.LDAP) { c.Groups.From = "none" }, nil},
		{"LDAP-08 DN in a filter", "mallory", func(*config.LDAP) {}, []string{"special"}},
		{"LDAP-35 nested by search", "alice", nest, []string{"admins", "outer", "research", "unique"}},
		{"LDAP-35 nested by memberOf", "alice", func(c *config.LDAP) { memberOf(c); nest(c) }, []string{"admins", "outer", "research"}},
		{"LDAP-35 a circle", "carol", nest, []string{"a", "b"}},
		{"LDAP-35 a circle by memberOf", "carol", func(c *config.LDAP) { memberOf(c); nest(c) }, []string{"a", "b"}},
		{"LDAP-35 nested beyond ASCII", "plain", nest, []string{"alliés", "équipe"}},
		{"LDAP-08 nested, DN in a filter", "mallory", nest, []string{"special"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			r := newRig(t, settings)
			if got := r.in(c.login, c.login+"-pw").Groups; !slices.Equal(got, c.want) {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
}

func memberOf(c *config.LDAP) { c.Groups.From = "memberOf" }

func nest(c *config.LDAP) { c.Groups.Nested = true }

func TestGroupSearches(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	for _, c := range []struct {
		name, login string
		set         func(*config.LDAP)
		searches    int
	}{
		{"by search", "alice", func(*config.LDAP) {}, 2},
		{"memberOf", "alice", memberOf, 1},
		{"gidNumber as number", "alice", func(c *config.LDAP) { c.Groups.From, c.Groups.As = "gidNumber", "gidNumber" }, 1},
		{"none", "alice", func(c *config.LDAP) { c.Groups.From = "none" }, 1},
		{"nested", "alice", nest, 4}, // the person, their groups, what is around those, and around that
		{"nested in a circle", "carol", nest, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			r := newRig(t, settings)
			r.in("alice", "alice-pw") // opens the connections
			expectAsked(t, s, 1, c.searches, func() { r.in(c.login, c.login+"-pw") })
		})
	}
}

func TestOddGroups(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("cora", "employeeType", "no DN") + somebody("abe") + somebody("ben") + somebody("cy") + somebody("dan") + somebody("deb") +
		ldif("ou=odd,"+groupsBase, "objectClass", "groupOfNames", "objectClass", "extensibleObject", "ou", "odd", "cn", "odd", "cn", "admins", "member", "uid=abe,"+peopleBase) +
		ldif("cn=real,"+groupsBase, "objectClass", "groupOfNames", "cn", "real", "cn", "admins", "member", "uid=ben,"+peopleBase) +
		team("x\r\nX-Auth-Groups: admin", "uid=cy,"+peopleBase) +
		ldif("ou=long,"+groupsBase, "objectClass", "groupOfNames", "objectClass", "extensibleObject", "ou", "long", "cn", strings.Repeat("g", 256), "member", "uid=dan,"+peopleBase) +
		ldif("ou=nameless,"+groupsBase, "objectClass", "groupOfNames", "objectClass", "extensibleObject", "ou", "nameless", "cn;lang-de", "admins", "cn", "x", "member", "uid=deb,"+peopleBase),
	})
	r := newRig(t, settingsFor(s), lax)
	// none checks that somebody gets in without the odd group, and that the log says so.
	none := func(t *testing.T, r *rig, login string) {
		t.Helper()
		if got := r.on(t).in(login, login+"-pw").Groups; len(got) != 0 {
			t.Errorf("%q", got)
		}
		if !strings.Contains(r.log.String(), "a group is left out") {
			t.Error("nothing about it in the log")
		}
	}
	for _, c := range []struct{ id, login string }{
		{"two names, none in the DN", "abe"}, {"LDAP-32 a line break", "cy"}, {"LDAP-32 too long", "dan"},
	} {
		t.Run(c.id, func(t *testing.T) { none(t, r, c.login) })
	}
	t.Run("two names, one in the DN", func(t *testing.T) {
		if got := r.on(t).in("ben", "ben-pw").Groups; !slices.Equal(got, []string{"real"}) {
			t.Error(got)
		}
	})
	t.Run("a name in another language", func(t *testing.T) {
		if got := r.on(t).in("deb", "deb-pw").Groups; !slices.Equal(got, []string{"x"}) {
			t.Error(got)
		}
	})
	t.Run("memberOf that holds no DN", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Groups.From, settings.Attributes.MemberOf = "memberOf", "employeeType"
		none(t, newRig(t, settings), "cora")
	})
	t.Run("posixGroup without a number", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Groups.As = "gidNumber"
		none(t, newRig(t, settings), "alice")
	})
}

func TestAllowedGroups(t *testing.T) {
	const evil = "cn=admins,ou=evil,dc=example,dc=org"
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: team("admins2", "uid=carol,"+peopleBase) +
		team("admins, ou=groups", "uid=carol,"+peopleBase) + team("cn=admins", "uid=carol,"+peopleBase)})
	dn := func(c *config.LDAP) { c.Groups.As = "dn" }
	whole := func(c *config.LDAP) { c.Groups.BaseDN = "" }
	for _, c := range []struct {
		name    string
		allowed string
		set     func(*config.LDAP)
		in, not string
	}{
		{"by name", "research", func(*config.LDAP) {}, "alice bob", "carol dave"},
		{"by name in another case", "Research", func(*config.LDAP) {}, "alice bob", "carol"},
		{"a comma in the name", "ops, emea", func(*config.LDAP) {}, "dave", "alice"},
		{"LDAP-34 only below the base", "admins", func(*config.LDAP) {}, "alice", "bob carol"},
		{"LDAP-34 memberOf, only below the base", "admins", memberOf, "alice", "bob carol"},
		{"by name anywhere", "admins", whole, "alice bob", "carol"},
		{"LDAP-34 by DN", "cn=admins,ou=groups,dc=example,dc=org", func(c *config.LDAP) { dn(c); whole(c) }, "alice", "bob carol"},
		{"LDAP-34 by DN in another spelling", "CN=Admins , OU=Groups,DC=Example , dc=ORG", func(c *config.LDAP) { dn(c); whole(c) }, "alice", "bob carol"},
		{"LDAP-34 memberOf by DN in another spelling", "CN=Admins , OU=Groups,DC=Example , dc=ORG", func(c *config.LDAP) { memberOf(c); dn(c); whole(c) }, "alice", "bob carol"},
		{"LDAP-34 a DN as a value", `cn=admins\2c ou=groups,ou=groups,dc=example,dc=org`, dn, "carol", "alice bob"},
		{"LDAP-34 the other DN", evil, func(c *config.LDAP) { dn(c); whole(c) }, "bob", "alice"},
		{"LDAP-34 the other DN is not below the base", evil, dn, "", "alice bob"},
		{"by number", "1001", func(c *config.LDAP) { c.Groups.From, c.Groups.As = "gidNumber", "gidNumber" }, "alice", "bob carol"},
		{"by the name of a number", "ml", func(c *config.LDAP) { c.Groups.From, c.Groups.BaseDN = "gidNumber", "ou=posix,"+treeBase }, "alice", "bob carol"},
		{"nested", "outer", nest, "alice bob", "carol"},
		{"not nested", "outer", func(*config.LDAP) {}, "", "alice bob carol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := settingsFor(s)
			settings.AllowedGroups = []string{c.allowed}
			c.set(&settings)
			r := newRig(t, settings)
			for _, login := range strings.Fields(c.in) {
				if who := r.in(login, login+"-pw"); r.route.Allow(who.Identity) != nil {
					t.Errorf("%s with %q is kept out", login, who.Groups)
				}
			}
			for _, login := range strings.Fields(c.not) {
				if who := r.in(login, login+"-pw"); r.route.Allow(who.Identity) == nil {
					t.Errorf("%s with %q gets in", login, who.Groups)
				}
			}
		})
	}
	t.Run("a DN that is none", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Groups.As, settings.AllowedGroups = "dn", []string{"admins"}
		if _, err := newRoute("dir", settings, Deps{}); err == nil || !strings.Contains(err.Error(), "allowedGroups") {
			t.Error(err)
		}
	})
}

// chain is groups around groups, the innermost around a member.
func chain(name, member string, length int) string {
	var b strings.Builder
	for i := range length {
		cn := fmt.Sprintf("%s-%02d", name, i)
		b.WriteString(team(cn, member))
		member = "cn=" + cn + "," + groupsBase
	}
	return b.String()
}

func TestNestedDepth(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("shallow") + somebody("deep") +
		chain("shallow", "uid=shallow,"+peopleBase, maxDepth+1) + chain("deep", "uid=deep,"+peopleBase, 50)})
	for _, from := range []string{"search", "memberOf"} {
		settings := settingsFor(s)
		settings.Groups.Nested, settings.Groups.From = true, from
		r := newRig(t, settings)
		t.Run("LDAP-35 as deep as may be by "+from, func(t *testing.T) {
			if got := r.on(t).in("shallow", "shallow-pw").Groups; len(got) != maxDepth+1 {
				t.Errorf("%q", got)
			}
		})
		t.Run("LDAP-35 deeper by "+from, func(t *testing.T) {
			r := r.on(t)
			_, searches := asked(t, s, func() {
				if got := r.in("deep", "deep-pw").Groups; len(got) != maxDepth+1 || got[0] != "deep-00" {
					t.Errorf("%q", got)
				}
			})
			if searches > maxDepth+2 { // the person, their groups, and what is around those
				t.Errorf("%d searches", searches)
			}
			if !strings.Contains(r.log.String(), "they nest too deep") {
				t.Error("the log does not say why")
			}
		})
	}
}

func TestManyGroups(t *testing.T) {
	t.Parallel()
	const most = 10 * time.Second // with the race detector; the settings say 8
	s := peer.NewSlapd(t, peer.SlapdOptions{ManyGroups: map[string]int{"alice": 5000, "bob": maxGroups, "dave": maxGroups - 1}})
	for _, c := range []struct {
		name string
		set  func(*config.LDAP)
	}{
		{"by search", func(*config.LDAP) {}}, {"memberOf", memberOf}, {"as dn", func(c *config.LDAP) { memberOf(c); c.Groups.As = "dn" }},
		{"in other pages", func(c *config.LDAP) { c.PageSize = 333 }}, {"nested", nest},
		{"in one page", func(c *config.LDAP) { c.PageSize = maxGroups }}, // which slapd would not give without asking for it
	} {
		t.Run("LDAP-35 5,000 "+c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			r, began := newRig(t, settings), time.Now()
			want := 5002
			if settings.Groups.Nested {
				want++ // outer
			}
			if got := r.in("alice", "alice-pw").Groups; len(got) != want || !slices.IsSorted(got) {
				t.Errorf("%d groups", len(got))
			}
			if took := time.Since(began); took > most {
				t.Errorf("took %s", took)
			}
		})
		t.Run("LDAP-35 as many as may be "+c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			r := newRig(t, settings)
			if got := r.in("dave", "dave-pw").Groups; len(got) != maxGroups { // with "ops, emea"
				t.Errorf("%d groups", len(got))
			}
		})
		t.Run("LDAP-35 too many "+c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			r := newRig(t, settings)
			if got := r.refused("bob", "bob-pw"); got != unfit { // with research
				t.Error(got)
			}
			if !strings.Contains(r.log.String(), "more than 10000 groups") {
				t.Error("the log does not say why")
			}
		})
	}
}
