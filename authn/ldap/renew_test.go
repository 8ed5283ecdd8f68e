package ldap

import (
	"encoding/json/v2"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

// proven is the proof that a sign-in ends in.
func (r *rig) proven(login, password string) authn.Proof {
	r.Helper()
	p, err := r.l.proof(r.in(login, password))
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// renewed checks that a proof is renewed as the same person.
func (r *rig) renewed(p authn.Proof) authn.Proof {
	r.Helper()
	next, err := r.route.Renew(r.Context(), p)
	if err != nil {
		r.Fatal(err)
	}
	is, was := next.Identity, p.Identity
	if is.Subject != was.Subject || is.Issuer != was.Issuer || is.Route != was.Route || is.Kind != was.Kind || !is.AuthTime.Equal(was.AuthTime) {
		r.Errorf("%+v was %+v", is, was)
	}
	return next
}

// rename changes a DN as slapd's administrator.
func rename(t *testing.T, s *peer.Slapd, dn, rdn, above string) {
	t.Helper()
	if err := s.Admin(t).ModifyDN(ldap.NewModifyDNRequest(dn, rdn, true, above)); err != nil {
		t.Fatal(err)
	}
}

func TestProof(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s))
	p := r.proven("alice", "alice-pw")
	now := time.Now()
	if !p.RenewAt.Before(p.Identity.Expires) || !p.RenewAt.After(now) || p.Identity.Expires.Sub(now) > 5*time.Minute {
		t.Errorf("renew at %s, expires %s", p.RenewAt, p.Identity.Expires)
	}
	if strings.Contains(string(p.Grant), "-pw") {
		t.Errorf("the grant is %s", p.Grant)
	}
	p.Identity.AuthTime = p.Identity.AuthTime.Add(-time.Hour) // it is when they signed in
	next := r.renewed(p)
	if next.RenewAt.Before(p.RenewAt) || !next.Identity.Expires.After(p.Identity.Expires) || string(next.Grant) != string(p.Grant) {
		t.Errorf("%+v after %+v", next, p)
	}
	r.in("alice", "alice-pw") // opens the connections
	expectAsked(t, s, 0, 2, func() { r.renewed(next) })
}

