package ldap

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatehouse/authn"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

func TestIdentity(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s))
	uuid := func(uid string) string { return read(t, s.Admin(t), s.PersonDN(uid), "entryUUID") }
	for _, c := range []struct {
		id, login, uid, name, email string
		groups                      []string
	}{
		{"by user name", "alice", "alice", "Alice Liddell", "alice@example.org", []string{"admins", "research"}},
		{"LDAP-10 in upper case", "ALICE", "alice", "Alice Liddell", "alice@example.org", []string{"admins", "research"}},
		{"LDAP-10 with spaces", " alice  ", "alice", "Alice Liddell", "alice@example.org", []string{"admins", "research"}},
		{"LDAP-44 mixed case", "aLiCe", "alice", "Alice Liddell", "alice@example.org", []string{"admins", "research"}},
		{"LDAP-10 in full width", "ａｌｉｃｅ", "alice", "Alice Liddell", "alice@example.org", []string{"admins", "research"}},
		{"without an address", "carol", "carol", "Carol Danvers", "", []string{"a"}},
		{"with two addresses", "dave", "dave", "Dave Bowman", "dave.bowman@example.org", []string{"ops, emea"}},
		{"beyond ASCII", "josé", "josé", "José Núñez", "jose@example.org", nil},
		{"beyond ASCII, in two parts", "jose\u0301", "josé", "José Núñez", "jose@example.org", nil},
		{"LDAP-06 a DN with special characters", "mallory", "mallory", "Bob (x)*, Jr", "mallory@example.org", nil},
	} {
		t.Run(c.id, func(t *testing.T) {
			want := authn.Identity{
				Issuer: "ldap:///dc=example,dc=org", Subject: uuid(c.uid), Kind: authn.Person, Route: "dir",
				Username: c.uid, Name: c.name, Email: c.email, Groups: c.groups,
			}
			got := r.on(t).in(c.login, c.uid+"-pw")
			if d := cmp.Diff(want, got.Identity, cmpopts.IgnoreFields(authn.Identity{}, "AuthTime")); d != "" {
				t.Error(d)
			}
			if got.AuthTime.IsZero() || got.login != c.login {
				t.Errorf("at %s as %q", got.AuthTime, got.login)
			}
		})
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("twin") +
		ldif("uid=clone,"+peopleBase, "objectClass", "inetOrgPerson", "uid", "clone", "cn", "Clone", "sn", "Clone", "mail", "twin", "userPassword", "clone-pw") +
		ldif("cn=No Name,"+peopleBase, "objectClass", "person", "objectClass", "extensibleObject", "cn", "No Name", "sn", "Name", "mail", "noname@example.org", "userPassword", "noname-pw") +
		somebody("speaker", "cn;lang-de", "Aaron Sprecher", "mail;lang-de", "aaron@example.org", "mail", "speaker@example.org", "employeeNumber;lang-de", "99") +
		somebody("many", "cn", "Aaron\r\nX-Auth-Groups: admin", "cn", strings.Repeat("A", 5000), "cn", "Able Body", "mail", "a@example.org\r\nx", "mail", "b@[127.0.0.1]", "mail", strings.Repeat("a", 300)+"@example.org") +
		somebody("hidden", "employeeNumber", "4\u200b2") + somebody("long", "employeeNumber", strings.Repeat("4", 256)) +
		somebody("forger", "employeeNumber", "okta:4711") + somebody("honest", "employeeNumber", "4711"),
	})
	settings := settingsFor(s)
	settings.Users.Filter = "(&(objectClass=person)(|({username_attribute}={input})({mail_attribute}={input})))"
	r := newRig(t, settings, lax)

	t.Run("by mail", func(t *testing.T) {
		r := r.on(t)
		by, name := r.in("Alice@Example.ORG", "alice-pw"), r.in("alice", "alice-pw")
		if by.Subject != name.Subject || by.Username != "alice" {
			t.Errorf("%+v", by)
		}
	})
	t.Run("LDAP-09 somebody else's mail", func(t *testing.T) {
		r := r.on(t)
		for _, password := range []string{"twin-pw", "clone-pw"} {
			if got := r.refused("twin", password); got != wrong {
				t.Error(got)
			}
		}
		if !strings.Contains(r.log.String(), "several entries for one name") {
			t.Error("nothing about it in the log")
		}
		r.in("clone", "clone-pw")
	})
	t.Run("LDAP-33 two user names", func(t *testing.T) {
		r := r.on(t)
		for _, login := range []string{"eve", "admin", "eve@example.org"} {
			if got := r.refused(login, "eve-pw"); got != unfit {
				t.Errorf("%s: %s", login, got)
			}
			if got := r.refused(login, "bad-pw"); got != wrong {
				t.Errorf("%s with a wrong password: %s", login, got)
			}
		}
		if !strings.Contains(r.log.String(), "uid=eve,ou=people,dc=example,dc=org has 2 values of uid") {
			t.Error("the log does not say which")
		}
	})
	t.Run("LDAP-33 addresses in another order", func(t *testing.T) {
		r := r.on(t)
		for _, mail := range [][]string{{"dave@example.org", "dave.bowman@example.org"}, {"dave.bowman@example.org", "dave@example.org"}} {
			change(t, s, s.PersonDN("dave"), "mail", mail...)
			if got := r.in("dave", "dave-pw").Email; got != "dave.bowman@example.org" {
				t.Error(got)
			}
		}
	})
	t.Run("without a user name", func(t *testing.T) {
		r := r.on(t)
		if got := r.refused("noname@example.org", "noname-pw"); got != unfit {
			t.Error(got)
		}
	})
	t.Run("LDAP-32 options, line breaks and sizes", func(t *testing.T) {
		r := r.on(t)
		if got := r.in("speaker", "speaker-pw"); got.Name != "Some Body" || got.Email != "speaker@example.org" {
			t.Errorf("%+v", got.Identity)
		}
		if got := r.in("many", "many-pw"); got.Name != "Able Body" || got.Email != "" {
			t.Errorf("%+v", got.Identity)
		}
	})
	t.Run("photos", func(t *testing.T) {
		for _, attr := range []string{"jpegPhoto", "audio", "userSMIMECertificate"} { // together more than a message may have
			change(t, s, s.PersonDN("bob"), attr, strings.Repeat("\xff\xd8\x00\x01", 768<<10))
		}
		if got := r.on(t).in("bob", "bob-pw"); got.Name != "Bob Builder" {
			t.Errorf("%+v", got.Identity)
		}
	})

	settings.Attributes.Subject = "employeeNumber"
	numbers := newRig(t, settings, lax, func(s *setup) { s.deps.ForeignPrefixes = []string{"okta:"} })
	for _, c := range []struct {
		id, login string
		want      reason
	}{
		{"LDAP-32 a subject that shows nothing", "hidden", unfit},
		{"a subject that is too long", "long", unfit},
		{"a subject of another route", "forger", unfit},
		{"no subject but in another language", "speaker", unfit},
	} {
		t.Run(c.id, func(t *testing.T) {
			if got := numbers.on(t).refused(c.login, c.login+"-pw"); got != c.want {
				t.Error(got)
			}
		})
	}
	t.Run("another attribute as the subject", func(t *testing.T) {
		if got := numbers.on(t).in("honest", "honest-pw"); got.Subject != "4711" {
			t.Error(got.Subject)
		}
	})
}

