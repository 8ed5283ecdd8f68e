package config

import (
	"regexp"
	"strings"
)

var (
	keyed     = regexp.MustCompile(`^[\s-]*([A-Za-z0-9_]+)\s*:`)
	secretive = regexp.MustCompile(`(?i)secret|passw|keys|token|\bpw\b`)
)

// guarded is a line of a file that can't be parsed, so that nobody knows which
// setting a value belongs to. It is shown if its key is a known setting and
// nothing in it sounds like a secret; else only up to the key.
func guarded(line string, s *setting) string {
	m := keyed.FindStringSubmatch(line)
	if m == nil {
		return printable(line[:len(line)-len(strings.TrimLeft(line, " \t-"))] + "[not shown, it may be a secret]")
	}
	if s.knows(m[1]) && !secretive.MatchString(line) && !s.namesSecret(line) {
		return printable(withoutSecrets(line))
	}
	return printable(m[0] + " " + masked)
}

// namesSecret says whether the name of a setting below s that is a secret stands
// somewhere in the line.
func (s *setting) namesSecret(line string) bool {
	if s == nil {
		return false
	}
	for key, child := range s.Properties {
		secret := child.Title == titleSecret || child.Items != nil && child.Items.Title == titleSecret
		if secret && strings.Contains(line, key) || child.namesSecret(line) {
			return true
		}
	}
	return s.Items.namesSecret(line)
}

// knows says whether name is a setting somewhere below s.
func (s *setting) knows(name string) bool {
	if s == nil {
		return false
	}
	for key, child := range s.Properties {
		if key == name || child.knows(name) {
			return true
		}
	}
	return s.Items.knows(name)
}
