package authntest_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/authntest"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

const (
	baseDN  = "dc=example,dc=org"
	adaDN   = "uid=ada,ou=people," + baseDN
	benDN   = "uid=ben,ou=people," + baseDN
	adminDN = "cn=admins,ou=groups," + baseDN
)

// library is a directory on a real socket with two people, and a service that
// may read.
type library struct {
	*testing.T
	d   *authntest.Directory
	url string
}

func entriesOfTwo() []authntest.Entry {
	return append(authntest.DirectoryOf([]authntest.Person{ada(), ben()}, baseDN, ""),
		authntest.Entry{DN: "cn=gateway," + baseDN, Password: "secret"})
}

func newLibrary(t *testing.T, change ...func(*authntest.DirectoryOptions)) *library {
	t.Helper()
	o := authntest.DirectoryOptions{BaseDN: baseDN, Entries: entriesOfTwo()}
	for _, c := range change {
		c(&o)
	}
	d, url, err := authntest.StartDirectory(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if n := d.Connections(); n != 0 {
			t.Errorf("%d connections after Close", n)
		}
	})
	return &library{t, d, url}
}

// dial is a client that is not bound.
func (l *library) dial() *ldap.Conn {
	l.Helper()
	c, err := ldap.DialURL(l.url)
	if err != nil {
		l.Fatal(err)
	}
	c.SetTimeout(10 * time.Second)
	l.Cleanup(func() { _ = c.Close() })
	return c
}

// visit is a client that may read.
func (l *library) visit() *ldap.Conn {
	l.Helper()
	c := l.dial()
	if err := c.Bind("cn=gateway,"+baseDN, "secret"); err != nil {
		l.Fatal(err)
	}
	return c
}

// meets waits until so many connections are open.
func (l *library) meets(n int) {
	l.Helper()
	for range 10_000 {
		if l.d.Connections() == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	l.Fatalf("%d connections, not %d", l.d.Connections(), n)
}

func query(filter string, attributes ...string) *ldap.SearchRequest {
	return ldap.NewSearchRequest(baseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, nil)
}

// find is the DNs that a filter finds, shortened to what they begin with.
func (l *library) find(c *ldap.Conn, filter string) string {
	l.Helper()
	result, err := c.Search(query(filter, "1.1"))
	if err != nil {
		l.Fatalf("%s: %v", filter, err)
	}
	var names []string
	for _, e := range result.Entries {
		first, _, _ := strings.Cut(e.DN, ",")
		names = append(names, first)
	}
	return strings.Join(names, " ")
}

// entry is one entry by its DN.
func (l *library) entry(c *ldap.Conn, dn string, attributes ...string) *ldap.Entry {
	l.Helper()
	r := query("(objectClass=*)", attributes...)
	r.BaseDN, r.Scope = dn, ldap.ScopeBaseObject
	result, err := c.Search(r)
	if err != nil || len(result.Entries) != 1 {
		l.Fatalf("%s: %v %v", dn, result, err)
	}
	return result.Entries[0]
}

func code(err error) int {
	var e *ldap.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int(e.ResultCode)
	default:
		return -1
	}
}