// injections are names that mean something in a filter or in a DN.
func injections() []string {
	return []string{
		"*", "a*", "*)(uid=*", "admin)(|(uid=*", "x)(!(uid=y", `\2a`, `a\00`, ")(objectClass=*", "alice)(userPassword=*",
		"(", ")", `\`, `\\`, "&", "|", "!", "=", ">=", "~", "(uid=alice)", "alice)", "alice,ou=admins", "alice,ou=people,dc=example,dc=org",
		"uid=alice", "uid=alice,ou=people,dc=example,dc=org", "alice+cn=Alice Liddell", "#616c696365", "#04056c", `"`, `"alice"`, "<>;=", "alice;", `al\69ce`,
		"alice\\", "*@example.org", "{input}", "{dn}", "%s", "alice,", "+", ",", ";",
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	var extra strings.Builder
	for _, name := range injections() {
		extra.WriteString(ldif("uid="+ldap.EscapeDN(name)+","+peopleBase, "objectClass", "inetOrgPerson", "uid", name, "cn", "Literal", "sn", "L", "userPassword", "literal-pw"))
	}
	nobody, literal := peer.NewSlapd(t, peer.SlapdOptions{}), peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: extra.String()})
	for _, mode := range []struct{ id, template string }{
		{"LDAP-05 filter injection", ""},
		{"LDAP-06 DN injection", "uid={input}," + peopleBase},
	} {
		of := func(s *peer.Slapd) *rig {
			c := settingsFor(s)
			c.Users.DNTemplate = mode.template
			return newRig(t, c, lax)
		}
		without, with := of(nobody), of(literal)
		for _, name := range injections() {
			t.Run(mode.id+" "+name, func(t *testing.T) {
				without, with := without.on(t), with.on(t)
				for _, password := range []string{"alice-pw", "literal-pw"} {
					if got := without.refused(name, password); got != wrong {
						t.Errorf("%s", got)
					}
				}
				if got := with.refused(name, "alice-pw"); got != wrong {
					t.Errorf("%s", got)
				}
				if got := with.in(name, "literal-pw"); got.Username != name || len(got.Groups) != 0 {
					t.Errorf("%+v", got.Identity)
				}
			})
		}
	}
}

