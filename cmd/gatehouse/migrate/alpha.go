package migrate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/a8m/envsubst/parse"
	"github.com/goccy/go-yaml"

	"gatehouse/config"
)

// alpha is what an alpha configuration says that no option can.
type alpha struct {
	upstreams         []upstream
	request, response []header
	parameters        []parameter
}

// parameter is one of loginURLParameters.
type parameter struct {
	name     string
	defaults []string
	settable bool // by the sign-in link
}

// alphaKey is one key of the alpha configuration, by its path without the numbers
// of lists. It is an option under another name, or flag is empty and says tells
// what becomes of it; with neither, code reads it.
type alphaKey struct{ path, flag, says string }

// nothing needs to be said of such a key.
const nothing = "-"

func alphaKeys() []alphaKey {
	const metrics = "metrics are at /metrics of operations.address, in the clear"
	return append(alphaProviderKeys(), []alphaKey{
		{"server.bindAddress", "http-address", ""},
		{"server.secureBindAddress", "https-address", ""},
		{"server.tls.cert.fromFile", "tls-cert-file", ""},
		{"server.tls.key.fromFile", "tls-key-file", ""},
		{"server.tls.cert.value", "", "write the certificate to a file and name it in listen.tls.certificates"},
		{"server.tls.cert.fromEnv", "", "write the certificate to a file and name it in listen.tls.certificates"},
		{"server.tls.key.value", "", "write the key to a file and name it in listen.tls.certificates"},
		{"server.tls.key.fromEnv", "", "write the key to a file and name it in listen.tls.certificates"},
		{"server.tls.minVersion", "tls-min-version", ""},
		{"server.tls.cipherSuites", "tls-cipher-suite", ""},
		{"metricsServer.bindAddress", "", metrics},
		{"metricsServer.secureBindAddress", "", metrics},
		{"metricsServer.tls.cert.fromFile", "", metrics},
		{"metricsServer.tls.key.fromFile", "", metrics},
		{"metricsServer.tls.cert.value", "", metrics},
		{"metricsServer.tls.key.value", "", metrics},
		{"metricsServer.tls.cert.fromEnv", "", metrics},
		{"metricsServer.tls.key.fromEnv", "", metrics},
		{"metricsServer.tls.minVersion", "", metrics},
		{"metricsServer.tls.cipherSuites", "", metrics},
		{"upstreamConfig.proxyRawPath", "", nothing}, // paths always go on as they came
		{"upstreamConfig.upstreams", "", ""},
		{"injectRequestHeaders", "", ""},
		{"injectResponseHeaders", "", ""},
	}...)
}

func alphaProviderKeys() []alphaKey {
	keys := []alphaKey{
		{"id", "", nothing},
		{"name", "provider-display-name", ""},
		{"provider", "provider", ""},
		{"clientID", "client-id", ""},
		{"clientSecret", "client-secret", ""},
		{"clientSecretFile", "client-secret-file", ""},
		{"caFiles", "provider-ca-file", ""},
		{"useSystemTrustStore", "use-system-trust-store", ""},
		{"loginURL", "login-url", ""},
		{"loginURLParameters", "", ""},
		{"authRequestResponseMode", "auth-request-response-mode", ""},
		{"redeemURL", "redeem-url", ""},
		{"profileURL", "profile-url", ""},
		{"skipClaimsFromProfileURL", "skip-claims-from-profile-url", ""},
		{"resource", "resource", ""},
		{"validateURL", "validate-url", ""},
		{"scope", "scope", ""},
		{"allowedGroups", "allowed-group", ""},
		{"code_challenge_method", "code-challenge-method", ""},
		{"additionalClaims", "", "a header is made of what headers.identity names: one more claim can be the claim of oidc.claims.username, name, groups or teams"},
		{"backendLogoutURL", "backend-logout-url", ""},
		{"keycloakConfig.groups", "keycloak-group", ""},
		{"keycloakConfig.roles", "allowed-role", ""},
		{"azureConfig.tenant", "azure-tenant", ""},
		{"azureConfig.graphGroupField", "azure-graph-group-field", ""},
		{"microsoftEntraIDConfig.allowedTenants", "entra-id-allowed-tenant", ""},
		{"microsoftEntraIDConfig.federatedTokenAuth", "entra-id-federated-token-auth", ""},
		{"ADFSConfig.skipScope", "", "scopes are sent always; oidc.scopes must hold openid"},
		{"bitbucketConfig.team", "bitbucket-team", ""},
		{"bitbucketConfig.workspace", "bitbucket-workspace", ""},
		{"bitbucketConfig.repository", "bitbucket-repository", ""},
		{"githubConfig.org", "github-org", ""},
		{"githubConfig.team", "github-team", ""},
		{"githubConfig.repo", "github-repo", ""},
		{"githubConfig.token", "github-token", ""},
		{"githubConfig.users", "github-user", ""},
		{"gitlabConfig.group", "gitlab-group", ""},
		{"gitlabConfig.projects", "gitlab-project", ""},
		{"googleConfig.group", "google-group", ""},
		{"googleConfig.adminEmail", "google-admin-email", ""},
		{"googleConfig.serviceAccountJson", "google-service-account-json", ""},
		{"googleConfig.useApplicationDefaultCredentials", "google-use-application-default-credentials", ""},
		{"googleConfig.targetPrincipal", "google-target-principal", ""},
		{"googleConfig.useOrganizationID", "google-use-organization-id", ""},
		{"googleConfig.adminAPIUserScope", "google-admin-api-user-scope", ""},
		{"oidcConfig.issuerURL", "oidc-issuer-url", ""},
		{"oidcConfig.insecureAllowUnverifiedEmail", "insecure-oidc-allow-unverified-email", ""},
		{"oidcConfig.insecureSkipIssuerVerification", "insecure-oidc-skip-issuer-verification", ""},
		{"oidcConfig.insecureSkipNonce", "insecure-oidc-skip-nonce", ""},
		{"oidcConfig.skipDiscovery", "skip-oidc-discovery", ""},
		{"oidcConfig.jwksURL", "oidc-jwks-url", ""},
		{"oidcConfig.publicKeyFiles", "oidc-public-key-file", ""},
		{"oidcConfig.emailClaim", "oidc-email-claim", ""},
		{"oidcConfig.groupsClaim", "oidc-groups-claim", ""},
		{"oidcConfig.userIDClaim", "user-id-claim", ""},
		{"oidcConfig.audienceClaims", "oidc-audience-claim", ""},
		{"oidcConfig.extraAudiences", "oidc-extra-audience", ""},
		{"oidcConfig.enabledSigningAlgs", "oidc-enabled-signing-alg", ""},
		{"loginGovConfig.jwtKey", "jwt-key", ""},
		{"loginGovConfig.jwtKeyFile", "jwt-key-file", ""},
		{"loginGovConfig.pubjwkURL", "pubjwk-url", ""},
	}
	for i := range keys {
		keys[i].path = "providers." + keys[i].path
	}
	return keys
}

