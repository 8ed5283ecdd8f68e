package config

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// webURL parses an absolute URL with one of schemes and a host, and without
// user, query and fragment. It returns what is wrong with it in words that
// never repeat it, since it may hold a password.
func webURL(text string, schemes ...string) (*url.URL, string) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return nil, "holds a space or another character that no URL has"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, "is not a URL"
	case !slices.Contains(schemes, u.Scheme):
		return nil, "must begin with " + strings.Join(schemes, ":// or ") + "://"
	case u.User != nil:
		return nil, "holds a user name"
	case u.Hostname() == "":
		return nil, "names no host"
	case strings.ContainsAny(text, "?#"):
		return nil, "has a query or a fragment"
	case strings.HasSuffix(u.Host, ":"):
		return nil, "has a colon but no port after it"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, "has a port that does not exist"
		}
	}
	return u, ""
}

func defaultPort(scheme, port string) bool {
	return scheme == "https" && port == "443" || scheme == "http" && port == "80"
}

// name is a host name of RFC 1123, section 2.1, in lower case and without a dot at its end.
var name = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// hostname says whether host is a DNS name in lower case or an IP address.
func hostname(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return len(host) <= 253 && name.MatchString(host)
}

// domainName says whether s is a DNS name in lower case and no IP address.
func domainName(s string) bool {
	_, err := netip.ParseAddr(s)
	return err != nil && hostname(s)
}

// loopback says whether host is this very machine (RFC 6761, section 6.3).
func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// covers says whether a cookie of domain is sent to host (RFC 6265, section 5.1.3).
func covers(domain, host string) bool {
	return domain != "" && (host == domain || strings.HasSuffix(host, "."+domain))
}

// publicSuffix says whether anybody may own names below domain, as below co.uk.
func publicSuffix(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain
}

// segments are the characters of a path that mean themselves everywhere: in
// the URL, in a pattern and to an upstream.
var segments = regexp.MustCompile(`^[A-Za-z0-9/._~!$&'()*+,:=@-]*$`)

// wrongPath returns what is wrong with a path that requests are matched with.
func wrongPath(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "must begin with /"
	case path.Clean(p) != p && path.Clean(p)+"/" != p:
		return `has "//", "." or ".." in it`
	case !segments.MatchString(p):
		return "holds a character that paths of requests are not matched by"
	}
	return ""
}

// below says whether p is base or lies below it.
func below(p, base string) bool {
	return base == "/" || p == base || strings.HasPrefix(p, strings.TrimSuffix(base, "/")+"/")
}