func TestScreen(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s), lax)
	for _, c := range []struct{ id, login, password string }{
		{"LDAP-01 empty password", "alice", ""},
		{"LDAP-01 empty password of nobody", "nobody", ""},
		{"LDAP-04 empty name", "", "alice-pw"},
		{"LDAP-04 blank name", " \t\u00a0\u2003", "alice-pw"},
		{"LDAP-04 nothing", "", ""},
		{"LDAP-02 NUL", "alice", "\x00"},
		{"LDAP-02 NUL before", "alice", "\x00alice-pw"},
		{"LDAP-02 NUL behind", "alice", "alice-pw\x00x"},
		{"LDAP-40 a long password", "alice", strings.Repeat("x", maxPassword+1)},
		{"LDAP-40 a long name", strings.Repeat("x", maxLogin+1), "alice-pw"},
		{"LDAP-05 NUL in the name", "alice\x00", "alice-pw"},
		{"LDAP-28 a line break in the name", "alice\r\n", "alice-pw"},
		{"LDAP-28 not UTF-8", "jos\xe9", "alice-pw"},
	} {
		t.Run(c.id, func(t *testing.T) {
			expectAsked(t, s, 0, 0, func() {
				if got := r.on(t).refused(c.login, c.password); got != wrong {
					t.Error(got)
				}
			})
		})
	}
}

func TestPasswords(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s), lax)
	long := strings.Repeat("-pw.", maxPassword/4)
	for _, password := range []string{" ", "\t", "  alice-pw ", "null", "undefined", "a:b-pw:", "pässwörd-pw✓", "\u2003-pw", `x{SSHA}-pw\*()`, long} {
		t.Run("LDAP-02 verbatim "+password[:min(12, len(password))], func(t *testing.T) {
			r := r.on(t)
			s.SetPassword(t, s.PersonDN("alice"), password)
			r.in("alice", password)
			for _, other := range []string{strings.TrimSpace(password), password + " ", " " + password, strings.ToUpper(password), password[:len(password)-1]} {
				if other == password {
					continue
				}
				if got := r.refused("alice", other); got != wrong {
					t.Errorf("%q is %s", other, got)
				}
			}
		})
	}
}

