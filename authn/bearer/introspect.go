package bearer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
	"gatehouse/config"
	"gatehouse/session"
)

// introspection is how an issuer is asked about a token (RFC 7662).
type introspection struct {
	settings  config.Introspection
	client    *http.Client
	assertion *issuer.Assertion // nil unless the client authenticates by privateKeyJWT
	results   session.Results
	lifetime  time.Duration
	places    chan struct{} // one for each question under way
}

// askAtOnce is how many questions one issuer is asked at once. Whoever sends
// tokens that nobody knows keeps no others waiting but of the same kind.
const askAtOnce = 64

func newIntrospection(c config.Issuer, client *http.Client, results session.Results, lifetime time.Duration) (*introspection, error) {
	in := &introspection{settings: *c.Introspection, client: client, results: results, lifetime: lifetime, places: make(chan struct{}, askAtOnce)}
	if in.settings.ClientAuth == "" {
		in.settings.ClientAuth = "basic"
		if in.settings.ClientKeyFile != "" {
			in.settings.ClientAuth = "privateKeyJWT"
		}
	}
	if in.settings.ClientAuth != "privateKeyJWT" {
		return in, nil
	}
	var err error
	in.assertion, err = issuer.NewAssertion(in.settings.ClientID, c.Issuer, in.settings.ClientKeyFile, in.settings.ClientKeyID)
	return in, err
}

// introspect asks the issuer whom an opaque token stands for, unless another
// replica has just done so.
func (t *trusted) introspect(ctx context.Context, token string) (authn.Identity, error) {
	in := t.introspection
	select {
	case in.places <- struct{}{}:
		defer func() { <-in.places }()
	default:
		return authn.Identity{}, fmt.Errorf("%w: introspection: %d questions are under way", issuer.ErrUnavailable, askAtOnce)
	}
	if id, sub, ok := in.results.Get(ctx, token); ok {
		if id, err := t.again(id, sub); err == nil {
			return id, nil
		}
		// Under the settings of now it stands for nobody. The issuer has the word.
	}
	uri, err := t.endpoint(ctx, in.settings.URL, "introspection_endpoint", introspectionEndpoint)
	if err != nil {
		return authn.Identity{}, fmt.Errorf("%w: %w", issuer.ErrUnavailable, err)
	}
	c, err := in.ask(ctx, uri, token)
	if err != nil {
		return authn.Identity{}, fmt.Errorf("%w: introspection: %w", issuer.ErrUnavailable, err)
	}
	v, err := t.active(c, time.Now())
	if err != nil {
		return authn.Identity{}, err
	}
	id, err := t.identity(v)
	if err != nil {
		return authn.Identity{}, err
	}
	// What is kept here and what is kept in the store end together.
	if end := time.Now().Add(in.lifetime); id.Expires.After(end) {
		id.Expires = end
	}
	if err := in.results.Put(ctx, token, id, v.sub, in.lifetime); err != nil {
		t.log.Warn("what introspection found out is not shared", "err", err)
	}
	return id, nil
}

// active checks an answer: it must say that the token is good, and nothing in it
// may say otherwise (RFC 7662, section 4).
func (t *trusted) active(c issuer.Claims, now time.Time) (verified, error) {
	if v, _ := c.Find("active"); string(v) != "true" {
		return verified{}, refusal{check: "active", sentence: "The token is not valid at its issuer, or no longer.", seen: string(v)}
	}
	for _, name := range []string{"exp", "iat", "nbf"} {
		if string(c[name]) == "0" { // so some say "none"
			delete(c, name)
		}
	}
	if kind, _ := c.Text("token_type"); kind != "" && !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "access_token") {
		return verified{}, refusal{check: "token_type", sentence: "The token is of a kind that is not accepted.", seen: kind, expected: "Bearer"}
	}
	if _, ok := c.Find("sub"); !ok {
		// A program's own token may name the client alone (RFC 7662, section 2.2). That is
		// a subject only where somebody has registered it as one.
		client, err := c.Text("client_id")
		if _, registered := t.accounts.External(t.settings.Issuer, client); err == nil && registered {
			c["sub"] = c["client_id"]
		}
	}
	if _, ok := c.Find("iss"); !ok {
		c["iss"] = []byte(`"` + t.settings.Issuer + `"`) // who was asked has answered
	}
	if _, ok := c.Find("exp"); !ok {
		c["exp"] = fmt.Appendf(nil, "%d", now.Add(time.Hour).Unix()) // it is asked about again long before
	}
	return t.judge(c, now, 0) // it can be revoked, so how long it is made for is the issuer's affair
}

// ask sends the question. Its error means that there is no answer.
func (in *introspection) ask(ctx context.Context, uri, token string) (issuer.Claims, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	switch in.settings.ClientAuth {
	case "post":
		form.Set("client_id", in.settings.ClientID)
		form.Set("client_secret", in.settings.ClientSecret.Reveal())
	case "privateKeyJWT":
		signed, err := in.assertion.Sign(time.Now())
		if err != nil {
			return nil, err
		}
		form.Set("client_id", in.settings.ClientID)
		form.Set("client_assertion_type", issuer.AssertionType)
		form.Set("client_assertion", signed)
	}
	r, err := http.NewRequestWithContext(meter.Asking(ctx, "introspection"), http.MethodPost, uri, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if in.settings.ClientAuth == "basic" { // RFC 6749, section 2.3.1
		r.SetBasicAuth(url.QueryEscape(in.settings.ClientID), url.QueryEscape(in.settings.ClientSecret.Reveal()))
	}
	resp, err := in.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, issuer.StatusError(resp.StatusCode)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return issuer.ParseClaims(text)
}
