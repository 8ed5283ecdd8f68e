package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
)

const intro = `# Settings

<!-- Made from the structs in config/config.go and config/ldap.go by "go test ./config -update". Don't edit. -->

Gatehouse reads one YAML file and the environment. What it does not know, can't read or finds unsafe it refuses, all of it at
once, each fault with its line and its fix; ` + "`gatehouse check`" + ` says the same without starting.
An empty value never means everybody or nobody: leave a setting out to have its default.

A whole file for one application and one provider:

` + "```yaml" + `
publicURL: https://wandb.example.com
upstreams:
  - url: http://wandb:8080
authn:
  - name: okta
    label: Sign in with Okta
    oidc:
      issuer: https://example.okta.com
      clientID: 0oa1b2c3d4
      clientSecretFile: /run/secrets/client-secret
      allowedEmailDomains: [example.com]
session:
  lifetime: 72h
  keysFile: /run/secrets/session-keys
store:
  redis:
    url: rediss://redis.example.com:6379/0
    passwordFile: /run/secrets/redis-password
` + "```" + `

Editors complete and check the file by its JSON Schema, [config/schema.json](../config/schema.json).

## How values are written

| type | in the file | in the environment |
|---|---|---|
| text | ` + "`okta`" + `; in quotes if it could be taken for a number or true | as it is |
| true or false | ` + "`true`" + ` | ` + "`true`" + ` |
| duration | a number and a unit: ` + "`90s`, `15m`, `12h`, `1h30m`" + ` | the same |
| whole number | digits alone | the same |
| size | a whole number and a binary unit: ` + "`64KiB`, `10GiB`" + `; bytes without one | the same |
| list | ` + "`[a, b]`" + ` or one a line after ` + "`- `" + ` | ` + "`a,b`" + ` |
| keys and values | ` + "`{hd: example.com}`" + ` | ` + "`hd=example.com,a=b`" + `, or a JSON object if a value has a comma |
| secret | text; it is never printed | as it is |
| file | a path, from the working directory if it is not absolute | the same |

One document a file; no anchors, aliases or tags; no key twice. A secret has a twin whose name ends in ` + "`File`" + `: set one of the two. One line break
at the end of such a file is not part of the secret, nor is a byte order mark at its beginning.

## The environment

Every setting can be set in the environment, under the name beside it below. It is the path in capitals after ` + "`GATEHOUSE_`" + `; the items of a
list are counted from 0, so ` + "`GATEHOUSE_UPSTREAMS_1_URL`" + ` is the url of the second upstream. **The environment goes before the file.** An
unknown name that begins with ` + "`GATEHOUSE_`" + ` is a fault, and so is an empty value; only what Kubernetes and Docker set for services
of such a name is passed over.

These names stand for settings too:

| name | setting |
|---|---|
`

const afterAliases = `
The names of a Weights & Biases server work as they are: they make a route ` + "`oidc`" + ` if there is no OIDC route, and a route ` + "`ldap`" + ` after it if
there is no LDAP route (see [ldap.md](ldap.md)). An empty one counts as absent. Two names of one setting with different values are a fault, and so
is an unknown name that begins with ` + "`LOCAL_LDAP_`" + `. So this is a whole configuration, without any file:

` + "```sh" + `
GATEHOUSE_PUBLIC_URL=https://wandb.example.com \
GATEHOUSE_UPSTREAM=http://wandb:8080 \
OIDC_ISSUER=https://example.okta.com \
OIDC_CLIENT_ID=0oa1b2c3d4 \
gatehouse serve
` + "```" + `
`

func TestSettingsPageIsCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString(aliasTable())
	b.WriteString(afterAliases)
	p := page{&b}
	p.group("", "", prefix, generated(t))
	golden(t, "../docs/settings.md", []byte(strings.TrimRight(b.String(), "\n")+"\n"))
}

