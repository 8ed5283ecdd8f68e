package migrate

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Report is what there is to know about the settings, for people to read. Secrets is
// where the settings look for their files; dir is where these and the settings were
// written, empty if they were not.
func (r Result) Report(secrets, dir string) string {
	var b strings.Builder
	section := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "\n%s\n", title)
			for _, l := range lines {
				fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(l, "\n", "\n  "))
			}
		}
	}
	section("TO FILL IN, or no gateway starts:", texts(r.Holes, Hole.String))
	var faults []string
	for _, f := range r.Faults {
		faults = append(faults, f.String())
	}
	section("TO CORRECT, or no gateway starts:", faults)
	section("Files of secrets:", texts(r.Secrets, func(s Secret) string { return s.line(secrets, dir != "") }))
	section("More is open than before:", r.about(Wider))
	section("Less is open than before:", r.about(Narrower))
	section("Different:", r.about(Different))
	section("Not needed any more:", r.about(Moot))
	section("With every configuration:", []string{
		"- the paths of sign-in are others, programs get 401 without being listed, people sign in once more: see docs/migrate-from-oauth2-proxy.md",
		"- afterwards: gatehouse check --config " + filepath.Join(dir, Name),
	})
	return strings.TrimPrefix(b.String(), "\n")
}

func texts[T any](all []T, text func(T) string) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = "- " + text(one)
	}
	return out
}

func (s Secret) line(dir string, written bool) string {
	switch {
	case s.Value == "" && written:
		return s.File + ": made anew; every replica needs the same"
	case s.Value == "":
		return dir + "/" + s.File + ": make it with: openssl rand -base64 32; every replica needs the same"
	case written:
		return s.File + ": from " + s.From
	}
	return dir + "/" + s.File + ": put there what is in " + s.From
}

// about are the notes of a kind; options of which the same is said stand together.
func (r Result) about(kind Kind) []string {
	var says []string
	options := map[string][]string{}
	for _, n := range r.Notes {
		if n.Kind != kind {
			continue
		}
		if !slices.Contains(says, n.Says) {
			says = append(says, n.Says)
		}
		options[n.Says] = append(options[n.Says], printable(n.About))
	}
	return texts(says, func(s string) string { return strings.Join(options[s], ", ") + ": " + s })
}
