package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/authn/apikey"
	"gatehouse/authn/audit"
	"gatehouse/config"
	"gatehouse/session"
)

func sessionCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session",
		Short: "List sessions and tokens, and end them",
		Long: `Shows the browser sessions and the access tokens of the gateway, everybody's or one
person's, and ends them. They are in the store, so this works from any machine that
has the gateway's settings, and counts on all replicas at once.`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(sessionListCommand(sh), sessionEndCommand(sh))
	return cmd
}

func sessionEndCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "end PERSON [ID...]",
		Short: "End sessions and tokens of a person, on all replicas at once",
		Long: `Ends sessions and tokens of a person: those with the IDs that gatehouse session list
shows, of which the beginning is enough, or all of them, and then what is remembered
of their password too.

PERSON is a subject, a username or an e-mail address. Anyone still let in by the
provider or the directory can sign in again: see docs/sessions.md.`,
		Example: `  gatehouse session end --config gatehouse.yaml ada --all
  gatehouse session end --config gatehouse.yaml ada s3xKq0aB`,
	}
	file := settingsFlag(cmd)
	issuer := issuerFlag(cmd)
	all := cmd.Flags().Bool("all", false, "end everything of the person")
	cmd.Args = func(_ *cobra.Command, args []string) error { return whatToEnd(args, *all) }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		return withAccesses(c, cmd.ErrOrStderr(), func(in accesses) error {
			one, err := in.of(cmd.Context(), args[0], *issuer)
			if err != nil {
				return err
			}
			ended, err := in.end(cmd.Context(), one, args[1:])
			for _, line := range ended {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Running gateways are told now. Should that be lost, a session goes on for at most %s (session.cache.lifetime), a token or a password for the cache lifetime of its route.\n", c.Session.Cache.Lifetime)
			if *all {
				return one.keysLeft(c)
			}
			return nil
		})
	}
	return cmd
}

// whatToEnd asks for a person, and for what of theirs is meant.
func whatToEnd(args []string, all bool) error {
	switch {
	case len(args) == 0:
		return usageError{errors.New("session end needs a person: gatehouse session list shows who is signed in")}
	case len(args) == 1 && !all:
		return usageError{fmt.Errorf("session end needs to know what to end: --all for everything of %s, or IDs, which gatehouse session list %s shows", args[0], args[0])}
	case len(args) > 1 && all:
		return usageError{errors.New("--all ends everything of the person: leave it out, or the IDs")}
	}
	return nil
}

func issuerFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("issuer", "", "whose person is meant, where several go by the name")
}

// accesses is where it is noted by what people and programs come in.
type accesses struct {
	c        config.Config
	register *session.Register
	ledger   apikey.Ledger
	said     io.Writer // beside what the command answers
}

// withAccesses runs f on the sessions, tokens and keys in the store of the settings.
func withAccesses(c config.Config, said io.Writer, f func(accesses) error) error {
	return withStore(c, "its API shows and ends sessions: see docs/sessions.md", func(store session.Store, keys session.Keyring) error {
		register := session.NewRegister(store, keys, session.NewNews(store, nil), c.Session.IdleTimeout.Std())
		return f(accesses{c, register, apikey.NewLedger(store, keys), said})
	})
}

// somebody is one person or program, and what they have.
type somebody struct {
	session.Person
	name    string // as they were asked for
	account string // of a service account
	list    []session.Access
	keys    []session.Access // of the service account
}

// of finds who goes by a name. A service account goes by its own name too, unless a
// person does.
func (in accesses) of(ctx context.Context, name, issuer string) (somebody, error) {
	one := somebody{name: name}
	p, found, err := in.register.Who(ctx, name, issuer)
	account := strings.TrimPrefix(name, config.AccountPrefix)
	subject := config.AccountPrefix + account
	known := slices.Contains(accountNames(in.c), account)
	if known && issuer == "" && found && p.Subject != subject {
		err = &session.Several{Name: name, People: []session.Person{p, {Issuer: in.c.Origin().String(), Subject: subject}}}
	}
	var several *session.Several
	switch {
	case errors.As(err, &several):
		return one, severalError(several)
	case err != nil:
		return one, err
	case !found && !known:
		return one, fmt.Errorf("nobody who goes by %q is signed in: see gatehouse session list; if it is a subject, name its --issuer too", name)
	}
	if found {
		one.Person = p
		if one.list, err = in.register.Of(ctx, p); err != nil {
			return one, err
		}
	}
	if known && (!found || p.Subject == subject) {
		one.account = account
		one.keys, err = in.keys(ctx, account)
	}
	return one, err
}

