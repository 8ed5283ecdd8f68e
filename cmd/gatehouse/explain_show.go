package main

import (
	"bytes"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"gatehouse/authn"
)

// shownExplanation is what --json prints. Its keys are documented in docs/policy.md.
type shownExplanation struct {
	Method      string              `json:"method"`
	URL         string              `json:"url"`
	Decision    string              `json:"decision"`
	Status      int                 `json:"status,omitzero"`
	Sentence    string              `json:"sentence,omitempty"`
	Cause       string              `json:"cause,omitempty"`
	Location    string              `json:"location,omitempty"`
	Upstream    string              `json:"upstream,omitempty"`
	Target      string              `json:"target,omitempty"`
	Rule        *shownRule          `json:"rule,omitzero"`
	Readings    []shownReading      `json:"readings,omitempty"`
	Credential  *shownCredential    `json:"credential,omitzero"`
	Identity    *shownIdentity      `json:"identity,omitzero"`
	Teams       []shownTeam         `json:"teams,omitempty"`
	Application bool                `json:"application,omitzero"`
	Host        string              `json:"host,omitempty"`
	Headers     map[string][]string `json:"headers,omitempty"`
	Assertion   jsontext.Value      `json:"assertion,omitzero"`
	Dropped     []shownDropped      `json:"dropped,omitempty"`
}

type shownRule struct {
	Name   string   `json:"name"`
	Place  string   `json:"place"`
	Access string   `json:"access"`
	API    bool     `json:"api,omitzero"`
	Needs  []string `json:"needs,omitempty"`
}

type shownReading struct {
	Path string `json:"path"`
	Rule string `json:"rule,omitempty"`
}

type shownCredential struct {
	Route    string `json:"route,omitempty"`
	Asks     string `json:"asks,omitempty"`
	Verified bool   `json:"verified"`
}

