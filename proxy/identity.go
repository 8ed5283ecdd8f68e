package proxy

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/config"
	"gatehouse/proxy/policy"
)

// preset is the identity headers of a known contract.
func preset(name string) ([]config.Header, error) {
	switch name {
	case "", "gatehouse":
		return []config.Header{
			{Name: "X-Forwarded-User", From: "subject"},
			{Name: "X-Forwarded-Email", From: "email"},
			{Name: "X-Forwarded-Preferred-Username", From: "username"},
			{Name: "X-Forwarded-Groups", From: "groups"},
			{Name: "X-Gatehouse-Subject", From: "subject"},
			{Name: "X-Gatehouse-Issuer", From: "issuer"},
			{Name: "X-Gatehouse-Route", From: "route"},
			{Name: "X-Gatehouse-Teams", From: "teams"},
			{Name: "X-Gatehouse-Roles", From: "roles"},
		}, nil
	case "oauth2-proxy":
		return append([]config.Header{
			{Name: "X-Forwarded-User", From: "subject"},
			{Name: "X-Forwarded-Email", From: "email"},
			{Name: "X-Forwarded-Preferred-Username", From: "username"},
			{Name: "X-Forwarded-Groups", From: "groups"},
		}, authRequest()...), nil
	case "authelia":
		return []config.Header{
			{Name: "Remote-User", From: "username"},
			{Name: "Remote-Name", From: "name"},
			{Name: "Remote-Email", From: "email"},
			{Name: "Remote-Groups", From: "groups"},
		}, nil
	case "pomerium":
		return []config.Header{
			{Name: "X-Pomerium-Claim-Sub", From: "subject"},
			{Name: "X-Pomerium-Claim-Email", From: "email"},
			{Name: "X-Pomerium-Claim-Name", From: "name"},
			{Name: "X-Pomerium-Claim-Groups", From: "groups"},
		}, nil
	case "google-iap":
		return []config.Header{
			{Name: "X-Goog-Authenticated-User-Id", Template: "accounts.google.com:{subject}"},
			{Name: "X-Goog-Authenticated-User-Email", Template: "accounts.google.com:{email}"},
		}, nil
	case "cloudflare-access":
		return []config.Header{{Name: "Cf-Access-Authenticated-User-Email", From: "email"}}, nil
	}
	return nil, fmt.Errorf("there is no preset %q of headers", name)
}

// assertionName is where a contract has its signed header.
func assertionName(preset string) string {
	switch preset {
	case "pomerium":
		return "X-Pomerium-Jwt-Assertion"
	case "google-iap":
		return "X-Goog-Iap-Jwt-Assertion"
	case "cloudflare-access":
		return "Cf-Access-Jwt-Assertion"
	}
	return "X-Gatehouse-Jwt-Assertion"
}

// authRequest is what oauth2-proxy tells a proxy that asks it.
func authRequest() []config.Header {
	return []config.Header{
		{Name: "X-Auth-Request-User", From: "subject"},
		{Name: "X-Auth-Request-Email", From: "email"},
		{Name: "X-Auth-Request-Preferred-Username", From: "username"},
		{Name: "X-Auth-Request-Groups", From: "groups"},
	}
}

// defaultMaxIdentity is the size of headers.maxSize when it is not set, in bytes.
const defaultMaxIdentity = 32 << 10

// contract turns somebody into headers.
type contract struct {
	headers   []config.Header // names in canonical form
	assertion string          // the name of the signed header
	separator byte
	json      bool
	max       int
}

func newContract(c config.Headers) (contract, error) {
	k := contract{separator: ',', json: c.GroupFormat == "json", max: int(c.MaxSize), assertion: assertionName(c.Preset)}
	if k.max == 0 {
		k.max = defaultMaxIdentity
	}
	switch c.GroupSeparator {
	case "", ",", "|", ";":
	default:
		return k, fmt.Errorf("group separator %q is not one of , | ;", c.GroupSeparator)
	}
	if c.GroupSeparator != "" {
		k.separator = c.GroupSeparator[0]
	}
	wanted := c.Identity
	if len(wanted) == 0 {
		var err error
		if wanted, err = preset(c.Preset); err != nil {
			return k, err
		}
	}
	for _, h := range wanted {
		if len(h.Name) > maxName {
			return k, fmt.Errorf("header name %q is longer than %d bytes", h.Name, maxName)
		}
		if _, known := k.value(policy.Subject{}, h); !known {
			return k, fmt.Errorf("header %s can't be made from %q", h.Name, h.From+h.Template)
		}
		h.Name = http.CanonicalHeaderKey(h.Name)
		k.headers = append(k.headers, h)
	}
	return k, nil
}

