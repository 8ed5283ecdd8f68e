package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
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

// place is where a setting was read.
type place struct {
	source       string
	line, column int
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
	faults Faults
}

// parse reads YAML text. Whatever is wrong with it is in the document's faults.
func parse(name string, text []byte, s *setting) *document {
	d := &document{
		name: name, root: map[string]any{},
		keys: map[string]place{}, values: map[string]place{}, hidden: map[int]int{},
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
	if root, ok := r.value(body, "", s).(map[string]any); ok {
		d.root = root
		return d
	}
	d.add(tokenPlace(name, body.GetToken()), "", "the file must hold settings", "write them as key: value, one a line")
	return d
}

// readable refuses what YAML can't be, before a parser sees it.
func (d *document) readable(text []byte) bool {
	at := place{source: d.name, line: 1, column: 1}
	if len(text) > maxFile {
		d.faults = append(d.faults, Fault{
			Source: d.name, Line: 1, Column: 1,
			Problem: fmt.Sprintf("the file is larger than %s", Size(maxFile)),
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
			d.add(tokenPlace(d.name, doc.Body.GetToken()), "", "a second document in one file", "keep one, and drop the line ---")
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
	f := Fault{Source: d.name, Line: at.line, Column: at.column, Problem: problem}
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
	d.faults = append(d.faults, Fault{
		Source: at.source, Line: at.line, Column: at.column,
		Path: path, Problem: problem, Fix: fix, Excerpt: d.excerpt(at),
	})
}

// excerpt is the source line of a place, what may be a secret masked.
func (d *document) excerpt(at place) string {
	if at.source != d.name || at.line < 1 || at.line > len(d.lines) {
		return ""
	}
	line := []rune(d.lines[at.line-1])
	tail := ""
	if from, ok := d.hidden[at.line]; ok && from <= len(line) {
		line, tail = line[:from-1], masked
	}
	const most = 160
	if len(line) > most {
		line, tail = line[:most], "…"
	}
	return printable(withoutUserinfo(string(line)) + tail)
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
	return place{source: d.name, line: 1, column: 1}
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

// reader turns the syntax tree into plain values.
type reader struct {
	*document
	depth int
}

// value reads a node. s is what the schema says of it, nil if nothing.
func (r *reader) value(n ast.Node, path string, s *setting) any {
	if r.depth++; r.depth > maxDepth {
		r.add(tokenPlace(r.name, n.GetToken()), path, "nested too deep", "")
		return nil
	}
	defer func() { r.depth-- }()
	switch n := n.(type) {
	case *ast.MappingNode:
		return r.mapping(n.Values, path, s)
	case *ast.MappingValueNode:
		return r.mapping([]*ast.MappingValueNode{n}, path, s)
	case *ast.SequenceNode:
		return r.list(n, path, s)
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		r.add(tokenPlace(r.name, n.GetToken()), path, "anchors, aliases and tags (&, *, !) are not read", "write the value out, in quotes if it begins so")
		r.hide(n.GetToken())
		return nil
	}
	return r.scalar(n, path, s)
}

func (r *reader) mapping(pairs []*ast.MappingValueNode, path string, s *setting) any {
	m := map[string]any{}
	for _, pair := range pairs {
		key, at := pair.Key.GetToken().Value, tokenPlace(r.name, pair.Key.GetToken())
		if _, ok := pair.Key.(*ast.StringNode); !ok {
			r.add(at, path, "a key that is not a plain name", "write the name of a setting")
			r.hide(pair.Key.GetToken())
			continue
		}
		inner := joined(path, key)
		value := r.value(pair.Value, inner, s.child(key))
		if first, ok := r.keys[inner]; ok {
			r.add(at, inner, "set twice", fmt.Sprintf("the first is in line %d; keep one", first.line))
			continue
		}
		r.keys[inner], m[key] = at, value
	}
	return m
}

func (r *reader) list(n *ast.SequenceNode, path string, s *setting) any {
	items := []any{}
	r.values[path] = tokenPlace(r.name, n.Start)
	for i, item := range n.Values {
		inner := indexed(path, i)
		r.values[inner] = tokenPlace(r.name, first(item))
		items = append(items, r.value(item, inner, s.item()))
	}
	return items
}

// first is the token where a node begins for a reader's eye.
func first(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

func (r *reader) scalar(n ast.Node, path string, s *setting) any {
	t := n.GetToken()
	if l, ok := n.(*ast.LiteralNode); ok {
		t = l.Value.GetToken()
		r.values[path] = tokenPlace(r.name, l.Start)
	} else {
		r.values[path] = tokenPlace(r.name, t)
	}
	if s == nil || s.secret() {
		r.hide(n.GetToken())
		r.hide(t)
	}
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.BoolNode:
		return n.Value
	case *ast.IntegerNode:
		return n.Value
	case *ast.FloatNode:
		if !math.IsInf(n.Value, 0) && !math.IsNaN(n.Value) {
			return n.Value
		}
	case *ast.NullNode:
		return nil
	}
	return math.MaxFloat64 // .inf and .nan: a number, but no setting's value
}

// hide marks every line that a token covers, from its column on.
func (r *reader) hide(t *token.Token) {
	if t == nil || t.Position == nil {
		return
	}
	line, column := t.Position.Line, max(1, t.Position.Column)
	if from, ok := r.hidden[line]; !ok || column < from {
		r.hidden[line] = column
	}
	more := strings.Count(strings.TrimSpace(t.Origin), "\n")
	if more == 0 {
		return
	}
	for i := range more + 1 {
		r.hidden[line+1+i] = 1
	}
}
