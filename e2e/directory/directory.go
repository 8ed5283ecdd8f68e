// Package directory starts real directories for tests: OpenLDAP's slapd and
// Samba's Active Directory domain controller. A directory is gone, with all its
// files, when the test ends. One that isn't installed fails the test.
//
// # What slapd holds
//
// The base is dc=example,dc=org. Everybody's password is "<uid>-pw".
//
//	below ou=people   uid         cn             mail                                     gidNumber
//	uid=alice         alice       Alice Liddell  alice@example.org                        1001
//	uid=bob           bob         Bob Builder    bob@example.org                          1002
//	uid=carol         carol       Carol Danvers  none                                     1000
//	uid=dave          dave        Dave Bowman    dave@example.org, dave.bowman@example.org 1000
//	uid=eve           eve, admin  Eve Moneypenny eve@example.org                          1000
//	uid=josé          josé        José Núñez     jose@example.org                         1000
//	cn=Bob (x)*\, Jr  mallory     Bob (x)*, Jr   mallory@example.org                      1000
//
// They are inetOrgPerson and posixAccount, and the displayName is the cn.
//
//	below ou=groups   member
//	cn=research       alice, bob
//	cn=admins         alice
//	cn=outer          the group research
//	cn=a              the group b, carol
//	cn=b              the group a
//	cn=ops\, emea     dave
//
//	below ou=evil     member
//	cn=admins         bob
//
//	below ou=posix    gidNumber  memberUid
//	cn=ml             1001       none
//	cn=infra          1002       alice
//
// The groups below ou=groups and ou=evil are groupOfNames; memberOf of their
// members is set. The overlays memberof, refint and ppolicy are there. Five
// wrong passwords lock an account until somebody deletes its
// pwdAccountLockedTime; a pwdReset of TRUE, set through [Slapd.Admin], makes a
// person change the password first.
//
// # What Samba holds
//
// The domain is CORP, corp.example.test. Everybody is below CN=Users, has the
// password "<account>-pw", the userPrincipalName <account>@corp.example.test
// and the mail <account>@example.test.
//
//	account        displayName     state
//	alice          Alice Liddell   can sign in; member of research
//	bob            Bob Builder     disabled
//	carol          Carol Danvers   the account expired
//	dave           Dave Bowman     must change the password
//	erin           Erin Gray       locked by five wrong passwords, for 30 minutes
//	frank          Frank Poole     the password expired
//	svc-gatehouse  Gatehouse       reads, as any account may
//
// The group research is a member of staff, staff of everyone-nested.
package directory

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tempDir is a directory with a short path, because a socket's path has at most
// 108 bytes, and below no directory that is closed to other users, as the one
// of testing.T is.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatehouse-") //nolint:usetesting // for both of these reasons
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// find returns the path of a program, which an ordinary user's PATH may not
// lead to.
func find(t testing.TB, program, packages string) string {
	t.Helper()
	for _, name := range []string{program, filepath.Join("/usr/sbin", program), filepath.Join("/sbin", program)} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing; install it with: apt-get install %s", program, packages)
	return ""
}

// run runs a program that ends by itself.
func run(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(program), args, err, out)
	}
}
