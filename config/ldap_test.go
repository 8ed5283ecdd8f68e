package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// directoryOf decodes an environment with a directory and no file.
func directoryOf(t *testing.T, env ...string) *LDAP {
	t.Helper()
	c, err := Load("", append([]string{"GATEHOUSE_PUBLIC_URL=https://wandb.example.com", "GATEHOUSE_UPSTREAM=http://wandb:8080"}, env...))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Authn) != 1 || c.Authn[0].LDAP == nil || c.Authn[0].Name != "ldap" {
		t.Fatalf("routes: %+v", c.Authn)
	}
	return c.Authn[0].LDAP
}

func TestDirectoryDefaults(t *testing.T) {
	d := func(d time.Duration) Duration { return Duration(d) }
	want := &LDAP{
		Address: []string{"ldaps://ldap.example.com:636"}, Preset: "openLDAP", BaseDN: "dc=example,dc=org",
		Users: LDAPUsers{Scope: "sub"}, Groups: LDAPGroups{As: "name", Scope: "sub"},
		Accept: []string{"form", "basic"}, RefreshInterval: d(5 * time.Minute),
		BasicCache: LDAPBasicCache{Lifetime: d(time.Minute), RejectedLifetime: d(10 * time.Second)},
		Pool:       LDAPPool{Size: 8, IdleTimeout: d(5 * time.Minute)}, ConnectTimeout: d(3 * time.Second), Timeout: d(8 * time.Second), PageSize: 500,
	}
	got := directoryOf(t, "LOCAL_LDAP_ADDRESS=ldaps://ldap.example.com:636", "LOCAL_LDAP_BASE_DN=dc=example,dc=org")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDirectoryEnvironment: the names that a W&B server's operator has, older
// and newer, make a route by themselves.
func TestDirectoryEnvironment(t *testing.T) {
	all := []string{
		"ADDRESS=ldap://a.example.com, ldap://b.example.com:389", "BASE_DN=dc=example,dc=org", "BIND_DN=cn=admin , dc=example,dc=org", "BIND_PW=hunter2",
		"ATTRIBUTES=email=mail,group=gidNumber,name=displayName,username=uid,id=entryUUID,groupName=cn", "TLS_ENABLE=True",
		"GROUP_ALLOW_LIST=", "LOGIN=False", "USER_BASE_DN=ou=people,dc=example,dc=org", "GROUP_BASE_DN=ou=groups,dc=example,dc=org",
		"USER_OBJECT_CLASS=inetOrgPerson", "GROUP_OBJECT_CLASS=groupOfNames",
	}
	for _, prefix := range []string{"LOCAL_LDAP_", "LDAP_"} {
		var env []string
		for _, v := range all {
			env = append(env, prefix+v)
		}
		l := directoryOf(t, env...)
		got := fmt.Sprintln(l.Address, l.BaseDN, l.BindDN, l.BindPassword.Reveal(), l.StartTLS, l.TestOnly, l.Users.BaseDN, l.Groups.BaseDN, l.Users.ObjectClass,
			l.Groups.ObjectClass, l.Attributes, l.Groups.From, l.Groups.As, l.AllowedGroups)
		want := "[ldap://a.example.com ldap://b.example.com:389] dc=example,dc=org cn=admin , dc=example,dc=org hunter2 true true ou=people,dc=example,dc=org ou=groups,dc=example,dc=org inetOrgPerson groupOfNames " +
			"{entryUUID uid mail displayName  cn} gidNumber gidNumber []"
		if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
			t.Errorf("%s:\n%s, want\n%s", prefix, got, want)
		}
	}
}

