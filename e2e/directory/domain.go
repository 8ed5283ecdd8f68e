package directory

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
)

const (
	halfHour = "-18000000000"       // in negative units of 100 ns
	longAgo  = "130000000000000000" // in units of 100 ns since 1601: December 2012
	enabled  = "512"
	disabled = "514"
	attempts = 5 // that lock an account
)

type account struct {
	name, shown, control string
	more                 []string
}

func accounts() []account {
	return []account{
		{name: "alice", shown: "Alice Liddell"},
		{name: "bob", shown: "Bob Builder", control: disabled},
		{name: "carol", shown: "Carol Danvers", more: []string{"accountExpires", longAgo}},
		{name: "dave", shown: "Dave Bowman", more: []string{"pwdLastSet", "0"}},
		{name: "erin", shown: "Erin Gray"},
		{name: "frank", shown: "Frank Poole"},
		{name: service, shown: "Gatehouse"},
	}
}

// DN is the DN of an account or a group. As in most domains, an account's has
// the display name.
func (s *Samba) DN(name string) string {
	if i := slices.IndexFunc(accounts(), func(a account) bool { return a.name == name }); i >= 0 {
		name = accounts()[i].shown
	}
	return "CN=" + ldap.EscapeDN(name) + ",CN=Users," + domainBase
}

// populate makes the accounts and groups that the package describes.
func (s *Samba) populate(t testing.TB) {
	t.Helper()
	c := s.Admin(t)
	rules := ldap.NewModifyRequest(domainBase, nil)
	for name, value := range map[string]string{
		"lockoutThreshold": strconv.Itoa(attempts), "lockoutDuration": halfHour, "lockOutObservationWindow": halfHour,
		"pwdProperties": "0", "minPwdLength": "0", "minPwdAge": "0", // simple passwords, changed at any time
	} {
		rules.Replace(name, []string{value})
	}
	if err := c.Modify(rules); err != nil {
		t.Fatal(err)
	}
	add := func(name string, pairs ...string) {
		r := ldap.NewAddRequest(s.DN(name), nil)
		for pair := range slices.Chunk(append(pairs, "sAMAccountName", name), 2) {
			r.Attribute(pair[0], pair[1:])
		}
		if err := c.Add(r); err != nil {
			t.Fatalf("add %s: %v", name, err)
		}
	}
	for _, a := range accounts() {
		if a.control == "" {
			a.control = enabled
		}
		add(a.name, append(a.more, "objectClass", "user", "displayName", a.shown, "userAccountControl", a.control,
			"userPrincipalName", a.name+"@"+realm, "mail", a.name+"@example.test", "unicodePwd", quoted(a.name+"-pw"))...)
	}
	add("research", "objectClass", "group", "member", s.DN("alice"))
	add("staff", "objectClass", "group", "member", s.DN("research"))
	add("everyone-nested", "objectClass", "group", "member", s.DN("staff"))
	s.lock(t, "erin")
	s.age(t, "frank")
}

// lock tries wrong passwords until the account is locked.
func (s *Samba) lock(t testing.TB, name string) {
	t.Helper()
	c := s.Admin(t)
	for range attempts {
		if err := c.Bind(name+"@"+realm, "wrong"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Fatalf("a wrong password for %s: %v", name, err)
		}
	}
}

// age makes a password look old. The server lets nobody do that, so it happens
// in its database.
func (s *Samba) age(t testing.TB, name string) {
	t.Helper()
	const bypass = "--controls=local_oid:1.3.6.1.4.1.7165.4.3.20:1" // takes any pwdLastSet
	file := filepath.Join(s.dir, "age.ldif")
	write(t, file, fmt.Sprintf("dn: %s\nchangetype: modify\nreplace: pwdLastSet\npwdLastSet: %s\n", s.DN(name), longAgo))
	run(t, find(t, "ldbmodify", "ldb-tools"), bypass, "-H", filepath.Join(s.dir, "private", "sam.ldb"), file)
}

// quoted is a password as Active Directory wants it in unicodePwd.
func quoted(password string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}
