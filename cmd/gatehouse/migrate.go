package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/migrate"
)

func migrateCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make settings out of another gateway's configuration",

		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(migrateOAuth2ProxyCommand(sh))
	return cmd
}

func migrateOAuth2ProxyCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oauth2-proxy [flags] [-- OPTIONS OF OAUTH2-PROXY]",
		Short: "Make settings out of a configuration of oauth2-proxy",
		Long: `Reads what oauth2-proxy 7 reads: its options, behind --; the environment
(OAUTH2_PROXY_...); its file (--config); its alpha configuration (--alpha-config). Of
several the first in this order counts, as with oauth2-proxy.

Prints the settings file on standard output. On standard error it lists what a person
must fill in, which files of secrets to put in place, what is more or less open,
what behaves differently and what is not needed any more, each with what to do.

Secrets are never printed: the settings name files. With --write the settings and
those files are written into a directory, for this user alone; nothing is
overwritten. No connection is opened.

Exit codes: 0 the settings are complete, 1 something is to be filled in or corrected,
2 oauth2-proxy would not take this configuration, or it can't be read.`,
		Example: `  gatehouse migrate oauth2-proxy --config /etc/oauth2-proxy.cfg > gatehouse.yaml
  gatehouse migrate oauth2-proxy -- --provider=oidc --oidc-issuer-url=https://login.example.com \
    --client-id=app --email-domain=example.com --upstream=http://127.0.0.1:3000 \
    --redirect-url=https://app.example.com/oauth2/callback
  gatehouse migrate oauth2-proxy --env-file oauth2-proxy.env --alpha-config alpha.yaml
  gatehouse migrate oauth2-proxy --config oauth2-proxy.cfg --write /etc/gatehouse
  gatehouse check --config /etc/gatehouse/gatehouse.yaml    # afterwards`,
	}
	flags := cmd.Flags()
	file := flags.String("config", "", "oauth2-proxy's file (TOML)")
	alpha := flags.String("alpha-config", "", "oauth2-proxy's alpha configuration (YAML)")
	envFile := flags.String("env-file", "", "a file of NAME=VALUE lines to read in place of the environment")
	dir := flags.String("write", "", "write the settings and files of secrets into this directory")
	secrets := flags.String("secrets", "", "the directory in which the settings look for files of secrets (default: that of --write, or /run/secrets)")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; options of oauth2-proxy stand behind --", err)}
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
			return usageError{fmt.Errorf("what is %q? Options of oauth2-proxy stand behind --", args[0])}
		}
		in := migrate.Input{Args: args, Config: *file, AlphaConfig: *alpha, Env: sh.env}
		var err error
		if *envFile != "" {
			if in.Env, err = envOf(*envFile); err != nil {
				return usageError{err}
			}
		}
		if in.Secrets, err = secretsDir(*secrets, *dir); err != nil {
			return err
		}
		made, err := migrate.OAuth2Proxy(in)
		if err != nil {
			return err
		}
		return handOver(cmd.OutOrStdout(), cmd.ErrOrStderr(), made, in.Secrets, *dir)
	}
	return cmd
}

func secretsDir(secrets, dir string) (string, error) {
	switch {
	case secrets != "":
		return secrets, nil
	case dir != "":
		return filepath.Abs(dir)
	}
	return "/run/secrets", nil
}

// envOf reads a file like Docker's --env-file: NAME=VALUE lines, # for comments.
func envOf(file string) ([]string, error) {
	text, err := os.ReadFile(file) //nolint:gosec // naming it is the operator's right
	if err != nil {
		return nil, fmt.Errorf("--env-file: %w", err)
	}
	var env []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		env = append(env, strings.TrimSpace(name)+"="+value)
	}
	return env, nil
}

// handOver prints or writes the settings, and says what there is to know.
func handOver(out, said io.Writer, made migrate.Result, secrets, dir string) error {
	if dir == "" {
		if _, err := out.Write(made.Settings); err != nil {
			return err
		}
	} else if err := writeAll(out, made, dir); err != nil {
		return err
	}
	fmt.Fprint(said, made.Report(secrets, dir))
	if len(made.Holes)+len(made.Faults) > 0 {
		return errReported
	}
	return nil
}

// writeAll writes the settings and the files of secrets, none if one is there.
func writeAll(out io.Writer, made migrate.Result, dir string) error {
	type file struct {
		name string
		text []byte
	}
	files := []file{{migrate.Name, made.Settings}}
	for _, s := range made.Secrets {
		text := s.Value.Reveal()
		if text == "" {
			key := make([]byte, 32)
			_, _ = rand.Read(key) // never fails
			text = base64.StdEncoding.EncodeToString(key)
		}
		files = append(files, file{s.File, []byte(text + "\n")})
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is there already: nothing was written. Name another directory, or move it away", filepath.Join(dir, f.name))
		}
	}
	for _, f := range files {
		name := filepath.Join(dir, f.name)
		if err := writeNew(name, f.text); err != nil {
			return err
		}
		fmt.Fprintln(out, name)
	}
	return nil
}

// writeNew makes a file that only this user may read.
func writeNew(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // naming it is the operator's right
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
