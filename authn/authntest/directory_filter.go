package authntest

import (
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// filter is a search filter (RFC 4511, section 4.5.1.7).
type filter struct {
	choice int // ldap.FilterAnd and so on
	parts  []*filter
	// attribute is what the description says, description what was sent.
	attribute            attribute
	description          string
	rule                 string
	dnAttributes         bool
	value                string
	initial, last, exact string   // prepared
	middle               []string // prepared
	pieces               []piece  // as they were sent
	valid                bool     // false if the value is no DN and has to be
}

type piece struct {
	tag   ber.Tag
	value string
}

// filter reads a filter. How deep they go is bounded by checkForm.
func (b *reader) filter(p *ber.Packet) *filter {
	f := &filter{choice: int(p.Tag)}
	if p.ClassType != ber.ClassContext {
		b.fail()
	}
	switch p.Tag {
	case ldap.FilterAnd, ldap.FilterOr:
		for _, c := range p.Children {
			f.parts = append(f.parts, b.filter(c))
		}
	case ldap.FilterNot:
		f.parts = []*filter{b.filter(b.child(p, 0))}
	case ldap.FilterPresent:
		f.description = b.tagged(p, ldap.FilterPresent)
	case ldap.FilterSubstrings:
		f.description = b.octets(b.child(p, 0))
		b.substrings(b.child(p, 1), f)
	case ldap.FilterEqualityMatch, ldap.FilterGreaterOrEqual, ldap.FilterLessOrEqual, ldap.FilterApproxMatch:
		f.description, f.value = b.octets(b.child(p, 0)), b.octets(b.child(p, 1))
	case ldap.FilterExtensibleMatch:
		b.extensible(p, f)
	default:
		b.fail()
	}
	f.attribute = newAttribute(f.description, nil)
	f.exact, f.valid = f.attribute.matchKey(f.value)
	return f
}

func (b *reader) substrings(list *ber.Packet, f *filter) {
	for i, c := range list.Children {
		value := b.tagged(c, c.Tag)
		f.pieces = append(f.pieces, piece{c.Tag, value})
		switch {
		case c.Tag == ldap.FilterSubstringsInitial && i == 0:
			f.initial = prepare(value)
		case c.Tag == ldap.FilterSubstringsFinal && i == len(list.Children)-1:
			f.last = prepare(value)
		case c.Tag == ldap.FilterSubstringsAny:
			f.middle = append(f.middle, prepare(value))
		default:
			b.fail()
		}
	}
	if len(list.Children) == 0 {
		b.fail()
	}
}

func (b *reader) extensible(p *ber.Packet, f *filter) {
	for _, c := range p.Children {
		value := b.tagged(c, c.Tag)
		switch c.Tag {
		case ldap.MatchingRuleAssertionMatchingRule:
			f.rule = value
		case ldap.MatchingRuleAssertionType:
			f.description = value
		case ldap.MatchingRuleAssertionMatchValue:
			f.value = value
		case ldap.MatchingRuleAssertionDNAttributes:
			f.dnAttributes = value != "\x00"
		default:
			b.fail()
		}
	}
}

// String is the filter as text (RFC 4515).
func (f *filter) String() string {
	name := ldap.EscapeFilter(f.description)
	switch f.choice {
	case ldap.FilterPresent:
		return "(" + name + "=*)"
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		var b strings.Builder
		for _, p := range f.parts {
			b.WriteString(p.String())
		}
		return "(" + f.sign() + b.String() + ")"
	case ldap.FilterSubstrings:
		var b strings.Builder
		for i, p := range f.pieces {
			if i > 0 || p.tag != ldap.FilterSubstringsInitial {
				b.WriteString("*")
			}
			b.WriteString(ldap.EscapeFilter(p.value))
		}
		if f.pieces[len(f.pieces)-1].tag != ldap.FilterSubstringsFinal {
			b.WriteString("*")
		}
		return "(" + name + "=" + b.String() + ")"
	case ldap.FilterExtensibleMatch:
		if f.dnAttributes {
			name += ":dn"
		}
		if f.rule != "" {
			name += ":" + ldap.EscapeFilter(f.rule)
		}
	}
	return "(" + name + f.sign() + ldap.EscapeFilter(f.value) + ")"
}

func (f *filter) sign() string {
	switch f.choice {
	case ldap.FilterAnd:
		return "&"
	case ldap.FilterOr:
		return "|"
	case ldap.FilterNot:
		return "!"
	case ldap.FilterGreaterOrEqual:
		return ">="
	case ldap.FilterLessOrEqual:
		return "<="
	case ldap.FilterApproxMatch:
		return "~="
	case ldap.FilterExtensibleMatch:
		return ":="
	case ldap.FilterPresent:
		return "=*"
	default:
		return "="
	}
}

func (f *filter) assertions() []Assertion {
	var all []Assertion
	for _, p := range f.parts {
		all = append(all, p.assertions()...)
	}
	for _, p := range f.pieces {
		match := [...]string{"initial", "any", "final"}[p.tag]
		all = append(all, Assertion{Attribute: f.description, Match: match, Value: []byte(p.value)})
	}
	if len(f.parts)+len(f.pieces) > 0 || f.choice == ldap.FilterAnd || f.choice == ldap.FilterOr {
		return all
	}
	return []Assertion{{Attribute: f.description, Match: f.sign(), Rule: f.rule, Value: []byte(f.value)}}
}

// truth is what a filter comes to. Undefined is not false: its negation is
// undefined too.
type truth int

const (
	no truth = iota
	undefined
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (f *filter) matches(l *leaf, t *tree) truth {
	switch f.choice {
	case ldap.FilterAnd:
		result := yes
		for _, p := range f.parts {
			result = min(result, p.matches(l, t))
		}
		return result
	case ldap.FilterOr:
		result := no
		for _, p := range f.parts {
			result = max(result, p.matches(l, t))
		}
		return result
	case ldap.FilterNot:
		return yes - f.parts[0].matches(l, t)
	case ldap.FilterExtensibleMatch:
		return f.matchesByRule(l, t)
	case ldap.FilterPresent:
		return f.some(l, func(string, string) bool { return true })
	case ldap.FilterSubstrings:
		if f.attribute.namesEntries() { // they have no rule for that
			return undefined
		}
		return f.some(l, func(_, v string) bool { return f.hasPieces(v) })
	case ldap.FilterGreaterOrEqual:
		return f.some(l, func(_, v string) bool { return order(v, f.exact) >= 0 })
	case ldap.FilterLessOrEqual:
		return f.some(l, func(_, v string) bool { return order(v, f.exact) <= 0 })
	default:
		return f.equals(l)
	}
}

func (f *filter) equals(l *leaf) truth {
	if !f.valid {
		return undefined
	}
	return f.some(l, func(_, v string) bool { return v == f.exact })
}

// some says whether any value of the attribute holds.
func (f *filter) some(l *leaf, holds func(value, prepared string) bool) truth {
	for _, a := range l.all {
		if !a.is(f.attribute) {
			continue
		}
		for i := range a.values {
			if holds(a.values[i], a.prepared[i]) {
				return yes
			}
		}
	}
	return no
}

func (f *filter) hasPieces(v string) bool {
	v, ok := strings.CutPrefix(v, f.initial)
	for _, m := range f.middle {
		at := strings.Index(v, m)
		if at < 0 {
			return false
		}
		v = v[at+len(m):]
	}
	return ok && strings.HasSuffix(v, f.last)
}

// order compares numbers as numbers, anything else as text.
func order(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	switch {
	case errX != nil || errY != nil:
		return strings.Compare(a, b)
	case x < y:
		return -1
	case x > y:
		return 1
	default:
		return 0
	}
}

func (f *filter) matchesByRule(l *leaf, t *tree) truth {
	if f.description == "" || f.dnAttributes {
		return undefined
	}
	switch strings.ToLower(f.rule) {
	case "", "2.5.13.2", "caseignorematch":
		return f.equals(l)
	case "2.5.13.5", "caseexactmatch", "2.5.13.17", "octetstringmatch":
		return f.some(l, func(v, _ string) bool { return v == f.value })
	case oidBitAnd, oidBitOr:
		bits, err := strconv.ParseInt(f.value, 10, 64)
		if err != nil {
			return undefined
		}
		return f.some(l, func(v, _ string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return err == nil && (n&bits == bits || f.rule == oidBitOr && n&bits != 0)
		})
	case oidInChain:
		if !f.valid || !f.attribute.namesEntries() {
			return undefined
		}
		return truthOf(f.inChain(l, t))
	default:
		return undefined
	}
}

// inChain follows the attribute from entry to entry, however they go in circles.
func (f *filter) inChain(l *leaf, t *tree) bool {
	seen, found := map[*leaf]bool{l: true}, false
	for next := []*leaf{l}; len(next) > 0 && !found; next = next[1:] {
		f.some(next[0], func(_, v string) bool {
			if v == f.exact {
				found = true
			}
			if other := t.byKey[v]; other != nil && !seen[other] {
				seen[other] = true
				next = append(next, other)
			}
			return found
		})
	}
	return found
}
