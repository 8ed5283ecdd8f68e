package directory

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func trust(t *testing.T, caFile string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in ", caFile)
	}
	return &tls.Config{RootCAs: pool}
}

func dial(t *testing.T, url string, options ...ldap.DialOpt) *ldap.Conn {
	t.Helper()
	c, err := ldap.DialURL(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func bind(t *testing.T, c *ldap.Conn, dn, password string) {
	t.Helper()
	if err := c.Bind(dn, password); err != nil {
		t.Fatal(err)
	}
}

func search(t *testing.T, c *ldap.Conn, base, filter string, attributes ...string) []*ldap.Entry {
	t.Helper()
	r, err := c.Search(ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, nil))
	if err != nil {
		t.Fatal(err)
	}
	return r.Entries
}

func startTLS(t *testing.T, url string, config *tls.Config) *ldap.Conn {
	t.Helper()
	c := dial(t, url)
	if err := c.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSlapd(t *testing.T) {
	s := NewSlapd(t, SlapdOptions{})
	config := trust(t, s.CAFile)
	config.ServerName = "localhost"
	for name, c := range map[string]*ldap.Conn{
		"ldap":     dial(t, s.URL),
		"ldaps":    dial(t, s.TLSURL, ldap.DialWithTLSConfig(trust(t, s.CAFile))),
		"ldapi":    dial(t, s.SocketURL),
		"StartTLS": startTLS(t, s.URL, config),
	} {
		bind(t, c, s.ServiceDN, s.ServicePassword)
		found := search(t, c, s.BaseDN, "(uid=alice)", "*", "+")
		if len(found) != 1 || found[0].GetAttributeValue("mail") != "alice@example.org" ||
			len(found[0].GetAttributeValues("memberOf")) != 2 || found[0].GetAttributeValue("userPassword") != "" {
			t.Errorf("%s: %v", name, found)
		}
	}
	for _, p := range people() {
		bind(t, dial(t, s.URL), s.PersonDN(p.uids[0]), p.uids[0]+"-pw")
	}
	if n := len(search(t, s.Admin(t), groupBase, "(objectClass=groupOfNames)")); n != 6 {
		t.Errorf("%d groups", n)
	}
}

func TestSlapdCounts(t *testing.T) {
	s := NewSlapd(t, SlapdOptions{})
	if n := s.Connections(t); n != 0 {
		t.Errorf("%d connections before the first", n)
	}
	c := dial(t, s.URL)
	d := dial(t, s.TLSURL, ldap.DialWithTLSConfig(trust(t, s.CAFile)))
	bind(t, c, s.ServiceDN, s.ServicePassword)
	bind(t, d, s.ServiceDN, s.ServicePassword)
	search(t, c, s.BaseDN, "(uid=alice)", "mail")
	if err := c.Bind("alice", "alice-pw"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidDNSyntax) {
		t.Error(err)
	}
	search(t, s.Admin(t), s.BaseDN, "(uid=alice)")
	if n := s.Connections(t); n != 2 {
		t.Errorf("%d connections instead of 2", n)
	}
	d.Close()
	if n := s.Connections(t); n != 1 {
		t.Errorf("%d connections after one has ended", n)
	}
	s.Restart(t)
	if binds, searches := s.Operations(t); binds != 3 || searches != 1 {
		t.Errorf("%d binds and %d searches instead of 3 and 1", binds, searches)
	}
}

func TestSlapdRestart(t *testing.T) {
	s := NewSlapd(t, SlapdOptions{UserRead: true})
	s.SetPassword(t, s.PersonDN("bob"), "other")
	s.Delete(t, s.PersonDN("dave"))
	s.Stop()
	if _, err := ldap.DialURL(s.URL); err == nil {
		t.Fatal("answers after Stop")
	}
	s.Restart(t)
	c := dial(t, s.URL)
	bind(t, c, s.PersonDN("bob"), "other")
	if found := search(t, c, s.BaseDN, "(|(uid=dave)(uid=carol))"); len(found) != 1 {
		t.Errorf("%d people instead of one", len(found))
	}
}

func TestSlapdOptions(t *testing.T) {
	s := NewSlapd(t, SlapdOptions{
		RequireClientCert: true, AnonymousRead: true, SizeLimit: 100, ManyGroups: map[string]int{"alice": 5000},
		ExtraLDIF: "dn: cn=more,ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: more\nmember: " + personDN("eve") + "\n",
	})
	config := trust(t, s.CAFile)
	if c, err := ldap.DialURL(s.TLSURL, ldap.DialWithTLSConfig(config)); err == nil {
		if err := c.Bind(s.ServiceDN, s.ServicePassword); err == nil { // TLS 1.3 tells only now
			t.Error("TLS without a client's certificate")
		}
		c.Close()
	}
	pair, err := tls.LoadX509KeyPair(s.ClientCertFile, s.ClientKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{pair}
	bind(t, dial(t, s.TLSURL, ldap.DialWithTLSConfig(config)), s.ServiceDN, s.ServicePassword)

	c := dial(t, s.URL) // and nobody in particular
	if found := search(t, c, s.PersonDN("eve"), "(uid=eve)", "memberOf"); len(found) != 1 || len(found[0].GetAttributeValues("memberOf")) != 1 {
		t.Errorf("the overlay did not see ExtraLDIF: %v", found)
	}
	r := ldap.NewSearchRequest(groupBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(member="+s.PersonDN("alice")+")", []string{"cn"}, nil)
	if _, err := c.Search(r); !ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		t.Errorf("more than SizeLimit: %v", err)
	}
	if all, err := c.SearchWithPaging(r, 100); err != nil || len(all.Entries) != 5002 {
		t.Errorf("in pages: %d, %v", len(all.Entries), err)
	}
}

func TestSlapdPolicy(t *testing.T) {
	s := NewSlapd(t, SlapdOptions{})
	try := func(uid, password string) (*ldap.ControlBeheraPasswordPolicy, error) {
		r, err := dial(t, s.URL).SimpleBind(&ldap.SimpleBindRequest{
			Username: s.PersonDN(uid), Password: password, Controls: []ldap.Control{ldap.NewControlBeheraPasswordPolicy()},
		})
		policy, ok := ldap.FindControl(r.Controls, ldap.ControlTypeBeheraPasswordPolicy).(*ldap.ControlBeheraPasswordPolicy)
		if !ok {
			t.Fatalf("no control: %v", err)
		}
		return policy, err
	}
	for range 5 {
		if _, err := try("bob", "wrong"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Fatal(err)
		}
	}
	if policy, err := try("bob", "bob-pw"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) || policy.Error != ldap.BeheraAccountLocked {
		t.Errorf("locked: %v, %v", policy, err)
	}
	c := dial(t, s.URL)
	bind(t, c, s.ServiceDN, s.ServicePassword)
	if found := search(t, c, s.PersonDN("bob"), "(pwdAccountLockedTime=*)"); len(found) != 1 {
		t.Error("the service account doesn't see who is locked")
	}
	s.SetPassword(t, s.PersonDN("bob"), "new")
	if policy, err := try("bob", "new"); err != nil || policy.Error != -1 {
		t.Errorf("after SetPassword: %v, %v", policy, err)
	}
	reset := ldap.NewModifyRequest(s.PersonDN("carol"), nil)
	reset.Replace("pwdReset", []string{"TRUE"})
	if err := s.Admin(t).Modify(reset); err != nil {
		t.Fatal(err)
	}
	if policy, err := try("carol", "carol-pw"); err != nil || policy.Error != ldap.BeheraChangeAfterReset {
		t.Errorf("must change: %v, %v", policy, err)
	}
}

func TestSamba(t *testing.T) {
	s := NewSamba(t)
	config := trust(t, s.CAFile)
	config.ServerName = s.ServerName
	for name, c := range map[string]*ldap.Conn{
		"ldap":     dial(t, s.URL),
		"ldaps":    dial(t, s.TLSURL, ldap.DialWithTLSConfig(config)),
		"by ip":    dial(t, s.TLSURL, ldap.DialWithTLSConfig(trust(t, s.CAFile))),
		"StartTLS": startTLS(t, s.URL, config),
	} {
		bind(t, c, "alice@"+s.UPNSuffix, "alice-pw")
		bind(t, c, s.Domain+`\alice`, "alice-pw")
		bind(t, c, s.ServiceDN, s.ServicePassword)
		nested := search(t, c, s.BaseDN, "(member:1.2.840.113556.1.4.1941:="+s.DN("alice")+")", "cn")
		if len(nested) != 3 {
			t.Errorf("%s: alice is in %v", name, nested)
		}
	}
	for _, c := range []struct{ account, password, data string }{
		{"alice", "wrong", "52e"},
		{"nobody", "nobody-pw", "52e"},
		{"bob", "bob-pw", "533"},
		{"carol", "carol-pw", "701"},
		{"dave", "dave-pw", "773"},
		{"erin", "erin-pw", "775"},
		{"frank", "frank-pw", "532"},
	} {
		err := dial(t, s.URL).Bind(c.account+"@"+s.UPNSuffix, c.password)
		if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) || !strings.Contains(err.Error(), " data "+c.data+",") {
			t.Errorf("%s: %v, not data %s", c.account, err, c.data)
		}
	}
	s.SetPassword(t, s.DN("alice"), "other")
	c := dial(t, s.URL)
	if err := c.Bind("alice@"+s.UPNSuffix, "alice-pw"); err == nil {
		t.Error("the old password goes on")
	}
	bind(t, c, "alice@"+s.UPNSuffix, "other")
	s.Stop()
	if err := c.Bind("alice@"+s.UPNSuffix, "other"); err == nil {
		t.Error("answers after Stop")
	}
}
