package config

import (
	"maps"
	"slices"
	"strings"
)

// Team is a team of the application and who is in it.
type Team struct {
	// Its name. "*" stands for what the "*" in a group stands for, so that every
	// group of that spelling is a team, but for those that have an entry of their own.
	Name string `json:"name" jsonschema:"required,pattern=^([A-Za-z0-9][A-Za-z0-9_.-]*|\\*)$"`
	// Whoever is in one of these groups is in the team. The first that fits decides
	// about the role.
	Groups []TeamGroup `json:"groups,omitempty" jsonschema:"minItems=1"`
	// What somebody is in it who is in no team at all. Without it they are in none.
	DefaultRole string `json:"defaultRole,omitempty" jsonschema:"pattern=^[a-z][a-z0-9_-]*$"`
	// The user names or e-mail addresses of its people. A service account of the
	// team may log in the name of any of them.
	Members []string `json:"members,omitempty" jsonschema:"uniqueItems=true"`
}

// TeamGroup is a group whose people are in a team. It says group or cn.
type TeamGroup struct {
	// The group as its route spells it. "*" stands for any text, "\*" for a star.
	Group string `json:"group,omitempty"`
	// The cn in the first part of the group's name, where the route spells groups as
	// distinguished names. "*" stands for any text; case does not matter.
	CN string `json:"cn,omitempty"`
	// What its people are in the team: admin, member, viewer or a name of your own.
	Role string `json:"role" jsonschema:"default=member,pattern=^[a-z][a-z0-9_-]*$"`
	// The routes whose groups these are. Without any, all.
	Routes []string `json:"routes,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
}

// ServiceAccount is a program's identity. It proves itself by an API key
// (apiKey), by a JWT with its subject (bearer), or by either.
type ServiceAccount struct {
	// A short name for logs and headers; a-z, 0-9 and "-".
	Name string `json:"name" jsonschema:"title=name,required,pattern=^[a-z0-9][a-z0-9-]*$"`
	// "team", for one team, or "organization", for all of them.
	Scope string `json:"scope" jsonschema:"enum=team,enum=organization,default=team"`
	// The team that it belongs to; with scope organization, the one that is meant
	// when it names none.
	Team string `json:"team" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9_.-]*$"`
	// With scope organization, further teams that it may work for. Without any, all of teams.
	Teams []string `json:"teams,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// What it is in its teams: admin, member, viewer or a name of your own.
	Role string `json:"role" jsonschema:"default=member,pattern=^[a-z][a-z0-9_-]*$"`
	// The sub claim of its JWTs, for an external service account.
	Subject string `json:"subject,omitempty"`
	// The issuer of its JWTs. Needed if there are several.
	Issuer string `json:"issuer,omitempty"`
	// API keys that are not in the store, by their hash: what "gatehouse key new
	// --print" shows.
	KeyHashes []string `json:"keyHashes,omitempty" jsonschema:"uniqueItems=true"`
}

// Rule says who may go to a part of the applications. The first rule that matches
// a request decides.
type Rule struct {
	// A short name for logs and explanations; a-z, 0-9 and "-".
	Name string `json:"name,omitempty" jsonschema:"pattern=^[a-z0-9][a-z0-9-]*$"`
	// The upstreams that it is about. Without any, all.
	Upstreams []string `json:"upstreams,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// The host names that it is about; "*.example.com" is every name below
	// example.com. Without any, all.
	Hosts []string `json:"hosts,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// The paths that it is about, decoded: "/a" is that path alone, "/a/" everything
	// below it, and /a too unless access is public. "*" stands for any text within one segment, a segment
	// "**" for any number of segments. Without any, all.
	Paths []string `json:"paths,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// The methods that it is about; GET is HEAD too. Without any, all.
	Methods []string `json:"methods,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Who may come in: "public", everybody, without identity; "authenticated", who
	// has proved who they are and is what require says; "deny", nobody.
	Access string `json:"access" jsonschema:"enum=public,enum=authenticated,enum=deny,default=authenticated"`
	// What somebody must be. One item of the list is enough, but all that stands in it
	// must hold.
	Require []Requirement `json:"require,omitempty" jsonschema:"minItems=1"`
	// Says that programs come here: nobody is led to sign-in, whatever the request
	// looks like.
	API bool `json:"api,omitempty"`
	// Where the settings say so, for explanations. [Rules] tells it.
	Place string `json:"-"`
}

// Requirement is what somebody must be. All that it says must hold; of each list
// one value is enough.
type Requirement struct {
	// The teams that they are in.
	Teams []string `json:"teams,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// What they are, in one of those teams; in any of theirs if teams says none.
	Roles []string `json:"roles,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// The groups that they are in, as their route spells them.
	Groups []string `json:"groups,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Whether they are a person or a service.
	Kinds []string `json:"kinds,omitempty" jsonschema:"minItems=1,uniqueItems=true,enum=person,enum=service"`
	// The routes that they came by.
	Routes []string `json:"routes,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// What claims of their token say: a text, or a list that holds it. The value of
	// each claim is one of those named here.
	Claims map[string][]string `json:"claims,omitempty"`
}

// API is the gateway's own interface for programs. docs/sessions.md shows its use.
type API struct {
	// Who may see and end other people's sessions and tokens, as require of a rule says
	// it: one item of the list is enough. Without any, nobody. The rules of policy don't
	// count there, but the route must let them in.
	Administrators []Requirement `json:"administrators,omitempty" jsonschema:"minItems=1"`
}

// PolicyClaims are the claims that the policy asks for, or api, each once.
func (c Config) PolicyClaims() []string {
	var out []string
	add := func(require []Requirement) {
		for _, r := range require {
			out = slices.AppendSeq(out, maps.Keys(r.Claims))
		}
	}
	for _, rule := range c.Policy {
		add(rule.Require)
	}
	add(c.API.Administrators)
	slices.Sort(out)
	return slices.Compact(out)
}

// ForwardAuthUpstream is what the applications behind other proxies go by in rules.
const ForwardAuthUpstream = "forward-auth"

// Rules are all rules in their order: the policy's, then those of the upstreams'
// presets and their public paths.
func Rules(policy []Rule, upstreams []Upstream, elsewhere *ForwardAuth) []Rule {
	var first, last []Rule
	add := func(u Upstream, at string) {
		for _, r := range presetRules(u.Preset) {
			r.Upstreams, r.Place = []string{u.Name}, at+".preset"
			if r.Access == "deny" {
				var before Rule
				before, r = r.split(policy)
				first = append(first, before.ifAny()...)
			}
			last = append(last, r.ifAny()...)
		}
		if len(u.Public) > 0 {
			last = append(last, Rule{Name: "public", Upstreams: []string{u.Name}, Paths: u.Public, Access: "public", Place: at + ".public"})
		}
	}
	for i, u := range upstreams {
		add(u, indexed("upstreams", i))
	}
	if elsewhere != nil {
		add(Upstream{Name: ForwardAuthUpstream, Preset: elsewhere.Preset, Public: elsewhere.Public}, "forwardAuth")
	}
	own := slices.Clone(policy)
	for i := range own {
		own[i].Place = indexed("policy", i)
	}
	return slices.Concat(first, own, last)
}

// split parts what a preset denies: before the policy comes what no rule of it names.
// A rule that lets somebody into an application as a whole does not mean what its
// parts say to each other.
func (r Rule) split(policy []Rule) (before, after Rule) {
	before, after = r, r
	before.Paths, after.Paths = nil, nil
	for _, path := range r.Paths {
		meant := slices.ContainsFunc(policy, func(own Rule) bool {
			return slices.ContainsFunc(own.Paths, func(p string) bool { return below(p, strings.TrimSuffix(path, "/")) })
		})
		if meant {
			after.Paths = append(after.Paths, path)
		} else {
			before.Paths = append(before.Paths, path)
		}
	}
	return before, after
}

// ifAny is the rule, unless it is about no path any more.
func (r Rule) ifAny() []Rule {
	if len(r.Paths) == 0 {
		return nil
	}
	return []Rule{r}
}

// presetRules are what is known of an application's paths. Those of wandb are the
// paths of a W&B server: what its own parts say to each other is not for the
// outside; what is stored under signed URLs carries its own proof; probes of a load
// balancer know nobody; and where its clients send what they log, nobody is led
// away.
func presetRules(preset string) []Rule {
	if preset != "wandb" {
		return nil
	}
	return []Rule{
		{Name: "wandb-internal", Paths: []string{"/service-dangerzone/", "/service-redirect/", "/debug/"}, Access: "deny"},
		{Name: "wandb-storage", Paths: []string{"/local-files/", "/bucket/"}, Access: "public"},
		{Name: "wandb-health", Paths: []string{"/healthz", "/ready"}, Methods: []string{"GET"}, Access: "public"},
		{Name: "wandb-api", Paths: []string{
			"/graphql", "/graphql2", "/api/", "/files/*/*/*/file_stream", "/sdk/", "/traces/", "/mcp/", "/scim/", "/admin/audit_logs",
		}, Access: "authenticated", API: true},
	}
}
