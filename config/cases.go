package config

import (
	_ "embed"
	"encoding/json/v2"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Case is a request, who sends it, and what is expected to become of it.
type Case struct {
	Name    string      `json:"name"`
	Request CaseRequest `json:"request"`
	Who     Somebody    `json:"who"`
	Expect  Expectation `json:"expect"`
	// Line is where the case begins in its file.
	Line int `json:"-"`
}

// CaseRequest is a request. URL is whole, or a path of the public URL's host.
type CaseRequest struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	// Browser says that a browser goes to a page.
	Browser bool `json:"browser"`
}

// Somebody is an identity as people write it down. Its zero value is nobody.
type Somebody struct {
	Anonymous bool                `json:"anonymous"`
	Subject   string              `json:"subject"`
	Username  string              `json:"username"`
	Name      string              `json:"name"`
	Email     string              `json:"email"`
	Groups    []string            `json:"groups"`
	Teams     []string            `json:"teams"`
	Route     string              `json:"route"`
	Issuer    string              `json:"issuer"`
	Kind      string              `json:"kind"`
	Claims    map[string][]string `json:"claims"`
	Account   string              `json:"account"`
}

// Nobody says whether nothing is said of them.
func (s Somebody) Nobody() bool {
	return s.Subject+s.Username+s.Name+s.Email+s.Route+s.Issuer+s.Kind+s.Account == "" && len(s.Groups)+len(s.Teams)+len(s.Claims) == 0
}

// Expectation is what should become of a request. What it does not name may be
// anything: an empty text and a list that is nil, which an empty one is not.
type Expectation struct {
	Decision Decision `json:"decision"`
	Upstream *string  `json:"upstream"`
	// Rule is a name or a place in the settings; empty for no rule.
	Rule    *string           `json:"rule"`
	Teams   []string          `json:"teams"`
	Headers map[string]string `json:"headers"`
	Absent  []string          `json:"absent"`
}

// Decision is what becomes of a request: a word, or the status of a refusal.
type Decision string

// UnmarshalJSON takes a status as a number too.
func (d *Decision) UnmarshalJSON(b []byte) error {
	*d = Decision(strings.Trim(string(b), `"`))
	return nil
}

// decisions are what may be expected.
func decisions() []string {
	return []string{"allow", "public", "sign-in", "own", "unverified", "400", "401", "403", "404", "405", "413", "421", "429", "503"}
}

//go:embed cases.json
var casesJSON []byte

// LoadCases reads a file of cases. What is wrong comes back all at once as [Faults].
func LoadCases(file string) ([]Case, error) {
	text, err := os.ReadFile(file) //nolint:gosec // naming it is the operator's right
	if err != nil {
		return nil, Faults{{Source: file, Problem: "can't be read: " + reason(err), Fix: readable}}
	}
	return DecodeCases(file, text)
}

// DecodeCases is [LoadCases] with the file's text at hand. Its name is for the faults.
func DecodeCases(name string, text []byte) ([]Case, error) {
	s, schema, err := modelOf(casesJSON)
	if err != nil {
		return nil, err
	}
	d := parse(name, text, s)
	d.fileAlone = true
	if len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	if d.validate(schema, s); len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	b, err := json.Marshal(d.root)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	var file struct {
		Cases []Case `json:"cases"`
	}
	if err := json.Unmarshal(b, &file, json.RejectUnknownMembers(true)); err != nil {
		var detail *json.SemanticError
		if errors.As(err, &detail) {
			path, about := d.locate(slices.Collect(detail.JSONPointer.Tokens()), s)
			d.add(d.valueAt(path), path, "is not "+about.kind(), "compare it with docs/policy.md")
			return nil, d.faults
		}
		return nil, fmt.Errorf("config: %w", err)
	}
	for i := range file.Cases {
		at := indexed("cases", i)
		file.Cases[i].Line = d.valueAt(at).line
		d.checkCase(at, file.Cases[i])
	}
	if len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	return file.Cases, nil
}

// checkCase refuses a case that can't mean anything.
func (d *document) checkCase(at string, c Case) {
	fault := func(path, problem, fix string) { d.add(d.valueAt(path), path, problem, fix) }
	if c.Who.Anonymous && !c.Who.Nobody() {
		fault(at+".who.anonymous", "stands beside what somebody is", "keep one of the two")
	}
	if c.Expect.Decision != "" && !slices.Contains(decisions(), string(c.Expect.Decision)) {
		fault(at+".expect.decision", quoted(string(c.Expect.Decision))+" is not allowed", "use one of: "+strings.Join(decisions(), " "))
	}
	e := c.Expect
	if e.Decision == "" && e.Upstream == nil && e.Rule == nil && e.Teams == nil && e.Headers == nil && e.Absent == nil {
		fault(at+".expect", "expects nothing", "say what should be, for instance decision: allow")
	}
}
