// Package migrate turns the configuration of oauth2-proxy into settings of the
// gateway, and says what behaves differently. It reads what oauth2-proxy reads, by
// its names, in its order; it never prints a secret.
package migrate

import (
	"fmt"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"gatehouse/config"
)

// Input is what oauth2-proxy would be started with.
type Input struct {
	// Args is its command line, without the program's name or with it.
	Args []string
	// Config and AlphaConfig are its files, where Args does not name them.
	Config, AlphaConfig string
	// Env is its environment, like [os.Environ].
	Env []string
	// Secrets is the directory that the settings look for files of secrets in.
	Secrets string
}

// Result is what becomes of it.
type Result struct {
	// Settings is the settings file.
	Settings []byte
	// Holes are the lines that a person must fill in. With any, no gateway starts.
	Holes []Hole
	// Secrets are the files of secrets that the settings name and that are not there.
	Secrets []Secret
	// Notes is what behaves differently, or is not needed.
	Notes []Note
	// Faults is what the settings are refused for beside holes and files of secrets.
	Faults config.Faults
}

// Hole is a line of the settings that a person must fill in.
type Hole struct {
	Line int
	Path string
	What string
}

// Secret is a file to make.
type Secret struct {
	// File is its name, without the directory.
	File string
	// Value is what belongs into it; empty for session keys, which are made anew.
	Value config.Secret
	// From says where it was.
	From string
}

// Note is something to know about an option.
type Note struct {
	Kind  Kind
	About string // the option, as it was written
	Says  string
}

// Kind is what a note is about.
type Kind int

// The kinds of notes, the most important first.
const (
	Wider     Kind = iota // more is open than before
	Narrower              // less is open than before
	Different             // no counterpart, and what to do
	Moot                  // not needed
)

// Name is what the settings are called in faults.
const Name = "gatehouse.yaml"

// OAuth2Proxy translates a configuration. What oauth2-proxy itself would not take
// comes back as [config.Faults].
func OAuth2Proxy(in Input) (Result, error) {
	r := &reader{options: options(), env: map[string]string{}, given: map[string]given{}}
	for _, e := range in.Env {
		name, value, _ := strings.Cut(e, "=")
		r.env[name] = value
	}
	r.read(in.commandLine())
	if len(r.faults) > 0 {
		return Result{}, r.faults
	}
	t := &translation{reader: r, dir: strings.TrimSuffix(in.Secrets, "/")}
	t.all()
	t.remarks()
	if len(r.faults) > 0 {
		return Result{}, r.faults
	}
	return t.result(), nil
}

// commandLine is all options, without the program's name.
func (in Input) commandLine() []string {
	var args []string
	if in.Config != "" {
		args = append(args, "--config="+in.Config)
	}
	if in.AlphaConfig != "" {
		args = append(args, "--alpha-config="+in.AlphaConfig)
	}
	given := in.Args
	if len(given) > 0 && !strings.HasPrefix(given[0], "-") && strings.Contains(given[0], "oauth2") {
		given = given[1:]
	}
	return append(args, given...)
}

// result writes the settings and has them checked: with what stands in for holes,
// for what follows from those is no news.
func (t *translation) result() Result {
	blank, full := page{}, page{full: true}
	for _, p := range []*page{&blank, &full} {
		p.add(0, "# Made from a configuration of oauth2-proxy by: gatehouse migrate oauth2-proxy")
		p.group(t.root, 0, "", false)
	}
	out := Result{
		Settings: []byte(strings.Join(blank.lines, "\n") + "\n"),
		Holes:    blank.holes, Secrets: t.secrets, Notes: t.notes,
	}
	_, err := config.Decode(Name, []byte(strings.Join(full.lines, "\n")+"\n"), nil)
	faults, _ := err.(config.Faults) //nolint:errorlint // Decode returns nothing else but for a broken schema
	for _, f := range faults {
		if t.files[f.Path] && strings.Contains(f.Problem, syscall.ENOENT.Error()) {
			continue // it belongs to where the gateway will run
		}
		if f.Excerpt = ""; f.Line > 0 {
			f.Excerpt = blank.lines[f.Line-1]
		}
		out.Faults = append(out.Faults, f)
	}
	if err != nil && faults == nil {
		out.Faults = config.Faults{{Source: Name, Problem: err.Error()}}
	}
	return out
}

// printable keeps a terminal from obeying a text that comes from outside.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

// String is the hole for people to read.
func (h Hole) String() string { return fmt.Sprintf("line %d: %s: %s", h.Line, h.Path, h.What) }
