package authntest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// responseTypes are the ones that are understood, each sorted.
func responseTypes() []string {
	return []string{"code", "id_token", "id_token token", "code id_token", "code id_token token"}
}

// s256Challenge is the shape of an S256 code challenge (RFC 7636, section 4.2).
var s256Challenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// authorization is an authentication request (OpenID Connect Core, section 3.1.2.1).
type authorization struct {
	client      Client
	redirectURI string
	types       []string
	mode        string
	state       string
	nonce       string
	challenge   string
	scopes      []string
	prompts     []string
	maxAge      time.Duration // below zero: any
	loginHint   string
	acr         string
	raw         url.Values
}

// refusal is an error that goes back to the relying party (RFC 6749, section 4.1.2.1).
type refusal struct{ code, description string }

func refuse(code, description string) *refusal { return &refusal{code, description} }

// serveAuthorize shows the sign-in page, or answers at once if it can.
func (i *Issuer) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	form, ok := i.pushedForm(r.Form)
	if !ok {
		i.pages.problem(w, http.StatusBadRequest, "The application's request is not one that it has sent here before.")
		return
	}
	a, ok := i.readAuthorization(w, form)
	if !ok {
		return
	}
	s, ok := i.standing(w, r, a)
	switch {
	case ok:
		i.grant(w, a, s)
	case slices.Contains(a.prompts, "none"):
		i.refuseTo(w, a, refuse("login_required", "nobody is signed in"))
	default:
		i.showSignIn(w, r, a)
	}
}

// readAuthorization returns the request, or answers it. Who asks and where the
// answer goes come first: without them there is nowhere to send an error.
func (i *Issuer) readAuthorization(w http.ResponseWriter, form url.Values) (authorization, bool) {
	client, ok := i.client(form.Get("client_id"))
	if !ok || len(form["client_id"]) != 1 {
		i.pages.problem(w, http.StatusBadRequest, "An unknown application sent you here.")
		return authorization{}, false
	}
	uri := form.Get("redirect_uri")
	if len(form["redirect_uri"]) != 1 || !slices.Contains(client.RedirectURIs, uri) {
		i.pages.problem(w, http.StatusBadRequest, "The application wants you to be sent to a place that is not registered for it.")
		return authorization{}, false
	}
	a := newAuthorization(client, form)
	if err := a.check(); err != nil {
		i.refuseTo(w, a, err)
		return authorization{}, false
	}
	return a, true
}

func newAuthorization(client Client, form url.Values) authorization {
	a := authorization{
		client: client, redirectURI: form.Get("redirect_uri"), raw: form, maxAge: -1,
		types: strings.Fields(form.Get("response_type")), mode: form.Get("response_mode"),
		state: form.Get("state"), nonce: form.Get("nonce"), challenge: form.Get("code_challenge"),
		scopes: strings.Fields(form.Get("scope")), prompts: strings.Fields(form.Get("prompt")),
		loginHint: form.Get("login_hint"),
	}
	a.acr, _, _ = strings.Cut(form.Get("acr_values"), " ")
	if a.mode == "" {
		a.mode = "query"
		if !slices.Equal(a.types, []string{"code"}) {
			a.mode = "fragment"
		}
	}
	return a
}

// check is the list of what a request must and must not be.
func (a *authorization) check() *refusal {
	for name, values := range a.raw {
		if len(values) > 1 {
			return refuse("invalid_request", name+" is there twice")
		}
	}
	for _, name := range []string{"request", "request_uri", "registration"} {
		if a.raw.Has(name) {
			return refuse(name+"_not_supported", name+" is not supported")
		}
	}
	slices.Sort(a.types)
	implicit := !slices.Equal(a.types, []string{"code"})
	switch {
	case !slices.Contains(responseTypes(), strings.Join(a.types, " ")):
		return refuse("unsupported_response_type", "no such response_type")
	case !slices.Contains([]string{"query", "fragment", "form_post"}, a.mode):
		a.mode = "query"
		return refuse("invalid_request", "no such response_mode")
	case implicit && a.mode == "query":
		a.mode = "fragment"
		return refuse("invalid_request", "tokens are not sent in a query")
	case !slices.Contains(a.scopes, "openid"):
		return refuse("invalid_scope", "scope lacks openid")
	case implicit && a.nonce == "":
		return refuse("invalid_request", "nonce is missing")
	case slices.Contains(a.prompts, "none") && len(a.prompts) > 1:
		return refuse("invalid_request", "prompt=none stands alone")
	}
	if age := a.raw.Get("max_age"); age != "" {
		seconds, err := strconv.Atoi(age)
		if err != nil || seconds < 0 {
			return refuse("invalid_request", "max_age is not a number of seconds")
		}
		a.maxAge = time.Duration(seconds) * time.Second
	}
	return a.checkPKCE()
}

