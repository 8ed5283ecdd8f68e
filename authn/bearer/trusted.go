package bearer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
	"gatehouse/config"
	"gatehouse/session"
)

const (
	// keysAge is when an issuer's keys are asked for again, beside the work. While
	// the issuer answers, a key that it took back is good for little longer than this
	// and what is remembered.
	keysAge = 10 * time.Minute
	// documentAge is when a discovery document is asked for again.
	documentAge = time.Hour
	// discoveryPause is how long nobody asks again after a failure.
	discoveryPause = 5 * time.Second
)

// trusted is one issuer of the settings: all that is known of it and how its
// tokens are judged.
type trusted struct {
	route     string
	settings  config.Issuer
	base      *url.URL
	client    *http.Client
	accounts  authn.Accounts
	admission authn.Admission
	foreign   []string
	claims    []string // that the policy asks for
	log       *slog.Logger

	keys          *issuer.KeySet
	introspection *introspection // nil if opaque tokens are not asked about

	flight   singleflight.Group // of discovery
	mu       sync.Mutex
	known    known       // of the newest keys
	file     os.FileInfo // that they were read from, if they were
	doc      document    // of the newest discovery
	readAt   time.Time
	failedAt time.Time // the latest discovery that failed
	fault    error     // why
}

func newTrusted(route string, c config.Issuer, cache config.TokenCache, d Deps, foreign []string) (*trusted, error) {
	base, err := issuer.Parse(c.Issuer)
	if err != nil {
		return nil, err
	}
	if len(c.Audiences) == 0 && !c.SkipAudienceValidation {
		return nil, errors.New("audiences: missing") // JWT-35
	}
	trust, err := c.TLS.Load()
	if err != nil {
		return nil, err
	}
	client := issuer.NewClient(trust, d.Calls)
	c.Types = slices.Clone(c.Types)
	for i, typ := range c.Types { // RFC 7515, section 4.1.9: case does not matter, and "application/" may be left out
		c.Types[i] = strings.TrimPrefix(authn.FoldASCII(typ), "application/")
	}
	t := &trusted{
		route: route, settings: c, base: base, client: client, accounts: d.Accounts, foreign: foreign, claims: d.Claims,
		admission: authn.NewAdmission(c.AllowedEmailDomains, c.AllowedGroups, false),
		log:       d.Log.With("issuer", c.Issuer),
	}
	t.keys = issuer.NewKeys(t.loadKeys, keysAge, c.KeysInterval.Std())
	if text, err := os.ReadFile(c.KeyFile); c.KeyFile != "" && err == nil { // one that is missing may come yet
		if _, err := issuer.ReadKeys(text); err != nil {
			return nil, fmt.Errorf("keyFile: %w", err)
		}
	}
	if c.Introspection != nil {
		version, err := settingsVersion(c)
		if err != nil {
			return nil, err
		}
		results := session.NewResults(d.Store, d.Keys, "introspection "+route+" "+version)
		if t.introspection, err = newIntrospection(c, client, results, cache.Lifetime.Std()); err != nil {
			return nil, fmt.Errorf("introspection: %w", err)
		}
	}
	return t, nil
}

// settingsVersion stands for all settings that a verdict depends on. Secrets are
// masked in it: another secret makes no other verdict.
func settingsVersion(c config.Issuer) (string, error) {
	text, err := json.Marshal(c, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), nil
}

// document is what an issuer says of itself.
type document struct {
	Issuer        string `json:"issuer"`
	JWKSURI       string `json:"jwks_uri"`
	Introspection string `json:"introspection_endpoint"`
}

// discover returns what the issuer says of itself. It is asked once at a time,
// and after a failure not again for a while; what it said before counts for a day.
func (t *trusted) discover(ctx context.Context) (document, error) {
	t.mu.Lock()
	doc, age, failed, fault := t.doc, time.Since(t.readAt), time.Since(t.failedAt), t.fault
	t.mu.Unlock()
	switch {
	case age < documentAge:
		return doc, nil
	case failed < discoveryPause && age < issuer.KeysMaxAge:
		return doc, nil
	case failed < discoveryPause:
		return document{}, fault
	}
	answer := t.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issuer.CallTime)
		defer cancel()
		fresh, err := t.readDocument(ctx)
		t.mu.Lock()
		defer t.mu.Unlock()
		if err != nil {
			t.failedAt, t.fault = time.Now(), err
			return nil, err
		}
		t.doc, t.readAt = fresh, time.Now()
		return fresh, nil
	})
	select {
	case <-ctx.Done():
		return document{}, ctx.Err()
	case a := <-answer:
		if a.Err != nil && age < issuer.KeysMaxAge {
			return doc, nil
		}
		fresh, _ := a.Val.(document)
		return fresh, a.Err
	}
}

// readDocument reads the issuer's document, where OpenID Connect Discovery puts it
// or else where the W&B server's manual does.
func (t *trusted) readDocument(ctx context.Context) (document, error) {
	token, err := t.tokenFor(t.settings.Issuer)
	if err != nil {
		return document{}, err
	}
	ctx = meter.Asking(ctx, "discovery")
	base := strings.TrimSuffix(t.settings.Issuer, "/") + "/.well-known/"
	text, err := issuer.Get(ctx, base+"openid-configuration", token, t.client)
	if status := issuer.StatusError(0); errors.As(err, &status) && status == http.StatusNotFound {
		text, err = issuer.Get(ctx, base+"oidc-configuration", token, t.client)
	}
	if err != nil {
		return document{}, fmt.Errorf("discovery: %w", err)
	}
	var fresh document
	switch err := json.Unmarshal(text, &fresh); {
	case err != nil:
		return document{}, fmt.Errorf("discovery: %w", authn.Foreign{Err: err})
	case fresh.Issuer != t.settings.Issuer: // OpenID Connect Discovery, section 4.3
		return document{}, fmt.Errorf("discovery: the document is of issuer %q", authn.Bounded(fresh.Issuer))
	}
	return fresh, nil
}

// endpoint returns where something is: where the settings say, or where the
// discovery document does and can be trusted to.
func (t *trusted) endpoint(ctx context.Context, set, name string, of func(document) string) (string, error) {
	if set != "" {
		return set, nil
	}
	doc, err := t.discover(ctx)
	if err != nil {
		return "", err
	}
	if of(doc) == "" {
		return "", fmt.Errorf("discovery: no %s", name)
	}
	if err := t.checkEndpoint(of(doc)); err != nil {
		return "", fmt.Errorf("discovery: %s: %w", name, err)
	}
	return of(doc), nil
}

// checkEndpoint refuses what a document must not lead to. An address of a private
// network is for an issuer that has one too, or a certificate of its own authority,
// as a Kubernetes API server has; else the settings must name it.
func (t *trusted) checkEndpoint(raw string) error {
	if err := issuer.CheckEndpoint(raw, t.base); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err == nil && issuer.Private(u.Hostname()) && !issuer.Private(t.base.Hostname()) && t.settings.TLS.CAFile == "" {
		err = fmt.Errorf("%q is an address of a private network; if it is meant, name it in the settings", authn.Bounded(raw))
	}
	return err
}

func jwksURI(d document) string               { return d.JWKSURI }
func introspectionEndpoint(d document) string { return d.Introspection }
