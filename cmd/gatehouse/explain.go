package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/authn"
	"gatehouse/config"
	"gatehouse/proxy"
)

func explainCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [METHOD] URL",
		Short: "Say what would become of a request, and why",
		Long: `Says what would become of a request, by the code that decides about requests and
without sending it: the upstream and the rule of the policy that it falls under, who
it comes from, the teams and by what, the decision, and every header that the
application would get. Secrets are not shown, nor is the query of the URL.

Who it comes from is said by flags, from --subject to --account; nobody if there are
none. What they leave open: the subject is the user name, the e-mail address or
"somebody"; the route is the first that people sign in by, or programs come by
(--kind service), or the one that vouches for the --issuer.

Or by a credential, in --header or --token-file. Its place and shape tell which route
would take it and who would be asked. Nobody is, and so flags may say who it stands
for. With --verify it is really looked at, as the gateway would do it: that may ask
issuers, the directory, the store and the application, and counts as an attempt.

Exit codes: 0 it could be explained, whatever the answer is, 2 the settings or the
flags are wrong.`,
		Example: `  gatehouse explain -c gatehouse.yaml https://wandb.example.com/ --browser
  gatehouse explain -c gatehouse.yaml POST /graphql --username jo --group ml-research
  gatehouse explain -c gatehouse.yaml /graphql --token-file - --verify <token`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError{fmt.Errorf("explain takes a URL, and a method before it unless that is GET, but got %d arguments", len(args))}
			}
			return nil
		},
	}
	file := settingsFlag(cmd)
	f := newExplainFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := f.question(cmd, args)
		if err != nil {
			return usageError{err}
		}
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		e, err := explainOnce(cmd.Context(), c, *file, q)
		if err != nil {
			return err
		}
		if f.json {
			return e.writeJSON(cmd.OutOrStdout())
		}
		return e.write(cmd.OutOrStdout())
	}
	return cmd
}

// question is a request and who is to have sent it.
type question struct {
	method, url string
	headers     [][2]string
	browser     bool
	who         config.Somebody
	verify      bool
}

// explainFlags are the flags of gatehouse explain.
type explainFlags struct {
	headers, claims []string
	tokenFile       string
	who             config.Somebody
	browser, verify bool
	json            bool
}

func newExplainFlags(cmd *cobra.Command) *explainFlags {
	f := &explainFlags{}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "a header of the request, 'Name: value'; may be repeated")
	flags.StringVar(&f.tokenFile, "token-file", "", "a file with a token or an API key to send as Authorization: Bearer; - for standard input")
	flags.BoolVar(&f.browser, "browser", false, "a browser goes to a page, so that sign-in is possible")
	flags.BoolVar(&f.verify, "verify", false, "look at the credential as the gateway would; may open connections")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	flags.BoolVar(&f.who.Anonymous, "anonymous", false, "nobody, as if nothing is said")
	flags.StringVar(&f.who.Subject, "subject", "", "who it is, for ever, with the subjectPrefix of the route")
	flags.StringVar(&f.who.Username, "username", "", "the name that people type")
	flags.StringVar(&f.who.Name, "name", "", "a name for people to read")
	flags.StringVar(&f.who.Email, "email", "", "the e-mail address")
	flags.StringArrayVar(&f.who.Groups, "group", nil, "a group, as the route spells it; may be repeated")
	flags.StringArrayVar(&f.who.Teams, "team", nil, "a team that the token itself names (claims.teams); may be repeated")
	flags.StringVar(&f.who.Route, "route", "", "the route that they came by")
	flags.StringVar(&f.who.Issuer, "issuer", "", "who vouches for them; says the route too")
	flags.StringVar(&f.who.Kind, "kind", "", "person or service; without it, what the issuer makes")
	flags.StringArrayVar(&f.claims, "claim", nil, "a claim that the policy asks for, name=value; may be repeated")
	flags.StringVar(&f.who.Account, "account", "", "a service account of the settings")
	return f
}

