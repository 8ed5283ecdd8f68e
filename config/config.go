// Package config is the settings: one YAML file and the environment, read
// strictly, every fault reported at once with its place and its fix.
//
// The structs of this file are the settings reference: their comments, tags
// and order make the JSON Schema and docs/settings.md. A field is a key of the
// same name in lowerCamel; durations and sizes carry their unit in the value
// ("15m", "10GiB"); every secret has a "…File" twin and never prints itself.
//
// The package is a leaf. It reads the settings file, the files that secrets
// live in and the environment it is handed; it opens no connection and builds
// nothing.
package config

import (
	"net/netip"
	"slices"
	"strings"
)

// Config is the whole of the settings.
type Config struct {
	// Where people reach the gateway, for instance https://wandb.example.com.
	// Redirect URIs and cookies are made from it, never from a request. It must
	// be https, but for a loopback host or with insecurePublicHTTP.
	PublicURL string `json:"publicURL" jsonschema:"required"`
	// Lets publicURL be plain http on a host other than loopback: anyone on the
	// network can then take over sessions. For tests behind closed doors.
	InsecurePublicHTTP bool `json:"insecurePublicHTTP,omitempty"`
	// The listener that people and programs use.
	Listen Listen `json:"listen,omitempty"`
	// What one client, and all of them together, may take of the gateway.
	Limits Limits `json:"limits,omitempty"`
	// Tells browsers never to come in the clear (RFC 6797).
	HSTS HSTS `json:"hsts,omitempty"`
	// The listener for those who run the gateway: /livez, /readyz and /metrics.
	Operations Operations `json:"operations,omitempty"`
	// The applications behind the gateway. Without forwardAuth there must be one. The one with the longest matching
	// path on the request's host is chosen.
	Upstreams []Upstream `json:"upstreams,omitempty" jsonschema:"minItems=1"`
	// Answers other proxies (nginx, Traefik, Caddy, Envoy, HAProxy) that ask whom a
	// request comes from and whether it may pass. They must be in trustedProxies.
	ForwardAuth *ForwardAuth `json:"forwardAuth,omitempty"`
	// The ways in, in the order in which they are asked and offered.
	Authn []Route `json:"authn" jsonschema:"required,minItems=1"`
	// The applications' teams, and which groups are in them.
	Teams []Team `json:"teams,omitempty"`
	// Who may go where: the first rule that matches decides. Without one, whoever
	// has proved who they are may.
	Policy []Rule `json:"policy,omitempty"`
	// What programs may ask of the gateway itself, below /api of paths.prefix.
	API API `json:"api,omitempty"`
	// The programs that have an identity of their own.
	ServiceAccounts []ServiceAccount `json:"serviceAccounts,omitempty"`
	// Says that an e-mail address means the same person whichever route vouches
	// for it. Without it, routes must not be able to vouch for the same domain.
	SharedEmails bool `json:"sharedEmails,omitempty"`
	// What stands against guessing passwords.
	Regulation Regulation `json:"regulation,omitempty"`
	// How long a sign-in lasts, and its cookie.
	Session Session `json:"session,omitempty"`
	// Where sessions live. Without it, in the memory of this one process.
	Store Store `json:"store,omitempty"`
	// The identity headers that upstreams receive.
	Headers Headers `json:"headers,omitempty"`
	// The signed header that upstreams receive beside those, X-Gatehouse-Jwt-Assertion.
	Assertion Assertion `json:"assertion,omitempty"`
	// The gateway's own paths.
	Paths Paths `json:"paths,omitempty"`
	// How the gateway's own pages look.
	Pages Pages `json:"pages,omitempty"`
	// The proxies in front of the gateway, as addresses or networks in CIDR
	// form. Only what they say of the client's address, and their X-Request-Id,
	// is believed.
	TrustedProxies []string `json:"trustedProxies,omitempty" jsonschema:"uniqueItems=true"`
	// In which header trusted proxies say the client's address. The other one is
	// dropped unread, for what a proxy does not write itself it may pass on from
	// a client.
	ForwardedHeader string `json:"forwardedHeader" jsonschema:"enum=x-forwarded-for,enum=forwarded,default=x-forwarded-for"`
	// What is logged, and how.
	Log Log `json:"log,omitempty"`
	// The trail of who came in, who was refused and what was changed.
	Audit Audit `json:"audit,omitempty"`
	// When settings are read again while the gateway runs.
	Reload Reload `json:"reload,omitempty"`
}

