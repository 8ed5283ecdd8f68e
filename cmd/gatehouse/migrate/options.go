package migrate

import "slices"

// kind is how an option's value is written.
type kind int

const (
	text kind = iota
	list
	boolean
	number
	duration
)

// fate is what becomes of an option here.
type fate int

const (
	mapped  fate = iota // a setting, which says names
	moot                // not needed; says tells why
	differs             // no counterpart; says tells what to do
)

// option is one option of oauth2-proxy.
type option struct {
	flag string
	// cfg is its name in the file, and in capitals after OAUTH2_PROXY_ in the
	// environment. Empty: that of the flag, with "_"; "-": on the command line alone.
	cfg  string
	kind kind
	// def is its default. An option that is given as that needs no word.
	def  string
	fate fate
	says string
}

// key is the option's name in oauth2-proxy's own file, "" if it has none.
func (o option) key() string {
	switch o.cfg {
	case "-":
		return ""
	case "":
		return underscored(o.flag)
	}
	return o.cfg
}

// options are all that oauth2-proxy 7.15 has.
func options() []option { return slices.Concat(coreOptions(), legacyOptions()) }

func coreOptions() []option {
	return slices.Concat(admissionOptions(), proxyOptions(), cookieOptions(), redisOptions(), pageOptions(), logOptions(), commandOptions())
}

// legacyOptions are those whose place an alpha configuration takes.
func legacyOptions() []option {
	return slices.Concat(providerOptions(), claimOptions(), providersOwnOptions(), upstreamOptions(), headerOptions(), serverOptions())
}

func commandOptions() []option {
	return []option{
		{"alpha-config", "-", text, "", mapped, "it is read"},
		{"config", "-", text, "", mapped, "it is read"},
		{"config-test", "-", boolean, "", moot, "gatehouse check --offline does that"},
		{"convert-config-to-alpha", "-", boolean, "", moot, "it prints and ends"},
		{"version", "-", boolean, "", moot, "it prints and ends"},
	}
}

func providerOptions() []option {
	const discovery = "there is no sign-in without the provider's discovery document, so these addresses are not set by hand. Make sure that ISSUER/.well-known/openid-configuration answers"
	return []option{
		{"provider", "", text, "google", mapped, "authn[]"},
		{"provider-display-name", "", text, "", mapped, "authn[].label"},
		{"client-id", "", text, "", mapped, "oidc.clientID"},
		{"client-secret", "", text, "", mapped, "oidc.clientSecretFile"},
		{"client-secret-file", "", text, "", mapped, "oidc.clientSecretFile"},
		{"jwt-key", "", text, "", mapped, "oidc.clientKeyFile"},
		{"jwt-key-file", "", text, "", mapped, "oidc.clientKeyFile"},
		{"pubjwk-url", "", text, "", moot, "discovery names it"},
		{"oidc-issuer-url", "", text, "", mapped, "oidc.issuer"},
		{"skip-oidc-discovery", "", boolean, "false", differs, discovery},
		{"oidc-jwks-url", "", text, "", differs, discovery},
		{"oidc-public-key-file", "oidc_public_key_files", list, "", differs, "the provider's keys come from its discovery document alone"},
		{"login-url", "", text, "", moot, "discovery names it"},
		{"redeem-url", "", text, "", moot, "discovery names it"},
		{"profile-url", "", text, "", moot, "discovery names it; oidc.userinfo says when it is asked"},
		{"validate-url", "", text, "", moot, "ID tokens are verified by their signature; nobody is asked about access tokens"},
		{"skip-claims-from-profile-url", "", boolean, "false", mapped, "oidc.userinfo"},
		{"auth-request-response-mode", "", text, "", differs, "the answer comes in the query; only authMethod implicit has it posted"},
		{"resource", "", text, "", mapped, "oidc.authParams"},
		{"scope", "", text, "", mapped, "oidc.scopes"},
		{"prompt", "", text, "", mapped, "oidc.prompt"},
		{"approval-prompt", "", text, "force", differs, "it is no parameter of OpenID Connect. To be asked for consent each time set oidc.prompt: consent"},
		{"acr-values", "", text, "", mapped, "oidc.acrValues"},
		{"code-challenge-method", "", text, "", moot, "PKCE is always used, with S256"},
		{"force-code-challenge-method", "", text, "", moot, "PKCE is always used, with S256"},
		{"provider-ca-file", "provider_ca_files", list, "", mapped, "oidc.tls.caFile"},
		{"use-system-trust-store", "", boolean, "false", differs, "oidc.tls.caFile stands instead of the system's certificates; to trust both put the system's into the same file"},
		{"backend-logout-url", "", text, "", moot, "signing out here signs out at the provider too, at the address that discovery names"},
	}
}

func claimOptions() []option {
	const verified = "is verified always"
	return []option{
		{"oidc-email-claim", "", text, "email", mapped, "oidc.claims.email"},
		{"user-id-claim", "", text, "email", mapped, "oidc.claims.email"},
		{"oidc-groups-claim", "", text, "groups", mapped, "oidc.claims.groups"},
		{"oidc-audience-claim", "oidc_audience_claims", list, "aud", differs, "the audience is the claim aud, as OpenID Connect says; have the provider put the client id there"},
		{"oidc-extra-audience", "oidc_extra_audiences", list, "", mapped, "oidc.extraAudiences"},
		{"oidc-enabled-signing-alg", "oidc_enabled_signing_algs", list, "", mapped, "oidc.signingAlgorithms"},
		{"insecure-oidc-allow-unverified-email", "", boolean, "false", mapped, "oidc.trustUnverifiedEmail"},
		{"insecure-oidc-skip-issuer-verification", "", boolean, "false", differs, "the issuer " + verified + ". For people of several Entra tenants make a route for each"},
		{"insecure-oidc-skip-nonce", "", boolean, "true", moot, "the nonce " + verified},
		{"allowed-group", "allowed_groups", list, "", mapped, "oidc.allowedGroups"},
		{"allowed-role", "allowed_roles", list, "", mapped, "policy[].require"},
	}
}

