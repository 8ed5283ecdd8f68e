package ldap

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

// told is findings as gatehouse check prints them, without what differs each time.
func told(findings []authn.Finding, unlike ...string) []string {
	hide := []string{}
	for _, u := range unlike {
		hide = append(hide, u, "ADDRESS")
	}
	var out []string
	for _, f := range findings {
		line := "ok "
		if !f.OK {
			line = "FAULT "
		}
		line += f.What + ": " + f.Detail
		if f.Fix != "" {
			line += " | " + f.Fix
		}
		out = append(out, regexp.MustCompile(`\d{4}-\d\d-\d\d`).ReplaceAllString(strings.NewReplacer(hide...).Replace(line), "DATE"))
	}
	return out
}

func host(ldapURL string) string {
	s, _ := config.ParseServer(ldapURL)
	return s.Address
}

// many is a place with n groups.
func many(base string, n int) string {
	out := ldif(base, "objectClass", "organizationalUnit", "ou", "many")
	for i := range n {
		cn := fmt.Sprintf("g%02d", i)
		out += ldif("cn="+cn+","+base, "objectClass", "groupOfNames", "cn", cn, "member", "uid=alice,"+peopleBase)
	}
	return out
}

// TestCertificateFix: what to do depends on what is wrong with a certificate.
func TestCertificateFix(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		err  error
		want string
	}{
		{x509.CertificateInvalidError{Cert: &x509.Certificate{NotAfter: now.Add(-time.Hour)}, Reason: x509.Expired}, "have it renewed"},
		{x509.CertificateInvalidError{Cert: &x509.Certificate{NotBefore: now.Add(time.Hour)}, Reason: x509.Expired}, "it is not valid yet"},
		{x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.NameMismatch}, "have its certificate signed by an authority"},
		{x509.UnknownAuthorityError{}, "put the certificate of your own authority into a file and set tls.caFile to it"},
	} {
		err := authn.Foreign{Err: fmt.Errorf("TLS: %w", &tls.CertificateVerificationError{Err: c.err})}
		if got := serverFix(err, config.Server{}); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: %s", err, got)
		}
	}
}

