package wandb

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Generation is which of the SDK's programs exchanges the token.
type Generation int

// The generations of identity federation.
const (
	// Core is wandb-core as of 0.28.2.
	Core Generation = iota
	// OldCore is wandb-core up to 0.28.1: it reads the token's file once and sends
	// it as it is, and repeats refused exchanges until somebody stops it.
	OldCore
	// Python is the SDK's part in Python: it escapes the form, sends what ~/.netrc
	// has for the host beside it, and asks for a new token after the end of the
	// old one only.
	Python
)

// Federation is how a client gets an access token for a JWT (RFC 7523).
type Federation struct {
	// TokenFile is WANDB_IDENTITY_TOKEN_FILE.
	TokenFile string
	// CredentialsFile is where access tokens are kept, WANDB_CREDENTIALS_FILE.
	CredentialsFile string
	Generation      Generation
	// NetrcKey is the password in ~/.netrc.
	NetrcKey string
}

const (
	jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// refreshBefore is how long before its end a token is no longer used.
	refreshBefore = 5 * time.Minute
	// utcWithoutZone is how credentials.json writes times.
	utcWithoutZone = "2006-01-02 15:04:05"
)

// credentialsFile is credentials.json.
type credentialsFile struct {
	Credentials map[string]credential `json:"credentials"`
}

type credential struct {
	ExpiresAt   string `json:"expires_at"`
	AccessToken string `json:"access_token"`
}

// accessToken is the token to send: the one that there is until its end is near,
// by the clock alone, or else a new one.
func (c *Client) accessToken(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == "" {
		if err := c.readCredentials(); err != nil {
			return "", err
		}
	}
	margin := refreshBefore
	if c.settings.Federation.Generation == Python {
		margin = 0
	}
	if c.token != "" && c.ends.Sub(c.settings.Now()) > margin {
		return c.token, nil
	}
	token, life, err := c.exchange(ctx)
	if err != nil {
		return "", err
	}
	c.token, c.ends = token, c.settings.Now().Add(life)
	return token, c.writeCredentials()
}

func (c *Client) readCredentials() error {
	name := c.settings.Federation.CredentialsFile
	if name == "" {
		return nil
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var f credentialsFile
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	kept := f.Credentials[c.settings.URL]
	ends, err := time.ParseInLocation(utcWithoutZone, kept.ExpiresAt, time.UTC)
	if kept.AccessToken != "" && err == nil {
		c.token, c.ends = kept.AccessToken, ends
	}
	return nil
}

func (c *Client) writeCredentials() error {
	name := c.settings.Federation.CredentialsFile
	if name == "" {
		return nil
	}
	b, err := json.Marshal(credentialsFile{map[string]credential{
		c.settings.URL: {c.ends.UTC().Format(utcWithoutZone), c.token},
	}})
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}

// exchange asks the token endpoint.
func (c *Client) exchange(ctx context.Context) (string, time.Duration, error) {
	assertion, err := c.readAssertion()
	if err != nil {
		return "", 0, err
	}
	f := c.settings.Federation
	what := call{
		method: http.MethodPost, url: c.settings.URL + "/oidc/token",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		body:   []byte("grant_type=" + jwtBearer + "&assertion=" + url.QueryEscape(assertion)), // the colons as they are
	}
	try := attempts{retries: 3, first: 1, most: 5, timeout: 10 * time.Second, again: retryExchange}
	switch f.Generation {
	case OldCore:
		what.body = []byte("grant_type=" + jwtBearer + "&assertion=" + assertion)
		try = attempts{retries: -1, first: 1, most: 10, timeout: 10 * time.Second, again: func(status int) bool { return status != http.StatusOK }}
	case Python:
		what.body = []byte(url.Values{"grant_type": {jwtBearer}, "assertion": {assertion}}.Encode())
		what.header.Set("User-Agent", "python-requests/2.32.5")
		if f.NetrcKey != "" {
			what.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+f.NetrcKey)))
		}
	default:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
	}
	a, err := c.send(ctx, try, what)
	if err != nil {
		return "", 0, fmt.Errorf("failed to retrieve access token: %w", err)
	}
	if a.status != http.StatusOK { // 201 is as wrong as 400
		return "", 0, rejection{fmt.Errorf("failed to retrieve access token: HTTP %d: %s", a.status, strings.TrimSpace(string(a.body)))}
	}
	return f.Generation.read(a.body)
}

// readAssertion reads the JWT: whenever it is needed, because whoever made it may
// have made another one since.
func (c *Client) readAssertion() (string, error) {
	f := c.settings.Federation
	if f.Generation == OldCore && c.assertion != "" {
		return c.assertion, nil
	}
	b, err := os.ReadFile(f.TokenFile)
	if err != nil {
		return "", err
	}
	c.assertion = string(b)
	if f.Generation != OldCore { // which sends the newline at the end of the file too
		c.assertion = strings.TrimSpace(c.assertion)
	}
	return c.assertion, nil
}

// read takes the token and its life from an answer.
func (g Generation) read(body []byte) (string, time.Duration, error) {
	if g == Python {
		var got struct {
			AccessToken string   `json:"access_token"`
			ExpiresIn   *float64 `json:"expires_in"`
		}
		if err := json.Unmarshal(body, &got); err != nil || got.ExpiresIn == nil {
			return "", 0, fmt.Errorf("access token: no expires_in: %w", errors.Join(err, errIncomplete))
		}
		return got.AccessToken, time.Duration(*got.ExpiresIn * float64(time.Second)), nil
	}
	var got struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return "", 0, fmt.Errorf("access token: %w", err)
	}
	return got.AccessToken, time.Duration(got.ExpiresIn) * time.Second, nil
}

// errIncomplete is an answer without what must be in it.
var errIncomplete = errors.New("incomplete answer")