// Operations is the listener for those who run the gateway.
type Operations struct {
	// Address to listen on. Keep it away from the public.
	Address string `json:"address" jsonschema:"default=127.0.0.1:8081"`
}

// Upstream is one application behind the gateway.
type Upstream struct {
	// A short name for logs; a-z, 0-9 and "-".
	Name string `json:"name" jsonschema:"title=name,default=upstream,pattern=^[a-z0-9][a-z0-9-]*$"`
	// Where it listens: http://host:port, https://host:port or unix:///path/to/socket.
	URL string `json:"url" jsonschema:"required"`
	// The host names it answers for. Without any, the host of publicURL.
	Hosts []string `json:"hosts,omitempty" jsonschema:"uniqueItems=true"`
	// The paths it answers for, each with everything below it.
	Paths []string `json:"paths" jsonschema:"default=/,uniqueItems=true"`
	// Paths that need no sign-in and carry no identity. One that ends in "/"
	// stands for everything below it, any other for itself alone. An upstream that
	// has a path of its own may be public as a whole there, for instance storage
	// whose URLs are signed; "/" may not.
	Public []string `json:"public,omitempty" jsonschema:"uniqueItems=true"`
	// What is known of the application's paths: "wandb" closes what a W&B server's
	// parts say to each other, opens its storage's signed URLs and its probes, and
	// leads no program to sign-in. The rules of policy go before it.
	Preset string `json:"preset,omitempty" jsonschema:"enum=wandb"`
	// Whom the signed header says that it is for (aud). Without it, the upstream's name.
	Audience string `json:"audience,omitempty" jsonschema:"pattern=^[!-~]{1\\,255}$"`
	// The Host header it sees: "keep", what the client sent, or "upstream", its own.
	HostHeader string `json:"hostHeader" jsonschema:"enum=keep,enum=upstream,default=keep"`
	// How it learns whom a request comes from: "headers", by the identity headers;
	// "passthrough", by those and the client's own Authorization, untouched, for an
	// application that judges that too; or "exchange", by those and an access token
	// that the gateway gets from it for them, for an application that believes no
	// header, such as a W&B server. docs/upstream-identity.md says when to take which.
	Identity string `json:"identity" jsonschema:"enum=headers,enum=passthrough,enum=exchange,default=headers"`
	// How the gateway gets that access token, for identity exchange.
	Exchange UpstreamExchange `json:"exchange,omitempty"`
	// How to speak TLS to it, for an https url.
	TLS ClientTLS `json:"tls,omitempty"`
	// How long it may take to accept a connection.
	ConnectTimeout Duration `json:"connectTimeout" jsonschema:"default=10s"`
	// How long it may take to begin its answer once it has the whole request, or
	// to take the next bytes of it. 0s means for ever.
	ResponseTimeout Duration `json:"responseTimeout" jsonschema:"default=10m"`
	// The most that a request's body may hold. 0 means no limit.
	MaxBodySize Size `json:"maxBodySize" jsonschema:"default=0"`
}

// ForwardAuth is what the gateway knows of the applications behind other proxies. In
// policy they go by the upstream forward-auth.
type ForwardAuth struct {
	// The host names of these applications.
	Hosts []string `json:"hosts" jsonschema:"required,minItems=1,uniqueItems=true"`
	// What is known of their paths, as with an upstream.
	Preset string `json:"preset,omitempty" jsonschema:"enum=wandb"`
	// Paths that need no sign-in, as with an upstream.
	Public []string `json:"public,omitempty" jsonschema:"uniqueItems=true"`
	// Whom the signed header says that it is for (aud). Without it, the host that a
	// request is for.
	Audience string `json:"audience,omitempty" jsonschema:"pattern=^[!-~]{1\\,255}$"`
	// Where Envoy may ask over gRPC (ext_authz), as host:port or :port. Without it,
	// only over HTTP.
	GRPCAddress string `json:"grpcAddress,omitempty"`
}

