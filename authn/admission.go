package authn

import (
	"slices"
	"strings"
)

// Admission is whom a route lets in. It is a pure function of the identity; its
// zero value lets everybody in.
type Admission struct {
	domains []string // A to Z lowered; "*.example.com" is everything below
	groups  []string
	fold    bool
}

// NewAdmission lets in who has an address in one of the domains and is in one
// of the groups; an empty list asks for nothing. With fold, A to Z count as a
// to z in groups, for a provider to which they are the same.
func NewAdmission(domains, groups []string, fold bool) Admission {
	a := Admission{groups: slices.Clone(groups), fold: fold}
	for _, d := range domains {
		a.domains = append(a.domains, FoldASCII(d))
	}
	return a
}

// Allow returns nil or a *[NotAllowed]. Who must be in a domain and in a group
// must be in both.
func (a Admission) Allow(id Identity) error {
	if len(a.domains) > 0 && !a.inDomain(id.Email) {
		return &NotAllowed{Missing: "You need a verified e-mail address in " + AnyOf(a.domains) + "."}
	}
	if len(a.groups) > 0 && !slices.ContainsFunc(id.Groups, a.holds) {
		return &NotAllowed{Missing: "You need to be in the group " + AnyOf(a.groups) + "."}
	}
	return nil
}

func (a Admission) holds(group string) bool {
	return slices.ContainsFunc(a.groups, func(g string) bool {
		return g == group || a.fold && FoldASCII(g) == FoldASCII(group)
	})
}

func (a Admission) inDomain(email string) bool {
	domain, ok := EmailDomain(email)
	return ok && slices.ContainsFunc(a.domains, func(d string) bool {
		if below, ok := strings.CutPrefix(d, "*"); ok {
			return strings.HasSuffix(domain, below) // a domain never begins with a dot
		}
		return d == domain
	})
}

// AnyOf spells a choice: "a", "a or b", "a, b or c".
func AnyOf(list []string) string {
	last := len(list) - 1
	if last == 0 {
		return list[0]
	}
	return strings.Join(list[:last], ", ") + " or " + list[last]
}
