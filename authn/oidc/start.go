package oidc

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"gatehouse/authn"
	"gatehouse/authn/page"
)

// maxHint bounds a login hint in bytes.
const maxHint = 256

// start sends a browser to the provider. Of the request it takes where to land,
// whom to suggest, and whether somebody else wants to sign in; nothing that a
// link says reaches the provider otherwise.
func (o *relying) start(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		o.Pages.Error(w, r, http.StatusMethodNotAllowed, "Sign-in begins with a plain link.")
		return
	}
	if prefetch(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		q = nil
	}
	if iss, ok := q["iss"]; ok && !slices.Equal(iss, []string{o.settings.Issuer}) {
		o.Pages.Error(w, r, http.StatusBadRequest, "This link is for another sign-in service.") // OpenID Connect Core, section 4
		return
	}
	wish := o.wish(q)
	m, err := o.provider.metadata(r.Context())
	if err != nil {
		o.Pages.Outage(w, r, page.Outage{Sentence: sentenceOutage, RetryURL: wish.url(o), After: 10 * time.Second})
		return
	}
	former := o.Sessions.Former(r)
	a := attempt{
		State: random(), Nonce: random(), Route: o.name, Landing: wish.landing,
		Token: m.TokenEndpoint, Former: former[:min(len(former), maxFormer)], Made: time.Now().Unix(),
	}
	if !o.implicit() {
		a.Verifier = oauth2.GenerateVerifier()
	}
	to, err := o.way(r.Context(), m, a, wish)
	if err != nil {
		o.failed(w, r, failure{landing: wish.landing, err: err})
		return
	}
	if err := o.keepAttempt(w, r, a); err != nil {
		o.log(r).Error("sign-in can't begin", "err", err)
		o.Pages.Error(w, r, http.StatusInternalServerError, "Sign-in can't begin.")
		return
	}
	page.SeeOther(w, to)
}

// way is where the browser goes with the authentication request, or with its name.
func (o *relying) way(ctx context.Context, m *metadata, a attempt, v wish) (string, error) {
	if !m.pushes(o.settings) {
		return o.authorizationURL(m.AuthorizationEndpoint, m, a, v), nil
	}
	request, err := url.Parse(o.authorizationURL("", m, a, v)) // what the endpoint's own address says stays there
	if err != nil {
		return "", err
	}
	return o.push(ctx, m, request.Query())
}

// wish is what a link to sign-in may say.
type wish struct {
	landing string
	hint    string
	change  bool // somebody else wants to sign in
}

func (o *relying) wish(q url.Values) wish {
	v := wish{landing: "/", hint: o.settings.LoginHint}
	if rd := q["rd"]; len(rd) == 1 {
		v.landing = o.Landings.Clean(rd[0])
	}
	if h := q["login_hint"]; len(h) == 1 && len(h[0]) <= maxHint && utf8.ValidString(h[0]) && authn.Bounded(h[0]) == h[0] && h[0] != "" {
		v.hint = h[0]
	}
	v.change = slices.Equal(q["switch"], []string{"1"})
	return v
}

// url is the link that says the same again.
func (v wish) url(o *relying) string {
	var extra []string
	if v.hint != "" && v.hint != o.settings.LoginHint {
		extra = append(extra, "login_hint", v.hint)
	}
	if v.change {
		extra = append(extra, "switch", "1")
	}
	return o.signInURL(v.landing, extra...)
}

// authorizationURL is the authentication request to an endpoint (OpenID Connect Core,
// section 3.1.2.1). The code flow has PKCE with S256 whatever the provider says that it
// supports: one that does not know it ignores it, and nobody can talk it away
// (RFC 9700, section 2.1.1).
func (o *relying) authorizationURL(endpoint string, m *metadata, a attempt, v wish) string {
	var opts []oauth2.AuthCodeOption
	set := func(name, value string) {
		if value != "" {
			opts = append(opts, oauth2.SetAuthURLParam(name, value))
		}
	}
	for name, value := range o.settings.AuthParams {
		set(name, value)
	}
	set("nonce", a.Nonce)
	set("prompt", o.prompt(m, v))
	if !v.change {
		set("login_hint", v.hint)
	}
	if max := o.settings.MaxAge.Std(); max > 0 {
		set("max_age", strconv.Itoa(int(max/time.Second)))
	}
	set("acr_values", strings.Join(o.settings.ACRValues, " "))
	if o.implicit() {
		set("response_type", "id_token")
		set("response_mode", "form_post")
	} else {
		opts = append(opts, oauth2.S256ChallengeOption(a.Verifier))
	}
	c := o.oauth(m)
	c.Endpoint.AuthURL = endpoint
	return c.AuthCodeURL(a.State, opts...)
}

// prompt asks for another account when somebody wants to change, with the
// nearest that the provider says it knows.
func (o *relying) prompt(m *metadata, v wish) string {
	switch {
	case !v.change:
		return o.settings.Prompt
	case len(m.Prompts) > 0 && !slices.Contains(m.Prompts, "select_account"):
		return "login"
	}
	return "select_account"
}

// prefetch tells a browser that guesses where somebody might go.
func prefetch(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := r.Header.Get(name); strings.Contains(v, "prefetch") || strings.Contains(v, "prerender") || v == "preview" {
			return true
		}
	}
	return false
}
