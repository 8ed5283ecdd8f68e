package migrate

import (
	"encoding/csv"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// admission finds who may come in. What can't be said here must be filled in: nobody
// comes in whom oauth2-proxy kept out.
func (t *translation) admission(p provider) {
	groups := t.list("allowed-group")
	switch p.name {
	case "keycloak":
		groups = append(groups, t.list("keycloak-group")...)
	case "gitlab":
		groups = append(groups, t.list("gitlab-group")...)
	}
	t.groups = unique(groups)
	for _, d := range t.list("email-domain") {
		d = strings.ToLower(d)
		if strings.HasPrefix(d, ".") {
			d = "*" + d
		}
		t.domains = append(t.domains, d)
	}
	t.domains = unique(t.domains)
}

func unique(s []string) []string {
	var out []string
	for _, v := range s {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// admitted writes who may come in by the route.
func (t *translation) admitted() []node {
	domains := node{key: "allowedEmailDomains", value: t.domains}
	everybody := slices.Contains(t.domains, "*")
	file := t.has("authenticated-emails-file") && !everybody
	switch {
	case everybody:
		domains.value = []string(nil)
		t.note(Wider, "email-domain", "oauth2-proxy kept out who has no e-mail address, or one that the provider says is not verified. Here they come in, and no address is told of them; allowedEmailDomains or allowedGroups keep them out")
	case file:
		t.emails(&domains)
	case len(t.domains) == 0:
		domains.value, domains.hole = []string{"example.com"}, "the domains of those who may come in; remove the line if everybody whom the provider knows may. oauth2-proxy lets nobody in without --email-domain"
	}
	groups := node{key: "allowedGroups", value: t.groups}
	if roles := t.list("allowed-role"); len(roles) > 0 && t.value("provider") == "keycloak-oidc" {
		t.roles(roles)
		groups.value = []string(nil)
	}
	if kept := t.restrictions(); len(kept) > 0 {
		groups.value, groups.hole = []string{"staff"}, "groups of those who may come in, or remove the line; oauth2-proxy kept out who was not in "+strings.Join(kept, ", ")
	}
	t.door = []node{domains, groups}
	return append(slices.Clone(t.door), t.verified(domains)...)
}

// verified is about addresses of which the provider does not say whether they are
// verified: oauth2-proxy takes them.
func (t *translation) verified(domains node) []node {
	if t.isOn("insecure-oidc-allow-unverified-email") {
		t.note(Narrower, "insecure-oidc-allow-unverified-email", "oidc.trustUnverifiedEmail counts an address if the provider does not say whether it is verified; one that it says is not verified never counts")
		return []node{{key: "trustUnverifiedEmail", value: true}}
	}
	if empty(domains.value) || slices.Contains([]string{"google", "gitlab", "github", "login.gov", "linkedin"}, t.value("provider")) {
		return nil
	}
	return []node{{note: "If the provider does not say which addresses are verified (Entra, AD FS), nobody has one.\nWhere people can't choose their address:\ntrustUnverifiedEmail: true"}}
}

// restrictions are those that no token can tell.
func (t *translation) restrictions() []string {
	var out []string
	for _, flag := range []string{
		"google-group", "gitlab-project", "github-org", "github-team", "github-repo", "github-user",
		"bitbucket-team", "bitbucket-workspace", "bitbucket-repository",
	} {
		own, _, _ := strings.Cut(flag, "-")
		if values := t.list(flag); len(values) > 0 && own == t.value("provider") {
			out = append(out, printable(strings.ReplaceAll(flag, "-", " ")+" "+strings.Join(values, " ")))
		}
	}
	return out
}

// roles are Keycloak's, which oauth2-proxy finds in access tokens. One role or
// one group is enough.
func (t *translation) roles(roles []string) {
	t.note(Different, "allowed-role", "they are looked for in the ID token: in Keycloak switch on \"Add to ID token\" of the mappers \"realm roles\" and \"client roles\" in the client scope roles")
	claims := map[string][]string{}
	for _, role := range roles {
		client, name, ok := strings.Cut(role, ":")
		claim := "resource_access." + client + ".roles"
		if !ok {
			claim, name = "realm_access.roles", role
		}
		claims[claim] = append(claims[claim], name)
	}
	var items [][]node
	if len(t.groups) > 0 {
		items = append(items, []node{{key: "groups", value: t.groups}})
	}
	for _, claim := range slices.Sorted(maps.Keys(claims)) {
		items = append(items, []node{{key: "claims", value: []node{{key: claim, value: claims[claim]}}}})
	}
	t.rules = []node{{key: "require", value: items, note: "One of these is enough."}}
}

// emails are the addresses that may come in, one a line.
func (t *translation) emails(domains *node) {
	about := "authenticated-emails-file"
	var found []string
	body, err := readFile(t.text(about))
	if err == nil {
		r := csv.NewReader(strings.NewReader(string(body)))
		r.Comment, r.TrimLeadingSpace, r.FieldsPerRecord = '#', true, -1
		var records [][]string
		records, err = r.ReadAll()
		for _, record := range records {
			if address := strings.ToLower(strings.TrimSpace(record[0])); strings.Contains(address, "@") {
				found = append(found, address)
			}
		}
	}
	found = unique(found)
	var its []string
	for _, address := range found {
		its = append(its, address[strings.LastIndexByte(address, '@')+1:])
	}
	its = unique(its)
	switch {
	case len(t.domains) > 0:
		t.note(Narrower, about, "the domains of --email-domain alone come in: that somebody may come who has either such an address or one in a list can't be said. Use a group at the provider")
	case err != nil || len(found) == 0:
		domains.value, domains.hole = []string{"example.com"}, "the domains of those who may come in; the addresses in "+printable(t.text(about))+" could not be read here, so run this where the file is"
	default:
		domains.value = its
		claim := "email"
		if i := slices.IndexFunc(t.claims, func(n node) bool { return n.key == "email" }); i >= 0 {
			claim = t.claims[i].value.(string)
		}
		t.people(claim, found)
		t.note(Different, about, fmt.Sprintf("its %d address(es) stand in a rule of policy, spelled as in the file; to change them is to change the settings. A group at the provider is easier to keep", len(found)))
	}
}

// people adds to the rule that somebody has one of these addresses.
func (t *translation) people(claim string, addresses []string) {
	t.rules = []node{{key: "require", value: [][]node{{{key: "claims", value: []node{{key: claim, value: addresses}}}}}}}
}

// The policy.

var negation = regexp.MustCompile("!?=")

// policy writes what needs no sign-in, and then what everybody must be.
func (t *translation) policy() {
	byMethod := map[string][]string{}
	skip := func(flag, method, expression, shown string) {
		found, narrower, err := paths(expression)
		if err != nil {
			t.say(Narrower, t.about(flag)+" "+strconv.Quote(shown), "it is left out, so sign-in is needed there: "+err.Error()+". Write a rule of policy with access: public for the paths that are meant")
			return
		}
		if narrower {
			t.say(Narrower, t.about(flag)+" "+strconv.Quote(shown), "it let in whatever holds such a text; here "+strings.Join(found, ", ")+" alone")
		}
		byMethod[method] = append(byMethod[method], found...)
	}
	for _, e := range t.list("skip-auth-regex") {
		skip("skip-auth-regex", "", e, e)
	}
	for _, e := range t.list("skip-auth-route") {
		parts := negation.Split(e, 2)
		switch {
		case strings.Contains(e, "!="):
			t.say(Narrower, t.about("skip-auth-route")+" "+strconv.Quote(e), "it is left out, so sign-in is needed there: a rule is about the paths that it names, never about all others. Write a rule of policy with access: public for the paths that are meant")
		case len(parts) == 1:
			skip("skip-auth-route", "", e, e)
		default:
			skip("skip-auth-route", strings.ToUpper(parts[0]), parts[1], e)
		}
	}
	var rules [][]node
	open := unique(byMethod[""])
	if len(open) > 0 {
		rules = append(rules, []node{{key: "name", value: "open"}, {key: "paths", value: open}, {key: "access", value: "public"}})
	}
	delete(byMethod, "")
	for _, method := range sortedKeys(byMethod) {
		left := slices.DeleteFunc(unique(byMethod[method]), func(p string) bool {
			return slices.ContainsFunc(open, func(o string) bool { return o == p || strings.HasSuffix(o, "/") && strings.HasPrefix(p, o) })
		})
		if len(left) > 0 {
			rules = append(rules, []node{{key: "name", value: "open-" + slug(method)}, {key: "paths", value: left}, {key: "methods", value: []string{method}}, {key: "access", value: "public"}})
		}
	}
	if t.rules != nil {
		rules = append(rules, append([]node{{key: "name", value: "people"}}, t.rules...))
	}
	t.put(node{key: "policy", value: rules})
}

// bearer is the route of programs' tokens.
func (t *translation) bearer(main node) []node {
	type trusted struct {
		issuer    string
		hole      string
		audiences []string
	}
	extra := t.list("oidc-extra-audience")
	issuers := []trusted{{main.value.(string), main.hole, unique(append([]string{t.text("client-id")}, extra...))}}
	if t.text("client-id") == "" {
		issuers[0].audiences = append([]string{"gatehouse"}, extra...)
	}
	for _, pair := range t.list("extra-jwt-issuers") {
		issuer, audience, ok := strings.Cut(pair, "=")
		if !ok {
			t.fault(t.about("extra-jwt-issuers"), strconv.Quote(pair)+" is not ISSUER=AUDIENCE", "correct it; oauth2-proxy does not take it either")
			continue
		}
		if i := slices.IndexFunc(issuers, func(s trusted) bool { return s.issuer == issuer }); i >= 0 {
			issuers[i].audiences = unique(append(issuers[i].audiences, audience))
			continue
		}
		issuers = append(issuers, trusted{issuer, "", unique(append([]string{audience}, extra...))})
	}
	var items [][]node
	for i, s := range issuers {
		item := []node{{key: "issuer", value: s.issuer, hole: s.hole}, {key: "audiences", value: s.audiences}}
		if i > 0 {
			item = append(item, node{key: "subjectPrefix", value: fmt.Sprintf("issuer%d:", i+1), note: "So that no two issuers can name one person."})
		}
		items = append(items, append(append(item, node{key: "claims", value: t.claims}), t.door...))
	}
	if len(issuers) > 1 {
		t.put(node{key: "sharedEmails", value: true, note: "As with oauth2-proxy, an address is the same person whichever issuer names it."})
	}
	t.note(Different, "skip-jwt-bearer-tokens", "a token must live for a day at most (maxLifetime) and be signed by RS256, ES256 or EdDSA (signingAlgorithms); a wrong one gets 401, never a sign-in")
	return []node{{key: "name", value: "tokens"}, {key: "bearer", value: []node{
		{key: "issuers", value: items},
		{key: "exchange", value: []node{{key: "disabled", value: true, note: "There was no such endpoint."}}},
	}}}
}
