package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

const scriptedBase = "dc=example,dc=org"

// scripted is a directory that can be told to misbehave, with a route to it.
type scripted struct {
	*rig
	d   *authntest.Directory
	url string
}

func scriptedEntries() []authntest.Entry {
	return append(authntest.DirectoryOf([]authntest.Person{
		{Subject: "1", Username: "alice", Name: "Alice Liddell", Email: "alice@example.org", Groups: []string{"research", "admins"}},
		{Subject: "2", Username: "bob", Name: "Bob", Email: "bob@example.org", Groups: []string{"research"}},
	}, scriptedBase, "right"),
		authntest.Entry{DN: "cn=svc," + scriptedBase, Password: "svc-right"})
}

func newScripted(t *testing.T, change ...func(*setup)) *scripted {
	t.Helper()
	d, url, err := authntest.StartDirectory(authntest.DirectoryOptions{BaseDN: scriptedBase, Entries: scriptedEntries()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	dur := func(d time.Duration) config.Duration { return config.Duration(d) }
	c := config.LDAP{
		Address: []string{url}, Preset: "openLDAP", BaseDN: scriptedBase, BindDN: "cn=svc," + scriptedBase, BindPassword: "svc-right",
		Users: config.LDAPUsers{Scope: "sub"}, Groups: config.LDAPGroups{From: "memberOf", As: "name", Scope: "sub"},
		Accept: []string{"form", "basic"}, RefreshInterval: dur(5 * time.Minute),
		BasicCache: config.LDAPBasicCache{Lifetime: dur(time.Minute), RejectedLifetime: dur(10 * time.Second)},
		Pool:       config.LDAPPool{Size: 4, IdleTimeout: dur(time.Minute)}, ConnectTimeout: dur(time.Second), Timeout: dur(time.Second), PageSize: 500,
	}
	return &scripted{rig: newRig(t, c, change...), d: d, url: url}
}

// patient is for what takes a busy machine a while.
func patient(s *setup) { s.ldap.Timeout = config.Duration(10 * time.Second) }

// unsure checks that nobody is let in and nobody refused: it can't be found out.
func (s *scripted) unsure(login, password string) error {
	s.Helper()
	who, err := s.prove(login, password)
	if err == nil || errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) || who.Subject != "" {
		s.Errorf("%s: %+v %v, want that it can't be found out", login, who, err)
	}
	return err
}

// recovers checks that the route works again once the directory does, and that
// no connection is left that could answer late.
func (s *scripted) recovers() {
	s.Helper()
	s.d.SetFaults(authntest.DirectoryFaults{})
	if who, err := s.prove("alice", "right"); err != nil || who.Username != "alice" {
		s.Errorf("afterwards: %+v %v", who, err)
	}
	if n := s.d.Connections(); n > 8 {
		s.Errorf("%d connections are open", n)
	}
}

func TestMalformedAnswers(t *testing.T) {
	for _, kind := range []authntest.OperationKind{authntest.OpBind, authntest.OpSearch} {
		for name, raw := range authntest.Malformed() {
			t.Run(fmt.Sprintf("LDAP-12 %s, %s", kind, name), func(t *testing.T) {
				t.Parallel()
				s := newScripted(t, func(s *setup) { s.ldap.Timeout = config.Duration(300 * time.Millisecond) })
				s.in("alice", "right")
				s.d.SetFaults(authntest.DirectoryFaults{Raw: map[authntest.OperationKind]authntest.RawAnswer{kind: raw}})
				who, err := s.prove("alice", "right")
				if err == nil || who.Subject != "" {
					t.Fatalf("taken for success: %+v", who)
				}
				var no *refusal
				honest := []string{"long message", "failure and success", "attribute with one text for a set"} // a no, after all
				if errors.As(err, &no) && !slices.Contains(honest, name) {
					t.Errorf("taken for a refusal: %v", err)
				}
				if len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x00\x1b") {
					t.Errorf("an error of %d bytes: %.200q", len(err.Error()), err)
				}
				s.recovers()
			})
		}
	}
}

// TestOnlySuccessIsSuccess: LDAP-18, whatever else the result says.
func TestOnlySuccessIsSuccess(t *testing.T) {
	s := newScripted(t)
	for code, refused := range map[int]bool{
		1: false, 2: false, 3: false, 7: false, 8: false, 10: false, 11: false, 13: false, 14: false, 19: true, 32: true, 34: true, 48: true,
		49: true, 50: false, 51: false, 52: false, 53: true, 80: false, 123: false,
	} {
		t.Run(fmt.Sprintf("LDAP-18 code %d", code), func(t *testing.T) {
			s.d.SetFaults(authntest.DirectoryFaults{Before: func(o authntest.Operation) {}})
			s.d.AnswerBind("uid=alice,ou=people,"+scriptedBase, &authntest.Result{Code: code, Message: "success"}, nil)
			who, err := s.prove("alice", "right")
			if err == nil || who.Subject != "" || errors.Is(err, authn.ErrRejected) != refused {
				t.Errorf("%+v %v", who, err)
			}
			s.d.AnswerBind("uid=alice,ou=people,"+scriptedBase, nil, nil)
			s.in("alice", "right")
		})
	}
}

