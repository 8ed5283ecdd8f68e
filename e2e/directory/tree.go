package directory

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

const (
	base            = "dc=example,dc=org"
	peopleBase      = "ou=people," + base
	groupBase       = "ou=groups," + base
	evilBase        = "ou=evil," + base
	posixBase       = "ou=posix," + base
	serviceBase     = "ou=services," + base
	policyBase      = "ou=policies," + base
	adminDN         = "cn=admin," + base
	serviceDN       = "cn=gatehouse," + serviceBase
	policyDN        = "cn=default," + policyBase
	adminPassword   = "admin-pw"
	servicePassword = "service-pw"
)

type person struct {
	dn, cn     string
	uids, mail []string
	gid        string
}

func people() []person {
	list := []person{
		{cn: "Alice Liddell", uids: []string{"alice"}, mail: []string{"alice@example.org"}, gid: "1001"},
		{cn: "Bob Builder", uids: []string{"bob"}, mail: []string{"bob@example.org"}, gid: "1002"},
		{cn: "Carol Danvers", uids: []string{"carol"}},
		{cn: "Dave Bowman", uids: []string{"dave"}, mail: []string{"dave@example.org", "dave.bowman@example.org"}},
		{cn: "Eve Moneypenny", uids: []string{"eve", "admin"}, mail: []string{"eve@example.org"}},
		{cn: "José Núñez", uids: []string{"josé"}, mail: []string{"jose@example.org"}},
		{cn: "Bob (x)*, Jr", uids: []string{"mallory"}, mail: []string{"mallory@example.org"}},
	}
	for i := range list {
		list[i].dn = personDN(list[i].uids[0])
		if list[i].gid == "" {
			list[i].gid = "1000"
		}
	}
	return list
}

func personDN(uid string) string {
	if uid == "mallory" {
		return `cn=Bob (x)*\, Jr,` + peopleBase
	}
	return "uid=" + ldap.EscapeDN(uid) + "," + peopleBase
}

func groupDN(cn string) string { return "cn=" + ldap.EscapeDN(cn) + "," + groupBase }

type group struct {
	dn, cn  string
	members []string
}

func groups() []group {
	in := func(cn string, members ...string) group { return group{groupDN(cn), cn, members} }
	return []group{
		in("research", personDN("alice"), personDN("bob")),
		in("admins", personDN("alice")),
		in("outer", groupDN("research")),
		in("a", groupDN("b"), personDN("carol")),
		in("b", groupDN("a")),
		in("ops, emea", personDN("dave")),
		{"cn=admins," + evilBase, "admins", []string{personDN("bob")}},
	}
}

// tree is the LDIF that slapd starts with. slapadd passes the memberof overlay
// by, so memberOf is written here.
func tree(many map[string]int) string {
	all := groups()
	for uid, n := range many {
		for i := range n {
			cn := fmt.Sprintf("%s-%05d", uid, i+1)
			all = append(all, group{groupDN(cn), cn, []string{personDN(uid)}})
		}
	}
	memberOf := make(map[string][]string)
	for _, g := range all {
		for _, m := range g.members {
			memberOf[m] = append(memberOf[m], g.dn)
		}
	}
	var b strings.Builder
	entry(&b, base, "objectClass", "dcObject", "objectClass", "organization", "dc", "example", "o", "Example")
	for _, dn := range []string{peopleBase, groupBase, evilBase, posixBase, serviceBase, policyBase} {
		entry(&b, dn, "objectClass", "organizationalUnit")
	}
	entry(&b, policyDN, "objectClass", "organizationalRole", "objectClass", "pwdPolicy", "cn", "default",
		"pwdAttribute", "userPassword", "pwdLockout", "TRUE", "pwdMaxFailure", "5",
		"pwdFailureCountInterval", "0", "pwdMustChange", "TRUE")
	entry(&b, serviceDN, "objectClass", "organizationalRole", "objectClass", "simpleSecurityObject",
		"cn", "gatehouse", "userPassword", servicePassword)
	for i, p := range people() {
		sn := p.cn[strings.LastIndexByte(p.cn, ' ')+1:]
		pairs := []string{"objectClass", "inetOrgPerson", "objectClass", "posixAccount", "cn", p.cn, "sn", sn,
			"displayName", p.cn, "uidNumber", strconv.Itoa(5000 + i), "gidNumber", p.gid,
			"homeDirectory", "/home/" + strconv.Itoa(5000+i), "userPassword", p.uids[0] + "-pw"}
		pairs = slices.Concat(pairs, repeat("uid", p.uids), repeat("mail", p.mail), repeat("memberOf", memberOf[p.dn]))
		entry(&b, p.dn, pairs...)
	}
	for _, g := range all {
		entry(&b, g.dn, slices.Concat([]string{"objectClass", "groupOfNames", "cn", g.cn},
			repeat("member", g.members), repeat("memberOf", memberOf[g.dn]))...)
	}
	entry(&b, "cn=ml,"+posixBase, "objectClass", "posixGroup", "cn", "ml", "gidNumber", "1001")
	entry(&b, "cn=infra,"+posixBase, "objectClass", "posixGroup", "cn", "infra", "gidNumber", "1002", "memberUid", "alice")
	return b.String()
}

func repeat(attribute string, values []string) (pairs []string) {
	for _, v := range values {
		pairs = append(pairs, attribute, v)
	}
	return pairs
}

// entry appends an entry to an LDIF file. Every value goes in base64, which is
// right for any.
func entry(b *strings.Builder, dn string, pairs ...string) {
	for line := range slices.Chunk(append([]string{"dn", dn}, pairs...), 2) {
		fmt.Fprintf(b, "%s:: %s\n", line[0], base64.StdEncoding.EncodeToString([]byte(line[1])))
	}
	b.WriteByte('\n')
}
