package bearer

import "net/http"

// Where programs look for the token endpoint.
const (
	serverMetadata   = "/.well-known/oauth-authorization-server" // RFC 8414, section 3
	resourceMetadata = "/.well-known/oauth-protected-resource"   // RFC 9728, section 3
)

func (x *exchange) revocationPath() string { return x.Prefix + "/revoke" }

// serveServerMetadata says where the token endpoint is and what it takes.
func (x *exchange) serveServerMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                     x.origin(),
		"token_endpoint":                             x.origin() + x.TokenPath,
		"token_endpoint_auth_methods_supported":      []string{"none"},
		"revocation_endpoint":                        x.origin() + x.revocationPath(),
		"revocation_endpoint_auth_methods_supported": []string{"none"},
		"grant_types_supported":                      []string{grantJWT, grantExchange},
		"response_types_supported":                   []string{},
	})
}

// serveResourceMetadata says whose tokens are good here.
func (x *exchange) serveResourceMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"resource":                 x.origin(),
		"authorization_servers":    []string{x.origin()},
		"bearer_methods_supported": []string{"header"},
	})
}
