package config

import (
	"bytes"
	_ "embed"
	"encoding/json/v2"
	"fmt"
	"maps"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (2020-12) of the settings file. It is made
// from the structs of this package.
func Schema() []byte { return slices.Clone(schemaJSON) }

// setting is what the schema says of one setting or group of settings. Names
// in the environment, defaults and advice all come from here, so that there is
// one place to say what a setting is: its field.
type setting struct {
	Title                string              `json:"title"`
	Description          string              `json:"description"`
	Type                 any                 `json:"type"`
	Pattern              string              `json:"pattern"`
	Enum                 []string            `json:"enum"`
	Default              any                 `json:"default"`
	Required             []string            `json:"required"`
	Properties           map[string]*setting `json:"properties"`
	MinProperties        int                 `json:"minProperties"`
	Items                *setting            `json:"items"`
	AdditionalProperties any                 `json:"additionalProperties"`
	Minimum              any                 `json:"minimum"`
	Maximum              any                 `json:"maximum"`
}

// The titles that the schema gives to the types of values.go.
const (
	titleDuration = "duration"
	titleSize     = "size"
	titleSecret   = "secret"
)

// model reads the embedded schema.
func model() (*setting, *jsonschema.Schema, error) { return modelOf(schemaJSON) }

// modelOf reads the schema of a file.
func modelOf(text []byte) (*setting, *jsonschema.Schema, error) {
	var root setting
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, nil, fmt.Errorf("config: read schema: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, nil, fmt.Errorf("config: read schema: %w", err)
	}
	const name = "schema.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, doc); err != nil {
		return nil, nil, fmt.Errorf("config: read schema: %w", err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return nil, nil, fmt.Errorf("config: compile schema: %w", err)
	}
	return &root, compiled, nil
}

// secret says whether the setting, or each of its items, is a secret.
func (s *setting) secret() bool {
	return s.Title == titleSecret || (s.Items != nil && s.Items.Title == titleSecret)
}

// pairs says whether the setting is a map with free keys.
func (s *setting) pairs() bool {
	_, ok := s.AdditionalProperties.(map[string]any)
	return ok
}

// group says whether the setting only holds others.
func (s *setting) group() bool {
	return s.Properties != nil || (s.Items != nil && s.Items.Properties != nil)
}

// child returns what the schema says of a key, nil if it knows none such.
func (s *setting) child(key string) *setting {
	if s == nil {
		return nil
	}
	if s.pairs() {
		title, _ := s.AdditionalProperties.(map[string]any)["title"].(string)
		return &setting{Type: "string", Title: title}
	}
	return s.Properties[key]
}

// item returns what the schema says of the items of a list.
func (s *setting) item() *setting {
	if s == nil {
		return nil
	}
	return s.Items
}

// names returns the keys that a group may hold, sorted.
func (s *setting) names() []string { return slices.Sorted(maps.Keys(s.Properties)) }

// fill puts the defaults where v says nothing. A group that is absent is made
// only if it may be empty: no route or store out of nothing.
func (s *setting) fill(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range s.Properties {
			if _, set := v[key]; !set {
				if child.Default != nil {
					v[key] = child.Default
				} else if child.Properties != nil && child.Required == nil && child.MinProperties == 0 {
					v[key] = map[string]any{}
				}
			}
			child.fill(v[key])
		}
	case []any:
		for _, item := range v {
			s.item().fill(item)
		}
	}
}
