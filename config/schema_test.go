package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "rewrite schema.json, docs/settings.md and the golden files")

// generated makes the schema from the structs, their tags and their comments.
func generated(t *testing.T) *jsonschema.Schema {
	t.Helper()
	comments := jsonschema.Reflector{}
	if err := comments.AddGoComments("gatehouse/config", ".", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	for key, text := range comments.CommentMap {
		comments.CommentMap[strings.Replace(key, "/config/.", "/config", 1)] = text
	}
	one := uint64(1)
	r := jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true,
		LookupComment: func(typ reflect.Type, field string) string {
			key := typ.PkgPath() + "." + typ.Name()
			if field != "" {
				key += "." + field
			}
			return strings.Join(strings.Fields(comments.CommentMap[key]), " ")
		},
		Mapper: func(typ reflect.Type) *jsonschema.Schema {
			switch typ {
			case reflect.TypeFor[Secret]():
				return &jsonschema.Schema{Type: "string", Title: titleSecret, WriteOnly: true, MinLength: &one}
			case reflect.TypeFor[Duration]():
				return &jsonschema.Schema{Type: "string", Title: titleDuration, Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
			case reflect.TypeFor[Size]():
				return &jsonschema.Schema{Type: "string", Title: titleSize, Pattern: `^[0-9]+(B|KiB|MiB|GiB|TiB)?$`}
			}
			return nil
		},
	}
	s := r.Reflect(Config{})
	s.Title = "Gatehouse settings"
	strict(s)
	return s
}

// JSONSchemaExtend says that the group must say something, though no one setting
// in it must be there.
func (Redis) JSONSchemaExtend(s *jsonschema.Schema) { notEmpty(s) }

// JSONSchemaExtend is like [Redis.JSONSchemaExtend].
func (ACME) JSONSchemaExtend(s *jsonschema.Schema) { notEmpty(s) }

func notEmpty(s *jsonschema.Schema) {
	one := uint64(1)
	s.MinProperties = &one
}

// strict adds what holds for every setting: no empty text, no empty list, and
// a size may be a plain number.
func strict(s *jsonschema.Schema) {
	one := uint64(1)
	switch {
	case s.Title == titleSize:
		s.Type, s.Minimum = "", "0"
		s.Extras = map[string]any{"type": []string{"string", "integer"}}
	case s.Type == "string" && s.Enum == nil && s.Pattern == "":
		s.MinLength = &one
	case s.Type == "array":
		s.MinItems = &one
		strict(s.Items)
	}
	if s.Properties == nil {
		return
	}
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		strict(pair.Value)
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	b, err := json.MarshalIndent(generated(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", append(b, '\n'))
	if !bytes.Equal(Schema(), append(b, '\n')) {
		t.Error("the embedded schema is not the generated one")
	}
}

// golden compares with a file, or rewrites it with -update.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not current: go test ./config -update\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}
