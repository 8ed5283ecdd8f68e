package authn_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
)

func with(values ...string) *http.Request {
	return &http.Request{Header: http.Header{"Authorization": values}}
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestBasicOf(t *testing.T) {
	none, rejected := authn.ErrNoCredential, authn.ErrRejected
	for name, c := range map[string]struct {
		header []string
		want   authn.Basic
		err    error
	}{
		"nothing":                         {nil, authn.Basic{}, none},
		"another scheme":                  {[]string{"Bearer x"}, authn.Basic{}, none},
		"two of other schemes":            {[]string{"Bearer x", "Digest y"}, authn.Basic{}, none},
		"plain":                           {[]string{"Basic " + encoded("alice:pw")}, authn.Basic{Username: "alice", Password: "pw"}, nil},
		"LDAP-28 scheme in lower case":    {[]string{"basic " + encoded("alice:pw")}, authn.Basic{Username: "alice", Password: "pw"}, nil},
		"spaces around it":                {[]string{"  Basic   " + encoded("alice:pw") + " "}, authn.Basic{Username: "alice", Password: "pw"}, nil},
		"LDAP-28 colon in the password":   {[]string{"Basic " + encoded("alice:a:b:")}, authn.Basic{Username: "alice", Password: "a:b:"}, nil},
		"LDAP-28 UTF-8":                   {[]string{"Basic " + encoded("josé:pä$$ wörd")}, authn.Basic{Username: "josé", Password: "pä$$ wörd"}, nil},
		"no name":                         {[]string{"Basic " + encoded(":pw")}, authn.Basic{Password: "pw"}, nil},
		"no password":                     {[]string{"Basic " + encoded("alice:")}, authn.Basic{Username: "alice"}, nil},
		"neither (Og==)":                  {[]string{"Basic Og=="}, authn.Basic{}, none},
		"HDR-35 empty":                    {[]string{"Basic"}, authn.Basic{}, none},
		"HDR-35 empty with space":         {[]string{"Basic "}, authn.Basic{}, none},
		"LDAP-28 two headers":             {[]string{"Basic " + encoded("alice:pw"), "Basic " + encoded("bob:pw")}, authn.Basic{}, rejected},
		"HDR-35 with another scheme":      {[]string{"Bearer x", "Basic " + encoded("alice:pw")}, authn.Basic{}, rejected},
		"HDR-35 two in one line":          {[]string{"Basic " + encoded("alice:pw") + ", Bearer x"}, authn.Basic{}, rejected},
		"HDR-35 empty one beside another": {[]string{"Basic", "Bearer x"}, authn.Basic{}, rejected},
		"LDAP-28 not base64":              {[]string{"Basic alice:pw"}, authn.Basic{}, rejected},
		"LDAP-28 URL-safe base64":         {[]string{"Basic " + base64.URLEncoding.EncodeToString([]byte("a:\xc3\xbf\xc3\xbf\xc3\xbe"))}, authn.Basic{}, rejected},
		"LDAP-28 no padding":              {[]string{"Basic " + strings.TrimRight(encoded("alice:p"), "=")}, authn.Basic{}, rejected},
		"LDAP-28 bytes after it":          {[]string{"Basic " + encoded("alice:pw") + "AAAA===="}, authn.Basic{}, rejected},
		"LDAP-28 stray bits":              {[]string{"Basic YTp="}, authn.Basic{}, rejected},
		"LDAP-28 no colon":                {[]string{"Basic " + encoded("alice")}, authn.Basic{}, rejected},
		"LDAP-28 Latin-1":                 {[]string{"Basic " + encoded("jos\xe9:pw")}, authn.Basic{}, rejected},
		"LDAP-28 control character":       {[]string{"Basic " + encoded("alice:p\x07w")}, authn.Basic{}, rejected},
		"LDAP-02 NUL":                     {[]string{"Basic " + encoded("alice:\x00")}, authn.Basic{}, rejected},
		"line break":                      {[]string{"Basic " + encoded("alice:p\nw")}, authn.Basic{}, rejected},
		"LDAP-28 64 KB":                   {[]string{"Basic " + encoded("alice:"+strings.Repeat("x", 64<<10))}, authn.Basic{}, rejected},
		"another word before it":          {[]string{"xBasic " + encoded("alice:pw")}, authn.Basic{}, none},
		"tab instead of a space":          {[]string{"Basic\t" + encoded("alice:pw")}, authn.Basic{Username: "alice", Password: "pw"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := authn.BasicOf(with(c.header...))
			if got != c.want || !errors.Is(err, c.err) || err != nil && errors.Is(err, none) == errors.Is(err, rejected) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

// TestBasicKey: what W&B clients send in a password's place is not a person's
// password, and what people choose is.
func TestBasicKey(t *testing.T) {
	hex, jwt := strings.Repeat("0a1b", 10), "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
	keys := []authn.Basic{
		{"api", hex}, {"user", hex}, {"", hex}, {"alice", hex}, {"api", "local-" + hex}, {"alice", "local-" + hex},
		{"api", "wandb_v1_" + strings.Repeat("aB3_", 19)}, {"alice", "wandb_v1_" + strings.Repeat("aB3_", 19)},
		{"api", strings.Repeat("Zz9_", 10)}, {"user", "prefix-" + strings.Repeat("Zz9_", 10)}, {"api", jwt}, {"alice", jwt}, {"", jwt}, {"alice", "wb_at_x1Y2"},
		{"alice", strings.ToUpper(hex)}, {"alice", "on-prem-" + hex}, {"alice", "k8s2-" + hex}, {"alice", "local-wandb_v1_" + strings.Repeat("aB3_", 19)},
		{"alice", "gatehouse-" + strings.Repeat("Zz9y", 10)}, {"api", "gatehouse-" + strings.Repeat("Zz9y", 10)},
		// what is not whole, and what is for others here
		{"alice", "gatehouse-" + strings.Repeat("Zz9y", 9)}, {"alice", "Gatehouse-" + strings.Repeat("Zz9y", 10)}, {"alice", "local-gatehouse-" + strings.Repeat("Zz9y", 10) + "."}, {"gatehouse-" + strings.Repeat("Zz9y", 10), ""}, {"alice", "gh_at_x"}, {"alice", jwt + ".x.y"},
	}
	for _, b := range keys {
		if !b.Key() {
			t.Errorf("%s:%s is not taken for a key", b.Username, b.Password)
		}
	}
	passwords := []authn.Basic{
		{"alice", "hunter2"}, {"api", "hunter2"}, {"user", "short-one"}, {"alice", "correct-horse-battery-staple-and-more-words-of-it"},
		{"alice", strings.Repeat("Zz9_", 10)}, {"alice", "a.b.c"}, {"alice", hex + "!"}, {"alice", "local-" + hex + " "},
		{"alice", "gatehouse-is-where-I-work"}, {"alice", "my-gatehouse-has-a-gh_at_door"},
		{"api", "with spaces in it and longer than forty letters"}, {"alice", ""}, {"alice", hex[:39]},
	}
	for _, b := range passwords {
		if b.Key() {
			t.Errorf("%s:%s is taken for a key", b.Username, b.Password)
		}
	}
}

// FuzzBasicOf: what is read says what was sent, and nothing else is read.
func FuzzBasicOf(f *testing.F) {
	for _, s := range []string{"Basic Og==", "Basic " + encoded("alice:pw"), "Basic " + encoded("a:b:c"), "basic  x", "Bearer x", "Basic YTp="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		b, err := authn.BasicOf(with(header))
		if err != nil {
			if b != (authn.Basic{}) || errors.Is(err, authn.ErrNoCredential) == errors.Is(err, authn.ErrRejected) {
				t.Errorf("%q: %+v %v", header, b, err)
			}
			return
		}
		if !strings.HasSuffix(strings.TrimRight(header, " \t"), encoded(b.Username+":"+b.Password)) || strings.Contains(b.Username, ":") {
			t.Errorf("%q was read as %+v", header, b)
		}
		if !authn.Text(b.Username) || !authn.Text(b.Password) || b.Username == "" && b.Password == "" {
			t.Errorf("%q was let through as %+v", header, b)
		}
	})
}