// TestDirectoryReasons: what the directory says that a person can act on.
func TestDirectoryReasons(t *testing.T) {
	number := func(n int) *int { return &n }
	ad := func(data string) *authntest.Result {
		return &authntest.Result{Code: 49, Message: "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data " + data + ", v1db1"}
	}
	for name, c := range map[string]struct {
		answer *authntest.Result
		want   reason // empty: in
	}{
		"AD 52e": {ad("52e"), wrong}, "AD 525": {ad("525"), wrong}, "AD 530": {ad("530"), notNow}, "AD 531": {ad("531"), notNow}, "AD 532": {ad("532"), expired},
		"AD 533": {ad("533"), disabled}, "AD 701": {ad("701"), ended}, "AD 773": {ad("773"), mustChange}, "AD 775": {ad("775"), locked}, "AD unheard of": {ad("abc"), wrong},
		"AD without its text":      {&authntest.Result{Code: 49}, wrong},
		"policy expired":           {&authntest.Result{Code: 49, Policy: &authntest.PasswordPolicy{Error: number(0)}}, expired},
		"policy locked":            {&authntest.Result{Code: 49, Policy: &authntest.PasswordPolicy{Error: number(1)}}, locked},
		"LDAP-18 must change":      {&authntest.Result{Policy: &authntest.PasswordPolicy{Error: number(2)}}, mustChange},
		"LDAP-18 expired, though":  {&authntest.Result{Policy: &authntest.PasswordPolicy{Error: number(0)}}, expired},
		"policy expires soon":      {&authntest.Result{Policy: &authntest.PasswordPolicy{SecondsLeft: number(60)}}, ""},
		"policy last grace":        {&authntest.Result{Policy: &authntest.PasswordPolicy{GraceLogins: number(0)}}, ""},
		"389 inactive, to anybody": {&authntest.Result{Code: 53, Message: "Account inactivated. Contact system administrator."}, wrong},
		"389 locked":               {&authntest.Result{Code: 19, Message: "Exceed password retry limit. Please try later."}, locked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScripted(t)
			s.d.AnswerBind("uid=alice,ou=people,"+scriptedBase, c.answer, c.answer)
			if c.want == "" {
				s.in("alice", "right")
				return
			}
			if got := s.refused("alice", "right"); got != c.want {
				t.Errorf("%q", got)
			}
			if sentence := c.want.sentence(); sentence == "" || c.want != wrong && sentence == wrong.sentence() {
				t.Errorf("people read %q", sentence)
			}
		})
	}
}

// TestNothingIsBoundInVain: what never gets to the directory, and how the rest does.
func TestNothingIsBoundInVain(t *testing.T) {
	s := newScripted(t, func(s *setup) { s.regulation.MaxAddressRetries = 1000 })
	s.in("bob", "right")
	for name, c := range map[string][2]string{
		"LDAP-01 empty password":  {"alice", ""},
		"LDAP-02 NUL":             {"alice", "\x00"},
		"LDAP-02 NUL before":      {"alice", "\x00right"},
		"LDAP-02 NUL behind":      {"alice", "right\x00"},
		"LDAP-04 no name":         {"", "right"},
		"LDAP-04 blank name":      {" \t ", "right"},
		"LDAP-40 long password":   {"alice", strings.Repeat("x", 2000)},
		"LDAP-40 long name":       {strings.Repeat("a", 1<<20), "right"},
		"name that is not UTF-8":  {"al\xffice", "right"},
		"name with a line break":  {"alice\n", "right"},
		"name with an escape":     {"alice\x1b[0m", "right"},
		"name with a C1 control":  {"alice\u0085", "right"},
		"everything empty":        {"", ""},
		"name with NUL":           {"alice\x00", "right"},
		"name that is only a NUL": {"\x00", "right"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(s.d.Log())
			if got := s.refused(c[0], c[1]); got != wrong {
				t.Errorf("%q", got)
			}
			for _, o := range s.d.Log()[before:] {
				if o.Kind != authntest.OpUnbind { // of a connection that was closed a moment ago
					t.Errorf("the directory was asked: %+v", o)
				}
			}
		})
	}
	for _, o := range s.d.Log() {
		if o.Kind == authntest.OpBind && o.EmptyPassword {
			t.Error("LDAP-01: a bind without a password")
		}
	}
	for _, password := range []string{" ", "\t", "null", "undefined", " right", "right ", "rïght\u00a0"} {
		t.Run(fmt.Sprintf("LDAP-02 sent as it is, %q", password), func(t *testing.T) {
			s := newScripted(t)
			s.d.SetPassword("uid=alice,ou=people,"+scriptedBase, password)
			s.in("alice", password)
			sent := func(o authntest.Operation) bool { return o.Kind == authntest.OpBind && o.HasPassword(password) }
			if !slices.ContainsFunc(s.d.Log(), sent) {
				t.Errorf("%+v", s.d.Log())
			}
		})
	}
}