// firstGroup is a "$1" of a regular expression, which is no variable.
var firstGroup = regexp.MustCompile(`\$(\d)`)

// alphaFile reads the alpha configuration.
func (r *reader) alphaFile(file string) {
	body, ok := r.file(file)
	if !ok {
		return
	}
	var env []string
	for name, value := range r.env {
		env = append(env, name+"="+value)
	}
	filled, err := parse.New("alpha", env, &parse.Restrictions{NoUnset: true}).Parse(firstGroup.ReplaceAllString(string(body), "$$$$$1"))
	if err != nil {
		r.fault(file, "its variables can't be put in: "+printable(err.Error()), "set them here as they are where oauth2-proxy runs; any text does for a secret that you will put into its file yourself")
		return
	}
	var root map[string]any
	if err := yaml.Unmarshal([]byte(filled), &root); err != nil {
		r.fault(file, "it is no YAML that holds settings", "look for a quote, bracket or colon that is missing; oauth2-proxy --alpha-config must take it")
		return
	}
	w := alphaWalk{reader: r, file: file, keys: alphaKeys()}
	w.walk("", "", root)
}

// alphaWalk visits all keys of an alpha configuration.
type alphaWalk struct {
	*reader
	file string
	keys []alphaKey
}

func (w *alphaWalk) from(shown string) string { return shown + " in " + w.file }

// walk visits what lies below a path. Case does not matter in names, as it does
// not to oauth2-proxy.
func (w *alphaWalk) walk(path, shown string, m map[string]any) {
	for _, name := range sortedKeys(m) {
		inner, here := dotted(path, name), dotted(shown, name)
		switch v := m[name].(type) {
		case nil:
			continue
		case map[string]any:
			if w.within(inner) {
				w.walk(inner, here, v)
				continue
			}
		case []any:
			if strings.EqualFold(inner, "providers") {
				w.providers(v)
				continue
			}
		}
		w.leaf(inner, here, m[name])
	}
}

func (w *alphaWalk) within(path string) bool {
	for _, k := range w.keys {
		if len(k.path) > len(path) && strings.EqualFold(k.path[:len(path)+1], path+".") {
			return true
		}
	}
	return false
}

func (w *alphaWalk) providers(all []any) {
	for i, p := range all {
		m, ok := p.(map[string]any)
		switch {
		case !ok:
			w.fault(w.from(fmt.Sprintf("providers[%d]", i)), "is no provider", "write its settings as key: value")
		case i > 0:
			w.notes = append(w.notes, Note{Different, w.from(fmt.Sprintf("providers[%d]", i)), "oauth2-proxy uses the first provider alone, and so do these settings. Here there can be several: write a route of authn for each"})
		default:
			w.walk("providers", "providers[0]", m)
		}
	}
}

