package issuer

import (
	"bytes"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
)

// Claims is a sound JSON object of the provider: no duplicate names, valid UTF-8.
// A claim that is null counts as absent.
type Claims map[string]jsontext.Value

// ParseClaims reads a JSON object. Duplicate names, invalid UTF-8 and what nests
// too deep are errors.
func ParseClaims(text []byte) (Claims, error) {
	c := Claims{}
	if err := readDocument(text, func(name string, v jsontext.Value) { c[name] = v }); err != nil {
		return nil, authn.Foreign{Err: err}
	}
	if jsontext.Value(text).Kind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	return c, nil
}

// Find returns the claim with exactly this name, or else the one at the end of
// this path of names with dots between them.
func (c Claims) Find(path string) (jsontext.Value, bool) {
	if v, ok := c[path]; ok {
		return v, v.Kind() != 'n'
	}
	for i := range len(path) {
		if path[i] != '.' || c[path[:i]].Kind() != '{' {
			continue
		}
		inner, err := ParseClaims(c[path[:i]])
		if err != nil {
			continue
		}
		if v, ok := inner.Find(path[i+1:]); ok {
			return v, true
		}
	}
	return nil, false
}

// Text returns a claim that must be a string if it is there.
func (c Claims) Text(name string) (string, error) {
	v, ok := c.Find(name)
	if !ok {
		return "", nil
	}
	s, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return "", fmt.Errorf("claim %q is not a string", name)
	}
	return string(s), nil
}

// List returns a claim that must be an array of strings if it is there. A plain
// string is not taken for a list of one: "a,b" would be a guess.
func (c Claims) List(name string) (list []string, found bool, err error) {
	v, ok := c.Find(name)
	if !ok {
		return nil, false, nil
	}
	if list, ok = texts(v); !ok {
		return nil, false, fmt.Errorf("claim %q is not a list of strings", name)
	}
	return list, true, nil
}

// texts reads a list of strings, and leaves the empty ones out.
func texts(v jsontext.Value) (list []string, ok bool) {
	d := jsontext.NewDecoder(bytes.NewBuffer(v))
	if begin, err := d.ReadToken(); err != nil || begin.Kind() != '[' {
		return nil, false
	}
	for d.PeekKind() == '"' {
		item, err := d.ReadToken()
		if err != nil {
			return nil, false
		}
		if s := item.String(); s != "" {
			list = append(list, s)
		}
	}
	if end, err := d.ReadToken(); err != nil || end.Kind() != ']' {
		return nil, false
	}
	return list, true
}

// Values returns a claim that is text, or a list of texts, as a list; a number, true
// and false as they are spelled. It is empty for whatever else there is.
func (c Claims) Values(name string) []string {
	v, ok := c.Find(name)
	if !ok {
		return nil
	}
	kind := v.Kind()
	if kind == jsontext.KindBeginArray {
		list, _ := texts(v)
		return list
	}
	text := string(v)
	if kind == jsontext.KindString {
		text, _ = c.Text(name)
	}
	if text == "" || kind == jsontext.KindBeginObject {
		return nil
	}
	return []string{text}
}

// Chosen are the values of those claims that have any.
func (c Claims) Chosen(names []string) map[string][]string {
	var out map[string][]string
	for _, name := range names {
		if values := c.Values(name); len(values) > 0 {
			if out == nil {
				out = map[string][]string{}
			}
			out[name] = values
		}
	}
	return out
}

// lastInstant is the end of the year 9999, the last that RFC 3339 can spell.
const lastInstant = 253402300799

// Instant returns a NumericDate (RFC 7519, section 2); zero if it is not there.
func (c Claims) Instant(name string) (time.Time, error) {
	v, ok := c.Find(name)
	if !ok {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if v.Kind() != '0' || err != nil || !(seconds > 0 && seconds <= lastInstant) {
		return time.Time{}, fmt.Errorf("claim %q is not a time", name)
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

// IsTrue tells true, or the string "true" that Cognito writes.
func (c Claims) IsTrue(name string) bool {
	v, ok := c.Find(name)
	return ok && (string(v) == "true" || string(v) == `"true"`)
}

// Audience returns aud, a string or an array of strings.
func (c Claims) Audience() ([]string, error) {
	if c["aud"].Kind() == '"' {
		s, err := c.Text("aud")
		return []string{s}, err
	}
	list, found, err := c.List("aud")
	if err == nil && (!found || len(list) == 0) {
		err = errors.New(`claim "aud" is missing`)
	}
	return list, err
}

// Beyond says that a list claim was too long to be sent: Entra's overage in its
// three shapes. The place it points to is never asked.
func (c Claims) Beyond(name string) bool {
	if _, ok := claimNames(c)[name]; ok {
		return true
	}
	if name == "groups" && c.IsTrue("hasgroups") {
		return true
	}
	for k := range c {
		if strings.HasPrefix(k, name+":src") {
			return true
		}
	}
	return false
}

// claimNames is what is said to be elsewhere (OpenID Connect Core, section 5.6.2).
func claimNames(c Claims) Claims {
	names, err := ParseClaims(c["_claim_names"])
	if err != nil {
		return nil
	}
	return names
}
