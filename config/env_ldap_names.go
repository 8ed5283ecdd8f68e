package config

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// directoryKeys are all that may come after one of [directoryNames].
func directoryKeys() []string {
	return append(slices.Sorted(maps.Keys(directoryAliases())), "ATTRIBUTES", "GROUP_ALLOW_LIST", "LOGIN", "TLS_ENABLE")
}

// directoryVariable is what a setting of the first directory is called in the
// environment of a Weights & Biases server; "" if nothing.
func directoryVariable(key string) string {
	older := directoryNames()[0]
	for name, setting := range directoryAliases() {
		if setting == key {
			return older + name
		}
	}
	switch key {
	case "allowedGroups":
		return older + "GROUP_ALLOW_LIST"
	case "startTLS":
		return older + "TLS_ENABLE"
	}
	return ""
}

// unknown refuses names that mean nothing: one letter too few in the name of
// the allow list would let everybody in. Names that begin with LDAP_ are other
// programs' too, so of those only what is nearly one of ours.
func (o overlayLDAP) unknown() {
	keys := directoryKeys()
	used := o.used()
	for _, name := range slices.Sorted(maps.Keys(o.set)) {
		value := o.set[name]
		for _, prefix := range directoryNames() {
			key, ok := strings.CutPrefix(name, prefix)
			if !ok || value == "" || slices.Contains(keys, key) || serviceLink(name, value) {
				continue
			}
			if best := Nearest(key, keys); best != "" && (used || prefix != "LDAP_") {
				o.variableFault(name, "", "unknown setting", didYouMean(prefix+best))
			} else if prefix != "LDAP_" {
				o.variableFault(name, "", "unknown setting", meant(prefix, key, keys))
			}
		}
	}
}

// meant advises on a name that is far from each of ours: BIND_PASSWORD.
func meant(prefix, key string, keys []string) string {
	word, _, _ := strings.Cut(key, "_")
	var alike []string
	for _, k := range keys {
		if strings.HasPrefix(k, word+"_") {
			alike = append(alike, prefix+k)
		}
	}
	if best := Nearest(prefix+key, alike); best != "" {
		return didYouMean(best)
	}
	return "known here: " + prefix + strings.Join(keys, ", "+prefix)
}

// used says whether a directory is made or changed by these names.
func (o overlayLDAP) used() bool {
	for _, v := range o.from {
		if strings.HasPrefix(v.name, "LDAP_") || strings.HasPrefix(v.name, "LOCAL_LDAP_") {
			return true
		}
	}
	return false
}

// text is the value of a variable. An empty one counts as absent, and what env
// files leave around a value is a fault: a quote would be part of a password,
// and the directory would say no more than that it is wrong. The value goes on
// without it, so that this is said once.
func (o overlayLDAP) text(name string) string {
	value := o.set[name]
	password := strings.HasSuffix(name, "BIND_PW")
	if password {
		value = withoutLineBreak(value)
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		o.variableFault(name, "", "holds a line break or another control character", "write it in one line, without any")
		value = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, value)
	}
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[0] == value[n-1] {
		fix := "take them away"
		if password {
			fix += "; a password that has them itself goes into a file, bindPasswordFile"
		}
		o.variableFault(name, "", "is in quotes", fix)
		value = value[1 : n-1]
	}
	return value
}
