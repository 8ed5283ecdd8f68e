package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/config"
)

// attributed is what an upstream got of the two headers.
func attributed(s seen) string {
	return strings.Join(s.Header[attributedName], "|") + " " + strings.Join(s.Header[attributedEmail], "|")
}

// newTeamRig has two service accounts, ci of the team core and stray of none.
func newTeamRig(t *testing.T, mode string) *rig {
	g := newKeyRig(t, func(o *Options) {
		o.Headers.Attribution = mode
		o.Accounts = authn.NewAccounts(nil, map[string][]string{
			"core": {"bob", "Carol@Example.com", "dave", "dave@example.com"}, "data": {"erin"}, "": {"nobody"},
		})
	})
	stray := robot("stray")
	stray.Account = authn.Account{}
	upper := person("upper")
	upper.Username, upper.Email = "Up-\u00dc", "Up@Example.com"
	odd := person("odd")
	odd.Kind, odd.Email = "", ""
	none := person("none")
	none.Username, none.Email = "", ""
	g.people["ci"], g.people["stray"], g.people["upper"], g.people["odd"], g.people["none"] = robot("ci"), stray, upper, odd, none
	return g
}

func TestAttribution(t *testing.T) {
	g := newTeamRig(t, "")
	for _, row := range []struct{ id, who, name, email, want string }{
		{"a person, by name", "alice", "alice", "alice@example.com", "alice alice@example.com"},
		{"a person, by subject", "alice", "sub-alice", "", "sub-alice "},
		{"a person, other case", "alice", "ALICE", "Alice@EXAMPLE.com", "ALICE Alice@EXAMPLE.com"},
		{"a person, whose name has capitals", "upper", "up-\u00dc", "up@example.COM", "up-\u00dc up@example.COM"},
		{"letters that are not ASCII have no case", "upper", "up-\u00fc", "", " "},
		{"no other script's k", "upper", "up-\u00dc\u212a", "", " "},
		{"HDR-26 somebody else", "alice", "bob", "bob@example.com", " "},
		{"each for itself", "alice", "bob", "alice@example.com", " alice@example.com"},
		{"each for itself, the other way", "alice", "alice", "bob@example.com", "alice "},
		{"an address is no name", "alice", "alice@example.com", "alice", " "},
		{"empty", "alice", "", "", " "},
		{"empty, from nobody of a name", "none", "", "", " "},
		{"spaces", "alice", "alice bob", "alice@example.com,bob@example.com", " "},
		{"a person is in no team", "bob", "dave", "dave@example.com", " "},
		{"a service account, in its team", "ci", "bob", "dave@example.com", "bob dave@example.com"},
		{"a service account, other case", "ci", "BOB", "carol@example.com", "BOB carol@example.com"},
		{"a service account, another team of its own", "ci", "erin", "", " "},
		{"a service account, no member", "ci", "alice", "alice@example.com", " "},
		{"a service account names itself", "ci", "ci", "ci@example.com", " "},
		{"a service without account", "stray", "bob", "stray@example.com", " "},
		{"a service without account, and a team without a name", "stray", "nobody", "nobody", " "},
		{"of no known kind", "odd", "odd", "", " "},
	} {
		g.sub(row.id, func(t *testing.T, g *rig) {
			lines := "X-WANDB-USERNAME: " + row.name + "\r\nx-wandb-user-email: " + row.email + "\r\n"
			want(t, "status", g.get("/x", "Authorization: Bearer "+row.who+"\r\n"+lines).StatusCode, 200)
			want(t, "subject", g.last().Header.Get("X-Gatehouse-Subject"), g.people[row.who].Subject)
			want(t, "attribution", attributed(g.last()), row.want)
			g.forget()
			g.get("/public/x", "Authorization: Bearer "+row.who+"\r\n"+lines)
			want(t, "public", attributed(g.last()), " ")
		})
	}
	g.sub("HDR-07 several values", func(t *testing.T, g *rig) {
		for _, lines := range []string{
			"X-Wandb-Username: alice\r\nX-WANDB-USERNAME: alice\r\n", "X-Wandb-Username: alice\r\nX-Wandb-Username: bob\r\n", "X-Wandb-Username:\r\nX-Wandb-Username: alice\r\n",
		} {
			g.forget()
			g.get("/x", aliceOnly+lines)
			want(t, "attribution", attributed(g.last()), " ")
		}
	})
	g.sub("dropping is logged, empty ones are not", func(t *testing.T, g *rig) {
		a := g.get("/x", aliceOnly+"X-Wandb-Username: mallory\r\nX-Wandb-User-Email:\r\n")
		g.lineOf(a)
		var logged []string
		for text := range strings.Lines(g.log.String()) {
			if strings.Contains(text, "attribution dropped") && strings.Contains(text, a.Header.Get("X-Request-Id")) {
				logged = append(logged, text)
			}
		}
		if len(logged) != 1 || !strings.Contains(logged[0], `"header":"X-Wandb-Username"`) || strings.Contains(logged[0], "mallory") {
			t.Errorf("logged %q", logged)
		}
	})
}

