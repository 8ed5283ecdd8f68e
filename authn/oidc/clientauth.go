package oidc

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// newAssertion reads the client's key. It returns nil for other ways to authenticate.
func newAssertion(c config.OIDC) (*issuer.Assertion, error) {
	if c.ClientAuth != "privateKeyJWT" {
		return nil, nil
	}
	a, err := issuer.NewAssertion(c.ClientID, c.Issuer, c.ClientKeyFile, c.ClientKeyID)
	if err != nil {
		return nil, fmt.Errorf("clientKeyFile: %w", err)
	}
	return a, nil
}

// proving adds a fresh client assertion to every token request, so that code
// exchange and refresh are proved alike.
type proving struct {
	next http.RoundTripper
	*issuer.Assertion
}

// RoundTrip sends a copy of r with the assertion in its form.
func (p proving) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	signed, err := p.Sign(time.Now())
	if err != nil {
		return nil, fmt.Errorf("sign client assertion: %w", err)
	}
	form.Set("client_assertion_type", issuer.AssertionType)
	form.Set("client_assertion", signed)
	text := []byte(form.Encode())
	out := r.Clone(r.Context())
	out.Body = io.NopCloser(bytes.NewReader(text))
	out.GetBody = nil
	out.ContentLength = int64(len(text))
	return p.next.RoundTrip(out)
}

// tokenClient is the client for the token endpoint.
func (o *relying) tokenClient() *http.Client {
	if o.assertion == nil {
		return o.client
	}
	c := *o.client
	c.Transport = proving{o.client.Transport, o.assertion}
	return &c
}