// ClientTLS is how to speak TLS to a server.
type ClientTLS struct {
	// Certificates to trust instead of the system's, in PEM.
	CAFile string `json:"caFile,omitempty"`
	// A certificate to show to the server, in PEM.
	CertFile string `json:"certFile,omitempty"`
	// The private key of that certificate, in PEM.
	KeyFile string `json:"keyFile,omitempty"`
	// The name to expect in the server's certificate, when it is not the host of the URL.
	ServerName string `json:"serverName,omitempty"`
}

// UpstreamExchange is how the gateway gets an access token of an application for
// whom a request comes from: for a JWT that names them and that the gateway has
// signed (RFC 7523).
type UpstreamExchange struct {
	// Where the application gives access tokens. Without it, /oidc/token at its url.
	TokenURL string `json:"tokenURL,omitempty"`
	// Whom the JWT says that it is for (aud), as the application wants it.
	Audience string `json:"audience" jsonschema:"default=wandb,pattern=^[!-~]{1\\,255}$"`
	// What the JWT calls somebody (sub), as the application knows them: "email",
	// "username" or "subject". Who has none is refused. A username may be another
	// person's by another route.
	Subject string `json:"subject" jsonschema:"enum=email,enum=username,enum=subject,default=email"`
	// How to speak TLS to tokenURL. Without tokenURL, the upstream's own tls counts.
	TLS ClientTLS `json:"tls,omitempty"`
}

// Route is one way in: a name and exactly one of its kinds.
type Route struct {
	// A short name for logs, headers and links; a-z, 0-9 and "-". It must not change later.
	Name string `json:"name" jsonschema:"title=name,required,pattern=^[a-z0-9][a-z0-9-]*$"`
	// What the sign-in button says. Without it, the name.
	Label string `json:"label,omitempty"`
	// Sign-in at an OpenID provider.
	OIDC *OIDC `json:"oidc,omitempty"`
	// Sign-in with the password that people have in a directory.
	LDAP *LDAP `json:"ldap,omitempty"`
	// Tokens that programs send: JWTs, access tokens, and the W&B SDK's exchange.
	Bearer *Bearer `json:"bearer,omitempty"`
	// API keys that programs send.
	APIKey *APIKey `json:"apiKey,omitempty"`
}