// TestAttributionModes: who may name whom under each setting.
func TestAttributionModes(t *testing.T) {
	const lines = "X-Wandb-Username: dave\r\nX-Wandb-User-Email: bob@example.com\r\nX-Wandb-User-Email:\r\n"
	const all = "dave bob@example.com|"
	credentials := map[string]string{
		"a person": aliceOnly, "a service account": "Authorization: Bearer ci\r\n", "a service": "Authorization: Bearer stray\r\n",
		"a key that goes on": "Wandb-Api-Key: " + aliceKey + "\r\n", "the application's key": "Wandb-Api-Key: " + appKey + "\r\n",
		"a credential beside": "X-Gatehouse-Authorization: Bearer " + ours + "\r\nAuthorization: " + basic("other") + "\r\n",
	}
	for _, row := range []struct {
		mode, person, account, application, public string
	}{
		{"", " ", "dave ", all, " "},
		{"members", " ", "dave ", all, " "},
		{"keep", all, all, all, all},
		{"strip", " ", " ", " ", " "},
	} {
		g := newTeamRig(t, row.mode)
		for who, credential := range credentials {
			g.sub(fmt.Sprintf("%q %s", row.mode, who), func(t *testing.T, g *rig) {
				expect := row.person
				switch who {
				case "a service account":
					expect = row.account
				case "the application's key":
					expect = row.application
				}
				want(t, "status", g.get("/graphql", credential+lines).StatusCode, 200)
				want(t, "attribution", attributed(g.last()), expect)
				g.forget()
				want(t, "status", g.get("/public/x", credential+lines).StatusCode, 200)
				want(t, "public", attributed(g.last()), row.public)
			})
		}
		for _, name := range []string{"X_Wandb_Username", "X-WANDB_USERNAME", "x.wandb.username", "X_WANDB_USER_EMAIL", "X-Wandb-User.Email"} {
			g.sub(fmt.Sprintf("HDR-04 %q %s", row.mode, name), func(t *testing.T, g *rig) {
				for _, path := range []string{"/x", "/public/x"} {
					g.forget()
					g.get(path, aliceOnly+name+": alice\r\n")
					for got := range g.last().Header {
						if strings.HasPrefix(fold(got), "x-wandb-") {
							t.Errorf("%s: the upstream got %s", path, got)
						}
					}
				}
			})
		}
	}
}

// TestAttributionElsewhere: the other ways to the application.
func TestAttributionElsewhere(t *testing.T) {
	g := newTeamRig(t, "members")
	g.sub("HTTP/2", func(t *testing.T, g *rig) {
		c := g.h2()
		c.headers(1, true, with(pseudo(), "cookie", aliceCookie, "x-wandb-username", "bob", "x-wandb-user-email", "alice@example.com")...)
		want(t, "outcome", c.outcome(1), "200")
		want(t, "attribution", attributed(g.last()), " alice@example.com")
	})
	g.sub("WS-01 a WebSocket", func(t *testing.T, g *rig) {
		g.up.then = func(http.ResponseWriter, *http.Request) {}
		defer func() { g.up.then = nil }()
		g.get("/live", handshake+"Authorization: Bearer ci\r\nX-Wandb-Username: bob\r\nX-Wandb-User-Email: mallory@example.com\r\n")
		want(t, "attribution", attributed(g.last()), "bob ")
	})
	g.sub("HDR-08 Connection does not make it another", func(t *testing.T, g *rig) {
		g.get("/x", aliceOnly+"X-Wandb-Username: bob\r\nConnection: X-Wandb-User-Email\r\n")
		want(t, "attribution", attributed(g.last()), " ")
	})
	t.Run("a header of the contract is nobody's to send", func(t *testing.T) {
		for _, mode := range []string{"members", "keep", "strip"} {
			g := newRig(t, func(o *Options) {
				o.Headers = config.Headers{Attribution: mode, Identity: []config.Header{{Name: attributedName, From: "username"}}}
			})
			g.get("/x", aliceOnly+"X-Wandb-Username: bob\r\nX_Wandb_Username: bob\r\n")
			want(t, mode, attributed(g.last()), "alice ")
			g.forget()
			g.get("/public/x", aliceOnly+"X-Wandb-Username: alice\r\n")
			want(t, mode+", public", attributed(g.last()), " ")
		}
	})
}