func TestFind(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{AnonymousRead: true, ExtraLDIF: ldif("ou=inner,"+peopleBase, "objectClass", "organizationalUnit") +
		ldif("uid=deep,ou=inner,"+peopleBase, "objectClass", "inetOrgPerson", "uid", "deep", "cn", "Deep", "sn", "D", "userPassword", "deep-pw") +
		ldif("cn=accounts,"+treeBase, "objectClass", "organizationalRole") + ldif("cn=users,cn=accounts,"+treeBase, "objectClass", "organizationalRole") +
		ldif("cn=groups,cn=accounts,"+treeBase, "objectClass", "organizationalRole") +
		ldif("uid=fred,cn=users,cn=accounts,"+treeBase, "objectClass", "inetOrgPerson", "uid", "fred", "cn", "F", "displayName", "Fred Free", "sn", "F", "mail", "fred@example.org", "userPassword", "fred-pw") +
		ldif("cn=ipausers,cn=groups,cn=accounts,"+treeBase, "objectClass", "groupOfNames", "cn", "ipausers", "member", "uid=fred,cn=users,cn=accounts,"+treeBase) +
		team("elsewhere", "uid=fred,cn=users,cn=accounts,"+treeBase),
	})
	for _, c := range []struct {
		name      string
		set       func(*config.LDAP)
		in, not   []string
		groupsOf  map[string][]string
		shownName string
	}{
		{name: "scope sub", set: func(*config.LDAP) {}, in: []string{"alice", "deep"}, not: []string{"fred"}},
		{name: "scope one", set: func(c *config.LDAP) { c.Users.Scope = "one" }, in: []string{"alice"}, not: []string{"deep"}},
		{name: "below the base", set: func(c *config.LDAP) { c.Users.BaseDN = "" }, in: []string{"alice", "deep", "fred"}},
		{name: "objectClass", set: func(c *config.LDAP) { c.Users.ObjectClass = "posixAccount" }, in: []string{"alice"}, not: []string{"deep"}},
		{name: "another user name", set: func(c *config.LDAP) { c.Attributes.Username, c.Groups.From = "mail", "none" }, in: []string{"alice@example.org"}, not: []string{"deep"}},
		{name: "anonymous", set: func(c *config.LDAP) { c.BindDN, c.BindPassword = "", "" }, in: []string{"alice", "deep"}, groupsOf: map[string][]string{"alice": {"admins", "research"}}},
		{name: "preset lldap", set: func(c *config.LDAP) {
			c.Preset, c.Users.BaseDN, c.Groups.BaseDN = "lldap", "", ""
		}, in: []string{"alice", "deep"}, not: []string{"fred"}, groupsOf: map[string][]string{"alice": {"admins", "research"}, "bob": {"research"}}},
		{name: "preset freeIPA", set: func(c *config.LDAP) {
			c.Preset, c.Users.BaseDN, c.Groups.BaseDN, c.Attributes.Subject = "freeIPA", "", "", "entryUUID"
		}, in: []string{"fred"}, not: []string{"alice"}, groupsOf: map[string][]string{"fred": {"ipausers"}}, shownName: "Fred Free"},
		{name: "dnTemplate", set: func(c *config.LDAP) { c.Users.DNTemplate = "uid={input}," + peopleBase }, in: []string{"alice", "ALICE"}, not: []string{"deep", "mallory"}},
		{name: "dnTemplate and a filter", set: func(c *config.LDAP) {
			c.Users.DNTemplate, c.Users.Filter = "uid={input},"+peopleBase, "(&(objectClass=person)(mail=*))"
		}, in: []string{"alice"}, not: []string{"carol"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			r := newRig(t, settings, lax)
			for _, login := range c.in {
				uid, _, _ := strings.Cut(strings.ToLower(login), "@")
				who := r.in(login, uid+"-pw")
				if want, ok := c.groupsOf[login]; ok && !slices.Equal(who.Groups, want) {
					t.Errorf("%s is in %v", login, who.Groups)
				}
				if c.shownName != "" && who.Name != c.shownName {
					t.Errorf("%s is called %q", login, who.Name)
				}
			}
			for _, login := range c.not {
				if got := r.refused(login, login+"-pw"); got != wrong {
					t.Errorf("%s: %s", login, got)
				}
			}
		})
	}
}

