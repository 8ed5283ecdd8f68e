package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds the settings file in bytes, and maxDepth how deep it nests.
const (
	maxFile  = 256 << 10
	maxDepth = 32
)

// environment is the source of what neither the file nor a variable says.
const environment = "environment"

// place is where a setting was read. A place that stands for the whole file
// has no line worth showing.
type place struct {
	source       string
	line, column int
	whole        bool
}

// document is the settings as plain values (maps, lists, strings, numbers,
// booleans, nil), with the place of each by its path.
type document struct {
	name  string
	lines []string
	root  map[string]any
	// keys holds the places of keys, values those of their values and of list items.
	keys, values map[string]place
	// hidden holds, by line, the column from which on the line may hold a secret.
	hidden map[int]int
	// unread holds the paths of values that could not be read at all.
	unread map[string]bool
	// fileAlone says that no variable can stand for what is missing.
	fileAlone bool
	faults    Faults
}

// parse reads YAML text. Whatever is wrong with it is in the document's faults.
func parse(name string, text []byte, s *setting) *document {
	d := &document{
		name: name, root: map[string]any{},
		keys: map[string]place{}, values: map[string]place{}, hidden: map[int]int{}, unread: map[string]bool{},
	}
	text = bytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	d.lines = strings.Split(string(text), "\n")
	if !d.readable(text) {
		return d
	}
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err, s)
		return d
	}
	body, ok := d.only(file)
	if !ok || body == nil {
		return d
	}
	r := reader{document: d}
	root, ok := r.value(body, "", s).(map[string]any)
	if !ok {
		d.add(tokenPlace(name, first(body)), "", "the file must hold settings", "write them as key: value, one a line")
		return d
	}
	d.root = root
	for i, f := range d.faults { // only now it is known what may be a secret
		d.faults[i].Excerpt = d.excerpt(place{source: f.Source, line: f.Line})
	}
	return d
}

// readable refuses what YAML can't be, before a parser sees it.
func (d *document) readable(text []byte) bool {
	at := place{source: d.name, line: 1, column: 1}
	if len(text) > maxFile {
		d.faults = append(d.faults, Fault{
			Source: d.name, Line: 1, Column: 1,
			Problem: fmt.Sprintf("the file is larger than %s", Size(maxFile)), Fix: "keep nothing but settings in it",
		})
		return false
	}
	for i, line := range d.lines {
		at.line = i + 1
		for j, r := range line {
			if r == utf8.RuneError || r < ' ' && r != '\t' || r == 0x7f {
				at.column = utf8.RuneCountInString(line[:j]) + 1
				d.faults = append(d.faults, Fault{
					Source: d.name, Line: at.line, Column: at.column,
					Problem: "a character that is not text", Fix: "save the file as UTF-8",
				})
				return false
			}
		}
	}
	return true
}

// only returns the body of the one document, nil if there is none.
func (d *document) only(file *ast.File) (ast.Node, bool) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			d.add(tokenPlace(d.name, first(doc.Body)), "", "a second document in one file", "keep one, and drop the line ---")
			return nil, false
		}
		body = doc.Body
	}
	return body, true
}

// syntax reports why the parser gave up, at the place where it did.
func (d *document) syntax(err error, s *setting) {
	at, problem := place{source: d.name, line: 1, column: 1}, "not YAML"
	var detail yaml.Error
	if errors.As(err, &detail) {
		at = tokenPlace(d.name, detail.GetToken())
		problem = "not YAML: " + quotedText.ReplaceAllString(detail.GetMessage(), "")
	}
	f := Fault{
		Source: d.name, Line: at.line, Column: at.column, Problem: problem,
		Fix: "look for a quote, bracket or colon that is missing here or in the lines above",
	}
	if at.line >= 1 && at.line <= len(d.lines) {
		f.Excerpt = guarded(d.lines[at.line-1], s)
	}
	if strings.Contains(problem, "tab") || strings.HasPrefix(strings.TrimLeft(f.Excerpt, " "), "\t") {
		f.Fix = "indent with spaces, not tabs"
	}
	d.faults = append(d.faults, f)
}

// quotedText is what the parser quotes from the file, which may be a secret;
// single characters may stay.
var quotedText = regexp.MustCompile(`"[^"]{2,}" ?`)

func tokenPlace(source string, t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{source: source, line: 1, column: 1}
	}
	return place{source: source, line: max(1, t.Position.Line), column: max(1, t.Position.Column)}
}

// add notes a fault at a place.
func (d *document) add(at place, path, problem, fix string) {
	f := Fault{
		Source: at.source, Line: at.line, Column: at.column,
		Path: path, Problem: problem, Fix: fix,
	}
	if !at.whole {
		f.Excerpt = d.excerpt(at)
	}
	d.faults = append(d.faults, f)
}

// excerpt is the source line of a place, with nothing from the first value on
// that may be a secret. Which those are must be known by now.
func (d *document) excerpt(at place) string {
	if at.source != d.name || at.line < 1 || at.line > len(d.lines) {
		return ""
	}
	line := []rune(d.lines[at.line-1])
	tail := ""
	if from, ok := d.hidden[at.line]; ok && from <= len(line) {
		line, tail = line[:from-1], "…"
	}
	const most = 160
	if len(line) > most {
		line, tail = line[:most], "…"
	}
	return printable(withoutSecrets(string(line)) + tail)
}

// valueAt is the place of a setting's value, or of the nearest group around it.
func (d *document) valueAt(path string) place { return d.find(path, d.values, d.keys) }

// keyAt is the place of a setting's key, or of the nearest group around it.
func (d *document) keyAt(path string) place { return d.find(path, d.keys, d.values) }

func (d *document) find(path string, first, second map[string]place) place {
	for ; path != ""; path = parent(path) {
		if at, ok := first[path]; ok {
			return at
		}
		if at, ok := second[path]; ok {
			return at
		}
		first, second = d.keys, d.values
	}
	if d.name == environment {
		return place{source: environment}
	}
	return place{source: d.name, line: 1, column: 1, whole: true}
}

// parent cuts the last step off a path.
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

func joined(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func indexed(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
