package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn/apikey"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

func demoCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: gateway, OpenID provider, directory and application in one process",
		Long: `Starts four things on this machine's loopback: a gateway with the embedded
store, an OpenID provider and an LDAP directory that know the same three people,
and an application that shows what it received. There is a program too, which
proves itself by a JWT of the provider or by an API key of the gateway. Nothing
is written to disk and nothing leaves the machine. Ctrl-C ends it.`,
		Args: noArgs,
	}
	port := cmd.Flags().Int("port", 8080, "the gateway's port on localhost; 0 or a taken one means any free port")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "log what the gateway does")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *port < 0 || *port > 65535 {
			return usageError{fmt.Errorf("--port %d is not a port: use 0 to 65535", *port)}
		}
		logTo := io.Discard
		if *verbose {
			logTo = sh.err
		}
		d, err := newDemo(cmd.Context(), *port)
		if err != nil {
			return err
		}
		fmt.Fprint(cmd.OutOrStdout(), d.welcome())
		return d.run(cmd.Context(), newLogger(config.Log{Format: "text"}, logTo))
	}
	return cmd
}

// demo is the listeners and what is behind them.
type demo struct {
	gateway, provider, app net.Listener
	directory              *authntest.Directory
	directoryURL           string
	people                 []authntest.Person
	key                    string // of the service account
}

// What the demo's directory is like, and everybody's password in it; and the
// program that has an account, with its secret at the provider.
const (
	demoBase     = "dc=example,dc=com"
	demoPassword = "demo"
	demoProgram  = "nightly-train"
	demoSecret   = "demo-secret"
)

func newDemo(ctx context.Context, port int) (*demo, error) {
	gateway, err := listenLoopback(ctx, port)
	if err != nil {
		return nil, err
	}
	provider, err := listenLoopback(ctx, 0)
	if err != nil {
		return nil, errors.Join(err, gateway.Close())
	}
	app, err := listenLoopback(ctx, 0)
	if err != nil {
		return nil, errors.Join(err, gateway.Close(), provider.Close())
	}
	d := &demo{gateway: gateway, provider: provider, app: app, people: demoPeople(), key: apikey.Generate()}
	d.directory, d.directoryURL, err = authntest.StartDirectory(authntest.DirectoryOptions{
		BaseDN: demoBase, AnonymousRead: true, Entries: authntest.DirectoryOf(d.people, demoBase, demoPassword),
	})
	if err != nil {
		return nil, errors.Join(err, gateway.Close(), provider.Close(), app.Close())
	}
	return d, nil
}

// listenLoopback takes the port, or any free one if it is taken.
func listenLoopback(ctx context.Context, port int) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil && port != 0 {
		return lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	return ln, err
}

// publicURL says localhost and issuer says 127.0.0.1, so that to a browser they
// are two sites, as a company's gateway and its provider are.
func (d *demo) publicURL() string { return fmt.Sprintf("http://localhost:%d", portOf(d.gateway)) }
func (d *demo) issuer() string    { return fmt.Sprintf("http://127.0.0.1:%d", portOf(d.provider)) }