func TestDirectoryBind(t *testing.T) {
	l := newLibrary(t, func(o *authntest.DirectoryOptions) {
		o.Entries = append(o.Entries,
			authntest.Entry{DN: "cn=Ünï \\2c  Two+ou=x," + baseDN, Password: "demo", BindNames: []string{"two@example.org"}},
			authntest.Entry{DN: "cn=nobody," + baseDN})
	})
	c := l.dial()
	for _, b := range []struct {
		dn, password string
		code         int
		authzID      string
	}{
		{adaDN, "demo", 0, "dn:" + adaDN},
		{"UID=ADA , OU = People,dc=EXAMPLE,DC=org", "demo", 0, "dn:" + adaDN},
		{adaDN, "Demo", 49, ""},
		{adaDN, "demo ", 49, ""},
		{adaDN, "", 0, ""}, // unauthenticated: success that means nothing
		{"uid=eve,ou=people," + baseDN, "demo", 49, ""},
		{"uid=eve,ou=people," + baseDN, "", 0, ""},
		{"", "", 0, ""},
		{"", "demo", 49, ""},
		{"ada", "demo", 34, ""},
		{"ou=X+cn=ünï \\2C two," + baseDN, "demo", 0, "dn:cn=Ünï \\2c  Two+ou=x," + baseDN},
		{"TWO@example.org", "demo", 0, "dn:cn=Ünï \\2c  Two+ou=x," + baseDN},
		{"cn=nobody," + baseDN, "x", 49, ""},
	} {
		_, err := c.SimpleBind(&ldap.SimpleBindRequest{Username: b.dn, Password: b.password, AllowEmptyPassword: true})
		if code(err) != b.code {
			t.Errorf("%q %q: %v", b.dn, b.password, err)
		}
		who, err := c.WhoAmI(nil)
		if err != nil || who.AuthzID != b.authzID {
			t.Errorf("%q %q: is %+v %v", b.dn, b.password, who, err)
		}
	}
	if err := c.MD5Bind("h", "ada", "demo"); code(err) != ldap.LDAPResultAuthMethodNotSupported {
		t.Errorf("SASL: %v", err)
	}
	if log := l.d.Log(); log[len(log)-1].Mechanism != "DIGEST-MD5" || log[len(log)-1].EmptyPassword {
		t.Errorf("logged %+v", log[len(log)-1])
	}
	l.d.SetPassword(adaDN, "new")
	if err := c.Bind(adaDN, "demo"); code(err) != 49 {
		t.Errorf("the former password: %v", err)
	}
	if err := c.Bind(adaDN, "new"); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestDirectoryRefusesUnauthenticatedBind(t *testing.T) {
	l := newLibrary(t, func(o *authntest.DirectoryOptions) { o.RefuseUnauthenticated = true })
	c := l.dial()
	if err := c.UnauthenticatedBind(adaDN); code(err) != ldap.LDAPResultUnwillingToPerform {
		t.Errorf("with a name: %v", err)
	}
	if err := c.UnauthenticatedBind(""); err != nil {
		t.Errorf("anonymous: %v", err)
	}
}

// A bind that fails takes away what the one before it gave.
func TestDirectoryForgetsFormerBind(t *testing.T) {
	l := newLibrary(t)
	c := l.visit()
	l.find(c, "(uid=ada)")
	_ = c.Bind(adaDN, "wrong")
	if _, err := c.Search(query("(uid=ada)")); code(err) != ldap.LDAPResultInsufficientAccessRights {
		t.Errorf("search: %v", err)
	}
}

func TestDirectoryBindAnswers(t *testing.T) {
	l := newLibrary(t)
	disabled := &authntest.Result{Code: 49, Message: "80090308: LdapErr: DSID-0C09044E, data 533, v2580"}
	l.d.AnswerBind(adaDN, disabled, nil)
	l.d.AnswerBind(benDN, &authntest.Result{Policy: &authntest.PasswordPolicy{Error: new(2), GraceLogins: new(3)}},
		&authntest.Result{Code: 49, Policy: &authntest.PasswordPolicy{Error: new(1), SecondsLeft: new(70000), Unasked: true}})
	c := l.dial()
	if err := c.Bind(adaDN, "wrong"); code(err) != 49 || strings.Contains(err.Error(), "533") {
		t.Errorf("who doesn't know the password is told: %v", err)
	}
	if err := c.Bind(adaDN, "demo"); code(err) != 49 || !strings.Contains(err.Error(), "data 533") {
		t.Errorf("disabled: %v", err)
	}
	bind := func(password string, controls ...ldap.Control) *ldap.ControlBeheraPasswordPolicy {
		r, _ := c.SimpleBind(&ldap.SimpleBindRequest{Username: benDN, Password: password, Controls: controls})
		p, _ := ldap.FindControl(r.Controls, ldap.ControlTypeBeheraPasswordPolicy).(*ldap.ControlBeheraPasswordPolicy)
		return p
	}
	if p := bind("demo", ldap.NewControlBeheraPasswordPolicy()); p == nil || p.Error != 2 || p.Grace != 3 || p.Expire != -1 {
		t.Errorf("must change: %v", p)
	}
	if p := bind("demo"); p != nil {
		t.Errorf("sent to a client that did not ask: %v", p)
	}
	if p := bind("wrong"); p == nil || p.Error != 1 || p.Expire != 70000 {
		t.Errorf("locked: %v", p)
	}
	if log := l.d.Log(); !slices.Equal(log[2].Controls, []string{ldap.ControlTypeBeheraPasswordPolicy}) || log[3].Controls != nil {
		t.Errorf("controls logged: %v, %v", log[2].Controls, log[3].Controls)
	}
}

func TestDirectorySearch(t *testing.T) {
	l := newLibrary(t, func(o *authntest.DirectoryOptions) {
		o.Entries = append(o.Entries,
			authntest.Entry{DN: "cn=disabled," + baseDN, Attributes: map[string][]string{
				"userAccountControl": {"514"}, "cn": {"disabled", "off"}, "description": {"  Two   Words "},
				"mail;lang-de": {"aus@example.org"}, "photo": {"\xff\xd8\xff"}, "manager": {adaDN}}},
			authntest.Entry{DN: "cn=odd \\28x\\29\\2a\\5c," + baseDN, Attributes: map[string][]string{"number": {"9", "x"}}},
			authntest.Entry{DN: "cn=straße," + baseDN, Attributes: map[string][]string{"number": {"10"}}})
	})
	c := l.visit()
	for filter, want := range map[string]string{
		"(uid=ada)":                      "uid=ada",
		"(UID= ADA )":                    "uid=ada",
		"(uid=ａｄａ)":                      "uid=ada",
		`(uid=a\00da)`:                   "uid=ada",
		"(uid=a\u00adda)":                "uid=ada",
		"(cn=STRASSE)":                   "cn=straße",
		"(description=two words)":        "cn=disabled",
		"(description=twowords)":         "",
		"(uid=ad)":                       "",
		"(uid=*)":                        "uid=ada uid=ben",
		`(uid=\2a)`:                      "",
		"(nothing=*)":                    "",
		"(uid=a*)":                       "uid=ada",
		"(uid=*A)":                       "uid=ada",
		"(cn=*LOVE*)":                    "uid=ada",
		"(cn=ada*love*ace)":              "uid=ada",
		"(cn=ada*ada)":                   "",
		"(cn=*ov*lo*)":                   "",
		`(cn=odd \28x\29\2a\5c)`:         `cn=odd \28x\29\2a\5c`,
		"(&(uid=*)(!(uid=ada)))":         "uid=ben",
		"(|(uid=ben)(uid=ada))":          "uid=ada uid=ben",
		"(&)":                            "dc=example ou=people ou=groups uid=ada uid=ben cn=admins cn=research cn=gateway cn=disabled cn=odd \\28x\\29\\2a\\5c cn=straße",
		"(|)":                            "",
		"(number>=10)":                   "cn=odd \\28x\\29\\2a\\5c cn=straße", // x > 10 as text
		"(number<=9)":                    "cn=odd \\28x\\29\\2a\\5c",
		"(uid~=ADA)":                     "uid=ada",
		"(mail=aus@example.org)":         "cn=disabled",
		"(mail;lang-de=aus@example.org)": "cn=disabled",
		"(mail;lang-fr=aus@example.org)": "",
		`(photo=\ff\d8\ff)`:              "cn=disabled",
		`(photo=\fe\d8\ff)`:              "",
		"(manager=UID=ada, ou=PEOPLE," + baseDN + ")":             "cn=disabled",
		"(manager=uid=ada)":                                       "",
		"(manager=ada)":                                           "", // no DN: undefined
		"(!(manager=ada))":                                        "",
		"(manager=*ada*)":                                         "",
		"(entryDN=" + adaDN + ")":                                 "uid=ada",
		"(userAccountControl:1.2.840.113556.1.4.803:=2)":          "cn=disabled",
		"(userAccountControl:1.2.840.113556.1.4.803:=3)":          "",
		"(userAccountControl:1.2.840.113556.1.4.804:=3)":          "cn=disabled",
		"(userAccountControl:1.2.840.113556.1.4.803:=two)":        "",
		"(&(uid=ada)(!(userAccountControl:" + bitAnd + ":=2)))":   "uid=ada",
		"(uid:caseExactMatch:=ADA)":                               "",
		"(uid:2.5.13.5:=ada)":                                     "uid=ada",
		"(uid:caseIgnoreMatch:=ADA)":                              "uid=ada",
		"(uid:=ADA)":                                              "uid=ada",
		"(!(uid:1.2.3.4:=ada))":                                   "", // an unknown rule: undefined
		"(uid:dn:=ada)":                                           "",
		"(memberOf=" + adminDN + ")":                              "uid=ada",
		"(memberOf=cn=admins , OU=groups," + baseDN + ")":         "uid=ada",
		"(member=" + adaDN + ")":                                  "cn=admins cn=research",
		"(&(objectClass=groupOfNames)(!(member=" + adaDN + ")))":  "",
		"(objectClass=groupofnames)":                              "cn=admins cn=research",
		"(&(objectClass=inetOrgPerson)(sn=lovelace)(mail=ada@*))": "uid=ada",
	} {
		if got := l.find(c, filter); got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
}

const bitAnd = "1.2.840.113556.1.4.803"

func TestDirectorySearchScope(t *testing.T) {
	l := newLibrary(t, func(o *authntest.DirectoryOptions) {
		o.Entries = append(o.Entries, authntest.Entry{DN: "cn=x,ou=deep,ou=glue," + baseDN})
	})
	c := l.visit()
	for _, s := range []struct {
		base          string
		scope         int
		code, entries int
		matched       string
	}{
		{baseDN, ldap.ScopeBaseObject, 0, 1, ""},
		{baseDN, ldap.ScopeSingleLevel, 0, 3, ""},
		{baseDN, ldap.ScopeWholeSubtree, 0, 9, ""},
		{baseDN, ldap.ScopeChildren, 0, 8, ""},
		{"OU=People, DC=example,DC=org", ldap.ScopeSingleLevel, 0, 2, ""},
		{"ou=people," + baseDN, ldap.ScopeWholeSubtree, 0, 3, ""},
		{"ou=glue," + baseDN, ldap.ScopeWholeSubtree, 0, 1, ""},
		{"ou=eople," + baseDN, ldap.ScopeWholeSubtree, 32, 0, baseDN},
		{"uid=eve,ou=people," + baseDN, ldap.ScopeBaseObject, 32, 0, "ou=people," + baseDN},
		{"dc=org", ldap.ScopeWholeSubtree, 32, 0, ""},
		{"", ldap.ScopeWholeSubtree, 32, 0, ""},
		{"people", ldap.ScopeWholeSubtree, 34, 0, ""},
		{baseDN, 9, 2, 0, ""},
	} {
		r := query("(objectClass=*)")
		r.BaseDN, r.Scope = s.base, s.scope
		result, err := c.Search(r)
		var e *ldap.Error
		if code(err) != s.code || len(result.Entries) != s.entries || (errors.As(err, &e) && e.MatchedDN != s.matched) {
			t.Errorf("%q %d: %v, %d entries", s.base, s.scope, err, len(result.Entries))
		}
	}
}

func TestDirectoryAttributes(t *testing.T) {
	l := newLibrary(t)
	l.d.SetAttribute(adaDN, "mail;lang-de", "ada@example.de")
	l.d.SetAttribute(adaDN, "photo", "\xff\x00\xd8", strings.Repeat("x", 1<<20))
	c := l.visit()
	for asked, want := range map[string]string{
		"":                 "cn displayName mail mail;lang-de objectClass photo sn uid",
		"*":                "cn displayName mail mail;lang-de objectClass photo sn uid",
		"+":                "entryDN entryUUID memberOf",
		"1.1":              "",
		"UID":              "uid",
		"mail":             "mail mail;lang-de",
		"mail;lang-de":     "mail;lang-de",
		"uid memberof":     "memberOf uid",
		"1.1 uid":          "uid",
		"uid + nothing":    "entryDN entryUUID memberOf uid",
		"sn cn entryUUID ": "cn entryUUID sn",
	} {
		e := l.entry(c, adaDN, strings.Fields(asked)...)
		var names []string
		for _, a := range e.Attributes {
			names = append(names, a.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: %q, want %q", asked, got, want)
		}
	}
	e := l.entry(c, adaDN)
	if e.DN != adaDN || e.GetAttributeValue("cn") != "Ada Lovelace" || e.GetAttributeValue("sn") != "Lovelace" {
		t.Errorf("%+v", e)
	}
	if v := e.GetRawAttributeValues("photo"); !bytes.Equal(v[0], []byte{0xff, 0, 0xd8}) || len(v[1]) != 1<<20 {
		t.Error("octets or a long value are not as they were")
	}
	r := query("(uid=ada)", "uid", "cn")
	r.TypesOnly = true
	if result, err := c.Search(r); err != nil || len(result.Entries[0].Attributes) != 2 || len(result.Entries[0].GetAttributeValues("uid")) != 0 {
		t.Errorf("types only: %v %v", result, err)
	}
}

func TestDirectorySearchNeedsBind(t *testing.T) {
	l := newLibrary(t)
	c := l.dial()
	if _, err := c.Search(query("(uid=ada)")); code(err) != ldap.LDAPResultInsufficientAccessRights {
		t.Errorf("without a bind: %v", err)
	}
	_ = c.UnauthenticatedBind(adaDN)
	if _, err := c.Search(query("(uid=ada)")); code(err) != ldap.LDAPResultInsufficientAccessRights {
		t.Errorf("after a bind without a password: %v", err)
	}
	open := newLibrary(t, func(o *authntest.DirectoryOptions) { o.AnonymousRead = true })
	if got := open.find(open.dial(), "(uid=ada)"); got != "uid=ada" {
		t.Errorf("anonymous read: %q", got)
	}
}

func TestDirectoryPaging(t *testing.T) {
	l := newLibrary(t, func(o *authntest.DirectoryOptions) {
		for i := range 1000 {
			o.Entries = append(o.Entries, authntest.Entry{DN: fmt.Sprintf("cn=many %d,%s", i, baseDN)})
		}
		o.SizeLimit = 300
	})
	c := l.visit()
	result, err := c.SearchWithPaging(query("(cn=many *)"), 70)
	if err != nil || len(result.Entries) != 1000 {
		t.Fatalf("%d entries, %v", len(result.Entries), err)
	}
	seen := map[string]bool{}
	for _, e := range result.Entries {
		seen[e.DN] = true
	}
	if len(seen) != 1000 || l.d.Count(authntest.OpSearch) != 15 {
		t.Errorf("%d different entries in %d pages", len(seen), l.d.Count(authntest.OpSearch))
	}
	if result, err = c.SearchWithPaging(query("(cn=many *)"), 5000); err != nil || len(result.Entries) != 1000 || l.d.Count(authntest.OpSearch) != 19 {
		t.Errorf("a page of more than the limit: %d entries, %v", len(result.Entries), err)
	}
	if result, err = c.Search(query("(cn=many *)")); code(err) != 4 || len(result.Entries) != 300 {
		t.Errorf("without paging: %d entries, %v", len(result.Entries), err)
	}
	r := query("(cn=many *)")
	r.SizeLimit = 2
	if result, err = c.Search(r); code(err) != 4 || len(result.Entries) != 2 {
		t.Errorf("size limit: %d entries, %v", len(result.Entries), err)
	}
	r.SizeLimit = 150
	if result, err = c.SearchWithPaging(r, 100); code(err) != 4 || len(result.Entries) != 150 {
		t.Errorf("size limit and paging: %d entries, %v", len(result.Entries), err)
	}
	r = query("(cn=many 7)")
	r.SizeLimit = 1
	if result, err = c.Search(r); err != nil || len(result.Entries) != 1 {
		t.Errorf("as many as the limit: %d entries, %v", len(result.Entries), err)
	}
}

func TestDirectoryPagingCookies(t *testing.T) {
	l := newLibrary(t)
	c := l.visit()
	page := func(filter string, size uint32, cookie string) (string, error) {
		r := query(filter)
		control := ldap.NewControlPaging(size)
		control.SetCookie([]byte(cookie))
		r.Controls = []ldap.Control{control}
		result, err := c.Search(r)
		if err != nil {
			return "", err
		}
		return string(ldap.FindControl(result.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging).Cookie), nil
	}
	first, err := page("(cn=*)", 1, "")
	if err != nil || first == "" {
		t.Fatalf("%q %v", first, err)
	}
	if _, err := page("(cn=*)", 1, "made up"); code(err) != ldap.LDAPResultUnwillingToPerform {
		t.Errorf("a made-up cookie: %v", err)
	}
	if _, err := page("(uid=*)", 1, first); code(err) != ldap.LDAPResultUnwillingToPerform {
		t.Errorf("another search's cookie: %v", err)
	}
	if next, err := page("(cn=*)", 0, first); err != nil || next != "" {
		t.Errorf("giving up: %q %v", next, err)
	}
	if _, err := page("(cn=*)", 1, first); code(err) != ldap.LDAPResultUnwillingToPerform {
		t.Errorf("a used cookie: %v", err)
	}
	for range 16 {
		if _, err := page("(cn=*)", 1, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := page("(cn=*)", 1, ""); code(err) != ldap.LDAPResultAdminLimitExceeded {
		t.Errorf("too many searches begun: %v", err)
	}
}

// Groups in groups, in a circle too.
func TestDirectoryNestedGroups(t *testing.T) {
	group := func(name string, members ...string) authntest.Entry {
		return authntest.Entry{DN: "cn=" + name + "," + baseDN, Attributes: map[string][]string{"member": members}}
	}
	const inChain = ":1.2.840.113556.1.4.1941:="
	l := newLibrary(t, func(o *authntest.DirectoryOptions) {
		o.Entries = append(o.Entries, group("inner", adaDN, "cn=circle,"+baseDN), group("outer", "CN=Inner, "+baseDN), group("circle", "cn=outer,"+baseDN),
			group("other", benDN), authntest.Entry{DN: "cn=unique," + baseDN, Attributes: map[string][]string{"uniqueMember": {benDN}}},
			authntest.Entry{DN: "cn=told," + baseDN, Attributes: map[string][]string{"memberOf": {"cn=elsewhere,dc=other"}}}, group("telling", "cn=told,"+baseDN, "no DN"))
	})
	c := l.visit()
	for filter, want := range map[string]string{
		"(member" + inChain + adaDN + ")":                             "cn=admins cn=research cn=inner cn=outer cn=circle",
		"(member" + inChain + benDN + ")":                             "cn=other",
		"(memberOf" + inChain + "cn=outer," + baseDN + ")":            "uid=ada cn=inner cn=outer cn=circle",
		"(memberOf" + inChain + "cn=nothing," + baseDN + ")":          "",
		"(!(memberOf" + inChain + "nothing))":                         "",
		"(uid" + inChain + "ada)":                                     "",
		"(memberOf=cn=outer," + baseDN + ")":                          "cn=inner",
		"(memberOf=cn=unique," + baseDN + ")":                         "uid=ben",
		"(memberOf=cn=telling," + baseDN + ")":                        "",
		"(memberOf=CN=elsewhere,DC=other)":                            "cn=told",
		"(&(uid=*)(memberOf" + inChain + "cn=circle," + baseDN + "))": "uid=ada",
	} {
		if got := l.find(c, filter); got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
	if got := l.entry(c, adaDN, "memberOf").GetAttributeValues("memberOf"); !slices.Equal(got, []string{adminDN, "cn=research,ou=groups," + baseDN, "cn=inner," + baseDN}) {
		t.Errorf("memberOf: %q", got)
	}
}

func TestDirectoryChanges(t *testing.T) {
	l := newLibrary(t)
	c := l.visit()
	uuid := func(dn string) string { return l.entry(c, dn, "entryUUID").GetAttributeValue("entryUUID") }
	before, other := uuid(adaDN), uuid(benDN)
	if len(before) != 36 || before == other {
		t.Errorf("entryUUID %q, %q", before, other)
	}
	again := newLibrary(t)
	if got := again.entry(again.visit(), adaDN, "entryUUID").GetAttributeValue("entryUUID"); got != before {
		t.Errorf("entryUUID is %q in another run", got)
	}
	const countess = "uid=countess,ou=nobility,ou=people," + baseDN
	l.d.Rename(adaDN, countess)
	e := l.entry(c, countess, "uid", "memberOf", "entryUUID")
	if e.GetAttributeValue("entryUUID") != before || !slices.Equal(e.GetAttributeValues("uid"), []string{"countess"}) || len(e.GetAttributeValues("memberOf")) != 2 {
		t.Errorf("renamed: %+v", e)
	}
	if got := l.entry(c, adminDN, "member").GetAttributeValues("member"); !slices.Equal(got, []string{countess}) {
		t.Errorf("its group has %q", got)
	}
	if err := c.Bind(countess, "demo"); err != nil {
		t.Errorf("bind: %v", err)
	}
	l.d.Set(authntest.Entry{DN: adaDN})
	if got := uuid(adaDN); got == before || got == "" {
		t.Errorf("somebody else with the former name is %q", got)
	}
	l.d.Rename("ou=people,"+baseDN, "ou=folk,"+baseDN)
	if got := uuid("uid=countess,ou=nobility,ou=folk," + baseDN); got != before {
		t.Errorf("moved with what was above: %q", got)
	}
	if err := c.Bind("uid=ben,ou=folk,"+baseDN, "demo"); err != nil {
		t.Errorf("bind: %v", err)
	}
	l.d.Set(authntest.Entry{DN: "UID=Ben,ou=folk," + baseDN, Password: "x"})
	if got := uuid("uid=ben,ou=folk," + baseDN); got != other {
		t.Errorf("replaced, it is %q", got)
	}
	_ = c.Bind("uid=ben,ou=folk,"+baseDN, "x")
	l.d.SetAttribute("uid=ben,ou=folk,"+baseDN, "ENTRYuuid", "11111111-2222-3333-4444-555555555555")
	if got := uuid("uid=ben,ou=folk," + baseDN); got != "11111111-2222-3333-4444-555555555555" {
		t.Errorf("given, it is %q", got)
	}
	l.d.SetAttribute("uid=ben,ou=folk,"+baseDN, "Mail", "a", "b")
	if got := l.find(c, "(mail=b)"); got != "UID=Ben" {
		t.Errorf("a new attribute: %q", got)
	}
	l.d.SetAttribute("uid=ben,ou=folk,"+baseDN, "mail")
	if got := l.find(c, "(mail=*)"); got != "uid=countess" {
		t.Errorf("an attribute gone: %q", got)
	}
	l.d.Remove("ou=folk," + baseDN)
	if got := l.find(c, "(uid=*)"); got != "" {
		t.Errorf("removed: %q", got)
	}
	if err := c.Bind("uid=ben,ou=folk,"+baseDN, "x"); code(err) != 49 {
		t.Errorf("bind as who is gone: %v", err)
	}
}

// A directory can't be asked for what it hasn't.
func TestDirectoryPanicsInTests(t *testing.T) {
	l := newLibrary(t)
	for name, f := range map[string]func(){
		"no base":       func() { authntest.NewDirectory(authntest.DirectoryOptions{}) },
		"bad DN":        func() { l.d.Set(authntest.Entry{DN: "ada"}) },
		"empty DN":      func() { l.d.Set(authntest.Entry{}) },
		"remove":        func() { l.d.Remove("uid=eve," + baseDN) },
		"password":      func() { l.d.SetPassword("uid=eve,"+baseDN, "x") },
		"rename":        func() { l.d.Rename("uid=eve,"+baseDN, adaDN) },
		"rename onto":   func() { l.d.Rename(benDN, adaDN) },
		"rename to bad": func() { l.d.Rename(benDN, "ada") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestDirectoryRootDSE(t *testing.T) {
	l := newLibrary(t, func(o *authntest.DirectoryOptions) {
		o.RootDSE = map[string][]string{"DefaultNamingContext": {baseDN}, "VENDORNAME": nil, "supportedCapabilities": {"1.2.840.113556.1.4.800"}}
	})
	c := l.dial()
	e := l.entry(c, "", "+", "*")
	if e.GetAttributeValue("namingContexts") != baseDN || e.GetAttributeValue("supportedLDAPVersion") != "3" ||
		e.GetAttributeValue("DefaultNamingContext") != baseDN || e.GetAttributeValue("objectClass") != "top" ||
		!slices.Contains(e.GetAttributeValues("supportedControl"), ldap.ControlTypePaging) || e.GetEqualFoldAttributeValue("vendorName") != "" {
		t.Errorf("%+v", e)
	}
	if e := l.entry(c, "", "vendorname", "NAMINGCONTEXTS"); len(e.Attributes) != 1 {
		t.Errorf("by name: %+v", e)
	}
	if e := l.entry(c, ""); len(e.Attributes) != 1 {
		t.Errorf("operational attributes, not asked for: %+v", e)
	}
	for _, filter := range []string{"(objectClass=person)", "(member:1.2.840.113556.1.4.1941:=" + adaDN + ")"} {
		r := query(filter)
		r.BaseDN, r.Scope = "", ldap.ScopeBaseObject
		if result, err := c.Search(r); err != nil || len(result.Entries) != 0 {
			t.Errorf("%s: %v %v", filter, result, err)
		}
	}
}

// certificate is a TLS server's configuration for 127.0.0.1, and a client's that
// trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

func TestDirectoryTLS(t *testing.T) {
	server, client := certificate(t)
	l := newLibrary(t, func(o *authntest.DirectoryOptions) { o.TLS = server })
	c := l.dial()
	if !slices.Contains(l.entry(c, "", "supportedExtension").GetAttributeValues("supportedExtension"), "1.3.6.1.4.1.1466.20037") {
		t.Error("StartTLS is not announced")
	}
	if err := c.StartTLS(client); err != nil {
		t.Fatal(err)
	}
	if err := c.Bind(adaDN, "demo"); err != nil {
		t.Fatal(err)
	}
	if got := l.find(c, "(uid=ben)"); got != "uid=ben" {
		t.Errorf("search: %q", got)
	}
	if _, err := c.Extended(ldap.NewExtendedRequest("1.3.6.1.4.1.1466.20037", nil)); code(err) != ldap.LDAPResultOperationsError {
		t.Errorf("StartTLS again: %v", err)
	}
	var kinds []string
	for _, o := range l.d.Log() {
		kinds = append(kinds, fmt.Sprintf("%s %v", o.Kind, o.TLS))
	}
	if got := strings.Join(kinds, ", "); got != "search false, startTLS false, bind true, search true, startTLS true" {
		t.Errorf("logged %s", got)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := l.d.Serve(tls.NewListener(ln, server)); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { _ = l.d.Close(); serving.Wait() })
	secure, err := ldap.DialURL("ldaps://"+ln.Addr().String(), ldap.DialWithTLSConfig(client))
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	if err := secure.Bind(adaDN, "demo"); err != nil {
		t.Errorf("ldaps: %v", err)
	}
	if log := l.d.Log(); !log[len(log)-1].TLS || log[len(log)-1].Connection != 2 {
		t.Errorf("logged %+v", log[len(log)-1])
	}
	if _, err := ldap.DialURL("ldaps://"+ln.Addr().String(), ldap.DialWithTLSConfig(&tls.Config{ServerName: "example.com"})); err == nil {
		t.Error("an unknown certificate is trusted")
	}
	plain := newLibrary(t)
	if err := plain.dial().StartTLS(client); code(err) != ldap.LDAPResultProtocolError {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestDirectoryLog(t *testing.T) {
	l := newLibrary(t)
	c := l.dial()
	_ = c.Bind(adaDN, " pass\x00wörd ")
	_ = c.UnauthenticatedBind("x")
	_ = c.Bind("cn=gateway,"+baseDN, "secret")
	r := query(`(&(uid=`+ldap.EscapeFilter("*)(uid=\xff\x00")+`)(!(cn=a*b\2a*c))(mail=*)(|(n>=1)(n<=2)(n~=3))(memberOf:dn:1.2.3:=\28))`, "uid", "+")
	r.SizeLimit, r.TimeLimit = 2, 7
	if _, err := c.Search(r); err != nil {
		t.Fatal(err)
	}
	log := l.d.Log()
	if o := log[0]; o.Kind != authntest.OpBind || o.DN != adaDN || o.EmptyPassword || !o.HasPassword(" pass\x00wörd ") ||
		o.HasPassword("pass\x00wörd") || o.HasPassword("") || o.MessageID != 1 || o.Connection != 1 || o.TLS {
		t.Errorf("%+v", o)
	}
	if o := log[1]; !o.EmptyPassword || !o.HasPassword("") || o.DN != "x" {
		t.Errorf("%+v", o)
	}
	o := log[3]
	if o.Kind != authntest.OpSearch || o.DN != baseDN || o.Scope != 2 || o.SizeLimit != 2 || o.TimeLimit != 7 || !slices.Equal(o.Attributes, []string{"uid", "+"}) || o.HasPassword("") {
		t.Errorf("%+v", o)
	}
	if want := `(&(uid=\2a\29\28uid=\ff\00)(!(cn=a*b\2a*c))(mail=*)(|(n>=1)(n<=2)(n~=3))(memberOf:dn:1.2.3:=\28))`; o.Filter != want {
		t.Errorf("filter %s, want %s", o.Filter, want)
	}
	var asked []string
	for _, a := range o.Assertions {
		asked = append(asked, fmt.Sprintf("%s %s%s %q", a.Attribute, a.Match, a.Rule, a.Value))
	}
	if got, want := strings.Join(asked, ", "), `uid = "*)(uid=\xff\x00", cn initial "a", cn any "b*", cn final "c", mail =* "", n >= "1", n <= "2", n ~= "3", memberOf :=1.2.3 "("`; got != want {
		t.Errorf("assertions\n%s, want\n%s", got, want)
	}
	if text := fmt.Sprintf("%+v", log); strings.Contains(text, "secret") {
		t.Errorf("a password is in the log: %s", text)
	}
}

// There is an answer to all that a client may ask.
func TestDirectoryRefuses(t *testing.T) {
	l := newLibrary(t)
	c := l.visit()
	for name, err := range map[string]error{
		"add":      c.Add(ldap.NewAddRequest("cn=x,"+baseDN, nil)),
		"delete":   c.Del(ldap.NewDelRequest(adaDN, nil)),
		"modify":   c.Modify(ldap.NewModifyRequest(adaDN, nil)),
		"modifyDN": c.ModifyDN(ldap.NewModifyDNRequest(adaDN, "uid=x", true, "")),
		"compare":  func() error { _, err := c.Compare(adaDN, "uid", "ada"); return err }(),
	} {
		if code(err) != ldap.LDAPResultUnwillingToPerform || l.d.Count(authntest.OperationKind(name)) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Extended(ldap.NewExtendedRequest("1.2.3", nil)); code(err) != ldap.LDAPResultProtocolError {
		t.Errorf("extended: %v", err)
	}
	r := query("(uid=ada)")
	r.Controls = []ldap.Control{ldap.NewControlString("1.2.3.4", true, "x")}
	if _, err := c.Search(r); code(err) != ldap.LDAPResultUnavailableCriticalExtension {
		t.Errorf("critical control: %v", err)
	}
	r.Controls = []ldap.Control{ldap.NewControlString("1.2.3.4", false, "x")}
	if result, err := c.Search(r); err != nil || len(result.Entries) != 1 {
		t.Errorf("other control: %v", err)
	}
	if err := c.Unbind(); err != nil {
		t.Errorf("unbind: %v", err)
	}
	l.meets(0)
	if l.d.Count(authntest.OpUnbind) != 1 {
		t.Error("unbind is not logged")
	}
}

func TestDirectoryDisconnect(t *testing.T) {
	server, client := certificate(t)
	l := newLibrary(t, func(o *authntest.DirectoryOptions) { o.TLS = server })
	c, raw := l.visit(), l.raw()
	if err := c.StartTLS(client); err != nil {
		t.Fatal(err)
	}
	l.raw().send("3000"[:2]) // half a message
	l.meets(3)
	l.d.Disconnect()
	p := raw.read()
	if p == nil || p.Children[0].Value != int64(0) || p.Children[1].Tag != 24 || p.Children[1].Children[0].Value != int64(52) ||
		p.Children[1].Children[3].Data.String() != "1.3.6.1.4.1.1466.20036" || raw.read() != nil {
		t.Errorf("no notice: %v", p)
	}
	if err := c.Bind(adaDN, "demo"); code(err) == 0 {
		t.Error("the connection is still there")
	}
	if l.d.PeakConnections() != 3 {
		t.Errorf("peak of %d", l.d.PeakConnections())
	}
	l.meets(0)
	other, quiet := l.visit(), l.raw()
	l.meets(2)
	l.d.Hangup()
	if p := quiet.read(); p != nil {
		t.Errorf("hangup: %v", p)
	}
	if err := other.Bind(adaDN, "demo"); code(err) == 0 {
		t.Error("the connection is still there")
	}
	l.visit()
}

// What a stranger sends costs it the connection and nobody anything else.
func TestDirectoryRefusesGarbage(t *testing.T) {
	l := newLibrary(t)
	long := "3084" + "7fffffff" + "020101"
	for name, b := range map[string]string{
		"text": hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")), "long": long, "1 MiB and one": "3083100001", "indefinite": "3080020101",
		"huge length": "3088ffffffffffffffff", "empty": "3000", "no id": "3003600100", "id 0": "300c020100600702010304008000", "negative id": "300c0201ff600702010304008000",
		"a response": "300c02010161070a010004000400", "context tag": "300c020101a00702010304008000", "no bind": "30050201016000",
		"bind without name": "3008020101600302010380", "bind of text": "300c020101600704010304008000", "constructed password": "300c02010160070201030400a000",
		"search of nothing": "30050201016300", "bad control": "3010020101600702010304008000a00230" + "00", "inner length": "300502010160ff", "high tag": "3006020101" + "7f2000",
		"nested": "30820080" + strings.Repeat("307e", 64), "extended without name": "30050201017700", "trailing": "300d02010160070201030400800001",
		"numberless control": "3013020101600702010304008000a00530030201" + "01",
	} {
		c := l.raw()
		c.send(b)
		p := c.read()
		if p == nil || p.Children[0].Value != int64(0) || p.Children[1].Children[0].Value != int64(2) || c.read() != nil {
			t.Errorf("%s: no notice and end, but %v", name, p)
		}
	}
	for _, whole := range goodRequests(t) {
		for i := range whole {
			for bit := range 8 {
				changed := bytes.Clone(whole)
				changed[i] ^= 1 << bit
				c := l.raw()
				_, _ = c.Write(changed)
				_ = c.Conn.(*net.TCPConn).CloseWrite()
				for c.read() != nil {
					continue
				}
				_ = c.Close()
			}
		}
	}
	l.visit()
}

// goodRequests are what a client sends.
func goodRequests(t *testing.T) (requests [][]byte) {
	t.Helper()
	paged := query("(&(a=b)(!(c=d*e*f))(|(g>=h)(i=*))(j:dn:1.2.3:=k))", "l")
	paged.Controls = []ldap.Control{ldap.NewControlPaging(3)}
	for _, send := range []func(*ldap.Conn){
		func(c *ldap.Conn) { _ = c.Bind(adaDN, "demo") },
		func(c *ldap.Conn) { _, _ = c.Search(paged) },
		func(c *ldap.Conn) { _, _ = c.WhoAmI(nil) },
	} {
		here, there := net.Pipe()
		c := ldap.NewConn(here, false)
		c.Start()
		var all sync.WaitGroup
		all.Go(func() { send(c) })
		buffer := make([]byte, 4096)
		n, err := there.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		_ = there.Close()
		all.Wait()
		_ = c.Close()
		requests = append(requests, buffer[:n])
	}
	return requests
}

// rawConn speaks in bytes.
type rawConn struct {
	net.Conn
	t *testing.T
}

func (l *library) raw() rawConn {
	l.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(l.url, "ldap://"))
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = c.Close() })
	return rawConn{c, l.T}
}

func (c rawConn) send(hexa string) {
	c.t.Helper()
	b, err := hex.DecodeString(hexa)
	if err == nil {
		_, err = c.Write(b)
	}
	if err != nil {
		c.t.Error(err)
	}
}

// read is the next message, or nil at the end.
func (c rawConn) read() *ber.Packet {
	p, err := ber.ReadPacket(c.Conn)
	if err != nil {
		return nil
	}
	return p
}

// Everything at once (run with -race), and nothing left over.
func TestDirectoryLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	server, client := certificate(t)
	d, url, err := authntest.StartDirectory(authntest.DirectoryOptions{BaseDN: baseDN, Entries: entriesOfTwo(), TLS: server})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			c, err := ldap.DialURL(url)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if n%2 == 0 {
				_ = c.StartTLS(client)
			}
			for i := range 20 {
				_ = c.Bind(adaDN, "demo")
				_, _ = c.SearchWithPaging(query("(cn=*)"), 2)
				switch n {
				case 0:
					d.SetFaults(authntest.DirectoryFaults{Backwards: i%2 == 0})
				case 1:
					d.Set(authntest.Entry{DN: fmt.Sprintf("cn=new%d,%s", i, baseDN)})
				case 2:
					_, _, _ = d.Log(), d.Connections(), d.PeakConnections()
				}
			}
		})
	}
	all.Wait()
	open, err := net.Dial("tcp", strings.TrimPrefix(url, "ldap://"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	d.SetFaults(authntest.DirectoryFaults{Delay: time.Hour})
	stuck, err := ldap.DialURL(url)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() { waiting <- stuck.Bind(adaDN, "demo") }()
	for binds := d.Count(authntest.OpBind); d.Count(authntest.OpBind) == binds; {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-waiting; err == nil {
		t.Error("an answer after Close")
	}
	_ = stuck.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Serve(ln); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
	if _, err := ldap.DialURL(url); err == nil {
		t.Error("somebody listens after Close")
	}
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, before %d\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}

func TestDirectoryOf(t *testing.T) {
	people := []authntest.Person{{Subject: "7", Username: "o, x=y", Name: "Cher", Groups: []string{"a+b", "c"}}, {Subject: "8"}}
	l := newLibrary(t, func(o *authntest.DirectoryOptions) { o.Entries = authntest.DirectoryOf(people, baseDN, "given") })
	c := l.dial()
	if err := c.Bind(`uid=o\, x=y,ou=people,`+baseDN, "given"); err != nil {
		t.Fatal(err)
	}
	if got := l.find(c, "(&(objectClass=person)(sn=*)(cn=*)(displayName=*))"); got != `uid=o\ uid=8` {
		t.Errorf("people: %q", got)
	}
	if got := l.find(c, "(&(objectClass=groupOfNames)(member=*))"); got != `cn=a\+b cn=c` {
		t.Errorf("groups: %q", got)
	}
	if err := c.Bind("uid=8,ou=people,"+baseDN, "given"); err != nil {
		t.Error(err)
	}
}