// question reads the flags. Its errors quote no header and no token.
func (f *explainFlags) question(cmd *cobra.Command, args []string) (question, error) {
	if name := emptyFlag(cmd.Flags()); name != "" {
		return question{}, fmt.Errorf("--%s is empty: say something, or leave it out", name)
	}
	q := question{method: http.MethodGet, url: args[len(args)-1], browser: f.browser, who: f.who, verify: f.verify}
	if len(args) == 2 {
		q.method = args[0]
	}
	for i, text := range f.headers {
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return q, fmt.Errorf("--header, number %d: there is no colon; write 'Name: value'", i+1)
		}
		q.headers = append(q.headers, [2]string{name, strings.Trim(value, " \t")})
	}
	for _, text := range f.claims {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return q, fmt.Errorf("--claim: %q is not name=value", text)
		}
		if q.who.Claims == nil {
			q.who.Claims = map[string][]string{}
		}
		q.who.Claims[name] = append(q.who.Claims[name], value)
	}
	switch k := q.who.Kind; {
	case k != "" && k != string(authn.Person) && k != string(authn.Service):
		return q, fmt.Errorf("--kind: %q is neither person nor service", k)
	case q.who.Anonymous && !q.who.Nobody():
		return q, errors.New("--anonymous stands beside what somebody is: keep one of the two")
	case q.verify && !q.who.Nobody():
		return q, errors.New("--verify finds out who it is: leave out what says so, from --subject to --account")
	}
	if f.tokenFile != "" {
		token, err := readToken(f.tokenFile, cmd.InOrStdin())
		if err != nil {
			return q, fmt.Errorf("--token-file: %w", err)
		}
		q.headers = append(q.headers, [2]string{"Authorization", "Bearer " + token})
	}
	return q, nil
}

// emptyFlag is the name of a flag that is there and says nothing, as with a variable
// that a script has not set: what it was to say must not count as left open.
func emptyFlag(flags *pflag.FlagSet) string {
	name := ""
	flags.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		if f.Name != "config" && slices.Contains(values, "") {
			name = f.Name
		}
	})
	return name
}

// readToken reads a token from a file, or from standard input for "-".
func readToken(file string, in io.Reader) (string, error) {
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // naming it is the operator's right
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	const most = 64 << 10
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	token := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", err
	case token == "":
		return "", errors.New("it is empty")
	case len(b) > most, strings.ContainsAny(token, " \t\r\n"):
		return "", errors.New("it holds more than one token; write it alone, without Bearer before it")
	}
	return token, nil
}

// explained is what gatehouse explain tells.
type explained struct {
	proxy.Explanation
	method, url string
	claim       *claim // nil if nobody looked for a credential, or there is none
	verified    bool
}

// explainOnce makes a gateway of the settings, asks it, and ends it.
func explainOnce(ctx context.Context, c config.Config, file string, q question) (explained, error) {
	g, err := quiet(c, file)
	if err != nil {
		return explained{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	e, err := g.explain(ctx, c, q)
	if err != nil {
		err = usageError{err}
	}
	return e, errors.Join(err, g.close())
}

// quiet is a gateway that nobody is served by. It writes no log.
func quiet(c config.Config, file string) (*gateway, error) {
	g, err := build(c, slog.New(slog.DiscardHandler), onlyMetrics())
	if err != nil {
		return nil, config.Faults{{Source: file, Problem: err.Error()}}
	}
	return g, nil
}

// explain says what would become of a request. Its errors are faults of the
// question.
func (g *gateway) explain(ctx context.Context, c config.Config, q question) (explained, error) {
	r, err := newRequest(c, q)
	if err != nil {
		return explained{}, err
	}
	e := explained{method: r.Method, url: shownURL(r), verified: q.verify}
	s := &standIn{g: g, c: c, who: q.who, verify: q.verify}
	if !q.who.Nobody() { // so that a fault in it is told wherever the request goes
		if _, err := g.identity(c, q.who, ""); err != nil {
			return e, err
		}
	}
	e.Explanation = g.handler.Explain(r.WithContext(ctx), s)
	e.claim = s.claim
	if errors.Is(e.Cause, errUnverified) {
		e.Decision, e.Status, e.Sentence, e.Cause = unverified, 0, "", nil
	}
	return e, s.fault
}
