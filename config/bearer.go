package config

import (
	"net/url"
	"strings"
)

// Bearer is what programs send to prove who they are: JWTs of issuers that are
// trusted, access tokens that a provider vouches for, and the tokens that the
// gateway gives out for those (RFC 7523).
type Bearer struct {
	// The issuers of tokens. A JWT is one's whose iss it names.
	Issuers []Issuer `json:"issuers" jsonschema:"required,minItems=1"`
	// The exchange of a JWT for an access token, as the W&B SDK does it.
	Exchange Exchange `json:"exchange,omitempty"`
	// What to do with an Authorization header that no route knows: "refuse" it, or
	// "ignore" it and go on as if it were not there, for an application that has
	// credentials of its own in it.
	Unknown string `json:"unknown" jsonschema:"enum=refuse,enum=ignore,default=refuse"`
	// How long what a token has proved counts.
	Cache TokenCache `json:"cache,omitempty"`
}

// Issuer is one issuer of tokens.
type Issuer struct {
	// The issuer, exactly as the iss claim of its tokens spells it.
	Issuer string `json:"issuer" jsonschema:"required"`
	// What is known of an issuer: "wandb", identity federation as the W&B server
	// does it (sub is the person's e-mail address or a registered service
	// account; aud is wandb or the name of one of teams, unless audiences names
	// others, for instance the organization), or "kubernetes", the service
	// accounts of a cluster.
	Preset string `json:"preset,omitempty" jsonschema:"enum=wandb,enum=kubernetes"`
	// Where its keys are (a JWK set). Without it, they are found by discovery, at
	// ISSUER/.well-known/openid-configuration or oidc-configuration.
	JWKSURL string `json:"jwksURL,omitempty"`
	// A file that holds its keys instead: a JWK set, or public keys or
	// certificates in PEM.
	KeyFile string `json:"keyFile,omitempty"`
	// A file that holds a token to ask for the keys with, for an issuer that tells
	// them to nobody else, as some Kubernetes API servers. It is read each time.
	TokenFile string `json:"tokenFile,omitempty"`
	// Whom tokens must be made for: aud must hold one of these.
	Audiences []string `json:"audiences,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Takes tokens made for anybody. A token that the issuer's people send to any
	// other place is then good here too.
	SkipAudienceValidation bool `json:"skipAudienceValidation,omitempty"`
	// The signature algorithms to accept.
	SigningAlgorithms []string `json:"signingAlgorithms" jsonschema:"uniqueItems=true,minItems=1,enum=RS256,enum=RS384,enum=RS512,enum=PS256,enum=PS384,enum=PS512,enum=ES256,enum=ES384,enum=ES512,enum=EdDSA,default=RS256,default=ES256,default=EdDSA"`
	// The kinds of token to accept, as the header's typ has them; "none" stands
	// for a token without. An ID token has none or JWT, an access token of
	// RFC 9068 has at+jwt.
	Types []string `json:"types" jsonschema:"uniqueItems=true,minItems=1,default=JWT,default=at+jwt,default=none"`
	// Further claims that a token must have.
	RequiredClaims []RequiredClaim `json:"requiredClaims,omitempty"`
	// Which claims say what.
	Claims Claims `json:"claims,omitempty"`
	// Counts an e-mail address if the token does not say whether it is verified.
	TrustUnverifiedEmail bool `json:"trustUnverifiedEmail,omitempty"`
	// What its subjects are, but for registered service accounts: "person" or "service".
	Kind string `json:"kind" jsonschema:"enum=person,enum=service,default=person"`
	// Put before every subject of this issuer. It must be its own, but for an OIDC
	// route of the same issuer, whose people are the same.
	SubjectPrefix string `json:"subjectPrefix,omitempty" jsonschema:"pattern=^[A-Za-z0-9._-]*[:|]?$"`
	// Lets in only who has a verified address in one of these domains. Service
	// accounts need none.
	AllowedEmailDomains []string `json:"allowedEmailDomains,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Lets in only who is in at least one of these groups. Service accounts need none.
	AllowedGroups []string `json:"allowedGroups,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// How far the issuer's clock may be off.
	ClockSkew Duration `json:"clockSkew" jsonschema:"default=1m"`
	// The longest that a token may be valid for, from iat (or now) to exp. 0s means any.
	MaxLifetime Duration `json:"maxLifetime" jsonschema:"default=24h"`
	// The shortest time between two questions for keys that a token names and
	// that are not known.
	KeysInterval Duration `json:"keysInterval" jsonschema:"default=10s"`
	// Asks the issuer about tokens that are no JWTs (RFC 7662).
	Introspection *Introspection `json:"introspection,omitempty"`
	// How to speak TLS to the issuer.
	TLS ClientTLS `json:"tls,omitempty"`
}

// RequiredClaim is a claim that a token must have.
type RequiredClaim struct {
	// The claim's name, or a path to it.
	Claim string `json:"claim" jsonschema:"required"`
	// What it may be: text that is one of these, or a list that holds one. Without
	// any, whatever is not empty.
	Values []string `json:"values,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
}

