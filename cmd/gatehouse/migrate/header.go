package migrate

import (
	"slices"
	"strings"
)

// header is one header that oauth2-proxy sends.
type header struct {
	from, name string
	values     []headerValue
}

// headerValue is what it is made of. Without a claim it is a fixed secret.
type headerValue struct {
	claim, prefix string
	basic         bool
}

// legacyHeaders are those that the flags mean beside the preset: only
// --prefer-email-to-user differs from that.
func (t *translation) legacyHeaders() []header {
	if !t.isOn("prefer-email-to-user") {
		return nil
	}
	claim := func(name, claim string) header {
		return header{from: t.about("prefer-email-to-user"), name: name, values: []headerValue{{claim: claim}}}
	}
	out := []header{claim("X-Forwarded-User", "email"), claim("X-Forwarded-Groups", "groups"), claim("X-Forwarded-Preferred-Username", "preferred_username")}
	if t.isOn("set-xauthrequest") {
		out = append(out, claim("X-Auth-Request-User", "user"), claim("X-Auth-Request-Email", "email"), claim("X-Auth-Request-Preferred-Username", "preferred_username"), claim("X-Auth-Request-Groups", "groups"))
	}
	return out
}

// identity writes what the application is told.
func (t *translation) identity() {
	headers := t.headers
	if t.alpha != nil {
		if t.behind {
			headers = append(slices.Clone(t.alpha.response), headers...)
		} else if len(t.alpha.response) > 0 {
			t.say(Different, "injectResponseHeaders", "browsers are told nothing about who is signed in; an application asks /.gatehouse/userinfo")
		}
	}
	var items [][]node
	seen := map[string]bool{}
	for _, h := range headers {
		source, why := h.source()
		switch folded := strings.ToLower(underscored(h.name)); {
		case why != "":
			t.say(Different, h.from+" "+h.name, "this header is left out: "+why)
		case !seen[folded]:
			seen[folded] = true
			items = append(items, append([]node{{key: "name", value: h.name}}, source))
		}
	}
	n := []node{{key: "preset", value: "oauth2-proxy", note: "X-Forwarded-User, -Email, -Preferred-Username, -Groups, and the same as X-Auth-Request-*."}}
	if len(items) > 0 {
		n = []node{{key: "identity", value: items}}
	}
	t.put(node{key: "headers", value: n})
	if !t.isOn("pass-user-headers") && !t.isOn("pass-basic-auth") && t.alpha == nil {
		t.note(Different, "pass-user-headers", "the application gets the identity headers all the same; it need not read them")
	}
}

// source is what a header is made from here, or why it can't be.
func (h header) source() (node, string) {
	if len(h.values) != 1 {
		return node{}, "it has not one value"
	}
	v := h.values[0]
	switch {
	case strings.EqualFold(h.name, "Authorization"), v.basic:
		return node{}, "the gateway makes up no credentials; the application can verify X-Gatehouse-Jwt-Assertion, or get a token of its own (docs/upstream-identity.md)"
	case v.claim == "":
		return node{}, "a fixed secret is not sent. Let the application verify X-Gatehouse-Jwt-Assertion, or the gateway's certificate (upstreams[].tls.certFile)"
	}
	from := map[string]string{"user": "subject", "email": "email", "groups": "groups", "preferred_username": "username"}[v.claim]
	switch {
	case from == "" && slices.Contains([]string{"access_token", "id_token", "refresh_token"}, v.claim):
		return node{}, "the provider's tokens stay in the gateway; the application gets X-Gatehouse-Jwt-Assertion"
	case from == "":
		return node{}, "the claim " + printable(v.claim) + " is none of what a header is made from. Name it in oidc.claims as username, name, groups or teams"
	case v.prefix != "":
		return node{key: "template", value: v.prefix + "{" + from + "}"}, ""
	}
	return node{key: "from", value: from}, ""
}
