package ldap

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// said is a connection on which the other side has said all that it ever will.
type said struct {
	net.Conn
	*bytes.Reader
}

func (s said) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s said) Write(p []byte) (int, error) { return len(p), nil }

// question is a message that asks, as the library writes it.
func question(tag byte) []byte { return []byte{0x30, 5, 2, 1, 2, tag, 0} }

// FuzzFrame: what is handed on is a message that the library can read, an answer
// to what was asked, byte for byte as it came.
func FuzzFrame(f *testing.F) {
	for _, kind := range []authntest.OperationKind{authntest.OpBind, authntest.OpSearch, authntest.OpStartTLS} {
		for _, raw := range authntest.Malformed() {
			f.Add(raw(authntest.Operation{Kind: kind, MessageID: 2}), byte(tagBind))
		}
	}
	f.Add(authntest.Result{}.Encode(authntest.OpBind, 2), byte(tagBind))
	f.Add(authntest.Entry{DN: "cn=x", Attributes: map[string][]string{"cn": {"x"}}}.Encode(2), byte(tagSearch))
	f.Fuzz(func(t *testing.T, b []byte, tag byte) {
		c := newFramed(said{Reader: bytes.NewReader(b)})
		if _, err := c.Write(question(tag)); err != nil {
			t.Fatal(err)
		}
		read := 0
		for {
			message, err := c.next()
			if err != nil {
				return
			}
			if !bytes.HasPrefix(b[read:], message) {
				t.Fatalf("%x is not what came", message)
			}
			read += len(message)
			packet, err := ber.DecodePacketErr(message)
			if err != nil {
				continue // the library refuses more than we do
			}
			if len(packet.Children) < 2 || packet.Children[1].ClassType != ber.ClassApplication {
				t.Fatalf("%x is no answer", message)
			}
			op := packet.Children[1]
			if tag == tagBind && op.Tag != ldap.ApplicationBindResponse {
				t.Fatalf("%x answers something else", message)
			}
			if ldap.GetLDAPError(packet) == nil && tag == tagBind {
				if v, ok := op.Children[0].Value.(int64); !ok || v != 0 || len(op.Children[0].ByteValue) == 0 {
					t.Fatalf("%x is success", message)
				}
			}
		}
	})
}

// fuzzDirectory is a directory that nobody connects to.
func fuzzDirectory(f *testing.F, change func(*config.LDAP)) *directory {
	f.Helper()
	c := config.LDAP{Address: []string{"ldap://127.0.0.1:1"}, BaseDN: "dc=example,dc=org", Timeout: config.Duration(time.Second), PageSize: 500}
	change(&c)
	d, err := newDirectory(c)
	if err != nil {
		f.Fatal(err)
	}
	return d
}

// FuzzFilter: LDAP-05. Whatever is typed, the filter asks for that, in one place.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"alice", "*", "*)(uid=*", "admin)(|(uid=*", `\2a`, "a\x00", "josé", "\xff", "{input}", "{dn}"} {
		f.Add(s)
	}
	d := fuzzDirectory(f, func(*config.LDAP) {})
	f.Fuzz(func(t *testing.T, login string) {
		packet, err := ldap.CompileFilter(strings.ReplaceAll(d.settings.Users.Filter, "{input}", ldap.EscapeFilter(login)))
		if err != nil {
			t.Fatalf("%q: %v", login, err)
		}
		if len(packet.Children) != 2 || packet.Tag != ldap.FilterAnd {
			t.Fatalf("%q changes the filter", login)
		}
		equal := packet.Children[1]
		if equal.Tag != ldap.FilterEqualityMatch || len(equal.Children) != 2 || equal.Children[0].Data.String() != "uid" || equal.Children[1].Data.String() != login {
			t.Fatalf("%q is asked for as %q", login, equal.Children[1].Data.String())
		}
	})
}

// FuzzTemplate: LDAP-06. Whatever is typed, the DN has one more part than its
// base, with one value: what was typed.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"alice", "alice,ou=admins", "alice+cn=x", "#04016c", " alice", `"`, `\`, "<>;=", "\x00", "josé"} {
		f.Add(s)
	}
	d := fuzzDirectory(f, func(c *config.LDAP) { c.Users.DNTemplate = "uid={input},dc=example,dc=org" })
	f.Fuzz(func(t *testing.T, login string) {
		if (credentials{login: login, password: "x"}).screen() != nil {
			return
		}
		dn, err := parseDN(d.templated(login))
		if err != nil {
			return // nobody's
		}
		value, ok := rdn(dn, "uid")
		if !ok || len(dn.RDNs) != 3 || len(dn.RDNs[0].Attributes) != 1 || value != login || !below(dn, d.base) {
			t.Fatalf("%q became %q", login, dn)
		}
	})
}
