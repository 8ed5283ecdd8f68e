package migrate

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"gatehouse/config"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// given is the value of one option. A list has any number of values, all else one.
type given struct {
	values []string
	from   string // where it was said, as people wrote it
}

// reader gathers what oauth2-proxy would read, with its precedence: the command
// line before the environment before the file.
type reader struct {
	options []option
	env     map[string]string
	given   map[string]given // by flag
	notes   []Note
	faults  config.Faults
	alpha   *alpha // nil without --alpha-config
}

func (r *reader) fault(source, problem, fix string) {
	r.faults = append(r.faults, config.Fault{Source: source, Problem: problem, Fix: fix})
}

// read reads everything, the strongest first.
func (r *reader) read(args []string) {
	r.commandLine(args)
	if file := r.text("alpha-config"); file != "" {
		r.alpha = &alpha{}
		for _, o := range legacyOptions() {
			if g, ok := r.given[o.flag]; ok {
				r.fault(g.from, besideAlpha, "remove it; oauth2-proxy does not start with it either")
			}
		}
		r.alphaFile(file)
	}
	r.environment()
	if file := r.text("config"); file != "" {
		r.tomlFile(file)
	}
}

const besideAlpha = "can't stand beside an alpha configuration"

// text is the value of an option that is known by now, without its default.
func (r *reader) text(flag string) string { return first(r.given[flag].values) }

// keep takes a value unless a stronger one is there, or it is not of the option's kind.
func (r *reader) keep(o option, values []string, from string) {
	if _, ok := r.given[o.flag]; ok {
		return
	}
	for _, v := range values {
		if problem := o.kind.wrong(v); problem != "" {
			r.fault(from, problem, "correct it; oauth2-proxy does not take it either")
			return
		}
	}
	r.given[o.flag] = given{values, from}
}

// wrong says why a text is no value of a kind. It does not repeat the text.
func (k kind) wrong(s string) string {
	var err error
	what := ""
	switch k {
	case boolean:
		_, err = strconv.ParseBool(s)
		what = "is neither true nor false"
	case number:
		_, err = strconv.Atoi(s)
		what = "is no whole number"
	case duration:
		_, err = time.ParseDuration(s)
		what = "is no length of time, like 90s or 168h"
	case text, list:
	}
	if err != nil {
		return what
	}
	return ""
}

// commandLine reads flags as pflag does, oauth2-proxy's own parser.
func (r *reader) commandLine(args []string) {
	set := flags(r.options)
	for err := set.Parse(args); err != nil; err = set.Parse(args) {
		var unknown *pflag.NotExistError
		var invalid *pflag.InvalidValueError
		switch {
		case errors.As(err, &invalid):
			r.fault("--"+invalid.GetFlag().Name, "is no list with commas between", "put what has a quote in it into quotes; oauth2-proxy does not take it either")
			return
		case errors.As(err, &unknown) && set.Lookup(unknown.GetSpecifiedName()) == nil && len(unknown.GetSpecifiedName()) > 1:
			name := unknown.GetSpecifiedName()
			r.fault("--"+name, "oauth2-proxy has no such option", r.meant(name, func(o option) string { return o.flag }, "--"))
			set = flags(r.options, slices.Collect(r.unknown())...)
		case errors.Is(err, pflag.ErrHelp):
			r.fault("--help", "stands behind --, where oauth2-proxy's own options belong", "try: gatehouse migrate oauth2-proxy --help")
			return
		default:
			problem, _, _ := strings.Cut(err.Error(), "=") // what follows may be a secret
			r.fault("command line", printable(problem), "names begin with --; oauth2-proxy does not take it either")
			return
		}
	}
	if stray := set.NArg(); stray > 0 { // which may be secrets
		r.notes = append(r.notes, Note{Different, "command line", fmt.Sprintf("%d word(s) stand alone, without an option that they belong to; oauth2-proxy ignores them. A flag that is to be false is written --name=false", stray)})
	}
	for _, o := range r.options {
		f := set.Lookup(o.flag)
		if !f.Changed {
			continue
		}
		values := []string{f.Value.String()}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			values = s.GetSlice()
		}
		r.keep(o, values, "--"+o.flag)
	}
}

// unknown are the names of flags that were refused so far.
func (r *reader) unknown() func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, f := range r.faults {
			if !yield(strings.TrimPrefix(f.Source, "--")) {
				return
			}
		}
	}
}

// flags is the set of all options, and of names to pass over.
func flags(all []option, passed ...string) *pflag.FlagSet {
	set := pflag.NewFlagSet("oauth2-proxy", pflag.ContinueOnError)
	set.Usage = func() {}
	for _, o := range all {
		switch o.kind {
		case list:
			set.StringSlice(o.flag, nil, "")
		case boolean:
			set.String(o.flag, "", "")
			set.Lookup(o.flag).NoOptDefVal = "true"
		case text, number, duration:
			set.String(o.flag, "", "")
		}
	}
	for _, name := range passed {
		if set.Lookup(name) == nil {
			set.String(name, "", "")
			set.Lookup(name).NoOptDefVal = "-"
		}
	}
	return set
}

