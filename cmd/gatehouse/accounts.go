package main

import (
	"slices"

	"gatehouse/authn"
	"gatehouse/config"
)

// accounts is the registry of the settings' service accounts. One of the whole
// organization may work for the teams that it names, or else for all; its own
// team stands first.
func accounts(c config.Config) authn.Accounts {
	members := map[string][]string{}
	var all []string
	for _, t := range c.Teams {
		members[t.Name] = t.Members
		all = append(all, t.Name)
	}
	var list []authn.Registration
	for _, a := range c.ServiceAccounts {
		teams := []string{a.Team}
		if a.Scope == "organization" {
			further := a.Teams
			if len(further) == 0 {
				further = all
			}
			for _, t := range further {
				if !slices.Contains(teams, t) {
					teams = append(teams, t)
				}
			}
		}
		list = append(list, authn.Registration{
			Account: authn.Account{Name: a.Name, Team: a.Team, Teams: teams, Role: a.Role},
			Issuer:  accountIssuer(c, a), Subject: a.Subject, KeyHashes: a.KeyHashes,
		})
	}
	return authn.NewAccounts(list, members)
}

// accountIssuer is whose JWTs an external account has: the only issuer, if it
// names none.
func accountIssuer(c config.Config, a config.ServiceAccount) string {
	if a.Subject == "" || a.Issuer != "" {
		return a.Issuer
	}
	for _, r := range c.Authn {
		if r.Bearer != nil && len(r.Bearer.Issuers) == 1 {
			return r.Bearer.Issuers[0].Issuer
		}
	}
	return ""
}

// upstreamToAsk is the first of the upstreams that know the application's keys.
func upstreamToAsk(c config.Config, a config.APIKey) config.Upstream {
	names := c.KeyUpstreams(a)
	i := slices.IndexFunc(c.Upstreams, func(u config.Upstream) bool { return len(names) > 0 && u.Name == names[0] })
	return c.Upstreams[max(i, 0)]
}
