// Package oidc is sign-in at an OpenID provider: the authorization code flow
// with PKCE, or the implicit flow by form_post; renewal by refresh token; the way
// to the provider's own sign-out; and the sign-outs that the provider tells of.
//
// It relies on go-oidc for discovery, on x/oauth2 for the token endpoint and on
// go-jose for signatures. What a provider says is believed only as far as the
// checks in verify.go go, and those are stricter than OpenID Connect Core asks:
// the issuer is compared byte for byte, symmetric and missing signatures are
// refused in every flow, a nonce is required in every flow, PKCE is always S256,
// documents with duplicate names are refused, and no redirect of the provider's
// endpoints is followed.
//
// An attempt to sign in lives in a sealed cookie of the browser that began it,
// so that nothing is stored for somebody who never comes back. The only write
// before a session is the mark that makes an attempt usable once.
//
// A provider that has signed somebody out says so by a logout token, from server
// to server, or in a frame of its own page. Both end what they name exactly, at
// this issuer, and nothing at all if they name nobody.
//
// The package never fetches anything that a token names (jku, x5u, claim
// sources), never maps one person to another by e-mail address, and never says
// to a person what only the log may know.
package oidc

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
	"gatehouse/authn/page"
	"gatehouse/config"
	"gatehouse/session"
)

// Deps is what a route needs of the house around it.
type Deps struct {
	// PublicURL is where browsers reach the gateway. Redirect URIs are made from
	// it and never from a request.
	PublicURL *url.URL
	// Prefix is what the gateway's own pages are below.
	Prefix string
	// CallbackPath is where the provider sends people back to. Each route needs
	// its own (RFC 9700, section 4.4.2).
	CallbackPath string
	// SignOutPath is where the gateway signs people out. The provider sends them
	// back there when it has signed them out too; it is what a W&B server has
	// registered already.
	SignOutPath string
	// ForeignPrefixes are the subject prefixes of all other routes. A subject
	// that begins with one of them is refused.
	ForeignPrefixes []string
	// Claims are those that the policy asks for, beside what the settings map.
	Claims   []string
	Cookie   session.Cookie
	Keys     session.Keyring
	Store    session.Store
	Sessions session.Starter
	// Ender ends sessions when the provider says so.
	Ender    Ender
	Landings authn.Landings
	Pages    *page.Pages
	// Audit is told of sign-ins that are refused; nil tells nobody.
	Audit audit.Trail
	// Calls is told of what the provider is asked, and Signed of sign-ins.
	Calls  meter.Calls
	Signed authn.Signed
	Log    *slog.Logger
}

// relying is one route: this gateway as a relying party of one provider.
type relying struct {
	Deps
	name        string
	settings    config.OIDC
	redirectURI string
	sealer      session.Sealer
	client      *http.Client
	provider    *provider
	mapping     mapping
	admission   authn.Admission
	assertion   *issuer.Assertion // nil unless the client authenticates by privateKeyJWT
	pushing     chan struct{}     // one for each authorization request that is being pushed
}

// New makes the route that signs people in at the provider of c. It opens no
// connection: the provider may be down. Its errors are faults of the settings.
func New(name, label string, c config.OIDC, d Deps) (authn.Route, error) {
	t, err := c.TLS.Load()
	if err != nil {
		return authn.Route{}, fmt.Errorf("oidc: route %s: %w", name, err)
	}
	o, err := newRelying(name, c, d, issuer.NewClient(t, d.Calls))
	if err != nil {
		return authn.Route{}, fmt.Errorf("oidc: route %s: %w", name, err)
	}
	return o.route(label), nil
}

func newRelying(name string, c config.OIDC, d Deps, client *http.Client) (*relying, error) {
	c = withDefaults(c)
	if err := validate(c); err != nil {
		return nil, err
	}
	key, err := newAssertion(c)
	if err != nil {
		return nil, err
	}
	d.Log = d.Log.With("route", name)
	return &relying{
		Deps:        d,
		name:        name,
		settings:    c,
		redirectURI: strings.TrimSuffix(d.PublicURL.String(), "/") + d.CallbackPath,
		sealer:      d.Keys.Sealer("oidc attempt"),
		client:      client,
		provider:    newProvider(c, client, d.Log),
		mapping:     newMapping(name, c, d.ForeignPrefixes, d.Claims),
		admission:   authn.NewAdmission(c.AllowedEmailDomains, c.AllowedGroups, false),
		assertion:   key,
		pushing:     make(chan struct{}, pushesAtOnce),
	}, nil
}

