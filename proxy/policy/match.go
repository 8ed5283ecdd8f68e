package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/config"
)

// rule is a rule of the settings, ready to be matched.
type rule struct {
	Rule
	upstreams, methods []string
	hosts, below       []string // names, and what names below others end in
	paths              []pattern
}

func newRule(c config.Rule, i int) rule {
	place := cmp.Or(c.Place, fmt.Sprintf("policy[%d]", i))
	r := rule{
		Rule: Rule{
			Name: cmp.Or(c.Name, place), Place: place,
			Public: c.Access == "public", Denied: c.Access == "deny", API: c.API, require: c.Require,
		},
		upstreams: c.Upstreams, methods: slices.Clone(c.Methods),
	}
	if slices.Contains(r.methods, "GET") {
		r.methods = append(r.methods, "HEAD")
	}
	for _, h := range c.Hosts {
		if suffix, ok := strings.CutPrefix(h, "*"); ok {
			r.below = append(r.below, suffix)
		} else {
			r.hosts = append(r.hosts, h)
		}
	}
	for _, p := range c.Paths {
		r.paths = append(r.paths, newPattern(p, !r.Public))
	}
	return r
}

// matches looks at the path first, by which most rules are told apart.
func (r *rule) matches(at *Place, path string) bool {
	return (len(r.paths) == 0 || r.path(path)) &&
		(len(r.methods) == 0 || slices.Contains(r.methods, at.Method)) &&
		(len(r.upstreams) == 0 || slices.Contains(r.upstreams, at.Upstream)) &&
		(len(r.hosts)+len(r.below) == 0 || r.host(at.Host)) &&
		!(r.Public && at.Unclear)
}

func (r *rule) path(path string) bool {
	for i := range r.paths {
		if r.paths[i].matches(path) {
			return true
		}
	}
	return false
}

func (r *rule) host(name string) bool {
	return slices.Contains(r.hosts, name) || slices.ContainsFunc(r.below, func(suffix string) bool {
		return len(name) > len(suffix) && strings.HasSuffix(name, suffix)
	})
}

// pattern is what paths are matched by: one path, one with everything below it,
// or segments with stars.
type pattern struct {
	path     string   // without a slash at its end, but for "/"
	itself   bool     // that path
	below    bool     // everything below it
	segments []string // if there is a star
}

// newPattern reads a pattern. With both, what ends with a slash is the path before
// the slash too.
func newPattern(text string, both bool) pattern {
	p := pattern{path: text, itself: true}
	if strings.HasSuffix(text, "/") {
		p.path, p.itself, p.below = strings.TrimSuffix(text, "/"), both, true
	}
	if strings.Contains(p.path, "*") {
		p.segments = strings.Split(p.path, "/")[1:]
		switch {
		case p.below && !both:
			p.segments = append(p.segments, "*", "**")
		case p.below:
			p.segments = append(p.segments, "**")
		}
	}
	return p
}

func (p *pattern) matches(path string) bool {
	if p.segments != nil {
		return matchSegments(p.segments, strings.TrimPrefix(path, "/"))
	}
	if !strings.HasPrefix(path, p.path) {
		return false
	}
	if len(path) == len(p.path) {
		return p.itself
	}
	return p.below && path[len(p.path)] == '/'
}

// matchSegments holds the segments of a path, without its first slash, against
// those of a pattern. Only the last "**" that was met is tried with more segments:
// what the ones before it have taken makes no difference to what follows. So it takes
// no longer than the path times the pattern.
func matchSegments(want []string, path string) bool {
	type place struct {
		rest string
		over bool // the path has ended
	}
	next := func(p place) place {
		_, rest, more := strings.Cut(p.rest, "/")
		return place{rest, !more}
	}
	at, star := place{rest: path}, -1
	var from place // what that "**" has not taken yet
	for i := 0; ; {
		segment, _, _ := strings.Cut(at.rest, "/")
		switch {
		case i < len(want) && want[i] == "**":
			star, from = i, at
			i++
		case i < len(want) && !at.over && matchStar(want[i], segment):
			at = next(at)
			i++
		case i == len(want) && at.over:
			return true
		case star >= 0 && !from.over:
			from = next(from)
			at, i = from, star+1
		default:
			return false
		}
	}
}

// matchStar holds a text against one in which "*" stands for any text, none too.
func matchStar(want, text string) bool {
	first, rest, starred := strings.Cut(want, "*")
	if !starred {
		return want == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for {
		middle, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, middle)
		}
		i := strings.Index(text, middle)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(middle):], after
	}
}
