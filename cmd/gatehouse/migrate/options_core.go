package migrate

func admissionOptions() []option {
	const programs = "programs get 401 without being listed; a rule of policy with api: true says it for what looks like a browser and is none"
	return []option{
		{"email-domain", "email_domains", list, "", mapped, "oidc.allowedEmailDomains"},
		{"authenticated-emails-file", "", text, "", mapped, "policy[].require"},
		{"htpasswd-file", "", text, "", differs, "there are no passwords in a file: people sign in at the provider or a directory (docs/ldap.md), programs send an API key (docs/credentials.md)"},
		{"htpasswd-user-group", "htpasswd_user_groups", list, "", differs, "there are no passwords in a file"},
		{"display-htpasswd-form", "", boolean, "true", moot, "there are no passwords in a file"},
		{"skip-auth-route", "skip_auth_routes", list, "", mapped, "policy[] with access: public"},
		{"skip-auth-regex", "", list, "", mapped, "policy[] with access: public"},
		{"skip-auth-preflight", "", boolean, "false", differs, "OPTIONS without a session gets 401. Where the application answers preflights itself add a rule with its paths, methods: [OPTIONS] and access: public"},
		{"api-route", "api_routes", list, "", moot, programs},
		{"force-json-errors", "", boolean, "false", moot, programs},
		{"skip-jwt-bearer-tokens", "", boolean, "false", mapped, "authn[].bearer"},
		{"extra-jwt-issuers", "", list, "", mapped, "bearer.issuers"},
		{"bearer-token-login-fallback", "", boolean, "true", moot, "a wrong token gets 401 always, and only a browser's navigation is led to sign-in"},
		{"trusted-ip", "trusted_ips", list, "", differs, "nobody is let in by their address. Give programs API keys (docs/credentials.md), and open paths that are for everybody by a rule with access: public"},
		{"whitelist-domain", "whitelist_domains", list, "", moot, "people are led back to the hosts of publicURL, upstreams[].hosts and forwardAuth.hosts, nowhere else"},
	}
}

func proxyOptions() []option {
	const probes = "probes ask /livez and /readyz at operations.address, which is not the public port"
	return []option{
		{"redirect-url", "", text, "", mapped, "publicURL and paths.callback"},
		{"relative-redirect-url", "", boolean, "false", differs, "the redirect URI is made from publicURL, never from the request"},
		{"proxy-prefix", "", text, "/oauth2", mapped, "paths"},
		{"reverse-proxy", "", boolean, "false", mapped, "trustedProxies"},
		{"trusted-proxy-ip", "trusted_proxy_ips", list, "", mapped, "trustedProxies"},
		{"real-client-ip-header", "", text, "X-Real-IP", mapped, "forwardedHeader"},
		{"force-https", "", boolean, "false", differs, "leave the redirect to https to what is in front, or set listen.httpAddress"},
		{"ssl-insecure-skip-verify", "", boolean, "false", differs, "the provider's certificate is verified always: name its authority in oidc.tls.caFile"},
		{"ping-path", "", text, "/ping", differs, probes},
		{"ping-user-agent", "", text, "", differs, probes},
		{"ready-path", "", text, "/ready", differs, probes},
		{"gcp-healthchecks", "", boolean, "false", differs, probes},
		{"encode-state", "", boolean, "false", moot, "state is random and holds nothing"},
		{"allow-query-semicolons", "", boolean, "false", moot, "queries go on as they came"},
		{"signature-key", "", text, "", differs, "there is no GAP-Signature; the application verifies X-Gatehouse-Jwt-Assertion (docs/assertion.md)"},
	}
}