// Each case changes the directory behind a session.
func TestRenew(t *testing.T) {
	t.Parallel()
	const dn = "uid=sam," + peopleBase
	filter := func(c *config.LDAP) { c.Users.Filter = "(&(objectClass=person)(uid={input})(employeeType=staff))" }
	allowed := func(c *config.LDAP) { c.AllowedGroups = []string{"Crew"} }
	template := func(c *config.LDAP) { c.Users.DNTemplate = "uid={input}," + peopleBase }
	for _, c := range []struct {
		id     string
		set    func(*config.LDAP)
		change func(t *testing.T, s *peer.Slapd)
		ends   bool
		is     func(authn.Identity) bool // what else is to be so
	}{
		{id: "nothing", change: func(*testing.T, *peer.Slapd) {}},
		{id: "nothing, by dnTemplate", set: template, change: func(*testing.T, *peer.Slapd) {}},
		{id: "another name", change: func(t *testing.T, s *peer.Slapd) { change(t, s, dn, "cn", "Samantha Body") },
			is: func(id authn.Identity) bool { return id.Name == "Samantha Body" }},
		{id: "another DN", change: func(t *testing.T, s *peer.Slapd) {
			change(t, s, dn, "cn", "Samantha Body")
			rename(t, s, dn, "cn=Samantha Body", "")
			change(t, s, "cn=Samantha Body,"+peopleBase, "uid", "sam")
		}, is: func(id authn.Identity) bool { return id.Username == "sam" && slices.Equal(id.Groups, []string{"crew"}) }},
		{id: "another unit", change: func(t *testing.T, s *peer.Slapd) { rename(t, s, dn, "uid=sam", "ou=inner,"+peopleBase) },
			is: func(id authn.Identity) bool { return slices.Equal(id.Groups, []string{"crew"}) }},
		{id: "another address", change: func(t *testing.T, s *peer.Slapd) { change(t, s, dn, "mail", "new@example.org") },
			is: func(id authn.Identity) bool { return id.Email == "new@example.org" }},
		{id: "another password", change: func(t *testing.T, s *peer.Slapd) { s.SetPassword(t, dn, "new-pw") }},
		{id: "one more group", change: func(t *testing.T, s *peer.Slapd) { change(t, s, s.GroupDN("admins"), "member", dn) },
			is: func(id authn.Identity) bool { return slices.Equal(id.Groups, []string{"admins", "crew"}) }},
		{id: "one group less", change: func(t *testing.T, s *peer.Slapd) { change(t, s, s.GroupDN("crew"), "member", s.PersonDN("bob")) },
			is: func(id authn.Identity) bool { return len(id.Groups) == 0 }},
		{id: "one group less by memberOf", set: memberOf, change: func(t *testing.T, s *peer.Slapd) { change(t, s, s.GroupDN("crew"), "member", s.PersonDN("bob")) },
			is: func(id authn.Identity) bool { return len(id.Groups) == 0 }},
		{id: "LDAP-26 locked by wrong passwords", change: func(t *testing.T, s *peer.Slapd) {
			change(t, s, dn, "pwdAccountLockedTime", time.Now().UTC().Format("20060102150405Z"))
		}},
		{id: "somebody else of the same name beside", change: func(t *testing.T, s *peer.Slapd) {
			add(t, s, "uid=sam,ou=inner,"+peopleBase, "objectClass", "inetOrgPerson", "uid", "sam", "cn", "Other Sam", "sn", "Sam")
		}, is: func(id authn.Identity) bool { return id.Name == "Some Body" }},

		{id: "IDT-23 deleted", change: func(t *testing.T, s *peer.Slapd) { s.Delete(t, dn) }, ends: true},
		{id: "IDT-23 deleted, by dnTemplate", set: template, change: func(t *testing.T, s *peer.Slapd) { s.Delete(t, dn) }, ends: true},
		{id: "LDAP-20 disabled", change: func(t *testing.T, s *peer.Slapd) { change(t, s, dn, "pwdAccountLockedTime", never) }, ends: true},
		{id: "LDAP-20 expired", change: func(t *testing.T, s *peer.Slapd) {
			change(t, s, dn, "objectClass", "inetOrgPerson", "shadowAccount")
			change(t, s, dn, "shadowExpire", "1")
		}, ends: true},
		{id: "no longer found by the filter", set: filter, change: func(t *testing.T, s *peer.Slapd) { change(t, s, dn, "employeeType", "guest") }, ends: true},
		{id: "still found by the filter", set: filter, change: func(*testing.T, *peer.Slapd) {}},
		{id: "no longer in allowedGroups", set: allowed, change: func(t *testing.T, s *peer.Slapd) { change(t, s, s.GroupDN("crew"), "member", s.PersonDN("bob")) }, ends: true},
		{id: "still in allowedGroups", set: allowed, change: func(*testing.T, *peer.Slapd) {}},
		{id: "no longer in allowedEmailDomains", set: func(c *config.LDAP) { c.AllowedEmailDomains = []string{"example.org"} },
			change: func(t *testing.T, s *peer.Slapd) { change(t, s, dn, "mail", "sam@example.com") }, ends: true},
		{id: "moved out of users.baseDN", change: func(t *testing.T, s *peer.Slapd) { rename(t, s, dn, "uid=sam", "ou=services,"+treeBase) }, ends: true},
		{id: "another user name", change: func(t *testing.T, s *peer.Slapd) { rename(t, s, dn, "uid=samantha", "") }, ends: true},
		{id: "LDAP-33 a second user name", change: func(t *testing.T, s *peer.Slapd) { change(t, s, dn, "uid", "sam", "root") }, ends: true},
		{id: "the name is somebody else's", change: func(t *testing.T, s *peer.Slapd) {
			s.Delete(t, dn)
			add(t, s, dn, "objectClass", "inetOrgPerson", "uid", "sam", "cn", "Other Sam", "sn", "Sam", "userPassword", "sam-pw")
		}, ends: true},
		{id: "the name is somebody else's, by dnTemplate", set: template, change: func(t *testing.T, s *peer.Slapd) {
			s.Delete(t, dn)
			add(t, s, dn, "objectClass", "inetOrgPerson", "uid", "sam", "cn", "Other Sam", "sn", "Sam", "userPassword", "sam-pw")
		}, ends: true},
		{id: "the name is two others'", change: func(t *testing.T, s *peer.Slapd) {
			s.Delete(t, dn)
			for _, dn := range []string{dn, "uid=sam,ou=inner," + peopleBase} {
				add(t, s, dn, "objectClass", "inetOrgPerson", "uid", "sam", "cn", "Other Sam", "sn", "Sam")
			}
		}, ends: true},
	} {
		t.Run(c.id, func(t *testing.T) {
			s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: ldif("ou=inner,"+peopleBase, "objectClass", "organizationalUnit") +
				somebody("sam", "employeeType", "staff", "mail", "sam@example.org") + team("crew", dn)})
			settings := settingsFor(s)
			if c.set != nil {
				c.set(&settings)
			}
			r := newRig(t, settings)
			p := r.proven("SAM", "sam-pw")
			c.change(t, s)
			if !c.ends {
				if next := r.renewed(p); c.is != nil && !c.is(next.Identity) {
					t.Errorf("%+v", next.Identity)
				}
				return
			}
			if next, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) || next.Identity.Subject != "" {
				t.Errorf("it goes on: %+v, %v", next, err)
			}
		})
	}
}

