package ldap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

func TestAddresses(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	picky := peer.NewSlapd(t, peer.SlapdOptions{RequireClientCert: true})
	dead := listen(t)
	dead.Close()
	only := func(address ...string) func(*config.LDAP) {
		return func(c *config.LDAP) { c.Address = address }
	}
	for _, c := range []struct {
		name string
		set  func(*config.LDAP)
	}{
		{"ldaps", only(s.TLSURL)},
		{"ldaps and a name to expect", func(c *config.LDAP) { c.TLS.ServerName = "localhost" }},
		{"ldap on this machine", only(s.URL)},
		{"ldapi", only(s.SocketURL)},
		{"ldapi with startTLS for others", func(c *config.LDAP) { c.Address, c.StartTLS = []string{s.SocketURL}, true }},
		{"StartTLS", func(c *config.LDAP) { c.Address, c.StartTLS = []string{s.URL}, true }},
		{"ldaps with startTLS for others", func(c *config.LDAP) { c.StartTLS = true }},
		{"ldaps with a client's certificate", func(c *config.LDAP) { c.Address, c.TLS = []string{picky.TLSURL}, shown(picky) }},
		{"StartTLS with a client's certificate", func(c *config.LDAP) { c.Address, c.TLS, c.StartTLS = []string{picky.URL}, shown(picky), true }},
		{"the first is dead", only("ldaps://"+dead.Addr().String(), s.TLSURL)},
		{"the first is another's", only(picky.TLSURL, s.TLSURL)},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(&settings)
			r := newRig(t, settings)
			r.in("alice", "alice-pw")
			if got := r.refused("alice", "bad-pw"); got != wrong {
				t.Error(got)
			}
			if err := r.route.Ready(t.Context()); err != nil {
				t.Error(err)
			}
			for _, open := range []func(context.Context) (*conn, error){r.l.directory.openSearch, r.l.directory.dialer.dial} {
				c, err := open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := c.raw.(*tls.Conn); ok != (c.server.TLS || settings.StartTLS && c.server.Network == "tcp") {
					t.Errorf("TLS %v at %s", ok, c.server.Address)
				}
				c.close()
			}
		})
	}
}

// shown is TLS with a certificate for ourselves.
func shown(s *peer.Slapd) config.ClientTLS {
	return config.ClientTLS{CAFile: s.CAFile, CertFile: s.ClientCertFile, KeyFile: s.ClientKeyFile}
}

// certificate is one that signs itself, and the file to trust it by.
func certificate(t *testing.T, change func(*x509.Certificate)) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a front"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// behindTLS is slapd behind somebody who speaks TLS in their own way.
func behindTLS(t *testing.T, s *peer.Slapd, c *config.LDAP, conf *tls.Config, change func(*x509.Certificate)) {
	t.Helper()
	cert, file := certificate(t, change)
	conf.Certificates = []tls.Certificate{cert}
	f := newFront(t, tls.NewListener(listen(t), conf), to(s.URL))
	c.Address, c.TLS.CAFile = []string{f.url("ldaps")}, file
}

func TestTLS(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	other := peer.NewSlapd(t, peer.SlapdOptions{RequireClientCert: true})
	for _, c := range []struct {
		id  string
		set func(*testing.T, *config.LDAP)
	}{
		{"LDAP-14 another authority", func(_ *testing.T, c *config.LDAP) { c.TLS.CAFile = other.CAFile }},
		{"LDAP-14 the system's authorities", func(_ *testing.T, c *config.LDAP) { c.TLS.CAFile = "" }},
		{"LDAP-14 another name", func(_ *testing.T, c *config.LDAP) { c.TLS.ServerName = "ldap.example.org" }},
		{"LDAP-14 another name with StartTLS", func(_ *testing.T, c *config.LDAP) {
			c.TLS.ServerName, c.Address, c.StartTLS = "ldap.example.org", []string{s.URL}, true
		}},
		{"LDAP-14 another authority with StartTLS", func(_ *testing.T, c *config.LDAP) {
			c.TLS.CAFile, c.Address, c.StartTLS = other.CAFile, []string{s.URL}, true
		}},
		{"LDAP-14 another host's", func(t *testing.T, c *config.LDAP) {
			behindTLS(t, s, c, &tls.Config{}, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} })
		}},
		{"LDAP-14 a common name alone", func(t *testing.T, c *config.LDAP) {
			behindTLS(t, s, c, &tls.Config{}, func(c *x509.Certificate) { c.IPAddresses, c.Subject.CommonName = nil, "127.0.0.1" })
		}},
		{"LDAP-14 expired", func(t *testing.T, c *config.LDAP) {
			behindTLS(t, s, c, &tls.Config{}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		}},
		{"LDAP-14 not yet valid", func(t *testing.T, c *config.LDAP) {
			behindTLS(t, s, c, &tls.Config{}, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
		}},
		{"LDAP-14 TLS 1.1", func(t *testing.T, c *config.LDAP) {
			behindTLS(t, s, c, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, func(*x509.Certificate) {})
		}},
		{"LDAP-14 no TLS at all", func(t *testing.T, c *config.LDAP) {
			c.Address = []string{newFront(t, listen(t), to(s.URL)).url("ldaps")}
		}},
		{"LDAP-13 StartTLS refused", func(t *testing.T, c *config.LDAP) {
			c.Address, c.StartTLS = []string{newFront(t, listen(t), overTLS(s.TLSURL)).url("ldap")}, true
		}},
		{"LDAP-14 no certificate of ours", func(_ *testing.T, c *config.LDAP) { c.Address, c.TLS.CAFile = []string{other.TLSURL}, other.CAFile }},
		{"LDAP-14 no certificate of ours with StartTLS", func(_ *testing.T, c *config.LDAP) {
			c.Address, c.TLS.CAFile, c.StartTLS = []string{other.URL}, other.CAFile, true
		}},
	} {
		t.Run(c.id, func(t *testing.T) {
			settings := settingsFor(s)
			c.set(t, &settings)
			r := newRig(t, settings)
			expectAsked(t, other, 0, 0, func() {
				expectAsked(t, s, 0, 0, func() { t.Log(r.unsure("alice", "alice-pw")) })
			})
		})
	}
	t.Run("the same front in good order", func(t *testing.T) { // or the cases above would show nothing
		settings := settingsFor(s)
		behindTLS(t, s, &settings, &tls.Config{}, func(*x509.Certificate) {})
		newRig(t, settings).in("alice", "alice-pw")
	})
}

