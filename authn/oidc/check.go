package oidc

import (
	"context"
	"crypto/x509"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	upstream "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// advertised is what a provider says that it can do. None of it is needed to
// sign in, and some providers say too little.
type advertised struct {
	Scopes        []string `json:"scopes_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	ResponseModes []string `json:"response_modes_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	ClientAuth    []string `json:"token_endpoint_auth_methods_supported"`
	Claims        []string `json:"claims_supported"`
	EndSession    string   `json:"end_session_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	BackChannel   bool     `json:"backchannel_logout_supported"`
	FrontChannel  bool     `json:"frontchannel_logout_supported"`
}

// Addresses are the gateway's own, to be registered at the provider.
type Addresses struct {
	// Redirect is where the provider sends people back to.
	Redirect string
	// SignedOut is where it sends people back to whom it has signed out for the gateway.
	SignedOut string
	// BackChannel and FrontChannel are where it says that it has signed them out.
	BackChannel, FrontChannel string
}

// checker gathers findings about one provider.
type checker struct {
	settings config.OIDC
	here     Addresses
	client   *http.Client
	findings []authn.Finding
}

func (k *checker) good(what, detail string) {
	k.findings = append(k.findings, authn.Finding{OK: true, What: what, Detail: detail})
}

func (k *checker) bad(what, detail, fix string) {
	k.findings = append(k.findings, authn.Finding{What: what, Detail: detail, Fix: fix})
}

// Check looks at whether people could sign in at the provider of c with these
// addresses: it asks for metadata and keys, compares what the provider says
// that it supports with what the settings need, and tries the client's
// credentials with a code that is none. Nobody is signed in.
func Check(ctx context.Context, c config.OIDC, here Addresses) []authn.Finding {
	k := &checker{settings: withDefaults(c), here: here}
	if err := validate(k.settings); err != nil {
		k.bad("settings", err.Error(), "correct this setting")
		return k.findings
	}
	t, err := c.TLS.Load()
	if err != nil {
		k.bad("TLS settings", err.Error(), "name a file that can be read and holds PEM")
		return k.findings
	}
	k.client = issuer.NewClient(t, nil)
	k.checkRedirect()
	m, says, ok := k.checkDiscovery(ctx)
	if !ok {
		return k.findings
	}
	k.checkClock(ctx)
	k.checkKeys(ctx, m)
	k.checkFlow(says)
	k.checkAsked(says)
	k.checkClient(ctx, m, says)
	return k.findings
}

func (k *checker) checkRedirect() {
	const what = "redirect URI"
	u, err := url.Parse(k.here.Redirect)
	switch {
	case err != nil || u.Hostname() == "" || u.Path == "" || u.Path == "/" || u.RawQuery != "" || u.Fragment != "":
		k.bad(what, fmt.Sprintf("%q is not a URL with a path", k.here.Redirect), "set publicURL and paths.callback")
	case u.Scheme != "https" && !issuer.Loopback(u):
		k.bad(what, k.here.Redirect+" is not https", "set publicURL to the https address that browsers use")
	default:
		k.good(what, k.here.Redirect+" (register exactly this at the provider)")
	}
}

func (k *checker) checkDiscovery(ctx context.Context) (*metadata, advertised, bool) {
	const what = "discovery"
	var says advertised
	text, err := fetchDocument(ctx, k.settings.Issuer, k.client)
	if err != nil {
		k.bad(what, authn.Bounded(err.Error()), adviceOnDiscovery(k.settings.Issuer, err))
		return nil, says, false
	}
	m := &metadata{}
	if err = json.Unmarshal(text, m); err == nil {
		err = m.check(k.settings)
	}
	if err == nil {
		err = json.Unmarshal(text, &says)
	}
	if err != nil {
		k.bad(what, authn.Bounded(err.Error()), "have the provider's metadata corrected; sign-in refuses it as it is")
		return nil, says, false
	}
	k.good(what, "the issuer is spelled as in the settings")
	return m, says, true
}

// adviceOnDiscovery knows the ways in which issuers are commonly got wrong.
func adviceOnDiscovery(issuer string, err error) string {
	var mismatch *upstream.IssuerMismatchError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &mismatch):
		return adviceOnIssuer(mismatch.Provided, mismatch.Discovered)
	case errors.As(err, &authority):
		return "name the provider's certificate authority in tls.caFile"
	case strings.Contains(issuer, ".amazoncognito.com"):
		return "use https://cognito-idp.REGION.amazonaws.com/POOL_ID as issuer; the sign-in domain has no metadata"
	case strings.Contains(issuer, "/.well-known/"):
		return "leave /.well-known/openid-configuration out of issuer"
	}
	return "check that " + strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration can be opened from here"
}

// adviceOnIssuer explains why the discovery document names another issuer.
func adviceOnIssuer(want, got string) string {
	entra := strings.Contains(got, "login.microsoftonline.com") || strings.Contains(got, "sts.windows.net")
	switch {
	case strings.TrimSuffix(want, "/") == strings.TrimSuffix(got, "/"):
		return "the trailing slash counts: set issuer to " + authn.Bounded(got)
	case entra && strings.Contains(got, "{tenantid}"):
		return "use your tenant's id in place of common or organizations: https://login.microsoftonline.com/TENANT_ID/v2.0"
	case entra:
		return "Entra ID has two kinds of issuer; use https://login.microsoftonline.com/TENANT_ID/v2.0 with the tenant's id"
	case strings.EqualFold(want, got):
		return "upper and lower case count: set issuer to " + authn.Bounded(got)
	}
	if got == "" {
		return "what answers there is no OpenID provider's discovery document; check issuer"
	}
	return fmt.Sprintf("if %s is the provider you mean, set issuer to it", authn.Bounded(got))
}

// checkClock compares clocks by the answer's Date, which is a second coarse.
func (k *checker) checkClock(ctx context.Context) {
	const what = "clock"
	well := strings.TrimSuffix(k.settings.Issuer, "/") + "/.well-known/openid-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, well, nil)
	if err != nil {
		return
	}
	asked := time.Now()
	resp, err := k.client.Do(req)
	if err != nil {
		return // discovery worked a moment ago
	}
	defer resp.Body.Close()
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		k.good(what, "the provider does not tell its time")
		return
	}
	off := theirs.Sub(asked.Add(time.Since(asked) / 2)).Round(time.Second)
	skew := k.settings.ClockSkew.Std()
	if off.Abs() > skew {
		k.bad(what, fmt.Sprintf("the provider's clock is off by %s; %s is allowed", off, skew),
			"set this machine's clock by NTP, or raise clockSkew")
		return
	}
	k.good(what, fmt.Sprintf("within %s of the provider's", off.Abs()+time.Second))
}

func (k *checker) checkKeys(ctx context.Context, m *metadata) {
	keys, err := issuer.FetchKeys(ctx, m.JWKSURI, "", k.client)
	if err != nil {
		k.bad("signing keys", authn.Bounded(err.Error()), "check that "+authn.Bounded(m.JWKSURI)+" can be opened from here")
		return
	}
	k.good("signing keys", fmt.Sprintf("%d usable", len(keys)))
	algs := m.algorithms(k.settings)
	k.good("signature algorithms", "accepted: "+strings.Join(algs, ", "))
	for _, alg := range k.settings.SigningAlgorithms {
		if len(m.SigningAlgorithms) > 0 && !slices.Contains(m.SigningAlgorithms, alg) {
			k.bad("signature algorithms", "the provider does not use "+alg,
				"set signingAlgorithms to some of "+authn.Bounded(strings.Join(m.SigningAlgorithms, ", "))+", or leave it out")
		}
	}
}

// checkFlow: can the provider do what authMethod needs?
func (k *checker) checkFlow(says advertised) {
	flow, mode := "code", "query"
	if k.settings.AuthMethod == "implicit" {
		flow, mode = "id_token", "form_post"
	}
	modes := says.ResponseModes
	if len(modes) == 0 {
		modes = []string{"query", "fragment"} // the default (OpenID Connect Discovery, section 3)
	}
	switch {
	case len(says.ResponseTypes) > 0 && !slices.Contains(says.ResponseTypes, flow):
		k.bad("flow", "the provider does not support response type "+flow,
			"choose the other authMethod, or allow this flow at the provider")
	case !slices.Contains(modes, mode) && mode != "query":
		k.bad("flow", "the provider does not say that it supports response mode "+mode,
			"set authMethod to pkce")
	default:
		k.good("flow", k.settings.AuthMethod)
	}
	if k.settings.AuthMethod == "implicit" {
		return
	}
	switch {
	case slices.Contains(says.Challenges, "S256"):
		k.good("PKCE", "S256 is supported")
	case len(says.Challenges) == 0:
		k.good("PKCE", "the provider does not say; S256 is sent all the same")
	default:
		k.bad("PKCE", "the provider says that it supports "+authn.Bounded(strings.Join(says.Challenges, ", "))+" only",
			"have S256 turned on at the provider; nothing weaker is ever sent")
	}
}

// checkAsked: scopes, claims and sign-out.
func (k *checker) checkAsked(says advertised) {
	var unknown []string
	for _, s := range k.settings.Scopes {
		if len(says.Scopes) > 0 && !slices.Contains(says.Scopes, s) {
			unknown = append(unknown, s)
		}
	}
	if len(unknown) == 0 {
		k.good("scopes", strings.Join(k.settings.Scopes, " "))
	} else { // many providers leave out the scopes of their own APIs
		k.good("scopes", "the provider does not list "+strings.Join(unknown, " ")+"; if sign-in fails with invalid_scope, leave it out")
	}
	groups := k.settings.Claims.Groups
	if len(says.Claims) > 0 && len(k.settings.AllowedGroups) > 0 && !slices.Contains(says.Claims, groups) {
		k.good("claims", fmt.Sprintf("the provider does not list %q; see that it sends it, since allowedGroups needs it", groups))
	}
	k.checkSignOut(says)
}

// checkSignOut: from here to the provider, and back.
func (k *checker) checkSignOut(says advertised) {
	to := "the provider has no sign-out of its own; people are signed out here alone"
	if says.EndSession != "" {
		to = "signs out at the provider too, which sends people back to " + k.here.SignedOut + " (register it as post-logout redirect URI)"
	}
	if says.Revocation != "" && k.settings.AuthMethod != "implicit" {
		to += "; has the refresh token revoked"
	}
	k.good("sign-out", to)
	if says.BackChannel {
		how := "register it, and who is signed out at the provider is signed out here"
		if claim := k.settings.Claims.Subject; claim != "sub" {
			how += "; have it send sid, since people are known by the claim " + claim + " and not by sub"
		}
		k.good("back-channel logout", k.here.BackChannel+" ("+how+")")
	}
	if says.FrontChannel {
		k.good("front-channel logout", k.here.FrontChannel+" (register it if the provider can't do it by the back channel)")
	}
	if !says.BackChannel && !says.FrontChannel {
		k.good("logout at provider", "the provider does not say that it tells anybody; it shows here at the next renewal")
	}
}

// authName spells a way to authenticate as metadata does.
func authName(clientAuth string) string {
	switch clientAuth {
	case "basic":
		return "client_secret_basic"
	case "post":
		return "client_secret_post"
	case "privateKeyJWT":
		return "private_key_jwt"
	}
	return "none"
}

// checkClient looks at how the gateway proves itself and tries it with a code
// that is none: a provider that minds the code has accepted the client.
func (k *checker) checkClient(ctx context.Context, m *metadata, says advertised) {
	const what = "client authentication"
	key, err := newAssertion(k.settings)
	if err != nil {
		k.bad(what, err.Error(), "name a file with an RSA, P-256 or Ed25519 private key in PEM")
		return
	}
	methods := says.ClientAuth
	if len(methods) == 0 {
		methods = []string{"client_secret_basic"} // the default (OpenID Connect Discovery, section 3)
	}
	method := authName(k.settings.ClientAuth)
	if k.settings.AuthMethod == "implicit" {
		k.good(what, "not needed for authMethod implicit")
		return
	}
	o := &relying{settings: k.settings, redirectURI: k.here.Redirect, client: k.client, assertion: key, pushing: make(chan struct{}, 1)}
	_, err = o.exchange(ctx, m, random(), random())
	var no refusal
	switch {
	case !errors.As(err, &no):
		k.bad(what, authn.Bounded(fmt.Sprint(err)), "check that "+authn.Bounded(m.TokenEndpoint)+" can be reached from here")
	case no.code == "unauthorized_client" || no.code == "invalid_client" || no.status == http.StatusUnauthorized:
		fix := "compare clientID and the secret or key with what the provider has"
		if !slices.Contains(methods, method) {
			fix = "set clientAuth to a way that the provider supports: " + authn.Bounded(strings.Join(methods, ", "))
		}
		k.bad(what, fmt.Sprintf("%s: %s", method, no), fix)
	case no.code == "invalid_grant":
		k.good(what, method+" is accepted")
		k.checkPush(ctx, o, m)
	default:
		k.good(what, fmt.Sprintf("%s: can't tell; %s", method, no))
	}
}

// checkPush hands the provider a request that nobody goes on with, if requests are to go
// there. It says whether the redirect URI is registered, which nothing else tells.
func (k *checker) checkPush(ctx context.Context, o *relying, m *metadata) {
	if !m.pushes(k.settings) {
		return
	}
	const what = "pushed authorization request"
	_, err := o.way(ctx, m, attempt{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier()}, wish{})
	if err != nil {
		k.bad(what, authn.Bounded(err.Error()), "compare the redirect URI, the scopes and the client's authentication with what the provider has")
		return
	}
	k.good(what, "is taken, with this redirect URI")
}
