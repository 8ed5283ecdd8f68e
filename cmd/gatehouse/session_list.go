package main

import (
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/config"
	"gatehouse/session"
)

// kindKey stands beside the kinds of session.Access for what the key ledger has.
const kindKey = "api key"

func sessionListCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PERSON]",
		Short: "List sessions, access tokens and API keys, never what opens them",
		Long: `Lists the browser sessions, the access tokens and the API keys in the store: of one
person or service account, or of all. PERSON is a subject, a username or an e-mail
address. Addresses and user agents are what clients say.

Who sends a password or an issuer's JWT with each request is not in the list: nothing
is begun that could be ended.`,
		Example: `  gatehouse session list --config gatehouse.yaml
  gatehouse session list --config gatehouse.yaml ada@example.com --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("session list takes one person, but got %q", args)}
			}
			return nil
		},
	}
	file := settingsFlag(cmd)
	issuer := issuerFlag(cmd)
	limit := cmd.Flags().Int("limit", 1000, "the most to list of everybody")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *limit < 1 {
			return usageError{errors.New("--limit is at least 1")}
		}
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		return withAccesses(c, cmd.ErrOrStderr(), func(in accesses) error {
			var list []session.Access
			if len(args) == 1 {
				one, err := in.of(cmd.Context(), args[0], *issuer)
				if err != nil {
					return err
				}
				list = append(one.list, one.keys...)
			} else if list, err = in.everybody(cmd.Context(), *issuer, *limit+1); err != nil {
				return err
			} else if len(list) > *limit {
				list = list[:*limit]
				fmt.Fprintf(cmd.ErrOrStderr(), "There are more than these %d: name a person, or raise --limit.\n", *limit)
			}
			return showAccesses(cmd, list, *asJSON)
		})
	}
	return cmd
}

func showAccesses(cmd *cobra.Command, list []session.Access, asJSON bool) error {
	switch out := cmd.OutOrStdout(); {
	case asJSON:
		if err := json.MarshalWrite(out, list, jsontext.WithIndent("  "), jsontext.AllowInvalidUTF8(true)); err != nil {
			return err
		}
		fmt.Fprintln(out)
		return nil
	case len(list) == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "There are no sessions, tokens or API keys.")
		return nil
	default:
		return printAccesses(out, list)
	}
}

// everybody lists at most so many, those last seen in front.
func (in accesses) everybody(ctx context.Context, issuer string, most int) ([]session.Access, error) {
	list, err := in.keys(ctx, accountNames(in.c)...)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(a session.Access) bool { return issuer != "" && a.Issuer != issuer })
	known := map[string]bool{}
	err = in.register.Everybody(ctx, func(some []session.Access) bool {
		for _, a := range some {
			if (issuer == "" || a.Issuer == issuer) && !known[a.ID] { // a store may show an index twice
				known[a.ID] = true
				list = append(list, a)
			}
		}
		return len(list) < most
	})
	slices.SortStableFunc(list, func(a, b session.Access) int { return b.Seen.Compare(a.Seen) })
	return list[:min(len(list), most)], err
}

// keys lists the API keys of service accounts.
func (in accesses) keys(ctx context.Context, accounts ...string) ([]session.Access, error) {
	i := slices.IndexFunc(in.c.Authn, func(r config.Route) bool { return r.APIKey != nil })
	if i < 0 {
		return nil, nil
	}
	keys, err := listKeys(ctx, in.ledger, accounts)
	if err != nil {
		return nil, err
	}
	out := make([]session.Access, len(keys))
	for j, k := range keys {
		out[j] = session.Access{
			ID: k.ID, Kind: kindKey, Person: session.Person{Issuer: in.c.Origin().String(), Subject: config.AccountPrefix + k.Account},
			Username: k.Account, Route: in.c.Authn[i].Name, Since: k.Created, Seen: k.Used, Ends: k.Expires,
		}
	}
	return out, nil
}

func printAccesses(w io.Writer, list []session.Access) error {
	ids := shortIDs(list)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tKIND\tPERSON\tROUTE\tSINCE (UTC)\tLAST SEEN\tENDS\tADDRESS\tUSER AGENT")
	for i, a := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", ids[i], a.Kind, called(a), a.Route,
			minute(a.Since), minute(a.Seen), minute(a.Ends), printable(orElse(a.Address, "-")), orElse(agent(a), "-"))
	}
	return t.Flush()
}

// minute is a time without its zone, which is UTC.
func minute(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// agent is the user agent, shortened.
func agent(a session.Access) string {
	const most = 40
	text := []rune(strings.TrimSpace(a.Agent))
	if len(text) > most {
		text = append(text[:most-1], '…')
	}
	return printable(string(text))
}

// shortID is how much of an id is shown at least.
const shortID = 8

func shortest(id string) string { return id[:min(len(id), shortID)] }

// shortIDs are as much of each id as tells it from the others of the list.
func shortIDs(list []session.Access) []string {
	sorted := make([]string, len(list))
	for i, a := range list {
		sorted[i] = a.ID
	}
	slices.Sort(sorted)
	out := make([]string, len(list))
	for i, a := range list {
		at, _ := slices.BinarySearch(sorted, a.ID)
		n := shortID
		for _, near := range []int{at - 1, at + 1} {
			if near >= 0 && near < len(sorted) {
				n = max(n, common(a.ID, sorted[near])+1)
			}
		}
		out[i] = a.ID[:min(n, len(a.ID))]
	}
	return out
}

// common is how many bytes two texts have in common at their beginning.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
