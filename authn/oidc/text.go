package oidc

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxForeign bounds a text of the provider in the log, in bytes.
const maxForeign = 300

// bounded makes a foreign text fit for a log line: short, and with nothing in
// it that a terminal or a line-based tool would act upon.
func bounded(s string) string {
	more := ""
	if len(s) > maxForeign {
		s, more = s[:maxForeign], "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s) + more
}

// short is an error whose text may hold what the provider said.
type short struct{ error }

func (s short) Error() string { return bounded(s.error.Error()) }
func (s short) Unwrap() error { return s.error }

// cleanID says whether s can name somebody without being taken for another
// name: valid UTF-8, nothing invisible, no white space but plain inner spaces.
func cleanID(s string) bool {
	if s == "" || !utf8.ValidString(s) || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) || r > unicode.MaxASCII && unicode.IsSpace(r) || invisible(r) {
			return false
		}
	}
	return true
}

// invisible tells code points that show nothing, or that say "could not be
// decoded". Format characters, zero-width ones among them, are not graphic.
func invisible(r rune) bool {
	return r == utf8.RuneError || r == '\u2800' || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// foldASCII lowers A to Z and nothing else, so that no letter of another script
// becomes one of them.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