func TestDirectoryAllowList(t *testing.T) {
	for text, want := range map[string]string{
		"ml, research":                      "name [ml research]",
		"ml;research, emea":                 "name [ml research, emea]",
		"1001,1002":                         "gidNumber [1001 1002]",
		"cn=ml,ou=groups,dc=example,dc=org": "dn [cn=ml,ou=groups,dc=example,dc=org]",
		"cn=ml,ou=groups,dc=example,dc=org; CN=b\\, c,ou=groups,DC=example,dc=org;": "dn [cn=ml,ou=groups,dc=example,dc=org CN=b\\, c,ou=groups,DC=example,dc=org]",
		"cn=ml,cn=groups,cn=accounts,dc=example,dc=org":                             "dn [cn=ml,cn=groups,cn=accounts,dc=example,dc=org]",
	} {
		l := directoryOf(t, "LOCAL_LDAP_ADDRESS=ldaps://ldap.example.com", "LOCAL_LDAP_BASE_DN=dc=example,dc=org", "LOCAL_LDAP_GROUP_ALLOW_LIST="+text)
		if got := fmt.Sprint(l.Groups.As, " ", l.AllowedGroups); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	// What the groups are called in a list goes before what the attribute holds.
	l := directoryOf(t, "LDAP_ADDRESS=ldaps://ldap.example.com", "LDAP_BASE_DN=dc=example,dc=org", "LDAP_GROUP_ALLOW_LIST=ml", "LDAP_ATTRIBUTES=group=gidNumber")
	if l.Groups.From != "gidNumber" || l.Groups.As != "name" {
		t.Errorf("%+v", l.Groups)
	}
	l = directoryOf(t, "LDAP_ADDRESS=ldaps://ldap.example.com", "LDAP_BASE_DN=dc=example,dc=org", "LDAP_ATTRIBUTES=group=isMemberOf")
	if l.Groups.From != "memberOf" || l.Attributes.MemberOf != "isMemberOf" || l.Groups.As != "name" {
		t.Errorf("%+v %+v", l.Groups, l.Attributes)
	}
}

// TestDirectoryIsNotMade: what charts set whether or not there is a directory makes none.
func TestDirectoryIsNotMade(t *testing.T) {
	c := decode(t, "", minimal("LOCAL_LDAP_LOGIN=true", "LOCAL_LDAP_TLS_ENABLE=false", "LOCAL_LDAP_ADDRESS=", "LDAP_LOGIN=false")...)
	if len(c.Authn) != 1 || c.Authn[0].LDAP != nil {
		t.Errorf("%+v", c.Authn)
	}
}

// TestDirectoryForeignNames: what other programs and Kubernetes call LDAP_… says nothing here.
func TestDirectoryForeignNames(t *testing.T) {
	foreign := []string{
		"LDAP_ORGANISATION=Example", "LDAP_DOMAIN=example.org", "LDAP_ADMIN_PASSWORD=x", "LDAPTLS_CACERT=/etc/ssl/ca.pem", "LDAP_PORT=tcp://10.0.0.1:389",
		"LDAP_SERVICE_HOST=10.0.0.1", "LOCAL_LDAP_SERVICE_PORT=389", "LOCAL_LDAP_PORT_389_TCP_ADDR=10.0.0.1", "LOCAL_LDAP_TYPO=",
	}
	directoryOf(t, append(foreign, "LDAP_ADDRESS=ldaps://ldap.example.com", "LDAP_BASE_DN=dc=example,dc=org")...)
	c := decode(t, "", minimal(append(foreign, "LDAP_GROUP_ALLOWLIST=ml")...)...)
	if len(c.Authn) != 1 || c.Authn[0].LDAP != nil {
		t.Errorf("%+v", c.Authn)
	}
}

// TestDirectoryPasswordLine: the one line break that files leave at the end of a
// password is not part of it; all else is.
func TestDirectoryPasswordLine(t *testing.T) {
	for text, want := range map[string]string{"hunter2\n": "hunter2", "hunter2\r\n": "hunter2", ` "hunter2' `: ` "hunter2' `, `"hunter2'`: `"hunter2'`, `"`: `"`} {
		l := directoryOf(t, "LDAP_ADDRESS=ldaps://ldap.example.com", "LDAP_BASE_DN=dc=example,dc=org", "LDAP_BIND_DN=cn=x", "LDAP_BIND_PW="+text)
		if got := l.BindPassword.Reveal(); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestDirectoryTLS: TLS_ENABLE begins TLS where the address does not, and
// weakens nothing where it does.
func TestDirectoryTLS(t *testing.T) {
	for env, want := range map[string]bool{
		"LOCAL_LDAP_ADDRESS=ldap://a.example.com LOCAL_LDAP_TLS_ENABLE=true":   true,
		"LOCAL_LDAP_ADDRESS=ldaps://a.example.com LOCAL_LDAP_TLS_ENABLE=TRUE":  false,
		"LOCAL_LDAP_ADDRESS=ldaps://a.example.com LOCAL_LDAP_TLS_ENABLE=false": false,
		"LOCAL_LDAP_ADDRESS=ldap://127.0.0.1 LOCAL_LDAP_TLS_ENABLE=false":      false,
	} {
		if l := directoryOf(t, append(strings.Fields(env), "LOCAL_LDAP_BASE_DN=dc=example,dc=org")...); l.StartTLS != want {
			t.Errorf("%s: startTLS %v", env, l.StartTLS)
		}
	}
}

func TestParseServer(t *testing.T) {
	for text, want := range map[string]Server{
		"ldaps://ldap.example.com":       {"tcp", "ldap.example.com:636", "ldap.example.com", true},
		"ldaps://ldap.example.com:3269/": {"tcp", "ldap.example.com:3269", "ldap.example.com", true},
		"ldap://[::1]":                   {"tcp", "[::1]:389", "::1", false},
		"ldap://10.0.0.1:3890":           {"tcp", "10.0.0.1:3890", "10.0.0.1", false},
		"ldapi://%2Fvar%2Frun%2Fldapi":   {"unix", "/var/run/ldapi", "", false},
		"ldapi://%2Fvar%2Frun%2Fldapi/":  {"unix", "/var/run/ldapi", "", false},
	} {
		if got, problem := ParseServer(text); got != want || problem != "" {
			t.Errorf("%s: %+v %s", text, got, problem)
		}
	}
	if got := (LDAP{Address: []string{"ldaps://a", "http://b"}}).Servers(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestDirectoryWarnings(t *testing.T) {
	c := Config{Authn: []Route{
		{LDAP: &LDAP{InsecurePlainLDAP: true}}, {LDAP: &LDAP{TestOnly: true}}, {LDAP: &LDAP{AllowedGroups: []string{"ml"}}},
	}}
	want := []string{
		"authn[0].ldap: lets in everybody whom the directory knows; see allowedGroups (LOCAL_LDAP_GROUP_ALLOW_LIST) and allowedEmailDomains",
		"authn[0].ldap.insecurePlainLDAP: anyone on the network can read passwords",
		"authn[1].ldap.testOnly: nobody can sign in by this route (LOCAL_LDAP_LOGIN=false with the environment alone)",
	}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Error(diff)
	}
}

func TestDirectorySecretsNeverPrint(t *testing.T) {
	l := directoryOf(t, "LDAP_ADDRESS=ldaps://ldap.example.com", "LDAP_BASE_DN=dc=example,dc=org", "LDAP_BIND_DN=cn=x", "LDAP_BIND_PW=hunter2")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if s := fmt.Sprintf(verb+verb, l, *l); strings.Contains(s, "hunter") || strings.Contains(s, fmt.Sprintf("%x", "hunter")) {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}
