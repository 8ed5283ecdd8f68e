// Package issuer is what others publish about the tokens that they make, and how
// to ask them: bounded calls, sound documents, endpoints that can be trusted with
// a secret, keys, claims, and the proof that it is this gateway that asks.
//
// What an issuer answers is somebody else's text. It is taken in whole, within
// bounds, and only if it means the same to every parser; an error never quotes
// more of it than fits a log line.
package issuer

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"gatehouse/authn"
)

// ErrUnavailable marks what could not be found out, as opposed to what was
// found out and is not acceptable.
var ErrUnavailable = errors.New("could not find out")

// maxEndpoint bounds an endpoint's URL in bytes; errors and logs name it.
const maxEndpoint = 2000

// Algorithms are the signature algorithms that can ever be accepted.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// CheckEndpoint accepts https anywhere but at hosts that may mean this machine
// or its link, unless the issuer's does, and plain http only where the issuer
// itself is on this machine.
func CheckEndpoint(raw string, issuer *url.URL) error {
	u, err := url.Parse(raw)
	switch {
	case len(raw) > maxEndpoint:
		return fmt.Errorf("longer than %d bytes", maxEndpoint)
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%q is not a URL", authn.Bounded(raw))
	case u.User != nil || u.Fragment != "":
		return errors.New("must have no user and no fragment")
	case u.Scheme == "http" && issuer.Scheme == "http" && Loopback(issuer) && Loopback(u):
		return nil
	case u.Scheme != "https":
		return fmt.Errorf("%q must be https", authn.Bounded(raw))
	case inner(u.Hostname()) && !inner(issuer.Hostname()):
		return fmt.Errorf("%q may be an address of this machine or its link", authn.Bounded(raw))
	}
	return nil
}

// Parse checks that issuer is a URL that discovery is defined for
// (OpenID Connect Discovery, section 4): https, or http on this machine, with
// neither query nor fragment, and nothing that a URL parser would tidy away.
func Parse(issuer string) (*url.URL, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return nil, fmt.Errorf("issuer: %q is not a URL", issuer)
	case u.Scheme != "https" && !(u.Scheme == "http" && Loopback(u)):
		return nil, errors.New("issuer: must be https")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#"):
		return nil, errors.New("issuer: must have no user, query or fragment")
	case strings.HasSuffix(u.Hostname(), "."), u.String() != issuer, u.Path != "" && u.JoinPath().Path != u.Path:
		return nil, fmt.Errorf("issuer: %q is not in its plain form", issuer)
	}
	return u, nil
}

// Loopback tells this machine, where plain http can't be listened to.
func Loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
