package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// headerName is a header's name (RFC 9110, section 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

var notLetters = regexp.MustCompile(`[^a-z0-9]`)

// foldedHeader is a name as applications with CGI-like environments see it:
// X_User and x-user are one.
func foldedHeader(name string) string {
	return notLetters.ReplaceAllString(strings.ToLower(name), "-")
}

// framing are the headers that HTTP itself lives by.
func framing() []string {
	return []string{
		"connection", "content-encoding", "content-length", "content-range", "content-type", "cookie", "expect",
		"host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "range", "set-cookie",
		"te", "trailer", "transfer-encoding", "upgrade",
	}
}

// ours are the headers that the gateway gives a meaning of its own.
func ours() []string {
	return []string{
		"accept", "accept-encoding", "authorization", "cache-control", "date", "forwarded", "proxy-authorization", "wandb-api-key", "x-gatehouse-authorization", "x-wandb-api-key", "origin", "referer", "user-agent", "via", "x-forwarded-for", "x-forwarded-host",
		"x-forwarded-port", "x-forwarded-proto", "x-real-ip", "x-request-id",
	}
}

// credentials are the headers that somebody proves who they are by.
func credentials() []string {
	return []string{"authorization", "wandb-api-key", "x-gatehouse-authorization", "x-wandb-api-key"}
}

func (k *checks) headers() {
	seen := map[string]string{}
	for i, h := range k.c.Headers.Identity {
		path, folded := indexed("headers.identity", i)+".name", foldedHeader(h.Name)
		switch first, twice := seen[folded]; {
		case !headerName.MatchString(h.Name):
			k.fault(path, quoted(h.Name)+" is not a header's name", "use letters, digits and -")
		case slices.Contains(framing(), folded), slices.Contains(ours(), folded):
			k.fault(path, quoted(h.Name)+" has a meaning of its own in HTTP", "use a name of your own, for instance X-Forwarded-User")
		case twice:
			k.fault(path, fmt.Sprintf("%s is the same header as %s to many applications", quoted(h.Name), quoted(first)), "use each name once")
		}
		seen[folded] = h.Name
		k.headerSource(indexed("headers.identity", i), h)
	}
	for i, name := range k.c.Headers.Scrub {
		path := indexed("headers.scrub", i)
		switch {
		case !headerName.MatchString(name):
			k.fault(path, quoted(name)+" is not a header's name", "use letters, digits and -")
		case slices.Contains(framing(), foldedHeader(name)):
			k.fault(path, quoted(name)+" can't be taken out of a request", "remove it")
		case slices.Contains(credentials(), foldedHeader(name)):
			k.fault(path, quoted(name)+" holds credentials: without it a wrong one would count as none", "remove it; credentials don't go on unless you say so")
		}
	}
}

// Sources are what a header can be made from.
func Sources() []string {
	return []string{"subject", "username", "name", "email", "groups", "issuer", "route", "kind", "team", "teams", "roles"}
}

var templateName = regexp.MustCompile(`\{([^{}]*)\}`)

func (k *checks) headerSource(at string, h Header) {
	switch {
	case h.From != "" && h.Template != "":
		k.fault(at+".template", "stands beside from", "write one of the two")
	case h.From == "" && h.Template == "":
		k.fault(at, "does not say what the header is made from", "set from, for instance from: email")
	case h.Template != "":
		found := templateName.FindAllStringSubmatch(h.Template, -1)
		for _, m := range found {
			if !slices.Contains(Sources(), m[1]) {
				k.fault(at+".template", quoted(m[0])+" is nothing that a header can be made from", "use one of: {"+strings.Join(Sources(), "} {")+"}")
			}
		}
		if rest := templateName.ReplaceAllString(h.Template, ""); len(found) == 0 || strings.ContainsAny(rest, "{}") || strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r > '~' }) {
			k.fault(at+".template", "is no template", `write printable ASCII with at least one of {subject} and the like in it, for instance "user:{email}"`)
		}
	}
}

func (k *checks) paths() {
	p := k.c.Paths
	own := []struct{ path, value string }{
		{"paths.callback", p.Callback}, {"paths.signOut", p.SignOut}, {"paths.prefix", p.Prefix},
	}
	if p.Token != "" {
		own = append(own, struct{ path, value string }{"paths.token", p.Token})
	}
	for i, o := range own {
		problem := wrongPath(o.value)
		if problem == "" && strings.HasSuffix(o.value, "/") {
			problem = "must not end in /"
		}
		if problem != "" {
			k.fault(o.path, problem, "write it like /oidc/callback")
			continue
		}
		for _, other := range own[:i] {
			if below(o.value, other.value) || below(other.value, o.value) {
				k.fault(o.path, fmt.Sprintf("%s and %s (%s) are the same or one in the other", o.value, other.value, other.path), "give each a path of its own")
			}
		}
	}
}