func cookieOptions() []option {
	const fixed = "the cookie is always HttpOnly and Lax, for the path /, and Secure where publicURL is https"
	const attempts = "each sign-in has a cookie of its own, at most five, for ten minutes"
	return []option{
		{"cookie-name", "", text, "_oauth2_proxy", mapped, "session.cookie.name"},
		{"cookie-domain", "cookie_domains", list, "", mapped, "session.cookie.domain"},
		{"cookie-secret", "", text, "", moot, "new keys are made (session.keysFile): people sign in once more, and who has the old one can do nothing"},
		{"cookie-secret-file", "", text, "", moot, "new keys are made (session.keysFile): people sign in once more, and who has the old one can do nothing"},
		{"cookie-expire", "", duration, "168h", mapped, "session.lifetime"},
		{"cookie-refresh", "", duration, "0s", moot, "tokens are renewed by themselves before they expire"},
		{"cookie-secure", "", boolean, "true", mapped, "insecurePublicHTTP"},
		{"cookie-httponly", "", boolean, "true", differs, fixed},
		{"cookie-samesite", "", text, "lax", differs, fixed},
		{"cookie-path", "", text, "/", differs, fixed},
		{"cookie-csrf-per-request", "", boolean, "", moot, attempts},
		{"cookie-csrf-per-request-limit", "", number, "", moot, attempts},
		{"cookie-csrf-expire", "", duration, "15m", moot, attempts},
		{"cookie-csrf-samesite", "", text, "", moot, attempts},
	}
}

func redisOptions() []option {
	return []option{
		{"session-store-type", "", text, "cookie", mapped, "store.redis"},
		{"session-cookie-minimal", "", boolean, "", moot, "tokens are never in the cookie"},
		{"redis-connection-url", "", text, "", mapped, "store.redis.url"},
		{"redis-username", "", text, "", mapped, "store.redis.username"},
		{"redis-password", "", text, "", mapped, "store.redis.passwordFile"},
		{"redis-use-sentinel", "", boolean, "false", mapped, "store.redis.sentinel"},
		{"redis-sentinel-password", "", text, "", mapped, "store.redis.sentinel.passwordFile"},
		{"redis-sentinel-master-name", "", text, "", mapped, "store.redis.sentinel.master"},
		{"redis-sentinel-connection-urls", "", list, "", mapped, "store.redis.sentinel.addresses"},
		{"redis-use-cluster", "", boolean, "false", mapped, "store.redis.cluster"},
		{"redis-cluster-connection-urls", "", list, "", mapped, "store.redis.cluster.addresses"},
		{"redis-ca-path", "", text, "", mapped, "store.redis.tls.caFile"},
		{"redis-insecure-skip-tls-verify", "", boolean, "false", differs, "the certificate is verified always: name its authority in store.redis.tls.caFile"},
		{"redis-connection-idle-timeout", "", number, "0", moot, "connections that have stood still too long are replaced by themselves"},
	}
}

func pageOptions() []option {
	const templates = "pages have no templates; pages.name, logoFile, colour and contact say what they show"
	return []option{
		{"skip-provider-button", "", boolean, "", moot, "with one route people go to the provider at once"},
		{"custom-templates-dir", "", text, "", differs, templates},
		{"custom-sign-in-logo", "", text, "", mapped, "pages.logoFile"},
		{"banner", "", text, "", differs, templates},
		{"footer", "", text, "", differs, templates},
		{"show-debug-on-error", "", boolean, "false", differs, "pages never show what went wrong inside; the log has it under the request id that they show"},
	}
}

func logOptions() []option {
	const one = "the log is JSON or text lines on standard error (log.format, log.level); what collects it does the rest"
	return []option{
		{"request-logging", "", boolean, "true", mapped, "log.noAccess"},
		{"auth-logging", "", boolean, "true", differs, one},
		{"standard-logging", "", boolean, "true", differs, one},
		{"request-logging-format", "", text, "", differs, one},
		{"auth-logging-format", "", text, "", differs, one},
		{"standard-logging-format", "", text, "", differs, one},
		{"errors-to-info-log", "", boolean, "", moot, one},
		{"exclude-logging-path", "exclude_logging_paths", list, "", differs, one},
		{"logging-local-time", "", boolean, "true", differs, one},
		{"silence-ping-logging", "", boolean, "", moot, "probes are not on the public port"},
		{"request-id-header", "", text, "X-Request-Id", differs, "the request id is X-Request-Id, believed from trustedProxies alone"},
		{"logging-filename", "", text, "", differs, one},
		{"logging-max-size", "", number, "100", differs, one},
		{"logging-max-age", "", number, "7", differs, one},
		{"logging-max-backups", "", number, "0", differs, one},
		{"logging-compress", "", boolean, "false", differs, one},
	}
}
