package main

import (
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn/apikey"
	"gatehouse/config"
)

func keyListCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [ACCOUNT]",
		Short: "List the keys in the store, never their secrets",
		Long: `Lists the keys in the store: of one account, also one that is no longer in the
settings, or of all that are. Keys that are in the settings (keyHashes) are not among them.`,
		Args: oneAccount,
	}
	file := settingsFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		names := args
		if len(names) == 0 {
			names = accountNames(c)
		}
		return withLedger(c, "", func(l apikey.Ledger) error {
			keys, err := listKeys(cmd.Context(), l, names)
			if err != nil {
				return err
			}
			if len(keys) == 0 && len(args) > 0 {
				if err := knownAccount(c, args[0]); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			switch {
			case *asJSON:
				if err := json.MarshalWrite(out, keys, jsontext.WithIndent("  ")); err != nil {
					return err
				}
				fmt.Fprintln(out)
				return nil
			case len(keys) == 0:
				fmt.Fprintf(cmd.ErrOrStderr(), "No keys in the store for %s.\n", strings.Join(names, ", "))
				return nil
			}
			return printKeys(out, keys)
		})
	}
	return cmd
}

// oneAccount takes the name of an account, or none.
func oneAccount(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError{fmt.Errorf("%s takes one account, but got %q", strings.TrimPrefix(cmd.CommandPath(), "gatehouse "), args)}
	}
	return nil
}

func listKeys(ctx context.Context, l apikey.Ledger, accounts []string) ([]apikey.Key, error) {
	out := []apikey.Key{}
	for _, name := range accounts {
		keys, err := l.List(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, keys...)
	}
	return out, nil
}

func printKeys(w io.Writer, keys []apikey.Key) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tACCOUNT\tCREATED\tEXPIRES\tLAST USED\tNOTE")
	for _, k := range keys {
		created, expires, used := date(k.Created), date(k.Expires), date(k.Used)
		if k.Lost {
			k.Note = "(" + apikey.ErrSealed.Error() + ")"
		} else if k.Used.IsZero() {
			used = "never"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Account, created, expires, used, k.Note)
	}
	return t.Flush()
}

func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return when(t)
}

func keyResealCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reseal [ACCOUNT]",
		Short: "Seal all keys with the newest of session.keys",
		Long: `Keys are sealed in the store with the newest of session.keys. Those in use are
sealed anew by themselves; this does it for all keys of the accounts in the settings.
Run it before you remove an old session key: what is sealed with it alone is lost.

An account that is not in the settings for now, but is to come back, must be named.`,
		Args: oneAccount,
	}
	file := settingsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		names := args
		if len(names) == 0 {
			names = accountNames(c)
		}
		return withLedger(c, "", func(l apikey.Ledger) error {
			all, failed := 0, error(nil)
			for _, name := range names {
				n, err := l.Reseal(cmd.Context(), name)
				all, failed = all+n, errors.Join(failed, err)
			}
			if all == 0 && failed == nil && len(args) > 0 {
				if err := knownAccount(c, args[0]); err != nil {
					return err
				}
			}
			if failed != nil {
				return failed
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d key(s) of %d account(s) are sealed with the newest of session.keys.\n", all, len(names))
			if len(args) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "These are the accounts in the settings; name one that is not there to seal its keys too.")
			}
			return nil
		})
	}
	return cmd
}
