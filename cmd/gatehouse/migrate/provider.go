package migrate

import (
	"net/url"
	"slices"
	"strings"
)

// provider is what is known of one of oauth2-proxy's providers.
type provider struct {
	name  string
	route string // authn[].name
	// issuer is its issuer, where there is one for all.
	issuer string
	scopes string // that oauth2-proxy asks for by itself
	// impossible says why there is no sign-in by OpenID Connect.
	impossible string
	says       string
}

func providers() []provider {
	const usual = "openid email profile"
	const entra = "groups and addresses are those in the token: under \"Token configuration\" of the app registration add the claims groups and email. More than 200 groups refuse the sign-in (oidc.groupsOverage); Microsoft Graph is not asked"
	const broker = "Have a provider that speaks OpenID Connect sign people in there (Keycloak, Dex, Authentik …), and register the gateway at it"
	return []provider{
		{name: "oidc", route: "sso", scopes: usual},
		{name: "keycloak-oidc", route: "keycloak", scopes: usual},
		{name: "keycloak", route: "keycloak", scopes: usual, says: "the old provider spoke OAuth alone. Of Keycloak's client nothing changes but that its tokens must name the groups: add the mapper \"Group Membership\""},
		{name: "google", route: "google", issuer: "https://accounts.google.com", scopes: "openid email profile"},
		{name: "azure", route: "entra", scopes: "openid email profile", says: entra},
		{name: "entra-id", route: "entra", scopes: usual, says: entra},
		{name: "adfs", route: "adfs", scopes: usual},
		{name: "cidaas", route: "cidaas", scopes: usual + " roles groups", says: "groups must be a list of texts in the token; cidaas' own list of groups with roles is not looked up"},
		{name: "gitlab", route: "gitlab", issuer: "https://gitlab.com", scopes: "openid email profile"},
		{name: "login.gov", route: "login-gov", issuer: "https://secure.login.gov/", scopes: "openid email"},
		{name: "linkedin", route: "linkedin", issuer: "https://www.linkedin.com/oauth", scopes: usual, says: "the app at LinkedIn needs the product \"Sign In with LinkedIn using OpenID Connect\"; the old scopes are of no use"},
		{name: "github", route: "github", impossible: "GitHub signs people in by OAuth alone, without ID tokens. " + broker + ". Gitea and Forgejo, which are used by this name too, speak OpenID Connect themselves: their issuer is their address"},
		{name: "bitbucket", route: "bitbucket", impossible: "Bitbucket signs people in by OAuth alone, without ID tokens. " + broker},
		{name: "digitalocean", route: "digitalocean", impossible: "DigitalOcean signs people in by OAuth alone, without ID tokens. " + broker},
		{name: "facebook", route: "facebook", impossible: "Facebook gives websites no ID tokens by the code flow. " + broker},
		{name: "nextcloud", route: "nextcloud", impossible: "Nextcloud itself signs people in by OAuth alone, without ID tokens. With its app \"OIDC Identity Provider\" its address is an issuer; else: " + broker},
		{name: "sourcehut", route: "sourcehut", impossible: "SourceHut signs people in by OAuth alone, without ID tokens. " + broker},
	}
}

func (t *translation) provider() (provider, bool) {
	all := providers()
	i := slices.IndexFunc(all, func(p provider) bool { return p.name == t.value("provider") })
	if i < 0 {
		var names []string
		for _, p := range all {
			names = append(names, p.name)
		}
		t.fault(t.about("provider"), "oauth2-proxy has no such provider", "use one of "+strings.Join(names, ", ")+"; Okta, Auth0, Dex and the like are oidc")
		return provider{}, false
	}
	return all[i], true
}

