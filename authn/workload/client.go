package workload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

// maxPEM bounds a file of certificates or of a key, in bytes.
const maxPEM = 1 << 20

// NewClient makes the HTTP client for an issuer, with the bounds of
// [issuer.Guarded]. Without caFile (certificates in PEM), the system's authorities
// are trusted.
func NewClient(caFile string) (*http.Client, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := readFile(caFile, maxPEM)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(text)) {
			return nil, fmt.Errorf("no certificate in %s", caFile)
		}
	}
	return issuer.NewClient(t, nil), nil
}

// Refusal is an answer that is none: what an OAuth endpoint says no with (RFC
// 6749, section 5.2), or anything else that is not a success.
type Refusal struct {
	// Status is that of the answer.
	Status int
	// Code and Text are its error and error_description, if there are any.
	Code, Text string
	// After is how long it wants to be left alone (Retry-After).
	After time.Duration
}

func (r *Refusal) Error() string {
	s := "the issuer answered " + strconv.Itoa(r.Status)
	if r.Code != "" {
		s += " " + strconv.Quote(authn.Bounded(r.Code))
	}
	if r.Text != "" {
		s += ": " + authn.Bounded(r.Text)
	}
	if r.Status/100 == 3 {
		s += " (a redirect, which is not followed)"
	}
	return s
}

// final tells what stays so until somebody mends it.
func (r *Refusal) final() bool {
	passing := []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}
	codes := []string{"temporarily_unavailable", "server_error", "slow_down", "authorization_pending", "expired_token"}
	return r.Status < 500 && !slices.Contains(passing, r.Status) && !slices.Contains(codes, r.Code)
}

// get reads a document of an issuer.
func get(ctx context.Context, client *http.Client, from string, to any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	return call(client, r, nil, to)
}

// post sends a form to an endpoint, with what proves the client.
func post(ctx context.Context, client *http.Client, at string, form url.Values, p proof, to any) error {
	for name, value := range p.form {
		form.Set(name, value)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.user != "" {
		r.SetBasicAuth(url.QueryEscape(p.user), url.QueryEscape(p.password)) // RFC 6749, section 2.3.1
	}
	secrets := []string{p.password}
	for _, name := range []string{"client_secret", "client_assertion", "refresh_token", "device_code"} {
		secrets = append(secrets, form.Get(name))
	}
	return call(client, r, secrets, to)
}

// call sends r and decodes a success, which must be one JSON object. That it means
// the same to everybody is the client's business. An error quotes nothing of the
// body but what an OAuth error says, without the secrets.
func call(client *http.Client, r *http.Request, secrets []string, to any) error {
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return reachError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return reachError(err)
	case resp.StatusCode != http.StatusOK:
		return newRefusal(resp, body, secrets)
	case decode(body, to) != nil:
		return errors.New("the issuer's answer is not the JSON that it should be")
	}
	return nil
}

// decode takes an object alone: null would leave everything as it is.
func decode(body []byte, to any) error {
	if text := strings.TrimLeft(string(body), " \t\r\n"); !strings.HasPrefix(text, "{") {
		return errors.New("no object")
	}
	return json.Unmarshal(body, to)
}

// reachError leaves the request's URL out, which is in the settings, and who was
// asked in.
func reachError(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return authn.Foreign{Err: err}
	}
	host := ""
	if at, parseErr := url.Parse(u.URL); parseErr == nil {
		host = at.Host
	}
	return fmt.Errorf("ask %s: %w", host, authn.Foreign{Err: u.Err})
}

func newRefusal(resp *http.Response, body []byte, secrets []string) *Refusal {
	no := &Refusal{Status: resp.StatusCode}
	var said struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}
	if decode(body, &said) == nil {
		no.Code, no.Text = issuer.Without(said.Code, secrets...), issuer.Without(said.Text, secrets...)
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		no.After = time.Duration(min(s, 3600)) * time.Second
	}
	return no
}