// TestInjection: LDAP-05 and LDAP-06. What is typed is one value, octet for octet.
func TestInjection(t *testing.T) {
	names := []string{"*", "a*", "*)(uid=*", "admin)(|(uid=*", "x)(!(uid=y", `\2a`, `a\00`, ")(objectClass=*", "alice)(cn=*))(|(uid=*", "(", `\`, "ål\u00edce", "алиса", "爱丽丝", "alice,ou=admins", "alice+cn=x",
		"#04016c", `"`, "<>;=", "uid=alice", "alice\u202e", "a/b", "ali\u200bce"}
	s := newScripted(t, func(s *setup) { s.regulation.MaxAddressRetries = 1000 })
	for _, name := range names {
		t.Run("LDAP-05 "+name, func(t *testing.T) {
			before := len(s.d.Log())
			_, err := s.prove(name, "wrong")
			if err == nil {
				t.Fatal("let in")
			}
			for _, o := range s.d.Log()[before:] {
				if o.Kind != authntest.OpSearch {
					continue
				}
				typed := 0
				for _, a := range o.Assertions {
					if a.Attribute == "uid" {
						typed++
						if a.Match != "=" || string(a.Value) != name {
							t.Errorf("asked for uid %s %q", a.Match, a.Value)
						}
					}
				}
				if typed != 1 || len(o.Assertions) != 2 || o.SizeLimit < 1 || o.SizeLimit > 2 {
					t.Errorf("the search is %s, size limit %d", o.Filter, o.SizeLimit)
				}
			}
		})
	}
	templated := newScripted(t, func(s *setup) {
		s.ldap.Users.DNTemplate = "uid={input},ou=people," + scriptedBase
		s.regulation.MaxAddressRetries = 1000
	})
	templated.in("alice", "right")
	for _, name := range append(names, " alice", "alice ", "ａlice", "ali\u00adce", "alice  ", "a  b") {
		t.Run("LDAP-06 "+name, func(t *testing.T) {
			before := len(templated.d.Log())
			if _, err := templated.prove(name, "right"); err == nil {
				t.Error("let in")
			}
			for _, o := range templated.d.Log()[before:] {
				if o.Kind != authntest.OpBind || strings.HasPrefix(o.DN, "cn=svc") {
					continue
				}
				dn, err := parseDN(o.DN)
				if err != nil {
					t.Errorf("a bind as %q", o.DN)
				} else if value, _ := rdn(dn, "uid"); len(dn.RDNs) != 4 || len(dn.RDNs[0].Attributes) != 1 || value != name {
					t.Errorf("a bind as %q", o.DN)
				}
			}
		})
	}
}

// TestLyingDirectory: entries that can't be meant.
func TestLyingDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		fault   authntest.DirectoryFaults
		refused bool
	}{
		"LDAP-09 twice":                  {authntest.DirectoryFaults{Entries: authntest.Twice}, true},
		"LDAP-09 two, limit ignored":     {authntest.DirectoryFaults{IgnoreSizeLimit: true, Entries: authntest.Stray(authntest.Entry{DN: "uid=alice,ou=evil," + scriptedBase, Attributes: map[string][]string{"uid": {"alice"}}})}, true},
		"from elsewhere":                 {authntest.DirectoryFaults{Entries: authntest.Misname("uid=alice,dc=evil")}, false},
		"a name that is no DN":           {authntest.DirectoryFaults{Entries: authntest.Misname("alice")}, false},
		"no name":                        {authntest.DirectoryFaults{Entries: authntest.Misname("")}, false},
		"a base in a look-alike":         {authntest.DirectoryFaults{Entries: authntest.Misname("uid=alice,dc=example,dc=org,dc=evil")}, false},
		"LDAP-33 two names":              {authntest.DirectoryFaults{Entries: authntest.Smuggle("uid", "alice", "admin")}, true},
		"LDAP-32 name with a line break": {authntest.DirectoryFaults{Entries: authntest.Smuggle("uid", "alice\r\nX-Groups: admins")}, true},
		"name that is not UTF-8":         {authntest.DirectoryFaults{Entries: authntest.Smuggle("uid", "al\xffice")}, true},
		"empty name":                     {authntest.DirectoryFaults{Entries: authntest.Smuggle("uid", "")}, true},
		"1 MiB of name":                  {authntest.DirectoryFaults{Entries: authntest.Smuggle("uid", strings.Repeat("a", 1<<20))}, true},
		"no id":                          {authntest.DirectoryFaults{Entries: authntest.Smuggle("entryUUID")}, true},
		"two ids":                        {authntest.DirectoryFaults{Entries: authntest.Smuggle("entryUUID", "a", "b")}, true},
		"id with a NUL":                  {authntest.DirectoryFaults{Entries: authntest.Smuggle("entryUUID", "a\x00b")}, true},
		"20,000 groups":                  {authntest.DirectoryFaults{Entries: authntest.Smuggle("memberOf", manyGroups(20_000)...)}, true},
		"unwilling to search":            {authntest.DirectoryFaults{Search: &authntest.Result{Code: 53}}, false},
		"may not search":                 {authntest.DirectoryFaults{Search: &authntest.Result{Code: 50}}, false},
		"no such base":                   {authntest.DirectoryFaults{Search: &authntest.Result{Code: 32}}, false},
		"busy":                           {authntest.DirectoryFaults{Search: &authntest.Result{Code: 51}}, false},
		"time limit":                     {authntest.DirectoryFaults{Search: &authntest.Result{Code: 3}}, false},
		"another server's":               {authntest.DirectoryFaults{Search: &authntest.Result{Code: 10, Referrals: []string{"ldap://evil.test/dc=x"}}}, false},
		"LDAP-12 notice":                 {authntest.DirectoryFaults{Notice: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScripted(t, patient)
			s.in("bob", "right")
			s.d.SetFaults(c.fault)
			if c.refused {
				s.refused("alice", "right")
			} else {
				s.unsure("alice", "right")
			}
			s.recovers()
		})
	}
}

