package directory

import (
	"crypto/rand"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// SlapdOptions is how a slapd differs from the one that the package describes.
type SlapdOptions struct {
	AnonymousRead     bool           // who hasn't signed in may read all but passwords
	UserRead          bool           // who has signed in may; without it, only the own entry
	RequireClientCert bool           // TLS only with a certificate of this directory's authority
	SizeLimit         int            // most entries of a search without pages; 0 is 500
	ManyGroups        map[string]int // person to a number of groups <uid>-00001 and so on, below ou=groups
	ExtraLDIF         string         // entries or changes, made after the start, so the overlays see them
}

// Slapd is a running OpenLDAP server. It doesn't limit what paged searches find
// in all.
type Slapd struct {
	URL, TLSURL, SocketURL string // ldap:// and ldaps:// at 127.0.0.1, ldapi://
	CAFile                 string // who signed the server's certificate, for 127.0.0.1 and localhost
	ClientCertFile         string // a certificate for a client, CN=gatehouse
	ClientKeyFile          string

	BaseDN          string
	ServiceDN       string // reads all but passwords, operational attributes too
	ServicePassword string
	AdminDN         string // may do anything
	AdminPassword   string

	dir     string
	program string
	as      []string // setpriv and its arguments, which come before any program
	ports   [2]int
	server  *process
}

// NewSlapd starts a slapd that ends with the test.
func NewSlapd(t testing.TB, o SlapdOptions) *Slapd {
	t.Helper()
	s := &Slapd{
		BaseDN: base, ServiceDN: serviceDN, ServicePassword: servicePassword, AdminDN: adminDN, AdminPassword: adminPassword,
		dir: tempDir(t), program: find(t, "slapd", "slapd"), as: []string{find(t, "setpriv", "util-linux"), "--pdeathsig=TERM"},
	}
	if _, err := os.Stat(schemas + "/inetorgperson.schema"); err != nil {
		t.Fatalf("%v; install it with: apt-get install --reinstall slapd", err)
	}
	ca := newAuthority(t, s.dir)
	s.CAFile = ca.file
	ca.server(t, []string{"localhost"}, "127.0.0.1")
	s.ClientCertFile, s.ClientKeyFile = ca.client(t, "gatehouse")
	s.SocketURL = "ldapi://" + url.PathEscape(s.path("socket"))
	write(t, s.path("slapd.conf"), slapdConfiguration(s.dir, o))
	write(t, s.path("tree.ldif"), tree(o.ManyGroups))
	if err := os.Mkdir(s.path("db"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.giveAway(t)
	load := s.lowly(find(t, "slapadd", "slapd"), "-q", "-f", s.path("slapd.conf"), "-l", s.path("tree.ldif"))
	run(t, load[0], load[1:]...)
	t.Cleanup(func() {
		if s.server == nil {
			return
		}
		s.Stop()
		if t.Failed() {
			t.Log(s.server.said())
		}
	})
	s.start(t)
	if o.ExtraLDIF != "" {
		write(t, s.path("extra.ldif"), o.ExtraLDIF)
		run(t, find(t, "ldapmodify", "ldap-utils"), "-a", "-x", "-H", s.SocketURL, "-D", adminDN, "-w", adminPassword,
			"-f", s.path("extra.ldif"))
	}
	return s
}

func (s *Slapd) path(name string) string { return filepath.Join(s.dir, name) }

// giveAway gives the files to a user who can do less than root, and lets slapd
// run as that one.
func (s *Slapd) giveAway(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	u, err := user.Lookup("openldap")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	s.as = append(s.as, "--reuid="+u.Uid, "--regid="+u.Gid, "--clear-groups")
	uid, _ := strconv.Atoi(u.Uid) // always numbers on Unix
	gid, _ := strconv.Atoi(u.Gid)
	err = filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, uid, gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Slapd) lowly(program string, args ...string) []string {
	return slices.Concat(s.as, []string{"--", program}, args)
}

// start looks for ports, and for others when somebody else was faster.
func (s *Slapd) start(t testing.TB) {
	t.Helper()
	for attempt := 0; ; attempt++ {
		s.ports = [2]int{freePort(t), freePort(t)}
		s.URL = "ldap://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports[0]))
		s.TLSURL = "ldaps://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports[1]))
		err := s.begin(t)
		if err == nil {
			return
		}
		s.Stop()
		if said := s.server.said(); attempt == 3 || !strings.Contains(said, "errno=98") { // EADDRINUSE
			t.Fatalf("slapd does not come up: %v\n%s", err, said)
		}
	}
}

func (s *Slapd) begin(t testing.TB) error {
	t.Helper()
	args := s.lowly(s.program, "-d", "stats", "-f", s.path("slapd.conf"), "-h", s.URL+" "+s.TLSURL+" "+s.SocketURL)
	s.server = command(t, "slapd", s.path("log"), args[0], args[1:]...)
	s.server.start(t)
	return s.server.ready(func() error {
		c, err := s.connect()
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// Ports are taken from below those that the kernel gives to outgoing
// connections, where one could be gone when slapd comes back to it.
func freePort(t testing.TB) int {
	t.Helper()
	const first, count = 12000, 20000
	var listen net.ListenConfig
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(count))
		if err != nil {
			t.Fatal(err)
		}
		port := first + int(n.Int64())
		l, err := listen.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// Stop ends the server. Its data stays for Restart.
func (s *Slapd) Stop() { s.server.stop() }

// Restart starts the server again, with its data, where it was.
func (s *Slapd) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	if err := s.begin(t); err != nil {
		t.Fatalf("slapd does not come back: %v\n%s", err, s.server.said())
	}
}

func (s *Slapd) connect() (*ldap.Conn, error) {
	c, err := ldap.DialURL(s.SocketURL)
	if err != nil {
		return nil, err
	}
	if err := c.Bind(adminDN, adminPassword); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Admin is a connection that may do anything. It is not among those that
// Connections and Operations count, and ends with the test.
func (s *Slapd) Admin(t testing.TB) *ldap.Conn {
	t.Helper()
	c, err := s.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// PersonDN is the DN of one of the people, by the first uid.
func (s *Slapd) PersonDN(uid string) string { return personDN(uid) }

// GroupDN is the DN of a group below ou=groups.
func (s *Slapd) GroupDN(cn string) string { return groupDN(cn) }

// SetPassword changes a password and unlocks the account.
func (s *Slapd) SetPassword(t testing.TB, dn, password string) {
	t.Helper()
	c := s.Admin(t)
	set := ldap.NewModifyRequest(dn, nil)
	set.Replace("userPassword", []string{password})
	settle := ldap.NewModifyRequest(dn, nil)
	settle.Replace("pwdReset", nil) // the policy wants a password that the administrator gave changed
	if err := errors.Join(c.Modify(set), c.Modify(settle)); err != nil {
		t.Fatal(err)
	}
}

// Delete removes an entry. The groups forget it a moment later.
func (s *Slapd) Delete(t testing.TB, dn string) {
	t.Helper()
	if err := s.Admin(t).Del(ldap.NewDelRequest(dn, nil)); err != nil {
		t.Fatal(err)
	}
}