// OIDC is sign-in at an OpenID provider.
type OIDC struct {
	// The issuer, exactly as the provider's discovery document spells it.
	Issuer string `json:"issuer" jsonschema:"required"`
	// The client id that the provider gave.
	ClientID string `json:"clientID" jsonschema:"required"`
	// The client secret, if the provider gave one.
	ClientSecret Secret `json:"clientSecret,omitempty"`
	// A file that holds the client secret.
	ClientSecretFile string `json:"clientSecretFile,omitempty"`
	// How the gateway proves itself at the token endpoint: "none" (a public
	// client), "basic", "post" or "privateKeyJWT". Without it, basic if there is
	// a secret, privateKeyJWT if there is a key, else none.
	ClientAuth string `json:"clientAuth,omitempty" jsonschema:"enum=none,enum=basic,enum=post,enum=privateKeyJWT"`
	// The private key for privateKeyJWT (RFC 7523), in PEM: RSA, P-256 or Ed25519.
	ClientKeyFile string `json:"clientKeyFile,omitempty"`
	// The key id that the provider knows the key by.
	ClientKeyID string `json:"clientKeyID,omitempty"`
	// "pkce", the authorization code flow with PKCE, or "implicit", an ID token
	// by form_post.
	AuthMethod string `json:"authMethod" jsonschema:"enum=pkce,enum=implicit,default=pkce"`
	// Whether authorization requests go from here to the provider, so that the browser
	// carries only a name for them (RFC 9126): "auto", if the provider's discovery
	// document demands it, "always", also if only this client's registration does, or
	// "never".
	PushedAuthorization string `json:"pushedAuthorization" jsonschema:"enum=auto,enum=always,enum=never,default=auto"`
	// What to ask for. It must hold openid. Add offline_access where the provider
	// needs it for a refresh token.
	Scopes []string `json:"scopes" jsonschema:"default=openid,default=profile,default=email,uniqueItems=true"`
	// Asks the provider to show a page: login, consent, select_account or none.
	Prompt string `json:"prompt,omitempty"`
	// Whom to suggest at the provider. A sign-in link's login_hint goes before it.
	LoginHint string `json:"loginHint,omitempty"`
	// The longest time since the person last proved themselves at the provider. 0s means any.
	MaxAge Duration `json:"maxAge,omitempty"`
	// How strongly the person must prove themselves: the answer's acr must be one of these.
	ACRValues []string `json:"acrValues,omitempty" jsonschema:"uniqueItems=true"`
	// Further parameters of the authorization request, for instance hd or resource.
	AuthParams map[string]string `json:"authParams,omitempty"`
	// Further parameters of the sign-out request, for instance logout_uri for Cognito.
	SignOutParams map[string]string `json:"signOutParams,omitempty"`
	// Which claims say what.
	Claims Claims `json:"claims,omitempty"`
	// When to ask the userinfo endpoint: "auto", if a claim that is needed is not
	// in the ID token, "always" or "never".
	Userinfo string `json:"userinfo" jsonschema:"enum=auto,enum=always,enum=never,default=auto"`
	// Put before every subject of this route. With several routes each must have
	// its own, so that two providers can't name the same person; one may go without.
	SubjectPrefix string `json:"subjectPrefix,omitempty" jsonschema:"pattern=^[A-Za-z0-9._-]*[:|]?$"`
	// Counts an e-mail address if the provider does not say whether it is
	// verified. One that it says is not verified never counts. Only for a provider
	// whose people can't choose their address.
	TrustUnverifiedEmail bool `json:"trustUnverifiedEmail,omitempty"`
	// Lets in only people whose verified address is in one of these domains.
	// "*.example.com" stands for every domain below example.com.
	AllowedEmailDomains []string `json:"allowedEmailDomains,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Lets in only people in at least one of these groups.
	AllowedGroups []string `json:"allowedGroups,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// What to do when the provider says that there are too many groups to list
	// (Entra's overage): "refuse" the sign-in, or go on with "none".
	GroupsOverage string `json:"groupsOverage" jsonschema:"enum=refuse,enum=none,default=refuse"`
	// Further audiences that may stand beside the client id in an ID token.
	ExtraAudiences []string `json:"extraAudiences,omitempty" jsonschema:"uniqueItems=true"`
	// The signature algorithms to accept. Without it, the asymmetric ones that
	// the provider says it uses.
	SigningAlgorithms []string `json:"signingAlgorithms,omitempty" jsonschema:"uniqueItems=true,enum=RS256,enum=RS384,enum=RS512,enum=PS256,enum=PS384,enum=PS512,enum=ES256,enum=ES384,enum=ES512,enum=EdDSA"`
	// How far the provider's clock may be off.
	ClockSkew Duration `json:"clockSkew" jsonschema:"default=1m"`
	// How to speak TLS to the provider.
	TLS ClientTLS `json:"tls,omitempty"`
}

// Claims says which claim is what. A value is a claim's exact name
// ("cognito:groups", "https://example.com/groups") or else a path into nested
// claims ("realm_access.roles").
type Claims struct {
	// What names a person for ever.
	Subject string `json:"subject" jsonschema:"default=sub"`
	// The name that people type.
	Username string `json:"username" jsonschema:"default=preferred_username"`
	// The full name.
	Name string `json:"name" jsonschema:"default=name"`
	// The e-mail address.
	Email string `json:"email" jsonschema:"default=email"`
	// Whether the address is verified.
	EmailVerified string `json:"emailVerified" jsonschema:"default=email_verified"`
	// The groups: a list of strings.
	Groups string `json:"groups" jsonschema:"default=groups"`
	// The teams themselves, beside those that groups stand for: a list of strings.
	Teams string `json:"teams,omitempty"`
}

