package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// TestTryDirectory: what is wrong with a directory is in the log from the start,
// and nothing else, unless it is only being tested.
func TestTryDirectory(t *testing.T) {
	const base, service = "dc=example,dc=org", "cn=svc,dc=example,dc=org"
	people := authntest.DirectoryOf([]authntest.Person{{Subject: "1", Username: "alice", Name: "Alice", Email: "alice@example.org"}}, base, "right")
	d, url, err := authntest.StartDirectory(authntest.DirectoryOptions{BaseDN: base, Entries: append(people, authntest.Entry{DN: service, Password: "svc-right"})})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx       context.Context
		change    func(*config.LDAP)
		has, lack []string
	}{
		"well":           {t.Context(), func(*config.LDAP) {}, []string{`msg="directory tested" faults=0`}, []string{"fault=", "seen="}},
		"only a test":    {t.Context(), func(c *config.LDAP) { c.TestOnly = true }, []string{"what=bind seen=", "what=people seen=", "faults=0"}, []string{"fault="}},
		"wrong password": {t.Context(), func(c *config.LDAP) { c.BindPassword = "old" }, []string{"level=WARN", "what=bind fault=", "fix=", "faults=1"}, []string{"old"}},
		"it ends":        {ended, func(c *config.LDAP) { c.BindPassword = "old" }, nil, []string{"directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := config.LDAP{
				Address: []string{url}, Preset: "openLDAP", BaseDN: base, BindDN: service, BindPassword: "svc-right",
				Groups: config.LDAPGroups{From: "none", As: "name"}, PageSize: 100,
				ConnectTimeout: config.Duration(5 * time.Second), Timeout: config.Duration(5 * time.Second),
			}
			c.change(&l)
			var out bytes.Buffer
			tryDirectory(c.ctx, l, config.Regulation{MaxUserRetries: 4}, slog.New(slog.NewTextHandler(&out, nil)))
			for _, want := range c.has {
				if !strings.Contains(out.String(), want) {
					t.Errorf("lacks %q:\n%s", want, &out)
				}
			}
			for _, not := range c.lack {
				if strings.Contains(out.String(), not) {
					t.Errorf("has %q:\n%s", not, &out)
				}
			}
		})
	}
}