func (w *alphaWalk) leaf(path, shown string, v any) {
	for _, k := range w.keys {
		if !strings.EqualFold(k.path, path) {
			continue
		}
		switch {
		case k.flag != "":
			w.option(k, shown, v)
		case k.says == nothing:
		case k.says != "":
			w.notes = append(w.notes, Note{Different, w.from(shown), k.says})
		default:
			w.structure(k.path, shown, v)
		}
		return
	}
	var known []string
	for _, k := range w.keys {
		known = append(known, k.path)
	}
	fix := "see oauth2-proxy's documentation of its alpha configuration"
	if near := config.Nearest(path, known); near != "" {
		fix = "did you mean " + near + "?"
	}
	w.fault(w.from(shown), "oauth2-proxy has no such setting", fix)
}

func (w *alphaWalk) option(k alphaKey, shown string, v any) {
	for _, o := range w.options {
		if o.flag != k.flag {
			continue
		}
		values, ok := scalars(v)
		if _, isList := v.([]any); !ok || isList != (o.kind == list) {
			w.fault(w.from(shown), "is no value of this setting", "write it as oauth2-proxy's documentation shows it")
			return
		}
		if o.flag == "http-address" || o.flag == "https-address" {
			values[0] = strings.TrimPrefix(values[0], "-")
		}
		w.keep(o, values, w.from(shown))
	}
}

// structure reads a list of upstreams, headers or parameters.
func (w *alphaWalk) structure(path, shown string, v any) {
	items, ok := v.([]any)
	if !ok {
		w.fault(w.from(shown), "is no list", "write it as oauth2-proxy's documentation shows it")
		return
	}
	for i, item := range items {
		m, ok := item.(map[string]any)
		here := w.from(fmt.Sprintf("%s[%d]", shown, i))
		if !ok {
			w.fault(here, "is no group of settings", "write it as key: value")
			continue
		}
		f := fields{w.reader, here, lower(m)}
		switch path {
		case "upstreamConfig.upstreams":
			w.alpha.upstreams = append(w.alpha.upstreams, f.upstream())
		case "injectRequestHeaders":
			w.alpha.request = append(w.alpha.request, f.header())
		case "injectResponseHeaders":
			w.alpha.response = append(w.alpha.response, f.header())
		case "providers.loginURLParameters":
			w.alpha.parameters = append(w.alpha.parameters, f.parameter())
		}
	}
}

// fields are the settings of one item, by their names in lower case.
type fields struct {
	*reader
	at string
	m  map[string]any
}

func lower(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		out[strings.ToLower(k)] = v
	}
	return out
}

// only refuses what is none of these names.
func (f fields) only(names ...string) {
	for _, k := range sortedKeys(f.m) {
		known := false
		for _, n := range names {
			known = known || strings.EqualFold(n, k)
		}
		if !known {
			f.fault(f.at, fmt.Sprintf("oauth2-proxy has no setting %q here", k), "there are "+strings.Join(names, ", "))
		}
	}
}

func (f fields) text(name string) string {
	values, _ := scalars(f.m[strings.ToLower(name)])
	return first(values)
}

func (f fields) flag(name string, def bool) bool {
	if v, ok := f.m[strings.ToLower(name)].(bool); ok {
		return v
	}
	return def
}

func (f fields) upstream() upstream {
	f.only("id", "path", "rewriteTarget", "uri", "insecureSkipTLSVerify", "static", "staticCode", "flushInterval", "passHostHeader", "proxyWebSockets", "timeout", "disableKeepAlives")
	return upstream{
		from: f.at, id: f.text("id"), path: f.text("path"), rewrite: f.text("rewriteTarget"), uri: f.text("uri"),
		static: f.flag("static", false), insecure: f.flag("insecureSkipTLSVerify", false), keepHost: f.flag("passHostHeader", true),
		timeout: f.text("timeout"),
	}
}

func (f fields) parameter() parameter {
	f.only("name", "default", "allow")
	defaults, _ := scalars(f.m["default"])
	return parameter{f.text("name"), defaults, f.m["allow"] != nil}
}

func (f fields) header() header {
	f.only("name", "preserveRequestValue", "InsecureSkipHeaderNormalization", "values")
	h := header{from: f.at, name: f.text("name")}
	if f.flag("preserveRequestValue", false) {
		f.notes = append(f.notes, Note{Different, f.at + " " + h.name, "what a client sends under this name is taken off, always"})
	}
	values, _ := f.m["values"].([]any)
	for _, v := range values {
		m, _ := v.(map[string]any)
		value := fields{f.reader, f.at, lower(m)}
		value.only("secretSource", "claimSource")
		source, _ := value.m["claimsource"].(map[string]any)
		value.m = lower(source)
		value.only("claim", "prefix", "basicAuthPassword")
		h.values = append(h.values, headerValue{value.text("claim"), value.text("prefix"), value.m["basicauthpassword"] != nil})
	}
	return h
}
