package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fault is one thing that is wrong with the settings.
type Fault struct {
	// Source is the settings file, the name of an environment variable, or
	// "environment" for what neither says.
	Source string
	// Line and Column (in characters) count from 1; 0 when Source is no file.
	Line, Column int
	// Path is the setting, for instance authn[0].oidc.issuer; empty when the
	// fault is the source's as a whole.
	Path string
	// Problem is what is wrong, and Fix what to do about it, in plain words.
	Problem, Fix string
	// Excerpt is the source line, without any value that may be a secret.
	Excerpt string
}

// String is the fault for people to read: place, path and problem in the first
// line, then the source line with a caret, then the fix.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(printable(f.Source))
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	if f.Path != "" {
		b.WriteString(": " + printable(f.Path))
	}
	b.WriteString(": " + printable(f.Problem))
	if f.Excerpt != "" {
		fmt.Fprintf(&b, "\n%6d | %s", f.Line, f.Excerpt)
		if pad, ok := caretPad(f.Excerpt, f.Column); ok {
			b.WriteString("\n       | " + pad + "^")
		}
	}
	if f.Fix != "" {
		b.WriteString("\n    " + printable(f.Fix))
	}
	return b.String()
}

// caretPad is white space as wide as what stands before column.
func caretPad(line string, column int) (string, bool) {
	runes := []rune(line)
	if column < 1 || column > len(runes)+1 {
		return "", false
	}
	for i := range runes[:column-1] {
		if runes[i] != '\t' {
			runes[i] = ' '
		}
	}
	return string(runes[:column-1]), true
}

// Faults is everything that is wrong with the settings, in the order of the
// file, then of the environment.
type Faults []Fault

// Error prints every fault, an empty line between them.
func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i := range f {
		texts[i] = f[i].String()
	}
	return strings.Join(texts, "\n\n")
}

// at reports whether one of the faults is that of path itself.
func (f Faults) at(path string) bool {
	return slices.ContainsFunc(f, func(g Fault) bool { return g.Path == path })
}

// beside returns the faults that are neither at, above nor below one of broken,
// and so can't be its consequences.
func (f Faults) beside(broken Faults) Faults {
	var out Faults
	for _, g := range f {
		if !slices.ContainsFunc(broken, func(b Fault) bool { return holds(b.Path, g.Path) || holds(g.Path, b.Path) }) {
			out = append(out, g)
		}
	}
	return out
}

// holds reports whether path is outer or below it.
func holds(outer, path string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// sorted orders the faults and drops what is said twice.
func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(min(b.Line, 1), min(a.Line, 1)),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Problem, b.Problem),
		)
	})
	return slices.Compact(f)
}

// printable keeps a terminal from obeying what a settings file says.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

// quoted is a value in a problem's text, cut when it is long.
func quoted(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", withoutSecrets(s))
}

var (
	// userinfo goes on to the last @, for passwords hold slashes that should be escaped.
	userinfo = regexp.MustCompile(`//[^\s"']*@`)
	// inQuery is a parameter by which a URL may carry a secret.
	inQuery = regexp.MustCompile(`(?i)([?&][^=&\s]*(?:secret|pass|pw|token|key|auth)[^=&\s]*=)[^&\s"']*`)
)

// withoutSecrets hides the name and password of a URL, and what its query says of such.
func withoutSecrets(s string) string {
	return inQuery.ReplaceAllString(userinfo.ReplaceAllString(s, "//"+masked+"@"), "${1}"+masked)
}

// Nearest returns the candidate that name was probably meant to be, or "".
func Nearest(name string, candidates []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if folded(c) == folded(name) {
			return c
		}
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < least && d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// folded is a name without case and separators: client_id is clientID.
func folded(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(s))
}

// distance counts the letters to add, drop, change or swap with their
// neighbour (Damerau and Levenshtein, restricted) to make b out of a.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}

func didYouMean(name string) string { return "did you mean " + name + "?" }
