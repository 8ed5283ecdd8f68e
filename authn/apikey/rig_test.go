package apikey

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/session"
)

const (
	firstKey  = "bWFkZSBmb3IgdGhpcyB0ZXN0IGFuZCBub3RoaW5nIGVsc2U="
	secondKey = "YW5vdGhlciBvbmUgZm9yIHRoaXMgdGVzdCBhbmQgbm8gb3RoZXI="
)

func ring(t testing.TB, keys ...string) session.Keyring {
	t.Helper()
	k, err := session.NewKeyring("https://gatehouse.test", keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// watched is a store that counts what is asked of it, and that can be down.
type watched struct {
	session.Store
	down          atomic.Bool
	reads, writes atomic.Int32
}

var errDown = errors.New("store: connection refused")

func (s *watched) Get(ctx context.Context, key string) ([]byte, bool, error) {
	s.reads.Add(1)
	if s.down.Load() {
		return nil, false, errDown
	}
	return s.Store.Get(ctx, key)
}

func (s *watched) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	s.writes.Add(1)
	if s.down.Load() {
		return errDown
	}
	return s.Store.Set(ctx, key, value, ttl)
}

func (s *watched) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	s.writes.Add(1)
	if s.down.Load() {
		return false, errDown
	}
	return s.Store.Add(ctx, key, value, ttl)
}

func (s *watched) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (bool, error) {
	s.writes.Add(1)
	if s.down.Load() {
		return false, errDown
	}
	return s.Store.Swap(ctx, key, old, next, ttl)
}

// application is a server that knows keys.
type application struct {
	mu        sync.Mutex
	asked     []*http.Request
	questions []string
	answer    http.HandlerFunc
	now, most int // questions under way
}

const ada = `{"data":{"viewer":{"id":"VXNlcjox","username":"ada","email":"ada@example.com","teams":{"edges":[{"node":{"name":"research"}},{"node":{"name":"ops"}}]}}}}`

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.asked, a.questions = append(a.asked, r), append(a.questions, string(body))
	a.now++
	a.most = max(a.most, a.now)
	answer := a.answer
	a.mu.Unlock()
	defer func() { a.mu.Lock(); a.now--; a.mu.Unlock() }()
	if answer == nil {
		answer = says(http.StatusOK, "application/json", ada)
	}
	answer(w, r)
}

func (a *application) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// RoundTrip answers without a network, for tests that turn the clock.
func (a *application) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Result(), nil
}

// setup is what a test may change before its route is made.
type setup struct {
	settings config.APIKey
	deps     Deps
	accounts []authn.Registration
	// here answers in this process, without a network.
	here http.RoundTripper
}

type rig struct {
	testing.TB
	k      *route
	route  authn.Route
	ledger Ledger
	store  *watched
	app    *application
	log    *authntest.Log
}

// in is the rig as a subtest has it.
func (r *rig) in(t testing.TB) *rig {
	sub := *r
	sub.TB = t
	return &sub
}

func usualAccounts() []authn.Registration {
	return []authn.Registration{
		{Account: authn.Account{Name: "ci", Team: "research", Teams: []string{"research"}, Role: "member"}},
		{Account: authn.Account{Name: "nightly", Team: "ops", Teams: []string{"ops", "research"}, Role: "admin"}},
	}
}

func newRig(t testing.TB, change ...func(*setup)) *rig {
	t.Helper()
	r := &rig{TB: t, app: &application{}, log: &authntest.Log{}, store: &watched{Store: session.NewMemory()}}
	s := setup{
		settings: config.APIKey{
			Application: "refuse", SubjectPrefix: "wandb:",
			Cache: config.TokenCache{Lifetime: config.Duration(time.Minute), RejectedLifetime: config.Duration(5 * time.Second), Size: 1000},
		},
		accounts: usualAccounts(),
		deps: Deps{
			PublicURL: &url.URL{Scheme: "https", Host: "gatehouse.test"}, Keys: ring(t, firstKey), Store: r.store,
			Log: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		},
	}
	for _, f := range change {
		f(&s)
	}
	if s.settings.Application == "verify" && s.deps.Upstream.URL == "" {
		s.deps.Upstream.URL = "http://app.test:8080"
		s.here = r.app
	}
	s.deps.Accounts = authn.NewAccounts(s.accounts, nil)
	var err error
	if r.k, err = newRoute("keys", s.settings, s.deps); err != nil {
		t.Fatal(err)
	}
	r.route = r.k.route()
	if s.here != nil {
		r.k.viewers.client.Transport = s.here
	}
	r.ledger = NewLedger(s.deps.Store, s.deps.Keys)
	return r
}

// end closes the route; a test that turns the clock does so itself.
func (r *rig) end() {
	r.Helper()
	if err := r.k.close(); err != nil {
		r.Error(err)
	}
}

// started is a rig that ends with its test.
func started(t testing.TB, change ...func(*setup)) *rig {
	t.Helper()
	r := newRig(t, change...)
	t.Cleanup(r.end)
	return r
}

func (r *rig) made(account string) (key string, k Key) {
	r.Helper()
	key, k, err := shownKey(context.Background(), r.ledger, account, "", 30*24*time.Hour)
	if err != nil {
		r.Fatal(err)
	}
	return key, k
}

// ask sends a key as the SDK does.
func (r *rig) ask(key string) (authn.Identity, error) {
	return r.route.Authenticator.Authenticate(carrying(basic("api", key)))
}

func (r *rig) accepted(key string) authn.Identity {
	r.Helper()
	id, err := r.ask(key)
	if err != nil {
		r.Errorf("not accepted: %v", err)
	}
	return id
}

func (r *rig) refused(key string) {
	r.Helper()
	if id, err := r.ask(key); !errors.Is(err, authn.ErrRejected) || id.Subject != "" {
		r.Errorf("not refused: %+v %v", id, err)
	}
}

func (r *rig) unsure(key string) {
	r.Helper()
	id, err := r.ask(key)
	if err == nil || errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) || errors.Is(err, authn.ErrApplication) || id.Subject != "" {
		r.Errorf("not a failure to find out: %+v %v", id, err)
	}
}

// discreet checks that a key is not in the log, nor what could be made one of.
func (r *rig) discreet(keys ...string) {
	r.Helper()
	text := r.log.String()
	for _, key := range keys {
		secret := key
		if id, ok := ID(key); ok {
			secret = key[strings.Index(key, id)+len(id):]
		}
		for _, s := range []string{secret, encoded("api:" + key), Hash(key)[len("sha256:"):]} {
			if strings.Contains(text, s) {
				r.Errorf("TOK-30 the log has a key: %s", text)
			}
		}
	}
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func basic(name, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + encoded(name+":"+password)}}
}

func carrying(h http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://gatehouse.test/graphql", nil)
	r.Header = h.Clone()
	return r
}

// hexKey is an old key of a W&B server; each number has its own.
func hexKey(n int) string { return hex.EncodeToString(fmt.Appendf(nil, "%020d", n)) }
