package main

import (
	"slices"

	"gatehouse/authn"
	"gatehouse/config"
)

// accounts are the service accounts of the settings.
func accounts(c config.Config) authn.Accounts {
	members, all := map[string][]string{}, make([]string, len(c.Teams))
	for i, t := range c.Teams {
		members[t.Name], all[i] = t.Members, t.Name
	}
	list := make([]authn.Registration, len(c.ServiceAccounts))
	for i, a := range c.ServiceAccounts {
		r := authn.Registration{
			Account: authn.Account{Name: a.Name, Team: a.Team, Teams: []string{a.Team}, Role: a.Role},
			Subject: a.Subject, KeyHashes: a.KeyHashes,
		}
		if a.Scope == "organization" {
			further := a.Teams
			if len(further) == 0 {
				further = all
			}
			for _, t := range further {
				if !slices.Contains(r.Teams, t) {
					r.Teams = append(r.Teams, t)
				}
			}
		}
		if r.Issuer = a.Issuer; a.Subject != "" && r.Issuer == "" {
			r.Issuer = onlyIssuer(c)
		}
		list[i] = r
	}
	return authn.NewAccounts(list, members)
}

// onlyIssuer is the issuer of tokens if there is just one.
func onlyIssuer(c config.Config) string {
	for _, r := range c.Authn {
		if r.Bearer != nil && len(r.Bearer.Issuers) == 1 {
			return r.Bearer.Issuers[0].Issuer
		}
	}
	return ""
}

// upstreamToAsk is the upstream of that name, or the first if there is no name.
func upstreamToAsk(c config.Config, name string) config.Upstream {
	i := slices.IndexFunc(c.Upstreams, func(u config.Upstream) bool { return u.Name == name })
	return c.Upstreams[max(i, 0)]
}
