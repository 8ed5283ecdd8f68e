package bearer

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
	"gatehouse/session"
)

const (
	gatewayURL = "https://gw.test"
	idpURL     = "https://idp.test"
	otherURL   = "https://other.test"
	tokenPath  = "/oidc/token"
	ringKey    = "VGhpcyBrZXkgaXMgZm9yIHRlc3RzIG9ubHksIG9rPyE="
)

// The keys are shared: RSA keys are slow to make.
var (
	es256   = sync.OnceValue(func() authntest.Key { return authntest.NewKey("ES256") })
	es256b  = sync.OnceValue(func() authntest.Key { return authntest.NewKey("ES256") })
	foreign = sync.OnceValue(func() authntest.Key { return authntest.NewKey("ES256") })
	rs256   = sync.OnceValue(func() authntest.Key { return authntest.NewKey("RS256") })
	eddsa   = sync.OnceValue(func() authntest.Key { return authntest.NewKey("EdDSA") })
)

// world is hosts that reach each other without a network.
type world struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
	calls map[string]int // by host and path
}

// RoundTrip lets the host's handler answer.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h := w.hosts[r.URL.Host]
	w.calls[r.URL.Host+r.URL.Path]++
	w.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("dial %s: no such host", r.URL.Host)
	}
	return authntest.Serve(h, r)
}

// seen counts the requests to the addresses that begin so.
func (w *world) seen(prefix string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, calls := range w.calls {
		if strings.HasPrefix(at, prefix) {
			n += calls
		}
	}
	return n
}

// setup is what a test may change before a rig is built.
type setup struct {
	settings config.Bearer
	deps     Deps
	idp      authntest.IssuerOptions
}

// first is the settings of the first issuer.
func (s *setup) first() *config.Issuer { return &s.settings.Issuers[0] }

// rig is a gateway with one route and two issuers.
type rig struct {
	t testing.TB
	*world
	idp, other *authntest.Issuer
	asked      *introspector
	setup      setup
	b          *route
	route      authn.Route
	mux        *http.ServeMux
	log        *authntest.Log
	store      *spyStore
}

// trust is an issuer with the defaults of the settings.
func trust(name string) config.Issuer {
	return config.Issuer{
		Issuer: name, Audiences: []string{"wandb"}, SigningAlgorithms: []string{"RS256", "ES256", "EdDSA"},
		Types: []string{"JWT", "at+jwt", "none"}, Kind: "person",
		Claims: config.Claims{
			Subject: "sub", Username: "preferred_username", Name: "name", Email: "email", EmailVerified: "email_verified", Groups: "groups",
		},
		ClockSkew: config.Duration(time.Minute), MaxLifetime: config.Duration(24 * time.Hour), KeysInterval: config.Duration(10 * time.Second),
	}
}

func newRig(t testing.TB, changes ...func(*setup)) *rig {
	t.Helper()
	r := &rig{
		t: t, world: &world{hosts: map[string]http.Handler{}, calls: map[string]int{}}, log: &authntest.Log{},
		store: &spyStore{Store: session.NewMemory()}, asked: &introspector{},
	}
	t.Cleanup(func() { r.store.Close() })
	public, err := url.Parse(gatewayURL)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := session.NewKeyring(gatewayURL, []string{ringKey})
	if err != nil {
		t.Fatal(err)
	}
	r.setup = setup{
		settings: config.Bearer{
			Issuers: []config.Issuer{trust(idpURL), trust(otherURL)}, Unknown: "refuse",
			Exchange: config.Exchange{Lifetime: config.Duration(time.Hour), Replay: "allow"},
			Cache:    config.TokenCache{Lifetime: config.Duration(time.Minute), RejectedLifetime: config.Duration(5 * time.Second), Size: 1000},
		},
		deps: Deps{
			PublicURL: public, TokenPath: tokenPath, Prefix: "/.gatehouse", Keys: keys, Store: r.store,
			Log: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		},
		idp: authntest.IssuerOptions{URL: idpURL, Keys: []authntest.Key{es256()}},
	}
	for _, change := range changes {
		change(&r.setup)
	}
	r.idp = authntest.NewIssuer(r.setup.idp)
	r.other = authntest.NewIssuer(authntest.IssuerOptions{URL: otherURL, Keys: []authntest.Key{es256b()}})
	r.hosts["other.test"] = r.other
	r.hosts["idp.test"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/introspect" {
			r.asked.ServeHTTP(w, req)
			return
		}
		r.idp.ServeHTTP(w, req)
	})
	r.b = r.replica()
	r.route, r.mux = r.b.route(), http.NewServeMux()
	if r.route.Mount != nil {
		r.route.Mount(r.mux)
	}
	return r
}

// replica makes one more route of the same settings over the same store.
func (r *rig) replica(changes ...func(*setup)) *route {
	r.t.Helper()
	s := r.setup
	s.settings.Issuers = append([]config.Issuer(nil), s.settings.Issuers...)
	for _, change := range changes {
		change(&s)
	}
	b, err := newRoute("robots", s.settings, s.deps)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, each := range b.issuers {
		each.client = issuer.Guarded(r.world)
		if each.introspection != nil {
			each.introspection.client = each.client
		}
	}
	return b
}

