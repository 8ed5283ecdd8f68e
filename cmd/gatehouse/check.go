package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"gatehouse/authn"
	"gatehouse/authn/apikey"
	"gatehouse/authn/bearer"
	"gatehouse/authn/ldap"
	"gatehouse/authn/oidc"
	"gatehouse/config"
	"gatehouse/proxy"
	"gatehouse/proxy/exchange"
	"gatehouse/session"
)

// checkTimeout bounds the look at one dependency.
const checkTimeout = 15 * time.Second

func checkCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the settings and everything that they point at",
		Long: `Checks the settings, then what they point at: each OpenID provider's discovery
document, keys, clock and support for what is asked of it; each directory's
servers, how many people and groups it finds there and what their entries lack;
each issuer's keys, and whether it answers about tokens; whether the application
says whose its API keys are; the store and the applications, and whether those that
are to give access tokens do; the certificates of its own listener, and the CA that
gives them; where the audit trail is to be. Prints what was seen, and for each fault
what to do about it.

With --cases it looks at the settings alone and then, without any connection, at
what would become of each request of a file of cases; docs/policy.md has one.

With --running it also asks the gateway that runs on this machine, at
operations.address, and says what would change if it loaded these settings: now, or
with a restart. Whether secrets differ it can't tell.

Exit codes: 0 all is well, 1 something that the settings point at is at fault, or a
case is, 2 the settings or the file of cases are wrong.`,
		Example: `  gatehouse check --config gatehouse.yaml
  gatehouse check --config gatehouse.yaml --offline    # in CI: the settings alone
  gatehouse check --config gatehouse.yaml --cases cases.yaml    # and who may go where
  gatehouse check --config gatehouse.yaml --offline --running   # what a reload would change`,
		Args: noArgs,
	}
	file := settingsFlag(cmd)
	offline := cmd.Flags().Bool("offline", false, "check the settings alone; open no connection")
	cases := cmd.Flags().String("cases", "", "a file of requests and what is expected of them (YAML); opens no connection")
	running := cmd.Flags().Bool("running", false, "say what would change of the gateway that runs on this machine")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		var tried []authn.Finding
		if *cases != "" {
			if tried, err = tryCases(c, *file, *cases); err != nil {
				return err
			}
		}
		r := report{out: cmd.OutOrStdout()}
		r.section("settings", settingsFindings(c, *file))
		r.warn(c.Warnings())
		if *cases != "" {
			r.section("cases, from "+*cases, tried)
			return r.end()
		}
		if c.Listen.TLS.Enabled() {
			r.section(listenerSection, listenerFindings(c, time.Now()))
		}
		if *running {
			r.look(cmd.Context(), aLook{"the gateway that runs here", func(ctx context.Context) []authn.Finding { return compareRunning(ctx, c) }})
		}
		if !*offline {
			for _, s := range looks(c) {
				r.look(cmd.Context(), s)
			}
		}
		return r.end()
	}
	return cmd
}

// compareRunning asks the gateway that runs on this machine what a reload would change.
func compareRunning(ctx context.Context, c config.Config) []authn.Finding {
	_, port, err := net.SplitHostPort(c.Operations.Address)
	var masked []byte
	if err == nil {
		masked, err = settingsOf(ctx, "http://"+net.JoinHostPort("localhost", port)+settingsPath)
	}
	var changes []config.Change
	if err == nil {
		changes, err = config.ChangesFrom(masked, c)
	}
	if err != nil {
		return []authn.Finding{{What: "settings", Detail: err.Error(), Fix: "run it on the gateway's machine, with the operations.address that it was started with"}}
	}
	if len(changes) == 0 {
		return []authn.Finding{{OK: true, What: "reload", Detail: "would change nothing but, perhaps, secrets"}}
	}
	var out []authn.Finding
	for _, change := range changes {
		out = append(out, authn.Finding{OK: true, What: "reload", Detail: change.String()})
	}
	return out
}

const (
	// maxSettings bounds what a gateway tells of its settings, in bytes.
	maxSettings = 8 << 20
	// settingsTime bounds how long it may take.
	settingsTime = 10 * time.Second
)

func settingsOf(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: settingsTime}
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s is answered %s", url, res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxSettings))
}

