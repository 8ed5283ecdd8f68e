package config

import (
	"cmp"
	"encoding/json/v2"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// prefix begins the environment name of every setting.
const prefix = "GATEHOUSE_"

// alias is a short or foreign name for a setting. With no upstreams[0], or no
// route of its kind yet, it makes one.
type alias struct {
	name string
	kind string // of the first route of this kind; empty for the first upstream
	key  string // the setting there
}

// aliases are the names that operators of a Weights & Biases server have, and
// the short name of the first upstream.
func aliases() []alias {
	return []alias{
		{"GATEHOUSE_UPSTREAM", "", "url"},
		{"OIDC_ISSUER", "oidc", "issuer"},
		{"GORILLA_OIDC_ISSUER", "oidc", "issuer"},
		{"OIDC_CLIENT_ID", "oidc", "clientID"},
		{"GORILLA_OIDC_CLIENT_ID", "oidc", "clientID"},
		{"OIDC_CLIENT_SECRET", "oidc", "clientSecret"},
		{"OIDC_SECRET", "oidc", "clientSecret"},
		{"GORILLA_OIDC_SECRET", "oidc", "clientSecret"},
		{"OIDC_AUTH_METHOD", "oidc", "authMethod"},
		{"GORILLA_AUTH_METHOD", "oidc", "authMethod"},
	}
}

// step is one key or index of a path.
type step struct {
	key   string
	index int
	list  bool
}

func spelled(path []step) string {
	s := ""
	for _, p := range path {
		if p.list {
			s = indexed(s, p.index)
		} else {
			s = joined(s, p.key)
		}
	}
	return s
}

// variable is one setting from the environment.
type variable struct {
	name, value string
	path        []step
	setting     *setting
	// meaning is what the value stands for, where its text is not the setting's own form.
	meaning any
}

// overlay puts the environment over the document.
func (d *document) overlay(env []string, s *setting) {
	set := map[string]string{}
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok {
			set[name] = value
		}
	}
	from := map[string]variable{}
	// The aliases come first: they make the first upstream and route, and other
	// variables may add to those.
	for _, a := range aliases() {
		// An empty one counts as absent: charts set all of these names always.
		if value := set[a.name]; value != "" {
			d.putAlias(a, variable{name: a.name, value: value}, s, from)
		}
	}
	d.directory(set, s, from)
	said := map[string]bool{}
	for _, v := range d.derived(set, s) {
		if kind := d.otherKind(v.path); kind == "" {
			d.put(v, from)
		} else if group := spelled(v.path[:3]); !said[group] {
			said[group] = true // once for all that are meant for another route
			d.wrongRoute(v, kind)
		}
	}
	d.audience(set)
}

// derived returns the GATEHOUSE_ variables in the order of their paths, lower
// list indexes first.
func (d *document) derived(set map[string]string, s *setting) []variable {
	var out []variable
	for _, name := range slices.Sorted(maps.Keys(set)) {
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || name == "GATEHOUSE_UPSTREAM" || serviceLink(name, set[name]) {
			continue
		}
		path, found := resolve(rest, s)
		switch {
		case found == nil:
			d.variableFault(name, "", "unknown setting", unknownName(name, s))
		case found.group():
			d.variableFault(name, spelled(path), "a group of settings, not one", "set the settings in it one by one")
		default:
			out = append(out, variable{name: name, value: set[name], path: path, setting: found})
		}
	}
	slices.SortStableFunc(out, func(a, b variable) int {
		return slices.CompareFunc(a.path, b.path, func(a, b step) int {
			return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.index, b.index))
		})
	})
	return out
}

func (d *document) variableFault(name, path, problem, fix string) {
	d.add(place{source: name}, path, problem, fix)
}

// linkName is a variable that Kubernetes or Docker sets for a service whose
// name begins with gatehouse.
var linkName = regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