// checkPKCE demands a challenge of public clients and takes no other method than
// S256 (RFC 9700, section 2.1.1).
func (a *authorization) checkPKCE() *refusal {
	method, public := a.raw.Get("code_challenge_method"), a.client.Secret == "" && a.client.Key == nil
	switch {
	case !slices.Contains(a.types, "code"):
		return nil
	case a.challenge == "" && method == "" && !public:
		return nil
	case a.challenge == "":
		return refuse("invalid_request", "code_challenge is missing")
	case method != "S256":
		return refuse("invalid_request", "code_challenge_method must be S256")
	case !s256Challenge.MatchString(a.challenge):
		return refuse("invalid_request", "code_challenge is not one of S256")
	}
	return nil
}

// grant sends the browser back with what was asked for.
func (i *Issuer) grant(w http.ResponseWriter, a authorization, s login) {
	g := &grant{client: a.client.ID, login: s, scopes: a.scopes, nonce: a.nonce, acr: a.acr,
		redirectURI: a.redirectURI, challenge: a.challenge}
	params, beside := url.Values{}, map[string]string{}
	if slices.Contains(a.types, "code") {
		beside["c_hash"] = i.newCode(g)
		params.Set("code", beside["c_hash"])
	}
	if slices.Contains(a.types, "token") {
		beside["at_hash"] = i.newAccess(g)
		params.Set("access_token", beside["at_hash"])
		params.Set("token_type", "Bearer")
		params.Set("expires_in", strconv.Itoa(int(i.options.Lifetime.Seconds())))
	}
	if slices.Contains(a.types, "id_token") {
		token, err := i.idToken(FromAuthorize, a.client, g, beside)
		if err != nil {
			i.refuseTo(w, a, err)
			return
		}
		params.Set("id_token", token)
	}
	i.sendBack(w, a, params)
}

func (i *Issuer) refuseTo(w http.ResponseWriter, a authorization, err *refusal) {
	i.sendBack(w, a, url.Values{"error": {err.code}, "error_description": {err.description}})
}

// sendBack delivers an authorization response in the mode that was asked for.
func (i *Issuer) sendBack(w http.ResponseWriter, a authorization, params url.Values) {
	if a.state != "" {
		params.Set("state", a.state)
	}
	if !i.options.NoIssParameter {
		params.Set("iss", i.options.URL)
	}
	f := i.wrong()
	if f.Redirect != nil {
		f.Redirect(Authorize, params)
	}
	mode := a.mode
	if f.ResponseMode != "" {
		mode = f.ResponseMode
	}
	switch mode {
	case "form_post":
		i.pages.formPost(w, a.redirectURI, params)
	case "fragment":
		redirect(w, a.redirectURI+"#"+params.Encode())
	default:
		redirect(w, withQuery(a.redirectURI, params))
	}
}

// redirect answers 303, so that a POST does not become another (RFC 9700, section 4.12).
func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

func withQuery(uri string, params url.Values) string {
	switch {
	case len(params) == 0:
		return uri
	case strings.Contains(uri, "?"):
		return uri + "&" + params.Encode()
	}
	return uri + "?" + params.Encode()
}

// newID makes something that nobody can guess, with a name for people who debug.
func newID(kind string) string { return fmt.Sprintf("%s_%s", kind, rand.Text()) }
