package config

import (
	"fmt"
	"math"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// reader turns the syntax tree into plain values.
type reader struct {
	*document
	depth int
}

// refuse notes a value that is not read.
func (r *reader) refuse(n ast.Node, path, problem, fix string) any {
	ast.Walk(hider{r.document}, n)
	r.unread[path] = true
	r.add(tokenPlace(r.name, first(n)), path, problem, fix)
	return nil
}

// hider marks all that a node holds as something that may be a secret.
type hider struct{ *document }

func (h hider) Visit(n ast.Node) ast.Visitor {
	h.hide(n.GetToken())
	return h
}

// value reads a node. s is what the schema says of it, nil if nothing.
func (r *reader) value(n ast.Node, path string, s *setting) any {
	if r.depth++; r.depth > maxDepth {
		return r.refuse(n, path, "nested too deep", "remove it; no setting lies so deep")
	}
	defer func() { r.depth-- }()
	if _, list := n.(*ast.SequenceNode); !list && s != nil && s.secret() {
		ast.Walk(hider{r.document}, n) // with a colon in it, a secret reads as a key
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return r.mapping(n.Values, path, s)
	case *ast.MappingValueNode:
		return r.mapping([]*ast.MappingValueNode{n}, path, s)
	case *ast.SequenceNode:
		return r.list(n, path, s)
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return r.refuse(n, path, "anchors, aliases and tags (&, *, !) are not read", "write the value out, in quotes if it begins so")
	}
	return r.scalar(n, path, s)
}

func (r *reader) mapping(pairs []*ast.MappingValueNode, path string, s *setting) any {
	m := map[string]any{}
	for _, pair := range pairs {
		key, at := pair.Key.GetToken().Value, tokenPlace(r.name, pair.Key.GetToken())
		if _, ok := pair.Key.(*ast.StringNode); !ok {
			r.refuse(pair, path, "a key that is not a plain name", "write the name of a setting")
			continue
		}
		inner := joined(path, key)
		if first, ok := r.keys[inner]; ok {
			ast.Walk(hider{r.document}, pair.Value)
			r.add(at, inner, "set twice", fmt.Sprintf("the first is in line %d; keep one", first.line))
			continue
		}
		r.keys[inner] = at
		m[key] = r.value(pair.Value, inner, s.child(key))
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
	r.values[path] = tokenPlace(r.name, n.GetToken())
	if s == nil || s.secret() || path == "" {
		r.hide(n.GetToken())
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

// hide marks every line that a value's token covers, from its column on.
func (d *document) hide(t *token.Token) {
	if t == nil || t.Position == nil {
		return
	}
	line, column := t.Position.Line, max(1, t.Position.Column)
	if from, ok := d.hidden[line]; !ok || column < from {
		d.hidden[line] = column
	}
	end := line + strings.Count(strings.TrimSpace(t.Origin), "\n")
	if block := t.Next; block != nil && (t.Type == token.LiteralType || t.Type == token.FoldedType) {
		end = len(d.lines)
		if block.Next != nil {
			end = block.Next.Position.Line - 1
		}
	}
	for line++; line <= end; line++ {
		d.hidden[line] = 1
	}
}
