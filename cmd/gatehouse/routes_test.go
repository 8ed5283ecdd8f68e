package main

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
)

const twoProviders = `
publicURL: https://example.com
upstreams:
  - url: $UPSTREAM
authn:
  - name: corp
    oidc:
      issuer: $ISSUER
      clientID: gatehouse
      scopes: [openid, profile, email, groups]
      allowedEmailDomains: [example.com]
      allowedGroups: [admins, research]
  - name: lab
    oidc:
      issuer: $LAB
      clientID: gatehouse
      scopes: [openid, profile, email, groups]
      subjectPrefix: "lab:"
      allowedEmailDomains: [lab.test]
      allowedGroups: [members]
`

// TestTwoProviders: the second provider can name nobody of the first.
func TestTwoProviders(t *testing.T) {
	lab, stop, err := authntest.Start(authntest.IssuerOptions{
		HintSignsIn: true,
		People: []authntest.Person{
			{Subject: "1001", Username: "twin", Name: "Same Subject", Email: "twin@lab.test", EmailVerified: true, Groups: []string{"members", "admins"}},
			{Subject: "2", Username: "thief", Name: "Same Address", Email: "ada@example.com", EmailVerified: true, Groups: []string{"members"}},
			{Subject: "3", Username: "climber", Name: "Same Group", Email: "climber@lab.test", EmailVerified: true, Groups: []string{"admins", "research"}},
		},
		Clients: []authntest.Client{{ID: "gatehouse", RedirectURIs: []string{"https://example.com/oidc/callback/lab"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	w := newWorld(t, strings.ReplaceAll(twoProviders, "$LAB", lab.URL()))
	at := func(route, username string) (*http.Client, answer) {
		b := w.browser()
		return b, w.get(b, "/.gatehouse/sign-in?rd=/x&provider="+route+"&login_hint="+username, navigation)
	}

	t.Run("a page to choose", func(t *testing.T) {
		page := w.get(w.browser(), "/deep", navigation)
		for _, part := range []string{"/.gatehouse/sign-in/corp?rd=%2Fdeep", "/.gatehouse/sign-in/lab?rd=%2Fdeep"} {
			if !strings.Contains(page.body, part) {
				t.Errorf("the page does not offer %s:\n%s", part, page.body)
			}
		}
	})
	t.Run("IDT-08 one subject at two issuers is two people", func(t *testing.T) {
		ada, _ := at("corp", "ada")
		twin, _ := at("lab", "twin")
		for client, want := range map[*http.Client]string{ada: "1001", twin: "lab:1001"} {
			w.get(client, "/x", nil)
			if got := w.app.last(t).Header.Get("X-Forwarded-User"); got != want {
				t.Errorf("X-Forwarded-User is %q, want %q", got, want)
			}
		}
	})
	for name, who := range map[string]string{
		"IDT-09 an address that another provider vouches for": "thief",
		"IDT-20 a group of another provider's":                "climber",
	} {
		t.Run(name, func(t *testing.T) {
			before := w.app.count()
			client, got := at("lab", who)
			if got.status != http.StatusForbidden || w.app.count() != before {
				t.Errorf("%d at %s, want 403\n%s", got.status, got.url, got.body)
			}
			if got := w.get(client, "/x", nil); got.status != http.StatusUnauthorized {
				t.Errorf("afterwards there is a session: %d", got.status)
			}
		})
	}
	t.Run("IDT-22 a name that somebody else has now inherits nothing", func(t *testing.T) {
		former, _ := at("lab", "twin")
		lab.SetPerson(authntest.Person{Subject: "4", Username: "twin", Email: "twin@lab.test", EmailVerified: true, Groups: []string{"members"}})
		lab.RemovePerson("1001")
		heir, _ := at("lab", "twin")
		w.get(heir, "/x", nil)
		if got := w.app.last(t).Header.Get("X-Forwarded-User"); got != "lab:4" {
			t.Errorf("the heir is %q", got)
		}
		w.get(former, "/x", nil)
		if got := w.app.last(t).Header.Get("X-Forwarded-User"); got != "lab:1001" {
			t.Errorf("the former one is %q", got)
		}
	})
}
