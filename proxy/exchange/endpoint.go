package exchange

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
	"gatehouse/config"
)

const (
	// callTime bounds one call, body and all.
	callTime = issuer.CallTime
	// grantType is that of a JWT (RFC 7523, section 2.1), as the W&B SDK spells it: with
	// the colons as they are.
	grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// unsaid is how long a token is taken to be good of which nobody says it.
	unsaid = time.Minute
	// margin is how long before its end a token is no longer used, so that it is still
	// good when it arrives; of a short one, a fifth of its life.
	margin = time.Minute
	// maxToken bounds a token, in bytes: it goes into a header.
	maxToken = 8 << 10
)

// endpoint is where an application gives access tokens.
type endpoint struct {
	client *http.Client
	url    string
	host   string // what the Host header says; empty for that of the URL
	public *url.URL
}

// newEndpoint is the endpoint that the settings name, or that of the upstream itself.
// The latter is asked in the way that all requests go: without a proxy, and under the
// host name that the application has in public, by which it may tell what is its own.
func newEndpoint(u config.Upstream, public *url.URL, calls meter.Calls) (endpoint, error) {
	if u.Exchange.TokenURL != "" {
		t, err := u.Exchange.TLS.Load()
		return endpoint{client: issuer.NewClient(t, calls), url: u.Exchange.TokenURL}, err
	}
	target, err := url.Parse(u.URL)
	if err != nil {
		return endpoint{}, err
	}
	dialer := &net.Dialer{Timeout: u.ConnectTimeout.Std()}
	t := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: u.ConnectTimeout.Std(), ResponseHeaderTimeout: callTime,
		MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
	}
	switch target.Scheme {
	case "unix":
		socket := target.Path
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
		target = &url.URL{Scheme: "http", Host: "localhost"}
	case "https":
		if t.TLSClientConfig, err = u.TLS.Load(); err != nil {
			return endpoint{}, err
		}
		t.ForceAttemptHTTP2 = true
	}
	client := issuer.Guarded(t)
	client.Transport = meter.Transport(calls, client.Transport)
	e := endpoint{client: client, url: target.Scheme + "://" + target.Host + "/oidc/token", public: public}
	switch {
	case u.HostHeader == "upstream":
	case len(u.Hosts) > 0:
		e.host = u.Hosts[0]
	default:
		e.host = public.Host
	}
	return e, nil
}

// grant is a success (RFC 6749, section 5.1). A W&B server's has no type.
type grant struct {
	Access  string         `json:"access_token"`
	Type    string         `json:"token_type"`
	Expires jsontext.Value `json:"expires_in"`
}

// ask exchanges a JWT, and says for how long to use what it got for it. The error is
// a *[authn.NotAllowed] if the application refuses the person.
func (e endpoint) ask(ctx context.Context, signed string) (token string, life time.Duration, err error) {
	req, err := e.request(ctx, signed)
	if err != nil {
		return "", 0, err
	}
	res, err := e.client.Do(req)
	if err != nil {
		return "", 0, issuer.CallError(authn.Foreign{Err: err})
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body) // bounded by the client
	if err != nil {
		return "", 0, issuer.CallError(authn.Foreign{Err: err})
	}
	if res.StatusCode != http.StatusOK { // 201 is as wrong as 400, to the SDK too
		return "", 0, newRefusal(res.StatusCode, body, signed)
	}
	return read(body)
}

func (e endpoint) request(ctx context.Context, signed string) (*http.Request, error) {
	form := "grant_type=" + grantType + "&assertion=" + url.QueryEscape(signed)
	req, err := http.NewRequestWithContext(meter.Asking(ctx, "token"), http.MethodPost, e.url, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	req.Host = e.host
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gatehouse")
	if e.public != nil {
		req.Header.Set("X-Forwarded-Host", cmp.Or(e.host, e.public.Host))
		req.Header.Set("X-Forwarded-Proto", e.public.Scheme)
	}
	req.Header["Idempotency-Key"] = []string{} // is not sent; lets net/http ask again where a kept connection was closed
	return req, nil
}

// read takes the token and its use out of a success.
func read(body []byte) (token string, life time.Duration, err error) {
	var g grant
	if err := json.Unmarshal(body, &g); err != nil {
		return "", 0, errors.New("the answer is not the JSON that it should be")
	}
	switch {
	case g.Access == "":
		return "", 0, errors.New("the answer has no access_token")
	case len(g.Access) > maxToken || strings.ContainsFunc(g.Access, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", 0, errors.New("the access_token is none that a header can hold")
	case g.Type != "" && !strings.EqualFold(g.Type, "Bearer"):
		return "", 0, fmt.Errorf("the token's type is %q and not Bearer", authn.Bounded(g.Type))
	}
	life, err = lifetime(g.Expires)
	if err != nil {
		return "", 0, err
	}
	return g.Access, min(life-min(life/5, margin), longest), nil
}

// lifetime reads expires_in: a number, or a text with a number in it, as some have it.
func lifetime(v jsontext.Value) (time.Duration, error) {
	if len(v) == 0 || string(v) == "null" {
		return unsaid, nil
	}
	seconds, err := strconv.ParseFloat(strings.Trim(string(v), `"`), 64)
	if err != nil || !(seconds > 0) {
		return 0, fmt.Errorf("expires_in is %s, so the token is good for nothing", authn.Bounded(string(v)))
	}
	return time.Duration(min(seconds, (24*time.Hour).Seconds()) * float64(time.Second)), nil
}

// refusal is an answer that is no success.
type refusal struct {
	status     int
	code, text string // of an OAuth error (RFC 6749, section 5.2)
	page       bool
}

func (r *refusal) Error() string {
	s := "the token endpoint answers " + strconv.Itoa(r.status)
	if r.code != "" {
		s += fmt.Sprintf(" %q", authn.Bounded(r.code))
	}
	if r.text != "" {
		s += fmt.Sprintf(" %q", authn.Bounded(r.text))
	}
	switch {
	case r.status/100 == 3:
		s += " (a redirect, which is not followed)"
	case r.page:
		s += " (a page for people; is the URL right, and is there a proxy in between?)"
	}
	return s
}

// known says that it is the person whom the application won't give a token for. What
// stays is a server that is down or busy, has no such endpoint, does not do what is
// asked of it or has something before it: nobody's fault who asks.
func (r *refusal) known() bool {
	codes := []string{
		"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"temporarily_unavailable", "server_error", "slow_down",
	}
	statuses := []int{
		http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusGone, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests,
	}
	return r.status/100 == 4 && !r.page && !slices.Contains(statuses, r.status) && !slices.Contains(codes, r.code)
}

// newRefusal reads an answer that is no success. What it quotes of it is an OAuth
// error alone, without what was signed.
func newRefusal(status int, body []byte, signed string) error {
	r := &refusal{status: status, page: bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))}
	var said struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) == nil {
		r.code, r.text = issuer.Without(said.Code, signed), issuer.Without(said.Text, signed)
	}
	if !r.known() {
		return r
	}
	return fmt.Errorf("%w: %w", r, &authn.NotAllowed{
		Missing: "The application behind this gateway does not know you. Ask those who run it for an account.",
	})
}
