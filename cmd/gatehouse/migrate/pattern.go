package migrate

import (
	"errors"
	"regexp/syntax"
	"slices"
	"strings"
)

// The parts of a regular expression that are no text. They stand alone in a string
// of runes that no path can hold.
const (
	begin    = '\x01' // ^
	end      = '\x02' // $
	segment  = '\x03' // [^/]*
	some     = '\x04' // [^/]+
	anything = '\x05' // .*
	more     = '\x06' // .+
)

// mostPaths bounds how many paths one regular expression may stand for.
const mostPaths = 32

// paths are the path patterns of the policy that let through what a regular
// expression does, or less: never more, but for the path of a folder, with the slash
// at its end, where something had to follow. Narrower says whether it is less.
func paths(expression string) (out []string, narrower bool, err error) {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, false, errors.New("it is no regular expression")
	}
	all, err := expand(re)
	if err != nil {
		return nil, false, err
	}
	for _, one := range all {
		globs, less, err := glob(one)
		if err != nil {
			return nil, false, err
		}
		narrower = narrower || less
		out = append(out, globs...)
	}
	if len(out) == 0 {
		return nil, false, errOnly
	}
	slices.Sort(out)
	return slices.Compact(out), narrower, nil
}

var (
	errTooMany = errors.New("it stands for too many paths; write those that are meant")
	errOnly    = errors.New(`a path pattern says only "this path", "all below it", "*" for anything within one segment and "**" for any segments`)
	errAll     = errors.New("it would open the whole application")
)

// expand lists the texts that an expression stands for, with its parts that are none.
func expand(re *syntax.Regexp) ([]string, error) {
	if re.Flags&syntax.FoldCase != 0 && re.Op == syntax.OpLiteral && strings.ToLower(string(re.Rune)) != strings.ToUpper(string(re.Rune)) {
		return nil, errors.New("case matters in path patterns")
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, nil
	case syntax.OpLiteral:
		if slices.ContainsFunc(re.Rune, func(r rune) bool { return r < ' ' }) {
			return nil, errOnly // no path holds these, and the marks are of them
		}
		return []string{string(re.Rune)}, nil
	case syntax.OpBeginText, syntax.OpBeginLine:
		return []string{string(begin)}, nil
	case syntax.OpEndText, syntax.OpEndLine:
		return []string{string(end)}, nil
	case syntax.OpCapture:
		return expand(re.Sub[0])
	case syntax.OpQuest:
		with, err := expand(re.Sub[0])
		return append([]string{""}, with...), err
	case syntax.OpCharClass:
		return class(re)
	case syntax.OpStar, syntax.OpPlus:
		sub, marks := re.Sub[0], [2]rune{anything, segment}
		if re.Op == syntax.OpPlus {
			marks = [2]rune{more, some}
		}
		switch {
		case sub.Op == syntax.OpAnyCharNotNL, sub.Op == syntax.OpAnyChar:
			return []string{string(marks[0])}, nil
		case notSlash(sub):
			return []string{string(marks[1])}, nil
		}
	case syntax.OpAlternate:
		return alternatives(re.Sub)
	case syntax.OpConcat:
		return sequence(re.Sub)
	default:
	}
	return nil, errOnly
}

func alternatives(subs []*syntax.Regexp) ([]string, error) {
	var out []string
	for _, sub := range subs {
		these, err := expand(sub)
		if err != nil {
			return nil, err
		}
		if out = append(out, these...); len(out) > mostPaths {
			return nil, errTooMany
		}
	}
	return out, nil
}

func sequence(subs []*syntax.Regexp) ([]string, error) {
	out := []string{""}
	for _, sub := range subs {
		these, err := expand(sub)
		if err != nil {
			return nil, err
		}
		if len(out)*len(these) > mostPaths {
			return nil, errTooMany
		}
		var longer []string
		for _, a := range out {
			for _, b := range these {
				longer = append(longer, a+b)
			}
		}
		out = longer
	}
	return out, nil
}

// class lists the characters of a small class.
func class(re *syntax.Regexp) ([]string, error) {
	var out []string
	for i := 0; i < len(re.Rune); i += 2 {
		if re.Rune[i] < ' ' || re.Rune[i+1]-re.Rune[i] > mostPaths {
			return nil, errOnly
		}
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			out = append(out, string(r))
		}
	}
	if len(out) > 10 {
		return nil, errOnly
	}
	return out, nil
}

// notSlash says whether an expression is [^/].
func notSlash(re *syntax.Regexp) bool {
	return re.Op == syntax.OpCharClass && slices.Equal(re.Rune, []rune{0, '/' - 1, '/' + 1, 0x10ffff})
}

// glob turns one text with marks into path patterns.
func glob(s string) (out []string, narrower bool, err error) {
	s, begins := strings.CutPrefix(s, string(begin))
	s, ends := strings.CutSuffix(s, string(end))
	if strings.ContainsAny(s, string([]rune{begin, end})) || strings.ContainsAny(s, "*%;\\?#") {
		return nil, false, errOnly
	}
	if tail, ok := anywhere(s, begins); ok {
		return suffix(tail, ends)
	}
	s, open := strings.CutSuffix(s, string(anything))
	s, further := strings.CutSuffix(s, string(more))
	open = open || further || !ends
	path, ok := stars(s)
	folder := strings.HasSuffix(path, "/")
	switch {
	case strings.Trim(path, "/*") == "" && ok:
		return nil, false, errAll
	case !ok || !strings.HasPrefix(s, "/"):
		return nil, false, errOnly
	case open && folder:
		return []string{path}, !begins, nil
	case open && further:
		return []string{path + "/"}, true, nil
	case open:
		return []string{path, path + "/"}, true, nil
	case folder: // a pattern would mean all below it too
		return nil, true, nil
	}
	return []string{path}, !begins, nil
}

// anywhere cuts off what lets a text stand behind anything.
func anywhere(s string, begins bool) (tail string, ok bool) {
	if !begins && strings.HasPrefix(s, ".") {
		return s, true
	}
	tail = strings.TrimPrefix(strings.TrimPrefix(s, "/"), string(anything))
	return tail, tail != "" && strings.HasSuffix(s, string(anything)+tail)
}

// suffix is what ends in a text, like \.css$.
func suffix(s string, ends bool) ([]string, bool, error) {
	if !ends || strings.ContainsAny(s, "/"+string([]rune{segment, some, anything, more})) {
		return nil, false, errOnly
	}
	return []string{"/**/*" + s}, false, nil
}

// stars writes the marks within a path as * and **.
func stars(s string) (string, bool) {
	parts := strings.Split(s, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "" && i > 0 && !last, part == ".", part == "..":
			return "", false
		case !last && (part == string(anything) || part == string(more)):
			parts[i] = "*/**" // at least one segment
		case part == string(some):
			parts[i] = "*"
		case strings.ContainsAny(part, string([]rune{anything, more, some})):
			return "", false
		default:
			parts[i] = strings.ReplaceAll(part, string(segment), "*")
		}
		if strings.Contains(strings.TrimSuffix(parts[i], "*/**"), "**") {
			return "", false
		}
	}
	return strings.Join(parts, "/"), true
}