func settingsFindings(c config.Config, file string) []authn.Finding {
	from := "from the environment"
	if file != "" {
		from = "from " + file
	}
	detail := fmt.Sprintf("sound, %s: %d upstream(s), %d route(s), %s store", from, len(c.Upstreams), len(c.Authn), storeName(c.Store))
	return []authn.Finding{{OK: true, What: "settings", Detail: detail}}
}

// aLook is one thing that the settings point at.
type aLook struct {
	title string
	look  func(context.Context) []authn.Finding
}

// looks lists everything that the settings point at.
func looks(c config.Config) []aLook {
	var out []aLook
	for i, r := range c.Authn {
		if r.OIDC != nil {
			back, front := oidc.LogoutPaths(c.Paths.Prefix, r.Name)
			here := oidc.Addresses{
				Redirect:    c.Origin().JoinPath(c.CallbackPath(i)).String(),
				SignedOut:   c.Origin().JoinPath(c.Paths.SignOut).String(),
				BackChannel: c.Origin().JoinPath(back).String(), FrontChannel: c.Origin().JoinPath(front).String(),
			}
			out = append(out, aLook{"route " + r.Name + " (OpenID provider " + r.OIDC.Issuer + ")", func(ctx context.Context) []authn.Finding {
				return oidc.Check(ctx, *r.OIDC, here)
			}})
		}
		if r.Bearer != nil {
			for _, issuer := range r.Bearer.Issuers {
				out = append(out, aLook{"route " + r.Name + " (issuer " + issuer.Issuer + ")", func(ctx context.Context) []authn.Finding {
					return bearer.Check(ctx, issuer, c.Teams)
				}})
			}
		}
		if r.APIKey != nil && r.APIKey.Application == "verify" {
			asked := upstreamToAsk(c, *r.APIKey)
			out = append(out, aLook{"route " + r.Name + " (keys of " + asked.Name + ")", func(ctx context.Context) []authn.Finding {
				return apikey.Check(ctx, *r.APIKey, asked, c.Origin())
			}})
		}
		if r.LDAP != nil {
			out = append(out, aLook{"route " + r.Name + " (directory " + strings.Join(r.LDAP.Address, ", ") + ")", func(ctx context.Context) []authn.Finding {
				return ldap.Check(ctx, *r.LDAP, c.Regulation)
			}})
		}
	}
	if a := c.Listen.TLS.ACME; a != nil {
		out = append(out, aLook{"certificates' CA (" + a.DirectoryURL + ")", func(ctx context.Context) []authn.Finding { return checkCA(ctx, *a) }})
	}
	if c.Audit.Output == "file" {
		out = append(out, aLook{"audit trail", func(context.Context) []authn.Finding { return checkTrail(c.Audit.File) }})
	}
	out = append(out, aLook{"store (" + storeName(c.Store) + ")", func(ctx context.Context) []authn.Finding { return checkStore(ctx, c) }})
	for _, u := range c.Upstreams {
		out = append(out, aLook{"upstream " + u.Name + " (" + u.URL + ")", func(ctx context.Context) []authn.Finding {
			findings := proxy.Check(ctx, u)
			if u.Exchanges() {
				findings = append(findings, exchange.Check(ctx, u, c.Origin())...)
			}
			return findings
		}})
	}
	return out
}

// checkStore writes, reads and deletes a value, as a session would.
func checkStore(ctx context.Context, c config.Config) []authn.Finding {
	if c.Store.Redis == nil {
		return []authn.Finding{{OK: true, What: "memory", Detail: "sessions end with this process and can't be shared by replicas; set store.redis for both"}}
	}
	fault := func(err error) []authn.Finding {
		return []authn.Finding{{What: "redis", Detail: err.Error(), Fix: redisFix(err.Error())}}
	}
	store, err := openStore(c.Store)
	if err != nil {
		return fault(err)
	}
	defer store.Close() //nolint:errcheck // nothing was kept
	if err := roundTrip(ctx, store); err != nil {
		return fault(err)
	}
	return []authn.Finding{{OK: true, What: "redis", Detail: "a value could be written, replaced, read and deleted"}}
}

