package ldap

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

// settingsForSamba is settings that work with a domain controller.
func settingsForSamba(s *peer.Samba) config.LDAP {
	c := settingsFor(&peer.Slapd{TLSURL: s.TLSURL, CAFile: s.CAFile, BaseDN: s.BaseDN, ServiceDN: s.ServiceDN, ServicePassword: s.ServicePassword})
	c.Preset, c.Users.BaseDN, c.Groups.BaseDN = "activeDirectory", "", ""
	return c
}

// windows spells an objectGUID as Windows does, from its bytes.
func windows(raw string) string {
	h := hex.EncodeToString([]byte(raw))
	back := func(s string) string {
		out := ""
		for i := len(s); i > 0; i -= 2 {
			out += s[i-2 : i]
		}
		return out
	}
	return fmt.Sprintf("%s-%s-%s-%s-%s", back(h[:8]), back(h[8:12]), back(h[12:16]), h[16:20], h[20:])
}

func TestSamba(t *testing.T) {
	t.Parallel()
	s := peer.NewSamba(t)
	admin := s.Admin(t)
	change := func(t *testing.T, dn, attr string, values ...string) {
		t.Helper()
		m := ldap.NewModifyRequest(dn, nil)
		m.Replace(attr, values)
		if err := admin.Modify(m); err != nil {
			t.Fatal(err)
		}
	}
	alice := windows(read(t, admin, s.DN("alice"), "objectGUID"))

	t.Run("names", func(t *testing.T) {
		r := newRig(t, settingsForSamba(s), lax)
		for _, login := range []string{"alice", "ALICE", "alice@" + s.UPNSuffix, "Alice@" + strings.ToUpper(s.UPNSuffix)} {
			who := r.in(login, "alice-pw")
			if who.Subject != alice || who.Username != "alice" || who.Name != "Alice Liddell" || who.Email != "alice@example.test" || who.Issuer != "ldap:///dc=corp,dc=example,dc=test" {
				t.Errorf("%q is %+v", login, who.Identity)
			}
			if !slices.Equal(who.Groups, []string{"research"}) {
				t.Errorf("%q is in %q", login, who.Groups)
			}
		}
		for _, login := range []string{"alice@example.test", `CORP\alice`, "Alice Liddell", s.DN("alice"), "alic*", "*", "research", "DC1$", `alic\65`} {
			if got := r.refused(login, "alice-pw"); got != wrong {
				t.Errorf("%q: %s", login, got)
			}
		}
	})
	for name, set := range map[string]func(*config.LDAP){
		"ldaps": func(*config.LDAP) {}, "ldaps by name": func(c *config.LDAP) { c.TLS.ServerName = s.ServerName },
		"StartTLS":             func(c *config.LDAP) { c.Address, c.StartTLS = []string{s.URL}, true },
		"bindDN by name":       func(c *config.LDAP) { c.BindDN = "svc-gatehouse@" + s.UPNSuffix },
		"bindDN by the domain": func(c *config.LDAP) { c.BindDN = s.Domain + `\svc-gatehouse` },
	} {
		t.Run(name, func(t *testing.T) {
			settings := settingsForSamba(s)
			set(&settings)
			r := newRig(t, settings)
			if who := r.in("alice", "alice-pw"); who.Subject != alice {
				t.Errorf("%+v", who)
			}
			if got := r.refused("alice", "bad-pw"); got != wrong {
				t.Error(got)
			}
			r.in("alice", "alice-pw")
		})
	}
	t.Run("LDAP-14 another name", func(t *testing.T) {
		settings := settingsForSamba(s)
		settings.TLS.ServerName = "dc2." + s.UPNSuffix
		newRig(t, settings).unsure("alice", "alice-pw")
	})
	t.Run("nobody may search without a name", func(t *testing.T) {
		settings := settingsForSamba(s)
		settings.BindDN, settings.BindPassword = "", ""
		r := newRig(t, settings)
		r.unsure("alice", "alice-pw")
		if err := r.route.Ready(t.Context()); err != nil && strings.Contains(err.Error(), "-pw") {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		name, dn string
		set      func(*config.LDAP)
		want     []string
	}{
		{"nested", s.DN("alice"), nest, []string{"everyone-nested", "research", "staff"}},
		{"nested by search", s.DN("alice"), func(c *config.LDAP) { nest(c); c.Groups.From = "search" }, []string{"everyone-nested", "research", "staff"}},
		{"by search", s.DN("alice"), func(c *config.LDAP) { c.Groups.From = "search" }, []string{"research"}},
		{"as dn", s.DN("alice"), func(c *config.LDAP) { c.Groups.As = "dn" }, []string{"cn=research,cn=users,dc=corp,dc=example,dc=test"}},
		{"LDAP-34 elsewhere", s.DN("alice"), func(c *config.LDAP) { nest(c); c.Groups.BaseDN = "CN=Builtin," + s.BaseDN }, nil},
	} {
		t.Run("groups "+c.name, func(t *testing.T) {
			settings := settingsForSamba(s)
			c.set(&settings)
			if got := newRig(t, settings).in("alice", "alice-pw").Groups; !slices.Equal(got, c.want) {
				t.Errorf("%q", got)
			}
		})
	}
	t.Run("LDAP-35 groups in a circle", func(t *testing.T) {
		change(t, s.DN("research"), "member", s.DN("alice"), s.DN("everyone-nested"))
		t.Cleanup(func() { change(t, s.DN("research"), "member", s.DN("alice")) })
		settings := settingsForSamba(s)
		nest(&settings)
		if got := newRig(t, settings).in("alice", "alice-pw").Groups; !slices.Equal(got, []string{"everyone-nested", "research", "staff"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("allowedGroups", func(t *testing.T) {
		settings := settingsForSamba(s)
		nest(&settings)
		settings.AllowedGroups = []string{"STAFF"}
		r := newRig(t, settings)
		if err := r.route.Allow(r.in("alice", "alice-pw").Identity); err != nil {
			t.Error(err)
		}
		if err := r.route.Allow(r.in("svc-gatehouse", "svc-gatehouse-pw").Identity); err == nil {
			t.Error("everybody gets in")
		}
	})

	for _, c := range []struct {
		id, account  string
		right, wrong reason
	}{
		{"LDAP-19 disabled (533)", "bob", disabled, wrong},
		{"LDAP-19 account expired (701)", "carol", ended, wrong},
		{"LDAP-18 must change (773)", "dave", mustChange, wrong},
		{"LDAP-19 locked (775)", "erin", locked, locked},
		{"LDAP-18 password expired (532)", "frank", expired, wrong},
	} {
		t.Run(c.id, func(t *testing.T) {
			r := newRig(t, settingsForSamba(s))
			if got := r.refused(c.account, c.account+"-pw"); got != c.right {
				t.Errorf("the right password: %q", got)
			}
			if got := r.refused(c.account, "bad-pw"); got != c.wrong {
				t.Errorf("a wrong password: %q", got)
			}
			b := r.browser()
			b.stays(b.signIn(c.account, c.account+"-pw"), http.StatusUnauthorized, c.right.sentence())
		})
	}
	t.Run("LDAP-19 not at this time (530)", func(t *testing.T) {
		t.Cleanup(func() { change(t, s.DN("alice"), "logonHours") })
		change(t, s.DN("alice"), "logonHours", strings.Repeat("\x00", 21))
		r := newRig(t, settingsForSamba(s))
		if got := r.refused("alice", "alice-pw"); got != notNow {
			t.Errorf("the right password: %q", got)
		}
		if got := r.refused("alice", "bad-pw"); got != wrong {
			t.Errorf("a wrong password: %q", got)
		}
	})
	t.Run("LDAP-02 an empty password", func(t *testing.T) { // which a domain controller takes for nobody's
		r := newRig(t, settingsForSamba(s))
		if got := r.refused("alice", ""); got != wrong {
			t.Error(got)
		}
	})

	renewal := func(t *testing.T) (*rig, authn.Proof) {
		settings := settingsForSamba(s)
		nest(&settings)
		r := newRig(t, settings)
		return r, r.proven("alice", "alice-pw")
	}
	gone := func(t *testing.T, r *rig, p authn.Proof) {
		t.Helper()
		if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
	}
	t.Run("LDAP-20 disabled at renewal", func(t *testing.T) {
		r, p := renewal(t)
		p = r.renewed(p)
		t.Cleanup(func() { change(t, s.DN("alice"), "userAccountControl", "512") })
		change(t, s.DN("alice"), "userAccountControl", "514")
		gone(t, r, p)
	})
	t.Run("LDAP-20 expired at renewal", func(t *testing.T) {
		r, p := renewal(t)
		fileTime := func(at time.Time) string { return fmt.Sprint((at.Unix() + 11_644_473_600) * 10_000_000) }
		t.Cleanup(func() { change(t, s.DN("alice"), "accountExpires", "0") })
		change(t, s.DN("alice"), "accountExpires", fileTime(time.Now().Add(day)))
		p = r.renewed(p)
		change(t, s.DN("alice"), "accountExpires", fileTime(time.Now().Add(-day)))
		gone(t, r, p)
	})
	t.Run("other groups and another DN at renewal", func(t *testing.T) {
		r, p := renewal(t)
		rename := func(from, to string) {
			t.Helper()
			if err := admin.ModifyDN(ldap.NewModifyDNRequest(from, "CN="+to, true, "")); err != nil {
				t.Fatal(err)
			}
		}
		renamed := "CN=Alice Hargreaves,CN=Users," + s.BaseDN
		rename(s.DN("alice"), "Alice Hargreaves")
		t.Cleanup(func() { rename(renamed, "Alice Liddell") })
		change(t, s.DN("research"), "member")
		t.Cleanup(func() { change(t, s.DN("research"), "member", renamed) })
		if is := r.renewed(p).Identity; len(is.Groups) != 0 || is.Username != "alice" {
			t.Errorf("%+v", is)
		}
	})
	t.Run("LDAP-26 locked at renewal", func(t *testing.T) {
		r, p := renewal(t)
		for i := range 5 {
			_, _ = r.proveFrom("alice", "bad-pw", here(i)) // the regulation lets four through
		}
		direct := newRig(t, settingsForSamba(s), lax)
		eventually(t, "the account is locked", func() bool { return direct.refused("alice", "bad-pw") == locked })
		t.Cleanup(func() { change(t, s.DN("alice"), "lockoutTime", "0") })
		r.renewed(p)
	})

	t.Run("check", func(t *testing.T) {
		settings := settingsForSamba(s)
		got := told(Check(t.Context(), settings, usualRegulation()), host(s.TLSURL))
		for i, want := range []string{
			"ok ADDRESS: connected TLS 1.3, certificate until DATE", "ok bind: as " + s.ServiceDN, "ok preset: activeDirectory", "ok people: 1",
			"ok attribute objectGUID: ", "ok attribute sAMAccountName: ", "ok attribute mail: 7 of ", "ok attribute displayName: 7 of ", "ok groups: ",
			"FAULT regulation: the directory counts wrong passwords for 30m, the gateway for 15m | set regulation.findTime and banTime to 30m",
		} {
			if i >= len(got) || !strings.HasPrefix(got[i], want) {
				t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
			}
		}
		regulation := usualRegulation()
		regulation.MaxUserRetries = 5
		settings.AllowedGroups = []string{"Research", "staff"}
		got = told(Check(t.Context(), settings, regulation))
		if last := got[len(got)-1]; !strings.HasPrefix(last, "FAULT regulation: the directory locks people out after 5 wrong passwords, the gateway lets 5 through") {
			t.Error(last)
		}
		if one := got[len(got)-2]; !strings.HasPrefix(one, `FAULT allowedGroups: "staff" is none of them`) { // but with nested
			t.Error(one)
		}
		nest(&settings)
		if last := told(Check(t.Context(), settings, regulation)); strings.Contains(strings.Join(last, "\n"), "allowedGroups") {
			t.Errorf("with nested: %q", last)
		}
		settings.Preset = "openLDAP"
		if all := strings.Join(told(Check(t.Context(), settings, regulation)), "\n"); !strings.Contains(all, "FAULT preset: the directory is of the kind activeDirectory, the settings say openLDAP | set preset to activeDirectory") {
			t.Error(all)
		}
	})
	t.Run("LDAP-29 a changed password", func(t *testing.T) {
		settings := settingsForSamba(s)
		settings.BasicCache.Lifetime = config.Duration(150 * time.Millisecond)
		r := newRig(t, settings)
		r.passes("alice", "alice-pw")
		s.SetPassword(t, s.DN("alice"), "new-pw")
		eventually(t, "the old password is wrong", func() bool { _, err := r.by("alice", "alice-pw"); return errors.Is(err, authn.ErrRejected) })
		r.passes("alice", "new-pw")
		s.SetPassword(t, s.DN("alice"), "alice-pw")
	})
}
