package policy

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/config"
)

// Membership is one team that somebody is in.
type Membership struct {
	Team string
	// Role is what they are in it.
	Role string
	// By says why, for people: the place in the settings and what has matched.
	By string
}

// Subject is somebody and their teams. It costs time with the number of their
// groups to make: once is enough for each identity.
type Subject struct {
	authn.Identity
	// Memberships are their teams, in the order of the settings, each once.
	Memberships []Membership

	groups map[string]bool // where there are many
}

// Teams are the names of somebody's teams.
func (s Subject) Teams() []string {
	out := make([]string, len(s.Memberships))
	for i, m := range s.Memberships {
		out[i] = m.Team
	}
	return out
}

// Roles are what somebody is in their teams, in the order of Teams.
func (s Subject) Roles() []string {
	out := make([]string, len(s.Memberships))
	for i, m := range s.Memberships {
		out[i] = m.Role
	}
	return out
}

// manyGroups is from how many on a set is quicker than a list.
const manyGroups = 16

// Subject returns somebody with their teams: those of their account, those that
// their token names, those that their groups stand for; if there are none at all,
// those that everybody is in.
func (p *Policy) Subject(id authn.Identity) Subject {
	s := Subject{Identity: id}
	if len(id.Groups) >= manyGroups {
		s.groups = make(map[string]bool, len(id.Groups))
		for _, g := range id.Groups {
			s.groups[g] = true
		}
	}
	seen := map[string]bool{}
	add := func(m Membership) {
		if !seen[m.Team] {
			seen[m.Team] = true
			s.Memberships = append(s.Memberships, m)
		}
	}
	for _, t := range id.Account.Teams {
		add(Membership{Team: t, Role: id.Account.Role, By: "service account " + id.Account.Name})
	}
	if id.Account.Name != "" {
		return s // which is in its own teams and no others
	}
	for _, m := range p.teams {
		m.each(s, p.named, add)
	}
	for _, t := range id.Teams {
		if teamName(t) {
			add(Membership{Team: t, Role: memberRole, By: "the token's claim"})
		}
	}
	if len(s.Memberships) == 0 {
		s.Memberships = slices.Clone(p.fallback)
	}
	return s
}

// memberRole is what somebody is in a team that a token names by itself.
const memberRole = "member"

func (s Subject) inGroup(group string) bool {
	if s.groups != nil {
		return s.groups[group]
	}
	return slices.Contains(s.Groups, group)
}

// mapping puts the people of groups into a team.
type mapping struct {
	team, role, place string
	routes            []string
	group             string   // exact, if there is no star
	parts             []string // of a group or a cn between its stars
	cn                bool
}

func newMapping(team string, g config.TeamGroup, place string) mapping {
	m := mapping{team: team, role: g.Role, place: place, routes: g.Routes}
	if g.CN != "" {
		m.cn, m.parts = true, unescapedParts(authn.FoldASCII(g.CN))
		return m
	}
	if m.parts = unescapedParts(g.Group); len(m.parts) == 1 {
		m.group = m.parts[0]
	}
	return m
}

// unescapedParts splits at the stars that no backslash stands before.
func unescapedParts(text string) []string {
	parts := []string{""}
	for i := 0; i < len(text); i++ {
		last := &parts[len(parts)-1]
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == '*' || text[i+1] == '\\'):
			i++
			*last += text[i : i+1]
		case text[i] == '*':
			parts = append(parts, "")
		default:
			*last += text[i : i+1]
		}
	}
	return parts
}

// each adds the teams that somebody's groups put them into.
func (m mapping) each(s Subject, named map[string]bool, add func(Membership)) {
	if len(m.routes) > 0 && !slices.Contains(m.routes, s.Route) {
		return
	}
	if m.group != "" {
		if s.inGroup(m.group) {
			add(m.membership(m.team, m.group))
		}
		return
	}
	for _, g := range s.Groups {
		name := g
		if m.cn {
			cn, ok := commonName(g)
			if !ok {
				continue
			}
			name = authn.FoldASCII(cn)
		}
		star, ok := between(m.parts, name)
		switch {
		case !ok:
		case m.team != "*":
			add(m.membership(m.team, g))
			return
		case teamName(star) && !named[star]: // what the settings name is theirs to fill
			add(m.membership(star, g))
		}
	}
}

func (m mapping) membership(team, group string) Membership {
	return Membership{Team: team, Role: m.role, By: fmt.Sprintf("%s: group %q", m.place, authn.Bounded(group))}
}

// between holds a text against parts that any text may stand between, and returns
// what stands in the first gap.
func between(parts []string, text string) (star string, ok bool) {
	last := len(parts) - 1
	if last == 0 {
		return "", text == parts[0]
	}
	if !strings.HasPrefix(text, parts[0]) || !strings.HasSuffix(text[len(parts[0]):], parts[last]) {
		return "", false
	}
	text = text[len(parts[0]) : len(text)-len(parts[last])]
	if last == 1 {
		return text, true
	}
	for i, part := range parts[1:last] {
		before, after, found := strings.Cut(text, part)
		if !found {
			return "", false
		}
		if i == 0 {
			star = before
		}
		text = after
	}
	return star, true
}

// teamName says whether a text that comes from outside can be a team's name, as
// the settings spell those.
func teamName(s string) bool {
	for i := range len(s) {
		c := s[i]
		word := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !word && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != ""
}

// commonName is the cn in the first part of a distinguished name (RFC 4514). That may
// hold several names, in any order; with two cn, none is the one.
func commonName(dn string) (string, bool) {
	cn, found := "", 0
	for more := true; more; {
		var name, value string
		if name, value, dn, more = cutName(dn); strings.EqualFold(name, "cn") {
			cn, found = value, found+1
		}
	}
	return cn, found == 1 && cn != ""
}

// cutName takes the first name off a distinguished name, with its value unescaped. More
// says that what is left goes on in the same part of it.
func cutName(dn string) (name, value, rest string, more bool) {
	name, rest, _ = strings.Cut(dn, "=")
	rest = strings.TrimLeft(rest, " ")
	var b strings.Builder
	i := 0
	for ; i < len(rest) && !strings.ContainsRune(",;+", rune(rest[i])); i++ {
		if rest[i] != '\\' || i+1 == len(rest) {
			b.WriteByte(rest[i])
			continue
		}
		i++
		if two, err := hex.DecodeString(rest[i:min(i+2, len(rest))]); err == nil && len(two) == 1 {
			i++
			b.Write(two)
		} else {
			b.WriteByte(rest[i])
		}
	}
	value, more = strings.TrimRight(b.String(), " "), i < len(rest) && rest[i] == '+'
	return strings.Trim(name, " "), value, rest[min(i+1, len(rest)):], more
}
