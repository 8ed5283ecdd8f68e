// Package charts tests the Helm chart: what helm makes of it, what the chart refuses,
// and that what comes out is what Gatehouse and Kubernetes take.
package charts

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"

	"gatehouse/config"
)

var update = flag.Bool("update", false, "rewrite gatehouse/values.schema.json")

const (
	chart      = "gatehouse"
	schemaFile = chart + "/values.schema.json"
)

// TestSchemaIsCurrent holds values.schema.json to the structs of the chart's values
// and to those of Gatehouse's settings.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := json.MarshalIndent(generated(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not current: make generate", schemaFile)
	}
}

// generated makes the schema of the chart's values.
func generated(t *testing.T) map[string]any {
	t.Helper()
	comments := jsonschema.Reflector{}
	if err := comments.AddGoComments("gatehouse/charts", ".", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	r := jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, RequiredFromJSONSchemaTags: true,
		LookupComment: func(typ reflect.Type, field string) string {
			key := typ.PkgPath() + "." + typ.Name()
			if field != "" {
				key += "." + field
			}
			return strings.Join(strings.Fields(comments.CommentMap[key]), " ")
		},
	}
	text, err := json.Marshal(r.Reflect(Values{}))
	if err != nil {
		t.Fatal(err)
	}
	schema := decoded(t, text)
	schema["title"] = "Values of the Gatehouse chart"
	own := decoded(t, config.Schema())
	withoutSecrets(own)
	delete(own, "$schema")
	own["required"] = []string{"publicURL"} // the environment may say the rest
	properties := schema["properties"].(map[string]any)
	own["description"] = properties["config"].(map[string]any)["description"]
	properties["config"] = own
	return schema
}

func decoded(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// withoutSecrets takes the settings that are secrets off a schema, all the way down:
// they would stand in a ConfigMap.
func withoutSecrets(schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		property := p.(map[string]any)
		items, _ := property["items"].(map[string]any)
		if property["title"] == "secret" || items["title"] == "secret" {
			delete(properties, name)
			continue
		}
		withoutSecrets(property)
		withoutSecrets(items)
	}
}

// TestSecretsHaveFiles looks whether every setting that is a secret is gone from the chart's
// schema, and its twin that names a file is there.
func TestSecretsHaveFiles(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	values := decoded(t, text)["properties"].(map[string]any)["config"].(map[string]any)
	secrets := 0
	var walk func(path string, settings, values map[string]any)
	walk = func(path string, settings, values map[string]any) {
		inSettings, _ := settings["properties"].(map[string]any)
		inValues, _ := values["properties"].(map[string]any)
		for name, p := range inSettings {
			property, value := p.(map[string]any), decodedAt(inValues, name)
			items, _ := property["items"].(map[string]any)
			if property["title"] == "secret" || items["title"] == "secret" {
				secrets++
				if value != nil || inValues[name+"File"] == nil {
					t.Errorf("%s.%s is a secret: in the chart it is %v, and its twin %v", path, name, value, inValues[name+"File"])
				}
				continue
			}
			walk(path+"."+name, property, value)
			walk(path+"."+name, items, decodedAt(value, "items"))
		}
	}
	walk("config", decoded(t, config.Schema()), values)
	if secrets < 6 {
		t.Errorf("only %d secrets were found", secrets)
	}
}

// decodedAt is the object under a key, nil if there is none.
func decodedAt(in map[string]any, key string) map[string]any {
	out, _ := in[key].(map[string]any)
	return out
}

// TestValuesAreComplete holds values.yaml to the schema: what the one knows, the other does.
func TestValuesAreComplete(t *testing.T) {
	text, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	all["global"] = map[string]any{} // Helm's, not ours
	compare(t, "", all, generated(t))
}

// compare looks whether values and schema have the same keys. Free maps end it.
func compare(t *testing.T, path string, have map[string]any, schema map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		value, ok := have[name]
		if !ok {
			t.Errorf("values.yaml lacks %s%s", path, name)
			continue
		}
		property := p.(map[string]any)
		if inner, ok := value.(map[string]any); ok && path+name != "config" && property["properties"] != nil {
			compare(t, path+name+".", inner, property)
		}
	}
	for name := range have {
		if properties[name] == nil {
			t.Errorf("the schema lacks %s%s", path, name)
		}
	}
}
