package oidc

import (
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/config"
)

// policy is whom a route lets in. It is a pure function of the identity.
type policy struct {
	domains []string // A to Z lowered; "*.example.com" is everything below
	groups  []string
}

func newPolicy(c config.OIDC) policy {
	p := policy{groups: slices.Clone(c.AllowedGroups)}
	for _, d := range c.AllowedEmailDomains {
		p.domains = append(p.domains, foldASCII(d))
	}
	return p
}

// allow returns nil or a *authn.NotAllowed. Who must be in a domain and in a
// group must be in both.
func (p policy) allow(id authn.Identity) error {
	if len(p.domains) > 0 && !p.inDomain(id.Email) {
		return &authn.NotAllowed{Missing: "You need a verified e-mail address in " + anyOf(p.domains) + "."}
	}
	shared := func(g string) bool { return slices.Contains(p.groups, g) }
	if len(p.groups) > 0 && !slices.ContainsFunc(id.Groups, shared) {
		return &authn.NotAllowed{Missing: "You need to be in the group " + anyOf(p.groups) + "."}
	}
	return nil
}

func (p policy) inDomain(email string) bool {
	domain, ok := emailDomain(email)
	return ok && slices.ContainsFunc(p.domains, func(d string) bool {
		if below, ok := strings.CutPrefix(d, "*"); ok {
			return strings.HasSuffix(domain, below) // a domain never begins with a dot
		}
		return d == domain
	})
}

// anyOf spells a choice: "a", "a or b", "a, b or c".
func anyOf(list []string) string {
	last := len(list) - 1
	if last == 0 {
		return list[0]
	}
	return strings.Join(list[:last], ", ") + " or " + list[last]
}
