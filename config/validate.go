package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// validate holds the document against the schema.
func (d *document) validate(schema *jsonschema.Schema, s *setting) {
	var failed *jsonschema.ValidationError
	if err := schema.Validate(d.root); errors.As(err, &failed) {
		d.explain(failed, s)
	}
}

// explain turns what the validator found into faults.
func (d *document) explain(e *jsonschema.ValidationError, s *setting) {
	for _, cause := range e.Causes {
		d.explain(cause, s)
	}
	if len(e.Causes) > 0 {
		return
	}
	path, about := d.locate(e.InstanceLocation, s)
	if d.unread[path] {
		return // said already
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, key := range k.Properties {
			inner := joined(path, key)
			d.add(d.keyAt(inner), inner, "unknown setting", about.advise(key))
		}
	case *kind.Required:
		for _, key := range k.Missing {
			inner := joined(path, key)
			d.add(d.keyAt(path), inner, "is missing", d.provide(append(e.InstanceLocation, key)))
		}
	case *kind.UniqueItems:
		second := indexed(path, k.Duplicates[1])
		d.add(d.valueAt(second), second, "is in the list twice", "remove one")
	default:
		problem, fix := about.complaint(e.ErrorKind)
		d.add(d.valueAt(path), path, problem, fix)
	}
}

// locate spells a location in the tree, keys and indexes, as a path, and says
// what the schema says of it.
func (d *document) locate(location []string, s *setting) (string, *setting) {
	var at any = d.root
	path := ""
	for _, key := range location {
		switch v := at.(type) {
		case []any:
			if i, err := strconv.Atoi(key); err == nil && i < len(v) {
				path, at, s = indexed(path, i), v[i], s.item()
			}
		case map[string]any:
			path, at, s = joined(path, key), v[key], s.child(key)
		}
	}
	if s == nil {
		s = &setting{}
	}
	return path, s
}

// provide says how to set what is missing at a location.
func (d *document) provide(location []string) string {
	if d.fileAlone {
		return "add it"
	}
	variables := variableAt(location)
	switch {
	case len(location) == 1 && location[0] == "authn":
		variables = "OIDC_ISSUER and OIDC_CLIENT_ID, or LOCAL_LDAP_ADDRESS and LOCAL_LDAP_BASE_DN"
	case len(location) == 4 && location[2] == "ldap":
		variables = "LOCAL_LDAP_" + variableName(location[3])
	case len(location) == 4 && location[2] == "oidc" && d.name == environment:
		variables = "OIDC_" + variableName(location[3]) // whoever has no file has begun with these
	case len(location) == 1 && location[0] == "upstreams":
		variables = "GATEHOUSE_UPSTREAM"
	}
	if d.name == environment {
		return "set " + variables + ", or use a settings file"
	}
	return "add it, or set " + variables
}

// advise says what an unknown key may have been meant to be.
func (s *setting) advise(key string) string {
	if best := Nearest(key, s.names()); best != "" {
		return didYouMean(best)
	}
	return "known here: " + strings.Join(s.names(), ", ")
}

// complaint says in plain words what is wrong with a value, and the fix.
func (s *setting) complaint(e jsonschema.ErrorKind) (problem, fix string) {
	switch k := e.(type) {
	case *kind.Type:
		return s.wrongType(k)
	case *kind.Enum:
		got := fmt.Sprint(k.Got)
		if best := Nearest(got, s.Enum); best != "" {
			return quoted(got) + " is not allowed", didYouMean(best)
		}
		return quoted(got) + " is not allowed", "use one of: " + strings.Join(s.Enum, " ")
	case *kind.Pattern:
		return quoted(k.Got) + " is not " + s.kind(), s.example()
	case *kind.MinLength:
		return "is empty", "give it a value or leave the setting out"
	case *kind.MinItems:
		return "is an empty list", "name at least one, or leave the setting out"
	case *kind.MinProperties:
		return "is an empty group", "set one of " + strings.Join(s.names(), ", ") + ", or leave the group out"
	case *kind.Minimum:
		if s.Type == "integer" {
			return "is too small", "use " + s.bounds()
		}
		return "must not be negative", "use 0 or more"
	case *kind.Maximum:
		return "is too large", "use " + s.bounds()
	}
	return "is not what the schema allows", "compare it with what gatehouse schema prints"
}

// wrongType explains a value of the wrong kind.
func (s *setting) wrongType(k *kind.Type) (problem, fix string) {
	if k.Got == "null" {
		return "has no value", "give it one or remove the line"
	}
	got := map[string]string{
		"string": "text", "array": "a list", "object": "a group of settings",
		"boolean": "true or false", "number": "a number", "integer": "a number",
	}
	problem = "must be " + s.kind() + ", but is " + got[k.Got]
	switch {
	case s.Title == titleDuration || s.Title == titleSize:
		fix = s.example()
	case len(s.Enum) > 0:
		fix = "use one of: " + strings.Join(s.Enum, " ")
	case s.Type == "integer":
		fix = "write digits alone, without quotes: " + s.bounds()
	case slices.Contains(k.Want, "string") && k.Got != "array" && k.Got != "object":
		fix = "put it in quotes"
	case slices.Contains(k.Want, "string"):
		fix = "write one value, neither a list nor a group"
	case slices.Contains(k.Want, "array"):
		fix = "write it as a list: [a, b], or one a line after \"- \""
	case slices.Contains(k.Want, "boolean"):
		fix = "write true or false, without quotes"
	case slices.Contains(k.Want, "object"):
		fix = "write its settings below it, indented"
	}
	return problem, fix
}

// kind is the kind of value that a setting takes, in words.
func (s *setting) kind() string {
	switch {
	case s.Title == titleDuration:
		return "a length of time"
	case s.Title == titleSize:
		return "a size"
	case s.Pattern != "":
		return "of the right form"
	case s.Type == "array":
		return "a list"
	case s.Type == "boolean":
		return "true or false"
	case s.Type == "integer":
		return "a whole number"
	case s.pairs():
		return "keys with values"
	case s.Type == "object":
		return "a group of settings"
	}
	return "text"
}

// example shows how to write a value of the setting's kind.
func (s *setting) example() string {
	switch s.Title {
	case titleDuration:
		return "write a number and a unit, for instance 90s, 15m or 12h"
	case titleSize:
		return "write a whole number and a unit, for instance 64KiB or 10GiB"
	}
	if s.Title == "name" {
		return "use a-z, 0-9 and -, for instance okta-prod"
	}
	if like, ok := s.Default.(string); ok {
		return "write it like " + like + "; it must match " + s.Pattern
	}
	return "it must match " + s.Pattern
}

// bounds says how large a whole number may be, and writes a million out.
func (s *setting) bounds() string {
	if s.Maximum == nil {
		return plain(s.Minimum) + " or more"
	}
	return plain(s.Minimum) + " to " + plain(s.Maximum)
}

func plain(bound any) string {
	if f, ok := bound.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(bound)
}