// names are the names of the contract.
func (k contract) names() []string {
	out := make([]string, len(k.headers), len(k.headers)+1)
	for i, h := range k.headers {
		out[i] = h.Name
	}
	return append(out, k.assertion)
}

// values are the values of the headers, in their order, and the room that they
// take, in bytes; an empty one is not sent. If that is more than is allowed, nobody
// may be shown with fewer groups than they have, so they can't be shown at all.
func (k contract) values(s policy.Subject) (values []string, size int) {
	values = make([]string, len(k.headers))
	for i, h := range k.headers {
		values[i], _ = k.value(s, h)
		size += lineSize(h.Name, values[i])
	}
	return values, size
}

// lineSize is the room that a header takes.
func lineSize(name, value string) int {
	if value == "" {
		return 0
	}
	return len(name) + len(": ") + len(value) + len("\r\n")
}

// inject sets the headers; those of the client are gone already.
func (k contract) inject(h http.Header, values []string) {
	for i := range values {
		if values[i] != "" {
			h[k.headers[i].Name] = values[i : i+1 : i+1]
		}
	}
}

// value is what a header says of somebody.
func (k contract) value(s policy.Subject, h config.Header) (value string, known bool) {
	if h.Template == "" {
		return k.source(s, h.From)
	}
	var b strings.Builder
	rest, empty := h.Template, false
	for {
		before, after, more := strings.Cut(rest, "{")
		b.WriteString(before)
		if !more {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		part, ok := k.source(s, name)
		if !ok || !closed {
			return "", false
		}
		empty = empty || part == ""
		b.WriteString(part)
		rest = tail
	}
	if empty {
		return "", true
	}
	return b.String(), true
}

// source is the part of an identity that a setting names, fit for a header.
func (k contract) source(s policy.Subject, from string) (value string, known bool) {
	switch from {
	case "subject":
		return encode(s.Subject, 0), true
	case "username":
		return encode(s.Username, 0), true
	case "name":
		return encode(s.Name, 0), true
	case "email":
		return encode(s.Email, 0), true
	case "issuer":
		return encode(s.Issuer, 0), true
	case "route":
		return encode(s.Route, 0), true
	case "kind":
		return encode(string(s.Kind), 0), true
	case "team":
		if len(s.Memberships) == 0 {
			return "", true
		}
		return encode(s.Memberships[0].Team, 0), true
	case "groups":
		return k.list(s.Groups), true
	case "teams":
		return k.list(s.Teams()), true
	case "roles":
		return k.list(s.Roles()), true
	}
	return "", false
}

// list is several texts in one header.
func (k contract) list(texts []string) string {
	if k.json {
		return jsonList(texts)
	}
	var b strings.Builder
	for _, g := range texts {
		if g == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(k.separator)
		}
		b.WriteString(encode(g, k.separator))
	}
	return b.String()
}

// jsonList is texts as a list of JSON in ASCII.
func jsonList(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	b, err := json.Marshal(texts, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return "" // there is no list of texts that can't be written
	}
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case r < 0x7f:
			out.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// encode is s in printable ASCII: every other byte, "%" and the separator are
// percent-encoded, and so are spaces at either end, which parsers trim.
func encode(s string, separator byte) string {
	first := 0
	for first < len(s) && !escapes(s, first, separator) {
		first++
	}
	if first == len(s) {
		return s
	}
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 8)
	b.WriteString(s[:first])
	for i := first; i < len(s); i++ {
		if !escapes(s, i, separator) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[s[i]>>4])
		b.WriteByte(hexDigits[s[i]&15])
	}
	return b.String()
}

// escapes reports whether s[i] must be percent-encoded. Of a run of spaces at
// an end only the outermost is: the others are then inside.
func escapes(s string, i int, separator byte) bool {
	c := s[i]
	return c < ' ' || c >= 0x7f || c == '%' || c == separator || c == ' ' && (i == 0 || i == len(s)-1)
}