// claims are those of a token that is good for an hour, with changes; nil takes
// one out.
func claims(changes map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{
		"iss": idpURL, "sub": "1001", "aud": "wandb", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"preferred_username": "ada", "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true,
		"groups": []string{"admins", "research"},
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

type m = map[string]any

// good is a token of the first issuer.
func good() string { return authntest.JWT(es256(), nil, claims(nil)) }

// with is one with other claims.
func with(changes m) string { return authntest.JWT(es256(), nil, claims(changes)) }

// ada is whom a good token stands for.
func ada() authn.Identity {
	return authn.Identity{Issuer: idpURL, Subject: "1001", Kind: authn.Person, Route: "robots", Username: "ada",
		Name: "Ada Lovelace", Email: "ada@example.com", Groups: []string{"admins", "research"}}
}

func request(authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, gatewayURL+"/graphql", nil)
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	return r
}

// judge asks a route as the gateway does: the authenticator, then who refuses
// what is nobody's, then whether they may come in.
func judge(b *route, r *http.Request) (authn.Identity, error) { return judgeBy(b.route(), r) }

func judgeBy(way authn.Route, r *http.Request) (authn.Identity, error) {
	chain := authn.Chain{way.Authenticator}
	if way.Last != nil {
		chain = append(chain, way.Last)
	}
	id, err := chain.Authenticate(r)
	if err == nil {
		err = way.Allow(id)
	}
	if err != nil {
		return authn.Identity{}, err
	}
	return id, nil
}

func (r *rig) judge(token string) (authn.Identity, error) {
	return judge(r.b, request("Bearer "+token))
}

func (r *rig) accepted(token string) authn.Identity {
	r.t.Helper()
	id, err := r.judge(token)
	if err != nil {
		r.t.Fatalf("refused: %v\n%s", err, r.log)
	}
	return id
}

// rejected asserts a 401 and, if there is one, its sentence.
func (r *rig) rejected(token, sentence string) {
	r.t.Helper()
	id, err := r.judge(token)
	if !errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) || !reflect.ValueOf(id).IsZero() {
		r.t.Fatalf("identity %+v, error %v; want a rejection", id, err)
	}
	var no *authn.Rejected
	if errors.As(err, &no) {
		if len(token) > 20 && strings.Contains(no.Sentence, token) || len(token) > 20 && strings.Contains(err.Error(), token) {
			r.t.Error("the answer quotes the token")
		}
		if !strings.Contains(no.Sentence, sentence) {
			r.t.Errorf("sentence %q, want %q", no.Sentence, sentence)
		}
	} else if sentence != "" {
		r.t.Errorf("no sentence in %v, want %q", err, sentence)
	}
}

// unsure asserts a 503: it could not be found out.
func (r *rig) unsure(token string) {
	r.t.Helper()
	id, err := r.judge(token)
	if !outage(err) || !reflect.ValueOf(id).IsZero() {
		r.t.Fatalf("identity %+v, error %v; want a failure to find out", id, err)
	}
}

func isAbsent(err error) bool {
	return errors.Is(err, authn.ErrNoCredential) && !errors.Is(err, authn.ErrRejected)
}

func isRejected(err error) bool {
	return errors.Is(err, authn.ErrRejected) && !errors.Is(err, authn.ErrNoCredential)
}

func outage(err error) bool {
	var not *authn.NotAllowed
	return err != nil && !errors.Is(err, authn.ErrRejected) && !errors.Is(err, authn.ErrNoCredential) && !errors.As(err, &not)
}

// logged asserts that the log has this text.
func (r *rig) logged(texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.log.String(), text) {
			r.t.Errorf("log lacks %q:\n%s", text, r.log)
		}
	}
}

// post sends a form to the gateway.
func (r *rig) post(path, form string, headers ...string) *httptest.ResponseRecorder {
	return post(r.mux, path, form, headers...)
}

func post(h http.Handler, path, form string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, gatewayURL+path, strings.NewReader(form))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// ring is a key ring of other keys.
func ring(t testing.TB, keys ...string) session.Keyring {
	t.Helper()
	k, err := session.NewKeyring(gatewayURL, keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// exchange sends a JWT to the token endpoint, as the W&B SDK does.
func (r *rig) exchange(assertion string) *httptest.ResponseRecorder {
	return r.post(tokenPath, "grant_type="+grantJWT+"&assertion="+url.QueryEscape(assertion))
}

// issue is the access token for a JWT.
func (r *rig) issue(assertion string) string {
	r.t.Helper()
	w := r.exchange(assertion)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.Token == "" {
		r.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return answer.Token
}

// asks makes the gateway ask the first issuer about opaque tokens.
func asks(s *setup) {
	s.first().Introspection = &config.Introspection{URL: idpURL + "/introspect", ClientID: "gw", ClientSecret: "s3cret"}
}
