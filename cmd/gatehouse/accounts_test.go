package main

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/config"
)

const accountsConfig = `
publicURL: https://wandb.example.com
upstreams: [{name: app, url: "http://app:8080"}, {name: traces, url: "http://traces:8080", paths: [/traces]}]
teams:
- {name: research, members: [ada, ben@example.com]}
- {name: ops}
- {name: vision}
serviceAccounts:
- {name: ci, team: ops, subject: "repo:acme/app"}
- {name: org, scope: organization, team: vision, role: admin, subject: "repo:acme/org"}
- {name: some, scope: organization, team: ops, teams: [research, ops], role: viewer, keyHashes: ["sha256:HASH"]}
authn:
- name: robots
  bearer:
    issuers:
    - {issuer: "https://idp.example.com", preset: wandb}
- name: keys
  apiKey: {application: refuse}
`

// TestAccountsOfSettings: what the registry makes of the settings.
func TestAccountsOfSettings(t *testing.T) {
	sum := sha256.Sum256([]byte("a key"))
	text := strings.Replace(accountsConfig, "HASH", hex.EncodeToString(sum[:]), 1)
	c, err := config.Decode("gatehouse.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := accounts(c)
	for name, want := range map[string]authn.Account{
		"ci":   {Name: "ci", Team: "ops", Teams: []string{"ops"}, Role: "member"},
		"org":  {Name: "org", Team: "vision", Teams: []string{"vision", "research", "ops"}, Role: "admin"},
		"some": {Name: "some", Team: "ops", Teams: []string{"ops", "research"}, Role: "viewer"},
	} {
		if got, ok := a.Named(name); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	if got, ok := a.External("https://idp.example.com", "repo:acme/app"); !ok || got.Name != "ci" {
		t.Errorf("the only issuer is meant: %+v, %v", got, ok)
	}
	if got, ok := a.External("", "repo:acme/app"); ok {
		t.Errorf("an account of no issuer: %+v", got)
	}
	if got, ok := a.External("https://idp.example.com", ""); ok {
		t.Errorf("an account of no subject: %+v", got)
	}
	if got, ok := a.Holder(sum); !ok || got.Name != "some" {
		t.Errorf("by its key: %+v, %v", got, ok)
	}
	if !a.Member("research", "ADA") || !a.Member("research", "ben@example.com") || a.Member("ops", "ada") {
		t.Error("members")
	}
}

// TestAccountIssuer: whose JWTs an account has.
func TestAccountIssuer(t *testing.T) {
	issuers := func(names ...string) config.Config {
		b := &config.Bearer{}
		for _, n := range names {
			b.Issuers = append(b.Issuers, config.Issuer{Issuer: n})
		}
		return config.Config{Authn: []config.Route{{Name: "web"}, {Name: "robots", Bearer: b}}}
	}
	for name, c := range map[string]struct {
		settings config.Config
		account  config.ServiceAccount
		want     string
	}{
		"the only one":      {issuers("https://a"), config.ServiceAccount{Subject: "s"}, "https://a"},
		"its own":           {issuers("https://a", "https://b"), config.ServiceAccount{Subject: "s", Issuer: "https://b"}, "https://b"},
		"one of several":    {issuers("https://a", "https://b"), config.ServiceAccount{Subject: "s"}, ""},
		"none without JWTs": {issuers("https://a"), config.ServiceAccount{}, ""},
		"no bearer route":   {config.Config{}, config.ServiceAccount{Subject: "s"}, ""},
	} {
		if got := accountIssuer(c.settings, c.account); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestUpstreamToAsk(t *testing.T) {
	c := config.Config{Upstreams: []config.Upstream{
		{Name: "files", Paths: []string{"/files"}, Public: []string{"/files/"}}, {Name: "app", Paths: []string{"/"}, Public: []string{"/health"}}, {Name: "traces", Paths: []string{"/traces"}},
	}}
	for name, k := range map[string]struct {
		key     config.APIKey
		knowing []string
		asked   string
	}{
		"refused":         {config.APIKey{Application: "refuse"}, nil, "files"},
		"nothing is said": {config.APIKey{Application: "verify"}, []string{"app", "traces"}, "app"},
		"one":             {config.APIKey{Application: "pass", Upstreams: []string{"traces"}}, []string{"traces"}, "traces"},
		"both":            {config.APIKey{Application: "verify", Upstreams: []string{"traces", "app"}}, []string{"traces", "app"}, "traces"},
	} {
		if got := upstreamToAsk(c, k.key).Name; got != k.asked || !slices.Equal(c.KeyUpstreams(k.key), k.knowing) {
			t.Errorf("%s: %s is asked, %v know", name, got, c.KeyUpstreams(k.key))
		}
	}
}
