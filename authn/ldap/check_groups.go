package ldap

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatehouse/authn"
)

// groups counts the groups, and looks for those that the settings let in.
func (k *checker) groups(ctx context.Context) {
	g := k.settings.Groups
	if g.From == "none" {
		k.ok("groups", "none are asked for")
		return
	}
	names, err := k.groupNames(ctx)
	switch {
	case err != nil:
		k.bad("groups", err.Error(), "check "+setGroups+", groups.filter and "+setFrom)
		return
	case len(names) == 0 && k.sample == nil && k.ofPeople():
		return // what was said of people says it
	case len(names) == 0:
		k.bad("groups", "nobody is in any group below "+g.BaseDN, "check "+setFrom+", "+setGroups+" and groups.filter, or set groups.from to none; "+k.readable("groups"))
		return
	}
	k.ok("groups", "%d found: %s", len(names), listed(names))
	for _, want := range k.settings.AllowedGroups {
		if !slices.ContainsFunc(names, func(n string) bool { return authn.FoldASCII(n) == authn.FoldASCII(canonicalText(want, g.As)) }) {
			k.findings = append(k.findings, authn.Finding{What: "allowedGroups",
				Detail: fmt.Sprintf("%q is none of them; %s; found: %s", authn.Bounded(want), k.source(), listed(names)),
				Fix:    "check how it is spelled (LOCAL_LDAP_GROUP_ALLOW_LIST); groups are known by their " + g.As + k.otherSource(),
			})
		}
	}
}

// ofPeople says whether groups are read from the entries of people.
func (k *checker) ofPeople() bool {
	g := k.settings.Groups
	return g.From == "gidNumber" || g.From == "memberOf" && !g.Nested
}

// source says how groups are found.
func (k *checker) source() string {
	switch g := k.settings.Groups; {
	case g.From == "gidNumber" && g.As == "gidNumber":
		return "groups come from gidNumber: a person is in the one of their own number"
	case g.From == "gidNumber":
		return "groups come from gidNumber: only posixGroups that a person's own number names count"
	case g.From == "memberOf" && !g.Nested:
		return "groups come from " + k.settings.Attributes.MemberOf + " of people, and those below " + g.BaseDN + " count"
	}
	return "groups come from a search below " + k.settings.Groups.BaseDN
}

// otherSource advises where few groups are found at all.
func (k *checker) otherSource() string {
	if k.settings.Groups.From != "gidNumber" {
		return ""
	}
	return ". To count all groups of people, remove group=gidNumber from LOCAL_LDAP_ATTRIBUTES, or set groups.from to search"
}

// listed is a few of many names. One that could be taken for two is in quotes.
func listed(names []string) string {
	const most = 10
	var out []string
	for _, n := range names[:min(most, len(names))] {
		if n = authn.Bounded(n); strings.ContainsAny(n, `,;" `) && !strings.Contains(n, "=") {
			n = strconv.Quote(n)
		}
		out = append(out, n)
	}
	separator := ", "
	if slices.ContainsFunc(out, func(n string) bool { return strings.Contains(n, "=") }) {
		separator = "; " // DNs
	}
	if len(names) > most {
		out = append(out, "…")
	}
	return strings.Join(out, separator)
}

func canonicalText(group, as string) string {
	if dn, err := parseDN(group); as == "dn" && err == nil {
		return canonical(dn)
	}
	return group
}

// groupNames is what the groups are called that people are in.
func (k *checker) groupNames(ctx context.Context) ([]string, error) {
	var found []group
	switch g := k.settings.Groups; {
	case g.From == "gidNumber" && g.As == "gidNumber":
		var names []string
		for _, e := range k.sample {
			names = append(names, values(e, "gidNumber")...)
		}
		slices.Sort(names)
		return slices.Compact(names), nil
	case g.From == "memberOf" && !g.Nested: // groups around others need be in nobody's memberOf
		for _, e := range k.sample {
			some, err := k.memberOf(ctx, e)
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
		}
	default:
		all, err := k.searchGroups(ctx, strings.NewReplacer("{dn}", "*", "{username}", "*", "{gidNumber}", "*").Replace(g.Filter))
		if err != nil {
			return nil, err
		}
		if found = all; g.From == "gidNumber" {
			if found, err = k.ownNumbers(ctx, found); err != nil {
				return nil, err
			}
		}
	}
	var names []string
	for _, g := range found {
		if name, ok := k.called(g); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ownNumbers keeps the groups whose number somebody has as their own. Others
// are nobody's by it, however many members they name.
func (k *checker) ownNumbers(ctx context.Context, found []group) ([]group, error) {
	own := map[string]bool{}
	for _, e := range k.sample {
		for _, n := range values(e, "gidNumber") {
			own[n] = true
		}
	}
	g := k.settings.Groups
	numbered, err := k.search(ctx, query{
		base: g.BaseDN, scope: scope(g.Scope), filter: strings.ReplaceAll(g.Filter, "{gidNumber}", "*"), attrs: []string{"gidNumber"}, most: maxGroups,
	})
	if err != nil {
		return nil, err
	}
	somebodys := map[string]bool{}
	for _, e := range numbered {
		if dn, err := parseDN(e.DN); err == nil && slices.ContainsFunc(values(e, "gidNumber"), func(n string) bool { return own[n] }) {
			somebodys[canonical(dn)] = true
		}
	}
	return slices.DeleteFunc(found, func(one group) bool { return !somebodys[canonical(one.dn)] }), nil
}
