// Package policy says who may go where, as whom: which teams somebody is in, which
// rule of the settings a request falls under, and whether that lets them in.
//
// All of it is pure: it asks nobody, remembers nothing, and says the same of the
// same, so that a change of the settings acts at once on everybody who is signed in
// already, and every answer can be explained.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/config"
)

// Policy is the rules of the settings and the teams. Its zero value has no teams
// and lets in whoever has proved who they are.
type Policy struct {
	rules []rule
	teams []mapping
	named map[string]bool // teams that the settings name
	// tellsMethods: some rule is about some methods only
	tellsMethods bool
	fallback     []Membership // of who is in no team
}

// New makes a policy of sound settings.
func New(teams []config.Team, rules []config.Rule) *Policy {
	p := &Policy{named: map[string]bool{}}
	for i, t := range teams {
		p.named[t.Name] = true
		for j, g := range t.Groups {
			p.teams = append(p.teams, newMapping(t.Name, g, fmt.Sprintf("teams[%d].groups[%d]", i, j)))
		}
		if t.DefaultRole != "" {
			p.fallback = append(p.fallback, Membership{Team: t.Name, Role: t.DefaultRole, By: fmt.Sprintf("teams[%d].defaultRole", i)})
		}
	}
	for i, r := range rules {
		p.tellsMethods = p.tellsMethods || len(r.Methods) > 0
		p.rules = append(p.rules, newRule(r, i))
	}
	return p
}

// Place is where a request goes.
type Place struct {
	Upstream string // its name; empty where the gateway only answers for others
	Host     string // in lower case, without port
	Method   string
	Paths    []string // every way in which the path can be read; there is at least one
	// Unclear says that an upstream may read the path in yet another way: no public
	// rule counts then.
	Unclear bool
}

// ErrAmbiguous says that a path can be read in several ways, about which the
// policy says different things.
var ErrAmbiguous = errors.New("policy: the path can be read in ways that fall under different rules")

// Find returns the first rule that a request falls under, whichever way its path
// is read.
func (p *Policy) Find(at Place) (Rule, error) {
	first := p.find(&at, at.Paths[0])
	for _, path := range at.Paths[1:] {
		if p.find(&at, path) != first {
			return Rule{}, ErrAmbiguous
		}
	}
	if first < 0 {
		return Rule{}, nil
	}
	return p.rules[first].Rule, nil
}

// Same reports whether a request falls under the same rule whatever its method is.
func (p *Policy) Same(at Place) bool {
	methods := []string{"GET", "HEAD", "OPTIONS", "POST", "OTHER"} // the last stands for all that no rule names
	for i := range p.rules {
		methods = append(methods, p.rules[i].methods...)
	}
	for _, path := range at.Paths {
		first := p.find(&at, path)
		for _, m := range methods {
			other := at
			other.Method = m
			if p.find(&other, path) != first {
				return false
			}
		}
	}
	return true
}

// TellsMethods reports whether any rule is about some methods only.
func (p *Policy) TellsMethods() bool { return p.tellsMethods }

func (p *Policy) find(at *Place, path string) int {
	for i := range p.rules {
		if p.rules[i].matches(at, path) {
			return i
		}
	}
	return -1
}

// Rule is what holds where a request goes. Its zero value stands for no rule:
// whoever has proved who they are may come in.
type Rule struct {
	// Name is the rule's, or its place in the settings; empty for no rule.
	Name string
	// Place is where the settings say so; empty for no rule.
	Place string
	// Public lets everybody in, as nobody; Denied lets nobody in.
	Public, Denied bool
	// API leads nobody to sign-in.
	API bool

	require []config.Requirement
}

// Anonymous says whether somebody may come in of whom nothing is known but that
// the application knows them.
func (r Rule) Anonymous() bool { return r.Public || !r.Denied && len(r.require) == 0 }

// Access is what the settings call it.
func (r Rule) Access() string {
	switch {
	case r.Public:
		return "public"
	case r.Denied:
		return "deny"
	}
	return "authenticated"
}

// Needs are what somebody must be, for people to read: one of them is enough.
func (r Rule) Needs() []string {
	var out []string
	for _, need := range r.require {
		var all []string
		add := func(what string, values []string) {
			if len(values) > 0 {
				all = append(all, what+" "+authn.AnyOf(values))
			}
		}
		add("kind", need.Kinds)
		add("route", need.Routes)
		add("team", need.Teams)
		add("role", need.Roles)
		add("group", need.Groups)
		for _, name := range sortedKeys(need.Claims) {
			add("claim "+name, need.Claims[name])
		}
		out = append(out, strings.Join(all, ", "))
	}
	return out
}

// Allow returns nil or a *[authn.NotAllowed] that says what somebody would need.
func (r Rule) Allow(s Subject) error {
	if r.Denied {
		return &authn.NotAllowed{Missing: "Nobody may go there through this gateway."}
	}
	if len(r.require) == 0 || r.Public {
		return nil
	}
	wants := make([]string, len(r.require))
	for i, need := range r.require {
		if wants[i] = s.lacks(need); wants[i] == "" {
			return nil
		}
	}
	return &authn.NotAllowed{Missing: "You need to be " + strings.Join(slices.Compact(wants), ", or ") + "."}
}

// Meets says whether somebody is all that one of the requirements asks for. Without any,
// nobody is.
func (s Subject) Meets(needs []config.Requirement) bool {
	return slices.ContainsFunc(needs, func(need config.Requirement) bool { return s.lacks(need) == "" })
}

// lacks says what somebody would have to be, or nothing if they are all that.
func (s Subject) lacks(need config.Requirement) string {
	switch {
	case len(need.Kinds) > 0 && !slices.Contains(need.Kinds, string(s.Kind)):
		return "a " + authn.AnyOf(need.Kinds)
	case len(need.Routes) > 0 && !slices.Contains(need.Routes, s.Route):
		return "signed in by " + authn.AnyOf(need.Routes)
	case len(need.Teams) > 0 && len(need.Roles) == 0 && !s.inTeam(need.Teams, nil):
		return "in the team " + authn.AnyOf(need.Teams)
	case len(need.Roles) > 0 && !s.inTeam(need.Teams, need.Roles):
		if len(need.Teams) > 0 {
			return authn.AnyOf(need.Roles) + " in the team " + authn.AnyOf(need.Teams)
		}
		return authn.AnyOf(need.Roles) + " in a team"
	case len(need.Groups) > 0 && !slices.ContainsFunc(need.Groups, s.inGroup):
		return "in the group " + authn.AnyOf(need.Groups)
	}
	for _, name := range sortedKeys(need.Claims) {
		if !slices.ContainsFunc(s.Claims[name], func(v string) bool { return slices.Contains(need.Claims[name], v) }) {
			return "somebody whose claim " + name + " is " + authn.AnyOf(need.Claims[name])
		}
	}
	return ""
}

// inTeam says whether somebody is in one of the teams, with one of the roles; nil
// stands for any.
func (s Subject) inTeam(teams, roles []string) bool {
	return slices.ContainsFunc(s.Memberships, func(m Membership) bool {
		return (len(teams) == 0 || slices.Contains(teams, m.Team)) && (len(roles) == 0 || slices.Contains(roles, m.Role))
	})
}

func sortedKeys(m map[string][]string) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
