package config

import (
	"fmt"
	"slices"
	"strings"
)

// putAlias writes v, a variable with a name of its own.
func (d *document) putAlias(a alias, v variable, s *setting, from map[string]variable) {
	v.path = []step{{key: "upstreams"}, {list: true}}
	item := s.Properties["upstreams"].Items
	if a.kind != "" {
		item = s.Properties["authn"].Items.Properties[a.kind]
		n, ok := d.routeOf(a.kind, place{source: a.name})
		if !ok {
			return
		}
		v.path = []step{{key: "authn"}, {list: true, index: n}, {key: a.kind}}
	}
	for key := range strings.SplitSeq(a.key, ".") {
		v.path = append(v.path, step{key: key})
		item = item.Properties[key]
	}
	v.setting = item
	d.put(v, from)
}

// routeOf finds the first route of a kind, or makes one of that name.
func (d *document) routeOf(kind string, at place) (int, bool) {
	routes, ok := d.root["authn"].([]any)
	if !ok && d.root["authn"] != nil {
		return 0, false
	}
	for i, r := range routes {
		if m, ok := r.(map[string]any); ok {
			if _, ok := m[kind]; ok {
				return i, true
			}
		}
	}
	d.root["authn"] = append(routes, map[string]any{"name": kind})
	d.mark("authn", at)
	d.mark(indexed("authn", len(routes)), at)
	return len(routes), true
}

// otherKind is the kind of the route that a path leads to, if the path is of
// another kind; else "".
func (d *document) otherKind(path []step) string {
	if len(path) < 4 || path[0].key != "authn" {
		return ""
	}
	routes, _ := d.root["authn"].([]any)
	if path[1].index >= len(routes) {
		return ""
	}
	route, _ := routes[path[1].index].(map[string]any)
	if route[path[2].key] != nil {
		return "" // both in the file are a fault of their own
	}
	for _, kind := range []string{"oidc", "ldap", "bearer", "apiKey"} {
		if kind != path[2].key && route[kind] != nil && slices.Contains([]string{"oidc", "ldap", "bearer", "apiKey"}, path[2].key) {
			return kind
		}
	}
	return ""
}

// wrongRoute is the fault of a variable that counts routes wrong: those that
// short names make come after those of the file, the OIDC one first.
func (d *document) wrongRoute(v variable, kind string) {
	routes, _ := d.root["authn"].([]any)
	here := indexed("authn", v.path[1].index)
	problem := here + " is a route of the kind " + kind
	if route, _ := routes[v.path[1].index].(map[string]any); route["name"] != nil {
		problem = fmt.Sprintf("%s is the route %v, of the kind %s", here, route["name"], kind)
		if route["name"] == kind {
			problem = here + " is the route " + kind
		}
	}
	own := len(routes)
	for i, r := range routes {
		if m, ok := r.(map[string]any); ok && m[v.path[2].key] != nil && own == len(routes) {
			own = i
		}
	}
	group := fmt.Sprintf("%sAUTHN_%d_", prefix, own)
	fix := "write " + group + variableName(v.path[2].key) + "_…"
	if own == len(routes) {
		fix += ", with " + group + "NAME, for a route of its own"
	}
	d.variableFault(v.name, "", problem, fix)
}
