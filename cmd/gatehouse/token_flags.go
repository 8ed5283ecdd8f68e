package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/authn/workload"
)

// tokenPrefix begins the environment names of the flags of gatehouse token.
const tokenPrefix = "GATEHOUSE_TOKEN_"

// tokenFlags are what the commands of gatehouse token have in common.
type tokenFlags struct {
	sh    shell
	cmd   *cobra.Command
	flags *pflag.FlagSet

	out, logFormat, caFile string
	once                   bool
	every, poll            time.Duration
	rules                  workload.Rules
	secret                 *workload.Secret // filled in from the environment
}

func newTokenFlags(sh shell, cmd *cobra.Command) *tokenFlags {
	f := &tokenFlags{sh: sh, cmd: cmd, flags: cmd.Flags()}
	f.flags.StringVarP(&f.out, "out", "o", "", "the `file` to keep the token in; without it, the one that WANDB_IDENTITY_TOKEN_FILE names")
	f.flags.BoolVar(&f.once, "once", false, "write one token and end")
	f.flags.DurationVar(&f.every, "refresh-every", 0, "the longest `time` between two tokens; without it, by the token's own life, or 15m if it does not say when it ends")
	f.flags.BoolVar(&f.rules.AllowOpaque, "allow-opaque", false, "take a token that is no JWT")
	f.flags.StringVar(&f.logFormat, "log-format", "json", "the log's `format`, on standard error: json or text")
	return f
}

// issuer adds the flags that say where to ask.
func (f *tokenFlags) issuer(i *workload.Issuer) {
	f.flags.StringVar(&i.URL, "issuer", "", "the issuer's `URL`, exactly as it spells it itself; its endpoints are found by discovery")
	f.flags.StringVar(&i.TokenURL, "token-url", "", "the `URL` of the token endpoint; without it, what the issuer's discovery says")
	f.flags.StringVar(&f.caFile, "ca-file", "", "a `file` of certificates to trust the issuer by, in PEM, instead of the system's")
}

// party adds the flags that say who asks.
func (f *tokenFlags) party(p *workload.Party) {
	f.secret = &p.Secret
	f.flags.StringVar(&p.ID, "client-id", "", "the client `id` that the issuer gave")
	f.flags.StringVar(&p.SecretFile, "client-secret-file", "", "the `file` that holds the client secret; or have it in "+tokenPrefix+"CLIENT_SECRET")
	f.flags.StringVar(&p.KeyFile, "client-key-file", "", "the `file` that holds the private key to prove the client with, in PEM: RSA, P-256 or Ed25519, and its certificate if the issuer wants that named")
	f.flags.StringVar(&p.KeyID, "client-key-id", "", "the key `id` that the issuer knows the key by")
	f.flags.StringVar((*string)(&p.Auth), "client-auth", "", "the `way` in which the client proves itself: basic, post, private-key-jwt or none; without it, by what it has and the issuer takes")
	f.flags.StringVar(&p.Audience, "assertion-audience", "", "the `URL` that private-key-jwt is meant for; without it, the issuer, and the token endpoint if no issuer is named")
}

// request adds the flags that say what to ask for.
func (f *tokenFlags) request(q *workload.Request) {
	f.flags.StringVar(&q.Scope, "scope", q.Scope, "the `scopes` to ask for, space-separated")
	f.flags.StringVar(&q.Audience, "audience", "", "the `audience` that the token is to be for, as Auth0 has it")
	f.flags.StringArrayVar(&q.Resources, "resource", nil, "a `URI` that the token is to be for, by RFC 8707; may be repeated (in the environment, space-separated)")
	f.flags.StringVar((*string)(&q.Take), "take", string(workload.AccessToken), "which `token` of the answer: access_token or id_token")
}

func (f *tokenFlags) file() workload.File { return workload.File(f.out) }

// isNotOut fails with fault if name is the place of --out, however it is spelled:
// also by a link, or if there is no file yet.
func (f *tokenFlags) isNotOut(name, fault string) error {
	a, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	b, err := filepath.Abs(f.out)
	if err != nil {
		return err
	}
	beside := filepath.Base(a) == filepath.Base(b) && sameFile(filepath.Dir(a), filepath.Dir(b))
	if a == b || beside || sameFile(a, b) {
		return errors.New(fault)
	}
	return nil
}

// sameFile is false if one of them is not there.
func sameFile(a, b string) bool {
	is, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(is, other)
}

func (f *tokenFlags) httpClient() (*http.Client, error) {
	c, err := workload.NewClient(f.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	return c, nil
}

func (f *tokenFlags) log() *slog.Logger {
	c, err := logSettings(f.logFormat)
	if err != nil {
		return slog.New(slog.DiscardHandler) // which run refuses before anything is logged
	}
	return newLogger(c, f.sh.err)
}

// run makes the command whole. source is called when all flags are known; what
// it says is wrong is so with the command line.
func (f *tokenFlags) run(source func() (workload.Source, error)) *cobra.Command {
	f.flags.VisitAll(func(flag *pflag.Flag) { flag.Usage += " ($" + tokenEnv(flag.Name) + ")" })
	f.cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.fromEnv(); err != nil {
			return usageError{err}
		}
		s, err := source()
		if err != nil {
			return usageError{err}
		}
		k := &workload.Keeper{Source: s, File: f.file(), Every: f.every, Poll: f.poll, Log: f.log()}
		if f.once {
			err = k.Once(cmd.Context())
		} else {
			err = k.Run(cmd.Context())
		}
		if c, ok := s.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		return err
	}
	return f.cmd
}

// tokenEnv is the environment name of a flag.
func tokenEnv(flag string) string {
	return tokenPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnv fills in what the command line does not say, and checks the rest.
func (f *tokenFlags) fromEnv() error {
	env := map[string]string{}
	for _, line := range f.sh.env {
		if name, value, ok := strings.Cut(line, "="); ok && value != "" {
			env[name] = value
		}
	}
	var faults []error
	f.flags.VisitAll(func(flag *pflag.Flag) {
		value, set := env[tokenEnv(flag.Name)]
		if !set || flag.Changed {
			return
		}
		values := []string{value}
		if flag.Value.Type() == "stringArray" {
			values = strings.Fields(value)
		}
		for _, v := range values {
			if err := flag.Value.Set(v); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", tokenEnv(flag.Name), err))
			}
		}
	})
	if f.secret != nil {
		*f.secret = workload.Secret(env[tokenPrefix+"CLIENT_SECRET"])
	}
	if f.out == "" {
		f.out = env["WANDB_IDENTITY_TOKEN_FILE"]
	}
	if f.out == "" {
		faults = append(faults, errors.New("--out must name the file to keep the token in, or WANDB_IDENTITY_TOKEN_FILE"))
	}
	if f.every != 0 && f.every < 5*time.Second {
		faults = append(faults, errors.New("--refresh-every must be at least 5s"))
	}
	_, err := logSettings(f.logFormat)
	return errors.Join(append(faults, err)...)
}
