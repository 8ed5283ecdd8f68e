package directory

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	domain        = "CORP"
	realm         = "corp.example.test"
	domainBase    = "DC=corp,DC=example,DC=test"
	controller    = "dc1." + realm
	administrator = "Administrator@" + realm
	service       = "svc-gatehouse"
)

// Samba is a running domain controller of Active Directory. Its ports are
// relayed out of a network namespace. Certificates that Samba
// makes for itself are of no use to Go: they have no alternative names, and some
// a negative serial number. So it has one of another authority.
type Samba struct {
	URL, TLSURL     string // ldap:// and ldaps:// at an address
	CAFile          string // who signed the server's certificate, for ServerName and the address
	ServerName      string
	BaseDN          string
	ServiceDN       string
	ServicePassword string
	Domain          string // CORP, as in CORP\alice
	UPNSuffix       string // corp.example.test, as in alice@corp.example.test

	dir           string
	adminPassword string
	trust         *tls.Config
	server        *enclosed
}

// NewSamba makes a domain and starts its controller, which ends with the test.
// It takes almost four seconds, so let subtests share one. It needs root.
func NewSamba(t testing.TB) *Samba {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("Samba's domain controller needs root, for its ports and a network namespace: run the tests as root")
	}
	const packages = "samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules winbind krb5-user python3-markdown attr"
	samba, tool := find(t, "samba", packages), find(t, "samba-tool", packages)
	s := &Samba{
		ServerName: controller, BaseDN: domainBase, Domain: domain, UPNSuffix: realm, ServicePassword: service + "-pw",
		dir: tempDir(t), adminPassword: "Admin-pw-1", // the rules for passwords are only relaxed later
	}
	s.ServiceDN = s.DN(service)
	for _, name := range []string{"private", "state", "cache", "lock", "run"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(s.dir, "smb.conf")
	write(t, conf, sambaConfiguration(s.dir))
	run(t, tool, "domain", "provision", "--configfile="+conf, "--server-role=dc", "--dns-backend=NONE", "--quiet",
		"--realm="+realm, "--domain="+domain, "--host-name=dc1", "--adminpass="+s.adminPassword)
	ca := newAuthority(t, s.dir)
	s.CAFile = ca.file
	ca.server(t, []string{controller}, "127.0.0.1")
	s.trust = ca.trust(controller)
	s.server = enclose(t, "samba", filepath.Join(s.dir, "log"), samba, "-i", "-M", "single", "-s", conf)
	s.URL, s.TLSURL = "ldap://"+s.server.relay(t, 389), "ldaps://"+s.server.relay(t, 636)
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Log(s.server.said())
		}
	})
	err := s.server.ready(func() error {
		c, err := s.connect(time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	if err != nil {
		t.Fatalf("Samba does not come up: %v\n%s", err, s.server.said())
	}
	s.populate(t)
	return s
}

// sambaConfiguration is smb.conf: only the directory, no file server, no DNS.
func sambaConfiguration(dir string) string {
	return strings.NewReplacer("DIR", dir, "DOMAIN", domain, "REALM", realm).Replace(`[global]
	netbios name = DC1
	workgroup = DOMAIN
	realm = REALM
	server role = active directory domain controller
	server services = ldap
	ldap server require strong auth = no
	old password allowed period = 0
	private dir = DIR/private
	state directory = DIR/state
	cache directory = DIR/cache
	lock directory = DIR/lock
	pid directory = DIR/run
	binddns dir = DIR/dns
	ncalrpc dir = DIR/rpc
	tls certfile = DIR/server.pem
	tls keyfile = DIR/server.key
	tls cafile = DIR/ca.pem
	logging = file
	log file = DIR/log.samba
	ldb:nosync = yes
[sysvol]
	path = DIR/state/sysvol
[netlogon]
	path = DIR/state/sysvol/REALM/scripts
`)
}

// Stop ends the server.
func (s *Samba) Stop() { s.server.stop() }

func (s *Samba) connect(within time.Duration) (*ldap.Conn, error) {
	c, err := ldap.DialURL(s.TLSURL, ldap.DialWithTLSConfig(s.trust), ldap.DialWithDialer(&net.Dialer{Timeout: within}))
	if err != nil {
		return nil, err
	}
	if err := c.Bind(administrator, s.adminPassword); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Admin is a connection as the domain's administrator that ends with the test.
func (s *Samba) Admin(t testing.TB) *ldap.Conn {
	t.Helper()
	c, err := s.connect(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// SetPassword changes a password.
func (s *Samba) SetPassword(t testing.TB, dn, password string) {
	t.Helper()
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace("unicodePwd", []string{quoted(password)})
	if err := s.Admin(t).Modify(m); err != nil {
		t.Fatal(err)
	}
}