// Session is how long a sign-in lasts, and its cookie.
type Session struct {
	// The longest that a sign-in lasts, whatever happens.
	Lifetime Duration `json:"lifetime" jsonschema:"default=168h"`
	// How long a sign-in lasts when it is not used.
	IdleTimeout Duration `json:"idleTimeout" jsonschema:"default=24h"`
	// How many browser sessions one person has at most. A further sign-in ends the one
	// that was unused for longest. Access tokens don't count. 0 means no limit.
	MaxPerPerson int `json:"maxPerPerson" jsonschema:"minimum=0,default=100"`
	// How long a session goes on after its proof has expired while the provider
	// can't be reached. After that, 503 until it can.
	OutageGrace Duration `json:"outageGrace" jsonschema:"default=1h"`
	// What each process remembers of sessions, so that it need not ask the store
	// for each request.
	Cache SessionCache `json:"cache,omitempty"`
	// The session cookie.
	Cookie Cookie `json:"cookie,omitempty"`
	// The keys that sign cookies, newest first, each at least 32 random bytes
	// (make one with: openssl rand -base64 32). The first signs; all are
	// accepted, so a rotation logs nobody out. Needed with Redis.
	Keys []Secret `json:"keys,omitempty"`
	// A file that holds the keys, one a line, newest first.
	KeysFile string `json:"keysFile,omitempty"`
}

// SessionCache is what a process remembers of sessions.
type SessionCache struct {
	// How long a session counts without asking the store. One that is ended is
	// forgotten at once, everywhere; this is how long it can go on at most when
	// that could not be told, and how long sessions go on without the store. 0s
	// asks for each request.
	Lifetime Duration `json:"lifetime" jsonschema:"default=30s"`
	// The memory for it, at about 1 KiB a session.
	MaxSize Size `json:"maxSize" jsonschema:"default=64MiB"`
}

// Cookie is the session cookie.
type Cookie struct {
	// Its name. "__Host-" is put before it, or "__Secure-" when there is a domain.
	Name string `json:"name" jsonschema:"default=gatehouse,pattern=^[A-Za-z0-9_.-]+$"`
	// The domain whose hosts share a sign-in. Without it, the host of publicURL alone.
	Domain string `json:"domain,omitempty"`
}

// Store is where sessions live.
type Store struct {
	// Redis (or Valkey), for sessions that survive restarts and are shared by
	// replicas.
	Redis *Redis `json:"redis,omitempty"`
}

// Headers is the identity headers that upstreams receive.
type Headers struct {
	// Whose headers to send, so that an application written for another gateway
	// works: "gatehouse", "oauth2-proxy", "authelia", "pomerium", "google-iap" or
	// "cloudflare-access". docs/headers.md lists them.
	Preset string `json:"preset" jsonschema:"enum=gatehouse,enum=oauth2-proxy,enum=authelia,enum=pomerium,enum=google-iap,enum=cloudflare-access,default=gatehouse"`
	// The headers and what each is made from, instead of the preset's.
	Identity []Header `json:"identity,omitempty" jsonschema:"minItems=1"`
	// What stands between groups, or teams, in one header.
	GroupSeparator string `json:"groupSeparator" jsonschema:"enum=\\,,enum=|,enum=;,default=\\,"`
	// How groups and teams are written: "joined", with groupSeparator between them,
	// or "json", a list of JSON in ASCII.
	GroupFormat string `json:"groupFormat" jsonschema:"enum=joined,enum=json,default=joined"`
	// The most bytes that the identity headers, and the signed one, may take together.
	// Somebody with more groups than fit is refused, never shown with fewer.
	MaxSize Size `json:"maxSize" jsonschema:"default=32KiB"`
	// Whether X-Wandb-Username and X-Wandb-User-Email, by which a program says for
	// whom it works, go on: "members" lets a person name themselves and a service
	// account a member of its team, "keep" anybody name anybody, "strip" nobody
	// name anybody. They never are an identity.
	Attribution string `json:"attribution" jsonschema:"enum=members,enum=keep,enum=strip,default=members"`
	// Further header names that no client may send to an upstream.
	Scrub []string `json:"scrub,omitempty" jsonschema:"uniqueItems=true"`
}

// Assertion is the signed header: a JWT that says whom a request comes from.
// docs/assertion.md tells applications how to verify it.
type Assertion struct {
	// Sends none.
	Disabled bool `json:"disabled,omitempty"`
	// What it is signed by: "ES256", or "EdDSA" (Ed25519).
	Algorithm string `json:"algorithm" jsonschema:"enum=ES256,enum=EdDSA,default=ES256"`
	// How long one is good for, from 10s to 5m. It is used again for some of that time.
	Lifetime Duration `json:"lifetime" jsonschema:"default=5m"`
}