func portOf(ln net.Listener) int {
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// settings is the demo's whole configuration, as a person would write it.
func (d *demo) settings() string {
	return fmt.Sprintf(`publicURL: %s
upstreams:
  - name: demo-app
    url: http://%s
    public: [/health]
sharedEmails: true
authn:
  - name: demo
    label: Demo provider
    oidc:
      issuer: %s
      clientID: gatehouse-demo
      scopes: [openid, profile, email, groups, offline_access]
      allowedGroups: [admins, research]
  - name: directory
    label: Demo directory
    ldap:
      address: ["%s"]
      baseDN: %s
      subjectPrefix: "dir:"
      groups: {from: memberOf, baseDN: "ou=groups,%[5]s"}
      allowedGroups: [admins, research]
  - name: tokens
    bearer:
      issuers:
        - issuer: %[3]s
          audiences: [%[1]s]
          allowedGroups: [admins, research]
  - name: keys
    apiKey:
      application: refuse
teams:
  - name: research
    groups: [{group: admins, role: admin}, {group: research}]
    members: [ada, ben]
serviceAccounts:
  - name: %[6]s
    team: research
    subject: %[6]s
    keyHashes: ["%[7]s"]
pages:
  name: Gatehouse demo
  contact: help@example.com
`, d.publicURL(), d.app.Addr(), d.issuer(), d.directoryURL, demoBase, demoProgram, apikey.Hash(d.key))
}

func (d *demo) run(ctx context.Context, log *slog.Logger) error {
	c, err := config.Decode("demo", []byte(d.settings()), nil)
	if err != nil {
		return fmt.Errorf("the demo's own settings: %w", err)
	}
	g, err := build(c, log, onlyMetrics())
	if err != nil {
		return err
	}
	g.news.Start()
	issuer := authntest.NewIssuer(authntest.IssuerOptions{
		URL:    d.issuer(),
		People: d.people, HintSignsIn: true,
		Clients: []authntest.Client{{
			ID:             "gatehouse-demo",
			RedirectURIs:   []string{d.publicURL() + c.Paths.Callback},
			PostLogoutURIs: []string{d.publicURL() + c.Paths.SignOut},
		}, {
			ID: demoProgram, Secret: demoSecret, Audience: d.publicURL(),
		}},
	})
	err = runServers(ctx, func() {}, func() time.Duration { return time.Second }, log,
		server{publicServer(c.Listen, g.handler, log), d.gateway},
		server{demoServer(issuer), d.provider},
		server{demoServer(newDemoApp(verifyBy(d.publicURL(), "demo-app"))), d.app})
	return errors.Join(err, g.close(), d.directory.Close())
}

func demoServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
}

// welcome tells what runs where and what to try.
func (d *demo) welcome() string {
	var b strings.Builder
	fmt.Fprintf(&b, `
  Open   %s

  The gateway is there. Behind it is an application that shows what it received
  (%s), beside it an OpenID provider (%s)
  and an LDAP directory (%s).

  People                              (password in the directory: %s)
`, d.publicURL(), "http://"+d.app.Addr().String(), d.issuer(), d.directoryURL, demoPassword)
	for _, p := range d.people {
		fmt.Fprintf(&b, "    %-6s %-26s groups: %s\n", p.Username, p.Email, strings.Join(p.Groups, ", "))
	}
	fmt.Fprintf(&b, `
  Only admins and research are let in.

  Things to paste
    # a program without a credential gets 401 and JSON, never a redirect
    curl -i %[1]s/whoami

    # a browser is sent to sign in
    curl -i -H 'Accept: text/html' %[1]s/whoami

    # a program with a directory's password, for this one request
    curl -s -u ada:%[2]s %[1]s/whoami

    # a program with a JWT of the provider, as the service account %[3]s
    JWT=$(curl -s -u %[3]s:%[4]s -d grant_type=client_credentials %[5]s/token | sed 's/.*"access_token": *"\([^"]*\).*/\1/')
    curl -s -H "Authorization: Bearer $JWT" %[1]s/whoami

    # the same JWT for an access token, as the W&B SDK does it
    curl -s %[1]s/oidc/token -d grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer -d assertion="$JWT"

    # the account's API key, as the W&B SDK sends WANDB_API_KEY
    curl -s -u api:%[6]s %[1]s/whoami

    # sign in as ada from the shell, then see the identity that the app receives,
    # though the request tries to forge one
    curl -sL -c jar -b jar -o /dev/null '%[1]s/.gatehouse/sign-in?provider=demo&login_hint=ada'
    curl -s -b jar -H 'X-Forwarded-User: root' -H 'X_Forwarded_Groups: admins' %[1]s/whoami

    # a public path needs no sign-in and carries no identity
    curl -i %[1]s/health

  Ctrl-C ends the demo.

`, d.publicURL(), demoPassword, demoProgram, demoSecret, d.issuer(), d.key)
	return b.String()
}