// severalError says whom a name may mean.
func severalError(e *session.Several) error {
	var b strings.Builder
	fmt.Fprintf(&b, "several go by %q; say which, in the words of one of these lines:", e.Name)
	for _, p := range e.People {
		fmt.Fprintf(&b, "\n  %s --issuer %s", printable(p.Subject), printable(p.Issuer))
	}
	return errors.New(b.String())
}

// end ends what the ids mean, all without any, and tells what there was.
func (in accesses) end(ctx context.Context, one somebody, ids []string) ([]string, error) {
	if one.Person == (session.Person{}) { // a service account that has nothing but keys
		if len(ids) > 0 {
			_, err := one.meant(ids)
			return nil, err
		}
		return []string{"There was no session or token of " + one.name + "."}, nil
	}
	var err error
	if len(ids) == 0 {
		ids, err = in.register.EndOthers(ctx, one.Person, "")
	} else {
		if ids, err = one.meant(ids); err != nil {
			return nil, err
		}
		err = in.register.End(ctx, one.Person, ids...)
	}
	e := audit.Event{Name: audit.SessionEnd, Object: ids, OfIssuer: one.Issuer, OfSubject: one.Subject}
	if err := recordCommand(in.c, in.said, e, err); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return []string{"There was no session or token of " + one.name + "; what was remembered of their password is forgotten."}, nil
	}
	lines := make([]string, len(ids))
	for i, id := range ids {
		lines[i] = "Ended " + one.told(id) + "."
	}
	return lines, nil
}

// told is an access in a few words.
func (one somebody) told(id string) string {
	i := slices.IndexFunc(one.list, func(a session.Access) bool { return a.ID == id })
	if i < 0 {
		return shortest(id) + " of " + one.name
	}
	a := one.list[i]
	parts := []string{fmt.Sprintf("%s %s of %s (%s)", a.Kind, shortest(id), called(a), printable(a.Issuer)), "since " + when(a.Since), printable(a.Address), agent(a)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// meant is whose ids begin like that, each once. One that can't be told ends none.
func (one somebody) meant(beginnings []string) ([]string, error) {
	var out []string
	for _, text := range beginnings {
		begins := func(a session.Access) bool { return text != "" && strings.HasPrefix(a.ID, text) }
		if slices.ContainsFunc(one.keys, begins) {
			return nil, fmt.Errorf("%s is an API key of %s: end it with gatehouse key revoke %s", text, one.account, text)
		}
		i := slices.IndexFunc(one.list, begins)
		switch {
		case i < 0:
			return nil, fmt.Errorf("%s has no session or token %q: see gatehouse session list %s", one.name, text, one.name)
		case slices.ContainsFunc(one.list[i+1:], begins):
			return nil, fmt.Errorf("several of %s begin with %q: write more of the ID", one.name, text)
		case !slices.Contains(out, one.list[i].ID):
			out = append(out, one.list[i].ID)
		}
	}
	return out, nil
}

// keysLeft is an error if a service account has keys: those are ended one by one.
func (one somebody) keysLeft(c config.Config) error {
	var left []string
	for _, k := range one.keys {
		left = append(left, "gatehouse key revoke "+k.ID)
	}
	for _, a := range c.ServiceAccounts {
		if a.Name == one.account && len(a.KeyHashes) > 0 {
			left = append(left, "remove its keyHashes from the settings")
		}
	}
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("%s is a service account whose API keys go on; to end them:\n  %s", one.name, strings.Join(left, "\n  "))
}

// called is what a person is called in lists.
func called(a session.Access) string { return printable(cmp.Or(a.Username, a.Email, a.Subject)) }