func providersOwnOptions() []option {
	const noGroups = "Google's tokens name no groups, and no directory is asked"
	const noOIDC = "it is for a provider without OpenID Connect"
	return []option{
		{"keycloak-group", "keycloak_groups", list, "", mapped, "oidc.allowedGroups"},
		{"azure-tenant", "", text, "common", mapped, "oidc.issuer"},
		{"azure-graph-group-field", "", text, "", differs, "Microsoft Graph is not asked: groups are those in the token, as the app registration's \"Token configuration\" says (ids by default)"},
		{"entra-id-allowed-tenant", "entra_id_allowed_tenants", list, "", mapped, "oidc.issuer"},
		{"entra-id-federated-token-auth", "", boolean, "false", differs, "a token of the workload can't stand for the client's secret; give the gateway a secret (oidc.clientSecretFile) or a key (oidc.clientKeyFile)"},
		{"gitlab-group", "gitlab_groups", list, "", mapped, "oidc.allowedGroups"},
		{"gitlab-project", "gitlab_projects", list, "", mapped, "a line to fill in: GitLab's tokens name no projects"},
		{"google-group", "google_groups", list, "", mapped, "a line to fill in: " + noGroups},
		{"google-admin-email", "", text, "", differs, noGroups},
		{"google-service-account-json", "", text, "", differs, noGroups},
		{"google-use-application-default-credentials", "", boolean, "false", differs, noGroups},
		{"google-target-principal", "", text, "", differs, noGroups},
		{"google-use-organization-id", "", boolean, "false", differs, noGroups},
		{"google-admin-api-user-scope", "", text, "", differs, noGroups},
		{"bitbucket-team", "", text, "", mapped, "a line to fill in: " + noOIDC},
		{"bitbucket-workspace", "", text, "", mapped, "a line to fill in: " + noOIDC},
		{"bitbucket-repository", "", text, "", mapped, "a line to fill in: " + noOIDC},
		{"github-org", "", text, "", mapped, "a line to fill in: " + noOIDC},
		{"github-team", "", text, "", mapped, "a line to fill in: " + noOIDC},
		{"github-repo", "", text, "", mapped, "a line to fill in: " + noOIDC},
		{"github-token", "", text, "", differs, noOIDC},
		{"github-user", "github_users", list, "", mapped, "a line to fill in: " + noOIDC},
	}
}

func upstreamOptions() []option {
	return []option{
		{"upstream", "upstreams", list, "", mapped, "upstreams[], or forwardAuth"},
		{"pass-host-header", "", boolean, "true", mapped, "upstreams[].hostHeader"},
		{"upstream-timeout", "", duration, "30s", mapped, "upstreams[].responseTimeout"},
		{"flush-interval", "", duration, "1s", moot, "answers go on as they come"},
		{"proxy-websockets", "", boolean, "true", differs, "WebSockets always go through"},
		{"ssl-upstream-insecure-skip-verify", "", boolean, "false", differs, "the application's certificate is verified always: name its authority in upstreams[].tls.caFile"},
		{"disable-keep-alives", "", boolean, "false", differs, "connections to the application are kept"},
	}
}

func headerOptions() []option {
	const tokens = "the provider's tokens stay in the gateway. The application gets the signed header X-Gatehouse-Jwt-Assertion (docs/assertion.md), or a token of its own (docs/upstream-identity.md)"
	return []option{
		{"pass-user-headers", "", boolean, "true", mapped, "headers.preset"},
		{"pass-basic-auth", "", boolean, "true", mapped, "headers.preset"},
		{"basic-auth-password", "", text, "", differs, "no password is made up for the application: let it read X-Forwarded-User"},
		{"set-basic-auth", "", boolean, "false", differs, "no password is made up for the application: let it read X-Auth-Request-User"},
		{"pass-access-token", "", boolean, "false", differs, tokens},
		{"pass-authorization-header", "", boolean, "false", differs, tokens},
		{"set-authorization-header", "", boolean, "false", differs, tokens},
		{"set-xauthrequest", "", boolean, "false", mapped, "headers.preset"},
		{"prefer-email-to-user", "", boolean, "false", mapped, "headers.identity"},
		{"skip-auth-strip-headers", "", boolean, "true", differs, "identity headers that a client sends are taken off everywhere, always"},
	}
}

func serverOptions() []option {
	const metrics = "metrics are at /metrics of operations.address, in the clear"
	return []option{
		{"http-address", "", text, "127.0.0.1:4180", mapped, "listen.address"},
		{"https-address", "", text, ":443", mapped, "listen.address"},
		{"tls-cert-file", "", text, "", mapped, "listen.tls.certificates[].certFile"},
		{"tls-key-file", "", text, "", mapped, "listen.tls.certificates[].keyFile"},
		{"tls-min-version", "", text, "", mapped, "listen.tls.minVersion"},
		{"tls-cipher-suite", "tls_cipher_suites", list, "", differs, "the cipher suites are Go's own choice, without weak ones"},
		{"metrics-address", "", text, "", differs, metrics},
		{"metrics-secure-address", "", text, "", differs, metrics},
		{"metrics-tls-cert-file", "", text, "", differs, metrics},
		{"metrics-tls-key-file", "", text, "", differs, metrics},
	}
}