// add makes an entry as slapd's administrator.
func add(t *testing.T, s *peer.Slapd, dn string, pairs ...string) {
	t.Helper()
	values := map[string][]string{}
	for pair := range slices.Chunk(pairs, 2) {
		values[pair[0]] = append(values[pair[0]], pair[1])
	}
	r := ldap.NewAddRequest(dn, nil)
	for attr, v := range values {
		r.Attribute(attr, v)
	}
	if err := s.Admin(t).Add(r); err != nil {
		t.Fatal(err)
	}
}

func TestRenewUnsure(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	settings := settingsFor(s)
	r := newRig(t, settings)
	p := r.proven("alice", "alice-pw")
	cases := map[string]func(*config.LDAP){
		"the base is gone":        func(c *config.LDAP) { c.Users.BaseDN = "ou=nowhere," + treeBase },
		"the groups' are gone":    func(c *config.LDAP) { c.Groups.BaseDN = "ou=nowhere," + treeBase },
		"bindDN is refused":       func(c *config.LDAP) { c.BindPassword = "bad-pw" },
		"it can't be reached":     func(c *config.LDAP) { c.Address = []string{"ldaps://127.0.0.1:1"} },
		"its certificate is odd":  func(c *config.LDAP) { c.TLS.ServerName = "other.test" },
		"nobody may read it":      func(c *config.LDAP) { c.BindDN, c.BindPassword = "", "" },
		"nobody in time":          func(c *config.LDAP) { c.Timeout = 1 },
		"memberOf can't be asked": func(c *config.LDAP) { c.Address = []string{"ldapi://%2Fnowhere"} },
	}
	for name, set := range cases {
		t.Run("LDAP-37 "+name, func(t *testing.T) {
			settings := settings
			set(&settings)
			if _, err := newRig(t, settings).route.Renew(t.Context(), p); err == nil || errors.Is(err, authn.ErrRejected) {
				t.Error(err)
			}
		})
	}
	t.Run("LDAP-37 the directory is down", func(t *testing.T) {
		s.Stop()
		if _, err := r.route.Renew(t.Context(), p); err == nil || errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
		s.Restart(t)
		r.on(t).renewed(p)
	})
	for name, bad := range map[string]string{"no grant": "", "a grant of others": `{"refresh":"x"}`, "no name": `{"l":""}`} {
		t.Run(name, func(t *testing.T) {
			p := p
			p.Grant = []byte(bad)
			if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
				t.Error(err)
			}
		})
	}
	t.Run("LDAP-05 a grant is no filter", func(t *testing.T) {
		p := p
		p.Grant, _ = json.Marshal(grant{Login: "ali*"})
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
	})
}

// A browser's session, from the form to the end.
func TestSessionEnds(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("sam")})
	settings := settingsFor(s)
	settings.RefreshInterval = config.Duration(300 * time.Millisecond)
	r := newRig(t, settings)
	b, other := r.browser(), r.browser()
	b.signIn("sam", "sam-pw")
	other.signIn("alice", "alice-pw")
	first, err := b.session()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session is renewed", func() bool {
		who, err := b.session()
		if err != nil {
			t.Fatal(err)
		}
		return who.Expires.After(first.Expires)
	})
	change(t, s, "uid=sam,"+peopleBase, "pwdAccountLockedTime", never)
	eventually(t, "the session ends", func() bool {
		_, err := b.session()
		if err != nil && !errors.Is(err, authn.ErrRejected) {
			t.Fatal(err)
		}
		return err != nil
	})
	if _, err := other.session(); err != nil {
		t.Errorf("somebody else's ends too: %v", err)
	}
}
