package proxy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxPairs bounds how many parameters one element of Forwarded may have.
// RFC 7239 knows four.
const maxPairs = 16

// cutForwarded takes the last element off the value of Forwarded and reads the
// address in it.
func cutForwarded(hops string) (rest string, addr netip.Addr, ok bool) {
	rest, last := cutElement(hops)
	addr, ok = forwardedFor(last)
	return rest, addr, ok
}

// cutElement cuts off the last element of a list, which may hold commas in
// quotes. It reads from the end: the end is what trusted proxies have written, and
// a quote that a client has left open can't swallow that.
func cutElement(list string) (rest, last string) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch c := list[i]; {
		case c == '"' && !(quoted && escaped(list[:i])):
			quoted = !quoted
		case c == ',' && !quoted:
			return list[:i], list[i+1:]
		}
	}
	return "", list
}

// escaped reports whether what comes after s, in quotes, has lost its meaning.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// forwardedFor is the address that an element of Forwarded says the request comes
// from (RFC 7239, section 4). It takes no element that strays from the grammar.
func forwardedFor(element string) (addr netip.Addr, ok bool) {
	var names []string
	node := ""
	for rest := strings.Trim(element, " \t"); ; rest = rest[1:] {
		if rest != "" && rest[0] != ';' {
			var name, value string
			name, value, rest, ok = cutPair(rest)
			if !ok || slices.Contains(names, name) || len(names) == maxPairs {
				return netip.Addr{}, false
			}
			if names = append(names, name); name == "for" {
				node = value
			}
		}
		if rest == "" {
			return nodeAddress(node)
		}
		if rest[0] != ';' {
			return netip.Addr{}, false
		}
	}
}

// cutPair takes the first parameter off an element. Its name comes in lower case.
func cutPair(element string) (name, value, rest string, ok bool) {
	name, value, _ = strings.Cut(element, "=")
	if !httpguts.ValidHeaderFieldName(name) { // a token
		return "", "", "", false
	}
	if inside, quoted := strings.CutPrefix(value, `"`); quoted {
		value, rest, ok = cutQuoted(inside)
		return strings.ToLower(name), value, rest, ok
	}
	if end := strings.IndexByte(value, ';'); end >= 0 {
		value, rest = value[:end], value[end:]
	}
	return strings.ToLower(name), value, rest, httpguts.ValidHeaderFieldName(value)
}

// cutQuoted reads a quoted string (RFC 9110, section 5.6.4) after its first quote.
func cutQuoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '"' {
			return b.String(), s[i+1:], true
		}
		if c == '\\' {
			if i++; i == len(s) {
				break
			}
			c = s[i]
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			break
		}
		b.WriteByte(c)
	}
	return "", "", false
}

// nodeAddress reads a node: 192.0.2.1, 192.0.2.1:80, [2001:db8::1] or
// [2001:db8::1]:80. "unknown" and "_hidden" are no addresses, and name nobody.
func nodeAddress(node string) (addr netip.Addr, ok bool) {
	host, port, bracketed := node, "", strings.HasPrefix(node, "[")
	end := strings.IndexByte(node, ':')
	if bracketed {
		if end = strings.IndexByte(node, ']') + 1; end == 0 {
			return netip.Addr{}, false
		}
	}
	if end >= 0 {
		host, port = node[:end], node[end:]
	}
	if bracketed {
		host = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(host)
	return addr, err == nil && addr.Is6() == bracketed && addr.Zone() == "" && nodePort(port)
}

// nodePort reports whether s is ":" and a port, which may be hidden, or nothing.
func nodePort(s string) bool {
	port, ok := strings.CutPrefix(s, ":")
	if !ok {
		return s == ""
	}
	if hidden, ok := strings.CutPrefix(port, "_"); ok {
		return word(hidden)
	}
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil && len(port) <= 5
}
