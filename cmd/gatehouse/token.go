package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn/workload"
	"gatehouse/config"
)

func tokenCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Fetch a program's token and keep it fresh in a file",
		Long: `Fetches the JWT by which a program proves who it is, and keeps it fresh in the
file that the W&B SDK reads (WANDB_IDENTITY_TOKEN_FILE). Each command below is
one way to come by the token:

  client    as a client of an issuer, with a secret or a key
  device    with the help of a person, who signs in somewhere else
  copy      from a file that somebody else keeps, as Kubernetes does
  command   from what a program prints

Without --once it runs until it is told to stop (SIGTERM or Ctrl-C), as a sidecar
or a service. The file is there exactly as long as it holds a token that has not
ended, as far as the token or the issuer said when it does, so a program may wait
for it to appear. It is replaced in one piece, with mode 0600 and no line end; its
owner stays, but one of another user is refused where others may write to the
directory.

There is a new token at two thirds of the old one's life, and a minute before its
end at the latest. If none is to be had, the old one stays as long as it is
good, and the log says why. With --once any failure is exit code 1.

Each flag has an environment name, which the flag beats: --client-id is also
GATEHOUSE_TOKEN_CLIENT_ID. Secrets come by a file or the environment, never by a
flag, which other users of the machine could see.`,
		Example: workloadExamples,
		Args:    noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(clientTokenCommand(sh), deviceTokenCommand(sh), copyTokenCommand(sh), commandTokenCommand(sh))
	return cmd
}

const workloadExamples = `  # A service account at Okta:
  gatehouse token client --issuer https://example.okta.com/oauth2/default \
    --client-id 0oa1example --client-secret-file /run/secrets/okta \
    --scope wandb --out /run/wandb/token

  # A Kubernetes sidecar, in a container that shares the volume with the program:
  gatehouse token copy --from /var/run/secrets/wandb/token --out /run/wandb/token

  # A cron job: write one token and end.
  gatehouse token command --once --out ~/.wandb-token -- \
    gcloud auth print-identity-token --audiences=wandb

  # And the program's environment:
  WANDB_IDENTITY_TOKEN_FILE=/run/wandb/token`

func clientTokenCommand(sh shell) *cobra.Command {
	f := newTokenFlags(sh, &cobra.Command{
		Use:   "client",
		Short: "As a client of an issuer, with a secret or a key",
		Long: `Asks an OAuth issuer for a token as one of its clients (client credentials, RFC
6749, section 4.4). The client proves itself with a secret, from a file or from
GATEHOUSE_TOKEN_CLIENT_SECRET, or with a private key (RFC 7523). Both are read
each time, so that they can be changed meanwhile.

Most issuers make JWTs only for an audience that they know: name it with
--scope, --audience or --resource, whichever your issuer goes by.`,
		Example: `  # Okta, with a custom authorization server:
  gatehouse token client --issuer https://example.okta.com/oauth2/default \
    --client-id 0oa1example --client-secret-file /run/secrets/okta \
    --scope wandb --out /run/wandb/token

  # Entra ID, with a certificate instead of a secret:
  gatehouse token client --issuer https://login.microsoftonline.com/TENANT/v2.0 \
    --client-id 11111111-2222-3333-4444-555555555555 --client-key-file /run/secrets/entra.pem \
    --assertion-audience https://login.microsoftonline.com/TENANT/oauth2/v2.0/token \
    --scope api://wandb/.default --out /run/wandb/token

  # Auth0, which goes by an audience:
  gatehouse token client --issuer https://example.eu.auth0.com/ \
    --client-id example --client-secret-file /run/secrets/auth0 \
    --audience https://wandb.example.com --out /run/wandb/token`,
		Args: noArgs,
	})
	c := &workload.Credentials{}
	f.issuer(&c.Issuer)
	f.party(&c.Party)
	f.request(&c.Request)
	return f.run(func() (workload.Source, error) {
		var err error
		if c.Issuer.Client, err = f.httpClient(); err != nil {
			return nil, err
		}
		c.Request.Rules = f.rules
		return c, c.Check()
	})
}