func (t *translation) authn() {
	p, ok := t.provider()
	if !ok {
		return
	}
	if p.says != "" {
		t.note(Different, "provider", p.says)
	}
	issuer := t.issuer(p)
	t.admission(p)
	const at = "authn[0].oidc."
	oidc := []node{issuer, t.clientID(p)}
	oidc = append(oidc, t.client(p, at)...)
	oidc = append(oidc, t.asked(p)...)
	oidc = append(oidc, t.trusted(at)...)
	t.claims = t.claimed()
	oidc = append(oidc, node{key: "claims", value: t.claims})
	oidc = append(oidc, t.admitted()...)
	routes := [][]node{{
		{key: "name", value: p.route},
		{key: "label", value: t.text("provider-display-name")},
		{key: "oidc", value: oidc},
	}}
	if t.isOn("skip-jwt-bearer-tokens") {
		routes = append(routes, t.bearer(issuer))
	} else if t.has("extra-jwt-issuers") {
		t.note(Moot, "extra-jwt-issuers", "without --skip-jwt-bearer-tokens it has no effect")
	}
	t.put(node{key: "authn", value: routes})
}

const anIssuer = "https://login.example.com"

func (t *translation) issuer(p provider) node {
	n := node{key: "issuer", value: withoutUser(t.text("oidc-issuer-url"))}
	tenant := t.tenant()
	switch {
	case p.impossible != "":
		n.value, n.hole = anIssuer, "the issuer of a provider that speaks OpenID Connect"
		t.note(Narrower, "provider", "not possible here: "+p.impossible)
	case p.route == "entra" && tenant == "":
		n.value, n.hole = anIssuer, "https://login.microsoftonline.com/TENANT/v2.0 with the id of your tenant; for people of several tenants make a route for each"
	case p.route == "entra":
		n.value = "https://login.microsoftonline.com/" + tenant + "/v2.0"
		if given := t.text("oidc-issuer-url"); given != "" && given != n.value {
			if !strings.Contains(given, "login.microsoftonline.com/") && !strings.Contains(given, "sts.windows.net/") && tenant != "" && !strings.Contains(given, "/common/") {
				n.value = given // a national cloud
				break
			}
			n.note = "The tenant's own issuer of version 2.0, in place of " + printable(given)
		}
	case n.value == "" && p.name == "keycloak":
		if realm, _, ok := strings.Cut(t.text("login-url"), "/protocol/openid-connect/"); ok {
			n.value, n.note = realm, "The realm of --login-url."
		}
	case n.value == "" && p.name == "login.gov" && strings.Contains(t.text("login-url"), "://"):
		if u, err := url.Parse(t.text("login-url")); err == nil && u.Host != "" {
			n.value = u.Scheme + "://" + u.Host + "/"
		}
	}
	if n.value == "" && n.hole == "" {
		n.value = p.issuer
	}
	if n.value == "" {
		n.value, n.hole = anIssuer, "the issuer, exactly as the provider's discovery document spells it"
	}
	return n
}

// withoutUser drops a name and password, which no issuer has.
func withoutUser(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	u.User = nil
	return u.String()
}

// tenant is the one Entra tenant that people come from, "" if that is not known.
func (t *translation) tenant() string {
	allowed := t.list("entra-id-allowed-tenant")
	if len(allowed) == 1 {
		return allowed[0]
	}
	tenant := t.value("azure-tenant")
	if u, err := url.Parse(t.text("oidc-issuer-url")); err == nil && u.Host != "" {
		tenant, _, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	}
	if slices.Contains([]string{"common", "organizations", "consumers"}, tenant) || len(allowed) > 1 {
		return ""
	}
	return tenant
}

func (t *translation) clientID(p provider) node {
	n := node{key: "clientID", value: t.text("client-id")}
	if n.value == "" || p.impossible != "" {
		n.value, n.hole = "gatehouse", "the client id that the provider gave"
	}
	return n
}

// client is how the gateway proves itself.
func (t *translation) client(p provider, at string) []node {
	if p.impossible != "" {
		t.files[at+"clientSecretFile"] = true
		return []node{{key: "clientSecretFile", value: t.dir + "/client-secret"}}
	}
	if p.name == "login.gov" {
		return []node{
			{key: "clientAuth", value: "privateKeyJWT"},
			{key: "clientKeyFile", value: t.secret(at+"clientKeyFile", "client-key.pem", "jwt-key", "jwt-key-file")},
		}
	}
	return []node{{key: "clientSecretFile", value: t.secret(at+"clientSecretFile", "client-secret", "client-secret", "client-secret-file")}}
}

