package authntest

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// node is an entry as it is filed. It is never changed, only replaced.
type node struct {
	Entry
	key        dnKey
	uuid       string
	made       int
	attributes []attribute
}

// tree is all entries at one time, ready to be searched.
type tree struct {
	leaves []*leaf // in the order in which they were made
	byKey  map[string]*leaf
	byName map[string]*leaf // by BindNames, prepared
}

// leaf is a node and its operational attributes.
type leaf struct {
	*node
	all []attribute
}

// snapshot is the directory as it is now.
func (d *Directory) snapshot() *tree {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tree == nil {
		d.tree = grow(slices.Collect(maps.Values(d.entries)))
	}
	return d.tree
}

func grow(nodes []*node) *tree {
	slices.SortFunc(nodes, func(a, b *node) int { return a.made - b.made })
	groups := map[string]*attribute{} // memberOf by the member's key
	for _, group := range nodes {
		for _, a := range group.attributes {
			if a.base != "member" && a.base != "uniquemember" {
				continue
			}
			for _, member := range a.prepared {
				of := groups[member]
				if of == nil {
					of = &attribute{name: "memberOf", base: "memberof", operational: true}
					groups[member] = of
				}
				of.values, of.prepared = append(of.values, group.DN), append(of.prepared, group.key.String())
			}
		}
	}
	t := &tree{byKey: map[string]*leaf{}, byName: map[string]*leaf{}}
	for _, n := range nodes {
		l := &leaf{node: n, all: append(slices.Clip(n.attributes), operational("entryUUID", n.uuid), operational("entryDN", n.DN))}
		states := slices.ContainsFunc(n.attributes, func(a attribute) bool { return a.base == "memberof" })
		if of := groups[n.key.String()]; of != nil && !states {
			l.all = append(l.all, *of)
		}
		t.leaves, t.byKey[n.key.String()] = append(t.leaves, l), l
		for _, name := range n.BindNames {
			t.byName[prepare(name)] = l
		}
	}
	return t
}

// exists says whether there is an entry at or below a name.
func (t *tree) exists(k dnKey) bool {
	return t.byKey[k.String()] != nil || slices.ContainsFunc(t.leaves, func(l *leaf) bool { return l.key.within(k) })
}

// attribute is one attribute of an entry with what its values compare by.
type attribute struct {
	name             string // as it is sent
	base             string // without options, in lower case
	options          []string
	values, prepared []string
	operational      bool
}

func newAttribute(name string, values []string) attribute {
	parts := strings.Split(strings.ToLower(name), ";")
	a := attribute{name: name, base: parts[0], options: parts[1:], values: values}
	for _, v := range values {
		p, _ := a.matchKey(v)
		a.prepared = append(a.prepared, p)
	}
	return a
}

func operational(name string, values ...string) attribute {
	a := newAttribute(name, values)
	a.operational = true
	return a
}

// namesEntries says whether the values are DNs.
func (a attribute) namesEntries() bool {
	switch a.base {
	case "member", "uniquemember", "memberof", "manager", "owner", "seealso", "secretary", "distinguishedname", "entrydn":
		return true
	default:
		return false
	}
}

// matchKey makes a value comparable by the attribute's matching rule. What is
// no DN where one has to be is equal to nothing but itself.
func (a attribute) matchKey(value string) (string, bool) {
	if !a.namesEntries() {
		return prepare(value), true
	}
	key, err := parseKey(value)
	if err != nil {
		return "\x00" + value, false
	}
	return key.String(), true
}

// is says whether a description means the attribute: mail means mail;lang-de
// too (RFC 4512, section 2.5.2).
func (a attribute) is(wanted attribute) bool {
	return a.base == wanted.base && !slices.ContainsFunc(wanted.options, func(o string) bool { return !slices.Contains(a.options, o) })
}

// dnKey is a DN that can be compared: each RDN prepared, the entry's own first.
type dnKey []string

func parseKey(dn string) (dnKey, error) {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return nil, err
	}
	key := dnKey{}
	for _, rdn := range parsed.RDNs {
		for _, a := range rdn.Attributes {
			a.Type, a.Value = strings.ToLower(a.Type), prepare(a.Value)
		}
		key = append(key, rdn.String()) // sorted and escaped
	}
	return key, nil
}

func mustKey(dn string) dnKey {
	key, err := parseKey(dn)
	if err != nil || len(key) == 0 {
		panic("authntest: not a DN: " + dn)
	}
	return key
}

func (k dnKey) String() string { return strings.Join(k, ",") }

// within says whether k is at or below other.
func (k dnKey) within(other dnKey) bool {
	return len(k) >= len(other) && slices.Equal(k[len(k)-len(other):], other)
}

// rdnsOf takes a DN apart that is known to be one.
func rdnsOf(dn string) []*ldap.RelativeDN {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		panic("authntest: not a DN: " + dn)
	}
	return parsed.RDNs
}

// prepare makes text comparable as caseIgnoreMatch has it (RFC 4518): no matter
// of case, width, spaces or invisible characters. To a directory "ａｄａ",
// " ADA " and "ada" with a NUL are one name, and clients have to bear it. What
// is no text is left as it is.
func prepare(s string) string {
	if !utf8.ValidString(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Z, r):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Variation_Selector), r == '\u034f', r == '\ufffc':
			return -1
		default:
			return r
		}
	}, s)
	s = norm.NFKC.String(cases.Fold().String(norm.NFKC.String(s)))
	return strings.Join(strings.Fields(s), " ")
}