func manyGroups(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("cn=g%d,%s", i, scriptedBase)
	}
	return out
}

// TestOddValues: what is around the values that count does no harm.
func TestOddValues(t *testing.T) {
	groups := func(want ...string) func(authn.Identity) bool {
		return func(i authn.Identity) bool { return slices.Equal(i.Groups, want) }
	}
	for name, c := range map[string]struct {
		attribute string
		values    []string
		want      func(authn.Identity) bool
	}{
		"LDAP-32 line break in the name":   {"cn", []string{"A\r\nX-Auth: y"}, func(i authn.Identity) bool { return i.Name == "" }},
		"binary name":                      {"cn", []string{"\xff\xd8\xff\x00"}, func(i authn.Identity) bool { return i.Name == "" }},
		"1 MiB of name":                    {"cn", []string{strings.Repeat("n", 1<<20)}, func(i authn.Identity) bool { return i.Name == "" }},
		"LDAP-33 several names":            {"cn", []string{"Zoe", "Amy"}, func(i authn.Identity) bool { return i.Name == "Amy" }},
		"LDAP-33 several addresses":        {"mail", []string{"z@example.org", "b@example.org"}, func(i authn.Identity) bool { return i.Email == "b@example.org" }},
		"an address that is none":          {"mail", []string{"alice"}, func(i authn.Identity) bool { return i.Email == "" }},
		"LDAP-32 line break in a mail":     {"mail", []string{"a@example.org\r\nX: y"}, func(i authn.Identity) bool { return i.Email == "" }},
		"no address":                       {"mail", nil, func(i authn.Identity) bool { return i.Email == "" }},
		"a name in another language":       {"cn;lang-de", []string{"Alicia"}, func(i authn.Identity) bool { return i.Name == "Alice Liddell" }},
		"a binary option":                  {"mail;binary", []string{"evil@example.org"}, func(i authn.Identity) bool { return i.Email == "alice@example.org" }},
		"memberOf that is no DN":           {"memberOf", []string{"research", "cn=a," + scriptedBase}, groups("a")},
		"memberOf that is not UTF-8":       {"memberOf", []string{"cn=\xff," + scriptedBase}, groups()},
		"memberOf with a hidden byte":      {"memberOf", []string{`cn=\ff,` + scriptedBase}, groups()},
		"LDAP-32 group with line break":    {"memberOf", []string{`cn=x\0aadmins,` + scriptedBase, "cn=a," + scriptedBase}, groups("a")},
		"group with a comma":               {"memberOf", []string{`cn=ops\, emea,` + scriptedBase}, func(i authn.Identity) bool { return slices.Equal(i.Groups, []string{"ops, emea"}) }},
		"LDAP-34 group elsewhere":          {"memberOf", []string{"cn=admins,dc=evil,dc=org"}, func(i authn.Identity) bool { return len(i.Groups) == 0 }},
		"LDAP-34 prefix of the base":       {"memberOf", []string{"cn=admins," + scriptedBase + ",dc=evil"}, func(i authn.Identity) bool { return len(i.Groups) == 0 }},
		"LDAP-34 look-alike base":          {"memberOf", []string{"cn=admins,dc=example,dc=or\u0261", "cn=admins,dc=examp\u217ce,dc=org"}, func(i authn.Identity) bool { return len(i.Groups) == 0 }},
		"LDAP-34 the base itself":          {"memberOf", []string{scriptedBase}, func(i authn.Identity) bool { return len(i.Groups) == 0 }},
		"LDAP-34 other case and spaces":    {"memberOf", []string{"CN=Research , DC=Example,DC=ORG"}, func(i authn.Identity) bool { return slices.Equal(i.Groups, []string{"Research"}) }},
		"a group twice":                    {"memberOf", []string{"cn=a," + scriptedBase, "cn=A," + scriptedBase, "cn=a," + scriptedBase}, func(i authn.Identity) bool { return slices.Equal(i.Groups, []string{"A", "a"}) }},
		"5,000 groups":                     {"memberOf", manyGroups(5000), func(i authn.Identity) bool { return len(i.Groups) == 5000 }},
		"ranges of Active Directory":       {"memberOf;range=0-*", manyGroups(3), func(i authn.Identity) bool { return len(i.Groups) == 5 }},
		"attributes that nobody asked for": {"isAdmin", []string{"TRUE"}, func(i authn.Identity) bool { return i.Username == "alice" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScripted(t, func(s *setup) { s.ldap.Timeout = config.Duration(5 * time.Second) })
			s.d.SetFaults(authntest.DirectoryFaults{Entries: authntest.Smuggle(c.attribute, c.values...)})
			if who := s.in("alice", "right"); !c.want(who.Identity) {
				t.Errorf("%.500s", fmt.Sprintf("%+v", who))
			}
		})
	}
}

