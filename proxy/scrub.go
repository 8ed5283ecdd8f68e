package proxy

import (
	"net/http"
	"slices"

	"golang.org/x/net/http/httpguts"
)

// maxName is the longest header name that can be protected by its whole
// spelling, in bytes. A family is recognised however long the name is.
const maxName = 128

// identityFamilies are the beginnings of names that programs in front of an
// application are known to vouch for people with, folded.
func identityFamilies() []string {
	return []string{
		"x-gatehouse-", "x-auth-request-", "remote-", "x-remote-", "x-webauth-", "x-authentik-", "x-authelia-",
		"x-authenticated-", "x-pomerium-", "cf-access-", "x-goog-authenticated-", "x-goog-iap-", "x-ms-client-principal",
		"x-ms-token-", "x-amzn-oidc-", "tailscale-user-", "x-vouch-", "x-consumer-", "x-credential-", "oidc-claim-",
		"shib-", "mellon-",
		// client certificates, as the end of TLS reports them (RFC 9440 and before it)
		"client-cert", "x-client-cert", "ssl-client-", "x-ssl-client-", "x-tls-client-", "x-amzn-mtls-",
	}
}

// identityNames are further such names, whole.
func identityNames() []string {
	return []string{
		"x-auth-user", "x-auth-username", "x-auth-email", "x-auth-name", "x-auth-groups", "x-auth-skip",
		"proxy-remote-user", "proxy-user", "x-proxy-user", "x-userinfo", "x-endpoint-api-userinfo",
		"x-apigateway-api-userinfo", "x-arr-clientcert",
	}
}

// forwardedIdentity are those of them that pass for forwarding headers too.
func forwardedIdentity() []string {
	return []string{"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-access-token"}
}

// forwardingFamilies are the beginnings of names that say where a request has
// been and what it was, or that steer a proxy. The gateway says it itself.
func forwardingFamilies() []string {
	return []string{"x-forwarded-", "x-original-", "x-accel-", "x-envoy-", "x-appengine-"}
}

// forwardingNames are further such names, whole.
func forwardingNames() []string {
	return []string{
		"forwarded", "x-forwarded", "x-real-ip", "true-client-ip", "client-ip", "x-client-ip", "x-cluster-client-ip",
		"x-originating-ip", "x-proxyuser-ip", "proxy-client-ip", "wl-proxy-client-ip", "cf-connecting-ip",
		"cf-connecting-ipv6", "cf-pseudo-ipv4", "fastly-client-ip", "fly-client-ip", "do-connecting-ip",
		"x-azure-clientip", "x-azure-socketip", "x-rewrite-url", "x-rewrite-uri", "x-host", "x-http-host-override",
		"x-scheme", "x-url-scheme", "front-end-https", "x-request-id", "http2-settings",
		// read by servers as something other than a header of the request: CGI's
		// HTTP_PROXY, Rack's file sending, Next.js' own sub-requests
		"proxy", "x-sendfile-type", "x-middleware-subrequest",
	}
}

// properNames are looked at elsewhere, under their proper spelling alone: what
// means something to HTTP itself, credentials, and whom a program says it works
// for. Any other spelling (Content_Length) is only there to be taken for it by an
// upstream, and none of them is a trailer.
func properNames() []string {
	return []string{
		"connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
		"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"wandb-api-key", "x-wandb-api-key", "x-wandb-username", "x-wandb-user-email",
	}
}

// overrideNames make an upstream see another method than the one that was decided on.
func overrideNames() []string {
	return []string{"x-http-method-override", "x-http-method", "x-method-override"}
}

// names is a set of header names, compared after folding: case does not matter
// and every byte but a letter or a digit counts as "-", because servers that
// pass headers on as variables can't tell X_User and X.User from X-User.
type names struct {
	exact    map[string]bool
	proper   map[string]bool      // only in an odd spelling
	families map[leading][]string // by how they begin
	leads    map[leading]bool     // how any of them begins, which tells nearly all others from them
}

// leading is the first bytes of a folded name.
type leading uint32

func leadingOf(name string) leading {
	var h leading
	for i := range min(len(name), 3) {
		h = h<<8 | leading(foldByte(name[i]))
	}
	return h
}

// newNames makes a set of whole names, beginnings of names, and names that only
// count in an odd spelling.
func newNames(exact, families, proper []string) *names {
	n := &names{exact: map[string]bool{}, proper: map[string]bool{}, families: map[leading][]string{}, leads: map[leading]bool{}}
	for _, name := range exact {
		n.exact[fold(name)], n.leads[leadingOf(name)] = true, true
	}
	for _, name := range proper {
		n.proper[name], n.leads[leadingOf(name)] = true, true
	}
	for _, f := range families {
		h := leadingOf(f)
		n.families[h], n.leads[h] = append(n.families[h], f), true
	}
	return n
}

// guarded is what no client may say: all of the above and more.
func guarded(more []string) *names {
	return newNames(
		slices.Concat(identityNames(), forwardingNames(), more),
		slices.Concat(identityFamilies(), forwardingFamilies()),
		properNames())
}

// fold is what a name is compared by.
func fold(name string) string {
	b := make([]byte, len(name))
	for i := range len(name) {
		b[i] = foldByte(name[i])
	}
	return string(b)
}

func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}

// protects reports whether a client may not send a header of this name.
func (n *names) protects(name string) bool {
	h := leadingOf(name)
	if !n.leads[h] {
		return false
	}
	var buf [maxName]byte
	size := min(len(name), maxName)
	odd := false
	for i := range size {
		c := name[i]
		buf[i] = foldByte(c)
		odd = odd || buf[i] == '-' && c != '-'
	}
	folded := buf[:size]
	if size == len(name) && (n.exact[string(folded)] || odd && n.proper[string(folded)]) {
		return true
	}
	for _, f := range n.families[h] {
		if len(f) <= size && string(folded[:len(f)]) == f {
			return true
		}
	}
	return false
}

// any reports whether one of the headers is in the set.
func (n *names) any(h http.Header) bool {
	for name := range h {
		if n.protects(name) {
			return true
		}
	}
	return false
}

// scrub removes the headers that no client may send.
func (n *names) scrub(h http.Header) {
	for name := range h {
		if n.protects(name) {
			delete(h, name)
		}
	}
}

// trailer reports whether name may be passed on as a trailer.
func (n *names) trailer(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name) && name != "Cookie" && name != "Set-Cookie" && !n.protects(name) && !n.proper[fold(name)]
}
