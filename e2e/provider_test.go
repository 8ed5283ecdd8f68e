package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// person is somebody whom a provider knows.
type person struct {
	Login  string   `json:"preferred_username"`
	Name   string   `json:"name"`
	Email  string   `json:"email"`
	Groups []string `json:"groups"`
}

// client is what a provider knows a gateway by.
type client struct{ id, secret string }

// clientPaths is where clients let a provider send browsers back to.
type clientPaths struct{ redirect, signedOut string }

// provider is a foreign OpenID provider that runs for one test.
type provider interface {
	issuer() string
	client() client
	someone() person
	// signIn fills in the form that the tab shows.
	signIn(b *tab, login string)
	// signOut says yes if the provider asks whether to sign out.
	signOut(b *tab)
	// grants says how often the token endpoint gave tokens for a grant type.
	grants(grantType string) int
	stop()
	// restart starts it again on the same port.
	restart()
}

// nodeProvider is the npm package oidc-provider.
type nodeProvider struct {
	*process
	t      *testing.T
	port   int
	as     client
	env    []string
	people string
}

// nodeSecret is the secret of the client "confidential".
const nodeSecret = "a secret of the end-to-end tests"

// nodeOptions is how a nodeProvider differs from the usual.
type nodeOptions struct {
	paths clientPaths
	// as is the client that the gateway uses: "public", "confidential" or "implicit".
	as string
	// accessTokenLife is an hour if zero.
	accessTokenLife time.Duration
	// logoutURI is where it tells that somebody has signed out; empty for nowhere.
	logoutURI string
	// pushed takes authorization requests from the clients themselves alone (RFC 9126).
	pushed bool
	// keepKey makes a restart sign with the same key as before.
	keepKey bool
}

func startNodeProvider(t *testing.T, o nodeOptions) *nodeProvider {
	t.Helper()
	n := &nodeProvider{t: t, port: freePort(t), as: client{id: o.as}, people: filepath.Join(t.TempDir(), "people.json")}
	if o.as == "confidential" {
		n.as.secret = nodeSecret
	}
	n.write(
		person{"alice", "Alice Example", "alice@example.com", []string{"admins", "data science"}},
		person{"bob", "Bob Example", "bob@example.com", []string{"interns"}},
	)
	n.env = append(os.Environ(), "NODE_NO_WARNINGS=1", "PEOPLE_FILE="+n.people, "ISSUER="+n.issuer(),
		"REDIRECT_URIS="+o.paths.redirect, "POST_LOGOUT_URIS="+o.paths.signedOut)
	if o.accessTokenLife > 0 {
		n.env = append(n.env, "ACCESS_TOKEN_LIFE="+o.accessTokenLife.String())
	}
	if o.logoutURI != "" {
		n.env = append(n.env, "LOGOUT_URI="+o.logoutURI)
	}
	if o.pushed {
		n.env = append(n.env, "REQUIRE_PUSHED=1")
	}
	if o.keepKey {
		n.env = append(n.env, "KEY_FILE="+n.keyFile())
	}
	n.restart()
	return n
}

// keyFile is where the signing key is, if it is kept.
func (n *nodeProvider) keyFile() string { return filepath.Join(filepath.Dir(n.people), "key.pem") }

func (n *nodeProvider) restart() {
	n.t.Helper()
	cmd := exec.Command("node", "provider.mjs")
	cmd.Dir, cmd.Env = "oidc-provider", n.env
	n.process = start(n.t, cmd, func(p *process) bool { return strings.Contains(p.out.String(), "ready\n") })
}

// write says who there is and what is true of them from now on.
func (n *nodeProvider) write(people ...person) {
	n.t.Helper()
	type claims struct {
		person
		EmailVerified bool `json:"email_verified"`
	}
	all := map[string]claims{}
	for _, p := range people {
		all[p.Login] = claims{p, true}
	}
	b, err := json.Marshal(all)
	if err == nil {
		err = os.WriteFile(n.people, b, 0o600)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *nodeProvider) issuer() string { return "http://" + loopback(n.port) }
func (n *nodeProvider) client() client { return n.as }
func (n *nodeProvider) someone() person {
	return person{"alice", "Alice Example", "alice@example.com", []string{"admins", "data science"}}
}

func (n *nodeProvider) signIn(b *tab, login string) {
	b.t.Helper()
	b.await(n.issuer() + "/interaction/")
	b.fill("input[name=login]", login)
	b.press("button")
}

func (n *nodeProvider) signOut(b *tab) {
	b.t.Helper()
	b.await(n.issuer() + "/session/end")
	b.press("button[name=logout][value=yes]")
}

func (n *nodeProvider) grants(grantType string) int { return n.out.count("token " + grantType + "\n") }
