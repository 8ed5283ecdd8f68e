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
	"strings"
)

// Config is the whole of the settings.
type Config struct {
	// Where people reach the gateway, for instance https://wandb.example.com.
	// Redirect URIs and cookies are made from it, never from a request. It must
	// be https, but for a loopback host or with insecurePublicHTTP.
	PublicURL string `yaml:"publicURL" jsonschema:"required"`
	// Lets publicURL be plain http on a host other than loopback: anyone on the
	// network can then take over sessions. For tests behind closed doors.
	InsecurePublicHTTP bool `yaml:"insecurePublicHTTP,omitempty"`
	// The listener that people and programs use.
	Listen Listen `yaml:"listen,omitempty"`
	// The listener for those who run the gateway: /livez and /readyz.
	Operations Operations `yaml:"operations,omitempty"`
	// The applications behind the gateway. The one with the longest matching
	// path on the request's host is chosen.
	Upstreams []Upstream `yaml:"upstreams" jsonschema:"required,minItems=1"`
	// The ways in, in the order in which they are asked and offered.
	Authn []Route `yaml:"authn" jsonschema:"required,minItems=1"`
	// Says that an e-mail address means the same person whichever route vouches
	// for it. Without it, routes must not be able to vouch for the same domain.
	SharedEmails bool `yaml:"sharedEmails,omitempty"`
	// How long a sign-in lasts, and its cookie.
	Session Session `yaml:"session,omitempty"`
	// Where sessions live. Without it, in the memory of this one process.
	Store Store `yaml:"store,omitempty"`
	// The identity headers that upstreams receive.
	Headers Headers `yaml:"headers,omitempty"`
	// The gateway's own paths.
	Paths Paths `yaml:"paths,omitempty"`
	// How the gateway's own pages look.
	Pages Pages `yaml:"pages,omitempty"`
	// The proxies in front of the gateway, as addresses or networks in CIDR
	// form. Only their X-Forwarded-For and X-Request-Id are believed.
	TrustedProxies []string `yaml:"trustedProxies,omitempty" jsonschema:"uniqueItems=true"`
	// What is logged, and how.
	Log Log `yaml:"log,omitempty"`
}

// Listen is the listener that people and programs use.
type Listen struct {
	// Address to listen on, host:port or :port.
	Address string `yaml:"address,omitempty" jsonschema:"default=:8080"`
	// The certificate to serve https with, in PEM. Without it, plain http, for
	// use behind something that ends TLS.
	CertFile string `yaml:"certFile,omitempty"`
	// The certificate's private key, in PEM.
	KeyFile string `yaml:"keyFile,omitempty"`
	// Serves HTTP/2 without TLS too (prior knowledge), for load balancers that speak it.
	H2C bool `yaml:"h2c,omitempty"`
	// How long a client may take to send its request's header.
	HeaderTimeout Duration `yaml:"headerTimeout,omitempty" jsonschema:"default=10s"`
	// How long a connection may wait for its next request.
	IdleTimeout Duration `yaml:"idleTimeout,omitempty" jsonschema:"default=2m"`
	// How long a transfer may stand still because of the client before it is
	// given up. A transfer that moves is never cut.
	StallTimeout Duration `yaml:"stallTimeout,omitempty" jsonschema:"default=5m"`
	// The most that a request's header may hold.
	MaxHeaderSize Size `yaml:"maxHeaderSize,omitempty" jsonschema:"default=64KiB"`
	// How long open requests may take to finish when the gateway is told to stop.
	DrainTimeout Duration `yaml:"drainTimeout,omitempty" jsonschema:"default=30s"`
}

// Operations is the listener for those who run the gateway.
type Operations struct {
	// Address to listen on. Keep it away from the public.
	Address string `yaml:"address,omitempty" jsonschema:"default=127.0.0.1:8081"`
}

