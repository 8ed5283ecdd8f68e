package config

import (
	"fmt"
	"slices"
	"strings"
)

// teams checks the names of teams and the groups that are in them.
func (k *checks) teams() {
	known := map[string]bool{}
	for i, t := range k.c.Teams {
		at := indexed("teams", i)
		if known[t.Name] {
			k.fault(at+".name", quoted(t.Name)+" is there twice", "make one of the two")
		}
		known[t.Name] = true
		for j, g := range t.Groups {
			k.teamGroup(indexed(at+".groups", j), t, g)
		}
		if t.Name == "*" && t.DefaultRole != "" {
			k.fault(at+".defaultRole", `has no effect: "*" is no team of its own`, "name a team")
		}
		if t.Name == "*" && len(t.Members) > 0 {
			k.fault(at+".members", `has no effect: "*" is no team of its own`, "name a team")
		}
		if t.Name == "*" && len(t.Groups) == 0 {
			k.fault(at+".groups", `is missing: "*" stands for what the "*" in a group stands for`, `add one, for instance {group: "wandb-*"}`)
		}
	}
}

func (k *checks) teamGroup(at string, t Team, g TeamGroup) {
	text, path := g.Group, at+".group"
	switch {
	case g.Group != "" && g.CN != "":
		k.fault(at+".cn", "stands beside group", "write one of the two")
		return
	case g.CN != "":
		text, path = g.CN, at+".cn"
	case g.Group == "":
		k.fault(at, "names no group", "set group or cn")
		return
	}
	stars := strings.Count(strings.NewReplacer(`\\`, "", `\*`, "").Replace(text), "*")
	switch {
	case t.Name == "*" && stars == 0:
		k.fault(path, `has no "*" that the team's name could stand for`, "put one where the team's name is, for instance wandb-*")
	case t.Name != "*" && strings.Trim(text, "*") == "":
		k.fault(path, "would put everybody who is in any group into the team", "name the groups; for everybody there is defaultRole")
	}
	k.routeNames(at+".routes", g.Routes)
}

func (k *checks) routeNames(at string, names []string) {
	for i, name := range names {
		if !slices.ContainsFunc(k.c.Authn, func(r Route) bool { return r.Name == name }) {
			k.fault(indexed(at, i), quoted(name)+" is the name of no route", "name one of authn")
		}
	}
}

// policy checks that each rule can mean something, and that none stands behind one
// that leaves it nothing.
func (k *checks) policy() {
	names := map[string]int{}
	for i, r := range k.c.Policy {
		at := indexed("policy", i)
		if first, twice := names[r.Name]; r.Name != "" && twice {
			k.fault(at+".name", fmt.Sprintf("%q is the name of %s too", r.Name, indexed("policy", first)), "give each its own")
		} else {
			names[r.Name] = i
		}
		if slices.ContainsFunc(presetRules("wandb"), func(p Rule) bool { return p.Name == r.Name }) {
			k.fault(at+".name", quoted(r.Name)+" is the name of a rule of the preset wandb", "give it another")
		}
		k.rulePlaces(at, r)
		k.ruleAccess(at, r)
		k.behind(at, i)
	}
}

// behind refuses a rule that is never looked at, since one before it matches all that
// it is about.
func (k *checks) behind(at string, i int) {
	r := k.c.Policy[i]
	if len(r.Upstreams)+len(r.Hosts)+len(r.Methods) == 0 && everything(r.Paths) && i < len(k.c.Policy)-1 {
		k.fault(at, "matches every request, so no rule after it is ever looked at", "move it to the end, or say what it is about")
		return
	}
	for j, before := range k.c.Policy[:i] {
		if narrower(r.Upstreams, before.Upstreams) && narrower(r.Hosts, before.Hosts) && narrower(r.Methods, before.Methods) && !everything(before.Paths) &&
			len(r.Paths) > 0 && !slices.ContainsFunc(r.Paths, func(p string) bool {
			return !slices.ContainsFunc(before.Paths, func(wide string) bool { return swallows(wide, p) })
		}) {
			k.fault(at, indexed("policy", j)+" matches all that it is about, so it is never looked at", "move it before that one")
			return
		}
	}
}

// everything says whether paths are all there are: none, or one that is nothing but
// stars and slashes.
func everything(paths []string) bool {
	return len(paths) == 0 || slices.ContainsFunc(paths, func(p string) bool {
		return strings.Trim(p, "*/") == "" && (strings.HasSuffix(p, "/") || strings.Contains(p, "**"))
	})
}

// narrower says whether a condition asks for no more than another; none is any.
func narrower(narrow, wide []string) bool {
	return len(wide) == 0 || len(narrow) > 0 && !slices.ContainsFunc(narrow, func(n string) bool { return !slices.Contains(wide, n) })
}

// swallows says whether all that one path pattern matches another matches too, as far
// as that can be told without stars in the wider one.
func swallows(wide, narrow string) bool {
	return wide == narrow || !strings.Contains(wide, "*") && strings.HasSuffix(wide, "/") && (strings.HasPrefix(narrow, wide) || narrow+"/" == wide)
}

