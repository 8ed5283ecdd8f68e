package directory

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	schemas = "/etc/ldap/schema"
	modules = "/usr/lib/ldap"
)

// slapdConfiguration is slapd.conf.
func slapdConfiguration(dir string, o SlapdOptions) string {
	others, verify, limit := "by self read by * none", "never", o.SizeLimit
	switch {
	case o.AnonymousRead:
		others = "by * read"
	case o.UserRead:
		others = "by users read by * none"
	}
	if o.RequireClientCert {
		verify = "demand"
	}
	if limit == 0 {
		limit = 500
	}
	var b strings.Builder
	for _, name := range []string{"core", "cosine", "inetorgperson", "nis"} {
		fmt.Fprintf(&b, "include %s/%s.schema\n", schemas, name)
	}
	fmt.Fprintf(&b, "modulepath %s\n", modules)
	for _, name := range []string{"back_mdb", "memberof", "refint", "ppolicy"} {
		fmt.Fprintf(&b, "moduleload %s\n", name)
	}
	fmt.Fprintf(&b, `pidfile %[1]s/pid
argsfile %[1]s/args
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/server.pem
TLSCertificateKeyFile %[1]s/server.key
TLSVerifyClient %[2]s
sizelimit size.soft=%[3]d size.hard=%[3]d size.prtotal=unlimited
database mdb
maxsize 268435456
dbnosync
suffix "%[4]s"
rootdn "%[5]s"
rootpw %[6]s
directory %[1]s/db
index objectClass,uid,cn,mail,member,memberOf,memberUid,gidNumber eq
access to attrs=userPassword by self write by anonymous auth by * none
access to * by dn.exact="%[7]s" read %[8]s
overlay memberof
memberof-group-oc groupOfNames
memberof-member-ad member
memberof-refint true
overlay refint
refint_attributes member
refint_nothing "cn=nobody,%[4]s"
overlay ppolicy
ppolicy_default "%[9]s"
ppolicy_use_lockout
`, dir, verify, limit, base, adminDN, adminPassword, serviceDN, others, policyDN)
	return b.String()
}

// Connections is how many TCP connections clients have to the server now, as
// the kernel knows it: one that a client closed is gone at once.
func (s *Slapd) Connections(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const established = "01"
	n := 0
	for line := range strings.Lines(string(b)) {
		field := strings.Fields(line) // number, local, remote, state, …
		for _, port := range s.ports {
			if field[1] == fmt.Sprintf("0100007F:%04X", port) && field[3] == established {
				n++
			}
		}
	}
	return n
}

// Operations is how many binds and searches the server was asked for since its
// first start, also in vain, but for those of the administrator's connections.
// slapd logs them before it answers.
func (s *Slapd) Operations(t testing.TB) (binds, searches int) {
	t.Helper()
	b, err := os.ReadFile(s.server.log)
	if err != nil {
		t.Fatal(err)
	}
	administrator := fmt.Sprintf("dn=%q", adminDN)
	ours := make(map[string]bool) // connections
	for line := range strings.Lines(string(b)) {
		if strings.HasSuffix(line, " slapd starting\n") {
			clear(ours) // it numbers its connections anew
		}
		field := strings.Fields(line) // time, thread, connection, operation, what, …
		if len(field) < 6 || !strings.HasPrefix(field[3], "op=") {
			continue
		}
		connection, what, first, last := field[2], field[4], field[5], field[len(field)-1]
		switch {
		case what == "BIND" && first == administrator:
			ours[connection] = true
		case ours[connection]:
		case what == "BIND" && strings.HasPrefix(last, "method="), what == "do_bind:": // the latter can't read the DN
			binds++
		case what == "SRCH" && strings.HasPrefix(first, "base="), what == "do_search:":
			searches++
		}
	}
	return binds, searches
}
