package config

import (
	"cmp"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reload is when settings are read again while the gateway runs.
type Reload struct {
	// How often the settings file and the files that it names are looked at. What has
	// changed, and then stayed the same for that long, is loaded. 0s looks never: only
	// SIGHUP has them loaded.
	Interval Duration `json:"interval" jsonschema:"default=5s"`
}

// Files are those that the settings name, sorted, whose content counts from when it
// was loaded. What is read again whenever it is needed is not among them.
func (c Config) Files() []string {
	out := map[string]bool{}
	for path, value := range c.flat(false) {
		name := last(path)
		if !strings.HasSuffix(name, "File") || name == "tokenFile" || strings.HasPrefix(path, "listen.") {
			continue
		}
		out[value] = true
	}
	return slices.Sorted(maps.Keys(out))
}

// Change is a setting that is not the same in two Configs.
type Change struct {
	// Path is the setting's, as in faults.
	Path string `json:"path"`
	// From and To are its values, secrets masked; empty where it is not set.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Restart says that the change counts only after a restart.
	Restart bool `json:"restart,omitzero"`
}

// String is the change in one line.
func (c Change) String() string {
	out := fmt.Sprintf("%s: %s -> %s", c.Path, cmp.Or(c.From, "not set"), cmp.Or(c.To, "not set"))
	if c.Restart {
		out += " (after a restart)"
	}
	return out
}

// Changes lists what differs, by path. Items of lists go by their place.
func Changes(from, to Config) []Change { return compare(from.flat(true), to.flat(true)) }

// ChangesFrom is [Changes] from settings as [Config.Masked] gives them. Whether secrets
// differ can't be told then.
func ChangesFrom(masked []byte, to Config) ([]Change, error) {
	var from any
	if err := json.Unmarshal(masked, &from); err != nil {
		return nil, fmt.Errorf("config: settings as JSON: %w", err)
	}
	a := map[string]string{}
	flatten(a, "", from)
	return compare(a, to.flat(false)), nil
}

// Masked is all settings as JSON, defaults and the environment's too, secrets masked.
func (c Config) Masked() []byte { return c.json(json.DefaultOptionsV2()) }

// revealed is before a secret's value in flat texts.
const revealed = masked + "\x00"

func compare(from, to map[string]string) []Change {
	var out []Change
	mask := func(s string) string {
		if strings.HasPrefix(s, revealed) {
			return masked
		}
		return s
	}
	paths := map[string]bool{}
	for _, m := range []map[string]string{from, to} {
		for path := range m {
			paths[path] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if a, b := from[path], to[path]; a != b {
			out = append(out, Change{Path: path, From: mask(a), To: mask(b), Restart: atStart(path)})
		}
	}
	return out
}

// atStart reports whether a setting is of what is opened when the program starts.
func atStart(path string) bool {
	switch path {
	case "listen.stallTimeout", "listen.drainTimeout", "listen.drainDelay", "listen.maxURLSize":
		return false
	}
	return strings.HasPrefix(path, "listen.") || strings.HasPrefix(path, "operations.") || path == "forwardAuth.grpcAddress"
}

// flat is every setting that is set, by its path.
func (c Config) flat(reveal bool) map[string]string {
	o := json.DefaultOptionsV2()
	if reveal {
		o = json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, s Secret) error {
			return e.WriteToken(jsontext.String(revealed + s.Reveal()))
		}))
	}
	var v any
	if err := json.Unmarshal(c.json(o), &v); err != nil {
		panic(err) // it was made one line above
	}
	out := map[string]string{}
	flatten(out, "", v)
	return out
}

func (c Config) json(o json.Options) []byte {
	b, err := json.Marshal(c, o, jsontext.AllowInvalidUTF8(true), json.Deterministic(true))
	if err != nil {
		panic(err) // settings hold nothing that JSON does not
	}
	return b
}

// flatten puts what v holds into out, by path.
func flatten(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			flatten(out, joined(path, key), child)
		}
	case []any:
		for i, child := range v {
			flatten(out, indexed(path, i), child)
		}
	case nil:
	case string:
		if v != "" && v != revealed {
			out[path] = v
		}
	default:
		out[path] = fmt.Sprint(v)
	}
}
