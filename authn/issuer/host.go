package issuer

import (
	"net/netip"
	"strings"

	"gatehouse/authn"
)

// inner says whether a URL's host means this machine or its link, or may mean
// it to one resolver and something else to another. Private networks are not
// inner: providers live there.
func inner(host string) bool {
	host = strings.TrimRight(authn.FoldASCII(host), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() != "" || !ip.IsGlobalUnicast() || !embedded(ip).IsGlobalUnicast()
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last == "localhost" || number(last) || strings.ContainsFunc(host, notName)
}

// Private says whether a URL's host is an address of a private network (RFC 1918,
// RFC 4193, RFC 6598). A name is none, wherever it leads.
func Private(host string) bool {
	ip, err := netip.ParseAddr(strings.TrimRight(host, "."))
	if err != nil {
		return false
	}
	ip = embedded(ip)
	return ip.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(ip)
}

// embedded is the IPv4 address that an IPv6 one carries: mapped, compatible
// (RFC 4291, section 2.5.5), or through NAT64 (RFC 6052, section 2.1).
func embedded(ip netip.Addr) netip.Addr {
	if ip.Is4() || ip.Is4In6() {
		return ip.Unmap()
	}
	for _, prefix := range []string{"::/96", "64:ff9b::/96"} {
		if b := ip.As16(); netip.MustParsePrefix(prefix).Contains(ip) {
			return netip.AddrFrom4([4]byte(b[12:]))
		}
	}
	return ip
}

// number tells a label that makes a host an IPv4 address to some: 127.1,
// 0x7f.1, 0177.0.0.1 or 2130706433 (WHATWG URL, section 3.5).
func number(label string) bool {
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		label, digits = hex, digits+"abcdef"
	}
	return strings.Trim(label, digits) == ""
}

// notName tells what no host name in ASCII has. Other scripts must come in
// Punycode: some of their digits and dots turn into ours on the way.
func notName(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r))
}
