package authntest

import (
	"net/http"
	"slices"
)

// serveDiscovery answers with the metadata (OpenID Connect Discovery, section 3).
func (i *Issuer) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	var algorithms []string
	for _, k := range i.Keys() {
		if !slices.Contains(algorithms, k.Algorithm) {
			algorithms = append(algorithms, k.Algorithm)
		}
	}
	url := i.options.URL
	doc := map[string]any{
		"issuer":                                           url,
		"authorization_endpoint":                           url + "/authorize",
		"pushed_authorization_request_endpoint":            url + "/push",
		"require_pushed_authorization_requests":            i.options.RequirePushed,
		"token_endpoint":                                   url + "/token",
		"jwks_uri":                                         url + "/jwks",
		"userinfo_endpoint":                                url + "/userinfo",
		"end_session_endpoint":                             url + "/end-session",
		"revocation_endpoint":                              url + "/revoke",
		"backchannel_logout_supported":                     true,
		"backchannel_logout_session_supported":             true,
		"scopes_supported":                                 []string{"openid", "profile", "email", "offline_access"},
		"response_types_supported":                         responseTypes(),
		"response_modes_supported":                         []string{"query", "fragment", "form_post"},
		"grant_types_supported":                            []string{"authorization_code", "implicit", "refresh_token", "client_credentials"},
		"subject_types_supported":                          []string{"public"},
		"id_token_signing_alg_values_supported":            algorithms,
		"token_endpoint_auth_methods_supported":            []string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": clientAlgorithms(),
		"code_challenge_methods_supported":                 []string{"S256"},
		"prompt_values_supported":                          []string{"none", "login", "consent", "select_account"},
		"authorization_response_iss_parameter_supported":   !i.options.NoIssParameter,
		"request_parameter_supported":                      false,
		"request_uri_parameter_supported":                  false,
		"claims_supported": []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "sid",
			"at_hash", "c_hash", "preferred_username", "name", "email", "email_verified", "groups"},
	}
	if i.options.SignedUserinfo {
		doc["userinfo_signing_alg_values_supported"] = algorithms
	}
	writeJSON(w, http.StatusOK, doc)
}

func writeJSON(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(marshal(doc))
}
