package ldap

import (
	"strconv"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	peer "gatehouse/e2e/directory"
)

const (
	day     = 24 * time.Hour
	longAgo = "20200101000000Z"
	never   = "000001010000Z" // until an administrator unlocks it
)

func TestAccountStates(t *testing.T) {
	t.Parallel()
	const policy = "cn=default,ou=policies," + treeBase
	shadow := func(days string) func(*testing.T, *peer.Slapd, string) {
		return func(t *testing.T, s *peer.Slapd, dn string) {
			change(t, s, dn, "objectClass", "inetOrgPerson", "shadowAccount")
			change(t, s, dn, "shadowExpire", days)
		}
	}
	for _, c := range []struct {
		id           string
		set          func(t *testing.T, s *peer.Slapd, dn string)
		right, wrong reason // right is empty for a yes
	}{
		{"as usual", func(*testing.T, *peer.Slapd, string) {}, "", wrong},
		{"LDAP-19 locked by wrong passwords", func(t *testing.T, s *peer.Slapd, dn string) {
			r := newRig(t, settingsFor(s), lax)
			for range 5 {
				r.refused("somebody", "bad-pw")
			}
			if read(t, s.Admin(t), dn, "pwdAccountLockedTime") == "" {
				t.Fatal("slapd did not lock it")
			}
		}, locked, locked},
		{"LDAP-19 locked by hand", func(t *testing.T, s *peer.Slapd, dn string) { change(t, s, dn, "pwdAccountLockedTime", never) }, locked, locked},
		{"LDAP-18 the password must be changed", func(t *testing.T, s *peer.Slapd, dn string) { change(t, s, dn, "pwdReset", "TRUE") }, mustChange, wrong},
		{"LDAP-18 the password has expired", func(t *testing.T, s *peer.Slapd, dn string) {
			change(t, s, policy, "pwdMaxAge", "3600")
			change(t, s, dn, "pwdChangedTime", longAgo)
		}, expired, wrong},
		{"the password expires soon", func(t *testing.T, s *peer.Slapd, _ string) {
			change(t, s, policy, "pwdMaxAge", "3600")
			change(t, s, policy, "pwdExpireWarning", "3599")
		}, "", wrong},
		{"one grace sign-in is left", func(t *testing.T, s *peer.Slapd, dn string) {
			change(t, s, policy, "pwdMaxAge", "3600")
			change(t, s, policy, "pwdGraceAuthnLimit", "1")
			change(t, s, dn, "pwdChangedTime", longAgo)
		}, "", wrong},
		{"LDAP-19 expired by shadowExpire", shadow("1"), ended, wrong},
		{"shadowExpire today", shadow(days(0)), ended, wrong},
		{"shadowExpire soon", shadow(days(2)), "", wrong},
		{"shadowExpire never", shadow("-1"), "", wrong},
		{"LDAP-18 no password at all", func(t *testing.T, s *peer.Slapd, dn string) { change(t, s, dn, "userPassword") }, wrong, wrong},
	} {
		t.Run(c.id, func(t *testing.T) {
			s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("somebody")})
			c.set(t, s, "uid=somebody,"+peopleBase)
			r := newRig(t, settingsFor(s))
			if c.right == "" {
				r.in("somebody", "somebody-pw")
			} else if got := r.refused("somebody", "somebody-pw"); got != c.right {
				t.Errorf("the right password: %q", got)
			}
			if got := r.refused("somebody", "bad-pw"); got != c.wrong {
				t.Errorf("a wrong password: %q", got)
			}
			r.in("alice", "alice-pw") // nobody else
		})
	}
}

// days is the day so many days from now, as shadowExpire counts.
func days(from int) string {
	return strconv.FormatInt(time.Now().Unix()/int64(day/time.Second)+int64(from), 10)
}

// An entry that says it is out of use is, though the directory lets it bind.
func TestOutOfUse(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	fileTime := func(at time.Time) string { return strconv.FormatInt((at.Unix()+11_644_473_600)*1e7, 10) }
	shadow := func(at time.Time) string { return strconv.FormatInt(at.Unix()/86400, 10) }
	for _, c := range []struct {
		id, attr, value string
		want            reason
	}{
		{"LDAP-19 disabled", "userAccountControl", "514", disabled},
		{"LDAP-19 disabled and more", "userAccountControl", "66050", disabled},
		{"a usual account", "userAccountControl", "512", ""},
		{"a flag beyond 31 bits", "userAccountControl", "-2147483646", disabled},
		{"flags that are no number", "userAccountControl", "x", ""},
		{"LDAP-19 locked in 389 Directory Server", "nsAccountLock", "TRUE", disabled},
		{"LDAP-19 locked in FreeIPA", "nsaccountlock", "true", disabled},
		{"not locked", "nsAccountLock", "FALSE", ""},
		{"locked for ever", "pwdAccountLockedTime", never, disabled},
		{"LDAP-26 locked by wrong passwords", "pwdAccountLockedTime", "20260501115900Z", ""},
		{"shadowExpire yesterday", "shadowExpire", shadow(now.Add(-day)), ended},
		{"shadowExpire today", "shadowExpire", shadow(now), ended},
		{"shadowExpire tomorrow", "shadowExpire", shadow(now.Add(day)), ""},
		{"shadowExpire in 1970", "shadowExpire", "0", ended},
		{"shadowExpire never", "shadowExpire", "-1", ""},
		{"accountExpires a second ago", "accountExpires", fileTime(now.Add(-time.Second)), ended},
		{"accountExpires now", "accountExpires", fileTime(now), ended},
		{"accountExpires in a second", "accountExpires", fileTime(now.Add(time.Second)), ""},
		{"accountExpires never", "accountExpires", "0", ""},
		{"accountExpires never either", "accountExpires", "9223372036854775807", ""},
		{"LDAP-26 lockoutTime", "lockoutTime", fileTime(now.Add(-time.Minute)), ""},
	} {
		t.Run(c.id, func(t *testing.T) {
			if got := outOfUse(ldap.NewEntry("cn=x", map[string][]string{c.attr: {c.value}}), now); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}
