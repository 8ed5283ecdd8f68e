package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn/apikey"
	"gatehouse/authn/audit"
	"gatehouse/config"
	"gatehouse/session"
)

// defaultKeyLife is how long a key lives if nothing is said.
const defaultKeyLife = "365d"

func keyCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, list, rotate and revoke the API keys of service accounts",
		Long: `Keeps the API keys of the settings' serviceAccounts. They are in the store, by
their hash, so this works from any machine that has the gateway's settings.

A key is shown once, on standard output and alone there; everything else goes to
standard error. Whoever has it sends it as they would a key of the application:
WANDB_API_KEY, Basic api:KEY, or Bearer.`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(keyNewCommand(sh), keyListCommand(sh), keyRotateCommand(sh), keyRevokeCommand(sh), keyResealCommand(sh))
	return cmd
}

func keyNewCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new ACCOUNT",
		Short: "Make a key for a service account and show it once",
		Example: `  gatehouse key new --config gatehouse.yaml nightly --expires 90d --note "runner 7"
  gatehouse key new --config gatehouse.yaml nightly --print    # for keyHashes in the settings`,
		Args: oneArg("the name of a service account"),
	}
	file := settingsFlag(cmd)
	expires := cmd.Flags().String("expires", defaultKeyLife, "how long it is good, for instance 90d or 720h; at most five years")
	note := cmd.Flags().String("note", "", "a reminder of what it is for")
	show := cmd.Flags().Bool("print", false, "store nothing: show a key and what to write into the settings, where it has no end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		life, err := keyLife(*expires)
		if err != nil {
			return err
		}
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		if err := knownAccount(c, args[0]); err != nil {
			return err
		}
		said := cmd.ErrOrStderr()
		if *show {
			if cmd.Flags().Changed("expires") || *note != "" {
				return usageError{errors.New("--print makes a key that lives in the settings, with neither an end nor a note: leave out --expires and --note")}
			}
			key := apikey.Generate()
			if err := showOn(cmd.OutOrStdout())(key); err != nil {
				return err
			}
			fmt.Fprintf(said, "Shown once, and stored nowhere. Add this to the account %s in the settings; a running gateway takes it over by itself (reload.interval):\n\n    keyHashes:\n      - %s\n", args[0], apikey.Hash(key))
			return nil
		}
		return withLedger(c, "--print shows a key for the settings instead", func(l apikey.Ledger) error {
			k, err := l.New(cmd.Context(), args[0], *note, life, showOn(cmd.OutOrStdout()))
			if err != nil {
				return err
			}
			fmt.Fprintf(said, "Key %s of account %s, shown once. It is good until %s.\n", k.ID, k.Account, when(k.Expires))
			return recordCommand(c, said, keyChange("made", k.Account, k.ID), nil)
		})
	}
	return cmd
}

func keyRotateCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Make a key in the place of another, which ends after a while",
		Example: `  gatehouse key rotate --config gatehouse.yaml Ab3dE6gH
  gatehouse key rotate --config gatehouse.yaml Ab3dE6gH --grace 7d`,
		Args: oneArg("the id of a key, as gatehouse key list shows it"),
	}
	file := settingsFlag(cmd)
	grace := cmd.Flags().String("grace", "24h", "how long the old key stays valid; 0 ends it now")
	expires := cmd.Flags().String("expires", defaultKeyLife, "how long the new key is good")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		life, err := keyLife(*expires)
		if err != nil {
			return err
		}
		left, err := days(*grace)
		if err != nil {
			return usageError{fmt.Errorf("--grace: %w", err)}
		}
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		return withLedger(c, "", func(l apikey.Ledger) error {
			was, err := l.Find(cmd.Context(), keyID(args[0]))
			if err != nil {
				return keyError(args[0], err)
			}
			if err := knownAccount(c, was.Account); err != nil {
				return err
			}
			made, old, err := l.Rotate(cmd.Context(), was.ID, left, life, showOn(cmd.OutOrStdout()))
			if err != nil && made.ID == "" {
				return keyError(args[0], err)
			}
			said := cmd.ErrOrStderr()
			fmt.Fprintf(said, "Key %s of account %s, shown once. It is good until %s.\n", made.ID, made.Account, when(made.Expires))
			if err != nil {
				err = fmt.Errorf("the new key is good, but the old one, %s, could not be ended: %w; end it with gatehouse key revoke %s", was.ID, err, was.ID)
				return errors.Join(err, recordCommand(c, said, keyChange("made", made.Account, made.ID), nil))
			}
			fmt.Fprintf(said, "The old one, %s, ends at %s; running gateways %s.\n", old.ID, when(old.Expires), noticed(c))
			return recordCommand(c, said, keyChange("rotated", made.Account, made.ID, old.ID), nil)
		})
	}
	return cmd
}

func keyRevokeCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a key now",
		Example: `  gatehouse key revoke --config gatehouse.yaml Ab3dE6gH`,
		Args:    oneArg("the id of a key, as gatehouse key list shows it"),
	}
	file := settingsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		return withLedger(c, "", func(l apikey.Ledger) error {
			k, err := l.Revoke(cmd.Context(), keyID(args[0]))
			if k.ID == "" {
				return keyError(args[0], err)
			}
			of := ""
			if k.Account != "" {
				of = " of account " + k.Account
			}
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "Key %s%s is revoked; running gateways %s.\n", k.ID, of, noticed(c))
			}
			return recordCommand(c, cmd.ErrOrStderr(), keyChange("revoked", k.Account, k.ID), err)
		})
	}
	return cmd
}

// keyChange is the line of the audit trail for keys of an account.
func keyChange(what, account string, ids ...string) audit.Event {
	return audit.Event{Name: audit.KeyChange, Reason: what, Object: ids, OfSubject: config.AccountPrefix + account}
}

// showOn shows a key on w, alone. A key that could not be shown is lost.
func showOn(w io.Writer) func(key string) error {
	return func(key string) error {
		if _, err := fmt.Fprintln(w, key); err != nil {
			return fmt.Errorf("standard output did not take the new key, so it is given up, and no other key has ended: %w", err)
		}
		return nil
	}
}

// oneArg asks for one argument, and says what it is.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s takes one argument, %s, but got %d", strings.TrimPrefix(cmd.CommandPath(), "gatehouse "), what, len(args))}
		}
		return nil
	}
}

// withLedger runs f on the keys in the store of the settings.
func withLedger(c config.Config, instead string, f func(apikey.Ledger) error) error {
	if !slices.ContainsFunc(c.Authn, func(r config.Route) bool { return r.APIKey != nil }) {
		return errors.New("no route takes API keys: add one to authn, with apiKey: {application: refuse} or another choice")
	}
	return withStore(c, instead, func(store session.Store, keys session.Keyring) error { return f(apikey.NewLedger(store, keys)) })
}

// withStore runs f on the store of the settings. Instead is what else to do where there
// is none to be reached.
func withStore(c config.Config, instead string, f func(session.Store, session.Keyring) error) error {
	if c.Store.Redis == nil {
		if instead != "" {
			instead = "; " + instead
		}
		return errors.New("the settings have no store.redis, and what is in a gateway's memory can't be seen from outside" + instead)
	}
	store, err := openStore(c.Store)
	if err != nil {
		return err
	}
	keys, err := openKeys(c)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	err = f(store, keys)
	if said := (*session.RedisError)(nil); errors.As(err, &said) {
		err = fmt.Errorf("%w\n%s", err, redisFix(said.Error()))
	}
	return errors.Join(err, store.Close())
}

// knownAccount refuses a name that is none of the settings' accounts.
func knownAccount(c config.Config, name string) error {
	names := accountNames(c)
	switch {
	case slices.Contains(names, name):
		return nil
	case len(names) == 0:
		return fmt.Errorf("there is no service account %q: the settings have none; add it to serviceAccounts, with a name and a team", name)
	}
	return fmt.Errorf("there is no service account %q: there are %s; correct the name, or add it to serviceAccounts in the settings", name, strings.Join(names, ", "))
}

func accountNames(c config.Config) []string {
	names := make([]string, len(c.ServiceAccounts))
	for i, a := range c.ServiceAccounts {
		names[i] = a.Name
	}
	return names
}

// keyID takes a whole key for its id: somebody in a hurry has that at hand.
func keyID(arg string) string {
	if id, ok := apikey.ID(arg); ok {
		return id
	}
	return arg
}

// keyError says what to do about what the ledger said. It quotes an id and no key.
func keyError(arg string, err error) error {
	switch {
	case errors.Is(err, apikey.ErrUnknown) && len(keyID(arg)) > 20:
		return errors.New("that is not the id of a key: see gatehouse key list")
	case errors.Is(err, apikey.ErrUnknown):
		return fmt.Errorf("there is no key %q in the store: see gatehouse key list; one of the settings' keyHashes ends when it is removed there", keyID(arg))
	case errors.Is(err, apikey.ErrSealed):
		return fmt.Errorf("key %s: %w; make another with gatehouse key new, and revoke this one", keyID(arg), err)
	}
	return err
}

// noticed says how soon a running gateway sees the end of a key.
func noticed(c config.Config) string {
	var longest time.Duration
	for _, r := range c.Authn {
		if r.APIKey != nil {
			longest = max(longest, r.APIKey.Cache.Lifetime.Std())
		}
	}
	return "notice at once, or within " + config.Duration(longest).String() + " (apiKey.cache.lifetime) if word of it does not reach them"
}

func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// keyLife reads how long a key is to live.
func keyLife(text string) (time.Duration, error) {
	d, err := days(text)
	switch {
	case err != nil:
		return 0, usageError{fmt.Errorf("--expires: %w", err)}
	case d <= 0 || d > apikey.MaxLifetime:
		return 0, usageError{fmt.Errorf("--expires: %s is not between now and five years; a key always ends, and gatehouse key rotate renews it", text)}
	}
	return d, nil
}

// days reads a length of time that may be in days.
func days(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			return time.Duration(n) * day, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a length of time; write a number and a unit, for instance 90d, 720h or 15m", text)
	}
	return d, nil
}
