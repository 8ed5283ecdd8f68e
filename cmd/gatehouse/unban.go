package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/authn/audit"
	"gatehouse/authn/ldap"
	"gatehouse/config"
)

func unbanCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unban [NAME]",
		Short: "Let somebody sign in again before their ban is over",
		Long: `Forgets the wrong passwords that were counted for a person, whatever spelling of
the name they came under, or for an address. See regulation in docs/settings.md.

The counters live in Redis, so this works from any machine that has the
gateway's settings; a running gateway notices within 5 seconds. With the embedded store they end with the gateway: restart it.`,
		Example: `  gatehouse unban --config gatehouse.yaml alice
  gatehouse unban --config gatehouse.yaml --address 192.0.2.7`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("unban takes one name, but got %q", args)}
			}
			return nil
		},
	}
	file := settingsFlag(cmd)
	address := cmd.Flags().String("address", "", "the address to lift the ban of")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && *address == "" {
			return usageError{errors.New("unban needs a name or --address")}
		}
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		if c.Store.Redis == nil {
			return errors.New("the counters are in the memory of the running gateway: restart it to lift all bans, or set store.redis")
		}
		store, err := openStore(c.Store)
		if err != nil {
			return err
		}
		keys, err := openKeys(c)
		if err != nil {
			return errors.Join(err, store.Close())
		}
		u := ldap.Unban{Regulation: c.Regulation, Store: store, Keys: keys}
		lifted, err := unban(cmd.Context(), c, u, strings.Join(args, ""), *address)
		for _, line := range lifted {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
		if err == nil || len(lifted) > 0 {
			err = recordCommand(c, cmd.ErrOrStderr(), audit.Event{Name: audit.Unban, Object: lifted}, err)
		}
		return errors.Join(err, store.Close())
	}
	return cmd
}

// unban lifts what is asked for, and tells what there was.
func unban(ctx context.Context, c config.Config, u ldap.Unban, name, address string) ([]string, error) {
	var lines []string
	tell := func(what string, was bool) {
		if was {
			lines = append(lines, what+": wrong passwords forgotten")
		} else {
			lines = append(lines, what+": nothing was counted (the log tells whether a person or an address has to wait)")
		}
	}
	if address != "" {
		was, err := u.LiftAddress(ctx, address)
		if err != nil {
			return lines, err
		}
		tell("address "+address, was)
	}
	if name == "" {
		return lines, nil
	}
	for _, r := range c.Authn {
		if r.LDAP == nil {
			continue
		}
		was, err := u.Lift(ctx, r.Name, name, *r.LDAP)
		if err != nil {
			return lines, err
		}
		tell(name+" by route "+r.Name, was)
	}
	return lines, nil
}