func TestCheck(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{AnonymousRead: true, ExtraLDIF: somebody("out", "objectClass", "shadowAccount", "shadowExpire", "1", "mail", "out@example.org") +
		ldif("cn=nameless,"+peopleBase, "objectClass", "person", "cn", "nameless", "sn", "N") +
		ldif("cn=guests,ou=posix,"+treeBase, "objectClass", "posixGroup", "cn", "guests", "gidNumber", "7777", "memberUid", "alice") +
		many("ou=many,"+treeBase, 12)})
	change(t, s, s.PersonDN("bob"), "pwdAccountLockedTime", never)
	usual := []string{
		"ok ADDRESS: connected TLS 1.3, certificate until DATE",
		"ok bind: as cn=gatehouse,ou=services,dc=example,dc=org",
		"ok preset: openLDAP",
		"ok people: 8 found, 2 of them disabled or expired",
		"ok attribute entryUUID: 8 of 8 have it",
		"ok attribute uid: 7 of 8 have it; 0 lack it and 1 have a value that can't name anybody: they can't sign in",
		"ok attribute mail: 7 of 8 have it",
		"ok attribute cn: 8 of 8 have it",
		`ok groups: 6 found: a, admins, b, "ops, emea", outer, research`,
	}
	t.Run("as it should be", func(t *testing.T) {
		binds, _ := asked(t, s, func() {
			got := told(Check(t.Context(), settingsFor(s), usualRegulation()), host(s.TLSURL))
			if len(got) != len(usual)+1 || !strings.HasPrefix(got[len(usual)], "ok regulation: ") {
				t.Errorf("%q", got)
			}
			if d := cmp.Diff(usual, got[:min(len(got), len(usual))]); d != "" {
				t.Error(d)
			}
		})
		if binds > 2 { // the service's; nobody's password is looked at
			t.Errorf("%d binds", binds)
		}
	})
	dead := listen(t)
	dead.Close()
	web := httptest.NewServer(nil)
	defer web.Close()
	other := peer.NewSlapd(t, peer.SlapdOptions{})
	everybody := func(c *config.LDAP) { c.Users.Filter = "(&(objectClass=person)(cn={input}))" }
	for _, c := range []struct {
		name string
		set  func(t *testing.T, c *config.LDAP)
		want []string // lines, or how they begin
		only bool     // nothing after them
	}{
		{"somebody has no user name", func(_ *testing.T, c *config.LDAP) { everybody(c) }, []string{
			"ok people: 9 found, 2 of them disabled or expired",
			"ok attribute uid: 7 of 9 have it; 1 lack it and 1 have a value that can't name anybody: they can't sign in",
		}, false},
		{"an attribute that nobody has", func(_ *testing.T, c *config.LDAP) {
			c.Attributes.Subject, c.Attributes.Email = "employeeNumber", "x-none"
		}, []string{
			"FAULT attribute employeeNumber: nobody has it | set attributes.subject (id= in LOCAL_LDAP_ATTRIBUTES) to one that they have, or check that bindDN (LOCAL_LDAP_BIND_DN) may read it",
			"FAULT attribute x-none: nobody has it | set attributes.email (email= in LOCAL_LDAP_ATTRIBUTES) to one that they have",
		}, false},
		{"groups in allowedGroups", func(_ *testing.T, c *config.LDAP) { c.AllowedGroups = []string{"Research", "nowhere", "ops, emea"} }, []string{
			"ok groups: 6 found", `FAULT allowedGroups: "nowhere" is none of them; groups come from a search below ou=groups,dc=example,dc=org; found: a, admins, b, "ops, emea", outer, research | check how it is spelled (LOCAL_LDAP_GROUP_ALLOW_LIST); groups are known by their name`, "ok regulation",
		}, true},
		{"groups in allowedGroups by DN", func(_ *testing.T, c *config.LDAP) {
			c.Groups.As, c.AllowedGroups = "dn", []string{"CN=Admins, ou=groups , DC=example,dc=org", "cn=admins,ou=evil,dc=example,dc=org"}
		}, []string{"ok groups: 6 found", `FAULT allowedGroups: "cn=admins,ou=evil,dc=example,dc=org" is none of them; groups come from a search below ou=groups,dc=example,dc=org; found: cn=a,ou=groups,dc=example,dc=org; cn=admins,`, "ok regulation"}, true},
		{"groups in allowedGroups by memberOf", func(_ *testing.T, c *config.LDAP) { memberOf(c); c.AllowedGroups = []string{"admins", "outer"} }, []string{
			`ok groups: 4 found: a, admins, "ops, emea", research`, `FAULT allowedGroups: "outer" is none of them; groups come from memberOf of people, and those below ou=groups,dc=example,dc=org count; found: a, admins, "ops, emea", research | `, "ok regulation",
		}, true},
		{"groups in allowedGroups around others", func(_ *testing.T, c *config.LDAP) {
			memberOf(c)
			nest(c)
			c.AllowedGroups = []string{"admins", "outer", "nowhere"}
		}, []string{"ok groups: 6 found", `FAULT allowedGroups: "nowhere" is none of them`, "ok regulation"}, true},
		{"groups in allowedGroups by number", func(_ *testing.T, c *config.LDAP) {
			c.Groups.From, c.Groups.As, c.AllowedGroups = "gidNumber", "gidNumber", []string{"1001", "7"}
		}, []string{"ok attribute gidNumber: 7 of 8 have it", "ok groups: 3 found: 1000, 1001, 1002", `FAULT allowedGroups: "7" is none of them; groups come from gidNumber: a person is in the one of their own number; found: 1000, 1001, 1002`, "ok regulation"}, true},
		{"groups in allowedGroups by name, from gidNumber", func(_ *testing.T, c *config.LDAP) {
			c.Groups.From, c.Groups.BaseDN, c.AllowedGroups = "gidNumber", "ou=posix,"+treeBase, []string{"ml", "guests"}
		}, []string{"ok groups: 2 found: infra, ml", `FAULT allowedGroups: "guests" is none of them; groups come from gidNumber: only posixGroups that a person's own number names count; found: infra, ml | ` +
			"check how it is spelled (LOCAL_LDAP_GROUP_ALLOW_LIST); groups are known by their name. To count all groups of people, remove group=gidNumber from LOCAL_LDAP_ATTRIBUTES, or set groups.from to search", "ok regulation"}, true},
		{"many groups", func(_ *testing.T, c *config.LDAP) { c.Groups.BaseDN = "ou=many," + treeBase }, []string{
			"ok groups: 12 found: g00, g01, g02, g03, g04, g05, g06, g07, g08, g09, …",
		}, false},
		{"no groups asked for", func(_ *testing.T, c *config.LDAP) { c.Groups.From = "none" }, []string{"ok groups: none are asked for", "ok regulation"}, true},
		{"no groups there", func(_ *testing.T, c *config.LDAP) { c.Groups.BaseDN = "ou=services," + treeBase }, []string{
			"FAULT groups: nobody is in any group below ou=services,dc=example,dc=org | check groups.from (group= in LOCAL_LDAP_ATTRIBUTES), groups.baseDN (LOCAL_LDAP_GROUP_BASE_DN) and groups.filter, or set groups.from to none; check that bindDN", "ok regulation",
		}, true},
		{"groups.baseDN that is not there", func(_ *testing.T, c *config.LDAP) { c.Groups.BaseDN = "ou=nowhere," + treeBase }, []string{
			"FAULT groups: what is searched below is not there: ou=nowhere,dc=example,dc=org | check groups.baseDN (LOCAL_LDAP_GROUP_BASE_DN)", "ok regulation",
		}, true},
		{"another preset", func(_ *testing.T, c *config.LDAP) { c.Preset = "activeDirectory" }, []string{
			"FAULT preset: the directory is of the kind openLDAP, the settings say activeDirectory | set preset to openLDAP (GATEHOUSE_AUTHN_0_LDAP_PRESET=openLDAP, where 0 is the route's place)",
		}, false},
		{"a preset that may be", func(_ *testing.T, c *config.LDAP) { c.Preset = "lldap" }, []string{"ok preset: lldap", "ok people: 8 found"}, false},
		{"without a name", func(_ *testing.T, c *config.LDAP) { c.BindDN, c.BindPassword = "", "" }, []string{"ok bind: as nobody (anonymous)", "ok preset: openLDAP", "ok people: 8"}, false},
		{"without a name, where that may not search", func(_ *testing.T, c *config.LDAP) {
			c.BindDN, c.BindPassword, c.Address, c.TLS.CAFile = "", "", []string{other.TLSURL}, other.CAFile
		}, []string{"ok bind: as nobody (anonymous)", "FAULT baseDN: what is searched below is not there: dc=example,dc=org | check baseDN (LOCAL_LDAP_BASE_DN); if the directory lets nobody search without a name, set bindDN (LOCAL_LDAP_BIND_DN)"}, true},
		{"a wrong password of bindDN", func(t *testing.T, c *config.LDAP) {
			t.Cleanup(func() { s.SetPassword(t, s.ServiceDN, s.ServicePassword) })
			c.BindPassword = "bad-pw"
		}, []string{`FAULT bind: the directory refuses bindDN: LDAP Result Code 49 "Invalid Credentials":  | check bindDN and bindPassword (LOCAL_LDAP_BIND_DN and LOCAL_LDAP_BIND_PW): they are what`}, true},
		{"baseDN that is not there", func(_ *testing.T, c *config.LDAP) { c.BaseDN = "dc=example,dc=com" }, []string{"FAULT baseDN: what is searched below is not there: dc=example,dc=com | check baseDN"}, true},
		{"users.baseDN that is not there", func(_ *testing.T, c *config.LDAP) { c.Users.BaseDN = "ou=nowhere," + treeBase }, []string{
			"FAULT people: what is searched below is not there: ou=nowhere,dc=example,dc=org | check users.baseDN (LOCAL_LDAP_USER_BASE_DN) and users.filter", "ok groups",
		}, false},
		{"nobody there", func(_ *testing.T, c *config.LDAP) { c.Users.BaseDN = "ou=groups," + treeBase }, []string{
			"FAULT people: nobody is found below ou=groups,dc=example,dc=org by (&(objectClass=person)(uid={input})) | check users.baseDN (LOCAL_LDAP_USER_BASE_DN) and users.filter; check that bindDN (LOCAL_LDAP_BIND_DN) may read people", "ok groups",
		}, false},
		{"nobody there, without a name and with groups of people", func(_ *testing.T, c *config.LDAP) {
			memberOf(c)
			c.BindDN, c.BindPassword, c.Users.BaseDN, c.AllowedGroups = "", "", "ou=groups,"+treeBase, []string{"admins"}
		}, []string{
			"FAULT people: nobody is found below ou=groups,dc=example,dc=org by (&(objectClass=person)(uid={input})) | check users.baseDN (LOCAL_LDAP_USER_BASE_DN) and users.filter; " +
				"set bindDN (LOCAL_LDAP_BIND_DN): who searches without a name may not be shown people", "ok regulation",
		}, true},
		{"another authority", func(_ *testing.T, c *config.LDAP) { c.TLS.CAFile = other.CAFile }, []string{
			"FAULT ADDRESS: connect to ADDRESS: TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority",
		}, true},
		{"another name", func(_ *testing.T, c *config.LDAP) { c.TLS.ServerName = "ldap.example.org" }, []string{
			"FAULT ADDRESS: connect to ADDRESS: TLS: tls: failed to verify certificate: x509: certificate is valid for localhost, not ldap.example.org | set tls.serverName to the name in the certificate, or use that name in the address (LOCAL_LDAP_ADDRESS)",
		}, true},
		{"expired", func(t *testing.T, c *config.LDAP) {
			behindTLS(t, s, c, &tls.Config{}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		}, []string{"FAULT ADDRESS: connect to ADDRESS: TLS: tls: failed to verify certificate: x509: certificate has expired or is not yet valid"}, true},
		{"no TLS there", func(_ *testing.T, c *config.LDAP) { c.Address = []string{"ldaps" + strings.TrimPrefix(s.URL, "ldap")} }, []string{
			"FAULT ADDRESS: connect to ADDRESS: TLS: EOF | it does not speak TLS there: use its ldaps port, or ldap:// with startTLS (LOCAL_LDAP_TLS_ENABLE=true)",
		}, true},
		{"TLS there", func(_ *testing.T, c *config.LDAP) {
			c.Address = []string{"ldap" + strings.TrimPrefix(s.TLSURL, "ldaps")}
		}, []string{
			"ok ADDRESS: connected in the clear", "FAULT bind: the connection to the directory broke: ADDRESS: unable to read LDAP response packet: EOF | something else than LDAP is listening there: see the port; or it is a TLS port: write ldaps://",
		}, true},
		{"TLS there, without a name", func(_ *testing.T, c *config.LDAP) {
			c.Address, c.BindDN, c.BindPassword = []string{"ldap" + strings.TrimPrefix(s.TLSURL, "ldaps")}, "", ""
		}, []string{"ok ADDRESS: connected in the clear", "ok bind: as nobody (anonymous)", "FAULT baseDN: search below dc=example,dc=org: the connection to the directory broke: ADDRESS: unable to read LDAP response packet: EOF | something else than LDAP is listening there: see the port; or it is a TLS port: write ldaps://"}, true},
		{"StartTLS refused", func(t *testing.T, c *config.LDAP) {
			c.Address, c.StartTLS = []string{newFront(t, listen(t), overTLS(s.TLSURL)).url("ldap")}, true
		}, []string{`FAULT ADDRESS: connect to ADDRESS: begin TLS: LDAP Result Code 1 "Operations Error": TLS already started | it does not begin TLS: use ldaps://, or have StartTLS enabled there`}, true},
		{"a web server", func(_ *testing.T, c *config.LDAP) { c.Address = []string{strings.Replace(web.URL, "http", "ldap", 1)} }, []string{
			"ok ADDRESS: connected in the clear", "FAULT bind: the connection to the directory broke: ADDRESS: unable to read LDAP response packet: the directory does not speak LDAP | something else than LDAP is listening there: see the port; or it is a TLS port",
		}, true},
		{"a web server with StartTLS", func(_ *testing.T, c *config.LDAP) {
			c.Address, c.StartTLS, c.ConnectTimeout = []string{strings.Replace(web.URL, "http", "ldap", 1)}, true, config.Duration(200*time.Millisecond)
		}, []string{"FAULT ADDRESS: connect to ADDRESS: begin TLS: context deadline exceeded | it does not begin TLS"}, true},
		{"nothing there", func(_ *testing.T, c *config.LDAP) { c.Address = []string{"ldaps://" + dead.Addr().String()} }, []string{
			"FAULT ADDRESS: connect to ADDRESS: dial tcp ADDRESS: connect: connection refused | check the address (LOCAL_LDAP_ADDRESS), and that the server is up and can be reached from here",
		}, true},
		{"by a socket", func(_ *testing.T, c *config.LDAP) { c.Address = []string{s.SocketURL} }, []string{"ok ADDRESS: connected by a socket", "ok bind"}, false},
		{"a file that is not there", func(_ *testing.T, c *config.LDAP) { c.TLS.CAFile = "/nowhere" }, []string{"FAULT settings: "}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(t, &settings)
			got := told(Check(t.Context(), settings, usualRegulation()), host(settings.Address[0]))
			next, first := 0, -1
			for i, line := range got {
				if next < len(c.want) && strings.HasPrefix(line, c.want[next]) {
					first, next = max(first, i-next), next+1
				}
				if strings.Contains(line, "-pw") {
					t.Errorf("LDAP-42 a password: %s", line)
				}
			}
			if next < len(c.want) {
				t.Errorf("no line %q in\n%s", c.want[next], strings.Join(got, "\n"))
			} else if c.only && len(got) != first+len(c.want) {
				t.Errorf("there are more lines:\n%s", strings.Join(got, "\n"))
			}
		})
	}
	t.Run("one of two is dead", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Address = []string{"ldaps://" + dead.Addr().String(), s.TLSURL}
		got := told(Check(t.Context(), settings, usualRegulation()), dead.Addr().String(), host(s.TLSURL))
		if len(got) < 5 || !strings.HasPrefix(got[0], "FAULT ADDRESS") || !strings.HasPrefix(got[1], "ok ADDRESS") || !strings.HasPrefix(got[4], "ok people") {
			t.Errorf("%q", got)
		}
	})
	t.Run("nothing is left open", func(t *testing.T) {
		eventually(t, "all connections end", func() bool { return s.Connections(t) == 0 })
	})
}