// TestRanges reads a memberOf that comes in parts.
func TestRanges(t *testing.T) {
	s := newScripted(t, func(s *setup) { s.ldap.Timeout = config.Duration(5 * time.Second) })
	all := manyGroups(3200)
	s.d.SetFaults(authntest.DirectoryFaults{Entries: func(o authntest.Operation, found []authntest.Entry) []authntest.Entry {
		from, to, last := 0, 1499, "1499"
		for _, a := range o.Attributes {
			if n, _ := fmt.Sscanf(strings.ToLower(a), "memberof;range=%d-*", &from); n == 1 {
				if to = from + 1499; to >= len(all)-1 {
					to, last = len(all)-1, "*"
				} else {
					last = fmt.Sprint(to)
				}
			}
		}
		found = authntest.Smuggle("memberOf")(o, found)
		return authntest.Smuggle(fmt.Sprintf("memberOf;range=%d-%s", from, last), all[from:to+1]...)(o, found)
	}})
	if who := s.in("alice", "right"); len(who.Groups) != len(all) {
		t.Errorf("%d groups of %d", len(who.Groups), len(all))
	}
	s.d.SetFaults(authntest.DirectoryFaults{Entries: func(o authntest.Operation, found []authntest.Entry) []authntest.Entry {
		return authntest.Smuggle("memberOf;range=0-99", all[:100]...)(o, found) // again and again
	}})
	if got := s.refused("alice", "right"); got != unfit {
		t.Errorf("ranges without end: %q", got)
	}
}

// TestSlowDirectory: LDAP-36 and LDAP-37. Nobody waits longer than the settings
// say, and nothing is taken for an answer.
func TestSlowDirectory(t *testing.T) {
	both := func(c authntest.Cut) map[authntest.OperationKind]authntest.Cut {
		return map[authntest.OperationKind]authntest.Cut{authntest.OpBind: c, authntest.OpSearch: c}
	}
	for name, fault := range map[string]authntest.DirectoryFaults{
		"LDAP-36 silent":                {Silent: true},
		"LDAP-36 silent from the third": {SilentFrom: 1},
		"LDAP-36 a byte at a time":      {Drip: 100 * time.Millisecond},
		"LDAP-36 slow":                  {Delay: 3 * time.Second},
		"hanging in mid-answer":         {Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpSearch: {After: 1, Then: authntest.EndSilent}}},
		"hanging in mid-message":        {Cut: both(authntest.Cut{Bytes: 5, Then: authntest.EndSilent})},
		"closing in mid-answer":         {Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpSearch: {After: 1, Then: authntest.EndClose}}},
		"LDAP-37 reset in mid-bind":     {Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpBind: {Bytes: 5, Then: authntest.EndReset}}},
		"LDAP-37 reset in mid-search":   {Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpSearch: {Bytes: 5, Then: authntest.EndReset}}},
	} {
		for _, warm := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, warm %t", name, warm), func(t *testing.T) {
				t.Parallel()
				s := newScripted(t)
				if warm {
					s.in("alice", "right")
				}
				s.d.SetFaults(fault)
				if fault.Silent { // those that are open go on
					s.d.Hangup()
				}
				began := time.Now()
				s.unsure("alice", "right")
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("it took %s", took)
				}
				s.recovers()
			})
		}
	}
}