// Header is one identity header.
type Header struct {
	// The header's name.
	Name string `json:"name" jsonschema:"required"`
	// What it is made from. Roles are those in teams, in the same order.
	From string `json:"from,omitempty" jsonschema:"enum=subject,enum=username,enum=name,enum=email,enum=groups,enum=issuer,enum=route,enum=kind,enum=team,enum=teams,enum=roles"`
	// Instead of from: a text with {username} and the like in it, for instance
	// "accounts.google.com:{email}". It is left out if one of them is empty.
	Template string `json:"template,omitempty"`
}

// Paths is the gateway's own paths on every host.
type Paths struct {
	// Where providers send people back to. With several OIDC routes this is the
	// first one's; every other has its name added: /oidc/callback/NAME.
	Callback string `json:"callback" jsonschema:"default=/oidc/callback"`
	// Where people sign out.
	SignOut string `json:"signOut" jsonschema:"default=/logout"`
	// Where programs exchange a JWT for an access token, if there is a bearer route.
	Token string `json:"token,omitempty" jsonschema:"default=/oidc/token"`
	// Serves oauth2-proxy's names too, with forwardAuth: /oauth2/auth, /oauth2/start,
	// /oauth2/sign_in, /oauth2/sign_out and /oauth2/userinfo.
	OAuth2Proxy bool `json:"oauth2Proxy,omitempty"`
	// What the gateway's own pages are below.
	Prefix string `json:"prefix" jsonschema:"default=/.gatehouse"`

	// Issuer says that the gateway is an issuer to an upstream, which looks for its
	// documents at the root: some upstream's identity is exchange.
	Issuer bool `json:"-"`
}

// Pages is how the gateway's own pages look.
type Pages struct {
	// The name of the place people sign in to.
	Name string `json:"name" jsonschema:"default=Gatehouse"`
	// An image to show above it: SVG, PNG, JPEG or WebP of at most 256 KiB.
	LogoFile string `json:"logoFile,omitempty"`
	// The colour of buttons, as #rrggbb.
	Colour string `json:"colour" jsonschema:"default=#1f5fbf,pattern=^#[0-9a-fA-F]{6}$"`
	// Whom to ask for help: an e-mail address or an https link.
	Contact string `json:"contact,omitempty"`
	// Where people land after they signed out. Without it, the "signed out" page.
	SignedOutURL string `json:"signedOutURL,omitempty"`
}

// Log is what is logged, and how.
type Log struct {
	// The least important lines to write.
	Level string `json:"level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error,default=info"`
	// One JSON object a line, or text for people.
	Format string `json:"format" jsonschema:"enum=json,enum=text,default=json"`
	// Leaves out the line for each request.
	NoAccess bool `json:"noAccess,omitempty"`
}

// Networks returns TrustedProxies in parsed form. A plain address stands for itself.
func (c Config) Networks() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range c.TrustedProxies {
		if p, err := parseNetwork(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// tokenDocuments are where programs look for the token endpoint (RFC 8414,
// section 3; RFC 9728, section 3).
func tokenDocuments() []string {
	return []string{"/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"}
}

// oauth2ProxyPaths are oauth2-proxy's names for what the gateway has too.
func oauth2ProxyPaths() []string {
	return []string{"/oauth2/auth", "/oauth2/start", "/oauth2/sign_in", "/oauth2/sign_out", "/oauth2/userinfo"}
}

// IssuerDocuments are where applications look for the keys of an issuer (OpenID
// Connect Discovery, section 4), under the name of the standard and under the one
// that W&B's pages have had.
func IssuerDocuments() []string {
	return []string{"/.well-known/openid-configuration", "/.well-known/oidc-configuration"}
}

// Owns says whether path, decoded, is one of the gateway's own.
func (p Paths) Owns(path string) bool {
	return p.OAuth2Proxy && slices.Contains(oauth2ProxyPaths(), path) || p.Issuer && slices.Contains(IssuerDocuments(), path) ||
		p.Token != "" && (path == p.Token || slices.Contains(tokenDocuments(), path)) ||
		path == p.SignOut || path == p.Prefix || strings.HasPrefix(path, p.Prefix+"/") ||
		path == p.Callback || strings.HasPrefix(path, p.Callback+"/")
}