func TestCheckLockout(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	const policy = "cn=default,ou=policies," + treeBase
	regulation := usualRegulation()
	for _, c := range []struct {
		name string
		set  func(t *testing.T)
		most int
		want string // empty for no line
	}{
		{"it never forgets", func(*testing.T) {}, 4, "ok regulation: the directory locks people out after 5 wrong passwords and never forgets one"},
		{"as many", func(*testing.T) {}, 5, "FAULT regulation: the directory locks people out after 5 wrong passwords, the gateway lets 5 through | set regulation.maxUserRetries below 5"},
		{"as many by one address", func(*testing.T) { regulation.MaxRetries = 5 }, 5, "FAULT regulation: the directory locks people out after 5 wrong passwords, the gateway lets 5 through | set regulation.maxUserRetries and maxRetries below 5"},
		{"more", func(*testing.T) { regulation.MaxRetries = 3 }, 50, "FAULT regulation: the directory locks people out after 5 wrong passwords, the gateway lets 50 through"},
		{"it counts for longer", func(t *testing.T) { change(t, s, policy, "pwdFailureCountInterval", "3600") }, 4,
			"FAULT regulation: the directory counts wrong passwords for 1h, the gateway for 15m | set regulation.findTime and banTime to 1h"},
		{"it counts for as long", func(t *testing.T) { change(t, s, policy, "pwdFailureCountInterval", "900") }, 4,
			"ok regulation: 4 wrong passwords reach the directory, which locks out after 5"},
		{"it locks nobody out", func(t *testing.T) { change(t, s, policy, "pwdLockout", "FALSE") }, 50, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.set(t)
			regulation.MaxUserRetries = c.most
			got := told(Check(t.Context(), settingsFor(s), regulation))
			last := got[len(got)-1]
			if c.want == "" && strings.Contains(last, "regulation") || !strings.HasPrefix(last, c.want) {
				t.Error(last)
			}
		})
	}
}