// redisFix says what to do about what the server, or the way to it, said.
func redisFix(said string) string {
	for _, known := range []struct{ part, fix string }{
		{"sign in at the Sentinel", "the Sentinels want another password: see store.redis.sentinel.passwordFile and username"},
		{"NOAUTH", "the server wants a password: set store.redis.passwordFile"},
		{"WRONGPASS", "the password, or the user name with it, is wrong: see store.redis.username and passwordFile"},
		{"NOPERM", "the user lacks rights: it needs the commands and keys that docs/redis.md names"},
		{"know no master", "write into store.redis.sentinel.master the name that stands in the Sentinels' own settings: sentinel monitor NAME …"},
		{"all sentinels specified", "no Sentinel answers: check store.redis.sentinel.addresses"},
		{"cluster support disabled", "this is one server and no Cluster: set store.redis.url instead of cluster"},
		{"MOVED ", "this is a node of a Cluster: set store.redis.cluster instead of url"},
		{"another machine", "write rediss://, if the server speaks TLS"},
		{"certificate required", "the server wants a certificate: set store.redis.tls.certFile and keyFile"},
		{"remote error: tls", "the server does not take the certificate that it is shown: see store.redis.tls.certFile"},
		{"x509", "the server's certificate is not trusted: set store.redis.tls.caFile, or serverName if it has another name"},
		{"first record does not look like a TLS handshake", "the server does not speak TLS there: write redis:// or use its TLS port"},
		{"READONLY", "this is a replica: point store.redis.url at the primary, or set store.redis.sentinel"},
		{"unknown command", "this is a Sentinel, or no Redis: a Sentinel belongs into store.redis.sentinel.addresses"},
	} {
		if strings.Contains(said, known.part) {
			return known.fix
		}
	}
	return "check store.redis.url, or the addresses under sentinel or cluster, and that the server is up and can be reached from here"
}

func roundTrip(ctx context.Context, store session.Store) error {
	key := "check:" + rand.Text()
	value, next := []byte("1"), []byte("2")
	if err := store.Set(ctx, key, value, time.Minute); err != nil {
		return err
	}
	swapped, err := store.Swap(ctx, key, value, next, time.Minute)
	if err != nil {
		return err
	}
	got, _, err := store.Get(ctx, key)
	if err != nil {
		return err
	}
	if !swapped || string(got) != string(next) {
		return errors.New("a value that was written is not there any more: something else deletes it, or the server has no memory left for it")
	}
	return store.Delete(ctx, key)
}

// report prints findings, and counts the faults and the warnings.
type report struct {
	out              io.Writer
	faults, warnings int
}

func (r *report) look(ctx context.Context, l aLook) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r.section(l.title, l.look(ctx))
}

func (r *report) section(title string, findings []authn.Finding) {
	fmt.Fprintf(r.out, "%s\n", title)
	width := whatWidth
	for _, f := range findings {
		width = max(width, utf8.RuneCountInString(f.What))
	}
	for _, f := range findings {
		mark := "ok   "
		if !f.OK {
			mark = "FAULT"
			r.faults++
		}
		r.line(width, mark, f.What, f.Detail)
		if f.Fix != "" {
			r.line(width, "     ", "to do:", f.Fix)
		}
	}
}

// warn prints what is not wrong but deserves a look.
func (r *report) warn(warnings []string) {
	r.warnings += len(warnings)
	for _, w := range warnings {
		r.line(whatWidth, "WARN ", "settings", w)
	}
}

// whatWidth is the least room for what was looked at, in characters.
const whatWidth = 22

// line prints three columns. The further lines of a detail stay below its first.
func (r *report) line(width int, mark, what, detail string) {
	detail = strings.ReplaceAll(detail, "\n", "\n"+strings.Repeat(" ", len("  FAULT   ")+width))
	fmt.Fprintf(r.out, "  %s  %-*s %s\n", mark, width, what, detail)
}

func (r *report) end() error {
	switch {
	case r.faults > 0:
		fmt.Fprintf(r.out, "\n%d fault(s).\n", r.faults)
		return errReported
	case r.warnings > 0:
		fmt.Fprintf(r.out, "\nAll is well, with %d warning(s).\n", r.warnings)
	default:
		fmt.Fprintln(r.out, "\nAll is well.")
	}
	return nil
}
