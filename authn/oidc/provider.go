package oidc

import (
	"context"
	"encoding/json/v2"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	upstream "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
	"gatehouse/config"
)

const (
	// metadataAge is when metadata is asked for again, beside the work.
	metadataAge = time.Hour
	// probeAge is how long an answer about readiness may be old.
	probeAge = 30 * time.Second
	// maxBackoff is the longest wait after a failed discovery.
	maxBackoff = 30 * time.Second
)

// metadata is what the provider says of itself (OpenID Connect Discovery, section 3).
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	Prompts               []string `json:"prompt_values_supported"`
	// IssInResponse: every authorization response names its issuer (RFC 9207, section 3).
	IssInResponse bool `json:"authorization_response_iss_parameter_supported"`
	// PushedEndpoint takes authorization requests, and RequirePushed says that no other
	// way is taken (RFC 9126, section 5).
	PushedEndpoint string `json:"pushed_authorization_request_endpoint"`
	RequirePushed  bool   `json:"require_pushed_authorization_requests"`

	keys *issuer.KeySet
}

// provider is one OpenID provider as far as it is known. Metadata is asked for
// when it is first needed, kept, and renewed beside the work; a provider that
// does not answer is asked again with growing waits.
type provider struct {
	settings config.OIDC
	client   *http.Client
	log      *slog.Logger
	flight   singleflight.Group

	mu     sync.Mutex
	known  *metadata
	err    error     // of the last discovery
	asked  time.Time // when that was
	failed int       // discoveries failed in a row
}

func newProvider(c config.OIDC, client *http.Client, log *slog.Logger) *provider {
	return &provider{settings: c, client: client, log: log}
}

// metadata returns what is known of the provider, asking for it if nothing is.
// Its error wraps issuer.ErrUnavailable.
func (p *provider) metadata(ctx context.Context) (*metadata, error) {
	known, last, wait := p.state(metadataAge)
	if wait && known != nil {
		return known, nil
	}
	if wait {
		return nil, last
	}
	answer := p.flight.DoChan("", func() (any, error) { return p.discover(ctx) })
	if known != nil {
		return known, nil
	}
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: provider metadata: %w", issuer.ErrUnavailable, ctx.Err())
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*metadata), nil
	}
}

// ready reports whether the provider answers and has keys, as of at most half a minute ago.
func (p *provider) ready(ctx context.Context) error {
	known, err, wait := p.state(probeAge)
	if !wait {
		select {
		case <-ctx.Done():
			return fmt.Errorf("oidc: provider metadata: %w", ctx.Err())
		case a := <-p.flight.DoChan("", func() (any, error) { return p.discover(ctx) }):
			known, _ = a.Val.(*metadata)
			err = a.Err
		}
	}
	if err != nil {
		return fmt.Errorf("oidc: %w", err)
	}
	return known.keys.Ready(ctx)
}

// state returns what is known, the last discovery's error and whether it is too
// early to ask again: for due after a success, and after failures for 1 s, then
// twice as long each time.
func (p *provider) state(due time.Duration) (known *metadata, err error, wait bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed > 0 {
		due = min(time.Second<<min(p.failed-1, 10), maxBackoff)
	}
	return p.known, p.err, !p.asked.IsZero() && time.Since(p.asked) < due
}

// discover asks the provider for its metadata, once at a time, with its own
// bound: who asked first may go away.
func (p *provider) discover(ctx context.Context) (any, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issuer.CallTime)
	defer cancel()
	m, err := fetchMetadata(ctx, p.settings.Issuer, p.client)
	if err == nil {
		err = m.check(p.settings)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = time.Now()
	if err != nil {
		p.failed++
		p.err = fmt.Errorf("%w: provider metadata: %w", issuer.ErrUnavailable, err)
		p.log.Warn("provider metadata not to be had", "err", err, "failed", p.failed)
		return nil, p.err
	}
	p.err, p.failed = nil, 0
	p.adopt(m)
	return m, nil
}

// adopt makes m what is known. Keys are kept as long as they come from the same
// place.
func (p *provider) adopt(m *metadata) {
	if p.known != nil && p.known.JWKSURI == m.JWKSURI {
		m.keys = p.known.keys
	} else {
		m.keys = issuer.NewKeySet(m.JWKSURI, p.client)
	}
	if p.known != nil && p.known.TokenEndpoint != m.TokenEndpoint {
		p.log.Warn("provider moved its token endpoint", "from", p.known.TokenEndpoint, "to", m.TokenEndpoint)
	}
	p.known = m
}

// fetchMetadata reads the discovery document.
func fetchMetadata(ctx context.Context, issuer string, client *http.Client) (*metadata, error) {
	text, err := fetchDocument(ctx, issuer, client)
	if err != nil {
		return nil, err
	}
	m := &metadata{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, authn.Foreign{Err: err}
	}
	if m.Issuer != issuer { // go-oidc would take "Issuer" for "issuer"
		return nil, authn.Foreign{Err: &upstream.IssuerMismatchError{Provided: issuer, Discovered: m.Issuer}}
	}
	return m, nil
}

// fetchDocument reads the discovery document as it is. The issuer it names must
// be the one that was asked for, byte for byte (OpenID Connect Discovery,
// section 4.3).
func fetchDocument(ctx context.Context, issuer string, client *http.Client) (rawDocument, error) {
	doc, err := upstream.NewProvider(upstream.ClientContext(meter.Asking(ctx, "discovery"), client), issuer)
	if err != nil {
		return nil, authn.Foreign{Err: err} // it may hold the page that the provider answered with
	}
	var text rawDocument
	return text, doc.Claims(&text)
}

// rawDocument takes a document as it is, for a stricter parser.
type rawDocument []byte

// UnmarshalJSON keeps the text.
func (r *rawDocument) UnmarshalJSON(text []byte) error {
	*r = slices.Clone(text)
	return nil
}

// check refuses metadata with an endpoint that can't be trusted with what is
// sent there.
func (m *metadata) check(c config.OIDC) error {
	base, err := issuer.Parse(c.Issuer)
	if err != nil {
		return err
	}
	for _, e := range []struct {
		name, url string
		needed    bool
	}{
		{"authorization_endpoint", m.AuthorizationEndpoint, true},
		{"jwks_uri", m.JWKSURI, true},
		{"token_endpoint", m.TokenEndpoint, c.AuthMethod != "implicit"},
		{"userinfo_endpoint", m.UserinfoEndpoint, c.Userinfo == "always"},
		{"end_session_endpoint", m.EndSessionEndpoint, false},
		{"revocation_endpoint", m.RevocationEndpoint, false},
		{"pushed_authorization_request_endpoint", m.PushedEndpoint, m.pushes(c)},
	} {
		if e.url == "" && !e.needed {
			continue
		}
		if err := issuer.CheckEndpoint(e.url, base); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if len(m.algorithms(c)) == 0 {
		return fmt.Errorf("no acceptable signature algorithm in %q", authn.Bounded(strings.Join(m.SigningAlgorithms, " ")))
	}
	return nil
}

// algorithms are the signature algorithms to accept: what the settings name, or
// the issuer.Algorithms ones that the provider names. Without a word from either it is
// RS256 (OpenID Connect Core, section 3.1.3.7).
func (m *metadata) algorithms(c config.OIDC) []string {
	switch {
	case len(c.SigningAlgorithms) > 0:
		return c.SigningAlgorithms
	case len(m.SigningAlgorithms) == 0:
		return []string{"RS256"}
	}
	return slices.DeleteFunc(slices.Clone(m.SigningAlgorithms), func(alg string) bool {
		return !slices.Contains(issuer.Algorithms(), alg)
	})
}
