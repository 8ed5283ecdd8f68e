package migrate

import (
	"encoding/json/v2"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// node is one setting, or a comment alone if it has no key.
type node struct {
	key string
	// value is a string, a raw (written as it is), a bool, a []string, a group
	// ([]node) or a list of groups ([][]node).
	value any
	// note is written above it as a comment.
	note string
	// hole says what a person must fill in. The value is then written empty, which
	// no gateway starts with; value stands in for it where the rest is checked.
	hole string
}

// raw is a value that needs no quotes.
type raw string

// page writes settings as YAML.
type page struct {
	lines []string
	full  bool // holes are written with what stands in for them
	holes []Hole
}

func (p *page) add(indent int, format string, args ...any) {
	p.lines = append(p.lines, strings.Repeat(" ", indent)+fmt.Sprintf(format, args...))
}

// group writes settings one below the other. Those of an item of a list begin
// behind its dash.
func (p *page) group(nodes []node, indent int, path string, item bool) {
	dash := item
	for _, n := range nodes {
		if empty(n.value) && n.key != "" && n.hole == "" {
			continue
		}
		for line := range strings.Lines(n.note) {
			p.add(indent, "# %s", printable(strings.TrimSpace(line)))
		}
		if n.key == "" {
			continue
		}
		start := len(p.lines)
		p.setting(n, indent, dotted(path, n.key))
		if dash {
			p.lines[start] = strings.Repeat(" ", indent-2) + "- " + p.lines[start][indent:]
			dash = false
		}
	}
}

func (p *page) setting(n node, indent int, path string) {
	if n.hole = printable(n.hole); n.hole != "" {
		p.holes = append(p.holes, Hole{Line: len(p.lines) + 1, Path: path, What: n.hole})
		if !p.full {
			_, isList := n.value.([]string)
			p.add(indent, "%s: %s  # FILL IN: %s", n.key, map[bool]string{true: "[]", false: `""`}[isList], n.hole)
			return
		}
	}
	switch v := n.value.(type) {
	case []node:
		p.add(indent, "%s:", n.key)
		p.group(v, indent+2, path, false)
	case [][]node:
		p.add(indent, "%s:", n.key)
		for i, item := range v {
			p.group(item, indent+4, fmt.Sprintf("%s[%d]", path, i), true)
		}
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = scalar(s, true)
		}
		p.add(indent, "%s: [%s]", n.key, strings.Join(quoted, ", "))
	case raw:
		p.add(indent, "%s: %s", n.key, v)
	case bool:
		p.add(indent, "%s: %t", n.key, v)
	case string:
		p.add(indent, "%s: %s", n.key, scalar(v, false))
	}
}

// empty says whether a setting has nothing to say.
func empty(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case raw:
		return v == ""
	case bool:
		return !v
	case []string:
		return len(v) == 0
	case []node:
		return !slices.ContainsFunc(v, func(n node) bool { return n.key == "" && n.note != "" || n.hole != "" || !empty(n.value) })
	case [][]node:
		return len(v) == 0
	}
	return true
}

var (
	plain     = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_/.@-]*$`)
	plainLine = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_/.@:?=&%+-]*[A-Za-z0-9_/-]$`)
	word      = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n)$`)
)

// scalar is a text in YAML: in the quotes of JSON unless nothing could mistake it.
func scalar(s string, inList bool) string {
	if !word.MatchString(s) && (plain.MatchString(s) || !inList && plainLine.MatchString(s)) {
		return s
	}
	quoted, err := json.Marshal(strings.ToValidUTF8(s, "\ufffd"))
	if err != nil {
		return `""` // valid UTF-8 is always a text
	}
	return string(quoted)
}

func dotted(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func underscored(s string) string { return strings.ReplaceAll(s, "-", "_") }

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
