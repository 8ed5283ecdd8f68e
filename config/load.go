package config

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Load reads a settings file and puts the environment (like [os.Environ]) over
// it. Without a file ("") the environment alone must be enough. Files that
// settings name are read too, relative to the working directory. What is wrong
// comes back all at once as [Faults].
func Load(file string, env []string) (Config, error) {
	if file == "" {
		return Decode(environment, nil, env)
	}
	text, err := os.ReadFile(file) //nolint:gosec // naming it is the operator's right
	if err != nil {
		return Config{}, Faults{{
			Source: file, Problem: "can't be read: " + reason(err),
			Fix: readable,
		}}
	}
	return Decode(file, text, env)
}

// Decode is [Load] with the file's text at hand. Its name is for the faults.
func Decode(name string, text []byte, env []string) (Config, error) {
	s, schema, err := model()
	if err != nil {
		return Config{}, err
	}
	return decodeBy(s, schema, parse(name, text, s), env)
}

// decodeBy goes on with a file that is read: the environment, the schema, the
// defaults, the files and the checks, in this order.
func decodeBy(s *setting, schema *jsonschema.Schema, d *document, env []string) (Config, error) {
	if len(d.faults) > 0 && len(d.root) == 0 {
		return Config{}, d.faults
	}
	d.overlay(env, s)
	d.validate(schema, s)
	broken := d.faults
	d.faults = nil
	d.root = sound(d.root, "", broken).(map[string]any)
	s.fill(d.root)
	c, err := d.typed(s)
	if err != nil {
		return Config{}, err
	}
	if b := c.bearer(); b == nil || b.Exchange.Disabled {
		c.Paths.Token = "" // there is no such endpoint, so the path is the application's
	}
	c.Paths.Issuer = slices.ContainsFunc(c.Upstreams, Upstream.Exchanges)
	if len(d.faults) == 0 {
		k := checks{document: d, c: &c}
		k.files()
		k.all()
	}
	d.faults = append(broken, d.faults.beside(broken)...)
	if len(d.faults) > 0 {
		return Config{}, d.faults.sorted()
	}
	return c, nil
}

// sound is a value without what is at fault, so that the rest can be judged
// too. A list with a fault in an item that is no group goes as a whole: its
// other items would change places.
func sound(v any, path string, broken Faults) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, inner := range v {
			if p := joined(path, key); !broken.at(p) {
				if inner = sound(inner, p, broken); inner != nil {
					out[key] = inner
				}
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			if broken.at(indexed(path, i)) {
				return nil
			}
			out[i] = sound(inner, indexed(path, i), broken)
		}
		return out
	}
	return v
}

// typed turns the plain values into a Config. Only values that the schema
// can't judge, for instance a duration beyond all bounds, are faults here.
func (d *document) typed(s *setting) (Config, error) {
	b, err := json.Marshal(d.root)
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	var c Config
	err = json.Unmarshal(b, &c, json.RejectUnknownMembers(true))
	var detail *json.SemanticError
	if errors.As(err, &detail) {
		path, about := d.locate(slices.Collect(detail.JSONPointer.Tokens()), s)
		d.add(d.valueAt(path), path, "is too large for "+about.kind(), about.example())
		return Config{}, nil
	}
	return c, err
}

// reason is why a file can't be read, without its name.
func reason(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
