// Command gatehouse is an authentication gateway: it stands in front of an
// unmodified web application, asks each request who it is from and hands on
// verified identity headers.
//
// This package is the program: its commands, the wiring of the rooms (wire.go,
// the only place where constructors meet), the operations listener and the demo.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // to silence it
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"gatehouse/config"
)

// The exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitSettings = 2 // wrong settings or usage: nothing was started
)

func main() {
	log.SetOutput(io.Discard) // net/http writes there what an upstream has sent too much; our log is slog
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	code := run(ctx, shell{args: os.Args[1:], env: os.Environ(), out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// shell is what a command gets from outside.
type shell struct {
	args     []string
	env      []string
	in       io.Reader // nil for the program's own
	out, err io.Writer
}

// errReported ends a command that has already told its user why.
var errReported = errors.New("reported")

// usageError is a command line that can't be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }

// run carries out one command line and returns the exit code.
func run(ctx context.Context, sh shell) int {
	root := rootCommand(sh)
	root.SetArgs(sh.args)
	root.SetIn(sh.in)
	root.SetOut(sh.out)
	root.SetErr(sh.err)
	called, err := root.ExecuteContextC(ctx)
	var faults config.Faults
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &faults):
		fmt.Fprintln(sh.err, faults)
		return exitSettings
	case errors.As(err, &usage):
		fmt.Fprintf(sh.err, "gatehouse: %v\nTry: %s --help\n", err, strings.TrimSuffix(called.CommandPath(), " help"))
		return exitSettings
	}
	fmt.Fprintln(sh.err, "gatehouse:", err)
	return exitFailed
}

func rootCommand(sh shell) *cobra.Command {
	root := &cobra.Command{
		Use:   "gatehouse",
		Short: "An authentication gateway in front of an unmodified web application",
		Long: `Gatehouse stands in front of a web application, asks each request who it is
from, and hands on verified identity headers that no client can forge.

See it work, with nothing to set up:

  gatehouse demo

Put it in front of an application, with no settings file at all:

  GATEHOUSE_PUBLIC_URL=https://wandb.example.com \
  GATEHOUSE_UPSTREAM=http://127.0.0.1:9000 \
  OIDC_ISSUER=https://example.okta.com \
  OIDC_CLIENT_ID=0oa1example \
  gatehouse serve

With a directory instead of a provider, set LOCAL_LDAP_ADDRESS,
LOCAL_LDAP_BASE_DN and what else a W&B server has; see docs/ldap.md.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,

		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(sh), healthCommand(sh), checkCommand(sh), explainCommand(sh), demoCommand(sh), keyCommand(sh), migrateCommand(sh), sessionCommand(sh), tokenCommand(sh), unbanCommand(sh), auditCommand(sh),
		schemaCommand(), versionCommand())
	root.SetHelpCommand(helpCommand(root))
	return root
}

// helpCommand refuses what is no command, which cobra's own takes for a success.
func helpCommand(root *cobra.Command) *cobra.Command {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		help.Run, help.RunE = nil, func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return noSuchCommand(about, rest)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		}
		return help
	}
	return nil
}

// noSuchCommand refuses what is none of a command's own commands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + near[0] + "?"
	}
	return usageError{fmt.Errorf("there is no command %q%s", args[0], hint)}
}

// noArgs refuses arguments that a command would otherwise ignore.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, but got %q", cmd.CommandPath(), args)}
	}
	return nil
}

// settingsFlag adds --config and returns where its value will be.
func settingsFlag(cmd *cobra.Command) *string {
	file := cmd.Flags().StringP("config", "c", "", "the settings file (YAML); without it, the environment alone")
	if err := cmd.MarkFlagFilename("config", "yaml", "yml"); err != nil {
		panic(err) // the flag was added in the line above
	}
	return file
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the settings file, for editors and CI",
		Long: `Prints the JSON Schema of the settings file. Editors complete and check the file
with it; put this line at the file's top:

  # yaml-language-server: $schema=./gatehouse.schema.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Schema())
			return err
		},
	}
}