// Upstream is one application behind the gateway.
type Upstream struct {
	// A short name for logs; a-z, 0-9 and "-".
	Name string `yaml:"name,omitempty" jsonschema:"default=upstream,pattern=^[a-z0-9][a-z0-9-]*$"`
	// Where it listens: http://host:port, https://host:port or unix:///path/to/socket.
	URL string `yaml:"url" jsonschema:"required"`
	// The host names it answers for. Without any, the host of publicURL.
	Hosts []string `yaml:"hosts,omitempty" jsonschema:"uniqueItems=true"`
	// The paths it answers for, each with everything below it.
	Paths []string `yaml:"paths,omitempty" jsonschema:"default=/,uniqueItems=true"`
	// Paths that need no sign-in and carry no identity. One that ends in "/"
	// stands for everything below it, any other for itself alone.
	Public []string `yaml:"public,omitempty" jsonschema:"uniqueItems=true"`
	// The Host header it sees: "keep", what the client sent, or "upstream", its own.
	HostHeader string `yaml:"hostHeader,omitempty" jsonschema:"enum=keep,enum=upstream,default=keep"`
	// Passes the client's Authorization header on, for an application that reads it too.
	PassAuthorization bool `yaml:"passAuthorization,omitempty"`
	// How to speak TLS to it, for an https url.
	TLS ClientTLS `yaml:"tls,omitempty"`
	// How long it may take to accept a connection.
	ConnectTimeout Duration `yaml:"connectTimeout,omitempty" jsonschema:"default=10s"`
	// How long it may take to begin its answer once it has the whole request. 0s means for ever.
	ResponseTimeout Duration `yaml:"responseTimeout,omitempty" jsonschema:"default=10m"`
	// The most that a request's body may hold. 0 means no limit.
	MaxBodySize Size `yaml:"maxBodySize,omitempty" jsonschema:"default=0"`
}

// ClientTLS is how to speak TLS to a server.
type ClientTLS struct {
	// Certificates to trust instead of the system's, in PEM.
	CAFile string `yaml:"caFile,omitempty"`
	// A certificate to show to the server, in PEM.
	CertFile string `yaml:"certFile,omitempty"`
	// The private key of that certificate, in PEM.
	KeyFile string `yaml:"keyFile,omitempty"`
	// The name to expect in the server's certificate, when it is not the host of the URL.
	ServerName string `yaml:"serverName,omitempty"`
}

// Route is one way in: a name and exactly one of its kinds.
type Route struct {
	// A short name for logs, headers and links; a-z, 0-9 and "-". It must not change later.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9][a-z0-9-]*$"`
	// What the sign-in button says. Without it, the name.
	Label string `yaml:"label,omitempty"`
	// Sign-in at an OpenID provider.
	OIDC *OIDC `yaml:"oidc,omitempty"`
}

// OIDC is sign-in at an OpenID provider.
type OIDC struct {
	// The issuer, exactly as the provider's discovery document spells it.
	Issuer string `yaml:"issuer" jsonschema:"required"`
	// The client id that the provider gave.
	ClientID string `yaml:"clientID" jsonschema:"required"`
	// The client secret, if the provider gave one.
	ClientSecret Secret `yaml:"clientSecret,omitempty"`
	// A file that holds the client secret.
	ClientSecretFile string `yaml:"clientSecretFile,omitempty"`
	// How the gateway proves itself at the token endpoint: "none" (a public
	// client), "basic", "post" or "privateKeyJWT". Without it, basic if there is
	// a secret, privateKeyJWT if there is a key, else none.
	ClientAuth string `yaml:"clientAuth,omitempty" jsonschema:"enum=none,enum=basic,enum=post,enum=privateKeyJWT"`
	// The private key for privateKeyJWT (RFC 7523), in PEM: RSA, P-256 or Ed25519.
	ClientKeyFile string `yaml:"clientKeyFile,omitempty"`
	// The key id that the provider knows the key by.
	ClientKeyID string `yaml:"clientKeyID,omitempty"`
	// "pkce", the authorization code flow with PKCE, or "implicit", an ID token
	// by form_post.
	AuthMethod string `yaml:"authMethod,omitempty" jsonschema:"enum=pkce,enum=implicit,default=pkce"`
	// What to ask for. It must hold openid. Add offline_access where the provider
	// needs it for a refresh token.
	Scopes []string `yaml:"scopes,omitempty" jsonschema:"default=openid,default=profile,default=email,uniqueItems=true"`
	// Asks the provider to show a page: login, consent, select_account or none.
	Prompt string `yaml:"prompt,omitempty"`
	// Whom to suggest at the provider. A sign-in link's login_hint goes before it.
	LoginHint string `yaml:"loginHint,omitempty"`
	// The longest time since the person last proved themselves at the provider. 0 means any.
	MaxAge Duration `yaml:"maxAge,omitempty"`
	// How strongly the person must prove themselves: the answer's acr must be one of these.
	ACRValues []string `yaml:"acrValues,omitempty" jsonschema:"uniqueItems=true"`
	// Further parameters of the authorization request, for instance hd or resource.
	AuthParams map[string]string `yaml:"authParams,omitempty"`
	// Which claims say what.
	Claims Claims `yaml:"claims,omitempty"`
	// When to ask the userinfo endpoint: "auto", if a claim that is needed is not
	// in the ID token, "always" or "never".
	Userinfo string `yaml:"userinfo,omitempty" jsonschema:"enum=auto,enum=always,enum=never,default=auto"`
	// Put before every subject of this route. With several routes each must have
	// its own, so that two providers can't name the same person; one may go without.
	SubjectPrefix string `yaml:"subjectPrefix,omitempty" jsonschema:"pattern=^[A-Za-z0-9._-]*[:|]?$"`
	// Counts an e-mail address even if the provider does not say that it is
	// verified. Only for a provider whose people can't choose their address.
	TrustUnverifiedEmail bool `yaml:"trustUnverifiedEmail,omitempty"`
	// Lets in only people whose verified address is in one of these domains.
	// "*.example.com" stands for every domain below example.com.
	AllowedEmailDomains []string `yaml:"allowedEmailDomains,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Lets in only people in at least one of these groups.
	AllowedGroups []string `yaml:"allowedGroups,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// What to do when the provider says that there are too many groups to list
	// (Entra's overage): "refuse" the sign-in, or go on with "none".
	GroupsOverage string `yaml:"groupsOverage,omitempty" jsonschema:"enum=refuse,enum=none,default=refuse"`
	// Further audiences that may stand beside the client id in an ID token.
	ExtraAudiences []string `yaml:"extraAudiences,omitempty" jsonschema:"uniqueItems=true"`
	// The signature algorithms to accept. Without it, the asymmetric ones that
	// the provider says it uses.
	SigningAlgorithms []string `yaml:"signingAlgorithms,omitempty" jsonschema:"uniqueItems=true"`
	// How far the provider's clock may be off.
	ClockSkew Duration `yaml:"clockSkew,omitempty" jsonschema:"default=1m"`
	// How to speak TLS to the provider.
	TLS ClientTLS `yaml:"tls,omitempty"`
}

