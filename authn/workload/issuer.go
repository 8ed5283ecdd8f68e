package workload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

// Issuer is where tokens come from: its URL, whose endpoints are found by
// discovery, or the endpoints themselves.
type Issuer struct {
	// URL is the issuer's identifier (OpenID Connect Discovery, section 4).
	URL string
	// TokenURL and DeviceURL are used as they are and beat what is discovered.
	TokenURL, DeviceURL string
	// Client is one that [NewClient] made: its bounds are relied on.
	Client *http.Client
}

// endpoints is what is known of an issuer.
type endpoints struct {
	Issuer      string   `json:"issuer"`
	Token       string   `json:"token_endpoint"`
	Device      string   `json:"device_authorization_endpoint"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
}

// Check says what is wrong with the settings, before anything is asked.
func (i Issuer) Check(device bool) error {
	if i.URL == "" && (i.TokenURL == "" || device && i.DeviceURL == "") {
		if device {
			return errors.New("there must be an issuer, or a token URL and a device URL")
		}
		return errors.New("there must be an issuer or a token URL")
	}
	for _, e := range []struct{ name, url string }{{"issuer", i.URL}, {"token URL", i.TokenURL}, {"device URL", i.DeviceURL}} {
		if e.url == "" {
			continue
		}
		if err := checkURL(e.url, true); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if u, err := url.Parse(i.URL); err == nil && u.RawQuery != "" {
		return errors.New("issuer: must have no query")
	}
	return nil
}

// checkURL accepts https, and http on this machine if plain is allowed there.
func checkURL(raw string, plain bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "":
		return fmt.Errorf("%q is not a URL", authn.Bounded(raw))
	case u.User != nil || strings.Contains(raw, "#"):
		return errors.New("must have no user and no fragment")
	case u.Scheme != "https" && !(plain && u.Scheme == "http" && issuer.Loopback(u)):
		return fmt.Errorf("%q must be https", authn.Bounded(raw))
	}
	return nil
}

// discover finds out what is not set. It asks each time: that is seldom, and an
// issuer may move.
func (i Issuer) discover(ctx context.Context, device bool) (endpoints, error) {
	e := endpoints{Issuer: i.URL, Token: i.TokenURL, Device: i.DeviceURL}
	if i.URL == "" || e.Token != "" && (e.Device != "" || !device) {
		return e, nil
	}
	var found endpoints
	at := strings.TrimSuffix(i.URL, "/") + "/.well-known/openid-configuration"
	if err := get(ctx, i.Client, at, &found); err != nil {
		return endpoints{}, fmt.Errorf("discovery: %w", err)
	}
	if found.Issuer != i.URL { // Discovery, section 4.3
		return endpoints{}, final{fmt.Errorf("discovery: the document is of the issuer %q, and not of %q", authn.Bounded(found.Issuer), i.URL)}
	}
	base, err := url.Parse(i.URL)
	if err != nil {
		return endpoints{}, err
	}
	plain := base.Scheme == "http" && issuer.Loopback(base)
	if e.Token == "" {
		e.Token = found.Token
		if err := found.check("token_endpoint", e.Token, plain); err != nil {
			return endpoints{}, err
		}
	}
	if device && e.Device == "" {
		e.Device = found.Device
		if err := found.check("device_authorization_endpoint", e.Device, plain); err != nil {
			return endpoints{}, err
		}
	}
	e.AuthMethods = found.AuthMethods
	return e, nil
}

func (endpoints) check(name, at string, plain bool) error {
	if at == "" {
		return final{fmt.Errorf("discovery: the issuer has no %s", name)}
	}
	if err := checkURL(at, plain); err != nil {
		return final{fmt.Errorf("discovery: %s: %w", name, err)}
	}
	return nil
}

// onlyPost says that the issuer takes a secret in the form, and not by Basic.
func (e endpoints) onlyPost() bool {
	return slices.Contains(e.AuthMethods, "client_secret_post") && !slices.Contains(e.AuthMethods, "client_secret_basic")
}