// TestHangup: what a restarted server has closed costs nobody anything.
func TestHangup(t *testing.T) {
	s := newScripted(t)
	for range 3 {
		s.in("alice", "right")
		s.d.Hangup()
		s.in("alice", "right")
		s.d.Disconnect()
	}
	s.in("alice", "right")
}

// TestStartTLS: LDAP-13. No password is sent before TLS is there.
func TestStartTLS(t *testing.T) {
	pair, ca := certificate(t, func(*x509.Certificate) {})
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	start := func(t *testing.T) *scripted {
		d, url, err := authntest.StartDirectory(authntest.DirectoryOptions{BaseDN: scriptedBase, Entries: scriptedEntries(), TLS: conf})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		s := newScripted(t, func(s *setup) {
			s.ldap.Address, s.ldap.StartTLS, s.ldap.TLS.CAFile = []string{url}, true, ca
		})
		s.d = d
		return s
	}
	success := authntest.Result{}.Encode(authntest.OpBind, 2)
	for name, fault := range map[string]authntest.DirectoryFaults{
		"LDAP-13 protocol error":     {StartTLS: &authntest.Result{Code: 2}},
		"LDAP-13 unavailable":        {StartTLS: &authntest.Result{Code: 52}},
		"LDAP-13 referral":           {StartTLS: &authntest.Result{Code: 10, Referrals: []string{"ldap://evil.test"}}},
		"LDAP-13 garbage instead":    {NoHandshake: []byte("not TLS at all")},
		"LDAP-13 silent handshake":   {NoHandshake: []byte{}},
		"LDAP-13 answers before TLS": {Inject: success},
		"LDAP-13 notice before TLS":  {Notice: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.d.SetFaults(fault)
			s.unsure("alice", "right")
			noPlainBind(t, s.d)
			s.recovers()
			noPlainBind(t, s.d)
		})
	}
	for name, raw := range authntest.Malformed() {
		t.Run("LDAP-13 malformed, "+name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.d.SetFaults(authntest.DirectoryFaults{Raw: map[authntest.OperationKind]authntest.RawAnswer{authntest.OpStartTLS: raw}})
			s.unsure("alice", "right")
			noPlainBind(t, s.d)
		})
	}
	t.Run("well", func(t *testing.T) {
		s := start(t)
		s.in("alice", "right")
		noPlainBind(t, s.d)
	})
}

func noPlainBind(t *testing.T, d *authntest.Directory) {
	t.Helper()
	for _, o := range d.Log() {
		if !o.TLS && o.Kind != authntest.OpStartTLS {
			t.Errorf("sent in the clear: %s %s", o.Kind, o.DN)
		}
	}
}

// TestReferrals: none is followed unless the settings name its host, and then
// with what they say of every server.
func TestReferrals(t *testing.T) {
	there, url, err := authntest.StartDirectory(authntest.DirectoryOptions{BaseDN: scriptedBase, Entries: scriptedEntries()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	host := strings.TrimPrefix(url, "ldap://")
	for name, c := range map[string]struct {
		hosts []string
		in    bool
	}{
		"not asked for":     {nil, false},
		"asked for":         {[]string{host}, true},
		"another asked for": {[]string{"dc2.example.org"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, func(s *setup) { s.ldap.ReferralHosts, s.ldap.InsecurePlainLDAP = c.hosts, true })
			s.d.SetFaults(authntest.DirectoryFaults{
				Entries: func(authntest.Operation, []authntest.Entry) []authntest.Entry { return nil },
				Search:  &authntest.Result{Code: 10, Referrals: []string{"ldap://" + host + "/" + scriptedBase}},
			})
			before := len(there.Log())
			if !c.in {
				s.unsure("alice", "right")
				if n := len(there.Log()); n != before {
					t.Error("the other server was asked")
				}
				return
			}
			s.in("alice", "right")
		})
	}
	t.Run("references beside entries are left alone", func(t *testing.T) {
		s := newScripted(t)
		s.d.SetFaults(authntest.DirectoryFaults{References: []string{"ldap://evil.test/CN=Configuration"}})
		s.in("alice", "right")
	})
	t.Run("never with less encryption", func(t *testing.T) {
		s := newScripted(t, func(s *setup) { s.ldap.ReferralHosts = []string{"dc2.example.org"} })
		if _, _, ok := s.l.directory.refersTo("ldap://dc2.example.org/dc=x"); ok {
			t.Error("in the clear")
		}
		if to, base, ok := s.l.directory.refersTo("ldaps://DC2.example.org/dc=x"); !ok || to.Address != "dc2.example.org:636" || base != "dc=x" {
			t.Errorf("%+v %s %v", to, base, ok)
		}
		for _, ref := range []string{"http://dc2.example.org", "ldapi://%2Ftmp", "ldaps://dc2.example.org.evil.test", "ldaps://user@dc2.example.org", "x", ""} {
			if _, _, ok := s.l.directory.refersTo(ref); ok {
				t.Errorf("%q is followed", ref)
			}
		}
	})
}

// TestServiceRefused: a wrong bindDN is nobody's fault who signs in.
func TestServiceRefused(t *testing.T) {
	s := newScripted(t, func(s *setup) { s.ldap.BindPassword = "old" })
	err := s.unsure("alice", "right")
	var no refusedService
	if !errors.As(err, &no) || strings.Contains(err.Error(), "old") {
		t.Errorf("%v", err)
	}
}

// TestServiceIsNotLocked: any number of sign-ins, at once or not, try a wrong
// bindPassword no more often than a person's, and one that is right again is found.
func TestServiceIsNotLocked(t *testing.T) {
	s := newScripted(t, func(s *setup) { s.ldap.BindPassword = "old" })
	service, rest := s.l.directory.service, 5*time.Minute // of 15, for 4
	for range 2 {
		before := s.d.Count(authntest.OpBind)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { _ = s.unsure("alice", "right") })
		}
		all.Wait()
		err := s.unsure("alice", "right")
		if binds := s.d.Count(authntest.OpBind) - before; binds != 1 {
			t.Errorf("%d binds", binds)
		}
		if !errors.As(err, new(refusedService)) || !strings.Contains(err.Error(), "(not tried again for 5m0s") || !strings.Contains(err.Error(), "Invalid Credentials") {
			t.Error(err)
		}
		service.until = service.until.Add(-rest)
	}
	service.password = "svc-right"
	if _, err := s.prove("alice", "right"); err != nil {
		t.Error(err)
	}
}