// Claims says which claim is what. A value is a claim's exact name
// ("cognito:groups", "https://example.com/groups") or else a path into nested
// claims ("realm_access.roles").
type Claims struct {
	// What names a person for ever.
	Subject string `yaml:"subject,omitempty" jsonschema:"default=sub"`
	// The name that people type.
	Username string `yaml:"username,omitempty" jsonschema:"default=preferred_username"`
	// The full name.
	Name string `yaml:"name,omitempty" jsonschema:"default=name"`
	// The e-mail address.
	Email string `yaml:"email,omitempty" jsonschema:"default=email"`
	// Whether the address is verified.
	EmailVerified string `yaml:"emailVerified,omitempty" jsonschema:"default=email_verified"`
	// The groups: a list of strings.
	Groups string `yaml:"groups,omitempty" jsonschema:"default=groups"`
}

// Session is how long a sign-in lasts, and its cookie.
type Session struct {
	// The longest that a sign-in lasts, whatever happens.
	Lifetime Duration `yaml:"lifetime,omitempty" jsonschema:"default=168h"`
	// How long a sign-in lasts when it is not used.
	IdleTimeout Duration `yaml:"idleTimeout,omitempty" jsonschema:"default=24h"`
	// How long a session goes on after its proof has expired while the provider
	// can't be reached. After that, 503 until it can.
	OutageGrace Duration `yaml:"outageGrace,omitempty" jsonschema:"default=1h"`
	// The session cookie.
	Cookie Cookie `yaml:"cookie,omitempty"`
	// The keys that sign cookies, newest first, each at least 32 random bytes
	// (make one with: openssl rand -base64 32). The first signs; all are
	// accepted, so a rotation logs nobody out. Needed with Redis.
	Keys []Secret `yaml:"keys,omitempty"`
	// A file that holds the keys, one a line, newest first.
	KeysFile string `yaml:"keysFile,omitempty"`
}

// Cookie is the session cookie.
type Cookie struct {
	// Its name. "__Host-" is put before it, or "__Secure-" when there is a domain.
	Name string `yaml:"name,omitempty" jsonschema:"default=gatehouse,pattern=^[A-Za-z0-9_.-]+$"`
	// The domain whose hosts share a sign-in. Without it, the host of publicURL alone.
	Domain string `yaml:"domain,omitempty"`
}