func TestTemplate(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	settings := settingsFor(s)
	settings.Users.DNTemplate = "uid={input}," + peopleBase
	t.Run("no search before the bind", func(t *testing.T) {
		r := newRig(t, settings, lax)
		r.in("alice", "alice-pw") // opens the connections
		expectAsked(t, s, 1, 0, func() { r.refused("alice", "bad-pw") })
		expectAsked(t, s, 1, 0, func() { r.refused("nobody", "bad-pw") })
		expectAsked(t, s, 1, 2, func() { r.in("alice", "alice-pw") }) // the entry and its groups
	})
	t.Run("LDAP-23 odd spellings", func(t *testing.T) {
		r := newRig(t, settings, lax)
		for _, login := range []string{" alice", "alice ", "al  ice", "ａｌｉｃｅ", "alice\u200b", "\ufeffalice", "jose\u0301", "al\u00adice", "alice\u2003"} {
			expectAsked(t, s, 0, 0, func() {
				if got := r.refused(login, strings.TrimSpace(login)+"-pw"); got != wrong {
					t.Errorf("%q: %s", login, got)
				}
				if got := r.refused(login, "alice-pw"); got != wrong {
					t.Errorf("%q: %s", login, got)
				}
			})
		}
		r.in("josé", "josé-pw")
	})
	t.Run("an account that is no person", func(t *testing.T) {
		settings := settings
		settings.Users.DNTemplate, settings.Users.BaseDN = "cn={input},ou=services,"+treeBase, ""
		r := newRig(t, settings)
		if got := r.refused("gatehouse", "service-pw"); got != wrong {
			t.Error(got)
		}
	})
}

// unsure checks that it could not be found out.
func (r *rig) unsure(login, password string) error {
	r.Helper()
	who, err := r.prove(login, password)
	if err == nil || errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) || who.Subject != "" {
		r.Errorf("%q: neither in nor out: %+v, %v", login, who, err)
	}
	return err
}

func TestUnsure(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	for _, c := range []struct {
		name string
		set  func(*config.LDAP)
		says string
	}{
		{"wrong password of bindDN", func(c *config.LDAP) { c.BindPassword = "bad-pw" }, "refuses bindDN"},
		{"no such bindDN", func(c *config.LDAP) { c.BindDN = "cn=nobody," + treeBase }, "refuses bindDN"},
		{"bindDN that is no DN", func(c *config.LDAP) { c.BindDN = "gatehouse" }, "refuses bindDN"},
		{"no such users.baseDN", func(c *config.LDAP) { c.Users.BaseDN = "ou=nowhere," + treeBase }, "is not there"},
		{"no such groups.baseDN", func(c *config.LDAP) { c.Groups.BaseDN = "ou=nowhere," + treeBase }, "is not there"},
		{"nobody may search without a name", func(c *config.LDAP) { c.BindDN, c.BindPassword = "", "" }, "is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			t.Cleanup(func() { s.SetPassword(t, s.ServiceDN, s.ServicePassword) }) // unlocks it
			r := newRig(t, settings)
			for range 4 { // nothing of it is counted
				if err := r.unsure("alice", "alice-pw"); !strings.Contains(err.Error(), c.says) {
					t.Error(err)
				}
			}
			if c.says == "refuses bindDN" || settings.BindDN == "" {
				if err := r.route.Ready(t.Context()); err == nil {
					t.Error("it calls itself ready")
				}
			}
		})
	}
	t.Run("LDAP-16 bindDN without a password", func(t *testing.T) {
		settings := settingsFor(s)
		settings.BindPassword = ""
		if _, err := newRoute("dir", settings, Deps{}); err == nil || !strings.Contains(err.Error(), "bindPassword") {
			t.Error(err)
		}
	})
	t.Run("ready", func(t *testing.T) {
		if err := newRig(t, settingsFor(s)).route.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