// TestServiceIsLocked: what is not a wrong password is tried again at once.
func TestServiceIsLocked(t *testing.T) {
	s := newScripted(t)
	locked := &authntest.Result{Code: 49, Message: "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data 775, v4563"}
	s.d.AnswerBind("cn=svc,"+scriptedBase, locked, nil)
	if err := s.unsure("alice", "right"); !errors.As(err, new(refusedService)) || !strings.Contains(err.Error(), "data 775") {
		t.Error(err)
	}
	s.d.AnswerBind("cn=svc,"+scriptedBase, nil, nil)
	if _, err := s.prove("alice", "right"); err != nil {
		t.Error(err)
	}
}

// TestServiceFailover: all who wait while the first server hangs at the bind go on
// with the second.
func TestServiceFailover(t *testing.T) {
	second := newScripted(t)
	s := newScripted(t, func(s *setup) {
		s.ldap.Address, s.ldap.Timeout = append(s.ldap.Address, second.url), config.Duration(10*time.Second)
	})
	s.d.SetFaults(authntest.DirectoryFaults{SilentFrom: 1})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if who, err := s.prove([]string{"alice", "bob"}[i%2], "right"); err != nil || who.Subject == "" {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestServiceReferred: a referral is no way around.
func TestServiceReferred(t *testing.T) {
	second := newScripted(t)
	s := newScripted(t, func(s *setup) {
		s.ldap.ReferralHosts, s.ldap.InsecurePlainLDAP = []string{strings.TrimPrefix(second.url, "ldap://")}, true
	})
	second.d.AnswerBind("cn=svc,"+scriptedBase, &authntest.Result{Code: 49}, &authntest.Result{Code: 49})
	s.d.SetFaults(authntest.DirectoryFaults{References: []string{second.url + "/" + scriptedBase + "??sub"}})
	for i := range 10 {
		_ = s.unsure(fmt.Sprintf("nobody-%d", i), "wrong")
	}
	if n := second.d.Count(authntest.OpBind); n != 1 {
		t.Errorf("%d binds", n)
	}
}

// TestLateForAnAnswer: a password that waited until there is no time for an answer is
// not sent, so it counts for nothing.
func TestLateForAnAnswer(t *testing.T) {
	s := newScripted(t)
	binds := s.l.directory.binds
	for range cap(binds) {
		binds <- struct{}{}
	}
	time.AfterFunc(950*time.Millisecond, func() {
		for range cap(binds) {
			binds.giveBack()
		}
	})
	if err := s.unsure("alice", "right"); !errors.Is(err, errBusy) || s.d.Count(authntest.OpBind) != 1 {
		t.Errorf("%v, %d binds", err, s.d.Count(authntest.OpBind))
	}
	for range 3 {
		s.refused("alice", "wrong") // all that regulation allows are left
	}
}

// TestSpoken: LDAP-42 what a server says of a DN that was made of what somebody typed
// is nobody's to read.
func TestSpoken(t *testing.T) {
	s := newScripted(t, func(s *setup) { s.ldap.Users.DNTemplate = "uid={input},ou=people," + scriptedBase })
	for _, code := range []int{1, 34, 49, 80, 123} {
		answer := &authntest.Result{Code: code, Message: "no: uid=alice,ou=people"}
		s.d.AnswerBind("uid=alice,ou=people,"+scriptedBase, answer, answer)
		_, err := s.prove("alice", "right")
		if err == nil || strings.Contains(err.Error(), "alice") || !strings.Contains(err.Error(), fmt.Sprint("result code ", code)) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// TestTimingOfRefusals: LDAP-21, by construction: every refusal is held to the
// same steps, and unknown names to what known ones take.
func TestTimingOfRefusals(t *testing.T) {
	s := newScripted(t, func(s *setup) { s.step = 150 * time.Millisecond; s.ldap.Timeout = config.Duration(5 * time.Second) })
	took := func(login, password string) time.Duration {
		began := time.Now()
		s.refused(login, password)
		return time.Since(began)
	}
	for name, d := range map[string]time.Duration{
		"known name": took("alice", "wrong"), "unknown name": took("nobody", "wrong"), "empty password": took("alice", ""),
	} {
		if d < 150*time.Millisecond || d > 290*time.Millisecond {
			t.Errorf("%s took %s, want one step of 150 ms", name, d)
		}
	}
	s.d.SetFaults(authntest.DirectoryFaults{Before: func(o authntest.Operation) {
		if o.Kind == authntest.OpBind && strings.HasPrefix(o.DN, "uid=") {
			time.Sleep(200 * time.Millisecond) // a slow hash
		}
	}})
	for range 3 {
		s.refused("alice", "wrong")
		s.forget("alice")
	}
	if known, unknown := took("bob", "wrong"), took("nobody else", "wrong"); (known - unknown).Abs() > 100*time.Millisecond {
		t.Errorf("with a slow directory a known name takes %s, an unknown one %s", known, unknown)
	}
}

// TestTimingOfBans: LDAP-21 who comes while the guesses that end in a ban are looked at
// is told no sooner if there is nobody of that name.
func TestTimingOfBans(t *testing.T) {
	const step = 150 * time.Millisecond
	s := newScripted(t, func(s *setup) { s.step = step; s.ldap.Timeout = config.Duration(5 * time.Second) })
	s.d.SetFaults(authntest.DirectoryFaults{Before: func(o authntest.Operation) {
		if o.Kind == authntest.OpBind && strings.HasPrefix(o.DN, "uid=") {
			time.Sleep(step / 2)
		}
	}})
	for _, login := range []string{"alice", "nobody"} {
		var all sync.WaitGroup
		var bans atomic.Int32
		for range 4 {
			all.Go(func() {
				began := time.Now()
				_, err := s.prove(login, "wrong")
				if took := time.Since(began); !errors.Is(err, authn.ErrRejected) || took < step {
					t.Errorf("%s: %v after %s", login, err, took)
				}
				if errors.As(err, new(*authn.Throttled)) {
					bans.Add(1)
				}
			})
		}
		all.Wait()
		if bans.Load() != 1 {
			t.Errorf("%s: %d of 4 are told to wait", login, bans.Load())
		}
	}
}

// forget lifts the ban of a person, here and now.
func (s *scripted) forget(login string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
	defer cancel()
	a, err := s.l.account(ctx, credentials{login: login, log: s.l.Log})
	if err != nil {
		s.Fatal(err)
	}
	if err := s.store.Delete(ctx, s.l.regulation.personKey(a.key)); err != nil {
		s.Fatal(err)
	}
	s.later(believed + time.Second)
}

// TestNothingIsLeft: after refusals, breaks and time-outs nothing goes on.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("use", func(t *testing.T) {
		s := newScripted(t, func(s *setup) {
			s.ldap.Timeout = config.Duration(100 * time.Millisecond)
			s.regulation.MaxUserRetries, s.regulation.MaxRetries, s.regulation.MaxAddressRetries = 1000, 1000, 1000
		})
		for _, f := range []authntest.DirectoryFaults{{}, {Silent: true}, {SilentFrom: 1}, {Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpBind: {Then: authntest.EndReset}}}, {}} {
			s.d.SetFaults(f)
			for range 20 {
				_, _ = s.prove("alice", "right")
				_, _ = s.prove("alice", "wrong")
			}
		}
	})
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before+2 {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, were %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestSilentCut: LDAP-09, where a server keeps to a size limit and does not say so.
func TestSilentCut(t *testing.T) {
	s := newScripted(t)
	s.d.SetFaults(authntest.DirectoryFaults{Entries: func(o authntest.Operation, found []authntest.Entry) []authntest.Entry {
		found = append(found, authntest.Entry{DN: "uid=evil,ou=people," + scriptedBase, Attributes: map[string][]string{"uid": {"alice"}, "entryUUID": {"x"}}})
		return found[:min(len(found), max(o.SizeLimit, 1))]
	}})
	if got := s.refused("alice", "right"); got != wrong {
		t.Errorf("%q", got)
	}
}