// environment reads OAUTH2_PROXY_*. What it does not know it passes over, as
// oauth2-proxy does, but says so.
func (r *reader) environment() {
	const prefix = "OAUTH2_PROXY_"
	known := map[string]bool{}
	for _, o := range r.options {
		for _, key := range o.keys() {
			name := prefix + strings.ToUpper(key)
			known[name] = true
			if v := r.env[name]; v != "" && r.mine(o) {
				r.keep(o, o.split(v), name)
			} else if v != "" {
				r.notes = append(r.notes, Note{Different, name, "oauth2-proxy ignores it beside an alpha configuration, and so does this"})
			}
		}
	}
	for _, name := range sortedKeys(r.env) {
		if rest, ok := strings.CutPrefix(name, prefix); ok && !known[name] && !service(rest) {
			meant := r.meant(strings.ToLower(rest), option.key, prefix)
			r.notes = append(r.notes, Note{Different, name, "oauth2-proxy has no such option and ignores it; " + meant})
		}
	}
}

// mine says whether an option counts: an alpha configuration takes the place of some.
func (r *reader) mine(o option) bool {
	return r.alpha == nil || !slices.ContainsFunc(legacyOptions(), func(l option) bool { return l.flag == o.flag })
}

// service says whether a name is one of those that Kubernetes and Docker set for
// a service that is called oauth2-proxy.
func service(rest string) bool {
	return strings.HasPrefix(rest, "SERVICE_") || rest == "PORT" || strings.HasPrefix(rest, "PORT_")
}

// keys are the names of an option in the file. One of them is old.
func (o option) keys() []string {
	switch {
	case o.key() == "":
		return nil
	case o.flag == "google-group":
		return []string{"google_group", o.key()}
	}
	return []string{o.key()}
}

// split is what a text in the environment or the file stands for.
func (o option) split(v string) []string {
	if o.kind != list {
		return []string{v}
	}
	return strings.Split(v, ",")
}

// tomlFile reads oauth2-proxy.cfg.
func (r *reader) tomlFile(file string) {
	body, ok := r.file(file)
	if !ok {
		return
	}
	var m map[string]any
	if err := toml.Unmarshal(body, &m); err != nil {
		problem := "it is no TOML"
		var at *toml.DecodeError
		f := config.Fault{Source: file, Problem: problem, Fix: "put texts into quotes, and lists into [ ]"}
		if errors.As(err, &at) {
			f.Line, f.Column = at.Position()
		}
		r.faults = append(r.faults, f)
		return
	}
	for _, key := range sortedKeys(m) {
		from := key + " in " + file
		i := slices.IndexFunc(r.options, func(o option) bool { return slices.Contains(o.keys(), strings.ToLower(key)) })
		switch {
		case i < 0:
			r.fault(from, "oauth2-proxy has no such option", r.meant(strings.ToLower(key), option.key, ""))
		case !r.mine(r.options[i]):
			r.fault(from, besideAlpha, "remove it; oauth2-proxy does not start with it either")
		default:
			r.tomlValue(r.options[i], m[key], from)
		}
	}
}

func (r *reader) tomlValue(o option, v any, from string) {
	values, ok := scalars(v)
	switch _, isList := v.([]any); {
	case !ok || isList && o.kind != list:
		r.fault(from, "is no value of this option", "write a text, a number, true or false, or a list of texts")
		return
	case o.kind == list && !isList:
		values = o.split(values[0])
	case o.kind == duration:
		if _, isNumber := v.(int64); isNumber {
			values[0] += "ns" // what oauth2-proxy takes a bare number for
		}
	}
	if len(values) > 0 {
		r.keep(o, values, from)
	}
}

// scalars is a plain value, or a list of them, as texts.
func scalars(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case bool, int64, uint64, int, float64:
		return []string{fmt.Sprint(v)}, true
	case []any:
		out := make([]string, 0, len(v))
		for _, item := range v {
			one, ok := scalars(item)
			if !ok || len(one) != 1 {
				return nil, false
			}
			out = append(out, one...)
		}
		return out, true
	}
	return nil, false
}

// file reads a file, or says why it can't.
func (r *reader) file(name string) ([]byte, bool) {
	body, err := readFile(name)
	if err != nil {
		r.fault(name, "can't be read: "+err.Error(), "name a file that exists and that this user may read")
		return nil, false
	}
	return body, true
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxFile:
		return nil, errors.New("it is larger than 1MiB")
	}
	body, err := os.ReadFile(name) //nolint:gosec // naming it is the operator's right
	var detail *os.PathError
	if errors.As(err, &detail) {
		return nil, detail.Err
	}
	return body, err
}

// meant names the nearest option.
func (r *reader) meant(name string, spelled func(option) string, prefix string) string {
	var all []string
	for _, o := range r.options {
		if s := spelled(o); s != "" {
			all = append(all, s)
		}
	}
	near := config.Nearest(name, all)
	if near == "" {
		return "see oauth2-proxy --help for what there is"
	}
	if prefix != "" && prefix != "--" {
		near = strings.ToUpper(near)
	}
	return "did you mean " + prefix + near + "?"
}