// asked is what the provider is asked for.
func (t *translation) asked(p provider) []node {
	scopes := strings.Fields(t.text("scope"))
	n := node{key: "scopes"}
	switch {
	case len(scopes) == 0:
		scopes = strings.Fields(p.scopes)
		if len(t.groups) > 0 && (p.name == "oidc" || p.name == "keycloak-oidc") {
			scopes = append(scopes, "groups")
			n.note = "groups, as oauth2-proxy asks by itself; remove it if the provider knows no such scope."
		}
	case !slices.Contains(scopes, "openid"):
		scopes = append([]string{"openid"}, scopes...)
		n.note = "openid is new: without it there is no ID token."
	}
	n.value = slices.Compact(scopes)
	out := []node{n}
	acr := strings.Fields(t.text("acr-values"))
	if p.name == "login.gov" && len(acr) == 0 {
		acr = []string{"http://idmanagement.gov/ns/assurance/loa/1"}
	}
	prompt, params := t.text("prompt"), []node{}
	if r := t.text("resource"); r != "" && p.name == "azure" {
		params = append(params, node{key: "resource", value: r})
	} else if r != "" && p.name == "adfs" {
		t.note(Different, "resource", "oauth2-proxy put it before each scope; write the scopes so in oidc.scopes")
	}
	if t.alpha != nil {
		for _, q := range t.alpha.parameters {
			switch {
			case len(q.defaults) == 0:
			case q.name == "prompt":
				prompt = q.defaults[0]
			case q.name == "acr_values":
				acr = strings.Fields(strings.Join(q.defaults, " "))
			case q.name == "approval_prompt":
			case q.name == "login_hint":
				out = append(out, node{key: "loginHint", value: q.defaults[0]})
			default:
				params = append(params, node{key: q.name, value: q.defaults[0]})
			}
			if q.settable && q.name != "login_hint" {
				t.say(Different, "loginURLParameters "+q.name, "a sign-in link sets login_hint alone; what else is asked for stands in the settings")
			}
		}
	}
	if len(acr) > 0 {
		out = append(out, node{key: "acrValues", value: acr, note: "The answer must have one of them."})
	}
	out = append(out, node{key: "prompt", value: prompt}, node{key: "authParams", value: params})
	if t.isOn("skip-claims-from-profile-url") {
		out = append(out, node{key: "userinfo", value: "never"})
	}
	return out
}

// trusted is what is believed of the provider.
func (t *translation) trusted(at string) []node {
	var out []node
	if extra := t.list("oidc-extra-audience"); len(extra) > 0 {
		t.note(Narrower, "oidc-extra-audience", "these may stand beside the client id in a token, never in its place")
		out = append(out, node{key: "extraAudiences", value: extra})
	}
	var algorithms []string
	for _, a := range t.list("oidc-enabled-signing-alg") {
		if strings.HasPrefix(a, "HS") {
			t.note(Narrower, "oidc-enabled-signing-alg", a+" is left out: a shared secret is no signature")
			continue
		}
		algorithms = append(algorithms, a)
	}
	out = append(out, node{key: "signingAlgorithms", value: algorithms})
	if files := t.list("provider-ca-file"); len(files) > 0 {
		n := node{key: "caFile", value: t.file(at+"tls.caFile", files[0])}
		t.files[at+"tls"] = true
		if len(files) > 1 {
			n.value, n.hole = files[0], "one file with the certificates of "+strings.Join(files, ", ")
		}
		out = append(out, node{key: "tls", value: []node{n}})
	}
	return out
}

// claimed is which claims say what.
func (t *translation) claimed() []node {
	email := t.value("oidc-email-claim")
	if old := t.value("user-id-claim"); email == "email" && old != "email" {
		email = old
	}
	var out []node
	if email != "email" {
		out = append(out, node{key: "email", value: email})
	}
	if groups := t.value("oidc-groups-claim"); groups != "groups" {
		out = append(out, node{key: "groups", value: groups})
	}
	return out
}