// Store is where sessions live.
type Store struct {
	// A Redis (or Valkey) server, for sessions that survive restarts and are
	// shared by replicas.
	Redis *Redis `yaml:"redis,omitempty"`
}

// Redis is a Redis (or Valkey) server.
type Redis struct {
	// Its URL: redis://host:6379/0, or rediss:// for TLS.
	URL string `yaml:"url" jsonschema:"required"`
	// The ACL user name.
	Username string `yaml:"username,omitempty"`
	// The password.
	Password Secret `yaml:"password,omitempty"`
	// A file that holds the password.
	PasswordFile string `yaml:"passwordFile,omitempty"`
	// Put before every key.
	KeyPrefix string `yaml:"keyPrefix,omitempty" jsonschema:"default=gatehouse:"`
	// How long one command may take.
	Timeout Duration `yaml:"timeout,omitempty" jsonschema:"default=2s"`
	// How to speak TLS to it, for a rediss url.
	TLS ClientTLS `yaml:"tls,omitempty"`
}

// Headers is the identity headers that upstreams receive.
type Headers struct {
	// The headers and what each is made from. Without it, the default contract:
	// X-Forwarded-User (subject), -Email, -Preferred-Username, -Groups and
	// X-Gatehouse-Subject, -Issuer, -Route.
	Identity []Header `yaml:"identity,omitempty" jsonschema:"minItems=1"`
	// What stands between groups in one header.
	GroupSeparator string `yaml:"groupSeparator,omitempty" jsonschema:"enum=\\,,enum=|,enum=;,default=\\,"`
	// The most bytes that the identity headers may take together. Somebody with
	// more groups than fit is refused, never shown with fewer.
	MaxSize Size `yaml:"maxSize,omitempty" jsonschema:"default=16KiB"`
	// Further header names that no client may send to an upstream.
	Scrub []string `yaml:"scrub,omitempty" jsonschema:"uniqueItems=true"`
}

// Header is one identity header.
type Header struct {
	// The header's name.
	Name string `yaml:"name" jsonschema:"required"`
	// What it is made from.
	From string `yaml:"from" jsonschema:"required,enum=subject,enum=username,enum=name,enum=email,enum=groups,enum=issuer,enum=route,enum=kind"`
}

// Paths is the gateway's own paths on every host.
type Paths struct {
	// Where providers send people back to. With several OIDC routes this is the
	// first one's; every other has its name added: /oidc/callback/NAME.
	Callback string `yaml:"callback,omitempty" jsonschema:"default=/oidc/callback"`
	// Where people sign out.
	SignOut string `yaml:"signOut,omitempty" jsonschema:"default=/logout"`
	// What the gateway's own pages are below.
	Prefix string `yaml:"prefix,omitempty" jsonschema:"default=/.gatehouse"`
}

// Pages is how the gateway's own pages look.
type Pages struct {
	// The name of the place people sign in to.
	Name string `yaml:"name,omitempty" jsonschema:"default=Gatehouse"`
	// An image to show above it: SVG, PNG, JPEG or WebP of at most 256 KiB.
	LogoFile string `yaml:"logoFile,omitempty"`
	// The colour of buttons, as #rrggbb.
	Colour string `yaml:"colour,omitempty" jsonschema:"default=#1f5fbf,pattern=^#[0-9a-fA-F]{6}$"`
	// Whom to ask for help: an e-mail address or an https link.
	Contact string `yaml:"contact,omitempty"`
	// Where people land after they signed out. Without it, the "signed out" page.
	SignedOutURL string `yaml:"signedOutURL,omitempty"`
}

// Log is what is logged, and how.
type Log struct {
	// The least important lines to write.
	Level string `yaml:"level,omitempty" jsonschema:"enum=debug,enum=info,enum=warn,enum=error,default=info"`
	// One JSON object a line, or text for people.
	Format string `yaml:"format,omitempty" jsonschema:"enum=json,enum=text,default=json"`
	// Leaves out the line for each request.
	NoAccess bool `yaml:"noAccess,omitempty"`
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

// Owns says whether path, decoded, is one of the gateway's own.
func (p Paths) Owns(path string) bool {
	return path == p.SignOut || path == p.Prefix || strings.HasPrefix(path, p.Prefix+"/") ||
		path == p.Callback || strings.HasPrefix(path, p.Callback+"/")
}
