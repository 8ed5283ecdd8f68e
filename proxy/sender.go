package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// sender is where a request comes from.
type sender struct {
	remote    string     // the client's address, without port
	from      netip.Addr // the same; invalid for who speaks for many, or has none
	via       string     // the client and the trusted proxies after it
	trusted   bool       // the peer is a trusted proxy
	forwarded bool       // remote is not the peer
}

// maxHops bounds how many entries of X-Forwarded-For or Forwarded are looked at.
const maxHops = 32

// sender finds the client: the peer, or else the right-most address in the
// header that trusted proxies write that is not a trusted proxy. What stands left
// of it is the client's own invention. So is what stands left of an entry that
// can't be read or names nobody: the client is then the proxy that wrote that
// entry, the last one that somebody trusted has spoken of.
func (h *Handler) sender(r *http.Request) sender {
	s := h.lastNamed(r)
	if contains(h.o.TrustedProxies, s.from) {
		s.from = netip.Addr{}
	}
	return s
}

// lastNamed is the sender, whether or not it speaks for many.
func (h *Handler) lastNamed(r *http.Request) sender {
	peer := "" // what comes over a unix socket has no address
	if i := strings.LastIndexByte(r.RemoteAddr, ':'); i >= 0 {
		peer = strings.Trim(r.RemoteAddr[:i], "[]")
	}
	addr, err := netip.ParseAddr(peer)
	s := sender{remote: peer, via: peer, from: addr}
	if s.trusted = err == nil && contains(h.o.TrustedProxies, addr) && !unnamed(r); !s.trusted {
		return s
	}
	header, cut := "X-Forwarded-For", cutAddress
	if h.o.ForwardedHeader == byForwarded {
		header, cut = "Forwarded", cutForwarded
	}
	hops := strings.Join(r.Header[header], ",")
	for n := 0; n < maxHops && hops != ""; n++ {
		var ok bool
		if hops, addr, ok = cut(hops); !ok {
			break
		}
		s.remote, s.from, s.forwarded = addr.Unmap().String(), addr, true
		s.via = s.remote + ", " + s.via
		if !contains(h.o.TrustedProxies, addr) {
			break
		}
	}
	return s
}

// contains reports whether addr is in one of the networks.
func contains(networks []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range networks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// cutAddress takes the last address off the value of X-Forwarded-For.
func cutAddress(hops string) (rest string, addr netip.Addr, ok bool) {
	last := strings.LastIndexByte(hops, ',') + 1
	addr, err := netip.ParseAddr(strings.TrimSpace(hops[last:]))
	return hops[:max(0, last-1)], addr, err == nil
}

// byForwarded is the word for Forwarded in the settings.
const byForwarded = "forwarded"

// checkForwardedHeader refuses a word that forwardedHeader does not know.
func checkForwardedHeader(name string) error {
	switch name {
	case "", "x-forwarded-for", byForwarded:
		return nil
	}
	return fmt.Errorf("forwarded header %q is not one of x-forwarded-for, forwarded", name)
}