// overTLS begins TLS by itself. To slapd it is there already when we ask for
// it, and so slapd refuses.
func overTLS(ldapsURL string) func(net.Conn) (net.Conn, error) {
	return func(in net.Conn) (net.Conn, error) {
		c, err := to(ldapsURL)(in)
		if err != nil {
			return nil, err
		}
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), nil
	}
}

func TestFailover(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	between := func(t *testing.T) (*front, *rig) {
		f := newFront(t, listen(t), to(s.TLSURL))
		settings := settingsFor(s)
		settings.Address = []string{f.url("ldaps"), s.TLSURL}
		return f, newRig(t, settings)
	}
	t.Run("the first is asked while it is there", func(t *testing.T) {
		f, r := between(t)
		r.in("alice", "alice-pw")
		r.in("bob", "bob-pw")
		if n := f.used(); n != 3 { // one to search, one for each bind
			t.Errorf("%d connections", n)
		}
	})
	t.Run("LDAP-37 the first dies later", func(t *testing.T) {
		f, r := between(t)
		r.in("alice", "alice-pw")
		f.die()
		r.in("alice", "alice-pw")
		if got := r.refused("alice", "bad-pw"); got != wrong {
			t.Error(got)
		}
		if first := r.l.directory.dialer.order()[0]; "ldaps://"+first.Address != s.TLSURL {
			t.Errorf("%s is asked first", first.Address)
		}
	})
	t.Run("LDAP-36 the first is silent", func(t *testing.T) {
		silent := newFront(t, listen(t), func(net.Conn) (net.Conn, error) { c, _ := net.Pipe(); return c, nil })
		settings := settingsFor(s)
		settings.Address = []string{silent.url("ldaps"), s.TLSURL}
		settings.ConnectTimeout = config.Duration(100 * time.Millisecond)
		r, began := newRig(t, settings), time.Now()
		r.in("alice", "alice-pw")
		if took := time.Since(began); took < 100*time.Millisecond || took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		if n := silent.used(); n != 1 {
			t.Errorf("was asked %d times", n)
		}
	})
	t.Run("LDAP-37 the first hangs up after the handshake", func(t *testing.T) {
		cert, file := certificate(t, func(*x509.Certificate) {})
		f := newFront(t, tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{cert}}), func(in net.Conn) (net.Conn, error) {
			return nil, errors.Join(in.(*tls.Conn).Handshake(), errors.New("and no more"))
		})
		settings := settingsFor(s)
		settings.Address, settings.TLS.CAFile = []string{f.url("ldaps"), s.TLSURL}, joined(t, file, s.CAFile)
		r := newRig(t, settings)
		r.in("alice", "alice-pw")
		r.in("alice", "alice-pw")
		if n := f.used(); n != 1 {
			t.Errorf("was asked %d times", n)
		}
	})
	t.Run("LDAP-37 all are dead", func(t *testing.T) {
		f, r := between(t)
		r.in("alice", "alice-pw")
		f.die()
		s.Stop()
		r.unsure("alice", "alice-pw")
		r.unsure("nobody", "bad-pw")
		if err := r.route.Ready(t.Context()); err == nil {
			t.Error("it calls itself ready")
		}
		if _, err := r.route.Authenticator.Authenticate(basic(t, "alice", "alice-pw")); err == nil || errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
		s.Restart(t)
		r.in("alice", "alice-pw") // though both have failed lately
	})
}

// joined is the content of files in one.
func joined(t *testing.T, files ...string) string {
	t.Helper()
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	out := filepath.Join(t.TempDir(), "all.pem")
	if err := os.WriteFile(out, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := config.Server{Address: "a"}, config.Server{Address: "b"}, config.Server{Address: "c"}
		d := &dialer{servers: []config.Server{a, b, c}}
		is := func(want ...config.Server) {
			t.Helper()
			if got := d.order(); !slices.Equal(got, want) {
				t.Errorf("%v, not %v", got, want)
			}
		}
		is(a, b, c)
		d.fail(a)
		is(b, c, a)
		time.Sleep(downTime / 2)
		d.fail(b)
		is(c, a, b)
		time.Sleep(downTime / 2)
		is(a, c, b)
		time.Sleep(downTime / 2)
		is(a, b, c)
	})
}
