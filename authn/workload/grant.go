package workload

import (
	"context"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
)

// Take says which token of an answer is wanted.
type Take string

// The tokens of an answer.
const (
	AccessToken Take = "access_token"
	IDToken     Take = "id_token"
)

// Request is what is asked for.
type Request struct {
	// Scope is space-separated (RFC 6749, section 3.3).
	Scope string
	// Audience is whom the token is for, as Auth0 and others have it.
	Audience string
	// Resources are the same by RFC 8707.
	Resources []string
	// Take is AccessToken if empty.
	Take  Take
	Rules Rules
}

// Check says what is wrong with the settings.
func (q Request) Check() error {
	if q.Take != "" && q.Take != AccessToken && q.Take != IDToken {
		return fmt.Errorf("%q is neither access_token nor id_token", string(q.Take))
	}
	for _, r := range q.Resources { // RFC 8707, section 2
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || u.Fragment != "" {
			return fmt.Errorf("resource: %q must be an absolute URI without a fragment", r)
		}
	}
	return nil
}

// form begins what is sent to an endpoint.
func (q Request) form(name, value string) url.Values {
	form := url.Values{}
	if name != "" {
		form.Set(name, value)
	}
	if q.Scope != "" {
		form.Set("scope", q.Scope)
	}
	if q.Audience != "" {
		form.Set("audience", q.Audience)
	}
	if len(q.Resources) > 0 {
		form["resource"] = q.Resources
	}
	return form
}

// grant is a success of the token endpoint (RFC 6749, section 5.1).
type grant struct {
	Access  string         `json:"access_token"`
	ID      string         `json:"id_token"`
	Refresh string         `json:"refresh_token"`
	Type    string         `json:"token_type"`
	Expires jsontext.Value `json:"expires_in"` // a number, but a string at some issuers
}

// token takes the wanted token out of an answer.
func (q Request) token(g grant, now time.Time) (Token, error) {
	text := g.Access
	if q.Take == IDToken {
		text = g.ID
	}
	switch {
	case text == "" && q.Take == IDToken:
		return Token{}, final{errors.New("the answer has no id_token; the scope must hold openid, and client credentials give none at most issuers")}
	case text == "":
		return Token{}, final{errors.New("the answer has no access_token")}
	case q.Take != IDToken && !strings.EqualFold(g.Type, "Bearer"):
		return Token{}, final{fmt.Errorf("the token's type is %q and not Bearer", authn.Bounded(g.Type))}
	}
	t, err := q.Rules.read(text, now)
	if errors.Is(err, errNoJWT) {
		return Token{}, final{fmt.Errorf("%w; ask for the audience or resource that your issuer makes JWTs for, or allow opaque tokens", err)}
	}
	if err != nil {
		return Token{}, err
	}
	if s := seconds(g.Expires); t.Expires.IsZero() && q.Take != IDToken && s > 0 {
		now = now.Round(0) // its monotonic reading stands still while the machine is suspended
		t.Issued, t.Expires = now, now.Add(s)
	}
	return t, nil
}

// seconds reads expires_in; zero if it makes no sense.
func seconds(v jsontext.Value) time.Duration {
	s, err := strconv.ParseFloat(strings.Trim(string(v), `"`), 64)
	if err != nil || !(s > 0 && s < 1e9) {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// Credentials asks an issuer as one of its clients (RFC 6749, section 4.4).
type Credentials struct {
	Issuer  Issuer
	Party   Party
	Request Request
}

// Check says what is wrong with the settings.
func (c Credentials) Check() error {
	if err := errors.Join(c.Issuer.Check(false), c.Party.Check(), c.Request.Check()); err != nil {
		return err
	}
	if c.Party.auth(endpoints{}) == None {
		return errors.New("there must be a client secret or a client key: nobody gives a token to a mere name")
	}
	return nil
}

// Fetch asks for a token.
func (c Credentials) Fetch(ctx context.Context) (Token, error) {
	e, err := c.Issuer.discover(ctx, false)
	if err != nil {
		return Token{}, err
	}
	p, err := c.Party.prove(e, time.Now())
	if err != nil {
		return Token{}, err
	}
	var g grant
	if err := post(ctx, c.Issuer.Client, e.Token, c.Request.form("grant_type", "client_credentials"), p, &g); err != nil {
		return Token{}, fmt.Errorf("client credentials: %w", err)
	}
	return c.Request.token(g, time.Now())
}