// Introspection is how to ask an issuer about an opaque token.
type Introspection struct {
	// Where to ask. Without it, what discovery says.
	URL string `json:"url,omitempty"`
	// What this issuer's tokens begin with. Needed but for one issuer, so that a
	// token is shown to nobody but who made it.
	TokenPrefix string `json:"tokenPrefix,omitempty" jsonschema:"pattern=^[A-Za-z0-9._~+/-]*$"`
	// The client id that the provider gave to the gateway.
	ClientID string `json:"clientID" jsonschema:"required"`
	// The client secret.
	ClientSecret Secret `json:"clientSecret,omitempty"`
	// A file that holds the client secret.
	ClientSecretFile string `json:"clientSecretFile,omitempty"`
	// How the gateway proves itself: "basic", "post" or "privateKeyJWT". Without
	// it, basic if there is a secret, privateKeyJWT if there is a key.
	ClientAuth string `json:"clientAuth,omitempty" jsonschema:"enum=basic,enum=post,enum=privateKeyJWT"`
	// The private key for privateKeyJWT (RFC 7523), in PEM: RSA, P-256 or Ed25519.
	ClientKeyFile string `json:"clientKeyFile,omitempty"`
	// The key id that the provider knows the key by.
	ClientKeyID string `json:"clientKeyID,omitempty"`
}

// Exchange is the token endpoint, paths.token.
type Exchange struct {
	// Leaves the token endpoint to the application.
	Disabled bool `json:"disabled,omitempty"`
	// How long an access token is good. The W&B SDK asks for another five
	// minutes before its end.
	Lifetime Duration `json:"lifetime" jsonschema:"default=1h"`
	// What to do with a JWT that was exchanged before: "allow" it, as clients need
	// that read one from a file for as long as it is valid, or "refuse" it and any
	// without a jti.
	Replay string `json:"replay" jsonschema:"enum=allow,enum=refuse,default=allow"`
}

// TokenCache is how long what a credential has proved counts without looking
// again, in this process and, where that is slower than a question to it, in
// the store.
type TokenCache struct {
	// The longest that a proof counts. It never outlives the credential.
	Lifetime Duration `json:"lifetime" jsonschema:"default=1m"`
	// How long a refusal counts.
	RejectedLifetime Duration `json:"rejectedLifetime" jsonschema:"default=5s"`
	// How many proofs are kept in this process, and as many refusals.
	Size int `json:"size" jsonschema:"default=10000,minimum=100,maximum=1000000"`
}

// APIKey is API keys: those of service accounts, made by "gatehouse key", and
// those that the application gave to its people.
type APIKey struct {
	// What to do with the application's own keys: "pass" them on, to be judged by
	// the application, with no identity; "verify" them there and go on as who they
	// belong to; or "refuse" them.
	Application string `json:"application" jsonschema:"required,enum=pass,enum=verify,enum=refuse"`
	// The names of the upstreams that know these keys. They alone get them, and
	// the first is asked, for verify. Needed if there are several that are not
	// public as a whole.
	Upstreams []string `json:"upstreams,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Put before the subjects of verified keys' owners.
	SubjectPrefix string `json:"subjectPrefix" jsonschema:"pattern=^[A-Za-z0-9._-]*[:|]?$,default=wandb:"`
	// Lets in only owners whose address is in one of these domains.
	AllowedEmailDomains []string `json:"allowedEmailDomains,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Lets in only owners that are in one of these teams.
	AllowedGroups []string `json:"allowedGroups,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// How long what a key has proved counts.
	Cache TokenCache `json:"cache,omitempty"`
}

// clusterFiles is where a program in a Kubernetes cluster finds its own.
const clusterFiles = "/var/run/secrets/kubernetes.io/serviceaccount/"

// WithPreset returns the issuer with what its preset says where the settings
// say nothing: for wandb the audiences wandb and the names of all teams, and sub
// as the e-mail address and the user name; for kubernetes that subjects are
// services, and in a cluster its own certificate and token to ask with.
func (i Issuer) WithPreset(teams []Team) Issuer {
	switch i.Preset {
	case "wandb":
		if len(i.Audiences) == 0 && !i.SkipAudienceValidation {
			i.Audiences = []string{"wandb"}
			for _, t := range teams {
				if t.Name != "wandb" && t.Name != "*" {
					i.Audiences = append(i.Audiences, t.Name)
				}
			}
		}
		if i.Claims.Email == "email" {
			i.Claims.Email, i.TrustUnverifiedEmail = i.Claims.Subject, true
		}
		if i.Claims.Username == "preferred_username" {
			i.Claims.Username = i.Claims.Subject
		}
	case "kubernetes":
		i.Kind = "service"
		if i.inCluster() && i.KeyFile == "" && i.JWKSURL == "" {
			if i.TokenFile == "" {
				i.TokenFile = clusterFiles + "token"
			}
			if i.TLS.CAFile == "" {
				i.TLS.CAFile = clusterFiles + "ca.crt"
			}
		}
	}
	return i
}

// inCluster says whether the issuer is the API server of the cluster around us.
func (i Issuer) inCluster() bool {
	u, err := url.Parse(i.Issuer)
	return err == nil && u.Scheme == "https" && (u.Hostname() == "kubernetes.default.svc" || strings.HasPrefix(u.Hostname(), "kubernetes.default.svc.cluster."))
}

// bearer returns the bearer settings, nil if there are none. There is one such
// route at most.
func (c Config) bearer() *Bearer {
	for _, r := range c.Authn {
		if r.Bearer != nil {
			return r.Bearer
		}
	}
	return nil
}