func (k *checks) rulePlaces(at string, r Rule) {
	for i, name := range r.Upstreams {
		if !slices.ContainsFunc(k.c.Upstreams, func(u Upstream) bool { return u.Name == name }) && (name != ForwardAuthUpstream || k.c.ForwardAuth == nil) {
			k.fault(indexed(at+".upstreams", i), quoted(name)+" is the name of no upstream", "name one of upstreams")
		}
	}
	for i, h := range r.Hosts {
		switch suffix, below := strings.CutPrefix(h, "*"); {
		case !hostname(strings.TrimPrefix(h, "*.")) || strings.Contains(h, ":"):
			k.fault(indexed(at+".hosts", i), quoted(h)+" is not a host name in lower case", `write the name alone, or "*." and a domain`)
		case !slices.ContainsFunc(k.c.names(), func(name string) bool { return name == h || below && strings.HasSuffix(name, suffix) }):
			k.fault(indexed(at+".hosts", i), "no request is answered for "+quoted(h), "name a host of publicURL, of an upstream or of forwardAuth")
		}
	}
	for i, p := range r.Paths {
		path := indexed(at+".paths", i)
		if problem := wrongPath(p); problem != "" {
			k.fault(path, problem, "write it decoded, for instance /api/ or /files/*/media")
			continue
		}
		for segment := range strings.SplitSeq(p, "/") {
			if strings.Contains(segment, "**") && segment != "**" {
				k.fault(path, quoted(segment)+` has "**" in it`, `a segment "**" stands alone; within one segment write "*"`)
			}
		}
	}
	for i, m := range r.Methods {
		if strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			k.fault(indexed(at+".methods", i), quoted(m)+" is no method", "write it in capitals, for instance GET")
		}
		if m == "HEAD" && slices.Contains(r.Methods, "GET") {
			k.fault(indexed(at+".methods", i), "is meant by GET already", "remove it")
		}
	}
}

func (k *checks) ruleAccess(at string, r Rule) {
	if r.Access != "authenticated" && len(r.Require) > 0 {
		k.fault(at+".require", "has no effect with access "+r.Access, "remove it, or set access: authenticated")
	}
	if r.Access == "public" && everything(r.Paths) && len(r.Upstreams)+len(r.Hosts) == 0 {
		k.fault(at+".access", "would open everything to everybody", "say which paths, hosts or upstreams need no sign-in")
	}
	if r.Access != "authenticated" && r.API {
		k.fault(at+".api", "has no effect with access "+r.Access+": nobody is led to sign-in there", "remove it")
	}
	for i, need := range r.Require {
		k.requirement(indexed(at+".require", i), need)
	}
}

// api checks who may administer.
func (k *checks) api() {
	for i, need := range k.c.API.Administrators {
		k.requirement(indexed("api.administrators", i), need)
	}
}

func (k *checks) requirement(at string, need Requirement) {
	if len(need.Teams)+len(need.Roles)+len(need.Groups)+len(need.Kinds)+len(need.Routes)+len(need.Claims) == 0 {
		k.fault(at, "asks for nothing, so whoever has proved who they are is let in", "say what somebody must be, or remove it")
	}
	k.routeNames(at+".routes", need.Routes)
	k.teamNames(at, need)
	for name, values := range need.Claims {
		if path := joined(at+".claims", name); name == "" || len(values) == 0 {
			k.fault(path, "names no value", "write a list of values, of which one must be there")
		}
	}
}

// teamNames refuses a requirement that nobody can meet: a team or a role that
// nothing puts anybody into.
func (k *checks) teamNames(at string, need Requirement) {
	teams, roles, open := map[string]bool{}, map[string]bool{}, false
	for _, t := range k.c.Teams {
		teams[t.Name], roles[t.DefaultRole] = true, true
		open = open || t.Name == "*"
		for _, g := range t.Groups {
			roles[g.Role] = true
		}
	}
	for _, a := range k.c.ServiceAccounts {
		teams[a.Team], roles[a.Role] = true, true
		for _, t := range a.Teams {
			teams[t] = true
		}
	}
	if k.c.claimsTeams() {
		open, roles["member"] = true, true
	}
	for i, t := range need.Teams {
		if !teams[t] && !open {
			k.fault(indexed(at+".teams", i), quoted(t)+" is none of teams, so nobody is in it", "add it there, or correct it")
		}
	}
	for i, r := range need.Roles {
		if !roles[r] {
			k.fault(indexed(at+".roles", i), "nobody is "+quoted(r)+" in any team", "give somebody that role in teams, or correct it")
		}
	}
}

// names are the host names that requests are answered for.
func (c Config) names() []string {
	out := []string{c.Origin().Hostname()}
	for _, u := range c.Upstreams {
		out = append(out, u.Hosts...)
	}
	if c.ForwardAuth != nil {
		out = append(out, c.ForwardAuth.Hosts...)
	}
	return out
}

// claimsTeams says whether tokens of any route name teams themselves.
func (c Config) claimsTeams() bool {
	return slices.ContainsFunc(c.Authn, func(r Route) bool {
		return r.OIDC != nil && r.OIDC.Claims.Teams != "" ||
			r.Bearer != nil && slices.ContainsFunc(r.Bearer.Issuers, func(i Issuer) bool { return i.Claims.Teams != "" })
	})
}