// aliasTable has a row for each setting with names of its own.
func aliasTable() string {
	var rows, settings []string
	for _, a := range aliases() {
		place := "`" + a.key + "` of the first upstream"
		if a.kind == "oidc" {
			place = "`" + a.key + "` of the first OIDC route"
		}
		if i := slices.Index(settings, place); i >= 0 {
			rows[i] += ", `" + a.name + "`"
			continue
		}
		settings, rows = append(settings, place), append(rows, "`"+a.name+"`")
	}
	directory := directoryAliases()
	for _, name := range slices.Sorted(maps.Keys(directory)) {
		rows = append(rows, "`LOCAL_LDAP_"+name+"`, `LDAP_"+name+"`")
		settings = append(settings, "`"+directory[name]+"` of the first LDAP route")
	}
	for _, r := range [][2]string{
		{"ATTRIBUTES", "`attributes` and `groups.from` of the first LDAP route, as `email=mail,group=gidNumber`"},
		{"GROUP_ALLOW_LIST", "`allowedGroups` and `groups.as` of the first LDAP route"},
		{"LOGIN", "`testOnly` of the first LDAP route, reversed"},
		{"TLS_ENABLE", "`startTLS` of the first LDAP route, if its address begins with ldap://"},
	} {
		rows, settings = append(rows, "`LOCAL_LDAP_"+r[0]+"`, `LDAP_"+r[0]+"`"), append(settings, r[1])
	}
	table := ""
	for i := range rows {
		table += "| " + rows[i] + " | " + settings[i] + " |\n"
	}
	return table
}

// page writes the reference of settings.
type page struct{ *strings.Builder }

// group writes the settings of one group, then the groups in it.
func (p page) group(path, about, variables string, s *jsonschema.Schema) {
	if path == "" {
		p.WriteString("\n## At the top of the file\n\n")
	} else {
		fmt.Fprintf(p, "\n%s %s\n\n%s\n\n", strings.Repeat("#", min(4, 2+strings.Count(path, "."))), path, about)
	}
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		if grouped(pair.Value) == nil {
			p.setting(pair.Key, variables, pair.Value, slices.Contains(s.Required, pair.Key))
		}
	}
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		inner := grouped(pair.Value)
		if inner == nil {
			continue
		}
		name, next := joined(path, pair.Key), variables+variableName(pair.Key)+"_"
		if pair.Value.Type == "array" {
			name, next = name+"[]", next+"0_"
		}
		p.group(name, pair.Value.Description, next, inner)
	}
}

// grouped returns the group that a setting, or each item of it, is; nil if none.
func grouped(s *jsonschema.Schema) *jsonschema.Schema {
	if s.Type == "array" {
		s = s.Items
	}
	if s.Properties == nil || s.Properties.Len() == 0 {
		return nil
	}
	return s
}

func (p page) setting(key, variables string, s *jsonschema.Schema, required bool) {
	fmt.Fprintf(p, "- **`%s`** · %s", key, typeName(key, s))
	switch {
	case required:
		p.WriteString(" · required")
	case s.Default != nil:
		fmt.Fprintf(p, " · default `%s`", strings.Trim(fmt.Sprint(s.Default), "[]"))
	}
	fmt.Fprintf(p, " · `%s%s`  \n  %s\n", variables, variableName(key), s.Description)
	choices := s.Enum
	if s.Items != nil {
		choices = s.Items.Enum
	}
	if choices != nil {
		names := make([]string, len(choices))
		for i, c := range choices {
			names[i] = fmt.Sprintf("`%v`", c)
		}
		fmt.Fprintf(p, "  One of %s.\n", strings.Join(names, " "))
	}
}

func typeName(key string, s *jsonschema.Schema) string {
	switch {
	case s.Title == titleDuration, s.Title == titleSize, s.Title == titleSecret:
		return s.Title
	case s.Type == "array" && s.Items.Title == titleSecret:
		return "list of secrets"
	case s.Type == "array":
		return "list"
	case s.Type == "boolean":
		return "true or false"
	case s.Type == "integer":
		return "whole number"
	case s.Type == "object":
		return "keys and values"
	case strings.HasSuffix(key, "File"):
		return "file"
	}
	return "text"
}