func (o *relying) route(label string) authn.Route {
	if label == "" {
		label = o.name
	}
	back, front := LogoutPaths(o.Prefix, o.name)
	return authn.Route{
		Name:       o.name,
		Issuer:     o.settings.Issuer,
		Label:      label,
		SignInPath: o.signInPath(),
		Mount: func(mux *http.ServeMux) {
			mux.HandleFunc(o.signInPath(), page.Quiet(o.start))
			mux.HandleFunc(o.CallbackPath, page.Quiet(o.callback))
			mux.HandleFunc(back, page.Quiet(o.backChannel))
			mux.HandleFunc(front, page.Quiet(o.frontChannel))
		},
		Renew:        o.renew,
		SignOutURL:   o.signOutURL,
		Revoke:       o.revoke,
		FrontChannel: page.Quiet(o.frontChannel),
		Allow:        o.admission.Allow,
		Ready:        o.provider.ready,
	}
}

func (o *relying) signInPath() string { return o.Prefix + "/sign-in/" + o.name }

// signInURL is a link that begins a new attempt.
func (o *relying) signInURL(landing string, extra ...string) string {
	q := url.Values{}
	if landing != "" && landing != "/" {
		q.Set("rd", landing)
	}
	for i := 0; i+1 < len(extra); i += 2 {
		q.Set(extra[i], extra[i+1])
	}
	if len(q) == 0 {
		return o.signInPath()
	}
	return o.signInPath() + "?" + q.Encode()
}

// implicit says whether the provider hands the ID token to the browser.
func (o *relying) implicit() bool { return o.settings.AuthMethod == "implicit" }

// oauth is the client as x/oauth2 sees it, at the endpoints of m.
func (o *relying) oauth(m *metadata) *oauth2.Config {
	style := oauth2.AuthStyleInParams
	if o.settings.ClientAuth == "basic" {
		style = oauth2.AuthStyleInHeader // form-encoded by x/oauth2 (RFC 6749, section 2.3.1)
	}
	c := &oauth2.Config{
		ClientID:    o.settings.ClientID,
		RedirectURL: o.redirectURI,
		Scopes:      o.settings.Scopes,
		Endpoint:    oauth2.Endpoint{AuthURL: m.AuthorizationEndpoint, TokenURL: m.TokenEndpoint, AuthStyle: style},
	}
	if a := o.settings.ClientAuth; a == "basic" || a == "post" {
		c.ClientSecret = o.settings.ClientSecret.Reveal()
	}
	return c
}

// withDefaults fills what a setting says by being left out.
func withDefaults(c config.OIDC) config.OIDC {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.AuthMethod, "pkce")
	def(&c.Userinfo, "auto")
	def(&c.PushedAuthorization, "auto")
	def(&c.GroupsOverage, "refuse")
	def(&c.Claims.Subject, "sub")
	def(&c.Claims.Username, "preferred_username")
	def(&c.Claims.Name, "name")
	def(&c.Claims.Email, "email")
	def(&c.Claims.EmailVerified, "email_verified")
	def(&c.Claims.Groups, "groups")
	switch {
	case c.ClientSecret != "":
		def(&c.ClientAuth, "basic")
	case c.ClientKeyFile != "":
		def(&c.ClientAuth, "privateKeyJWT")
	default:
		def(&c.ClientAuth, "none")
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "profile", "email"}
	}
	if c.ClockSkew == 0 {
		c.ClockSkew = config.Duration(time.Minute)
	}
	return c
}

// validate refuses settings that no sign-in could be safe with.
func validate(c config.OIDC) error {
	if _, err := issuer.Parse(c.Issuer); err != nil {
		return err
	}
	if c.ClientID == "" {
		return errors.New("clientID is missing")
	}
	if !slices.Contains(c.Scopes, "openid") {
		return errors.New(`scopes: "openid" is missing`)
	}
	if a := c.ClientAuth; (a == "basic" || a == "post") && c.ClientSecret == "" {
		return fmt.Errorf("clientAuth: %q needs a clientSecret", a)
	}
	for _, alg := range c.SigningAlgorithms {
		if !slices.Contains(issuer.Algorithms(), alg) {
			return fmt.Errorf("signingAlgorithms: %q is not one of %s", alg, strings.Join(issuer.Algorithms(), ", "))
		}
	}
	return nil
}