func deviceTokenCommand(sh shell) *cobra.Command {
	f := newTokenFlags(sh, &cobra.Command{
		Use:   "device",
		Short: "With the help of a person, who signs in somewhere else",
		Long: `Prints an address and a code, with which somebody signs in on any device that has
a browser (RFC 8628), and goes on with the refresh token from then on. That one is
kept in memory, or in --refresh-token-file, so that a restart needs nobody. That
file is for one process at a time. It needs a scope that has the issuer give a
refresh token: offline_access at most.`,
		Example: `  # On a laptop, with the person's own token for W&B:
  gatehouse token device --issuer https://example.okta.com --client-id 0oa1example \
    --take id_token --refresh-token-file ~/.wandb-refresh --out ~/.wandb-token`,
		Args: noArgs,
	})
	s := &workload.DeviceSettings{Request: workload.Request{Scope: "openid offline_access"}}
	f.issuer(&s.Issuer)
	f.flags.StringVar(&s.Issuer.DeviceURL, "device-url", "", "the `URL` of the device authorization endpoint; without it, what the issuer's discovery says")
	f.party(&s.Party)
	f.request(&s.Request)
	f.flags.StringVar((*string)(&s.RefreshFile), "refresh-token-file", "", "the `file` to keep the refresh token in, over restarts")
	return f.run(func() (workload.Source, error) {
		var err error
		if s.Issuer.Client, err = f.httpClient(); err != nil {
			return nil, err
		}
		s.Request.Rules, s.Log = f.rules, f.log()
		s.Ask = func(p workload.Prompt) { fmt.Fprint(sh.err, promptText(p, time.Now())) }
		if s.RefreshFile != "" {
			if err := f.isNotOut(string(s.RefreshFile), "the refresh token needs a file of its own"); err != nil {
				return nil, err
			}
		}
		return workload.NewDevice(*s), s.Check()
	})
}

// promptText tells a person how to sign in.
func promptText(p workload.Prompt, now time.Time) string {
	s := fmt.Sprintf("\nTo sign in, open\n\n    %s\n\nand enter the code\n\n    %s\n\n", p.URL, p.Code)
	if p.Complete != "" {
		s += fmt.Sprintf("or open this, which knows the code, and compare it:\n\n    %s\n\n", p.Complete)
	}
	return s + fmt.Sprintf("The code is good for %s.\n\n", p.Expires.Sub(now).Round(time.Second))
}

func copyTokenCommand(sh shell) *cobra.Command {
	f := newTokenFlags(sh, &cobra.Command{
		Use:   "copy",
		Short: "From a file that somebody else keeps, as Kubernetes does",
		Long: `Copies a token from a file whenever that changes, if it is a JWT that has not
ended: for instance a service account token that Kubernetes projects into the
container (serviceAccountToken in a projected volume), which the kubelet renews by
swapping a symbolic link. It looks every five seconds.`,
		Example: `  gatehouse token copy --from /var/run/secrets/wandb/token --out /run/wandb/token`,
		Args:    noArgs,
	})
	from := f.flags.String("from", "", "the `file` to copy from")
	return f.run(func() (workload.Source, error) {
		const fault = "--from must name the file to copy from, which is another one than --out"
		if *from == "" {
			return nil, errors.New(fault)
		}
		if err := f.isNotOut(*from, fault); err != nil {
			return nil, err
		}
		f.poll = workload.ProjectedPoll
		return workload.Projected{From: *from, Rules: f.rules}, nil
	})
}

func commandTokenCommand(sh shell) *cobra.Command {
	f := newTokenFlags(sh, &cobra.Command{
		Use:   "command [flags] -- PROGRAM [ARGUMENT...]",
		Short: "From what a program prints",
		Long: `Runs a program whose standard output is the token, with no shell in between. It
has a minute, and what it says on standard error is passed on.`,
		Example: `  gatehouse token command --out /run/wandb/token -- \
    gcloud auth print-identity-token --audiences=wandb

  gatehouse token command --out /run/wandb/token -- \
    aws sts get-web-identity-token --audience wandb --signing-algorithm RS256 \
    --query WebIdentityToken --output text`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("token command needs a program to run, after --")}
			}
			return nil
		},
	})
	f.flags.SetInterspersed(false)
	return f.run(func() (workload.Source, error) {
		return workload.Command{Args: f.cmd.Flags().Args(), Env: sh.env, Stderr: sh.err, Rules: f.rules}, nil
	})
}

// logSettings is what the commands log by, which have no settings file.
func logSettings(format string) (config.Log, error) {
	if format != "json" && format != "text" {
		return config.Log{}, fmt.Errorf("--log-format: %q is neither json nor text", format)
	}
	return config.Log{Level: "info", Format: format}, nil
}
