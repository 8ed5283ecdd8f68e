package proxy

import (
	"fmt"
	"net/http"
	"strings"

	"gatehouse/authn"
	"gatehouse/config"
)

// defaultIdentity is the header contract when the settings don't say another.
func defaultIdentity() []config.Header {
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
	}
}

// defaultMaxIdentity is the size of headers.maxSize when it is not set, in bytes.
const defaultMaxIdentity = 16 << 10

// contract turns an identity into headers.
type contract struct {
	headers   []config.Header // names in canonical form
	separator byte
	max       int
}

func newContract(c config.Headers) (contract, error) {
	k := contract{separator: ',', max: int(c.MaxSize)}
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
		wanted = defaultIdentity()
	}
	for _, h := range wanted {
		if len(h.Name) > maxName {
			return k, fmt.Errorf("header name %q is longer than %d bytes", h.Name, maxName)
		}
		if _, known := source(authn.Identity{}, h.From); !known {
			return k, fmt.Errorf("header %s can't be made from %q", h.Name, h.From)
		}
		k.headers = append(k.headers, config.Header{Name: http.CanonicalHeaderKey(h.Name), From: h.From})
	}
	return k, nil
}

// names are the names of the contract.
func (k contract) names() []string {
	out := make([]string, len(k.headers))
	for i, h := range k.headers {
		out[i] = h.Name
	}
	return out
}

// values are the values of the headers, in their order; an empty one is not
// sent. Fits is false if they take more room than is allowed: then nobody may
// be shown with fewer groups than they have, so they can't be shown at all.
func (k contract) values(id authn.Identity) (values []string, fits bool) {
	values = make([]string, len(k.headers))
	size := 0
	for i, h := range k.headers {
		switch h.From {
		case "groups":
			values[i] = joinGroups(id.Groups, k.separator)
		case "teams":
			values[i] = joinGroups(id.Account.Teams, k.separator)
		default:
			raw, _ := source(id, h.From)
			values[i] = encode(raw, 0)
		}
		if values[i] != "" {
			size += len(h.Name) + len(": ") + len(values[i]) + len("\r\n")
		}
	}
	return values, size <= k.max
}

// inject sets the headers; those of the client are gone already.
func (k contract) inject(h http.Header, values []string) {
	for i := range values {
		if values[i] != "" {
			h[k.headers[i].Name] = values[i : i+1 : i+1]
		}
	}
}

// source is the part of an identity that a setting names. Groups and teams are
// joined elsewhere.
func source(id authn.Identity, from string) (value string, known bool) {
	switch from {
	case "subject":
		return id.Subject, true
	case "username":
		return id.Username, true
	case "name":
		return id.Name, true
	case "email":
		return id.Email, true
	case "issuer":
		return id.Issuer, true
	case "route":
		return id.Route, true
	case "kind":
		return string(id.Kind), true
	case "team":
		return id.Account.Team, true
	case "roles":
		return id.Account.Role, true
	case "groups", "teams":
		return "", true
	}
	return "", false
}

func joinGroups(groups []string, separator byte) string {
	var b strings.Builder
	for _, g := range groups {
		if g == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(separator)
		}
		b.WriteString(encode(g, separator))
	}
	return b.String()
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