func serviceLink(name, value string) bool {
	return linkName.MatchString(name) || (strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://"))
}

// variableName is the environment spelling of a key: signedOutURL is SIGNED_OUT_URL.
func variableName(key string) string {
	var b strings.Builder
	lower := false
	for _, r := range key {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = !unicode.IsUpper(r)
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// variableAt is the environment name of the setting at a location, keys and indexes.
func variableAt(location []string) string {
	parts := make([]string, len(location))
	for i, key := range location {
		parts[i] = variableName(key)
	}
	return prefix + strings.Join(parts, "_")
}

// variableOf is that of the setting at a path.
func variableOf(path string) string {
	return variableAt(strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }))
}

// resolve finds the setting that an environment name, without its prefix, stands for.
func resolve(name string, s *setting) ([]step, *setting) {
	if s.Items != nil && s.Items.Properties != nil {
		number, rest, _ := strings.Cut(name, "_")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || strconv.Itoa(i) != number {
			return nil, nil
		}
		return under(step{index: i, list: true}, rest, s.Items)
	}
	for _, key := range s.names() {
		rest, ok := strings.CutPrefix(name, variableName(key))
		if !ok || (rest != "" && rest[0] != '_') {
			continue
		}
		if path, found := under(step{key: key}, strings.TrimPrefix(rest, "_"), s.Properties[key]); found != nil {
			return path, found
		}
	}
	return nil, nil
}

func under(p step, rest string, s *setting) ([]step, *setting) {
	if rest == "" {
		return []step{p}, s
	}
	if !s.group() {
		return nil, nil
	}
	path, found := resolve(rest, s)
	return append([]step{p}, path...), found
}

// variableNames lists the environment names of all settings below s, with 0 for every index.
func variableNames(name string, s *setting) []string {
	if s.Items != nil && s.Items.Properties != nil {
		return variableNames(name+"0_", s.Items)
	}
	var out []string
	for _, key := range s.names() {
		if child := s.Properties[key]; child.group() {
			out = append(out, variableNames(name+variableName(key)+"_", child)...)
		} else {
			out = append(out, name+variableName(key))
		}
	}
	return out
}

var index = regexp.MustCompile(`_[0-9]+_`)

// unknownName advises on a name that stands for no setting.
func unknownName(name string, s *setting) string {
	numbers := index.FindAllString(name, -1)
	best := Nearest(index.ReplaceAllString(name, "_0_"), append(variableNames(prefix, s), "GATEHOUSE_UPSTREAM"))
	if best == "" {
		return "remove it; only settings may be named " + prefix + "…"
	}
	return didYouMean(index.ReplaceAllStringFunc(best, func(zero string) string {
		if len(numbers) == 0 {
			return zero
		}
		n, err := strconv.Atoi(strings.Trim(numbers[0], "_"))
		numbers = numbers[1:]
		if err != nil {
			return zero
		}
		return fmt.Sprintf("_%d_", n)
	}))
}

// put writes one variable into the document. from says which variable set a path.
func (d *document) put(v variable, from map[string]variable) {
	path := spelled(v.path)
	if before, ok := from[path]; ok {
		if before.value != v.value {
			d.variableFault(v.name, path, before.name+" says something else", "set one of the two")
		}
		return
	}
	from[path] = v
	if v.value == "" {
		d.variableFault(v.name, path, "is empty", "give it a value or unset it")
		return
	}
	if !utf8.ValidString(v.value) {
		d.variableFault(v.name, path, "is not UTF-8 text", "write it in UTF-8")
		return
	}
	value, problem, fix := v.read()
	if problem != "" {
		d.variableFault(v.name, path, problem, fix)
		return
	}
	at := place{source: v.name}
	if problem := d.write(v.path, value, at); problem != "" {
		d.variableFault(v.name, path, problem, "count the items from 0 and leave none out")
		return
	}
	d.forget(path)
	d.keys[path], d.values[path] = at, at
}

// read turns a variable's text into the kind of value that its setting has, or
// says what is wrong with it.
func (v variable) read() (value any, problem, fix string) {
	switch {
	case v.meaning != nil:
		return v.meaning, "", ""
	case v.setting.Type == "integer":
		n, err := strconv.Atoi(v.value)
		if err != nil {
			return nil, quoted(v.value) + " is not a whole number", "write digits alone"
		}
		return n, "", ""
	case v.setting.Type == "boolean":
		if v.value != "true" && v.value != "false" {
			return nil, quoted(v.value) + " is neither true nor false", "set it to one of the two"
		}
		return v.value == "true", "", ""
	case v.setting.Items != nil:
		items := []any{}
		for item := range strings.SplitSeq(v.value, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		return items, "", ""
	case v.setting.pairs():
		return readPairs(v.value)
	}
	return v.value, "", ""
}

// readPairs reads key=value,key=value or a JSON object.
func readPairs(text string) (value any, problem, fix string) {
	pairs := map[string]any{}
	if strings.HasPrefix(text, "{") {
		if err := json.Unmarshal([]byte(text), &pairs); err != nil {
			return nil, "begins with { but is not a JSON object", `write it like {"hd": "example.com"}, with each key once`
		}
		return pairs, "", ""
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if _, twice := pairs[key]; !ok || key == "" || twice {
			return nil, "is not key=value,key=value with each key once, nor a JSON object", `write it like hd=example.com,a=b; values with a comma need {"a": "b,c"}`
		}
		pairs[key] = value
	}
	return pairs, "", ""
}

// write puts a value at its path and makes the groups on the way. It returns
// what stands against that, or "".
func (d *document) write(path []step, value any, at place) string {
	group := d.root
	for i := 0; i < len(path); i++ {
		key := path[i].key
		if i == len(path)-1 {
			group[key] = value
			return ""
		}
		here := spelled(path[:i+1])
		if !path[i+1].list {
			next, ok := d.groupAt(group[key], here, at)
			if !ok {
				return "" // the file has something else there, which is a fault of its own
			}
			group[key], group = next, next
			continue
		}
		items, ok := group[key].([]any)
		if !ok && group[key] != nil {
			return ""
		}
		i++
		n := path[i].index
		if n > len(items) {
			return fmt.Sprintf("there is no %s before it", indexed(here, len(items)))
		}
		if n == len(items) {
			items = append(items, nil)
			group[key] = items
			d.mark(here, at)
		}
		next, ok := d.groupAt(items[n], indexed(here, n), at)
		if !ok {
			return ""
		}
		items[n], group = next, next
	}
	return ""
}

// groupAt returns v as a group, a new one if there is nothing.
func (d *document) groupAt(v any, path string, at place) (map[string]any, bool) {
	if v == nil {
		d.mark(path, at)
		return map[string]any{}, true
	}
	m, ok := v.(map[string]any)
	return m, ok
}

// mark notes where a group came from that no file has.
func (d *document) mark(path string, at place) {
	if _, ok := d.keys[path]; !ok {
		d.keys[path] = at
	}
}

// forget drops the places of what a variable has replaced.
func (d *document) forget(path string) {
	for _, places := range []map[string]place{d.keys, d.values} {
		for p := range places {
			if strings.HasPrefix(p, path+"[") || strings.HasPrefix(p, path+".") {
				delete(places, p)
			}
		}
	}
}
