package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
)

const (
	// maxGroups bounds the groups of one person, and maxDepth how deep groups nest.
	maxGroups = 10_000
	maxDepth  = 10
	// batch is how many groups one search for the groups around them names.
	batch = 100
)

// noNumber is what {gidNumber} stands for when a person has none: no group has it.
const noNumber = "-1"

// group is one group of a person.
type group struct {
	dn   *ldap.DN
	name string
	gid  string
}

// groupsOf returns the groups of a person as the settings want them called, in
// order and each once. A group that can't be read or called by anything is
// nobody's reason to be let in, nor to be kept out: others may make groups.
func (d *directory) groupsOf(ctx context.Context, e *ldap.Entry, username string) ([]string, error) {
	g := d.settings.Groups
	if g.From == "none" {
		return nil, nil
	}
	if g.From == "gidNumber" && g.As == "gidNumber" {
		return slices.Clone(values(e, "gidNumber")), nil
	}
	found, err := d.direct(ctx, e, username)
	if err == nil && g.Nested {
		found, err = d.nested(ctx, e, found)
	}
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	var out []string
	for _, one := range found {
		if called, ok := d.called(one); ok {
			out = append(out, called)
		} else {
			d.log.Warn("a group is left out", "reason", "it has no one "+g.As+" to call it by; see groups.as and attributes.groupName", "group", authn.Bounded(one.dn.String()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// direct returns the groups that a person is in themselves.
func (d *directory) direct(ctx context.Context, e *ldap.Entry, username string) ([]group, error) {
	if d.settings.Groups.From == "memberOf" {
		return d.memberOf(ctx, e)
	}
	gid := noNumber
	if numbers := values(e, "gidNumber"); len(numbers) == 1 {
		gid = numbers[0]
	}
	return d.searchGroups(ctx, strings.NewReplacer(
		"{dn}", ldap.EscapeFilter(e.DN), "{username}", ldap.EscapeFilter(username), "{gidNumber}", ldap.EscapeFilter(gid),
	).Replace(d.settings.Groups.Filter))
}

// memberOf reads the groups from the person's own entry. Those elsewhere than
// below groups.baseDN don't count.
func (d *directory) memberOf(ctx context.Context, e *ldap.Entry) ([]group, error) {
	attr := d.settings.Attributes.MemberOf
	all, err := d.ranged(ctx, e, attr)
	if err != nil {
		return nil, err
	}
	if len(all) > maxGroups {
		return nil, errTooMany
	}
	var out []group
	for _, text := range all {
		dn, err := parseDN(text)
		if err != nil {
			d.log.Warn("a group is left out", "reason", attr+" holds what is not a DN; see groups.from", "group", authn.Bounded(text))
			continue
		}
		if below(dn, d.groups) {
			out = append(out, group{dn: dn})
		}
	}
	return out, nil
}

// ranged returns all values of an attribute, of which Active Directory gives
// only some at once ("memberOf;range=0-1499", MS-ADTS 3.1.1.3.1.3.3).
func (d *directory) ranged(ctx context.Context, e *ldap.Entry, attr string) ([]string, error) {
	out := slices.Clone(values(e, attr))
	for {
		part, next, ok := rangeOf(e, attr)
		if !ok {
			return out, nil
		}
		out = append(out, part...)
		if next <= 0 {
			return out, nil
		}
		if len(out) > maxGroups || len(part) == 0 {
			return nil, errTooMany
		}
		more, err := d.search(ctx, query{
			base: e.DN, scope: ldap.ScopeBaseObject, filter: "(objectClass=*)", most: 1,
			attrs: []string{fmt.Sprintf("%s;range=%d-*", attr, next)},
		})
		if err != nil || len(more) != 1 {
			return nil, errors.Join(errors.New("the rest of "+attr+" can't be read"), err)
		}
		e = more[0]
	}
}

// rangeOf finds the part of an attribute that an entry has, and where the next
// part begins; 0 if that was the last.
func rangeOf(e *ldap.Entry, attr string) (part []string, next int, ok bool) {
	for _, a := range e.Attributes {
		name, limits, found := strings.Cut(a.Name, ";range=")
		if !found || !strings.EqualFold(name, attr) {
			continue
		}
		_, last, _ := strings.Cut(limits, "-")
		if n, err := strconv.Atoi(last); err == nil {
			next = n + 1
		}
		return a.Values, next, true
	}
	return nil, 0, false
}

// searchGroups returns the groups that a filter finds.
func (d *directory) searchGroups(ctx context.Context, filter string) ([]group, error) {
	attrs := []string{"1.1"}
	switch d.settings.Groups.As {
	case "name":
		attrs = []string{d.settings.Attributes.GroupName}
	case "gidNumber":
		attrs = []string{"gidNumber"}
	}
	entries, err := d.search(ctx, query{
		base: d.settings.Groups.BaseDN, scope: scope(d.settings.Groups.Scope), filter: filter, attrs: attrs, most: maxGroups,
	})
	if err != nil {
		return nil, err
	}
	var out []group
	for _, e := range entries {
		dn, err := parseDN(e.DN)
		if err != nil || !below(dn, d.groups) {
			d.log.Warn("a group is left out", "reason", "it is not below groups.baseDN, or its DN can't be read", "group", authn.Bounded(e.DN))
			continue
		}
		one := group{dn: dn}
		if names := values(e, d.settings.Attributes.GroupName); len(names) == 1 {
			one.name = names[0]
		}
		if numbers := values(e, "gidNumber"); len(numbers) == 1 {
			one.gid = numbers[0]
		}
		out = append(out, one)
	}
	return out, nil
}

// nested adds the groups around groups. Circles end because no group is asked
// for twice.
func (d *directory) nested(ctx context.Context, e *ldap.Entry, found []group) ([]group, error) {
	if rule := d.preset.nestedFilter; rule != "" {
		all, err := d.searchGroups(ctx, strings.ReplaceAll(rule, "{dn}", ldap.EscapeFilter(e.DN)))
		return append(found, all...), err
	}
	known := map[string]bool{}
	var out []group
	for depth := 0; len(found) > 0; depth++ {
		var next []group
		for _, g := range found {
			if key := canonical(g.dn); !known[key] {
				known[key] = true
				next = append(next, g)
			}
		}
		if out = append(out, next...); len(out) > maxGroups {
			return nil, errTooMany
		}
		if depth == maxDepth && len(next) > 0 {
			d.log.Warn("groups may be left out", "reason", "they nest too deep", "group", authn.Bounded(next[0].dn.String()))
			return out, nil
		}
		var err error
		if found, err = d.around(ctx, next); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// around returns the groups that hold one of these.
func (d *directory) around(ctx context.Context, inner []group) ([]group, error) {
	var out []group
	for some := range slices.Chunk(inner, batch) {
		var filter strings.Builder
		filter.WriteString("(|")
		for _, g := range some {
			filter.WriteString(strings.NewReplacer(
				"{dn}", ldap.EscapeFilter(g.dn.String()), "{username}", "", "{gidNumber}", noNumber,
			).Replace(d.settings.Groups.Filter))
		}
		filter.WriteString(")")
		more, err := d.searchGroups(ctx, filter.String())
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// called is what a group is called. Of several names only the one in its DN
// counts: whoever may add names to a group could make it look like another.
func (d *directory) called(g group) (string, bool) {
	var called string
	switch d.settings.Groups.As {
	case "dn":
		return canonical(g.dn), true
	case "gidNumber":
		called = g.gid
	default:
		called = g.name
		if in, ok := rdn(g.dn, d.settings.Attributes.GroupName); ok {
			called = in
		}
	}
	return called, called != "" && len(called) <= authn.MaxID && authn.Text(called)
}

// rdn returns the one value of attr in the first part of a DN.
func rdn(dn *ldap.DN, attr string) (value string, one bool) {
	for _, a := range dn.RDNs[0].Attributes {
		if strings.EqualFold(a.Type, attr) {
			if one {
				return "", false
			}
			value, one = a.Value, true
		}
	}
	return value, one
}