type shownIdentity struct {
	Subject  string              `json:"subject"`
	Username string              `json:"username,omitempty"`
	Name     string              `json:"name,omitempty"`
	Email    string              `json:"email,omitempty"`
	Kind     authn.Kind          `json:"kind"`
	Route    string              `json:"route"`
	Issuer   string              `json:"issuer"`
	Account  string              `json:"account,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Claims   map[string][]string `json:"claims,omitempty"`
}

type shownTeam struct {
	Team string `json:"team"`
	Role string `json:"role"`
	By   string `json:"by"`
}

type shownDropped struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// shown is an explanation without secrets.
func (e explained) shown() shownExplanation {
	s := shownExplanation{
		Method: e.method, URL: e.url, Decision: e.Decision, Status: e.Status, Sentence: e.Sentence, Upstream: e.Upstream, Target: e.Target,
		Cause: cause(e.Cause), Application: e.Application, Host: e.Host,
	}
	if to, _, query := strings.Cut(e.Location, "?"); query { // it holds the query of the request
		s.Location = to + "?…"
	} else {
		s.Location = e.Location
	}
	if r := e.Rule; r.Place != "" {
		s.Rule = &shownRule{Name: r.Name, Place: r.Place, Access: r.Access(), API: r.API, Needs: r.Needs()}
	}
	for _, one := range e.Readings {
		s.Readings = append(s.Readings, shownReading{one.Path, one.Rule.Name})
	}
	if c := e.claim; c != nil {
		s.Credential = &shownCredential{c.route, c.asks, e.verified}
	}
	if id := e.Subject.Identity; e.Known {
		s.Identity = &shownIdentity{
			id.Subject, id.Username, id.Name, id.Email, id.Kind, id.Route, id.Issuer, id.Account.Name, id.Groups, id.Claims,
		}
		for _, m := range e.Subject.Memberships {
			s.Teams = append(s.Teams, shownTeam{m.Team, m.Role, m.By})
		}
	}
	if e.Header != nil {
		s.Headers = map[string][]string{}
		for name := range e.Header {
			s.Headers[name] = e.values(name)
		}
		s.Assertion = e.Explanation.Claims()
	}
	for _, d := range e.Dropped {
		s.Dropped = append(s.Dropped, shownDropped{d.Name, d.Why})
	}
	return s
}

// cause is why a request is refused, as far as the sentence has not said it.
func cause(err error) string {
	if err == nil || errors.Is(err, authn.ErrNoCredential) {
		return ""
	}
	text := err.Error()
	if not := (*authn.NotAllowed)(nil); errors.As(err, &not) {
		text = strings.TrimSuffix(strings.TrimSuffix(text, not.Error()), ": ")
	}
	return text
}

const hidden = "[secret]"

// values are those of a header that goes on, as they may be seen: of what the client
// says, nothing that may be a credential. What the gateway says holds none.
func (e explained) values(name string) []string {
	out := slices.Clone(e.Header[name])
	for i, v := range out {
		switch {
		case slices.Contains(e.Sent, name) && (secretName(name) || secretValue(v)):
			out[i] = hidden
		case name == e.Assertion:
			out[i] = "[signed]"
		case name == "X-Request-Id":
			out[i] = "[a new one]"
		case name == "X-Forwarded-For":
			out[i] = strings.ReplaceAll(v, anyAddress, "[the client's address]")
		}
	}
	return out
}

// secretName says whether a header by its name may hold a secret.
func secretName(name string) bool {
	name = strings.ToLower(name)
	return name == "referer" || slices.ContainsFunc([]string{"auth", "cookie", "token", "secret", "key", "passw", "session", "credential", "signature", "jwt"},
		func(part string) bool { return strings.Contains(name, part) })
}

// secretValue says whether a text looks like a credential.
func secretValue(v string) bool {
	_, rest := authn.Scheme(v)
	return authn.Own(v) || authn.APIKey(v) || authn.ApplicationToken(v) || strings.HasPrefix(v, "eyJ") || strings.HasPrefix(rest, "eyJ")
}

func (e explained) writeJSON(w io.Writer) error {
	b, err := json.Marshal(e.shown(), json.Deterministic(true), jsontext.WithIndent("  "), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// write prints an explanation for people.
func (e explained) write(w io.Writer) error {
	s, p := e.shown(), &printer{}
	p.say("request", s.Method+" "+s.URL)
	p.say("decision", s.inWords()...)
	switch {
	case s.Upstream != "":
		p.say("upstream", strings.TrimSuffix(s.Upstream+", "+s.Target, ", "))
		p.say("rule", s.ruleInWords()...)
	case s.Decision != "own":
		p.say("upstream", "none")
	}
	var readings [][]string
	for _, one := range s.Readings {
		readings = append(readings, []string{one.Path, orElse(one.Rule, "no rule")})
	}
	p.table("readings", readings)
	if c := s.Credential; c != nil {
		p.say("credential", c.inWords()...)
	}
	p.say("identity", e.identityInWords(s)...)
	var teams [][]string
	for _, t := range s.Teams {
		teams = append(teams, []string{t.Team, t.Role, t.By})
	}
	p.table("teams", teams)
	p.say("headers", s.headersInWords()...)
	if s.Assertion != nil {
		p.table("assertion", members(s.Assertion))
	}
	var dropped [][]string
	for _, d := range s.Dropped {
		dropped = append(dropped, []string{d.Name, d.Why})
	}
	p.table("dropped", dropped)
	_, err := io.WriteString(w, p.String())
	return err
}

// inWords is the decision.
func (s shownExplanation) inWords() []string {
	var line string
	switch s.Decision {
	case "allow":
		line = "allow: it goes on"
		if s.Application {
			line = "allow: it goes on as nobody's, with a credential that the application judges"
		}
	case "public":
		line = "public: it goes on as nobody's"
	case "sign-in":
		line = "sign-in: the browser is led to " + s.Location
	case "own":
		line = "own: a path of the gateway itself, which answers"
	case unverified:
		return []string{
			"unverified: it depends on whether the credential is good, and whose it is",
			"--verify asks; flags (--username, --group …) say whose it may be",
		}
	default:
		line = s.Decision + " " + http.StatusText(s.Status) + ": " + s.Sentence
	}
	if s.Cause != "" && s.Status != http.StatusFound {
		return []string{line, "because: " + s.Cause}
	}
	return []string{line}
}

func (s shownExplanation) ruleInWords() []string {
	if s.Rule == nil {
		if s.Decision == "400" {
			return []string{"none: the path can be read in ways that fall under different rules"}
		}
		return []string{"none: whoever has proved who they are may go there"}
	}
	line := s.Rule.Name
	if s.Rule.Place != line {
		line += " (" + s.Rule.Place + ")"
	}
	line += ", access " + s.Rule.Access
	if s.Rule.API {
		line += ", for programs"
	}
	out := []string{line}
	for i, need := range s.Rule.Needs {
		out = append(out, [...]string{"asks for ", "or for   "}[min(i, 1)]+need)
	}
	return out
}

func (c shownCredential) inWords() []string {
	line := orElse(c.Asks, "refused by its place and shape")
	by := "of the route " + c.Route
	if c.Route == "" {
		by = "of the session"
	}
	switch {
	case c.Verified:
		return []string{line, by + "; it was looked at, as the gateway does it"}
	case c.Asks == "":
		return []string{line, by}
	}
	return []string{line, by + "; it was not verified"}
}

func (e explained) identityInWords(s shownExplanation) []string {
	id := s.Identity
	switch {
	case id == nil && !e.Asked:
		return []string{"nobody was asked"}
	case id == nil && s.Application:
		return []string{"nobody; the application finds out who it is"}
	case id == nil && s.Decision == unverified:
		return []string{"not known"}
	case id == nil:
		return []string{"nobody"}
	}
	out := []string{id.Subject + ", a " + string(id.Kind) + " by the route " + id.Route}
	for _, more := range [][2]string{
		{"issuer", id.Issuer}, {"account", id.Account}, {"username", id.Username}, {"name", id.Name}, {"email", id.Email}, {"groups", strings.Join(id.Groups, "  ")},
	} {
		if more[1] != "" {
			out = append(out, fmt.Sprintf("%-9s %s", more[0], more[1]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(id.Claims)) {
		out = append(out, fmt.Sprintf("%-9s %s: %s", "claim", name, strings.Join(id.Claims[name], "  ")))
	}
	return out
}

func (s shownExplanation) headersInWords() []string {
	if s.Headers == nil {
		return []string{"nothing is sent to an application"}
	}
	out := []string{"Host: " + s.Host}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		for _, v := range s.Headers[name] {
			out = append(out, name+": "+v)
		}
	}
	return out
}

// members are the names and values of a JSON object, in its order.
func members(object jsontext.Value) [][]string {
	var rows [][]string
	dec := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return rows
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return rows
		}
		rows = append(rows, []string{key, string(value)})
	}
	return rows
}

func orElse(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// printer sets what is said beside what it is about.
type printer struct{ strings.Builder }

// say writes lines, the title before the first. A terminal obeys nothing in them.
func (p *printer) say(title string, lines ...string) {
	for _, line := range lines {
		fmt.Fprintf(p, "%-12s%s\n", title, strings.TrimRight(printable(line), " "))
		title = ""
	}
}

// table writes rows whose columns stand below each other.
func (p *printer) table(title string, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&b, "%-*s  ", widths[i], cell)
		}
		p.say(title, b.String())
		title = ""
	}
}
