package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/authn"
	"gatehouse/config"
)

// tryCases explains the request of each case and compares it with what is expected.
// It opens no connection. A file that can't be understood is an error.
func tryCases(c config.Config, settings, file string) ([]authn.Finding, error) {
	cases, err := config.LoadCases(file)
	if err != nil {
		return nil, err
	}
	g, err := quiet(c, settings)
	if err != nil {
		return nil, err
	}
	defer g.close() //nolint:errcheck // nothing was kept
	var faults config.Faults
	var out []authn.Finding
	for i, one := range cases {
		e, err := g.explain(context.Background(), c, questionOf(one))
		if err != nil {
			faults = append(faults, config.Fault{Source: file, Line: one.Line, Column: 1, Path: fmt.Sprintf("cases[%d]", i), Problem: err.Error()})
			continue
		}
		out = append(out, compare(one, file, e))
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return out, nil
}

func questionOf(c config.Case) question {
	q := question{method: c.Request.Method, url: c.Request.URL, browser: c.Request.Browser, who: c.Who}
	if q.method == "" {
		q.method = "GET"
	}
	for _, name := range slices.Sorted(maps.Keys(c.Request.Headers)) {
		q.headers = append(q.headers, [2]string{name, c.Request.Headers[name]})
	}
	return q
}

// compare says how a case has gone. It only looks at what is expected.
func compare(c config.Case, file string, e explained) authn.Finding {
	want, s := c.Expect, e.shown()
	var wrong []string
	differ := func(what, got, want string) {
		wrong = append(wrong, fmt.Sprintf("%s: got %s, want %s", what, orElse(got, "none"), orElse(want, "none")))
	}
	same := func(what, got, want string) {
		if got != want {
			differ(what, got, want)
		}
	}
	if d := string(want.Decision); d != "" && d != s.Decision {
		got := s.Decision
		if s.Sentence != "" {
			got += " (" + s.Sentence + ")"
		}
		differ("decision", got, d)
	}
	if want.Upstream != nil {
		same("upstream", s.Upstream, *want.Upstream)
	}
	if want.Rule != nil && *want.Rule != e.Rule.Place {
		same("rule", e.Rule.Name, *want.Rule)
	}
	if want.Teams != nil {
		same("teams", strings.Join(e.Subject.Teams(), " "), strings.Join(want.Teams, " "))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Headers)) {
		if got, ok := e.header(name); !ok || len(got) != 1 || got[0] != want.Headers[name] {
			shown := want.Headers[name]
			if secretName(name) {
				shown = hidden
			}
			differ("header "+name, strings.Join(e.values(canonical(name)), " and "), shown)
		}
	}
	for _, name := range want.Absent {
		if _, ok := e.header(name); ok {
			differ("header "+name, strings.Join(e.values(canonical(name)), " and "), "")
		}
	}
	if len(wrong) == 0 {
		return authn.Finding{OK: true, What: printable(c.Name), Detail: s.Decision}
	}
	return authn.Finding{What: printable(c.Name), Detail: printable(fmt.Sprintf("%s:%d: %s", file, c.Line, strings.Join(wrong, "; ")))}
}

func canonical(name string) string { return http.CanonicalHeaderKey(name) }

// header is what the application gets under a name, as it is.
func (e explained) header(name string) ([]string, bool) {
	values, ok := e.Header[canonical(name)]
	return values, ok
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
